//! Solves over records of the caller, without an environment.yml: for programs that load repodata themselves, or that
//! used `rattler_solve` before.

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry},
};

use mlconda_channel::repodata::Repodata;
use mlconda_types::host::Host;
use rattler_conda_types::{MatchSpec, RepoDataRecord, package::DistArchiveType};
use url::Url;

use super::{
    SolveError, SolveLimits, SolveOptions,
    limits::Meter,
    provider,
    request::{KeptRecords, Scope, SolveFailure, SolveRequest},
    session::{SubdirRecords, with_pool},
    solve_error, with_all_reasons,
};

/// The records of one subdir of one channel.
#[derive(Clone, Debug, Default)]
pub struct RecordList<'a> {
    /// The records, in any order.
    pub records: Vec<&'a RepoDataRecord>,
    /// The name of a multichannel. Channels that have the same name here have the same priority; a match spec can
    /// name them all by it.
    pub multichannel: Option<&'a str>,
}

/// The input of [`solve_records`].
#[derive(Clone, Debug)]
pub struct RecordsTask<'a> {
    /// The records that may be chosen: one list for each subdir of each channel, in order of priority. If a build
    /// exists as `.conda` and as `.tar.bz2`, the `.conda` counts.
    pub lists: Vec<RecordList<'a>>,
    /// The match specs. Each has an exact name.
    pub specs: Vec<MatchSpec>,
    /// The platform, for messages, and the virtual packages.
    pub host: Host,
    /// The options. Unlike in [`solve`](super::solve()), records are left out by age only through
    /// [`SolveOptions::exclude_newer`].
    pub options: SolveOptions,
    /// Records that are preferred to others of their name, if that is possible. They are found in `lists` by their URL.
    pub favored: Vec<&'a RepoDataRecord>,
    /// Records that are the only ones of their name. They are found in `lists` by their URL.
    pub pinned: Vec<&'a RepoDataRecord>,
    /// The limits of the solve.
    pub limits: SolveLimits,
}

/// Solves over records. The result depends on the task only. Records are not copied before the solve, and not changed.
///
/// # Errors
/// If there is no solution ([`SolveError::Unsolvable`]), if a limit is reached, or if two records of a list have the
/// same archive and differ ([`SolveError::Repodata`]).
pub fn solve_records(task: &RecordsTask<'_>) -> Result<Vec<RepoDataRecord>, SolveError> {
    let mut subdirs = Vec::with_capacity(task.lists.len());
    for list in &task.lists {
        subdirs.push(SubdirRecords { records: sorted(&list.records)?, tier: list.multichannel });
    }
    let only = |record: &&RepoDataRecord| -> (String, Url) {
        (record.package_record.name.as_normalized().to_owned(), record.url.clone())
    };
    let kept = KeptRecords { only: task.pinned.iter().map(only).collect(), favored: task.favored.clone() };
    let meter = Meter::new(&task.limits);
    let request = SolveRequest {
        specs: &task.specs,
        channel_specs: &[],
        host: &task.host,
        options: task.options,
        kept: &kept,
        scope: Scope::Pruned,
        meter: &meter,
    };
    let outcome = with_pool(&subdirs, task.options.pip, |pool| match provider::solve(pool, &request) {
        Err(first @ SolveFailure::Unsolvable(_)) => {
            with_all_reasons(first, || provider::solve(pool, &SolveRequest { scope: Scope::All, ..request }))
        }
        outcome => outcome,
    });
    outcome.map_err(|failure| {
        // Only the records whose versions the message shows are copied.
        let named: Vec<&str> = match &failure {
            SolveFailure::Unsolvable(reasons) => reasons.unmatched_names().collect(),
            SolveFailure::Exceeded(_) => Vec::new(),
        };
        let is_named = |record: &&&RepoDataRecord| named.contains(&record.package_record.name.as_normalized());
        let lists = task.lists.iter();
        let records =
            |list: &RecordList<'_>| list.records.iter().filter(is_named).map(|record| (*record).clone()).collect();
        let repodata = Repodata::new(lists.map(records).collect::<Vec<Vec<RepoDataRecord>>>());
        solve_error(failure, &repodata, &task.host)
    })
}

/// The records of a list, sorted by name and URL, with one record for each build.
fn sorted<'a>(records: &[&'a RepoDataRecord]) -> Result<Vec<&'a RepoDataRecord>, SolveError> {
    let mut builds: HashMap<_, &'a RepoDataRecord> = HashMap::with_capacity(records.len());
    for record in records.iter().copied() {
        match builds.entry((&record.channel, &record.identifier.identifier)) {
            Entry::Vacant(entry) => _ = entry.insert(record),
            Entry::Occupied(mut entry) => {
                let kind: DistArchiveType = record.identifier.archive_type;
                match kind.cmp_preference(entry.get().identifier.archive_type) {
                    Ordering::Greater => _ = entry.insert(record),
                    Ordering::Less => {}
                    Ordering::Equal if *entry.get() == record => {}
                    Ordering::Equal => {
                        return Err(SolveError::Repodata(format!("it has two records of `{}`", record.identifier)));
                    }
                }
            }
        }
    }
    let mut records: Vec<&RepoDataRecord> = builds.into_values().collect();
    mlconda_types::sorting::sort_by(&mut records, |left, right| {
        let key = |record: &&'a RepoDataRecord| (record.package_record.name.as_normalized(), record.url.as_str());
        key(left).cmp(&key(right))
    });
    Ok(records)
}
