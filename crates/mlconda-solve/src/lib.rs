//! Chooses records with a SAT solver, and explains why there is no solution. It uses no file, no program, no network
//! and no clock. The same input gives the same result.
//!
//! By default ([`SolveOptions`]) channel priority is strict: a package comes from the first channel that has any record
//! of its name. And every python depends on pip (`add_pip_as_python_dependency`), as with conda and micromamba, so that
//! environments that worked with them still have `pip`. This dependency exists only during the solve: the chosen
//! records are those of the channels.
//!
//! Read in this order:
//! - `session`, through which every solve goes; `request`, its input; and `limits`, its cost;
//! - `pool`, `prune`, `order` and `provider`: one solve, from records to a solution;
//! - `update`: a solve that changes as little as possible;
//! - `explain`: which lines conflict, and what helps;
//! - `propagation`, `tree` and `wording`: the reasons, and their text.

mod conflict;
mod eliminate;
mod explain;
mod limits;
mod order;
mod pool;
mod propagation;
mod provider;
mod prune;
mod raise;
mod records;
mod request;
mod requirement_line;
mod session;
mod update;

mod change_reason;
#[cfg(test)]
mod tests;
mod tree;
mod tree_text;
mod wording;

use std::path::PathBuf;

use mlconda_channel::repodata::Repodata;
use mlconda_environment::{Diagnostic, Environment, Location, Requirement};
use mlconda_types::host::{Host, Override};
use rattler_conda_types::{Matches, Subdir, Version};

pub use self::change_reason::{ChangeReason, change_reasons};
pub use self::explain::{Conflict, ExplainEffort, Explanation, Remedy, RemedyChange, explain};
pub use self::limits::{SolveLimits, SolveStop};
pub use self::records::{RecordList, RecordsTask, solve_records};
pub use self::requirement_line::RequirementLine;
pub use self::update::{Previous, Upgrade, update, update_within};
use self::{limits::Exceeded, request::SolveFailure, session::SolverSession};
pub use mlconda_environment::near_names;
pub use mlconda_types::solution::{
    ChannelPriority, ChannelPriorityError, Cutoff, CutoffError, Pip, Solution, SolveOptions,
};

/// The most unknown packages that an error lists.
const MAX_UNKNOWN: usize = 20;

/// Why there is no solution.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No channel has packages with these names.
    #[error("{}", wording::unknown(packages, *more))]
    Unknown {
        /// The packages, in the order of the file.
        packages: Vec<UnknownPackage>,
        /// How many more there are.
        more: usize,
    },
    /// A spec cannot be solved for.
    #[error("{}:{}:{}: cannot solve for `{spec}`: {reason}", file.display(), location.line, location.column)]
    Unsupported {
        /// The environment's file.
        file: PathBuf,
        /// The place of the spec.
        location: Location,
        /// The spec.
        spec: String,
        /// The reason.
        reason: &'static str,
    },
    /// The requirements contradict each other.
    #[error("no set of packages for `{platform}` satisfies what is asked for:\n{explanation}")]
    Unsolvable {
        /// The platform.
        platform: Subdir,
        /// The tree of reasons, as text.
        explanation: String,
        /// The virtual packages that the host lacks.
        virtual_packages: Vec<VirtualDemand>,
    },
    /// The records contradict themselves.
    #[error("the repodata contradicts itself: {0}")]
    Repodata(String),
    /// The solve was stopped ([`SolveStop`]).
    #[error("the solve was stopped")]
    Stopped,
    /// The limit of steps was reached ([`SolveLimits::steps`]).
    #[error("the solver found no solution in {0} steps")]
    TooManySteps(u64),
}

mlconda_types::debug_as_words!(SolveError);

/// A package that no channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPackage {
    /// The requested name.
    pub name: String,
    /// The line that asks for it, with suggestions.
    pub diagnostic: Diagnostic,
}

/// A virtual package that a package needs, and that the host does not have in this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualDemand {
    /// The name.
    pub name: String,
    /// The version spec, such as `>=12`; empty if any version will do.
    pub wanted: String,
    /// The version that the host has, if it has any.
    pub assumed: Option<Version>,
}

/// Solves an environment for the oldest possible system, as `mlconda lock` does. The environment must be reduced to the
/// host's platform ([`Environment::for_platform`]).
///
/// If only the age of the declared system prevents a solution (its `__glibc`, `__linux` or `__osx`), the declaration is
/// raised to the lowest version that a package asks for, until there is a solution. So [`Host::baseline`] works for
/// every environment, and the result depends on the channels only, not on the machine. Versions that the user declared
/// (`pinned`) are not raised, and a GPU is never assumed.
///
/// Returns the solution and the host that it is for: a lock of it ([`Lock::new`](mlconda_lock::Lock::new)) names that
/// host.
///
/// # Errors
/// If there is no solution: the error for the newest system that was tried. It is found without pruning, which takes
/// longer and gives every reason the solver has; [`explain()`] finds better ones.
pub fn solve(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
) -> Result<(Solution, Host), SolveError> {
    solve_within(environment, repodata, host, pinned, options, &SolveLimits::default())
}

/// Like [`solve()`], within limits.
///
/// # Errors
/// As for [`solve()`], or if a limit is reached, or the token is stopped.
pub fn solve_within(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
    limits: &SolveLimits,
) -> Result<(Solution, Host), SolveError> {
    check_requirements(environment, repodata, host)?;
    let session = SolverSession::new(repodata, *options).within(limits);
    let specs = environment.specs();
    let (outcome, host) = session.solve_for_oldest(&specs, host, pinned);
    let outcome = outcome.or_else(|first| with_all_reasons(first, || session.solve_unpruned(&specs, &host)));
    let records = outcome.map_err(|failure| solve_error(failure, repodata, &host))?;
    Ok((Solution { records, options: *options }, host))
}

/// Solves for exactly this host, even if it is old: for the machine at hand ([`Host::detect`]), or to compare solvers.
/// An environment for which `mlconda lock` finds a lock may have no solution here: [`solve()`] raises the host.
///
/// # Errors
/// If there is no solution. The error has the solver's reasons; [`explain()`] finds better ones.
pub fn solve_for_host(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    options: &SolveOptions,
) -> Result<Solution, SolveError> {
    check_requirements(environment, repodata, host)?;
    let session = SolverSession::new(repodata, *options);
    let specs = environment.specs();
    let outcome = session.solve(&specs, host);
    let outcome = outcome.or_else(|first| with_all_reasons(first, || session.solve_unpruned(&specs, host)));
    let records = outcome.map_err(|failure| solve_error(failure, repodata, host))?;
    Ok(Solution { records, options: *options })
}

/// Solves once more without pruning, to get every reason. It is already known that there is no solution. If the limits
/// do not allow the second solve, the reasons of the first one are kept.
fn with_all_reasons<T>(
    first: SolveFailure,
    unpruned: impl FnOnce() -> Result<T, SolveFailure>,
) -> Result<T, SolveFailure> {
    match (first, unpruned()) {
        (first @ SolveFailure::Unsolvable(_), Err(SolveFailure::Exceeded(_))) => Err(first),
        (_, second) => second,
    }
}

/// Checks the requirements before the solve, and reports all unknown names at once.
fn check_requirements(environment: &Environment, repodata: &Repodata, host: &Host) -> Result<(), SolveError> {
    let (mut packages, mut more, mut names) = (Vec::new(), 0, None);
    for requirement in &environment.requirements {
        let Requirement { text, spec, file, location, .. } = requirement;
        let unsupported = |reason| SolveError::Unsupported {
            file: file.to_path_buf(),
            location: *location,
            spec: text.clone(),
            reason,
        };
        let Some(name) = spec.name.as_exact().map(|name| name.as_normalized()) else {
            return Err(unsupported("a package is asked for by its whole name"));
        };
        if let Some(url) = &spec.url
            && !repodata.records().any(|record| record.url == *url)
        {
            return Err(unsupported("the record of its archive was not loaded"));
        }
        if name.starts_with("__") || repodata.names.contains(name) {
            continue;
        }
        if packages.len() == MAX_UNKNOWN {
            more += 1;
            continue;
        }
        let message = format!("no channel has `{name}` for `{}`", host.platform);
        let names = names.get_or_insert_with(|| repodata.names.to_set());
        let help = wording::unknown_help(requirement, name, host.platform, names);
        packages
            .push(UnknownPackage { name: name.to_owned(), diagnostic: requirement.excerpt.diagnostic(message, help) });
    }
    if packages.is_empty() {
        return Ok(());
    }
    packages.extend(unmatched(environment, repodata, host));
    let line = |package: &UnknownPackage| package.diagnostic.location.line;
    mlconda_types::sorting::sort_by_key(&mut packages, line);
    Err(SolveError::Unknown { packages, more })
}

/// The requirements whose package exists, but not in any version or build that matches. They are reported together
/// with the unknown names.
fn unmatched<'a>(
    environment: &'a Environment,
    repodata: &'a Repodata,
    host: &'a Host,
) -> impl Iterator<Item = UnknownPackage> + 'a {
    let is_unmatched = |requirement: &&Requirement| {
        let name = requirement.spec.name.as_exact().map(|name| name.as_normalized()).unwrap_or_default();
        requirement.spec.url.is_none()
            && repodata.names.contains(name)
            && !repodata.records().any(|record| requirement.spec.matches(&record.package_record))
    };
    let lines = environment.requirements.iter().filter(is_unmatched).take(MAX_UNKNOWN);
    lines.map(|requirement| {
        let message = format!("no channel has `{}` for `{}`", requirement.text.trim(), host.platform);
        let name = requirement.spec.name.to_string();
        let help = match mlconda_environment::native_platform(requirement) {
            Some(home) if !host.platform.as_str().starts_with(home) => {
                format!("it is a build of {home}: ask for `{name}` without its build")
            }
            _ => format!("`{name}` is there in other versions or builds: ask for fewer details of it"),
        };
        UnknownPackage { name, diagnostic: requirement.excerpt.diagnostic(message, &help) }
    })
}

fn solve_error(failure: SolveFailure, repodata: &Repodata, host: &Host) -> SolveError {
    match failure {
        SolveFailure::Unsolvable(reasons) => SolveError::Unsolvable {
            platform: host.platform,
            explanation: reasons.text(repodata),
            virtual_packages: reasons.virtual_demands(host),
        },
        SolveFailure::Exceeded(Exceeded::Stopped) => SolveError::Stopped,
        SolveFailure::Exceeded(Exceeded::Steps(most)) => SolveError::TooManySteps(most),
    }
}
