//! The candidates for propagation, name by name, each read on first use and cached: an explanation propagates several
//! times, about fewer and fewer lines. The solver's [pool](super::super::pool) is not used, so that the reasons found
//! here confirm the solver's result independently.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use foldhash::{HashMap, HashMapExt};
use mlconda_channel::repodata::Repodata;
use mlconda_environment::Environment;
use rattler_conda_types::{PackageNameMatcher, RepoDataRecord};

use super::{Candidate, CandidateRecord, Dependency, DependencyKind, Exclusion, SpecMatcher};
use crate::{
    ChannelPriority, Pip, SolveOptions,
    pool::{brings_pip, parse},
    request::is_in_channel,
    session::{ARCHIVE_TIER, tier},
};

/// Records of one name and one channel, and the index of their list.
type IndexedRun<'a> = (usize, &'a [Arc<RepoDataRecord>]);

/// Dependencies and constraints by their text; `None` if it is not followed.
type DependencyCache<'a> = HashMap<(&'a str, DependencyKind), Option<Rc<Dependency>>>;

/// By name, and by the line that names a channel for it; the oldest version first.
type CandidatesOf<'a> = HashMap<(String, Option<usize>), Rc<[Candidate<'a>]>>;

/// All records.
pub(crate) struct Records<'a> {
    environment: &'a Environment,
    repodata: &'a Repodata,
    options: SolveOptions,
    /// By name, in the order of the channels.
    runs: HashMap<&'a str, Vec<IndexedRun<'a>>>,
    candidates: RefCell<CandidatesOf<'a>>,
    dependencies: RefCell<DependencyCache<'a>>,
    /// By the number of a dependency, which candidates of its package match.
    matches: RefCell<HashMap<usize, Rc<[bool]>>>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(environment: &'a Environment, repodata: &'a Repodata, options: SolveOptions) -> Self {
        let mut runs: HashMap<&str, Vec<IndexedRun<'_>>> = HashMap::new();
        for (list, records, ..) in repodata.runs() {
            if let Some(first) = records.first() {
                runs.entry(first.package_record.name.as_normalized()).or_default().push((list, records));
            }
        }
        let (candidates, dependencies, matches) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { environment, repodata, options, runs, candidates, dependencies, matches }
    }

    pub(crate) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// The existing records of a name, channel by channel.
    pub(crate) fn by_channel(&self, name: &str) -> impl Iterator<Item = Vec<&'a RepoDataRecord>> {
        let counts = |record: &&RepoDataRecord| {
            self.options.exclude_newer.is_none_or(|cutoff| cutoff.admits(&record.package_record))
        };
        let runs = self.runs.get(name).into_iter().flatten();
        runs.map(move |(_, records)| records.iter().map(AsRef::as_ref).filter(counts).collect())
    }

    /// The candidates of a name, the oldest version first, with the reason why the solver ignores some of them.
    pub(super) fn of(&self, name: &str, channel_specs: Option<usize>) -> Rc<[Candidate<'a>]> {
        let key = (name.to_owned(), channel_specs);
        if let Some(known) = self.candidates.borrow().get(&key) {
            return Rc::clone(known);
        }
        let candidates = self.found(name, channel_specs);
        // Most records have the version of the record before them.
        let mut versions: Vec<&[Candidate<'a>]> =
            candidates.chunk_by(|one, other| one.record.has_version_of(&other.record)).collect();
        mlconda_types::sorting::sort_by(&mut versions, |one, other| {
            one[0].record.version().cmp(other[0].record.version())
        });
        let sorted: Rc<[Candidate<'a>]> = versions.concat().into();
        self.candidates.borrow_mut().insert(key, Rc::clone(&sorted));
        sorted
    }

    /// The package that a requirement names a channel for.
    pub(crate) fn named_from_channel(&self, line: usize) -> Option<String> {
        let spec = &self.environment.requirements[line].spec;
        spec.name.as_exact().filter(|_| spec.channel.is_some()).map(|name| name.as_normalized().to_owned())
    }

    /// The candidates of a name, in the order of the channels. `channel_specs` is the requirement that names the
    /// channel.
    fn found(&self, name: &str, channel_specs: Option<usize>) -> Vec<Candidate<'a>> {
        let requirements = &self.environment.requirements;
        let is_strict = self.options.channel_priority == ChannelPriority::Strict;
        let (mut found, mut newer, mut first) = (Vec::new(), Vec::new(), None);
        for (list, records) in self.runs.get(name).into_iter().flatten() {
            let Some(one) = records.first() else { continue };
            let tier = tier(self.repodata, *list, one);
            let elsewhere = channel_specs.filter(|line| !is_in_channel(one, tier, &requirements[*line].spec));
            let channel = one.channel.as_deref().unwrap_or_default();
            let index = tier.filter(|tier| *tier != ARCHIVE_TIER).unwrap_or(channel);
            for record in records.iter().map(AsRef::as_ref) {
                let cutoff = self.options.exclude_newer.filter(|cutoff| !cutoff.admits(&record.package_record));
                if let Some(cutoff) = cutoff {
                    newer.push(Candidate::new(CandidateRecord::Record(record), Some(Exclusion::TooNew(cutoff))));
                    continue;
                }
                let exclusion = match elsewhere {
                    Some(line) => Some(Exclusion::OtherChannel(line)),
                    None => {
                        (is_strict && *first.get_or_insert(index) != index).then_some(Exclusion::LowerPriority(channel))
                    }
                };
                found.push(Candidate::new(CandidateRecord::Record(record), exclusion));
            }
        }
        found.extend(newer);
        found
    }

    /// The dependencies and constraints of a record, without conditions.
    pub(super) fn dependencies(&self, record: &'a RepoDataRecord) -> Rc<[Rc<Dependency>]> {
        let package = &record.package_record;
        let has_pip = self.options.pip == Pip::Added && self.runs.contains_key("pip") && brings_pip(record);
        let needs = package.depends.iter().map(String::as_str).chain(has_pip.then_some("pip"));
        let constrains = package.constrains.iter().map(String::as_str);
        let mut known = self.dependencies.borrow_mut();
        let mut read = |text: &'a str, kind: DependencyKind| {
            let number = known.len();
            known.entry((text, kind)).or_insert_with(|| dependency(text, kind, number)).clone()
        };
        let needs: Vec<Rc<Dependency>> = needs.filter_map(|text| read(text, DependencyKind::Depends)).collect();
        needs.into_iter().chain(constrains.filter_map(|text| read(text, DependencyKind::Constrains))).collect()
    }

    /// Which candidates match the dependency with this number; computed once.
    pub(super) fn matches(&self, number: usize, find: impl FnOnce() -> Rc<[bool]>) -> Rc<[bool]> {
        Rc::clone(self.matches.borrow_mut().entry(number).or_insert_with(find))
    }
}

/// Parses a dependency; `None` if it has a condition or is invalid.
fn dependency(text: &str, kind: DependencyKind, number: usize) -> Option<Rc<Dependency>> {
    let spec = parse(text).ok().filter(|spec| spec.condition.is_none())?;
    let (PackageNameMatcher::Exact(name), spec) = spec.into_nameless() else { return None };
    let text = text.trim().trim_end_matches(" *").to_owned();
    let name = name.as_normalized().to_owned();
    Some(Rc::new(Dependency { number, text, name, kind, matcher: SpecMatcher::new(spec) }))
}
