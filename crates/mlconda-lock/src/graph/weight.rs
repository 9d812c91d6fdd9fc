//! What would go if a package went: itself, and all that is there for its sake only. In the theory of graphs, what it
//! dominates.

use super::Graph;

/// A package with everything that only it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// How many packages, itself among them.
    pub packages: usize,
    /// Their size in bytes, if it is known of all of them.
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
}
