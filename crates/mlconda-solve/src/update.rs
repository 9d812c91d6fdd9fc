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

use std::collections::{BTreeSet, HashMap, HashSet};

use mlconda_channel::repodata::Repodata;
use mlconda_environment::Environment;
use mlconda_lock::{Digest, Lock, LockedPackage};
use mlconda_types::{
    dependency::{dependency_name, is_checkable, is_within_limits, normalized_name, satisfies},
    host::{Host, Override},
};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord};

use super::{
    ChannelPriority, Solution, SolveError, SolveOptions, check_requirements,
    conflict::Reasons,
    eliminate,
    session::{CandidateRecords, KeptRecords, SolveFailure, SolverSession, SubdirRecords},
    solve_error,
};

/// The budget for putting packages back, once it is known that not all of them can stay.
const BUDGET: Budget = Budget { solves: 64, failures: 16 };

/// The most solves, and the most failures in a row. The solver already keeps most of what it is asked to prefer, so
/// after this many failures, more attempts are of little use.
#[derive(Clone, Copy, Debug)]
struct Budget {
    solves: usize,
    failures: usize,
}

/// How many of the newest versions of a package are candidates, and how many builds of each.
const MAX_NEWEST: usize = 3;

/// The previous locks, and what to upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// Locks of this environment. If several have a package, the first one that is still valid is preferred.
    pub locks: &'a [Lock],
    /// What to upgrade.
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

/// Like [`super::solve_for_oldest`], with the fewest changes to the locked packages. Locked packages are preferred,
/// never forced, so they cannot make the solve fail.
///
/// # Errors
/// As for [`super::solve_for_oldest`], but the failure is found sooner, with the reasons of the pruned records only.
/// [`super::explain()`] finds out more. If it cannot explain the failure, call [`super::solve_for_oldest`], which
/// looks at all records.
pub fn update(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
    previous: Previous<'_>,
) -> Result<(Solution, Host), SolveError> {
    check_requirements(environment, repodata, host)?;
    let specs = environment.specs();
    if let Some(failure) = missing_candidates(&specs, repodata) {
        return Err(solve_error(failure, repodata, host));
    }
    let session = SolverSession::new(repodata, *options);
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
        packages.iter().map(kind).collect()
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

/// The candidates for the locked packages.
struct LockedCandidates<'a> {
    /// The records of the channels that count, by name.
    records: HashMap<&'a str, Vec<&'a RepoDataRecord>>,
    /// The specs of the environment, by name.
    asked: HashMap<&'a str, Vec<&'a MatchSpec>>,
    host: &'a Host,
}

impl<'a> LockedCandidates<'a> {
    fn new(subdirs: &'a [SubdirRecords<'a>], all: &CandidateRecords<'a>, host: &'a Host) -> Self {
        let mut asked: HashMap<&str, Vec<&MatchSpec>> = HashMap::new();
        for requirement in &all.environment.requirements {
            if let Some(name) = requirement.spec.name.as_exact().map(PackageName::as_normalized) {
                asked.entry(name).or_default().push(&requirement.spec);
            }
        }
        let mut records: HashMap<&str, Vec<&RepoDataRecord>> = HashMap::new();
        // With strict priority, only the first channel that has the package counts.
        let mut first: HashMap<&str, (Option<&str>, Option<&str>)> = HashMap::new();
        for SubdirRecords { records: subdir, tier } in subdirs {
            for record in subdir {
                let specs = asked.get(name(record)).map_or(&[][..], Vec::as_slice);
                let channels = specs.iter().filter_map(|spec| spec.channel.as_ref());
                let is_of = |channel: &std::sync::Arc<rattler_conda_types::Channel>| {
                    record.channel.as_ref() == Some(&channel.canonical_name()) || tier.is_some()
                };
                if !channels.clone().all(is_of) {
                    continue;
                }
                let place = (*tier, record.channel.as_deref().filter(|_| tier.is_none()));
                let counts = *first.entry(name(record)).or_insert(place) == place;
                if counts || all.options.channel_priority != ChannelPriority::Strict {
                    records.entry(name(record)).or_default().push(record);
                }
            }
        }
        Self { records, asked, host }
    }

    /// The records of the locked packages that can still be in a solution, one for each name.
    fn of(&self, locks: &[Lock]) -> Vec<&'a RepoDataRecord> {
        let mut found: HashMap<&str, &'a RepoDataRecord> = HashMap::new();
        for package in locks.iter().flat_map(|lock| &lock.packages) {
            if !found.contains_key(package.name.as_str())
                && let Some(record) = self.locked_record(package).filter(|record| self.can_be_kept(record))
            {
                found.insert(name(record), record);
            }
        }
        let mut kept: Vec<_> = found.into_values().collect();
        // Requested packages are put back first: users notice these.
        mlconda_types::sorting::sort_by_key(&mut kept, |record| (!self.asked.contains_key(name(record)), name(record)));
        kept
    }

    /// The channel's record of a locked package.
    fn locked_record(&self, package: &LockedPackage) -> Option<&'a RepoDataRecord> {
        find_locked(package, self.records.get(package.name.as_str())?)
    }

    /// The builds of a locked version that can be in a solution, the most similar first.
    fn builds(&self, package: &LockedPackage) -> Vec<&'a RepoDataRecord> {
        let build_variant = build_variant(&package.build);
        let records = self.records.get(package.name.as_str()).map_or(&[][..], Vec::as_slice);
        let same = records.iter().filter(|record| record.package_record.version.as_str() == package.version);
        let mut builds: Vec<_> = same.filter(|record| self.can_be_kept(record)).copied().collect();
        mlconda_types::sorting::sort_by_key(&mut builds, |record| {
            let package = &record.package_record;
            (self::build_variant(package.build.as_str()) == build_variant, package.build_number, package.timestamp)
        });
        builds.reverse();
        builds
    }

    /// The URLs of some of the newest records of a package, none of them older than the locked record.
    fn newest(&self, name: &str, old: Option<&RepoDataRecord>) -> Vec<&'a url::Url> {
        let key = |record: &RepoDataRecord| (record.package_record.version.clone(), record.package_record.build_number);
        let records = self.records.get(name).map_or(&[][..], Vec::as_slice);
        let newer =
            records.iter().filter(|record| old.is_none_or(|old| key(record) > key(old)) && self.can_be_kept(record));
        let mut newer: Vec<_> = newer.copied().collect();
        mlconda_types::sorting::sort_by_key(&mut newer, |record| std::cmp::Reverse(key(record)));
        let (mut versions, mut builds) = (0, 0);
        let mut last = None;
        newer.retain(|record| {
            let version = Some(&record.package_record.version);
            builds = if version == last { builds + 1 } else { 1 };
            versions += usize::from(version != last);
            last = version;
            versions <= MAX_NEWEST && builds <= MAX_NEWEST
        });
        newer.into_iter().map(|record| &record.url).collect()
    }

    /// Whether the specs of the environment and the host allow a record.
    fn can_be_kept(&self, record: &RepoDataRecord) -> bool {
        let specs = self.asked.get(name(record)).map_or(&[][..], Vec::as_slice);
        if !specs.iter().all(|spec| spec.matches(record)) {
            return false;
        }
        let package = &record.package_record;
        let needs = package.depends.iter().chain(&package.constrains).filter(|need| is_checkable(need));
        needs.clone().all(|need| self.is_possible(need)) && package.depends.iter().all(|need| self.host_provides(need))
    }

    /// Whether the specs of the environment leave a record that satisfies a dependency. `true` for other packages.
    fn is_possible(&self, need: &str) -> bool {
        let name = normalized_name(need);
        let Some(specs) = self.asked.get(name.as_str()).filter(|_| is_within_limits(need)) else { return true };
        let records = self.records.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let Ok(spec) = MatchSpec::from_str(need, ParseStrictness::Lenient) else { return true };
        let allowed = |record: &&&RepoDataRecord| specs.iter().all(|spec| spec.matches(**record));
        if spec.build.as_ref().is_some_and(|build| build.to_string().starts_with(['<', '>', '=', '!', '~'])) {
            return true;
        }
        records.iter().filter(allowed).any(|record| spec.matches(&record.package_record))
    }

    fn host_provides(&self, need: &str) -> bool {
        if !need.starts_with("__") || !is_within_limits(need) {
            return true;
        }
        let Ok(spec) = MatchSpec::from_str(need, ParseStrictness::Lenient) else { return true };
        self.host.virtual_packages.iter().any(|package| spec.matches(package))
    }
}

/// The parts of a build string that name a variant (`cpu`, `nompi`): no python version, hash or number.
fn build_variant(build: &str) -> Vec<&str> {
    let is_hash = |part: &str| part.len() >= 8 && part.rsplit('h').next().is_some_and(|hash| hash.len() == 7);
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_python = |part: &str| ["py", "cp"].iter().any(|tag| part.strip_prefix(tag).is_some_and(is_number));
    build.split('_').filter(|part| !is_hash(part) && !is_number(part) && !is_python(part)).collect()
}

/// The record of a locked package among the records of its name.
pub(super) fn find_locked<'a>(package: &LockedPackage, records: &[&'a RepoDataRecord]) -> Option<&'a RepoDataRecord> {
    let by_hash = |record: &&&RepoDataRecord| match package.digest {
        Digest::Sha256(hash) => record.package_record.sha256 == Some(hash),
        Digest::Md5(hash) => record.package_record.md5 == Some(hash),
        Digest::Unknown => false,
    };
    let by_url = |record: &&&RepoDataRecord| record.url == package.url;
    let by_version = |record: &&&RepoDataRecord| {
        record.package_record.version.as_str() == package.version
            && record.package_record.build.as_str() == package.build
    };
    // Both may match: on a mirror, or if the same channel is listed under two names.
    let found = records.iter().find(|record| by_hash(record) && by_url(record));
    found
        .or_else(|| records.iter().find(by_hash))
        .or_else(|| records.iter().find(by_url))
        .or_else(|| records.iter().find(by_version))
        .copied()
}

/// Searches for the solution with the fewest changes.
struct UpdateSearch<'a, 'q> {
    session: &'a SolverSession<'q>,
    all: &'a CandidateRecords<'a>,
    candidates: &'a LockedCandidates<'a>,
    specs: &'a [MatchSpec],
    keepable: &'a [&'a RepoDataRecord],
    fixed: KeptRecords<'a>,
}

impl<'a> UpdateSearch<'a, '_> {
    /// The solution nearest to the lock, among the locked, the fresh and some newer records.
    fn nearest_solution(
        &self,
        subdirs: &[SubdirRecords<'a>],
        fresh: Vec<RepoDataRecord>,
        host: &Host,
    ) -> Vec<RepoDataRecord> {
        let mut both: HashSet<&url::Url> =
            self.keepable.iter().map(|record| &record.url).chain(fresh.iter().map(|record| &record.url)).collect();
        both.extend(self.keepable.iter().flat_map(|record| self.candidates.newest(name(record), Some(record))));
        let locked: HashSet<&str> = self.keepable.iter().map(|record| name(record)).collect();
        let new = fresh.iter().map(name).filter(|name| !locked.contains(name));
        both.extend(new.flat_map(|name| self.candidates.newest(name, None)));
        let of_both = |SubdirRecords { records, tier }: &SubdirRecords<'a>| SubdirRecords {
            records: records.iter().copied().filter(|record| both.contains(&record.url)).collect(),
            tier: *tier,
        };
        let subdirs: Vec<SubdirRecords<'_>> = subdirs.iter().map(of_both).collect();
        let counts = |record: &RepoDataRecord| self.fixed.only.get(name(record)).is_none_or(|url| *url == record.url);
        let possible = eliminate::remaining_urls(&subdirs, self.specs, counts);
        let keepable: Vec<_> =
            self.keepable.iter().filter(|record| possible.contains(record.url.as_str())).copied().collect();
        let preferring = KeptRecords { favored: keepable.clone(), ..self.fixed.clone() };
        let mut best = self.solve_among(&subdirs, host, &preferring).unwrap_or(fresh);
        let chosen: HashMap<&str, &url::Url> = best.iter().map(|record| (name(record), &record.url)).collect();
        let (mut kept, mut changed) = (Vec::new(), Vec::new());
        for record in &keepable {
            match chosen.get(name(record)) {
                Some(url) if **url == record.url => kept.push(*record),
                Some(_) => changed.push(*record),
                None => {}
            }
        }
        let mut budget = BUDGET;
        self.put_back(&subdirs, &changed, &mut kept, &mut best, host, &mut budget);
        best
    }

    /// Puts back as many of these packages as possible, half by half.
    fn put_back(
        &self,
        subdirs: &[SubdirRecords<'_>],
        changed: &[&'a RepoDataRecord],
        kept: &mut Vec<&'a RepoDataRecord>,
        best: &mut Vec<RepoDataRecord>,
        host: &Host,
        budget: &mut Budget,
    ) {
        if changed.is_empty() || budget.solves == 0 || budget.failures == 0 {
            return;
        }
        budget.solves -= 1;
        let tried: Vec<_> = kept.iter().chain(changed).copied().collect();
        if let Some(records) = self.solve_keeping(Some(subdirs), &tried, host) {
            (*kept, *best) = (tried, records);
            budget.failures = BUDGET.failures;
            return;
        }
        budget.failures -= 1;
        if changed.len() > 1 {
            let (first, second) = changed.split_at(changed.len() / 2);
            self.put_back(subdirs, first, kept, best, host, budget);
            self.put_back(subdirs, second, kept, best, host, budget);
        }
    }

    /// Solves among these records, with the kept ones.
    fn solve_among(
        &self,
        subdirs: &[SubdirRecords<'_>],
        host: &Host,
        kept: &KeptRecords<'_>,
    ) -> Option<Vec<RepoDataRecord>> {
        let answer = self.session.solve_among(subdirs, self.specs, host, kept);
        answer.ok().map(|records| self.all.as_in_channel(records))
    }

    /// Solves with these records fixed, if their packages are in the solution at all.
    fn solve_keeping(
        &self,
        among: Option<&[SubdirRecords<'_>]>,
        records: &[&'a RepoDataRecord],
        host: &Host,
    ) -> Option<Vec<RepoDataRecord>> {
        let mut kept = self.fixed.clone();
        kept.only.extend(records.iter().map(|record| (name(record).to_owned(), record.url.clone())));
        let fixed: HashSet<&str> = records.iter().map(|record| name(record)).collect();
        kept.favored = self.keepable.iter().filter(|record| !fixed.contains(name(record))).copied().collect();
        match among {
            Some(subdirs) => self.solve_among(subdirs, host, &kept),
            None => self.session.solve_keeping(self.specs, host, &kept).ok(),
        }
    }

    /// Restores versions whose build could not stay, for instance because python changed: one by one, if another build
    /// of the version fits all other packages as they are.
    fn keep_versions(&self, best: Vec<RepoDataRecord>, lock: &Lock, host: &Host) -> Vec<RepoDataRecord> {
        let mut chosen: HashMap<&str, &RepoDataRecord> = best.iter().map(|record| (name(record), record)).collect();
        let mut swapped = false;
        for package in &lock.packages {
            let Some(now) = chosen.get(package.name.as_str()) else { continue };
            let is_renewed = self.fixed.only.contains_key(&package.name);
            if is_renewed || now.package_record.version.as_str() == package.version {
                continue;
            }
            if let Some(build) = self.candidates.builds(package).into_iter().find(|build| fits(build, &chosen)) {
                chosen.insert(name(build), build);
                swapped = true;
            }
        }
        if !swapped {
            return best;
        }
        let only = chosen.values().map(|record| (name(record).to_owned(), record.url.clone())).collect();
        let kept = KeptRecords { only, favored: Vec::new() };
        self.session.solve_keeping(self.specs, host, &kept).unwrap_or(best)
    }
}

/// Whether a record can replace the one of its name without any other change.
fn fits(record: &RepoDataRecord, chosen: &HashMap<&str, &RepoDataRecord>) -> bool {
    let met =
        |need: &str| chosen.get(normalized_name(need).as_str()).map(|other| satisfies(&other.package_record, need));
    let package = &record.package_record;
    let own = package.depends.iter().filter(|need| is_checkable(need)).all(|need| met(need) == Some(true))
        && package.constrains.iter().filter(|need| is_checkable(need)).all(|need| met(need) != Some(false));
    let own_name = name(record);
    own && chosen.iter().filter(|(name, _)| **name != own_name).all(|(_, other)| {
        let needs = other.package_record.depends.iter().chain(&other.package_record.constrains);
        let mut needs = needs.filter(|need| dependency_name(need) == own_name && is_checkable(need));
        needs.all(|need| satisfies(package, need))
    })
}
