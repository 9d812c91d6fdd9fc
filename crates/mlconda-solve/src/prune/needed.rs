//! What every solution has: what the environment asks for, what all that is left of that needs, and so on. Of such a package
//! remains only what one of those that need it allows; and of any package, what one of those leaves that all constrain it.
//! If each python that is left needs openssl 3, then openssl 1.1 goes, and with it all that needs that.

use super::{NameId, Pruner, RecordId};
use crate::pool::{RecordSet, SpecId};

/// The names of which every solution has a record.
pub(super) struct Needed {
    names: Vec<NameId>,
    /// By name, whether it is one of them.
    contains: Vec<bool>,
    /// By name, how many records were left of it when it was looked at.
    last_count: Vec<usize>,
}

/// How many of some records ask for a name.
#[derive(Clone, Copy, Default)]
struct DependencyCount {
    /// How many need it, and how many need it or constrain it.
    needing: usize,
    asking: usize,
    /// The last one that was counted as needing it, and as asking for it.
    last_needing: usize,
    last_asking: usize,
}

impl Needed {
    /// Those that the environment asks for, of so many names.
    pub(crate) fn new(required: &[NameId], count: usize) -> Self {
        let mut needed = Self { names: Vec::new(), contains: vec![false; count], last_count: vec![usize::MAX; count] };
        required.iter().for_each(|name| _ = needed.add(*name));
        needed
    }

    /// Whether it is new.
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
    /// Takes away what none of those allows that need it; whether there was any, or a name was found that is needed.
    pub(super) fn restrict_to_needed(&mut self, needed: &mut Needed) -> bool {
        let mut counts = vec![DependencyCount::default(); self.pool.names.len()];
        let mut has_changed = false;
        let mut next = 0;
        while let Some(name) = needed.names.get(next).copied() {
            next += 1;
            let record_ids = self.pool.names[name as usize].record_ids.iter();
            let left: Vec<RecordId> = record_ids.filter(|record_id| self.possible[*record_id as usize]).collect();
            // What was taken away does not come back.
            if std::mem::replace(&mut needed.last_count[name as usize], left.len()) != left.len() {
                has_changed |= self.restrict_by(&left, needed, &mut counts);
            }
        }
        has_changed
    }

    /// The same by what these records of a needed package ask for.
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

    /// Takes away what of a name is not allowed; whether there was any.
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
