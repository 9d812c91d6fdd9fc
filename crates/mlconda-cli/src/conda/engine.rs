//! `create`, `install`, `update`, `env create` and `env update`: the specs and the installed packages are solved into a
//! lock, and the lock is installed.
//!
//! Specs of earlier commands stay (`conda-meta/history`), and installed packages change as little as possible. The
//! configured channels are loaded only if the given ones do not suffice, which gives the same result under flexible
//! priority.

mod apply;
pub(super) mod solve;

use std::{path::Path, process::ExitCode};

use mlconda::{
    PrefixRecord, Subdir,
    host::Host,
    install::Revision,
    lock::{Lock, LockFile, LockedPackage, Selection},
    prefix::{Prefix, distributions::is_distribution},
};

pub(super) use self::apply::{Change, apply, check_frozen, remove_prefix};
use super::{
    channels::{self, Channels},
    environments::{self, Wanted},
    goal::{Goal, Inputs, InstalledState, record_name},
    line::Line,
    options::Verb,
    shown,
};
use crate::{
    by_pip::{self, Changes},
    context::Context,
    error::CliError,
    lock_selection,
    text::{count, list},
};

pub(super) fn run(line: &Line, verb: Verb, context: &Context) -> Result<ExitCode, CliError> {
    let host = Host::detect(Path::new("/"));
    let platform = channels::platform(line, context)?.unwrap_or(host.platform);
    let channels = Channels::of(line, context)?;
    if let Some(source) = line.value("--clone") {
        return clone(source, line, platform, context);
    }
    let inputs = Inputs::of(line, verb, context)?;
    if let Some(file) = inputs.locks.first() {
        return of_lock(file, inputs.piped.clone(), line, verb, platform, context);
    }
    let mut goal = Goal::of(&inputs, &channels, context)?;
    if matches!(verb, Verb::Create | Verb::EnvCreate) && !line.has("--no-default-packages") {
        goal.add_defaults(&channels, context)?;
    }
    let (prefix, replaces) = place(line, verb, goal.environment.name.as_deref(), context)?;
    if prefix.path() == context.settings.root_prefix {
        goal.leave_out_own(line, context);
        let nothing = goal.environment.requirements.is_empty() && goal.environment.pip.is_empty();
        if nothing && !inputs.specs.is_empty() && !line.has("--update-all") {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if verb == Verb::Install && !line.has("--update-all") && inputs.specs.is_empty() && inputs.environments.is_empty() {
        return Err(CliError::Usage("no package is given: `install SPEC…`, or `--file FILE`".to_owned()));
    }
    let state = if replaces { None } else { Some(InstalledState::read(prefix.clone(), &channels, context)?) };
    let made_of = state.as_ref().map(|state| state.stamp.clone());
    let state = state.filter(|state| !state.records.is_empty());
    if verb == Verb::Update {
        check_update(line, &goal, state.as_ref(), &prefix)?;
    }
    let solved = solve::solve(line, verb, &goal, state.as_ref(), &channels, platform, context)?;
    let change = Change {
        file: None,
        lock: solved.lock,
        prefix,
        made_of,
        replaces,
        command: format!("conda {}", line.command()),
        revision: Revision::Change { updated: solved.updated, removed: solved.removed, neutered: solved.neutered },
        is_asked_anew: solved.is_asked_anew,
        relink: if line.has("--force-reinstall") { goal.names() } else { Default::default() },
    };
    apply(change, line, &host, context)
}

/// Whether `--yes` or `always_yes` is set.
fn says_yes(line: &Line, context: &Context) -> Result<bool, CliError> {
    Ok(line.has("--yes") || channels::condarc(line, context)?.flag("always_yes") == Some(true))
}

/// The prefix to install into, and whether an existing environment is replaced.
pub(super) fn place(
    line: &Line,
    verb: Verb,
    name: Option<&str>,
    context: &Context,
) -> Result<(Prefix, bool), CliError> {
    let makes = matches!(verb, Verb::Create | Verb::EnvCreate);
    let wanted = match verb {
        Verb::Create | Verb::EnvCreate | Verb::EnvUpdate => Wanted::Named(name),
        _ => Wanted::OrActive,
    };
    let prefix = environments::target(line, wanted, context)?;
    recover(&prefix, line)?;
    if !prefix.is_environment() {
        prefix.record_names()?;
    }
    let (path, is_root) = (prefix.path().display(), prefix.path() == context.settings.root_prefix);
    match (prefix.is_environment(), makes) {
        (true, true) if is_root => {
            Err(CliError::world(format!("the root prefix `{path}` already exists"), "`install -n base` adds to it"))
        }
        (true, true) if line.has("--force-remove") || says_yes(line, context)? => Ok((prefix, true)),
        (true, true) => Err(CliError::world(
            format!("there is an environment in `{path}` already"),
            "replace it with `-y`, or change it with `install` or `env update`",
        )),
        (false, false) if !is_root && verb != Verb::EnvUpdate && !line.has("--mkdir") => {
            Err(CliError::world(format!("there is no environment in `{path}`"), "make one with `create`"))
        }
        _ => Ok((prefix, false)),
    }
}

/// Removes leftovers of a killed process, before anything in the prefix is read.
pub(super) fn recover(prefix: &Prefix, line: &Line) -> Result<(), CliError> {
    if !line.has("--dry-run") {
        mlconda::install::recover(prefix)?;
    }
    Ok(())
}

/// An error if a package to update is not installed.
fn check_update(line: &Line, goal: &Goal, state: Option<&InstalledState>, prefix: &Prefix) -> Result<(), CliError> {
    let path = prefix.path().display();
    let installed = state.map(InstalledState::names).unwrap_or_default();
    let missing: Vec<String> = goal.names().into_iter().filter(|name| !installed.contains(name.as_str())).collect();
    if !missing.is_empty() {
        if let Some((message, names)) = environments::by_pip(prefix, &missing)? {
            let hint = format!("update with `pip install --upgrade {names}`, in this environment");
            return Err(CliError::world(message, hint));
        }
        let verb = if missing.len() == 1 { "is" } else { "are" };
        return Err(CliError::world(
            format!("{} {verb} not installed in `{path}`", list(&missing)),
            "install it with `install`",
        ));
    }
    if goal.environment.requirements.is_empty() && !line.has("--update-all") {
        return Err(CliError::Usage("no package is given: `update NAME…`, or `update --all`".to_owned()));
    }
    Ok(())
}

/// Installs a lock: a new prefix gets its packages only; in an existing prefix the other packages stay, as with conda.
fn of_lock(
    file: &Path,
    piped: Option<LockFile>,
    line: &Line,
    verb: Verb,
    platform: Subdir,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let categories = line.values("--category").map(str::to_owned).collect();
    let chosen = Selection { platform: Some(platform), categories, ..Selection::default() };
    let found = piped.map_or_else(|| lock_selection::read_to_install(file, context), Ok)?;
    let lock = match found.parts.as_slice() {
        [only] if only.lock.platform == Subdir::NoArch => only.lock.clone(),
        _ => found.select(&chosen)?,
    };
    lock_selection::tell_of_categories(&found, &chosen, context);
    let (prefix, replaces) = place(line, verb, lock.name.as_deref(), context)?;
    let made_of = if replaces { None } else { Some(prefix.stamp()?) };
    let records = if prefix.is_environment() && !replaces { prefix.records()? } else { Vec::new() };
    let is_whole = records.is_empty() || line.has("--remove-old");
    let lock = if is_whole { lock } else { overlaid(&records, lock.packages, platform)? };
    let change = Change {
        file: Some(file.to_owned()),
        revision: if is_whole {
            Revision::Whole
        } else {
            Revision::Change { updated: Vec::new(), removed: Vec::new(), neutered: Vec::new() }
        },
        command: if is_whole { "mlconda install".to_owned() } else { format!("conda {}", line.command()) },
        lock,
        prefix,
        made_of: made_of.filter(|_| !line.has("--remove-old")),
        replaces,
        is_asked_anew: false,
        relink: Default::default(),
    };
    apply(change, line, &Host::detect(Path::new("/")), context)
}

/// The installed packages, with these in place of those with the same names.
pub(super) fn overlaid(
    records: &[PrefixRecord],
    packages: Vec<LockedPackage>,
    platform: Subdir,
) -> Result<Lock, CliError> {
    let is_replaced = |name: &str| packages.iter().any(|package| package.name == name);
    let stay: Vec<_> = records.iter().filter(|record| !is_replaced(record_name(record))).collect();
    let stay: Vec<_> = stay.into_iter().map(|record| record.repodata_record.clone()).collect();
    let mut lock = Lock::of_records(platform, &stay)?;
    lock.packages.extend(packages);
    lock.specs = records.iter().flat_map(|record| record.requested_specs.clone()).collect();
    Ok(lock)
}

/// Creates an environment with the packages of another one.
fn clone(source: &str, line: &Line, platform: Subdir, context: &Context) -> Result<ExitCode, CliError> {
    if !line.operands.is_empty() || line.has("--file") {
        let message =
            "`--clone` copies all packages: give no match specs and no files with it; `install` adds packages later";
        return Err(CliError::Usage(message.to_owned()));
    }
    let (prefix, replaces) = place(line, Verb::Create, None, context)?;
    let made_of = if replaces { None } else { Some(prefix.stamp()?) };
    let source = environments::by_name_or_path(source, context)?;
    if !source.is_environment() {
        let message = format!("there is no environment in `{}` to clone", source.path().display());
        return Err(CliError::world(message, "`env list` shows the environments"));
    }
    let conda = source.records()?;
    let packages: Vec<_> = conda.iter().map(|record| record.repodata_record.clone()).collect();
    let specs = mlconda::export::requested_specs(&source, &conda)?;
    let lock = Lock::of_records(platform, &packages)?.with_distributions(&copied(&source, context)?);
    let slim = mlconda::prefix::slim::of_prefix(&source)?.unwrap_or_default();
    let lock = Lock { specs: specs.clone(), variables: source.variables()?, slim, ..lock };
    let change = Change {
        file: None,
        lock,
        prefix,
        made_of,
        replaces,
        command: "conda create".to_owned(),
        revision: Revision::Change { updated: specs, removed: Vec::new(), neutered: Vec::new() },
        is_asked_anew: false,
        relink: Default::default(),
    };
    apply(change, line, &Host::detect(Path::new("/")), context)
}

/// The distributions of an environment that a clone has: those with a record that pip has not replaced or removed. Warns
/// about what the clone does not have, and about conda packages that pip has replaced or removed.
fn copied(source: &Prefix, context: &Context) -> Result<Vec<PrefixRecord>, CliError> {
    let is_pip = |record: &PrefixRecord| is_distribution(&record.repodata_record.package_record);
    let Changes { installed, gone, mut kept } = Changes::of(source)?;
    if !installed.is_empty() {
        context.ui.warn(&format!(
            "{} {} installed by pip and {} not copied: `--clone` copies packages with a record only",
            list(&installed),
            if installed.len() == 1 { "was" } else { "were" },
            if installed.len() == 1 { "is" } else { "are" },
        ));
    }
    let gone = by_pip::names(gone.iter().filter(|record| !is_pip(record)));
    if !gone.is_empty() {
        let packages = count(gone.len(), "package");
        context.ui.warn(&format!("pip has replaced or removed {packages}, but the clone has {}", list(&gone)));
    }
    kept.retain(is_pip);
    Ok(kept)
}

/// The given specs, as the history lists them.
fn texts(goal: &Goal) -> Vec<String> {
    goal.environment.requirements.iter().map(shown).collect()
}
