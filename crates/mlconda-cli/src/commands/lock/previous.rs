//! The locks that are there already: what `mlconda lock` keeps as far as it can, and what it compares with.

use std::{collections::BTreeSet, path::Path};

use mlconda::{
    Subdir,
    environment::Environment,
    lock::{Expansion, Lock, LockError, LockFile, Selection, kind_of, merge, normalize},
    solve::{Upgrade, near_names},
};

use super::Args;
use crate::{context::Context, error::CliError, locking::Before, text::list};

/// Reads what is at the outputs, one for each platform.
pub(super) fn read(
    args: &Args,
    environment: &Environment,
    platforms: &[Subdir],
    context: &Context,
) -> Result<Before, CliError> {
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
            let message = format!("{} {verb} in no lock and not asked for, and cannot be updated", list(&unknown));
            let of_locks = locks.iter().flatten().flat_map(|lock| {
                let packages = lock.packages.iter().map(|package| package.name.as_str());
                packages.chain(lock.pip.iter().map(|package| package.name.as_str()))
            });
            let asked = environment.requirements.iter().filter_map(|requirement| requirement.spec.name.as_exact());
            let known: BTreeSet<&str> = of_locks.chain(asked.map(|name| name.as_normalized())).collect();
            let near: Vec<String> = unknown.iter().flat_map(|name| near_names(name, &known)).collect();
            let hint = match near.as_slice() {
                [] => "check the spelling; files stand before `--update`".to_owned(),
                near => format!("did you mean {}?", list(near)),
            };
            return Err(CliError::world(message, hint));
        }
    }
    Ok(Before { locks, renew, ..Before::default() })
}

/// The locks in a file that are to be preferred, the best first: of a file in conflict, what is the newer of both sides,
/// then each side.
fn of_file(
    output: &Path,
    platform: Subdir,
    args: &Args,
    renew: &Upgrade,
    context: &Context,
) -> Result<Vec<Lock>, CliError> {
    let settings = &context.settings;
    let path = settings.absolute(output);
    // A device, or nothing.
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&mlconda::files::read(&path, mlconda::files::LARGEST_LOCK)?).into_owned();
    let expansion = Expansion { home: settings.home.clone(), variables: settings.variables.clone() };
    let parse = |text: &str| -> Result<Vec<Lock>, LockError> {
        let selection = Selection { platform: Some(platform), ..Selection::default() };
        match LockFile::parse(text, &path, &expansion)?.select(&selection) {
            Ok(lock) => Ok(vec![lock]),
            // A lock for another platform, which this one takes the place of.
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
            context.ui.warn(&format!("`{name}` is no lock; the new lock takes its place"));
            Ok(Vec::new())
        }
        Err(_) if *renew == Upgrade::All => Ok(Vec::new()),
        Err(error) => Err(CliError::world(
            format!("the lock that is there cannot be read, so nothing of it can be kept: {error}"),
            "mend it, or lock without it: `--update`",
        )),
    }
}
