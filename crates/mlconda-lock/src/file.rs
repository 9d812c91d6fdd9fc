//! The contents of a lock file of any format: a [`LockFile`] with [`Part`]s, and the selection of one lock from them.
//!
//! An @EXPLICIT file contains one lock, conda-lock.yml one for each platform and category, pixi.lock one for each
//! platform and environment.

use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;

use super::{Lock, LockError};

/// The name of the default environment.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// The category that is always selected.
pub const MAIN_CATEGORY: &str = "main";

/// The format of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockKind {
    /// @EXPLICIT (CEP-23), of mlconda, conda, mamba, conda-lock or pixi.
    Explicit,
    /// conda-lock.yml version 1 (CEP-37), and the variants of it that pixi wrote as pixi.lock before version 4.
    CondaLock,
    /// pixi.lock.
    Pixi,
    /// The records of a prefix, which is a directory.
    Prefix,
}

/// The locks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockFile {
    /// The file, or the prefix.
    pub file: PathBuf,
    /// Its format.
    pub kind: LockKind,
    /// Its locks, in the order of the file.
    pub parts: Vec<Part>,
}

/// One lock of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The environment: pixi.lock names several, others have [`DEFAULT_ENVIRONMENT`] only.
    pub environment: String,
    /// The category: conda-lock.yml has several, others have [`MAIN_CATEGORY`] only.
    pub category: String,
    /// The name of the platform, if it differs from the subdir: pixi can have several platforms of one subdir.
    pub platform_name: Option<String>,
    /// Its packages for one platform.
    pub lock: Lock,
    /// Names of packages that must be built from source. They have no archive, and are not in the lock.
    pub sources: Vec<String>,
}

/// Selects one lock of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The platform. `None` is allowed if the file has only one.
    pub platform: Option<Subdir>,
    /// The environment; `None`: [`DEFAULT_ENVIRONMENT`], or the only one.
    pub environment: Option<String>,
    /// Additional categories besides [`MAIN_CATEGORY`].
    pub categories: Vec<String>,
    /// How packages that must be built from source are handled.
    pub sources: SourcePackages,
}

/// How packages that must be built from source (by pixi) are handled: a lock cannot contain them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourcePackages {
    /// The lock is refused.
    #[default]
    Refuse,
    /// They are left out.
    LeaveOut,
}

impl Part {
    /// A part with the default environment and category.
    pub fn new(lock: Lock) -> Self {
        Self {
            environment: DEFAULT_ENVIRONMENT.to_owned(),
            category: MAIN_CATEGORY.to_owned(),
            platform_name: None,
            lock,
            sources: Vec::new(),
        }
    }
}

impl LockFile {
    /// A file with one lock.
    pub fn new(lock: Lock, file: &Path, kind: LockKind) -> Self {
        Self { file: file.to_owned(), kind, parts: vec![Part::new(lock)] }
    }

    /// The platforms of the locks, in the order of the file; [`Subdir::NoArch`] means all platforms.
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

    /// The selected lock, with the packages of all selected categories.
    ///
    /// # Errors
    /// If the file has no such lock, leaves a choice that the selection does not make, or has packages in it that are
    /// to be built from source, so that the lock is not the whole environment.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use mlconda_lock::{Expansion, LockFile, Selection};
    /// use rattler_conda_types::Subdir;
    ///
    /// let text = "version: 1\npackage:\n- {name: zlib, version: '1.3', manager: conda, platform: linux-64, dependencies: {}, \
    ///             url: https://conda.example.org/lab/linux-64/zlib-1.3-h1_0.conda}\n";
    /// let file = LockFile::parse(text, Path::new("/project/conda-lock.yml"), &Expansion::default())?;
    /// let lock = file.select(&Selection { platform: Some(Subdir::Linux64), ..Selection::default() })?;
    /// assert_eq!(lock.packages[0].version, "1.3");
    /// let error = file.select(&Selection { platform: Some(Subdir::Win64), ..Selection::default() }).unwrap_err();
    /// assert_eq!(error.to_string(), "`/project/conda-lock.yml` has no lock for win-64; it has `linux-64`");
    /// # Ok::<(), mlconda_lock::LockError>(())
    /// ```
    pub fn select(&self, selection: &Selection) -> Result<Lock, LockError> {
        let (lock, sources) = self.select_with_sources(selection)?;
        if sources.is_empty() || selection.sources == SourcePackages::LeaveOut {
            return Ok(lock);
        }
        let names: Vec<&str> = sources.iter().map(String::as_str).collect();
        let message = format!("has packages that are to be built from source, which have no archive: {}", list(&names));
        let help = "`--without-source-packages` installs the others; pixi builds these".to_owned();
        Err(self.refuse(message, help))
    }

    /// The selected lock, and its packages that must be built from source.
    pub(super) fn select_with_sources(&self, selection: &Selection) -> Result<(Lock, Vec<String>), LockError> {
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
        let of_platform = || here().filter(|part| part.lock.platform == platform);
        // If pixi has several machines for one subdir, the one without a name of its own is selected.
        let machines = unique(of_platform().map(|part| &part.platform_name));
        let machine = match machines.as_slice() {
            [only] => *only,
            all if all.contains(&&None) => &None,
            all => {
                let names: Vec<&str> = all.iter().filter_map(|name| name.as_deref()).collect();
                let message = format!("has several machines of {platform} in `{environment}`: {}", list(&names));
                return Err(self.refuse(message, "choose another environment, with `--environment NAME`".to_owned()));
            }
        };
        let counts = |part: &&Part| {
            part.platform_name == *machine
                && (part.category == MAIN_CATEGORY || selection.categories.contains(&part.category))
        };
        let mut lock = Lock::empty(platform);
        let mut sources = Vec::new();
        for (number, part) in of_platform().filter(counts).enumerate() {
            sources.extend(part.sources.iter().cloned());
            if number == 0 {
                lock = part.lock.clone();
            } else {
                self.join(&mut lock, &part.lock)?;
            }
        }
        Ok((lock, sources))
    }

    pub(super) fn environment(&self, wanted: Option<&str>) -> Result<&str, LockError> {
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

    pub(super) fn no_platform(&self, wanted: Option<Subdir>, all: &[Subdir]) -> LockError {
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
