//! `mlconda verify`: compares an environment with its lock.

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
    settings::{PrefixArgs, no_environment},
    text::{bytes, count, enumerate, list, path_text, path_word},
};

/// Check every file of an environment against its lock
///
/// Every package must be recorded, every file must exist with its hash, type and permissions, and every dependency must
/// be met. The exit code is 0 if all of this is true; otherwise it is 1, and stdout lists the findings. Untracked files,
/// which belong to no package, are reported and are not a failure. Without a lock, the environment is compared with its
/// own records. `--repair` links the packages with findings again.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The prefix of the environment, the lock, or both [default prefix: the one that `install` gives the lock, else the
    /// active environment, else the only one under the root prefix]
    #[arg(value_name = "PREFIX|LOCK", num_args = 0..=2)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print the findings as JSON on stdout
    #[arg(long, help_heading = None::<&str>)]
    json: bool,
    /// The number of threads that read [default: one per core]
    #[arg(long, value_name = "N", help_heading = None::<&str>)]
    threads: Option<NonZero<usize>>,
    #[command(flatten)]
    repair: RepairArgs,
}

const AFTER_HELP: &str = "\
Does the environment of this image match the lock?
  mlconda verify /opt/conda/envs/ml env.lock
Are all installed files unchanged?
  mlconda verify -n ml
Repair it:
  mlconda verify -n ml --repair

With --json, stdout is one object:
  prefix, holds (true or false), packages, files, bytes (read), seconds
  findings                 objects with `kind` and, as far as they apply, `path` (in the prefix), `packages` (a
                           list), `variable`, `expected` and `found`
  strangers                untracked files: `files`, a list (also empty directories); `bytecode`, the number of
                           files that python wrote; `pip`, the numbers of `distributions` and `files`
  files_without_hash       by package, the number of files whose content cannot be checked
  packages_without_digest  packages whose record cannot be compared with the lock's hash
  repaired                 with --repair, if there were findings: the fields of `install --json`; the other fields
                           are those after the repair
The values of `kind`: interrupted, no-history, record, moved, twice, not-installed, not-locked, other-package, other-archive,
variable, dependency, constraint, missing, other-kind, unreadable, mode, target, size, content, other-holder. Later
versions can have more.";

/// The number of untracked files that are named.
const NAMED: usize = 10;

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let (prefix, lock) = places(&args, context)?;
    let is_lock = |path: &&PathBuf| !context.settings.absolute(path).is_dir();
    let locks: Vec<PathBuf> = args.places.iter().filter(is_lock).cloned().collect();
    if args.repair.repair {
        mlconda::install::recover(&prefix)?;
    }
    let mut proof = Proof::of(&prefix, lock.as_ref(), args.threads, context)?;
    let mut json = serde_json::Value::Null;
    if args.repair.repair && !proof.report.is_ok() {
        proof.lines().lines().for_each(|line| context.ui.say(&format!("Found: {line}")));
        let done =
            repair::repair((&prefix, lock.as_ref()), &locks, &proof.report, &args.repair, args.threads, context)?;
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
        proof.tell_remedy(locks.first().map(PathBuf::as_path), context);
    }
    Ok(if proof.report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The prefix and the lock that were given: a directory is a prefix, a file is a lock.
fn places(args: &Args, context: &Context) -> Result<(Prefix, Option<Lock>), CliError> {
    let settings = &context.settings;
    let paths: Vec<PathBuf> = args.places.iter().map(|path| settings.input(path)).collect();
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
        // `existing` may find an environment of this name that root has installed, and rejects a damaged one. So the
        // given directory is tried first.
        (None, Some(prefix), _) if prefix.path().join("conda-meta").is_dir() => prefix,
        (None, None, Some(path)) => Prefix::open(path)?,
        (None, _, _) => args.prefix.existing(settings)?,
    };
    if prefix.path().join("conda-meta").is_dir() {
        return Ok((prefix, lock));
    }
    Err(no_environment(&prefix, "", "install one there with `mlconda install`"))
}

/// The result of a verification, and how long it took.
pub(crate) struct Proof<'a> {
    prefix: &'a Path,
    pub(crate) report: Verification,
    seconds: f64,
}

impl<'a> Proof<'a> {
    /// Verifies a prefix.
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

    /// The findings, one per line.
    pub(crate) fn lines(&self) -> String {
        self.report.findings.iter().map(|finding| FindingRow::new(finding).line()).collect()
    }

    /// The result for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Verification {
            packages, files, bytes, findings, untracked, without_hash, without_digest, left_out, ..
        } = &self.report;
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
            "left_out": left_out.iter().map(|(part, (files, bytes))| {
                (part.clone(), json!({"files": files, "bytes": bytes}))
            }).collect::<serde_json::Map<_, _>>(),
            "seconds": self.seconds,
        })
    }

    /// Prints the command that repairs the findings.
    pub(crate) fn tell_remedy(&self, lock: Option<&Path>, context: &Context) {
        let findings = &self.report.findings;
        // A repair cannot change which packages the lock has.
        let is_open = |finding: &Finding| matches!(finding, Finding::Dependency { .. } | Finding::Constraint { .. });
        if findings.iter().all(is_open) {
            return;
        }
        let needs_lock =
            findings.iter().any(|it| matches!(it, Finding::Record { .. } | Finding::DuplicateRecord { .. }));
        let lock = match lock {
            Some(lock) => format!(" {}", path_word(lock)),
            None if needs_lock => " LOCK".to_owned(),
            None => String::new(),
        };
        let place = path_word(self.prefix);
        context.ui.hint(&format!("`mlconda verify {place}{lock} --repair` repairs it"));
    }

    /// Prints the summary.
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
            ui.say(&format!("Untracked: {}.", enumerate(&untracked_text)));
        }
        if !report.left_out.is_empty() {
            let part = |(part, (_, size)): (&String, &(u64, u64))| format!("{part} {}", bytes(*size));
            let parts: Vec<String> = report.left_out.iter().map(part).collect();
            ui.say(&format!("Left out on purpose: {}.", parts.join(", ")));
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
            0 => format!("`{place}` is intact: {looked}."),
            wrong => format!("`{place}` is not intact: {} in {looked}.", count(wrong, "finding")),
        });
    }
}
