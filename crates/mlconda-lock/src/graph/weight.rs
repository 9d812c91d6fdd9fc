//! Computes what would be removed with a package: itself, and all packages that only it needs (in graph theory: the nodes
//! that it dominates).

use super::Graph;

/// The weight of a package: itself, with everything that only it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// The number of packages, including itself.
    pub packages: usize,
    /// Their total size in bytes, if all sizes are known.
    pub bytes: Option<u64>,
}

impl Graph {
    /// The weight of each package. What was asked for is not there for the sake of another one, whoever needs it besides.
    ///
    /// Each package is left out once, and what is not reached any more is counted: simpler than the algorithms for
    /// dominators, and a few milliseconds for a thousand packages.
    pub fn weights(&self) -> Vec<Weight> {
        let weight = |package| {
            let goes = self.reached(Some(package)).into_iter().enumerate().filter(|(_, is_reached)| !is_reached);
            let goes: Vec<usize> = goes.map(|(place, _)| place).collect();
            Weight { packages: goes.len(), bytes: goes.iter().map(|place| self.packages[*place].size).sum() }
        };
        (0..self.packages.len()).map(weight).collect()
    }

    /// For each package the root that alone needs it, as an index in [`Graph::roots`]: without this root, the package would
    /// not be there. `None` if several roots need it.
    pub fn only_root(&self) -> Vec<Option<usize>> {
        let mut only = vec![None; self.packages.len()];
        for (number, root) in self.roots.iter().enumerate() {
            let reached = self.reached(Some(root.package));
            let gone = reached.into_iter().enumerate().filter(|(_, is_reached)| !is_reached);
            gone.for_each(|(package, _)| only[package] = Some(number));
        }
        only
    }
}
