//! Runs a contender, and measures its time and memory.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use crate::Outcome;

/// The measurement of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// Processor time in user mode, in seconds.
    pub(crate) user: f64,
    /// Processor time in the kernel, in seconds.
    pub(crate) system: f64,
    /// The largest resident set size, in megabytes.
    pub(crate) peak: f64,
}

/// The exit code of the process. Prints an error.
pub(crate) fn exit_code(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that must succeed.
#[allow(dead_code, reason = "where a failure is measured too, nothing runs by this")]
pub(crate) fn run(command: &mut Command, scratch: &Path) -> Outcome<Measured> {
    let (measured, has_succeeded) = attempt(command, scratch)?;
    if has_succeeded { Ok(measured) } else { Err(format!("failed: {command:?}").into()) }
}

/// Runs a command under GNU `time`. Also returns whether it succeeded. The wall time is measured here, because `time`
/// only has hundredths of a second. The millisecond that `time` needs to start is the same for every contender.
pub(crate) fn attempt(command: &mut Command, scratch: &Path) -> Outcome<(Measured, bool)> {
    let report = scratch.join("time");
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-q", "-f", "%U %S %M", "-o"]).arg(&report).arg(command.get_program()).args(command.get_args());
    // Certificates in these variables would only be read by some of the contenders.
    ["SSL_CERT_DIR", "SSL_CERT_FILE"].iter().for_each(|name| _ = timed.env_remove(name));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    timed.stdout(Stdio::null());
    let start = Instant::now();
    let status = timed.status().map_err(|error| format!("GNU time is wanted: {error}"))?;
    let wall = start.elapsed().as_secs_f64();
    let text = fs_err::read_to_string(report)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [user, system, peak] => {
            Ok((Measured { wall, user: *user, system: *system, peak: peak / 1000.0 }, status.success()))
        }
        _ => Err(format!("`time` said {text:?}").into()),
    }
}

/// The run with the median of the wall times.
pub(crate) fn median(measured: &[Measured]) -> Measured {
    let mut sorted = measured.to_vec();
    sorted.sort_by(|one, other| one.wall.total_cmp(&other.wall));
    sorted[sorted.len() / 2]
}

/// The program that `cargo static` makes.
pub(crate) fn static_program() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|path| path.file_name().is_some_and(|name| name == "target"));
    let target = target.ok_or("run this through cargo")?;
    let found = fs_err::read_dir(target)?.flatten().map(|entry| entry.path().join("release/mlconda"));
    let mut found: Vec<PathBuf> = found.filter(|path| path.is_file()).collect();
    found.sort();
    found.pop().ok_or_else(|| "make the program first: `cargo static`".into())
}
