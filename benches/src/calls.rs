//! Counts system calls: files should be written once, and no file should be checked without need.

use std::{collections::BTreeMap, path::Path, process::Command};

use mlconda::PrefixRecord;

use crate::Outcome;

/// The number of calls for each system call.
pub(crate) struct Calls(BTreeMap<String, u64>);

/// Runs a command under `strace -c`; `None` if strace is not installed.
pub(crate) fn count(command: &mut Command, scratch: &Path) -> Outcome<Option<Calls>> {
    let report = scratch.join("calls");
    let mut traced = Command::new("strace");
    // Calls that open files are listed one by one, because only the new files among them count.
    traced.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&report).arg(command.get_program());
    traced.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    match traced.status() {
        Err(_) => return Ok(None),
        Ok(status) if !status.success() => return Err(format!("failed under strace: {command:?}").into()),
        Ok(_) => {}
    }
    let mut calls = BTreeMap::new();
    for line in String::from_utf8_lossy(&fs_err::read(&report)?).lines() {
        // `PID call(arguments) = result`. A call that another thread interrupts continues on a line of its own.
        let Some((_, line)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = line.trim_start().split_once('(') else { continue };
        let created = call == "openat" && arguments.contains("O_CREAT");
        if call.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            *calls.entry(if created { "openat, new".to_owned() } else { call.to_owned() }).or_default() += 1;
        }
    }
    Ok(Some(Calls(calls)))
}

/// The number of files and links in the records of a prefix, including the records.
pub(crate) fn files(prefix: &Path) -> Outcome<usize> {
    let mut files = 0;
    for entry in fs_err::read_dir(prefix.join("conda-meta"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files += 1 + PrefixRecord::from_path(path)?.files.len();
        }
    }
    Ok(files)
}

impl Calls {
    /// A table of the calls that are made more than once per hundred files.
    pub(crate) fn render(&self, what: &str, files: usize) -> String {
        let each = |count: u64| count as f64 / files as f64;
        let making = ["openat, new", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"];
        let made: u64 = making.iter().filter_map(|call| self.0.get(*call)).sum();
        let mut text = format!(
            "\n{what}: {files} files, {:.2} creates, links and unlinks for each\n\n| call | count | for each file |\n|---|---|---|\n",
            each(made)
        );
        let mut calls: Vec<_> = self.0.iter().filter(|(_, count)| each(**count) > 0.01).collect();
        calls.sort_by_key(|(call, count)| (std::cmp::Reverse(**count), *call));
        for (call, count) in calls {
            text += &format!("| {call} | {count} | {:.2} |\n", each(*count));
        }
        text
    }
}
