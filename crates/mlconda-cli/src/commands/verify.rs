//! `mlconda verify`: whether an environment is what its lock says.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use mlconda::{
    lock::{Expansion, Lock},
    prefix::Prefix,
    verify::{Finding, Kind, Report},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    progress::Display,
    report::CliError,
    settings::{Context, PrefixArgs},
    words::{bytes, count, enumerate, list},
};

/// Prove that an environment is what its lock says
///
/// Every package must be recorded, every file there with its hash, its kind and its permissions, and every
/// dependency met. The exit code is 0 if all of this holds, and 1 with a list on stdout if not. Files that belong
/// to no package are told of, and are no failure. Without a lock, the environment's own records are the measure.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The environment's prefix, the lock, or both; without a prefix, it is where `install` puts the lock, else the
    /// active environment, else the only one under the root prefix
    #[arg(value_name = "PREFIX|LOCK", num_args = 0..=2)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Tell what was found as JSON on stdout
    #[arg(long)]
    json: bool,
    /// How many threads read [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

const AFTER_HELP: &str = "\
Is the environment of this image the one of the lock?
  mlconda verify /opt/conda/envs/ml env.lock
Is all there that was installed?
  mlconda verify -n ml";

/// How many files that belong to no package are named.
const NAMED: usize = 10;

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let (prefix, lock) = places(&args, context)?;
    let proof = Proof::of(&prefix, lock.as_ref(), args.threads, context)?;
    if args.json {
        context.ui.json(&proof.json())?;
    } else {
        context.ui.data(proof.lines())?;
    }
    proof.tell(context);
    Ok(if proof.report.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
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
    let expansion = Expansion { home: settings.home.clone(), variables: settings.variables.clone() };
    let lock = locks.first().map(|path| Lock::read(path, &expansion)).transpose()?;
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
    pub(crate) report: Report,
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
        let threads = threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
        let report = mlconda::verify::verify(prefix, lock, threads, &Display::new(&context.ui))?;
        Ok(Self { prefix: prefix.path(), report, seconds: start.elapsed().as_secs_f64() })
    }

    /// What is not as it should be, one a line.
    pub(crate) fn lines(&self) -> String {
        self.report.findings.iter().map(|finding| Row::new(finding).line()).collect()
    }

    /// All of it, for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Report { packages, files, bytes, findings, strangers, without_hash, without_digest, .. } = &self.report;
        let without_hash: serde_json::Map<_, _> =
            without_hash.iter().map(|(package, files)| (package.clone(), json!(files))).collect();
        json!({
            "prefix": self.prefix,
            "holds": self.report.holds(),
            "packages": packages,
            "files": files,
            "bytes": bytes,
            "findings": findings.iter().map(Row::new).collect::<Vec<_>>(),
            "strangers": {
                "files": strangers.others,
                "bytecode": strangers.bytecode,
                "pip": {"distributions": strangers.distributions, "files": strangers.pip},
            },
            "files_without_hash": without_hash,
            "packages_without_digest": without_digest,
            "seconds": self.seconds,
        })
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
        let mut of_nobody = Vec::new();
        let strangers = &report.strangers;
        if strangers.pip > 0 {
            let (files, by) = (count(strangers.pip, "file"), count(strangers.distributions, "distribution"));
            of_nobody.push(format!("{files} of {by} that pip installed"));
        }
        if strangers.bytecode > 0 {
            of_nobody.push(format!("{} of byte code", count(strangers.bytecode, "file")));
        }
        if !strangers.others.is_empty() {
            let named: Vec<_> = strangers.others.iter().take(NAMED).map(|path| path.display().to_string()).collect();
            let which = if named.len() == strangers.others.len() { "" } else { "such as " };
            of_nobody.push(format!("{} ({which}{})", count(strangers.others.len(), "other file"), list(&named)));
        }
        if !of_nobody.is_empty() {
            ui.say(&format!("Besides the packages there are {}.", enumerate(&of_nobody)));
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

/// A finding, in the same form whatever it is about.
#[derive(Default, Serialize)]
struct Row {
    kind: &'static str,
    #[serde(skip)]
    words: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
}

impl Row {
    fn new(finding: &Finding) -> Self {
        let row = |kind, words| Self { kind, words, ..Self::default() };
        let of = |kind, words, package: &String| Self { packages: vec![package.clone()], ..row(kind, words) };
        match finding.clone() {
            Finding::Interrupted { path } => {
                Self { path: Some(path), ..row("interrupted", "an installation was cut off, or is under way") }
            }
            Finding::NoHistory => {
                Self { path: Some("conda-meta/history".into()), ..row("no-history", "the history is missing") }
            }
            Finding::Record { path, reason } => {
                Self { path: Some(path), found: Some(reason), ..row("record", "the record cannot be read") }
            }
            Finding::Twice { package, other } => {
                Self { found: Some(other), ..of("twice", "another package of that name is recorded, too", &package) }
            }
            Finding::NotInstalled { package } => of("not-installed", "the lock has it, the environment not", &package),
            Finding::NotLocked { package } => of("not-locked", "the environment has it, the lock not", &package),
            Finding::OtherPackage { expected, found } => Self {
                expected: Some(expected.clone()),
                found: Some(found),
                ..of("other-package", "the environment has another version or build", &expected)
            },
            Finding::OtherArchive { package, expected, found } => Self {
                expected: Some(expected),
                found: Some(found),
                ..of("other-archive", "it is from another archive than the lock's", &package)
            },
            Finding::Variable { name, expected, found } => {
                Self { variable: Some(name), expected, found, ..row("variable", "the variable has another value") }
            }
            Finding::Dependency { package, expected, found } => {
                Self { expected: Some(expected), found, ..of("dependency", "a dependency is not met", &package) }
            }
            Finding::Constraint { package, expected, found } => Self {
                expected: Some(expected),
                found: Some(found),
                ..of("constraint", "it does not go together with a package that is there", &package)
            },
            of_path => Self::of_path(of_path),
        }
    }

    fn of_path(finding: Finding) -> Self {
        let row = |kind, words, path, packages| Self { kind, words, path: Some(path), packages, ..Self::default() };
        let (row, expected, found) = match finding {
            Finding::Missing { path, packages } => (row("missing", "it is missing", path, packages), None, None),
            Finding::OtherKind { path, packages, expected, found } => {
                let row = row("other-kind", "it is something else", path, packages);
                (row, Some(kind(expected).to_owned()), Some(kind(found).to_owned()))
            }
            Finding::Unreadable { path, packages, reason } => {
                (row("unreadable", "it cannot be read", path, packages), None, Some(reason))
            }
            Finding::Mode { path, packages, expected, found } => {
                let expected: Vec<String> = expected.iter().map(|mode| format!("{mode:04o}")).collect();
                let row = row("mode", "it has other permissions", path, packages);
                (row, Some(expected.join(" or ")), Some(format!("{found:04o}")))
            }
            Finding::Size { path, packages, expected, found } => {
                let row = row("size", "it has another size", path, packages);
                (row, Some(format!("{expected} bytes")), Some(format!("{found} bytes")))
            }
            Finding::Content { path, packages, expected, found } => {
                let row = row("content", "its content is another", path, packages);
                (row, Some(format!("sha256 {expected}")), Some(format!("sha256 {found}")))
            }
            Finding::OtherHolder { path, expected, found } => {
                let row = row("other-holder", "several packages hold it, and the wrong one's is there", path, vec![]);
                (row, Some(expected), Some(found))
            }
            _ => (Self { kind: "other", words: "something is wrong", ..Self::default() }, None, None),
        };
        Self { expected, found, ..row }
    }

    /// As a line of text.
    fn line(&self) -> String {
        let mut line = match (&self.path, &self.variable, self.packages.as_slice()) {
            (Some(path), _, []) => format!("`{}`", path.display()),
            (Some(path), _, packages) => format!("`{}` of {}", path.display(), list(packages)),
            (None, Some(variable), _) => format!("`{variable}`"),
            (None, None, packages) => list(packages),
        };
        line.push_str(": ");
        line.push_str(self.words);
        let told = [("expected", &self.expected), ("found", &self.found)];
        let told: Vec<String> =
            told.iter().filter_map(|(word, text)| Some(format!("{word} {}", text.as_ref()?))).collect();
        if !told.is_empty() {
            line.push_str(&format!("; {}", told.join(", ")));
        }
        line.push('\n');
        line
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Link => "a soft link",
        Kind::Directory => "a directory",
        Kind::Other => "a special file",
    }
}
