//! The input of `tree`, `why` and `sbom`: a lock or a prefix, with the records of its packages and the environment.yml
//! that requested them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use mlconda::{
    PrefixRecord, Subdir,
    environment::{Environment, Requirement},
    export::requested_specs,
    graph::Graph,
    lock::{Lock, LockedPip, SourcePackages},
    network::Client,
    prefix::Prefix,
    records::{self, Missing, Sources, Wanted},
    repodata::{Access, RepodataOptions},
};

use crate::{
    bundles,
    by_pip::{self, Purpose},
    context::Context,
    error::CliError,
    lock_selection::{self, SelectionArgs},
    locking::{self, Cache, LockingArgs},
    progress::Display,
    settings::PrefixArgs,
    text::{count, list},
};

/// The lock or prefix to read
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LockOrPrefixArgs {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// The platform, for a file with locks for several [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platform: Option<Subdir>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Look for missing records in the cache and in local channels only, not on the network
    #[arg(long)]
    offline: bool,
}

impl LockOrPrefixArgs {
    /// The given platform.
    pub(crate) fn platform(&self) -> Option<Subdir> {
        self.platform
    }
}

/// A lock, with the records of its packages.
pub(crate) struct LockOrPrefix {
    /// The file of the lock, or the prefix.
    pub(crate) place: PathBuf,
    pub(crate) lock: Lock,
    /// The records, if it is a prefix.
    records: Option<Vec<PrefixRecord>>,
}

impl LockOrPrefix {
    /// Reads the given lock or prefix; else `env.lock` in this directory, else an environment.
    pub(crate) fn read(
        typed: Option<&Path>,
        args: &LockOrPrefixArgs,
        wanted: Wanted,
        context: &Context,
    ) -> Result<Self, CliError> {
        let settings = &context.settings;
        let path = match typed {
            Some(path) => settings.input(path),
            None if args.prefix.prefix.is_none() && args.prefix.name.is_none() => {
                let here = settings.absolute(Path::new("env.lock"));
                if here.is_file() { here } else { args.prefix.existing(settings)?.path().to_owned() }
            }
            None => args.prefix.existing(settings)?.path().to_owned(),
        };
        if typed.is_some() && (args.prefix.prefix.is_some() || args.prefix.name.is_some()) {
            return Err(CliError::Usage("give one lock or one prefix, not several".to_owned()));
        }
        let file = lock_selection::read_quietly(&path, context)?;
        let several = file.platforms().len() > 1;
        let platform = args.platform.or_else(|| Subdir::current().filter(|_| several));
        let chosen = args.selection.selection(platform, SourcePackages::LeaveOut);
        let mut lock = file.select(&chosen)?;
        lock_selection::tell_of_categories(&file, &chosen, context);
        let (mut records, mut opened) = (None, None);
        if path.is_dir() {
            let root = if path.ends_with("conda-meta") { path.parent().unwrap_or(&path) } else { &path };
            let prefix = Prefix::open(root)?;
            let mut read = prefix.records()?;
            lock.specs = requested_specs(&prefix, &read)?;
            read.extend(prefix.distributions()?);
            by_pip::warn(&prefix, Purpose::View, context)?;
            records = Some(read);
            opened = Some(prefix);
        }
        let access = if args.offline { Access::Offline } else { Access::Online };
        warn(&complete(&mut lock, opened, wanted, (std::slice::from_ref(&path), access), context)?, context);
        Ok(Self { place: path, lock, records })
    }

    /// Whether it is a prefix.
    pub(crate) fn is_prefix(&self) -> bool {
        self.records.is_some()
    }

    /// The omitted parts of the packages of a prefix, for an SBOM.
    pub(crate) fn left_out(&self) -> Result<BTreeMap<String, String>, CliError> {
        match self.is_prefix() {
            true => Ok(mlconda::prefix::slim::by_package(&Prefix::open(self.root())?)?),
            false => Ok(BTreeMap::new()),
        }
    }

    /// The root of the prefix, or the file of the lock.
    pub(crate) fn root(&self) -> &Path {
        let is_meta = self.is_prefix() && self.place.ends_with("conda-meta");
        self.place.parent().filter(|_| is_meta).unwrap_or(&self.place)
    }

    /// The environment's name, or the last component of the path.
    pub(crate) fn name(&self) -> String {
        let place = || self.place.file_name().map(|name| name.to_string_lossy().into_owned());
        self.lock.name.clone().or_else(place).unwrap_or_else(|| self.place.display().to_string())
    }

    /// The dependency graph. `files` are the given environment files. The default is the file beside the lock, if the
    /// lock was made from it.
    pub(crate) fn graph(&self, files: &[PathBuf], context: &Context) -> Result<Graph, CliError> {
        let mut graph = Graph::new(&self.lock);
        if let Some(records) = &self.records {
            graph = graph.with_sizes(records);
        }
        let environment = match files {
            [] => self.environment_beside(context),
            files => Some(locking::read(files, &LockingArgs::default(), context)?),
        };
        let Some(environment) = environment.map(|environment| environment.for_platform(self.lock.platform)) else {
            return Ok(graph);
        };
        if files.is_empty() || self.is_prefix() || self.is_of(&environment) {
            return Ok(graph.with_requests(&environment));
        }
        context.ui.warn(&format!(
            "`{}` was not made from `{}`, or from another version of it: lines and specs may be wrong",
            self.place.display(),
            environment.file.display()
        ));
        Ok(graph.with_requests(&environment))
    }

    /// The environment.yml beside the lock, if the lock was made from it. A file that cannot be read is ignored.
    fn environment_beside(&self, context: &Context) -> Option<Environment> {
        if self.is_prefix() {
            return None;
        }
        let options = locking::read_options(&LockingArgs::default(), context);
        let files = ["environment.yml", "environment.yaml"].map(|name| self.place.with_file_name(name));
        let file = files.iter().find(|file| file.is_file())?;
        // Relative to the current directory, as a user would type it.
        let shown = file.strip_prefix(&context.settings.directory).unwrap_or(file);
        let environment = Environment::read(shown, &options).ok()?;
        self.is_of(&environment.for_platform(self.lock.platform)).then_some(environment)
    }

    /// Whether the lock was made from this environment, perhaps with other channels.
    fn is_of(&self, environment: &Environment) -> bool {
        let is = |show: fn(&Requirement) -> String| {
            let mut specs: Vec<String> = environment.requirements.iter().map(show).collect();
            mlconda::sorting::sort(&mut specs);
            specs.dedup();
            self.lock.specs == specs
        };
        // Older locks contain the parsed specs.
        let same_specs = || is(|each| each.text.clone()) || is(|each| each.spec.to_string());
        self.lock.input.as_ref().is_some_and(|input| *input == environment.digest() || same_specs())
    }
}

/// Finds the records of packages without one: from the channels, then from this prefix or the one with the lock's name.
/// Returns the missing ones, with reasons. Bundles among `files` are searched for archives.
pub(crate) fn complete(
    lock: &mut Lock,
    prefix: Option<Prefix>,
    wanted: Wanted,
    (files, access): (&[PathBuf], Access),
    context: &Context,
) -> Result<Missing, CliError> {
    let is_whole = lock.packages.iter().all(|package| package.record.is_some());
    let is_known = |package: &LockedPip| {
        package.requires.is_some() && (wanted == Wanted::Dependencies || package.licence.is_some())
    };
    if is_whole && lock.pip.iter().all(is_known) {
        return Ok(Missing::default());
    }
    let settings = &context.settings;
    let directory = locking::cache_directory(Cache::IfPresent, context)?;
    let cache_directory = directory.path().join("repodata");
    let named = lock.name.as_deref().map(|name| settings.named_prefix(name));
    let sources = Sources {
        repodata: RepodataOptions { cache_directory, access, now: SystemTime::now() },
        prefix: prefix.or_else(|| named.and_then(|path| Prefix::open(path).ok())),
        package_cache: settings.package_cache(),
        archives: bundles::archives(files, context)?,
        wanted,
    };
    let client = Client::new(&settings.network_options()?)?;
    let display = Display::new(&context.ui);
    context.block_on_or_end(records::complete(lock, &client, &sources, &display))
}

/// Warns about packages without a record, with the reasons.
pub(crate) fn warn(missing: &Missing, context: &Context) {
    let packages = &missing.packages;
    if packages.is_empty() {
        return;
    }
    let named: Vec<&String> = packages.iter().take(3).collect();
    let which = if named.len() < packages.len() { "such as " } else { "" };
    let because: String = missing.reasons.iter().map(|reason| format!("\n  because: {reason}")).collect();
    context.ui.warn(&format!(
        "no record was found for {} ({which}{}): their dependencies and licences are unknown{because}",
        count(packages.len(), "package"),
        list(&named)
    ));
}

/// The error for an unknown package.
pub(crate) fn unknown(name: &str, graph: &Graph, view: &LockOrPrefix) -> CliError {
    let message = format!("there is no package `{name}` in `{}`", view.place.display());
    match graph.similar_names(name).as_slice() {
        [] => CliError::World { message, hint: None },
        near => CliError::world(message, format!("there is {}", list(near))),
    }
}

/// Whether a path ends as the names of files do that are read here: it is not meant for a directory or an image.
pub(crate) fn has_kind_of_file(path: &Path) -> bool {
    let kind = path.extension().and_then(|kind| kind.to_str());
    kind.is_some_and(|kind| ["lock", "yml", "yaml", "txt", "json", "toml", "tar"].contains(&kind))
}

/// The error for a place where nothing is. The hint names the files of the same kind beside it, else it is `otherwise`.
pub(crate) fn not_there(place: &Path, path: &Path, otherwise: &str) -> CliError {
    let beside = path.parent().filter(|_| has_kind_of_file(path)).and_then(|parent| fs_err::read_dir(parent).ok());
    let paths = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    let same = paths.filter(|other| other.extension() == path.extension());
    let mut names: Vec<String> =
        same.filter_map(|other| Some(other.file_name()?.to_string_lossy().into_owned())).collect();
    mlconda::sorting::sort(&mut names);
    let hint = match names.as_slice() {
        [] => otherwise.to_owned(),
        names => format!("beside it there is {}", list(&names[..names.len().min(5)])),
    };
    CliError::world(format!("there is no file or directory `{}`", place.display()), hint)
}
