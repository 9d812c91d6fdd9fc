//! Solves the specs and the installed packages into a lock: with one solve, or with several that keep less and less.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use mlconda::{
    Channel, MatchSpec, RepoDataRecord, Subdir,
    environment::{ChannelRule, Environment, Location, ReadOptions, Requirement},
    lock::Lock,
    solve::Upgrade,
    sorting::IntoTree,
};

use super::{
    super::{
        channels::Channels,
        goal::{Goal, InstalledState, bare, is_answered, name_of, placed, record_name},
        line::Line,
        options::Verb,
        shown,
    },
    overlaid, texts,
};
use crate::{
    context::Context,
    error::CliError,
    locking::{self, Cache, Explain, LockIsFor, PreviousLocks},
    text::list,
};

/// The file of specs that always apply, in a prefix.
const PINNED: &str = "conda-meta/pinned";
/// What messages name in its place for those of the configuration.
const PINS: &str = "`pinned_packages`";
/// What messages name in the place of a file: for specs of installed packages that must not change, and for the spec of
/// the installed python.
const FREEZES: &str = "`--freeze-installed`";
const PYTHON: &str = "the installed python";

/// A lock, and the specs that it satisfies.
pub(crate) struct Solved {
    pub(crate) lock: Lock,
    /// The specs of this command.
    pub(super) updated: Vec<String>,
    /// The packages of earlier specs that `--prune` has dropped.
    pub(super) removed: Vec<String>,
    /// Earlier specs whose versions had to be dropped.
    pub(super) neutered: Vec<String>,
    /// Whether the specs differ from the earlier ones.
    pub(super) is_asked_anew: bool,
}

/// The input of a solve.
struct Asking<'a> {
    line: &'a Line,
    goal: &'a Goal,
    state: Option<&'a InstalledState>,
    channels: &'a Channels,
    platform: Subdir,
    context: &'a Context,
    /// The options for reading specs that are not in a file.
    options: ReadOptions,
    before: PreviousLocks,
}

/// How far earlier specs are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    Counts,
    /// Their packages are kept, in any version.
    Neutered,
}

pub(crate) fn solve(
    line: &Line,
    verb: Verb,
    goal: &Goal,
    state: Option<&InstalledState>,
    channels: &Channels,
    platform: Subdir,
    context: &Context,
) -> Result<Solved, CliError> {
    let options = channels.options(&channels.known(), ChannelRule::ExtraOnly, context);
    let before = before(line, verb, goal, state, platform)?;
    let directory =
        locking::cache_directory(if line.has("--download-only") { Cache::Make } else { Cache::IfPresent }, context)?;
    let before = PreviousLocks { directory: Some(directory.path().to_owned()), ..before };
    let asking = Asking { line, goal, state, channels, platform, context, options, before };
    let (mut lock, history) = asking.answer()?;
    let updated = texts(goal);
    let typed = goal.names();
    let old: Vec<&Requirement> = state
        .into_iter()
        .flat_map(|state| &state.asked)
        .filter(|(name, _)| !typed.contains(*name))
        .map(|(_, old)| old)
        .collect();
    let neutered: Vec<String> = match history {
        // As with conda, `update --all` drops specs that it has replaced.
        History::Counts if line.has("--update-all") => {
            old.iter().filter(|old| is_outdated(old, &lock)).filter_map(|old| name_of(old)).collect()
        }
        History::Counts => Vec::new(),
        History::Neutered => {
            old.iter().filter(|old| old.spec.version.is_some()).filter_map(|old| name_of(old)).collect()
        }
    };
    if !neutered.is_empty() && history == History::Neutered {
        context.ui.warn(&format!(
            "the version of {} that was asked for before conflicts with the new specs: any version is allowed now",
            list(&neutered)
        ));
    }
    // As with conda, only the specs of the file count.
    let dropped = if line.has("--remove-old") { old.clone() } else { Vec::new() };
    let removed: Vec<String> = dropped.into_iter().filter_map(name_of).collect();
    let kept = old.iter().filter(|old| !neutered.iter().any(|name| name_of(old).as_ref() == Some(name)));
    lock.specs = kept
        .filter(|_| removed.is_empty())
        .map(|old| shown(old))
        .chain(neutered.iter().cloned())
        .chain(updated.iter().cloned())
        .collect();
    let before: Vec<String> = state.into_iter().flat_map(|state| state.asked.values()).map(shown).collect();
    let is_asked_anew = !removed.is_empty() || updated.iter().any(|spec| !before.contains(spec));
    Ok(Solved { lock: asking.narrowed(lock)?, updated, removed, neutered, is_asked_anew })
}

/// A spec that is in no file, under this name in messages.
fn of(name: &str, mut spec: Requirement) -> Requirement {
    spec.file = Path::new(name).into();
    spec.excerpt.file = Arc::clone(&spec.file);
    spec
}

/// Whether a lock has another version of a package than the spec asked for.
fn is_outdated(old: &Requirement, lock: &Lock) -> bool {
    let name = name_of(old);
    let package = lock.packages.iter().find(|package| Some(&package.name) == name.as_ref());
    package.is_some_and(|package| !is_answered(old, &package.version, &package.build))
}

/// The installed packages, and those to update.
fn before(
    line: &Line,
    verb: Verb,
    goal: &Goal,
    state: Option<&InstalledState>,
    platform: Subdir,
) -> Result<PreviousLocks, CliError> {
    let Some(state) = state else { return Ok(PreviousLocks::default()) };
    let installed: Vec<RepoDataRecord> = state.records.iter().map(|record| record.repodata_record.clone()).collect();
    let lock = Lock::of_records(platform, &installed)?.with_distributions(&state.prefix.distributions()?);
    let mut names = goal.names();
    if line.has("--update-deps") {
        names = state
            .closure(names.iter().map(String::as_str))
            .into_iter()
            .map(str::to_owned)
            .chain(names.iter().cloned())
            .collect();
    }
    let renew = match verb {
        _ if line.has("--update-all") => Upgrade::All,
        Verb::Update => Upgrade::Packages(names),
        _ if line.has("--update-deps") => Upgrade::Packages(names),
        _ => Upgrade::AsNeeded,
    };
    Ok(PreviousLocks { locks: vec![vec![lock]], renew, installed, ..PreviousLocks::default() })
}

impl Asking<'_> {
    /// The solution with the given channels, else with the configured ones too, else without the versions of earlier
    /// specs.
    fn answer(&self) -> Result<(Lock, History), CliError> {
        let environment = &self.goal.environment;
        environment
            .platform_warnings(self.platform)
            .iter()
            .for_each(|warning| self.context.ui.warn(&warning.to_string()));
        let first = environment.channels.clone();
        let known: BTreeSet<String> = first.iter().map(Channel::canonical_name).into_tree();
        let more = self.goal.more.iter().filter(|channel| !known.contains(&channel.canonical_name()));
        let all: Vec<Channel> = first.iter().chain(more).cloned().collect();
        let is_neuterable =
            self.state.is_some() && !self.line.has("--freeze-installed") && !self.line.has("--remove-old");
        let mut tries = vec![(&first, History::Counts)];
        // Given archives can be complete without a channel; then no channel is loaded.
        let none = Vec::new();
        if !environment.requirements.is_empty() && environment.requirements.iter().all(|each| each.spec.url.is_some()) {
            tries.insert(0, (&none, History::Counts));
        }
        if all.len() > first.len() {
            tries.push((&all, History::Counts));
        }
        if is_neuterable {
            tries.push((&all, History::Neutered));
        }
        let (last, others) =
            tries.split_last().ok_or_else(|| CliError::Usage("no channels to solve with".to_owned()))?;
        for (channels, history) in others {
            match self.ask(channels, *history, Explain::Not) {
                Ok(lock) => return Ok((lock, *history)),
                Err(CliError::Library(mlconda::Error::Solve(_))) => {}
                // The configured channels need not be reachable: then the error of the given channels is reported.
                Err(error @ CliError::Library(mlconda::Error::Repodata(_))) if channels.len() > first.len() => {
                    return self.without(&first, error);
                }
                Err(error) => return Err(error),
            }
        }
        match self.ask(last.0, last.1, Explain::Fully) {
            Err(error @ CliError::Library(mlconda::Error::Repodata(_))) if last.0.len() > first.len() => {
                self.without(&first, error)
            }
            Err(CliError::World { message, hint: None }) => {
                let hint = self.hint(&message).map(str::to_owned);
                Err(CliError::World { message, hint })
            }
            lock => Ok((lock?, last.1)),
        }
    }

    /// The error of the given channels, if the others cannot be loaded.
    fn without(&self, first: &[Channel], error: CliError) -> Result<(Lock, History), CliError> {
        if let CliError::Library(error) = &error {
            self.context.ui.warn(&format!("the other channels could not be loaded: {}", crate::report::chain(error)));
        }
        Ok((self.ask(first, History::Counts, Explain::Fully)?, History::Counts))
    }

    fn ask(&self, channels: &[Channel], history: History, explain: Explain) -> Result<Lock, CliError> {
        let mut environment = self.goal.environment.clone();
        environment.channels = channels.to_vec();
        self.add_old(&mut environment, history)?;
        let (pinned, others) = self.pinned()?;
        environment.requirements.extend(pinned);
        if environment.requirements.is_empty() {
            return Ok(Lock::of_records(self.platform, &[])?);
        }
        let before = PreviousLocks { explain, lock_is_for: LockIsFor::Prefix, ..self.before.clone() };
        let mut lock = self.lock(&environment, &before)?;
        // The pins of packages that came in as dependencies.
        let is_in = |pin: &Requirement, lock: &Lock| {
            name_of(pin).is_some_and(|name| lock.packages.iter().any(|package| package.name == name))
        };
        let more: Vec<Requirement> = others.into_iter().filter(|pin| is_in(pin, &lock)).collect();
        if more.iter().any(|pin| is_outdated(pin, &lock)) {
            environment.requirements.extend(more);
            lock = self.lock(&environment, &before)?;
        }
        // The solve ignores pip packages and variables, so they are copied from the prefix.
        lock.input = None;
        if let Some(state) = self.state {
            if !lock.variables.is_empty() {
                let mut variables = state.prefix.variables()?;
                variables.extend(std::mem::take(&mut lock.variables));
                lock.variables = variables;
            }
            if !lock.pip.is_empty() && !self.line.has("--remove-old") {
                let old = Lock::of_records(self.platform, &[])?.with_distributions(&state.prefix.distributions()?);
                let is_new = |name: &str| !lock.pip.iter().any(|package| package.name == name);
                let old: Vec<_> = old.pip.into_iter().filter(|package| is_new(&package.name)).collect();
                lock.pip.extend(old);
            }
        }
        Ok(lock)
    }

    fn lock(&self, environment: &Environment, before: &PreviousLocks) -> Result<Lock, CliError> {
        let (args, platforms) = (&self.channels.args, [self.platform]);
        let locked = locking::lock(environment, &platforms, before, args, Cache::IfPresent, self.context)?;
        let mut locks = locked.into_iter().map(|locked| locked.lock);
        locks.next().ok_or_else(|| CliError::Usage("nothing was locked".to_owned()))
    }

    /// Adds earlier specs, and packages that must stay unchanged.
    fn add_old(&self, environment: &mut Environment, history: History) -> Result<(), CliError> {
        let Some(state) = self.state.filter(|_| !self.line.has("--remove-old")) else { return Ok(()) };
        let typed = self.goal.names();
        let mut old: Vec<Requirement> = Vec::new();
        let any = |name: &str| bare(name, &self.options).map(|spec| of("the environment", spec));
        let is_new = history == History::Neutered || self.line.has("--update-all");
        for (name, requirement) in state.asked.iter().filter(|(name, _)| !typed.contains(*name)) {
            old.push(of("an earlier command", if is_new { any(name)? } else { requirement.clone() }));
        }
        if self.line.has("--freeze-installed") {
            for record in state.records.iter().filter(|record| !typed.contains(record_name(record))) {
                let package = &record.repodata_record.package_record;
                let spec = format!("{}=={}={}", package.name.as_normalized(), package.version, package.build);
                old.push(of(FREEZES, any(&spec)?));
            }
        } else if history == History::Counts {
            for name in state.unasked().into_iter().filter(|name| !typed.contains(*name)) {
                old.push(any(name)?);
            }
        }
        old.extend(self.python(state)?);
        environment.requirements.extend(old);
        Ok(())
    }

    /// The spec that keeps the minor version of python, unless another one is given.
    fn python(&self, state: &InstalledState) -> Result<Option<Requirement>, CliError> {
        let asked = |requirement: &&Requirement| name_of(requirement).as_deref() == Some("python");
        let is_told = |spec: &MatchSpec| spec.version.is_some() || spec.url.is_some();
        let told = self.goal.environment.requirements.iter().find(asked).is_some_and(|asked| is_told(&asked.spec));
        let Some(record) = state.record("python").filter(|_| !told && !self.line.has("--no-py-pin")) else {
            return Ok(None);
        };
        let version = record.repodata_record.package_record.version.to_string();
        let minor: Vec<&str> = version.split('.').take(2).collect();
        let spec = bare(&format!("python {}.*", minor.join(".")), &self.options)?;
        Ok(Some(of(PYTHON, spec)))
    }

    /// What to do if there is no solution, by the specs that the message names.
    fn hint(&self, message: &str) -> Option<&'static str> {
        let names = |file: &str| message.contains(file);
        [
            (PINNED, "`--no-pin` ignores `conda-meta/pinned`"),
            (PINS, "`--no-pin` ignores `pinned_packages`"),
            (FREEZES, "without `--freeze-installed`, installed packages can change"),
            (PYTHON, "python keeps its minor version unless you give one: `python=X.Y`"),
        ]
        .into_iter()
        .find_map(|(file, hint)| names(file).then_some(hint))
    }

    /// The specs of `conda-meta/pinned` and `pinned_packages`: first those for packages that are installed or asked
    /// for, then the others.
    fn pinned(&self) -> Result<(Vec<Requirement>, Vec<Requirement>), CliError> {
        let state = self.state.filter(|_| !self.line.has("--remove-old"));
        if self.line.has("--no-pin") {
            return Ok(Default::default());
        }
        let mut pinned = placed(PINS, &self.channels.pinned, &self.options)?;
        if let Some(state) = state {
            pinned.extend(self.pinned_in(state.prefix.path())?);
        }
        let (installed, typed) = (state.map(InstalledState::names).unwrap_or_default(), self.goal.names());
        let counts = |name: &String| installed.contains(name.as_str()) || typed.contains(name);
        Ok(pinned.into_iter().partition(|pinned| name_of(pinned).is_some_and(|name| counts(&name))))
    }

    /// The specs of `conda-meta/pinned`.
    fn pinned_in(&self, prefix: &Path) -> Result<Vec<Requirement>, CliError> {
        let path = prefix.join(PINNED);
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let text = mlconda::files::read_to_string(&path, mlconda::files::LARGEST_TEXT)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default()).enumerate();
        let placed = lines.map(|(index, line)| {
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            (line.trim(), Location { line: index + 1, column })
        });
        let specs: Vec<(&str, Location)> = placed.filter(|(spec, _)| !spec.is_empty()).collect();
        Ok(Environment::from_placed_specs(&specs, &path, &self.options)?.requirements)
    }

    /// The lock without the dependencies of the given packages, or without these packages.
    fn narrowed(&self, lock: Lock) -> Result<Lock, CliError> {
        let (only, none) = (self.line.has("--only-deps"), self.line.has("--no-deps"));
        if !only && !none {
            return Ok(lock);
        }
        let typed = self.goal.names();
        let (named, needed): (Vec<_>, Vec<_>) =
            lock.packages.into_iter().partition(|package| typed.contains(&package.name));
        let records = self.state.map_or(&[][..], |state| &state.records);
        let narrowed = overlaid(records, if only { needed } else { named }, self.platform)?;
        let specs = if only { Vec::new() } else { lock.specs };
        Ok(Lock { name: lock.name, specs, ..narrowed })
    }
}
