//! Removes records that no solution needs, before the solver makes clauses of them. Of fifty thousand records, some
//! three thousand remain.
//!
//! A record is removed
//!
//! 1. if it does not match the environment's specs for its name, or an earlier channel hides it;
//! 2. if nothing that remains satisfies one of its dependencies, or its `constrains` on a needed package; or if it is
//!    excluded by all records of a package that every solution needs ([`needed`]). This is repeated until nothing
//!    changes, at most a hundred times;
//! 3. if nothing that remains depends on it;
//! 4. if a better record of the same channel dominates it: that record has no other dependencies, and matches every
//!    spec that this one matches. Then each solution with this record has a twin with the better one, which the solver
//!    tries first.
//!
//! Virtual packages remove nothing, because the system may still be raised. If there is no solution, the reasons are
//! found without pruning ([`super::session`]).

mod needed;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, hash::BuildHasher};

use foldhash::{HashMap, HashMapExt};
use rattler_conda_types::{MatchSpec, RepoDataRecord};

use super::{
    ChannelPriority,
    pool::{NameId, Pool, RecordId, SpecId},
    request::SolveRequest,
};
use needed::Needed;

/// Which records exist for a request.
pub(super) fn existing_records(pool: &Pool<'_>, request: &SolveRequest<'_>) -> Vec<bool> {
    let cutoff = request.options.exclude_newer;
    let exists = |record: &&RepoDataRecord| {
        let only = request.kept.only.get(record.package_record.name.as_normalized());
        cutoff.is_none_or(|cutoff| cutoff.admits(&record.package_record)) && only.is_none_or(|url| *url == record.url)
    };
    if cutoff.is_none() && request.kept.only.is_empty() {
        return vec![true; pool.records.len()];
    }
    pool.records.iter().map(exists).collect()
}

/// The result of pruning.
pub(super) struct Pruned {
    /// For each record, whether it remains.
    pub(super) kept: Vec<bool>,
    /// For each spec, the first spec with the same remaining matches: `>=1.2` for `>=1.3`, if there is no 1.2.
    pub(super) canonical: Vec<SpecId>,
}

/// Prunes the existing records; `None` if a spec has a condition or extras.
pub(super) fn prune(pool: &mut Pool<'_>, exists: &[bool], request: &SolveRequest<'_>) -> Option<Pruned> {
    let mut pruner = Pruner::new(pool, exists.to_vec(), request)?;
    pruner.collect_reachable().ok()?;
    // A chain of packages whose last one is missing may take as many rounds as it has links. The solver handles what
    // is left of it.
    let mut open: Vec<RecordId> =
        (0..).zip(&pruner.possible).filter(|(_, is)| **is).map(|(record_id, _)| record_id).collect();
    let mut needed = Needed::new(&pruner.required, pruner.pool.names.len());
    for _ in 0..MAX_ROUNDS {
        let has_removed = pruner.propagate_missing(&mut open, &needed);
        if !pruner.restrict_to_needed(&mut needed) && !has_removed {
            break;
        }
    }
    let mut kept = pruner.reachable();
    let canonical = pruner.canonical_specs(&kept);
    pruner.remove_dominated(&mut kept, &canonical);
    Some(Pruned { kept, canonical })
}

/// The most better records that a record is compared with. Each of them may match a thousand specs.
const MAX_COMPARED: usize = 100;

/// The most rounds of propagation. Real channels take a few.
const MAX_ROUNDS: usize = 100;

/// A spec has a condition or extras (CEP-43, CEP-44). The solver has to see all records then.
struct Unsupported;

struct Pruner<'c, 'a> {
    pool: &'c mut Pool<'a>,
    /// The names that the environment asks for.
    required: Vec<NameId>,
    /// For each spec, whether it may be satisfied, as far as it was checked.
    satisfiable: Vec<Option<bool>>,
    /// For each record, whether it may be in a solution, as far as it is known.
    possible: Vec<bool>,
    /// Records that are preferred.
    favored: Vec<RecordId>,
}

impl<'c, 'a> Pruner<'c, 'a> {
    /// Starts with the specs of the environment.
    fn new(pool: &'c mut Pool<'a>, mut possible: Vec<bool>, request: &SolveRequest<'_>) -> Option<Self> {
        let mut requested = Vec::new();
        for spec in request.channel_specs.iter().chain(request.specs) {
            let spec_id = pool.intern_spec(spec);
            let name = pool.resolved(spec_id)?.name;
            for record_id in pool.names[name as usize].record_ids.iter() {
                possible[record_id as usize] &= pool.is_in_channel(record_id, spec);
            }
        }
        for spec in request.specs {
            if spec.condition.is_some() || spec.extras.is_some() {
                return None;
            }
            let spec_id = pool.intern_spec(spec);
            let name = pool.resolved(spec_id)?.name;
            requested.push((spec_id, name, spec));
        }
        if request.options.channel_priority == ChannelPriority::Strict {
            apply_channel_priority(pool, &mut possible);
        }
        for (resolved, name, spec) in &requested {
            apply_spec(pool, *name, *resolved, spec, &mut possible);
        }
        let required = requested.iter().map(|(_, name, _)| *name).collect();
        let favored = request.kept.favored.iter().filter_map(|record| pool.id_of(record)).collect();
        Some(Self { pool, required, satisfiable: Vec::new(), possible, favored })
    }

    /// Follows dependencies to all reachable records.
    fn collect_reachable(&mut self) -> Result<(), Unsupported> {
        let mut seen = vec![false; self.possible.len()];
        let mut requested = Vec::new();
        let mut open: Vec<RecordId> = self.roots();
        while let Some(record_id) = open.pop() {
            if std::mem::replace(&mut seen[record_id as usize], true) || !self.possible[record_id as usize] {
                continue;
            }
            self.check_record(record_id)?;
            if !self.possible[record_id as usize] {
                continue;
            }
            requested.resize(self.satisfiable.len(), false);
            for id in self.depends(record_id) {
                if !std::mem::replace(&mut requested[*id as usize], true) {
                    open.extend(self.matching_records(*id));
                }
            }
        }
        // Nothing depends on records that were not reached.
        self.possible.iter_mut().zip(seen).for_each(|(possible, seen)| *possible &= seen);
        Ok(())
    }

    /// All records of the names that the environment asks for.
    fn roots(&self) -> Vec<RecordId> {
        self.required.iter().flat_map(|name| self.pool.names[*name as usize].record_ids.iter()).collect()
    }

    fn depends(&self, record_id: RecordId) -> &[SpecId] {
        self.pool.dependencies_of(record_id).depends
    }

    fn constrains(&self, record_id: RecordId) -> &[SpecId] {
        self.pool.dependencies_of(record_id).constrains
    }

    /// The records that match a spec.
    fn matching_records(&self, id: SpecId) -> impl Iterator<Item = RecordId> + '_ {
        self.pool.resolved(id).into_iter().flat_map(|resolved| resolved.record_ids.iter())
    }

    /// Checks the dependencies and constraints of a record.
    fn check_record(&mut self, record_id: RecordId) -> Result<(), Unsupported> {
        self.pool.resolve_extras_of(record_id);
        let dependencies = self.pool.dependencies_of(record_id);
        if !dependencies.extra_depends.is_empty() {
            return Err(Unsupported);
        }
        let count = dependencies.depends.len();
        // Check known results first, before parsing the rest: most builds are for another python.
        let mut is_possible = dependencies
            .depends
            .iter()
            .all(|id| self.satisfiable.get(*id as usize).is_none_or(|known| *known != Some(false)));
        for index in 0..count {
            is_possible = is_possible && self.is_satisfiable(self.depends(record_id)[index])?;
        }
        for index in 0..self.constrains(record_id).len() {
            is_possible = is_possible && self.resolve(self.constrains(record_id)[index])?;
        }
        self.possible[record_id as usize] &= is_possible;
        Ok(())
    }

    /// Whether a dependency may be satisfied. One that cannot be parsed is not; the solver excludes such records, too.
    fn is_satisfiable(&mut self, id: SpecId) -> Result<bool, Unsupported> {
        if let Some(Some(known)) = self.satisfiable.get(id as usize) {
            return Ok(*known);
        }
        let is_satisfiable = self.resolve(id)? && (self.is_virtual(id) || self.has_remaining(id));
        self.satisfiable.resize(self.satisfiable.len().max(id as usize + 1), None);
        self.satisfiable[id as usize] = Some(is_satisfiable);
        Ok(is_satisfiable)
    }

    /// Whether a spec can be parsed.
    fn resolve(&mut self, id: SpecId) -> Result<bool, Unsupported> {
        match self.pool.resolve(id) {
            Some(resolved) if resolved.condition.is_some() || !resolved.extras.is_empty() => Err(Unsupported),
            other => Ok(other.is_some()),
        }
    }

    /// Whether a spec is about a virtual package.
    fn is_virtual(&self, id: SpecId) -> bool {
        self.pool.resolved(id).is_some_and(|resolved| self.pool.names[resolved.name as usize].text.starts_with("__"))
    }

    fn has_remaining(&self, id: SpecId) -> bool {
        self.matching_records(id).any(|record_id| self.possible[record_id as usize])
    }

    /// Removes the open records that miss a dependency or exclude a needed package. Returns whether there were any.
    fn propagate_missing(&mut self, open: &mut Vec<RecordId>, needed: &Needed) -> bool {
        // Computed once for each round, and only for specs that are needed.
        let mut left: Vec<Option<bool>> = vec![None; self.pool.spec_count()];
        let before = open.len();
        open.retain(|record_id| {
            let is_excluded = !self.possible[*record_id as usize] || self.is_excluded(*record_id, needed, &mut left);
            self.possible[*record_id as usize] &= !is_excluded;
            !is_excluded
        });
        open.len() < before
    }

    fn is_excluded(&self, record_id: RecordId, needed: &Needed, left: &mut [Option<bool>]) -> bool {
        let mut has_remaining = |id: SpecId| *left[id as usize].get_or_insert_with(|| self.has_remaining(id));
        let mut is_missing = |id: SpecId| !has_remaining(id) && !self.is_virtual(id);
        let is_needed = |id: SpecId| self.pool.resolved(id).is_some_and(|resolved| needed.contains(resolved.name));
        self.depends(record_id).iter().any(|id| is_missing(*id))
            || self.constrains(record_id).iter().any(|id| is_needed(*id) && is_missing(*id))
    }

    /// The records that something possible still depends on.
    fn reachable(&self) -> Vec<bool> {
        let mut reachable = vec![false; self.possible.len()];
        let mut requested = vec![false; self.pool.spec_count()];
        let mut open: Vec<RecordId> = self.roots();
        while let Some(record_id) = open.pop() {
            if !self.possible[record_id as usize] || std::mem::replace(&mut reachable[record_id as usize], true) {
                continue;
            }
            for id in self.depends(record_id) {
                if !std::mem::replace(&mut requested[*id as usize], true) {
                    open.extend(self.matching_records(*id));
                }
            }
        }
        reachable
    }

    /// Removes records that are dominated by a better one.
    fn remove_dominated(&self, kept: &mut [bool], canonical: &[SpecId]) {
        let dependents = self.dependents(kept, canonical);
        let hasher = foldhash::fast::FixedState::default();
        let mut lists: Vec<SpecId> = Vec::new();
        let mut candidates: Vec<PruneCandidate> = Vec::new();
        for name in &self.pool.names {
            lists.clear();
            candidates.clear();
            for record_id in name.record_ids.iter().filter(|record_id| kept[*record_id as usize]) {
                let start = lists.len();
                push_canonical(self.depends(record_id), canonical, &mut lists);
                let middle = lists.len();
                push_canonical(self.constrains(record_id), canonical, &mut lists);
                let entry = self.pool.row(record_id);
                let kind = (self.pool.channel_rank(record_id), entry.has_track_features);
                let hash = hasher.hash_one((kind, middle - start, &lists[start..]));
                let rank = Reverse((self.pool.version_rank(record_id), entry.build_number));
                candidates.push(PruneCandidate { hash, kind, rank, record_id, start, middle, end: lists.len() });
            }
            candidates.sort_unstable_by_key(|candidate| (candidate.hash, candidate.rank, candidate.record_id));
            for alike in candidates.chunk_by(|one, other| one.hash == other.hash) {
                self.remove_dominated_among(alike, &lists, &dependents, kept);
            }
        }
    }

    /// The same for candidates with equal dependencies, sorted from best to worst.
    fn remove_dominated_among(
        &self,
        alike: &[PruneCandidate],
        lists: &[SpecId],
        dependents: &Dependents,
        kept: &mut [bool],
    ) {
        // The records that are not dominated.
        let mut better: Vec<&PruneCandidate> = Vec::new();
        for candidate in alike {
            let own = dependents.specs_of(candidate.record_id);
            let dominates = |other: &&PruneCandidate| {
                other.rank < candidate.rank
                    && other.has_same_dependencies(candidate, lists)
                    && is_subset(dependents.specs_of(other.record_id), own)
            };
            if better.iter().take(MAX_COMPARED).any(dominates) && !self.favored.contains(&candidate.record_id) {
                kept[candidate.record_id as usize] = false;
            } else {
                better.push(candidate);
            }
        }
    }

    /// For each spec, the first spec with the same kept matches.
    fn canonical_specs(&self, kept: &[bool]) -> Vec<SpecId> {
        let mut canonical: Vec<SpecId> = (0..self.pool.spec_count() as SpecId).collect();
        let mut known: HashMap<Vec<RecordId>, SpecId> = HashMap::new();
        for id in self.requested_specs(kept) {
            let left: Vec<RecordId> = self.matching_records(id).filter(|record_id| kept[*record_id as usize]).collect();
            // A spec without matches may be a constraint, or about a virtual package.
            if !left.is_empty() && !self.is_virtual(id) {
                canonical[id as usize] = *known.entry(left).or_insert(id);
            }
        }
        canonical
    }

    /// The specs of the kept records.
    fn requested_specs(&self, kept: &[bool]) -> impl Iterator<Item = SpecId> + use<> {
        let mut requested = vec![false; self.pool.spec_count()];
        for record_id in (0..kept.len()).filter(|record_id| kept[*record_id]) {
            let (needs, bounds) = (self.depends(record_id as RecordId), self.constrains(record_id as RecordId));
            needs.iter().chain(bounds).for_each(|id| requested[*id as usize] = true);
        }
        requested.into_iter().enumerate().filter(|(_, requested)| *requested).map(|(id, _)| id as SpecId)
    }

    /// For each record, the specs of kept records that match it.
    fn dependents(&self, kept: &[bool], canonical: &[SpecId]) -> Dependents {
        let mut starts = vec![0; kept.len() + 1];
        let requested = || self.requested_specs(kept).filter(|id| canonical[*id as usize] == *id);
        let kept_of = |id: SpecId| {
            self.matching_records(id).map(|record_id| record_id as usize).filter(|record_id| kept[*record_id])
        };
        requested().flat_map(kept_of).for_each(|record_id| starts[record_id + 1] += 1);
        for record_id in 0..kept.len() {
            starts[record_id + 1] += starts[record_id];
        }
        let (mut next, mut spec_count) = (starts.clone(), vec![0; starts[kept.len()]]);
        for id in requested() {
            for record_id in kept_of(id) {
                spec_count[next[record_id]] = id;
                next[record_id] += 1;
            }
        }
        Dependents { starts, spec_count }
    }
}

/// For each record, the specs that match it, sorted.
struct Dependents {
    starts: Vec<usize>,
    spec_count: Vec<SpecId>,
}

impl Dependents {
    fn specs_of(&self, record_id: RecordId) -> &[SpecId] {
        &self.spec_count[self.starts[record_id as usize]..self.starts[record_id as usize + 1]]
    }
}

/// Removes records that an earlier channel hides.
fn apply_channel_priority(pool: &Pool<'_>, possible: &mut [bool]) {
    for name in &pool.names {
        let mut record_ids = name.record_ids.iter();
        let first = record_ids
            .by_ref()
            .find(|record_id| possible[*record_id as usize])
            .map(|record_id| pool.channel_rank(record_id));
        for record_id in record_ids {
            possible[record_id as usize] &= Some(pool.channel_rank(record_id)) == first;
        }
    }
}

/// Removes records that do not match a spec of the environment.
fn apply_spec(pool: &Pool<'_>, name: NameId, resolved: SpecId, spec: &MatchSpec, possible: &mut [bool]) {
    let Some(matching) = pool.resolved(resolved).map(|resolved| &resolved.record_ids) else { return };
    for record_id in pool.names[name as usize].record_ids.iter() {
        let is_in_subdir =
            || spec.subdir.as_ref().is_none_or(|subdir| *subdir == pool.record(record_id).package_record.subdir);
        possible[record_id as usize] &= matching.contains(record_id) && is_in_subdir();
    }
}

/// A record that is compared with others of its name.
struct PruneCandidate {
    /// The hash of the fields that must be equal.
    hash: u64,
    /// The rank of its channel, and whether it has track features.
    kind: (u32, bool),
    /// The version rank and the build number.
    rank: Reverse<(u32, u64)>,
    record_id: RecordId,
    /// The index of its first dependency in the list.
    start: usize,
    /// The index of its first constraint.
    middle: usize,
    /// The index after its last constraint.
    end: usize,
}

impl PruneCandidate {
    fn has_same_dependencies(&self, other: &Self, lists: &[SpecId]) -> bool {
        self.kind == other.kind
            && lists[self.start..self.middle] == lists[other.start..other.middle]
            && lists[self.middle..self.end] == lists[other.middle..other.end]
    }
}

/// Appends the canonical specs, sorted and without duplicates.
fn push_canonical(ids: &[SpecId], canonical: &[SpecId], lists: &mut Vec<SpecId>) {
    let start = lists.len();
    lists.extend(ids.iter().map(|id| canonical[*id as usize]));
    lists[start..].sort_unstable();
    let mut end = start;
    for index in start..lists.len() {
        if index == start || lists[index] != lists[end - 1] {
            lists[end] = lists[index];
            end += 1;
        }
    }
    lists.truncate(end);
}

/// Whether all of `some` are in `all`. Both are sorted.
fn is_subset(all: &[SpecId], some: &[SpecId]) -> bool {
    let mut all = all.iter();
    some.iter().all(|id| all.any(|other| other == id))
}
