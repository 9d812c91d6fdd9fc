//! Decides which packages share a layer.
//!
//! The grouping depends on the lock alone. If a package is added, removed or changed, hardly any other package moves:
//!
//! - Up to half of the layers contain one large package each: the largest ones. Sizes are compared by their power of
//!   two, and equal ones by a hash of the name. So an update that makes a package a little larger does not change the
//!   order.
//! - The other packages are put into the other half of the layers by rendezvous hashing of their names. The layer of a
//!   package depends on its name and on the number of layers, not on other packages.
//!
//! So one change moves at most one other package: the one at the border between the two halves. The grouping of an
//! earlier image ([`Grouping::like`]) is kept as it was, and does not decide about packages that it does not contain.

use mlconda_types::sorting::IntoTree;
use std::collections::{BTreeMap, BTreeSet};

/// The smallest archive of a package that may have a layer of its own, in bytes.
const LARGE: u64 = 1 << 20;

/// A package to be put into a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Its name; `pip/NAME` for a package of pip.
    pub name: String,
    /// The size of its archive in bytes; 0 if it is unknown.
    pub size: u64,
}

/// The key of a layer. Packages with the same key share a layer. Layers are sorted by key, and those that change least
/// come first (lowest), because engines pull all layers above a changed one again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One package, by its name.
    Package(String),
    /// A group of small packages, by its number.
    Group(usize),
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Package(name) => formatter.write_str(name),
            Self::Group(number) => write!(formatter, "group:{number}"),
        }
    }
}

impl Key {
    /// Parses the text that [`Display`](std::fmt::Display) writes. Names of packages have no colon.
    pub fn parse(text: &str) -> Self {
        let number = text.strip_prefix("group:").and_then(|number| number.parse().ok());
        number.map_or_else(|| Self::Package(text.to_owned()), Self::Group)
    }
}

/// The keys of packages, by the name of the package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping(BTreeMap<String, Key>);

impl FromIterator<(String, Key)> for Grouping {
    fn from_iter<T: IntoIterator<Item = (String, Key)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Grouping {
    /// Groups packages into at most `layers` layers (at least one).
    pub fn new(packages: &[Sized], layers: usize) -> Self {
        Self::like(packages, layers, &Self::default())
    }

    /// Groups packages. Packages in an earlier grouping keep their layer.
    pub fn like(packages: &[Sized], layers: usize, earlier: &Self) -> Self {
        let kept: BTreeMap<&str, &Key> =
            packages.iter().filter_map(|each| Some((each.name.as_str(), earlier.0.get(&each.name)?))).into_tree();
        let alone_before = kept.values().filter(|key| matches!(key, Key::Package(_))).count();
        let used: BTreeSet<&Key> = kept.values().copied().into_tree();
        let groups = (layers - layers / 2).max(1);
        let used_beyond = used.iter().filter(|key| matches!(key, Key::Group(number) if *number >= groups)).count();
        let room = (layers / 2).saturating_sub(alone_before + used_beyond);
        let mut large: Vec<&Sized> = packages
            .iter()
            .filter(|package| package.size >= LARGE && !kept.contains_key(package.name.as_str()))
            .collect();
        mlconda_types::sorting::sort_by_key(&mut large, |package| {
            (std::cmp::Reverse(package.size.ilog2()), weight(&package.name, usize::MAX))
        });
        let alone: BTreeSet<&str> = large.iter().take(room).map(|package| package.name.as_str()).into_tree();
        let key = |package: &Sized| match kept.get(package.name.as_str()) {
            Some(key) => (*key).clone(),
            None if alone.contains(package.name.as_str()) => Key::Package(package.name.clone()),
            None => Key::Group(group(&package.name, groups)),
        };
        Self(packages.iter().map(|package| (package.name.clone(), key(package))).into_tree())
    }

    /// The key of a package.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.0.get(name)
    }

    /// The layers in their order, each with the names of its packages.
    pub fn layers(&self) -> BTreeMap<&Key, Vec<&str>> {
        let mut layers: BTreeMap<&Key, Vec<&str>> = BTreeMap::new();
        for (name, key) in &self.0 {
            layers.entry(key).or_default().push(name);
        }
        layers
    }
}

/// The group of a name: the one with the largest weight. If the number of groups grows by one, a name either keeps its
/// group or moves to the new one.
fn group(name: &str, groups: usize) -> usize {
    (0..groups).max_by_key(|group| weight(name, *group)).unwrap_or(0)
}

/// A pseudorandom number that depends on a name and a group: FNV-1a, then the last step of splitmix64.
fn weight(name: &str, group: usize) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let group = (group as u64).to_le_bytes();
    let hash = name.bytes().chain([0]).chain(group).fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudorandom numbers, which are the same in each run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        /// A size as packages have it: most are small, a few have hundreds of megabytes.
        fn size(&mut self) -> u64 {
            let power = 11 + self.below(6) + self.below(6) + self.below(8);
            (1 << power) + self.below(1 << power)
        }
    }

    fn packages(count: usize, chance: &mut Chance) -> Vec<Sized> {
        (0..count).map(|number| Sized { name: format!("package-{number}"), size: chance.size() }).collect()
    }

    /// Makes one change: adds or removes a package, or changes its size. Returns its name.
    fn change(packages: &mut Vec<Sized>, number: u64, chance: &mut Chance) -> String {
        let at = chance.below(packages.len() as u64) as usize;
        match chance.below(4) {
            0 => {
                let new = Sized { name: format!("new-{number}"), size: chance.size() };
                packages.insert(at, new.clone());
                new.name
            }
            1 => packages.remove(at).name,
            // An update: the size changes by some percent.
            _ => {
                let size = packages[at].size;
                packages[at].size = size - size / 10 + chance.below(size / 5 + 1);
                packages[at].name.clone()
            }
        }
    }

    /// The number of packages with a new key, apart from the changed package.
    fn moved(before: &Grouping, after: &Grouping, changed: &str) -> usize {
        before.0.iter().filter(|(name, key)| *name != changed && after.key(name).is_some_and(|now| now != *key)).count()
    }

    #[test]
    fn a_change_moves_hardly_any_other_package() {
        for (count, layers) in [(157, 39), (300, 39), (40, 39), (157, 20), (60, 100), (157, 2)] {
            let mut chance = Chance(count as u64);
            let mut packages = packages(count, &mut chance);
            let (mut all, mut changes) = (0, 0);
            let mut before = Grouping::new(&packages, layers);
            for number in 0..200 {
                let changed = change(&mut packages, number, &mut chance);
                let after = Grouping::new(&packages, layers);
                assert!(after.layers().len() <= layers);
                let moved = moved(&before, &after, &changed);
                assert!(moved <= 1, "{moved} moved for {changed}");
                (all, changes) = (all + moved, changes + 1);
                before = after;
            }
            // At most every fourth change moves the package at the border.
            assert!(all * 4 <= changes, "{all} moved in {changes} changes of {count} packages in {layers} layers");
        }
    }

    #[test]
    fn the_order_of_packages_does_not_count() {
        let mut chance = Chance(7);
        let mut packages = packages(157, &mut chance);
        let before = Grouping::new(&packages, 39);
        packages.reverse();
        assert_eq!(Grouping::new(&packages, 39), before);
        // The packages must not all be in one layer.
        let largest = before.layers().values().map(Vec::len).max();
        assert!(before.layers().len() >= 35 && largest < Some(20), "{largest:?}");
    }

    #[test]
    fn an_earlier_grouping_is_kept_whatever_the_sizes_are_now() {
        let mut chance = Chance(3);
        let mut packages = packages(157, &mut chance);
        let first = Grouping::new(&packages, 39);
        let mut last = first.clone();
        for number in 0..200 {
            let changed = change(&mut packages, number, &mut chance);
            let now = Grouping::like(&packages, 39, &last);
            assert_eq!(moved(&last, &now, &changed), 0);
            assert!(now.layers().len() <= 39);
            last = now;
        }
        // The same for another number of layers.
        assert_eq!(moved(&last, &Grouping::like(&packages, 10, &last), ""), 0);
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for key in [Key::Package("numpy".to_owned()), Key::Package("pip/numpy".to_owned()), Key::Group(7)] {
            assert_eq!(Key::parse(&key.to_string()), key);
        }
        assert!(Key::Package("z".to_owned()) < Key::Group(0));
    }
}
