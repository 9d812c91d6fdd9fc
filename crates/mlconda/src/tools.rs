//! Installs uv and python as conda packages, for machines that lack them. They are solved from the environment's own
//! channels, for the machine at hand, and installed into a prefix of their own in the cache. So no manual step is
//! needed if a channel can be reached.

use std::path::{Path, PathBuf};

use mlconda_channel::{
    network::Client,
    repodata::{self, RepodataOptions},
};
use mlconda_environment::{Environment, ReadOptions};
use mlconda_inspect::plan::Plan;
use mlconda_install as install;
use mlconda_lock::Lock;
use mlconda_pip::{PipError, prefix_name};
use mlconda_prefix::Prefix;
use mlconda_solve::{self as solve, Pip, SolveError, SolveOptions};
use mlconda_types::{host::Host, progress::Progress};

use crate::Error;

/// What [`install_tools`] needs.
#[derive(Clone, Copy, Debug)]
pub struct Tools<'a> {
    /// The client.
    pub client: &'a Client,
    /// How repodata is loaded.
    pub repodata: &'a RepodataOptions,
    /// The machine at hand, not the target.
    pub machine: &'a Host,
    /// The directory that holds the prefixes of tools.
    pub directory: &'a Path,
    /// How they are installed.
    pub install: &'a install::Options,
}

/// The installed tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledTools {
    /// The program `uv`.
    pub uv: PathBuf,
    /// A python that can run it, and build with it.
    pub python: PathBuf,
}

/// Installs uv and python into a prefix of their own, from the channels of an environment.
///
/// The future may be dropped, as those of [`repodata::load`] and [`install::install`].
///
/// # Errors
/// If the channels lack one of them for this machine or cannot be reached, or if the prefix cannot be written.
pub async fn install_tools(
    environment: &Environment,
    tools: &Tools<'_>,
    progress: &dyn Progress,
) -> Result<InstalledTools, PipError> {
    let wanted = Environment::parse("dependencies: [uv, python]", &environment.file, &ReadOptions::default());
    let mut wanted = wanted.map_err(tools_error)?;
    wanted.channels.clone_from(&environment.channels);
    let loaded = repodata::load(tools.client, &wanted, tools.machine, tools.repodata, progress).await;
    let loaded = loaded.map_err(tools_error)?;
    let options = SolveOptions { pip: Pip::NotAdded, ..SolveOptions::default() };
    let solution = solve::solve_for_host(&wanted, &loaded, tools.machine, &options).map_err(|error| match error {
        SolveError::Unknown { packages, .. } => {
            // The error must not show these lines, because the user did not write them.
            let names = packages.iter().map(|package| format!("`{}`", package.name)).collect::<Vec<_>>();
            PipError::NoUv { reason: format!("none has {} for `{}`", names.join(" and "), tools.machine.platform) }
        }
        error => tools_error(error),
    })?;
    let lock = Lock::new(&wanted, tools.machine, &solution).map_err(tools_error)?;
    let path = tools.directory.join(prefix_name(&lock.to_text()));
    let prefix = Prefix::open(path).map_err(tools_error)?;
    if !prefix.is_environment() {
        let plan = Plan::new(&lock, &prefix).map_err(tools_error)?;
        install::install(&plan, tools.client, &prefix, tools.install, progress).await.map_err(tools_error)?;
    }
    let program = |name: &str| prefix.path().join("bin").join(name);
    Ok(InstalledTools { uv: program("uv"), python: program("python") })
}

/// Wraps an error of any stage as an error of the tools.
fn tools_error(error: impl Into<Error>) -> PipError {
    PipError::Tools(Box::new(error.into()))
}
