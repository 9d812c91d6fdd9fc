//! Lock files of all formats: detection of the format, contents, and selection of one lock.
//!
//! An @EXPLICIT file contains one lock, conda-lock.yml one per platform and category, pixi.lock one per platform and
//! environment. All are read into a [`LockFile`] of [`Part`]s. The format is detected from the contents, never from the file
//! name, because locks are renamed and `-o` allows any name.

use std::path::{Path, PathBuf};

use mlconda_environment::{EnvironmentError, decode};
use mlconda_prefix::Prefix;
use mlconda_system::files;
use mlconda_types::{diagnostic::SourceText, redact};
use rattler_conda_types::Subdir;

use super::{
    Expansion, Lock, LockError, LockedPackage,
    comments::{self, LockComments},
    conda_lock,
    document::Document,
    explicit, merge, pixi,
};

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
    /// conda-lock.yml, version 1 (CEP-37), and what pixi made of that before its version 4.
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

/// The maximum number of lines of a lock. A lock of five platforms with 1,000 packages each has about 100,000.
const MOST_LINES: usize = 2_000_000;

impl LockFile {
    /// Reads a file of locks, or the records of a prefix, or of its `conda-meta`, if the path is a directory. Relative paths
    /// in the file are relative to its directory.
    ///
    /// # Errors
    /// If the file cannot be read or is not a lock.
    pub fn read(path: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        if path.is_dir() {
            return Self::of_prefix(path);
        }
        let bytes = files::read_any(path, files::LARGEST_LOCK)?;
        let text = decode::decode(&bytes, path).map_err(|error| place(error, path))?;
        Self::parse(&text, path, expansion)
    }

    /// Reads a file of locks from its text; `file` names it, and its directory is what paths are relative to.
    ///
    /// # Errors
    /// If the text is not a lock.
    pub fn parse(text: &str, file: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        if memchr::memchr2_iter(b'\n', b'\r', text.as_bytes()).count() > MOST_LINES {
            let reason = format!("it has more than {MOST_LINES} lines");
            return Err(LockError::NotALock { file: file.to_owned(), reason });
        }
        if merge::sides(text).is_some() {
            return Err(LockError::Conflict { file: file.to_owned() });
        }
        let text = decode::normalize(text);
        let kind = match kind_of(&text) {
            Some(LockKind::Explicit) => {
                return Ok(Self::new(explicit::parse(&text, file, expansion)?, file, LockKind::Explicit));
            }
            Some(kind) => kind,
            None => return Err(LockError::NotALock { file: file.to_owned(), reason: strange(&text) }),
        };
        let lines: Vec<&str> = text.split('\n').collect();
        let document = Document { source: SourceText { file, text: &text, lines: &lines }, expansion };
        let root = document.root()?;
        let mut found = match kind {
            LockKind::Pixi => pixi::read(&document, &root)?,
            _ => conda_lock::read(&document, &root)?,
        };
        let facts = LockComments::of_comments(&text).map_err(|(line, message)| {
            let text = lines.get(line - 1).copied().unwrap_or_default().to_owned();
            LockError::Line { file: file.to_owned(), line, text, message }
        })?;
        for facts in facts {
            if let Some(found) = facts.format.filter(|found| *found > comments::FORMAT) {
                return Err(LockError::Format { file: file.to_owned(), found });
            }
            found.take_comments(facts.lock);
        }
        Ok(found)
    }

    /// Applies the comments of mlconda to the locks.
    fn take_comments(&mut self, said: Lock) {
        let is_meant = |part: &&mut Part| {
            part.lock.platform == said.platform
                && part.environment == DEFAULT_ENVIRONMENT
                && part.category == MAIN_CATEGORY
                && part.platform_name.is_none()
        };
        if let Some(part) = self.parts.iter_mut().find(is_meant) {
            let Lock { platform, expansions, packages, pip, channels, .. } = std::mem::replace(&mut part.lock, said);
            let said = &mut part.lock;
            (said.platform, said.expansions, said.packages, said.pip) = (platform, expansions, packages, pip);
            if said.channels.is_empty() {
                said.channels = channels;
            }
        }
    }

    /// A file with one lock.
    pub fn new(lock: Lock, file: &Path, kind: LockKind) -> Self {
        Self { file: file.to_owned(), kind, parts: vec![Part::new(lock)] }
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
        let lock = Lock::of_records(platform, &records)?.with_distributions(&prefix.distributions()?);
        Ok(Self::new(Lock { variables: prefix.variables()?, ..lock }, path, LockKind::Prefix))
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

    /// The selected lock, with the packages of all selected categories.
    ///
    /// # Errors
    /// If the file has no such lock, leaves a choice that the selection does not make, or has packages in it that are to be
    /// built from source, so that the lock is not the whole environment.
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
        // Of several machines of one subdir, the one that says no more than that is meant.
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

/// Detects the format of a lock from its text, without validation; `None` if it is not a lock.
pub fn kind_of(text: &str) -> Option<LockKind> {
    if text.lines().any(|line| line.trim() == "@EXPLICIT") {
        return Some(LockKind::Explicit);
    }
    let keys = top_keys(text);
    let has = |key: &str| keys.iter().any(|found| found == key);
    if has("environments") && has("version") {
        Some(LockKind::Pixi)
    } else if has("package") && (has("metadata") || has("version")) {
        Some(LockKind::CondaLock)
    } else if explicit::is_bare(text) {
        Some(LockKind::Explicit)
    } else {
        None
    }
}

/// The keys of a mapping in YAML, or in JSON, which is YAML too.
fn top_keys(text: &str) -> Vec<String> {
    if text.trim_start().starts_with('{') {
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
        return object.map(|object| object.keys().cloned().collect()).unwrap_or_default();
    }
    let key = |line: &str| {
        let (key, _) = line.split_once(':')?;
        let key = key.trim_matches(['"', '\'']);
        key.starts_with(|first: char| first.is_ascii_alphabetic()).then(|| key.to_owned())
    };
    text.lines().filter_map(key).collect()
}

/// The reason why a text is not a lock.
fn strange(text: &str) -> String {
    let keys = top_keys(text);
    let has = |key: &str| keys.iter().any(|found| found == key);
    let found = if has("dependencies") || has("channels") {
        "it has `dependencies:` or `channels:`, as an environment.yml does"
    } else if text.starts_with("[[package]]") || text.contains("\n[[package]]") {
        "it is in TOML, as the locks of poetry, pdm and uv are"
    } else if text.trim().is_empty() {
        "there is nothing in it"
    } else {
        "it has no line `@EXPLICIT`, nor the keys of a conda-lock.yml or a pixi.lock"
    };
    found.to_owned()
}

/// The channel of a package as a URL without secrets, by where the package is.
pub(super) fn channel_of(package: &LockedPackage) -> Option<String> {
    let mut url = package.url.clone();
    url.path_segments_mut().ok()?.pop().pop().push("");
    Some(redact::url(&url))
}

/// What is not a text says so with its place.
pub(crate) fn place(error: EnvironmentError, file: &Path) -> LockError {
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
