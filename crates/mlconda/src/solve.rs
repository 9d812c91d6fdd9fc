//! The SAT solve, and its explanation when there is no answer. Pure: the same input, the same answer.
//!
//! Channels are strict: a package is taken from the first channel that has one of its name. And every
//! python brings pip (`add_pip_as_python_dependency`), as it does with conda and micromamba, for otherwise
//! an environment that worked with them would lack its `pip`. The dependency exists during the solve only:
//! the chosen records are what the channels have.

mod explain;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::PathBuf, str::FromStr, sync::Arc};

use itertools::Itertools;
use rattler_conda_types::{RepoDataRecord, Subdir, Version};
use rattler_solve::{ChannelPriority, SolverImpl, SolverTask, resolvo};

use crate::{
    environment::{Environment, Location, Requirement},
    host::{Host, Override},
    repodata::Repodata,
};

/// The chosen records, in no particular order.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The records.
    pub records: Vec<RepoDataRecord>,
}

/// There is no solution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No channel has packages of these names.
    #[error("{}", explain::unknown(file, packages))]
    Unknown {
        /// The environment's file.
        file: PathBuf,
        /// The packages, in the order of the file.
        packages: Vec<UnknownPackage>,
    },
    /// A spec means something that cannot be solved for.
    #[error("{}:{}:{}: cannot solve for `{spec}`: {reason}", file.display(), location.line, location.column)]
    Unsupported {
        /// The environment's file.
        file: PathBuf,
        /// Where the spec stands.
        location: Location,
        /// The spec.
        spec: String,
        /// Why.
        reason: &'static str,
    },
    /// What is asked for contradicts itself.
    #[error("no set of packages for `{platform}` satisfies what is asked for:\n{explanation}")]
    Unsolvable {
        /// The platform.
        platform: Subdir,
        /// The tree of reasons, as text.
        explanation: String,
        /// Virtual packages that stand in the way.
        virtual_packages: Vec<VirtualDemand>,
    },
    /// The repodata cannot be solved with.
    #[error("the repodata contradicts itself: {0}")]
    Repodata(String),
}

/// A package that no channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPackage {
    /// The name that was asked for.
    pub name: String,
    /// Where.
    pub location: Location,
    /// Names that channels have and that may be meant, the nearest first.
    pub near: Vec<String>,
}

/// A virtual package that a package wants, and the host does not have as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualDemand {
    /// The name.
    pub name: String,
    /// What is wanted of it, as in `>=12`; empty if anything will do.
    pub wanted: String,
    /// The version that the host has, if it has one.
    pub assumed: Option<Version>,
}

/// Solves. The environment is that of the host's platform (see [`Environment::for_platform`]).
///
/// # Errors
/// If there is no solution, with the reason in plain words.
pub fn solve(environment: &Environment, repodata: &Repodata, host: &Host) -> Result<Solution, SolveError> {
    check(environment, repodata)?;
    let with_pip = with_pip(repodata);
    let available = repodata.subdirs.iter().map(|records| {
        records
            .iter()
            .map(|record| with_pip.get(record.url.as_str()).unwrap_or(record).as_ref())
            .collect::<resolvo::RepoData<'_>>()
    });
    let task = SolverTask {
        available_packages: available.collect::<Vec<_>>(),
        locked_packages: Vec::new(),
        pinned_packages: Vec::new(),
        virtual_packages: host.virtual_packages.clone(),
        specs: environment.requirements.iter().map(|requirement| requirement.spec.clone()).collect(),
        constraints: Vec::new(),
        timeout: None,
        channel_priority: ChannelPriority::Strict,
        exclude_newer: None,
        strategy: rattler_solve::SolveStrategy::Highest,
        dependency_overrides: Vec::new(),
        excluded_candidates: HashMap::default(),
        cancellation_token: None,
    };
    let answer = resolvo::Solver.solve(task).map_err(|error| unsolvable(error, repodata, host))?;
    let records = answer.records.into_iter().map(|record| as_in_channel(record, &with_pip, repodata)).collect();
    Ok(Solution { records })
}

/// Solves for the oldest system that will do: where nothing but the age of the declared system stands in the
/// way (its `__glibc`, `__linux` or `__osx`), the declaration is raised to the lowest version that a package
/// asks for, until there is a solution. The answer depends on the channels only, not on the machine at hand.
/// What the user declared (`pinned`) stays as it is, and a GPU is never assumed.
///
/// Gives the solution and the host that it is for.
///
/// # Errors
/// As [`solve`]; the error is that of the newest system tried.
pub fn solve_for_oldest(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
) -> Result<(Solution, Host), SolveError> {
    let mut host = host.clone();
    loop {
        let error = match solve(environment, repodata, &host) {
            Ok(solution) => return Ok((solution, host)),
            Err(error) => error,
        };
        let SolveError::Unsolvable { virtual_packages, .. } = &error else { return Err(error) };
        match raised(&host, virtual_packages, pinned) {
            Some(newer) => host = newer,
            None => return Err(error),
        }
    }
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

/// Refuses what the solver would stumble over, and finds all misspelt names at once.
fn check(environment: &Environment, repodata: &Repodata) -> Result<(), SolveError> {
    let mut packages = Vec::new();
    for Requirement { text, spec, location, .. } in &environment.requirements {
        let unsupported = |reason| SolveError::Unsupported {
            file: environment.file.clone(),
            location: *location,
            spec: text.clone(),
            reason,
        };
        let Some(name) = spec.name.as_exact().map(|name| name.as_normalized()) else {
            return Err(unsupported("a package is asked for by its whole name"));
        };
        if spec.url.is_some() {
            return Err(unsupported("a package is taken from a channel, not from a URL"));
        }
        if !name.starts_with("__") && !repodata.names.contains(name) {
            let near = explain::near_names(name, &repodata.names);
            packages.push(UnknownPackage { name: name.to_owned(), location: *location, near });
        }
    }
    if packages.is_empty() { Ok(()) } else { Err(SolveError::Unknown { file: environment.file.clone(), packages }) }
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

/// A chosen record, without what was added for the solve.
fn as_in_channel(
    record: RepoDataRecord,
    with_pip: &HashMap<&str, Arc<RepoDataRecord>>,
    repodata: &Repodata,
) -> RepoDataRecord {
    if !with_pip.contains_key(record.url.as_str()) {
        return record;
    }
    let original = repodata.subdirs.iter().flatten().find(|original| original.url == record.url);
    original.map_or(record, |original| RepoDataRecord::clone(original))
}

fn unsolvable(error: rattler_solve::SolveError, repodata: &Repodata, host: &Host) -> SolveError {
    match error {
        rattler_solve::SolveError::Unsolvable(reasons) => {
            let explanation = reasons.iter().join("\n");
            let virtual_packages = explain::virtual_demands(&explanation, host);
            SolveError::Unsolvable {
                platform: host.platform,
                explanation: explain::tidy(&explanation, repodata),
                virtual_packages,
            }
        }
        other => SolveError::Repodata(other.to_string()),
    }
}
