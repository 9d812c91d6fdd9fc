//! The errors of making or reading a bundle.

use std::{io, path::PathBuf};

use mlconda_install::InstallError;
use mlconda_lock::LockError;

/// Why a bundle cannot be made or read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// An archive could not be fetched, or is not what the lock says.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A lock in the bundle is not valid.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The end of the bundle is missing.
    #[error("`{}` is cut short: it has {found}{} bytes", .file.display(), .expected.map(|size| format!(" of {size}")).unwrap_or_default())]
    CutShort {
        /// The bundle.
        file: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size in bytes according to its list of members. `None` if the list is missing, too.
        expected: Option<u64>,
    },
    /// The bundle was changed after it was written.
    #[error("`{}` is damaged or was changed: {reason}", .file.display())]
    Damaged {
        /// The bundle.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bundle was written by a newer mlconda.
    #[error("`{}` has bundle format {found}; this mlconda reads formats up to {}", .file.display(), crate::format::FORMAT)]
    Format {
        /// The bundle.
        file: PathBuf,
        /// The version of its format.
        found: u32,
    },
    /// A lock of the bundle names an archive that is not in it.
    #[error("`{}` has no archive of `{package}`, which its lock `{lock}` names", .file.display())]
    NoArchive {
        /// The bundle.
        file: PathBuf,
        /// The lock, by its path in the bundle.
        lock: String,
        /// The package's file name.
        package: String,
    },
    /// A package has no archive that a bundle can contain.
    #[error("`{package}` cannot be in a bundle: it comes from {from}")]
    NotAnArchive {
        /// The package.
        package: String,
        /// The source of the package, in words.
        from: &'static str,
    },
    /// Two different archives have the same path in the bundle.
    #[error("the locks name two archives `{path}` that are not the same")]
    SameName {
        /// The path in the bundle.
        path: String,
    },
    /// Two locks have the same environment and platform.
    #[error("two locks are for the environment `{environment}` on {platform}")]
    SameEnvironment {
        /// The name of the environment.
        environment: String,
        /// The platform.
        platform: String,
    },
    /// The size of an archive is unknown, so no space can be reserved for it.
    #[error("neither the lock nor the server has the size of `{package}`")]
    NoSize {
        /// The package's file name.
        package: String,
    },
    /// Another process is writing the bundle.
    #[error("another mlconda is writing `{}`", .path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// Another user may have written the unfinished file.
    #[error("cannot continue `{}`: it {reason}", .path.display())]
    Untrusted {
        /// The unfinished file.
        path: PathBuf,
        /// What is wrong with it: a verb phrase.
        reason: &'static str,
    },
    /// The file is not a program that a bundle can be appended to.
    #[error("cannot append a bundle to `{}`: {reason}", .program.display())]
    Program {
        /// The file.
        program: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

mlconda_types::debug_as_words!(BundleError);

impl BundleError {
    /// Adds the path of the file to errors of system calls, which do not contain it.
    pub(crate) fn of_reading(self, file: &std::path::Path) -> Self {
        match self {
            Self::File(error) if error.raw_os_error().is_some() && error.get_ref().is_none() => {
                Self::File(io::Error::new(error.kind(), format!("cannot read `{}`: {error}", file.display())))
            }
            error => error,
        }
    }

    /// The error for a bundle that was changed.
    pub(crate) fn damaged(file: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.into() }
    }
}
