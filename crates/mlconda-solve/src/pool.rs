//! The pool: all records, names and specs that the solver chooses from, as tables with numeric IDs. Many thousands of
//! records share a few thousand dependency texts. Each text is parsed once and matched once, however many records have
//! it and however often the solver runs ([`super::session`]). Most texts are never needed, so all of this is lazy.

mod parse;
mod record_set;

use std::{
    cell::{Cell, OnceCell},
    fmt,
    ops::Range,
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt};
use mlconda_channel::repodata::{DependencyTable, RecordRow, VersionGroup};
use mlconda_types::versions::{ComparableVersion, VersionMatcher};
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, MatchSpecCondition, Matches, NamelessMatchSpec, RepoDataRecord, VersionSpec,
};
use resolvo::{Condition, ConditionId, LogicalOperator, VersionSetId};

use super::{
    Pip,
    session::{RecordRun, is_in_channel},
};
pub(super) use parse::parse;
use parse::{PlainSpec, alternatives, parse_plain};
pub(super) use record_set::RecordSet;

/// The ID of a record: its index in the pool.
pub(super) type RecordId = u32;
/// The ID of a package name: its index in the pool.
pub(super) type NameId = u32;
/// The ID of a spec: its index in the pool.
pub(super) type SpecId = u32;

pub(super) struct Pool<'a> {
    /// In the order of the channels, and within a channel by file name.
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// The dependencies of the records.
    table: DependencyTable,
    /// For each version group, its rank among those of its name, or [`UNRANKED`].
    ranks: Vec<Cell<u32>>,
    /// For each record, the index of its channel run.
    channel_run_of: Vec<u32>,
    channel_runs: Vec<ChannelRun>,
    pub(super) names: Vec<PoolName>,
    /// The IDs of packages, by name.
    ids: HashMap<String, NameId>,
    /// The specs of extras, by `package[extra]`.
    extras: HashMap<String, SpecId>,
    /// The specs that were first interned here, by text.
    texts: HashMap<&'a str, SpecId>,
    interned: Vec<InternedSpec<'a>>,
    /// The specs of environments and conditions.
    specs: HashMap<MatchSpec, SpecId>,
    /// The specs of the extras of records, each with its condition.
    extra_specs: HashMap<RecordId, Vec<(ConditionId, SpecId)>>,
    conditions: Vec<Condition>,
    /// The ID of each condition.
    condition_ids: HashMap<Condition, ConditionId>,
}

/// The most alternatives of a condition. The solver writes each of them out, and `(a or b) and (a or b) and …` doubles
/// them with each pair of parentheses.
const MAX_ALTERNATIVES: usize = 1000;

/// The rank of a version group that was not ranked yet.
const UNRANKED: u32 = u32::MAX;

/// A package name, or an extra of a package (CEP-44).
pub(super) struct PoolName {
    /// The name; for an extra, `package[extra]`.
    pub(super) text: String,
    pub(super) is_extra: bool,
    /// The records of this name.
    pub(super) record_ids: RecordSet,
    /// Their version groups.
    version_groups: RecordSet,
    /// The version groups, from the oldest to the newest.
    sorted: OnceCell<Vec<u32>>,
}

/// Records of one name and one channel.
struct ChannelRun {
    name: NameId,
    /// The common name of channels that count as one.
    tier: Option<&'static str>,
    /// The rank of the channel: a lower rank goes first. Channels that count as one have the same rank.
    rank: u32,
}

/// The dependencies of a record, in their order.
#[derive(Clone, Copy, Default)]
pub(super) struct RecordDependencies<'c> {
    /// `depends`
    pub(super) depends: &'c [SpecId],
    /// `constrains`
    pub(super) constrains: &'c [SpecId],
    /// `extra_depends`, each with its condition.
    pub(super) extra_depends: &'c [(ConditionId, SpecId)],
}

/// A spec, and what it resolved to, if it was resolved yet.
struct InternedSpec<'a> {
    origin: SpecOrigin<'a>,
    resolved: OnceCell<Result<ResolvedSpec, String>>,
}

enum SpecOrigin<'a> {
    Text(&'a str),
    Spec(Box<NamelessMatchSpec>),
    /// An extra of a package.
    Extra,
}

/// A spec that was resolved against the pool.
pub(super) struct ResolvedSpec {
    pub(super) name: NameId,
    /// The matching records of all channels.
    pub(super) record_ids: RecordSet,
    /// The extras that it asks for.
    pub(super) extras: Vec<SpecId>,
    /// The condition under which it counts (CEP-43).
    pub(super) condition: Option<ConditionId>,
}

impl<'a> Pool<'a> {
    /// Makes a pool of runs of records, in the order of their channels, and of the texts of their dependencies.
    pub(crate) fn new(runs: impl IntoIterator<Item = RecordRun<'a>>, texts: &'a [Arc<str>], pip: Pip) -> Self {
        let unread = |text: &'a Arc<str>| InternedSpec { origin: SpecOrigin::Text(text), resolved: OnceCell::new() };
        let mut pool = Self {
            records: Vec::new(),
            table: DependencyTable::default(),
            ranks: Vec::new(),
            channel_run_of: Vec::new(),
            channel_runs: Vec::new(),
            names: Vec::new(),
            ids: HashMap::new(),
            extras: HashMap::new(),
            texts: HashMap::new(),
            interned: texts.iter().map(unread).collect(),
            specs: HashMap::new(),
            extra_specs: HashMap::new(),
            conditions: Vec::new(),
            condition_ids: HashMap::new(),
        };
        let mut channels: Vec<(Option<&str>, Option<&str>)> = Vec::new();
        for RecordRun { records, tier, rows } in runs {
            let Some(first) = records.first() else { continue };
            let name = pool.intern_name(first.package_record.name.as_normalized());
            let channel = (tier, first.channel.as_deref().filter(|_| tier.is_none()));
            let rank = channels.iter().position(|known| *known == channel).unwrap_or_else(|| {
                channels.push(channel);
                channels.len() - 1
            });
            let (record_id, version_group) = (pool.records.len() as u32, pool.table.version_groups.len() as u32);
            pool.records.extend(records);
            pool.table.extend(rows);
            let of_name = &mut pool.names[name as usize];
            of_name.record_ids.add(record_id..pool.records.len() as u32);
            of_name.version_groups.add(version_group..pool.table.version_groups.len() as u32);
            pool.channel_run_of.resize(pool.records.len(), pool.channel_runs.len() as u32);
            pool.channel_runs.push(ChannelRun { name, tier, rank: rank as u32 });
        }
        pool.ranks = vec![Cell::new(UNRANKED); pool.table.version_groups.len()];
        if pip == Pip::Added && pool.ids.contains_key("pip") {
            pool.add_pip();
        }
        pool
    }

    /// Adds a dependency on pip to every python.
    fn add_pip(&mut self) {
        let Some(python) = self.ids.get("python").copied() else { return };
        let pip = self.intern_text("pip");
        let DependencyTable { rows, spec_ids, .. } = &mut self.table;
        for record_id in self.names[python as usize].record_ids.iter() {
            if brings_pip(self.records[record_id as usize]) {
                let row = &mut rows[record_id as usize];
                let depends_start = spec_ids.len() as u32;
                spec_ids.extend_from_within(row.depends_start as usize..row.constrains_start as usize);
                spec_ids.push(pip);
                let (from, to) = (row.constrains_start as usize, row.constrains_end as usize);
                let constrains_start = spec_ids.len() as u32;
                spec_ids.extend_from_within(from..to);
                *row = RecordRow { depends_start, constrains_start, constrains_end: spec_ids.len() as u32, ..*row };
            }
        }
    }

    pub(super) fn record(&self, record_id: RecordId) -> &'a RepoDataRecord {
        self.records[record_id as usize]
    }

    fn channel_run(&self, record_id: RecordId) -> &ChannelRun {
        &self.channel_runs[self.channel_run_of[record_id as usize] as usize]
    }

    pub(super) fn row(&self, record_id: RecordId) -> &RecordRow {
        &self.table.rows[record_id as usize]
    }

    pub(super) fn name_id_of(&self, record_id: RecordId) -> NameId {
        self.channel_run(record_id).name
    }

    /// The ID of a record; `None` if the pool does not have it.
    pub(super) fn id_of(&self, record: &RepoDataRecord) -> Option<RecordId> {
        let name = *self.ids.get(record.package_record.name.as_normalized())?;
        self.names[name as usize].record_ids.iter().find(|record_id| self.record(*record_id).url == record.url)
    }

    /// The number of specs.
    pub(super) fn spec_count(&self) -> usize {
        self.interned.len()
    }

    /// The rank of a record's channel: a lower rank goes first.
    pub(super) fn channel_rank(&self, record_id: RecordId) -> u32 {
        self.channel_run(record_id).rank
    }

    /// Whether a record is in the channel that a spec of the environment names.
    pub(super) fn is_in_channel(&self, record_id: RecordId, spec: &MatchSpec) -> bool {
        is_in_channel(self.record(record_id), self.channel_run(record_id).tier, spec)
    }

    /// The ID of a name, which is added if it is new.
    pub(super) fn intern_name(&mut self, text: &str) -> NameId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = self.add_name(text.to_owned(), false);
        self.ids.insert(text.to_owned(), id);
        id
    }

    fn add_name(&mut self, text: String, is_extra: bool) -> NameId {
        self.names.push(PoolName {
            text,
            is_extra,
            record_ids: RecordSet::default(),
            version_groups: RecordSet::default(),
            sorted: OnceCell::new(),
        });
        (self.names.len() - 1) as NameId
    }

    /// Interns a spec of an environment. The caller checks its channel and subdir.
    pub(super) fn intern_spec(&mut self, spec: &MatchSpec) -> SpecId {
        if let Some(known) = self.specs.get(spec) {
            return *known;
        }
        let resolved = self.resolve_match_spec(spec.clone());
        let origin = SpecOrigin::Spec(Box::new(spec.clone().into_nameless().1));
        let id = self.push_spec(InternedSpec { origin, resolved: resolved.into() });
        self.specs.insert(spec.clone(), id);
        id
    }

    fn push_spec(&mut self, spec: InternedSpec<'a>) -> SpecId {
        self.interned.push(spec);
        (self.interned.len() - 1) as SpecId
    }

    /// Interns the text of a spec, without parsing it.
    fn intern_text(&mut self, text: &'a str) -> SpecId {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let id = self.push_spec(InternedSpec { origin: SpecOrigin::Text(text), resolved: OnceCell::new() });
        self.texts.insert(text, id);
        id
    }

    /// The dependencies of a record. Those of its extras are missing before [`Self::resolve_extras_of`].
    pub(super) fn dependencies_of(&self, record_id: RecordId) -> RecordDependencies<'_> {
        let RecordRow { depends_start, constrains_start, constrains_end, has_extras, .. } = *self.row(record_id);
        let extras = if has_extras { self.extra_specs.get(&record_id).map_or(&[][..], Vec::as_slice) } else { &[] };
        RecordDependencies {
            depends: &self.table.spec_ids[depends_start as usize..constrains_start as usize],
            constrains: &self.table.spec_ids[constrains_start as usize..constrains_end as usize],
            extra_depends: extras,
        }
    }

    /// Resolves the dependencies of a record's extras, if it has any.
    pub(super) fn resolve_extras_of(&mut self, record_id: RecordId) {
        if self.row(record_id).has_extras && !self.extra_specs.contains_key(&record_id) {
            self.resolve_extras(record_id);
        }
    }

    fn resolve_extras(&mut self, record_id: RecordId) {
        let record = &self.record(record_id).package_record;
        let mut extras = Vec::new();
        for (extra, texts) in &record.extra_depends {
            let resolved = self.intern_extra(record.name.as_normalized(), extra);
            let with_extra = self.add_condition(Condition::Requirement(VersionSetId(resolved)));
            for text in texts {
                let id = self.intern_text(text);
                let own = self.resolve(id).and_then(|resolved| resolved.condition);
                extras.push((own.map_or(with_extra, |own| self.and_condition(with_extra, own)), id));
            }
        }
        self.extra_specs.insert(record_id, extras);
    }

    /// A spec that was resolved successfully.
    pub(crate) fn resolved(&self, id: SpecId) -> Option<&ResolvedSpec> {
        self.interned[id as usize].resolved.get()?.as_ref().ok()
    }

    /// Why a spec could not be parsed.
    pub(super) fn parse_error(&self, id: SpecId) -> &str {
        self.interned[id as usize]
            .resolved
            .get()
            .and_then(|resolved| resolved.as_ref().err())
            .map_or("", String::as_str)
    }

    /// The text of a spec, as a record has it.
    pub(super) fn text_of(&self, id: SpecId) -> &str {
        if let SpecOrigin::Text(text) = self.interned[id as usize].origin { text } else { "" }
    }

    /// Resolves a spec; `None` if it cannot be parsed.
    pub(super) fn resolve(&mut self, id: SpecId) -> Option<&ResolvedSpec> {
        if self.interned[id as usize].resolved.get().is_none()
            && let SpecOrigin::Text(text) = self.interned[id as usize].origin
        {
            let resolved = match parse_plain(text) {
                Some(plain) => Ok(self.resolve_plain(&plain)),
                None => parse(text).and_then(|spec| self.resolve_match_spec(spec)),
            };
            // It was empty above, and nothing else sets it.
            _ = self.interned[id as usize].resolved.set(resolved);
        }
        self.resolved(id)
    }

    fn resolve_match_spec(&mut self, spec: MatchSpec) -> Result<ResolvedSpec, String> {
        let (name, mut spec) = spec.into_nameless();
        let package = name.as_exact().ok_or("it has no exact name")?.as_normalized();
        let name = self.intern_name(package);
        if spec.condition.as_ref().is_some_and(|condition| alternatives(condition) > MAX_ALTERNATIVES) {
            return Err("its condition has too many alternatives".to_owned());
        }
        let condition = spec.condition.as_ref().map(|condition| self.intern_condition(condition)).transpose()?;
        let extras = spec.extras.iter().flatten().map(|extra| self.intern_extra(package, extra)).collect();
        let (version, rest) = (spec.version.take().filter(|wanted| *wanted != VersionSpec::Any), spec);
        let rest =
            (rest != NamelessMatchSpec::default()).then_some(move |record: &RepoDataRecord| rest.matches(record));
        let record_ids = self.matching(name, version.as_ref(), rest);
        Ok(ResolvedSpec { name, record_ids, extras, condition })
    }

    fn resolve_plain(&mut self, plain: &PlainSpec<'_>) -> ResolvedSpec {
        let name = self.intern_name(plain.name);
        let rest = plain.build.map(|build| move |record: &RepoDataRecord| record.package_record.build == build);
        let record_ids = self.matching(name, Some(&plain.version), rest);
        ResolvedSpec { name, record_ids, extras: Vec::new(), condition: None }
    }

    /// Interns an extra of a package.
    fn intern_extra(&mut self, package: &str, extra: &str) -> SpecId {
        let text = format!("{package}[{extra}]");
        if let Some(known) = self.extras.get(&text) {
            return *known;
        }
        let name = self.add_name(text.clone(), true);
        let resolved = ResolvedSpec { name, record_ids: RecordSet::default(), extras: Vec::new(), condition: None };
        let id = self.push_spec(InternedSpec { origin: SpecOrigin::Extra, resolved: Ok(resolved).into() });
        self.extras.insert(text, id);
        id
    }

    fn and_condition(&mut self, one: ConditionId, other: ConditionId) -> ConditionId {
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

    /// Whether any resolved spec has a condition or extras.
    pub(super) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    pub(super) fn condition(&self, condition: ConditionId) -> Condition {
        self.conditions[condition.as_u32() as usize].clone()
    }

    fn intern_condition(&mut self, condition: &MatchSpecCondition) -> Result<ConditionId, String> {
        let (operator, one, other) = match condition {
            MatchSpecCondition::MatchSpec(spec) if spec.condition.is_some() => {
                return Err("a condition has a condition".to_owned());
            }
            MatchSpecCondition::MatchSpec(spec) => {
                let id = self.intern_spec(spec);
                let resolved = self.resolved(id).ok_or("its condition makes no sense")?;
                let extras = resolved.extras.clone();
                let mut all = self.add_condition(Condition::Requirement(VersionSetId(id)));
                for extra in extras {
                    let extra = self.add_condition(Condition::Requirement(VersionSetId(extra)));
                    all = self.and_condition(extra, all);
                }
                return Ok(all);
            }
            MatchSpecCondition::And(one, other) => (LogicalOperator::And, one, other),
            MatchSpecCondition::Or(one, other) => (LogicalOperator::Or, one, other),
        };
        let (one, other) = (self.intern_condition(one)?, self.intern_condition(other)?);
        Ok(self.add_condition(Condition::Binary(operator, one, other)))
    }

    /// The records of a name that match a version spec and a predicate.
    fn matching(
        &self,
        name: NameId,
        version: Option<&VersionSpec>,
        rest: Option<impl Fn(&RepoDataRecord) -> bool>,
    ) -> RecordSet {
        let name = &self.names[name as usize];
        let mut record_ids = RecordSet::default();
        let mut add = |version_group| match &rest {
            None => record_ids.add(self.rows_of_group(version_group)),
            Some(rest) => {
                let matching = self.rows_of_group(version_group).filter(|record_id| rest(self.record(*record_id)));
                matching.for_each(|record_id| record_ids.add(record_id..record_id + 1));
            }
        };
        let Some(test) = version.map(VersionMatcher::new) else {
            if rest.is_none() {
                return name.record_ids.clone();
            }
            name.version_groups.iter().for_each(add);
            return record_ids;
        };
        let sorted = self.sorted(name);
        match test.matching_range(sorted, &|version_group| self.version(*version_group)) {
            Some(between) => {
                let (Some(first), Some(last)) = (sorted.get(between.start), between.end.checked_sub(1)) else {
                    return record_ids;
                };
                let ranks = self.rank(*first)..=self.rank(sorted[last]);
                name.version_groups
                    .iter()
                    .filter(|version_group| ranks.contains(&self.rank(*version_group)))
                    .for_each(add);
            }
            None => {
                name.version_groups
                    .iter()
                    .filter(|version_group| test.matches(self.version(*version_group)))
                    .for_each(&mut add);
            }
        }
        record_ids
    }

    fn version(&self, version_group: u32) -> ComparableVersion<'a> {
        let VersionGroup { first_row, numeric } = self.table.version_groups[version_group as usize];
        ComparableVersion { version: self.record(first_row).package_record.version.version(), numeric }
    }

    /// The records of a version group.
    fn rows_of_group(&self, version_group: u32) -> Range<RecordId> {
        let end = self
            .table
            .version_groups
            .get(version_group as usize + 1)
            .map_or(self.records.len() as u32, |next| next.first_row);
        self.table.version_groups[version_group as usize].first_row..end
    }

    /// The rank of a record's version among those of its package: a lower rank is older. Equal versions have the same
    /// rank.
    pub(super) fn version_rank(&self, record_id: RecordId) -> u32 {
        self.rank(self.row(record_id).version_group)
    }

    fn rank(&self, version_group: u32) -> u32 {
        let rank = &self.ranks[version_group as usize];
        if rank.get() == UNRANKED {
            let start = self.table.version_groups[version_group as usize].first_row;
            self.sorted(&self.names[self.name_id_of(start) as usize]);
        }
        rank.get()
    }

    /// The version groups of a name, from the oldest to the newest.
    fn sorted<'n>(&self, name: &'n PoolName) -> &'n [u32] {
        name.sorted.get_or_init(|| {
            let mut sorted: Vec<u32> = name.version_groups.iter().collect();
            let compare = |one: u32, other: u32| self.version(one).compare(&self.version(other));
            sorted.sort_unstable_by(|one, other| compare(*one, *other));
            let mut rank = 0;
            for (record_id, version_group) in sorted.iter().enumerate() {
                rank += u32::from(record_id > 0 && compare(sorted[record_id - 1], *version_group).is_lt());
                self.ranks[*version_group as usize].set(rank);
            }
            sorted
        })
    }

    /// The highest version rank among these records, and the first existing record that has it.
    pub(super) fn newest(&self, record_ids: &RecordSet, exists: &[bool]) -> Option<(u32, RecordId)> {
        let mut newest: Option<(u32, RecordId)> = None;
        for range in record_ids.ranges() {
            let mut next = range.start;
            while next < range.end {
                let version_group = self.row(next).version_group;
                let rows_of_group = next..self.rows_of_group(version_group).end.min(range.end);
                next = rows_of_group.end;
                let rank = self.rank(version_group);
                if newest.is_none_or(|(known, _)| rank > known) {
                    let first = rows_of_group.into_iter().find(|record_id| exists[*record_id as usize]);
                    newest = first.map(|first| (rank, first)).or(newest);
                }
            }
        }
        newest
    }

    /// Whether a virtual package matches a spec.
    pub(super) fn matches_virtual(&self, id: SpecId, package: &GenericVirtualPackage) -> bool {
        let read;
        let spec = match &self.interned[id as usize].origin {
            SpecOrigin::Extra => return false,
            SpecOrigin::Spec(spec) => spec.as_ref(),
            SpecOrigin::Text(text) => match parse(text) {
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

    /// A spec without its name.
    pub(super) fn display_spec(&self, id: SpecId) -> impl fmt::Display + use<> {
        match &self.interned[id as usize].origin {
            SpecOrigin::Extra => String::new(),
            SpecOrigin::Spec(spec) => spec.to_string(),
            SpecOrigin::Text(text) => parse(text).map(|spec| spec.into_nameless().1.to_string()).unwrap_or_default(),
        }
    }
}

/// Whether a record is a python that gets a dependency on pip: version 2 or 3, as in conda.
pub(super) fn brings_pip(record: &RepoDataRecord) -> bool {
    record.package_record.name.as_normalized() == "python"
        && ["2.", "3."].iter().any(|major| record.package_record.version.as_str().starts_with(major))
}
