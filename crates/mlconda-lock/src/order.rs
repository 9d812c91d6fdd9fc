//! The order in which packages are linked: dependencies first.
//!
//! Where two packages contain the same path, the one that is linked later wins, so the order affects the prefix. This
//! is conda's order (`PrefixGraph`): packages without relations first, then level by level, each level sorted by name,
//! so that clashes have the same result as in conda.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mlconda_types::{dependency::dependency_name, sorting::IntoTree};
use rattler_conda_types::{PackageRecord, RepoDataRecord};

/// Sorts records. Cycles (pip and python, say) are cut at the package with the fewest open dependencies.
pub fn linking_order(records: &[RepoDataRecord]) -> Vec<&RepoDataRecord> {
    let packages: Vec<&PackageRecord> = records.iter().map(|record| &record.package_record).collect();
    order_of(&packages).into_iter().map(|number| &records[number]).collect()
}

/// The indices of some packages, in the linking order of `all`.
pub fn in_linking_order(some: &[&PackageRecord], all: &[&PackageRecord]) -> Vec<usize> {
    if some.len() < 2 {
        return (0..some.len()).collect();
    }
    let mut numbers = Vec::new();
    for number in order_of(all) {
        numbers.extend((0..some.len()).filter(|one| some[*one].name == all[number].name));
    }
    numbers
}

/// The indices of packages in linking order. If several have one name, only the last.
fn order_of(packages: &[&PackageRecord]) -> Vec<usize> {
    let by_name: BTreeMap<&str, usize> =
        packages.iter().enumerate().map(|(number, record)| (record.name.as_normalized(), number)).into_tree();
    let mut open: BTreeMap<&str, BTreeSet<&str>> = by_name
        .iter()
        .map(|(name, number)| {
            let depends = packages[*number].depends.iter().map(|spec| dependency_name(spec));
            (*name, depends.filter(|other| other != name && by_name.contains_key(other)).into_tree())
        })
        .into_tree();
    // As in conda, python does not wait for pip: pip depends on python.
    if let Some(depends) = open.get_mut("python") {
        depends.remove("pip");
    }
    order(&mut open).into_iter().filter_map(|name| by_name.get(name).copied()).collect()
}

/// Names in linking order. `open` maps each name to the names it still waits for, and is emptied.
pub(crate) fn order<'a>(open: &mut BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    // For each name, the names that wait for it. So the cost of a level depends on the names that it frees, not on all
    // open names.
    let mut waiting: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, depends) in &*open {
        depends.iter().for_each(|other| waiting.entry(other).or_default().push(name));
    }
    let is_free = |(name, depends): &(&&'a str, &BTreeSet<&str>)| depends.is_empty() && !waiting.contains_key(**name);
    let mut sorted: Vec<&str> = open.iter().filter(is_free).map(|(name, _)| *name).collect();
    sorted.iter().for_each(|name| {
        open.remove(name);
    });
    let mut level: Vec<&str> = open.iter().filter(|(_, depends)| depends.is_empty()).map(|(name, _)| *name).collect();
    loop {
        if level.is_empty() {
            match open.iter().min_by_key(|(name, depends)| (depends.len(), **name)) {
                Some((name, _)) => level.push(name),
                None => return sorted,
            }
        }
        sorted.extend(&level);
        for name in &level {
            open.remove(name);
        }
        let mut next = Vec::new();
        for name in &level {
            for other in waiting.get(name).into_iter().flatten() {
                let Some(depends) = open.get_mut(other) else { continue };
                if depends.remove(name) && depends.is_empty() {
                    next.push(*other);
                }
            }
        }
        mlconda_types::sorting::sort(&mut next);
        level = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(edges: &[(&'static str, &[&'static str])]) -> Vec<&'static str> {
        order(&mut edges.iter().map(|(name, depends)| (*name, depends.iter().copied().collect())).collect())
    }

    #[test]
    fn dependencies_come_first_lonely_packages_before_all_and_levels_by_name() {
        let edges: &[(_, &[_])] =
            &[("app", &["lib-b", "lib-a"]), ("lib-a", &["base"]), ("lib-b", &["base"]), ("base", &[]), ("zz", &[])];
        assert_eq!(sorted(edges), ["zz", "base", "lib-a", "lib-b", "app"]);
    }

    #[test]
    fn a_cycle_is_cut_and_loses_no_package() {
        let edges: &[(_, &[_])] = &[("a", &["b"]), ("b", &["a", "c"]), ("c", &[])];
        assert_eq!(sorted(edges), ["c", "a", "b"]);
    }

    #[test]
    fn names_end_where_a_constraint_begins() {
        for spec in ["numpy", "numpy >=1.2", "numpy>=1.2,<3", "numpy=1", "numpy[version='>1']"] {
            assert_eq!(dependency_name(spec), "numpy");
        }
    }
}
