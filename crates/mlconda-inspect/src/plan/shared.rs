//! Finds packages that share paths. Below links of packages, two packages may use different names for one file.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk;
use mlconda_system::beneath::Root;
use rattler_conda_types::PrefixRecord;

use super::{Key, key};
use crate::links::{self, PackageLinks, Replaced};

/// Removes from `stays` all packages that share a path with a removed package, because the shared file may be the
/// removed package's. They are linked again. The same is done for packages that share a path with these, and so on.
/// Packages that share a path only through a removed link are also linked again, because without the link each gets a
/// file of its own. `may_go` tells which packages may be removed from `stays`.
pub(super) fn remove_sharing(
    prefix: &Path,
    records: &[PrefixRecord],
    stays: &mut HashSet<Key>,
    may_go: &dyn Fn(&Key) -> bool,
) {
    let behind = behind_links(prefix, records);
    let several = places_with_several_names(&behind, records);
    let (mut gone, mut gone_links): (HashSet<&PathBuf>, HashSet<&PathBuf>) = Default::default();
    let mut goes: Vec<&PrefixRecord> = records.iter().filter(|old| !stays.contains(&key(old))).collect();
    while !goes.is_empty() {
        gone_links.extend(goes.iter().copied().flat_map(links::of_record));
        gone.extend(goes.drain(..).flat_map(|old| &old.files).map(|path| place(&behind, path)));
        let is_apart = |path: &PathBuf| {
            let found = behind.get(path).filter(|found| several.contains(&found.place));
            found.is_some_and(|found| found.links.iter().any(|link| gone_links.contains(link)))
        };
        let is_concerned = |path: &PathBuf| gone.contains(place(&behind, path)) || is_apart(path);
        let shares = |record: &PrefixRecord| record.files.iter().any(is_concerned);
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

/// The real path of a file that is named below links.
struct Behind {
    place: PathBuf,
    /// The links that were followed, each by its own real path.
    links: Vec<PathBuf>,
}

/// The real paths for which packages have several names.
fn places_with_several_names<'a>(
    behind: &'a HashMap<&PathBuf, Behind>,
    records: &'a [PrefixRecord],
) -> HashSet<&'a PathBuf> {
    let places: HashSet<&PathBuf> = behind.values().map(|found| &found.place).collect();
    let files = records.iter().filter(|_| !places.is_empty()).flat_map(|record| &record.files);
    let mut names: Vec<(&PathBuf, &PathBuf)> = files.map(|path| (place(behind, path), path)).collect();
    names.retain(|(place, _)| places.contains(place));
    mlconda_types::sorting::sort(&mut names);
    names.windows(2).filter(|two| two[0].0 == two[1].0 && two[0].1 != two[1].1).map(|two| two[0].0).collect()
}

/// The real path of a file in a record.
fn place<'a>(behind: &'a HashMap<&PathBuf, Behind>, path: &'a PathBuf) -> &'a PathBuf {
    behind.get(path).map_or(path, |found| &found.place)
}

/// For each recorded path below links of packages: the real path. A link is followed to the target that its package
/// gave it, even if something else is there now, because the files are still at that target. If the record has no
/// target, the existing link is followed.
fn behind_links<'a>(prefix: &Path, records: &'a [PrefixRecord]) -> HashMap<&'a PathBuf, Behind> {
    let Ok(root) = Root::open(prefix) else { return HashMap::new() };
    let links = PackageLinks::new(&root, records.iter(), Replaced::AsMade);
    let followed: RefCell<Vec<PathBuf>> = RefCell::default();
    let link = |path: &Path| {
        let to = links.at(path)?;
        followed.borrow_mut().extend(to.is_some().then(|| path.to_owned()));
        Ok(to)
    };
    let (mut found, mut last) = (HashMap::new(), (None, false));
    for path in records.iter().flat_map(|record| &record.files) {
        // Most files are in the same directory as the file before.
        if last.0 != path.parent() {
            last = (path.parent(), path.ancestors().skip(1).any(|above| !links.records(above).is_empty()));
        }
        if last.1
            && let Ok(Some(place)) = on_disk::resolve(path, &link)
        {
            found.insert(path, Behind { place, links: followed.take() });
        }
        followed.take();
    }
    found
}
