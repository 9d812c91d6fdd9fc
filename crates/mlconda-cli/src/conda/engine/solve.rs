//! From what is asked for and what is there to a lock: by one solve, or by several with less and less that has to stay.

use std::collections::BTreeSet;

use mlconda::{
    Channel, MatchSpec, RepoDataRecord, Subdir,
    environment::{ChannelRule, Environment, ReadOptions, Requirement},
    lock::Lock,
    solve::Upgrade,
};

use super::{
    super::{
        channels::Channels,
        goal::{Goal, There, bare, is_answered, name_of, record_name},
        line::Line,
        options::Verb,
        shown,
    },
    overlaid, texts,
};
use crate::{
    context::Context,
    error::CliError,
    locking::{self, Before, Cache, Explain},
    text::list,
};

/// A lock, and what it answers.
pub(crate) struct Solved {
    pub(crate) lock: Lock,
    /// What was asked for now.
    pub(super) updated: Vec<String>,
    /// What was asked for before, in a version that could not be.
    pub(super) neutered: Vec<String>,
    /// Whether that is more or other than before.
    pub(super) is_asked_anew: bool,
}

/// What decides on an answer.
struct Asking<'a> {
    line: &'a Line,
    goal: &'a Goal,
    there: Option<&'a There>,
    channels: &'a Channels,
    platform: Subdir,
    context: &'a Context,
    /// How texts are read that are no file's.
    options: ReadOptions,
    before: Before,
}

/// How far what was asked for before counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    Counts,
    /// Its packages, in any version.
    Neutered,
}

pub(crate) fn solve(
    line: &Line,
    verb: Verb,
    goal: &Goal,
    there: Option<&There>,
    channels: &Channels,
    platform: Subdir,
    context: &Context,
) -> Result<Solved, CliError> {
    let options = channels.options(&channels.known(), ChannelRule::ExtraOnly, context);
    let before = before(line, verb, goal, there, platform)?;
    let directory =
        locking::cache_directory(if line.has("--download-only") { Cache::Make } else { Cache::IfPresent }, context)?;
    let before = Before { directory: Some(directory.path().to_owned()), ..before };
    let asking = Asking { line, goal, there, channels, platform, context, options, before };
    let (mut lock, history) = asking.answer()?;
    let updated = texts(goal);
    let typed = goal.names();
    let old: Vec<&Requirement> = there
        .into_iter()
        .flat_map(|there| &there.asked)
        .filter(|(name, _)| !typed.contains(*name))
        .map(|(_, old)| old)
        .collect();
    let neutered: Vec<String> = match history {
        // What an update of everything has gone beyond is asked for no more, as conda writes it.
        History::Counts if line.has("--update-all") => {
            old.iter().filter(|old| is_outdated(old, &lock)).filter_map(|old| name_of(old)).collect()
        }
        History::Counts => Vec::new(),
        History::Neutered => {
            old.iter().filter(|old| old.spec.version.is_some()).filter_map(|old| name_of(old)).collect()
        }
    };
    if !neutered.is_empty() && history == History::Neutered {
        context
            .ui
            .warn(&format!("{} stood in the way as asked for before, and may be any version now", list(&neutered)));
    }
    let kept = old.iter().filter(|old| !neutered.iter().any(|name| name_of(old).as_ref() == Some(name)));
    let prunes = line.has("--remove-old");
    lock.specs = kept
        .filter(|_| !prunes)
        .map(|old| shown(old))
        .chain(neutered.iter().cloned())
        .chain(updated.iter().cloned())
        .collect();
    let before: Vec<String> = there.into_iter().flat_map(|there| there.asked.values()).map(shown).collect();
    let is_asked_anew = updated.iter().any(|spec| !before.contains(spec));
    Ok(Solved { lock: asking.narrowed(lock)?, updated, neutered, is_asked_anew })
}

/// Whether a lock has another version of a package than the one that was asked for.
fn is_outdated(old: &Requirement, lock: &Lock) -> bool {
    let name = name_of(old);
    let package = lock.packages.iter().find(|package| Some(&package.name) == name.as_ref());
    package.is_some_and(|package| !is_answered(old, &package.version, &package.build))
}

/// What was there, and what of it is to be renewed.
fn before(line: &Line, verb: Verb, goal: &Goal, there: Option<&There>, platform: Subdir) -> Result<Before, CliError> {
    let Some(there) = there else { return Ok(Before::default()) };
    let installed: Vec<RepoDataRecord> = there.records.iter().map(|record| record.repodata_record.clone()).collect();
    let lock = Lock::of_records(platform, &installed)?.with_distributions(&there.prefix.distributions()?);
    let mut names = goal.names();
    if line.has("--update-deps") {
        names = there
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
    Ok(Before { locks: vec![vec![lock]], renew, installed, ..Before::default() })
}

impl Asking<'_> {
    /// The answer by the channels that were named, else by the configured ones besides, else without the versions of what
    /// was asked for before.
    fn answer(&self) -> Result<(Lock, History), CliError> {
        let environment = &self.goal.environment;
        environment
            .platform_warnings(self.platform)
            .iter()
            .for_each(|warning| self.context.ui.warn(&warning.to_string()));
        let first = environment.channels.clone();
        let known: BTreeSet<String> = first.iter().map(Channel::canonical_name).collect();
        let more = self.goal.more.iter().filter(|channel| !known.contains(&channel.canonical_name()));
        let all: Vec<Channel> = first.iter().chain(more).cloned().collect();
        let is_neuterable =
            self.there.is_some() && !self.line.has("--freeze-installed") && !self.line.has("--remove-old");
        let mut tries = vec![(&first, History::Counts)];
        // Archives may have all that they need in them or beside them; then no channel is asked.
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
        let (last, others) = tries.split_last().ok_or_else(|| CliError::Usage("there is nothing to try".to_owned()))?;
        for (channels, history) in others {
            match self.ask(channels, *history, Explain::Not) {
                Ok(lock) => return Ok((lock, *history)),
                Err(CliError::Library(mlconda::Error::Solve(_))) => {}
                // What nobody named need not be in reach: then the named channels' own reason is told.
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
            Err(CliError::World { message, hint: None }) if self.is_held(&message) => Err(CliError::world(
                message,
                "python keeps its minor version unless it is named: name the version of python that you want: `python=X.Y`",
            )),
            lock => Ok((lock?, last.1)),
        }
    }

    /// Why the named channels do not suffice, where the others cannot be asked.
    fn without(&self, first: &[Channel], error: CliError) -> Result<(Lock, History), CliError> {
        if let CliError::Library(error) = &error {
            self.context.ui.warn(&format!("the other channels could not be asked: {}", crate::report::chain(error)));
        }
        Ok((self.ask(first, History::Counts, Explain::Fully)?, History::Counts))
    }

    fn ask(&self, channels: &[Channel], history: History, explain: Explain) -> Result<Lock, CliError> {
        let mut environment = self.goal.environment.clone();
        environment.channels = channels.to_vec();
        self.add_old(&mut environment, history)?;
        if environment.requirements.is_empty() {
            return Ok(Lock::of_records(self.platform, &[])?);
        }
        let before = Before { explain, ..self.before.clone() };
        let locked = locking::lock(
            &environment,
            &[self.platform],
            &before,
            &self.channels.args,
            Cache::IfPresent,
            self.context,
        )?;
        let mut locks = locked.into_iter().map(|locked| locked.lock);
        let mut lock = locks.next().ok_or_else(|| CliError::Usage("nothing was locked".to_owned()))?;
        // What is no lock's says nothing of what pip has installed, nor of variables.
        lock.input = None;
        if let Some(there) = self.there {
            if !lock.variables.is_empty() {
                let mut variables = there.prefix.variables()?;
                variables.extend(std::mem::take(&mut lock.variables));
                lock.variables = variables;
            }
            if !lock.pip.is_empty() && !self.line.has("--remove-old") {
                let old = Lock::of_records(self.platform, &[])?.with_distributions(&there.prefix.distributions()?);
                let is_new = |name: &str| !lock.pip.iter().any(|package| package.name == name);
                let old: Vec<_> = old.pip.into_iter().filter(|package| is_new(&package.name)).collect();
                lock.pip.extend(old);
            }
        }
        Ok(lock)
    }

    /// Adds what was asked for before, and what has to stay as it is.
    fn add_old(&self, environment: &mut Environment, history: History) -> Result<(), CliError> {
        let Some(there) = self.there.filter(|_| !self.line.has("--remove-old")) else { return Ok(()) };
        let typed = self.goal.names();
        let mut old: Vec<Requirement> = Vec::new();
        let any = |name: &str| bare(name, &self.options);
        let is_new = history == History::Neutered || self.line.has("--update-all");
        for (name, requirement) in there.asked.iter().filter(|(name, _)| !typed.contains(*name)) {
            old.push(if is_new { any(name)? } else { requirement.clone() });
        }
        if self.line.has("--freeze-installed") {
            for record in there.records.iter().filter(|record| !typed.contains(record_name(record))) {
                let package = &record.repodata_record.package_record;
                old.push(any(&format!("{}=={}={}", package.name.as_normalized(), package.version, package.build))?);
            }
        } else if history == History::Counts {
            for name in there.unasked().into_iter().filter(|name| !typed.contains(*name)) {
                old.push(any(name)?);
            }
        }
        old.extend(self.python(there)?);
        old.extend(self.pinned(there)?);
        environment.requirements.extend(old);
        Ok(())
    }

    /// python keeps its minor version, unless another is asked for.
    fn python(&self, there: &There) -> Result<Option<Requirement>, CliError> {
        let asked = |requirement: &&Requirement| name_of(requirement).as_deref() == Some("python");
        let is_told = |spec: &MatchSpec| spec.version.is_some() || spec.url.is_some();
        let told = self.goal.environment.requirements.iter().find(asked).is_some_and(|asked| is_told(&asked.spec));
        let Some(record) = there.record("python").filter(|_| !told && !self.line.has("--no-py-pin")) else {
            return Ok(None);
        };
        let version = record.repodata_record.package_record.version.to_string();
        let minor: Vec<&str> = version.split('.').take(2).collect();
        bare(&format!("python {}.*", minor.join(".")), &self.options).map(Some)
    }

    /// Whether a refusal has to do with the python that is there.
    fn is_held(&self, message: &str) -> bool {
        let python = self.there.and_then(|there| self.python(there).ok().flatten());
        python.is_some_and(|python| message.contains(&python.text))
    }

    /// What `conda-meta/pinned` says of packages that are there or asked for.
    fn pinned(&self, there: &There) -> Result<Vec<Requirement>, CliError> {
        let path = there.prefix.path().join("conda-meta/pinned");
        if self.line.has("--no-pin") || !path.is_file() {
            return Ok(Vec::new());
        }
        let text = mlconda::files::read_to_string(&path, mlconda::files::LARGEST_TEXT)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let specs: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let (installed, typed) = (there.names(), self.goal.names());
        let pinned = Environment::from_specs(&specs, &self.options)?.requirements.into_iter();
        let counts = |name: &String| installed.contains(name.as_str()) || typed.contains(name);
        Ok(pinned.filter(|pinned| name_of(pinned).is_some_and(|name| counts(&name))).collect())
    }

    /// The lock without what the named packages need, or without these.
    fn narrowed(&self, lock: Lock) -> Result<Lock, CliError> {
        let (only, none) = (self.line.has("--only-deps"), self.line.has("--no-deps"));
        if !only && !none {
            return Ok(lock);
        }
        let typed = self.goal.names();
        let (named, needed): (Vec<_>, Vec<_>) =
            lock.packages.into_iter().partition(|package| typed.contains(&package.name));
        let records = self.there.map_or(&[][..], |there| &there.records);
        let narrowed = overlaid(records, if only { needed } else { named }, self.platform)?;
        let specs = if only { Vec::new() } else { lock.specs };
        Ok(Lock { name: lock.name, specs, ..narrowed })
    }
}
