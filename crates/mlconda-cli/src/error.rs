//! What a command can fail with: an error of the library, of the command line, of the machine, or a signal.

use mlconda::{
    environment::EnvironmentError, image::ImageError, install::InstallError, lock::LockError, network::NetworkError,
    pip::PipError, prefix::PrefixError, repodata::RepodataError, solve::SolveError,
};

use crate::hints::{MANY_OPEN, MORE_OPEN};

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
    /// A signal asked us to stop, and nothing has changed.
    Stopped(u8),
    /// A signal asked us to stop, and this has changed.
    StoppedHalfway { signal: u8, message: String, hint: Option<String> },
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        let message = error.to_string();
        let hint = message.contains(MANY_OPEN).then(|| MORE_OPEN.to_owned());
        Self::World { message, hint }
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
    mlconda::edit::EditError,
    mlconda::oci::OciError,
    EnvironmentError,
    ImageError,
    InstallError,
    LockError,
    NetworkError,
    PipError,
    PrefixError,
    RepodataError,
    SolveError
);

impl CliError {
    /// A message with a hint.
    pub(crate) fn world(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::World { message: message.into(), hint: Some(hint.into()) }
    }
}
