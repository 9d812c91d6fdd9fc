//! `env config vars`: the variables that an environment sets when it is active.
//!
//! As with conda, only `conda-meta/state` changes, and the history has no revision for it.

use std::{path::Path, process::ExitCode, time::Instant};

use indexmap::IndexMap;
use mlconda::{
    host::Host,
    install::{Options, Revision, Scripts},
    lock::Lock,
    plan::Plan,
    prefix::{Prefix, Stamp, UNSET},
};
use serde_json::json;

use super::{
    engine::{check_frozen, recover},
    environments,
    line::Line,
};
use crate::{
    commands::install::{carry_out, summary},
    context::Context,
    error::CliError,
    text::list,
};

const USAGE: &str = "`env config vars set NAME=VALUE…`, `env config vars unset NAME…` or `env config vars list`";

pub(super) fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = environments::existing(line, context)?.existing(&context.settings)?;
    let words = line.words()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["vars", "set", first, rest @ ..] => {
            let assignments: Option<Vec<_>> = std::iter::once(first).chain(rest).map(|text| assignment(text)).collect();
            let assignments = assignments.ok_or_else(|| CliError::Usage(USAGE.to_owned()))?;
            set(&prefix, &assignments, line, context)?;
        }
        ["vars", "unset", first, rest @ ..] => unset(&prefix, &[&[*first], rest].concat(), line, context)?,
        // Listing must be possible without write access.
        ["vars", "list"] if line.has("--json") => context.ui.json(&prefix.variables()?)?,
        ["vars", "list"] => {
            let variables = prefix.variables()?;
            let lines: String = variables.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
            context.ui.data(lines)?;
        }
        _ => return Err(CliError::Usage(USAGE.to_owned())),
    }
    Ok(ExitCode::SUCCESS)
}

/// The name and the value.
fn assignment(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.is_empty())
}

fn set(prefix: &Prefix, assignments: &[(&str, &str)], line: &Line, context: &Context) -> Result<(), CliError> {
    let (made_of, mut variables) = read(prefix, line)?;
    let before = variables.clone();
    for (name, value) in assignments {
        variables.insert((*name).to_owned(), (*value).to_owned());
    }
    let names: Vec<&str> = assignments.iter().map(|(name, _)| *name).collect();
    let (names, verb) = (list(&names), if names.len() == 1 { "is" } else { "are" });
    if variables == before {
        context.ui.say(&format!("{names} {verb} already set so in `{}`.", prefix.path().display()));
        return Ok(());
    }
    write(prefix, made_of, variables, context)?;
    tell(&format!("{names} {verb} set in"), "activate", prefix, context);
    Ok(())
}

fn unset(prefix: &Prefix, names: &[&str], line: &Line, context: &Context) -> Result<(), CliError> {
    let (made_of, mut variables) = read(prefix, line)?;
    let is_set = |name: &str| variables.get(name).is_some_and(|value| value != UNSET);
    let (there, absent): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_set(name));
    let verb = |names: &[&str]| if names.len() == 1 { "is" } else { "are" };
    if !absent.is_empty() {
        let (names, verb, place) = (list(&absent), verb(&absent), prefix.path().display());
        context.ui.warn(&format!("{names} {verb} not set in `{place}`"));
    }
    if there.is_empty() {
        return Ok(());
    }
    // As with conda, the name stays, so that shells in which the environment is active can take the variable back.
    there.iter().for_each(|name| _ = variables.insert((*name).to_owned(), UNSET.to_owned()));
    write(prefix, made_of, variables, context)?;
    tell(&format!("{} {} no longer set in", list(&there), verb(&there)), "deactivate", prefix, context);
    Ok(())
}

/// Prints what changed, and which command applies it in a shell in which the environment is active.
fn tell(what: &str, command: &str, prefix: &Prefix, context: &Context) {
    let place = prefix.path().display();
    context
        .ui
        .say(&format!("{what} `{place}`. In a shell in which it is active, `conda {command}` applies the change."));
}

/// The stamp of the prefix, and its variables, with those that are unset.
fn read(prefix: &Prefix, line: &Line) -> Result<(Stamp, IndexMap<String, String>), CliError> {
    check_frozen(prefix, line)?;
    recover(prefix, line)?;
    Ok((prefix.stamp()?, prefix.state_variables()?))
}

/// Replaces the variables. All packages and specs stay.
fn write(
    prefix: &Prefix,
    made_of: Stamp,
    variables: IndexMap<String, String>,
    context: &Context,
) -> Result<(), CliError> {
    let start = Instant::now();
    let records = prefix.records()?;
    let specs = mlconda::export::requested_specs(prefix, &records)?;
    let host = Host::detect(Path::new("/"));
    let platform = super::platform_of(&records, &host);
    let packages: Vec<_> = records.into_iter().map(|record| record.repodata_record).collect();
    let slim = mlconda::prefix::slim::of_prefix(prefix)?.unwrap_or_default();
    let lock = Lock { specs, slim, ..Lock::of_records(platform, &packages)? };
    let mut plan = Plan::new(&lock, prefix)?;
    plan.made_of = Some(made_of);
    plan.meta_changes = true;
    plan.variables = Some(variables);
    let options = Options {
        time: context.settings.source_date_epoch()?,
        revision: Revision::Unrecorded,
        scripts: if platform == host.platform { context.settings.scripts() } else { Scripts::Skip },
        script_variables: context.settings.script_variables(),
        durability: context.settings.durability(),
        ..Options::default()
    };
    let report = carry_out(&plan, prefix, &options, context).map_err(|error| match error {
        CliError::Stopped(signal) => summary::stopped(signal, prefix, std::iter::empty()),
        error => error,
    })?;
    summary::tell_activation(&report, &context.ui);
    let mut event = summary::report_as_json(&report, &[], prefix, start);
    event["event"] = json!("finished");
    context.ui.event(&event);
    Ok(())
}
