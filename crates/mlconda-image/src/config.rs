//! The runtime configuration of a container: the config of the base image, the activation of the environment, and the
//! user's options.

use std::{ffi::OsString, path::Path};

use mlconda_oci::Config;
use mlconda_prefix::{
    Prefix,
    activate::{ActivateError, Activation, CallerEnvironment, Dialect, activate, default_name},
};

/// The search path for programs if the base image has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path of the program that runs activation scripts, in the image.
pub(crate) const PROGRAM: &str = "/usr/local/bin/mlconda";

/// The user's options for containers. Options that are not given come from the base image.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    /// Variables. They override those of the environment.
    pub variables: Vec<(String, String)>,
    /// The working directory of a container.
    pub working_directory: Option<String>,
    /// The user: `name`, `uid` or `uid:gid`.
    pub user: Option<String>,
    /// The words of the entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The words of the command.
    pub command: Option<Vec<String>>,
    /// Labels, as name and value.
    pub labels: Vec<(String, String)>,
    /// Ports that the program listens on (`8888/tcp`).
    pub ports: Vec<String>,
}

/// Computes the activation of an environment that is now in the directory `root` and will be at another path in the
/// image.
pub(crate) fn activation(root: &Path, base: &Config, root_prefix: &Path) -> Result<Activation, ActivateError> {
    let variables: Vec<(OsString, OsString)> = base
        .variables()
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let prefix = Prefix::open(root).map_err(std::io::Error::other)?;
    activate(&prefix, CallerEnvironment { variables: &variables, root_prefix }, Dialect::Posix)
}

/// Writes all options into the base's config. `runs_scripts` tells whether the entry point is `mlconda run`.
pub(crate) fn configure(
    config: &mut Config,
    prefix: &Path,
    root_prefix: &Path,
    activation: &Activation,
    runs_scripts: bool,
    runtime: &Runtime,
) {
    let path = config.variable("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.to_owned());
    let bin = prefix.join("bin").display().to_string();
    let others = path.split(':').filter(|entry| *entry != bin);
    let path = std::iter::once(bin.as_str()).chain(others).collect::<Vec<_>>().join(":");
    config.set_variable("PATH", &path);
    config.set_variable("CONDA_PREFIX", &prefix.display().to_string());
    config.set_variable("CONDA_DEFAULT_ENV", &default_name(prefix, root_prefix).to_string_lossy());
    for (name, value) in &activation.variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        // These variables describe an activation in a shell.
        if !name.starts_with("CONDA_") && !name.starts_with("__CONDA_") {
            config.set_variable(&name, &value);
        }
    }
    for (name, value) in &runtime.variables {
        config.set_variable(name, value);
    }
    if runs_scripts {
        let run = [PROGRAM, "run", "-p", &prefix.display().to_string()].map(str::to_owned);
        // The base's command belongs to the base's entry point, which stays, so the command stays, too.
        let command = config.command();
        let own = runtime.entrypoint.clone().unwrap_or_else(|| config.entrypoint());
        config.set_entrypoint(&run.into_iter().chain(own).collect::<Vec<_>>());
        if runtime.entrypoint.is_none() && !command.is_empty() {
            config.set_command(&command);
        }
    } else if let Some(words) = &runtime.entrypoint {
        config.set_entrypoint(words);
    }
    if let Some(words) = &runtime.command {
        config.set_command(words);
    }
    if let Some(directory) = &runtime.working_directory {
        config.set_working_directory(directory);
    }
    if let Some(user) = &runtime.user {
        config.set_user(user);
    }
    for (name, value) in &runtime.labels {
        config.set_label(name, value);
    }
    for port in &runtime.ports {
        config.expose(port);
    }
}
