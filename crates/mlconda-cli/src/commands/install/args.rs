//! What `mlconda install` can be told, and what that means to the library.

use std::{num::NonZero, path::PathBuf, sync::Arc, thread, time::Duration};

use mlconda::{
    Subdir,
    host::Host,
    install::{Bytecode, CacheCheck, Options, OutwardLinks, Revision, Scripts, Sharing, Stop},
    lock::Lock,
};

use crate::{
    context::Context, error::CliError, lock_selection::SelectionArgs, locking::LockingArgs, settings::PrefixArgs,
};

/// What `-h` ends with.
const SHORT: &str = "\
Examples:
  mlconda install env.lock                   into envs/NAME under the root prefix, NAME being the lock's
  mlconda install env.lock -p /opt/env       into this prefix
  mlconda install --locked environment.yml   the lock beside it, if that still answers

`--help` has all options, more examples, and the events of `--progress json`.";

/// Install locks into prefixes
///
/// Every archive is checked against the lock before anything of it is written; the new environment is put
/// together aside and swapped in. Afterwards nothing is on disk that is not part of the prefix.
#[derive(Debug, clap::Args)]
#[command(after_help = SHORT, after_long_help = "\
Examples:
  mlconda install env.lock                   into envs/NAME under the root prefix, NAME being the lock's
  mlconda install env.lock -p /opt/env       into this prefix
  mlconda install env.*.lock                 of locks for several platforms, the one for this machine
  mlconda install a.lock b.lock              several environments, which share files by hard link
  mlconda install env.lock --verify          and prove that the environment is what the lock says
  mlconda install env.lock --reinstall       link all packages anew, also those that are there
  mlconda install env.lock --reinstall=numpy,scipy
  mlconda install pixi.lock -n ml            of another tool's lock, what it has for this machine
  mlconda install pixi.lock --environment gpu -p /opt/env
  mlconda install conda-lock.yml --with-category dev -n ml
  mlconda install environment.yml            lock in memory, then install
  mlconda install --locked environment.yml   the lock beside it, if that still answers
  mlconda install base.yml train.yml         both as one environment

With --progress json, stderr has one JSON object a line, typed by its field `event`:
  install-started    prefix, packages, bytes (to download; null if the lock does not say)
  downloaded         bytes (so far, also of packages that were here; less again if a download starts anew), at most
                     ten times a second
  package-installed  package
  retrying           package, reason
  cache-damaged      package, reason; it is fetched again
  cache-not-written  reason; the packages are installed all the same
  bytecode-started   modules
  script             package
  message, warning   text
  error              text, hint (or null)
  finished           what --json tells of a prefix
  verify-started     files, bytes (to read, as far as is known), with --verify
  verified           what `verify --json` tells
Before these, of an environment.yml: repodata-started, repodata-finished, solve-started, explaining, solve-finished. There may
be more in time.

SOURCE_DATE_EPOCH, or else the build time of the environment's newest package, is the time of all that has none of its own:
directories, the history, and what scripts write. Files keep the time that their package gives them.

A package cache is used if its directory exists (`mlconda info` names it), and never made. Environments share files
with it by hard link: whoever edits such a file in one of them edits it in all, and in the cache. --verify-cache finds
that.

In a Dockerfile:
  COPY env.lock .
  RUN mlconda install env.lock
  ENV PATH=/opt/conda/envs/ml/bin:$PATH")]
pub(crate) struct Args {
    /// Lock files (@EXPLICIT, conda-lock.yml or pixi.lock), or an environment.yml; several of these are merged into one
    /// environment
    #[arg(required_unless_present = "files", value_name = "LOCK")]
    pub(super) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) prefix: PrefixArgs,
    /// Link packages anew though the environment has them: all, or those that are named. Their files in the cache are
    /// compared with their hashes first. `mlconda verify --repair` links anew what is damaged, and nothing else
    #[arg(long, value_name = "NAME,...", num_args = 0.., require_equals = true, value_delimiter = ',')]
    pub(super) reinstall: Option<Vec<String>>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Tell what was done as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Install for this platform rather than this machine's; packages' scripts do not run then
    #[arg(long, value_name = "PLATFORM", hide_short_help = true)]
    pub(super) platform: Option<Subdir>,
    /// Run no post-link and pre-unlink scripts
    #[arg(long, hide_short_help = true)]
    no_scripts: bool,
    /// Stop a script or a build of pip that has run for so long; 0 lets it run for ever. The byte-code compiler is given up
    /// after so long without an answer, and after 300 seconds at most
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    script_timeout: u64,
    /// How python is to see that a module of a noarch package has changed since it was compiled (PEP 552):
    /// `timestamp`, `checked-hash` or `unchecked-hash` [default: timestamp]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "timestamp")]
    #[arg(hide_possible_values = true, conflicts_with = "no_compile_bytecode", hide_short_help = true)]
    compile_bytecode: Option<Invalidation>,
    /// Do not compile noarch packages' modules: a smaller prefix, but python compiles them whenever it cannot keep
    /// the result
    #[arg(long, hide_short_help = true)]
    no_compile_bytecode: bool,
    /// Make packages' soft links that point out of the prefix, as those of drivers may
    #[arg(long, hide_short_help = true)]
    allow_outward_links: bool,
    /// How many downloads run at once
    #[arg(long, value_name = "N", default_value = "8", hide_short_help = true)]
    downloads: NonZero<usize>,
    /// How many threads unpack and write [default: one a core]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) threads: Option<NonZero<usize>>,
    /// Compare every file of the cache with its package's own hashes before it is linked; packages that are damaged,
    /// for one because somebody edited a file of an environment that shares it, are thrown out and fetched again
    #[arg(long, conflicts_with = "dry_run", hide_short_help = true)]
    verify_cache: bool,
    /// Of an environment.yml, install the lock beside it (`NAME.lock` of `NAME.yml`, else `env.lock`), and only if it
    /// answers the file; nothing is solved
    #[arg(long)]
    pub(super) locked: bool,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Install what is built already of an environment that needs packages that pixi builds from source
    #[arg(long, hide_short_help = true)]
    pub(super) without_source_packages: bool,
    #[command(flatten)]
    pub(super) locking: LockingArgs,
    /// Read everything again at the end, and prove that the environment is what the lock says
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) verify: bool,
}

/// How python sees that a module has changed since it was compiled.
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

    /// How a lock is installed on this machine, with what it has in common with others.
    pub(super) fn options(
        &self,
        lock: &Lock,
        host: &Host,
        sharing: Option<Arc<Sharing>>,
        context: &Context,
    ) -> Result<Options, CliError> {
        // A foreign platform's programs do not run here, nor does this machine say what that one has.
        let native = lock.platform == host.platform || lock.platform == Subdir::NoArch;
        Ok(Options {
            downloads: self.downloads,
            threads: self.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN),
            time: context.settings.source_date_epoch()?,
            command: "mlconda install".to_owned(),
            revision: Revision::Whole,
            scripts: if native && !self.no_scripts { Scripts::Run } else { Scripts::Skip },
            script_timeout: Some(Duration::from_secs(self.script_timeout)).filter(|limit| !limit.is_zero()),
            script_variables: context.settings.script_variables(),
            bytecode: self.bytecode(),
            access: self.locking.access(),
            outward_links: if self.allow_outward_links { OutwardLinks::Keep } else { OutwardLinks::Refuse },
            cache: context.settings.package_cache(),
            cache_check: if self.verify_cache || self.reinstall.is_some() {
                CacheCheck::Content
            } else {
                CacheCheck::Presence
            },
            sharing,
            stop: Stop::default(),
            virtual_packages: if native { host.virtual_packages.clone() } else { Vec::new() },
        })
    }
}
