//! One question to the solver: which records there are to choose from, and what rattler makes of them. Everything else in
//! [`crate::solve`] asks through here, so that a solution, the search for a conflict's cause and the check of a remedy
//! mean the same by the same words.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use itertools::Itertools;
use rattler_conda_types::{MatchSpec, RepoDataRecord, Version};
use rattler_solve::{SolverImpl, SolverTask, resolvo};

use super::{ChannelPriority, Cutoff, Pip, SolveOptions, VirtualDemand, prune::prune, wording};
use crate::{
    environment::Environment,
    host::{Host, Override},
    repodata::Repodata,
};

/// conda's own channels are one channel, `defaults`, to it: none of them goes before another.
const DEFAULTS: [&str; 3] = ["main", "r", "msys2"];

/// What there is to choose from.
pub(super) struct Question<'a> {
    pub(super) environment: &'a Environment,
    pub(super) repodata: &'a Repodata,
    pub(super) options: SolveOptions,
    /// The records of python, by URL, with a dependency on pip.
    with_pip: HashMap<&'a str, Arc<RepoDataRecord>>,
}

/// Why there is no answer.
pub(super) enum Refusal {
    /// The solver's reasons, as text.
    Unsolvable(String),
    /// The repodata cannot be solved with.
    Repodata(String),
}

/// Records of one subdir of one channel, those that do not exist for this solve left out.
pub(super) struct Bucket<'a> {
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// Channels with the same name here have the same priority.
    pub(super) tier: Option<&'static str>,
}

impl<'a> Question<'a> {
    pub(super) fn new(environment: &'a Environment, repodata: &'a Repodata, options: SolveOptions) -> Self {
        let with_pip = if options.pip == Pip::Added { with_pip(repodata) } else { HashMap::new() };
        Self { environment, repodata, options, with_pip }
    }

    /// The same question with other options.
    pub(super) fn with(&self, options: SolveOptions) -> Self {
        Self { with_pip: self.with_pip.clone(), options, ..*self }
    }

    /// What is asked for.
    pub(super) fn specs(&self) -> Vec<MatchSpec> {
        self.environment.requirements.iter().map(|requirement| requirement.spec.clone()).collect()
    }

    /// All that there is to choose from, in the order of priority.
    pub(super) fn buckets(&'a self) -> impl Iterator<Item = Bucket<'a>> {
        self.repodata.subdirs.iter().map(|records| {
            let exists = |record: &&RepoDataRecord| {
                self.options.exclude_newer.is_none_or(|cutoff| cutoff.admits(&record.package_record))
            };
            let records: Vec<_> = records
                .iter()
                .map(|record| self.with_pip.get(record.url.as_str()).unwrap_or(record).as_ref())
                .filter(exists)
                .collect();
            let tier = records.first().and_then(|record| tier(record));
            Bucket { records, tier }
        })
    }

    /// The records that are newer than what counts.
    pub(super) fn too_new(&'a self) -> impl Iterator<Item = (&'a RepoDataRecord, Cutoff)> {
        let cutoff = self.options.exclude_newer;
        let records = self.repodata.subdirs.iter().flatten();
        records.filter_map(move |record| {
            let cutoff = cutoff.filter(|cutoff| !cutoff.admits(&record.package_record))?;
            Some((record.as_ref(), cutoff))
        })
    }

    /// Solves for these specs. The reasons of a refusal are those of what could be in a solution at all.
    pub(super) fn ask(&self, specs: &[MatchSpec], host: &Host) -> Result<Vec<RepoDataRecord>, Refusal> {
        self.ask_of(prune(self.buckets().collect(), specs, self.options.channel_priority), specs, host)
    }

    /// Solves for these specs, with all there is. The answer is the same, and takes longer; a refusal has every reason.
    pub(super) fn ask_of_all(&self, specs: &[MatchSpec], host: &Host) -> Result<Vec<RepoDataRecord>, Refusal> {
        self.ask_of(self.buckets().collect(), specs, host)
    }

    fn ask_of(
        &self,
        buckets: Vec<Bucket<'_>>,
        specs: &[MatchSpec],
        host: &Host,
    ) -> Result<Vec<RepoDataRecord>, Refusal> {
        let buckets = buckets.into_iter();
        let available = buckets.map(|Bucket { records, tier }| resolvo::RepoData { records, multi_channel: tier });
        let task = SolverTask {
            available_packages: available.collect::<Vec<_>>(),
            locked_packages: Vec::new(),
            pinned_packages: Vec::new(),
            virtual_packages: host.virtual_packages.clone(),
            specs: specs.to_vec(),
            constraints: Vec::new(),
            timeout: None,
            channel_priority: match self.options.channel_priority {
                ChannelPriority::Strict => rattler_solve::ChannelPriority::Strict,
                ChannelPriority::Flexible => rattler_solve::ChannelPriority::Flexible,
                ChannelPriority::Disabled => rattler_solve::ChannelPriority::Disabled,
            },
            exclude_newer: None,
            strategy: rattler_solve::SolveStrategy::Highest,
            dependency_overrides: Vec::new(),
            excluded_candidates: HashMap::default(),
            cancellation_token: None,
        };
        let answer = resolvo::Solver.solve(task).map_err(|error| match error {
            rattler_solve::SolveError::Unsolvable(reasons) => Refusal::Unsolvable(reasons.iter().join("\n")),
            other => Refusal::Repodata(other.to_string()),
        })?;
        Ok(self.as_in_channel(answer.records))
    }

    /// Solves for these specs; where nothing but the age of the declared system stands in the way, it is raised to the
    /// lowest version that a package asks for. Gives the last system tried with a refusal, too.
    pub(super) fn ask_for_oldest(
        &self,
        specs: &[MatchSpec],
        host: &Host,
        pinned: &[Override],
    ) -> (Result<Vec<RepoDataRecord>, Refusal>, Host) {
        let mut host = host.clone();
        loop {
            let refusal = match self.ask(specs, &host) {
                Err(Refusal::Unsolvable(reasons)) => reasons,
                outcome => return (outcome, host),
            };
            match raised(&host, &wording::virtual_demands(&refusal, &host), pinned) {
                Some(newer) => host = newer,
                None => return (Err(Refusal::Unsolvable(refusal)), host),
            }
        }
    }

    /// The chosen records, without what was added for the solve.
    fn as_in_channel(&self, mut records: Vec<RepoDataRecord>) -> Vec<RepoDataRecord> {
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

/// The tier of conda's own channels.
fn tier(record: &RepoDataRecord) -> Option<&'static str> {
    let channel = record.channel.as_deref()?.trim_end_matches('/');
    let name = channel.strip_prefix("https://repo.anaconda.com/pkgs/")?;
    DEFAULTS.contains(&name).then_some("defaults")
}

/// The records of python, by URL, with a dependency on pip; none if no channel has pip.
fn with_pip(repodata: &Repodata) -> HashMap<&str, Arc<RepoDataRecord>> {
    let records = || repodata.subdirs.iter().flatten();
    let has_name = |record: &RepoDataRecord, name| record.package_record.name.as_normalized() == name;
    if !records().any(|record| has_name(record, "pip")) {
        return HashMap::new();
    }
    // As conda has it: python 2 and 3 only.
    let brings_pip = |record: &&Arc<RepoDataRecord>| {
        has_name(record, "python")
            && ["2.", "3."].iter().any(|major| record.package_record.version.as_str().starts_with(major))
    };
    let changed = records().filter(brings_pip).map(|record| {
        let mut changed = RepoDataRecord::clone(record);
        changed.package_record.depends.push("pip".to_owned());
        (record.url.as_str(), Arc::new(changed))
    });
    changed.collect()
}

/// What may be raised, and the newest that there is of it: no system has more.
const NEWEST: [(&str, &str); 3] = [("__glibc", "2.44"), ("__linux", "7.99"), ("__osx", "27.99")];

/// The host with one version raised to the lowest that is asked for and that it lacks; `None` if that is not
/// what stands in the way.
fn raised(host: &Host, demands: &[VirtualDemand], pinned: &[Override]) -> Option<Host> {
    let may_be_raised = |name: &str, least: &Version| {
        let newest = NEWEST.iter().find(|(known, _)| *known == name);
        let exists =
            newest.and_then(|(_, newest)| Version::from_str(newest).ok()).is_some_and(|newest| *least <= newest);
        exists && pinned.iter().all(|pinned| pinned.name != name)
    };
    let (name, version) = demands
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
