//! `mlconda fetch`: downloads the packages of locks into the cache, before they are installed.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use mlconda::{
    Subdir,
    host::Host,
    install::{CacheCheck, Fetched, InstallError, Options, Stop, archives, fetch, is_cached},
    lock::{Lock, LockedPackage},
    network::Client,
    repodata::Access,
};
use serde_json::json;

use crate::{
    bundles,
    commands::cache,
    context::Context,
    error::CliError,
    lock_selection::{self, SelectionArgs},
    progress::Display,
    signals,
    text::{bytes, count, help, list, path_text, path_word},
};

/// Fetch the packages of locks into the cache, and install nothing
///
/// Every archive is checked against the lock, and extracted into the cache. Installations and images take the packages
/// from there, also with --offline. The cache directory is created if it does not exist.
#[derive(Debug, clap::Args)]
#[command(after_help = help(AFTER_HELP))]
pub(crate) struct Args {
    /// Lock files (@EXPLICIT, conda-lock.yml or pixi.lock), or bundles
    #[cfg_attr(not(feature = "lock"), arg(help = super::install::INPUTS))]
    #[arg(value_name = "LOCK", required = true)]
    inputs: Vec<PathBuf>,
    /// Of a lock for several platforms, take these (repeatable) [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platforms: Vec<Subdir>,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Take archives from local files and bundles only, not from the network
    #[arg(long)]
    offline: bool,
    /// Compare packages that are in the cache with their hashes, and fetch damaged ones again
    #[arg(long)]
    verify_cache: bool,
    /// The number of parallel downloads
    #[arg(long, value_name = "N", default_value = "8", hide_short_help = true)]
    downloads: NonZero<usize>,
    #[command(flatten)]
    selection: SelectionArgs,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda fetch env.lock
  mlconda fetch env.lock gpu.lock --platform linux-64 --platform linux-aarch64
{bundle}  mlconda fetch env.bundle
  mlconda fetch env.lock --dry-run

With --progress json, stderr has the events fetch-started (packages, bytes) and package-fetched (package), and those of
`install` for downloads and the cache.

`mlconda cache size` tells how large the cache is, and `mlconda cache prune` removes what was not used for long.";

/// What to do if the cache cannot be written to.
const REMEDY: &str = "set `MLCONDA_CACHE_DIR` to a directory that can be written to";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let start = Instant::now();
    let (packages, others) = archives(&locks(&args, context)?);
    if args.dry_run {
        tell_plan(&packages, &others, &args, context)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = Options {
        cache_check: if args.verify_cache { CacheCheck::Content } else { CacheCheck::Presence },
        durability: context.settings.durability(),
        downloads: args.downloads,
        stop: Stop::default(),
        ..Options::default()
    };
    bundles::add_archives(&args.inputs, &mut options, context)?;
    if args.offline {
        options.access = Access::Offline;
    }
    let (fetched, directory) = into_cache(packages, &others, options, context)?;
    if args.json {
        context.ui.json(&json!({
            "cache": path_text(&directory), "fetched": fetched.fetched, "bytes": fetched.bytes,
            "present": fetched.present, "left_out": others, "seconds": start.elapsed().as_secs_f64(),
        }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches the archives of a lock into the cache, as `create --download-only` of conda.
#[cfg(feature = "conda")]
pub(crate) fn lock_into_cache(lock: Lock, options: Options, context: &Context) -> Result<(), CliError> {
    let (packages, others) = archives(&[lock]);
    into_cache(packages, &others, options, context).map(drop)
}

/// Fetches packages into the cache, and tells the result. `others` cannot be in the cache. The result has the directory
/// of the cache.
fn into_cache(
    packages: Vec<LockedPackage>,
    others: &[String],
    options: Options,
    context: &Context,
) -> Result<(Fetched, PathBuf), CliError> {
    let (start, directory) = (Instant::now(), cache::directory(context)?);
    let cannot = |error: std::io::Error| {
        let message = format!("cannot make the cache `{}`: {}", directory.display(), error.kind());
        CliError::world(message, REMEDY)
    };
    fs_err::create_dir_all(&directory).map_err(cannot)?;
    let options = Options { cache: Some(directory.clone()), ..options };
    let fetched = carry_out(packages, &options, &directory, context)?;
    tell_of_others(others, context);
    let seconds = start.elapsed().as_secs_f64();
    let (number, place) = (count(fetched.fetched, "package"), directory.display());
    context.ui.say(&match (fetched.fetched, fetched.present) {
        (0, 0) => format!("There is nothing to fetch into the cache `{place}`."),
        (0, 1) => format!("The package is in the cache `{place}` already."),
        (0, present) => format!("All {} are in the cache `{place}` already.", count(present, "package")),
        (_, present) => {
            let before = match present {
                0 => String::new(),
                1 => "; 1 was there before".to_owned(),
                _ => format!("; {present} were there before"),
            };
            format!("Fetched {number} ({}) into the cache `{place}`, in {seconds:.1} s{before}.", bytes(fetched.bytes))
        }
    });
    Ok((fetched, directory))
}

/// The locks of all files.
fn locks(args: &Args, context: &Context) -> Result<Vec<Lock>, CliError> {
    let (machine, mut locks) = (Host::detect(Path::new("/")).platform, Vec::new());
    for file in &args.inputs {
        if lock_selection::is_environment(file, context) {
            let name = file.display();
            let message = format!("`{name}` is an environment file; `fetch` takes locks");
            return Err(CliError::world(
                message,
                format!("lock it first: `mlconda lock {} -o env.lock`", path_word(file)),
            ));
        }
        let found = lock_selection::of_platforms(file, &args.platforms, &args.selection, machine, context)?;
        locks.extend(found.into_iter().map(|(_, lock)| lock));
    }
    Ok(locks)
}

fn carry_out(
    packages: Vec<LockedPackage>,
    options: &Options,
    directory: &Path,
    context: &Context,
) -> Result<Fetched, CliError> {
    let display = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    match context.keep_or_signal(&options.stop, fetch(packages, &client, options, &display)) {
        Ok(Err(InstallError::Stopped)) => Err(stopped(signals::told().unwrap_or_default())),
        Err(CliError::Stopped(signal)) => Err(stopped(signal)),
        outcome => outcome?.map_err(|error| cache::cache_error(error, directory, REMEDY)),
    }
}

/// The error after a signal.
fn stopped(signal: u8) -> CliError {
    let message = "stopped; packages that have arrived stay in the cache".to_owned();
    CliError::StoppedHalfway { signal, message, hint: Some("the same command goes on with the others".to_owned()) }
}

fn tell_plan(packages: &[LockedPackage], others: &[String], args: &Args, context: &Context) -> Result<(), CliError> {
    let cache = context.settings.package_cache();
    let is_missing = |package: &&LockedPackage| !cache.as_ref().is_some_and(|cache| is_cached(cache, package));
    let missing: Vec<&LockedPackage> = packages.iter().filter(is_missing).collect();
    let present = packages.len() - missing.len();
    let size: Option<u64> = missing.iter().map(|package| package.size).sum();
    if args.json {
        let names: Vec<_> = missing.iter().map(|it| json!({"file": it.file_name, "size": it.size})).collect();
        let plan = json!({"dry_run": true, "packages": names, "present": present, "left_out": others});
        return context.ui.json(&plan);
    }
    let mut text = String::new();
    for package in &missing {
        let size = package.size.map_or_else(|| "?".to_owned(), bytes);
        text.push_str(&format!("{size:>10}  {}\n", package.file_name));
    }
    context.ui.text(&text)?;
    tell_of_others(others, context);
    let size = size.filter(|size| *size > 0).map(|size| format!(" ({})", bytes(size))).unwrap_or_default();
    let are = if present == 1 { "is" } else { "are" };
    let missing = count(missing.len(), "package");
    context.ui.say(&format!("{missing}{size} would be fetched; {present} {are} in the cache."));
    Ok(())
}

/// Reports packages that cannot be cached.
fn tell_of_others(others: &[String], context: &Context) {
    if !others.is_empty() {
        context.ui.warn(&format!(
            "{} cannot be in the cache: the lock has no sha256 of a package or wheel; each installation fetches it",
            list(others)
        ));
    }
}
