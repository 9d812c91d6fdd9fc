//! Finds out why there is no solution, as a person would. It propagates how each requirement and each package restrict
//! the candidates of other packages, until a needed package has no candidates. Each step is recorded with its cause,
//! and no step depends on a later one, so the steps can be shown as a chain that begins at the user's lines.
//!
//! The SAT solver's own reasons are clauses, more than fit on a screen. Propagation finds most conflicts of real
//! environments. If it does not, a case split on the versions of one package does. The result is always true:
//! conditions and extras, which are not followed here, are only ever ignored.

mod records;
mod spec_matcher;
mod steps;

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    mem::{Discriminant, discriminant},
    rc::Rc,
};

use foldhash::{HashMap, HashMapExt};
use mlconda_environment::Environment;
use mlconda_types::host::Host;
use rattler_conda_types::{GenericVirtualPackage, PackageNameMatcher, RepoDataRecord, Version};

pub(super) use self::records::Records;
use self::spec_matcher::SpecMatcher;
use super::Cutoff;

/// The index of a package in [`Propagation::packages`].
pub(super) type PackageId = usize;

/// A package, with its remaining candidates.
#[derive(Clone)]
pub(super) struct PackageState<'a> {
    pub(super) name: String,
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Why it is needed and since which step, if it is.
    pub(super) needed: Option<(NeedReason, usize)>,
}

/// Why a package is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeedReason {
    /// This requirement of the environment asks for it.
    Requirement(usize),
    /// All remaining candidates of this package depend on it.
    Package(PackageId),
}

/// A record of a package, or a virtual package.
#[derive(Clone)]
pub(super) struct Candidate<'a> {
    pub(super) record: CandidateRecord<'a>,
    /// Its dependencies and constraints without conditions; read on first use.
    dependencies: Rc<OnceCell<Rc<[Rc<Dependency>]>>>,
    /// Why it is excluded and since which step, if it is.
    pub(super) exclusion: Option<(Exclusion<'a>, usize)>,
    /// Why it would be excluded if its channel or age had not excluded it from the start.
    pub(super) masked_exclusion: Option<(Exclusion<'a>, usize)>,
}

impl<'a> Candidate<'a> {
    fn new(record: CandidateRecord<'a>, exclusion: Option<Exclusion<'a>>) -> Self {
        Self {
            record,
            dependencies: Rc::default(),
            exclusion: exclusion.map(|exclusion| (exclusion, 0)),
            masked_exclusion: None,
        }
    }

    /// Why it was excluded before a step, and since when. The channel and the age are reported only if there is no
    /// other reason.
    pub(super) fn reason(&self, before: usize) -> Option<&(Exclusion<'a>, usize)> {
        let exclusion = self.exclusion.as_ref().filter(|(_, since)| *since < before)?;
        Some(self.masked_exclusion.as_ref().filter(|(_, since)| *since < before).unwrap_or(exclusion))
    }

    /// Excludes it, unless it is already excluded. Returns whether the remaining candidates changed.
    fn exclude(&mut self, exclusion: Exclusion<'a>, step: usize) -> bool {
        match self.exclusion {
            None => {
                self.exclusion = Some((exclusion, step));
                true
            }
            Some((_, 0)) => {
                self.masked_exclusion.get_or_insert((exclusion, step));
                false
            }
            Some(_) => false,
        }
    }
}

#[derive(Clone)]
pub(super) enum CandidateRecord<'a> {
    Record(&'a RepoDataRecord),
    Virtual(Rc<GenericVirtualPackage>),
}

/// A dependency or constraint of a record.
pub(super) struct Dependency {
    /// Its index among all that were read.
    number: usize,
    /// The text, as in the record.
    pub(super) text: String,
    pub(super) name: String,
    pub(super) kind: DependencyKind,
    matcher: SpecMatcher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DependencyKind {
    /// `depends`
    Depends,
    /// `constrains`
    Constrains,
}

/// Why a candidate is excluded.
#[derive(Clone)]
pub(super) enum Exclusion<'a> {
    /// It is newer than the cutoff.
    TooNew(Cutoff),
    /// It is in this channel, and a channel before it also has the package.
    LowerPriority(&'a str),
    /// It is not in the channel that this requirement names.
    OtherChannel(usize),
    /// It does not match this requirement.
    Requirement(usize),
    /// No candidate is left for this dependency.
    MissingDependency(Rc<Dependency>),
    /// No remaining candidate of this package allows it.
    ByPackage(PackageId),
    /// The case split assumes another version.
    Assumed,
}

impl Exclusion<'_> {
    /// The key by which equal reasons are grouped.
    pub(super) fn key(&self) -> (Discriminant<Self>, usize, &str) {
        let (number, text) = match self {
            Self::TooNew(_) | Self::Assumed => (0, ""),
            Self::LowerPriority(channel) => (0, *channel),
            Self::OtherChannel(number) | Self::Requirement(number) | Self::ByPackage(number) => (*number, ""),
            Self::MissingDependency(dependency) => (dependency.kind as usize, dependency.name.as_str()),
        };
        (discriminant(self), number, text)
    }
}

/// The consequences of some requirements of the environment.
#[derive(Clone)]
pub(super) struct Propagation<'a> {
    records: Rc<Records<'a>>,
    host: Rc<Host>,
    /// By name, the last requirement that names a channel for it.
    channel_specs: Rc<HashMap<String, usize>>,
    pub(super) packages: Vec<PackageState<'a>>,
    ids: HashMap<String, PackageId>,
    /// By the number of a dependency, its package and which candidates match.
    targets: HashMap<usize, (PackageId, Rc<[bool]>)>,
    /// The packages to look at (again): they have fewer candidates now, or are newly needed.
    open: BTreeSet<PackageId>,
    /// Pairs of packages: the second constrains the first, which counts once the first is needed.
    skipped: BTreeSet<(PackageId, PackageId)>,
    step: usize,
}

/// A contradiction.
pub(super) enum Contradiction<'a> {
    /// A needed package has no candidates left.
    NoCandidates(PackageId, Propagation<'a>),
    /// For every version of a package, another package has no candidates left.
    EveryVersion(PackageId, Propagation<'a>, Vec<(String, Contradiction<'a>)>),
}

/// The premises of a contradiction besides its lines.
#[derive(Clone, Copy)]
pub(super) struct Premises {
    /// The declared system.
    pub(super) system: bool,
    /// The order of the channels.
    pub(super) order: bool,
    /// The cutoff ([`super::SolveOptions::exclude_newer`]).
    pub(super) time: bool,
}

impl Premises {
    pub(super) const ALL: Self = Self { system: true, order: true, time: true };
    const NONE: Self = Self { system: false, order: false, time: false };

    fn or(self, other: Self) -> Self {
        Self { system: self.system || other.system, order: self.order || other.order, time: self.time || other.time }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { system: self.system && other.system, order: self.order && other.order, time: self.time && other.time }
    }
}

impl Contradiction<'_> {
    pub(super) fn premises(&self) -> Premises {
        match self {
            Self::NoCandidates(id, propagation) => propagation.premises(*id),
            Self::EveryVersion(id, propagation, branches) => {
                let of_branches = branches.iter().map(|(_, branch)| branch.premises());
                of_branches.fold(propagation.premises(*id), Premises::or)
            }
        }
    }
}

impl<'a> Propagation<'a> {
    /// Finds a contradiction of these requirements; `None` if there is none that propagation can find.
    pub(super) fn contradiction(records: &Rc<Records<'a>>, host: &Host, lines: &[usize]) -> Option<Contradiction<'a>> {
        Self::of(records, host, lines, lines).find_contradiction()
    }

    /// The same, if the channels that all requirements of the environment name also count.
    pub(super) fn contradiction_in_context(
        records: &Rc<Records<'a>>,
        host: &Host,
        lines: &[usize],
    ) -> Option<Contradiction<'a>> {
        let all: Vec<usize> = (0..records.environment().requirements.len()).collect();
        Self::of(records, host, lines, &all).find_contradiction()
    }

    fn find_contradiction(mut self) -> Option<Contradiction<'a>> {
        // Packages without any candidates are reported first.
        match self.package_without_candidates().or_else(|| self.propagate()) {
            Some(package) => Some(Contradiction::NoCandidates(package, self)),
            None => self.split_on_versions(),
        }
    }

    /// The contradiction of a requirement that nothing matches, found without propagation.
    pub(super) fn unmatched_requirement(
        records: &Rc<Records<'a>>,
        host: &Host,
        lines: &[usize],
    ) -> Option<Contradiction<'a>> {
        let propagation = Self::of(records, host, lines, lines);
        let package = propagation.package_without_candidates()?;
        Some(Contradiction::NoCandidates(package, propagation))
    }

    /// Starts with these requirements, and with the channels that `channel_specs` name.
    fn of(records: &Rc<Records<'a>>, host: &Host, lines: &[usize], channel_specs: &[usize]) -> Self {
        let channel_specs = channel_specs.iter().filter_map(|line| Some((records.named_from_channel(*line)?, *line)));
        let mut propagation = Self {
            records: Rc::clone(records),
            host: Rc::new(host.clone()),
            channel_specs: Rc::new(channel_specs.collect()),
            packages: Vec::new(),
            ids: HashMap::new(),
            targets: HashMap::new(),
            open: BTreeSet::new(),
            skipped: BTreeSet::new(),
            step: 1,
        };
        lines.iter().for_each(|line| propagation.line(*line));
        propagation
    }

    pub(super) fn environment(&self) -> &'a Environment {
        self.records.environment()
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The dependencies and constraints of a candidate, without conditions.
    pub(super) fn dependencies(&self, candidate: &Candidate<'a>) -> Rc<[Rc<Dependency>]> {
        Rc::clone(candidate.dependencies.get_or_init(|| match candidate.record {
            CandidateRecord::Record(record) => self.records.dependencies(record),
            CandidateRecord::Virtual(_) => Rc::new([]),
        }))
    }

    /// Applies a requirement.
    fn line(&mut self, line: usize) {
        let spec = &self.environment().requirements[line].spec;
        if spec.condition.is_some() {
            return;
        }
        let (PackageNameMatcher::Exact(name), bare) = spec.clone().into_nameless() else { return };
        let id = self.id(name.as_normalized());
        self.step += 1;
        let step = self.step;
        let package = &mut self.packages[id];
        package.needed.get_or_insert((NeedReason::Requirement(line), step));
        self.open.insert(id);
        let fits = SpecMatcher::new(bare).of(&package.candidates);
        for (candidate, _) in package.candidates.iter_mut().zip(&*fits).filter(|(_, fits)| !**fits) {
            candidate.exclude(Exclusion::Requirement(line), step);
        }
    }

    /// A needed package without candidates, other than a virtual package.
    fn package_without_candidates(&self) -> Option<PackageId> {
        let is_empty = |package: &PackageState<'_>| package.remaining().next().is_none();
        self.packages.iter().position(|package| package.needed.is_some() && !package.is_virtual() && is_empty(package))
    }

    /// The ID of a package, which is added if it is new.
    pub(super) fn id(&mut self, name: &str) -> PackageId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let mut candidates = self.records.of(name, self.channel_specs.get(name).copied()).to_vec();
        let own = self.host.virtual_packages.iter().filter(|package| package.name.as_normalized() == name);
        let own: Vec<_> =
            own.map(|package| Candidate::new(CandidateRecord::Virtual(Rc::new(package.clone())), None)).collect();
        if !own.is_empty() {
            candidates.extend(own);
            mlconda_types::sorting::sort_by(&mut candidates, |left, right| {
                left.record.version().cmp(right.record.version())
            });
        }
        self.packages.push(PackageState { name: name.to_owned(), candidates, needed: None });
        self.ids.insert(name.to_owned(), self.packages.len() - 1);
        self.packages.len() - 1
    }

    /// The package of a dependency, and which of its candidates match.
    pub(super) fn target(&mut self, dependency: &Dependency) -> (PackageId, Rc<[bool]>) {
        if let Some((id, matches)) = self.targets.get(&dependency.number) {
            return (*id, Rc::clone(matches));
        }
        let id = self.id(&dependency.name);
        let package = &self.packages[id];
        let find = || dependency.matcher.of(&package.candidates);
        // The candidates that are records do not depend on the system.
        let matches = if package.is_virtual() { find() } else { self.records.matches(dependency.number, find) };
        self.targets.insert(dependency.number, (id, Rc::clone(&matches)));
        (id, matches)
    }

    /// The premises of the fact that a package has no candidates left: follows the reasons of each candidate back.
    fn premises(&self, id: PackageId) -> Premises {
        let mut premises = Premises::NONE;
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = &self.packages[id];
            premises.system |= package.is_virtual();
            if let Some((NeedReason::Package(by), _)) = package.needed {
                open.push(by);
            }
            for candidate in &package.candidates {
                // A requirement that excludes it depends on nothing else.
                let exclusion = match (&candidate.exclusion, &candidate.masked_exclusion) {
                    (_, Some((Exclusion::Requirement(_), _))) | (None, _) => continue,
                    (Some((exclusion, _)), _) => exclusion,
                };
                match exclusion {
                    Exclusion::TooNew(_) => premises.time = true,
                    Exclusion::LowerPriority(_) => premises.order = true,
                    Exclusion::ByPackage(by) => open.push(*by),
                    Exclusion::MissingDependency(dependency) => open.extend(self.ids.get(&dependency.name)),
                    Exclusion::OtherChannel(_) | Exclusion::Requirement(_) | Exclusion::Assumed => {}
                }
            }
        }
        premises
    }
}

impl<'a> PackageState<'a> {
    /// The candidates that are left.
    pub(super) fn remaining(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.candidates.iter().filter(|candidate| candidate.exclusion.is_none())
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.name.starts_with("__")
    }
}

impl CandidateRecord<'_> {
    /// Whether both have the same version, written in the same way.
    fn has_version_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Record(one), Self::Record(other)) => {
                one.package_record.version.as_str() == other.package_record.version.as_str()
            }
            _ => false,
        }
    }

    pub(super) fn version(&self) -> &Version {
        match self {
            Self::Record(record) => record.package_record.version.version(),
            Self::Virtual(package) => &package.version,
        }
    }

    pub(super) fn build(&self) -> String {
        match self {
            Self::Record(record) => record.package_record.build.to_string(),
            Self::Virtual(package) => package.build_string.to_string(),
        }
    }
}
