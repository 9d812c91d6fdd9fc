//! Runs a program whose system calls fail where the test wants it: the disk full, broken or not writable, no more open
//! files, or the program killed.
//!
//! A small program in C stands between it and the kernel, by a filter that the kernel has for such purposes
//! (`SECCOMP_RET_USER_NOTIF`): so calls are seen however they are made, by the C library or without it, in any
//! thread. It is compiled with the `cc` that links the tests. Only calls below one directory count, so that the
//! program starts as ever.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    context::{Outcome, TestContext, argument},
    program, sha256_hex,
};

/// The exit code by which the injector says that the kernel does not let it.
const NOT_ALLOWED: i32 = 77;

/// The number of the error of a full disk.
const NO_SPACE: i32 = 28;

/// Which calls count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Those that change files and directories, or lock them.
    Change,
    /// Those that open for reading and list directories.
    Open,
    /// Those that rename.
    Rename,
    /// Those that read files.
    Read,
    /// Those that wait for the disk.
    Sync,
}

/// What happens at a call, by its number from 1 on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happens {
    /// Nothing; they are counted.
    Nothing,
    /// It fails with this number of an error, and the next ones do not.
    Error(u64, i32),
    /// It fails with this error, and so do all after it that need room on the disk.
    ErrorFrom(u64, i32),
    /// The disk is full from there on: this call and all after it fail that need room on it. Renames and removals go on.
    Full(u64),
    /// The program is killed.
    Kill(u64),
    /// It gets this signal, and the call goes on when it has said that it heard it.
    Signal(u64, i32),
    /// The same, and it gets the signal again before the call goes on.
    SignalTwice(u64, i32),
    /// The same as [`Happens::Signal`], and the program is killed so many calls after it.
    SignalAndKill(u64, i32, u64),
}

/// A directory that is renamed (to its path with `.aside`) while the program runs, and the target of the link that takes its
/// place.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The directory.
    pub place: &'a Path,
    /// The target of the link.
    pub to: &'a Path,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Injected {
    /// How the program ended; 137 if it was killed.
    pub outcome: Outcome,
    /// How many calls there were.
    pub calls: u64,
    /// The call and the path at which it happened, if it did.
    pub at: Option<String>,
}

/// Runs `mlconda` with arguments while something `happens` at one of the `calls` below `directory`. `None` if the kernel
/// does not let us; the reason is printed.
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

/// Runs `mlconda` with arguments, and [`Swap`]s a directory at the call of a number. `None` as for [`run`].
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

/// Runs a command that gets a signal, and lets it go on as soon as it says that it stops.
#[allow(clippy::unwrap_used, reason = "a test that cannot set up its world must stop")]
fn heard(world: &TestContext, command: &mut Command, go: &Path) -> Outcome {
    let _ = fs_err::remove_file(go);
    world.run("mkfifo", &[argument(go)]).success();
    // For reading too, so that this end waits for nobody.
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

/// Runs `mlconda` with arguments where some system calls fail with a number of an error, as on an older kernel or under a strict
/// filter. `None` as for [`run`].
///
/// # Panics
///
/// If the calls are not among those of `programs/deny.c`.
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

/// A program of a source in C, from the target directory if it was compiled before.
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
