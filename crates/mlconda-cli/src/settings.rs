//! What the command line means here: the only reader of environment variables, the home directory and the
//! current directory.

#![allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use mlconda::{activate::Surroundings, prefix::Prefix};

use crate::{args::Global, report::CliError, ui::Ui};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) settings: Settings,
}

/// The world around the process, read once.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The current directory.
    pub(crate) directory: PathBuf,
    /// The home directory.
    pub(crate) home: Option<PathBuf>,
    /// The root prefix; its `envs/` holds environments by name.
    pub(crate) root_prefix: PathBuf,
    /// The cache directory; `lock` makes it, `install` uses it only if it exists.
    pub(crate) cache_directory: Option<PathBuf>,
    /// Environment variables that are text.
    pub(crate) variables: Vec<(String, String)>,
    /// Environment variables, all of them and as they are.
    pub(crate) raw_variables: Vec<(OsString, OsString)>,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        Self { ui: Ui::new(global.quiet), settings: Settings::new(global) }
    }

    /// Runs a future to its end, on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(future))
    }
}

impl Settings {
    fn new(global: &Global) -> Self {
        let raw_variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let variables: Vec<(String, String)> = raw_variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
            .collect();
        let get = |name: &str| {
            variables.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone())
        };
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let home = get("HOME").map(PathBuf::from);
        let root_prefix = global.root_prefix.clone().or_else(|| get("MLCONDA_ROOT").map(PathBuf::from));
        let root_prefix = root_prefix.unwrap_or_else(|| default_root_prefix(home.as_deref(), get("XDG_DATA_HOME")));
        let cache_directory = get("MLCONDA_CACHE_DIR").map(|path| directory.join(path)).or_else(|| {
            get("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| default_cache(home)))
                .map(|path| path.join("mlconda"))
        });
        Self { root_prefix: directory.join(root_prefix), directory, home, cache_directory, variables, raw_variables }
    }

    /// An environment variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The same, whatever its bytes.
    pub(crate) fn raw_variable(&self, name: &str) -> Option<&OsStr> {
        let set = |(key, value): &&(OsString, OsString)| key == name && !value.is_empty();
        self.raw_variables.iter().find(set).map(|(_, value)| value.as_os_str())
    }

    /// A path as typed, made absolute.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The prefix of an environment by name.
    pub(crate) fn named_prefix(&self, name: &str) -> PathBuf {
        self.root_prefix.join("envs").join(name)
    }

    /// What an activation takes place in.
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { variables: &self.raw_variables, root_prefix: &self.root_prefix }
    }

    /// The names of the environments under the root prefix, sorted. A directory that cannot be read has none.
    pub(crate) fn environments(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.root_prefix.join("envs")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().join("conda-meta").is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

fn default_root_prefix(home: Option<&Path>, data_home: Option<String>) -> PathBuf {
    match home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            data_home.map_or_else(|| home.join(".local/share"), PathBuf::from).join("mlconda")
        }
        _ => PathBuf::from("/opt/conda"),
    }
}

fn default_cache(home: &Path) -> PathBuf {
    if cfg!(target_os = "macos") { home.join("Library/Caches") } else { home.join(".cache") }
}

/// Options that name a prefix.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PrefixArgs {
    /// The prefix: the directory of the environment
    #[arg(short, long, value_name = "DIR", conflicts_with = "name")]
    pub(crate) prefix: Option<PathBuf>,
    /// The environment's name: its prefix is `envs/NAME` under the root prefix
    #[arg(short, long)]
    pub(crate) name: Option<String>,
}

impl PrefixArgs {
    /// The prefix that was typed, if one was.
    pub(crate) fn typed(&self, settings: &Settings) -> Result<Option<Prefix>, CliError> {
        let path = match (&self.prefix, &self.name) {
            (Some(path), _) => Some(settings.absolute(path)),
            (None, Some(name)) => Some(settings.named_prefix(name)),
            (None, None) => None,
        };
        Ok(path.map(Prefix::open).transpose()?)
    }

    /// The environment to work with: the one typed, else the active one, else the only one under the root prefix.
    pub(crate) fn existing(&self, settings: &Settings) -> Result<Prefix, CliError> {
        let (prefix, named_by) = if let Some(prefix) = self.typed(settings)? {
            (prefix, "")
        } else if let Some(active) = settings.raw_variable("CONDA_PREFIX") {
            (Prefix::open(settings.absolute(Path::new(active)))?, ", which `$CONDA_PREFIX` names")
        } else {
            (only_environment(settings)?, "")
        };
        if prefix.is_environment() {
            return Ok(prefix);
        }
        let path = prefix.path().display();
        Err(CliError::world(format!("there is no environment in `{path}`{named_by}"), choice(settings)))
    }
}

/// The only environment under the root prefix.
fn only_environment(settings: &Settings) -> Result<Prefix, CliError> {
    match settings.environments().as_slice() {
        [] => {
            Err(CliError::world("no environment is named, none is active, and there is none to find", choice(settings)))
        }
        [name] => Ok(Prefix::open(settings.named_prefix(name))?),
        _ => Err(CliError::world("no environment is named, none is active, and there are several", choice(settings))),
    }
}

/// What there is to choose from.
fn choice(settings: &Settings) -> String {
    let directory = settings.root_prefix.join("envs");
    let directory = directory.display();
    match settings.environments().as_slice() {
        [] => format!("`{directory}` holds no environment; name one elsewhere with `-p DIR`"),
        [name] => format!("`{directory}` holds `{name}`: name it with `-n {name}`, or one elsewhere with `-p DIR`"),
        names => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let names = crate::ui::list(&names);
            format!("`{directory}` holds {names}: name one with `-n NAME`, or one elsewhere with `-p DIR`")
        }
    }
}
