//! From an environment.yml to locks in memory: what `lock` writes to files, and `install` installs at once.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use futures::future::try_join_all;
use mlconda::{
    Subdir,
    environment::{ChannelRule, Environment, ReadOptions},
    host::{Host, Override},
    lock::Lock,
    network::Client,
    progress::{Event, Progress},
    repodata::{self, Access, Repodata, RepodataOptions},
    solve,
};

use crate::{progress::Display, report::CliError, settings::Context};

/// What decides on a lock besides the file
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LockingArgs {
    /// Look for packages in this channel before those of the file (repeatable)
    #[arg(short, long = "channel", value_name = "CHANNEL")]
    pub(crate) channels: Vec<String>,
    /// Ignore the channels of the file: only those of `-c` count
    #[arg(long, requires = "channels")]
    pub(crate) override_channels: bool,
    /// Assume this virtual package of the machine that the lock is for, as in `__cuda=12.4`; an empty version
    /// assumes its absence (repeatable)
    #[arg(long = "virtual-package", value_name = "NAME=VERSION")]
    pub(crate) virtual_packages: Vec<Override>,
    /// Do not ask the network: use what is cached, however old, and what is in files
    #[arg(long)]
    pub(crate) offline: bool,
    /// Ask the channels, even if they have said that what is cached is good for a while yet
    #[arg(long, conflicts_with = "offline")]
    pub(crate) refresh: bool,
}

impl LockingArgs {
    /// Whether the network may be asked.
    pub(crate) fn access(&self) -> Access {
        match (self.offline, self.refresh) {
            (true, _) => Access::Offline,
            (false, true) => Access::Refresh,
            (false, false) => Access::Online,
        }
    }
}

/// Whether the cache directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// It is made if missing: on a developer's machine.
    Make,
    /// It is used if it is there: what is left over in an image should be the prefix only.
    IfPresent,
}

/// Reads an environment.yml, and says what deserves a word about it.
pub(crate) fn read(file: &Path, args: &LockingArgs, context: &Context) -> Result<Environment, CliError> {
    let options = ReadOptions {
        directory: context.settings.directory.clone(),
        home: context.settings.home.clone(),
        variables: context.settings.variables.clone(),
        extra_channels: args.channels.clone(),
        channel_rule: if args.override_channels { ChannelRule::ExtraOnly } else { ChannelRule::FileToo },
    };
    let environment = Environment::read(file, &options)?;
    for warning in &environment.warnings {
        let place = warning.location;
        context.ui.warn(&format!("{}:{}:{}: {}", file.display(), place.line, place.column, warning.message));
    }
    Ok(environment)
}

/// Locks an environment for each of these platforms; the locks come in the same order. Platforms are loaded
/// and solved side by side.
pub(crate) fn lock(
    environment: &Environment,
    platforms: &[Subdir],
    args: &LockingArgs,
    cache: Cache,
    context: &Context,
) -> Result<Vec<Lock>, CliError> {
    let overrides = overrides(args, context)?;
    let targets: Vec<(Environment, Host)> = platforms
        .iter()
        .map(|platform| (environment.for_platform(*platform), Host::baseline(*platform).with(&overrides)))
        .collect();
    targets.iter().try_for_each(|(environment, _)| refuse_pip(environment))?;
    let directory = cache_directory(cache, context)?;
    let options = RepodataOptions {
        cache_directory: directory.path().join("repodata"),
        access: args.access(),
        now: SystemTime::now(),
    };
    let progress = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    let loading =
        targets.iter().map(|(environment, host)| repodata::load(&client, environment, host, &options, &progress));
    let loaded = context.block_on_or_signal(try_join_all(loading))??;
    let (progress, targets, overrides) = (&progress, &targets, overrides.as_slice());
    std::thread::scope(|scope| {
        let solving: Vec<_> = targets
            .iter()
            .zip(&loaded)
            .map(|((environment, host), repodata)| {
                scope.spawn(move || pin(environment, host, repodata, overrides, progress))
            })
            .collect();
        let finished =
            solving.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        finished.collect::<Result<Vec<Lock>, CliError>>()
    })
    .inspect(|locks| locks.iter().for_each(|lock| warn_of_secrets(lock, context)))
}

/// A lock gets into version control and images: a login in it is worth a word.
fn warn_of_secrets(lock: &Lock, context: &Context) {
    if let [first, others @ ..] = lock.exposed().as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" and of {} more", others.len()) };
        context.ui.warn(&format!(
            "the lock shows a login in the URL of `{first}`{more}: in environment.yml, put an environment variable \
             in its place, as in `https://host/t/$TOKEN/channel`, and the lock will name the variable too"
        ));
    }
}

/// Solves, and pins the solution.
fn pin(
    environment: &Environment,
    host: &Host,
    repodata: &Repodata,
    overrides: &[Override],
    progress: &dyn Progress,
) -> Result<Lock, CliError> {
    progress.event(Event::SolveStarted { records: repodata.len() });
    let (solution, target) = solve::solve_for_oldest(environment, repodata, host, overrides)?;
    progress.event(Event::SolveFinished { packages: solution.records.len() });
    for (package, baseline) in target.virtual_packages.iter().zip(&host.virtual_packages) {
        if package != baseline {
            let (name, needed, usual) = (package.name.as_normalized(), &package.version, &baseline.version);
            progress.event(Event::Warning(format!(
                "the packages need `{name}` {needed} or newer, and so does the lock; the baseline of {} is {usual}",
                host.platform
            )));
        }
    }
    Ok(Lock::new(environment, &target, &solution)?)
}

/// `CONDA_OVERRIDE_…` first, so that what was typed counts more.
fn overrides(args: &LockingArgs, context: &Context) -> Result<Vec<Override>, CliError> {
    let variables = context.settings.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut overrides =
        Override::from_variables(variables).map_err(|error| CliError::world(error.to_string(), OVERRIDE_HINT))?;
    overrides.extend(args.virtual_packages.iter().cloned());
    Ok(overrides)
}

const OVERRIDE_HINT: &str = "correct or unset the `CONDA_OVERRIDE_…` variable";

/// Packages of pip cannot be locked yet, and must not be dropped in silence.
fn refuse_pip(environment: &Environment) -> Result<(), CliError> {
    if environment.pip.is_empty() {
        return Ok(());
    }
    let lines: String = environment
        .pip
        .iter()
        .map(|line| format!("\n  {} ({}:{})", line.text, environment.file.display(), line.location.line))
        .collect();
    let what = if environment.pip.len() == 1 { "this requirement" } else { "these requirements" };
    Err(CliError::world(
        format!("the `pip:` list cannot be locked yet, and nothing is left out in silence; it has {what}:{lines}"),
        "many packages of PyPI are in conda-forge too: move them out of the `pip:` list. Or remove the list, and \
         install it with pip after `mlconda install`",
    ))
}

/// A directory for repodata.
enum CacheDirectory {
    Kept(PathBuf),
    /// Gone with the value.
    Temporary(tempfile::TempDir),
}

impl CacheDirectory {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

fn cache_directory(cache: Cache, context: &Context) -> Result<CacheDirectory, CliError> {
    let settings = &context.settings;
    match &settings.cache_directory {
        Some(path) if cache == Cache::Make || path.is_dir() => Ok(CacheDirectory::Kept(path.clone())),
        // An image `FROM scratch` has no directory for temporary files.
        _ => tempfile::tempdir()
            .or_else(|_| tempfile::tempdir_in(&settings.directory))
            .map(CacheDirectory::Temporary)
            .map_err(|error| {
                CliError::world(
                    format!("cannot make a directory for repodata: {error}"),
                    "name one that can be written to with `MLCONDA_CACHE_DIR`",
                )
            }),
    }
}
