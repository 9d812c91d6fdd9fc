//! What resolvo, the SAT solver, wants to know of conda's packages: what there is of a name, what it needs, which of it
//! matches, and what is tried first. Everything is in the [catalog](super::catalog) already. The words for a refusal are
//! those of rattler's own provider, `rattler_solve`, and so is the order in which records are tried ([`super::order`]);
//! tests compare the answers.

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    fmt::{self, Display, Write as _},
};

use foldhash::{HashMap, HashSet};
use itertools::Itertools;
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, PackageName, RepoDataRecord};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId as ResolvoName, Problem, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use super::{
    ChannelPriority,
    catalog::{AskId, Catalog, NameId, Place},
    order::Order,
    prune::{self, Remains},
    question::{Refusal, Request, Scope, is_raised},
};

/// Solves. Where there is no solution, the reasons are those of what was in scope.
pub(super) fn solve(catalog: &mut Catalog<'_>, request: &Request<'_>) -> Result<Vec<RepoDataRecord>, Refusal> {
    let exists = prune::existing(catalog, request);
    let remains = match request.scope {
        Scope::Possible => prune::prune(catalog, &exists, request),
        Scope::All => None,
    };
    let mut excluded = Vec::new();
    let Remains { kept, same } = remains.unwrap_or_else(|| {
        read_all(catalog, &exists);
        excluded = exclusions(catalog, &exists, request);
        Remains { kept: exists.clone(), same: Vec::new() }
    });
    let mut roots = Vec::new();
    for package in &request.host.virtual_packages {
        let ask = catalog.spec(&package.name.clone().into());
        roots.push(VersionSetId(ask).into());
    }
    for spec in request.specs {
        let id = catalog.spec(spec);
        let ask = catalog.ask(id).ok_or_else(|| nonsense(spec, catalog.fault(id)))?;
        let requirement =
            |id: AskId| ConditionalRequirement { condition: ask.condition, requirement: VersionSetId(id).into() };
        roots.extend(ask.extras.iter().chain([&id]).map(|id| requirement(*id)));
    }
    let provider = Provider { same, ..Provider::new(catalog, request, &exists, &kept, excluded) };
    let has_conditions = catalog.has_conditions();
    let mut solver = Solver::new(provider);
    let answer = solver.solve(Problem::new().requirements(roots));
    let chosen = answer.map_err(|refusal| match refusal {
        UnsolvableOrCancelled::Unsolvable(_) if has_conditions => Refusal::Unsolvable(conditional(catalog, request)),
        UnsolvableOrCancelled::Unsolvable(conflict) => {
            Refusal::Unsolvable(text(&conflict.display_user_friendly(&solver)))
        }
        // Nothing cancels it.
        UnsolvableOrCancelled::Cancelled(_) => Refusal::Repodata("the search was given up".to_owned()),
    })?;
    let provider = solver.provider();
    Ok(chosen.into_iter().filter_map(|id| provider.record(id)).cloned().collect())
}

/// The reasons where something is asked for under a condition or with an extra (CEP-43, CEP-44): resolvo 0.12 draws a graph of
/// them before it finds words, and in some of these graphs it misses a way to a record, and panics.
const CONDITIONS: &str = "some of it is asked for under conditions or with extras, of which the solver cannot tell";

/// These reasons, and what is asked for of the system that may be raised and is older: in the solver's words, as if it were one
/// of its reasons.
fn conditional(catalog: &Catalog<'_>, request: &Request<'_>) -> String {
    let mut reasons = CONDITIONS.to_owned();
    for id in 0..catalog.asks() as AskId {
        let Some(name) = catalog.ask(id).map(|ask| catalog.names[ask.name as usize].text.as_str()) else { continue };
        let is_met =
            |package: &GenericVirtualPackage| package.name.as_normalized() == name && catalog.means(id, package);
        if is_raised(name) && !request.host.virtual_packages.iter().any(is_met) {
            reasons += &format!("\n└─ {name} {}, for which no candidates were found", catalog.display_ask(id));
        }
    }
    reasons
}

/// The longest text of a refusal, in bytes: that of packages which need each other in a circle would have no end.
const LONGEST: usize = 1 << 18;

/// Reasons as text, up to the last line that is not too much.
fn text(reasons: &dyn Display) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            self.0.push_str(more);
            if self.0.len() > LONGEST { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut text = Bounded(String::new());
    if write!(text, "{reasons}").is_err() {
        let end = text.0.rfind('\n').map_or(0, |end| end + 1);
        text.0.truncate(end);
    }
    text.0
}

fn nonsense(spec: &MatchSpec, reason: &str) -> Refusal {
    let name = spec.name.as_exact().map_or("a package", PackageName::as_normalized);
    Refusal::Unsolvable(format!("what is asked for of `{name}` makes no sense: {reason}"))
}

/// Reads everything that any record asks for.
fn read_all(catalog: &mut Catalog<'_>, exists: &[bool]) {
    for place in (0..exists.len()).filter(|place| exists[*place]) {
        catalog.look_at(place as Place);
        let demands = catalog.demands(place as Place);
        let asks: Vec<AskId> = demands.needs.iter().chain(demands.bounds).copied().collect();
        for id in asks {
            catalog.read(id);
        }
    }
}

/// The records that are there, and not to be had, with the reason.
fn exclusions(catalog: &Catalog<'_>, exists: &[bool], request: &Request<'_>) -> Vec<(Place, String)> {
    let mut excluded = Vec::new();
    for name in &catalog.names {
        let is_of_name = |spec: &&MatchSpec| {
            let exact = spec.name.as_exact().filter(|_| spec.channel.is_some() || spec.subdir.is_some());
            exact.is_some_and(|exact| exact.as_normalized() == name.text)
        };
        let specs: Vec<&MatchSpec> = request.specs.iter().chain(request.naming).filter(is_of_name).collect();
        let mut first = None;
        for place in name.places.iter().filter(|place| exists[*place as usize]) {
            let record = catalog.record(place);
            if let Some(spec) = specs.iter().find(|spec| !catalog.is_in_channel(place, spec)) {
                let channel = spec.channel.as_ref();
                let channel = channel.map(|channel| channel.name.clone().unwrap_or(channel.base_url.to_string()));
                let channel = channel.unwrap_or_default();
                excluded.push((place, format!("candidate not in requested channel: '{channel}'")));
                continue;
            }
            let rank = catalog.channel_rank(place);
            let is_hidden = *first.get_or_insert(rank) != rank;
            let subdirs = || specs.iter().filter_map(|spec| spec.subdir.as_ref());
            if is_hidden && request.options.channel_priority == ChannelPriority::Strict {
                let channel = record.channel.as_deref();
                let channel = channel.map_or_else(|| "an unknown channel".to_owned(), |channel| format!("'{channel}'"));
                excluded.push((place, format!("due to strict channel priority not using this option from: {channel}")));
            } else if let Some(subdir) = subdirs().find(|subdir| **subdir != record.package_record.subdir) {
                excluded.push((place, format!("candidate not in requested subdir: '{subdir}'")));
            }
        }
    }
    excluded
}

/// What a solver chooses from.
#[derive(Clone, Copy)]
enum Solvable {
    Record(Place),
    /// By its place among the host's.
    Virtual(usize),
    /// An extra, by its name.
    Extra(NameId),
}

struct Provider<'c, 'a> {
    catalog: &'c Catalog<'a>,
    virtual_packages: &'c [GenericVirtualPackage],
    solvables: Vec<(NameId, Solvable)>,
    /// By name.
    candidates: Vec<Candidates>,
    order: Order<'c, 'a>,
    /// By what is asked for, what means the same; what is not there is only like itself.
    same: Vec<AskId>,
    /// Reasons, as text.
    strings: RefCell<Vec<String>>,
}

impl<'c, 'a> Provider<'c, 'a> {
    fn new(
        catalog: &'c Catalog<'a>,
        request: &'c Request<'_>,
        exists: &'c [bool],
        kept: &[bool],
        excluded: Vec<(Place, String)>,
    ) -> Self {
        let virtual_packages = request.host.virtual_packages.as_slice();
        let mut solvables: Vec<(NameId, Solvable)> = Vec::new();
        let mut candidates: Vec<Candidates> = Vec::with_capacity(catalog.names.len());
        let mut reasons: Vec<String> = Vec::new();
        let mut excluded: HashMap<Place, String> = excluded.into_iter().collect();
        let favored: HashSet<Place> =
            request.kept.favored.iter().filter_map(|record| catalog.place_of(record)).collect();
        for (id, name) in catalog.names.iter().enumerate() {
            let mut own =
                Candidates { hint_dependencies_available: HintDependenciesAvailable::All, ..Candidates::default() };
            let virtuals = virtual_packages.iter().positions(|package| package.name.as_normalized() == name.text);
            let records = name.places.iter().filter(|place| kept[*place as usize]);
            let of_name = virtuals
                .map(Solvable::Virtual)
                .chain(records.map(Solvable::Record))
                .chain(name.is_extra.then_some(Solvable::Extra(id as NameId)));
            for solvable in of_name {
                let number = SolvableId::from_index(solvables.len());
                solvables.push((id as NameId, solvable));
                own.candidates.push(number);
                let Solvable::Record(place) = solvable else { continue };
                if let Some(reason) = excluded.remove(&place) {
                    own.excluded.push((number, StringId::from_index(reasons.len())));
                    reasons.push(reason);
                }
                if favored.contains(&place) {
                    own.favored = Some(number);
                }
            }
            candidates.push(own);
        }
        let order = Order::new(catalog, virtual_packages, exists, request.options.channel_priority);
        Self {
            catalog,
            virtual_packages,
            solvables,
            candidates,
            order,
            same: Vec::new(),
            strings: RefCell::new(reasons),
        }
    }

    fn solvable(&self, id: SolvableId) -> Solvable {
        self.solvables[id.to_index()].1
    }

    fn record(&self, id: SolvableId) -> Option<&'a RepoDataRecord> {
        match self.solvable(id) {
            Solvable::Record(place) => Some(self.catalog.record(place)),
            Solvable::Virtual(_) | Solvable::Extra(_) => None,
        }
    }

    fn version(&self, id: SolvableId) -> Option<&rattler_conda_types::Version> {
        match self.solvable(id) {
            Solvable::Record(place) => Some(self.catalog.record(place).package_record.version.version()),
            Solvable::Virtual(index) => Some(&self.virtual_packages[index].version),
            Solvable::Extra(_) => None,
        }
    }

    fn name(&self, id: ResolvoName) -> &str {
        &self.catalog.names[id.to_index()].text
    }

    /// What something asked for is to the solver: itself, and the extras that it asks for.
    fn version_sets(&self, id: AskId) -> impl Iterator<Item = VersionSetId> {
        let extras = self.catalog.ask(id).map_or(&[][..], |ask| &ask.extras);
        let same = self.same.get(id as usize).copied().unwrap_or(id);
        extras.iter().copied().chain([same]).map(VersionSetId)
    }

    fn dependencies(&self, place: Place) -> Result<KnownDependencies, String> {
        let fault = |kind: &str, id: AskId| {
            let (text, reason) = (self.catalog.written(id), self.catalog.fault(id));
            format!("the {kind} '{text}' failed to parse: {reason}")
        };
        let mut known = KnownDependencies::default();
        let demands = self.catalog.demands(place);
        let needs = demands.needs.iter().map(|id| (None, *id));
        for (condition, id) in needs.chain(demands.extras.iter().map(|(when, id)| (Some(*when), *id))) {
            let ask = self.catalog.ask(id).ok_or_else(|| fault("dependency", id))?;
            let condition = condition.or(ask.condition);
            known
                .requirements
                .extend(self.version_sets(id).map(|set| ConditionalRequirement { condition, requirement: set.into() }));
        }
        for id in demands.bounds {
            let ask = self.catalog.ask(*id).ok_or_else(|| fault("constrains", *id))?;
            // That a record excludes itself, the solver has no clause for: it takes two that exclude each other.
            if ask.name == self.catalog.name_of(place) && !ask.places.contains(place) {
                return Err(format!("it does not meet its own constrains '{}'", self.catalog.written(*id)));
            }
            known.constrains.extend(self.version_sets(*id));
        }
        Ok(known)
    }
}

impl Interner for Provider<'_, '_> {
    type NameId = ResolvoName;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        match self.solvable(solvable) {
            Solvable::Record(place) => self.catalog.record(place).package_record.to_string(),
            Solvable::Virtual(index) => self.virtual_packages[index].to_string(),
            Solvable::Extra(name) => self.catalog.names[name as usize].text.clone(),
        }
    }

    /// Versions only, and of many the ends.
    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let Some(first) = solvables.first() else { return String::new() };
        let mut versions: Vec<_> = solvables.iter().filter_map(|id| self.version(*id)).collect();
        mlconda_types::sorting::sort(&mut versions);
        versions.dedup();
        let mut shown: Vec<String> = versions.iter().map(ToString::to_string).collect();
        if shown.len() > 4 {
            shown.splice(2..shown.len() - 1, ["...".to_owned()]);
        }
        let name = self.name(self.solvable_name(*first));
        format!("{name} {}", shown.join(" | ")).trim_end().to_owned()
    }

    fn display_name(&self, name: ResolvoName) -> impl Display + '_ {
        self.name(name)
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        self.catalog.display_ask(version_set.0)
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.strings.borrow()[string_id.to_index()].clone()
    }

    fn version_set_name(&self, version_set: VersionSetId) -> ResolvoName {
        // The solver knows only of what was read.
        let name = self.catalog.ask(version_set.0).map_or(0, |ask| ask.name);
        ResolvoName::from_index(name as usize)
    }

    fn solvable_name(&self, solvable: SolvableId) -> ResolvoName {
        ResolvoName::from_index(self.solvables[solvable.to_index()].0 as usize)
    }

    fn version_sets_in_union(&self, _: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        // There are none in conda's world.
        std::iter::empty()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.catalog.resolve(condition)
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let places = self.catalog.ask(version_set.0).map(|ask| &ask.places);
        let matches = |id: &SolvableId| match self.solvable(*id) {
            Solvable::Record(place) => places.is_some_and(|places| places.contains(place)),
            Solvable::Virtual(index) => self.catalog.means(version_set.0, &self.virtual_packages[index]),
            Solvable::Extra(_) => true,
        };
        candidates.iter().copied().filter(|id| matches(id) != inverse).collect()
    }

    async fn get_candidates(&self, name: ResolvoName) -> Option<Candidates> {
        self.candidates.get(name.to_index()).cloned()
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let place = |id: SolvableId| match self.solvable(id) {
            Solvable::Record(place) => Some((place, id.to_index())),
            Solvable::Virtual(_) | Solvable::Extra(_) => None,
        };
        // There is one virtual package of a name, and it comes first.
        let start = solvables.iter().take_while(|id| place(**id).is_none()).count();
        let mut records: Vec<_> = solvables.iter().filter_map(|id| place(*id)).collect();
        self.order.sort(&mut records);
        for (solvable, (_, index)) in solvables.iter_mut().skip(start).zip(records) {
            *solvable = SolvableId::from_index(index);
        }
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let Solvable::Record(place) = self.solvable(solvable) else {
            return Dependencies::Known(KnownDependencies::default());
        };
        self.dependencies(place).map_or_else(
            |reason| {
                let mut strings = self.strings.borrow_mut();
                strings.push(reason);
                Dependencies::Unknown(StringId::from_index(strings.len() - 1))
            },
            Dependencies::Known,
        )
    }
}
