//! Runs post-link and pre-unlink scripts, and other programs of a prefix.
//!
//! A script has its own process group, which is killed if the installation is dropped while it awaits the script.
//! (Ctrl-C in a terminal reaches mlconda, which stops the script.)
//!
//! The output of scripts should be reproducible. They get no environment variables of the build machine, and a fixed
//! umask. `SOURCE_DATE_EPOCH` is the time of the installation, and the files that they write get this time.

use std::{
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use mlconda_prefix::on_disk::{self, BACKUP};
use mlconda_system::{
    self as system,
    beneath::{PathKind, Root},
    files,
    process::{ChildGroup, shell, unnamed_file},
};
use mlconda_types::progress::{Event, Progress, Task};
use rattler_conda_types::PackageRecord;

use super::InstallError;

/// The size of the end of a script's output that is kept, in bytes.
const KEPT_OUTPUT: u64 = 64 << 10;

/// The time after which the user is notified of a running script. A further notice comes each time that the elapsed
/// time has doubled.
const FIRST_NOTICE: Duration = Duration::from_secs(10);

/// The kind of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptKind {
    /// It runs after the files of the package are linked.
    PostLink,
    /// It runs before the files of the package are removed.
    PreUnlink,
}

/// The environment and the limits of scripts.
#[derive(Clone, Copy)]
pub(super) struct ScriptContext<'a> {
    /// Additional environment variables, such as proxies.
    pub(super) variables: &'a [(String, String)],
    /// The time of the installation, in seconds since 1970.
    pub(super) time: i64,
    /// The time limit of one script.
    pub(super) limit: Option<Duration>,
    /// Receives notices about long-running scripts.
    pub(super) progress: &'a dyn Progress,
}

/// The script of a package, relative to the prefix.
pub(super) fn path(name: &str, when: ScriptKind) -> PathBuf {
    let when = match when {
        ScriptKind::PostLink => "post-link",
        ScriptKind::PreUnlink => "pre-unlink",
    };
    PathBuf::from(format!("bin/.{name}-{when}.sh"))
}

/// Runs the script of a package, if it has one, and returns its message for the user (`.messages.txt`). The script's
/// environment contains only the variables in `context`, and those that conda documents for scripts.
pub(super) async fn run(
    prefix: &Path,
    record: &PackageRecord,
    when: ScriptKind,
    context: ScriptContext<'_>,
) -> Result<Option<String>, InstallError> {
    let name = record.name.as_normalized();
    let relative = path(name, when);
    let script = prefix.join(&relative);
    if !script.is_file() {
        return Ok(None);
    }
    let Some(shell) = shell(prefix) else {
        return Err(InstallError::NoShell { package: name.to_owned(), script: relative });
    };
    let mut command = command(&shell, prefix, context);
    command
        .args(["-c", "umask 022 && exec \"$0\" \"$1\""])
        .args([&shell, &script])
        .env("PKG_NAME", name)
        .env("PKG_VERSION", record.version.as_str().as_ref())
        .env("PKG_BUILDNUM", record.build_number.to_string());
    let task = match when {
        ScriptKind::PostLink => Task::PostLink,
        ScriptKind::PreUnlink => Task::PreUnlink,
    };
    let (status, mut output) = run_to_end(command, prefix, context, task, name).await?;
    let text = take_message(prefix)?;
    match status.map(|status| status.to_string()) {
        None => Ok(text),
        Some(status) => {
            if let Some(text) = text {
                output = format!("{}\nand left this message:\n{text}", output.trim_end());
            }
            Err(InstallError::Script { package: name.to_owned(), script: relative, status, output })
        }
    }
}

/// Reads and removes the message of a script. A link at its path is removed and not followed. A directory is ignored.
fn take_message(prefix: &Path) -> io::Result<Option<String>> {
    let (root, path) = (Root::open(prefix)?, Path::new(".messages.txt"));
    let mut text = Vec::new();
    let read = root.read(path).and_then(|file| file.take(files::LARGEST_TEXT).read_to_end(&mut text));
    if root.lookup(path)?.is_some_and(|there| !there.is_directory()) {
        root.remove_file(path)?;
    }
    let text = String::from_utf8_lossy(&text);
    Ok((read.is_ok() && !text.trim().is_empty()).then(|| text.into_owned()))
}

/// A command with the environment of scripts.
pub(super) fn command(program: &Path, prefix: &Path, context: ScriptContext<'_>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(prefix)
        .env_clear()
        .envs(context.variables.iter().map(|(name, value)| (name, value)))
        .env("PATH", format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", prefix.display()))
        .env("PREFIX", prefix)
        .env("CONDA_PREFIX", prefix)
        .env("ROOT_PREFIX", prefix)
        .env("HOME", prefix)
        .env("SOURCE_DATE_EPOCH", context.time.to_string())
        .env("TZ", "UTC")
        // Byte code is compiled already, or not wanted.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0");
    command
}

/// Runs a program until it ends. If it failed, returns its status and the end of its output.
pub(super) async fn run_to_end(
    mut command: Command,
    prefix: &Path,
    context: ScriptContext<'_>,
    task: Task,
    package: &str,
) -> Result<(Option<ExitStatus>, String), InstallError> {
    // The output goes into an unnamed file. With a pipe, a background process of the script would block the
    // installation.
    let mut output = unnamed_file(prefix)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?).process_group(0);
    let program = Path::new(command.get_program()).to_owned();
    let process = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run `{}`: {error}", program.display())))?;
    let running = ChildGroup::new(process).wait();
    let watched = async {
        tokio::select! {
            status = running => status,
            never = discard_output(&output) => never,
        }
    };
    let status = wait(watched, context.limit, context.progress, task, package).await.transpose()?;
    if status.is_some_and(|status| status.success()) {
        return Ok((None, String::new()));
    }
    // Losing the output is not an error.
    let words = output_tail(&mut output).unwrap_or_default();
    match (status, context.limit) {
        (None, Some(limit)) => Err(InstallError::Expired { task, package: package.to_owned(), limit, output: words }),
        (status, _) => Ok((status, words)),
    }
}

/// Waits for a child process, up to a limit, with notices to the user. `None` if the limit was reached; then the future
/// of the child is dropped, which stops the child.
pub(super) async fn wait<F: Future>(
    child: F,
    limit: Option<Duration>,
    progress: &dyn Progress,
    task: Task,
    package: &str,
) -> Option<F::Output> {
    wait_from(FIRST_NOTICE, child, limit, progress, task, package).await
}

/// Like [`wait`], with the time of the first notice.
async fn wait_from<F: Future>(
    first: Duration,
    child: F,
    limit: Option<Duration>,
    progress: &dyn Progress,
    task: Task,
    package: &str,
) -> Option<F::Output> {
    let mut child = std::pin::pin!(child);
    let mut elapsed = Duration::ZERO;
    loop {
        let pause = elapsed.max(first);
        let pause = limit.map_or(pause, |limit| pause.min(limit.saturating_sub(elapsed)));
        match tokio::time::timeout(pause, child.as_mut()).await {
            Ok(output) => return Some(output),
            Err(_) => elapsed += pause,
        }
        if limit.is_some_and(|limit| elapsed >= limit) {
            return None;
        }
        progress.event(Event::StillRunning { task, package: package.to_owned(), elapsed, limit });
    }
}

/// Each second, frees the disk space of a program's output, except for the end of the output. Never returns.
async fn discard_output<T>(output: &std::fs::File) -> T {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // If the file system does not support this, the output takes space until the program ends.
        let _ = output
            .metadata()
            .and_then(|metadata| system::punch_hole(output, metadata.len().saturating_sub(KEPT_OUTPUT)));
    }
}

/// The end of the output of a program, from the beginning of a line.
fn output_tail(output: &mut std::fs::File) -> io::Result<String> {
    let length = output.metadata()?.len();
    let cut = length.saturating_sub(KEPT_OUTPUT);
    output.seek(SeekFrom::Start(cut))?;
    let mut words = Vec::new();
    output.by_ref().take(KEPT_OUTPUT).read_to_end(&mut words)?;
    let text = String::from_utf8_lossy(&words);
    Ok(match cut {
        0 => text.into_owned(),
        _ => format!("[the last {} kB]\n{}", KEPT_OUTPUT >> 10, text.split_once('\n').map_or(&*text, |(_, rest)| rest)),
    })
}

/// The current time of the prefix's file system, taken before scripts run.
pub(super) fn start_time(prefix: &Path) -> io::Result<SystemTime> {
    unnamed_file(&prefix.join("conda-meta"))?.metadata()?.modified()
}

/// Sets the modification time of all files that have changed since `since` to `seconds`. Files of packages have older
/// times.
pub(super) fn set_times_since(prefix: &Path, since: SystemTime, seconds: i64) -> Result<(), InstallError> {
    // In a root prefix, other environments and conda's packages are skipped.
    let except = ["envs", "pkgs", on_disk::STAGE, BACKUP];
    Ok(set_times_below(&Root::open(prefix)?, since, seconds, &except)?)
}

fn set_times_below(directory: &Root, since: SystemTime, seconds: i64, except: &[&str]) -> io::Result<()> {
    let here = Path::new("");
    let is_late =
        |path: &Path| Ok::<_, io::Error>(directory.lookup(path)?.is_some_and(|there| there.modified() >= since));
    for (name, kind) in directory.entries(here)? {
        let path = Path::new(&name);
        if kind == PathKind::Directory {
            if !except.iter().any(|name| path == Path::new(name)) {
                set_times_below(&directory.open_directory(path)?, since, seconds, &[])?;
            }
        } else if is_late(path)? {
            directory.set_time(path, seconds)?;
        }
    }
    if is_late(here)? {
        directory.set_time(here, seconds)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<u128>>);

    impl Progress for Heard {
        fn event(&self, event: Event) {
            if let Event::StillRunning { elapsed, .. } = event {
                self.0.lock().unwrap().push(elapsed.as_millis());
            }
        }
    }

    #[test]
    fn who_runs_for_long_is_told_of_and_then_stopped() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (heard, never) = (Heard::default(), std::future::pending::<()>());
        let limit = Some(Duration::from_millis(10));
        let outcome = wait_from(Duration::from_millis(1), never, limit, &heard, Task::PostLink, "x");
        assert_eq!(runtime.block_on(outcome), None);
        assert_eq!(*heard.0.lock().unwrap(), [1, 2, 4, 8]);
    }
}
