//! The solver behind the interface of `rattler_solve`, for programs that already use rattler's crates. To make repodata
//! from the records of a `rattler_repodata_gateway`, use
//! [`Repodata::from_shared`](crate::repodata::Repodata::from_shared). To install records without a lock file, use
//! [`Lock::of_records`](crate::lock::Lock::of_records).
//!
//! ```
//! use rattler_solve::{SolverImpl, SolverTask};
//!
//! # fn demo(records: &Vec<mlconda::RepoDataRecord>, specs: Vec<mlconda::MatchSpec>) -> Result<(), rattler_solve::SolveError> {
//! // In the place of `rattler_solve::resolvo::Solver`:
//! let solution = mlconda::rattler::Solver.solve(SolverTask { specs, ..SolverTask::from_iter([records]) })?;
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord, SolverResult, Subdir};
use rattler_solve::{
    CancellationToken, ChannelPriority, IntoRepoData, SolveError, SolveStrategy, SolverImpl, SolverRepoData,
    SolverTask, resolvo,
};

use crate::{
    host::Host,
    solve::{self, Pip, RecordList, RecordsTask, SolveLimits, SolveOptions, SolveStop, solve_records},
};

/// A solver for `rattler_solve`, faster than `rattler_solve::resolvo::Solver`. Both find a solution for the same tasks,
/// and nearly always the same one. Where several solutions are equally good, the two solvers may choose different ones
/// (in one of 46 real environments; see "The solve" in `docs/DESIGN.md`).
///
/// A task that this solver does not support is passed to `rattler_solve::resolvo::Solver`. Not supported are:
/// - constraints, dependency overrides, extras, conditions, and names that are patterns;
/// - strategies other than the highest version;
/// - locked or pinned records that are not among the available ones, that strict priority hides, or that are combined
///   with specs that name a channel.
///
/// Unlike [`solve`](crate::solve::solve()), it adds no dependency on pip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Solver;

/// The records of one subdir of one channel, for [`Solver`].
#[derive(Clone, Debug, Default)]
pub struct RepoData<'a>(RecordList<'a>);

impl<'a> FromIterator<&'a RepoDataRecord> for RepoData<'a> {
    fn from_iter<T: IntoIterator<Item = &'a RepoDataRecord>>(records: T) -> Self {
        Self(RecordList { records: records.into_iter().collect(), multichannel: None })
    }
}

impl<'a> SolverRepoData<'a> for RepoData<'a> {
    fn set_multi_channel(&mut self, name: &'a str) {
        self.0.multichannel = Some(name);
    }
}

impl SolverImpl for Solver {
    type RepoData<'a> = RepoData<'a>;

    /// Solves a task.
    ///
    /// # Errors
    /// As for `rattler_solve::resolvo::Solver`. If a task has no solution, the message is mlconda's.
    fn solve<'a, R, T>(&mut self, task: SolverTask<'a, T>) -> Result<SolverResult, SolveError>
    where
        R: IntoRepoData<'a, Self::RepoData<'a>>,
        T: IntoIterator<Item = R>,
    {
        let task = with_packages(task, |packages| packages.into_iter().map(|list| list.into().0).collect());
        match solve_here(&task) {
            Some(outcome) => outcome,
            None => solve_there(task),
        }
    }
}

type Task<'a> = SolverTask<'a, Vec<RecordList<'a>>>;

/// Solves a task with mlconda's solver; `None` if the task needs the other solver.
fn solve_here(task: &Task<'_>) -> Option<Result<SolverResult, SolveError>> {
    if !is_known(task) {
        return None;
    }
    let lists = candidates(task);
    let preferred: Vec<&RepoDataRecord> = task.locked_packages.iter().chain(&task.pinned_packages).copied().collect();
    if !are_first(&lists, &preferred, task.channel_priority) {
        return None;
    }
    let question = RecordsTask {
        lists,
        specs: task.specs.clone(),
        host: host(task.virtual_packages.clone()),
        options: SolveOptions {
            channel_priority: priority(task.channel_priority),
            pip: Pip::NotAdded,
            exclude_newer: None,
        },
        favored: task.locked_packages.clone(),
        pinned: task.pinned_packages.clone(),
        limits: SolveLimits::default(),
    };
    match within_time(task, &question.limits.stop.clone(), || solve_records(&question)) {
        // Only the other solver reports which extras are active.
        Ok(records) if records.iter().any(|record| !record.package_record.extra_depends.is_empty()) => None,
        Ok(records) => Some(Ok(SolverResult { records, extras: HashMap::new() })),
        Err(solve::SolveError::Stopped) => Some(Err(SolveError::Cancelled)),
        Err(solve::SolveError::Repodata(reason)) => Some(Err(SolveError::DuplicateRecords(reason))),
        // Only the other solver reports which candidates were excluded, and why.
        Err(_) if !task.excluded_candidates.is_empty() || task.exclude_newer.is_some() => None,
        Err(error) => Some(Err(SolveError::Unsolvable(vec![error.to_string()]))),
    }
}

/// The interval at which the cancellation token is checked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Solves; requests a stop when the task's timeout is reached or its token is cancelled.
fn within_time<T>(task: &Task<'_>, stop: &SolveStop, solve: impl FnOnce() -> T) -> T {
    if task.timeout.is_none() && task.cancellation_token.is_none() {
        return solve();
    }
    if task.cancellation_token.as_ref().is_some_and(CancellationToken::is_cancelled) {
        stop.request();
    }
    let (finished, is_finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let start = Instant::now();
            while let Err(mpsc::RecvTimeoutError::Timeout) = is_finished.recv_timeout(INTERVAL) {
                let is_late = task.timeout.is_some_and(|timeout| start.elapsed() >= timeout);
                if is_late || task.cancellation_token.as_ref().is_some_and(CancellationToken::is_cancelled) {
                    return stop.request();
                }
            }
        });
        let outcome = solve();
        drop(finished);
        outcome
    })
}

/// Whether mlconda's solver supports everything in a task.
fn is_known(task: &Task<'_>) -> bool {
    let is_plain = |spec: &MatchSpec| {
        spec.name.as_exact().is_some() && spec.extras.is_none() && spec.condition.is_none() && spec.url.is_none()
    };
    task.constraints.is_empty()
        && task.dependency_overrides.is_empty()
        && task.strategy == SolveStrategy::Highest
        // For the other solver, locked and pinned records may come from any channel.
        && (task.locked_packages.is_empty() && task.pinned_packages.is_empty()
            || task.specs.iter().all(|spec| spec.channel.is_none()))
        && task.specs.iter().all(is_plain)
}

/// The records that may be chosen. With strict priority, an excluded record still hides the records of later channels.
fn candidates<'a>(task: &Task<'a>) -> Vec<RecordList<'a>> {
    if task.excluded_candidates.is_empty() && task.exclude_newer.is_none() {
        return task.available_packages.clone();
    }
    let mut first = HashMap::new();
    let mut may_be_chosen = |list: &RecordList<'a>, record: &'a RepoDataRecord| {
        let is_first = *first.entry(&record.package_record.name).or_insert(tier(list, record)) == tier(list, record);
        (is_first || task.channel_priority != ChannelPriority::Strict)
            && !task.excluded_candidates.contains_key(&record.url)
            && task.exclude_newer.as_ref().is_none_or(|newer| !newer.is_excluded(record))
    };
    let lists = task.available_packages.iter();
    let candidates = lists.map(|list| {
        let records = list.records.iter().copied().filter(|record| may_be_chosen(list, record)).collect();
        RecordList { records, ..*list }
    });
    candidates.collect()
}

/// The unit that has one channel priority: a multichannel, or a channel that is in none.
fn tier<'a>(list: &RecordList<'a>, record: &'a RepoDataRecord) -> (Option<&'a str>, Option<&'a str>) {
    (list.multichannel, record.channel.as_deref().filter(|_| list.multichannel.is_none()))
}

/// Whether each record is among the candidates. With strict priority, it must be in the first channel that has its
/// name.
fn are_first<'a>(lists: &[RecordList<'a>], records: &[&'a RepoDataRecord], priority: ChannelPriority) -> bool {
    if records.is_empty() {
        return true;
    }
    let wanted: HashSet<_> = records.iter().map(|record| &record.package_record.name).collect();
    let mut first = HashMap::new();
    let mut urls = HashSet::new();
    for (list, record) in lists.iter().flat_map(|list| list.records.iter().map(move |record| (list, *record))) {
        let name = &record.package_record.name;
        let tier = tier(list, record);
        let is_wanted = wanted.contains(name);
        if is_wanted && (*first.entry(name).or_insert(tier) == tier || priority != ChannelPriority::Strict) {
            urls.insert(&record.url);
        }
    }
    records.iter().all(|record| urls.contains(&record.url))
}

/// Solves a task by rattler's solver.
fn solve_there(task: Task<'_>) -> Result<SolverResult, SolveError> {
    resolvo::Solver.solve(with_packages(task, |lists| lists.into_iter().map(theirs)))
}

/// The same task, with its available packages converted.
fn with_packages<'a, T, U>(task: SolverTask<'a, T>, convert: impl FnOnce(T) -> U) -> SolverTask<'a, U> {
    SolverTask {
        available_packages: convert(task.available_packages),
        locked_packages: task.locked_packages,
        pinned_packages: task.pinned_packages,
        virtual_packages: task.virtual_packages,
        specs: task.specs,
        constraints: task.constraints,
        timeout: task.timeout,
        channel_priority: task.channel_priority,
        exclude_newer: task.exclude_newer,
        strategy: task.strategy,
        dependency_overrides: task.dependency_overrides,
        excluded_candidates: task.excluded_candidates,
        cancellation_token: task.cancellation_token,
    }
}

fn theirs(list: RecordList<'_>) -> resolvo::RepoData<'_> {
    resolvo::RepoData { records: list.records, multi_channel: list.multichannel }
}

fn priority(priority: ChannelPriority) -> solve::ChannelPriority {
    match priority {
        ChannelPriority::Strict => solve::ChannelPriority::Strict,
        ChannelPriority::Flexible => solve::ChannelPriority::Flexible,
        ChannelPriority::Disabled => solve::ChannelPriority::Disabled,
    }
}

/// A host with these virtual packages. Its platform is only used in messages.
fn host(virtual_packages: Vec<GenericVirtualPackage>) -> Host {
    Host { platform: Subdir::current().unwrap_or(Subdir::NoArch), virtual_packages }
}
