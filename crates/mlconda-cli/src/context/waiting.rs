//! Runs futures to their end, or until a signal.

use std::{io::ErrorKind, path::Path, time::Duration};

use mlconda::install::Stop;
use tokio::runtime::Runtime;

use super::Context;
use crate::{
    error::CliError,
    signals::{self, Undo, Waiting, runtime},
};

impl Context {
    /// Writes the file that `-o` names.
    pub(crate) fn write(&self, output: &Path, text: &str) -> Result<(), CliError> {
        self.replace(output, text, "name a file in a directory that can be written to, with `-o`")
    }

    /// Writes a file. The hint is for a file that cannot be written.
    pub(crate) fn replace(&self, file: &Path, text: &str, hint: &str) -> Result<(), CliError> {
        let replaced = self.whole(|| mlconda::files::replace(&self.settings.absolute(file), text.as_bytes(), None))?;
        replaced.map_err(|error| {
            let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            let hint = if is_full { "the disk is full: make room" } else { hint };
            CliError::world(format!("cannot write `{}`: {}", file.display(), error.kind()), hint)
        })
    }

    /// Writes a file, which neither the first signal nor the limit of the shell interrupts.
    pub(crate) fn whole<T>(&self, work: impl FnOnce() -> T) -> Result<T, CliError> {
        survive_limit_of_files(&runtime()?);
        Ok(signals::whole(work))
    }

    /// Runs a future to its end, on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let runtime = runtime()?;
        survive_limit_of_files(&runtime);
        Ok(runtime.block_on(future))
    }

    /// Runs a future to its end, or until a signal: then it is dropped, which cleans up.
    pub(crate) fn block_on_or_signal<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let mut waiting = Waiting::begin(&self.ui, Undo::Written)?;
        self.block_on(or_stopped(future, &mut waiting))?
    }

    /// The same for an installation; `stop` stops the parts of it that do not wait.
    pub(crate) fn install_or_signal<F: Future>(&self, stop: &Stop, installing: F) -> Result<F::Output, CliError> {
        let mut waiting = Waiting::begin_to_install(&self.ui, stop)?;
        self.block_on(or_stopped(installing, &mut waiting))?
    }

    /// The same for work that keeps the files that it has written; `stop` stops its parts that do not wait.
    pub(crate) fn keep_or_signal<F: Future>(&self, stop: &Stop, working: F) -> Result<F::Output, CliError> {
        let mut waiting = Waiting::begin_to_keep(&self.ui, stop)?;
        self.block_on(or_stopped(working, &mut waiting))?
    }

    /// The same for a future that only reads. It does not wait for threads that still read.
    pub(crate) fn block_on_or_end<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        let mut waiting = Waiting::begin(&self.ui, Undo::Nothing)?;
        let runtime = runtime()?;
        survive_limit_of_files(&runtime);
        let outcome = runtime.block_on(or_stopped(future, &mut waiting));
        runtime.shutdown_timeout(READERS);
        match waiting.end() {
            Some(signal) => Err(CliError::Stopped(signal)),
            None => outcome,
        }
    }
}

/// How long to wait for reading threads to stop.
const READERS: Duration = Duration::from_millis(500);

async fn or_stopped<F: Future>(future: F, waiting: &mut Waiting) -> Result<F::Output, CliError> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        signal = waiting.signal() => Err(CliError::Stopped(signal)),
    }
}

/// Catches the signal for a file beyond the limit of the shell (`ulimit -f`), so that it becomes an error. Started
/// programs do not inherit this.
fn survive_limit_of_files(runtime: &Runtime) {
    use tokio::signal::unix::{SignalKind, signal};
    let _context = runtime.enter();
    // If it cannot be caught, the limit ends the process.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
}
