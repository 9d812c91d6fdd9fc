//! Command lines of conda, mamba and micromamba, as in Dockerfiles: the program is called by these names.

mod change;
mod channels;
mod configured;
mod directories;
mod refusals;
mod revisions;
mod views;

use std::{os::unix::fs::symlink, path::PathBuf, process::Command};

use mlconda_test::context::{Outcome, TestContext};

/// A context in which the program has conda's names, and `main` is the configured channel.
pub(crate) struct World {
    pub(crate) context: TestContext,
    bin: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let context = crate::world();
        let bin = context.path().join("bin");
        fs_err::create_dir(&bin).unwrap();
        for name in ["conda", "mamba", "micromamba", "mlconda"] {
            symlink(crate::program(), bin.join(name)).unwrap();
        }
        Self { context, bin }
    }

    /// Runs a command line, split at white space.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.run_with(line, &[])
    }

    pub(crate) fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Outcome {
        self.context.outcome(&mut self.command(line, variables))
    }

    /// The command of a line.
    pub(crate) fn command(&self, line: &str, variables: &[(&str, &str)]) -> Command {
        let mut words = line.split_whitespace();
        let channel = format!("file://{}/main", self.context.channels().directory().display());
        let mut command = self.context.command(self.bin.join(words.next().unwrap()));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin.display())).env("CONDA_CHANNELS", channel);
        command.args(words).envs(variables.iter().copied());
        command
    }

    /// Runs a line with a shell, as `RUN` does.
    pub(crate) fn shell(&self, line: &str) -> Outcome {
        let channel = format!("file://{}/main", self.context.channels().directory().display());
        let mut command = self.context.command("/bin/sh");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin.display())).env("CONDA_CHANNELS", channel);
        self.context.outcome(command.args(["-c", line]))
    }

    /// The installed packages as `name version`.
    pub(crate) fn installed(&self, name: &str) -> Vec<String> {
        let out = self.run(&format!("conda list -n {name} --export")).success().stdout;
        let lines = out.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once('=').unwrap().0.replace('=', " ")).collect()
    }

    /// The requested specs in the history.
    pub(crate) fn asked(&self, name: &str) -> String {
        let prefix = if name == "base" { self.context.root_prefix() } else { self.context.named_prefix(name) };
        let history = fs_err::read_to_string(prefix.join("conda-meta/history")).unwrap();
        let lines = history.lines().filter(|line| line.contains("specs:") || line.starts_with("# cmd"));
        lines.collect::<Vec<_>>().join("\n")
    }
}
