//! The roots of the graph. Every package can be reached from a root, so that no view omits a package.

use super::{Graph, GraphRoot, Request};

impl Graph {
    /// Sets the roots: requested packages, and packages that cannot be reached from them, such as the pip that comes
    /// with python, or all top-level packages if the requests are not known.
    pub(super) fn set_roots(&mut self, asked: Vec<(usize, Request)>) {
        self.roots.clear();
        for (package, asked) in asked {
            match self.roots.iter_mut().find(|root| root.package == package) {
                Some(root) => root.asked.push(asked),
                None => self.roots.push(GraphRoot { package, asked: vec![asked] }),
            }
        }
        let mut reached = self.reached(None);
        let needed = self.needed_by();
        let mut rest: Vec<usize> = (0..self.packages.len()).filter(|package| !reached[*package]).collect();
        mlconda_types::sorting::sort_by(&mut rest, |one, other| {
            self.packages[*one].name.cmp(&self.packages[*other].name)
        });
        // First the packages without dependents. The packages that remain are in cycles; any package of a cycle can be
        // the root.
        let tops: Vec<usize> = rest.iter().copied().filter(|package| needed[*package].is_empty()).collect();
        for package in tops.into_iter().chain(rest) {
            if !reached[package] {
                self.roots.push(GraphRoot { package, asked: Vec::new() });
                self.reach(package, &mut reached, None);
            }
        }
    }

    /// Which packages can be reached from the roots without passing the package `without`.
    pub(super) fn reached(&self, without: Option<usize>) -> Vec<bool> {
        let mut reached = vec![false; self.packages.len()];
        self.roots.iter().for_each(|root| self.reach(root.package, &mut reached, without));
        reached
    }

    fn reach(&self, from: usize, reached: &mut [bool], without: Option<usize>) {
        let mut open = vec![from];
        while let Some(package) = open.pop() {
            if without != Some(package) && !std::mem::replace(&mut reached[package], true) {
                open.extend(self.packages[package].needs.iter().map(|need| need.package));
            }
        }
    }
}
