//! The order in which the solver tries the records of a package. It is that of rattler, which comes from conda:
//! records without track features first, then by channel (with flexible priority), version and build number. Among
//! builds that are equal in this, the one with the newer dependencies is first, name by name, then the one that was
//! built last.

use std::{
    cell::RefCell,
    cmp::{Ordering, Reverse},
    rc::Rc,
};

use foldhash::{HashMap, HashMapExt};
use itertools::Itertools;
use rattler_conda_types::GenericVirtualPackage;

use super::{
    ChannelPriority,
    pool::{NameId, Pool, RecordId, SpecId},
};

/// The best record that matches a spec; less is better. First whether it has track features, then the version rank.
type BestMatch = (bool, Reverse<u32>);

/// For each dependency of a record, the best match; sorted by name.
type DependencyScore = Rc<[(NameId, Option<BestMatch>)]>;

/// The sort key of a record, without its dependencies.
type SortKey = (bool, u32, Reverse<u32>, Reverse<u64>);

pub(super) struct CandidateOrder<'c, 'a> {
    pool: &'c Pool<'a>,
    virtual_packages: &'c [GenericVirtualPackage],
    exists: &'c [bool],
    priority: ChannelPriority,
    best: RefCell<HashMap<SpecId, Option<BestMatch>>>,
    scores: RefCell<HashMap<RecordId, DependencyScore>>,
}

impl<'c, 'a> CandidateOrder<'c, 'a> {
    pub(crate) fn new(
        pool: &'c Pool<'a>,
        virtual_packages: &'c [GenericVirtualPackage],
        exists: &'c [bool],
        priority: ChannelPriority,
    ) -> Self {
        let (best, scores) = (RefCell::new(HashMap::new()), RefCell::new(HashMap::new()));
        Self { pool, virtual_packages, exists, priority, best, scores }
    }

    /// Sorts records of one package, each with a payload.
    pub(super) fn sort<T: Copy + Ord>(&self, records: &mut [(RecordId, T)]) {
        let mut keyed: Vec<(SortKey, (RecordId, T))> = records.iter().map(|row| (self.key(row.0), *row)).collect();
        keyed.sort_unstable();
        for group in keyed.chunk_by_mut(|one, other| one.0 == other.0).filter(|group| group.len() > 1) {
            self.sort_alike(group);
        }
        for (record, (_, sorted)) in records.iter_mut().zip(keyed) {
            *record = sorted;
        }
    }

    fn key(&self, record_id: RecordId) -> SortKey {
        let row = self.pool.row(record_id);
        let channel = if self.priority == ChannelPriority::Flexible { self.pool.channel_rank(record_id) } else { 0 };
        let version = self.pool.version_rank(record_id);
        (row.has_track_features, channel, Reverse(version), Reverse(row.build_number))
    }

    /// Sorts records with equal keys by their dependencies, and by the time of the build.
    fn sort_alike<T: Copy>(&self, group: &mut [(SortKey, (RecordId, T))]) {
        // Records with invalid dependencies come last.
        let mut known = Vec::with_capacity(group.len());
        let mut unknown = Vec::new();
        for row in group.iter() {
            let record_id = row.1.0;
            match self.score(record_id) {
                Some(score) => known.push((score, Reverse(self.time(record_id)), *row)),
                None => unknown.push(*row),
            }
        }
        let Some((first, _, _)) = known.first() else { return };
        let in_all = |name: &&NameId| known.iter().all(|(score, ..)| find(score, **name).is_some());
        let shared: Vec<NameId> = first.iter().map(|(name, _)| name).filter(in_all).copied().collect();
        mlconda_types::sorting::sort_by(&mut known, |one, other| {
            let of_name = |name: &NameId| compare(find(&one.0, *name), find(&other.0, *name));
            let differing = shared.iter().map(of_name).find(|order| order.is_ne());
            differing.unwrap_or_else(|| one.1.cmp(&other.1))
        });
        let sorted = known.into_iter().map(|(.., row)| row).chain(unknown);
        group.iter_mut().zip(sorted).for_each(|(old, new)| *old = new);
    }

    fn time(&self, record_id: RecordId) -> Option<jiff::Timestamp> {
        self.pool.record(record_id).package_record.timestamp.map(|time| time.jiff_timestamp())
    }

    /// The best matches of a record's dependencies; `None` if one of them cannot be parsed.
    fn score(&self, record_id: RecordId) -> Option<DependencyScore> {
        if let Some(known) = self.scores.borrow().get(&record_id) {
            return Some(Rc::clone(known));
        }
        let dependencies = self.pool.dependencies_of(record_id);
        let mut all: Vec<(NameId, Option<BestMatch>)> = Vec::with_capacity(dependencies.depends.len());
        for id in dependencies.depends.iter().chain(dependencies.extra_depends.iter().map(|(_, id)| id)) {
            let name = self.pool.resolved(*id)?.name;
            all.push((name, self.best(*id)));
        }
        let name = |id: NameId| self.pool.names[id as usize].text.as_str();
        mlconda_types::sorting::sort_by(&mut all, |one, other| name(one.0).cmp(name(other.0)));
        // If two specs are for one name, the more restrictive one counts.
        let worse = |one: Option<BestMatch>, other: Option<BestMatch>| if other > one { other } else { one };
        let score: DependencyScore = all
            .into_iter()
            .coalesce(
                |one, other| {
                    if one.0 == other.0 { Ok((one.0, worse(one.1, other.1))) } else { Err((one, other)) }
                },
            )
            .collect();
        self.scores.borrow_mut().insert(record_id, Rc::clone(&score));
        Some(score)
    }

    /// The best match of a spec, whether or not it can be in a solution.
    fn best(&self, id: SpecId) -> Option<BestMatch> {
        if let Some(known) = self.best.borrow().get(&id) {
            return *known;
        }
        let newest = self.pool.resolved(id).and_then(|resolved| self.pool.newest(&resolved.record_ids, self.exists));
        let mut best = newest.map(|(rank, first)| (self.pool.row(first).has_track_features, Reverse(rank)));
        if best.is_none() && self.virtual_packages.iter().any(|package| self.matches_virtual(id, package)) {
            best = Some((false, Reverse(0)));
        }
        self.best.borrow_mut().insert(id, best);
        best
    }

    fn matches_virtual(&self, id: SpecId, package: &GenericVirtualPackage) -> bool {
        let name = self.pool.resolved(id).map(|resolved| self.pool.names[resolved.name as usize].text.as_str());
        name == Some(package.name.as_normalized()) && self.pool.matches_virtual(id, package)
    }
}

fn find(score: &DependencyScore, name: NameId) -> Option<Option<BestMatch>> {
    score.iter().find(|(known, _)| *known == name).map(|(_, best)| *best)
}

/// A match is better than none.
fn compare(one: Option<Option<BestMatch>>, other: Option<Option<BestMatch>>) -> Ordering {
    match (one.flatten(), other.flatten()) {
        (Some(one), Some(other)) => one.cmp(&other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}
