//! What no solution can have is not shown to the solver, which spends its time on making clauses of every record that a
//! dependency may mean. Of fifty thousand, some three thousand remain.
//!
//! A record goes,
//!
//! 1. if it does not match what the environment asks of its name, or an earlier channel hides it;
//! 2. if nothing is left of one of its dependencies, or of a needed package under its `constrains`; or if none of those
//!    allows it that need its package in every solution ([`needed`]): again, until nothing more goes, or a hundred times;
//! 3. if nothing that is left asks for it;
//! 4. if there is a better one, of the same channel, that needs nothing else and is wanted wherever this one is: a
//!    solution with this one has a twin with the better one, which the solver tries first.
//!
//! Virtual packages take nothing away, for the system may be raised yet. Where there is no solution, the reasons are those
//! of all records ([`super::question`]).

mod needed;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, hash::BuildHasher};

use foldhash::{HashMap, HashMapExt};
use rattler_conda_types::{MatchSpec, RepoDataRecord};

use super::{
    ChannelPriority,
    catalog::{AskId, Catalog, NameId, Place},
    question::Request,
};
use needed::Needed;

/// Which of the records exist for a question.
pub(super) fn existing(catalog: &Catalog<'_>, request: &Request<'_>) -> Vec<bool> {
    let cutoff = request.options.exclude_newer;
    let exists = |record: &&RepoDataRecord| {
        let only = request.kept.only.get(record.package_record.name.as_normalized());
        cutoff.is_none_or(|cutoff| cutoff.admits(&record.package_record)) && only.is_none_or(|url| *url == record.url)
    };
    if cutoff.is_none() && request.kept.only.is_empty() {
        return vec![true; catalog.records.len()];
    }
    catalog.records.iter().map(exists).collect()
}

/// What remains.
pub(super) struct Remains {
    /// By record, whether it does.
    pub(super) kept: Vec<bool>,
    /// By what is asked for: the first that means the same of what remains, `>=1.2` for `>=1.3` if there is no 1.2.
    pub(super) same: Vec<AskId>,
}

/// Which of the existing records remain; `None` if something is asked for in a way that is not understood here.
pub(super) fn prune(catalog: &mut Catalog<'_>, exists: &[bool], request: &Request<'_>) -> Option<Remains> {
    let mut field = Field::new(catalog, exists.to_vec(), request)?;
    field.grow().ok()?;
    // A chain of packages of which the last is missing may take as many rounds as it has links. The solver sees what is
    // left of it.
    let mut open: Vec<Place> = (0..).zip(&field.possible).filter(|(_, is)| **is).map(|(place, _)| place).collect();
    let mut needed = Needed::new(&field.required, field.catalog.names.len());
    for _ in 0..ROUNDS {
        let has_withered = field.wither(&mut open, &needed);
        if !field.tighten(&mut needed) && !has_withered {
            break;
        }
    }
    let mut kept = field.reached();
    let same = field.same(&kept);
    field.yield_to_better(&mut kept, &same);
    Some(Remains { kept, same })
}

/// With how many better ones a record is compared, at most: each of them may be wanted in a thousand ways.
const MOST_BETTER: usize = 100;

/// How often is looked for what lacks something, at most: real channels take a few rounds.
const ROUNDS: usize = 100;

/// Something is asked for under a condition, or with extras (CEP-43, CEP-44): the solver has to see everything.
struct NotUnderstood;

struct Field<'c, 'a> {
    catalog: &'c mut Catalog<'a>,
    /// The names that the environment asks for.
    required: Vec<NameId>,
    /// By what is asked for: whether there may be an answer, as far as it was looked at.
    hopes: Vec<Option<bool>>,
    /// By record: whether it can be in a solution, as far as it is known.
    possible: Vec<bool>,
    /// Records that are to be tried before others.
    favored: Vec<Place>,
}

impl<'c, 'a> Field<'c, 'a> {
    /// With what the environment asks for.
    fn new(catalog: &'c mut Catalog<'a>, mut possible: Vec<bool>, request: &Request<'_>) -> Option<Self> {
        let mut asks = Vec::new();
        for spec in request.naming.iter().chain(request.specs) {
            let ask = catalog.spec(spec);
            let name = catalog.ask(ask)?.name;
            for place in catalog.names[name as usize].places.iter() {
                possible[place as usize] &= catalog.is_in_channel(place, spec);
            }
        }
        for spec in request.specs {
            if spec.condition.is_some() || spec.extras.is_some() {
                return None;
            }
            let ask = catalog.spec(spec);
            let name = catalog.ask(ask)?.name;
            asks.push((ask, name, spec));
        }
        if request.options.channel_priority == ChannelPriority::Strict {
            hide(catalog, &mut possible);
        }
        for (ask, name, spec) in &asks {
            retain(catalog, *name, *ask, spec, &mut possible);
        }
        let required = asks.iter().map(|(_, name, _)| *name).collect();
        let favored = request.kept.favored.iter().filter_map(|record| catalog.place_of(record)).collect();
        Some(Self { catalog, required, hopes: Vec::new(), possible, favored })
    }

    /// Follows what is asked for, as long as it leads somewhere.
    fn grow(&mut self) -> Result<(), NotUnderstood> {
        let mut seen = vec![false; self.possible.len()];
        let mut asked = Vec::new();
        let mut open: Vec<Place> = self.roots();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place as usize], true) || !self.possible[place as usize] {
                continue;
            }
            self.look_at(place)?;
            if !self.possible[place as usize] {
                continue;
            }
            asked.resize(self.hopes.len(), false);
            for id in self.needs(place) {
                if !std::mem::replace(&mut asked[*id as usize], true) {
                    open.extend(self.meant(*id));
                }
            }
        }
        // What was not looked at is wanted by nothing.
        self.possible.iter_mut().zip(seen).for_each(|(possible, seen)| *possible &= seen);
        Ok(())
    }

    /// All records of what the environment asks for.
    fn roots(&self) -> Vec<Place> {
        self.required.iter().flat_map(|name| self.catalog.names[*name as usize].places.iter()).collect()
    }

    fn needs(&self, place: Place) -> &[AskId] {
        self.catalog.demands(place).needs
    }

    fn bounds(&self, place: Place) -> &[AskId] {
        self.catalog.demands(place).bounds
    }

    /// The records that are asked for.
    fn meant(&self, id: AskId) -> impl Iterator<Item = Place> + '_ {
        self.catalog.ask(id).into_iter().flat_map(|ask| ask.places.iter())
    }

    /// Finds out what a record depends on, and what it wants of required packages.
    fn look_at(&mut self, place: Place) -> Result<(), NotUnderstood> {
        self.catalog.look_at(place);
        let demands = self.catalog.demands(place);
        if !demands.extras.is_empty() {
            return Err(NotUnderstood);
        }
        let count = demands.needs.len();
        // What is known to be without hope need not be read to its end: most builds are for another python.
        let mut is_possible =
            demands.needs.iter().all(|id| self.hopes.get(*id as usize).is_none_or(|hope| *hope != Some(false)));
        for index in 0..count {
            is_possible = is_possible && self.has_hope(self.needs(place)[index])?;
        }
        for index in 0..self.bounds(place).len() {
            is_possible = is_possible && self.read(self.bounds(place)[index])?;
        }
        self.possible[place as usize] &= is_possible;
        Ok(())
    }

    /// Whether there may be an answer to what a dependency asks for. The solver, too, leaves out what has one that cannot
    /// be read.
    fn has_hope(&mut self, id: AskId) -> Result<bool, NotUnderstood> {
        if let Some(Some(known)) = self.hopes.get(id as usize) {
            return Ok(*known);
        }
        let has_hope = self.read(id)? && (self.is_of_the_system(id) || self.is_left(id));
        self.hopes.resize(self.hopes.len().max(id as usize + 1), None);
        self.hopes[id as usize] = Some(has_hope);
        Ok(has_hope)
    }

    /// Whether what is asked for makes sense.
    fn read(&mut self, id: AskId) -> Result<bool, NotUnderstood> {
        match self.catalog.read(id) {
            Some(ask) if ask.condition.is_some() || !ask.extras.is_empty() => Err(NotUnderstood),
            other => Ok(other.is_some()),
        }
    }

    /// Whether it may be answered by a virtual package.
    fn is_of_the_system(&self, id: AskId) -> bool {
        self.catalog.ask(id).is_some_and(|ask| self.catalog.names[ask.name as usize].text.starts_with("__"))
    }

    fn is_left(&self, id: AskId) -> bool {
        self.meant(id).any(|place| self.possible[place as usize])
    }

    /// Takes away what lacks a dependency, or rules a needed package out, of those that are open; whether there was any.
    fn wither(&mut self, open: &mut Vec<Place>, needed: &Needed) -> bool {
        // Found out once for each round, and for what is wanted only.
        let mut left: Vec<Option<bool>> = vec![None; self.catalog.asks()];
        let before = open.len();
        open.retain(|place| {
            let is_out = !self.possible[*place as usize] || self.is_out(*place, needed, &mut left);
            self.possible[*place as usize] &= !is_out;
            !is_out
        });
        open.len() < before
    }

    fn is_out(&self, place: Place, needed: &Needed, left: &mut [Option<bool>]) -> bool {
        let mut is_left = |id: AskId| *left[id as usize].get_or_insert_with(|| self.is_left(id));
        let mut is_missing = |id: AskId| !is_left(id) && !self.is_of_the_system(id);
        let is_needed = |id: AskId| self.catalog.ask(id).is_some_and(|ask| needed.has(ask.name));
        self.needs(place).iter().any(|id| is_missing(*id))
            || self.bounds(place).iter().any(|id| is_needed(*id) && is_missing(*id))
    }

    /// What is still wanted by something that is possible.
    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.possible.len()];
        let mut asked = vec![false; self.catalog.asks()];
        let mut open: Vec<Place> = self.roots();
        while let Some(place) = open.pop() {
            if !self.possible[place as usize] || std::mem::replace(&mut reached[place as usize], true) {
                continue;
            }
            for id in self.needs(place) {
                if !std::mem::replace(&mut asked[*id as usize], true) {
                    open.extend(self.meant(*id));
                }
            }
        }
        reached
    }

    /// Takes away what is no better than another in any respect.
    fn yield_to_better(&self, kept: &mut [bool], same: &[AskId]) {
        let wanted = self.wanted(kept, same);
        let hasher = foldhash::fast::FixedState::default();
        let mut lists: Vec<AskId> = Vec::new();
        let mut twins: Vec<Twin> = Vec::new();
        for name in &self.catalog.names {
            lists.clear();
            twins.clear();
            for place in name.places.iter().filter(|place| kept[*place as usize]) {
                let start = lists.len();
                map(self.needs(place), same, &mut lists);
                let middle = lists.len();
                map(self.bounds(place), same, &mut lists);
                let entry = self.catalog.entry(place);
                let kind = (self.catalog.channel_rank(place), entry.has_features);
                let hash = hasher.hash_one((kind, middle - start, &lists[start..]));
                let rank = Reverse((self.catalog.version_rank(place), entry.build_number));
                twins.push(Twin { hash, kind, rank, place, start, middle, end: lists.len() });
            }
            twins.sort_unstable_by_key(|twin| (twin.hash, twin.rank, twin.place));
            for alike in twins.chunk_by(|one, other| one.hash == other.hash) {
                self.yield_among(alike, &lists, &wanted, kept);
            }
        }
    }

    /// The same, among those that need the same; the better ones come first.
    fn yield_among(&self, alike: &[Twin], lists: &[AskId], wanted: &Wanted, kept: &mut [bool]) {
        // What was found to be better than others.
        let mut better: Vec<&Twin> = Vec::new();
        for twin in alike {
            let own = wanted.of(twin.place);
            let yields = |other: &&Twin| {
                other.rank < twin.rank && other.is_like(twin, lists) && includes(wanted.of(other.place), own)
            };
            if better.iter().take(MOST_BETTER).any(yields) && !self.favored.contains(&twin.place) {
                kept[twin.place as usize] = false;
            } else {
                better.push(twin);
            }
        }
    }

    /// By what is asked for: the first that means the same of what is kept.
    fn same(&self, kept: &[bool]) -> Vec<AskId> {
        let mut same: Vec<AskId> = (0..self.catalog.asks() as AskId).collect();
        let mut known: HashMap<Vec<Place>, AskId> = HashMap::new();
        for id in self.asked(kept) {
            let left: Vec<Place> = self.meant(id).filter(|place| kept[*place as usize]).collect();
            // Nothing is left of what a bound excludes, and of what the system has.
            if !left.is_empty() && !self.is_of_the_system(id) {
                same[id as usize] = *known.entry(left).or_insert(id);
            }
        }
        same
    }

    /// What the kept records ask for.
    fn asked(&self, kept: &[bool]) -> impl Iterator<Item = AskId> + use<> {
        let mut asked = vec![false; self.catalog.asks()];
        for place in (0..kept.len()).filter(|place| kept[*place]) {
            let (needs, bounds) = (self.needs(place as Place), self.bounds(place as Place));
            needs.iter().chain(bounds).for_each(|id| asked[*id as usize] = true);
        }
        asked.into_iter().enumerate().filter(|(_, asked)| *asked).map(|(id, _)| id as AskId)
    }

    /// What means each record, of all that the kept ones ask for.
    fn wanted(&self, kept: &[bool], same: &[AskId]) -> Wanted {
        let mut starts = vec![0; kept.len() + 1];
        let asked = || self.asked(kept).filter(|id| same[*id as usize] == *id);
        let kept_of = |id: AskId| self.meant(id).map(|place| place as usize).filter(|place| kept[*place]);
        asked().flat_map(kept_of).for_each(|place| starts[place + 1] += 1);
        for place in 0..kept.len() {
            starts[place + 1] += starts[place];
        }
        let (mut next, mut asks) = (starts.clone(), vec![0; starts[kept.len()]]);
        for id in asked() {
            for place in kept_of(id) {
                asks[next[place]] = id;
                next[place] += 1;
            }
        }
        Wanted { starts, asks }
    }
}

/// By record, what means it, in order.
struct Wanted {
    starts: Vec<usize>,
    asks: Vec<AskId>,
}

impl Wanted {
    fn of(&self, place: Place) -> &[AskId] {
        &self.asks[self.starts[place as usize]..self.starts[place as usize + 1]]
    }
}

/// Takes away what an earlier channel hides.
fn hide(catalog: &Catalog<'_>, possible: &mut [bool]) {
    for name in &catalog.names {
        let mut places = name.places.iter();
        let first = places.by_ref().find(|place| possible[*place as usize]).map(|place| catalog.channel_rank(place));
        for place in places {
            possible[place as usize] &= Some(catalog.channel_rank(place)) == first;
        }
    }
}

/// Takes away what does not match what the environment asks for.
fn retain(catalog: &Catalog<'_>, name: NameId, ask: AskId, spec: &MatchSpec, possible: &mut [bool]) {
    let Some(matching) = catalog.ask(ask).map(|ask| &ask.places) else { return };
    for place in catalog.names[name as usize].places.iter() {
        let is_in_subdir =
            || spec.subdir.as_ref().is_none_or(|subdir| *subdir == catalog.record(place).package_record.subdir);
        possible[place as usize] &= matching.contains(place) && is_in_subdir();
    }
}

/// A record that is compared with others of its name.
struct Twin {
    /// Of all that twins have in common.
    hash: u64,
    /// Its channel's rank, and whether it has track features.
    kind: (u32, bool),
    /// Version and build number.
    rank: Reverse<(u32, u64)>,
    place: Place,
    /// Where in a list that begins which it needs,
    start: usize,
    /// and there its bounds,
    middle: usize,
    /// and where these end.
    end: usize,
}

impl Twin {
    fn is_like(&self, other: &Self, lists: &[AskId]) -> bool {
        self.kind == other.kind
            && lists[self.start..self.middle] == lists[other.start..other.middle]
            && lists[self.middle..self.end] == lists[other.middle..other.end]
    }
}

/// Adds what these are the same as, sorted.
fn map(ids: &[AskId], same: &[AskId], lists: &mut Vec<AskId>) {
    let start = lists.len();
    lists.extend(ids.iter().map(|id| same[*id as usize]));
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

/// Whether all of the second are among the first; both are sorted.
fn includes(all: &[AskId], some: &[AskId]) -> bool {
    let mut all = all.iter();
    some.iter().all(|id| all.any(|other| other == id))
}
