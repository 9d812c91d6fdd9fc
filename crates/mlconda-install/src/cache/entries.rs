//! The entries of a cache: everything that can be removed separately. `cache size` counts them, and `cache prune`
//! selects from them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    extraction::Checksums,
    temporary::{self, is_temporary},
};
use crate::package::InfoFiles;

/// The first characters of the names of the directories for packages and for layers. The version of the format follows.
const PACKAGES: &str = "packages-";
const LAYERS: &str = "layers-";

/// The number of first characters that the names of all repodata files of one subdir share.
const KEY: usize = 16;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// Extracted conda packages.
    Packages,
    /// Extracted wheels.
    Wheels,
    /// Finished layers of images.
    Layers,
    /// Responses of channels.
    Repodata,
    /// uv's own cache.
    Uv,
    /// uv and python, installed for locking.
    Tools,
    /// Anything else.
    Other,
}

impl CacheKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Packages, Self::Wheels, Self::Layers, Self::Repodata, Self::Uv, Self::Tools, Self::Other];

    /// The name of the kind, in output for users and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Wheels => "wheels",
            Self::Layers => "layers",
            Self::Repodata => "repodata",
            Self::Uv => "uv",
            Self::Tools => "tools",
            Self::Other => "other",
        }
    }
}

/// An entry of a cache.
pub(super) struct CacheEntry {
    pub(super) kind: CacheKind,
    /// Its files and directories. The first one shows whether the entry is in use, and is removed first.
    pub(super) paths: Vec<PathBuf>,
    /// The time of its last use.
    pub(super) used: SystemTime,
}

impl CacheEntry {
    fn new(kind: CacheKind, paths: Vec<PathBuf>) -> Option<Self> {
        // Paths that another process has removed meanwhile are skipped.
        let times = paths.iter().filter_map(|path| fs_err::symlink_metadata(path).ok()?.modified().ok());
        Some(Self { kind, used: times.max()?, paths })
    }

    /// The size of its files in bytes, including files that prefixes share.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: &PathBuf| match self.kind {
            CacheKind::Packages | CacheKind::Wheels => {
                Checksums::read(path).map_or_else(|_| tree_size(path), |checksums| checksums.bytes)
            }
            _ => tree_size(path),
        };
        self.paths.iter().map(size).sum()
    }
}

/// The size of a file, or of all files in a directory. Unreadable files count as 0.
fn tree_size(path: &Path) -> u64 {
    match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => children(path).iter().map(|path| tree_size(path)).sum(),
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    }
}

/// The entries of a directory, sorted. Empty if it cannot be read.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    mlconda_types::sorting::sort(&mut paths);
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// All entries of a cache. None if the directory does not exist.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn entries(cache: &Path) -> io::Result<Vec<CacheEntry>> {
    let mut found = Vec::new();
    match fs_err::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        directory => drop(directory?),
    }
    for path in children(cache) {
        match name(&path) {
            _ if !path.is_dir() => found.extend(CacheEntry::new(CacheKind::Other, vec![path])),
            name if name.starts_with(PACKAGES) => {
                found
                    .extend(children(&path).into_iter().filter_map(|path| CacheEntry::new(package(&path), vec![path])));
            }
            name if name.starts_with(LAYERS) => found.extend(groups(&path, CacheKind::Layers, layer_key)),
            "repodata" => found.extend(groups(&path, CacheKind::Repodata, repodata_key)),
            "uv" => found.extend(CacheEntry::new(CacheKind::Uv, vec![path])),
            "tools" => {
                let tools = children(&path).into_iter();
                found.extend(tools.filter_map(|path| CacheEntry::new(CacheKind::Tools, vec![path])));
            }
            _ => found.extend(CacheEntry::new(CacheKind::Other, vec![path])),
        }
    }
    Ok(found)
}

/// The kind of a path in the directory of packages.
fn package(path: &Path) -> CacheKind {
    match path.file_name() {
        Some(name) if is_temporary(name) || !path.is_dir() => CacheKind::Other,
        _ if path.join(InfoFiles::WHEEL).is_file() => CacheKind::Wheels,
        _ => CacheKind::Packages,
    }
}

/// Groups the files of a directory that have the same key. Each group is one entry.
fn groups(directory: &Path, kind: CacheKind, key: fn(&str) -> &str) -> Vec<CacheEntry> {
    let (mut groups, mut found) = (BTreeMap::<String, Vec<PathBuf>>::new(), Vec::new());
    for path in children(directory) {
        match path.file_name() {
            Some(name) if is_temporary(name) => found.extend(CacheEntry::new(CacheKind::Other, vec![path])),
            // A directory contains the shards of a subdir.
            _ if path.is_dir() && !path.is_symlink() => found.extend(groups_below(&path, kind)),
            _ => groups.entry(key(name(&path)).to_owned()).or_default().push(path),
        }
    }
    for mut paths in groups.into_values() {
        // A description comes before the files that it describes, because these are not used without it.
        let rank = |path: &PathBuf| (!name(path).ends_with(".info.json"), !name(path).ends_with(".json"));
        mlconda_types::sorting::sort_by_key(&mut paths, rank);
        found.extend(CacheEntry::new(kind, paths));
    }
    found
}

fn groups_below(directory: &Path, kind: CacheKind) -> Vec<CacheEntry> {
    let mut found = Vec::new();
    for path in children(directory) {
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(groups_below(&path, kind)),
            false => found.extend(CacheEntry::new(kind, vec![path])),
        }
    }
    found
}

/// The key of a layer, which consists of the file `KEY` and its description `KEY.json`.
fn layer_key(name: &str) -> &str {
    name.strip_suffix(".json").unwrap_or(name)
}

/// The key in the name of a repodata file, which all files of its subdir share.
fn repodata_key(name: &str) -> &str {
    name.get(..KEY).unwrap_or(name)
}

/// The directories in which processes make temporary directories.
pub(super) fn workshops(cache: &Path) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.is_dir() && [PACKAGES, LAYERS].iter().any(|begin| name(path).starts_with(begin));
    children(cache).into_iter().filter(is_one).collect()
}

/// Removes leftovers of killed processes, also in directories of other format versions.
pub(super) fn sweep(cache: &Path) {
    workshops(cache).iter().for_each(|directory| temporary::remove_abandoned(directory));
}

/// The number and the size of the entries of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheAmount {
    /// The number of entries.
    pub count: usize,
    /// The size of their files in bytes, including files that prefixes share.
    pub bytes: u64,
    /// The earliest time of last use among the entries.
    pub oldest: Option<SystemTime>,
}

impl CacheAmount {
    pub(super) fn of(entry: &CacheEntry) -> Self {
        Self { count: 1, bytes: entry.bytes(), oldest: Some(entry.used) }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
    }
}

/// The number and the size of the entries in a cache, by kind. Kinds without entries are left out, so the result is
/// empty if the directory does not exist.
///
/// # Errors
/// If the directory cannot be read.
pub fn cache_size(cache: &Path) -> io::Result<Vec<(CacheKind, CacheAmount)>> {
    let mut amounts = CacheKind::ALL.map(|kind| (kind, CacheAmount::default()));
    for entry in entries(cache)? {
        for (_, amount) in amounts.iter_mut().filter(|(kind, _)| *kind == entry.kind) {
            amount.add(CacheAmount::of(&entry));
        }
    }
    Ok(amounts.into_iter().filter(|(_, amount)| amount.count > 0).collect())
}
