//! `mlconda lock --check`: checks whether the locks satisfy the environment; for CI, and before a commit.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    Subdir,
    environment::Environment,
    lock::{LockError, LockFile, LockFormat, Mismatch, MismatchKind, Selection},
};
use serde_json::json;

use super::{
    Args,
    formats::{is_one_each, of_file},
};
use crate::{
    context::Context,
    error::CliError,
    locking::{self, LockingArgs},
    slim::SlimArgs,
    text::{count, path_word},
};

pub(super) fn run(
    args: &Args,
    files: &[PathBuf],
    environment: &Environment,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let is_told = !args.platforms.is_empty() || !environment.platforms.is_empty();
    let platforms = if is_told { super::platforms(&args.platforms, environment)? } else { Vec::new() };
    // The format of an existing lock takes precedence over `--format`.
    let is_one_each = is_one_each(of_file(&args.output, context).unwrap_or(args.format()));
    let outputs = match is_one_each {
        true => args.outputs(&platforms),
        false => vec![args.output.clone(); platforms.len()],
    };
    let mut wanted: Vec<(PathBuf, Option<Subdir>)> = outputs.into_iter().zip(platforms.into_iter().map(Some)).collect();
    // The default is the platform of the lock, not of this machine.
    if wanted.is_empty() {
        wanted.push((args.output.clone(), None));
    }
    let (mut told, mut stale) = (Vec::new(), Vec::new());
    for (file, platform) in &wanted {
        let reasons = reasons(file, *platform, environment, (&args.locking, &args.slim), context)?;
        told.push(json!({
            "file": file,
            "platform": platform.map(|platform| platform.as_str()),
            "answers": reasons.is_empty(),
            "reasons": reasons,
        }));
        let place = match platform {
            Some(platform) if !is_one_each => format!("`{}` for {platform}", file.display()),
            _ => format!("`{}`", file.display()),
        };
        if reasons.is_empty() {
            context.ui.say(&format!("{place} satisfies `{}`.", environment.file.display()));
        } else {
            stale.push(explained(&place, &environment.file, &reasons));
        }
    }
    if args.json {
        context.ui.json(&json!({ "locks": told }))?;
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::World { message: stale.join("\n"), hint: Some(remedy(args, files, context)) })
}

/// Why a lock does not satisfy the environment; it may also not exist.
fn reasons(
    file: &Path,
    platform: Option<Subdir>,
    environment: &Environment,
    (options, slim): (&LockingArgs, &SlimArgs),
    context: &Context,
) -> Result<Vec<String>, CliError> {
    let settings = &context.settings;
    let expansion = settings.expansion();
    let locks = match LockFile::read(&settings.absolute(file), &expansion) {
        Err(LockError::File(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(vec!["the file does not exist".to_owned()]);
        }
        locks => locks?,
    };
    let platforms = platform.map_or_else(|| locks.platforms(), |platform| vec![platform]);
    let mut reasons = Vec::new();
    for platform in platforms {
        let lock = match locks.select(&Selection { platform: Some(platform), ..Selection::default() }) {
            Ok(lock) => lock,
            Err(LockError::Selection { message, .. }) => {
                reasons.push(format!("it {message}"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let declared = locking::overrides(options, context)?;
        // Options take precedence over the environment.
        let is_overruled =
            |unmet: &Mismatch| slim.typed().is_some() && matches!(unmet.reason, MismatchKind::Slim { .. });
        let unmet = lock.check(environment).into_iter().filter(|unmet| !is_overruled(unmet));
        let unmet = unmet.chain(lock.check_assumed(&declared));
        reasons.extend(unmet.map(|unmet: Mismatch| unmet.to_string()));
        reasons.extend(options.unlike(&lock));
        if let Some(wanted) = slim.typed().filter(|wanted| *wanted != lock.slim) {
            reasons.push(format!("it was locked with `--slim={}`, not `{wanted}`", lock.slim));
        }
    }
    reasons.dedup();
    Ok(reasons)
}

/// The message that a lock does not satisfy an environment, with the reasons.
fn explained(lock: &str, environment: &Path, reasons: &[String]) -> String {
    let lines: String = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
    let number = if reasons.len() > 1 { format!(", for {}", count(reasons.len(), "reason")) } else { String::new() };
    format!("{lock} does not satisfy `{}`{number}:{lines}", environment.display())
}

fn remedy(args: &Args, files: &[PathBuf], context: &Context) -> String {
    let files: String = files.iter().map(|file| format!(" {}", path_word(file))).collect();
    let platforms: String = args.platforms.iter().map(|platform| format!(" --platform {platform}")).collect();
    let format = of_file(&args.output, context).unwrap_or(args.format());
    let format = if format == LockFormat::Explicit { String::new() } else { format!(" --format {format}") };
    format!(
        "lock again, with as few changes as possible: `mlconda lock{files} -o {}{format}{platforms}`",
        path_word(&args.output)
    )
}

/// The possible locks of an environment file.
fn places(file: &Path, platform: Subdir) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names =
        [format!("{stem}.lock"), format!("{stem}.{platform}.lock"), "env.lock".into(), format!("env.{platform}.lock")];
    names.iter().map(|name| file.with_file_name(name)).collect()
}

/// Whether a lock has the usual name for this environment file.
fn is_named_after(lock: &Path, file: &Path) -> bool {
    let stem =
        |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().split('.').next().map(str::to_owned);
    stem(lock) == stem(file) || matches!(stem(file).as_deref(), Some("environment" | "env"))
}

/// Warns that a lock beside an environment file exists and is not used. A lock of another environment, and one that
/// cannot be read, is ignored.
pub(crate) fn tell_of_lock_beside(files: &[PathBuf], environment: &Environment, platform: Subdir, context: &Context) {
    let Some(file) = files.first() else { return };
    let there = places(file, platform).into_iter().find(|place| context.settings.absolute(place).is_file());
    let Some(lock) = there else { return };
    let typed: String = files.iter().map(|file| format!(" {}", path_word(file))).collect();
    let (shown, names) = (lock.display(), file.display());
    match reasons(&lock, Some(platform), environment, (&LockingArgs::default(), &SlimArgs::default()), context) {
        Ok(reasons) if reasons.is_empty() => context.ui.say(&format!(
            "`{names}` is solved again, and `{shown}` beside it is not used: `mlconda install --locked{typed}` installs the lock"
        )),
        Ok(_) if is_named_after(&lock, file) => context.ui.say(&format!(
            "`{names}` is solved again; `{shown}` beside it is out of date: `mlconda lock{typed} -o {}` updates the lock, \
             and `mlconda install --locked{typed}` installs it",
            path_word(&lock)
        )),
        _ => {}
    }
}

/// The lock beside an environment file for a platform, if it satisfies the file: `install --locked` installs it.
pub(crate) fn beside(
    files: &[PathBuf],
    environment: &Environment,
    platform: Subdir,
    context: &Context,
) -> Result<PathBuf, CliError> {
    let file = files.first().map_or(Path::new("environment.yml"), PathBuf::as_path);
    let places = places(file, platform);
    let of_environment: String = files.iter().map(|file| format!(" {}", path_word(file))).collect();
    let hint = |lock: &Path| format!("lock it: `mlconda lock{of_environment} -o {}`", path_word(lock));
    let there: Vec<&PathBuf> = places.iter().filter(|place| context.settings.absolute(place).is_file()).collect();
    let mut refused = None;
    for lock in &there {
        let reasons =
            reasons(lock, Some(platform), environment, (&LockingArgs::default(), &SlimArgs::default()), context)?;
        if reasons.is_empty() {
            return Ok((*lock).clone());
        }
        refused = refused.or_else(|| Some((explained(&format!("`{}`", lock.display()), file, &reasons), hint(lock))));
    }
    let missing = || {
        let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let message = format!("there is no lock beside `{}`: none of {}", file.display(), crate::text::list(&names));
        (message, hint(&file.with_file_name("env.lock")))
    };
    let (message, hint) = refused.unwrap_or_else(missing);
    Err(CliError::World { message, hint: Some(hint) })
}
