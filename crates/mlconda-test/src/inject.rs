//! Runs a program whose system calls fail where the test wants it: the disk full, broken or not writable, no more open
//! files, or the program killed.
//!
//! A small program in C stands between it and the kernel, by a filter that the kernel has for such purposes
//! (`SECCOMP_RET_USER_NOTIF`): so calls are seen however they are made, by the C library or without it, in any
//! thread. It is compiled with the `cc` that links the tests. Only calls below one directory count, so that the
//! program starts as ever.

use std::{io, path::Path, path::PathBuf, process::Command};

use crate::{
    context::{Outcome, TestContext, argument},
    program, sha256_hex,
};

/// The exit code by which the injector says that the kernel does not let it.
const NOT_ALLOWED: i32 = 77;

/// Which calls count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Calls {
    /// Those that change files and directories, or lock them.
    Change,
    /// Those that open for reading and list directories.
    Open,
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
    /// The program is killed.
    Kill(u64),
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
#[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
pub fn run(
    world: &TestContext,
    directory: &Path,
    calls: Calls,
    happens: Happens,
    arguments: &[&str],
) -> Option<Injected> {
    let injector = match injector() {
        Ok(injector) => injector,
        Err(error) => {
            eprintln!("skipped, for nothing can be injected: {error}");
            return None;
        }
    };
    let report = world.path().join("injected");
    let (mode, number, error) = match happens {
        Happens::Nothing => ("once", 0, 0),
        Happens::Error(number, error) => ("once", number, error),
        Happens::ErrorFrom(number, error) => ("from", number, error),
        Happens::Kill(number) => ("kill", number, 0),
    };
    let group = if calls == Calls::Change { "change" } else { "open" };
    let program = world.mlconda_command(arguments);
    let mut command = world.command(injector);
    command.args([argument(directory), group, mode, &number.to_string(), &error.to_string(), argument(&report)]);
    let outcome = world.outcome(command.arg(program.get_program()).args(arguments));
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

/// The injector, from the target directory if it was compiled before.
fn injector() -> io::Result<PathBuf> {
    let source = include_str!("programs/inject.c");
    let directory = program::target_directory()?.join("mlconda-test");
    let place = directory.join(format!("inject-{}", &sha256_hex(source)[..16]));
    if !place.is_file() {
        fs_err::create_dir_all(&directory)?;
        let work = tempfile::tempdir_in(&directory)?;
        let (file, made) = (work.path().join("inject.c"), work.path().join("inject"));
        fs_err::write(&file, source)?;
        let output = Command::new("cc").args(["-O1", "-o"]).arg(&made).arg(&file).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        fs_err::rename(made, &place)?;
    }
    Ok(place)
}
