//! Errors as text: the message and its causes. The library's errors have this text as their `Debug`, so a `main` that
//! returns an error, and an `unwrap`, print what happened.

use std::error::Error;

/// The message of an error and those of its causes, one per line. A cause is left out if the line above contains it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !last.contains(&words) {
            text.push_str("\n  because: ");
            text.push_str(&words);
            last = words;
        }
        source = cause.source();
    }
    text
}

/// Implements `Debug` for an error as its [`chain()`].
#[macro_export]
macro_rules! debug_as_words {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&$crate::words::chain(self))
            }
        }
    };
}
