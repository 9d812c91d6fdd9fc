//! From the files that were typed to the locks of a bundle, each with a name.

use std::path::Path;

use mlconda::{
    Subdir,
    bundle::Environment,
    host::Host,
    lock::{DEFAULT_ENVIRONMENT, Lock, SourcePackages},
};

use super::Args;
use crate::{context::Context, error::CliError, lock_selection};

/// The locks, in the order of their names and platforms.
pub(super) fn read_all(args: &Args, host: &Host, context: &Context) -> Result<Vec<Environment>, CliError> {
    let mut found = Vec::new();
    for file in &args.inputs {
        if lock_selection::is_environment(file, context) {
            let name = file.display();
            let message = format!("`{name}` is an environment file; a bundle is made of locks");
            return Err(CliError::world(message, format!("lock it first: `mlconda lock {name} -o env.lock`")));
        }
        found.extend(read(file, args, host, context)?);
    }
    mlconda::sorting::sort_by_key(&mut found, |each| (each.name.clone(), each.lock.platform.as_str()));
    Ok(found)
}

/// The locks of a file: that of its only platform, else those of the platforms that are meant.
fn read(file: &Path, args: &Args, host: &Host, context: &Context) -> Result<Vec<Environment>, CliError> {
    let locks = lock_selection::read(file, context)?;
    let there = locks.platforms();
    let platforms: Vec<Option<Subdir>> = match (there.as_slice(), args.platforms.as_slice()) {
        ([] | [_], _) => vec![None],
        (_, []) => vec![Some(host.platform)],
        (_, typed) => typed.iter().copied().map(Some).collect(),
    };
    let environments: Vec<String> = match (&args.selection.environment, crate::bundles::open(file, context)?) {
        // All of a bundle goes into the new one.
        (None, Some(_)) => locks.environments().into_iter().map(str::to_owned).collect(),
        (typed, _) => vec![typed.clone().unwrap_or_default()],
    };
    let mut found = Vec::new();
    for environment in environments {
        for platform in &platforms {
            let mut chosen = args.selection.selection(*platform, SourcePackages::Refuse);
            chosen.environment = Some(environment.clone()).filter(|name| !name.is_empty());
            let lock = locks.select(&chosen)?;
            lock_selection::tell_of_categories(&locks, &chosen, context);
            let name = name(&lock, chosen.environment.as_deref(), file);
            found.push(Environment { name, lock });
        }
    }
    Ok(found)
}

/// The name of an environment, which becomes that of a file: its own, else what was chosen, else that of the file.
fn name(lock: &Lock, chosen: Option<&str>, file: &Path) -> String {
    let chosen = chosen.filter(|name| *name != DEFAULT_ENVIRONMENT);
    let of_file = || {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let name = lock.name.clone().or_else(|| chosen.map(str::to_owned)).unwrap_or_else(of_file);
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    if name.is_empty() { "env".to_owned() } else { name }
}
