//! What there is to choose from, in tables: records, names and what records ask for are numbers here. Each text of a
//! dependency is read once, however many records have it, and which records it means is found once, however often a
//! question is put ([`super::question`]). Many thousands of records share a few thousand texts, and of these most are
//! looked at by no solve, so everything is found out when it is first wanted.

mod places;
mod reading;

use std::{
    cell::{Cell, OnceCell},
    fmt,
    ops::Range,
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt};
use mlconda_channel::repodata::{Asked, Edition, Entry};
use mlconda_types::versions::{Numbered, Test};
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, MatchSpecCondition, Matches, NamelessMatchSpec, RepoDataRecord, VersionSpec,
};
use resolvo::{Condition, ConditionId, LogicalOperator, VersionSetId};

use super::{
    Pip,
    question::{Run, is_in_channel},
};
pub(super) use places::Places;
pub(super) use reading::parsed;
use reading::{Plain, plain, ways};

/// A record, by its place among all.
pub(super) type Place = u32;
/// A package's name, by its place among all.
pub(super) type NameId = u32;
/// What is asked for, by its place among all.
pub(super) type AskId = u32;

pub(super) struct Catalog<'a> {
    /// By place: in the order of the channels, and there by file name.
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// What is looked at of them.
    asked: Asked,
    /// By edition, its rank among those of its name, or [`UNRANKED`].
    ranks: Vec<Cell<u32>>,
    /// By record, which of the stretches it is in.
    stretch_of: Vec<u32>,
    stretches: Vec<Stretch>,
    pub(super) names: Vec<Name>,
    /// Of packages, by name.
    ids: HashMap<String, NameId>,
    /// That an extra be there, by `package[extra]`.
    extras: HashMap<String, AskId>,
    /// What was asked for by text first here.
    texts: HashMap<&'a str, AskId>,
    slots: Vec<Slot<'a>>,
    /// What environments asked for, and conditions.
    specs: HashMap<MatchSpec, AskId>,
    /// What extras of records ask for, each with when.
    of_extras: HashMap<Place, Vec<(ConditionId, AskId)>>,
    conditions: Vec<Condition>,
    /// The place of each condition.
    condition_ids: HashMap<Condition, ConditionId>,
}

/// In how many ways a condition may be met: the solver writes each of them out, and `(a or b) and (a or b) and …` has
/// twice as many with each pair of parentheses.
const MOST_WAYS: usize = 1000;

/// The rank of an edition that was not looked for yet.
const UNRANKED: u32 = u32::MAX;

/// A package, or an extra of one (CEP-44).
pub(super) struct Name {
    /// For an extra, as in `package[extra]`.
    pub(super) text: String,
    pub(super) is_extra: bool,
    /// Its records.
    pub(super) places: Places,
    /// Their editions.
    editions: Places,
    /// The same, by age.
    sorted: OnceCell<Vec<u32>>,
}

/// Records of one name and one channel.
struct Stretch {
    name: NameId,
    /// What its channel is called where channels count as one.
    tier: Option<&'static str>,
    /// Which of the channels it is: those that count as one have one number, and less goes before more.
    rank: u32,
}

/// What a record asks for, in its order.
#[derive(Clone, Copy, Default)]
pub(super) struct Demands<'c> {
    /// `depends`
    pub(super) needs: &'c [AskId],
    /// `constrains`
    pub(super) bounds: &'c [AskId],
    /// `extra_depends`, each with when it is asked for.
    pub(super) extras: &'c [(ConditionId, AskId)],
}

/// Where what is asked for comes from, and what it means as far as it was looked at.
struct Slot<'a> {
    origin: Origin<'a>,
    meaning: OnceCell<Result<Ask, String>>,
}

enum Origin<'a> {
    Text(&'a str),
    Spec(Box<NamelessMatchSpec>),
    /// That an extra be there.
    Extra,
}

/// What is asked for.
pub(super) struct Ask {
    pub(super) name: NameId,
    /// The records that it means, whatever their channel.
    pub(super) places: Places,
    /// What is asked for besides: extras of the package.
    pub(super) extras: Vec<AskId>,
    /// When it is asked for (CEP-43).
    pub(super) condition: Option<ConditionId>,
}

impl<'a> Catalog<'a> {
    /// From runs of records, in the order of their channels, and the texts by which these ask for others.
    pub(crate) fn new(runs: impl IntoIterator<Item = Run<'a>>, texts: &'a [Arc<str>], pip: Pip) -> Self {
        let unread = |text: &'a Arc<str>| Slot { origin: Origin::Text(text), meaning: OnceCell::new() };
        let mut catalog = Self {
            records: Vec::new(),
            asked: Asked::default(),
            ranks: Vec::new(),
            stretch_of: Vec::new(),
            stretches: Vec::new(),
            names: Vec::new(),
            ids: HashMap::new(),
            extras: HashMap::new(),
            texts: HashMap::new(),
            slots: texts.iter().map(unread).collect(),
            specs: HashMap::new(),
            of_extras: HashMap::new(),
            conditions: Vec::new(),
            condition_ids: HashMap::new(),
        };
        let mut channels: Vec<(Option<&str>, Option<&str>)> = Vec::new();
        for Run { records, tier, rows } in runs {
            let Some(first) = records.first() else { continue };
            let name = catalog.name(first.package_record.name.as_normalized());
            let channel = (tier, first.channel.as_deref().filter(|_| tier.is_none()));
            let rank = channels.iter().position(|known| *known == channel).unwrap_or_else(|| {
                channels.push(channel);
                channels.len() - 1
            });
            let (place, edition) = (catalog.records.len() as u32, catalog.asked.editions.len() as u32);
            catalog.records.extend(records);
            catalog.asked.extend(rows);
            let of_name = &mut catalog.names[name as usize];
            of_name.places.add(place..catalog.records.len() as u32);
            of_name.editions.add(edition..catalog.asked.editions.len() as u32);
            catalog.stretch_of.resize(catalog.records.len(), catalog.stretches.len() as u32);
            catalog.stretches.push(Stretch { name, tier, rank: rank as u32 });
        }
        catalog.ranks = vec![Cell::new(UNRANKED); catalog.asked.editions.len()];
        if pip == Pip::Added && catalog.ids.contains_key("pip") {
            catalog.add_pip();
        }
        catalog
    }

    /// Has every python depend on pip.
    fn add_pip(&mut self) {
        let Some(python) = self.ids.get("python").copied() else { return };
        let pip = self.text("pip");
        let Asked { entries, list, .. } = &mut self.asked;
        for place in self.names[python as usize].places.iter() {
            if brings_pip(self.records[place as usize]) {
                let entry = &mut entries[place as usize];
                let start = list.len() as u32;
                list.extend_from_within(entry.start as usize..entry.middle as usize);
                list.push(pip);
                let (from, to) = (entry.middle as usize, entry.end as usize);
                let middle = list.len() as u32;
                list.extend_from_within(from..to);
                *entry = Entry { start, middle, end: list.len() as u32, ..*entry };
            }
        }
    }

    pub(super) fn record(&self, place: Place) -> &'a RepoDataRecord {
        self.records[place as usize]
    }

    fn stretch(&self, place: Place) -> &Stretch {
        &self.stretches[self.stretch_of[place as usize] as usize]
    }

    pub(super) fn entry(&self, place: Place) -> &Entry {
        &self.asked.entries[place as usize]
    }

    pub(super) fn name_of(&self, place: Place) -> NameId {
        self.stretch(place).name
    }

    /// The place of a record; `None` if it is not one of these.
    pub(super) fn place_of(&self, record: &RepoDataRecord) -> Option<Place> {
        let name = *self.ids.get(record.package_record.name.as_normalized())?;
        self.names[name as usize].places.iter().find(|place| self.record(*place).url == record.url)
    }

    /// How many different things are asked for.
    pub(super) fn asks(&self) -> usize {
        self.slots.len()
    }

    /// The rank of a record's channel: less goes before more.
    pub(super) fn channel_rank(&self, place: Place) -> u32 {
        self.stretch(place).rank
    }

    /// Whether a record is in the channel that a spec of the environment names.
    pub(super) fn is_in_channel(&self, place: Place, spec: &MatchSpec) -> bool {
        is_in_channel(self.record(place), self.stretch(place).tier, spec)
    }

    /// The number of a name.
    pub(super) fn name(&mut self, text: &str) -> NameId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = self.add_name(text.to_owned(), false);
        self.ids.insert(text.to_owned(), id);
        id
    }

    fn add_name(&mut self, text: String, is_extra: bool) -> NameId {
        self.names.push(Name {
            text,
            is_extra,
            places: Places::default(),
            editions: Places::default(),
            sorted: OnceCell::new(),
        });
        (self.names.len() - 1) as NameId
    }

    /// What a spec of an environment asks for. Channel and subdir, which records are told apart by only there, are the
    /// caller's to look at.
    pub(super) fn spec(&mut self, spec: &MatchSpec) -> AskId {
        if let Some(known) = self.specs.get(spec) {
            return *known;
        }
        let meaning = self.meaning(spec.clone());
        let origin = Origin::Spec(Box::new(spec.clone().into_nameless().1));
        let id = self.add(Slot { origin, meaning: meaning.into() });
        self.specs.insert(spec.clone(), id);
        id
    }

    fn add(&mut self, slot: Slot<'a>) -> AskId {
        self.slots.push(slot);
        (self.slots.len() - 1) as AskId
    }

    /// What a text asks for, not yet read.
    fn text(&mut self, text: &'a str) -> AskId {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let id = self.add(Slot { origin: Origin::Text(text), meaning: OnceCell::new() });
        self.texts.insert(text, id);
        id
    }

    /// What a record asks for; its extras ask for nothing before [`Self::look_at`].
    pub(super) fn demands(&self, place: Place) -> Demands<'_> {
        let Entry { start, middle, end, has_extras, .. } = *self.entry(place);
        let extras = if has_extras { self.of_extras.get(&place).map_or(&[][..], Vec::as_slice) } else { &[] };
        Demands {
            needs: &self.asked.list[start as usize..middle as usize],
            bounds: &self.asked.list[middle as usize..end as usize],
            extras,
        }
    }

    /// Finds out what a record's extras ask for, if it has any.
    pub(super) fn look_at(&mut self, place: Place) {
        if self.entry(place).has_extras && !self.of_extras.contains_key(&place) {
            self.look_at_extras(place);
        }
    }

    fn look_at_extras(&mut self, place: Place) {
        let record = &self.record(place).package_record;
        let mut extras = Vec::new();
        for (extra, texts) in &record.extra_depends {
            let ask = self.ask_for_extra(record.name.as_normalized(), extra);
            let with_extra = self.add_condition(Condition::Requirement(VersionSetId(ask)));
            for text in texts {
                let id = self.text(text);
                let own = self.read(id).and_then(|ask| ask.condition);
                extras.push((own.map_or(with_extra, |own| self.both(with_extra, own)), id));
            }
        }
        self.of_extras.insert(place, extras);
    }

    /// What is asked for, if it was read and makes sense.
    pub(crate) fn ask(&self, id: AskId) -> Option<&Ask> {
        self.slots[id as usize].meaning.get()?.as_ref().ok()
    }

    /// Why what is asked for makes no sense.
    pub(super) fn fault(&self, id: AskId) -> &str {
        self.slots[id as usize].meaning.get().and_then(|meaning| meaning.as_ref().err()).map_or("", String::as_str)
    }

    /// The text by which a record asks for it.
    pub(super) fn written(&self, id: AskId) -> &str {
        if let Origin::Text(text) = self.slots[id as usize].origin { text } else { "" }
    }

    /// Reads what is asked for.
    pub(super) fn read(&mut self, id: AskId) -> Option<&Ask> {
        if self.slots[id as usize].meaning.get().is_none()
            && let Origin::Text(text) = self.slots[id as usize].origin
        {
            let meaning = match plain(text) {
                Some(plain) => Ok(self.plain_meaning(&plain)),
                None => parsed(text).and_then(|spec| self.meaning(spec)),
            };
            // It was looked at a moment ago, and this is the only place that sets it.
            _ = self.slots[id as usize].meaning.set(meaning);
        }
        self.ask(id)
    }

    fn meaning(&mut self, spec: MatchSpec) -> Result<Ask, String> {
        let (name, mut spec) = spec.into_nameless();
        let package = name.as_exact().ok_or("it has no exact name")?.as_normalized();
        let name = self.name(package);
        if spec.condition.as_ref().is_some_and(|condition| ways(condition) > MOST_WAYS) {
            return Err("its condition has too many alternatives".to_owned());
        }
        let condition = spec.condition.as_ref().map(|condition| self.condition(condition)).transpose()?;
        let extras = spec.extras.iter().flatten().map(|extra| self.ask_for_extra(package, extra)).collect();
        let (version, rest) = (spec.version.take().filter(|wanted| *wanted != VersionSpec::Any), spec);
        let rest =
            (rest != NamelessMatchSpec::default()).then_some(move |record: &RepoDataRecord| rest.matches(record));
        let places = self.matching(name, version.as_ref(), rest);
        Ok(Ask { name, places, extras, condition })
    }

    fn plain_meaning(&mut self, plain: &Plain<'_>) -> Ask {
        let name = self.name(plain.name);
        let rest = plain.build.map(|build| move |record: &RepoDataRecord| record.package_record.build == build);
        let places = self.matching(name, Some(&plain.version), rest);
        Ask { name, places, extras: Vec::new(), condition: None }
    }

    /// That an extra of a package be there.
    fn ask_for_extra(&mut self, package: &str, extra: &str) -> AskId {
        let text = format!("{package}[{extra}]");
        if let Some(known) = self.extras.get(&text) {
            return *known;
        }
        let name = self.add_name(text.clone(), true);
        let ask = Ask { name, places: Places::default(), extras: Vec::new(), condition: None };
        let id = self.add(Slot { origin: Origin::Extra, meaning: Ok(ask).into() });
        self.extras.insert(text, id);
        id
    }

    fn both(&mut self, one: ConditionId, other: ConditionId) -> ConditionId {
        self.add_condition(Condition::Binary(LogicalOperator::And, one, other))
    }

    fn add_condition(&mut self, condition: Condition) -> ConditionId {
        if let Some(known) = self.condition_ids.get(&condition) {
            return *known;
        }
        let id = ConditionId::new(self.conditions.len() as u32);
        self.conditions.push(condition.clone());
        self.condition_ids.insert(condition, id);
        id
    }

    /// Whether anything that was read is asked for under a condition, or with an extra.
    pub(super) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    pub(super) fn resolve(&self, condition: ConditionId) -> Condition {
        self.conditions[condition.as_u32() as usize].clone()
    }

    fn condition(&mut self, condition: &MatchSpecCondition) -> Result<ConditionId, String> {
        let (operator, one, other) = match condition {
            MatchSpecCondition::MatchSpec(spec) if spec.condition.is_some() => {
                return Err("a condition has a condition".to_owned());
            }
            MatchSpecCondition::MatchSpec(spec) => {
                let id = self.spec(spec);
                let ask = self.ask(id).ok_or("its condition makes no sense")?;
                let extras = ask.extras.clone();
                let mut all = self.add_condition(Condition::Requirement(VersionSetId(id)));
                for extra in extras {
                    let extra = self.add_condition(Condition::Requirement(VersionSetId(extra)));
                    all = self.both(extra, all);
                }
                return Ok(all);
            }
            MatchSpecCondition::And(one, other) => (LogicalOperator::And, one, other),
            MatchSpecCondition::Or(one, other) => (LogicalOperator::Or, one, other),
        };
        let (one, other) = (self.condition(one)?, self.condition(other)?);
        Ok(self.add_condition(Condition::Binary(operator, one, other)))
    }

    /// The records of a name that match: by their version, and in all the rest.
    fn matching(
        &self,
        name: NameId,
        version: Option<&VersionSpec>,
        rest: Option<impl Fn(&RepoDataRecord) -> bool>,
    ) -> Places {
        let name = &self.names[name as usize];
        let mut places = Places::default();
        let mut add = |edition| match &rest {
            None => places.add(self.of_edition(edition)),
            Some(rest) => {
                let matching = self.of_edition(edition).filter(|place| rest(self.record(*place)));
                matching.for_each(|place| places.add(place..place + 1));
            }
        };
        let Some(test) = version.map(Test::new) else {
            if rest.is_none() {
                return name.places.clone();
            }
            name.editions.iter().for_each(add);
            return places;
        };
        let sorted = self.sorted(name);
        match test.between(sorted, &|edition| self.version(*edition)) {
            Some(between) => {
                let (Some(first), Some(last)) = (sorted.get(between.start), between.end.checked_sub(1)) else {
                    return places;
                };
                let ranks = self.rank(*first)..=self.rank(sorted[last]);
                name.editions.iter().filter(|edition| ranks.contains(&self.rank(*edition))).for_each(add);
            }
            None => {
                name.editions.iter().filter(|edition| test.matches(self.version(*edition))).for_each(&mut add);
            }
        }
        places
    }

    fn version(&self, edition: u32) -> Numbered<'a> {
        let Edition { start, numbers } = self.asked.editions[edition as usize];
        Numbered { version: self.record(start).package_record.version.version(), numbers }
    }

    /// The records of an edition.
    fn of_edition(&self, edition: u32) -> Range<Place> {
        let end = self.asked.editions.get(edition as usize + 1).map_or(self.records.len() as u32, |next| next.start);
        self.asked.editions[edition as usize].start..end
    }

    /// The rank of a record's version among those of its package: less is older, and versions that count as equal have the
    /// same.
    pub(super) fn version_rank(&self, place: Place) -> u32 {
        self.rank(self.entry(place).edition)
    }

    fn rank(&self, edition: u32) -> u32 {
        let rank = &self.ranks[edition as usize];
        if rank.get() == UNRANKED {
            let start = self.asked.editions[edition as usize].start;
            self.sorted(&self.names[self.name_of(start) as usize]);
        }
        rank.get()
    }

    /// The editions of a name from the oldest to the newest.
    fn sorted<'n>(&self, name: &'n Name) -> &'n [u32] {
        name.sorted.get_or_init(|| {
            let mut sorted: Vec<u32> = name.editions.iter().collect();
            let compare = |one: u32, other: u32| self.version(one).cmp(&self.version(other));
            sorted.sort_unstable_by(|one, other| compare(*one, *other));
            let mut rank = 0;
            for (place, edition) in sorted.iter().enumerate() {
                rank += u32::from(place > 0 && compare(sorted[place - 1], *edition).is_lt());
                self.ranks[*edition as usize].set(rank);
            }
            sorted
        })
    }

    /// The highest rank among these records, and the first that has it.
    pub(super) fn newest(&self, places: &Places, exists: &[bool]) -> Option<(u32, Place)> {
        let mut newest: Option<(u32, Place)> = None;
        for range in places.ranges() {
            let mut next = range.start;
            while next < range.end {
                let edition = self.entry(next).edition;
                let of_edition = next..self.of_edition(edition).end.min(range.end);
                next = of_edition.end;
                let rank = self.rank(edition);
                if newest.is_none_or(|(known, _)| rank > known) {
                    let first = of_edition.into_iter().find(|place| exists[*place as usize]);
                    newest = first.map(|first| (rank, first)).or(newest);
                }
            }
        }
        newest
    }

    /// Whether a virtual package is what is asked for.
    pub(super) fn means(&self, id: AskId, package: &GenericVirtualPackage) -> bool {
        let read;
        let spec = match &self.slots[id as usize].origin {
            Origin::Extra => return false,
            Origin::Spec(spec) => spec.as_ref(),
            Origin::Text(text) => match parsed(text) {
                Ok(spec) => {
                    read = spec.into_nameless().1;
                    &read
                }
                Err(_) => return false,
            },
        };
        spec.version.as_ref().is_none_or(|wanted| wanted.matches(&package.version))
            && spec.build.as_ref().is_none_or(|wanted| wanted.matches(package.build_string.as_str()))
    }

    /// What is asked for, without the name.
    pub(super) fn display_ask(&self, id: AskId) -> impl fmt::Display + use<> {
        match &self.slots[id as usize].origin {
            Origin::Extra => String::new(),
            Origin::Spec(spec) => spec.to_string(),
            Origin::Text(text) => parsed(text).map(|spec| spec.into_nameless().1.to_string()).unwrap_or_default(),
        }
    }
}

/// As conda has it: python 2 and 3 only.
pub(super) fn brings_pip(record: &RepoDataRecord) -> bool {
    record.package_record.name.as_normalized() == "python"
        && ["2.", "3."].iter().any(|major| record.package_record.version.as_str().starts_with(major))
}
