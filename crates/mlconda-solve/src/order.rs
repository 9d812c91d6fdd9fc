//! Which records are tried first: as rattler has it, who took it from conda. Those without track features come before
//! those with them, channels count under flexible priority, then the version, then the build number. Between builds that
//! are alike in all of this, the one counts whose dependencies can be newer, name by name, and then the one that was made
//! last.

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
    catalog::{AskId, Catalog, NameId, Place},
};

/// The best that there may be of something asked for: less is better. First whether it has track features, then the
/// version.
type Best = (bool, Reverse<u32>);

/// Of each name that a record depends on, the best that it leaves; by name.
type Score = Rc<[(NameId, Option<Best>)]>;

/// By what a record is tried, before what it depends on is looked at.
type Key = (bool, u32, Reverse<u32>, Reverse<u64>);

pub(super) struct Order<'c, 'a> {
    catalog: &'c Catalog<'a>,
    virtual_packages: &'c [GenericVirtualPackage],
    exists: &'c [bool],
    priority: ChannelPriority,
    best: RefCell<HashMap<AskId, Option<Best>>>,
    scores: RefCell<HashMap<Place, Score>>,
}

impl<'c, 'a> Order<'c, 'a> {
    pub(crate) fn new(
        catalog: &'c Catalog<'a>,
        virtual_packages: &'c [GenericVirtualPackage],
        exists: &'c [bool],
        priority: ChannelPriority,
    ) -> Self {
        let (best, scores) = (RefCell::new(HashMap::new()), RefCell::new(HashMap::new()));
        Self { catalog, virtual_packages, exists, priority, best, scores }
    }

    /// Sorts records of one package, each with something that goes with it.
    pub(super) fn sort<T: Copy + Ord>(&self, records: &mut [(Place, T)]) {
        let mut keyed: Vec<(Key, (Place, T))> = records.iter().map(|entry| (self.key(entry.0), *entry)).collect();
        keyed.sort_unstable();
        for group in keyed.chunk_by_mut(|one, other| one.0 == other.0).filter(|group| group.len() > 1) {
            self.sort_alike(group);
        }
        for (record, (_, sorted)) in records.iter_mut().zip(keyed) {
            *record = sorted;
        }
    }

    fn key(&self, place: Place) -> Key {
        let entry = self.catalog.entry(place);
        let channel = if self.priority == ChannelPriority::Flexible { self.catalog.channel_rank(place) } else { 0 };
        let version = self.catalog.version_rank(place);
        (entry.has_features, channel, Reverse(version), Reverse(entry.build_number))
    }

    /// Sorts records that have the same key by what they depend on, and by age.
    fn sort_alike<T: Copy>(&self, group: &mut [(Key, (Place, T))]) {
        // What cannot be read comes last, and says nothing.
        let mut known = Vec::with_capacity(group.len());
        let mut unknown = Vec::new();
        for entry in group.iter() {
            let place = entry.1.0;
            match self.score(place) {
                Some(score) => known.push((score, Reverse(self.time(place)), *entry)),
                None => unknown.push(*entry),
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
        let sorted = known.into_iter().map(|(.., entry)| entry).chain(unknown);
        group.iter_mut().zip(sorted).for_each(|(old, new)| *old = new);
    }

    fn time(&self, place: Place) -> Option<jiff::Timestamp> {
        self.catalog.record(place).package_record.timestamp.map(|time| time.jiff_timestamp())
    }

    /// What a record's dependencies leave, by name; `None` if one of them cannot be read.
    fn score(&self, place: Place) -> Option<Score> {
        if let Some(known) = self.scores.borrow().get(&place) {
            return Some(Rc::clone(known));
        }
        let demands = self.catalog.demands(place);
        let mut all: Vec<(NameId, Option<Best>)> = Vec::with_capacity(demands.needs.len());
        for id in demands.needs.iter().chain(demands.extras.iter().map(|(_, id)| id)) {
            let name = self.catalog.ask(*id)?.name;
            all.push((name, self.best(*id)));
        }
        let name = |id: NameId| self.catalog.names[id as usize].text.as_str();
        mlconda_types::sorting::sort_by(&mut all, |one, other| name(one.0).cmp(name(other.0)));
        // Of two bounds for one name, the one that leaves less counts.
        let worse = |one: Option<Best>, other: Option<Best>| if other > one { other } else { one };
        let score: Score = all
            .into_iter()
            .coalesce(
                |one, other| {
                    if one.0 == other.0 { Ok((one.0, worse(one.1, other.1))) } else { Err((one, other)) }
                },
            )
            .collect();
        self.scores.borrow_mut().insert(place, Rc::clone(&score));
        Some(score)
    }

    /// The best that there is of what is asked for, whether it can be in a solution or not.
    fn best(&self, id: AskId) -> Option<Best> {
        if let Some(known) = self.best.borrow().get(&id) {
            return *known;
        }
        let newest = self.catalog.ask(id).and_then(|ask| self.catalog.newest(&ask.places, self.exists));
        let mut best = newest.map(|(rank, first)| (self.catalog.entry(first).has_features, Reverse(rank)));
        if best.is_none() && self.virtual_packages.iter().any(|package| self.is_meant(id, package)) {
            best = Some((false, Reverse(0)));
        }
        self.best.borrow_mut().insert(id, best);
        best
    }

    fn is_meant(&self, id: AskId, package: &GenericVirtualPackage) -> bool {
        let name = self.catalog.ask(id).map(|ask| self.catalog.names[ask.name as usize].text.as_str());
        name == Some(package.name.as_normalized()) && self.catalog.means(id, package)
    }
}

fn find(score: &Score, name: NameId) -> Option<Option<Best>> {
    score.iter().find(|(known, _)| *known == name).map(|(_, best)| *best)
}

/// What is there is better than what is not.
fn compare(one: Option<Option<Best>>, other: Option<Option<Best>>) -> Ordering {
    match (one.flatten(), other.flatten()) {
        (Some(one), Some(other)) => one.cmp(&other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}
