//! Why a package could not be linked.

use crate::InstallError;

/// Why linking stopped.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// A noarch python package cannot be linked yet, because python is not linked.
    PythonWanted,
    /// The installation has to fail.
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

/// The error for a failed write to the disk of the prefix, which is not an error of the package.
pub(super) fn disk_error(error: std::io::Error) -> LinkError {
    use std::io::{Error, ErrorKind};
    let error = match error.kind() {
        // Each path is claimed before it is written. So this is another path that the file system considers equal.
        ErrorKind::AlreadyExists => Error::new(
            ErrorKind::AlreadyExists,
            format!(
                "{error}: another path of the packages differs from it in upper and lower case or in the spelling of accents \
                 only, and this file system does not tell them apart"
            ),
        ),
        _ => error,
    };
    LinkError::Failed(InstallError::File(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_case_is_named_where_two_paths_become_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = mlconda_system::beneath::Root::open(directory.path()).unwrap();
        let create = || root.create(std::path::Path::new("README"), 0o644);
        create().unwrap();
        let LinkError::Failed(InstallError::File(error)) = disk_error(create().unwrap_err()) else { panic!() };
        assert!(error.to_string().ends_with("this file system does not tell them apart"), "{error}");
        assert!(error.to_string().contains("README"), "{error}");
    }
}
