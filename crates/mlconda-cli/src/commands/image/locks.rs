//! Reads the given files into one lock for each platform.

use std::path::{Path, PathBuf};

use mlconda::{
    Subdir,
    host::Host,
    lock::{Lock, SourcePackages},
};

use super::args::{Args, DEFAULT_BASE};
use crate::{
    context::Context,
    error::CliError,
    lock_selection,
    locking::{self, Cache, PreviousLocks},
};

/// A lock, and the file that it comes from.
pub(super) type Read = (PathBuf, Lock);

/// The locks, one for each platform, sorted by the names of the platforms.
pub(super) fn read_all(args: &Args, host: &Host, context: &Context) -> Result<Vec<Read>, CliError> {
    let is_environment = |file: &PathBuf| lock_selection::is_environment(file, context);
    let (mut environments, files): (Vec<PathBuf>, Vec<PathBuf>) = args.inputs.iter().cloned().partition(is_environment);
    environments.extend(args.locking.files.iter().cloned());
    let mut locks = Vec::new();
    for file in &files {
        locks.extend(read(file, args, host, context)?);
    }
    if !environments.is_empty() {
        let environment = locking::read(&environments, &args.locking, context)?;
        let platforms = match args.content.platforms.as_slice() {
            [] => vec![linux_of(host.platform)],
            typed => typed.to_vec(),
        };
        let made = locking::lock(
            &environment,
            &platforms,
            &PreviousLocks::default(),
            &args.locking,
            Cache::IfPresent,
            context,
        )?;
        locks.extend(made.into_iter().map(|locked| (environment.file.clone(), locked.lock)));
    }
    for (file, lock) in locks.iter().filter(|_| args.content.base == DEFAULT_BASE) {
        check_glibc(file, lock)?;
    }
    mlconda::sorting::sort_by(&mut locks, |(_, one), (_, other)| one.platform.as_str().cmp(other.platform.as_str()));
    for pair in locks.windows(2) {
        let [(one, lock), (other, next)] = pair else { continue };
        if lock.platform == next.platform {
            let (one, other, platform) = (one.display(), other.display(), lock.platform);
            let message = format!("`{one}` and `{other}` are both for {platform}; an image has one environment");
            return Err(CliError::world(message, "make an image of each, or one lock of both environment.yml"));
        }
        if lock.name != next.name {
            let (one, other) = (one.display(), other.display());
            let message = format!("`{one}` and `{other}` have environments of different names");
            return Err(CliError::world(
                message,
                "lock one environment for both platforms: `mlconda lock --platform …`",
            ));
        }
    }
    Ok(locks)
}

/// The locks of a file: that of its only platform, else those of the requested platforms.
fn read(file: &Path, args: &Args, host: &Host, context: &Context) -> Result<Vec<Read>, CliError> {
    let found = lock_selection::read(file, context)?;
    let there = found.platforms();
    let typed = &args.content.platforms;
    let platforms: Vec<Option<Subdir>> = match (there.as_slice(), typed.as_slice()) {
        ([] | [_], _) => vec![None],
        (_, []) => vec![Some(linux_of(host.platform))],
        (_, typed) => typed.iter().copied().map(Some).collect(),
    };
    let mut locks = Vec::new();
    for platform in platforms {
        let chosen = args.selection.selection(platform, SourcePackages::Refuse);
        let mut lock = found.select(&chosen)?;
        if lock.platform == Subdir::NoArch {
            // The lock has no platform-specific package, but an image needs a platform.
            lock.platform = typed.first().copied().unwrap_or_else(|| linux_of(host.platform));
        }
        if platform.is_none() && !typed.is_empty() && !typed.contains(&lock.platform) {
            let (file, platform) = (file.display(), lock.platform);
            let message = format!("`{file}` is a lock for {platform}, which `--platform` does not name");
            return Err(CliError::world(
                message,
                "leave out `--platform`, or lock for it with `mlconda lock --platform`",
            ));
        }
        lock_selection::tell_of_categories(&found, &chosen, context);
        locks.push((file.to_owned(), lock));
    }
    Ok(locks)
}

/// The glibc version of the default base.
const DEFAULT_GLIBC: [u32; 2] = [2, 36];

/// An error if a lock needs a newer glibc than the default base has. Other bases are not checked.
fn check_glibc(file: &Path, lock: &Lock) -> Result<(), CliError> {
    let Some(wanted) = lock.virtual_packages.iter().find(|package| package.name.as_normalized() == "__glibc") else {
        return Ok(());
    };
    let version = wanted.version.to_string();
    let parts: Vec<u32> = version.split('.').take(2).filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() <= DEFAULT_GLIBC.as_slice() {
        return Ok(());
    }
    let [major, minor] = DEFAULT_GLIBC;
    let file = file.display();
    let message = format!("`{file}` is for a machine with glibc {version}, and the default base has {major}.{minor}");
    Err(CliError::world(message, "name a base that has it with `--base`, such as a newer Debian or Ubuntu"))
}

/// The platform of containers on a machine, which is Linux on every system.
fn linux_of(platform: Subdir) -> Subdir {
    match platform {
        Subdir::OsxArm64 | Subdir::WinArm64 => Subdir::LinuxAarch64,
        Subdir::Osx64 | Subdir::Win64 => Subdir::Linux64,
        platform => platform,
    }
}
