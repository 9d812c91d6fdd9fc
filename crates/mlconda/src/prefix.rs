//! A prefix on disk: what is installed in it.

use std::path::{Path, PathBuf};

use rattler_conda_types::PrefixRecord;

/// A directory that holds an environment, or is to hold one. The path is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    path: PathBuf,
}

/// A prefix that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The path is not absolute.
    #[error("the prefix `{0}` is not an absolute path")]
    Relative(PathBuf),
    /// A record could not be read.
    #[error("cannot read the record `{path}`")]
    Record {
        /// The record's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

impl Prefix {
    /// Names a prefix; nothing is read or made.
    ///
    /// # Errors
    /// If the path is not absolute.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PrefixError> {
        let path = path.into();
        if path.is_absolute() { Ok(Self { path }) } else { Err(PrefixError::Relative(path)) }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an environment: a `conda-meta` directory.
    pub fn is_environment(&self) -> bool {
        self.path.join("conda-meta").is_dir()
    }

    /// The records of the installed packages, sorted by file name; none if there is no environment yet.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn records(&self) -> Result<Vec<PrefixRecord>, PrefixError> {
        let directory = self.path.join("conda-meta");
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let mut paths = Vec::new();
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        paths
            .into_iter()
            .map(|path| PrefixRecord::from_path(&path).map_err(|source| PrefixError::Record { path, source }))
            .collect()
    }
}
