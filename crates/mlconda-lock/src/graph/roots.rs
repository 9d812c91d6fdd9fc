//! What the packages are there for. Every package is reached from a root, so that no view of the graph leaves one out.

use super::{Graph, GraphRoot, Request};

impl Graph {
    /// Makes roots of what was asked for, and of what is not reached from there: the pip that comes with python, say, or
    /// all packages on top of an environment of which nobody knows any more what was asked for.
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
        // On top first; what is left then is needed in circles, and any of a circle will do.
        let tops: Vec<usize> = rest.iter().copied().filter(|package| needed[*package].is_empty()).collect();
        for package in tops.into_iter().chain(rest) {
            if !reached[package] {
                self.roots.push(GraphRoot { package, asked: Vec::new() });
                self.reach(package, &mut reached, None);
            }
        }
    }

    /// Which packages are reached from the roots, if one of them were not there.
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
