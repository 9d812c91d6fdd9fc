//! Runs the solver. Everything in [`crate`] that solves calls it through here, so that a solution, the search for a
//! conflict and the check of a remedy use the same rules.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use mlconda_channel::repodata::{DependencyTable, Repodata, SpecInterner, is_same_run};
use mlconda_environment::Environment;
use mlconda_types::host::{Host, Override};
use rattler_conda_types::{MatchSpec, RepoDataRecord};

use super::{
    Pip, SolveLimits, SolveOptions,
    limits::Meter,
    pool::{Pool, brings_pip},
    provider,
    raise::raise_host,
    request::{KeptRecords, RecordRun, Scope, SolveFailure, SolveRequest},
};

/// conda treats its own channels as one channel, `defaults`: they have the same priority.
const DEFAULTS: [&str; 3] = ["main", "r", "msys2"];

/// The common name of packages that are named by their URL. Their channels do not go before the others because of
/// them.
pub(super) const ARCHIVE_TIER: &str = "archives";

/// Solves for specs; keeps the pool between solves.
pub(super) struct SolverSession<'a> {
    pub(super) repodata: &'a Repodata,
    pub(super) options: SolveOptions,
    /// Specs that are not requested, but whose channels count.
    channel_specs: &'a [MatchSpec],
    /// The pool of all records, of any age; made on the first solve.
    pool: Rc<RefCell<Option<Pool<'a>>>>,
    /// The steps of all solves.
    meter: Rc<Meter>,
}

/// The candidates of an environment.
pub(super) struct CandidateRecords<'a> {
    pub(super) environment: &'a Environment,
    pub(super) repodata: &'a Repodata,
    pub(super) options: SolveOptions,
    /// The records of python with a dependency on pip, by URL.
    with_pip: HashMap<&'a str, Arc<RepoDataRecord>>,
}

/// The existing records of one subdir of one channel.
pub(super) struct SubdirRecords<'a> {
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// Subdirs with the same tier have the same priority.
    pub(super) tier: Option<&'a str>,
}

impl<'a> CandidateRecords<'a> {
    pub(crate) fn new(environment: &'a Environment, repodata: &'a Repodata, options: SolveOptions) -> Self {
        let with_pip = if options.pip == Pip::Added { with_pip(repodata) } else { HashMap::new() };
        Self { environment, repodata, options, with_pip }
    }

    /// The records of all subdirs, in order of priority.
    pub(super) fn subdirs(&'a self) -> impl Iterator<Item = SubdirRecords<'a>> {
        self.repodata.subdirs.iter().enumerate().map(|(list, records)| {
            let exists = |record: &&RepoDataRecord| {
                self.options.exclude_newer.is_none_or(|cutoff| cutoff.admits(&record.package_record))
            };
            let records: Vec<_> = records
                .iter()
                .map(|record| self.with_pip.get(record.url.as_str()).unwrap_or(record).as_ref())
                .filter(exists)
                .collect();
            let tier = records.first().and_then(|record| tier(self.repodata, list, record));
            SubdirRecords { records, tier }
        })
    }

    /// The chosen records as the channels have them, without the dependencies that were added for the solve.
    pub(super) fn as_in_channel(&self, mut records: Vec<RepoDataRecord>) -> Vec<RepoDataRecord> {
        for record in &mut records {
            if self.with_pip.contains_key(record.url.as_str()) {
                let mut originals = self.repodata.subdirs.iter().flatten();
                if let Some(original) = originals.find(|original| original.url == record.url) {
                    *record = RepoDataRecord::clone(original);
                }
            }
        }
        records
    }
}

impl<'a> SolverSession<'a> {
    pub(crate) fn new(repodata: &'a Repodata, options: SolveOptions) -> Self {
        Self { repodata, options, channel_specs: &[], pool: Rc::default(), meter: Rc::default() }
    }

    /// The same session, within limits.
    pub(crate) fn within(self, limits: &SolveLimits) -> Self {
        Self { meter: Rc::new(Meter::new(limits)), ..self }
    }

    /// An error if a limit is reached: a solution that was found before may not be the best one.
    pub(crate) fn check(&self) -> Result<(), SolveFailure> {
        self.meter.exceeded().map_or(Ok(()), |limit| Err(SolveFailure::Exceeded(limit)))
    }

    /// The same session, in which the channels of these specs count.
    pub(super) fn with_channel_specs(&self, channel_specs: &'a [MatchSpec]) -> Self {
        Self { pool: Rc::clone(&self.pool), meter: Rc::clone(&self.meter), channel_specs, ..*self }
    }

    /// The same session with other options.
    pub(crate) fn with_options(&self, options: SolveOptions) -> Self {
        // The pool depends on no other option.
        let pool = if options.pip == self.options.pip { Rc::clone(&self.pool) } else { Rc::default() };
        Self { pool, options, meter: Rc::clone(&self.meter), ..*self }
    }

    /// Solves for these specs, with pruning. A failure has the reasons of the pruned records.
    pub(crate) fn solve(&self, specs: &[MatchSpec], host: &Host) -> Result<Vec<RepoDataRecord>, SolveFailure> {
        self.solve_keeping(specs, host, &KeptRecords::default())
    }

    /// Solves for these specs without pruning. The solution is the same, but takes longer; a failure has every reason.
    pub(super) fn solve_unpruned(&self, specs: &[MatchSpec], host: &Host) -> Result<Vec<RepoDataRecord>, SolveFailure> {
        let kept = KeptRecords::default();
        self.run(&SolveRequest { scope: Scope::All, ..self.request(specs, host, &kept) })
    }

    /// Solves for these specs, with kept records.
    pub(super) fn solve_keeping(
        &self,
        specs: &[MatchSpec],
        host: &Host,
        kept: &KeptRecords<'_>,
    ) -> Result<Vec<RepoDataRecord>, SolveFailure> {
        self.run(&self.request(specs, host, kept))
    }

    fn request<'q>(&'q self, specs: &'q [MatchSpec], host: &'q Host, kept: &'q KeptRecords<'q>) -> SolveRequest<'q>
    where
        'a: 'q,
    {
        SolveRequest {
            specs,
            channel_specs: self.channel_specs,
            host,
            options: self.options,
            kept,
            scope: Scope::Pruned,
            meter: &self.meter,
        }
    }

    fn run(&self, request: &SolveRequest<'_>) -> Result<Vec<RepoDataRecord>, SolveFailure> {
        self.check()?;
        let mut pool = self.pool.borrow_mut();
        let pool = pool.get_or_insert_with(|| {
            let runs = self.repodata.runs().map(|(record_id, records, rows)| {
                let records: Vec<&RepoDataRecord> = records.iter().map(AsRef::as_ref).collect();
                let tier = records.first().and_then(|record| tier(self.repodata, record_id, record));
                RecordRun { records, tier, rows }
            });
            Pool::new(runs, self.repodata.interner.texts(), self.options.pip)
        });
        provider::solve(pool, request)
    }

    /// Solves for these specs among these records, with kept records. Pythons already have their dependency on pip.
    pub(super) fn solve_among(
        &self,
        subdirs: &[SubdirRecords<'_>],
        specs: &[MatchSpec],
        host: &Host,
        kept: &KeptRecords<'_>,
    ) -> Result<Vec<RepoDataRecord>, SolveFailure> {
        self.check()?;
        with_pool(subdirs, Pip::NotAdded, |pool| provider::solve(pool, &self.request(specs, host, kept)))
    }

    /// Solves for these specs. If only the age of the declared system prevents a solution, it is raised to the lowest
    /// version that a package asks for. Also returns the last system that was tried.
    pub(super) fn solve_for_oldest(
        &self,
        specs: &[MatchSpec],
        host: &Host,
        pinned: &[Override],
    ) -> (Result<Vec<RepoDataRecord>, SolveFailure>, Host) {
        let mut host = host.clone();
        loop {
            let failure = match self.solve(specs, &host) {
                Err(SolveFailure::Unsolvable(reasons)) => reasons,
                outcome => return (outcome, host),
            };
            match raise_host(&host, &failure.virtual_demands(&host), pinned) {
                Some(newer) => host = newer,
                None => return (Err(SolveFailure::Unsolvable(failure)), host),
            }
        }
    }
}

/// Calls a function with a pool of these records. Each list is sorted by name.
pub(super) fn with_pool<T>(subdirs: &[SubdirRecords<'_>], pip: Pip, function: impl FnOnce(&mut Pool<'_>) -> T) -> T {
    let mut interner = SpecInterner::default();
    let table: Vec<DependencyTable> =
        subdirs.iter().map(|subdir| interner.intern_records(subdir.records.iter().copied())).collect();
    let runs = subdirs.iter().zip(&table).flat_map(|(SubdirRecords { records, tier }, table)| {
        let runs = records.chunk_by(|one, other| is_same_run(one, other));
        let mut start = 0;
        runs.map(move |records| {
            start += records.len();
            RecordRun { records: records.to_vec(), tier: *tier, rows: table.slice(start - records.len(), start) }
        })
    });
    function(&mut Pool::new(runs, interner.texts(), pip))
}

/// The tier of conda's own channels, and of packages that are named by their URL.
pub(super) fn tier(repodata: &Repodata, list: usize, record: &RepoDataRecord) -> Option<&'static str> {
    if list == 0 && repodata.has_archives {
        return Some(ARCHIVE_TIER);
    }
    let channel = record.channel.as_deref()?.trim_end_matches('/');
    let name = channel.strip_prefix("https://repo.anaconda.com/pkgs/")?;
    DEFAULTS.contains(&name).then_some("defaults")
}

/// The records of python with a dependency on pip, by URL; empty if no channel has pip.
fn with_pip(repodata: &Repodata) -> HashMap<&str, Arc<RepoDataRecord>> {
    let records = || repodata.subdirs.iter().flatten();
    let has_name = |record: &RepoDataRecord, name| record.package_record.name.as_normalized() == name;
    if !records().any(|record| has_name(record, "pip")) {
        return HashMap::new();
    }
    let changed = records().filter(|record| brings_pip(record)).map(|record| {
        let mut changed = RepoDataRecord::clone(record);
        changed.package_record.depends.push("pip".to_owned());
        (record.url.as_str(), Arc::new(changed))
    });
    changed.collect()
}
