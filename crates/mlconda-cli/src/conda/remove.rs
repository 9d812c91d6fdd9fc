//! `remove` and `env remove`. Packages are removed with those that need them, and with dependencies that are no longer
//! needed. This needs no solve and no channel.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use mlconda::{
    Matches, PrefixRecord, RepoDataRecord,
    environment::{ChannelRule, Environment, Requirement},
    host::Host,
    install::Revision,
    lock::Lock,
    prefix::Prefix,
    sorting::IntoTree,
};
use serde_json::json;

use super::{
    channels::Channels,
    engine::{Change, apply, check_frozen, recover, remove_prefix},
    environments::{Wanted, by_pip, is_active, target},
    goal::{Inputs, InstalledState, name_of, record_name},
    is_own,
    line::Line,
    options::Verb,
    platform_of, shown,
};
use crate::{
    context::Context,
    error::CliError,
    settings::no_environment,
    text::{list, path_text},
};

pub(super) fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    if line.has("--all") && !line.has("--keep-env") {
        return environment(line, context);
    }
    let channels = Channels::of(line, context)?;
    let inputs = Inputs::of(line, Verb::Remove, context)?;
    let prefix = target(line, Wanted::OrActive, context)?;
    recover(&prefix, line)?;
    let state = InstalledState::read(prefix.clone(), &channels, context)?;
    if !prefix.is_environment() {
        return Err(no_environment(&prefix, "", "`env list` shows the environments"));
    }
    if inputs.specs.is_empty() && !line.has("--all") {
        return Err(CliError::Usage("no package is given: `remove NAME…`, or `remove --all`".to_owned()));
    }
    let options = channels.options(&channels.known(), ChannelRule::ExtraOnly, context);
    let goes = goes(line, &state, &Environment::from_specs(&inputs.specs, &options)?.requirements)?;
    let unasked = state.unasked();
    let asked = state.asked.keys().map(String::as_str).chain(unasked).filter(|name| !goes.contains(name));
    let keeps_all = line.has("--force-remove") || line.has("--keep-env");
    let stays = if keeps_all { state.names() } else { state.closure(asked) };
    let stay = state.records.iter().filter(|record| {
        let name = record_name(record);
        stays.contains(name) && !goes.contains(name)
    });
    let stay: Vec<RepoDataRecord> = stay.map(|record| record.repodata_record.clone()).collect();
    let host = Host::detect(Path::new("/"));
    let platform = platform_of(&state.records, &host);
    let left = state.asked.iter().filter(|(name, _)| !goes.contains(name.as_str()));
    let lock = Lock { specs: left.map(|(_, asked)| shown(asked)).collect(), ..Lock::of_records(platform, &stay)? };
    let removed = goes.iter().map(|name| (*name).to_owned()).collect();
    let revision = Revision::Change { updated: Vec::new(), removed, neutered: Vec::new() };
    let command = format!("conda {}", line.command());
    let change = Change {
        file: None,
        lock,
        prefix,
        made_of: Some(state.stamp.clone()),
        replaces: false,
        command,
        revision,
        is_asked_anew: false,
        relink: BTreeSet::new(),
    };
    apply(change, line, &host, context)
}

/// The given packages, and those that need them.
fn goes<'a>(line: &Line, state: &'a InstalledState, specs: &[Requirement]) -> Result<BTreeSet<&'a str>, CliError> {
    let is_meant = |record: &&PrefixRecord| {
        let name = record_name(record);
        let package = &record.repodata_record.package_record;
        line.has("--all")
            || specs.iter().any(|each| name_of(each).as_deref() == Some(name) && each.spec.matches(package))
    };
    let mut goes: BTreeSet<&str> = state.records.iter().filter(is_meant).map(record_name).into_tree();
    let is_installed =
        |each: &Requirement| name_of(each).is_some_and(|name| goes.contains(name.as_str()) || is_own(&name));
    let missing: Vec<&str> = specs.iter().filter(|each| !is_installed(each)).map(|each| each.text.as_str()).collect();
    if !missing.is_empty() {
        let names: Vec<String> = specs.iter().filter(|each| !is_installed(each)).filter_map(name_of).collect();
        if let Some((message, names)) = by_pip(&state.prefix, &names)? {
            return Err(CliError::world(message, format!("remove with `pip uninstall {names}`, in this environment")));
        }
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let path = state.prefix.path().display();
        let message = format!("{} {verb} not installed in `{path}`", list(&missing));
        return Err(CliError::world(message, "`list` shows what is"));
    }
    while !line.has("--force-remove") {
        let stay: Vec<&str> = state.names().difference(&goes).copied().collect();
        let needs: Vec<&str> = stay.into_iter().filter(|name| !state.needs(name).is_disjoint(&goes)).collect();
        if needs.is_empty() {
            break;
        }
        goes.extend(needs);
    }
    Ok(goes)
}

/// Removes a whole environment.
pub(super) fn environment(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix: Prefix = match line.words()?.as_slice() {
        [] => target(line, Wanted::Named(None), context)?,
        _ => {
            let message = "to remove a whole environment, give `-n NAME` or `-p DIR`, and no package";
            return Err(CliError::Usage(message.to_owned()));
        }
    };
    let (path, root) = (prefix.path(), &context.settings.root_prefix);
    if path == root || root.starts_with(path) {
        let message = format!("the root prefix `{}` cannot be removed", path.display());
        return Err(CliError::world(message, "remove its packages with `remove NAME…`"));
    }
    if !prefix.is_environment() {
        return Err(no_environment(&prefix, "", "`env list` shows the environments"));
    }
    // As with conda, by the variable alone: it may also be set in an image.
    if is_active(&prefix, context) {
        let message = format!("`{}` is the active environment, and cannot be removed", path.display());
        return Err(CliError::world(message, "run `conda deactivate` first, and remove it then"));
    }
    check_frozen(&prefix, line)?;
    if line.has("--dry-run") {
        context.ui.say(&format!("Would remove `{}`.", path.display()));
    } else {
        let target = fs_err::read_link(path).ok();
        remove_prefix(&prefix)?;
        let path = path.display();
        context.ui.say(&match target {
            Some(target) => format!("The link `{path}` was removed; the environment at `{}` stays.", target.display()),
            None => format!("`{path}` was removed."),
        });
    }
    if line.has("--json") {
        context
            .ui
            .json(&json!({ "success": true, "prefix": path_text(path), "actions": { "UNLINK": [], "LINK": [] } }))?;
    }
    Ok(ExitCode::SUCCESS)
}
