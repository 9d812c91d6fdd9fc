//! Locks an environment.yml in memory: `lock` writes the result, and `install` installs it.

mod channel_line;
mod pip;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use mlconda::{
    RepoDataRecord, Subdir,
    environment::{ChannelRule, Environment, ReadOptions},
    host::{Host, Override},
    lock::Lock,
    network::Client,
    progress::{Event, Progress},
    repodata::{self, Access, Repodata, RepodataOptions},
    solve::{
        self, ChangeReason, ChannelPriority, Cutoff, ExplainEffort, Pip, Previous, Solution, SolveError, SolveOptions,
        UnknownPackage, Upgrade,
    },
};

use crate::{context::Context, error::CliError, progress::Display, report, signals::Temporary, text::list};

/// The options of a solve
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of solving")]
pub(crate) struct LockingArgs {
    /// An environment.yml (repeatable): several are merged into one environment
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Search this channel before those of the file (repeatable)
    #[arg(short, long = "channel", value_name = "CHANNEL")]
    pub(crate) channels: Vec<String>,
    /// Ignore the channels of the file; use only those of `-c`
    #[arg(long, requires = "channels", hide_short_help = true)]
    pub(crate) override_channels: bool,
    /// The URL of channels that are given by name [default: $MLCONDA_CHANNEL_ALIAS, else
    /// conda.anaconda.org]
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub(crate) channel_alias: Option<String>,
    /// A channel of `defaults` (repeatable, in order) [default: $MLCONDA_DEFAULT_CHANNELS, separated by commas, else
    /// pkgs/main and pkgs/r of repo.anaconda.com]
    #[arg(long = "default-channel", value_name = "CHANNEL", hide_short_help = true)]
    pub(crate) default_channels: Vec<String>,
    /// Assume this virtual package on the target machine, as in `__cuda=12.4`; an empty version assumes that it is
    /// missing (repeatable)
    #[arg(long = "virtual-package", value_name = "NAME=VERSION")]
    pub(crate) virtual_packages: Vec<Override>,
    /// The channel priority. strict: a package comes from the first channel that has its name; flexible: from the first
    /// channel with a suitable version; disabled: the newest version of all channels [default: strict]
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub(crate) channel_priority: Option<ChannelPriority>,
    /// Do not add pip as a dependency of python, which conda does by default (`add_pip_as_python_dependency`)
    #[arg(long, hide_short_help = true)]
    pub(crate) no_pip: bool,
    /// Leave out packages newer than this date or time, as in `2024-05-31` (the end of that day, in UTC) or
    /// `2024-05-31T12:00:00Z`; packages without a build time stay
    #[arg(long, value_name = "DATE", hide_short_help = true)]
    pub(crate) exclude_newer: Option<Cutoff>,
    /// Do not use the network: use the cache, however old, and local channels
    #[arg(long)]
    pub(crate) offline: bool,
    /// Ask the channels for changes, even if the cached repodata is still fresh
    #[arg(long, conflicts_with = "offline", hide_short_help = true)]
    pub(crate) refresh: bool,
}

impl LockingArgs {
    fn solve_options(&self) -> SolveOptions {
        SolveOptions {
            channel_priority: self.channel_priority.unwrap_or_default(),
            pip: if self.no_pip { Pip::NotAdded } else { Pip::Added },
            exclude_newer: self.exclude_newer,
        }
    }

    /// The given options that differ from those of the lock. Options that are not given are ignored.
    pub(crate) fn unlike(&self, lock: &Lock) -> Vec<String> {
        let SolveOptions { channel_priority, pip, exclude_newer } = lock.options;
        let mut unlike = Vec::new();
        if let Some(wanted) = self.channel_priority.filter(|wanted| *wanted != channel_priority) {
            unlike.push(format!("it was locked with `--channel-priority {channel_priority}`, not `{wanted}`"));
        }
        if self.no_pip && pip == Pip::Added {
            unlike.push("it was locked without `--no-pip`".to_owned());
        }
        if let Some(wanted) = self.exclude_newer.filter(|wanted| Some(*wanted) != exclude_newer) {
            unlike.push(match exclude_newer {
                Some(other) => format!("it was locked with `--exclude-newer {other}`, not `{wanted}`"),
                None => format!("it was locked without `--exclude-newer {wanted}`"),
            });
        }
        unlike
    }

    /// Whether the network is used.
    pub(crate) fn access(&self) -> Access {
        match (self.offline, self.refresh) {
            (true, _) => Access::Offline,
            (false, true) => Access::Refresh,
            (false, false) => Access::Online,
        }
    }
}

/// Whether the cache directory is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// It is created if missing: on a developer's machine.
    Make,
    /// It is used only if it exists: an image should contain the prefix only.
    IfPresent,
}

/// Whether to explain why there is no solution, which takes time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Explain {
    #[default]
    Fully,
    /// The caller tries another solve.
    Not,
}

/// The previous locks and installed packages.
#[derive(Clone, Debug, Default)]
pub(crate) struct PreviousLocks {
    /// For each platform, in the order of the platforms, locks whose packages are preferred, the best first.
    pub(crate) locks: Vec<Vec<Lock>>,
    /// The packages to update.
    pub(crate) renew: Upgrade,
    /// Installed packages, which can be used if no channel has them.
    pub(crate) installed: Vec<RepoDataRecord>,
    pub(crate) explain: Explain,
    pub(crate) lock_is_for: LockIsFor,
    /// The directory for repodata, if several solves share one.
    pub(crate) directory: Option<PathBuf>,
}

impl PreviousLocks {
    /// The locks of a platform, by its index.
    pub(crate) fn of(&self, index: usize) -> &[Lock] {
        self.locks.get(index).map_or(&[], Vec::as_slice)
    }
}

/// Where a lock is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LockIsFor {
    /// It can be written into a file.
    #[default]
    File,
    /// It is only installed. The records of packages have no logins.
    Prefix,
}

/// A new lock.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) lock: Lock,
    /// The reason for each changed package.
    pub(crate) why: BTreeMap<String, ChangeReason>,
}

/// Reads an environment, merged from these files, and prints its warnings.
pub(crate) fn read(files: &[PathBuf], args: &LockingArgs, context: &Context) -> Result<Environment, CliError> {
    let is_stdin = |file: &PathBuf| file.as_os_str() == "-";
    let named = |file: &PathBuf| match is_stdin(file) || file.starts_with("~") {
        true => context.settings.input(file),
        false => file.clone(),
    };
    let files: Vec<PathBuf> = files.iter().map(named).collect();
    let environment = Environment::read_all(&files, &read_options(args, context))?;
    environment.warnings.iter().for_each(|warning| context.ui.warn(&warning.to_string()));
    Ok(environment)
}

/// The options for reading an environment.
pub(crate) fn read_options(args: &LockingArgs, context: &Context) -> ReadOptions {
    let settings = &context.settings;
    let default_channels = match args.default_channels.as_slice() {
        [] => settings.list("MLCONDA_DEFAULT_CHANNELS"),
        told => told.to_vec(),
    };
    let alias = || settings.variable("MLCONDA_CHANNEL_ALIAS").map(str::to_owned);
    ReadOptions {
        directory: settings.directory.clone(),
        home: settings.home.clone(),
        variables: settings.variables.clone(),
        extra_channels: args.channels.clone(),
        default_channels,
        channel_alias: args.channel_alias.clone().or_else(alias),
        custom_channels: settings.custom_channels.clone(),
        channel_rule: if args.override_channels { ChannelRule::ExtraOnly } else { ChannelRule::FileAndExtra },
    }
}

/// Forwards events, and each warning only once.
struct Once<'a> {
    progress: &'a dyn Progress,
    told: Mutex<HashSet<String>>,
}

impl Progress for Once<'_> {
    fn event(&self, event: Event) {
        let is_old = match &event {
            Event::Warning(text) => !self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()),
            _ => false,
        };
        if !is_old {
            self.progress.event(event);
        }
    }
}

/// Locks an environment for each platform, in the same order. Platforms are solved in parallel.
pub(crate) fn lock(
    environment: &Environment,
    platforms: &[Subdir],
    before: &PreviousLocks,
    args: &LockingArgs,
    cache: Cache,
    context: &Context,
) -> Result<Vec<Locked>, CliError> {
    // If a caller solves several times, the warnings were already printed.
    let told = before.directory.is_some();
    for warning in platforms.iter().filter(|_| !told).flat_map(|platform| environment.platform_warnings(*platform)) {
        context.ui.warn(&warning.to_string());
    }
    let overrides = overrides(args, context)?;
    let targets: Vec<(Environment, Host)> = platforms
        .iter()
        .map(|platform| (environment.for_platform(*platform), Host::baseline(*platform).with(&overrides)))
        .collect();
    let directory = match &before.directory {
        Some(directory) => CacheDirectory::Kept(directory.clone()),
        None => cache_directory(cache, context)?,
    };
    let options = RepodataOptions {
        cache_directory: directory.path().join("repodata"),
        access: args.access(),
        now: SystemTime::now(),
    };
    let progress = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    // Loaded one after the other, so that `noarch` is in the cache after the first.
    let loading = async {
        let told = Once { progress: &progress, told: Mutex::default() };
        let mut loaded = Vec::with_capacity(targets.len());
        for (environment, host) in &targets {
            let repodata = repodata::load_with(&client, environment, host, &options, &before.installed, &told).await;
            loaded.push(repodata.map_err(|error| channel_line::at_its_line(error, environment))?);
        }
        Ok::<_, CliError>(loaded)
    };
    let mut loaded = context.block_on_or_end(loading)??;
    let (progress, targets, overrides) = (&progress, &targets, overrides.as_slice());
    let solve_options = &args.solve_options();
    let outcomes = pin_all(targets, &loaded, overrides, solve_options, before, progress);
    let failing = Failing { client: &client, overrides, solve_options, before, progress, context };
    let mut locks = Vec::new();
    for (index, (outcome, (environment, host))) in outcomes.into_iter().zip(targets).enumerate() {
        locks.push(match outcome {
            outcome if before.explain == Explain::Not => outcome?,
            Err(CliError::Library(mlconda::Error::Solve(SolveError::Unsolvable { .. }))) => {
                failing.explained(index, environment, host, std::mem::take(&mut loaded[index]))?
            }
            Err(CliError::Library(mlconda::Error::Solve(unknown @ SolveError::Unknown { .. }))) => {
                return Err(match elsewhere(&unknown, index, targets, &loaded) {
                    Some(hint) => CliError::world(unknown.to_string(), hint),
                    None => unknown.into(),
                });
            }
            outcome => outcome?,
        });
    }
    give_back(loaded);
    let environments = targets.iter().map(|(environment, _)| environment);
    let locking =
        pip::Locking { args, before, client: &client, repodata: &options, cache: directory.path(), context, progress };
    locking.lock(environments.zip(locks.iter_mut().map(|locked: &mut Locked| &mut locked.lock)))?;
    if before.lock_is_for == LockIsFor::File {
        locks.iter().for_each(|locked| warn_of_secrets(&locked.lock, context));
    }
    Ok(locks)
}

/// Solves for all targets, in parallel.
fn pin_all(
    targets: &[(Environment, Host)],
    loaded: &[Repodata],
    overrides: &[Override],
    options: &SolveOptions,
    before: &PreviousLocks,
    progress: &Display<'_>,
) -> Vec<Result<Locked, CliError>> {
    std::thread::scope(|scope| {
        let solving: Vec<_> = targets
            .iter()
            .zip(loaded)
            .enumerate()
            .map(|(index, ((environment, host), repodata))| {
                let previous = Previous { locks: before.of(index), renew: &before.renew };
                scope.spawn(move || pin(environment, host, repodata, overrides, options, previous, progress))
            })
            .collect();
        solving
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Drops repodata on another thread: with tens of thousands of records, this takes time.
fn give_back(loaded: Vec<Repodata>) {
    // If no thread starts, it is dropped here.
    _ = std::thread::Builder::new().spawn(move || drop(loaded));
}

/// The input for explaining a failed solve.
struct Failing<'a> {
    client: &'a Client,
    overrides: &'a [Override],
    solve_options: &'a SolveOptions,
    before: &'a PreviousLocks,
    progress: &'a Display<'a>,
    context: &'a Context,
}

impl Failing<'_> {
    /// Explains why there is no solution for a platform: by the conflicting lines, if they are found. Otherwise the
    /// environment is solved with all records, which takes long: its error is reported, or its solution is used.
    fn explained(
        &self,
        index: usize,
        environment: &Environment,
        host: &Host,
        mut repodata: Repodata,
    ) -> Result<Locked, CliError> {
        let (overrides, options) = (self.overrides, self.solve_options);
        self.context.ui.event(&serde_json::json!({"event": "explaining"}));
        let explanation = match self.context.block_on_or_end(repodata.add_any_version(self.client, environment))? {
            Ok(()) => solve::explain(environment, &repodata, host, overrides, options, ExplainEffort::default()),
            Err(error) => {
                let reason = report::chain(&error);
                self.context.ui.warn(&format!("versions outside the given ranges could not be loaded: {reason}"));
                None
            }
        };
        if let Some(explanation) = explanation {
            give_back(vec![repodata]);
            return Err(CliError::World { message: explanation.to_string(), hint: None });
        }
        let (solution, target) = solve::solve(environment, &repodata, host, overrides, options)?;
        let previous = Previous { locks: self.before.of(index), renew: &self.before.renew };
        pinned(environment, host, &repodata, (&solution, &target), previous, self.progress)
    }
}

/// A hint about packages that exist for another platform, but not for this one.
fn elsewhere(
    unknown: &SolveError,
    index: usize,
    targets: &[(Environment, Host)],
    loaded: &[Repodata],
) -> Option<String> {
    let SolveError::Unknown { packages, .. } = unknown else { return None };
    let having = |package: &UnknownPackage| {
        let pairs = targets.iter().zip(loaded);
        let platforms = pairs.filter(|(_, repodata)| repodata.has(&package.name)).map(|((_, host), _)| host.platform);
        let platforms: Vec<Subdir> = platforms.collect();
        let first = platforms.first()?;
        let names: Vec<&str> = platforms.iter().map(|platform| platform.as_str()).collect();
        Some(format!("`{0}` exists for {1}: `- sel({first}): {0}` asks for it there only", package.name, list(&names)))
    };
    let is_unknown = |package: &&UnknownPackage| !loaded[index].has(&package.name);
    let hints: Vec<String> = packages.iter().filter(is_unknown).filter_map(having).collect();
    (!hints.is_empty()).then(|| hints.join("\n      "))
}

/// Warns about logins in a lock, because locks are put into version control and images.
fn warn_of_secrets(lock: &Lock, context: &Context) {
    let masked = lock.masked();
    let exposed: Vec<&str> = lock.exposed().into_iter().filter(|package| !masked.contains(package)).collect();
    if let [first, others @ ..] = exposed.as_slice() {
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
    options: &SolveOptions,
    previous: Previous<'_>,
    progress: &dyn Progress,
) -> Result<Locked, CliError> {
    progress.event(Event::SolveStarted { records: repodata.len() });
    let (solution, target) = solve::update(environment, repodata, host, overrides, options, previous)?;
    pinned(environment, host, repodata, (&solution, &target), previous, progress)
}

/// Makes a lock of a solution and its target.
fn pinned(
    environment: &Environment,
    host: &Host,
    repodata: &Repodata,
    (solution, target): (&Solution, &Host),
    previous: Previous<'_>,
    progress: &dyn Progress,
) -> Result<Locked, CliError> {
    progress.event(Event::SolveFinished { packages: solution.records.len() });
    for (package, baseline) in target.virtual_packages.iter().zip(&host.virtual_packages) {
        if package != baseline {
            let (name, needed, usual) = (package.name.as_normalized(), &package.version, &baseline.version);
            progress.event(Event::Warning(format!(
                "the locked packages need `{name}` {needed} or newer; the default for {} is {usual}",
                host.platform
            )));
        }
    }
    if let [first, others @ ..] = solution.packages_without_time().as_slice() {
        let (what, more) = match others.len() {
            0 => ("does", String::new()),
            count => ("do", format!(" and {count} more")),
        };
        progress.event(Event::Warning(format!(
            "`{first}`{more} {what} no build time, and may be newer than `--exclude-newer` allows"
        )));
    }
    let lock = Lock::new(environment, target, solution)?;
    Ok(Locked { lock, why: solve::change_reasons(environment, repodata, target, solution, previous) })
}

/// The overrides of virtual packages: `CONDA_OVERRIDE_…` first, so that options have priority.
pub(crate) fn overrides(args: &LockingArgs, context: &Context) -> Result<Vec<Override>, CliError> {
    let variables = context.settings.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut overrides =
        Override::from_variables(variables).map_err(|error| CliError::world(error.to_string(), OVERRIDE_HINT))?;
    overrides.extend(args.virtual_packages.iter().cloned());
    Ok(overrides)
}

const OVERRIDE_HINT: &str = "correct or unset the `CONDA_OVERRIDE_…` variable";

/// A directory for repodata.
pub(crate) enum CacheDirectory {
    Kept(PathBuf),
    /// Removed when the value is dropped.
    Temporary(Temporary),
}

impl CacheDirectory {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// The directory for repodata.
pub(crate) fn cache_directory(cache: Cache, context: &Context) -> Result<CacheDirectory, CliError> {
    let settings = &context.settings;
    match &settings.cache_directory {
        Some(path) if cache == Cache::Make || path.is_dir() => Ok(CacheDirectory::Kept(path.clone())),
        // An image `FROM scratch` has no directory for temporary files.
        _ => tempfile::tempdir()
            .or_else(|_| tempfile::tempdir_in(&settings.directory))
            .map(|directory| CacheDirectory::Temporary(Temporary::new(directory)))
            .map_err(|error| {
                CliError::world(
                    format!("cannot make a directory for repodata: {error}"),
                    "set `MLCONDA_CACHE_DIR` to a directory that can be written to",
                )
            }),
    }
}
