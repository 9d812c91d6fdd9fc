//! The only module that reads environment variables, the home directory and the current directory.

#![allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]

#[cfg(feature = "install")]
mod network;
#[cfg(feature = "lock")]
mod pip;
#[cfg(feature = "image")]
mod registries;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

#[cfg(feature = "install")]
use mlconda::install::{Durability, Scripts};
use mlconda::{activate::CallerEnvironment, prefix::Prefix};

use crate::{error::CliError, global::Global};

/// The environment of the process, read once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The current directory.
    pub(crate) directory: PathBuf,
    /// The file of this program, if the system knows it.
    pub(crate) program: Option<PathBuf>,
    /// The home directory.
    pub(crate) home: Option<PathBuf>,
    /// The root prefix; its `envs/` holds environments by name.
    pub(crate) root_prefix: PathBuf,
    /// The root prefix of root, if none is given.
    shared_root: Option<PathBuf>,
    /// Directories of named environments that come before `envs/` of the root prefix: `CONDA_ENVS_DIRS`, and
    /// `envs_dirs` of a `.condarc` for command lines of conda.
    pub(crate) more_environments: Vec<PathBuf>,
    /// Custom channel names from a `.condarc`, for command lines of conda.
    pub(crate) custom_channels: Vec<(String, Vec<String>)>,
    /// URLs of channels, which can have logins.
    pub(crate) channel_urls: Vec<String>,
    /// The cache directory; `lock` makes it, `install` uses it only if it exists.
    pub(crate) cache_directory: Option<PathBuf>,
    /// Environment variables that are text.
    pub(crate) variables: Vec<(String, String)>,
    /// All environment variables as bytes.
    pub(crate) raw_variables: Vec<(OsString, OsString)>,
}

/// The file of this program, if the system knows it.
pub(crate) fn own_program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

impl Settings {
    /// Reads the environment, once.
    pub(crate) fn new(global: &Global) -> Self {
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
        // The one of the tool whose name is used counts more: hooks of shells and images set mlconda's.
        let of_mamba = || get("MAMBA_ROOT_PREFIX").filter(|_| global.is_mamba);
        let told = of_mamba().or_else(|| get("MLCONDA_ROOT")).map(PathBuf::from);
        let told = global.root_prefix.clone().or(told);
        let shared_root = told.is_none().then(|| PathBuf::from(SHARED_ROOT));
        let root_prefix = told.unwrap_or_else(|| default_root_prefix(home.as_deref(), get("XDG_DATA_HOME")));
        let own_cache = get("MLCONDA_CACHE_DIR").map(|path| below_home(Path::new(&path), home.as_deref()));
        let cache_directory = own_cache.map(|path| directory.join(path)).or_else(|| {
            get("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| default_cache(home)))
                .map(|path| path.join("mlconda"))
        });
        let more_environments = get("CONDA_ENVS_DIRS").or_else(|| get("CONDA_ENVS_PATH")).unwrap_or_default();
        let more_environments = more_environments.split(':').map(str::trim).filter(|path| !path.is_empty());
        let more_environments = more_environments.map(|path| expanded(path, &variables, home.as_deref()));
        Self {
            more_environments: more_environments.map(|path| plain(&directory.join(path))).collect(),
            root_prefix: plain(&directory.join(below_home(&root_prefix, home.as_deref()))),
            shared_root,
            program: own_program(),
            custom_channels: Vec::new(),
            channel_urls: Vec::new(),
            directory,
            home,
            cache_directory,
            variables,
            raw_variables,
        }
    }

    /// An environment variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The items of an environment variable with a list, separated by commas.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.variable(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The variables that scripts of packages get: network, language, temporary directory.
    pub(crate) fn script_variables(&self) -> Vec<(String, String)> {
        let told = |name: &str| {
            ["SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR", "LANG", "TERM"].contains(&name)
                || name.starts_with("LC_")
                || name.to_lowercase().ends_with("_proxy")
        };
        self.variables.iter().filter(|(name, _)| told(name)).cloned().collect()
    }

    /// The time of all created files (`SOURCE_DATE_EPOCH`), in seconds since 1970.
    pub(crate) fn source_date_epoch(&self) -> Result<Option<i64>, CliError> {
        let Some(text) = self.variable("SOURCE_DATE_EPOCH") else { return Ok(None) };
        let message = || {
            format!(
                "`SOURCE_DATE_EPOCH` is `{text}`, which is not a number of seconds from 0 to 253402207200 (the year 9999)"
            )
        };
        // The year 9999 is the last one of the history's times.
        let seconds = text.parse().ok().filter(|seconds| (0..=253_402_207_200_i64).contains(seconds));
        let wrong = || CliError::world(message(), "unset it, or set it to a number such as that of `date +%s`");
        seconds.map(Some).ok_or_else(wrong)
    }

    /// Whether scripts of packages run (`MLCONDA_NO_SCRIPTS`).
    #[cfg(feature = "install")]
    pub(crate) fn scripts(&self) -> Scripts {
        if self.raw_variable("MLCONDA_NO_SCRIPTS").is_some() { Scripts::Skip } else { Scripts::Run }
    }

    /// Whether an installation must survive a power failure (`MLCONDA_SYNC`).
    #[cfg(feature = "install")]
    pub(crate) fn durability(&self) -> Durability {
        if self.raw_variable("MLCONDA_SYNC").is_some() { Durability::PowerCuts } else { Durability::Kills }
    }

    /// An environment variable that is set and not empty, also if it is not UTF-8.
    pub(crate) fn raw_variable(&self, name: &str) -> Option<&OsStr> {
        let set = |(key, value): &&(OsString, OsString)| key == name && !value.is_empty();
        self.raw_variables.iter().find(set).map(|(_, value)| value.as_os_str())
    }

    /// The cache directory, if it exists: `install` never creates it.
    pub(crate) fn package_cache(&self) -> Option<PathBuf> {
        self.cache_directory.clone().filter(|directory| directory.is_dir())
    }

    /// A given path as absolute, without `.`, `..` and a leading `~`, because it is written into files of a prefix.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        plain(&self.directory.join(below_home(path, self.home.as_deref())))
    }

    /// The values for variables and `~` in locks.
    #[cfg(feature = "install")]
    pub(crate) fn expansion(&self) -> mlconda::lock::Expansion {
        mlconda::lock::Expansion { home: self.home.clone(), variables: self.variables.clone() }
    }

    /// A file to read, as an absolute path. `-` is stdin.
    pub(crate) fn input(&self, path: &Path) -> PathBuf {
        if path.as_os_str() == "-" { PathBuf::from("/dev/stdin") } else { self.absolute(path) }
    }

    /// A path in an image, relative to a directory there, without `.` and `..`.
    pub(crate) fn absolute_in(&self, directory: &Path, path: &Path) -> PathBuf {
        plain(&Path::new("/").join(directory).join(path))
    }

    /// The prefix of an environment by name, to change or to create. `base` and `root` are the root prefix itself, as with conda.
    /// An environment that exists is changed where it is; a new one gets the first directory that can be written.
    pub(crate) fn named_prefix(&self, name: &str) -> PathBuf {
        let own = self.root_prefix.join("envs");
        match self.more_environments.as_slice() {
            _ if is_root(name) => self.root_prefix.clone(),
            [] => own.join(name),
            more => {
                let mut all = more.to_vec();
                all.push(own.clone());
                place(name, &all).unwrap_or_else(|| {
                    all.into_iter().find(|directory| is_writable(directory)).unwrap_or(own).join(name)
                })
            }
        }
    }

    /// The root prefixes; the last one has priority.
    pub(crate) fn root_prefixes(&self) -> Vec<PathBuf> {
        self.shared_root.iter().chain([&self.root_prefix]).cloned().collect()
    }

    /// The directories of named environments, in the order of the search. The last is `envs/` of the root prefix. A
    /// user without one gets root's: in an image, root installs, and other users run.
    pub(crate) fn environment_directories(&self) -> Vec<PathBuf> {
        let own = self.root_prefix.join("envs");
        let last = match &self.shared_root {
            Some(shared) if !own.is_dir() => shared.join("envs"),
            _ => own,
        };
        let mut all: Vec<PathBuf> = Vec::new();
        for directory in self.more_environments.iter().chain([&last]) {
            if !all.contains(directory) {
                all.push(directory.clone());
            }
        }
        all
    }

    /// The prefix of an existing environment, by name.
    fn existing_prefix(&self, name: &str) -> Result<PathBuf, CliError> {
        let name = checked_name(name)?;
        let shared = self.shared_root.as_ref().filter(|_| !self.root_prefix.join("envs").is_dir());
        if is_root(name) {
            return Ok(shared.unwrap_or(&self.root_prefix).clone());
        }
        let all = self.environment_directories();
        let missing = || all.last().map(|directory| directory.join(name)).unwrap_or_default();
        Ok(place(name, &all).unwrap_or_else(missing))
    }

    /// The environment of an activation.
    pub(crate) fn surroundings(&self) -> CallerEnvironment<'_> {
        CallerEnvironment { variables: &self.raw_variables, root_prefix: &self.root_prefix }
    }

    /// The named environments and their prefixes, by directory and name. A directory that cannot be read has none.
    pub(crate) fn environments(&self) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for directory in self.environment_directories() {
            let entries = fs_err::read_dir(&directory).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries
                .filter(|entry| Prefix::open(entry.path()).is_ok_and(|prefix| prefix.is_environment()))
                .filter_map(|entry| entry.file_name().into_string().ok())
                // Temporary directories of an installation are not environments.
                .filter(|name| !(name.starts_with('.') && name.contains(".mlconda-")))
                .collect();
            mlconda::sorting::sort(&mut names);
            found.extend(names.into_iter().map(|name| (name.clone(), directory.join(name))));
        }
        found
    }
}

/// A path with the home directory in the place of a leading `~`, and the values of variables in the place of `$NAME` and
/// `${NAME}`. Variables that are not set stay, as with Python's `expandvars`.
pub(crate) fn expanded(path: &str, variables: &[(String, String)], home: Option<&Path>) -> PathBuf {
    let (mut text, mut rest) = (String::new(), path);
    while let Some((before, tail)) = rest.split_once('$') {
        text.push_str(before);
        let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let (name, after) = match tail.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(found) => found,
            None => tail.split_at(tail.find(is_other).unwrap_or(tail.len())),
        };
        let value = variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        text.push_str(value.unwrap_or("$"));
        rest = if value.is_some() { after } else { tail };
    }
    text.push_str(rest);
    below_home(Path::new(&text), home)
}

/// A path with the home directory in the place of a leading `~`. Shells do not expand it in `--prefix=~/env`, nor in
/// `ENV` of a Dockerfile.
fn below_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Where an environment of this name is: in the first directory that has one, else in the first that has a directory of this
/// name.
fn place(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let places = || directories.iter().map(|directory| directory.join(name));
    places().find(|place| place.join("conda-meta").is_dir()).or_else(|| places().find(|place| place.is_dir()))
}

/// Whether a directory can be written or, if it does not exist, created.
pub(crate) fn is_writable(directory: &Path) -> bool {
    let there = directory.ancestors().find(|path| path.symlink_metadata().is_ok());
    there.is_some_and(|path| path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
}

/// A path without `.` and `..`, by its text, like Python's `abspath`: it need not exist.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The root prefix of root.
const SHARED_ROOT: &str = "/opt/conda";

fn default_root_prefix(home: Option<&Path>, data_home: Option<String>) -> PathBuf {
    match home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            data_home.map_or_else(|| home.join(".local/share"), PathBuf::from).join("mlconda")
        }
        _ => PathBuf::from(SHARED_ROOT),
    }
}

fn default_cache(home: &Path) -> PathBuf {
    if cfg!(target_os = "macos") { home.join("Library/Caches") } else { home.join(".cache") }
}

/// Whether a name is one of conda's names of the root prefix.
pub(crate) fn is_root(name: &str) -> bool {
    matches!(name, "base" | "root")
}

/// A valid name of an environment, or an error.
pub(crate) fn checked_name(name: &str) -> Result<&str, CliError> {
    let message = || {
        format!("`{name}` is not a valid environment name: the name becomes a directory. Give a directory with `-p`")
    };
    if mlconda::environment::is_name(name) { Ok(name) } else { Err(CliError::Usage(message())) }
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
    /// The given prefix, if any, to install into.
    pub(crate) fn typed(&self, settings: &Settings) -> Result<Option<Prefix>, CliError> {
        let path = match (&self.prefix, &self.name) {
            (Some(path), _) => Some(settings.absolute(path)),
            (None, Some(name)) => Some(settings.named_prefix(checked_name(name)?)),
            (None, None) => None,
        };
        Ok(path.map(Prefix::open).transpose()?)
    }

    /// The environment to use: the given one, else the active one, else the only one under the root prefix.
    pub(crate) fn existing(&self, settings: &Settings) -> Result<Prefix, CliError> {
        let (prefix, named_by) = if let Some(path) = &self.prefix {
            (Prefix::open(settings.absolute(path))?, "")
        } else if let Some(name) = &self.name {
            (Prefix::open(settings.existing_prefix(name)?)?, "")
        } else if let Some(active) = settings.raw_variable("CONDA_PREFIX") {
            (Prefix::open(settings.absolute(Path::new(active)))?, ", which `$CONDA_PREFIX` names")
        } else {
            (only_environment(settings)?, "")
        };
        if prefix.is_environment() {
            return Ok(prefix);
        }
        Err(no_environment(&prefix, named_by, choice(settings)))
    }
}

/// The error for a prefix without an environment. If there is no permission to read it, nobody knows, and that is the
/// error.
pub(crate) fn no_environment(prefix: &Prefix, named_by: &str, hint: impl Into<String>) -> CliError {
    let path = prefix.path().display();
    let none = |_| CliError::world(format!("there is no environment in `{path}`{named_by}"), hint.into());
    prefix.record_names().map_or_else(CliError::from, none)
}

/// The only environment under the root prefix.
fn only_environment(settings: &Settings) -> Result<Prefix, CliError> {
    match settings.environments().as_slice() {
        [] => Err(CliError::world("no environment is given, none is active, and none was found", choice(settings))),
        [(_, path)] => Ok(Prefix::open(path)?),
        _ => Err(CliError::world("no environment is given, none is active, and there are several", choice(settings))),
    }
}

/// A hint with the environments to choose from.
fn choice(settings: &Settings) -> String {
    let directories: Vec<String> =
        settings.environment_directories().iter().map(|path| path.display().to_string()).collect();
    let holds = if directories.len() > 1 { "hold" } else { "holds" };
    let directories = crate::text::list(&directories);
    let mut names: Vec<String> = settings.environments().into_iter().map(|(name, _)| name).collect();
    let mut known = HashSet::new();
    names.retain(|name| known.insert(name.clone()));
    match names.as_slice() {
        [] => format!("{directories} {holds} no environment; give another directory with `-p DIR`"),
        [name] => {
            format!("{directories} {holds} `{name}`: choose it with `-n {name}`, or another directory with `-p DIR`")
        }
        names => {
            let names = crate::text::list(names);
            format!("{directories} {holds} {names}: choose one with `-n NAME`, or another directory with `-p DIR`")
        }
    }
}
