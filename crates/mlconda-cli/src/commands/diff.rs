//! `mlconda diff`: compares locks, prefixes and environments.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    Subdir,
    environment::Environment,
    lock::{Lock, LockFile, LockKind, Mismatch, SourcePackages, diff::Diff, kind_of},
};
use serde_json::{Value, json};

use crate::{
    bundles,
    by_pip::{self, Purpose},
    context::Context,
    error::CliError,
    lock_diff::{self, Reasons},
    lock_or_prefix,
    lock_selection::{self, SelectionArgs},
    locking::{self, LockingArgs},
    settings::PrefixArgs,
    text::count,
};

/// Show what differs between two locks, prefixes or environments
///
/// Each side is a lock of any kind, a prefix (its directory), or an environment.yml; the content of the file decides. Two
/// locks or prefixes are compared package by package, two environments by their specs. For a lock and an environment, the
/// unmet specs are listed, as with `lock --check`. Nothing is solved, and the network is not used.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The old lock, prefix or environment
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The new lock, prefix or environment
    #[arg(value_name = "NEW", required_unless_present_any = ["textconv", "prefix", "name"])]
    new: Option<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Compare the locks for this platform only [default: all platforms that both sides have]
    #[arg(long, value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platform: Option<Subdir>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print the differences as JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the differences as a Markdown table, for a comment on a pull request
    #[arg(long)]
    markdown: bool,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
    /// Print one lock with one package per line, for `git diff`
    #[arg(long, conflicts_with_all = ["new", "prefix", "name", "json", "markdown", "exit_code"])]
    textconv: bool,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda diff old.lock env.lock
  mlconda diff <(git show main:env.lock) env.lock --markdown     for a pull request
  mlconda diff env.lock /opt/conda/envs/ml                       compares the prefix with the lock; `-n ml` too
  mlconda diff environment.yml env.lock --exit-code              1 if the lock is out of date
To show locks like this in `git diff` and `git log -p`:
  git config diff.mlconda.textconv 'mlconda diff --textconv'
  echo '*.lock diff=mlconda' >> .gitattributes

With --json, stdout is one object: `old` and `new` as typed, `differs`, and either `platforms`, a list of objects with
`platform`, `changes`, `settings`, `unchanged`, `old_size` and `new_size` (bytes of what differs; null if not known), or
`unmet`, a list of texts. A change has `name`, `manager` (conda, pip), `kind` (added, removed, upgraded, downgraded,
changed, build, channel, hash), and `old` and `new`, each null or with `version`, `build`, `channel`, `hash`, `size`.";

/// One side of the comparison.
enum Side {
    Locks(LockFile),
    Environment(Box<Environment>),
}

/// The result of the comparison.
enum Outcome {
    /// One diff per platform; `None` is the only platform of each side.
    Diffs(Vec<(Option<Subdir>, Diff)>),
    Mismatch(Vec<Mismatch>),
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let old = read(&args.old, context)?;
    let named = args.prefix.prefix.is_some() || args.prefix.name.is_some();
    if named && args.new.is_some() {
        return Err(CliError::Usage("give NEW, or an environment with -p or -n, not both".to_owned()));
    }
    let prefix = if named { Some(args.prefix.existing(&context.settings)?.path().to_owned()) } else { None };
    let Some(new) = args.new.as_ref().or(prefix.as_ref()) else { return textconv(&old, &args, context) };
    let outcome = match (&old, &read(new, context)?) {
        (Side::Locks(old), Side::Locks(new)) => Outcome::Diffs(locks(old, new, &args, context)?),
        (Side::Environment(old), Side::Environment(new)) => {
            Outcome::Diffs(vec![(None, Diff::between_environments(old, new))])
        }
        (Side::Locks(locks), Side::Environment(environment)) | (Side::Environment(environment), Side::Locks(locks)) => {
            let chosen = platforms(&[locks], &args, context);
            let unmet = chosen.into_iter().map(|platform| Ok(select(locks, platform, &args)?.check(environment)));
            let mut unmet: Vec<Mismatch> = unmet.collect::<Result<Vec<_>, CliError>>()?.into_iter().flatten().collect();
            unmet.dedup();
            Outcome::Mismatch(unmet)
        }
    };
    let differs = match &outcome {
        Outcome::Diffs(diffs) => diffs.iter().any(|(_, diff)| !diff.is_empty()),
        Outcome::Mismatch(unmet) => !unmet.is_empty(),
    };
    if args.json {
        context.ui.json(&to_json(&outcome, differs, &args.old, new))?;
    } else {
        context.ui.changes(&words(&outcome, &args))?;
    }
    Ok(if args.exit_code && differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Reads one side. A file is an environment if its content is not a lock and it has the extension of an environment.
fn read(path: &Path, context: &Context) -> Result<Side, CliError> {
    let settings = &context.settings;
    let expansion = settings.expansion();
    let absolute = settings.input(path);
    if absolute.is_dir() || bundles::is_bundle(&absolute, context)? {
        let locks = lock_selection::read_quietly(&absolute, context)?;
        if locks.kind == LockKind::Prefix {
            by_pip::warn_of_path(&absolute, Purpose::Comparison, context)?;
        }
        return Ok(Side::Locks(locks));
    }
    // A pipe can be read only once.
    let read = mlconda::files::read_any(&absolute, mlconda::files::LARGEST_LOCK);
    let otherwise = "name a lock, the prefix of an environment, or an environment.yml";
    let bytes = read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => lock_or_prefix::not_there(path, &absolute, otherwise),
        _ => error.into(),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let is_environment = path.extension().is_some_and(|kind| kind == "yml" || kind == "yaml");
    if kind_of(&text).is_none() && is_environment {
        let environment = locking::read(&[path.to_owned()], &LockingArgs::default(), context)?;
        return Ok(Side::Environment(Box::new(environment)));
    }
    Ok(Side::Locks(LockFile::parse(&text, &absolute, &expansion)?))
}

fn select(locks: &LockFile, platform: Option<Subdir>, args: &Args) -> Result<Lock, CliError> {
    Ok(locks.select(&args.selection.selection(platform, SourcePackages::LeaveOut))?)
}

/// The platforms that all files have; `None` is the only platform of each.
fn platforms(files: &[&LockFile], args: &Args, context: &Context) -> Vec<Option<Subdir>> {
    if args.platform.is_some() || files.iter().all(|file| file.platforms().len() < 2) {
        return vec![args.platform];
    }
    let has = |file: &LockFile, platform: &Subdir| {
        file.platforms().contains(platform) || file.platforms() == [Subdir::NoArch]
    };
    let mut all: Vec<Subdir> = Vec::new();
    for platform in files.iter().flat_map(|file| file.platforms()) {
        if !all.contains(&platform) && platform != Subdir::NoArch {
            all.push(platform);
        }
    }
    let (common, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|platform| files.iter().all(|file| has(file, platform)));
    for platform in others {
        let file = files.iter().find(|file| has(file, &platform)).map(|file| file.file.display().to_string());
        context.ui.warn(&format!("only `{}` has a lock for {platform}", file.unwrap_or_default()));
    }
    common.into_iter().map(Some).collect()
}

fn locks(
    old: &LockFile,
    new: &LockFile,
    args: &Args,
    context: &Context,
) -> Result<Vec<(Option<Subdir>, Diff)>, CliError> {
    let compare =
        |platform| Ok((platform, Diff::between(&select(old, platform, args)?, &select(new, platform, args)?)));
    platforms(&[old, new], args, context).into_iter().map(compare).collect()
}

fn words(outcome: &Outcome, args: &Args) -> String {
    let mut text = String::new();
    match outcome {
        Outcome::Mismatch(unmet) => {
            let mark = if args.markdown { "- " } else { "" };
            unmet.iter().for_each(|unmet| text.push_str(&format!("{mark}{unmet}\n")));
            let summary = match unmet.len() {
                0 => "The lock satisfies the environment.".to_owned(),
                number => format!("The lock does not satisfy the environment: {}.", count(number, "reason")),
            };
            text.push_str(&format!("{}{summary}\n", if args.markdown && !unmet.is_empty() { "\n" } else { "" }));
        }
        Outcome::Diffs(diffs) => {
            for (platform, diff) in diffs {
                let heading = if args.markdown { "### " } else { "" };
                let separator = if text.is_empty() { "" } else { "\n" };
                if let Some(platform) = platform.filter(|_| diffs.len() > 1) {
                    text.push_str(&format!("{separator}{heading}{platform}\n\n"));
                }
                if args.markdown {
                    text.push_str(&lock_diff::markdown(diff));
                } else {
                    lock_diff::lines(diff, &Reasons::new()).iter().for_each(|line| text.push_str(&format!("{line}\n")));
                    text.push_str(&format!("{}\n", lock_diff::summary(diff)));
                }
            }
        }
    }
    text
}

fn to_json(outcome: &Outcome, differs: bool, old: &Path, new: &Path) -> Value {
    let mut value = json!({"old": old, "new": new, "differs": differs});
    match outcome {
        Outcome::Mismatch(unmet) => value["unmet"] = unmet.iter().map(ToString::to_string).collect(),
        Outcome::Diffs(diffs) => {
            let one = |(platform, diff): &(Option<Subdir>, Diff)| {
                let mut one = lock_diff::to_json(diff, &Reasons::new());
                one["platform"] = platform.map(|platform| platform.as_str()).into();
                one
            };
            value["platforms"] = diffs.iter().map(one).collect();
        }
    }
    value
}

/// A lock as lines for `git diff`: its settings, then its packages by name.
fn textconv(side: &Side, args: &Args, context: &Context) -> Result<ExitCode, CliError> {
    let Side::Locks(file) = side else {
        return Err(CliError::Usage("`--textconv` is for locks: git shows an environment.yml as it is".to_owned()));
    };
    let mut text = String::new();
    for platform in platforms(&[file], args, context) {
        let lock = select(file, platform, args)?;
        let nothing = Lock { packages: Vec::new(), pip: Vec::new(), ..lock.clone() };
        text.push_str(&format!("platform {}\n", lock.platform));
        lock.specs.iter().for_each(|spec| text.push_str(&format!("spec {spec}\n")));
        for change in Diff::between(&nothing, &lock).changes {
            let Some(pinned) = change.new else { continue };
            let build = pinned.build.unwrap_or_default();
            let version = pinned.version.unwrap_or_default();
            text.push_str(format!("{} {version} {build} {}", change.name, pinned.channel).trim_end());
            text.push('\n');
        }
    }
    context.ui.text(&text)?;
    Ok(ExitCode::SUCCESS)
}
