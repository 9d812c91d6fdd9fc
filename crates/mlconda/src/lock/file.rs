//! A file of locks, whatever its format: which one it is, what it holds, and how one lock is chosen from it.
//!
//! @EXPLICIT files hold one lock. conda-lock.yml holds one a platform and category, pixi.lock one a platform and
//! environment. All become the same value, a [`LockFile`] of [`Part`]s, so that whatever works on locks works on those of
//! every tool. The kind is told by what is in the file, never by its name: locks are renamed, and `-o` names them freely.

use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;

use super::{Expansion, Lock, LockError, explicit};
use crate::{
    environment::{EnvironmentError, decode},
    prefix::Prefix,
};

/// The environment that is meant where none is named.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// The category whose packages are in every selection.
pub const MAIN_CATEGORY: &str = "main";

/// The format of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockKind {
    /// @EXPLICIT (CEP-23), of mlconda, conda, mamba, conda-lock or pixi.
    Explicit,
    /// conda-lock.yml, version 1 (CEP-37).
    CondaLock,
    /// pixi.lock.
    Pixi,
    /// The records of a prefix: no file, but a directory.
    Prefix,
}

/// What a file of locks holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockFile {
    /// The file, or the prefix.
    pub file: PathBuf,
    /// Its format.
    pub kind: LockKind,
    /// Its locks, in the order of the file.
    pub parts: Vec<Part>,
    /// What in it could not be taken over, in words; each once.
    pub notes: Vec<String>,
}

/// One lock of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The environment: pixi.lock names several, others have [`DEFAULT_ENVIRONMENT`] only.
    pub environment: String,
    /// The category: conda-lock.yml has several, others have [`MAIN_CATEGORY`] only.
    pub category: String,
    /// Its packages for one platform.
    pub lock: Lock,
}

/// Which lock of a file is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The platform; without one, the file must leave no choice.
    pub platform: Option<Subdir>,
    /// The environment; without one, [`DEFAULT_ENVIRONMENT`], or the only one there is.
    pub environment: Option<String>,
    /// Categories besides [`MAIN_CATEGORY`].
    pub categories: Vec<String>,
}

impl LockFile {
    /// Reads a file of locks, or the records of a prefix, or of its `conda-meta`, if the path is a directory. Relative paths
    /// in the file are relative to its directory.
    ///
    /// # Errors
    /// If the file cannot be read or is no lock.
    pub fn read(path: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        if path.is_dir() {
            return Self::of_prefix(path);
        }
        let bytes = fs_err::read(path)?;
        let text = decode::decode(&bytes, path).map_err(|error| place(error, path))?;
        Self::parse(&text, path, expansion)
    }

    /// Reads a file of locks from its text; `file` names it, and its directory is what paths are relative to.
    ///
    /// # Errors
    /// If the text is no lock.
    pub fn parse(text: &str, file: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        let text = decode::normalize(text);
        Ok(Self::of(explicit::parse(&text, file, expansion)?, file, LockKind::Explicit))
    }

    /// A file of one lock.
    pub fn of(lock: Lock, file: &Path, kind: LockKind) -> Self {
        let part = Part { environment: DEFAULT_ENVIRONMENT.to_owned(), category: MAIN_CATEGORY.to_owned(), lock };
        Self { file: file.to_owned(), kind, parts: vec![part], notes: Vec::new() }
    }

    /// The packages of a prefix as a lock, for the platform that they name.
    fn of_prefix(path: &Path) -> Result<Self, LockError> {
        let root = if path.file_name().is_some_and(|name| name == "conda-meta") { path.parent() } else { None };
        let prefix = Prefix::open(root.unwrap_or(path))?;
        let records: Vec<_> = prefix.records()?.into_iter().map(|record| record.repodata_record).collect();
        if records.is_empty() && !prefix.is_environment() {
            let reason = "the directory has no `conda-meta` with records of packages".to_owned();
            return Err(LockError::NotALock { file: path.to_owned(), reason });
        }
        let mut subdirs = records.iter().filter_map(|record| record.package_record.subdir.parse().ok());
        let platform = subdirs.find(|subdir| *subdir != Subdir::NoArch).unwrap_or(Subdir::NoArch);
        let lock = Lock::of_records(platform, &records)?;
        Ok(Self::of(Lock { variables: prefix.variables()?, ..lock }, path, LockKind::Prefix))
    }

    /// The platforms that there are locks for, in the order of the file; [`Subdir::NoArch`] stands for all.
    pub fn platforms(&self) -> Vec<Subdir> {
        unique(self.parts.iter().map(|part| part.lock.platform))
    }

    /// The environments, in the order of the file.
    pub fn environments(&self) -> Vec<&str> {
        unique(self.parts.iter().map(|part| part.environment.as_str()))
    }

    /// The categories, in the order of the file.
    pub fn categories(&self) -> Vec<&str> {
        unique(self.parts.iter().map(|part| part.category.as_str()))
    }

    /// The lock that is meant: the packages of the chosen categories, in one.
    ///
    /// # Errors
    /// If the file has no such lock, or leaves a choice that the selection does not make.
    pub fn select(&self, selection: &Selection) -> Result<Lock, LockError> {
        let environment = self.environment(selection.environment.as_deref())?;
        self.check_categories(&selection.categories)?;
        let here = || self.parts.iter().filter(|part| part.environment == environment);
        let platforms = unique(here().map(|part| part.lock.platform));
        let platform = match (selection.platform, platforms.as_slice()) {
            (None, [only]) => *only,
            (Some(wanted), all) if all.contains(&wanted) => wanted,
            (Some(_), [Subdir::NoArch]) => Subdir::NoArch,
            (wanted, all) => return Err(self.no_platform(wanted, all)),
        };
        let counts = |part: &&Part| {
            part.lock.platform == platform
                && (part.category == MAIN_CATEGORY || selection.categories.contains(&part.category))
        };
        let mut locks = here().filter(counts).map(|part| &part.lock);
        let mut lock = locks.next().cloned().unwrap_or_else(|| Lock::empty(platform));
        for other in locks {
            self.join(&mut lock, other)?;
        }
        Ok(lock)
    }

    fn environment(&self, wanted: Option<&str>) -> Result<&str, LockError> {
        let all = self.environments();
        let found = match (wanted, all.as_slice()) {
            (None, [only]) => Some(*only),
            (None, []) => Some(DEFAULT_ENVIRONMENT),
            (wanted, all) => all.iter().find(|name| **name == wanted.unwrap_or(DEFAULT_ENVIRONMENT)).copied(),
        };
        found.ok_or_else(|| {
            let wanted = wanted.unwrap_or(DEFAULT_ENVIRONMENT);
            let message = format!("has no environment `{wanted}`; it has {}", list(&all));
            self.refuse(message, "choose one with `--environment NAME`".to_owned())
        })
    }

    fn check_categories(&self, wanted: &[String]) -> Result<(), LockError> {
        let all = self.categories();
        match wanted.iter().find(|name| !all.contains(&name.as_str()) && name.as_str() != MAIN_CATEGORY) {
            None => Ok(()),
            Some(name) => {
                let message = format!("has no category `{name}`; it has {}", list(&all));
                Err(self.refuse(message, "leave the category out, or choose one that is there".to_owned()))
            }
        }
    }

    fn no_platform(&self, wanted: Option<Subdir>, all: &[Subdir]) -> LockError {
        let names: Vec<&str> = all.iter().map(|platform| platform.as_str()).collect();
        match wanted {
            Some(wanted) => {
                let message = format!("has no lock for {wanted}; it has {}", list(&names));
                self.refuse(message, format!("make one with `mlconda lock --platform {wanted}`"))
            }
            None => {
                let message = format!("holds locks for several platforms: {}", list(&names));
                self.refuse(message, "choose one with `--platform PLATFORM`".to_owned())
            }
        }
    }

    /// Adds the packages of another category.
    fn join(&self, lock: &mut Lock, other: &Lock) -> Result<(), LockError> {
        for package in &other.packages {
            match lock.packages.iter().find(|present| present.name == package.name) {
                None => lock.packages.push(package.clone()),
                Some(present) if present.url == package.url => {}
                Some(present) => {
                    let (one, two) = (&present.file_name, &package.file_name);
                    let message = format!("has two packages of one name in these categories: {}", list(&[one, two]));
                    return Err(self.refuse(message, "lock again, so that the categories agree".to_owned()));
                }
            }
        }
        for package in &other.pip {
            if !lock.pip.iter().any(|present| present.name == package.name) {
                lock.pip.push(package.clone());
            }
        }
        Ok(())
    }

    fn refuse(&self, message: String, help: String) -> LockError {
        LockError::Selection { file: self.file.clone(), message, help }
    }
}

/// Which kind of lock a text is, as far as its lines tell; `None` if it is none. Nothing is checked.
pub fn kind_of(text: &str) -> Option<LockKind> {
    text.lines().any(|line| line.trim() == "@EXPLICIT").then_some(LockKind::Explicit)
}

/// What is no text says so with its place.
fn place(error: EnvironmentError, file: &Path) -> LockError {
    match error {
        EnvironmentError::Encoding(diagnostic) => LockError::Place(diagnostic),
        other => LockError::NotALock { file: file.to_owned(), reason: other.to_string() },
    }
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// Names in backticks, with commas.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
