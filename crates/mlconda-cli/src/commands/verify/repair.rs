//! `mlconda verify --repair`: links the packages with findings again.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    time::Instant,
};

use mlconda::{
    Subdir,
    host::Host,
    install::{Bytecode, CacheCheck, Options, OutwardLinks, Revision, Scripts},
    lock::Lock,
    plan::Plan,
    prefix::Prefix,
    repodata::Access,
    verify::{Finding, Verification},
};
use serde_json::Value;

use crate::{
    bundles,
    commands::install::{arrivals, carry_out, summary},
    context::Context,
    error::CliError,
    lock_selection, signals,
    text::path_word,
};

/// What is repaired, and how
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for repairs")]
pub(super) struct RepairArgs {
    /// Link the packages with findings again, and verify again; untracked files stay. With a lock, the environment is made
    /// to match it
    #[arg(long)]
    pub(super) repair: bool,
    /// Take packages from the cache and from local files only, not from the network
    #[arg(long, requires = "repair")]
    offline: bool,
    /// Do not run post-link and pre-unlink scripts of packages
    #[arg(long, requires = "repair", hide_short_help = true)]
    no_scripts: bool,
    /// Create symbolic links of packages that point out of the prefix
    #[arg(long, requires = "repair", hide_short_help = true)]
    allow_outward_links: bool,
}

/// Links the packages with findings again. Prints the result, and returns it as JSON.
pub(super) fn repair(
    (prefix, lock): (&Prefix, Option<&Lock>),
    files: &[PathBuf],
    report: &Verification,
    args: &RepairArgs,
    threads: Option<NonZero<usize>>,
    context: &Context,
) -> Result<Value, CliError> {
    let start = Instant::now();
    let made_of = if lock.is_none() { Some(prefix.stamp()?) } else { None };
    let (mut lock, revision) = match lock {
        Some(lock) => (lock.clone(), Revision::Whole),
        None => {
            let (updated, removed, neutered) = (Vec::new(), Vec::new(), Vec::new());
            (of_records(prefix, report, context)?, Revision::Change { updated, removed, neutered })
        }
    };
    // A repair keeps the omitted parts of the prefix: it neither restores them nor leaves out more.
    if !prefix.record_names()?.is_empty() {
        lock.slim = mlconda::prefix::slim::of_prefix(prefix)?.unwrap_or_default();
    }
    let plan = Plan { made_of, ..Plan::reinstalling(&lock, prefix, &report.packages_to_reinstall())? };
    let host = Host::detect(Path::new("/"));
    let native = lock.platform == host.platform || lock.platform == Subdir::NoArch;
    let mut options = Options {
        time: context.settings.source_date_epoch()?,
        command: "mlconda verify --repair".to_owned(),
        revision,
        scripts: if native && !args.no_scripts { context.settings.scripts() } else { Scripts::Skip },
        script_variables: context.settings.script_variables(),
        bytecode: Bytecode::detect(prefix)?.unwrap_or(Bytecode::Timestamp),
        access: if args.offline { Access::Offline } else { Access::Online },
        outward_links: if args.allow_outward_links { OutwardLinks::Keep } else { OutwardLinks::Refuse },
        cache: context.settings.package_cache(),
        // A damaged file can be a hard link to the one in the cache.
        cache_check: CacheCheck::Content,
        durability: context.settings.durability(),
        virtual_packages: if native { host.virtual_packages.clone() } else { Vec::new() },
        ..Options::default()
    };
    options.threads = threads.unwrap_or(options.threads);
    bundles::add_archives(files, &mut options, context)?;
    let done = carry_out(&plan, prefix, &options, context).map_err(|error| match error {
        CliError::Stopped(signal) => summary::stopped(signal, prefix, std::iter::empty()),
        error => error,
    })?;
    let arrivals = arrivals::of(&plan, &lock);
    if let Some(signal) = signals::told() {
        return Err(summary::stopped_late(signal, prefix));
    }
    if plan.is_empty() {
        summary::tell_activation(&done, &context.ui);
    } else {
        summary::tell_report(&done, &arrivals, prefix, start, context);
    }
    Ok(summary::report_as_json(&done, &arrivals, prefix, start))
}

/// The records as a lock.
fn of_records(prefix: &Prefix, report: &Verification, context: &Context) -> Result<Lock, CliError> {
    let place = prefix.path().display();
    let untold = report.findings.iter().find_map(|finding| match finding {
        Finding::Record { path, .. } => Some(format!("the record `{}` cannot be read", path.display())),
        Finding::DuplicateRecord { package, other } => Some(format!("`{package}` and `{other}` have the same name")),
        _ => None,
    });
    if let Some(message) = untold {
        let hint =
            format!("a repair of this needs the lock: `mlconda verify {} LOCK --repair`", path_word(prefix.path()));
        return Err(CliError::world(message, hint));
    }
    let mut parts = lock_selection::read_quietly(prefix.path(), context)?.parts.into_iter();
    let none = || CliError::world(format!("`{place}` has no packages"), "install a lock there with `mlconda install`");
    let mut lock = parts.next().ok_or_else(none)?.lock;
    if lock.platform == Subdir::NoArch {
        lock.platform = Subdir::current().unwrap_or(Subdir::NoArch);
    }
    // The records of the other packages stay unchanged.
    lock.specs = prefix.records()?.into_iter().flat_map(|record| record.requested_specs).collect();
    Ok(lock)
}
