//! The environment of a command, and the list of environments: `env list`, `info`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{host::Host, prefix::Prefix, redact};
use serde_json::{Value, json};

use super::{CONDA, channels::Channels, goal::record_name, line::Line, tool::Tool};
use crate::{
    context::Context,
    error::CliError,
    settings::{self, PrefixArgs, checked_name},
    text::{list, path_text, word},
};

/// The environment if none is given.
pub(super) enum Wanted<'a> {
    /// An error, unless the file names one.
    Named(Option<&'a str>),
    /// The active environment, else the root prefix.
    OrActive,
}

/// The environment that a command changes.
pub(super) fn target(line: &Line, wanted: Wanted<'_>, context: &Context) -> Result<Prefix, CliError> {
    let settings = &context.settings;
    let path = match (line.value("--prefix"), line.value("--name"), wanted) {
        (Some(_), Some(_), _) => {
            return Err(CliError::Usage("give `-p` or `-n`, not both".to_owned()));
        }
        (Some(path), None, _) => settings.absolute(Path::new(path)),
        (None, Some(name), _) => settings.named_prefix(named(name)?),
        (None, None, Wanted::Named(Some(name))) => settings.named_prefix(named(name)?),
        (None, None, Wanted::Named(None)) => {
            let message = "no environment is named: `-n NAME`, or `-p DIR`";
            return Err(CliError::Usage(message.to_owned()));
        }
        (None, None, Wanted::OrActive) => active(context).unwrap_or_else(|| settings.root_prefix.clone()),
    };
    Ok(Prefix::open(path)?)
}

/// The active environment.
fn active(context: &Context) -> Option<PathBuf> {
    let settings = &context.settings;
    settings.raw_variable("CONDA_PREFIX").map(|path| settings.absolute(Path::new(path)))
}

/// Whether a prefix is the active environment, also by another path.
pub(super) fn is_active(prefix: &Prefix, context: &Context) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    active(context).is_some_and(|active| active == prefix.path() || real(&active) == real(prefix.path()))
}

/// A name; a path is an error.
fn named(name: &str) -> Result<&str, CliError> {
    if name.contains('/') {
        let message = format!("`-n` takes a name, but `{name}` is a path");
        return Err(CliError::world(message, format!("give the directory with `-p {}`", word(name))));
    }
    checked_name(name)
}

/// The prefix of an environment that is given by name or path.
pub(super) fn by_name_or_path(text: &str, context: &Context) -> Result<Prefix, CliError> {
    let settings = &context.settings;
    let path = if text.contains('/') {
        settings.absolute(Path::new(text))
    } else {
        settings.named_prefix(checked_name(text)?)
    };
    Ok(Prefix::open(path)?)
}

/// The environment as options of mlconda's commands. The default is the root prefix if it is an environment.
pub(super) fn existing(line: &Line, context: &Context) -> Result<PrefixArgs, CliError> {
    let name = line.value("--name").map(named).transpose()?.map(str::to_owned);
    let mut prefix = line.value("--prefix").map(PathBuf::from);
    if prefix.is_none() && name.is_none() && active(context).is_none() {
        let root = Prefix::open(context.settings.root_prefix.clone())?;
        prefix = root.is_environment().then(|| root.path().to_owned());
    }
    Ok(PrefixArgs { prefix, name })
}

/// If pip installed one of these packages: a message that says so, and the names of those that it installed.
pub(super) fn by_pip(prefix: &Prefix, names: &[String]) -> Result<Option<(String, String)>, CliError> {
    let mut records = prefix.records()?;
    let of_lock = prefix.distributions()?;
    let untracked = prefix.untracked(&mut records)?;
    // Names of distributions are normalized (PEP 503).
    let is_one = |name: &String| {
        let name = name.to_lowercase().replace(['_', '.'], "-");
        of_lock.iter().any(|record| record_name(record) == name) || untracked.iter().any(|each| each.name == name)
    };
    let found: Vec<&str> = names.iter().filter(|name| is_one(name)).map(String::as_str).collect();
    if found.is_empty() {
        return Ok(None);
    }
    let verb = if found.len() == 1 { "is a package" } else { "are packages" };
    let message = format!("{} {verb} of pip in `{}`, not of conda", list(&found), prefix.path().display());
    Ok(Some((message, found.join(" "))))
}

/// All environments: the root prefix, and those with a name.
pub(super) fn all(context: &Context) -> Vec<(String, PathBuf)> {
    let root = ("base".to_owned(), context.settings.root_prefix.clone());
    std::iter::once(root).chain(context.settings.environments()).collect()
}

/// `env list`, and `info --envs`.
pub(super) fn show(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let environments = all(context);
    if line.has("--json") {
        let paths: Vec<String> = environments.iter().map(|(_, path)| path_text(path)).collect();
        context.ui.json(&json!({ "envs": paths }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let active = active(context);
    let mut text = "# conda environments:\n#\n".to_owned();
    for (name, path) in &environments {
        let mark = if active.as_ref() == Some(path) { '*' } else { ' ' };
        text.push_str(&format!("{name:<20} {mark} {}\n", path.display()));
    }
    text.push('\n');
    context.ui.text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `info`, with the labels that scripts search for.
pub(super) fn info(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let settings = &context.settings;
    let root = path_text(&settings.root_prefix);
    if line.has("--base") {
        match line.has("--json") {
            true => context.ui.json(&json!({ "root_prefix": root }))?,
            false => context.ui.data(format!("{root}\n"))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if line.has("--envs") {
        return show(line, context);
    }
    if let Some(word) = line.words()?.first() {
        return Err(CliError::world("`info` does not show packages", format!("`search '{word}' --info` does")));
    }
    if line.has("--json") {
        context.ui.json(&info_as_json(line, context)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let host = Host::detect(Path::new("/"));
    let active = active(context).map(|path| path_text(&path));
    let virtual_packages: Vec<String> = host.virtual_packages.iter().map(ToString::to_string).collect();
    let directories: Vec<String> = settings.environment_directories().iter().map(|path| path_text(path)).collect();
    let cache = settings.package_cache().map(|path| path_text(&path));
    let Channels { typed, configured, .. } = Channels::of(&Line { options: Vec::new(), ..line.clone() }, context)?;
    let shown = |channel: &String| redact::text(&redact::without_tokens(channel));
    let channels: Vec<String> = typed.iter().chain(&configured).map(shown).collect();
    let version = if line.tool == Tool::Micromamba { super::MAMBA } else { CONDA };
    let none = || "None".to_owned();
    let rows = [
        ("active environment", settings.variable("CONDA_DEFAULT_ENV").map_or_else(none, str::to_owned)),
        ("active env location", active.unwrap_or_else(none)),
        (
            if line.tool == Tool::Micromamba { "micromamba version" } else { "conda version" },
            format!("{version} (mlconda {})", env!("CARGO_PKG_VERSION")),
        ),
        ("virtual packages", virtual_packages.join(" ")),
        ("base environment", root),
        ("channel URLs", channels.join(" ")),
        ("package cache", cache.unwrap_or_else(none)),
        ("envs directories", directories.join(&format!("\n{:27}", ""))),
        ("platform", host.platform.as_str().to_owned()),
    ];
    context.ui.text(&rows.map(|(name, value)| format!("{name:>24} : {value}\n")).concat())?;
    Ok(ExitCode::SUCCESS)
}

/// `info --json`, with the keys that scripts and editors read.
pub(super) fn info_as_json(line: &Line, context: &Context) -> Result<Value, CliError> {
    let settings = &context.settings;
    let text = |path: PathBuf| path_text(&path);
    let texts = |paths: Vec<PathBuf>| paths.into_iter().map(text).collect::<Vec<_>>();
    let (root, host) = (path_text(&settings.root_prefix), Host::detect(Path::new("/")));
    let active = active(context).map(text);
    let virtual_packages: Vec<String> = host.virtual_packages.iter().map(ToString::to_string).collect();
    let parts: Vec<Vec<&str>> = virtual_packages.iter().map(|package| package.split('=').collect()).collect();
    let Channels { typed, configured, .. } = Channels::of(&Line { options: Vec::new(), ..line.clone() }, context)?;
    let shown = |channel: &String| redact::text(&redact::without_tokens(channel));
    let channels: Vec<String> = typed.iter().chain(&configured).map(shown).collect();
    let own_file = settings.home.as_ref().map(|home| text(home.join(".condarc")));
    let level = settings.variable("CONDA_SHLVL").and_then(|level| level.parse::<i64>().ok());
    Ok(json!({
        "active_prefix": active,
        "active_prefix_name": settings.variable("CONDA_DEFAULT_ENV"),
        "channels": channels,
        "conda_prefix": root,
        "conda_shlvl": level.unwrap_or(-1),
        "conda_version": if line.tool == Tool::Micromamba { super::MAMBA } else { CONDA },
        "config_files": texts(crate::condarc::existing_files(settings)),
        "default_prefix": active.clone().unwrap_or_else(|| root.clone()),
        "envs": texts(all(context).into_iter().map(|(_, path)| path).collect()),
        "envs_dirs": texts(settings.environment_directories()),
        "mlconda_version": env!("CARGO_PKG_VERSION"),
        "offline": false,
        "pkgs_dirs": texts(settings.package_cache().into_iter().collect()),
        "platform": host.platform.as_str(),
        "rc_path": own_file,
        "root_prefix": root,
        "root_writable": settings::is_writable(&settings.root_prefix),
        "sys_rc_path": text(settings.root_prefix.join(".condarc")),
        "user_rc_path": own_file,
        "virtual_pkgs": parts,
    }))
}
