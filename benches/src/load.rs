//! Load on the machine, as on a builder with several jobs: two computing processes for each processor, and one that
//! writes to the disk and waits for it.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::Outcome;

/// The processes. Dropping this ends them.
pub(crate) struct Load(Vec<Child>);

impl Load {
    /// Starts the processes. They write into `scratch`.
    pub(crate) fn begin(scratch: &Path) -> Outcome<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let write = "while :; do dd if=/dev/zero of=\"$0\" bs=1M count=64 conv=fsync 2>/dev/null; done";
        let mut load = Self(Vec::new());
        for _ in 0..2 * processors {
            load.add(&mut Command::new("yes"))?;
        }
        let mut writer = Command::new("sh");
        load.add(writer.arg("-c").arg(write).arg(scratch.join("written")))?;
        Ok(load)
    }

    fn add(&mut self, command: &mut Command) -> Outcome<()> {
        self.0.push(command.stdout(Stdio::null()).process_group(0).spawn()?);
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
