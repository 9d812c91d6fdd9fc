//! Child processes, which can be waited for, and killed together with their own children.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

/// A running child process in its own process group. Dropping it kills the group.
pub struct ChildGroup {
    process: Child,
    ended: bool,
}

impl ChildGroup {
    /// Wraps a process that was just started in its own group.
    pub fn new(process: Child) -> Self {
        Self { process, ended: false }
    }

    /// Waits until the process exits.
    ///
    /// If the future is dropped, the process group is killed.
    ///
    /// # Errors
    /// If the thread that waits cannot be started, or the process cannot be waited for.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        let (sender, ended) = oneshot::channel();
        let id = Pid::from_child(&self.process);
        thread::Builder::new().name("script".to_owned()).spawn(move || {
            // `NOWAIT` leaves the ended process as a zombie until it is waited for below. Until then, its number is not
            // used again.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(rustix::process::waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
            let _ = sender.send(());
        })?;
        // An error means that the thread is gone. Then the script has ended, too.
        let _ = ended.await;
        self.ended = true;
        self.process.wait()
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let group = Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.process.wait();
        // The children were killed, too, and disappear soon. One that no process waits for may stay a zombie forever.
        for _ in 0..20 {
            if rustix::process::test_kill_process_group(group).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Creates an unnamed file on the file system of a directory.
///
/// # Errors
/// If the file cannot be created.
pub fn unnamed_file(directory: &Path) -> io::Result<std::fs::File> {
    tempfile::tempfile_in(directory).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make a temporary file in `{}`: {error}", directory.display()))
    })
}

/// The shell that runs scripts, if there is one: the bash of the prefix, or one of the system.
pub fn shell(prefix: &Path) -> Option<PathBuf> {
    let shells = [prefix.join("bin/bash"), "/bin/bash".into(), "/usr/bin/bash".into(), "/bin/sh".into()];
    shells.into_iter().find(|shell| shell.is_file())
}
