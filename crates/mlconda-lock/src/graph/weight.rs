//! Computes what would be removed with a package: itself, and all packages that only it needs (in graph theory: the
//! nodes that it dominates).

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
    /// The weight of each package. A requested package is never counted for another one, even if that one depends on
    /// it.
    ///
    /// Each package is left out once, and the packages that cannot be reached any more are counted. This is simpler
    /// than the algorithms for dominators, and takes a few milliseconds for a thousand packages.
    pub fn weights(&self) -> Vec<Weight> {
        let weight = |package| {
            let goes = self.reached(Some(package)).into_iter().enumerate().filter(|(_, is_reached)| !is_reached);
            let goes: Vec<usize> = goes.map(|(place, _)| place).collect();
            Weight { packages: goes.len(), bytes: goes.iter().map(|place| self.packages[*place].size).sum() }
        };
        (0..self.packages.len()).map(weight).collect()
    }

    /// For each package, the only root that needs it, as an index in [`Graph::roots`]: without this root, the package
    /// would not be there. `None` if several roots need it.
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
