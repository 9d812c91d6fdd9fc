//! Why there is no bundle, or nothing is installed from it.

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
    /// A lock in the bundle cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The end of the bundle is missing.
    #[error("`{}` is cut short: it has {found}{} bytes", .file.display(), .expected.map(|size| format!(" of {size}")).unwrap_or_default())]
    CutShort {
        /// The bundle.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// The size that its list of members gives, if that is there.
        expected: Option<u64>,
    },
    /// The bundle is not as it was written.
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
        /// Its format.
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
    /// A package has no archive that could be put into a bundle.
    #[error("`{package}` cannot be in a bundle: it comes from {from}")]
    NotAnArchive {
        /// The package.
        package: String,
        /// Where it comes from, in words.
        from: &'static str,
    },
    /// Two archives would have one path.
    #[error("the locks name two archives `{path}` that are not the same")]
    SameName {
        /// The path in the bundle.
        path: String,
    },
    /// Two locks are for one environment and platform.
    #[error("two locks are for the environment `{environment}` on {platform}")]
    SameEnvironment {
        /// The name of the environment.
        environment: String,
        /// The platform.
        platform: String,
    },
    /// The size of an archive is not known, so there is no place for it.
    #[error("neither the lock nor its server tells the size of `{package}`")]
    NoSize {
        /// The package's file name.
        package: String,
    },
    /// Another process writes the bundle.
    #[error("another mlconda is writing `{}`", .path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// Somebody else may have written the unfinished file.
    #[error("cannot go on with `{}`: it {reason}", .path.display())]
    Untrusted {
        /// The unfinished file.
        path: PathBuf,
        /// What is wrong with it: a verb phrase.
        reason: &'static str,
    },
    /// A file is no program that a bundle can stand behind.
    #[error("a bundle cannot stand behind `{}`: {reason}", .program.display())]
    Program {
        /// The file.
        program: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

mlconda_types::debug_as_words!(BundleError);

impl BundleError {
    /// Names the file in an error of the kernel, which does not have it.
    pub(crate) fn of_reading(self, file: &std::path::Path) -> Self {
        match self {
            Self::File(error) if error.raw_os_error().is_some() && error.get_ref().is_none() => {
                Self::File(io::Error::new(error.kind(), format!("cannot read `{}`: {error}", file.display())))
            }
            error => error,
        }
    }

    /// An archive that cannot be read, found in its place.
    pub(crate) fn damaged(file: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.into() }
    }
}
