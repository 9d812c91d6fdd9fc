//! Resolves paths in records that are below links of packages.
//!
//! For example, a sysroot contains the link `lib64 -> lib`, and another package contains `lib64/libudev.so.1`. The real
//! path of this file is `lib/libudev.so.1`, whichever package is unpacked first. Its record keeps the name
//! `lib64/libudev.so.1`, as in conda, which writes through the link. All changes of a prefix use real paths
//! (`mlconda_inspect::links`).

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::{PrefixRecord, prefix_record::PathsEntry};

use super::record_file;

/// The records of a prefix, with real paths.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The records of packages to remove.
    pub(super) unlink: Vec<PrefixRecord>,
    /// The records of kept packages, with the future paths of their files.
    pub(super) keep: Vec<PrefixRecord>,
    /// Paths that files of kept packages leave, because a link above them is added or removed.
    pub(super) vacated: Vec<PathBuf>,
    /// The new paths of such files, and directories in records, if no file of a kept package is there now.
    pub(super) arrivals: HashSet<PathBuf>,
    /// Directories of kept packages that become empty.
    pub(super) emptied: Vec<PathBuf>,
}

/// The parents of all files and empty directories in records.
pub(super) fn parents<'a>(records: impl Iterator<Item = &'a PrefixRecord>) -> HashSet<&'a Path> {
    let (mut found, mut last) = (HashSet::new(), None);
    let directories = |record| record_file::directories(record).map(|entry| &entry.relative_path);
    for path in records.flat_map(|record| record_file::files(record).chain(directories(record))) {
        let parent = path.parent();
        // Most files are in the same directory as the file before.
        if parent == last {
            continue;
        }
        last = parent;
        for path in path.ancestors().skip(1) {
            if !found.insert(path) {
                break;
            }
        }
    }
    found
}

/// A record with real paths. Paths that lead out of the prefix are left out, because no file of the package is there.
pub(super) fn resolved_paths(
    record: &PrefixRecord,
    place: &dyn Fn(&Path) -> io::Result<Option<PathBuf>>,
) -> io::Result<PrefixRecord> {
    let mut resolved = record.clone();
    resolved.files.clear();
    for path in &record.files {
        resolved.files.extend(place(path)?);
    }
    resolved.paths_data.paths.clear();
    for entry in &record.paths_data.paths {
        let relative_path = place(&entry.relative_path)?;
        let moved = |relative_path| PathsEntry { relative_path, ..entry.clone() };
        resolved.paths_data.paths.extend(relative_path.map(moved));
    }
    Ok(resolved)
}
