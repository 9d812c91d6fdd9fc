//! The lock: every package of an environment, pinned by URL and sha256, for one platform. It reads and writes lock
//! files and reads prefixes; it never runs a program or uses a network.
//!
//! A [`Lock`] is independent of its file format; each format has its own module. mlconda writes @EXPLICIT files
//! (CEP-23) by default, which conda, mamba and other tools can install. Facts that this format does not have are in
//! comments ([`explicit`], `docs/lockfile.md`).
//!
//! Two features are on by default: `formats` (conda-lock.yml and pixi.lock) and `sbom`.
//!
//! Read in this order:
//! - [`Lock`];
//! - `file`: the contents of a lock file of any format;
//! - `read` and `format`: reading and writing, with [`explicit`], and `conda_lock` and `pixi` if the feature `formats`
//!   is on;
//! - `order`: the order in which packages are linked;
//! - `check`, [`diff`] and [`merge`]: comparisons;
//! - [`graph`] and [`sbom`]: dependencies, and the bill of materials.

mod check;
mod comments;
#[cfg(feature = "formats")]
mod conda_lock;
pub mod diff;
#[cfg(feature = "formats")]
mod document;
mod expansions;
pub mod explicit;
mod file;
mod format;
mod formats;
pub mod graph;
pub mod merge;
mod order;
mod pip;
#[cfg(feature = "formats")]
mod pixi;
pub mod provided;
mod read;
#[cfg(feature = "formats")]
mod rendering;
pub(crate) mod requirements;
#[cfg(feature = "sbom")]
pub mod sbom;
#[cfg(test)]
#[cfg(feature = "formats")]
mod tests;

pub use self::check::{Mismatch, MismatchKind};
pub use self::file::{DEFAULT_ENVIRONMENT, LockFile, LockKind, MAIN_CATEGORY, Part, Selection, SourcePackages};
pub use self::format::{LockFormat, LockFormatError, Rendered};
pub use self::pip::{ArchiveOrigin, DirectoryMode, LockedPip, PipSource};
pub use self::read::kind_of;
pub use mlconda_python::normalize;
pub use order::{in_linking_order, linking_order};

use mlconda_types::sorting::IntoTree;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use mlconda_environment::Environment;
use mlconda_prefix::distributions;
use mlconda_system::files;
use mlconda_types::{
    file_name_parts,
    host::Host,
    redact,
    slim::Slim,
    solution::{Solution, SolveOptions},
};
use rattler_conda_types::{GenericVirtualPackage, PackageRecord, PrefixRecord, RepoDataRecord, Subdir, Version};
use rattler_digest::{Md5Hash, Sha256Hash};
use url::Url;

/// The expected hash of a package's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// sha256, in 32 bytes.
    Sha256(Sha256Hash),
    /// md5, in 16 bytes, in older locks. It detects damage, but does not protect against forged archives.
    Md5(Md5Hash),
    /// No hash is known.
    Unknown,
}

/// A package of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// The package's name, from its file name.
    pub name: String,
    /// The version, from its file name.
    pub version: String,
    /// The build string, from its file name.
    pub build: String,
    /// The subdir that the URL names: the platform's or `noarch`.
    pub subdir: Subdir,
    /// The archive's file name.
    pub file_name: String,
    /// The URL of the archive.
    pub url: Url,
    /// The expected hash of the archive.
    pub digest: Digest,
    /// The archive's size in bytes, where known.
    pub size: Option<u64>,
    /// The repodata record (dependencies, licence and so on), if known. An @EXPLICIT file does not contain it.
    pub record: Option<Arc<PackageRecord>>,
}

/// A fully pinned environment for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The environment's name.
    pub name: Option<String>,
    /// The platform; [`Subdir::NoArch`] if the lock names none and contains no package that depends on one.
    pub platform: Subdir,
    /// The sha256 in hex of the locked environment file ([`Environment::digest`]).
    pub input: Option<String>,
    /// Channels in order of priority, as URLs without secrets.
    pub channels: Vec<String>,
    /// The requested match specs, as written.
    pub specs: Vec<String>,
    /// Virtual packages that the solve assumed.
    pub virtual_packages: Vec<GenericVirtualPackage>,
    /// The options of the solve.
    pub options: SolveOptions,
    /// The parts of packages that the environment leaves out.
    pub slim: Slim,
    /// Variables to be set when the environment is active.
    pub variables: IndexMap<String, String>,
    /// Environment variables and their values. If a URL contains such a value as a secret, the lock file has `${NAME}`
    /// instead.
    pub expansions: Vec<(String, String)>,
    /// The packages, dependencies first. If two packages contain the same path, the file of the later one is installed.
    pub packages: Vec<LockedPackage>,
    /// The requirements of pip for the platform of the lock, as written.
    pub pip_requirements: Vec<String>,
    /// Normalized names (PEP 503) of other requested packages of pip: they are in requirements files, or only their
    /// sources contain the name.
    pub pip_requested: BTreeSet<String>,
    /// The packages of pip, by name.
    pub pip: Vec<LockedPip>,
}

/// The values of `~` and of variables in paths and URLs of a lock (CEP-23).
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// Environment variables, for `$NAME` and `${NAME}`.
    pub variables: Vec<(String, String)>,
}

/// Why a lock could not be read or written.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The file is not a lock of a known format.
    #[error("`{}` is not a lock: {reason}", .file.display())]
    NotALock {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file contains conflict markers of git: a merge is not finished.
    #[error("`{}` holds git's conflict markers", .file.display())]
    Conflict {
        /// The file.
        file: PathBuf,
    },
    /// A line is invalid.
    #[error("{}:{line}: {message}\n  {text}", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value is invalid: the line, the problem, and the remedy.
    #[error("{0}")]
    Place(Box<mlconda_environment::Diagnostic>),
    /// The file does not contain the selected lock.
    #[error("`{}` {message}", .file.display())]
    Selection {
        /// The file.
        file: PathBuf,
        /// What is missing, and what exists.
        message: String,
        /// The remedy.
        help: String,
    },
    /// The prefix could not be read.
    #[error(transparent)]
    Prefix(#[from] mlconda_prefix::PrefixError),
    /// The lock was written by a newer mlconda.
    #[error("`{}` has lock format {found}; this mlconda reads formats up to {}", .file.display(), explicit::FORMAT)]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file has a format that is in the feature `formats`, and this program was built without it.
    #[error("`{}`: this program was built without the feature `formats`, which reads and writes {format}", .file.display())]
    NotBuiltIn {
        /// The file.
        file: PathBuf,
        /// The usual name of a file of the format.
        format: &'static str,
    },
    /// A record without sha256 cannot be pinned.
    #[error("the channel gives no sha256 for `{package}`, so it cannot be pinned")]
    NoDigest {
        /// The record's URL, without secrets.
        package: String,
    },
    /// A record's file name is not that of a conda package.
    #[error("`{url}`: {message}")]
    Record {
        /// The record's URL, without secrets.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

mlconda_types::debug_as_words!(LockError);

impl Lock {
    /// Pins a solution.
    ///
    /// # Errors
    /// If a record has no sha256, or a file name that is not a package's.
    pub fn new(environment: &Environment, host: &Host, solution: &Solution) -> Result<Self, LockError> {
        let packages = linking_order(&solution.records)
            .into_iter()
            .map(|record| {
                let url = redact::url(&record.url);
                let Some(sha256) = record.package_record.sha256 else {
                    return Err(LockError::NoDigest { package: url });
                };
                let mut package = LockedPackage::from_url(record.url.clone(), Digest::Sha256(sha256))
                    .map_err(|message| LockError::Record { url, message })?;
                package.size = record.package_record.size;
                package.record = Some(Arc::new(record.package_record.clone()));
                Ok(package)
            })
            .collect::<Result<_, _>>()?;
        // The specs are stored as written, because an export shows them again. A spec may contain a channel URL with a
        // secret.
        let mut specs: Vec<String> = environment.requirements.iter().map(|each| each.text.clone()).collect();
        mlconda_types::sorting::sort(&mut specs);
        specs.dedup();
        Ok(Self {
            name: environment.name.clone(),
            platform: host.platform,
            input: Some(environment.digest()),
            channels: environment.channels.iter().map(|channel| redact::url(channel.base_url.as_ref())).collect(),
            specs,
            virtual_packages: host.virtual_packages.clone(),
            options: solution.options,
            slim: environment.slim.clone().unwrap_or_default(),
            variables: environment.variables.clone(),
            expansions: environment.expansions.clone(),
            packages,
            pip_requirements: environment.pip.iter().map(|line| redact::text(&line.text)).collect(),
            pip_requested: BTreeSet::new(),
            pip: Vec::new(),
        })
    }

    /// Pins installed packages. The requested specs are not known, so the lock has neither specs nor
    /// the hash of an input; a package without sha256 is pinned by md5, or by its URL alone.
    ///
    /// # Errors
    /// If a record has a file name that is not a package's.
    pub fn of_records(platform: Subdir, records: &[RepoDataRecord]) -> Result<Self, LockError> {
        let packages = linking_order(records)
            .into_iter()
            .map(|record| {
                let known = &record.package_record;
                let digest = known.sha256.map(Digest::Sha256).or(known.md5.map(Digest::Md5));
                let mut package = LockedPackage::from_url(record.url.clone(), digest.unwrap_or(Digest::Unknown))
                    .map_err(|message| LockError::Record { url: redact::url(&record.url), message })?;
                package
                    .agrees(known.name.as_normalized(), &known.version.as_str(), known.build.as_str())
                    .map_err(|message| LockError::Record { url: redact::url(&record.url), message })?;
                package.size = known.size;
                package.record = Some(Arc::new(known.clone()));
                Ok(package)
            })
            .collect::<Result<_, LockError>>()?;
        Ok(Self { packages, ..Self::empty(platform) })
    }

    /// Adds installed distributions that are not from a channel ([`Prefix::distributions`]).
    ///
    /// [`Prefix::distributions`]: mlconda_prefix::Prefix::distributions
    pub fn with_distributions(mut self, records: &[PrefixRecord]) -> Self {
        self.pip = records.iter().filter_map(LockedPip::from_record).collect();
        self.pip_requirements = records.iter().flat_map(|record| record.requested_specs.clone()).collect();
        self
    }

    /// The names of all requested packages of pip.
    pub fn requested(&self) -> BTreeSet<String> {
        let name = |line: &String| {
            let end = line.find(|each: char| !each.is_ascii_alphanumeric() && !"-_.".contains(each));
            Some(normalize(&line[..end.unwrap_or(line.len())]))
                .filter(|name| !name.is_empty() && !name.starts_with('-'))
        };
        self.pip_requirements.iter().filter_map(name).chain(self.pip_requested.iter().cloned()).into_tree()
    }

    /// A lock without packages.
    pub(crate) fn empty(platform: Subdir) -> Self {
        Self {
            name: None,
            platform,
            input: None,
            channels: Vec::new(),
            specs: Vec::new(),
            virtual_packages: Vec::new(),
            options: SolveOptions::default(),
            slim: Slim::default(),
            variables: IndexMap::new(),
            expansions: Vec::new(),
            packages: Vec::new(),
            pip_requirements: Vec::new(),
            pip_requested: BTreeSet::new(),
            pip: Vec::new(),
        }
    }

    /// Reads a lock of any format ([`LockKind`]), which is detected from its contents. Relative paths are relative to
    /// its directory. Of a file with several locks, this is the one of the default environment, if that has one
    /// platform; [`LockFile::read`] returns all.
    ///
    /// # Errors
    /// If the file cannot be read or is not a lock, or if there is more than one to choose from.
    pub fn read(path: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        LockFile::read(path, expansion)?.select(&Selection::default())
    }

    /// The lock as an @EXPLICIT file. The same lock gives the same text; paths in it are absolute.
    pub fn to_text(&self) -> String {
        explicit::render(self, None)
    }

    /// Writes the lock as an @EXPLICIT file, atomically. A file that is up to date is not written. Paths below its
    /// directory are written as relative paths.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<Written, LockError> {
        replace(path, &explicit::render(self, path.parent()))
    }

    /// File names of the packages whose URLs contain a secret that no variable has as its value: the lock file contains
    /// the secret.
    pub fn exposed(&self) -> Vec<&str> {
        let exposes = |package: &&LockedPackage| {
            redact::secrets(&package.url)
                .into_iter()
                .any(|secret| expansions::variable(secret, &self.expansions).is_none())
        };
        self.packages.iter().filter(exposes).map(|package| package.file_name.as_str()).collect()
    }

    /// File names of the packages whose URLs have asterisks instead of a secret, as in records. They are downloaded with
    /// a stored login, or not at all.
    pub fn masked(&self) -> Vec<&str> {
        let is_masked = |package: &&LockedPackage| package.url.as_str().contains(redact::MASK);
        self.packages.iter().filter(is_masked).map(|package| package.file_name.as_str()).collect()
    }

    /// The total size of all archives in bytes, including those of pip, if all are known. Packages without an archive
    /// count as 0.
    pub fn download_size(&self) -> Option<u64> {
        let pip = self.pip.iter().map(|package| match &package.source {
            PipSource::Archive { size, .. } => *size,
            PipSource::Git { .. } | PipSource::Directory { .. } => Some(0),
        });
        self.packages.iter().map(|package| package.size).chain(pip).sum()
    }
}

/// Replaces a file by a text, atomically.
fn replace(path: &Path, text: &str) -> Result<Written, LockError> {
    if files::read(path, files::LARGEST_LOCK).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(Written::UpToDate);
    }
    // The name of the temporary file would not help the reader of the message.
    files::replace(path, text.as_bytes(), Some(0o644)).map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot write `{}`: {}", path.display(), error.kind()))
    })?;
    Ok(Written::Changed)
}

/// The result of [`Lock::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The file is new or has changed.
    Changed,
    /// The file already had the same text, and was not written.
    UpToDate,
}

impl LockedPackage {
    /// The package of a URL. Its name, version and build become parts of paths, so they are checked.
    ///
    /// # Errors
    /// If the URL is not that of a conda package. The error is the message.
    pub fn from_url(url: Url, digest: Digest) -> Result<Self, String> {
        let url = expansions::without_host(url)?;
        let mut segments = url.path_segments().into_iter().flatten().rev();
        let file_name = decode(segments.next().unwrap_or_default())?;
        let stem = [".conda", ".tar.bz2"].iter().find_map(|extension| file_name.strip_suffix(extension));
        let stem = stem.ok_or("a package's file name ends with `.conda` or `.tar.bz2`")?;
        let mut parts = stem.rsplitn(3, '-');
        let (Some(build), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("`{file_name}` is not of the form NAME-VERSION-BUILD"));
        };
        file_name_parts::check(name, version, build)?;
        // No package with an invalid version can be installed, and other formats cannot contain it.
        version
            .parse::<Version>()
            .map_err(|error| format!("`{version}` in `{file_name}` is not a version: {error}"))?;
        let subdir = segments.next().and_then(|segment| segment.parse().ok()).unwrap_or(Subdir::NoArch);
        // Records have normalized names, so the name is converted to lower case.
        let (name, version, build) = (name.to_lowercase(), version.to_owned(), build.to_owned());
        Ok(Self { name, version, build, subdir, file_name, url, digest, size: None, record: None })
    }

    /// Whether a record belongs to this package, by the name, version and build in the archive's file name.
    ///
    /// # Errors
    /// If it does not. The error is the message with the values of the record.
    pub(crate) fn agrees(&self, name: &str, version: &str, build: &str) -> Result<(), String> {
        if name == self.name && version == self.version && build == self.build {
            return Ok(());
        }
        let said = format!("{name} {version} {build}");
        let shown: String = said.chars().take(200).flat_map(char::escape_debug).collect();
        Err(format!("its record says that it is `{shown}`, which is not what `{}` is called", self.file_name))
    }

    /// Whether this is a distribution from no channel, made by [`LockedPip::as_package`].
    pub fn is_distribution(&self) -> bool {
        self.build == distributions::BUILD
    }

    /// The file name without its extension: NAME-VERSION-BUILD.
    pub fn dist_name(&self) -> String {
        if self.is_distribution() {
            return format!("{}-{}-{}", self.name, self.version, self.build);
        }
        let stem = self.file_name.strip_suffix(".conda").or_else(|| self.file_name.strip_suffix(".tar.bz2"));
        stem.unwrap_or(&self.file_name).to_owned()
    }
}

/// Decodes percent-encoding.
fn decode(segment: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let value = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| format!("`{segment}` is not UTF-8"))
}
