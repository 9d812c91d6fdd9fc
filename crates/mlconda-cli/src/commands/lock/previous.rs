//! The existing locks: `mlconda lock` keeps their packages where it can, and compares the new locks with them.

use std::{collections::BTreeSet, path::Path};

use mlconda::{
    Subdir,
    environment::Environment,
    lock::{Lock, LockError, LockFile, Selection, kind_of, merge, normalize},
    solve::{Upgrade, near_names},
    sorting::IntoTree,
};

use super::Args;
use crate::{context::Context, error::CliError, locking::PreviousLocks, text::list};

/// Reads the existing locks, one for each platform.
pub(super) fn read(
    args: &Args,
    environment: &Environment,
    platforms: &[Subdir],
    context: &Context,
) -> Result<PreviousLocks, CliError> {
    let renew = args.renew()?;
    let outputs = args.outputs(platforms);
    let locks = platforms.iter().zip(&outputs);
    let locks = locks.map(|(platform, output)| of_file(output, *platform, args, &renew, context));
    let locks = locks.collect::<Result<Vec<_>, _>>()?;
    if let Upgrade::Packages(names) = &renew {
        let is_known = |name: &&String| {
            let is_asked =
                |spec: &mlconda::MatchSpec| spec.name.as_exact().is_some_and(|each| each.as_normalized() == **name);
            environment.requirements.iter().any(|requirement| is_asked(&requirement.spec))
                || locks.iter().flatten().any(|lock| {
                    lock.packages.iter().any(|package| package.name == **name)
                        || lock.pip.iter().any(|package| package.name == normalize(name))
                })
        };
        let unknown: Vec<&String> = names.iter().filter(|name| !is_known(name)).collect();
        if !unknown.is_empty() {
            let verb = if unknown.len() == 1 { "is" } else { "are" };
            let message =
                format!("{} {verb} in no lock and not asked for, so there is nothing to update", list(&unknown));
            let of_locks = locks.iter().flatten().flat_map(|lock| {
                let packages = lock.packages.iter().map(|package| package.name.as_str());
                packages.chain(lock.pip.iter().map(|package| package.name.as_str()))
            });
            let asked = environment.requirements.iter().filter_map(|requirement| requirement.spec.name.as_exact());
            let known: BTreeSet<&str> = of_locks.chain(asked.map(|name| name.as_normalized())).into_tree();
            let near: Vec<String> = unknown.iter().flat_map(|name| near_names(name, &known)).collect();
            let hint = match near.as_slice() {
                [] => "check the spelling; give files before `--update`".to_owned(),
                near => format!("did you mean {}?", list(near)),
            };
            return Err(CliError::world(message, hint));
        }
    }
    Ok(PreviousLocks { locks, renew, ..PreviousLocks::default() })
}

/// The locks of a file whose packages are preferred, the best first. A file with conflict markers gives the newer
/// packages of both sides, then each side.
fn of_file(
    output: &Path,
    platform: Subdir,
    args: &Args,
    renew: &Upgrade,
    context: &Context,
) -> Result<Vec<Lock>, CliError> {
    let settings = &context.settings;
    let path = settings.absolute(output);
    // The output is a device, or does not exist.
    if args.is_printed() || !path.is_file() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&mlconda::files::read(&path, mlconda::files::LARGEST_LOCK)?).into_owned();
    let expansion = settings.expansion();
    let parse = |text: &str| -> Result<Vec<Lock>, LockError> {
        let selection = Selection { platform: Some(platform), ..Selection::default() };
        match LockFile::parse(text, &path, &expansion)?.select(&selection) {
            Ok(lock) => Ok(vec![lock]),
            // The file has locks for other platforms only, and is replaced.
            Err(LockError::Selection { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    };
    let name = output.display();
    let outcome = match merge::sides(&text) {
        Some((ours, theirs)) if args.resolve_conflict => parse(&merge::each_once(&ours)).and_then(|ours| {
            let theirs = parse(&merge::each_once(&theirs))?;
            let both = ours.first().zip(theirs.first()).map(|(ours, theirs)| merge::newer_of_both(ours, theirs));
            Ok(both.into_iter().chain(ours).chain(theirs).collect())
        }),
        Some(_) if *renew != Upgrade::All => return Err(LockError::Conflict { file: output.to_owned() }.into()),
        Some(_) => Ok(Vec::new()),
        None => parse(&text),
    };
    match outcome {
        Ok(locks) => Ok(locks),
        Err(_) if kind_of(&text).is_none() => {
            context.ui.warn(&format!("`{name}` is not a lock; the new lock replaces it"));
            Ok(Vec::new())
        }
        Err(_) if *renew == Upgrade::All => Ok(Vec::new()),
        Err(error) => Err(CliError::world(
            format!("the existing lock cannot be read, so none of its packages can be kept: {error}"),
            "repair it, or lock without it: `--update`",
        )),
    }
}
