//! Measures how fast mlconda installs, against plain tools and rattler, as ratios from one run.
//!
//! Every contender gets the same archives, from files and from a server on loopback that keeps connections alive, and a
//! fresh prefix. It runs as a process of its own under `time`, and the median counts. `benches/README.md` explains how
//! to read the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own command line and environment")]

mod bare;
mod calls;
mod client;
mod graveyard;
mod measure;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use mlconda_test::server::Server;

use crate::{
    graveyard::Graveyard,
    measure::{Measured, median, run},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The default number of runs of each contender.
const RUNS: usize = 5;

const USAGE: &str = "\
usage: cargo bench-install CHANNEL [--runs N] [--mlconda PROGRAM] [--before PROGRAM] [SPEC…]

CHANNEL    a directory with a channel of true packages
SPEC       what to install [default: python=3.11 numpy scipy pandas scikit-learn matplotlib jupyterlab]
PROGRAM    the static program [default: that of `cargo static`]
--before   an earlier program, which takes turns with it; other contenders are left out";

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

/// The command line.
struct Plan {
    channel: PathBuf,
    specs: Vec<String>,
    runs: usize,
    mlconda: PathBuf,
    before: Option<PathBuf>,
}

impl Plan {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut rest = arguments.iter();
        let channel = std::path::absolute(rest.next().ok_or(USAGE)?)?;
        let mut plan =
            Self { channel, specs: Vec::new(), runs: RUNS, mlconda: measure::static_program()?, before: None };
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--runs" => plan.runs = rest.next().ok_or(USAGE)?.parse()?,
                "--mlconda" => plan.mlconda = std::path::absolute(rest.next().ok_or(USAGE)?)?,
                "--before" => plan.before = Some(std::path::absolute(rest.next().ok_or(USAGE)?)?),
                spec => plan.specs.push(spec.to_owned()),
            }
        }
        if plan.specs.is_empty() {
            let usual = "python=3.11 numpy scipy pandas scikit-learn matplotlib jupyterlab";
            plan.specs = usual.split(' ').map(str::to_owned).collect();
        }
        Ok(plan)
    }

    fn carry_out(&self) -> Outcome<()> {
        // On the same disk as the channel: a temporary directory may be in memory, and would give other results.
        let parent = self.channel.parent().unwrap_or(Path::new("/"));
        let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
        let server = Server::serve(&self.channel)?;
        let files = self.lock(scratch.path(), "file", &format!("file://{}", self.channel.display()))?;
        let http = self.lock(scratch.path(), "http", &server.url(""))?;
        let mut table = Table::default();
        for (source, lock) in [("file", &files), ("http", &http)] {
            self.contend(source, lock, scratch.path(), &mut table)?;
        }
        print!("{}", table.render());
        Ok(())
    }

    /// Locks the specs on a channel.
    fn lock(&self, scratch: &Path, name: &str, channel: &str) -> Outcome<PathBuf> {
        let (file, lock) = (scratch.join(format!("{name}.yml")), scratch.join(format!("{name}.lock")));
        let specs: String = self.specs.iter().map(|spec| format!("  - \"{spec}\"\n")).collect();
        fs_err::write(&file, format!("name: bench\nchannels: [\"{channel}\"]\ndependencies:\n{specs}"))?;
        let mut command = in_an_empty_world(&self.mlconda, scratch);
        command.arg("-q").arg("lock").arg(&file).arg("-o").arg(&lock);
        // Use another cache, so that the installations do not find this one.
        command.env("MLCONDA_CACHE_DIR", scratch.join("for-locking"));
        match command.status()?.success() {
            true => Ok(lock),
            false => Err("the specs cannot be locked".into()),
        }
    }

    /// The contenders from a source, in the order of their turns.
    fn contenders(&self, source: &str) -> Vec<&'static str> {
        if self.before.is_some() {
            return BEFORE.to_vec();
        }
        let others = OTHERS.into_iter().filter(|name| source == "file" || *name != "plain tools");
        others.filter(|name| !is_other_tool(name) || is_there(name)).collect()
    }

    /// Runs all contenders with one source, in turns, so that a busy minute of the machine affects all of them.
    fn contend(&self, source: &str, lock: &Path, scratch: &Path, table: &mut Table) -> Outcome<()> {
        let (prefix, warm) = (scratch.join("prefix"), scratch.join("warm"));
        let install_by = |program: &Path, cache: Option<&Path>| {
            let mut command = in_an_empty_world(program, scratch);
            // The other contenders compile nothing.
            command.arg("-q").arg("install").arg("--no-compile-bytecode").arg(lock).arg("-p").arg(&prefix);
            cache.map(|cache| command.env("MLCONDA_CACHE_DIR", cache));
            command
        };
        let install = |cache: Option<&Path>| install_by(&self.mlconda, cache);
        let before = |cache: Option<&Path>| install_by(self.before.as_ref().unwrap_or(&self.mlconda), cache);
        // rattler reads the packages to install from the records of a prefix.
        let graveyard = Graveyard::new(scratch);
        graveyard.bury(&prefix)?;
        run(&mut install(None), scratch)?;
        let records = scratch.join("records");
        graveyard.bury(&records)?;
        fs_err::rename(prefix.join("conda-meta"), &records)?;
        let bare = |cache: &Path| -> Outcome<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--bare").arg(&records).arg(&prefix).arg(cache);
            Ok(command)
        };
        let cold = scratch.join("cold");
        let mut rows: Vec<(&str, Vec<Measured>)> =
            self.contenders(source).into_iter().map(|name| (name, Vec::new())).collect();
        for cache in [warm.join("rattler"), warm.join("mlconda"), warm.join("before")] {
            fs_err::create_dir_all(cache)?;
        }
        // The first round does not count: it fills the warm caches.
        for round in 0..=self.runs {
            for (name, measured) in &mut rows {
                if !name.ends_with("up to date") {
                    graveyard.bury(&prefix)?;
                }
                graveyard.bury(&cold)?;
                let mut command = match *name {
                    "mlconda, no cache" => install(None),
                    "before, no cache" => before(None),
                    "before, warm" | "before, up to date" => before(Some(&warm.join("before"))),
                    "plain tools" => plain(&self.channel, lock, &prefix),
                    tool if is_other_tool(tool) => explicit(tool, lock, &prefix, &cold),
                    "rattler, cold" => bare(&cold)?,
                    "rattler, warm" => bare(&warm.join("rattler"))?,
                    _ => install(Some(&warm.join("mlconda"))),
                };
                let result = run(&mut command, scratch)?;
                if round > 0 {
                    measured.push(result);
                }
            }
        }
        let medians = rows.iter().map(|(name, measured)| (source.to_owned(), (*name).to_owned(), median(measured)));
        table.rows.extend(medians);
        for (name, cache) in [("no cache", None), ("warm", Some(warm.join("mlconda")))] {
            graveyard.bury(&prefix)?;
            if let Some(calls) = calls::count(&mut install(cache.as_deref()), scratch)? {
                table.calls.push((format!("{source}, {name}"), calls, calls::files(&prefix)?));
            }
        }
        Ok(())
    }
}

/// The contenders, in the order of their turns. "Up to date" runs after mlconda has installed.
const OTHERS: [&str; 8] = [
    "mlconda, no cache",
    "plain tools",
    "rattler, cold",
    "rattler, warm",
    "micromamba",
    "conda",
    "mlconda, warm",
    "mlconda, up to date",
];

/// The contenders if an earlier program is compared.
const BEFORE: [&str; 6] = [
    "before, no cache",
    "mlconda, no cache",
    "before, warm",
    "before, up to date",
    "mlconda, warm",
    "mlconda, up to date",
];

/// A command without files or settings of the user.
fn in_an_empty_world(program: &Path, scratch: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", scratch.join("home")).env("PATH", "/usr/bin:/bin");
    command
}

/// Plain tools, which only unpack archives.
fn plain(channel: &Path, lock: &Path, prefix: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg("-c").arg(PLAIN).arg("plain").arg(channel).arg(lock).arg(prefix);
    command
}

/// Whether a contender is an external program for explicit locks, which may be missing on the machine.
fn is_other_tool(name: &str) -> bool {
    ["micromamba", "conda"].contains(&name)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Another tool, with an empty package cache.
fn explicit(tool: &str, lock: &Path, prefix: &Path, cold: &Path) -> Command {
    let mut command = Command::new(tool);
    command.args(["create", "-y", "-q", "--file"]).arg(lock).arg("-p").arg(prefix);
    command.env("CONDA_PKGS_DIRS", cold.join("pkgs")).env("MAMBA_ROOT_PREFIX", cold);
    command
}

/// The script of the plain tools: unpacks every archive into the prefix, two at a time, without links, hashes and
/// prefix replacement.
const PLAIN: &str = r#"
export into="$3"; mkdir -p "$into"
one() {
    case "$1" in
        *.conda) unzip -p "$1" 'pkg-*' | zstd -dq | tar x -C "$into" ;;
        *.tar.bz2) bzip2 -dc "$1" | tar x -C "$into" ;;
    esac
}
export -f one
sed -n 's|^file://\([^#]*\)#.*|\1|p' "$2" | xargs -P 2 -I{} bash -c 'one "{}"'
"#;

/// The printed results.
#[derive(Default)]
struct Table {
    /// Source, contender, median.
    rows: Vec<(String, String, Measured)>,
    /// For each task of mlconda: the system calls, and the number of installed files.
    calls: Vec<(String, calls::Calls, usize)>,
}

impl Table {
    fn render(&self) -> String {
        let mut text = String::from(
            "| from | contender | wall | of plain tools | of rattler, cold | of rattler, warm | user s | system s | idle s | peak MB |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        for (source, name, measured) in &self.rows {
            let ratio = |other: &str| {
                let other = self
                    .rows
                    .iter()
                    .find(|(from, name, _)| name == other && (from == source || other == "plain tools"));
                other.map_or_else(String::new, |(_, _, other)| format!("{:.2}", measured.wall / other.wall))
            };
            let Measured { wall, user, system, peak } = measured;
            let idle = (wall * cores - user - system).max(0.0);
            let ratios = [ratio("plain tools"), ratio("rattler, cold"), ratio("rattler, warm")].join(" | ");
            text += &format!(
                "| {source} | {name} | {wall:.2} s | {ratios} | {user:.2} | {system:.2} | {idle:.2} | {peak:.0} |\n"
            );
        }
        for (what, calls, files) in &self.calls {
            text += &calls.render(what, *files);
        }
        text
    }
}
