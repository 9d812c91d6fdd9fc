//! The steps: from one package to the next, back from what nothing is left of, and with one version after the other supposed.

use std::{collections::BTreeSet, rc::Rc};

use itertools::Itertools;
use mlconda_types::sorting::InOrder;

use super::{Conflict, Demand, Id, Kind, Out, Package, Reasoning, Why};

/// Of how many packages one version after the other is supposed, and of how many versions at most.
const SUPPOSED_PACKAGES: usize = 6;
const SUPPOSED_VERSIONS: usize = 12;

/// How often what is left is gone through, at most, and after how many rounds from its end as well.
const ROUNDS: usize = 100;
const SHORT_CHAIN: usize = 20;

impl<'a> Reasoning<'a> {
    /// Follows everything to its end, or for a hundred rounds. Gives the package of which nothing is left.
    pub(super) fn follow(&mut self) -> Option<Id> {
        for round in 0..ROUNDS {
            // The first is looked at first, so that what is told does not depend on what led there.
            while let Some(id) = self.open.pop_first() {
                if self.packages[id].needed.is_some()
                    && let Some(empty) = self.forward(id)
                {
                    return Some(empty);
                }
            }
            let before = self.step;
            (0..self.packages.len())
                .filter(|id| self.packages[*id].needed.is_some())
                .collect_vec()
                .into_iter()
                .for_each(|id| self.backward(id));
            if self.step == before {
                self.reach();
            }
            if self.step == before {
                return None;
            }
            // A chain loses its last link in each round: a long one is gone back all at once.
            if round >= SHORT_CHAIN {
                (0..self.packages.len()).rev().for_each(|id| self.backward(id));
            }
        }
        None
    }

    /// What whatever is left of a package demands of others. Gives a package of which nothing is left.
    fn forward(&mut self, id: Id) -> Option<Id> {
        let left: Vec<Rc<[Rc<Demand>]>> = self.packages[id].left().map(|candidate| self.demands(candidate)).collect();
        let Some(first) = left.first() else { return Some(id) };
        let names: BTreeSet<String> = first.iter().map(|demand| demand.name.clone()).collect();
        for name in names {
            let on_it =
                |demands: &[Rc<Demand>]| demands.iter().filter(|demand| demand.name == name).cloned().collect_vec();
            let alternatives: Vec<Vec<Rc<Demand>>> = left.iter().map(|demands| on_it(demands)).collect();
            if alternatives.iter().any(Vec::is_empty) {
                continue;
            }
            let needs = alternatives.iter().all(|demands| demands.iter().any(|demand| demand.kind == Kind::Needs));
            let kind = if needs { Kind::Needs } else { Kind::Constrains };
            let other = self.id(&name);
            if kind == Kind::Constrains && self.packages[other].needed.is_none() {
                self.skipped.insert((other, id));
                continue;
            }
            let mut allowed = vec![false; self.packages[other].candidates.len()];
            for demands in alternatives.iter().unique_by(|demands| demands.iter().map(|each| each.number).collect_vec())
            {
                let matches = demands.iter().map(|demand| self.aim(demand).1).collect_vec();
                for (place, allowed) in allowed.iter_mut().enumerate() {
                    *allowed |= matches.iter().all(|matches| matches[place]);
                }
            }
            self.narrow(id, other, kind, &allowed);
            if self.packages[other].needed.is_some() && self.packages[other].left().next().is_none() {
                return Some(other);
            }
        }
        None
    }

    /// Leaves of a package only what another one, `id`, allows of it, and notes if that needs it.
    fn narrow(&mut self, id: Id, other: Id, kind: Kind, allowed: &[bool]) {
        let step = self.step + 1;
        let package = &mut self.packages[other];
        if kind == Kind::Needs && package.needed.is_none() {
            package.needed = Some((Why::By(id), step));
            self.step = step;
            self.open.insert(other);
            self.open.extend(self.skipped.range((other, 0)..=(other, Id::MAX)).map(|(_, by)| *by));
        }
        for (candidate, allowed) in package.candidates.iter_mut().zip(allowed) {
            if !allowed && candidate.leave(Out::Ruled(id), step) {
                self.step = step;
                self.open.insert(other);
            }
        }
    }

    /// Takes out candidates that demand what nothing is left of.
    fn backward(&mut self, id: Id) {
        for place in 0..self.packages[id].candidates.len() {
            if self.packages[id].candidates[place].out.is_some() {
                continue;
            }
            let demands = self.demands(&self.packages[id].candidates[place]);
            let lacking = demands.iter().find(|demand| self.lacks(demand)).cloned();
            if let Some(demand) = lacking {
                self.step += 1;
                self.packages[id].candidates[place].out = Some((Out::Lacks(demand), self.step));
                self.open.insert(id);
            }
        }
    }

    fn lacks(&mut self, demand: &Rc<Demand>) -> bool {
        let (other, matches) = self.aim(demand);
        let package = &self.packages[other];
        let left =
            package.candidates.iter().zip(&*matches).any(|(candidate, matches)| *matches && candidate.out.is_none());
        !left && (demand.kind == Kind::Needs || package.needed.is_some())
    }

    /// The same for packages that only some candidates need, as far as any leads to.
    fn reach(&mut self) {
        let mut next = 0;
        // Looking at a package makes those known that it needs.
        while next < self.packages.len() {
            self.backward(next);
            next += 1;
        }
    }

    /// Supposes each version of a package in turn.
    pub(super) fn suppose(self) -> Option<Conflict<'a>> {
        let versions = |package: &Package<'_>| {
            package.left().map(|candidate| candidate.what.version().to_string()).unique().collect_vec()
        };
        let order = (0..self.packages.len())
            .filter(|id| self.packages[*id].needed.is_some())
            .map(|id| (id, versions(&self.packages[id])))
            .filter(|(_, versions)| (2..=SUPPOSED_VERSIONS).contains(&versions.len()))
            .in_order_by_key(|(id, versions)| (versions.len(), *id))
            .take(SUPPOSED_PACKAGES);
        for (id, versions) in order {
            let branches = versions.into_iter().map(|version| {
                let mut branch = self.clone();
                branch.step += 1;
                let step = branch.step;
                branch.open.insert(id);
                for candidate in branch.packages[id].candidates.iter_mut().filter(|candidate| candidate.out.is_none()) {
                    if candidate.what.version().to_string() != version {
                        candidate.out = Some((Out::Supposed, step));
                    }
                }
                let empty = branch.follow()?;
                Some((version, Conflict::Empty(empty, branch)))
            });
            if let Some(branches) = branches.collect::<Option<Vec<_>>>() {
                return Some(Conflict::Each(id, self, branches));
            }
        }
        None
    }
}
