//! Links of packages in a prefix. If a package names a file below such a link, the file is in the directory that the
//! link leads to. Only links of packages are followed, and only inside the prefix.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::{self, Read},
    path::{Path, PathBuf},
};

use mlconda_lock::in_linking_order;
use mlconda_prefix::{
    distributions,
    on_disk::{OwnFields, resolve},
};
use mlconda_system::{
    beneath::{PathKind, Root},
    files,
};
use rattler_conda_types::{PackageRecord, PrefixRecord, prefix_record::PathType};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

/// The paths of a record that may be links: all soft links, or all files if the record has no path types.
pub fn of_record(record: &PrefixRecord) -> impl Iterator<Item = &PathBuf> {
    let entries = &record.paths_data.paths;
    let links = entries.iter().filter(|entry| entry.path_type == PathType::SoftLink).map(|entry| &entry.relative_path);
    links.chain(record.files.iter().filter(|_| entries.is_empty()))
}

/// How to treat a package's link that the user has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The link is not followed: a path below it is taken as it stands.
    NotFollowed,
    /// The link is followed to the target that its package gave it, because the files are still there. The user's
    /// replacement is ignored.
    AsMade,
}

/// The links of recorded packages in a prefix.
pub struct PackageLinks<'a> {
    prefix: &'a Root,
    replaced: Replaced,
    /// The records with a link at each path. Several packages may have a link at one path.
    names: HashMap<&'a Path, Vec<&'a PrefixRecord>>,
    records: Vec<&'a PrefixRecord>,
    known: RefCell<HashMap<PathBuf, Option<PathBuf>>>,
    /// The links that a record has with their targets, by the name of its file.
    targets: RefCell<HashMap<PathBuf, BTreeMap<PathBuf, PathBuf>>>,
}

impl<'a> PackageLinks<'a> {
    /// Takes the links in these records.
    pub fn new(prefix: &'a Root, records: impl Iterator<Item = &'a PrefixRecord>, replaced: Replaced) -> Self {
        let mut names: HashMap<&Path, Vec<&PrefixRecord>> = HashMap::new();
        let records: Vec<&PrefixRecord> = records.collect();
        for record in &records {
            of_record(record).for_each(|path| names.entry(path).or_default().push(record));
        }
        Self { prefix, replaced, names, records, known: RefCell::default(), targets: RefCell::default() }
    }

    /// The records with a link at a path.
    pub fn records(&self, path: &Path) -> &[&'a PrefixRecord] {
        self.names.get(path).map_or(&[], Vec::as_slice)
    }

    /// The target of the link that a package has made at a path. `None` if no package has made one, or if the link is
    /// not followed.
    ///
    /// # Errors
    /// If the link at the path cannot be read.
    pub fn at(&self, path: &Path) -> io::Result<Option<PathBuf>> {
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
        let records = self.records(path);
        let order = in_linking_order(&packages(records), &packages(&self.records));
        let made = link_made(text.clone(), &mut order.into_iter().map(|number| self.recorded(records[number], path)));
        Ok(match made {
            _ if text.is_some() && made == text => made,
            _ if self.replaced == Replaced::NotFollowed => None,
            // Nobody knows where the link led. It counts as leading outside (`/`), unless files of packages are in this
            // directory: then another tool kept a directory that existed before the link, or copied the link's target.
            None if there == Some(PathKind::Directory) && !self.has_files_below(path) => Some("/".into()),
            made => made,
        })
    }

    /// The target of a link in the record of its package. `None` if another tool wrote the record, or if it cannot be read.
    fn recorded(&self, record: &PrefixRecord, path: &Path) -> Option<PathBuf> {
        let read = |name: &Path| {
            let text = self.prefix.read_all(&Path::new("conda-meta").join(name), files::LARGEST_RECORD).ok()?;
            Some(OwnFields::of_record(&text).ok()?.links)
        };
        let (name, mut known) = (distributions::record_name(record), self.targets.borrow_mut());
        known.entry(name).or_insert_with_key(|name| read(name).unwrap_or_default()).get(path).cloned()
    }

    /// Whether at least one recorded file below a directory really is there, with the recorded content. Large files are
    /// not read.
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

    /// Resolves the links of packages in a path. `None` if the path leads out of the prefix.
    ///
    /// # Errors
    /// If a link cannot be read.
    pub fn place(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        resolve(path, &|path| self.at(path))
    }
}

fn packages<'a>(records: &[&'a PrefixRecord]) -> Vec<&'a PackageRecord> {
    records.iter().map(|record| &record.repodata_record.package_record).collect()
}

/// The target that packages have given to a link. If several packages have made a link at this path, the target is that
/// of the existing link. If the user has replaced the link, it is the target of the package that is linked last.
///
/// `there` is the target of the existing link, if there is one. `told` are the targets in the records of the packages,
/// in linking order. Records of other tools have no target; then the existing link may be that tool's.
pub(crate) fn link_made(there: Option<PathBuf>, told: &mut dyn Iterator<Item = Option<PathBuf>>) -> Option<PathBuf> {
    let (mut last, mut is_told) = (None, true);
    for target in told {
        if target.is_some() && target == there {
            return there;
        }
        is_told &= target.is_some();
        last = target.or(last);
    }
    if is_told { last } else { there.or(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_links_the_one_that_is_there_or_was_made_last_counts() {
        let made = |there: Option<&str>, told: &[Option<&str>]| {
            link_made(there.map(PathBuf::from), &mut told.iter().map(|target| target.map(PathBuf::from)))
        };
        assert_eq!(made(Some("a"), &[Some("a"), Some("b")]), Some("a".into()));
        for replaced in [None, Some("mine")] {
            assert_eq!(made(replaced, &[Some("a"), Some("b")]), Some("b".into()));
        }
        assert_eq!(made(Some("theirs"), &[Some("a"), None]), Some("theirs".into()), "another tool's");
        assert_eq!(made(None, &[Some("a"), None]), Some("a".into()));
        assert_eq!(made(None, &[None]), None);
    }

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
