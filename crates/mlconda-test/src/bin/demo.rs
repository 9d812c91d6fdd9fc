//! `cargo demo`: the main job, end to end, with packages that this repository makes itself.
//!
//! A developer locks an environment.yml. Then a container with no earlier state installs the lock over HTTP and runs
//! programs from it. Both are simulated by directories with different homes. At the end, every difference outside the
//! prefix is searched for and printed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a demonstration does")]
#![allow(clippy::disallowed_methods, reason = "cargo says in the environment where it is")]

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use mlconda_test::{
    context::{Outcome, TestContext},
    server::Server,
    small::SmallChannels,
    tree,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ENVIRONMENT: &str = include_str!("../../../../fixtures/environment.yml");

fn main() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let program = build()?;
    let world = TestContext::new(&program);
    let channels = world.path().join("channels");
    let server = channel(&channels)?;
    let environment = ENVIRONMENT.replace("${CHANNELS}", server.url("").trim_end_matches('/'));
    fs_err::write(world.work().join("environment.yml"), environment)?;

    step("mlconda lock environment.yml -o env.lock");
    said(world.lock(&["environment.yml", "-o", "env.lock"]))?;
    let locked = pinned(&world)?;
    println!("  {} pinned, each with its sha256", packages(locked));

    let prefix = world.path().join("opt/ml");
    let place = prefix.display().to_string();
    let before = world.tree();
    step("mlconda install env.lock -p PREFIX");
    said(world.mlconda(["install", "env.lock", "-p", &place]))?;
    let after = world.tree();
    installed(&prefix, locked)?;

    run(&world, &place, &["where-am-i"], &format!("prefix: {place}\n"))?;
    run(&world, &place, &["greet", "world"], &format!("python stand-in in {place} runs {place}/bin/greet"))?;
    nothing_left(&before, &after)?;
    println!("\n  PREFIX was {place}; all of it is removed now.");
    Ok(())
}

/// Builds `mlconda` beside this program, in the same profile.
fn build() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("mlconda");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command.args(["build", "--package", "mlconda-cli"]);
    let profile = program.parent().and_then(Path::file_name).unwrap_or_default();
    if profile != "debug" {
        command.arg("--profile").arg(profile);
    }
    let status = command.status().map_err(|error| format!("{} cannot be started: {error}", cargo.display()))?;
    if !status.success() || !program.is_file() {
        return Err(format!("{} has not built {}", cargo.display(), program.display()).into());
    }
    println!("  built     {} ({})", program.display(), size(fs_err::metadata(&program)?.len()));
    Ok(program)
}

/// Makes the small channels, and serves them.
fn channel(directory: &Path) -> Result<Server> {
    let (channels, seconds) = timed(|| SmallChannels::write(directory));
    let channels = channels?;
    let mut count = 0;
    for channel in [&channels.main, &channels.extra] {
        for subdir in [mlconda_test::host_subdir(), "noarch"] {
            count += channel.archives(subdir)?.len();
        }
    }
    let server = Server::serve(directory)?;
    println!("  made      two channels with {} in {seconds:.1} s, on {}", packages(count), server.url(""));
    Ok(server)
}

/// Prints the packages in the lock, and says how many there are.
fn pinned(world: &TestContext) -> Result<usize> {
    let lock = fs_err::read_to_string(world.work().join("env.lock"))?;
    let lines: Vec<&str> = lock.lines().skip_while(|line| *line != "@EXPLICIT").skip(1).collect();
    for line in &lines {
        let archive = line.split('#').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        println!("    {archive}");
    }
    Ok(lines.iter().filter(|line| !line.is_empty()).count())
}

/// Prints what is in the prefix, and checks that it is what was locked. Files of packages are counted as `mlconda
/// install` counts them: without the files that it writes into `conda-meta`.
fn installed(prefix: &Path, locked: usize) -> Result<()> {
    let entries = tree::tree(prefix)?;
    let is_file = |what: &&String| !what.starts_with("directory");
    let (meta, of_packages): (Vec<_>, Vec<_>) =
        entries.iter().filter(|(_, what)| is_file(what)).partition(|(path, _)| path.starts_with("conda-meta/"));
    let records = meta.iter().filter(|(path, _)| path.ends_with(".json")).count();
    println!("  {} files of {}, and {} files in conda-meta", of_packages.len(), packages(records), meta.len());
    if records == locked { Ok(()) } else { Err(format!("{} were locked, not {records}", packages(locked)).into()) }
}

/// Runs a program of the environment, whose output must contain a text.
fn run(world: &TestContext, prefix: &str, command: &[&str], expected: &str) -> Result<()> {
    step(&format!("mlconda run -p PREFIX {}", command.join(" ")));
    let mut arguments = vec!["run", "-p", prefix];
    arguments.extend(command);
    let outcome = said(world.mlconda(arguments))?;
    if outcome.stdout.contains(expected) { Ok(()) } else { Err(format!("it was to say: {expected}").into()) }
}

/// Compares the directories before and after the installation.
fn nothing_left(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    let is_prefix = |path: &str| path == "opt" || path == "opt/ml" || path.starts_with("opt/ml/");
    let mut outside = after.clone();
    outside.retain(|path, _| !is_prefix(path));
    let left = tree::difference(before, &outside);
    println!("\n  $ diff before after    (home, cache, temporary and working directory, everything)");
    println!("    + PREFIX");
    if left.is_empty() {
        println!("    and nothing else");
        return Ok(());
    }
    Err(format!("this is left over besides the prefix:\n{left}").into())
}

fn step(command: &str) {
    println!("\n  $ {command}");
}

/// Prints the output of a command. If the command failed, this is an error.
fn said(outcome: Outcome) -> Result<Outcome> {
    for line in outcome.stdout.lines().chain(outcome.stderr.lines()) {
        println!("    {line}");
    }
    if outcome.code == 0 { Ok(outcome) } else { Err(format!("exit code {}", outcome.code).into()) }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed().as_secs_f64())
}

fn packages(count: usize) -> String {
    if count == 1 { "1 package".to_owned() } else { format!("{count} packages") }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
