//! The last step of every change: runs the plan or prints it, and reports the result in conda's form.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Instant};

use mlconda::{
    Subdir,
    host::Host,
    install::{Bytecode, CacheCheck, Options, Revision, Scripts, is_cached},
    lock::{Digest, Lock, LockedPackage},
    network,
    plan::{Plan, Reinstall},
    prefix::{Prefix, Stamp, slim},
};
use serde_json::{Value, json};

use super::super::{line::Line, views::hex};
use crate::{
    bundles,
    commands::{
        fetch,
        install::{arrivals, carry_out, summary},
    },
    context::Context,
    error::CliError,
    text::{count, path_text, path_word},
};

/// The change of a prefix.
#[derive(Debug)]
pub(crate) struct Change {
    /// The file that the lock is read from. If it is a bundle, archives come from it.
    pub(crate) file: Option<PathBuf>,
    pub(crate) lock: Lock,
    pub(crate) prefix: Prefix,
    /// The stamp of the prefix from whose packages the lock was made.
    pub(crate) made_of: Option<Stamp>,
    /// Whether the existing environment is removed first.
    pub(crate) replaces: bool,
    /// The command in the history, without paths and logins, so that it is the same in every build.
    pub(crate) command: String,
    pub(crate) revision: Revision,
    /// Whether the specs changed, even if no package changes.
    pub(crate) is_asked_anew: bool,
    /// Packages to link again.
    pub(crate) relink: BTreeSet<String>,
}

pub(crate) fn apply(mut change: Change, line: &Line, host: &Host, context: &Context) -> Result<ExitCode, CliError> {
    let start = Instant::now();
    let dry = line.has("--dry-run");
    check_frozen(&change.prefix, line)?;
    if !dry {
        mlconda::install::recover(&change.prefix)?;
    }
    let options = options(&change, line, host, context)?;
    // Omitted parts stay omitted, and new packages are treated like the installed ones.
    if !change.replaces
        && let Some(slim) = slim::of_prefix(&change.prefix)?
    {
        change.lock.slim = slim;
    }
    let prefix = &change.prefix;
    let fresh = Prefix::open(prefix.path().with_file_name(".mlconda-none"))?;
    let reinstall = match change.relink.is_empty() {
        true => Reinstall::Nothing,
        false => Reinstall::Named(change.relink.clone()),
    };
    let mut plan = Plan::reinstalling(&change.lock, if change.replaces { &fresh } else { prefix }, &reinstall)?;
    plan.made_of.clone_from(&change.made_of);
    plan.meta_changes |= change.is_asked_anew;
    if line.has("--download-only") && !dry {
        return download(&plan, change.lock, options, line, context);
    }
    let fetch = if line.has("--json") { records_to_fetch(&plan, &options) } else { Vec::new() };
    if dry {
        summary::tell_plan(&plan, prefix, context);
    } else {
        if change.replaces {
            remove_prefix(prefix)?;
        }
        let report = carry_out(&plan, prefix, &options, context).map_err(|error| match error {
            CliError::Stopped(signal) => summary::stopped(signal, prefix, std::iter::empty()),
            error => error,
        })?;
        let arrivals = arrivals::of(&plan, &change.lock);
        if change.lock.packages.is_empty() && report.unlinked == 0 {
            context.ui.say(&format!("`{}` is an environment without packages.", prefix.path().display()));
        } else if report.linked + report.unlinked == 0 {
            let (place, packages) = (prefix.path().display(), count(report.unchanged, "package"));
            context.ui.say(&format!("`{place}` has everything that was asked for: {packages}."));
            summary::tell_activation(&report, &context.ui);
        } else {
            summary::tell_report(&report, &arrivals, prefix, start, context);
        }
        let mut event = summary::report_as_json(&report, &arrivals, prefix, start);
        event["event"] = json!("finished");
        context.ui.event(&event);
    }
    if line.has("--json") {
        context.ui.json(&actions(&plan, fetch, prefix, dry))?;
    }
    if !dry && !change.lock.packages.is_empty() {
        let place = path_word(prefix.path());
        context.ui.say(&format!("To pin these packages: `mlconda lock --from-prefix {place} -o env.lock`."));
    }
    Ok(ExitCode::SUCCESS)
}

/// How modules are compiled: as in the environment so far, otherwise as conda does. A python of another platform cannot
/// compile.
fn bytecode(change: &Change, line: &Line, is_native: bool) -> Result<Bytecode, CliError> {
    Ok(match change.replaces {
        _ if line.has("--no-compile-bytecode") || !is_native => Bytecode::Skip,
        true => Bytecode::Timestamp,
        false => Bytecode::detect(&change.prefix)?.unwrap_or(Bytecode::Timestamp),
    })
}

fn options(change: &Change, line: &Line, host: &Host, context: &Context) -> Result<Options, CliError> {
    let platform = change.lock.platform;
    let native = platform == host.platform || platform == Subdir::NoArch;
    let mut options = Options {
        time: context.settings.source_date_epoch()?,
        command: change.command.clone(),
        revision: change.revision.clone(),
        scripts: if native && !line.has("--no-scripts") { context.settings.scripts() } else { Scripts::Skip },
        script_variables: context.settings.script_variables(),
        bytecode: bytecode(change, line, native)?,
        access: super::Channels::of(line, context)?.args.access(),
        cache_check: if change.relink.is_empty() { CacheCheck::Presence } else { CacheCheck::Content },
        durability: context.settings.durability(),
        cache: context.settings.package_cache().filter(|_| !line.has("--always-copy")),
        virtual_packages: if native { host.virtual_packages.clone() } else { Vec::new() },
        ..Options::default()
    };
    if let Some(file) = &change.file {
        let access = options.access;
        bundles::add_archives(std::slice::from_ref(file), &mut options, context)?;
        // An unchanged package may have to be linked again, and the bundle may not contain it.
        if !matches!(change.revision, Revision::Whole) {
            options.access = access;
        }
    }
    Ok(options)
}

/// Downloads the archives of the packages to link into the cache. Nothing is installed.
fn download(plan: &Plan, lock: Lock, options: Options, line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let lock = Lock { packages: plan.link.clone(), pip: plan.pip.link.clone(), ..lock };
    fetch::lock_into_cache(lock, options, context)?;
    if line.has("--json") {
        context
            .ui
            .json(&json!({ "success": true, "message": "The packages are in the cache; nothing is installed." }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses to change an environment that is marked as frozen (CEP 22).
pub(crate) fn check_frozen(prefix: &Prefix, line: &Line) -> Result<(), CliError> {
    let file = prefix.path().join("conda-meta/frozen");
    if line.has("--override-frozen") || !file.is_file() {
        return Ok(());
    }
    let text = mlconda::files::read_to_string(&file, mlconda::files::LARGEST_TEXT)?;
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let why = said["message"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("`{}` is marked as frozen{why}", prefix.path().display());
    Err(CliError::world(message, "`--override-frozen` changes it all the same"))
}

/// Removes an environment with all its files.
pub(crate) fn remove_prefix(prefix: &Prefix) -> Result<(), CliError> {
    Ok(mlconda::install::remove(prefix)?)
}

/// The records of the packages that are not in the cache.
fn records_to_fetch(plan: &Plan, options: &Options) -> Vec<Value> {
    let is_missing = |package: &&LockedPackage| !options.cache.as_ref().is_some_and(|cache| is_cached(cache, package));
    plan.link.iter().filter(is_missing).map(record).collect()
}

/// The record of a package to fetch, as in repodata.
fn record(package: &LockedPackage) -> Value {
    let url = network::redact(&package.url);
    let mut value = action(&url, package);
    if let (Some(value), Some(Value::Object(record))) =
        (value.as_object_mut(), package.record.as_ref().and_then(|record| serde_json::to_value(record).ok()))
    {
        value.extend(record);
    }
    value["build"] = json!(package.build);
    value["fn"] = json!(package.file_name);
    value["size"] = json!(package.size);
    value["subdir"] = json!(package.subdir.as_str());
    match package.digest {
        Digest::Sha256(hash) => value["sha256"] = json!(hex(&hash)),
        Digest::Md5(hash) => value["md5"] = json!(hex(&hash)),
        Digest::Unknown => {}
    }
    value["url"] = json!(url);
    value
}

/// The output of conda with `--json`. `fetch` has the records of packages that are, or were, not in the cache.
fn actions(plan: &Plan, fetch: Vec<Value>, prefix: &Prefix, dry: bool) -> Value {
    let link: Vec<Value> = plan.link.iter().map(|package| action(&network::redact(&package.url), package)).collect();
    let unlink = plan.unlink.iter().filter_map(|old| {
        let url = &old.repodata_record.url;
        Some(action(&network::redact(url), &LockedPackage::from_url(url.clone(), Digest::Unknown).ok()?))
    });
    let unlink: Vec<Value> = unlink.collect();
    let mut value = json!({ "success": true, "prefix": path_text(prefix.path()) });
    if dry {
        value["dry_run"] = json!(true);
    }
    if !link.is_empty() || !unlink.is_empty() {
        value["actions"] =
            json!({ "FETCH": fetch, "LINK": link, "UNLINK": unlink, "PREFIX": path_text(prefix.path()) });
    } else {
        value["message"] = json!("All requested packages already installed.");
    }
    value
}

fn action(url: &str, package: &LockedPackage) -> Value {
    let base = url.rsplitn(3, '/').nth(2).unwrap_or(url);
    let number = package.build.rsplit('_').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    json!({
        "base_url": base,
        "build_number": number,
        "build_string": package.build,
        "channel": crate::commands::list::channel_name(base),
        "dist_name": package.dist_name(),
        "name": package.name,
        "platform": package.subdir.as_str(),
        "version": package.version,
    })
}
