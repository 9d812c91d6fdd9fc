//! Measures how fast mlconda installs wheels into an environment with python, against `uv pip install` of the same URLs
//! with the same kind of link, as ratios from one run.
//!
//! Both get the wheels from files and from a server on loopback, with an empty package cache (cold) and with a filled
//! one (warm). A new environment is the case of a Dockerfile: mlconda installs python and the wheels in one step; for
//! uv, mlconda installs python first, and the times are added. In an existing environment, mlconda prepares the wheels
//! in a stage and moves them in at the end, and uv writes directly into the environment. mlconda compiles no byte code,
//! since uv does not either.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own command line")]

mod graveyard;
mod measure;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use mlconda_test::{server::Server, sha256_hex};

use crate::{
    graveyard::Graveyard,
    measure::{Measured, median, run},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo bench-wheels CHANNEL WHEELS [--runs N] [--mlconda PROGRAM] [--uv PROGRAM]

CHANNEL    a directory with a channel that has the python of the wheels, 3.11
WHEELS     a directory of wheels, one of each distribution
PROGRAM    the static program [default: that of `cargo static`]; uv [default: that of the PATH]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    measure::exit_code(Plan::read(&arguments).and_then(|plan| plan.carry_out()))
}

/// The contenders, in the order of their turns: mlconda with everything at once; mlconda with python, and uv with the
/// wheels on top of it; mlconda with the wheels on top of an existing python.
const WHOLE: usize = 0;
const PYTHON: usize = 1;
const UV: usize = 2;
const WHEELS: usize = 3;

/// The command line.
struct Plan {
    channel: PathBuf,
    wheels: PathBuf,
    runs: usize,
    mlconda: Option<PathBuf>,
    uv: PathBuf,
}

impl Plan {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut rest = arguments.iter();
        let mut next = || rest.next().ok_or(USAGE);
        let (channel, wheels) = (std::path::absolute(next()?)?, std::path::absolute(next()?)?);
        let mut plan = Self { channel, wheels, runs: 5, mlconda: None, uv: "uv".into() };
        while let Some(argument) = rest.next() {
            let value = rest.next().ok_or(USAGE)?;
            match argument.as_str() {
                "--runs" => plan.runs = value.parse()?,
                "--mlconda" => plan.mlconda = Some(std::path::absolute(value)?),
                "--uv" => plan.uv = std::path::absolute(value)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(plan)
    }

    fn carry_out(&self) -> Outcome<()> {
        // On the same disk as the wheels: a temporary directory may be in memory, and would give other results.
        let parent = self.wheels.parent().unwrap_or(Path::new("/"));
        let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
        let world = World::new(self, scratch.path())?;
        let server = Server::serve(&self.wheels)?;
        println!(
            "| from | cache | what | mlconda | uv | ratio | mlconda, user + system | uv, user + system | ratio | peak MB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (source, url) in [("file", format!("file://{}/", self.wheels.display())), ("http", server.url(""))] {
            world.contend(source, &url, &self.wheels, self.runs)?;
        }
        Ok(())
    }
}

/// The paths and settings that the contenders share.
struct World<'a> {
    scratch: &'a Path,
    mlconda: PathBuf,
    uv: &'a Path,
    /// The text of a lock with python.
    base: String,
    graveyard: Graveyard,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, scratch: &'a Path) -> Outcome<Self> {
        let mlconda = plan.mlconda.clone().map_or_else(measure::static_program, Ok)?;
        let graveyard = Graveyard::new(scratch);
        let mut world = Self { scratch, mlconda, uv: &plan.uv, base: String::new(), graveyard };
        let (file, lock) = (scratch.join("base.yml"), scratch.join("base.lock"));
        let channel = plan.channel.display();
        fs_err::write(
            &file,
            format!("name: bench\nchannels: [\"file://{channel}\"]\ndependencies: [\"python=3.11\"]\n"),
        )?;
        let mut command = world.in_world(&world.mlconda);
        command.args(["-q", "lock", "--no-pip"]).arg(&file).arg("-o").arg(&lock);
        if !command.env("MLCONDA_CACHE_DIR", scratch.join("for-locking")).status()?.success() {
            return Err("python 3.11 cannot be locked".into());
        }
        world.base = fs_err::read_to_string(lock)?;
        Ok(world)
    }

    /// A command without files or settings of the user.
    fn in_world(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.scratch.join("home")).env("PATH", "/usr/bin:/bin");
        command
    }

    fn contend(&self, source: &str, url: &str, wheels: &Path, runs: usize) -> Outcome<()> {
        let (lock, requirements) = (self.scratch.join("wheels.lock"), self.scratch.join("requirements.txt"));
        let (mut pinned, mut listed) = (String::new(), String::new());
        let mut files = fs_err::read_dir(wheels)?.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "whl")) {
            let name = file.file_name().and_then(|name| name.to_str()).ok_or("a wheel's name is not UTF-8")?;
            let distribution = name.split('-').next().unwrap_or(name).to_lowercase().replace(['_', '.'], "-");
            let line = format!("{distribution} @ {url}{name} --hash=sha256:{}\n", sha256_hex(fs_err::read(file)?));
            pinned += &format!("# pip {line}");
            listed += &line;
        }
        fs_err::write(&lock, self.base.replace("@EXPLICIT\n", &format!("{pinned}@EXPLICIT\n")))?;
        fs_err::write(&requirements, listed)?;
        for cache in ["cold", "warm"] {
            let mut measured: [Vec<Measured>; 4] = Default::default();
            // The first round does not count: it fills the warm caches.
            for round in 0..=runs {
                for (place, measured) in measured.iter_mut().enumerate() {
                    let directory = self.scratch.join(format!("{source}-{place}"));
                    if cache == "cold" {
                        self.graveyard.bury(&directory)?;
                    }
                    fs_err::create_dir_all(&directory)?;
                    let mut command = match place {
                        WHOLE => self.mlconda(&lock),
                        PYTHON => self.mlconda(&self.scratch.join("base.lock")),
                        UV => self.uv(&requirements),
                        _ => self.mlconda(&lock),
                    };
                    // Every contender begins without a prefix, except uv, which uses the prefix of the turn before.
                    if place != UV {
                        self.graveyard.bury(&self.scratch.join("prefix"))?;
                    }
                    if place == WHEELS {
                        self.install_python()?;
                    }
                    command.env("UV_CACHE_DIR", &directory).env("MLCONDA_CACHE_DIR", &directory);
                    let result = run(&mut command, self.scratch)?;
                    if round > 0 {
                        measured.push(result);
                    }
                }
            }
            let [whole, python, uv, wheels] = measured.map(|runs| median(&runs));
            println!("{}", row(source, cache, "a new environment", whole, sum(python, uv)));
            println!("{}", row(source, cache, "wheels into an existing one", wheels, uv));
        }
        Ok(())
    }

    /// Installs an environment with python, without a measurement.
    fn install_python(&self) -> Outcome<()> {
        let mut command = self.mlconda(&self.scratch.join("base.lock"));
        match command.env("MLCONDA_CACHE_DIR", self.scratch.join("no-cache")).status()?.success() {
            true => Ok(()),
            false => Err("python cannot be installed".into()),
        }
    }

    fn mlconda(&self, lock: &Path) -> Command {
        let mut command = self.in_world(&self.mlconda);
        command.args(["-q", "install", "--no-compile-bytecode"]).arg(lock).arg("-p").arg(self.scratch.join("prefix"));
        command
    }

    fn uv(&self, requirements: &Path) -> Command {
        let mut command = self.in_world(self.uv);
        command.args(["-q", "pip", "install", "--no-deps", "--no-index", "--link-mode", "hardlink"]);
        command.args(["--break-system-packages", "--python"]).arg(self.scratch.join("prefix/bin/python"));
        command.arg("-r").arg(requirements);
        command
    }
}

/// The sum of two runs, one after the other.
fn sum(one: Measured, other: Measured) -> Measured {
    Measured {
        wall: one.wall + other.wall,
        user: one.user + other.user,
        system: one.system + other.system,
        peak: one.peak.max(other.peak),
    }
}

fn row(source: &str, cache: &str, what: &str, ours: Measured, theirs: Measured) -> String {
    let busy = |measured: Measured| measured.user + measured.system;
    format!(
        "| {source} | {cache} | {what} | {:.2} s | {:.2} s | {:.2} | {:.2} s | {:.2} s | {:.2} | {:.0}, {:.0} |",
        ours.wall,
        theirs.wall,
        ours.wall / theirs.wall,
        busy(ours),
        busy(theirs),
        busy(ours) / busy(theirs),
        ours.peak,
        theirs.peak
    )
}
