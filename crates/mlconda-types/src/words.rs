//! Errors as words: the message and its causes. `Debug` of the library's errors is this text, so that a `main` that returns one
//! and an `unwrap` say what happened.

use std::error::Error;

/// An error and its causes, one a line. A cause that the line above contains is left out.
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

/// Writes `Debug` of an error as its [`chain()`].
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
