//! Reads the records of a prefix, as far as a proof needs them.
//!
//! A record is read as text twice over, once for the package and once for its paths: that spares both a detour
//! through a generic value, which the record's flat form would otherwise ask for. Of the paths only what is
//! compared is kept.

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    path::{Path, PathBuf},
};

use rattler_conda_types::{
    PackageRecord,
    prefix_record::{PathType, PathsEntry, PrefixPaths},
};
use rattler_digest::Sha256Hash;
use serde::Deserialize;

use super::{Finding, Kind, each};
use crate::prefix::{Prefix, PrefixError};

/// A package that is recorded.
pub(super) struct Package {
    /// NAME-VERSION-BUILD.
    pub(super) dist_name: String,
    /// What repodata says of it.
    pub(super) record: PackageRecord,
    /// What it holds.
    pub(super) entries: Vec<Entry>,
}

impl Package {
    /// The name.
    pub(super) fn name(&self) -> &str {
        self.record.name.as_normalized()
    }
}

/// A path that a package holds.
pub(super) struct Entry {
    /// The path, relative to the prefix.
    pub(super) path: PathBuf,
    /// What it is; a record from before `paths_data` does not tell.
    pub(super) kind: Option<Kind>,
    /// The sha256 that the file has in the prefix.
    pub(super) sha256: Option<Sha256Hash>,
    /// The size in bytes that it has there; where the prefix was put in, nothing says how long the file has become.
    pub(super) size: Option<u64>,
    /// The permissions that it may have; any, if there are none.
    pub(super) modes: &'static [u32],
}

/// The permissions of the files that mlconda writes, whatever the umask.
const FILE_MODES: &[u32] = &[0o644, 0o755];
/// Those of the commands that it makes.
const COMMAND_MODES: &[u32] = &[0o755];

/// The part of a record that tells what was linked.
#[derive(Deserialize)]
struct Linked {
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    paths_data: PrefixPaths,
    #[serde(default)]
    link: Option<Link>,
}

/// Where a package was linked from. mlconda has no directory to name; with all others, the modes of files are
/// the archive's or the umask's.
#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    source: PathBuf,
}

/// Reads all records, sorted by file name. One that cannot be read is a finding.
pub(super) fn read(
    prefix: &Prefix,
    threads: NonZero<usize>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Package>, PrefixError> {
    let files = prefix.record_files()?;
    let mut packages: Vec<Package> = Vec::with_capacity(files.len());
    for (path, outcome) in files.iter().zip(each(&files, threads, || (), |(), path| read_one(path))) {
        match outcome {
            Ok(package) => packages.push(package),
            Err(error) => {
                let path = path.strip_prefix(prefix.path()).unwrap_or(path).to_owned();
                findings.push(Finding::Record { path, reason: error.to_string() });
            }
        }
    }
    let mut by_name: HashMap<&str, &str> = HashMap::new();
    for package in &packages {
        if let Some(other) = by_name.insert(package.name(), &package.dist_name) {
            findings.push(Finding::Twice { package: package.dist_name.clone(), other: other.to_owned() });
        }
    }
    Ok(packages)
}

fn read_one(path: &Path) -> io::Result<Package> {
    let text = fs_err::read(path)?;
    let record: PackageRecord = serde_json::from_slice(&text)?;
    let linked: Linked = serde_json::from_slice(&text)?;
    let ours = linked.link.is_some_and(|link| link.source.as_os_str().is_empty());
    let mut entries: Vec<Entry> = linked.paths_data.paths.into_iter().map(|entry| of_entry(entry, ours)).collect();
    if entries.is_empty() {
        let bare = |path| Entry { path, kind: None, sha256: None, size: None, modes: &[] };
        entries.extend(linked.files.into_iter().map(bare));
    }
    let dist_name = format!("{}-{}-{}", record.name.as_normalized(), record.version.as_str(), record.build);
    Ok(Package { dist_name, record, entries })
}

fn of_entry(entry: PathsEntry, ours: bool) -> Entry {
    let kind = match entry.path_type {
        PathType::SoftLink => Kind::Link,
        PathType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    let is_plain = kind == Kind::File && entry.prefix_placeholder.is_none();
    let modes: &[u32] = match (ours, kind, entry.path_type) {
        (true, Kind::File, PathType::UnixPythonEntryPoint) => COMMAND_MODES,
        (true, Kind::File, _) => FILE_MODES,
        _ => &[],
    };
    Entry {
        path: entry.relative_path,
        kind: Some(kind),
        // A file that was not changed is the package's own.
        sha256: entry.sha256_in_prefix.or(entry.sha256.filter(|_| is_plain)).filter(|_| kind == Kind::File),
        size: entry.size_in_bytes.filter(|_| is_plain),
        modes,
    }
}
