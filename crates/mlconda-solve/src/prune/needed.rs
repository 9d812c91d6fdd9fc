//! Finds the packages that every solution needs: those that the environment asks for, those that all of their remaining
//! records depend on, and so on. If all remaining records of a needed package depend on or constrain another package,
//! only those records of the other package remain that one of these dependencies or constraints allows. If each
//! remaining python needs openssl 3, openssl 1.1 is removed, with everything that depends on it.

use super::{NameId, Pruner, RecordId};
use crate::pool::{RecordSet, SpecId};

/// The names that have a record in every solution.
pub(super) struct Needed {
    names: Vec<NameId>,
    /// For each name, whether it is needed.
    contains: Vec<bool>,
    /// For each name, how many records were left when it was last visited.
    last_count: Vec<usize>,
}

/// How many records of a package ask for a name.
#[derive(Clone, Copy, Default)]
struct DependencyCount {
    /// How many depend on it, and how many depend on it or constrain it.
    needing: usize,
    asking: usize,
    /// The last record that was counted for each of them.
    last_needing: usize,
    last_asking: usize,
}

impl Needed {
    /// Starts with the names that the environment asks for.
    pub(crate) fn new(required: &[NameId], count: usize) -> Self {
        let mut needed = Self { names: Vec::new(), contains: vec![false; count], last_count: vec![usize::MAX; count] };
        required.iter().for_each(|name| _ = needed.add(*name));
        needed
    }

    /// Adds a name. Returns whether it is new.
    fn add(&mut self, name: NameId) -> bool {
        let is_new = !std::mem::replace(&mut self.contains[name as usize], true);
        self.names.extend(is_new.then_some(name));
        is_new
    }

    pub(super) fn contains(&self, name: NameId) -> bool {
        self.contains[name as usize]
    }
}

impl Pruner<'_, '_> {
    /// Removes the records that needed packages exclude. Returns whether anything was removed, or a needed name was
    /// found.
    pub(super) fn restrict_to_needed(&mut self, needed: &mut Needed) -> bool {
        let mut counts = vec![DependencyCount::default(); self.pool.names.len()];
        let mut has_changed = false;
        let mut next = 0;
        while let Some(name) = needed.names.get(next).copied() {
            next += 1;
            let record_ids = self.pool.names[name as usize].record_ids.iter();
            let left: Vec<RecordId> = record_ids.filter(|record_id| self.possible[*record_id as usize]).collect();
            // Removed records do not come back.
            if std::mem::replace(&mut needed.last_count[name as usize], left.len()) != left.len() {
                has_changed |= self.restrict_by(&left, needed, &mut counts);
            }
        }
        has_changed
    }

    /// The same for the records of one needed package.
    fn restrict_by(&mut self, left: &[RecordId], needed: &mut Needed, counts: &mut [DependencyCount]) -> bool {
        let mut spec_count: Vec<(NameId, SpecId)> = Vec::new();
        for (index, record_id) in (1..).zip(left) {
            for id in self.depends(*record_id) {
                let Some(resolved) = self.pool.resolved(*id) else { continue };
                let count_of = &mut counts[resolved.name as usize];
                count_of.needing += usize::from(std::mem::replace(&mut count_of.last_needing, index) != index);
            }
            for id in self.depends(*record_id).iter().chain(self.constrains(*record_id)) {
                let Some(resolved) = self.pool.resolved(*id) else { continue };
                let count_of = &mut counts[resolved.name as usize];
                count_of.asking += usize::from(std::mem::replace(&mut count_of.last_asking, index) != index);
                spec_count.push((resolved.name, *id));
            }
        }
        spec_count.sort_unstable();
        spec_count.dedup();
        let mut has_changed = false;
        for of_name in spec_count.chunk_by(|one, other| one.0 == other.0) {
            let name = of_name[0].0;
            let DependencyCount { needing, asking, .. } = std::mem::take(&mut counts[name as usize]);
            let is_asked_by_all = asking == left.len();
            if is_asked_by_all && !self.pool.names[name as usize].text.starts_with("__") {
                let allowed = of_name.iter().filter_map(|(_, id)| Some(&self.pool.resolved(*id)?.record_ids));
                has_changed |= self.keep_only(name, &RecordSet::union(allowed));
                has_changed |= needing == left.len() && needed.add(name);
            }
        }
        has_changed
    }

    /// Removes the records of a name that are not allowed. Returns whether there were any.
    fn keep_only(&mut self, name: NameId, allowed: &RecordSet) -> bool {
        let mut has_changed = false;
        for record_id in self.pool.names[name as usize].record_ids.iter() {
            let is_excluded = self.possible[record_id as usize] && !allowed.contains(record_id);
            self.possible[record_id as usize] &= !is_excluded;
            has_changed |= is_excluded;
        }
        has_changed
    }
}
