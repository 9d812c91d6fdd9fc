//! Why there is no answer, found as a person would find it: what a line or a package leaves of another package is
//! followed from one package to the next, until nothing is left of one that is needed. Each step is remembered with its
//! cause, and no step depends on a later one, so the steps can be told as a chain that begins at the user's lines.
//!
//! The SAT solver knows that there is no solution, but its reasons are clauses, and the list of them is longer than a
//! screen. Following what is left finds most conflicts of real environments, and where it does not, supposing one
//! version of a package after the other does. What is said is always true: conditions and extras, which this module does
//! not follow, are only ever left out.

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

/// A package, by its place in [`Propagation::packages`].
pub(super) type PackageId = usize;

/// A name, and what is left of it.
#[derive(Clone)]
pub(super) struct PackageState<'a> {
    pub(super) name: String,
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Why it is needed, if it is, and since when.
    pub(super) needed: Option<(NeedReason, usize)>,
}

/// Why a package is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeedReason {
    /// This requirement of the environment asks for it.
    Requirement(usize),
    /// Whatever is left of this package needs it.
    Package(PackageId),
}

/// One of the records of a name, or the virtual package of the name.
#[derive(Clone)]
pub(super) struct Candidate<'a> {
    pub(super) record: CandidateRecord<'a>,
    /// What it needs and constrains, without conditions; found out when it is first wanted.
    dependencies: Rc<OnceCell<Rc<[Rc<Dependency>]>>>,
    /// Why it is out, if it is, and since when.
    pub(super) exclusion: Option<(Exclusion<'a>, usize)>,
    /// Why it would be out, were it not out from the beginning: for its channel or its age.
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

    /// Why it was out before a step, and since when. Its channel and its age are told of only if nothing else is.
    pub(super) fn reason(&self, before: usize) -> Option<&(Exclusion<'a>, usize)> {
        let exclusion = self.exclusion.as_ref().filter(|(_, since)| *since < before)?;
        Some(self.masked_exclusion.as_ref().filter(|(_, since)| *since < before).unwrap_or(exclusion))
    }

    /// Takes it out, if it is not out yet. Gives whether that changed what is left.
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
    /// Its place among all that were read.
    number: usize,
    /// As in the record.
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

/// Why a candidate is out.
#[derive(Clone)]
pub(super) enum Exclusion<'a> {
    /// It is newer than what counts.
    TooNew(Cutoff),
    /// It is in this channel, and one before it has the package, too.
    LowerPriority(&'a str),
    /// It is not in the channel that this requirement names.
    OtherChannel(usize),
    /// This requirement asks for another one.
    Requirement(usize),
    /// Nothing is left of what it demands.
    MissingDependency(Rc<Dependency>),
    /// Whatever is left of this package demands another one.
    ByPackage(PackageId),
    /// Another one is supposed.
    Assumed,
}

impl Exclusion<'_> {
    /// What tells one reason from another.
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

/// What follows from some of the environment's requirements.
#[derive(Clone)]
pub(super) struct Propagation<'a> {
    records: Rc<Records<'a>>,
    host: Rc<Host>,
    /// By name, the last requirement that names a channel for it, of those that count.
    channel_specs: Rc<HashMap<String, usize>>,
    pub(super) packages: Vec<PackageState<'a>>,
    ids: HashMap<String, PackageId>,
    /// By a demand's number, the package and which of its candidates it is content with.
    targets: HashMap<usize, (PackageId, Rc<[bool]>)>,
    /// Those that are to be looked at (again): less is left of them, or they are newly needed.
    open: BTreeSet<PackageId>,
    /// The first is constrained by the second, which matters once the first is needed.
    skipped: BTreeSet<(PackageId, PackageId)>,
    step: usize,
}

/// A contradiction.
pub(super) enum Contradiction<'a> {
    /// Nothing is left of a package that is needed.
    NoCandidates(PackageId, Propagation<'a>),
    /// Whichever version of a package is supposed, nothing is left of another.
    EveryVersion(PackageId, Propagation<'a>, Vec<(String, Contradiction<'a>)>),
}

/// What a contradiction may rest on besides its lines. It stands whatever becomes of the others of these.
#[derive(Clone, Copy)]
pub(super) struct Premises {
    /// The system that is declared.
    pub(super) system: bool,
    /// The order of the channels.
    pub(super) order: bool,
    /// The time after which nothing counts.
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
    /// Follows these requirements of the environment. `None` if nothing contradictory is found.
    pub(super) fn contradiction(records: &Rc<Records<'a>>, host: &Host, lines: &[usize]) -> Option<Contradiction<'a>> {
        Self::of(records, host, lines, lines).find_contradiction()
    }

    /// The same, where packages come from the channels that any of the environment's requirements name.
    pub(super) fn contradiction_in_context(
        records: &Rc<Records<'a>>,
        host: &Host,
        lines: &[usize],
    ) -> Option<Contradiction<'a>> {
        let all: Vec<usize> = (0..records.environment().requirements.len()).collect();
        Self::of(records, host, lines, &all).find_contradiction()
    }

    fn find_contradiction(mut self) -> Option<Contradiction<'a>> {
        // What nobody has is told before anything is followed.
        match self.package_without_candidates().or_else(|| self.propagate()) {
            Some(package) => Some(Contradiction::NoCandidates(package, self)),
            None => self.split_on_versions(),
        }
    }

    /// The same, if one of these requirements asks for what nobody has, so that nothing need be followed.
    pub(super) fn unmatched_requirement(
        records: &Rc<Records<'a>>,
        host: &Host,
        lines: &[usize],
    ) -> Option<Contradiction<'a>> {
        let propagation = Self::of(records, host, lines, lines);
        let package = propagation.package_without_candidates()?;
        Some(Contradiction::NoCandidates(package, propagation))
    }

    /// What these requirements leave of what they ask for, and of others the channels that `naming` have.
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

    /// What a candidate needs and constrains, without conditions.
    pub(super) fn dependencies(&self, candidate: &Candidate<'a>) -> Rc<[Rc<Dependency>]> {
        Rc::clone(candidate.dependencies.get_or_init(|| match candidate.record {
            CandidateRecord::Record(record) => self.records.dependencies(record),
            CandidateRecord::Virtual(_) => Rc::new([]),
        }))
    }

    /// Takes in what a requirement asks for.
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

    /// A package of which nothing is left, other than a virtual one.
    fn package_without_candidates(&self) -> Option<PackageId> {
        let is_empty = |package: &PackageState<'_>| package.remaining().next().is_none();
        self.packages.iter().position(|package| package.needed.is_some() && !package.is_virtual() && is_empty(package))
    }

    /// The package of a name.
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

    /// The package that a demand is on, and which of its candidates it is content with.
    pub(super) fn target(&mut self, dependency: &Dependency) -> (PackageId, Rc<[bool]>) {
        if let Some((id, matches)) = self.targets.get(&dependency.number) {
            return (*id, Rc::clone(matches));
        }
        let id = self.id(&dependency.name);
        let package = &self.packages[id];
        let find = || dependency.matcher.of(&package.candidates);
        // Candidates that are records are the same for every system.
        let matches = if package.is_virtual() { find() } else { self.records.matches(dependency.number, find) };
        self.targets.insert(dependency.number, (id, Rc::clone(&matches)));
        (id, matches)
    }

    /// What it may rest on that nothing is left of a package: the way of each of its candidates is gone back.
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
                // A line that asks for another one stands by itself.
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
    /// What is left of it.
    pub(super) fn remaining(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.candidates.iter().filter(|candidate| candidate.exclusion.is_none())
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.name.starts_with("__")
    }
}

impl CandidateRecord<'_> {
    /// Whether both have the same version, and it is written alike.
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
