//! Runs the solver. Everything in [`crate`] that solves calls it through here, so that a solution, the search for a
//! conflict and the check of a remedy use the same rules.

use std::{cell::RefCell, collections::HashMap, rc::Rc, str::FromStr, sync::Arc};

use mlconda_channel::repodata::{DependencyRows, DependencyTable, Repodata, SpecInterner, is_same_run};
use mlconda_environment::Environment;
use mlconda_types::host::{Host, Override};
use rattler_conda_types::{MatchSpec, RepoDataRecord, Version};
use url::Url;

use super::{
    Pip, SolveOptions, VirtualDemand,
    conflict::Reasons,
    pool::{Pool, brings_pip},
    provider,
};

/// conda treats its own channels as one channel, `defaults`: none of them goes before another.
const DEFAULTS: [&str; 3] = ["main", "r", "msys2"];

/// The common name of packages that are named by their URL. Their channels do not go before the others because of
/// them.
pub(super) const ARCHIVE_TIER: &str = "archives";

/// Solves for specs; keeps the pool between solves.
pub(super) struct SolverSession<'a> {
    pub(super) repodata: &'a Repodata,
    pub(super) options: SolveOptions,
    /// Specs that are not asked for, but whose channels count.
    channel_specs: &'a [MatchSpec],
    /// The pool of all records, of any age; made on the first solve.
    pool: Rc<RefCell<Option<Pool<'a>>>>,
}

/// The candidates of an environment.
pub(super) struct CandidateRecords<'a> {
    pub(super) environment: &'a Environment,
    pub(super) repodata: &'a Repodata,
    pub(super) options: SolveOptions,
    /// The records of python with a dependency on pip, by URL.
    with_pip: HashMap<&'a str, Arc<RepoDataRecord>>,
}

/// The input of one solve.
pub(super) struct SolveRequest<'q> {
    pub(super) specs: &'q [MatchSpec],
    /// Specs that are not asked for, but whose channels count.
    pub(super) channel_specs: &'q [MatchSpec],
    pub(super) host: &'q Host,
    pub(super) options: SolveOptions,
    pub(super) kept: &'q KeptRecords<'q>,
    pub(super) scope: Scope,
}

/// Which records the solver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that may be in a solution.
    Pruned,
    /// All records: slower, but a failure has every reason.
    All,
}

/// Why there is no solution.
pub(super) enum SolveFailure {
    /// The solver's reasons.
    Unsolvable(Reasons),
    /// The repodata is not consistent.
    Repodata(String),
}

/// The existing records of one subdir of one channel.
pub(super) struct SubdirRecords<'a> {
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// Subdirs with the same tier have the same priority.
    pub(super) tier: Option<&'static str>,
}

/// Records of one name and one channel.
pub(super) struct RecordRun<'a> {
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// The tier of its [`SubdirRecords`].
    pub(super) tier: Option<&'static str>,
    pub(super) rows: DependencyRows<'a>,
}

/// What to keep of an older solution.
#[derive(Clone, Default)]
pub(super) struct KeptRecords<'a> {
    /// By package name, the URL of the only record that exists for this solve.
    pub(super) only: HashMap<String, Url>,
    /// Records that are tried before all others of their name. Each must exist and be in a channel that counts: the
    /// solver does not check this.
    pub(super) favored: Vec<&'a RepoDataRecord>,
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
        Self { repodata, options, channel_specs: &[], pool: Rc::default() }
    }

    /// The same session, in which the channels of these specs count.
    pub(super) fn with_channel_specs(&self, channel_specs: &'a [MatchSpec]) -> Self {
        Self { pool: Rc::clone(&self.pool), channel_specs, ..*self }
    }

    /// The same session with other options.
    pub(crate) fn with_options(&self, options: SolveOptions) -> Self {
        // The pool depends on no other option.
        let pool = if options.pip == self.options.pip { Rc::clone(&self.pool) } else { Rc::default() };
        Self { pool, options, ..*self }
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

    fn request<'q>(&self, specs: &'q [MatchSpec], host: &'q Host, kept: &'q KeptRecords<'q>) -> SolveRequest<'q>
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
        }
    }

    fn run(&self, request: &SolveRequest<'_>) -> Result<Vec<RepoDataRecord>, SolveFailure> {
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
        let request = self.request(specs, host, kept);
        provider::solve(&mut Pool::new(runs, interner.texts(), Pip::NotAdded), &request)
    }

    /// Solves for these specs. If only the age of the declared system stands in the way, it is raised to the lowest
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

/// Whether a record of this tier is in the channel that a spec of the environment names.
pub(super) fn is_in_channel(record: &RepoDataRecord, tier: Option<&str>, spec: &MatchSpec) -> bool {
    let Some(channel) = &spec.channel else { return true };
    match tier.filter(|tier| channel.name.as_deref() == Some(tier)) {
        Some(_) => true,
        None => record.channel.as_ref() == Some(&channel.canonical_name()),
    }
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

/// The virtual packages that may be raised, and a version that no system exceeds.
const NEWEST_SYSTEM: [(&str, &str); 3] = [("__glibc", "2.44"), ("__linux", "7.99"), ("__osx", "27.99")];

/// The host with all raisable virtual packages at their newest version.
pub(super) fn newest_host(host: &Host, pinned: &[Override]) -> Host {
    let may_be_raised = |name: &str| {
        let is_there = host.virtual_packages.iter().any(|package| package.name.as_normalized() == name);
        is_there && pinned.iter().all(|pinned| pinned.name != name)
    };
    let newest = NEWEST_SYSTEM.iter().filter(|(name, _)| may_be_raised(name));
    let newest: Vec<Override> =
        newest.filter_map(|(name, version)| Override::from_str(&format!("{name}={version}")).ok()).collect();
    host.clone().with(&newest)
}

/// Whether the virtual package of this name may be raised.
pub(super) fn is_raisable(name: &str) -> bool {
    NEWEST_SYSTEM.iter().any(|(known, _)| *known == name)
}

/// The host with one virtual package raised to the lowest version that is asked for; `None` if that would not help.
fn raise_host(host: &Host, dependencies: &[VirtualDemand], pinned: &[Override]) -> Option<Host> {
    let may_be_raised = |name: &str, least: &Version| {
        let newest = NEWEST_SYSTEM.iter().find(|(known, _)| *known == name);
        let exists =
            newest.and_then(|(_, newest)| Version::from_str(newest).ok()).is_some_and(|newest| *least <= newest);
        exists && pinned.iter().all(|pinned| pinned.name != name)
    };
    let (name, version) = dependencies
        .iter()
        .filter_map(|demand| {
            let least = demand.wanted.split(',').find_map(|part| part.trim().strip_prefix(">="))?;
            let least = Version::from_str(least).ok()?;
            let raises = may_be_raised(&demand.name, &least) && demand.assumed.as_ref()? < &least;
            raises.then_some((&demand.name, least))
        })
        .min()?;
    let newer = Override::from_str(&format!("{name}={version}")).ok()?;
    Some(host.clone().with(&[newer]))
}
