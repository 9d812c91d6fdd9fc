//! Why there is no answer, found as a person would find it: what a line or a package leaves of another package is
//! followed from one package to the next, until nothing is left of one that is needed. Each step is remembered with its
//! cause, and no step depends on a later one, so the steps can be told as a chain that begins at the user's lines.
//!
//! The SAT solver knows that there is no solution, but its reasons are clauses, and the list of them is longer than a
//! screen. Following what is left finds most conflicts of real environments, and where it does not, supposing one
//! version of a package after the other does. What is said is always true: conditions and extras, which this module does
//! not follow, are only ever left out.

use std::{collections::BTreeSet, rc::Rc};

use foldhash::{HashMap, HashMapExt};
use itertools::Itertools;
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, Matches, NamelessMatchSpec, PackageNameMatcher, ParseMatchSpecOptions,
    RepoDataRecord, RepodataRevision, Version,
};

use super::{
    ChannelPriority,
    options::Cutoff,
    question::{ARCHIVES, Ground},
};
use crate::environment::is_within_reason;
use crate::host::Host;
use crate::sorting::InOrder;

/// Of how many packages one version after the other is supposed, and of how many versions at most.
const SUPPOSED_PACKAGES: usize = 6;
const SUPPOSED_VERSIONS: usize = 12;

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
    /// What it needs and constrains, without conditions.
    pub(super) demands: Rc<[Rc<Demand>]>,
    /// Why it is out, if it is, and since when.
    pub(super) out: Option<(Out, usize)>,
    /// Why it would be out, were it not out from the beginning: for its channel or its age.
    pub(super) anyhow: Option<(Out, usize)>,
}

impl Candidate<'_> {
    /// Why it was out before a step, and since when. Its channel and its age are told of only if nothing else is.
    pub(super) fn reason(&self, before: usize) -> Option<&(Out, usize)> {
        let out = self.out.as_ref().filter(|(_, since)| *since < before)?;
        Some(self.anyhow.as_ref().filter(|(_, since)| *since < before).unwrap_or(out))
    }

    /// Takes it out, if it is not out yet. Gives whether that changed what is left.
    fn leave(&mut self, out: Out, step: usize) -> bool {
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

#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Record(&'a RepoDataRecord),
    Virtual(&'a GenericVirtualPackage),
}

/// A dependency or constraint of a record.
#[derive(Debug)]
pub(super) struct Demand {
    /// As in the record.
    pub(super) text: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    spec: NamelessMatchSpec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `depends`
    Needs,
    /// `constrains`
    Constrains,
}

/// Why a candidate is out.
#[derive(Clone, Debug)]
pub(super) enum Out {
    /// It is newer than what counts.
    Newer(Cutoff),
    /// It is in this channel, and one before it has the package, too.
    Hidden(String),
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

impl Out {
    /// What tells one reason from another.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Lacks(demand) => format!("lacks {:?} {}", demand.kind, demand.name),
            other => format!("{other:?}"),
        }
    }
}

/// Records by name, with the reason for which the solver does not look at some of them.
pub(super) type Records<'a> = HashMap<&'a str, Vec<(&'a RepoDataRecord, Option<Out>)>>;

/// What follows from some of the environment's requirements.
#[derive(Clone)]
pub(super) struct Reasoning<'a> {
    ground: &'a Ground<'a>,
    host: &'a Host,
    records: Rc<Records<'a>>,
    demands: HashMap<(&'a str, Kind), Option<Rc<Demand>>>,
    matches: HashMap<(String, Kind), Rc<[bool]>>,
    pub(super) packages: Vec<Package<'a>>,
    ids: HashMap<String, Id>,
    step: usize,
}

/// A contradiction.
pub(super) enum Conflict<'a> {
    /// Nothing is left of a package that is needed.
    Empty(Id, Reasoning<'a>),
    /// Whichever version of a package is supposed, nothing is left of another.
    Each(Id, Reasoning<'a>, Vec<(String, Conflict<'a>)>),
}

impl<'a> Reasoning<'a> {
    /// Follows these requirements of the environment. `None` if nothing contradictory is found.
    pub(super) fn conflict(
        ground: &'a Ground<'a>,
        records: &Rc<Records<'a>>,
        host: &'a Host,
        lines: &[usize],
    ) -> Option<Conflict<'a>> {
        let mut reasoning = Self {
            ground,
            host,
            records: Rc::clone(records),
            demands: HashMap::new(),
            matches: HashMap::new(),
            packages: Vec::new(),
            ids: HashMap::new(),
            step: 1,
        };
        lines.iter().for_each(|line| reasoning.line(*line));
        match reasoning.follow() {
            Some(package) => Some(Conflict::Empty(package, reasoning)),
            None => reasoning.suppose(),
        }
    }

    pub(super) fn ground(&self) -> &'a Ground<'a> {
        self.ground
    }

    pub(super) fn host(&self) -> &'a Host {
        self.host
    }

    /// Takes in what a requirement asks for.
    fn line(&mut self, line: usize) {
        let ground = self.ground;
        let spec = &ground.environment.requirements[line].spec;
        let (PackageNameMatcher::Exact(name), bare) = spec.clone().into_nameless() else { return };
        let id = self.id(name.as_normalized());
        self.step += 1;
        let step = self.step;
        let package = &mut self.packages[id];
        package.needed.get_or_insert((Why::Line(line), step));
        for candidate in package.candidates.iter_mut().filter(|candidate| !candidate.what.matches(&bare)) {
            candidate.leave(Out::Line(line), step);
        }
    }

    /// Follows everything to its end. Gives the package of which nothing is left.
    fn follow(&mut self) -> Option<Id> {
        loop {
            let mut next = 0;
            while next < self.packages.len() {
                let before = self.step;
                if self.packages[next].needed.is_some()
                    && let Some(empty) = self.forward(next)
                {
                    return Some(empty);
                }
                next = if self.step > before { 0 } else { next + 1 };
            }
            let before = self.step;
            (0..self.packages.len())
                .filter(|id| self.packages[*id].needed.is_some())
                .collect_vec()
                .into_iter()
                .for_each(|id| self.backward(id));
            if self.step == before {
                self.reach();
            }
            if self.step == before {
                return None;
            }
        }
    }

    /// What whatever is left of a package demands of others. Gives a package of which nothing is left.
    fn forward(&mut self, id: Id) -> Option<Id> {
        let left: Vec<Rc<[Rc<Demand>]>> =
            self.packages[id].left().map(|candidate| Rc::clone(&candidate.demands)).collect();
        let Some(first) = left.first() else { return Some(id) };
        let names: BTreeSet<String> = first.iter().map(|demand| demand.name.clone()).collect();
        for name in names {
            let on_it =
                |demands: &[Rc<Demand>]| demands.iter().filter(|demand| demand.name == name).cloned().collect_vec();
            let alternatives: Vec<Vec<Rc<Demand>>> = left.iter().map(|demands| on_it(demands)).collect();
            if alternatives.iter().any(Vec::is_empty) {
                continue;
            }
            let needs = alternatives.iter().all(|demands| demands.iter().any(|demand| demand.kind == Kind::Needs));
            let kind = if needs { Kind::Needs } else { Kind::Constrains };
            let other = self.id(&name);
            if kind == Kind::Constrains && self.packages[other].needed.is_none() {
                continue;
            }
            let mut allowed = vec![false; self.packages[other].candidates.len()];
            for demands in
                alternatives.iter().unique_by(|demands| demands.iter().map(|demand| demand.text.clone()).collect_vec())
            {
                let matches = demands.iter().map(|demand| self.matching(other, demand)).collect_vec();
                for (place, allowed) in allowed.iter_mut().enumerate() {
                    *allowed |= matches.iter().all(|matches| matches[place]);
                }
            }
            self.narrow(id, other, kind, &allowed);
            if self.packages[other].needed.is_some() && self.packages[other].left().next().is_none() {
                return Some(other);
            }
        }
        None
    }

    /// Leaves of a package only what another one, `id`, allows of it, and notes if that needs it.
    fn narrow(&mut self, id: Id, other: Id, kind: Kind, allowed: &[bool]) {
        let step = self.step + 1;
        let package = &mut self.packages[other];
        if kind == Kind::Needs && package.needed.is_none() {
            package.needed = Some((Why::By(id), step));
            self.step = step;
        }
        for (candidate, allowed) in package.candidates.iter_mut().zip(allowed) {
            if !allowed && candidate.leave(Out::Ruled(id), step) {
                self.step = step;
            }
        }
    }

    /// Takes out candidates that demand what nothing is left of.
    fn backward(&mut self, id: Id) {
        for place in 0..self.packages[id].candidates.len() {
            if self.packages[id].candidates[place].out.is_some() {
                continue;
            }
            let demands = Rc::clone(&self.packages[id].candidates[place].demands);
            let lacking = demands.iter().find(|demand| self.lacks(demand)).cloned();
            if let Some(demand) = lacking {
                self.step += 1;
                self.packages[id].candidates[place].out = Some((Out::Lacks(demand), self.step));
            }
        }
    }

    fn lacks(&mut self, demand: &Rc<Demand>) -> bool {
        let other = self.id(&demand.name);
        let matches = self.matching(other, demand);
        let package = &self.packages[other];
        let left =
            package.candidates.iter().zip(&*matches).any(|(candidate, matches)| *matches && candidate.out.is_none());
        !left && (demand.kind == Kind::Needs || package.needed.is_some())
    }

    /// The same for packages that only some candidates need, as far as any leads to.
    fn reach(&mut self) {
        let mut next = 0;
        // Looking at a package makes those known that it needs.
        while next < self.packages.len() {
            self.backward(next);
            next += 1;
        }
    }

    /// Supposes each version of a package in turn.
    fn suppose(self) -> Option<Conflict<'a>> {
        let versions = |package: &Package<'_>| {
            package.left().map(|candidate| candidate.what.version().to_string()).unique().collect_vec()
        };
        let order = (0..self.packages.len())
            .filter(|id| self.packages[*id].needed.is_some())
            .map(|id| (id, versions(&self.packages[id])))
            .filter(|(_, versions)| (2..=SUPPOSED_VERSIONS).contains(&versions.len()))
            .in_order_by_key(|(id, versions)| (versions.len(), *id))
            .take(SUPPOSED_PACKAGES);
        for (id, versions) in order {
            let branches = versions.into_iter().map(|version| {
                let mut branch = self.clone();
                branch.step += 1;
                let step = branch.step;
                for candidate in branch.packages[id].candidates.iter_mut().filter(|candidate| candidate.out.is_none()) {
                    if candidate.what.version().to_string() != version {
                        candidate.out = Some((Out::Supposed, step));
                    }
                }
                let empty = branch.follow()?;
                Some((version, Conflict::Empty(empty, branch)))
            });
            if let Some(branches) = branches.collect::<Option<Vec<_>>>() {
                return Some(Conflict::Each(id, self, branches));
            }
        }
        None
    }

    /// The package of a name.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let records = Rc::clone(&self.records);
        let mut candidates: Vec<Candidate<'a>> = Vec::new();
        for (record, out) in records.get(name).into_iter().flatten() {
            let demands = self.demands_of(record);
            candidates.push(Candidate {
                what: What::Record(record),
                demands,
                out: out.clone().map(|out| (out, 0)),
                anyhow: None,
            });
        }
        let host = self.host;
        let own = host.virtual_packages.iter().filter(|package| package.name.as_normalized() == name);
        candidates.extend(own.map(|package| Candidate {
            what: What::Virtual(package),
            demands: Rc::new([]),
            out: None,
            anyhow: None,
        }));
        crate::sorting::sort_by(&mut candidates, |left, right| left.what.version().cmp(right.what.version()));
        self.packages.push(Package { name: name.to_owned(), candidates, needed: None });
        self.ids.insert(name.to_owned(), self.packages.len() - 1);
        self.packages.len() - 1
    }

    fn demands_of(&mut self, record: &'a RepoDataRecord) -> Rc<[Rc<Demand>]> {
        let package = &record.package_record;
        let depends = package.depends.iter().map(|text| (text.as_str(), Kind::Needs));
        let constrains = package.constrains.iter().map(|text| (text.as_str(), Kind::Constrains));
        depends
            .chain(constrains)
            .filter_map(|(text, kind)| self.demands.entry((text, kind)).or_insert_with(|| demand(text, kind)).clone())
            .collect()
    }

    /// Which candidates of a package a demand is content with.
    pub(super) fn matching(&mut self, id: Id, demand: &Rc<Demand>) -> Rc<[bool]> {
        let package = &self.packages[id];
        let matches = self.matches.entry((demand.text.clone(), demand.kind)).or_insert_with(|| {
            package.candidates.iter().map(|candidate| candidate.what.matches(&demand.spec)).collect()
        });
        Rc::clone(matches)
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

impl<'a> What<'a> {
    fn matches(self, spec: &NamelessMatchSpec) -> bool {
        match self {
            Self::Record(record) => spec.matches(record),
            Self::Virtual(package) => {
                spec.version.as_ref().is_none_or(|version| version.matches(&package.version))
                    && spec.build.as_ref().is_none_or(|build| build.matches(package.build_string.as_str()))
            }
        }
    }

    pub(super) fn version(self) -> &'a Version {
        match self {
            Self::Record(record) => record.package_record.version.version(),
            Self::Virtual(package) => &package.version,
        }
    }

    pub(super) fn build(self) -> String {
        match self {
            Self::Record(record) => record.package_record.build.to_string(),
            Self::Virtual(package) => package.build_string.to_string(),
        }
    }
}

/// A dependency as the solver reads it; none if it has a condition, or cannot be read.
fn demand(text: &str, kind: Kind) -> Option<Rc<Demand>> {
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    let text = Some(text).filter(|text| is_within_reason(text))?;
    let spec = MatchSpec::from_str(text, options).ok().filter(|spec| spec.condition.is_none())?;
    let (PackageNameMatcher::Exact(name), spec) = spec.into_nameless() else { return None };
    let text = text.trim().trim_end_matches(" *").to_owned();
    Some(Rc::new(Demand { text, name: name.as_normalized().to_owned(), kind, spec }))
}

/// All records by name, with the reason for which the solver does not look at some of them.
pub(super) fn records<'a>(ground: &'a Ground<'a>) -> Rc<Records<'a>> {
    let requirements = &ground.environment.requirements;
    let named: HashMap<&str, usize> = requirements
        .iter()
        .enumerate()
        .filter(|(_, requirement)| requirement.spec.channel.is_some())
        .filter_map(|(line, requirement)| Some((requirement.spec.name.as_exact()?.as_normalized(), line)))
        .collect();
    let elsewhere = |record: &RepoDataRecord| {
        let line = *named.get(record.package_record.name.as_normalized())?;
        let channel = requirements[line].spec.channel.as_ref()?.canonical_name();
        (record.channel.as_ref() != Some(&channel)).then_some(Out::Elsewhere(line))
    };
    let strict = ground.options.channel_priority == ChannelPriority::Strict;
    let mut found: Records<'a> = HashMap::new();
    let mut first: HashMap<&str, &str> = HashMap::new();
    for bucket in ground.buckets() {
        for record in bucket.records {
            let name = record.package_record.name.as_normalized();
            let channel = record.channel.as_deref().unwrap_or_default();
            let tier = bucket.tier.filter(|tier| *tier != ARCHIVES).unwrap_or(channel);
            let hidden =
                || (strict && *first.entry(name).or_insert(tier) != tier).then(|| Out::Hidden(channel.to_owned()));
            let out = elsewhere(record).or_else(hidden);
            found.entry(name).or_default().push((record, out));
        }
    }
    for (record, cutoff) in ground.too_new() {
        let name = record.package_record.name.as_normalized();
        found.entry(name).or_default().push((record, Some(Out::Newer(cutoff))));
    }
    Rc::new(found)
}
