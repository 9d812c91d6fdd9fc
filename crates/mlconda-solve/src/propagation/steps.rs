//! The steps of propagation: forward to the dependencies, backward from packages without candidates, and a case split
//! on the versions of a package.

use std::{collections::BTreeSet, rc::Rc};

use itertools::Itertools;
use mlconda_types::sorting::{InOrder, IntoTree};

use super::{Contradiction, Dependency, DependencyKind, Exclusion, NeedReason, PackageId, PackageState, Propagation};

/// The most packages for a case split, and the most versions of each.
const MAX_SPLIT_PACKAGES: usize = 6;
const MAX_SPLIT_VERSIONS: usize = 12;

/// The most rounds, and after how many rounds the packages are also visited in reverse.
const MAX_ROUNDS: usize = 100;
const SHORT_CHAIN: usize = 20;

impl<'a> Propagation<'a> {
    /// Propagates until nothing changes, or for a hundred rounds. Returns a needed package without candidates.
    pub(super) fn propagate(&mut self) -> Option<PackageId> {
        for round in 0..MAX_ROUNDS {
            // In a fixed order, so that the explanation does not depend on how a package was reached.
            while let Some(id) = self.open.pop_first() {
                if self.packages[id].needed.is_some()
                    && let Some(empty) = self.propagate_forward(id)
                {
                    return Some(empty);
                }
            }
            let before = self.step;
            (0..self.packages.len())
                .filter(|id| self.packages[*id].needed.is_some())
                .collect_vec()
                .into_iter()
                .for_each(|id| self.propagate_backward(id));
            if self.step == before {
                self.propagate_optional();
            }
            if self.step == before {
                return None;
            }
            // A chain loses only its last link in each round. For long chains, go through the packages in reverse.
            if round >= SHORT_CHAIN {
                (0..self.packages.len()).rev().for_each(|id| self.propagate_backward(id));
            }
        }
        None
    }

    /// Applies the dependencies that all remaining candidates of a package have. Returns a package without candidates.
    fn propagate_forward(&mut self, id: PackageId) -> Option<PackageId> {
        let left: Vec<Rc<[Rc<Dependency>]>> =
            self.packages[id].remaining().map(|candidate| self.dependencies(candidate)).collect();
        let Some(first) = left.first() else { return Some(id) };
        let names: BTreeSet<String> = first.iter().map(|dependency| dependency.name.clone()).into_tree();
        for name in names {
            let on_it = |dependencies: &[Rc<Dependency>]| {
                dependencies.iter().filter(|dependency| dependency.name == name).cloned().collect_vec()
            };
            let alternatives: Vec<Vec<Rc<Dependency>>> = left.iter().map(|dependencies| on_it(dependencies)).collect();
            if alternatives.iter().any(Vec::is_empty) {
                continue;
            }
            let needs = alternatives
                .iter()
                .all(|dependencies| dependencies.iter().any(|dependency| dependency.kind == DependencyKind::Depends));
            let kind = if needs { DependencyKind::Depends } else { DependencyKind::Constrains };
            let other = self.id(&name);
            if kind == DependencyKind::Constrains && self.packages[other].needed.is_none() {
                self.skipped.insert((other, id));
                continue;
            }
            let mut allowed = vec![false; self.packages[other].candidates.len()];
            for dependencies in
                alternatives.iter().unique_by(|dependencies| dependencies.iter().map(|each| each.number).collect_vec())
            {
                let matches = dependencies.iter().map(|dependency| self.target(dependency).1).collect_vec();
                for (index, allowed) in allowed.iter_mut().enumerate() {
                    *allowed |= matches.iter().all(|matches| matches[index]);
                }
            }
            self.restrict(id, other, kind, &allowed);
            if self.packages[other].needed.is_some() && self.packages[other].remaining().next().is_none() {
                return Some(other);
            }
        }
        None
    }

    /// Restricts the candidates of package `other` to those that package `id` allows, and notes if `id` needs it.
    fn restrict(&mut self, id: PackageId, other: PackageId, kind: DependencyKind, allowed: &[bool]) {
        let step = self.step + 1;
        let package = &mut self.packages[other];
        if kind == DependencyKind::Depends && package.needed.is_none() {
            package.needed = Some((NeedReason::Package(id), step));
            self.step = step;
            self.open.insert(other);
            self.open.extend(self.skipped.range((other, 0)..=(other, PackageId::MAX)).map(|(_, by)| *by));
        }
        for (candidate, allowed) in package.candidates.iter_mut().zip(allowed) {
            if !allowed && candidate.exclude(Exclusion::ByPackage(id), step) {
                self.step = step;
                self.open.insert(other);
            }
        }
    }

    /// Excludes candidates with a dependency that no candidate is left for.
    fn propagate_backward(&mut self, id: PackageId) {
        for index in 0..self.packages[id].candidates.len() {
            if self.packages[id].candidates[index].exclusion.is_some() {
                continue;
            }
            let dependencies = self.dependencies(&self.packages[id].candidates[index]);
            let lacking = dependencies.iter().find(|dependency| self.is_unsatisfiable(dependency)).cloned();
            if let Some(dependency) = lacking {
                self.step += 1;
                self.packages[id].candidates[index].exclusion =
                    Some((Exclusion::MissingDependency(dependency), self.step));
                self.open.insert(id);
            }
        }
    }

    fn is_unsatisfiable(&mut self, dependency: &Rc<Dependency>) -> bool {
        let (other, matches) = self.target(dependency);
        let package = &self.packages[other];
        let left = package
            .candidates
            .iter()
            .zip(&*matches)
            .any(|(candidate, matches)| *matches && candidate.exclusion.is_none());
        !left && (dependency.kind == DependencyKind::Depends || package.needed.is_some())
    }

    /// The same for packages that only some candidates need.
    fn propagate_optional(&mut self) {
        let mut next = 0;
        // Visiting a package adds the packages that it needs.
        while next < self.packages.len() {
            self.propagate_backward(next);
            next += 1;
        }
    }

    /// Case split: tries each version of a package.
    pub(super) fn split_on_versions(self) -> Option<Contradiction<'a>> {
        let versions = |package: &PackageState<'_>| {
            package.remaining().map(|candidate| candidate.record.version().to_string()).unique().collect_vec()
        };
        let order = (0..self.packages.len())
            .filter(|id| self.packages[*id].needed.is_some())
            .map(|id| (id, versions(&self.packages[id])))
            .filter(|(_, versions)| (2..=MAX_SPLIT_VERSIONS).contains(&versions.len()))
            .in_order_by_key(|(id, versions)| (versions.len(), *id))
            .take(MAX_SPLIT_PACKAGES);
        for (id, versions) in order {
            let branches = versions.into_iter().map(|version| {
                let mut branch = self.clone();
                branch.step += 1;
                let step = branch.step;
                branch.open.insert(id);
                for candidate in
                    branch.packages[id].candidates.iter_mut().filter(|candidate| candidate.exclusion.is_none())
                {
                    if candidate.record.version().to_string() != version {
                        candidate.exclusion = Some((Exclusion::Assumed, step));
                    }
                }
                let empty = branch.propagate()?;
                Some((version, Contradiction::NoCandidates(empty, branch)))
            });
            if let Some(branches) = branches.collect::<Option<Vec<_>>>() {
                return Some(Contradiction::EveryVersion(id, self, branches));
            }
        }
        None
    }
}
