//! Finds python projects with two installed distributions. Python sees both, and reports one of them as the installed
//! version.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use mlconda_prefix::{PrefixError, distributions};
use mlconda_types::sorting::IntoTree;

use super::{Finding, records::RecordedPackage};

/// Compares the metadata of all distributions. Two distributions in one and the same package are accepted, because the
/// package was built that way.
pub(super) fn check(
    prefix: &Path,
    packages: &[RecordedPackage],
    findings: &mut Vec<Finding>,
) -> Result<(), PrefixError> {
    let mut holders: HashMap<&Path, &str> = HashMap::new();
    for package in packages {
        for path in package.entries.iter().map(|entry| entry.path.as_path()) {
            let place = if distributions::is_metadata(path) { path.parent() } else { Some(path).filter(|it| egg(it)) };
            holders.extend(place.map(|place| (place, package.dist_name.as_str())));
        }
    }
    for site in distributions::site_packages(prefix)? {
        let mut projects: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for entry in fs_err::read_dir(&site)? {
            let place = entry?.path();
            let is_one = place.extension().is_some_and(|end| end == "dist-info") && place.join("METADATA").is_file();
            let name = distributions::name_of(&place.join("METADATA")).filter(|_| is_one || egg(&place));
            let relative = place.strip_prefix(prefix).unwrap_or(&place).to_owned();
            name.into_iter().for_each(|name| projects.entry(name).or_default().push(relative.clone()));
        }
        for mut places in projects.into_values().filter(|places| places.len() > 1) {
            let holder = |place: &PathBuf| holders.get(place.as_path()).copied();
            // The metadata of packages come first. Further ones are surplus.
            mlconda_types::sorting::sort_by_key(&mut places, |place| (holder(place).is_none(), place.clone()));
            let Some((first, others)) = places.split_first() else { continue };
            for place in others.iter().filter(|place| holder(place).is_none() || holder(place) != holder(first)) {
                let packages = holder(place).map(str::to_owned).into_iter().into_tree();
                findings.push(Finding::SameProject { path: place.clone(), packages, other: first.clone() });
            }
        }
    }
    Ok(())
}

/// Whether a path is metadata in the old format (`.egg-info`).
fn egg(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "egg-info")
}
