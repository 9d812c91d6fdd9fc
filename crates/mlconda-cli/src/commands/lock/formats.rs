//! Locks in formats with several platforms in one file, and locks of installed packages.

use std::{path::Path, process::ExitCode};

use mlconda::{
    Subdir,
    lock::{LockError, LockFile, LockFormat, LockKind, Part, Rendered, Selection, Written},
    prefix::Prefix,
    records::Wanted,
    repodata::Access,
};

use super::{super::export::warn_of_logins, Args};
use crate::{context::Context, error::CliError, lock_or_prefix, lock_selection, locking::Locked, signals};

/// Writes locks into one file, or prints them. These formats also contain the dependencies of pip packages.
pub(super) fn write(locked: &[Locked], args: &Args, context: &Context) -> Result<Option<Written>, CliError> {
    let mut parts: Vec<Part> = locked.iter().map(|it| Part::new(it.lock.clone())).collect();
    for part in &mut parts {
        lock_or_prefix::complete(&mut part.lock, None, Wanted::Dependencies, (&[], args.locking.access()), context)?;
    }
    // The kind is not used for writing.
    let file = LockFile { file: args.output.clone(), kind: LockKind::Explicit, parts };
    put(&file, args, &Selection::default(), context)
}

/// Locks the packages that are installed in a prefix, without a solve.
pub(super) fn of_prefix(prefix: &Path, args: &Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut file = lock_selection::read(prefix, context)?;
    if file.kind != LockKind::Prefix {
        let message = format!("`{}` is not a directory, so there is no environment in it", prefix.display());
        return Err(CliError::world(message, "name the prefix of an environment; `mlconda convert` converts a lock"));
    }
    file.parts.iter_mut().for_each(|part| args.slim.apply(&mut part.lock));
    // If all packages are noarch, the prefix is for this machine's platform.
    for part in file.parts.iter_mut().filter(|part| part.lock.platform == Subdir::NoArch) {
        part.lock.platform = Subdir::current().unwrap_or(Subdir::NoArch);
    }
    if args.format() != LockFormat::Explicit {
        let path = context.settings.absolute(prefix);
        let opened = Prefix::open(if path.ends_with("conda-meta") { path.parent().unwrap_or(&path) } else { &path })?;
        for part in &mut file.parts {
            lock_or_prefix::complete(
                &mut part.lock,
                Some(opened.clone()),
                Wanted::Dependencies,
                (&[], Access::Offline),
                context,
            )?;
        }
    }
    if args.format() != LockFormat::Pixi {
        file.parts.iter().for_each(|part| warn_of_logins(&part.lock, context));
    }
    let written = put(&file, args, &Selection::default(), context)?;
    let packages = file.parts.first().map(|part| super::packages(&part.lock)).unwrap_or_default();
    let (prefix, output) = (prefix.display(), args.output.display());
    context.ui.say(&match written {
        Some(Written::Changed) => format!("{packages} of `{prefix}` are locked in `{output}`."),
        Some(Written::UpToDate) => format!("{packages} of `{prefix}` are locked; `{output}` is up to date."),
        None if args.is_printed() => format!("{packages} of `{prefix}` are locked."),
        None => format!("{packages} of `{prefix}`; nothing was written."),
    });
    Ok(ExitCode::SUCCESS)
}

fn put(file: &LockFile, args: &Args, chosen: &Selection, context: &Context) -> Result<Option<Written>, CliError> {
    if args.dry_run {
        let Rendered { text, losses } = file.render(args.format(), chosen, Some(&context.settings.directory))?;
        losses.iter().for_each(|loss| context.ui.warn(loss));
        if !args.json {
            context.ui.data(text)?;
        }
        return Ok(None);
    }
    let (written, losses) =
        signals::whole(|| file.write(&context.settings.absolute(&args.output), args.format(), chosen)).map_err(
            |error| match error {
                LockError::File(error) => CliError::world(
                    format!("cannot write the lock `{}`: {}", args.output.display(), error.kind()),
                    "name a file in a directory that can be written to, with `-o`",
                ),
                other => other.into(),
            },
        )?;
    losses.iter().for_each(|loss| context.ui.warn(loss));
    Ok(Some(written))
}

/// The format of the existing lock, which a new one keeps.
pub(super) fn of_file(output: &Path, context: &Context) -> Option<LockFormat> {
    match lock_selection::kind_of_file(&context.settings.absolute(output)) {
        Some(LockKind::Pixi) => Some(LockFormat::Pixi),
        Some(LockKind::CondaLock) => Some(LockFormat::CondaLock),
        _ => None,
    }
}

/// Whether a format has one platform per file.
pub(super) fn is_one_each(format: LockFormat) -> bool {
    format == LockFormat::Explicit
}
