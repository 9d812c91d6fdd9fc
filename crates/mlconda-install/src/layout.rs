//! Resolves paths in records that lead through links of packages.
//!
//! A sysroot contains the link `lib64 -> lib`, and another package contains `lib64/libudev.so.1`. This file belongs to
//! `lib/libudev.so.1`, whichever package is unpacked first. Its record keeps the name `lib64/libudev.so.1`, as in conda,
//! which writes through the link. Everything that changes the prefix works with resolved paths; this module resolves them.
//! Only links of packages are followed, and only inside the prefix.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io::{self, Read},
    path::{Path, PathBuf},
};

use mlconda_lock::in_linking_order;
use mlconda_prefix::{
    distributions,
    on_disk::{self, resolve},
};
use mlconda_system::{
    beneath::{PathKind, Root},
    files,
};
use rattler_conda_types::{PrefixRecord, prefix_record::PathsEntry};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

use super::record_file;

/// The records of a prefix with resolved paths.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The records of packages to remove.
    pub(super) unlink: Vec<PrefixRecord>,
    /// The records of kept packages, with the paths that their files will have.
    pub(super) keep: Vec<PrefixRecord>,
    /// Paths that files of kept packages leave, because a link to their directory is added or removed.
    pub(super) vacated: Vec<PathBuf>,
    /// Paths to which such files come, and directories that packages name: no file of a kept package is there now.
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
        // Most files are in the directory of the one before.
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

/// What holds of a link of a package that the user has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It is not followed: nothing comes through it.
    NotFollowed,
    /// It is followed as its package made it: there the files still lie. What is in its place is the user's.
    AsMade,
}

/// The links of recorded packages in a prefix.
pub(super) struct PackageLinks<'a> {
    prefix: &'a Root,
    replaced: Replaced,
    /// Several packages may have a link at one path.
    names: HashMap<&'a Path, Vec<&'a PrefixRecord>>,
    records: Vec<&'a PrefixRecord>,
    known: RefCell<HashMap<PathBuf, Option<PathBuf>>>,
}

impl<'a> PackageLinks<'a> {
    pub(crate) fn new(prefix: &'a Root, records: impl Iterator<Item = &'a PrefixRecord>, replaced: Replaced) -> Self {
        let mut names: HashMap<&Path, Vec<&PrefixRecord>> = HashMap::new();
        let records: Vec<&PrefixRecord> = records.collect();
        for record in &records {
            record_file::links(record).for_each(|path| names.entry(path).or_default().push(record));
        }
        Self { prefix, replaced, names, records, known: RefCell::default() }
    }

    /// The records with a link at a path.
    pub(super) fn records(&self, path: &Path) -> &[&'a PrefixRecord] {
        self.names.get(path).map_or(&[], Vec::as_slice)
    }

    /// The target of the link at a path that a package has made; `None` if it has made none, or it is not followed.
    pub(super) fn at(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        if self.records(path).is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(known.clone());
        }
        let target = self.target(path)?;
        self.known.borrow_mut().insert(path.to_owned(), target.clone());
        Ok(target)
    }

    fn target(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let there = self.prefix.lookup(path)?.map(|there| there.kind);
        let text = (there == Some(PathKind::Link)).then(|| self.prefix.read_link(path)).transpose()?;
        let told = |record: &PrefixRecord| {
            let place = Path::new("conda-meta").join(distributions::record_name(record));
            record_file::read(self.prefix, &place).ok()?.1.links.remove(path)
        };
        let made = on_disk::link_made(text.clone(), self.in_order(path).into_iter().map(told));
        Ok(match made {
            _ if text.is_some() && made == text => made,
            _ if self.replaced == Replaced::NotFollowed => None,
            // Nobody knows any more where it led. Nowhere, that is, and not here, unless files of packages lie here: another
            // tool has left a directory that was there before the link, or has copied what was behind it.
            None if there == Some(PathKind::Directory) && !self.has_files_below(path) => Some("/".into()),
            made => made,
        })
    }

    /// The records with a link at a path, in linking order.
    fn in_order(&self, path: &Path) -> Vec<&'a PrefixRecord> {
        let package = |record: &'a PrefixRecord| &record.repodata_record.package_record;
        in_linking_order(self.records(path), package, self.records.iter().copied().map(package))
    }

    /// Whether a file that a record names below this directory lies in it, with the content that the record tells. Large
    /// files are not read.
    fn has_files_below(&self, directory: &Path) -> bool {
        let entries = self.records.iter().flat_map(|record| &record.paths_data.paths);
        let mut below = entries.filter(|entry| entry.relative_path.starts_with(directory));
        below.any(|entry| {
            let (hash, path) = (entry.sha256_in_prefix.or(entry.sha256), &entry.relative_path);
            let is_small = entry.size_in_bytes.is_some_and(|size| size <= files::LARGEST_TEXT);
            is_small && hash.is_some() && self.content_hash(path) == hash
        })
    }

    fn content_hash(&self, path: &Path) -> Option<Sha256Hash> {
        let mut content = Vec::new();
        self.prefix.read(path).ok()?.take(files::LARGEST_TEXT).read_to_end(&mut content).ok()?;
        Some(compute_bytes_digest::<Sha256>(content))
    }

    /// Resolves a path; `None` if it leads out of the prefix.
    pub(crate) fn place(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        resolve(path, &|path| self.at(path))
    }
}

/// A record with resolved paths, without those that lead out of the prefix: nothing of the package is there.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_in_the_prefix_and_not_out_of_it() {
        let links = [
            ("usr/lib64", "../lib64"),
            ("lib64", "lib"),
            ("up", "../outside"),
            ("root", "/etc"),
            ("a", "b"),
            ("b", "a"),
            ("deep/in", "../usr/lib64/x"),
        ];
        let link = |path: &Path| Ok(links.iter().find(|(at, _)| Path::new(at) == path).map(|(_, to)| to.into()));
        let place = |path: &str| resolve(Path::new(path), &link).unwrap();
        assert_eq!(place("usr/lib64/libudev.so.1"), Some("lib/libudev.so.1".into()));
        assert_eq!(place("deep/in/y"), Some("lib/x/y".into()));
        assert_eq!(place("lib64"), Some("lib64".into()), "a link itself is where it is");
        assert_eq!([place("up/x"), place("root/passwd"), place("a/x"), place("../x")], [const { None }; 4]);
    }
}
