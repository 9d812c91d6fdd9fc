//! What no solution can have is not shown to the solver, which spends its time on making clauses of every record that a
//! dependency may mean. Of fifty thousand, some seven thousand remain.
//!
//! A record goes,
//!
//! 1. if it does not match what the environment asks of its name, or an earlier channel hides it;
//! 2. if nothing is left of one of its dependencies, or of a required package under its `constrains`: again, until
//!    nothing more goes;
//! 3. if nothing that is left asks for it;
//! 4. if there is a better one, of the same channel, that needs nothing else and is wanted wherever this one is: a
//!    solution with this one has a twin with the better one, which the solver tries first.
//!
//! Virtual packages take nothing away, for the system may be raised yet. Where there is no solution, the reasons are those
//! of all records ([`super::question`]).

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use rattler_conda_types::{
    MatchSpec, Matches, NamelessMatchSpec, ParseMatchSpecOptions, RepoDataRecord, RepodataRevision, Version,
};

use super::{ChannelPriority, question::Bucket};

/// A record, by its place among all.
type Place = usize;

/// A match spec, by its place among all that are asked for.
type AskId = usize;

/// Leaves out what no solution can have.
pub(super) fn prune<'a>(
    buckets: Vec<Bucket<'a>>,
    specs: &'a [MatchSpec],
    priority: ChannelPriority,
) -> Vec<Bucket<'a>> {
    let Some(kept) = kept(&buckets, specs, priority) else { return buckets };
    let mut kept = kept.into_iter();
    let of_bucket = |Bucket { mut records, tier }| {
        records.retain(|_| kept.next().unwrap_or(true));
        Bucket { records, tier }
    };
    buckets.into_iter().map(of_bucket).collect()
}

/// Which records remain; `None` if something is asked for in a way that is not understood here.
fn kept(buckets: &[Bucket<'_>], specs: &[MatchSpec], priority: ChannelPriority) -> Option<Vec<bool>> {
    let mut field = Field::new(buckets, specs, priority)?;
    field.grow().ok()?;
    while field.wither() {}
    let mut kept = field.reached();
    field.yield_to_better(&mut kept);
    Some(kept)
}

/// Something is asked for under a condition, or with extras (CEP-42 and later): the solver has to see everything.
struct NotUnderstood;

/// What is asked for by one text.
struct Ask<'a> {
    name: &'a str,
    /// The records that match.
    matching: Vec<Place>,
}

impl Ask<'_> {
    /// Whether it may be answered by a virtual package.
    fn is_of_the_system(&self) -> bool {
        self.name.starts_with("__")
    }
}

struct Field<'a> {
    records: Vec<&'a RepoDataRecord>,
    /// The place of a record's name among the names.
    by_name: HashMap<&'a str, Vec<Place>>,
    /// The names that the environment asks for.
    required: HashSet<&'a str>,
    /// By text; `None` if it cannot be read.
    ids: HashMap<&'a str, Option<AskId>>,
    asks: Vec<Ask<'a>>,
    /// What each record depends on, and what it constrains, as far as it was looked at.
    needs: Vec<Vec<AskId>>,
    bounds: Vec<Vec<AskId>>,
    /// Whether it can be in a solution, as far as it is known.
    possible: Vec<bool>,
}

impl<'a> Field<'a> {
    /// With what the environment asks for.
    fn new(buckets: &[Bucket<'a>], specs: &'a [MatchSpec], priority: ChannelPriority) -> Option<Self> {
        let records: Vec<&RepoDataRecord> = buckets.iter().flat_map(|bucket| &bucket.records).copied().collect();
        let mut by_name: HashMap<&str, Vec<Place>> = HashMap::new();
        let mut last: Option<(&str, Vec<Place>)> = None;
        for (place, record) in records.iter().enumerate() {
            let name = record.package_record.name.as_normalized();
            match &mut last {
                Some((known, places)) if *known == name => places.push(place),
                _ => {
                    if let Some((known, places)) = last.replace((name, vec![place])) {
                        by_name.entry(known).or_default().extend(places);
                    }
                }
            }
        }
        if let Some((known, places)) = last {
            by_name.entry(known).or_default().extend(places);
        }
        let count = records.len();
        let mut possible = vec![true; count];
        let mut required = HashSet::new();
        let mut of_channels = HashSet::new();
        for spec in specs {
            let name = spec.name.as_exact()?.as_normalized();
            if spec.condition.is_some() || spec.extras.is_some() {
                return None;
            }
            required.insert(name);
            if spec.channel.is_some() {
                of_channels.insert(name);
            }
            for place in by_name.get(name).into_iter().flatten() {
                possible[*place] &= spec.matches(records[*place]);
            }
        }
        if priority == ChannelPriority::Strict {
            hide(buckets, &by_name, &of_channels, &mut possible);
        }
        let (needs, bounds) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        Some(Self { records, by_name, required, ids: HashMap::new(), asks: Vec::new(), needs, bounds, possible })
    }

    /// Follows what is asked for, as long as it leads somewhere.
    fn grow(&mut self) -> Result<(), NotUnderstood> {
        let mut seen = vec![false; self.records.len()];
        let mut asked = Vec::new();
        let mut open: Vec<Place> =
            self.required.iter().filter_map(|name| self.by_name.get(name)).flatten().copied().collect();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place], true) || !self.possible[place] {
                continue;
            }
            self.look_at(place)?;
            if !self.possible[place] {
                continue;
            }
            asked.resize(self.asks.len(), false);
            for id in &self.needs[place] {
                if !std::mem::replace(&mut asked[*id], true) {
                    open.extend(&self.asks[*id].matching);
                }
            }
        }
        // What was not looked at is wanted by nothing.
        self.possible.iter_mut().zip(seen).for_each(|(possible, seen)| *possible &= seen);
        Ok(())
    }

    /// Reads what a record depends on, and what it wants of required packages.
    fn look_at(&mut self, place: Place) -> Result<(), NotUnderstood> {
        let record = &self.records[place].package_record;
        if !record.extra_depends.is_empty() {
            return Err(NotUnderstood);
        }
        // What is known to be without hope need not be read to its end: most builds are for another python.
        if record.depends.iter().any(|text| self.ids.get(text.as_str()).is_some_and(|id| !self.has_hope(*id))) {
            self.possible[place] = false;
            return Ok(());
        }
        let mut needs = Vec::with_capacity(record.depends.len());
        for text in &record.depends {
            match self.ask(text)?.filter(|id| self.has_hope(Some(*id))) {
                Some(id) => needs.push(id),
                None => {
                    self.possible[place] = false;
                    return Ok(());
                }
            }
        }
        let mut bounds = Vec::with_capacity(record.constrains.len());
        for text in &record.constrains {
            match self.ask(text)? {
                Some(id) => bounds.push(id),
                None => self.possible[place] = false,
            }
        }
        (self.needs[place], self.bounds[place]) = (needs, bounds);
        Ok(())
    }

    /// Whether there may be an answer to what a dependency asks for. The solver, too, leaves out what has one that cannot
    /// be read.
    fn has_hope(&self, id: Option<AskId>) -> bool {
        id.is_some_and(|id| self.asks[id].is_of_the_system() || !self.asks[id].matching.is_empty())
    }

    /// What a text asks for; `None` if it cannot be read.
    fn ask(&mut self, text: &'a str) -> Result<Option<AskId>, NotUnderstood> {
        let entry = match self.ids.entry(text) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(entry) => entry,
        };
        // As the solver reads it.
        let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
        let Ok(spec) = MatchSpec::from_str(text, options) else { return Ok(*entry.insert(None)) };
        if spec.condition.is_some() || spec.extras.is_some() {
            return Err(NotUnderstood);
        }
        let (name, spec) = spec.into_nameless();
        let name = name.as_exact().ok_or(NotUnderstood)?.as_normalized();
        let (name, candidates) = match self.by_name.get_key_value(name) {
            Some((name, places)) => (*name, places.as_slice()),
            None if name.starts_with("__") => ("__", [].as_slice()),
            None => ("", [].as_slice()),
        };
        let matching = matching(&self.records, candidates, &self.possible, &spec);
        self.asks.push(Ask { name, matching });
        Ok(*entry.insert(Some(self.asks.len() - 1)))
    }

    /// Takes away what lacks a dependency, or rules a required package out; whether there was any.
    fn wither(&mut self) -> bool {
        let is_left: Vec<bool> =
            self.asks.iter().map(|ask| ask.matching.iter().any(|place| self.possible[*place])).collect();
        let mut has_changed = false;
        for place in 0..self.records.len() {
            if !self.possible[place] {
                continue;
            }
            let lacks = |id: &AskId| !is_left[*id] && !self.asks[*id].is_of_the_system();
            let rules_out = |id: &AskId| !is_left[*id] && self.required.contains(self.asks[*id].name);
            if self.needs[place].iter().any(lacks) || self.bounds[place].iter().any(rules_out) {
                self.possible[place] = false;
                has_changed = true;
            }
        }
        has_changed
    }

    /// What is still wanted by something that is possible.
    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.records.len()];
        let mut asked = vec![false; self.asks.len()];
        let mut open: Vec<Place> =
            self.required.iter().filter_map(|name| self.by_name.get(name)).flatten().copied().collect();
        while let Some(place) = open.pop() {
            if !self.possible[place] || std::mem::replace(&mut reached[place], true) {
                continue;
            }
            for id in &self.needs[place] {
                if !std::mem::replace(&mut asked[*id], true) {
                    open.extend(&self.asks[*id].matching);
                }
            }
        }
        reached
    }

    /// Takes away what is no better than another in any respect.
    fn yield_to_better(&self, kept: &mut [bool]) {
        let mut asked = vec![false; self.asks.len()];
        for place in (0..self.records.len()).filter(|place| kept[*place]) {
            self.needs[place].iter().chain(&self.bounds[place]).for_each(|id| asked[*id] = true);
        }
        // Which of the texts mean each record.
        let mut wanted: Vec<Vec<AskId>> = vec![Vec::new(); self.records.len()];
        for (id, ask) in self.asks.iter().enumerate().filter(|(id, _)| asked[*id]) {
            ask.matching.iter().filter(|place| kept[**place]).for_each(|place| wanted[*place].push(id));
        }
        for places in self.by_name.values() {
            let mut places: Vec<Place> = places.iter().copied().filter(|place| kept[*place]).collect();
            if places.len() < 2 {
                continue;
            }
            let rank = |place: Place| {
                let record = &self.records[place].package_record;
                (record.version.version(), record.build_number)
            };
            crate::sorting::sort_by(&mut places, |one, other| rank(*other).cmp(&rank(*one)));
            let mut better: HashMap<_, Vec<Place>> = HashMap::new();
            for place in places {
                let record = self.records[place];
                let kind = (
                    &record.channel,
                    record.package_record.track_features.is_empty(),
                    sorted(&self.needs[place]),
                    sorted(&self.bounds[place]),
                );
                let better = better.entry(kind).or_default();
                let yields = |other: &Place| rank(*other) > rank(place) && includes(&wanted[*other], &wanted[place]);
                if better.iter().any(yields) {
                    kept[place] = false;
                } else {
                    better.push(place);
                }
            }
        }
    }
}

/// Takes away what an earlier channel hides. Of a name that is asked for from one channel, the solver sees to it.
fn hide(
    buckets: &[Bucket<'_>],
    by_name: &HashMap<&str, Vec<Place>>,
    of_channels: &HashSet<&str>,
    possible: &mut [bool],
) {
    let tiers: Vec<_> = buckets
        .iter()
        .flat_map(|bucket| bucket.records.iter().map(|record| (bucket.tier, record.channel.as_deref())))
        .map(|(tier, channel)| (tier, if tier.is_some() { None } else { channel }))
        .collect();
    for (_, places) in by_name.iter().filter(|(name, _)| !of_channels.contains(*name)) {
        for place in places {
            possible[*place] &= tiers[*place] == tiers[places[0]];
        }
    }
}

/// The possible ones of these that match. Neighbours often have the same version.
fn matching(
    records: &[&RepoDataRecord],
    candidates: &[Place],
    possible: &[bool],
    spec: &NamelessMatchSpec,
) -> Vec<Place> {
    let rest = NamelessMatchSpec { version: None, ..spec.clone() };
    let has_rest = rest != NamelessMatchSpec::default();
    let mut last: Option<(&Version, bool)> = None;
    let mut found = Vec::new();
    for place in candidates.iter().copied().filter(|place| possible[*place]) {
        let version = records[place].package_record.version.version();
        let fits = match last {
            Some((known, fits)) if is_same(known, version) => fits,
            _ => spec.version.as_ref().is_none_or(|wanted| wanted.matches(version)),
        };
        last = Some((version, fits));
        if fits && (!has_rest || rest.matches(records[place])) {
            found.push(place);
        }
    }
    found
}

/// Whether versions are the same in every respect: `1.0` and `1.0.0` are equal, but `1.0.0.*` means only one of them.
fn is_same(one: &Version, other: &Version) -> bool {
    one.segment_count() == other.segment_count() && one == other
}

fn sorted(ids: &[AskId]) -> Vec<AskId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether all of the second are among the first; both are sorted.
fn includes(all: &[AskId], some: &[AskId]) -> bool {
    let mut all = all.iter();
    some.iter().all(|id| all.any(|other| other == id))
}
