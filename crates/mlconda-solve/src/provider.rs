//! Provides conda packages to resolvo, the SAT solver: the candidates of a name, their dependencies, which of them
//! match, and their order. The data comes from the [pool](super::pool). The order of the
//! candidates ([`super::order`]) is that of rattler's own provider, `rattler_solve`. Tests compare the results.

#[cfg(test)]
mod tests;

use std::{any::Any, cell::RefCell, fmt::Display};

use foldhash::{HashMap, HashSet};
use itertools::Itertools;
use mlconda_types::redact;
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, PackageName, RepoDataRecord};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId as ResolvoName, Problem, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use super::{
    ChannelPriority,
    conflict::Reasons,
    limits::{Exceeded, Meter},
    order::CandidateOrder,
    pool::{NameId, Pool, RecordId, SpecId},
    prune::{self, Pruned},
    raise::is_raisable,
    request::{Scope, SolveFailure, SolveRequest},
    wording,
};

/// Runs the solver. A failure has the reasons of the records in scope.
pub(super) fn solve(pool: &mut Pool<'_>, request: &SolveRequest<'_>) -> Result<Vec<RepoDataRecord>, SolveFailure> {
    let exists = prune::existing_records(pool, request);
    let remains = match request.scope {
        Scope::Pruned => prune::prune(pool, &exists, request),
        Scope::All => None,
    };
    let mut excluded = Vec::new();
    let Pruned { kept, canonical } = remains.unwrap_or_else(|| {
        resolve_all(pool, &exists);
        excluded = exclusions(pool, &exists, request);
        Pruned { kept: exists.clone(), canonical: Vec::new() }
    });
    let mut roots = Vec::new();
    for package in &request.host.virtual_packages {
        let spec_id = pool.intern_spec(&package.name.clone().into());
        roots.push(VersionSetId(spec_id).into());
    }
    for spec in request.specs {
        let id = pool.intern_spec(spec);
        let resolved = pool.resolved(id).ok_or_else(|| invalid_spec(spec, pool.parse_error(id)))?;
        let requirement =
            |id: SpecId| ConditionalRequirement { condition: resolved.condition, requirement: VersionSetId(id).into() };
        roots.extend(resolved.extras.iter().chain([&id]).map(|id| requirement(*id)));
    }
    let provider = Provider { canonical, ..Provider::new(pool, request, &exists, &kept, excluded) };
    let has_conditions = pool.has_conditions();
    let mut solver = Solver::new(provider);
    let answer = solver.solve(Problem::new().requirements(roots));
    let chosen = answer.map_err(|failure| match failure {
        UnsolvableOrCancelled::Unsolvable(_) if has_conditions => {
            SolveFailure::Unsolvable(conditional_reasons(pool, request))
        }
        UnsolvableOrCancelled::Unsolvable(conflict) => {
            SolveFailure::Unsolvable(Reasons::of_graph(&conflict.graph(&solver), solver.provider()))
        }
        UnsolvableOrCancelled::Cancelled(_) => {
            SolveFailure::Exceeded(request.meter.exceeded().unwrap_or(Exceeded::Stopped))
        }
    })?;
    let provider = solver.provider();
    Ok(chosen.into_iter().filter_map(|id| provider.record(id)).cloned().collect())
}

/// The text that replaces the reasons if a spec has a condition or extras (CEP-43, CEP-44). With conditions, resolvo
/// 0.12 can miss an edge of a conflict graph and panic, so the graph is not requested.
const CONDITIONS: &str = "some of it is asked for under conditions or with extras, of which the solver cannot tell";

/// The reasons for specs with conditions, and the raisable virtual packages that are too old.
fn conditional_reasons(pool: &Pool<'_>, request: &SolveRequest<'_>) -> Reasons {
    let mut reasons = Reasons::sentence(CONDITIONS.to_owned());
    for id in 0..pool.spec_count() as SpecId {
        let Some(name) = pool.resolved(id).map(|resolved| pool.names[resolved.name as usize].text.as_str()) else {
            continue;
        };
        let is_met =
            |package: &GenericVirtualPackage| package.name.as_normalized() == name && pool.matches_virtual(id, package);
        if is_raisable(name) && !request.host.virtual_packages.iter().any(is_met) {
            reasons.add_demand(name, &pool.display_spec(id).to_string());
        }
    }
    reasons
}

fn invalid_spec(spec: &MatchSpec, reason: &str) -> SolveFailure {
    let name = spec.name.as_exact().map_or("a package", PackageName::as_normalized);
    SolveFailure::Unsolvable(Reasons::sentence(format!("what is asked for of `{name}` makes no sense: {reason}")))
}

/// Resolves the dependencies of all existing records.
fn resolve_all(pool: &mut Pool<'_>, exists: &[bool]) {
    for record_id in (0..exists.len()).filter(|record_id| exists[*record_id]) {
        pool.resolve_extras_of(record_id as RecordId);
        let dependencies = pool.dependencies_of(record_id as RecordId);
        let spec_count: Vec<SpecId> = dependencies.depends.iter().chain(dependencies.constrains).copied().collect();
        for id in spec_count {
            pool.resolve(id);
        }
    }
}

/// The records that exist but may not be chosen, with the reason.
fn exclusions(pool: &Pool<'_>, exists: &[bool], request: &SolveRequest<'_>) -> Vec<(RecordId, String)> {
    let mut excluded = Vec::new();
    for name in &pool.names {
        let is_of_name = |spec: &&MatchSpec| {
            let exact = spec.name.as_exact().filter(|_| spec.channel.is_some() || spec.subdir.is_some());
            exact.is_some_and(|exact| exact.as_normalized() == name.text)
        };
        let specs: Vec<&MatchSpec> = request.specs.iter().chain(request.channel_specs).filter(is_of_name).collect();
        let mut first = None;
        for record_id in name.record_ids.iter().filter(|record_id| exists[*record_id as usize]) {
            let record = pool.record(record_id);
            if let Some(spec) = specs.iter().find(|spec| !pool.is_in_channel(record_id, spec)) {
                let channel = spec.channel.as_ref();
                let channel = channel.map(|channel| wording::channel(channel)).unwrap_or_default();
                excluded.push((record_id, format!("is not in `{channel}`, the channel that is asked for")));
                continue;
            }
            let rank = pool.channel_rank(record_id);
            let is_hidden = *first.get_or_insert(rank) != rank;
            let subdirs = || specs.iter().filter_map(|spec| spec.subdir.as_ref());
            if is_hidden && request.options.channel_priority == ChannelPriority::Strict {
                let channel =
                    record.channel.as_deref().map(|channel| format!("is in `{}`, and ", redact::text(channel)));
                let is_in = channel.unwrap_or_default();
                excluded.push((record_id, format!("{is_in}a channel before it has packages of the same name")));
            } else if let Some(subdir) = subdirs().find(|subdir| **subdir != record.package_record.subdir) {
                excluded.push((record_id, format!("is not for `{subdir}`, the subdir that is asked for")));
            }
        }
    }
    excluded
}

/// What the solver chooses.
#[derive(Clone, Copy)]
enum Solvable {
    Record(RecordId),
    /// The index of a virtual package of the host.
    Virtual(usize),
    /// An extra, by the ID of its name.
    Extra(NameId),
}

struct Provider<'c, 'a> {
    pool: &'c Pool<'a>,
    virtual_packages: &'c [GenericVirtualPackage],
    solvables: Vec<(NameId, Solvable)>,
    /// By the ID of the name.
    candidates: Vec<Candidates>,
    order: CandidateOrder<'c, 'a>,
    /// For each spec, the first spec with the same matches. A spec beyond the end is its own.
    canonical: Vec<SpecId>,
    /// Reasons, as text.
    strings: RefCell<Vec<String>>,
    meter: &'c Meter,
}

impl<'c, 'a> Provider<'c, 'a> {
    fn new(
        pool: &'c Pool<'a>,
        request: &'c SolveRequest<'_>,
        exists: &'c [bool],
        kept: &[bool],
        excluded: Vec<(RecordId, String)>,
    ) -> Self {
        let virtual_packages = request.host.virtual_packages.as_slice();
        let mut solvables: Vec<(NameId, Solvable)> = Vec::new();
        let mut candidates: Vec<Candidates> = Vec::with_capacity(pool.names.len());
        let mut reasons: Vec<String> = Vec::new();
        let mut excluded: HashMap<RecordId, String> = excluded.into_iter().collect();
        let favored: HashSet<RecordId> = request.kept.favored.iter().filter_map(|record| pool.id_of(record)).collect();
        for (id, name) in pool.names.iter().enumerate() {
            let mut own =
                Candidates { hint_dependencies_available: HintDependenciesAvailable::All, ..Candidates::default() };
            let virtuals = virtual_packages.iter().positions(|package| package.name.as_normalized() == name.text);
            let records = name.record_ids.iter().filter(|record_id| kept[*record_id as usize]);
            let of_name = virtuals
                .map(Solvable::Virtual)
                .chain(records.map(Solvable::Record))
                .chain(name.is_extra.then_some(Solvable::Extra(id as NameId)));
            for solvable in of_name {
                let number = SolvableId::from_index(solvables.len());
                solvables.push((id as NameId, solvable));
                own.candidates.push(number);
                let Solvable::Record(record_id) = solvable else { continue };
                if let Some(reason) = excluded.remove(&record_id) {
                    own.excluded.push((number, StringId::from_index(reasons.len())));
                    reasons.push(reason);
                }
                if favored.contains(&record_id) {
                    own.favored = Some(number);
                }
            }
            candidates.push(own);
        }
        let order = CandidateOrder::new(pool, virtual_packages, exists, request.options.channel_priority);
        Self {
            pool,
            virtual_packages,
            solvables,
            candidates,
            order,
            canonical: Vec::new(),
            strings: RefCell::new(reasons),
            meter: request.meter,
        }
    }

    fn solvable(&self, id: SolvableId) -> Solvable {
        self.solvables[id.to_index()].1
    }

    fn record(&self, id: SolvableId) -> Option<&'a RepoDataRecord> {
        match self.solvable(id) {
            Solvable::Record(record_id) => Some(self.pool.record(record_id)),
            Solvable::Virtual(_) | Solvable::Extra(_) => None,
        }
    }

    fn version(&self, id: SolvableId) -> Option<&rattler_conda_types::Version> {
        match self.solvable(id) {
            Solvable::Record(record_id) => Some(self.pool.record(record_id).package_record.version.version()),
            Solvable::Virtual(index) => Some(&self.virtual_packages[index].version),
            Solvable::Extra(_) => None,
        }
    }

    fn name(&self, id: ResolvoName) -> &str {
        &self.pool.names[id.to_index()].text
    }

    /// The version sets of a spec: itself, and the extras that it asks for.
    fn version_sets(&self, id: SpecId) -> impl Iterator<Item = VersionSetId> {
        let extras = self.pool.resolved(id).map_or(&[][..], |resolved| &resolved.extras);
        let canonical = self.canonical.get(id as usize).copied().unwrap_or(id);
        extras.iter().copied().chain([canonical]).map(VersionSetId)
    }

    fn dependencies(&self, record_id: RecordId) -> Result<KnownDependencies, String> {
        let parse_error = |kind: &str, id: SpecId| {
            let (text, reason) = (self.pool.text_of(id), self.pool.parse_error(id));
            format!("cannot be used: its {kind} `{text}` cannot be read: {reason}")
        };
        let mut known = KnownDependencies::default();
        let dependencies = self.pool.dependencies_of(record_id);
        let needs = dependencies.depends.iter().map(|id| (None, *id));
        for (condition, id) in needs.chain(dependencies.extra_depends.iter().map(|(when, id)| (Some(*when), *id))) {
            let resolved = self.pool.resolved(id).ok_or_else(|| parse_error("dependency", id))?;
            let condition = condition.or(resolved.condition);
            known
                .requirements
                .extend(self.version_sets(id).map(|set| ConditionalRequirement { condition, requirement: set.into() }));
        }
        for id in dependencies.constrains {
            let resolved = self.pool.resolved(*id).ok_or_else(|| parse_error("constraint", *id))?;
            // The solver has no clause for a record that excludes itself.
            if resolved.name == self.pool.name_id_of(record_id) && !resolved.record_ids.contains(record_id) {
                return Err(format!("does not meet its own constraint `{}`", self.pool.text_of(*id)));
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
            Solvable::Record(record_id) => self.pool.record(record_id).package_record.to_string(),
            Solvable::Virtual(index) => self.virtual_packages[index].to_string(),
            Solvable::Extra(name) => self.pool.names[name as usize].text.clone(),
        }
    }

    /// The versions; if there are many, only the first and the last ones.
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
        self.pool.display_spec(version_set.0)
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.strings.borrow()[string_id.to_index()].clone()
    }

    fn version_set_name(&self, version_set: VersionSetId) -> ResolvoName {
        // The solver only asks for specs that were resolved.
        let name = self.pool.resolved(version_set.0).map_or(0, |resolved| resolved.name);
        ResolvoName::from_index(name as usize)
    }

    fn solvable_name(&self, solvable: SolvableId) -> ResolvoName {
        ResolvoName::from_index(self.solvables[solvable.to_index()].0 as usize)
    }

    fn version_sets_in_union(&self, _: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        // Conda has no unions.
        std::iter::empty()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.condition(condition)
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let record_ids = self.pool.resolved(version_set.0).map(|resolved| &resolved.record_ids);
        let matches = |id: &SolvableId| match self.solvable(*id) {
            Solvable::Record(record_id) => record_ids.is_some_and(|record_ids| record_ids.contains(record_id)),
            Solvable::Virtual(index) => self.pool.matches_virtual(version_set.0, &self.virtual_packages[index]),
            Solvable::Extra(_) => true,
        };
        candidates.iter().copied().filter(|id| matches(id) != inverse).collect()
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        self.meter.step().map(|limit| Box::new(limit) as Box<dyn Any>)
    }

    async fn get_candidates(&self, name: ResolvoName) -> Option<Candidates> {
        self.candidates.get(name.to_index()).cloned()
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let record_id = |id: SolvableId| match self.solvable(id) {
            Solvable::Record(record_id) => Some((record_id, id.to_index())),
            Solvable::Virtual(_) | Solvable::Extra(_) => None,
        };
        // There is one virtual package of a name, and it comes first.
        let start = solvables.iter().take_while(|id| record_id(**id).is_none()).count();
        let mut records: Vec<_> = solvables.iter().filter_map(|id| record_id(*id)).collect();
        self.order.sort(&mut records);
        for (solvable, (_, index)) in solvables.iter_mut().skip(start).zip(records) {
            *solvable = SolvableId::from_index(index);
        }
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let Solvable::Record(record_id) = self.solvable(solvable) else {
            return Dependencies::Known(KnownDependencies::default());
        };
        self.dependencies(record_id).map_or_else(
            |reason| {
                let mut strings = self.strings.borrow_mut();
                strings.push(reason);
                Dependencies::Unknown(StringId::from_index(strings.len() - 1))
            },
            Dependencies::Known,
        )
    }
}
