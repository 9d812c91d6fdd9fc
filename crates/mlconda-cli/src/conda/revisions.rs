//! `list --revisions` and `install --revision N`: the history of an environment, and how to restore a revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
};

use mlconda::{
    export::{self, PastRevision},
    host::Host,
    install::Revision,
    sorting::IntoTree,
};
use serde_json::{Value, json};

use super::{
    channels::{self, Channels},
    engine::{self, Change, apply},
    environments,
    goal::{Goal, Inputs, InstalledState},
    line::Line,
    options::Verb,
};
use crate::{context::Context, error::CliError};

/// A package of a history: channel, name, version and build.
struct Package<'a> {
    channel: &'a str,
    name: &'a str,
    version: &'a str,
    build: &'a str,
}

impl<'a> Package<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.strip_suffix(".conda").or_else(|| text.strip_suffix(".tar.bz2")).unwrap_or(text);
        let (channel, package) = text.rsplit_once("::").unwrap_or(("<unknown>", text));
        let mut parts = package.rsplitn(3, '-');
        let (build, version, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { channel, name, version, build })
    }

    /// The version, as conda's list has it.
    fn version(&self) -> String {
        match self.channel {
            "defaults" => self.version.to_owned(),
            channel => format!("{} ({channel})", self.version),
        }
    }

    fn dist(&self) -> String {
        [self.name, self.version, self.build, self.channel].join("-")
    }
}

/// Added and removed packages, by name.
fn sides(revision: &PastRevision) -> [BTreeMap<&str, Package<'_>>; 2] {
    ['+', '-'].map(|sign| {
        let packages = revision.changes.iter().filter_map(|line| Package::of(line.strip_prefix(sign)?));
        packages.map(|package| (package.name, package)).into_tree()
    })
}

/// `list --revisions`, in conda's form.
pub(super) fn list(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = environments::existing(line, context)?.existing(&context.settings)?;
    let revisions = export::revisions(&prefix)?;
    if line.has("--json") {
        let events: Vec<Value> = revisions.iter().enumerate().map(|(number, each)| event(number, each)).collect();
        context.ui.json(&events)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (number, revision) in revisions.iter().enumerate() {
        text.push_str(&format!("{}  (rev {number})\n", revision.date));
        lines(revision).into_iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        text.push('\n');
    }
    context.ui.text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn lines(revision: &PastRevision) -> Vec<String> {
    if !revision.is_change() {
        return revision.changes.iter().cloned().collect();
    }
    let [came, went] = sides(revision);
    let changed = went
        .iter()
        .filter_map(|(name, old)| Some(format!(" {name}  {{{} -> {}}}", old.version(), came.get(name)?.version())));
    let only = |sign: char, these: &BTreeMap<&str, Package<'_>>, others: &BTreeMap<&str, Package<'_>>| {
        let only = these.iter().filter(|(name, _)| !others.contains_key(*name));
        only.map(|(name, package)| format!("{sign}{name}-{}", package.version())).collect::<Vec<_>>()
    };
    changed.chain(only('-', &went, &came)).chain(only('+', &came, &went)).collect()
}

fn event(number: usize, revision: &PastRevision) -> Value {
    let [came, went] = sides(revision);
    let only = |these: &BTreeMap<&str, Package<'_>>, others: &BTreeMap<&str, Package<'_>>| {
        let only = these.iter().filter(|(name, _)| !others.contains_key(*name));
        only.map(|(_, package)| package.dist()).collect::<Vec<_>>()
    };
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (name, old) in &went {
        let Some(new) = came.get(name) else { continue };
        // conda compares the texts.
        let is_up = (new.version, new.build, new.channel) > (old.version, old.build, old.channel);
        let side = if is_up { &mut up } else { &mut down };
        side.push(json!({ "old": old.dist(), "new": new.dist() }));
    }
    let install = match revision.is_change() {
        true => only(&came, &went),
        false => revision.changes.iter().cloned().collect(),
    };
    json!({
        "date": revision.date,
        "rev": number,
        "install": install,
        "remove": only(&went, &came),
        "upgrade": up,
        "downgrade": down,
    })
}

/// `install --revision N`: the packages that were there then, and no others.
pub(super) fn restore(number: &str, line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    if !line.operands.is_empty() || line.has("--file") {
        let message = "`--revision` restores a whole revision: give no match specs and no files with it";
        return Err(CliError::Usage(message.to_owned()));
    }
    let host = Host::detect(Path::new("/"));
    let platform = channels::platform(line, context)?.unwrap_or(host.platform);
    let channels = Channels::of(line, context)?;
    let (prefix, _) = engine::place(line, Verb::Install, None, context)?;
    let installed = InstalledState::read(prefix.clone(), &channels, context)?;
    let revisions = export::revisions(&prefix)?;
    let until = number.parse().ok().and_then(|number: usize| revisions.get(..=number));
    let (Some(until), Some(state)) = (until, revisions.last()) else {
        let message = format!("`{}` has no revision `{number}`", prefix.path().display());
        return Err(CliError::world(message, "`list --revisions` shows the revisions"));
    };
    let packages = export::packages_after(until);
    let packages: Vec<Package<'_>> = packages.iter().filter_map(|text| Package::of(text)).collect();
    let now = state.requested.clone();
    let asked = until.last().map(|revision| revision.requested.clone()).unwrap_or_default();
    let spec = |package: &Package<'_>| {
        let Package { channel, name, version, build } = package;
        let is_installed = installed.record(name).is_some_and(|record| {
            let record = &record.repodata_record.package_record;
            record.version.as_str() == *version && record.build == *build
        });
        let channel = if is_installed || *channel == "<unknown>" { String::new() } else { format!("{channel}::") };
        format!("{channel}{name}=={version}={build}")
    };
    let inputs = Inputs { specs: packages.iter().map(spec).collect(), ..Inputs::default() };
    let goal = Goal::of(&inputs, &channels, context)?;
    let mut whole = line.clone();
    whole.options.extend(["--remove-old", "--no-pin"].map(|key| (key, String::new())));
    let mut lock =
        engine::solve::solve(&whole, Verb::Install, &goal, Some(&installed), &channels, platform, context)?.lock;
    // A package that was removed with `--force` stays removed.
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name).into_tree();
    lock.packages.retain(|package| names.contains(package.name.as_str()));
    lock.specs = asked.clone();
    let removed = now.into_iter().filter(|spec| !asked.contains(spec)).collect();
    let change = Change {
        file: None,
        lock,
        prefix,
        made_of: Some(installed.stamp),
        replaces: false,
        command: "conda install".to_owned(),
        revision: Revision::Change { updated: asked, removed, neutered: Vec::new() },
        is_asked_anew: false,
        relink: BTreeSet::new(),
    };
    apply(change, line, &host, context)
}
