//! Errors to words, hints and exit codes, in one place: 1 the user or the world, 2 usage, 255 our bug.

use std::{error::Error, process::ExitCode};

use crate::settings::Context;

/// What a command can fail with.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The library said so.
    Library(mlconda::Error),
    /// The command line asks for something that makes no sense here.
    Usage(String),
    /// The world is not as the command needs it: what happened, and what to do.
    World { message: String, hint: Option<String> },
    /// A command could not be run; the exit code is the one that shells give for it.
    Command { message: String, hint: Option<String>, code: u8 },
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::World { message: error.to_string(), hint: None }
    }
}

/// Every stage's error is the library's error.
macro_rules! from_stages {
    ($($stage:path),*) => {
        $(impl From<$stage> for CliError {
            fn from(error: $stage) -> Self {
                Self::Library(error.into())
            }
        })*
    };
}

from_stages!(
    mlconda::Error,
    mlconda::activate::ActivateError,
    mlconda::environment::EnvironmentError,
    mlconda::install::InstallError,
    mlconda::lock::LockError,
    mlconda::network::NetworkError,
    mlconda::prefix::PrefixError,
    mlconda::repodata::RepodataError,
    mlconda::solve::SolveError
);

impl CliError {
    /// A message with a hint.
    pub(crate) fn world(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::World { message: message.into(), hint: Some(hint.into()) }
    }
}

/// Prints an error and gives the exit code.
pub(crate) fn report(error: &CliError, context: &Context) -> ExitCode {
    let (message, hint, code) = match error {
        CliError::Library(error) => (chain(error), hint(error), 1),
        CliError::Usage(message) => (message.clone(), None, 2),
        CliError::World { message, hint } => (message.clone(), hint.clone(), 1),
        CliError::Command { message, hint, code } => (message.clone(), hint.clone(), *code),
    };
    context.ui.error(&format!("error: {message}"));
    if let Some(hint) = hint {
        context.ui.error(&format!("hint: {hint}"));
    }
    ExitCode::from(code)
}

/// An error and its causes, one a line; a cause that the line above already tells is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !last.contains(&words) {
            text.push_str(&format!("\n  because: {words}"));
            last = words;
        }
        source = cause.source();
    }
    text
}

/// What to do about it.
fn hint(_error: &mlconda::Error) -> Option<String> {
    None
}
