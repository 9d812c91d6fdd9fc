//! Solves with as little change to a lock as possible.
//!
//! First, all locked packages that still satisfy the environment are fixed. Mostly that is the solution, and it is
//! found at once. If there is none, the environment is solved without the lock. Then each package may be its locked
//! record, the record of that solution, or one of some newer ones. So a solution exists and is near the lock, and no
//! package gets older to keep another one.
//!
//! The changed packages are then put back, half by half, while there is still a solution. A package remains changed
//! only if it could not be put back together with the others. If a build had to change, its version is kept if another
//! build of it fits. The number of solves is limited by a count, not by a clock.

mod candidates;
mod search;

use std::collections::{BTreeSet, HashMap};

use mlconda_channel::repodata::Repodata;
use mlconda_environment::Environment;
use mlconda_lock::Lock;
use mlconda_types::{
    dependency::normalized_name,
    host::{Host, Override},
    sorting::IntoTree,
};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord};

use super::{
    Solution, SolveError, SolveLimits, SolveOptions, check_requirements,
    conflict::Reasons,
    request::{KeptRecords, SolveFailure},
    session::{CandidateRecords, SolverSession, SubdirRecords},
    solve_error,
};
pub(super) use candidates::find_locked;

use candidates::LockedCandidates;
use search::UpdateSearch;

/// The previous locks, and the packages to upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// Locks of this environment. If several have a package, the first one that is still valid is preferred.
    pub locks: &'a [Lock],
    /// The packages to upgrade.
    pub renew: &'a Upgrade,
}

/// Which packages of a lock to upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// Only what must change.
    #[default]
    AsNeeded,
    /// These packages, as if there were no lock. Others change only if these force them to.
    Packages(BTreeSet<String>),
    /// All packages: the lock is ignored.
    All,
}

impl Upgrade {
    /// Whether this package is to be upgraded.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::AsNeeded => false,
            Self::Packages(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// Like [`super::solve()`], with the fewest changes to the locked packages. Locked packages are preferred,
/// never forced, so they cannot make the solve fail.
///
/// # Errors
/// As for [`super::solve()`], but the failure is found sooner, with the reasons of the pruned records only.
/// [`super::explain()`] finds out more. If it cannot explain the failure, call [`super::solve()`], which
/// looks at all records.
pub fn update(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
    previous: Previous<'_>,
) -> Result<(Solution, Host), SolveError> {
    update_within(environment, repodata, (host, pinned), options, previous, &SolveLimits::default())
}

/// Like [`update`], within limits. If a limit is reached, there is no solution, even if one was found: it may not be
/// the nearest.
///
/// # Errors
/// As for [`update`], or if a limit is reached, or the token is stopped.
pub fn update_within(
    environment: &Environment,
    repodata: &Repodata,
    (host, pinned): (&Host, &[Override]),
    options: &SolveOptions,
    previous: Previous<'_>,
    limits: &SolveLimits,
) -> Result<(Solution, Host), SolveError> {
    check_requirements(environment, repodata, host)?;
    let specs = environment.specs();
    if let Some(failure) = missing_candidates(&specs, repodata) {
        return Err(solve_error(failure, repodata, host));
    }
    let session = SolverSession::new(repodata, *options).within(limits);
    let ask = |host: &Host| {
        let (outcome, host) = session.solve_for_oldest(&specs, host, pinned);
        outcome.map(|records| (records, host.clone())).map_err(|failure| solve_error(failure, repodata, &host))
    };
    let Some(lock) = previous.locks.first().filter(|_| *previous.renew != Upgrade::All) else {
        let (records, host) = ask(host)?;
        return Ok((Solution { records, options: *options }, host));
    };
    let before = host_as_locked(host, previous.locks, pinned);
    let renewed = renewed(repodata, &host_changes(host, lock), previous);
    let fresh = || ask(&before);
    let upgraded = if renewed.is_empty() { None } else { Some(fresh()?) };
    let machine = &upgraded.as_ref().map_or(&before, |(_, host)| host).clone();
    let mut fixed = KeptRecords::default();
    if let Some((fresh, _)) = &upgraded {
        let renewed = fresh.iter().filter(|record| renewed.contains(name(record)));
        fixed.only.extend(renewed.map(|record| (name(record).to_owned(), record.url.clone())));
    }
    let all = CandidateRecords::new(environment, repodata, *options);
    let subdirs: Vec<SubdirRecords<'_>> = all.subdirs().collect();
    let candidates = LockedCandidates::new(&subdirs, &all, machine);
    let mut keepable = candidates.of(previous.locks);
    keepable.retain(|record| !renewed.contains(name(record)));
    let search = UpdateSearch {
        session: &session,
        all: &all,
        candidates: &candidates,
        specs: &specs,
        keepable: &keepable,
        fixed,
    };
    let same_machine = if host == machine { &[machine][..] } else { &[host, machine] };
    let as_it_was =
        same_machine.iter().find_map(|host| Some((search.solve_keeping(None, &keepable, host)?, (*host).clone())));
    let (records, host) = match as_it_was {
        Some(found) => found,
        None => {
            let (fresh, host) = upgraded.map_or_else(fresh, Ok)?;
            (search.nearest_solution(&subdirs, fresh, &host), host)
        }
    };
    let records = search.keep_versions(records, lock, &host);
    session.check().map_err(|failure| solve_error(failure, repodata, &host))?;
    Ok((Solution { records, options: *options }, host))
}

/// Fails early if nothing was loaded for one of these specs.
fn missing_candidates(specs: &[MatchSpec], repodata: &Repodata) -> Option<SolveFailure> {
    let of = |spec: &MatchSpec| spec.name.as_exact().map(|name| name.as_normalized().to_owned());
    let mut open: HashMap<String, &MatchSpec> = specs.iter().filter_map(|spec| Some((of(spec)?, spec))).collect();
    open.retain(|name, spec| !name.starts_with("__") && spec.condition.is_none());
    for (_, records, ..) in repodata.runs() {
        records.first().map(|record| open.remove(name(record)));
    }
    let first = specs.iter().find(|spec| of(spec).is_some_and(|name| open.contains_key(&name)))?;
    let name = first.name.as_exact().map_or_else(String::new, |name| name.as_normalized().to_owned());
    Some(SolveFailure::Unsolvable(Reasons::unmatched(name, first.to_string())))
}

/// The host with the virtual packages that the locks assume, if those are newer: locked packages may need them.
fn host_as_locked(host: &Host, locks: &[Lock], pinned: &[Override]) -> Host {
    let mut raised = host.clone();
    for package in &mut raised.virtual_packages {
        if pinned.iter().any(|pinned| pinned.name == package.name.as_normalized()) {
            continue;
        }
        let before = locks.iter().flat_map(|lock| &lock.virtual_packages);
        let higher = before.filter(|before| before.name == package.name && before.version > package.version);
        if let Some(highest) = higher.max_by(|left, right| left.version.cmp(&right.version)).cloned() {
            *package = highest;
        }
    }
    raised
}

/// The virtual packages that only the host or only the lock has, or that differ in kind (GPU, processor). Versions are
/// ignored, because a newer system needs no other packages.
pub(super) fn host_changes(host: &Host, lock: &Lock) -> Vec<String> {
    if lock.input.is_none() || lock.platform != host.platform {
        return Vec::new();
    }
    let kinds = |packages: &[GenericVirtualPackage]| -> BTreeSet<(String, String)> {
        let kind = |package: &GenericVirtualPackage| {
            (package.name.as_normalized().to_owned(), package.build_string.as_str().to_owned())
        };
        packages.iter().map(kind).into_tree()
    };
    let (before, now) = (kinds(&lock.virtual_packages), kinds(&host.virtual_packages));
    let mut names: Vec<String> = before.symmetric_difference(&now).map(|(name, _)| name.clone()).collect();
    names.dedup();
    names
}

/// The names of packages that are not kept: those to upgrade, and those with special builds for the virtual packages
/// that changed.
fn renewed(repodata: &Repodata, changes: &[String], previous: Previous<'_>) -> BTreeSet<String> {
    let mut names = match previous.renew {
        Upgrade::Packages(names) => names.clone(),
        Upgrade::AsNeeded | Upgrade::All => BTreeSet::new(),
    };
    if !changes.is_empty() {
        let particular = repodata.records().filter(|record| depends_on_any(record, changes).is_some());
        names.extend(particular.map(|record| name(record).to_owned()));
    }
    names
}

/// The first of these virtual packages that a record depends on or constrains.
pub(super) fn depends_on_any<'a>(record: &RepoDataRecord, changes: &'a [String]) -> Option<&'a str> {
    let package = &record.package_record;
    let needs = |change: &&String| {
        let mut needs = package.depends.iter().chain(&package.constrains).filter(|need| need.starts_with("__"));
        needs.any(|need| normalized_name(need) == **change)
    };
    changes.iter().find(needs).map(String::as_str)
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
