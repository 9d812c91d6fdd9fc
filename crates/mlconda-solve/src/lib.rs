//! The SAT solve, and its explanation when there is no answer. Pure: the same input, the same answer.
//!
//! Unless [`SolveOptions`] say otherwise, channels are strict: a package is taken from the first channel that has one of
//! its name. And every python brings pip (`add_pip_as_python_dependency`), as it does with conda and micromamba, for
//! otherwise an environment that worked with them would lack its `pip`. The dependency exists during the solve only:
//! the chosen records are what the channels have.

mod eliminate;
mod explain;
mod order;
mod pool;
mod propagation;
mod provider;
mod prune;
mod session;
mod update;

mod change_reason;
#[cfg(test)]
mod tests;
mod tree;
mod wording;

use std::path::PathBuf;

use mlconda_channel::repodata::Repodata;
use mlconda_environment::{Diagnostic, Environment, Location, Requirement};
use mlconda_types::host::{Host, Override};
use rattler_conda_types::{Matches, Subdir, Version};

pub use self::change_reason::{ChangeReason, change_reasons};
pub use self::explain::{Conflict, ExplainEffort, Explanation, Remedy, RemedyChange, RequirementLine, explain};
use self::session::{SolveFailure, SolverSession};
pub use self::update::{Previous, Upgrade, update};
pub use self::wording::near_names;
pub use mlconda_types::solution::{
    ChannelPriority, ChannelPriorityError, Cutoff, CutoffError, Pip, Solution, SolveOptions,
};

/// How many packages that no channel has are told of.
const MAX_UNKNOWN: usize = 20;

/// There is no solution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No channel has packages of these names.
    #[error("{}", wording::unknown(packages, *more))]
    Unknown {
        /// The packages, in the order of the file.
        packages: Vec<UnknownPackage>,
        /// How many more there are.
        more: usize,
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
    /// The line that asks for it, and what may be meant.
    pub diagnostic: Diagnostic,
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
/// If there is no solution, with the solver's reasons. [`explain()`] finds better ones.
pub fn solve(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    options: &SolveOptions,
) -> Result<Solution, SolveError> {
    check_requirements(environment, repodata, host)?;
    let session = SolverSession::new(repodata, *options);
    let specs = environment.specs();
    let outcome = session.solve(&specs, host).or_else(|_| session.solve_unpruned(&specs, host));
    let records = outcome.map_err(|failure| solve_error(failure, repodata, host))?;
    Ok(Solution { records, options: *options })
}

/// Solves for the oldest system that will do: where nothing but the age of the declared system stands in the
/// way (its `__glibc`, `__linux` or `__osx`), the declaration is raised to the lowest version that a package
/// asks for, until there is a solution. The answer depends on the channels only, not on the machine at hand.
/// What the user declared (`pinned`) stays as it is, and a GPU is never assumed.
///
/// Gives the solution and the host that it is for.
///
/// # Errors
/// As [`solve`]; the error is that of the newest system tried. It has every reason, of all there is to choose from, and
/// takes its time to find them.
pub fn solve_for_oldest(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
) -> Result<(Solution, Host), SolveError> {
    check_requirements(environment, repodata, host)?;
    let session = SolverSession::new(repodata, *options);
    let specs = environment.specs();
    let (outcome, host) = session.solve_for_oldest(&specs, host, pinned);
    let records = outcome
        .or_else(|_| session.solve_unpruned(&specs, &host))
        .map_err(|failure| solve_error(failure, repodata, &host))?;
    Ok((Solution { records, options: *options }, host))
}

/// Refuses what the solver would stumble over, and finds all misspelt names at once.
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
            return Err(unsupported("its archive was not looked at"));
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

/// The lines whose package is there, and of which nothing is as they ask for it: all that nobody has is told at once.
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
        let help = match mlconda_environment::home(requirement) {
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
            explanation: wording::tidy(&reasons, repodata),
            virtual_packages: wording::virtual_demands(&reasons, host),
        },
        SolveFailure::Repodata(reason) => SolveError::Repodata(reason),
    }
}
