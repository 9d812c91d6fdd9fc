//! What there is, as reasoning looks at it: name by name, each when it is first wanted. An explanation reasons several
//! times, about fewer and fewer lines; what was found out once is kept. The solver's [catalog](super::super::catalog) has
//! the same in other tables: reasons that do not come from there prove that it was right to refuse.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use foldhash::{HashMap, HashMapExt};
use mlconda_channel::repodata::Repodata;
use mlconda_environment::Environment;
use rattler_conda_types::{PackageNameMatcher, RepoDataRecord};

use super::{Candidate, CandidateRecord, Dependency, DependencyKind, Exclusion, SpecMatcher};
use crate::{
    ChannelPriority, Pip, SolveOptions,
    pool::{brings_pip, parse},
    session::{ARCHIVE_TIER, is_in_channel, tier},
};

/// Records of one name and one channel, and the list that they stand in.
type IndexedRun<'a> = (usize, &'a [Arc<RepoDataRecord>]);

/// Dependencies and constraints, by how records have them; none if it is not followed.
type DependencyCache<'a> = HashMap<(&'a str, DependencyKind), Option<Rc<Dependency>>>;

/// By name, and by the line that names a channel for it, if one does; the oldest version first.
type CandidatesOf<'a> = HashMap<(String, Option<usize>), Rc<[Candidate<'a>]>>;

/// All that there is to choose from.
pub(crate) struct Records<'a> {
    environment: &'a Environment,
    repodata: &'a Repodata,
    options: SolveOptions,
    /// By name, in the order of the channels.
    runs: HashMap<&'a str, Vec<IndexedRun<'a>>>,
    candidates: RefCell<CandidatesOf<'a>>,
    dependencies: RefCell<DependencyCache<'a>>,
    /// By a demand's number, which candidates of its package it is content with.
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

    /// The records of a name that are not newer than what counts, in the order of the channels, channel by channel.
    pub(crate) fn by_channel(&self, name: &str) -> impl Iterator<Item = Vec<&'a RepoDataRecord>> {
        let counts = |record: &&RepoDataRecord| {
            self.options.exclude_newer.is_none_or(|cutoff| cutoff.admits(&record.package_record))
        };
        let runs = self.runs.get(name).into_iter().flatten();
        runs.map(move |(_, records)| records.iter().map(AsRef::as_ref).filter(counts).collect())
    }

    /// The records of a name, the oldest version first, with the reason for which the solver does not look at some.
    pub(super) fn of(&self, name: &str, channel_specs: Option<usize>) -> Rc<[Candidate<'a>]> {
        let key = (name.to_owned(), channel_specs);
        if let Some(known) = self.candidates.borrow().get(&key) {
            return Rc::clone(known);
        }
        let candidates = self.found(name, channel_specs);
        // Most records have the version of the one before them, written alike.
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

    /// The same, in the order of the channels; `naming` is the requirement that names the one that counts.
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

    /// What a record needs and constrains, without conditions.
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

    /// Which candidates of a package a demand of this number is content with, found once.
    pub(super) fn matches(&self, number: usize, find: impl FnOnce() -> Rc<[bool]>) -> Rc<[bool]> {
        Rc::clone(self.matches.borrow_mut().entry(number).or_insert_with(find))
    }
}

/// A dependency as the solver reads it; none if it has a condition, or cannot be read.
fn dependency(text: &str, kind: DependencyKind, number: usize) -> Option<Rc<Dependency>> {
    let spec = parse(text).ok().filter(|spec| spec.condition.is_none())?;
    let (PackageNameMatcher::Exact(name), spec) = spec.into_nameless() else { return None };
    let text = text.trim().trim_end_matches(" *").to_owned();
    let name = name.as_normalized().to_owned();
    Some(Rc::new(Dependency { number, text, name, kind, matcher: SpecMatcher::new(spec) }))
}
