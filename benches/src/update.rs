//! Measures how fast mlconda changes an existing environment, against rattler and conda, as ratios from one run.
//!
//! Every run begins with a copy of the same prefix, already written to the disk. *Removed* installs a lock with few of
//! its packages, so most of the time is spent on removing the others. *Anew* links every package again. mlconda either
//! swaps the prefix for a twin, or changes it in place; for the latter, the prefix has a directory `envs`, as a root
//! prefix has.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own command line and environment")]

mod bare;
mod client;
mod graveyard;
mod load;
mod measure;

use std::{
    collections::BTreeSet,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    graveyard::Graveyard,
    load::Load,
    measure::{Measured, median, run},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo bench-update CHANNEL [--runs N] [--busy] [--mlconda PROGRAM] [--conda PROGRAM] [SPEC…]

CHANNEL    a directory with a channel of true packages
SPEC       what the environment has [default: python=3.11 numpy scipy pandas scikit-learn matplotlib jupyterlab];
           the first two stay
--busy     processors and disk have other work meanwhile
PROGRAM    the static program [default: that of `cargo static`]; conda [default: it is left out]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        // The benchmark runs itself as rattler's contender, so that it is measured like the others.
        Some("--bare") => bare::install(&arguments[1..]),
        None | Some("-h" | "--help") => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
        Some(_) => Plan::read(&arguments).and_then(|plan| plan.carry_out()),
    };
    measure::exit_code(outcome)
}

/// The contenders, in the order of their turns.
const CONTENDERS: [&str; 4] = ["rattler", "conda", "mlconda, swapped", "mlconda, in place"];

/// The other contenders compile no byte code.
const INSTALL: [&str; 2] = ["install", "--no-compile-bytecode"];

/// The change of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Most packages are removed, and none is added.
    Removed,
    /// All packages are linked again.
    Anew,
}

/// The command line.
struct Plan {
    channel: PathBuf,
    specs: Vec<String>,
    runs: usize,
    is_busy: bool,
    mlconda: PathBuf,
    conda: Option<PathBuf>,
}

/// The paths of a benchmark.
struct Place<'a> {
    scratch: &'a Path,
    /// The prefix that is copied before every run.
    template: PathBuf,
    prefix: PathBuf,
    /// The lock of the environment, and the one with few packages.
    locks: [PathBuf; 2],
    /// The records of both locks.
    records: [PathBuf; 2],
    graveyard: Graveyard,
}

impl Plan {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut rest = arguments.iter();
        let channel = std::path::absolute(rest.next().ok_or(USAGE)?)?;
        let (mut specs, mut runs, mut is_busy, mut mlconda, mut conda) = (Vec::new(), 3, false, None, None);
        while let Some(argument) = rest.next() {
            let mut program = || -> Outcome<PathBuf> { Ok(std::path::absolute(rest.next().ok_or(USAGE)?)?) };
            match argument.as_str() {
                "--runs" => runs = rest.next().ok_or(USAGE)?.parse()?,
                "--busy" => is_busy = true,
                "--mlconda" => mlconda = Some(program()?),
                "--conda" => conda = Some(program()?),
                spec => specs.push(spec.to_owned()),
            }
        }
        if specs.is_empty() {
            let usual = "python=3.11 numpy scipy pandas scikit-learn matplotlib jupyterlab";
            specs = usual.split(' ').map(str::to_owned).collect();
        }
        let mlconda = mlconda.map_or_else(measure::static_program, Ok)?;
        Ok(Self { channel, specs, runs, is_busy, mlconda, conda })
    }

    fn carry_out(&self) -> Outcome<()> {
        // On the same disk as the channel: a temporary directory may be in memory, and would give other results.
        let parent = self.channel.parent().unwrap_or(Path::new("/"));
        let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
        let scratch = scratch.path();
        let locks =
            [self.lock(scratch, "all", &self.specs)?, self.lock(scratch, "few", self.specs.get(..2).ok_or(USAGE)?)?];
        let (template, prefix, graveyard) = (scratch.join("template"), scratch.join("prefix"), Graveyard::new(scratch));
        let records = [scratch.join("records-all"), scratch.join("records-few")];
        for (lock, records) in locks.iter().zip(&records).rev() {
            graveyard.bury(&prefix)?;
            run(self.mlconda(scratch).args(INSTALL).arg(lock).arg("-p").arg(&prefix), scratch)?;
            succeed(Command::new("cp").arg("-a").arg(prefix.join("conda-meta")).arg(records))?;
        }
        fs_err::rename(&prefix, &template)?;
        let place = Place { scratch, template, prefix, locks, records, graveyard };
        let (all, gone) = (dist_names(&place.locks[0])?, place.gone()?);
        println!(
            "{} packages, of which {} are removed{}\n",
            all.len(),
            gone.len(),
            if self.is_busy { "; busy" } else { "" }
        );
        println!("| change | contender | wall | ÷ rattler | ÷ conda | user s | system s | peak MB |");
        println!("|---|---|---|---|---|---|---|---|");
        let load = if self.is_busy { Some(Load::begin(scratch)?) } else { None };
        for change in [Change::Removed, Change::Anew] {
            print!("{}", render(change, &self.contend(change, &place)?));
        }
        drop(load);
        Ok(())
    }

    /// Locks specs on the channel.
    fn lock(&self, scratch: &Path, name: &str, specs: &[String]) -> Outcome<PathBuf> {
        let (file, lock) = (scratch.join(format!("{name}.yml")), scratch.join(format!("{name}.lock")));
        let specs: String = specs.iter().map(|spec| format!("  - \"{spec}\"\n")).collect();
        let channel = format!("file://{}", self.channel.display());
        fs_err::write(&file, format!("name: bench\nchannels: [\"{channel}\"]\ndependencies:\n{specs}"))?;
        succeed(self.mlconda(scratch).arg("lock").arg(&file).arg("-o").arg(&lock))?;
        Ok(lock)
    }

    /// A command without files or settings of the user.
    fn mlconda(&self, scratch: &Path) -> Command {
        let mut command = Command::new(&self.mlconda);
        command.env_clear().env("HOME", scratch.join("home")).env("PATH", "/usr/bin:/bin").arg("-q");
        command.env("MLCONDA_CACHE_DIR", scratch.join("warm/mlconda"));
        command
    }

    /// Runs all contenders with one change, in turns, so that a busy minute of the machine affects all of them.
    fn contend(&self, change: Change, place: &Place<'_>) -> Outcome<Vec<(&'static str, Measured)>> {
        let there = CONTENDERS.into_iter().filter(|name| *name != "conda" || self.conda.is_some());
        let mut rows: Vec<(&str, Vec<Measured>)> = there.map(|name| (name, Vec::new())).collect();
        // The first round does not count: it fills the caches.
        for round in 0..=self.runs {
            for (name, measured) in &mut rows {
                place.begin()?;
                if *name == "mlconda, in place" {
                    fs_err::create_dir(place.prefix.join("envs"))?;
                }
                let result = run(&mut self.command(name, change, place)?, place.scratch)?;
                if round > 0 {
                    measured.push(result);
                }
            }
        }
        Ok(rows.into_iter().map(|(name, measured)| (name, median(&measured))).collect())
    }

    /// The command of a contender.
    fn command(&self, name: &str, change: Change, place: &Place<'_>) -> Outcome<Command> {
        let (number, caches) = (usize::from(change == Change::Removed), place.scratch.join("warm"));
        if name == "rattler" {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--bare").arg(&place.records[number]).arg(&place.prefix).arg(caches.join("rattler"));
            command.args((change == Change::Anew).then_some("--reinstall"));
            return Ok(command);
        }
        if let Some(conda) = self.conda.as_ref().filter(|_| name == "conda") {
            let mut command = Command::new(conda);
            // For conda, an explicit lock lists packages to link; it cannot say that all other packages are to be
            // removed.
            match change {
                Change::Removed => {
                    command.args(["remove", "--force"]).args(place.gone()?.iter().map(|gone| name_of(gone)))
                }
                Change::Anew => command.args(["install", "--force-reinstall", "--file"]).arg(&place.locks[0]),
            };
            command.args(["-y", "-q", "-p"]).arg(&place.prefix).env("CONDA_PKGS_DIRS", caches.join("conda"));
            return Ok(command);
        }
        let mut command = self.mlconda(place.scratch);
        command.args(INSTALL).arg(&place.locks[number]).arg("-p").arg(&place.prefix);
        command.args((change == Change::Anew).then_some("--reinstall"));
        Ok(command)
    }
}

impl Place<'_> {
    /// Makes a fresh copy of the prefix and writes it to the disk, because files that were never written are removed
    /// faster.
    fn begin(&self) -> Outcome<()> {
        self.graveyard.bury(&self.prefix)?;
        succeed(Command::new("cp").args(["-a", "--reflink=never"]).arg(&self.template).arg(&self.prefix))?;
        succeed(Command::new("sync").arg("-f").arg(&self.prefix))
    }

    /// The packages that are in the first lock only.
    fn gone(&self) -> Outcome<Vec<String>> {
        let [all, few] = &self.locks;
        Ok(dist_names(all)?.difference(&dist_names(few)?).cloned().collect())
    }
}

fn succeed(command: &mut Command) -> Outcome<()> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(format!("failed: {command:?}").into()),
    }
}

/// The packages of a lock, as NAME-VERSION-BUILD.EXTENSION.
fn dist_names(lock: &Path) -> Outcome<BTreeSet<String>> {
    let text = fs_err::read_to_string(lock)?;
    let urls = text.lines().filter(|line| line.contains("://") && !line.starts_with('#'));
    Ok(urls.filter_map(|url| Some(url.split('#').next()?.rsplit('/').next()?.to_owned())).collect())
}

fn name_of(dist_name: &str) -> &str {
    dist_name.rsplitn(3, '-').last().unwrap_or(dist_name)
}

fn render(change: Change, rows: &[(&str, Measured)]) -> String {
    let what = format!("{change:?}").to_lowercase();
    let row = |(name, measured): &(&str, Measured)| {
        let ratio = |other: &str| {
            let other = rows.iter().find(|(name, _)| *name == other);
            other.map_or_else(String::new, |(_, other)| format!("{:.2}", measured.wall / other.wall))
        };
        let (Measured { wall, user, system, peak }, rattler, conda) = (measured, ratio("rattler"), ratio("conda"));
        format!("| {what} | {name} | {wall:.2} s | {rattler} | {conda} | {user:.2} | {system:.2} | {peak:.0} |\n")
    };
    rows.iter().map(row).collect()
}
