//! Locks the `pip:` list: the packages that pip would install on top of the conda packages of a lock. It runs uv,
//! writes files for it, reads archives and asks servers; it never touches a prefix.
//!
//! The resolver is the program uv (module `uv`; `docs/DESIGN.md` says why it is not linked as a crate). It resolves for
//! the target platform and the locked python, on any machine. Projects that conda provides are passed to it as fixed
//! versions (module `stub_wheel`), so that it uses exactly these and reports conflicts with the list. Its result is
//! read from a `pylock.toml` (PEP 751). Installing the packages does not need this crate.
//!
//! Read in this order:
//! - [`lock`];
//! - `resolution`: one run of uv, from its input to its result;
//! - `uv`: the program;
//! - `stub_wheel` and `conflicts`: the packages of conda;
//! - `pylock` and `toml`: the result;
//! - `hashes`: the `--hash` options of the list.

mod conflicts;
#[cfg(mlconda_fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod hashes;
mod pylock;
mod resolution;
mod stub_wheel;
mod toml;
mod uv;
mod words;

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
    sorting::IntoTree,
};
use rattler_conda_types::Subdir;
use url::Url;

pub use self::uv::Uv;
pub use self::uv::prefix_name;
use self::{conflicts::CondaSide, resolution::Resolution, uv::Target};
pub use mlconda_environment::requirements::{self, PipRequirement, RequirementRole, Requirements, indented};
pub use mlconda_environment::requirements::{Indexes, PipFile};

/// The number of concurrent requests for file sizes.
const CONCURRENT_REQUESTS: usize = 16;

/// Why a `pip:` list cannot be locked. Messages contain no logins.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PipError {
    /// A file could not be read or written, or uv could not be run.
    #[error(transparent)]
    File(#[from] io::Error),
    /// A line is not a valid requirement.
    #[error(transparent)]
    Requirements(#[from] EnvironmentError),
    /// The environment has no python.
    #[error("the `pip:` list needs python, and the environment has none:{lines}")]
    NoPython {
        /// The lines, one each, indented.
        lines: String,
    },
    /// Wheels cannot be locked for this python.
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
    /// uv does not support the platform.
    #[error("packages of pip cannot be locked for {platform}: the resolver, uv, does not know that platform{lines}")]
    Platform {
        /// The platform.
        platform: Subdir,
        /// The first lines, indented.
        lines: String,
    },
    /// There is no uv, and it cannot be installed.
    #[error(
        "the `pip:` list is resolved by `uv`, which is not on this machine, nor in the environment's channels: {reason}"
    )]
    NoUv {
        /// Why it cannot be installed.
        reason: String,
    },
    /// The available uv is too old.
    #[error("`{}` cannot write `pylock.toml` files: uv 0.7 or newer can", .program.display())]
    OldUv {
        /// The program.
        program: std::path::PathBuf,
    },
    /// There is no python for uv to build packages with.
    #[error("uv needs some python 3.8 or newer on this machine, and finds none")]
    NoInterpreter,
    /// uv could not be installed.
    #[error("cannot install `uv`, which resolves the `pip:` list")]
    Tools(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The conda packages and the `pip:` list contradict each other.
    #[error("the `pip:` list conflicts with conda's packages:\n{0}")]
    Conflict(String),
    /// There is no solution, or uv did not find one.
    #[error("the `pip:` list cannot be locked for {platform}:{message}{lines}")]
    Unsolvable {
        /// The platform.
        platform: Subdir,
        /// The message of uv.
        message: String,
        /// The related lines and conda packages, indented.
        lines: String,
    },
    /// An index or a page refers to an untrusted location.
    #[error("`{package}` cannot be taken from `{url}`: an index must not refer to this location")]
    UntrustedLocation {
        /// The package.
        package: String,
        /// The location, without secrets.
        url: String,
    },
    /// A package has no file for the target.
    #[error("`{package}` has no suitable file for {platform}{why}{lines}")]
    NoFittingFile {
        /// The package.
        package: String,
        /// The platform.
        platform: Subdir,
        /// The requirement that no file meets.
        why: String,
        /// The lines that request it, and its existing files; indented.
        lines: String,
    },
    /// The result of uv cannot be read.
    #[error("cannot read the answer of uv, a `pylock.toml`: {0}")]
    Answer(String),
}

mlconda_types::debug_as_words!(PipError);

/// The options for locking a `pip:` list.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The resolver.
    pub uv: &'a Uv,
    /// The default indexes.
    pub indexes: &'a Indexes,
    /// Files that are newer than this are ignored.
    pub exclude_newer: Option<Cutoff>,
    /// Whether the network may be used.
    pub access: Access,
    /// The previous lock, whose versions are preferred.
    pub previous: Previous<'a>,
    /// The client that requests file sizes that the index does not have.
    pub client: &'a Client,
}

/// Resolves the `pip:` list on top of the conda packages of a lock, and adds the packages to the lock. The environment
/// must be reduced to the lock's platform ([`Environment::for_platform`]), and the host is that of the solve.
///
/// The future may be dropped: uv and all its child processes are stopped, and its temporary files are removed.
///
/// # Errors
/// If there is no solution, or if the resolver or an index is not available.
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
    let conda = CondaSide { environment, lock, provided: &provided };
    conda.check(&requirements)?;
    progress.event(Event::PipStarted { requirements: requirements.entries.len() });
    let indexes = options.indexes.with(&requirements.indexes);
    let task = Resolution {
        requirements: &requirements,
        conda,
        target: Target { host, python: &version },
        indexes: &indexes,
        tags: &tags,
        options,
        progress,
    };
    let mut packages = task.resolve().await?;
    check_locations(&packages, &requirements.entries, &indexes)?;
    for package in &mut packages {
        add_login(package, &indexes);
    }
    options.client.report_waits(progress, hashes::check(&requirements.entries, &mut packages, options)).await?;
    options.client.report_waits(progress, fetch_sizes(&mut packages, options)).await;
    packages.iter_mut().for_each(|package| copy_known_facts(package, options.previous));
    progress.event(Event::PipFinished { packages: packages.len() });
    report(&packages, host.platform, progress);
    lock.pip = packages;
    lock.pip_requested = &requested(&requirements, &lock.pip) - &lock.requested();
    Ok(())
}

/// The names of the requested packages, without their dependencies. A package that is requested by location is found by
/// it.
pub fn requested(requirements: &Requirements, packages: &[LockedPip]) -> BTreeSet<String> {
    let asked = || requirements.entries.iter().filter(|entry| entry.role == RequirementRole::Requested);
    let is_asked = |package: &LockedPip| asked().any(|entry| hashes::is_about(entry, package));
    packages.iter().filter(|package| is_asked(package)).map(|package| package.name.clone()).into_tree()
}

/// The pip requirements of an environment, including its requirements files.
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
            || format!("`{}` is not a project of python: it has no `pyproject.toml` and no `setup.py`", path.display());
        let help = "name the directory that has it; paths are relative to the file that names them";
        (is_installed && path.is_dir() && !is_project()).then(|| *entry.diagnostic(message(), help))
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() { Ok(requirements) } else { Err(refused(missing).into()) }
}

/// Adds the login of an index to the URLs of its files, for the download. A lock file has it only as a variable.
fn add_login(package: &mut LockedPip, indexes: &Indexes) {
    let PipSource::Archive { url, .. } = &mut package.source else { return };
    let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let has_login = |url: &Url| !url.username().is_empty() || url.password().is_some();
    let index = indexes.urls().find(|index| has_login(index) && place(index) == place(url));
    if let Some(index) = index.filter(|_| !has_login(url)) {
        // These only fail for URLs without a host.
        let _ = url.set_username(index.username());
        let _ = url.set_password(index.password());
    }
}

/// Copies facts about the same archive from the previous lock, which saves requests.
fn copy_known_facts(package: &mut LockedPip, previous: Previous<'_>) {
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

/// Rejects untrusted locations: an index on the network that refers to a local file, or https that refers to http. A
/// requirement with its own URL is trusted.
fn check_locations(packages: &[LockedPip], entries: &[PipRequirement], indexes: &Indexes) -> Result<(), PipError> {
    let default = Url::parse("https://pypi.org/simple/").ok();
    let default = default.filter(|_| indexes.index.is_none() && !indexes.no_index);
    let sources: Vec<Url> = indexes.urls().chain(default).collect();
    for package in packages {
        let PipSource::Archive { url, .. } = &package.source else { continue };
        let is_named = entries.iter().any(|entry| entry.direct && hashes::is_about(entry, package));
        if !is_named && !sources.iter().any(|from| network::check_scheme(from, url).is_ok()) {
            return Err(PipError::UntrustedLocation { package: package.name.clone(), url: redact::url(url) });
        }
    }
    Ok(())
}

/// Requests file sizes that the index does not have. Errors leave a size unknown.
async fn fetch_sizes(packages: &mut [LockedPip], options: &Options<'_>) {
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
    stream::iter(asking).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
}

/// Warns about packages that are not pinned by a hash.
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
