//! `remove` and `env remove`. Packages go with what needs them, and with what nothing needs any more then; nothing is solved
//! for that, and no channel is asked.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use mlconda::{
    Matches, RepoDataRecord, Subdir, environment::ChannelRule, environment::Environment, host::Host, install::Revision,
    lock::Lock, prefix::Prefix,
};
use serde_json::json;

use super::{
    channels::Channels,
    engine::{Change, apply, remove_prefix},
    environments::{Wanted, target},
    goal::{Inputs, There, name_of, record_name},
    is_own,
    line::Line,
    options::Verb,
    shown,
};
use crate::{
    report::CliError,
    settings::Context,
    words::{list, path_text},
};

pub(super) fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    if line.has("--all") && !line.has("--keep-env") {
        return environment(line, context);
    }
    let channels = Channels::of(line, context)?;
    let inputs = Inputs::of(line, Verb::Remove, context)?;
    let prefix = target(line, Wanted::OrActive, context)?;
    let there = There::read(prefix.clone(), &channels, context)?;
    let path = prefix.path().display();
    if !prefix.is_environment() {
        return Err(CliError::world(
            format!("there is no environment in `{path}`"),
            "`env list` shows the environments",
        ));
    }
    let options = channels.options(&channels.configured, ChannelRule::ExtraOnly, context);
    let specs = Environment::of_specs(&inputs.specs, &options)?.requirements;
    let is_meant = |name: &str, record: &RepoDataRecord| {
        specs.iter().any(|each| name_of(each).as_deref() == Some(name) && each.spec.matches(record))
    };
    let mut goes: BTreeSet<&str> = match line.has("--all") {
        true => there.names(),
        false => there
            .records
            .iter()
            .filter(|record| is_meant(record_name(record), &record.repodata_record))
            .map(record_name)
            .collect(),
    };
    let missing: Vec<&str> = specs
        .iter()
        .filter(|each| !name_of(each).is_some_and(|name| goes.contains(name.as_str()) || is_own(&name)))
        .map(|each| each.text.as_str())
        .collect();
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        return Err(CliError::world(
            format!("{} {verb} not installed in `{path}`", list(&missing)),
            "`list` shows what is",
        ));
    }
    if specs.is_empty() && !line.has("--all") {
        return Err(CliError::Usage("no package is named: `remove NAME…`, or `remove --all`".to_owned()));
    }
    let unasked = there.unasked();
    while !line.has("--force-remove") {
        let stay: Vec<&str> = there.names().difference(&goes).copied().collect();
        let needs: Vec<&str> = stay.into_iter().filter(|name| !there.needs(name).is_disjoint(&goes)).collect();
        if needs.is_empty() {
            break;
        }
        goes.extend(needs);
    }
    let asked: Vec<&str> =
        there.asked.keys().map(String::as_str).chain(unasked).filter(|name| !goes.contains(name)).collect();
    let keeps_all = line.has("--force-remove") || line.has("--keep-env");
    let stays = if keeps_all { there.names().difference(&goes).copied().collect() } else { there.closure(asked) };
    let stay: Vec<RepoDataRecord> = there
        .records
        .iter()
        .filter(|record| stays.contains(record_name(record)) && !goes.contains(record_name(record)))
        .map(|record| record.repodata_record.clone())
        .collect();
    let host = Host::detect(Path::new("/"));
    let subdirs = there.records.iter().filter_map(|record| record.repodata_record.package_record.subdir.parse().ok());
    let platform = subdirs.into_iter().find(|subdir| *subdir != Subdir::NoArch).unwrap_or(host.platform);
    let left = there.asked.iter().filter(|(name, _)| !goes.contains(name.as_str()));
    let lock = Lock { specs: left.map(|(_, asked)| shown(asked)).collect(), ..Lock::of_records(platform, &stay)? };
    let removed = goes.iter().map(|name| (*name).to_owned()).collect();
    let revision = Revision::Change { updated: Vec::new(), removed, neutered: Vec::new() };
    let command = format!("conda {}", line.command());
    let change =
        Change { lock, prefix, replaces: false, command, revision, is_asked_anew: false, relink: BTreeSet::new() };
    apply(change, line, &host, context)
}

/// Removes an environment as a whole.
pub(super) fn environment(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix: Prefix = match line.words()?.as_slice() {
        [] => target(line, Wanted::Named(None), context)?,
        _ => {
            let message =
                "an environment that is removed as a whole is named by `-n NAME` or `-p DIR`, and no package with it";
            return Err(CliError::Usage(message.to_owned()));
        }
    };
    let (path, root) = (prefix.path(), &context.settings.root_prefix);
    if path == root || root.starts_with(path) {
        let message = format!("the root prefix `{}` is not removed", path.display());
        return Err(CliError::world(message, "`remove NAME…` removes packages of it"));
    }
    if !prefix.is_environment() {
        let message = format!("there is no environment in `{}`", path.display());
        return Err(CliError::world(message, "`env list` shows the environments"));
    }
    if line.has("--dry-run") {
        context.ui.say(&format!("Would remove `{}`.", path.display()));
    } else {
        remove_prefix(&prefix)?;
        context.ui.say(&format!("`{}` is removed.", path.display()));
    }
    if line.has("--json") {
        context
            .ui
            .json(&json!({ "success": true, "prefix": path_text(path), "actions": { "UNLINK": [], "LINK": [] } }))?;
    }
    Ok(ExitCode::SUCCESS)
}
