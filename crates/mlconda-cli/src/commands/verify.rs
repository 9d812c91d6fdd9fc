//! `mlconda verify`: whether an environment is what its lock says.

mod finding_row;
mod repair;

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use mlconda::{
    lock::Lock,
    prefix::Prefix,
    verify::{Finding, Verification},
};
use serde_json::json;

use self::{finding_row::FindingRow, repair::RepairArgs};
use crate::{
    context::Context,
    error::CliError,
    lock_selection::SelectionArgs,
    progress::Display,
    settings::PrefixArgs,
    text::{bytes, count, enumerate, list, path_text},
};

/// Prove that an environment is what its lock says
///
/// Every package must be recorded, every file there with its hash, its kind and its permissions, and every
/// dependency met. The exit code is 0 if all of this holds, and 1 with a list on stdout if not. Files that belong
/// to no package are told of, and are no failure. Without a lock, the environment's own records are the measure.
/// `--repair` links the packages anew that something was found of.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The environment's prefix, the lock, or both; without a prefix, it is where `install` puts the lock, else the
    /// active environment, else the only one under the root prefix
    #[arg(value_name = "PREFIX|LOCK", num_args = 0..=2)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Tell what was found as JSON on stdout
    #[arg(long)]
    json: bool,
    /// How many threads read [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    #[command(flatten)]
    repair: RepairArgs,
}

const AFTER_HELP: &str = "\
Is the environment of this image the one of the lock?
  mlconda verify /opt/conda/envs/ml env.lock
Is all there that was installed?
  mlconda verify -n ml
Make it so:
  mlconda verify -n ml --repair

With --json, stdout is one object:
  prefix, holds (true or false), packages, files, bytes (read), seconds
  findings                 objects with `kind` and, as far as they apply, `path` (in the prefix), `packages`,
                           `variable`, `expected` and `found`, all of them text, `packages` a list of it
  strangers                what belongs to no package: `files`, a list (directories if empty); `bytecode`, how many files python wrote;
                           `pip`, how many `distributions` and `files`
  files_without_hash       how many files of which package can only be seen to be there
  packages_without_digest  packages whose record cannot be compared with the lock's hash
  repaired                 with --repair, if something was found: what `install --json` tells; the rest is what was
                           found afterwards
The kinds: interrupted, no-history, record, moved, twice, not-installed, not-locked, other-package, other-archive,
variable, dependency, constraint, missing, other-kind, unreadable, mode, target, size, content, other-holder. There
may be more in time.";

/// How many files that belong to no package are named.
const NAMED: usize = 10;

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let (prefix, lock) = places(&args, context)?;
    if args.repair.repair {
        mlconda::install::recover(&prefix)?;
    }
    let mut proof = Proof::of(&prefix, lock.as_ref(), args.threads, context)?;
    let mut json = serde_json::Value::Null;
    if args.repair.repair && !proof.report.is_ok() {
        proof.lines().lines().for_each(|line| context.ui.say(&format!("Found: {line}")));
        let done = repair::repair((&prefix, lock.as_ref()), &proof.report, &args.repair, args.threads, context)?;
        proof = Proof::of(&prefix, lock.as_ref(), args.threads, context)?;
        json = done;
    }
    if args.json {
        let mut all = proof.json();
        if !json.is_null() {
            all["repaired"] = json;
        }
        context.ui.json(&all)?;
    } else {
        context.ui.text(&proof.lines())?;
    }
    proof.tell(context);
    if !args.repair.repair {
        let is_lock = |path: &&PathBuf| !context.settings.absolute(path).is_dir();
        proof.tell_remedy(args.places.iter().find(is_lock).map(PathBuf::as_path), context);
    }
    Ok(if proof.report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What was typed: a directory is a prefix, a file is a lock.
fn places(args: &Args, context: &Context) -> Result<(Prefix, Option<Lock>), CliError> {
    let settings = &context.settings;
    let paths: Vec<PathBuf> = args.places.iter().map(|path| settings.absolute(path)).collect();
    let typed = args.prefix.typed(settings)?;
    let (prefixes, locks): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| path.is_dir());
    if let Some(missing) = locks.iter().find(|path| !path.exists()) {
        let message = format!("there is neither an environment nor a lock at `{}`", missing.display());
        return Err(CliError::world(message, "name the prefix of an environment, a lock, or both"));
    }
    if prefixes.len() + usize::from(typed.is_some()) > 1 || locks.len() > 1 {
        return Err(CliError::Usage("one prefix and one lock can be compared, not several".to_owned()));
    }
    let lock = locks.first().map(|path| args.selection.of_this_machine(path, context)).transpose()?;
    let named = lock.as_ref().and_then(|lock| lock.name.as_deref()).map(|name| settings.named_prefix(name));
    let prefix = match (prefixes.first(), typed, named.filter(|path| path.is_dir())) {
        (Some(path), _, _) => Prefix::open(*path)?,
        // An environment by name may be root's, while what is damaged is to be found where it should be.
        (None, Some(prefix), _) if prefix.path().join("conda-meta").is_dir() => prefix,
        (None, None, Some(path)) => Prefix::open(path)?,
        (None, _, _) => args.prefix.existing(settings)?,
    };
    if prefix.path().join("conda-meta").is_dir() {
        return Ok((prefix, lock));
    }
    let message = format!("there is no environment in `{}`", prefix.path().display());
    Err(CliError::world(message, "install one there with `mlconda install`"))
}

/// What was found, and how long it took.
pub(crate) struct Proof<'a> {
    prefix: &'a Path,
    pub(crate) report: Verification,
    seconds: f64,
}

impl<'a> Proof<'a> {
    /// Looks at a prefix.
    pub(crate) fn of(
        prefix: &'a Prefix,
        lock: Option<&Lock>,
        threads: Option<NonZero<usize>>,
        context: &Context,
    ) -> Result<Self, CliError> {
        let start = Instant::now();
        let threads = threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
        let display = Display::new(&context.ui);
        let report = mlconda::verify::verify(prefix, lock, threads, &display)?;
        Ok(Self { prefix: prefix.path(), report, seconds: start.elapsed().as_secs_f64() })
    }

    /// What is not as it should be, one a line.
    pub(crate) fn lines(&self) -> String {
        self.report.findings.iter().map(|finding| FindingRow::new(finding).line()).collect()
    }

    /// All of it, for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Verification { packages, files, bytes, findings, untracked, without_hash, without_digest, .. } =
            &self.report;
        let without_hash: serde_json::Map<_, _> =
            without_hash.iter().map(|(package, files)| (package.clone(), json!(files))).collect();
        json!({
            "prefix": path_text(self.prefix),
            "holds": self.report.is_ok(),
            "packages": packages,
            "files": files,
            "bytes": bytes,
            "findings": findings.iter().map(FindingRow::new).collect::<Vec<_>>(),
            "strangers": {
                "files": untracked.others.iter().map(|path| path_text(path)).collect::<Vec<_>>(),
                "bytecode": untracked.bytecode,
                "pip": {"distributions": untracked.distributions, "files": untracked.pip},
            },
            "files_without_hash": without_hash,
            "packages_without_digest": without_digest,
            "seconds": self.seconds,
        })
    }

    /// Says which command mends what was found, with the lock that it was compared with.
    pub(crate) fn tell_remedy(&self, lock: Option<&Path>, context: &Context) {
        let findings = &self.report.findings;
        // Packages that are as they should be and do not go together are a matter of the lock.
        let is_open = |finding: &Finding| matches!(finding, Finding::Dependency { .. } | Finding::Constraint { .. });
        if findings.iter().all(is_open) {
            return;
        }
        let needs_lock =
            findings.iter().any(|it| matches!(it, Finding::Record { .. } | Finding::DuplicateRecord { .. }));
        let lock = match lock {
            Some(lock) => format!(" {}", lock.display()),
            None if needs_lock => " LOCK".to_owned(),
            None => String::new(),
        };
        let place = self.prefix.display();
        context.ui.hint(&format!("`mlconda verify {place}{lock} --repair` mends that"));
    }

    /// Says what it came to.
    pub(crate) fn tell(&self, context: &Context) {
        let (ui, report) = (&context.ui, &self.report);
        if !report.without_digest.is_empty() {
            ui.warn(&format!("the records have no hash to compare for {}", list(&report.without_digest)));
        }
        let unhashed: usize = report.without_hash.iter().map(|(_, files)| files).sum();
        if unhashed > 0 {
            let (files, packages) = (count(unhashed, "file"), count(report.without_hash.len(), "package"));
            ui.warn(&format!("the records have no hash for {files} of {packages}"));
        }
        let mut untracked_text = Vec::new();
        let untracked = &report.untracked;
        if untracked.pip > 0 {
            let (files, by) = (count(untracked.pip, "file"), count(untracked.distributions, "distribution"));
            untracked_text.push(format!("{files} of {by} that pip installed"));
        }
        if untracked.bytecode > 0 {
            untracked_text.push(format!("{} of byte code", count(untracked.bytecode, "file")));
        }
        if !untracked.others.is_empty() {
            let named: Vec<_> = untracked.others.iter().take(NAMED).map(|path| path.display().to_string()).collect();
            let which = if named.len() == untracked.others.len() { "" } else { "such as " };
            let noun = if untracked_text.is_empty() { "file" } else { "other file" };
            untracked_text.push(format!("{} ({which}{})", count(untracked.others.len(), noun), list(&named)));
        }
        if !untracked_text.is_empty() {
            ui.say(&format!("Of no package: {}.", enumerate(&untracked_text)));
        }
        let looked = format!(
            "{}, {}, {}, in {:.1} s",
            count(report.packages, "package"),
            count(report.files, "file"),
            bytes(report.bytes),
            self.seconds
        );
        let place = self.prefix.display();
        ui.say(&match report.findings.len() {
            0 => format!("`{place}` is as it should be: {looked}."),
            wrong => format!("`{place}` is not as it should be: {} in {looked}.", count(wrong, "finding")),
        });
    }
}
