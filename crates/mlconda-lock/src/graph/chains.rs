//! Finds why a package is installed: the chains of dependencies from the requested packages to it.

use std::collections::VecDeque;

use super::Graph;

/// A chain of dependencies from a root to a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The index in [`Graph::roots`].
    pub root: usize,
    /// The packages, from the root to the target; each depends on the next.
    pub packages: Vec<usize>,
}

/// Chains to a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// The chains, root by root.
    pub chains: Vec<Chain>,
    /// Whether there are more chains than the limit.
    pub is_cut: bool,
}

/// Which chains to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainSelection {
    /// The shortest chain from each root.
    Shortest,
    /// All chains without repeated packages, up to a limit.
    All {
        /// The limit.
        limit: usize,
    },
}

impl Graph {
    /// The chains to a package. Roots without a path to it have none.
    pub fn chains(&self, package: usize, which: ChainSelection) -> Chains {
        let distances = self.distances(package);
        let mut found = Chains::default();
        for (place, root) in self.roots.iter().enumerate().filter(|(_, root)| distances[root.package].is_some()) {
            match which {
                ChainSelection::Shortest => {
                    found.chains.push(Chain { root: place, packages: self.shortest(root.package, &distances) });
                }
                ChainSelection::All { limit } => {
                    let mut way = Way { graph: self, distances: &distances, end: package, passed: Vec::new() };
                    way.follow(root.package, &mut |packages| {
                        found.is_cut |= found.chains.len() == limit;
                        if !found.is_cut {
                            found.chains.push(Chain { root: place, packages: packages.to_vec() });
                        }
                        !found.is_cut
                    });
                }
            }
        }
        found
    }

    /// The distance from each package to this one along dependencies; `None` if there is no path.
    fn distances(&self, package: usize) -> Vec<Option<usize>> {
        let needed = self.needed_by();
        let mut distances = vec![None; self.packages.len()];
        distances[package] = Some(0);
        let mut open = VecDeque::from([(package, 0)]);
        while let Some((place, distance)) = open.pop_front() {
            for (other, _) in &needed[place] {
                if distances[*other].is_none() {
                    distances[*other] = Some(distance + 1);
                    open.push_back((*other, distance + 1));
                }
            }
        }
        distances
    }

    /// The shortest path to the package with the distance 0; of several, the first in the order of `needs`.
    fn shortest(&self, from: usize, distances: &[Option<usize>]) -> Vec<usize> {
        let (mut way, mut here) = (vec![from], from);
        while let Some(distance) = distances[here].filter(|distance| *distance > 0) {
            let mut needs = self.packages[here].needs.iter().map(|need| need.package);
            let Some(next) = needs.find(|next| distances[*next] == Some(distance - 1)) else { break };
            way.push(next);
            here = next;
        }
        way
    }
}

/// The state of a search for all paths.
struct Way<'a> {
    graph: &'a Graph,
    distances: &'a [Option<usize>],
    end: usize,
    passed: Vec<usize>,
}

impl Way<'_> {
    /// Follows all paths from a package to the end, and calls `tell` for each of them, until `tell` returns `false`.
    fn follow(&mut self, from: usize, tell: &mut impl FnMut(&[usize]) -> bool) -> bool {
        if self.distances[from].is_none() || self.passed.contains(&from) {
            return true;
        }
        self.passed.push(from);
        let goes_on = if from == self.end {
            tell(&self.passed)
        } else {
            let needs = &self.graph.packages[from].needs;
            needs.iter().all(|need| self.follow(need.package, tell))
        };
        self.passed.pop();
        goes_on
    }
}
