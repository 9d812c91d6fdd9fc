//! What there is to choose from, in tables: records, names and what records ask for are numbers here. Each text of a
//! dependency is read once, however many records have it, and which records it means is found once, however often a
//! question is put ([`super::question`]). Many thousands of records share a few thousand texts, and of these most are
//! looked at by no solve, so everything is found out when it is first wanted.

use std::{borrow::Cow, cell::OnceCell, fmt, sync::Arc};

use foldhash::{HashMap, HashMapExt};
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, MatchSpecCondition, Matches, NamelessMatchSpec, PackageName,
    ParseMatchSpecOptions, ParseStrictness, RepoDataRecord, RepodataRevision, VersionSpec,
};
use resolvo::{Condition, ConditionId, LogicalOperator, VersionSetId};

use super::{
    Pip,
    question::Run,
    versions::{Numbered, Test},
};
use crate::{environment::is_within_reason, repodata::Span};

/// A record, by its place among all.
pub(super) type Place = u32;
/// A package's name, by its place among all.
pub(super) type NameId = u32;
/// What is asked for, by its place among all.
pub(super) type AskId = u32;

pub(super) struct Catalog<'a> {
    /// By place: in the order of the channels, and there by file name.
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// By record.
    names_of: Vec<NameId>,
    /// By record, what its channel is called where channels count as one, and which of the channels it is: those that
    /// count as one have one number, and less goes before more.
    tiers: Vec<(Option<&'static str>, u32)>,
    pub(super) names: Vec<Name<'a>>,
    /// Of packages, by name.
    ids: HashMap<String, NameId>,
    /// That an extra be there, by `package[extra]`.
    extras: HashMap<String, AskId>,
    /// What was asked for by text first here.
    texts: HashMap<&'a str, AskId>,
    slots: Vec<Slot<'a>>,
    /// What environments asked for, and conditions.
    specs: HashMap<MatchSpec, AskId>,
    /// By record, where in the list below that stands which it asks for.
    spans: Vec<Span>,
    demanded: Vec<AskId>,
    /// What extras of records ask for, each with when.
    of_extras: HashMap<Place, Vec<(ConditionId, AskId)>>,
    conditions: Vec<Condition>,
    /// The place of each condition.
    condition_ids: HashMap<Condition, ConditionId>,
}

/// In how many ways a condition may be met: the solver writes each of them out, and `(a or b) and (a or b) and …` has
/// twice as many with each pair of parentheses.
const MOST_WAYS: usize = 1000;

/// A package, or an extra of one (CEP-44).
pub(super) struct Name<'a> {
    /// For an extra, as in `package[extra]`.
    pub(super) text: String,
    pub(super) is_extra: bool,
    /// Its records.
    pub(super) places: Vec<Place>,
    versions: OnceCell<Versions<'a>>,
}

/// The versions of a package's records.
struct Versions<'a> {
    /// Those that are written differently, and some twice.
    distinct: Vec<Numbered<'a>>,
    /// By place among the name's records, which of them it is.
    of: Vec<u32>,
    /// How many of the versions are less than each. Versions that count as equal have the same rank.
    ranks: OnceCell<Vec<u32>>,
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
    /// The records that it means, in order, whatever their channel.
    pub(super) places: Vec<Place>,
    /// What is asked for besides: extras of the package.
    pub(super) extras: Vec<AskId>,
    /// When it is asked for (CEP-43).
    pub(super) condition: Option<ConditionId>,
}

impl<'a> Catalog<'a> {
    /// From runs of records, in the order of their channels, and the texts by which these ask for others.
    pub(super) fn new(runs: impl IntoIterator<Item = Run<'a>>, texts: &'a [Arc<str>], pip: Pip) -> Self {
        let unread = |text: &'a Arc<str>| Slot { origin: Origin::Text(text), meaning: OnceCell::new() };
        let mut catalog = Self {
            records: Vec::new(),
            names_of: Vec::new(),
            tiers: Vec::new(),
            names: Vec::new(),
            ids: HashMap::new(),
            extras: HashMap::new(),
            texts: HashMap::new(),
            slots: texts.iter().map(unread).collect(),
            specs: HashMap::new(),
            spans: Vec::new(),
            demanded: Vec::new(),
            of_extras: HashMap::new(),
            conditions: Vec::new(),
            condition_ids: HashMap::new(),
        };
        let mut channels: Vec<(Option<&str>, Option<&str>)> = Vec::new();
        for Run { records, tier, spans, list } in runs {
            let (Some(first), Some(from), Some(to)) = (records.first(), spans.first(), spans.last()) else { continue };
            let name = catalog.name(first.package_record.name.as_normalized());
            let channel = (tier, first.channel.as_deref().filter(|_| tier.is_none()));
            let rank = channels.iter().position(|known| *known == channel).unwrap_or_else(|| {
                channels.push(channel);
                channels.len() - 1
            });
            let start = catalog.records.len();
            catalog.records.extend(records);
            let end = catalog.records.len();
            catalog.names[name as usize].places.extend(start as Place..end as Place);
            catalog.names_of.resize(end, name);
            catalog.tiers.resize(end, (tier, rank as u32));
            let by = (catalog.demanded.len() as u32).wrapping_sub(from.start);
            catalog.demanded.extend(&list[from.start as usize..to.end as usize]);
            catalog.spans.extend(spans.iter().map(|span| span.moved(by)));
        }
        if pip == Pip::Added && catalog.ids.contains_key("pip") {
            catalog.add_pip();
        }
        catalog
    }

    /// Has every python depend on pip.
    fn add_pip(&mut self) {
        let Some(python) = self.ids.get("python").copied() else { return };
        let pip = self.text("pip");
        for place in self.names[python as usize].places.clone() {
            if brings_pip(self.record(place)) {
                let span = &mut self.spans[place as usize];
                let start = self.demanded.len() as u32;
                self.demanded.extend_from_within(span.start as usize..span.middle as usize);
                self.demanded.push(pip);
                let (from, to) = (span.middle as usize, span.end as usize);
                span.start = start;
                span.middle = self.demanded.len() as u32;
                self.demanded.extend_from_within(from..to);
                span.end = self.demanded.len() as u32;
            }
        }
    }

    pub(super) fn record(&self, place: Place) -> &'a RepoDataRecord {
        self.records[place as usize]
    }

    pub(super) fn name_of(&self, place: Place) -> NameId {
        self.names_of[place as usize]
    }

    /// The place of a record; `None` if it is not one of these.
    pub(super) fn place_of(&self, record: &RepoDataRecord) -> Option<Place> {
        let name = *self.ids.get(record.package_record.name.as_normalized())?;
        self.names[name as usize].places.iter().copied().find(|place| self.record(*place).url == record.url)
    }

    /// How many different things are asked for.
    pub(super) fn asks(&self) -> usize {
        self.slots.len()
    }

    /// The rank of a record's channel: less goes before more.
    pub(super) fn channel_rank(&self, place: Place) -> u32 {
        self.tiers[place as usize].1
    }

    /// Whether a record is in the channel that a spec of the environment names.
    pub(super) fn is_in_channel(&self, place: Place, spec: &MatchSpec) -> bool {
        let Some(channel) = &spec.channel else { return true };
        match self.tiers[place as usize].0.filter(|tier| channel.name.as_deref() == Some(tier)) {
            Some(_) => true,
            None => self.record(place).channel.as_ref() == Some(&channel.canonical_name()),
        }
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
        self.names.push(Name { text, is_extra, places: Vec::new(), versions: OnceCell::new() });
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
        let Span { start, middle, end, has_extras } = self.spans[place as usize];
        Demands {
            needs: &self.demanded[start as usize..middle as usize],
            bounds: &self.demanded[middle as usize..end as usize],
            extras: self.of_extras.get(&place).filter(|_| has_extras).map_or(&[], Vec::as_slice),
        }
    }

    /// Finds out what a record's extras ask for, if it has any.
    pub(super) fn look_at(&mut self, place: Place) {
        if self.spans[place as usize].has_extras && !self.of_extras.contains_key(&place) {
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
    pub(super) fn ask(&self, id: AskId) -> Option<&Ask> {
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
            let meaning = match parsed(text) {
                Ok(spec) => self.meaning(spec),
                Err(reason) => Err(reason),
            };
            // It was looked at a moment ago, and this is the only place that sets it.
            _ = self.slots[id as usize].meaning.set(meaning);
        }
        self.ask(id)
    }

    fn meaning(&mut self, spec: MatchSpec) -> Result<Ask, String> {
        let (name, spec) = spec.into_nameless();
        let package = name.as_exact().ok_or("it has no exact name")?.as_normalized();
        let name = self.name(package);
        if spec.condition.as_ref().is_some_and(|condition| ways(condition) > MOST_WAYS) {
            return Err("its condition has too many alternatives".to_owned());
        }
        let condition = spec.condition.as_ref().map(|condition| self.condition(condition)).transpose()?;
        let extras = spec.extras.iter().flatten().map(|extra| self.ask_for_extra(package, extra)).collect();
        let places = self.matching(name, spec);
        Ok(Ask { name, places, extras, condition })
    }

    /// That an extra of a package be there.
    fn ask_for_extra(&mut self, package: &str, extra: &str) -> AskId {
        let text = format!("{package}[{extra}]");
        if let Some(known) = self.extras.get(&text) {
            return *known;
        }
        let name = self.add_name(text.clone(), true);
        let ask = Ask { name, places: Vec::new(), extras: Vec::new(), condition: None };
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

    /// The records of a name that match.
    fn matching(&self, name: NameId, mut spec: NamelessMatchSpec) -> Vec<Place> {
        let name = &self.names[name as usize];
        if name.places.is_empty() {
            return Vec::new();
        }
        let wanted = spec.version.take().filter(|wanted| *wanted != VersionSpec::Any);
        let has_rest = spec != NamelessMatchSpec::default();
        let versions = wanted.as_ref().map(|wanted| {
            let (versions, test) = (self.versions(name), Test::new(wanted));
            let fits: Vec<bool> = versions.distinct.iter().map(|version| test.matches(version)).collect();
            (versions, fits)
        });
        let has_version =
            |index: usize| versions.as_ref().is_none_or(|(versions, fits)| fits[versions.of[index] as usize]);
        let matches =
            |(index, place): (usize, &Place)| has_version(index) && (!has_rest || spec.matches(self.record(*place)));
        name.places.iter().enumerate().filter(|entry| matches(*entry)).map(|(_, place)| *place).collect()
    }

    fn versions<'n>(&self, name: &'n Name<'a>) -> &'n Versions<'a> {
        name.versions.get_or_init(|| {
            let mut last: Option<Cow<'_, str>> = None;
            let (mut distinct, mut of) = (Vec::new(), Vec::with_capacity(name.places.len()));
            for place in &name.places {
                let version = &self.record(*place).package_record.version;
                let text = version.as_str();
                // The same version stands side by side, as file names do.
                if last.as_ref() != Some(&text) {
                    distinct.push(Numbered::new(version.version()));
                    last = Some(text);
                }
                of.push((distinct.len() - 1) as u32);
            }
            Versions { distinct, of, ranks: OnceCell::new() }
        })
    }

    /// The rank of a record's version among those of its package: less is older.
    pub(super) fn version_rank(&self, place: Place) -> u32 {
        let name = &self.names[self.name_of(place) as usize];
        let versions = self.versions(name);
        let ranks = versions.ranks.get_or_init(|| ranks(&versions.distinct));
        let index = name.places.binary_search(&place).unwrap_or_default();
        ranks[versions.of[index] as usize]
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

/// In how many ways a condition may be met.
fn ways(condition: &MatchSpecCondition) -> usize {
    match condition {
        MatchSpecCondition::MatchSpec(_) => 1,
        MatchSpecCondition::And(one, other) => ways(one).saturating_mul(ways(other)),
        MatchSpecCondition::Or(one, other) => ways(one).saturating_add(ways(other)),
    }
}

/// A dependency, conditions and extras too.
fn parsed(text: &str) -> Result<MatchSpec, String> {
    if !is_within_reason(text) {
        return Err("it is too long or too deeply nested".to_owned());
    }
    if let Some(bounds) = bounds(text) {
        return Ok(bounds);
    }
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    MatchSpec::from_str(text, options).map_err(|error| error.to_string())
}

/// What most dependencies are, a name and bounds for its version (`zlib >=1.2.11,<1.3.0a0`), read in less time.
fn bounds(text: &str) -> Option<MatchSpec> {
    let (name, bounds) = text.split_once(' ')?;
    let is_plain = |text: &str, others: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    if !is_plain(name, b"-_.") || !bounds.starts_with(['<', '>']) || !is_plain(bounds, b"<>=,._!") {
        return None;
    }
    let version = VersionSpec::from_str(bounds, ParseStrictness::Lenient).ok()?;
    Some(MatchSpec { version: Some(version), ..MatchSpec::from(name.parse::<PackageName>().ok()?) })
}

/// As conda has it: python 2 and 3 only.
pub(super) fn brings_pip(record: &RepoDataRecord) -> bool {
    record.package_record.name.as_normalized() == "python"
        && ["2.", "3."].iter().any(|major| record.package_record.version.as_str().starts_with(major))
}

/// How many of these versions are less than each.
fn ranks(versions: &[Numbered<'_>]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..versions.len()).collect();
    crate::sorting::sort_by(&mut order, |one, other| versions[*one].cmp(&versions[*other]));
    let mut ranks = vec![0; versions.len()];
    for pair in order.windows(2) {
        ranks[pair[1]] = ranks[pair[0]] + u32::from(versions[pair[0]].cmp(&versions[pair[1]]).is_lt());
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_the_library_reads_them() {
        let texts = [
            "zlib >=1.2.11,<1.3.0a0",
            "Python >=3.8",
            "a.b-c_d <2|>=3",
            "numpy >=1.21,!=1.22.*",
            "x >1!2",
            "x >=1.2.*",
            "x >=1=0",
            "x >=1=py_0",
            "x >=1,==2",
            "x >=1,",
            "x >=1.",
            "x >1_",
            "x >==1",
            "x <>1",
            "_x >=1",
            ".x >=1",
        ];
        for text in texts {
            let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
            assert_eq!(parsed(text).ok(), MatchSpec::from_str(text, options).ok(), "{text}");
        }
        assert!(bounds(texts[0]).is_some() && bounds(texts[1]).is_some());
        for text in
            ["zlib", "zlib 1.2.*", "zlib >=1 py_0", "zlib >=1[build=x]", "a::b >=1", "zlib >=1; if x", "zlib >=>1"]
        {
            assert_eq!(bounds(text), None, "{text}");
        }
    }
}
