//! Reads the given files, and returns the locks for this machine with the prefix of each.

use std::path::{Path, PathBuf};

use mlconda::{
    Subdir,
    lock::{Digest, Lock, LockFile, Selection, SourcePackages},
    prefix::Prefix,
};

use super::{args::Args, environments::Found};
use crate::{
    bundles,
    context::Context,
    error::CliError,
    lock_selection,
    text::{count, list},
};

/// A lock, and the prefix to install it into.
pub(super) struct Target {
    pub(super) lock: Lock,
    pub(super) prefix: Prefix,
    /// The file of the lock; `None` if it was made in memory.
    pub(super) file: Option<PathBuf>,
}

/// The prefix of each lock.
pub(super) fn targets(locks: Vec<(PathBuf, Lock)>, args: &Args, context: &Context) -> Result<Vec<Target>, CliError> {
    let typed = args.prefix.typed(&context.settings)?;
    let (several, mut targets) = (locks.len() > 1, Vec::<Target>::new());
    for (file, lock) in locks {
        let prefix = match (&typed, &lock.name) {
            (Some(_), _) if several => {
                let message =
                    "several environments cannot be installed into one prefix: leave out -p and -n, or give one lock";
                return Err(CliError::Usage(message.to_owned()));
            }
            (Some(prefix), _) => prefix.clone(),
            (None, Some(name)) => Prefix::open(context.settings.named_prefix(name))?,
            (None, None) => {
                let message = format!("`{}` does not contain the name of its environment", file.display());
                return Err(CliError::world(message, "choose where to install it with -p DIR or -n NAME"));
            }
        };
        if targets.iter().any(|other| other.prefix.path() == prefix.path()) {
            let place = prefix.path().display();
            return Err(CliError::Usage(format!("several locks have the prefix `{place}`: give one of them")));
        }
        let is_lock = lock_selection::kind_of_file(&context.settings.absolute(&file)).is_some();
        targets.push(Target { lock, prefix, file: is_lock.then_some(file) });
    }
    Ok(targets)
}

/// Reads the given files: locks, and environments, which are locked in memory.
pub(super) fn read_all(args: &Args, platform: Subdir, context: &Context) -> Result<Vec<(PathBuf, Lock)>, CliError> {
    let is_environment = |file: &PathBuf| lock_selection::is_environment(file, context);
    let (environments, mut files): (Vec<PathBuf>, Vec<PathBuf>) = args.inputs.iter().cloned().partition(is_environment);
    // A file of `--file` is an environment with any name, unless its content is a lock.
    let is_lock = |file: &PathBuf| lock_selection::kind_of_file(&context.settings.absolute(file)).is_some();
    let (locks_by_option, by_option): (Vec<PathBuf>, Vec<PathBuf>) =
        args.environments.files().iter().cloned().partition(is_lock);
    files.extend(locks_by_option);
    let mut locks = Vec::new();
    for file in files {
        for lock in read_each(&file, args, platform, context)? {
            warn_of_weak_hashes(&file, &lock, context);
            locks.push((file.clone(), lock));
        }
    }
    let environments: Vec<PathBuf> = environments.into_iter().chain(by_option).collect();
    if !environments.is_empty() {
        match args.environments.lock(&environments, platform, context)? {
            Found::Beside(file) => {
                let lock = read(&file, args, platform, context)?;
                warn_of_weak_hashes(&file, &lock, context);
                locks.push((file, lock));
            }
            Found::Made(file, made) => locks.extend(made.into_iter().map(|lock| (file.clone(), lock))),
        }
    }
    Ok(locks)
}

/// The locks of a file. A bundle has those of all environments, unless one is selected; other files have one.
fn read_each(file: &Path, args: &Args, platform: Subdir, context: &Context) -> Result<Vec<Lock>, CliError> {
    if args.selection.environment.is_some() || !bundles::is_bundle(file, context)? {
        return Ok(vec![read(file, args, platform, context)?]);
    }
    let found = lock_selection::read_to_install(file, context)?;
    let of_environment = |name: &str| {
        let mut chosen = args.selection.selection(Some(platform), SourcePackages::Refuse);
        chosen.environment = Some(name.to_owned());
        select(&found, &chosen, context)
    };
    found.environments().into_iter().map(of_environment).collect()
}

/// The lock of a file for this platform, else its first lock.
fn read(file: &Path, args: &Args, platform: Subdir, context: &Context) -> Result<Lock, CliError> {
    let found = lock_selection::read_to_install(file, context)?;
    let sources = if args.without_source_packages { SourcePackages::LeaveOut } else { SourcePackages::Refuse };
    let chosen = args.selection.selection(Some(platform), sources);
    select(&found, &chosen, context)
}

fn select(found: &LockFile, chosen: &Selection, context: &Context) -> Result<Lock, CliError> {
    match found.parts.as_slice() {
        // A lock for another platform is reported later.
        [only] if ![chosen.platform, Some(Subdir::NoArch)].contains(&Some(only.lock.platform)) => {
            return Ok(only.lock.clone());
        }
        _ => {}
    }
    let lock = found.select(chosen)?;
    lock_selection::tell_of_categories(found, chosen, context);
    Ok(lock)
}

/// Warns about packages without a sha256: locks of other tools can have an md5 or no hash, and are installed.
fn warn_of_weak_hashes(file: &Path, lock: &Lock, context: &Context) {
    let weak = lock.packages.iter().filter(|package| !matches!(package.digest, Digest::Sha256(_))).count();
    if weak > 0 {
        let weak = count(weak, "package");
        context.ui.warn(&format!(
            "`{}` has no sha256 for {weak}; `mlconda lock` pins every package by sha256",
            file.display()
        ));
    }
}

/// The locks for this platform.
pub(super) fn choose(locks: Vec<(PathBuf, Lock)>, platform: Subdir) -> Result<Vec<(PathBuf, Lock)>, CliError> {
    let fits = |lock: &Lock| lock.platform == platform || lock.platform == Subdir::NoArch;
    let (chosen, others): (Vec<_>, Vec<_>) = locks.into_iter().partition(|(_, lock)| fits(lock));
    if let ([], [(file, lock), ..]) = (chosen.as_slice(), others.as_slice()) {
        let platforms: Vec<&str> = others.iter().map(|(_, lock)| lock.platform.as_str()).collect();
        let message = match others.len() {
            1 => format!("`{}` is a lock for {}, and this is {platform}", file.display(), lock.platform),
            _ => format!("the locks are for {}, and this is {platform}", list(&platforms)),
        };
        return Err(CliError::world(message, format!("make a lock with `mlconda lock --platform {platform}`")));
    }
    Ok(chosen)
}
