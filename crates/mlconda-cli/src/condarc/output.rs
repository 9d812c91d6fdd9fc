//! The output of `config`, in conda's form, which scripts read.

use std::{collections::HashSet, path::PathBuf};

use serde_json::{Map, Value as Json, json};

use super::Condarc;
use crate::{error::CliError, settings::Settings};

pub(super) const HELP: &str = "\
Read and change .condarc, which only the command lines of conda, mamba and micromamba read

Usage: config [--system | --env | --file FILE] [--json] ACTION...
  --add, --prepend KEY VALUE   add a value to the top of a list
  --append KEY VALUE           add it to the bottom
  --set KEY VALUE              set a key that has one value
  --remove KEY VALUE           remove a value from a list
  --remove-key KEY             remove a key
  --get [KEY...]               the values in the file
  --show [KEY...]              the merged values of all files and variables
  --show-sources               the values of each file and of the variables
As with mamba, actions can be written without dashes: `config append channels conda-forge`.
By default, ~/.condarc is changed; `--system` is .condarc in the root prefix, `--env` is .condarc in the active one.
";

/// `--get`: the values as options that set them.
pub(super) fn get(condarc: &Condarc, keys: &[String], json: Option<&PathBuf>) -> String {
    let keys = if keys.is_empty() { condarc.keys() } else { keys.to_vec() };
    let of = |key: &String| {
        let (first, rest) = key.split_once('.').map_or((key.as_str(), None), |(first, rest)| (first, Some(rest)));
        let value = condarc.get(first)?;
        Some((key.clone(), rest.map_or(Some(value.clone()), |rest| value.get(rest).cloned())?))
    };
    let told: Map<String, Json> = keys.iter().filter_map(of).collect();
    if let Some(file) = json {
        let path = file.display().to_string();
        return format!("{:#}\n", json!({"get": told, "rc_path": path, "success": true, "warnings": []}));
    }
    let mut text = String::new();
    told.iter().for_each(|(key, value)| option(key, value, &mut text));
    text
}

fn option(key: &str, value: &Json, text: &mut String) {
    match value {
        Json::Object(entries) => entries.iter().for_each(|(name, value)| option(&format!("{key}.{name}"), value, text)),
        Json::Array(items) => {
            for (index, item) in items.iter().rev().enumerate() {
                let rank = match index {
                    _ if key != "channels" => "",
                    0 => "   # lowest priority",
                    index if index + 1 == items.len() => "   # highest priority",
                    _ => "",
                };
                *text += &format!("--add {key} '{}'{rank}\n", plain(item));
            }
        }
        value => *text += &format!("--set {key} {}\n", plain(value)),
    }
}

/// `--show`: as YAML.
pub(super) fn show(condarc: &Condarc, keys: &[String], is_json: bool, settings: &Settings) -> Result<String, CliError> {
    let defaults = defaults(condarc, settings);
    let mut wanted = keys.to_vec();
    if wanted.is_empty() {
        wanted = condarc.keys().into_iter().chain(defaults.keys().cloned()).collect();
        mlconda::sorting::sort(&mut wanted);
        wanted.dedup();
    }
    let mut told = Map::new();
    for key in wanted {
        let is_known = [super::LISTS, super::MAPPINGS, super::VALUES].concat().contains(&key.as_str());
        let value = if key == "envs_dirs" { None } else { condarc.get(&key) };
        match value.or_else(|| defaults.get(&key).cloned()) {
            Some(value) => drop(told.insert(key, value)),
            None if is_known => drop(told.insert(key, Json::Null)),
            None => {
                let hint = "`config --show` shows all keys";
                return Err(CliError::world(format!("the key `{key}` is unknown and not set"), hint));
            }
        }
    }
    Ok(if is_json { format!("{:#}\n", Json::Object(told)) } else { yaml(&told, "") })
}

/// `--show-sources`.
pub(super) fn sources(condarc: &Condarc, is_json: bool) -> String {
    if is_json {
        let told: Map<String, Json> =
            condarc.sources.iter().map(|(name, values)| (name.clone(), Json::Object(values.clone()))).collect();
        return format!("{:#}\n", Json::Object(told));
    }
    condarc.sources.iter().map(|(name, values)| format!("==> {name} <==\n{}\n", yaml(values, ""))).collect()
}

/// The default values, and the directories of environments, to which the default always belongs.
fn defaults(condarc: &Condarc, settings: &Settings) -> Map<String, Json> {
    let mut directories = condarc.environment_directories(settings);
    directories.push(settings.root_prefix.join("envs"));
    let mut known = HashSet::new();
    directories.retain(|directory| known.insert(directory.clone()));
    let defaults = json!({
        "always_yes": null,
        "auto_activate_base": true,
        "changeps1": true,
        "channel_alias": "https://conda.anaconda.org",
        "channel_priority": "flexible",
        "channels": ["defaults"],
        "default_channels": ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"],
        "envs_dirs": directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "offline": false,
        "pkgs_dirs": settings.cache_directory.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "ssl_verify": true,
    });
    defaults.as_object().cloned().unwrap_or_default()
}

fn yaml(values: &Map<String, Json>, indent: &str) -> String {
    let line = |(key, value): (&String, &Json)| match value {
        Json::Array(items) if !items.is_empty() => {
            let items: String = items.iter().map(|item| format!("{indent}  - {}\n", plain(item))).collect();
            format!("{indent}{key}:\n{items}")
        }
        Json::Object(entries) if !entries.is_empty() => {
            format!("{indent}{key}:\n{}", yaml(entries, &format!("{indent}  ")))
        }
        value => format!("{indent}{key}: {}\n", plain(value)),
    };
    values.iter().map(line).collect()
}

/// A value as Python prints it.
fn plain(value: &Json) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
