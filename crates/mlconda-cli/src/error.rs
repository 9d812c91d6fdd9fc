//! The error of a command: an error of the library, of the command line, of the machine, or a signal.

use crate::hints::{MANY_OPEN, MORE_OPEN};

/// The error of a command.
#[derive(Debug)]
pub(crate) enum CliError {
    /// An error of the library.
    Library(mlconda::Error),
    /// Wrong usage of the command line.
    Usage(String),
    /// Wrong input, or a problem of the machine: what happened, and what to do.
    World { message: String, hint: Option<String> },
    /// A command could not be run; the exit code is that of shells.
    Command { message: String, hint: Option<String>, code: u8 },
    /// Stopped by a signal; nothing has changed.
    Stopped(u8),
    /// Stopped by a signal; the message says what has changed.
    StoppedHalfway { signal: u8, message: String, hint: Option<String> },
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        let message = error.to_string();
        let hint = message.contains(MANY_OPEN).then(|| MORE_OPEN.to_owned());
        Self::World { message, hint }
    }
}

/// Converts errors of the library's stages.
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
    mlconda::environment::EnvironmentError,
    mlconda::lock::LockError,
    mlconda::prefix::PrefixError
);
#[cfg(feature = "install")]
from_stages!(mlconda::install::InstallError, mlconda::network::NetworkError, mlconda::repodata::RepodataError);
#[cfg(feature = "lock")]
from_stages!(mlconda::pip::PipError, mlconda::solve::SolveError);
#[cfg(feature = "image")]
from_stages!(mlconda::image::ImageError, mlconda::oci::OciError);
#[cfg(feature = "bundle")]
from_stages!(mlconda::bundle::BundleError);

impl CliError {
    /// A message with a hint.
    pub(crate) fn world(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::World { message: message.into(), hint: Some(hint.into()) }
    }
}
