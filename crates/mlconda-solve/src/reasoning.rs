//! Why there is no answer, found as a person would find it: what a line or a package leaves of another package is
//! followed from one package to the next, until nothing is left of one that is needed. Each step is remembered with its
//! cause, and no step depends on a later one, so the steps can be told as a chain that begins at the user's lines.
//!
//! The SAT solver knows that there is no solution, but its reasons are clauses, and the list of them is longer than a
//! screen. Following what is left finds most conflicts of real environments, and where it does not, supposing one
//! version of a package after the other does. What is said is always true: conditions and extras, which this module does
//! not follow, are only ever left out.

mod following;
mod records;
mod wanted;

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
use self::wanted::Wanted;
use super::Cutoff;

/// A package, by its place in [`Reasoning::packages`].
pub(super) type Id = usize;

/// A name, and what is left of it.
#[derive(Clone)]
pub(super) struct Package<'a> {
    pub(super) name: String,
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Why it is needed, if it is, and since when.
    pub(super) needed: Option<(Why, usize)>,
}

/// Why a package is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// This requirement of the environment asks for it.
    Line(usize),
    /// Whatever is left of this package needs it.
    By(Id),
}

/// One of the records of a name, or the virtual package of the name.
#[derive(Clone)]
pub(super) struct Candidate<'a> {
    pub(super) what: What<'a>,
    /// What it needs and constrains, without conditions; found out when it is first wanted.
    demands: Rc<OnceCell<Rc<[Rc<Demand>]>>>,
    /// Why it is out, if it is, and since when.
    pub(super) out: Option<(Out<'a>, usize)>,
    /// Why it would be out, were it not out from the beginning: for its channel or its age.
    pub(super) anyhow: Option<(Out<'a>, usize)>,
}

impl<'a> Candidate<'a> {
    fn new(what: What<'a>, out: Option<Out<'a>>) -> Self {
        Self { what, demands: Rc::default(), out: out.map(|out| (out, 0)), anyhow: None }
    }

    /// Why it was out before a step, and since when. Its channel and its age are told of only if nothing else is.
    pub(super) fn reason(&self, before: usize) -> Option<&(Out<'a>, usize)> {
        let out = self.out.as_ref().filter(|(_, since)| *since < before)?;
        Some(self.anyhow.as_ref().filter(|(_, since)| *since < before).unwrap_or(out))
    }

    /// Takes it out, if it is not out yet. Gives whether that changed what is left.
    fn leave(&mut self, out: Out<'a>, step: usize) -> bool {
        match self.out {
            None => {
                self.out = Some((out, step));
                true
            }
            Some((_, 0)) => {
                self.anyhow.get_or_insert((out, step));
                false
            }
            Some(_) => false,
        }
    }
}

#[derive(Clone)]
pub(super) enum What<'a> {
    Record(&'a RepoDataRecord),
    Virtual(Rc<GenericVirtualPackage>),
}

/// A dependency or constraint of a record.
pub(super) struct Demand {
    /// Its place among all that were read.
    number: usize,
    /// As in the record.
    pub(super) text: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `depends`
    Needs,
    /// `constrains`
    Constrains,
}

/// Why a candidate is out.
#[derive(Clone)]
pub(super) enum Out<'a> {
    /// It is newer than what counts.
    Newer(Cutoff),
    /// It is in this channel, and one before it has the package, too.
    Hidden(&'a str),
    /// It is not in the channel that this requirement names.
    Elsewhere(usize),
    /// This requirement asks for another one.
    Line(usize),
    /// Nothing is left of what it demands.
    Lacks(Rc<Demand>),
    /// Whatever is left of this package demands another one.
    Ruled(Id),
    /// Another one is supposed.
    Supposed,
}

impl Out<'_> {
    /// What tells one reason from another.
    pub(super) fn key(&self) -> (Discriminant<Self>, usize, &str) {
        let (number, text) = match self {
            Self::Newer(_) | Self::Supposed => (0, ""),
            Self::Hidden(channel) => (0, *channel),
            Self::Elsewhere(number) | Self::Line(number) | Self::Ruled(number) => (*number, ""),
            Self::Lacks(demand) => (demand.kind as usize, demand.name.as_str()),
        };
        (discriminant(self), number, text)
    }
}

/// What follows from some of the environment's requirements.
#[derive(Clone)]
pub(super) struct Reasoning<'a> {
    records: Rc<Records<'a>>,
    host: Rc<Host>,
    /// By name, the last requirement that names a channel for it, of those that count.
    naming: Rc<HashMap<String, usize>>,
    pub(super) packages: Vec<Package<'a>>,
    ids: HashMap<String, Id>,
    /// By a demand's number, the package and which of its candidates it is content with.
    aims: HashMap<usize, (Id, Rc<[bool]>)>,
    /// Those that are to be looked at (again): less is left of them, or they are newly needed.
    open: BTreeSet<Id>,
    /// The first is constrained by the second, which matters once the first is needed.
    skipped: BTreeSet<(Id, Id)>,
    step: usize,
}

/// A contradiction.
pub(super) enum Conflict<'a> {
    /// Nothing is left of a package that is needed.
    Empty(Id, Reasoning<'a>),
    /// Whichever version of a package is supposed, nothing is left of another.
    Each(Id, Reasoning<'a>, Vec<(String, Conflict<'a>)>),
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

impl Conflict<'_> {
    pub(super) fn premises(&self) -> Premises {
        match self {
            Self::Empty(id, reasoning) => reasoning.premises(*id),
            Self::Each(id, reasoning, branches) => {
                let of_branches = branches.iter().map(|(_, branch)| branch.premises());
                of_branches.fold(reasoning.premises(*id), Premises::or)
            }
        }
    }
}

impl<'a> Reasoning<'a> {
    /// Follows these requirements of the environment. `None` if nothing contradictory is found.
    pub(super) fn conflict(records: &Rc<Records<'a>>, host: &Host, lines: &[usize]) -> Option<Conflict<'a>> {
        Self::of(records, host, lines, lines).contradiction()
    }

    /// The same, where packages come from the channels that any of the environment's requirements name.
    pub(super) fn conflict_in_context(records: &Rc<Records<'a>>, host: &Host, lines: &[usize]) -> Option<Conflict<'a>> {
        let all: Vec<usize> = (0..records.environment().requirements.len()).collect();
        Self::of(records, host, lines, &all).contradiction()
    }

    fn contradiction(mut self) -> Option<Conflict<'a>> {
        // What nobody has is told before anything is followed.
        match self.unheard_of().or_else(|| self.follow()) {
            Some(package) => Some(Conflict::Empty(package, self)),
            None => self.suppose(),
        }
    }

    /// The same, if one of these requirements asks for what nobody has, so that nothing need be followed.
    pub(super) fn in_vain(records: &Rc<Records<'a>>, host: &Host, lines: &[usize]) -> Option<Conflict<'a>> {
        let reasoning = Self::of(records, host, lines, lines);
        let package = reasoning.unheard_of()?;
        Some(Conflict::Empty(package, reasoning))
    }

    /// What these requirements leave of what they ask for, and of others the channels that `naming` have.
    fn of(records: &Rc<Records<'a>>, host: &Host, lines: &[usize], naming: &[usize]) -> Self {
        let naming = naming.iter().filter_map(|line| Some((records.named_from_channel(*line)?, *line)));
        let mut reasoning = Self {
            records: Rc::clone(records),
            host: Rc::new(host.clone()),
            naming: Rc::new(naming.collect()),
            packages: Vec::new(),
            ids: HashMap::new(),
            aims: HashMap::new(),
            open: BTreeSet::new(),
            skipped: BTreeSet::new(),
            step: 1,
        };
        lines.iter().for_each(|line| reasoning.line(*line));
        reasoning
    }

    pub(super) fn environment(&self) -> &'a Environment {
        self.records.environment()
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// What a candidate needs and constrains, without conditions.
    pub(super) fn demands(&self, candidate: &Candidate<'a>) -> Rc<[Rc<Demand>]> {
        Rc::clone(candidate.demands.get_or_init(|| match candidate.what {
            What::Record(record) => self.records.demands(record),
            What::Virtual(_) => Rc::new([]),
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
        package.needed.get_or_insert((Why::Line(line), step));
        self.open.insert(id);
        let fits = Wanted::new(bare).of(&package.candidates);
        for (candidate, _) in package.candidates.iter_mut().zip(&*fits).filter(|(_, fits)| !**fits) {
            candidate.leave(Out::Line(line), step);
        }
    }

    /// A package of which nothing is left, other than a virtual one.
    fn unheard_of(&self) -> Option<Id> {
        let is_empty = |package: &Package<'_>| package.left().next().is_none();
        self.packages.iter().position(|package| package.needed.is_some() && !package.is_virtual() && is_empty(package))
    }

    /// The package of a name.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let mut candidates = self.records.of(name, self.naming.get(name).copied()).to_vec();
        let own = self.host.virtual_packages.iter().filter(|package| package.name.as_normalized() == name);
        let own: Vec<_> = own.map(|package| Candidate::new(What::Virtual(Rc::new(package.clone())), None)).collect();
        if !own.is_empty() {
            candidates.extend(own);
            mlconda_types::sorting::sort_by(&mut candidates, |left, right| {
                left.what.version().cmp(right.what.version())
            });
        }
        self.packages.push(Package { name: name.to_owned(), candidates, needed: None });
        self.ids.insert(name.to_owned(), self.packages.len() - 1);
        self.packages.len() - 1
    }

    /// The package that a demand is on, and which of its candidates it is content with.
    pub(super) fn aim(&mut self, demand: &Demand) -> (Id, Rc<[bool]>) {
        if let Some((id, matches)) = self.aims.get(&demand.number) {
            return (*id, Rc::clone(matches));
        }
        let id = self.id(&demand.name);
        let package = &self.packages[id];
        let find = || demand.wanted.of(&package.candidates);
        // Candidates that are records are the same for every system.
        let matches = if package.is_virtual() { find() } else { self.records.matches(demand.number, find) };
        self.aims.insert(demand.number, (id, Rc::clone(&matches)));
        (id, matches)
    }

    /// What it may rest on that nothing is left of a package: the way of each of its candidates is gone back.
    fn premises(&self, id: Id) -> Premises {
        let mut premises = Premises::NONE;
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = &self.packages[id];
            premises.system |= package.is_virtual();
            if let Some((Why::By(by), _)) = package.needed {
                open.push(by);
            }
            for candidate in &package.candidates {
                // A line that asks for another one stands by itself.
                let out = match (&candidate.out, &candidate.anyhow) {
                    (_, Some((Out::Line(_), _))) | (None, _) => continue,
                    (Some((out, _)), _) => out,
                };
                match out {
                    Out::Newer(_) => premises.time = true,
                    Out::Hidden(_) => premises.order = true,
                    Out::Ruled(by) => open.push(*by),
                    Out::Lacks(demand) => open.extend(self.ids.get(&demand.name)),
                    Out::Elsewhere(_) | Out::Line(_) | Out::Supposed => {}
                }
            }
        }
        premises
    }
}

impl<'a> Package<'a> {
    /// What is left of it.
    pub(super) fn left(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.candidates.iter().filter(|candidate| candidate.out.is_none())
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.name.starts_with("__")
    }
}

impl What<'_> {
    /// Whether both have the same version, and it is written alike.
    fn is_of_the_version_of(&self, other: &Self) -> bool {
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
