//! `mlconda install`

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use mlconda::{
    Subdir,
    host::Host,
    install::{Bytecode, Compiled, Meta, Options, OutwardLinks, Report, Scripts, Unmet},
    lock::{Digest, Expansion, Lock},
    network::Client,
    plan::Plan,
    prefix::Prefix,
};
use serde_json::json;

use super::verify::Proof;
use crate::{
    locking::{self, Cache, LockingArgs},
    progress::Display,
    report::CliError,
    settings::{Context, PrefixArgs},
    words::{bytes, count, list},
};

/// Install locks into prefixes
///
/// Every archive is checked against the lock before anything of it is written; the new environment is put
/// together aside and swapped in. Afterwards nothing is on disk that is not part of the prefix.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mlconda install env.lock                   into envs/NAME under the root prefix, NAME being the lock's
  mlconda install env.lock -p /opt/env       into this prefix
  mlconda install env.*.lock                 of locks for several platforms, the one for this machine
  mlconda install env.lock --verify          and prove that the environment is what the lock says
  mlconda install environment.yml            lock in memory, then install

With --progress json, stderr has one JSON object a line, typed by its field `event`:
  install-started    prefix, packages, bytes (to download; null if the lock does not say)
  downloaded         bytes (so far, also of packages that were here; less again if a download starts anew), at most
                     ten times a second
  package-installed  package
  retrying           package, reason
  bytecode-started   modules
  script             package
  message, warning   text
  error              text, hint (or null)
  finished           what --json tells of a prefix
  verify-started     files, bytes (to read, as far as is known), with --verify
  verified           what `verify --json` tells
Before these, of an environment.yml: repodata-started, repodata-finished, solve-started, solve-finished. There may
be more in time.

SOURCE_DATE_EPOCH, or else the build time of the environment's newest package, is the time of all that has none of its own:
directories, the history, and what scripts write. Files keep the time that their package gives them.

In a Dockerfile:
  COPY env.lock .
  RUN mlconda install env.lock
  ENV PATH=/opt/conda/envs/ml/bin:$PATH")]
pub(crate) struct Args {
    /// Lock files, or an environment.yml
    #[arg(required = true, value_name = "LOCK")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Tell what was done as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Install for this platform rather than this machine's; packages' scripts do not run then
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Subdir>,
    /// Run no post-link and pre-unlink scripts
    #[arg(long)]
    no_scripts: bool,
    /// How python is to see that a module of a noarch package has changed since it was compiled (PEP 552):
    /// `timestamp`, `checked-hash` or `unchecked-hash` [default: timestamp]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "timestamp")]
    #[arg(hide_possible_values = true, conflicts_with = "no_compile_bytecode")]
    compile_bytecode: Option<Invalidation>,
    /// Do not compile noarch packages' modules: a smaller prefix, but python compiles them whenever it cannot keep
    /// the result
    #[arg(long)]
    no_compile_bytecode: bool,
    /// Make packages' soft links that point out of the prefix, as those of drivers may
    #[arg(long)]
    allow_outward_links: bool,
    /// How many downloads run at once
    #[arg(long, value_name = "N", default_value = "8")]
    downloads: NonZero<usize>,
    /// How many threads unpack and write [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    #[command(flatten)]
    locking: LockingArgs,
    /// Read everything again at the end, and prove that the environment is what the lock says
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
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
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let host = Host::detect(Path::new("/"));
    let platform = args.platform.unwrap_or(host.platform);
    let locks = choose(read_all(&args, platform, context)?, platform)?;
    let typed = args.prefix.typed(&context.settings)?;
    let (mut reports, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for (file, lock) in &locks {
        let prefix = match (&typed, &lock.name) {
            (Some(_), _) if locks.len() > 1 => {
                let message = "several environments cannot go into one prefix: leave out -p and -n, or give one lock";
                return Err(CliError::Usage(message.to_owned()));
            }
            (Some(prefix), _) => prefix.clone(),
            (None, Some(name)) => Prefix::open(context.settings.named_prefix(name))?,
            (None, None) => {
                let message = format!("`{}` does not name its environment", file.display());
                return Err(CliError::world(message, "say where to install it, with -p DIR or -n NAME"));
            }
        };
        let mut report = install_one(lock, &prefix, &host, &args, context)?;
        if args.verify {
            let proof = Proof::of(&prefix, Some(lock), args.threads, context)?;
            proof.tell(context);
            let mut event = proof.json();
            event["event"] = json!("verified");
            context.ui.event(&event);
            if !proof.report.holds() {
                code = ExitCode::from(1);
            }
            if args.json {
                report["verified"] = proof.json();
            } else {
                context.ui.data(proof.lines())?;
            }
        }
        reports.push(report);
    }
    if args.json {
        context.ui.json(&reports)?;
    }
    Ok(code)
}

/// Reads what was typed: locks, and environments that are locked in memory.
fn read_all(args: &Args, platform: Subdir, context: &Context) -> Result<Vec<(PathBuf, Lock)>, CliError> {
    let settings = &context.settings;
    let expansion = Expansion { home: settings.home.clone(), variables: settings.variables.clone() };
    let mut locks = Vec::new();
    for file in &args.files {
        let path = settings.absolute(file);
        if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            let environment = locking::read(&path, &args.locking, context)?;
            let made = locking::lock(&environment, &[platform], &args.locking, Cache::IfPresent, context)?;
            locks.extend(made.into_iter().map(|lock| (file.clone(), lock)));
        } else {
            let lock = Lock::read(&path, &expansion)?;
            warn_of_weak_hashes(file, &lock, context);
            locks.push((file.clone(), lock));
        }
    }
    Ok(locks)
}

/// Locks of other tools may pin by md5, or by nothing: they install, and that is worth a word.
fn warn_of_weak_hashes(file: &Path, lock: &Lock, context: &Context) {
    let weak = lock.packages.iter().filter(|package| !matches!(package.digest, Digest::Sha256(_))).count();
    if weak > 0 {
        let weak = count(weak, "package");
        context.ui.warn(&format!("`{}` has no sha256 for {weak}; `mlconda lock` pins all by sha256", file.display()));
    }
}

/// Of locks for several platforms, those for this one.
fn choose(locks: Vec<(PathBuf, Lock)>, platform: Subdir) -> Result<Vec<(PathBuf, Lock)>, CliError> {
    let fits = |lock: &Lock| lock.platform == platform || lock.platform == Subdir::NoArch;
    let (chosen, others): (Vec<_>, Vec<_>) = locks.into_iter().partition(|(_, lock)| fits(lock));
    if let ([], [(file, lock), ..]) = (chosen.as_slice(), others.as_slice()) {
        let platforms: Vec<&str> = others.iter().map(|(_, lock)| lock.platform.as_str()).collect();
        let message = match others.len() {
            1 => format!("`{}` is a lock for {}, and this is {platform}", file.display(), lock.platform),
            _ => format!("the locks are for {}, and this is {platform}", list(&platforms)),
        };
        return Err(CliError::world(message, format!("make one with `mlconda lock --platform {platform}`")));
    }
    Ok(chosen)
}

fn install_one(
    lock: &Lock,
    prefix: &Prefix,
    host: &Host,
    args: &Args,
    context: &Context,
) -> Result<serde_json::Value, CliError> {
    let start = Instant::now();
    let plan = Plan::between(lock, prefix)?;
    if args.dry_run {
        return Ok(tell_plan(&plan, prefix, context));
    }
    // A foreign platform's programs do not run here, nor does this machine say what that one has.
    let native = lock.platform == host.platform || lock.platform == Subdir::NoArch;
    let scripts = if native && !args.no_scripts { Scripts::Run } else { Scripts::Skip };
    let options = Options {
        downloads: args.downloads,
        threads: args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN),
        time: context.settings.source_date_epoch()?,
        command: "mlconda install".to_owned(),
        scripts,
        script_variables: context.settings.script_variables(),
        bytecode: args.bytecode(),
        access: args.locking.access(),
        outward_links: if args.allow_outward_links { OutwardLinks::Keep } else { OutwardLinks::Refuse },
        cache: context.settings.cache_directory.clone().filter(|directory| directory.is_dir()),
        virtual_packages: if native { host.virtual_packages.clone() } else { Vec::new() },
    };
    let report = if plan.is_empty() {
        mlconda::install::tidy(prefix)?;
        Report { unchanged: plan.unchanged, ..Report::default() }
    } else {
        let display = Display::new(&context.ui);
        let client = Client::new(&context.settings.network_options())?;
        context.block_on_or_signal(mlconda::install::install(&plan, &client, prefix, &options, &display))??
    };
    tell_report(&report, prefix, start, context);
    let mut event = report_as_json(&report, prefix, start);
    event["event"] = json!("finished");
    context.ui.event(&event);
    event.as_object_mut().map(|fields| fields.remove("event"));
    Ok(event)
}

fn report_as_json(report: &Report, prefix: &Prefix, start: Instant) -> serde_json::Value {
    let Compiled { modules, failed, unable, .. } = &report.compiled;
    json!({
        "prefix": prefix.path(),
        "linked": report.linked,
        "unlinked": report.unlinked,
        "unchanged": report.unchanged,
        "files": report.files,
        "bytes": report.bytes,
        "clashes": report.clashes.iter().map(|clash| json!({"path": clash.path, "packages": clash.packages})).collect::<Vec<_>>(),
        "replaced": report.replaced,
        "messages": report.messages.iter().map(|(package, text)| json!({"package": package, "text": text})).collect::<Vec<_>>(),
        "compiled": modules,
        "not_compiled": failed.iter().map(|(path, reason)| json!({"path": path, "reason": reason})).collect::<Vec<_>>(),
        "no_compiler": unable,
        "seconds": start.elapsed().as_secs_f64(),
    })
}

fn tell_plan(plan: &Plan, prefix: &Prefix, context: &Context) -> serde_json::Value {
    let old: Vec<String> = plan
        .unlink
        .iter()
        .map(|record| &record.repodata_record.package_record)
        .map(|record| format!("{}-{}-{}", record.name.as_normalized(), record.version, record.build))
        .collect();
    let new: Vec<String> = plan.link.iter().map(mlconda::lock::LockedPackage::dist_name).collect();
    old.iter().for_each(|package| context.ui.say(&format!("- {package}")));
    new.iter().for_each(|package| context.ui.say(&format!("+ {package}")));
    let size = plan.download_size().map_or_else(String::new, |size| format!(" ({})", bytes(size)));
    context.ui.say(&format!(
        "Would link {}{size} and unlink {} in `{}`; {} would stay.",
        count(new.len(), "package"),
        old.len(),
        prefix.path().display(),
        plan.unchanged
    ));
    json!({"prefix": prefix.path(), "dry_run": true, "link": new, "unlink": old, "unchanged": plan.unchanged})
}

fn tell_compiled(compiled: &Compiled, context: &Context) {
    if let Some(reason) = &compiled.unable {
        context.ui.warn(&format!("modules are not compiled, for the environment's python does not run here: {reason}"));
    }
    // Templates are modules by their name only: that they do not compile is how it should be.
    if let [(path, reason), others @ ..] = compiled.failed.as_slice() {
        let path = path.display();
        context.ui.say(&match others.len() {
            0 => format!("`{path}` has no byte code: {reason}"),
            others => format!("{} have no byte code, `{path}` for one: {reason}", count(1 + others, "module")),
        });
    }
}

fn tell_report(report: &Report, prefix: &Prefix, start: Instant, context: &Context) {
    let ui = &context.ui;
    for clash in &report.clashes {
        let (path, winner) = (clash.path.display(), clash.packages.last().map_or("", String::as_str));
        ui.warn(&format!("{} hold `{path}`; the one of `{winner}` is there", list(&clash.packages)));
    }
    for path in &report.replaced {
        ui.warn(&format!("`{}` belonged to no package, and a package's file has replaced it", path.display()));
    }
    for unmet in &report.unmet {
        let Unmet { package, need, found } = unmet;
        ui.warn(&format!("`{package}` needs `{need}`, and this machine has {found}"));
    }
    tell_compiled(&report.compiled, context);
    for (package, text) in &report.messages {
        ui.say(&format!("`{package}` says: {}", text.trim()));
    }
    let place = prefix.path().display();
    if report.linked == 0 && report.unlinked == 0 {
        let packages = count(report.unchanged, "package");
        ui.say(&match report.meta {
            Meta::AsItWas => format!("`{place}` is up to date: {packages}."),
            Meta::Written => {
                format!("The variables of `{place}` are set anew; its packages are up to date: {packages}.")
            }
        });
        return;
    }
    let others = match (report.unlinked, report.unchanged) {
        (0, 0) => String::new(),
        (unlinked, unchanged) => format!(", unlinked {unlinked}, kept {unchanged}"),
    };
    ui.say(&format!(
        "Linked {} in `{place}`{others}: {}, {}, in {:.1} s.",
        count(report.linked, "package"),
        count(report.files, "file"),
        bytes(report.bytes),
        start.elapsed().as_secs_f64()
    ));
}
