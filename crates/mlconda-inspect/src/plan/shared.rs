//! Paths that packages share. Behind a link of a package, two packages may name one file differently.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk;
use rattler_conda_types::{PrefixRecord, prefix_record::PathType};

use super::{Key, key};

/// Takes out of `stays` what shares a path with a package that goes: it holds the other's file, perhaps, so it is linked
/// anew. And so on.
pub(super) fn remove_sharing(
    prefix: &Path,
    records: &[PrefixRecord],
    stays: &mut HashSet<Key>,
    may_go: &dyn Fn(&Key) -> bool,
) {
    let behind = behind_links(prefix, records);
    let mut gone: HashSet<&PathBuf> = HashSet::new();
    let mut goes: Vec<&PrefixRecord> = records.iter().filter(|old| !stays.contains(&key(old))).collect();
    while !goes.is_empty() {
        gone.extend(goes.drain(..).flat_map(|old| &old.files).map(|path| place(&behind, path)));
        let shares = |record: &PrefixRecord| record.files.iter().any(|path| gone.contains(place(&behind, path)));
        let left = records.iter().map(|record| (record, key(record)));
        goes = left
            .filter(|(record, key)| stays.contains(key) && may_go(key) && shares(record))
            .map(|(record, _)| record)
            .collect();
        for record in &goes {
            stays.remove(&key(record));
        }
    }
}

/// Where a file of a record lies.
fn place<'a>(behind: &'a HashMap<&PathBuf, PathBuf>, path: &'a PathBuf) -> &'a PathBuf {
    behind.get(path).unwrap_or(path)
}

/// The places of the files that are named below links of packages, by their names in the records. A link is followed as it
/// is in the prefix.
fn behind_links<'a>(prefix: &Path, records: &'a [PrefixRecord]) -> HashMap<&'a PathBuf, PathBuf> {
    let entries = records.iter().flat_map(|record| &record.paths_data.paths);
    let links =
        entries.filter(|entry| entry.path_type == PathType::SoftLink).map(|entry| entry.relative_path.as_path());
    let links: HashSet<&Path> = links.collect();
    let link = |path: &Path| Ok(links.contains(path).then(|| fs_err::read_link(prefix.join(path)).ok()).flatten());
    let (mut found, mut last) = (HashMap::new(), (None, false));
    for path in records.iter().flat_map(|record| &record.files) {
        // Most files are in the directory of the one before.
        if last.0 != path.parent() {
            last = (path.parent(), path.ancestors().skip(1).any(|above| links.contains(above)));
        }
        if last.1
            && let Ok(Some(place)) = on_disk::resolve(path, &link)
        {
            found.insert(path, place);
        }
    }
    found
}
