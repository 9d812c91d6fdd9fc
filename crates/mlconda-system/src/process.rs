//! Child processes: awaited, and stopped with all of their children.

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
    /// The future may be dropped: the process group is killed.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        let (sender, ended) = oneshot::channel();
        let id = Pid::from_child(&self.process);
        thread::Builder::new().name("script".to_owned()).spawn(move || {
            // Who has ended stays until it is waited for below: as long as that is to come, its number is nobody else's.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(rustix::process::waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
            let _ = sender.send(());
        })?;
        // If the thread is gone, the script has ended, too.
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
        // Its children are killed too, and go in a moment; one that nobody waits for may stay as a zombie for ever.
        for _ in 0..20 {
            if rustix::process::test_kill_process_group(group).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Creates an unnamed file on the file system of a directory.
pub fn unnamed_file(directory: &Path) -> io::Result<std::fs::File> {
    tempfile::tempfile_in(directory).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make a temporary file in `{}`: {error}", directory.display()))
    })
}

/// The shell that scripts run in, if there is one.
pub fn shell(prefix: &Path) -> Option<PathBuf> {
    let shells = [prefix.join("bin/bash"), "/bin/bash".into(), "/usr/bin/bash".into(), "/bin/sh".into()];
    shells.into_iter().find(|shell| shell.is_file())
}
