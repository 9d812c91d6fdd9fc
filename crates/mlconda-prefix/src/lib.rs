//! Reads a prefix: its records, its variables and its activation. The crate never uses a network, and changes only one
//! file ([`activate::snapshot`], which runs the activation scripts).
//!
//! Read in this order: [`Prefix`]; [`on_disk`], the layout of a prefix; [`distributions`] and [`foreign_records`],
//! packages that other tools have installed; `damaged`, unreadable records; `consistent`, changes by other processes
//! meanwhile; [`slim`], parts of packages that are left out; [`activate`], the environment as a process sees it.

pub mod activate;
mod consistent;
mod damaged;
pub mod distributions;
pub mod foreign_records;
pub mod on_disk;
pub mod slim;

pub use self::{consistent::Stamp, distributions::UntrackedDistribution};

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use mlconda_system::files;
use mlconda_types::file_name_parts;
use rattler_conda_types::PrefixRecord;
use serde::Deserialize;

/// The file with the variables of an environment, relative to the prefix.
pub const STATE: &str = "conda-meta/state";

/// The value that conda writes for a variable that a user has unset. Activation does not set such a variable, and
/// `deactivate` takes it back.
pub const UNSET: &str = "***unset***";

/// The absolute path of an environment, which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    path: PathBuf,
    /// The paths of unreadable records and of an unreadable state, which are ignored.
    passed_over: BTreeSet<PathBuf>,
}

/// The identity of an installed package. It is read without the list of the package's files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Installed {
    /// The package's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The build string.
    #[serde(alias = "build_string")]
    pub build: String,
    /// The archive's sha256 in hex.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The archive's md5 in hex.
    #[serde(default)]
    pub md5: Option<String>,
    /// The name of the record's file, within `conda-meta`. Other tools may have given it another name than mlconda.
    #[serde(skip)]
    pub file: PathBuf,
}

/// Why a prefix could not be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The path is not absolute.
    #[error("the prefix `{0}` is not an absolute path")]
    Relative(PathBuf),
    /// A record could not be read.
    #[error("cannot read the record `{}`", .path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process changed the prefix while it was read.
    #[error("`{}` was changed by another process in the meantime", .prefix.display())]
    Changed {
        /// The prefix.
        prefix: PathBuf,
    },
    /// The directory could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

mlconda_types::debug_as_words!(PrefixError);

impl Prefix {
    /// Names a prefix. Nothing is read or created.
    ///
    /// # Errors
    /// If the path is not absolute ([`PrefixError::Relative`]).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PrefixError> {
        let path: PathBuf = path.into();
        match path.is_absolute() {
            true => Ok(Self { path, passed_over: BTreeSet::new() }),
            false => Err(PrefixError::Relative(path)),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an environment: the file `conda-meta/history` exists, as conda requires.
    pub fn is_environment(&self) -> bool {
        self.path.join("conda-meta").join("history").is_file()
    }

    /// The paths of the records of conda packages, sorted.
    ///
    /// # Errors
    /// If `conda-meta` cannot be read.
    pub fn record_files(&self) -> Result<Vec<PathBuf>, PrefixError> {
        self.meta_files("json")
    }

    /// The paths of all records: those of conda packages, then those of distributions.
    ///
    /// # Errors
    /// If `conda-meta` cannot be read.
    pub fn all_record_files(&self) -> Result<Vec<PathBuf>, PrefixError> {
        Ok([self.record_files()?, self.meta_files(distributions::EXTENSION)?].concat())
    }

    /// The files in `conda-meta` with this extension, sorted. Files whose names begin with a dot are not ours: the tar
    /// of macOS leaves a file `._NAME.json` beside each record.
    ///
    /// # Errors
    /// If `conda-meta` cannot be read.
    pub fn meta_files(&self, kind: &str) -> Result<Vec<PathBuf>, PrefixError> {
        let directory = self.path.join("conda-meta");
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let mut paths = Vec::new();
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let is_passed_over = self.passed_over.contains(&path);
            if !is_hidden && !is_passed_over && path.extension().is_some_and(|extension| extension == kind) {
                paths.push(path);
            }
        }
        mlconda_types::sorting::sort(&mut paths);
        Ok(paths)
    }

    /// The identities of the installed packages, sorted by file name. Empty if there is no environment yet.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn installed(&self) -> Result<Vec<Installed>, PrefixError> {
        let read = |path: PathBuf| {
            let read = files::read(&path, files::LARGEST_RECORD).and_then(|text| read_installed(&text, &path));
            read.map_err(|source| PrefixError::of_record(path, source))
        };
        self.record_files()?.into_iter().filter_map(|path| read(path).transpose()).collect()
    }

    /// The records of the installed packages, sorted by file name. Empty if there is no environment yet.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn records(&self) -> Result<Vec<PrefixRecord>, PrefixError> {
        let read = |path: PathBuf| {
            let text = files::read(&path, files::LARGEST_RECORD)?;
            match parse_record(&text) {
                Err(_) if is_foreign(&text) => Ok(None),
                read => read.map(Some),
            }
        };
        let read =
            |path: PathBuf| read(path.clone()).map_err(|source| PrefixError::of_record(path, source)).transpose();
        self.record_files()?.into_iter().filter_map(read).collect()
    }

    /// For each path, relative to the prefix: the name of the package that contains it. `None` if no readable record
    /// lists the path. Only names and file lists are read from the records.
    pub fn owners(&self, paths: &[&Path]) -> Vec<Option<String>> {
        #[derive(Deserialize)]
        struct Files {
            name: String,
            #[serde(default)]
            files: Vec<PathBuf>,
        }
        let mut owners = vec![None; paths.len()];
        for file in self.record_files().unwrap_or_default() {
            let text = files::read(&file, files::LARGEST_RECORD).ok();
            let Some(record) = text.and_then(|text| serde_json::from_slice::<Files>(&text).ok()) else { continue };
            for (owner, _) in owners.iter_mut().zip(paths).filter(|(_, path)| record.files.iter().any(|it| it == *path))
            {
                *owner = Some(record.name.clone());
            }
        }
        owners
    }

    /// The file names of all records, with those of distributions and unreadable records. They show whether another
    /// process has changed the prefix.
    ///
    /// # Errors
    /// If `conda-meta` cannot be read.
    pub fn record_names(&self) -> Result<Vec<String>, PrefixError> {
        let all = Self { path: self.path.clone(), passed_over: BTreeSet::new() };
        let files = all.all_record_files()?;
        let names = files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(names.collect())
    }

    /// The variables that the environment sets when it is active (`conda-meta/state`), in order.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn variables(&self) -> Result<IndexMap<String, String>, PrefixError> {
        let mut variables = self.state_variables()?;
        variables.retain(|_, value| value != UNSET);
        Ok(variables)
    }

    /// Like [`variables`](Self::variables), with those that a user has unset; their value is [`UNSET`].
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn state_variables(&self) -> Result<IndexMap<String, String>, PrefixError> {
        use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
        #[derive(Default, Deserialize)]
        struct State {
            #[serde(default)]
            env_vars: IndexMap<String, serde_json::Value>,
        }
        let path = self.path.join(STATE);
        if self.passed_over.contains(&path) {
            return Ok(IndexMap::new());
        }
        match files::read(&path, files::LARGEST_TEXT) {
            // A path that is too long for the system does not exist; the installation reports it.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => Ok(IndexMap::new()),
            Err(source) => Err(PrefixError::Record { path, source }),
            Ok(text) if text.is_empty() => Ok(IndexMap::new()),
            Ok(text) => serde_json::from_slice::<State>(&text)
                .map(|state| state.env_vars.into_iter().map(|(name, value)| (name, text_of(value))).collect())
                .map_err(|source| PrefixError::Record { path, source: source.into() }),
        }
    }
}

/// Reads a package's record, written by any tool. Checks its name, version and build, which become parts of paths.
///
/// # Errors
/// If the file cannot be read, or is larger than [`files::LARGEST_RECORD`], and as for [`parse_record`].
pub fn read_record(path: &Path) -> std::io::Result<PrefixRecord> {
    parse_record(&files::read(path, files::LARGEST_RECORD)?)
}

/// Parses the text of a package's record, written by any tool.
///
/// # Errors
/// If the text is not a record, or if its name, version or build is not allowed in a file name.
pub fn parse_record(text: &[u8]) -> std::io::Result<PrefixRecord> {
    let record = foreign_records::read(text)?;
    let package = &record.repodata_record.package_record;
    let (name, version) = (package.name.as_normalized(), package.version.as_str());
    file_name_parts::check(name, &version, package.build.as_str()).map_err(std::io::Error::other)?;
    Ok(record)
}

/// Parses only the identity in a record, and checks the parts that become paths. `None` if the text is not a record of
/// a package.
fn read_installed(text: &[u8], path: &Path) -> std::io::Result<Option<Installed>> {
    let mut installed: Installed = match serde_json::from_slice(text) {
        Err(_) if is_foreign(text) => return Ok(None),
        installed => installed?,
    };
    file_name_parts::check(&installed.name, &installed.version, &installed.build).map_err(std::io::Error::other)?;
    installed.file = path.file_name().map(PathBuf::from).unwrap_or_default();
    Ok(Some(installed))
}

/// Whether a JSON file in `conda-meta` is not a record: a record has a name, a version and a build. A text that is not
/// JSON may be a damaged record, so the answer is `false`.
pub fn is_foreign(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text).is_ok_and(|value| {
        [&["name"][..], &["version"], &["build", "build_string"]]
            .iter()
            .any(|names| names.iter().all(|name| value.get(name).is_none()))
    })
}

/// A variable's value as text, as activation sets it.
fn text_of(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}
