//! Why a package could not be linked.

use crate::InstallError;

/// Why linking stopped.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The package is noarch python, and the interpreter is not known yet.
    PythonWanted,
    /// The installation cannot go on.
    Failed(InstallError),
    /// The content of the package is invalid, or the archive cannot be read.
    Content(std::io::Error),
}

impl LinkError {
    /// Whether the package may be damaged: a missing or unreadable file may be in the package.
    pub(crate) fn is_of_the_package(&self) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Failed(InstallError::File(error)) => {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound
                        | std::io::ErrorKind::NotADirectory
                        | std::io::ErrorKind::PermissionDenied
                )
            }
            Self::Failed(_) | Self::PythonWanted => false,
        }
    }
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Content(error)
    }
}

impl From<InstallError> for LinkError {
    fn from(error: InstallError) -> Self {
        Self::Failed(error)
    }
}

/// An error of writing to the prefix's disk, not of the package.
pub(super) fn disk_error(error: std::io::Error) -> LinkError {
    LinkError::Failed(InstallError::File(error))
}
