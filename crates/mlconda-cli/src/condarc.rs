//! The configuration of conda and mamba: `.condarc` files and variables that begin with `CONDA_`. It is used by the
//! command lines of conda only; `mlconda lock` and `mlconda install` do not read it.
//!
//! Files are searched where conda searches them, and merged as conda does: the last value counts, lists are joined with
//! the items of the last file first, mappings are joined by key. Unknown keys are kept and ignored.

mod config;
mod output;

use std::path::{Path, PathBuf};

use mlconda::edit::YamlEditor;
use serde_json::{Map, Value as Json};

pub(crate) use self::config::run as config;
use crate::{
    context::Context,
    error::CliError,
    settings::{self, Settings},
};

/// The name of the variables in the list of sources.
const VARIABLES: &str = "envvars";

/// Keys that hold lists.
const LISTS: &[&str] = &[
    "aggressive_update_packages",
    "allowlist_channels",
    "channels",
    "create_default_packages",
    "default_channels",
    "denylist_channels",
    "disallowed_packages",
    "envs_dirs",
    "pinned_packages",
    "pkgs_dirs",
    "repodata_fns",
    "track_features",
];

/// Keys that hold mappings.
const MAPPINGS: &[&str] = &[
    "channel_settings",
    "conda_build",
    "custom_channels",
    "custom_multichannels",
    "migrated_channel_aliases",
    "plugins",
    "proxy_servers",
];

/// Keys with one value that are used here, or set often.
const VALUES: &[&str] = &[
    "add_pip_as_python_dependency",
    "always_yes",
    "auto_activate_base",
    "auto_update_conda",
    "changeps1",
    "channel_alias",
    "channel_priority",
    "dry_run",
    "env_prompt",
    "offline",
    "pip_interop_enabled",
    "report_errors",
    "show_channel_urls",
    "solver",
    "ssl_verify",
    "subdir",
];

/// The merged configuration.
#[derive(Debug, Default)]
pub(crate) struct Condarc {
    /// The keys of each source; the last source has the highest priority.
    sources: Vec<(String, Map<String, Json>)>,
}

impl Condarc {
    /// Reads all sources.
    pub(crate) fn read(settings: &Settings) -> Result<Self, CliError> {
        let mut condarc = Self::default();
        for file in files(settings) {
            if let Some(text) = read(&file)? {
                condarc.add(file.display().to_string(), text.to_json()?);
            }
        }
        let variable = |key: &&str| {
            let value = settings.variable(&format!("CONDA_{}", key.to_uppercase()));
            let other = || settings.variable("CONDA_ENVS_PATH").filter(|_| *key == "envs_dirs");
            Some((key.to_string(), value.or_else(other)?))
        };
        let values = VALUES.iter().filter_map(variable).map(|(key, value)| (key, config::value(value)));
        let list = |key: &str, value: &str| {
            let separator = match key {
                "envs_dirs" => ':',
                "pinned_packages" => '&',
                _ => ',',
            };
            value.split(separator).map(|part| Json::from(part.trim())).collect()
        };
        let lists = LISTS.iter().filter_map(variable).map(|(key, value)| (key.clone(), list(&key, value)));
        let variables: Map<String, Json> = values.chain(lists).collect();
        if !variables.is_empty() {
            condarc.add(VARIABLES.to_owned(), Json::Object(variables));
        }
        Ok(condarc)
    }

    /// Reads one file; a missing file is empty.
    pub(crate) fn read_only(file: &Path) -> Result<Self, CliError> {
        let mut condarc = Self::default();
        if let Some(text) = read(file)? {
            condarc.add(file.display().to_string(), text.to_json()?);
        }
        Ok(condarc)
    }

    fn add(&mut self, name: String, json: Json) {
        if let Json::Object(mut values) = json {
            // Another name of the key.
            if let (Some(directories), false) = (values.remove("envs_path"), values.contains_key("envs_dirs")) {
                values.insert("envs_dirs".to_owned(), directories);
            }
            self.sources.push((name, values));
        }
    }

    /// The merged value of a key.
    fn get(&self, key: &str) -> Option<Json> {
        let mut told =
            self.sources.iter().rev().filter_map(|(_, values)| values.get(key)).filter(|value| !value.is_null());
        let first = told.next()?.clone();
        Some(told.fold(first, |mut sum, more| {
            match (&mut sum, more) {
                (Json::Array(sum), Json::Array(more)) => {
                    more.iter().for_each(|item| {
                        if !sum.contains(item) {
                            sum.push(item.clone())
                        }
                    });
                }
                (Json::Object(sum), Json::Object(more)) => {
                    for (key, value) in more {
                        sum.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                }
                _ => {}
            }
            sum
        }))
    }

    /// All keys that are set, sorted.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.sources.iter().flat_map(|(_, values)| values.keys().cloned()).collect();
        mlconda::sorting::sort(&mut keys);
        keys.dedup();
        keys
    }

    /// Whether any source has the key, even without a value.
    pub(crate) fn names(&self, key: &str) -> bool {
        self.sources.iter().any(|(_, values)| values.contains_key(key))
    }

    /// A list; one value is a list of one.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        self.get(key).as_ref().map(texts).unwrap_or_default()
    }

    /// A value as text.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(|value| text(&value))
    }

    /// Whether a key is on or off; `None` if it is not set.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key)?.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "0" => Some(false),
            _ => None,
        }
    }

    /// Names of channels, and the channels behind them.
    fn custom_channels(&self) -> Vec<(String, Vec<String>)> {
        let object = |key: &str| self.get(key).and_then(|value| value.as_object().cloned()).unwrap_or_default();
        let under = |(name, base): (String, Json)| {
            let base = text(&base)?;
            let url = format!("{}/{name}", base.trim_end_matches('/'));
            Some((name, vec![url]))
        };
        let single: Vec<(String, Vec<String>)> = object("custom_channels").into_iter().filter_map(under).collect();
        let mut all = single.clone();
        for (name, channels) in object("custom_multichannels") {
            let of = |name: &String| single.iter().find(|(known, _)| known == name).map(|(_, told)| told[0].clone());
            let channels = texts(&channels).into_iter().map(|name| of(&name).unwrap_or(name)).collect();
            all.push((name, channels));
        }
        all
    }

    /// The directories of named environments (`envs_dirs`) as absolute paths, in the order of their priority.
    fn environment_directories(&self, settings: &Settings) -> Vec<PathBuf> {
        let given = self.list("envs_dirs");
        let given = given.iter().map(|path| path.trim()).filter(|path| !path.is_empty());
        let expanded = |path: &str| settings::expanded(path, &settings.variables, settings.home.as_deref());
        given.map(|path| settings.absolute(&expanded(path))).collect()
    }

    /// Sets the directories of named environments in the settings, if there are any.
    pub(crate) fn apply_directories(&self, settings: &mut Settings) {
        let directories = self.environment_directories(settings);
        if !directories.is_empty() {
            settings.more_environments = directories;
        }
    }

    /// Sets certificates, proxies and channel names in the settings, where no variable sets them.
    pub(crate) fn apply(&self, context: &mut Context) {
        let settings = &mut context.settings;
        settings.custom_channels = self.custom_channels();
        let mut unless_set = |name: &str, value: Option<String>| {
            let known = settings.variable(name).or_else(|| settings.variable(&name.to_uppercase()));
            if let (None, Some(value)) = (known, value) {
                settings.variables.push((name.to_owned(), value));
            }
        };
        let proxies = self.get("proxy_servers").unwrap_or_default();
        unless_set("http_proxy", proxies.get("http").and_then(text));
        unless_set("https_proxy", proxies.get("https").and_then(text));
        let certificates = self.text("ssl_verify").filter(|_| self.flag("ssl_verify").is_none());
        unless_set("SSL_CERT_FILE", certificates.filter(|path| path != "truststore"));
        if self.flag("ssl_verify") == Some(false) {
            context.ui.warn(
                "`ssl_verify: false` has no effect: certificates are checked; `ssl_verify: FILE` adds trusted certificates",
            );
        }
    }
}

fn texts(value: &Json) -> Vec<String> {
    value.as_array().map_or_else(|| text(value).into_iter().collect(), |items| items.iter().filter_map(text).collect())
}

fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A file that may be missing.
fn read(file: &Path) -> Result<Option<YamlEditor>, CliError> {
    match mlconda::files::read(file, mlconda::files::LARGEST_TEXT) {
        Ok(bytes) => Ok(Some(YamlEditor::new(&bytes, file)?)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        // Another user's home directory, as in a container with `USER`: nobody knows whether the file exists.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && std::fs::metadata(file).is_err() => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The files that exist; later files have priority.
pub(crate) fn existing_files(settings: &Settings) -> Vec<PathBuf> {
    files(settings).into_iter().filter(|file| file.is_file()).collect()
}

/// The files that are searched, also missing ones; later files have priority.
fn files(settings: &Settings) -> Vec<PathBuf> {
    let mut directories = vec![PathBuf::from("/etc/conda"), PathBuf::from("/var/lib/conda")];
    directories.extend(settings.root_prefixes());
    directories
        .extend(settings.variable("XDG_CONFIG_HOME").map(|path| settings.absolute(&Path::new(path).join("conda"))));
    let home = settings.home.as_deref();
    directories.extend(home.into_iter().flat_map(|home| [home.join(".config/conda"), home.join(".conda")]));
    let mut files: Vec<PathBuf> = directories.iter().flat_map(|directory| in_directory(directory)).collect();
    files.extend(home.into_iter().flat_map(|home| [home.join(".condarc"), home.join(".mambarc")]));
    if let Some(prefix) = settings.variable("CONDA_PREFIX") {
        files.extend(in_directory(&settings.absolute(Path::new(prefix))));
    }
    let named = ["CONDARC", "MAMBARC"].into_iter().filter_map(|name| settings.variable(name));
    files.extend(named.map(|path| settings.absolute(Path::new(path))));
    // A file with two names counts once, at its last position.
    let mut seen = std::collections::HashSet::new();
    files.reverse();
    files.retain(|file| seen.insert(file.clone()));
    files.reverse();
    files
}

/// The files of a directory that are searched.
fn in_directory(directory: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(directory.join("condarc.d")).into_iter().flatten().flatten();
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "yml" || kind == "yaml");
    let mut more: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_yaml).collect();
    mlconda::sorting::sort(&mut more);
    [directory.join(".condarc"), directory.join("condarc")].into_iter().chain(more).collect()
}
