//! Carries out a plan: fetch, verify, unpack aside, swap, record. A prefix is the old one or the new one.
//!
//! rattler's own installer goes through a cache and leaves it, knows no way back and writes the builder's paths
//! into the records; so this engine is ours, on rattler's building blocks (archives, prefix replacement, entry
//! points, records). Waiting is async, on the caller's thread; disk work has threads of its own.

pub(crate) mod aside;
mod bytecode;
mod cache;
pub(crate) mod commit;
mod contents;
mod deviations;
mod fetch;
pub(crate) mod layout;
mod link;
mod package;
mod pip;
mod plain;
pub(crate) mod record;
mod replaced;
pub(crate) mod script;
mod sharing;
mod site;
mod source;
mod stage;
mod stop;
mod unpack;
mod work;

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlconda_channel::{network::Client, repodata::Access};
use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, STATE, activate::kept, on_disk};
use mlconda_system::{
    self as system,
    beneath::{Kind, Root},
    files,
};
use mlconda_types::{
    dependency::{dependency_name, is_within_reason},
    progress::{Event, Progress, Task},
};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, PackageRecord, ParseStrictness, PrefixRecord};

pub use self::cache::{cached_index, cached_metadata};
pub use self::{
    bytecode::{Bytecode, Compiled},
    cache::CacheContents,
    sharing::Sharing,
    source::CacheCheck,
    stage::Clash,
    stop::Stop,
};
use self::{
    layout::{Layout, Links},
    site::Site,
    stage::{Stage, There},
};

/// The file by which an environment is known.
const HISTORY: &str = "history";

/// The extension that a `conda-meta/state` gets that cannot be read, when it is written anew.
const DAMAGED: &str = "damaged";

/// How to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many downloads run at once.
    pub downloads: NonZero<usize>,
    /// How many threads decompress and write.
    pub threads: NonZero<usize>,
    /// The time, in seconds since 1970, of all that has no time of its own (`SOURCE_DATE_EPOCH`): directories,
    /// `history` and `state`, and what scripts write, who are told of it. Files of packages keep the time that their
    /// archive gives them; records, commands of entry points and byte code follow their package. Without it, the time
    /// at which the newest package of the environment was built.
    pub time: Option<i64>,
    /// What `conda-meta/history` gives as the command.
    pub command: String,
    /// What it says was asked for.
    pub revision: Revision,
    /// What happens with post-link and pre-unlink scripts.
    pub scripts: Scripts,
    /// How long one script, or one build of pip, may run; `None` for as long as it likes. The byte-code compiler's python is given
    /// up as soon as no module is done for so long, and after five minutes at most.
    pub script_timeout: Option<Duration>,
    /// What they get of the environment: proxies and the like, and nothing that is secret.
    pub script_variables: Vec<(String, String)>,
    /// Whether packages may be downloaded; else only those of this machine and of the cache are to be had.
    pub access: Access,
    /// What happens with packages' links that point out of the prefix.
    pub outward_links: OutwardLinks,
    /// Whether the modules of noarch python packages are compiled. The environment's python does that; one that
    /// cannot run here is no error.
    pub bytecode: Bytecode,
    /// The package cache, if there is one.
    pub cache: Option<PathBuf>,
    /// How far the cache is trusted.
    pub cache_check: CacheCheck,
    /// What this installation has in common with others of the same call, if there are any.
    pub sharing: Option<Arc<Sharing>>,
    /// By which it is told to stop where it does not wait. Not to be shared between installations.
    pub stop: Stop,
    /// The virtual packages of the machine that the prefix is for. What is not among them is not judged: a
    /// builder need not have the GPU that the program will have.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl Default for Options {
    /// Eight downloads, a thread for each core, scripts run for an hour at most, no cache.
    fn default() -> Self {
        let eight = NonZero::<usize>::MIN.saturating_add(7);
        Self {
            downloads: eight,
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            time: None,
            command: "mlconda install".to_owned(),
            revision: Revision::default(),
            scripts: Scripts::default(),
            script_timeout: Some(Duration::from_secs(3600)),
            script_variables: Vec::new(),
            bytecode: Bytecode::default(),
            access: Access::default(),
            outward_links: OutwardLinks::default(),
            cache: None,
            cache_check: CacheCheck::default(),
            sharing: None,
            stop: Stop::default(),
            virtual_packages: Vec::new(),
        }
    }
}

/// What `conda-meta/history` says was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// All of the plan's specs, and nothing besides: what was asked for before does not count any more.
    #[default]
    Whole,
    /// A change of what was asked for before, in conda's words. Each is a list of match specs.
    Change {
        /// What is asked for from now on.
        updated: Vec<String>,
        /// What is not asked for any more.
        removed: Vec<String>,
        /// What is asked for in any version from now on, since its version stood in the way.
        neutered: Vec<String>,
    },
}

/// What happens with packages' scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scripts {
    /// They run.
    #[default]
    Run,
    /// They do not.
    Skip,
}

/// What happens with a package that has a soft link to a place outside of the prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutwardLinks {
    /// The installation fails: such a link may be an attack, and it makes a prefix that cannot be moved to another
    /// image.
    #[default]
    Refuse,
    /// They are made. Nothing is ever written through them.
    Keep,
}

/// What an installation did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many packages were linked.
    pub linked: usize,
    /// How many were unlinked, those that changed among them.
    pub unlinked: usize,
    /// How many stayed as they were.
    pub unchanged: usize,
    /// How many files were written.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many packages came out of the cache.
    pub cached: usize,
    /// How many of the bytes take no room of their own: they are in hard links to files that were there before, in the
    /// cache or in an environment of the same call.
    pub shared: u64,
    /// Paths that several packages hold.
    pub clashes: Vec<Clash>,
    /// Files that belonged to no package, and that a package's file has replaced.
    pub replaced: Vec<PathBuf>,
    /// Links that no package has made. Behind them files of packages that went would have been: they were left alone.
    pub foreign_links: Vec<PathBuf>,
    /// Paths that records of packages that went name, and that are not in the prefix: they were left alone. Each comes
    /// after the name of its record.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// What became of the variables and the history.
    pub meta: Meta,
    /// What packages need of the machine that the machine is known not to have.
    pub unmet: Vec<Unmet>,
    /// What became of the modules of noarch python packages.
    pub compiled: Compiled,
    /// Why nothing is kept of what activation scripts set, for images without a shell, where a file could not be written.
    pub not_kept: Option<String>,
    /// What post-link scripts left for the user to read, by package.
    pub messages: Vec<(String, String)>,
}

impl Report {
    /// What the stage holds by now.
    fn of(plan: &Plan, finished: &[work::Finished], compiled: Compiled, options: &Options) -> Self {
        Self {
            linked: plan.link.len() + plan.pip.link.len() + plan.pip.build.len(),
            meta: Meta::Written,
            unlinked: plan.unlink.len() + plan.pip.unlink.len(),
            unchanged: plan.unchanged,
            files: finished.iter().map(|package| package.files).sum::<usize>() + compiled.modules,
            bytes: finished.iter().map(|package| package.bytes).sum::<u64>() + compiled.bytes,
            cached: finished.iter().filter(|package| package.origin.is_some_and(source::Origin::is_cache)).count(),
            shared: finished.iter().map(|package| package.shared).sum(),
            compiled,
            unmet: unmet(plan, finished, &options.virtual_packages),
            ..Self::default()
        }
    }

    /// Takes what is told of a change.
    fn take(&mut self, change: &commit::Change<'_>, plan: &Plan) {
        self.replaced.clone_from(&change.replaced);
        self.foreign_links.clone_from(&change.links);
        self.outside = plain::outside(plan);
    }

    /// Counts in what was compiled.
    fn count(&mut self, compiled: Compiled) {
        self.files += compiled.modules;
        self.bytes += compiled.bytes;
        self.compiled.count(compiled);
    }
}

/// What became of a prefix's variables and history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meta {
    /// They were as the lock says.
    #[default]
    AsItWas,
    /// They were written anew.
    Written,
}

/// A package that needs more of the machine than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The package, by file name without extension.
    pub package: String,
    /// What it needs, as a match spec: `__glibc >=2.36`.
    pub need: String,
    /// What the machine has.
    pub found: String,
}

/// An installation that failed. Unless it is [`InstallError::InPart`], the prefix is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Another process is at it.
    #[error("another mlconda is installing into `{}`", .prefix.display())]
    Busy {
        /// The prefix.
        prefix: PathBuf,
    },
    /// Another process has changed the prefix since the plan was made.
    #[error("`{}` has changed meanwhile", .prefix.display())]
    Changed {
        /// The prefix.
        prefix: PathBuf,
    },
    /// It was told to stop ([`Stop`]).
    #[error("the installation was stopped")]
    Stopped,
    /// It could not be undone either.
    #[error("`{}` has changed in part and could not be changed back ({back}); the next installation makes it whole", .prefix.display())]
    InPart {
        /// The prefix.
        prefix: PathBuf,
        /// Why it could not be changed back.
        back: io::Error,
        /// Why the installation failed.
        #[source]
        source: Box<InstallError>,
    },
    /// A file is where a directory is to be made.
    #[error("`{}` is no directory that can hold environments", .path.display())]
    Parent {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No program could work there.
    #[error("`{}` cannot be a prefix: {reason}", .prefix.display())]
    Unusable {
        /// The prefix.
        prefix: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The directory holds other things.
    #[error("`{}` holds files but no environment", .prefix.display())]
    Occupied {
        /// The prefix.
        prefix: PathBuf,
    },
    /// An archive did not come.
    #[error("cannot get `{package}` from {url}")]
    Download {
        /// The package's file name.
        package: String,
        /// Where it was to come from, without secrets.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive is not the one that was locked.
    #[error("`{package}` from {url} is not what the lock says: its {kind} is {found}, not {expected}")]
    Digest {
        /// The package's file name.
        package: String,
        /// Where it came from, without secrets.
        url: String,
        /// `sha256` or `md5`.
        kind: &'static str,
        /// The lock's, in hex.
        expected: String,
        /// The archive's, in hex.
        found: String,
    },
    /// A package in the cache is damaged, and cannot be fetched again.
    #[error("`{package}` is damaged in the cache, and the network may not be asked for another one")]
    Damaged {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An archive is damaged, or holds what no package may.
    #[error("the package `{package}` is not sound")]
    Package {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A path is a directory for one and a file or a link for another.
    #[error("`{}` is a directory for {} and a {kind} for {}", .path.display(), named(.directory, "one package"), named(.other, "another"))]
    Kind {
        /// The path, relative to the prefix.
        path: PathBuf,
        /// The package that has something in it, by file name without extension, if it is known.
        directory: Option<String>,
        /// The package that it is something else for, if it is known.
        other: Option<String>,
        /// `file` or `link`.
        kind: &'static str,
    },
    /// A directory with files of nobody stands where a file is to be.
    #[error("`{}` is to be a package's file and is a directory, in which `{}` belongs to no package", .path.display(), .inner.display())]
    InTheWay {
        /// The directory, relative to the prefix.
        path: PathBuf,
        /// One of the files, relative to the prefix.
        inner: PathBuf,
    },
    /// A link that no package has made stands where files of packages, or the program's own, are to be.
    #[error("`{}` is a link to `{}` that no package has made, and nothing is written or removed through it", .path.display(), .to.display())]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// What is written down of an interrupted installation may be somebody else's.
    #[error("`{}` tells how to undo an installation, but {reason}; nothing of it was done", .path.display())]
    Distrusted {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
    /// A record's name, version or build is not a part of a file name.
    #[error("the record of `{name}` in `{}` is not sound: its file would be `{}`", .prefix.display(), .file.display())]
    RecordName {
        /// The prefix.
        prefix: PathBuf,
        /// The package's name.
        name: String,
        /// What name, version and build make as a path.
        file: PathBuf,
    },
    /// A link out of the prefix.
    #[error("the link `{}` of `{package}` points out of the prefix, to `{}`", .path.display(), .to.display())]
    OutwardLink {
        /// The package's name.
        package: String,
        /// The link, relative to the prefix.
        path: PathBuf,
        /// Where it points.
        to: PathBuf,
    },
    /// The prefix is longer than the room that a program has for it.
    #[error("the prefix has {prefix} bytes, but `{}` of `{package}` has room for {room}", .path.display())]
    PrefixTooLong {
        /// The package's name.
        package: String,
        /// The file, relative to the prefix.
        path: PathBuf,
        /// The prefix's length in bytes.
        prefix: usize,
        /// The room in bytes.
        room: usize,
    },
    /// A noarch python package, or one of pip, in an environment without python.
    #[error("`{package}` is a package for python, but the lock has no python to link it for")]
    NoPython {
        /// The package's file name.
        package: String,
    },
    /// A conda package is the same distribution as a package of pip.
    #[error("`{package}` is from a channel and `{wheel}` is not, but both are the python distribution `{name}`")]
    SameDistribution {
        /// The distribution's name, normalized.
        name: String,
        /// The conda package, by file name without extension.
        package: String,
        /// The wheel's file name.
        wheel: String,
    },
    /// A wheel is for another python or platform.
    #[error("`{wheel}` is not for {machine}")]
    WrongTags {
        /// The wheel's file name.
        wheel: String,
        /// The python and the machine that the lock is for.
        machine: String,
    },
    /// A package has to be built, and pip is what does that.
    #[error("`{package}` has to be built from its sources, but the environment has no pip to do that")]
    NoPip {
        /// The package's name.
        package: String,
    },
    /// A package has to be built, which runs its code.
    #[error("`{package}` has to be built from its sources, which runs code of the package")]
    BuildSkipped {
        /// The package's name.
        package: String,
    },
    /// The sources of a package are in a git repository, and the network may not be asked.
    #[error("`{package}` has to be fetched with git, and the network may not be asked")]
    GitOffline {
        /// The package's name.
        package: String,
    },
    /// pip could not build or install a package.
    #[error("pip could not install `{package}` ({status}):\n{output}")]
    Build {
        /// The package's name.
        package: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A script failed.
    #[error("the script `{}` of `{package}` failed with {status}:\n{output}", .script.display())]
    Script {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it printed, and what it left in `.messages.txt`.
        output: String,
    },
    /// A script or a build has not ended in time, and was stopped.
    #[error("{} of `{package}` has not ended within {} seconds, and was stopped{}{output}", .task.name(), .limit.as_secs(), if .output.is_empty() { "" } else { ":\n" })]
    Expired {
        /// What it was.
        task: Task,
        /// The package's name.
        package: String,
        /// How long it was given.
        limit: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// A script cannot run.
    #[error("`{package}` has the script `{}`, but there is no shell to run it", .script.display())]
    NoShell {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
    },
}

/// A package in a message.
fn named(package: &Option<String>, unknown: &str) -> String {
    package.as_ref().map_or_else(|| unknown.to_owned(), |package| format!("`{package}`"))
}

/// Carries out a plan.
///
/// Dropping the future, or [`Options::stop`] where it does not wait, stops the work, kills a script that runs, and makes the prefix what it was. Where that fails, or
/// cannot be (on an overlay file system, once old files are removed), nobody is told: the prefix has records then and is
/// no environment ([`Prefix::is_environment`]), and the next installation makes it whole.
///
/// # Errors
/// If anything fails. The prefix is then as it was, but for [`InstallError::InPart`].
pub async fn install(
    plan: &Plan,
    client: &Client,
    prefix: &Prefix,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report, InstallError> {
    carry_out(plan, client, prefix, options, progress).await.map_err(|error| options.stop.name(error))
}

async fn carry_out(
    plan: &Plan,
    client: &Client,
    prefix: &Prefix,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report, InstallError> {
    check_prefix(prefix.path())?;
    if plan.is_empty() {
        recover(prefix)?;
        return Ok(Report { unchanged: plan.unchanged, ..Report::default() });
    }
    pip::check_tags(plan)?;
    plain::check_names(plan, prefix)?;
    sharing::tidy(prefix);
    let site = Site::prepare(prefix)?;
    if prefix.seen().map_err(io::Error::other)? != plan.seen {
        return Err(InstallError::Changed { prefix: prefix.path().to_owned() });
    }
    let packages = plan.link.len() + plan.pip.link.len() + plan.pip.build.len();
    let (path, bytes) = (prefix.path().to_owned(), plan.download_size());
    progress.event(Event::InstallStarted { prefix: path, packages, bytes });
    let stage = Arc::new(Stage::new(&site.stage, prefix.path(), plan.platform, options.stop.clone())?);
    let finished = client.report_waits(progress, work::link_all(plan, client, &stage, options, progress)).await?;
    let plan = &*replaced::complete(plan, prefix, &stage)?;
    let (clashes, layout) = settle(plan, prefix, &stage, &finished)?;
    let python = work::python(plan, &finished);
    let sources = pip::prepare(plan, client, &stage, python.as_ref(), options, progress).await?;
    let time = options.time.unwrap_or_else(|| newest(plan, &finished, prefix));
    let compiled = bytecode::compile(plan, prefix, &stage, &finished, options, progress).await?;
    let mut report = Report { clashes, ..Report::of(plan, &finished, compiled, options) };
    write_meta(plan, prefix, &stage, time, options)?;
    stage.settle_directories(time)?;
    let told = script::Told { variables: &options.script_variables, time, limit: options.script_timeout, progress };
    let new = in_linking_order(plan, &finished);
    let change = commit::Change::new(plan, layout.as_ref(), prefix, &stage, time)?;
    report.take(&change, plan);
    progress.event(Event::Committing);
    options.stop.check()?;
    let old = if options.scripts == Scripts::Run { with_pre_unlink(prefix, plan) } else { Vec::new() };
    let after = options.scripts == Scripts::Run && work::has_scripts(&stage, &new) || !sources.is_empty();
    let when = match after {
        _ if !old.is_empty() => site::Scripts::BeforeAndAfter,
        true => site::Scripts::After,
        false => site::Scripts::Never,
    };
    let mut commit = site.begin(&change, when)?;
    options.sharing.iter().filter(|_| when != site::Scripts::Never).for_each(|sharing| sharing.doubt());
    let committed = async {
        run_pre_unlink(prefix, &old, told).await?;
        commit.place()?;
        if when != site::Scripts::Never && options.scripts == Scripts::Run {
            run_post_link(prefix, &new, told, &mut report, progress).await?;
        }
        if let Some(python) = python.filter(|_| !sources.is_empty()) {
            let mode = options.bytecode;
            report.count(pip::build(plan, prefix, &python, &sources, told, mode, progress).await?);
        }
        Ok(())
    };
    match committed.await {
        Ok(()) => commit.finish()?,
        Err(error) => return Err(commit.undo(error)),
    }
    if options.scripts == Scripts::Run {
        // The environment is there, whatever becomes of this.
        report.not_kept = kept::keep(prefix, time).await.err().map(|error| error.to_string());
    }
    Ok(report)
}

/// Refuses a prefix in which packages cannot work, whatever they are.
fn check_prefix(prefix: &Path) -> Result<(), InstallError> {
    let reason = match prefix.to_str() {
        None => "it is not UTF-8, and packages have it written into texts",
        Some(text) if text.contains(':') => "it has a `:`, which ends a directory in `PATH`",
        Some(text) if text.contains(char::is_control) => {
            "it has a character that cannot be seen, a line break for one, which scripts do not survive"
        }
        Some(_) => return Ok(()),
    };
    Err(InstallError::Unusable { prefix: prefix.to_owned(), reason })
}

/// The records of new packages, in linking order.
fn in_linking_order<'a>(plan: &Plan, finished: &'a [work::Finished]) -> Vec<&'a PrefixRecord> {
    let order = work::order(plan, finished);
    // Only conda packages have scripts: what a wheel brings under such a name is none.
    let of_conda = finished.iter().filter(|package| package.number < plan.link.len());
    let mut new: Vec<&PrefixRecord> = of_conda.map(|package| &package.record).collect();
    mlconda_types::sorting::sort_by_key(&mut new, |record| {
        let name = record.repodata_record.package_record.name.as_normalized();
        order.iter().position(|other| other == name)
    });
    new
}

/// When the newest of the packages that the prefix is to hold was built: the same, whatever was there before. Where no
/// package comes or goes, the time of the last installation.
fn newest(plan: &Plan, finished: &[work::Finished], prefix: &Prefix) -> i64 {
    let kept = plan
        .keep
        .iter()
        .chain(&plan.pip.keep)
        .filter_map(|record| record.repodata_record.package_record.timestamp.as_ref());
    let kept = kept.map(|time| time.jiff_timestamp().as_second());
    let newest = finished.iter().filter_map(|package| package.built).chain(kept).max();
    let last = || {
        let history = fs_err::metadata(prefix.path().join("conda-meta").join(HISTORY)).ok()?;
        Some(system::modified(&history))
    };
    newest.or_else(last).unwrap_or(0)
}

/// A file's content; `None` if it is not there.
fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, files::LARGEST_TEXT) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}

/// Makes good what a killed process has left, unless another one is at it: what was half-done in the prefix is undone, and
/// what lies about is removed. To be called before a [`Plan`] is made, so that the plan is for the prefix as it was;
/// else all its packages are linked anew.
///
/// # Errors
/// If something cannot be undone or removed.
pub fn recover(prefix: &Prefix) -> Result<(), InstallError> {
    sharing::tidy(prefix);
    site::recover(prefix.path()).map(|_| ())
}

/// Removes a prefix and all that lies in it. Its name is free at once: what a killed process leaves lies beside it, and the next
/// installation removes that.
///
/// # Errors
/// If another process is at it, or something cannot be removed.
pub fn remove(prefix: &Prefix) -> Result<(), InstallError> {
    let path = prefix.path();
    if !site::recover(path)? {
        return Err(InstallError::Busy { prefix: path.to_owned() });
    }
    let aside = on_disk::beside(path).map(|(stage, _)| stage);
    // What cannot be moved, a volume say, is emptied where it is.
    let aside = aside.filter(|aside| fs_err::rename(path, aside).is_ok());
    let left = aside.as_deref().unwrap_or(path);
    // A link is not followed, and goes itself.
    Ok(system::remove_tree(left).or_else(|_| fs_err::remove_dir_all(left))?)
}

/// Lets the right file win where packages clash, also with those that stay.
fn settle(
    plan: &Plan,
    prefix: &Prefix,
    stage: &Stage,
    finished: &[work::Finished],
) -> Result<(Vec<Clash>, Option<Layout>), InstallError> {
    let order = work::order(plan, finished);
    let rank: HashMap<&str, usize> = order.iter().enumerate().map(|(rank, name)| (name.as_str(), rank)).collect();
    let rank = |name: &str| rank.get(name).copied().unwrap_or(0);
    let mut packages: Vec<_> = plan.link.iter().map(|package| (rank(&package.name), package.dist_name())).collect();
    // What is not from a channel comes after all that is, by name.
    let last = |name: &str| order.len() + plan.pip.names.iter().position(|other| other == name).unwrap_or(0);
    packages.extend(plan.archives().iter().skip(packages.len()).map(|wheel| (last(&wheel.name), wheel.dist_name())));
    let name = |record: &PrefixRecord| record.repodata_record.package_record.name.as_normalized().to_owned();
    let conda = plan.keep.iter().map(|record| (record, (rank(&name(record)), record::dist_name(record))));
    let wheels = plan.pip.keep.iter().map(|record| (record, (last(&name(record)), record::dist_name(record))));
    pip::check_distributions(plan, stage)?;
    let root = if prefix.path().exists() { Some(Root::open(prefix.path())?) } else { None };
    let there = root.as_ref().map(|root| There {
        prefix: root,
        unlink: plan.unlink.iter().chain(&plan.pip.unlink).collect(),
        keep: conda.chain(wheels).collect(),
    });
    stage.settle(&packages, there.as_ref())
}

/// What packages need that the machine is known not to have.
fn unmet(plan: &Plan, finished: &[work::Finished], virtual_packages: &[GenericVirtualPackage]) -> Vec<Unmet> {
    let mut all = Vec::new();
    for package in finished {
        for need in &package.record.repodata_record.package_record.depends {
            let found = virtual_packages.iter().find(|found| found.name.as_normalized() == dependency_name(need));
            let is_sound = is_within_reason(need);
            let spec = is_sound.then(|| MatchSpec::from_str(need, ParseStrictness::Lenient).ok()).flatten();
            if let (Some(found), Some(spec)) = (found, spec)
                && !spec.matches(found)
            {
                let package = plan.link[package.number].dist_name();
                all.push(Unmet { package, need: need.clone(), found: found.version.to_string() });
            }
        }
    }
    all
}

/// Writes `history` and `state` into the stage.
fn write_meta(plan: &Plan, prefix: &Prefix, stage: &Stage, time: i64, options: &Options) -> Result<(), InstallError> {
    stage.directory(Path::new("conda-meta"))?;
    let (old, new) = (prefix.path().join("conda-meta"), stage.root().join("conda-meta"));
    let history = match read_if_there(&old.join(HISTORY))? {
        Some(history) => Some(history),
        None => read_if_there(&old.join(on_disk::PENDING))?,
    };
    let mut history = String::from_utf8_lossy(&history.unwrap_or_default()).into_owned();
    // conda lists revisions in the order of the file, and their times should agree with it.
    let since = record::last_revision(&history).map_or(time, |last| last.max(time));
    history.push_str(&record::revision(since, options, plan));
    record::write(&new.join(on_disk::PENDING), history.as_bytes(), time)?;
    request_anew(plan, &old, &new)?;
    let Some(variables) = &plan.variables else { return Ok(()) };
    let old = if plan.damaged_state {
        // Somebody may have written it by hand, and want it back.
        let (root, state) = (Root::open(prefix.path())?, Path::new(STATE));
        if root.look(state)?.is_some_and(|there| there.kind == Kind::File) {
            root.copy(state, &Root::open_itself(stage.root())?, &state.with_extension(DAMAGED), stage.stop.flag())?;
        }
        None
    } else {
        read_if_there(&old.join("state"))?
    };
    if let Some(state) = record::state(old.as_deref(), variables) {
        record::write(&new.join("state"), &state, time)?;
    }
    Ok(())
}

/// The old packages that have a pre-unlink script.
fn with_pre_unlink<'a>(prefix: &Prefix, plan: &'a Plan) -> Vec<&'a PackageRecord> {
    let Ok(root) = Root::open(prefix.path()) else { return Vec::new() };
    let is_there = |path: &Path| root.look(path).is_ok_and(|there| there.is_some());
    // What is behind a link of a package is the package's, and what is behind one of the user is not.
    let place = |path: &Path| Links::new(&root, plan.unlink.iter().chain(&plan.keep)).place(path).ok().flatten();
    let has = |name: &str| {
        let path = script::path(name, script::When::PreUnlink);
        prefix.path().join(&path).is_file() && (is_there(&path) || place(&path).is_some_and(|path| is_there(&path)))
    };
    let packages = plan.unlink.iter().map(|old| &old.repodata_record.package_record);
    packages.filter(|package| has(package.name.as_normalized())).collect()
}

/// Runs the pre-unlink scripts of old packages.
async fn run_pre_unlink(prefix: &Prefix, old: &[&PackageRecord], told: script::Told<'_>) -> Result<(), InstallError> {
    if old.is_empty() {
        return Ok(());
    }
    let since = script::begin(prefix.path())?;
    for package in old {
        script::run(prefix.path(), package, script::When::PreUnlink, told).await?;
    }
    script::settle(prefix.path(), since, told.time)
}

/// Packages that stay may have been asked for in other words before, or not at all: then their records are new ones, as
/// after a first installation. `old` and `new` are `conda-meta`, of the prefix and of the stage.
fn request_anew(plan: &Plan, old: &Path, new: &Path) -> Result<(), InstallError> {
    for record in &plan.keep {
        let name = record.repodata_record.package_record.name.as_normalized();
        let spec = record::requested(&plan.specs, name);
        if record.requested_specs.iter().map(String::as_str).ne(spec) {
            let place = old.join(record.file_name());
            let text = record::requested_anew(&files::read(&place, files::LARGEST_RECORD)?, spec)?;
            record::write(&new.join(record.file_name()), &text, system::modified(&fs_err::metadata(&place)?))?;
        }
    }
    Ok(())
}

/// Runs the post-link scripts of new packages, in linking order.
async fn run_post_link(
    prefix: &Prefix,
    new: &[&PrefixRecord],
    told: script::Told<'_>,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<(), InstallError> {
    let since = script::begin(prefix.path())?;
    for record in new {
        let record = &record.repodata_record.package_record;
        let name = record.name.as_normalized();
        if prefix.path().join(script::path(name, script::When::PostLink)).is_file() {
            progress.event(Event::LinkScript { package: name.to_owned() });
            if let Some(message) = script::run(prefix.path(), record, script::When::PostLink, told).await? {
                report.messages.push((name.to_owned(), message));
            }
        }
    }
    script::settle(prefix.path(), since, told.time)
}
