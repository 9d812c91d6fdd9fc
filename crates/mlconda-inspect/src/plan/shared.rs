//! Paths that packages share. Behind a link of a package, two packages may name one file differently.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use mlconda_lock::in_linking_order;
use mlconda_prefix::{distributions, on_disk};
use mlconda_system::files;
use rattler_conda_types::{PrefixRecord, prefix_record::PathType};

use super::{Key, key};

/// Takes out of `stays` what shares a path with a package that goes: it holds the other's file, perhaps, so it is linked
/// anew. And so on. The same holds for what shares a path with any other package by way of a link that goes: each has a
/// path of its own then.
pub(super) fn remove_sharing(
    prefix: &Path,
    records: &[PrefixRecord],
    stays: &mut HashSet<Key>,
    may_go: &dyn Fn(&Key) -> bool,
) {
    let behind = behind_links(prefix, records);
    let several = places_with_several_names(&behind, records);
    let (mut gone, mut links): (HashSet<&PathBuf>, HashSet<&Path>) = Default::default();
    let mut goes: Vec<&PrefixRecord> = records.iter().filter(|old| !stays.contains(&key(old))).collect();
    while !goes.is_empty() {
        links.extend(goes.iter().copied().flat_map(links_of));
        gone.extend(goes.drain(..).flat_map(|old| &old.files).map(|path| place(&behind, path)));
        let is_apart = |path: &PathBuf| {
            let found = behind.get(path).filter(|found| several.contains(&found.place));
            found.is_some_and(|found| found.links.iter().any(|link| links.contains(link.as_path())))
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

/// The soft links of a record.
fn links_of(record: &PrefixRecord) -> impl Iterator<Item = &Path> {
    let links = record.paths_data.paths.iter().filter(|entry| entry.path_type == PathType::SoftLink);
    links.map(|entry| entry.relative_path.as_path())
}

/// Where a file lies that is named below links.
struct Behind {
    place: PathBuf,
    /// The links on the way there, each by its own place.
    links: Vec<PathBuf>,
}

/// The places behind links for which packages have several names.
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

/// Where a file of a record lies.
fn place<'a>(behind: &'a HashMap<&PathBuf, Behind>, path: &'a PathBuf) -> &'a PathBuf {
    behind.get(path).map_or(path, |found| &found.place)
}

/// The places of the files that are named below links of packages, by their names in the records. A link is followed as its
/// package made it, whatever is there now: there the files still lie. If the record does not tell, it is followed as it is.
fn behind_links<'a>(prefix: &Path, records: &'a [PrefixRecord]) -> HashMap<&'a PathBuf, Behind> {
    let mut links: HashMap<&Path, Vec<&PrefixRecord>> = HashMap::new();
    for record in records {
        links_of(record).for_each(|path| links.entry(path).or_default().push(record));
    }
    // Few links have something below them.
    let known: RefCell<HashMap<PathBuf, Option<PathBuf>>> = RefCell::default();
    let package = |record: &'a PrefixRecord| &record.repodata_record.package_record;
    let in_order = |several: &[&'a PrefixRecord]| in_linking_order(several, package, records.iter().map(package));
    let target = |path: &Path, several: &[&'a PrefixRecord]| {
        if let Some(to) = known.borrow().get(path) {
            return to.clone();
        }
        let there = fs_err::read_link(prefix.join(path)).ok();
        let to = on_disk::link_made(there, in_order(several).into_iter().map(|record| made_link(prefix, record, path)));
        known.borrow_mut().insert(path.to_owned(), to.clone());
        to
    };
    let followed: RefCell<Vec<PathBuf>> = RefCell::default();
    let link = |path: &Path| {
        let to = links.get(path).and_then(|records| target(path, records));
        followed.borrow_mut().extend(to.is_some().then(|| path.to_owned()));
        Ok(to)
    };
    let (mut found, mut last) = (HashMap::new(), (None, false));
    for path in records.iter().flat_map(|record| &record.files) {
        // Most files are in the directory of the one before.
        if last.0 != path.parent() {
            last = (path.parent(), path.ancestors().skip(1).any(|above| links.contains_key(above)));
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

/// The target of a link of a package, as it made it; `None` if it has none there, or its record does not tell.
fn made_link(prefix: &Path, record: &PrefixRecord, path: &Path) -> Option<PathBuf> {
    let place = prefix.join("conda-meta").join(distributions::record_name(record));
    let text = files::read(&place, files::LARGEST_RECORD).ok()?;
    on_disk::OwnFields::of_record(&text).ok()?.links.remove(path)
}
