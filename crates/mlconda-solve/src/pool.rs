//! The pool: all records, names and specs that the solver chooses from, as tables with numeric IDs. Many thousands of
//! records share a few thousand dependency texts. Each text is parsed once and matched once, however many records have
//! it and however often the solver runs ([`super::session`]). Most texts are never needed, so all of this is lazy.

mod parse;
mod record_set;
mod resolve;
mod versions;

use std::{
    cell::{Cell, OnceCell},
    fmt,
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt};
use mlconda_channel::repodata::{DependencyTable, RecordRow};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, NamelessMatchSpec, RepoDataRecord};
use resolvo::{Condition, ConditionId};

use super::{
    Pip,
    request::{RecordRun, is_in_channel},
};
pub(super) use parse::parse;
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
    channel_runs: Vec<ChannelRun<'a>>,
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
struct ChannelRun<'a> {
    name: NameId,
    /// The common name of channels that count as one.
    tier: Option<&'a str>,
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

/// A spec, and its resolution, if it was already resolved.
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

    fn channel_run(&self, record_id: RecordId) -> &ChannelRun<'a> {
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
