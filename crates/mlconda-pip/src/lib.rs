//! The `pip:` list: what pip would install on top of the conda packages of a lock, pinned.
//!
//! The resolver is uv's program (module `uv`; `docs/DESIGN.md` says why the program and not the crates). It is asked for the
//! target's platform and the locked python, whatever the machine at hand is; the python projects that conda provides are given to
//! it as they are (modules `names`, `stub`), so that it takes them and no others, and says so if they do not go together with the
//! list. Its answer is read from a `pylock.toml` (PEP 751).
//!
//! Installing needs none of this but `tags`.

mod clash;
mod hashes;
mod pylock;
mod stub;
mod task;
mod toml;
mod uv;

use std::{collections::BTreeSet, io, path::Path};

use futures::{StreamExt, stream};
use mlconda_channel::{
    network::{self, Client},
    repodata::Access,
};
use mlconda_environment::{Environment, EnvironmentError};
use mlconda_lock::{Lock, LockedPip, PipSource, provided::provided};
use mlconda_python::tags::Tags;
use mlconda_solve::{Cutoff, Previous};
use mlconda_types::{
    host::Host,
    progress::{Event, Progress},
    redact,
};
use rattler_conda_types::Subdir;
use url::Url;

pub use self::uv::Uv;
pub use self::uv::prefix_name;
use self::{clash::Conda, task::Task, uv::Target};
pub use mlconda_environment::requirements::{self, PipRequirement, RequirementRole, Requirements, indented};
pub use mlconda_environment::requirements::{Indexes, PipFile};

/// How many servers are asked for sizes at once.
const QUESTIONS: usize = 16;

/// Why a `pip:` list cannot be locked. Messages hold no login.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipError {
    /// A file could not be read or written, or uv not be run.
    #[error(transparent)]
    File(#[from] io::Error),
    /// A line is none that pip can read.
    #[error(transparent)]
    Requirements(#[from] EnvironmentError),
    /// The environment has no python.
    #[error("the `pip:` list needs python, and the environment has none:{lines}")]
    NoPython {
        /// The lines, one each, indented.
        lines: String,
    },
    /// The python is none that wheels are locked for.
    #[error(
        "packages of pip can be locked for CPython 3 only, and the environment has python {version} ({build}){lines}"
    )]
    Python {
        /// Its version.
        version: String,
        /// Its build string.
        build: String,
        /// The first lines, indented.
        lines: String,
    },
    /// The resolver has no name for the platform.
    #[error("packages of pip cannot be locked for {platform}: the resolver, uv, does not know that platform{lines}")]
    Platform {
        /// The platform.
        platform: Subdir,
        /// The first lines, indented.
        lines: String,
    },
    /// There is no uv, and it cannot be brought in.
    #[error(
        "the `pip:` list is resolved by `uv`, which is not on this machine, nor in the environment's channels: {reason}"
    )]
    NoUv {
        /// Why it cannot be brought in.
        reason: String,
    },
    /// The uv at hand is too old.
    #[error("`{}` does not know `pylock.toml` files: uv 0.7 or newer does", .program.display())]
    OldUv {
        /// The program.
        program: std::path::PathBuf,
    },
    /// There is no python that uv could build with.
    #[error("uv needs some python 3.8 or newer on this machine, and finds none")]
    NoInterpreter,
    /// uv could not be brought in.
    #[error("cannot bring in `uv`, which resolves the `pip:` list")]
    Tools(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// conda and pip are asked for what does not go together.
    #[error("pip and conda contradict each other:\n{0}")]
    Clash(String),
    /// There is no solution, or it was not found.
    #[error("the `pip:` list cannot be locked for {platform}:{message}{lines}")]
    Unsolvable {
        /// The platform.
        platform: Subdir,
        /// The resolver's words.
        message: String,
        /// The lines that have to do with it, and conda's packages; indented.
        lines: String,
    },
    /// An index or a page leads to a place that is not to be trusted for what it names.
    #[error("`{package}` cannot be taken from `{url}`: nothing that is asked for packages may lead there")]
    Elsewhere {
        /// The package.
        package: String,
        /// Where it would come from, without secrets.
        url: String,
    },
    /// No file of a package will do.
    #[error("no file of `{package}` will do for {platform}{why}{lines}")]
    Unfit {
        /// The package.
        package: String,
        /// The platform.
        platform: Subdir,
        /// What is asked for.
        why: String,
        /// The lines that ask for it, and the files there are; indented.
        lines: String,
    },
    /// The answer is not understood.
    #[error("cannot read the answer of uv, a `pylock.toml`: {0}")]
    Answer(String),
}

/// How a `pip:` list is locked.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The resolver.
    pub uv: &'a Uv,
    /// Where packages are looked for, unless the list says otherwise.
    pub indexes: &'a Indexes,
    /// What is left out as too new.
    pub exclude_newer: Option<Cutoff>,
    /// Whether the network may be asked.
    pub access: Access,
    /// What was locked before: its versions are preferred, so that as little changes as must.
    pub previous: Previous<'a>,
    /// Asks for sizes that the index does not tell.
    pub client: &'a Client,
}

/// Puts what the `pip:` list means into a lock, whose conda packages are those that it goes on top of. The environment is that
/// of the lock's platform ([`Environment::for_platform`]), the host the one that the lock was solved for.
///
/// # Errors
/// If the list, the conda packages and what is to be had do not go together, or the resolver or the index is not to be had.
pub async fn lock(
    environment: &Environment,
    host: &Host,
    lock: &mut Lock,
    options: &Options<'_>,
    progress: &dyn Progress,
) -> Result<(), PipError> {
    if environment.pip.is_empty() {
        return Ok(());
    }
    let requirements = requirements(environment)?;
    if requirements.entries.iter().all(|entry| entry.role == RequirementRole::Constraint) {
        return Ok(());
    }
    let Some(python) = lock.packages.iter().find(|package| package.name == "python") else {
        return Err(PipError::NoPython { lines: indented(requirements.entries.iter().map(PipRequirement::display)) });
    };
    let (version, build) = (python.version.clone(), python.build.clone());
    let tags = Tags::new(host.platform, &host.virtual_packages, &version, &build);
    let lines = || requirements.first_lines();
    let tags = tags.ok_or_else(|| PipError::Python { version: version.clone(), build, lines: lines() })?;
    let provided = provided(&lock.packages);
    let conda = Conda { environment, lock, provided: &provided };
    conda.check(&requirements)?;
    progress.event(Event::PipStarted { requirements: requirements.entries.len() });
    let indexes = options.indexes.with(&requirements.indexes);
    let task = Task {
        requirements: &requirements,
        conda,
        target: Target { host, python: &version },
        indexes: &indexes,
        tags: &tags,
        options,
        progress,
    };
    let mut packages = task.resolve().await?;
    check_places(&packages, &requirements.entries, &indexes)?;
    for package in &mut packages {
        log_in(package, &indexes);
    }
    options.client.report_waits(progress, hashes::check(&requirements.entries, &mut packages, options)).await?;
    options.client.report_waits(progress, measure(&mut packages, options)).await;
    packages.iter_mut().for_each(|package| remember(package, options.previous));
    progress.event(Event::PipFinished { packages: packages.len() });
    report(&packages, host.platform, progress);
    lock.pip = packages;
    lock.pip_requested = &requested(&requirements, &lock.pip) - &lock.requested();
    Ok(())
}

/// The names of the packages that are asked for: pip lists these apart from what they need. What is asked for by its place is
/// known by it.
pub fn requested(requirements: &Requirements, packages: &[LockedPip]) -> BTreeSet<String> {
    let asked = || requirements.entries.iter().filter(|entry| entry.role == RequirementRole::Requested);
    let is_asked = |package: &LockedPip| asked().any(|entry| hashes::is_about(entry, package));
    packages.iter().filter(|package| is_asked(package)).map(|package| package.name.clone()).collect()
}

/// What an environment asks of pip, from the files that were read with it.
fn requirements(environment: &Environment) -> Result<Requirements, PipError> {
    let mut read = |path: &Path| {
        let file = environment.pip_files.iter().find(|file| file.path == path);
        file.map(|file| file.text.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let refused = |mistakes: Vec<mlconda_environment::Diagnostic>| {
        EnvironmentError::several(mistakes.into_iter().map(Box::new).map(EnvironmentError::Pip).collect())
    };
    let requirements = requirements::collect(&environment.pip, &environment.expansions, &mut read).map_err(refused)?;
    let named = requirements.entries.iter().map(|entry| (entry, true));
    let named = named.chain(requirements.local_sources.iter().map(|entry| (entry, false)));
    let missing = named.filter_map(|(entry, is_installed)| {
        let path = entry.path.as_ref()?;
        let is_project = || ["pyproject.toml", "setup.py"].iter().any(|name| path.join(name).is_file());
        if !path.exists() {
            let message = format!("there is no `{}`", path.display());
            return Some(*entry.diagnostic(message, "paths are relative to the file that names them"));
        }
        let message =
            || format!("`{}` is no project of python: it has no `pyproject.toml` and no `setup.py`", path.display());
        let help = "name the directory that has it; paths are relative to the file that names them";
        (is_installed && path.is_dir() && !is_project()).then(|| *entry.diagnostic(message(), help))
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() { Ok(requirements) } else { Err(refused(missing).into()) }
}

/// Puts the login of an index into the URLs of its files: they are to be downloaded with it. A lock's file has it only as a
/// variable.
fn log_in(package: &mut LockedPip, indexes: &Indexes) {
    let PipSource::Archive { url, .. } = &mut package.source else { return };
    let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let has_login = |url: &Url| !url.username().is_empty() || url.password().is_some();
    let index = indexes.urls().find(|index| has_login(index) && place(index) == place(url));
    if let Some(index) = index.filter(|_| !has_login(url)) {
        // Neither fails for a URL with a host.
        let _ = url.set_username(index.username());
        let _ = url.set_password(index.password());
    }
}

/// What a lock of before knew of the same archive is known still: nobody need be asked for it again.
fn remember(package: &mut LockedPip, previous: Previous<'_>) {
    let hash = |package: &LockedPip| match &package.source {
        PipSource::Archive { sha256, .. } => *sha256,
        _ => None,
    };
    let mut known = previous.locks.iter().flat_map(|lock| &lock.pip).filter(|known| known.requires.is_some());
    if let Some(known) =
        known.find(|known| known.name == package.name && hash(known).is_some_and(|it| Some(it) == hash(package)))
    {
        package.requires.clone_from(&known.requires);
        package.requires_python = known.requires_python.clone().or(package.requires_python.take());
        package.licence.clone_from(&known.licence);
    }
}

/// Refuses packages from where no index and no page may lead: from the network to files of this machine, or from https
/// to http. A requirement that names its place itself is the user's word.
fn check_places(packages: &[LockedPip], entries: &[PipRequirement], indexes: &Indexes) -> Result<(), PipError> {
    let default = Url::parse("https://pypi.org/simple/").ok();
    let default = default.filter(|_| indexes.index.is_none() && !indexes.no_index);
    let sources: Vec<Url> = indexes.urls().chain(default).collect();
    for package in packages {
        let PipSource::Archive { url, .. } = &package.source else { continue };
        let is_named = entries.iter().any(|entry| entry.direct && hashes::is_about(entry, package));
        if !is_named && !sources.iter().any(|from| network::check_scheme(from, url).is_ok()) {
            return Err(PipError::Elsewhere { package: package.name.clone(), url: redact::url(url) });
        }
    }
    Ok(())
}

/// Finds out sizes that the index did not tell. One that cannot be found out stays unknown.
async fn measure(packages: &mut [LockedPip], options: &Options<'_>) {
    let open = packages.iter_mut().filter_map(|package| match &mut package.source {
        PipSource::Archive { url, size: size @ None, .. } => Some((url.clone(), size)),
        _ => None,
    });
    let asking = open.map(|(url, size)| async move {
        *size = match mlconda_system::files::of_url(&url) {
            Some(path) => fs_err::metadata(path).ok().map(|metadata| metadata.len()),
            _ if options.access == Access::Offline => None,
            _ => options.client.content_length(&url).await,
        };
    });
    stream::iter(asking).buffer_unordered(QUESTIONS).collect::<()>().await;
}

/// Says what is not pinned as wheels are.
fn report(packages: &[LockedPip], platform: Subdir, progress: &dyn Progress) {
    let list = |is_it: fn(&LockedPip) -> bool| {
        let names = packages.iter().filter(|package| is_it(package)).map(|package| format!("`{}`", package.name));
        names.collect::<Vec<_>>()
    };
    let say = |names: Vec<String>, one: &str, several: &str| {
        if let [others @ .., last] = names.as_slice() {
            let (names, words) = match others {
                [] => (last.clone(), one),
                others => (format!("{} and {last}", others.join(", ")), several),
            };
            progress.event(Event::Warning(format!("{names} {words}")));
        }
    };
    let is_sdist = |package: &LockedPip| matches!(package.source, PipSource::Archive { .. }) && !package.is_wheel();
    let no_wheel = format!("no wheel for {platform}");
    say(
        list(is_sdist),
        &format!("has {no_wheel}: what is locked are its sources, which are built when they are installed"),
        &format!("have {no_wheel}: what is locked are their sources, which are built when they are installed"),
    );
    say(
        list(|package| matches!(package.source, PipSource::Git { .. })),
        "is locked by its commit: a repository cannot be pinned by hash",
        "are locked by their commits: a repository cannot be pinned by hash",
    );
    say(
        list(|package| matches!(package.source, PipSource::Directory { .. })),
        "is locked by its path: a directory cannot be pinned by hash",
        "are locked by their paths: a directory cannot be pinned by hash",
    );
}
