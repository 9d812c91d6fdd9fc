//! `mlconda cache`: shows the size of the cache, and removes files that were not used for a long time.

use std::{
    io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mlconda::install::{CacheAmount, CacheKind, InstallError, Keep, Pruned, Pruning, Stop, cache_size, prune};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    hints, lock_selection,
    report::chain,
    signals,
    text::{ago, bytes, count, enumerate, help, path_text},
};

/// Show the size of the cache, or remove what was not used for long
#[derive(Debug, clap::Args)]
#[command(after_help = help(AFTER_HELP))]
pub(crate) struct Args {
    #[command(subcommand)]
    command: CacheCommand,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda cache size
  mlconda cache prune                              what was not used for 30 days
  mlconda cache prune --older-than 12h --dry-run
  mlconda cache prune --keep-locks env.lock        all packages that this lock does not name

`mlconda fetch` fills the cache. `mlconda info` names its directory.
{conda}`mlconda clean --all` empties the cache.";

#[derive(Debug, clap::Subcommand)]
enum CacheCommand {
    /// Show how much is in the cache, and how old it is
    Size(SizeArgs),
    /// Remove packages, layers and repodata that were not used for long
    ///
    /// Environments keep their files: what they share with the cache, they share by hard link. This can run beside
    /// installations: what they use stays. uv's own cache and the tools of `lock` stay too.
    ///
    /// With --keep-locks alone, age does not matter for packages, and layers and repodata stay.
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
struct SizeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Remove only what was not used for this long: a number with s, m, h, d or w [default: 30d, without --keep-locks]
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Keep the packages of these locks or bundles, of all their platforms
    #[arg(long, value_name = "LOCK", num_args = 1..)]
    keep_locks: Vec<PathBuf>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// What to do if nothing can be removed from the cache.
const REMEDY: &str = "run the command as a user who can write to it, or name another cache with `MLCONDA_CACHE_DIR`";

/// The default of `--older-than`.
const DEFAULT_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Parses an age: a number with a unit.
fn age(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(7 * 86_400),
        "" if digits == "0" => Some(0),
        _ => None,
    };
    let seconds = digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "write a number with its unit, as in `30d`, `12h` or `2w`".to_owned())
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    match args.command {
        CacheCommand::Size(args) => size(&args, context),
        CacheCommand::Prune(args) => remove(&args, context),
    }
}

/// The cache directory, which may not exist.
pub(crate) fn directory(context: &Context) -> Result<PathBuf, CliError> {
    let none = || CliError::world("there is no directory for a cache", "name one with `MLCONDA_CACHE_DIR`");
    context.settings.cache_directory.clone().ok_or_else(none)
}

/// The error of a command that only writes to the cache: it has no prefix.
pub(crate) fn cache_error(error: InstallError, directory: &Path, remedy: &str) -> CliError {
    match error {
        InstallError::File(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            CliError::world(format!("cannot use the cache `{}`: {}", directory.display(), error.kind()), remedy)
        }
        error => {
            let error = error.into();
            CliError::World { message: chain(&error), hint: hints::hint(&error).map(hints::without_prefix) }
        }
    }
}

fn size(args: &SizeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let directory = directory(context)?;
    let parts = cache_size(&directory)?;
    let sum: u64 = parts.iter().map(|(_, amount)| amount.bytes).sum();
    if args.json {
        let parts: Vec<Value> = parts.iter().map(|(kind, amount)| part_as_json(*kind, amount)).collect();
        let (path, exists) = (path_text(&directory), directory.is_dir());
        context.ui.json(&json!({ "path": path, "exists": exists, "bytes": sum, "parts": parts }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemTime::now();
    let mut text = String::new();
    for (kind, CacheAmount { count, bytes: size, oldest }) in &parts {
        let age = oldest.map(|oldest| ago(now.duration_since(oldest).ok())).unwrap_or_default();
        text.push_str(&format!("{:<9} {count:>7}  {:>10}  the oldest: {age}\n", kind.name(), bytes(*size)));
    }
    context.ui.text(&text)?;
    let directory = directory.display();
    context.ui.say(&match parts.as_slice() {
        [] => format!("There is nothing in the cache `{directory}`."),
        _ => format!("The cache `{directory}` has {}.", bytes(sum)),
    });
    Ok(ExitCode::SUCCESS)
}

fn part_as_json(kind: CacheKind, amount: &CacheAmount) -> Value {
    let oldest = amount.oldest.and_then(|oldest| oldest.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
    json!({ "name": kind.name(), "count": amount.count, "bytes": amount.bytes, "oldest": oldest })
}

fn remove(args: &PruneArgs, context: &Context) -> Result<ExitCode, CliError> {
    let directory = directory(context)?;
    let now = SystemTime::now();
    let age = args.older_than.or_else(|| args.keep_locks.is_empty().then_some(DEFAULT_AGE));
    // An age that reaches back before 1970 keeps everything.
    let mut keep = Keep::new(now, age.map(|age| now.checked_sub(age).unwrap_or(UNIX_EPOCH)));
    for file in &args.keep_locks {
        if lock_selection::is_environment(file, context) {
            let message = format!("`{}` is an environment file, which names no packages to keep", file.display());
            return Err(CliError::world(message, "give its lock"));
        }
        lock_selection::read_quietly(file, context)?.parts.iter().for_each(|part| keep.keep_lock(&part.lock));
    }
    let (pruning, stop) = (if args.dry_run { Pruning::Tell } else { Pruning::Remove }, Stop::default());
    let outcome = context.keep_or_signal(&stop, async { prune(&directory, &keep, pruning, &stop) });
    let pruned = match outcome {
        Ok(Err(InstallError::Stopped)) => return Err(stopped(signals::told().unwrap_or_default(), pruning)),
        Err(CliError::Stopped(signal)) => return Err(stopped(signal, pruning)),
        pruned => pruned?.map_err(|error| cache_error(error, &directory, REMEDY))?,
    };
    if args.json {
        let removed: Vec<Value> = pruned.removed.iter().map(|(kind, amount)| part_as_json(*kind, amount)).collect();
        let Pruned { kept, in_use, .. } = &pruned;
        context.ui.json(&json!({
            "path": path_text(&directory), "dry_run": args.dry_run, "removed": removed,
            "kept": { "count": kept.count, "bytes": kept.bytes }, "in_use": in_use,
        }))?;
    }
    tell(&pruned, &directory.display().to_string(), args, context);
    Ok(ExitCode::SUCCESS)
}

/// The error after a signal.
fn stopped(signal: u8, pruning: Pruning) -> CliError {
    let message = "stopped before everything was removed; the rest stays".to_owned();
    match pruning {
        Pruning::Tell => CliError::Stopped(signal),
        Pruning::Remove => CliError::StoppedHalfway { signal, message, hint: None },
    }
}

fn tell(pruned: &Pruned, directory: &str, args: &PruneArgs, context: &Context) {
    let phrases: Vec<String> = pruned.removed.iter().map(|(kind, amount)| phrase(*kind, amount)).collect();
    let kept = match pruned.kept.count {
        0 => "nothing stays".to_owned(),
        1 => format!("1 item stays ({})", bytes(pruned.kept.bytes)),
        number => format!("{} stay ({})", count(number, "item"), bytes(pruned.kept.bytes)),
    };
    context.ui.say(&match (phrases.as_slice(), args.dry_run) {
        ([], _) if pruned.kept.count == 0 => format!("There is nothing to remove from the cache `{directory}`."),
        ([], _) => format!("There is nothing to remove from the cache `{directory}`: {kept}."),
        (_, true) => format!("Would remove {} from the cache `{directory}`; {kept}.", enumerate(&phrases)),
        (_, false) => format!("Removed {} from the cache `{directory}`; {kept}.", enumerate(&phrases)),
    });
    if pruned.in_use > 0 {
        let (stay, were) = if pruned.in_use == 1 { ("stays", "it was") } else { ("stay", "they were") };
        let number = pruned.in_use;
        context.ui.say(&format!("{number} of them {stay} only because the cache is in use and {were} used today."));
    }
}

/// The removed files of a kind, as text.
fn phrase(kind: CacheKind, amount: &CacheAmount) -> String {
    let what = match kind {
        CacheKind::Packages => count(amount.count, "package"),
        CacheKind::Wheels => count(amount.count, "wheel"),
        CacheKind::Layers => count(amount.count, "layer"),
        _ => kind.name().to_owned(),
    };
    format!("{what} ({})", bytes(amount.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        let seconds = |text| age(text).map(|age| age.as_secs());
        let found = ["0", "45s", "90m", "12h", "30d", "2w"].map(seconds);
        assert_eq!(found, [0, 45, 5400, 43_200, 2_592_000, 1_209_600].map(Ok));
        for text in
            ["", "d", "30", "1.5d", "-1d", "30 d", "30x", "d30", "99999999999999999999d", "3000000000000000w", "1é"]
        {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
