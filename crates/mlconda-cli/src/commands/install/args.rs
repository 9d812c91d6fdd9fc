//! The arguments of `mlconda install`, and the library options that they become.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread, time::Duration};

use mlconda::{
    Subdir,
    host::Host,
    install::{Bytecode, CacheCheck, Durability, Options, OutwardLinks, Revision, Scripts, Sharing, Stop},
    lock::Lock,
};

use super::environments::EnvironmentArgs;
use crate::{
    bundles, context::Context, error::CliError, lock_selection::SelectionArgs, settings::PrefixArgs, slim::SlimArgs,
    text::help,
};

/// The end of `-h`.
const SHORT: &str = "\
Examples:
  mlconda install env.lock                   into envs/NAME under the root prefix, with the name in the lock
  mlconda install env.lock -p /opt/env       into this prefix
{lock}  mlconda install --locked environment.yml   the lock beside it, if it is up to date

`--help` has all options, more examples, and the events of `--progress json`.";

/// The help for the inputs, in a program that cannot lock.
#[cfg(not(feature = "lock"))]
pub(crate) const INPUTS: &str = match cfg!(feature = "formats") {
    true => "Lock files (@EXPLICIT, conda-lock.yml or pixi.lock)",
    false => "Lock files (@EXPLICIT)",
};

/// Install locks into prefixes
///
/// Every archive is checked against the lock before any of its files is written. The new environment is prepared in a
/// directory of its own, and then replaces the old one in one step. Afterwards nothing but the prefix is left on the disk.
#[derive(Debug, clap::Args)]
#[command(after_help = help(SHORT), after_long_help = help("\
Examples:
  mlconda install env.lock                   into envs/NAME under the root prefix, with the name in the lock
  mlconda install env.lock -p /opt/env       into this prefix
  mlconda install env.*.lock                 the lock for this machine, of several
  mlconda install a.lock b.lock              several environments that share files by hard link
  mlconda install env.lock --verify          and check every installed file
  mlconda install env.lock --slim            without tests, documentation, symbols …; docs/slim.md
  mlconda install env.lock --reinstall       link all packages again
  mlconda install env.lock --reinstall=numpy,scipy
{formats}  mlconda install pixi.lock -n ml            the lock of another tool
{formats}  mlconda install pixi.lock --environment gpu -p /opt/env
{formats}  mlconda install conda-lock.yml --with-category dev -n ml
{bundle}  mlconda install env.bundle                 without a network; `mlconda bundle` makes it
{lock}  mlconda install environment.yml            lock in memory, then install
{lock}  mlconda install --locked environment.yml   the lock beside it, if it is up to date
{lock}  mlconda install base.yml train.yml         both as one environment

With --progress json, stderr has one JSON object per line, with its type in the field `event`:
  install-started    prefix, packages, bytes (to download; null if the lock does not say)
  downloaded         bytes (so far, cached packages included; fewer if a download starts again), at most ten times a
                     second
  package-installed  package
  retrying           package, reason
  waiting            url, seconds, reason: a server is slow or has asked to wait
  waiting-for-disk   seconds
  cache-damaged      package, reason; it is downloaded again
  cache-not-written  reason; the packages are installed anyway
  bytecode-started   modules
  committing         (everything is ready, and becomes the environment)
  script, building   package
  still-running      task, package, seconds, limit (in seconds, or null)
  message, warning   text
  error              text, hint (or null)
  finished           the fields of --json for one prefix
  verify-started     files, bytes (to read, as far as known), with --verify
  verified           the fields of `verify --json`
{lock}For an environment.yml, these come first: repodata-started, repodata-finished, solve-started, explaining,
{lock}solve-finished.
Later versions can have more.

Directories, the history and files that scripts write get the time SOURCE_DATE_EPOCH, or else the build time of the
newest package. Files of packages keep the time that the package gives them.

A package cache is used if its directory exists (`mlconda info` shows it), and is never created. Environments share
files with it by hard link: editing such a file changes it in all of them, and in the cache. --verify-cache finds
such files.

In a Dockerfile:
  COPY env.lock .
  RUN mlconda install env.lock
  ENV PATH=/opt/conda/envs/ml/bin:$PATH"))]
pub(crate) struct Args {
    /// Lock files (@EXPLICIT, conda-lock.yml or pixi.lock), bundles, or an environment.yml; several of these are merged into one
    /// environment
    #[cfg_attr(feature = "lock", arg(required_unless_present = "files"))]
    #[cfg_attr(not(feature = "lock"), arg(required = true))]
    #[cfg_attr(not(feature = "lock"), arg(help = INPUTS))]
    #[arg(value_name = "LOCK")]
    pub(super) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) prefix: PrefixArgs,
    /// Link packages again that are already installed: all, or those that are named. Their files in the cache are
    /// compared with their hashes first. (`mlconda verify --repair` links only damaged packages again)
    #[arg(long, value_name = "NAME,...", num_args = 0.., require_equals = true, value_delimiter = ',')]
    pub(super) reinstall: Option<Vec<String>>,
    /// Print the changes, and install nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Install for this platform instead of this machine's; scripts of packages are not run then
    #[arg(long, value_name = "PLATFORM", hide_short_help = true)]
    pub(super) platform: Option<Subdir>,
    /// Do not run scripts of packages (post-link, pre-unlink and activation scripts), and refuse packages that pip would
    /// have to build. An installation without this option runs the scripts that were left out [env: MLCONDA_NO_SCRIPTS]
    #[arg(long, hide_short_help = true)]
    no_scripts: bool,
    /// Stop a script or a build of pip after this time; 0 means no limit. The byte-code compiler is stopped after this time
    /// without an answer, and after 300 seconds at most
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    script_timeout: u64,
    /// How python detects that a module of a noarch package has changed since it was compiled (PEP 552):
    /// `timestamp`, `checked-hash` or `unchecked-hash` [default: timestamp]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "timestamp")]
    #[arg(hide_possible_values = true, conflicts_with = "no_compile_bytecode", hide_short_help = true)]
    compile_bytecode: Option<Invalidation>,
    /// Do not compile the modules of noarch packages: the prefix is smaller, but python compiles them at each start if it
    /// cannot write the result
    #[arg(long, hide_short_help = true)]
    no_compile_bytecode: bool,
    /// Create symbolic links of packages that point out of the prefix, as drivers have them
    #[arg(long, hide_short_help = true)]
    allow_outward_links: bool,
    /// The number of parallel downloads
    #[arg(long, value_name = "N", default_value = "8", hide_short_help = true)]
    downloads: NonZero<usize>,
    /// The number of threads that unpack and write [default: one per core]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) threads: Option<NonZero<usize>>,
    /// Compare every file of the cache with the hashes of its package before it is linked. Damaged packages are removed from
    /// the cache and downloaded again: a file can be damaged by an edit in an environment that shares it
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    verify_cache: bool,
    /// Wait until the disk has everything: before the environment changes, and at the end. It then survives a power cut at
    /// any moment, too. For laptops and shared machines; in an image build it only costs time [env: MLCONDA_SYNC]
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    sync: bool,
    #[command(flatten)]
    pub(super) slim: SlimArgs,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Skip packages that pixi builds from source, and install the others
    #[arg(long, hide_short_help = true, hide = !cfg!(feature = "formats"))]
    pub(super) without_source_packages: bool,
    #[command(flatten)]
    pub(super) environments: EnvironmentArgs,
    /// At the end, check every installed file against the lock
    #[arg(long, conflicts_with = "dry_run", help_heading = None::<&str>)]
    pub(super) verify: bool,
}

/// How python detects that a module has changed since it was compiled.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Invalidation {
    Timestamp,
    CheckedHash,
    UncheckedHash,
}

impl Args {
    fn bytecode(&self) -> Bytecode {
        match self.compile_bytecode {
            _ if self.no_compile_bytecode => Bytecode::Skip,
            None | Some(Invalidation::Timestamp) => Bytecode::Timestamp,
            Some(Invalidation::CheckedHash) => Bytecode::CheckedHash,
            Some(Invalidation::UncheckedHash) => Bytecode::UncheckedHash,
        }
    }

    /// Whether scripts of packages run: those of another platform cannot.
    pub(super) fn scripts(&self, lock: &Lock, host: &Host, context: &Context) -> Scripts {
        let is_native = lock.platform == host.platform || lock.platform == Subdir::NoArch;
        match is_native && !self.no_scripts {
            true => context.settings.scripts(),
            false => Scripts::Skip,
        }
    }

    /// The options of an installation on this machine.
    pub(super) fn options(
        &self,
        lock: &Lock,
        host: &Host,
        sharing: Option<Arc<Sharing>>,
        context: &Context,
    ) -> Result<Options, CliError> {
        // Programs of another platform do not run here, and virtual packages of this machine do not apply to it.
        let native = lock.platform == host.platform || lock.platform == Subdir::NoArch;
        let mut options = Options {
            downloads: self.downloads,
            threads: self.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN),
            time: context.settings.source_date_epoch()?,
            command: "mlconda install".to_owned(),
            revision: Revision::Whole,
            scripts: self.scripts(lock, host, context),
            script_timeout: Some(Duration::from_secs(self.script_timeout)).filter(|limit| !limit.is_zero()),
            script_variables: context.settings.script_variables(),
            bytecode: self.bytecode(),
            access: self.environments.access(),
            outward_links: if self.allow_outward_links { OutwardLinks::Keep } else { OutwardLinks::Refuse },
            cache: context.settings.package_cache(),
            cache_check: if self.verify_cache || self.reinstall.is_some() {
                CacheCheck::Content
            } else {
                CacheCheck::Presence
            },
            durability: if self.sync { Durability::PowerCuts } else { context.settings.durability() },
            sharing,
            stop: Stop::default(),
            virtual_packages: if native { host.virtual_packages.clone() } else { Vec::new() },
            archives: Vec::new(),
        };
        bundles::add_archives(&[&self.inputs[..], self.environments.files()].concat(), &mut options, context)?;
        Ok(options)
    }
}
