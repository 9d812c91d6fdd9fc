//! Activation: the variables and scripts of an environment for a process.
//!
//! An activation is a value, by conda's rules. First the prefix is read. Then the activation is computed from the
//! variables that are already set, without touching anything. So `run` needs no shell if no package has activation
//! scripts, and `shell-hook` prints the same activation as text.
//!
//! One rule differs from conda: the prefix's `bin` always comes first in `PATH`. If another environment is active,
//! conda puts the new `bin` where the old one was.

mod command;
mod contents;
mod shell;
pub mod snapshot;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

pub use command::{CommandError, find_command};
pub use shell::Dialect;

use crate::{Prefix, UNSET};
use contents::Contents;

/// The search path for programs if `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Variables that activation itself sets. An environment cannot set them.
const RESERVED: [&str; 5] = ["PATH", "CONDA_PREFIX", "CONDA_SHLVL", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"];

/// Why an environment cannot be activated.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// A file of the prefix could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// There is no environment at this path.
    #[error("there is no environment in `{0}`: it has no file `conda-meta/history`")]
    NoEnvironment(PathBuf),
    /// A file of variables does not have conda's format.
    #[error("`{file}` is not a JSON object of variables")]
    Json {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The name of a variable is not possible in a process.
    #[error("`{file}` sets a variable with an invalid name: {name:?}")]
    Variable {
        /// The file.
        file: PathBuf,
        /// The variable's name.
        name: String,
    },
}

mlconda_types::debug_as_words!(ActivateError);

/// The surroundings of an activation.
#[derive(Clone, Copy, Debug)]
pub struct CallerEnvironment<'a> {
    /// The environment variables of the calling process.
    pub variables: &'a [(OsString, OsString)],
    /// The root prefix, which conda names `base`.
    pub root_prefix: &'a Path,
}

impl CallerEnvironment<'_> {
    fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// The number of nested activations (`CONDA_SHLVL`).
    fn level(&self) -> u32 {
        self.get("CONDA_SHLVL").and_then(OsStr::to_str).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// The active prefix (`CONDA_PREFIX`).
    fn prefix(&self) -> Option<&Path> {
        self.get("CONDA_PREFIX").filter(|value| !value.is_empty()).map(Path::new)
    }
}

/// The change of `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchPath {
    /// The prefix's `bin` is put before the old value, which stays whole.
    Prepended {
        /// The prefix's `bin`.
        bin: OsString,
        /// The old value of `PATH`.
        rest: OsString,
    },
    /// An entry is also removed: the whole new value.
    Replaced(OsString),
}

impl SearchPath {
    /// The new value of `PATH`.
    pub fn value(&self) -> OsString {
        match self {
            Self::Prepended { bin, rest } => join([bin.as_os_str(), rest.as_os_str()]),
            Self::Replaced(value) => value.clone(),
        }
    }
}

/// The variables of a process in an environment, and the scripts that packages want to be sourced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The change of `PATH`.
    pub path: SearchPath,
    /// The variables to unset, before any variable is set.
    pub unset: Vec<OsString>,
    /// The variables to set besides `PATH`, in order.
    pub variables: Vec<(OsString, OsString)>,
    /// The deactivation scripts of the environment that was active. They are sourced before anything is set.
    pub deactivate_scripts: Vec<PathBuf>,
    /// The activation scripts of the environment. They are sourced after everything is set.
    pub activate_scripts: Vec<PathBuf>,
    /// Activation scripts for other shells only. They are not sourced.
    pub foreign_scripts: Vec<PathBuf>,
    /// Names of the environment's variables that are ignored, because activation sets them itself.
    pub ignored: Vec<String>,
}

/// Computes the activation of a prefix for a kind of shell.
///
/// # Errors
/// If there is no environment in the prefix, or if its variables or scripts cannot be read.
pub fn activate(prefix: &Prefix, caller: CallerEnvironment<'_>, dialect: Dialect) -> Result<Activation, ActivateError> {
    if !prefix.is_environment() {
        return Err(ActivateError::NoEnvironment(prefix.path().to_owned()));
    }
    let contents = Contents::read(prefix.path(), dialect)?;
    let deactivate_scripts = match caller.prefix() {
        Some(previous) if caller.level() > 0 => contents::deactivate_scripts(previous, dialect)?,
        _ => Vec::new(),
    };
    Ok(compute(prefix.path(), contents, deactivate_scripts, caller))
}

/// Computes how to leave the active environment, for a kind of shell. If another environment was active before, it is
/// activated again, and variables get back their values of that time. `None` if no environment is active.
///
/// # Errors
/// If the variables or scripts of one of the two environments cannot be read.
pub fn deactivate(caller: CallerEnvironment<'_>, dialect: Dialect) -> Result<Option<Activation>, ActivateError> {
    let (Some(old), Some(level)) = (caller.prefix(), caller.level().checked_sub(1)) else { return Ok(None) };
    let deactivate_scripts = contents::deactivate_scripts(old, dialect)?;
    let (left, _) = own_variables(Contents::read(old, dialect)?.variables);
    let outer = format!("CONDA_PREFIX_{level}");
    let outer = caller.get(&outer).filter(|value| level > 0 && !value.is_empty()).map(PathBuf::from);
    let mut activation = match &outer {
        Some(prefix) => compute(prefix, Contents::read(prefix, dialect)?, deactivate_scripts, caller),
        None => Activation {
            path: SearchPath::Replaced(without(caller, &[old.join("bin").as_os_str()])),
            unset: ["CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"].map(OsString::from).to_vec(),
            variables: Vec::new(),
            deactivate_scripts,
            activate_scripts: Vec::new(),
            foreign_scripts: Vec::new(),
            ignored: Vec::new(),
        },
    };
    // An activation also saves the state before it. Here that state is of the environment that is left, so it is not
    // saved.
    let kept = |name: &OsStr| {
        let name = name.as_bytes();
        name == b"CONDA_SHLVL" || name.starts_with(b"CONDA_PREFIX_") || name.starts_with(b"__CONDA_SHLVL_")
    };
    activation.variables.retain(|(name, _)| !kept(name));
    let level_now = if outer.is_some() { level } else { 0 };
    activation.variables.push(("CONDA_SHLVL".into(), level_now.to_string().into()));
    activation.unset.push(format!("CONDA_PREFIX_{level}").into());
    for name in left.into_keys() {
        let saved = format!("__CONDA_SHLVL_{level}_{name}");
        match caller.get(&saved) {
            Some(value) => {
                activation.variables.retain(|(known, _)| *known != *name);
                activation.variables.push((name.into(), value.to_owned()));
                activation.unset.push(saved.into());
            }
            None => activation.unset.push(name.into()),
        }
    }
    Ok(Some(activation))
}

impl Activation {
    /// All variables to set, `PATH` first.
    pub fn all_variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        std::iter::once(("PATH".into(), self.path.value())).chain(self.variables.iter().cloned())
    }

    /// Whether there are scripts to source, so that a shell is needed.
    pub fn needs_shell(&self) -> bool {
        !self.activate_scripts.is_empty() || !self.deactivate_scripts.is_empty()
    }
}

/// Computes an activation from the contents of the prefix. Touches no file.
fn compute(
    prefix: &Path,
    contents: Contents,
    deactivate_scripts: Vec<PathBuf>,
    caller: CallerEnvironment<'_>,
) -> Activation {
    let level = caller.level();
    let previous = caller.prefix().filter(|_| level > 0);
    let again = previous.is_some_and(|previous| same(previous.as_os_str(), prefix.as_os_str()));
    let name = default_name(prefix, caller.root_prefix);

    let mut modifier = OsString::from("(");
    modifier.push(&name);
    modifier.push(") ");
    let new_level = if again { level } else { level.saturating_add(1) };
    let mut variables: Vec<(OsString, OsString)> = vec![
        ("CONDA_PREFIX".into(), prefix.into()),
        ("CONDA_SHLVL".into(), new_level.to_string().into()),
        ("CONDA_DEFAULT_ENV".into(), name),
        ("CONDA_PROMPT_MODIFIER".into(), modifier),
    ];
    if let Some(previous) = previous.filter(|_| !again) {
        variables.push((format!("CONDA_PREFIX_{level}").into(), previous.into()));
    }
    let (own, ignored) = own_variables(contents.variables);
    for (name, value) in own {
        // `conda deactivate` restores the variable from the one with this name.
        if let Some(old) = caller.get(&name).filter(|_| !again) {
            variables.push((format!("__CONDA_SHLVL_{level}_{name}").into(), old.to_owned()));
        }
        // As with conda, `deactivate` takes back what a user has unset since the activation.
        if value != UNSET {
            variables.push((name.into(), value.into()));
        }
    }
    Activation {
        path: search_path(prefix, caller),
        unset: Vec::new(),
        variables,
        deactivate_scripts,
        activate_scripts: contents.activate_scripts,
        foreign_scripts: contents.foreign_scripts,
        ignored,
    }
}

/// The environment's variables under the names that conda gives them, which are upper case. Those that a user has unset
/// are among them, with the value [`UNSET`]. Also returns the names of reserved variables.
fn own_variables(declared: BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<String>) {
    let mut own = BTreeMap::new();
    let mut ignored = Vec::new();
    for (name, value) in declared {
        let capitals = name.to_uppercase();
        if !RESERVED.contains(&capitals.as_str()) {
            // Two spellings can stand for one variable. One that is unset does not hide the other.
            if value != UNSET || !own.contains_key(&capitals) {
                own.insert(capitals, value);
            }
        } else if value != UNSET {
            ignored.push(name);
        }
    }
    (own, ignored)
}

/// The change of `PATH`: the prefix's `bin` is put first, and that of the active environment is removed.
fn search_path(prefix: &Path, caller: CallerEnvironment<'_>) -> SearchPath {
    let bin = prefix.join("bin").into_os_string();
    let current = caller.get("PATH").filter(|value| !value.is_empty()).unwrap_or(OsStr::new(DEFAULT_PATH));
    let leaving = caller.prefix().map(|previous| previous.join("bin").into_os_string());
    let stays = |entry: &OsStr| !same(entry, &bin) && !leaving.as_ref().is_some_and(|old| same(entry, old));
    let entries = || current.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
    if caller.get("PATH").is_some_and(|value| value == current) && entries().all(stays) {
        return SearchPath::Prepended { bin, rest: current.to_owned() };
    }
    SearchPath::Replaced(join(std::iter::once(bin.as_os_str()).chain(entries().filter(|entry| stays(entry)))))
}

/// `PATH` without the entries in `gone`.
fn without(caller: CallerEnvironment<'_>, gone: &[&OsStr]) -> OsString {
    let current = caller.get("PATH").unwrap_or_default();
    let entries = current.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
    join(entries.filter(|entry| !gone.iter().any(|old| same(entry, old))))
}

/// The name that conda gives to an environment (`CONDA_DEFAULT_ENV`): `base` for the root prefix, the directory's name
/// if its parent is named `envs`, and the whole path otherwise.
pub fn default_name(prefix: &Path, root_prefix: &Path) -> OsString {
    if same(prefix.as_os_str(), root_prefix.as_os_str()) {
        return "base".into();
    }
    let under_envs = prefix.parent().and_then(Path::file_name).is_some_and(|parent| parent == "envs");
    prefix.file_name().filter(|_| under_envs).unwrap_or(prefix.as_os_str()).to_owned()
}

/// Whether two paths are equal, apart from slashes at their ends.
fn same(one: &OsStr, other: &OsStr) -> bool {
    fn trimmed(path: &OsStr) -> &[u8] {
        let mut bytes = path.as_bytes();
        while let [shorter @ .., b'/'] = bytes {
            bytes = shorter;
        }
        bytes
    }
    trimmed(one) == trimmed(other)
}

/// Joins entries to a search path.
fn join<'a>(entries: impl IntoIterator<Item = &'a OsStr>) -> OsString {
    OsString::from_vec(entries.into_iter().map(OsStr::as_bytes).collect::<Vec<_>>().join(&b':'))
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_of_shells;
#[cfg(test)]
mod tests;
