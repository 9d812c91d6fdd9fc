//! Runs a program whose system calls fail at a chosen point: the disk is full, broken or not writable, no more files
//! can be opened, or the program is killed.
//!
//! A small program in C intercepts the system calls with a filter of the kernel for this purpose
//! (`SECCOMP_RET_USER_NOTIF`). So calls are seen in every thread, with or without the C library. It is compiled with
//! the `cc` that links the tests. Only calls below one directory count, so the program starts as usual.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    context::{Outcome, TestContext, argument},
    program, sha256_hex,
};

/// The exit code of the injector if the kernel does not allow the filter.
const NOT_ALLOWED: i32 = 77;

/// The error number of a full disk (`ENOSPC`).
const NO_SPACE: i32 = 28;

/// The system calls that count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Calls that change or lock files and directories.
    Change,
    /// Calls that open files for reading, or list directories.
    Open,
    /// Calls that rename.
    Rename,
    /// Calls that read files.
    Read,
    /// Calls that wait for the disk.
    Sync,
}

/// The fault, and the number of the call at which it happens, from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happens {
    /// No fault: the calls are only counted.
    Nothing,
    /// This call fails with this error number; later calls do not.
    Error(u64, i32),
    /// This call fails with this error number, and so do all later calls that need space on the disk.
    ErrorFrom(u64, i32),
    /// The disk is full: this call and all later calls that need space fail. Renames and removals still work.
    Full(u64),
    /// The program is killed.
    Kill(u64),
    /// The program gets this signal. The call continues after the program has reported the signal.
    Signal(u64, i32),
    /// Like [`Happens::Signal`], and the program gets the signal again before the call continues.
    SignalTwice(u64, i32),
    /// Like [`Happens::Signal`], and the program is killed this many calls later.
    SignalAndKill(u64, i32, u64),
}

/// A directory that is renamed to its path with `.aside` while the program runs, and replaced by a symbolic link.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The directory.
    pub place: &'a Path,
    /// The target of the link.
    pub to: &'a Path,
}

/// The result of a run with a fault.
#[derive(Clone, Debug)]
pub struct Injected {
    /// The outcome of the program; its code is 137 if it was killed.
    pub outcome: Outcome,
    /// The number of counted calls.
    pub calls: u64,
    /// The call and the path at which the fault happened, if it did.
    pub at: Option<String>,
}

/// Runs `mlconda` with arguments, with a fault at one of the `calls` below `directory`. Returns `None` if the kernel
/// does not allow the filter, and prints the reason.
pub fn run(
    world: &TestContext,
    directory: &Path,
    calls: Calls,
    happens: Happens,
    arguments: &[&str],
) -> Option<Injected> {
    let undo;
    let (mode, number, error) = match happens {
        Happens::Nothing => ("once", 0, 0),
        Happens::Error(number, error) => ("once", number, error),
        Happens::ErrorFrom(number, error) => ("from", number, error),
        Happens::Full(number) => ("full", number, NO_SPACE),
        Happens::Kill(number) => ("kill", number, 0),
        Happens::Signal(number, signal) => ("signal", number, signal),
        Happens::SignalTwice(number, signal) => ("twice", number, signal),
        Happens::SignalAndKill(number, signal, more) => {
            undo = format!("undo:{more}");
            (undo.as_str(), number, signal)
        }
    };
    let hears = matches!(happens, Happens::Signal(..) | Happens::SignalTwice(..) | Happens::SignalAndKill(..));
    inject(world, directory, calls, (mode, number, error), hears, arguments)
}

/// Runs `mlconda` with arguments, and [`Swap`]s a directory at the call with a number. Returns `None` as [`run`] does.
pub fn run_with_swap(
    world: &TestContext,
    directory: &Path,
    number: u64,
    swap: Swap<'_>,
    arguments: &[&str],
) -> Option<Injected> {
    let mode = format!("swap:{}:{}", swap.place.display(), swap.to.display());
    inject(world, directory, Calls::Change, (&mode, number, 0), false, arguments)
}

#[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
fn inject(
    world: &TestContext,
    directory: &Path,
    calls: Calls,
    (mode, number, error): (&str, u64, i32),
    hears: bool,
    arguments: &[&str],
) -> Option<Injected> {
    let injector = match compiled("inject", include_str!("programs/inject.c")) {
        Ok(injector) => injector,
        Err(error) => {
            eprintln!("skipped, for nothing can be injected: {error}");
            return None;
        }
    };
    let report = world.path().join("injected");
    let group = match calls {
        Calls::Change => "change",
        Calls::Open => "open",
        Calls::Rename => "rename",
        Calls::Read => "read",
        Calls::Sync => "sync",
    };
    let program = world.mlconda_command(arguments);
    let mut command = world.command(injector);
    command.args([argument(directory), group, mode, &number.to_string(), &error.to_string(), argument(&report)]);
    command.arg(program.get_program()).args(arguments);
    let outcome = match hears {
        true => heard(world, &mut command, &report.with_extension("go")),
        false => world.outcome(&mut command),
    };
    if outcome.code == NOT_ALLOWED {
        eprintln!("skipped: the kernel does not allow SECCOMP_RET_USER_NOTIF here");
        return None;
    }
    let text = fs_err::read_to_string(&report).unwrap_or_default();
    let _ = fs_err::remove_file(&report);
    let mut lines: Vec<&str> = text.lines().collect();
    let calls = lines.pop().and_then(|count| count.parse().ok()).unwrap_or(0);
    Some(Injected { outcome, calls, at: lines.first().map(|line| (*line).to_owned()) })
}

/// Runs a command that gets a signal, and lets it continue after it has reported the signal.
#[allow(clippy::unwrap_used, reason = "a test that cannot set up its world must stop")]
fn heard(world: &TestContext, command: &mut Command, go: &Path) -> Outcome {
    let _ = fs_err::remove_file(go);
    world.run("mkfifo", &[argument(go)]).success();
    // Opened for reading, too, so that opening does not block.
    let mut open = fs_err::OpenOptions::new().read(true).write(true).open(go).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while stderr.read_line(&mut said).unwrap() > 0 {
        if said.lines().last().is_some_and(|line| line.contains("stopping: ")) {
            open.write_all(b"!").unwrap();
            break;
        }
    }
    stderr.read_to_string(&mut said).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stderr = said.into_bytes();
    fs_err::remove_file(go).unwrap();
    world.outcome_of(&output)
}

/// Runs `mlconda` with arguments while some system calls fail with an error number, as on an older kernel or under a
/// strict filter. Returns `None` as [`run`] does.
///
/// # Panics
///
/// If a call is not supported by `programs/deny.c`.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
pub fn run_without(world: &TestContext, calls: &[&str], error: i32, arguments: &[&str]) -> Option<Outcome> {
    let filter = match compiled("deny", include_str!("programs/deny.c")) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("skipped, for nothing can be denied: {error}");
            return None;
        }
    };
    let program = world.mlconda_command(arguments);
    let mut command = world.command(filter);
    command.args([&error.to_string(), &calls.join(",")]).arg(program.get_program()).args(arguments);
    let outcome = world.outcome(&mut command);
    assert!(outcome.code != 2 || !outcome.stderr.contains("unknown call"), "{outcome}");
    if outcome.code == NOT_ALLOWED {
        eprintln!("skipped: the kernel does not allow filters here");
        return None;
    }
    Some(outcome)
}

/// The compiled program of a C source, from the target directory if it was compiled before.
fn compiled(name: &str, source: &str) -> io::Result<PathBuf> {
    let directory = program::target_directory()?.join("mlconda-test");
    let place = directory.join(format!("{name}-{}", &sha256_hex(source)[..16]));
    if !place.is_file() {
        fs_err::create_dir_all(&directory)?;
        let work = tempfile::tempdir_in(&directory)?;
        let (file, made) = (work.path().join("source.c"), work.path().join("made"));
        fs_err::write(&file, source)?;
        let output = Command::new("cc").args(["-O1", "-o"]).arg(&made).arg(&file).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        fs_err::rename(made, &place)?;
    }
    Ok(place)
}
