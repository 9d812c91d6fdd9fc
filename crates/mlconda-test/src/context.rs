//! The context of one test: a home, a root prefix and a working directory of its own, and a `mlconda` that sees nothing
//! else.
//!
//! If something cannot be set up, the functions panic, because the test would prove nothing. The result of a command is
//! one text with the exit code and both streams, in which everything that differs between machines and runs is
//! replaced.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot set up its world must stop")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    small::{self, SmallChannels},
    tree,
};

/// The context of one test. Its directories are removed when it is dropped.
#[derive(Debug)]
pub struct TestContext {
    program: PathBuf,
    directory: TempDir,
    /// Texts to be replaced in snapshots, and their replacements.
    filters: Vec<(String, String)>,
}

/// The result of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The exit code; −1 if a signal ended it.
    pub code: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// All three, with the texts that differ between machines replaced.
    snapshot: String,
}

impl TestContext {
    /// A context for a program `mlconda`: `TestContext::new(env!("CARGO_BIN_EXE_mlconda"))` in the integration tests.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let directory = tempfile::Builder::new().prefix("mlconda-test-").tempdir().unwrap();
        let place = directory.path().canonicalize().unwrap();
        for name in ["home", "work", "developer"] {
            fs_err::create_dir(place.join(name)).unwrap();
        }
        let filters = vec![
            (place.display().to_string(), "[TEMP]".to_owned()),
            (crate::host_subdir().to_owned(), "[HOST]".to_owned()),
            (crate::foreign_subdir().to_owned(), "[FOREIGN]".to_owned()),
        ];
        Self { program: program.into(), directory, filters }
    }

    /// The directory that contains all others of this context.
    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    /// The home directory, `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// The home of the developer who makes the locks.
    pub fn developer(&self) -> PathBuf {
        self.path().join("developer")
    }

    /// The root prefix, `$MLCONDA_ROOT`; it does not exist at first.
    pub fn root_prefix(&self) -> PathBuf {
        self.path().join("root")
    }

    /// The prefix of a named environment.
    pub fn named_prefix(&self, name: &str) -> PathBuf {
        self.root_prefix().join("envs").join(name)
    }

    /// The working directory, in which commands run.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// The channels that all tests share, for reading only.
    pub fn channels(&self) -> &'static SmallChannels {
        small::shared()
    }

    /// Writes a file into the working directory. `${CHANNELS}` in its text becomes the URL of the directory with the
    /// small channels.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let channels = format!("file://{}", small::shared().directory().display());
        let path = self.work().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text.replace("${CHANNELS}", &channels)).unwrap();
        path
    }

    /// Writes an `environment.yml` with these dependencies from the channel `main`.
    pub fn write_environment(&self, dependencies: &[&str]) -> PathBuf {
        let lines: String = dependencies.iter().map(|spec| format!("  - {spec}\n")).collect();
        let list = if lines.is_empty() { " []\n".to_owned() } else { format!("\n{lines}") };
        self.write("environment.yml", &format!("name: small\nchannels:\n  - ${{CHANNELS}}/main\ndependencies:{list}"))
    }

    /// Writes a lock by hand, with packages of the channel `main` in this order. Each package is given by the beginning
    /// of its archive's file name. `url` is the URL of the channel; `None` for its directory.
    pub fn write_lock(&self, name: &str, url: Option<&str>, packages: &[&str]) -> PathBuf {
        let channel = &small::shared().main;
        let url = url.map_or_else(|| channel.url(), str::to_owned);
        let mut text = format!("# platform: {}\n@EXPLICIT\n", crate::host_subdir());
        for package in packages {
            let found = [crate::host_subdir(), "noarch"].into_iter().find_map(|subdir| {
                let archives = channel.archives(subdir).unwrap();
                let archive = archives.into_iter().find(|archive| archive.starts_with(package))?;
                Some(format!("{subdir}/{archive}"))
            });
            let path = found.unwrap_or_else(|| panic!("the channel `main` has no {package}"));
            let digest = crate::sha256_hex(fs_err::read(channel.path().join(&path)).unwrap());
            text.push_str(&format!("{url}/{path}#sha256:{digest}\n"));
        }
        self.write(name, &text)
    }

    /// Locks the environment.yml in the working directory, as a developer does on another machine: with another home,
    /// so that `install` does not find the cache of `lock`.
    pub fn lock(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(&self.program);
        command.arg("lock").args(arguments).env("HOME", self.developer());
        self.outcome(&mut command)
    }

    /// Locks these dependencies from the channel `main` into a file of the working directory.
    #[track_caller]
    pub fn locked(&self, name: &str, dependencies: &[&str]) -> PathBuf {
        self.write_environment(dependencies);
        self.lock(&["-o", name]).success();
        self.work().join(name)
    }

    /// Reads a file of the working directory.
    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.work().join(name)).unwrap()
    }

    /// Replaces a text in the snapshots of this test, for example a port.
    pub fn filter(&mut self, text: &str, by: &str) {
        self.filters.insert(0, (text.to_owned(), by.to_owned()));
    }

    /// A command in this context, not started yet. Its environment has only a minimal `PATH` and the variables of the
    /// context.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home())
            .env("MLCONDA_ROOT", self.root_prefix())
            .env("TMPDIR", self.path())
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs `mlconda`.
    pub fn mlconda<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.mlconda_with(arguments, &[])
    }

    /// A `mlconda` in this context, not started yet.
    pub fn mlconda_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments);
        command
    }

    /// Runs `mlconda` with additional environment variables.
    pub fn mlconda_with<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(&str, &str)],
    ) -> Outcome {
        let mut command = self.command(&self.program);
        command.args(arguments).envs(variables.iter().copied());
        self.outcome(&mut command)
    }

    /// Runs any program in this world.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Outcome {
        self.outcome(self.command(program).args(arguments))
    }

    /// Runs a command of [`Self::command`] to its end.
    pub fn outcome(&self, command: &mut Command) -> Outcome {
        self.outcome_of(&command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// The result of a command, from its output.
    pub fn outcome_of(&self, output: &Output) -> Outcome {
        let code = output.status.code().unwrap_or(-1);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let snapshot =
            self.normal(&format!("exit code {code}\n--- stdout\n{}--- stderr\n{}", ended(&stdout), ended(&stderr)));
        Outcome { code, stdout, stderr, snapshot }
    }

    /// All files of this context, to compare them before and after a command.
    pub fn tree(&self) -> BTreeMap<String, String> {
        tree::tree(&self.path()).unwrap()
    }

    /// A text in which everything that differs between machines and runs is replaced.
    pub fn normal(&self, text: &str) -> String {
        let channels = small::shared().directory().display().to_string();
        let mut text = text.replace(&channels, "[CHANNELS]");
        for (from, to) in &self.filters {
            text = text.replace(from, to);
        }
        text = after(&text, "127.0.0.1:", "[PORT]");
        text = after(&text, "(os error ", "[NUMBER]");
        // The sizes of a channel's archives depend on the version of the compressor.
        for size in ["# size: ", "\"size\": ", "\"download_size\": "] {
            text = after(&text, size, "[SIZE]");
        }
        [hashes as fn(&str) -> String, measures].iter().fold(text, |text, filter| filter(&text))
    }
}

impl Outcome {
    /// The outcome of a command that must succeed.
    ///
    /// # Panics
    ///
    /// If it failed; the message has its output.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.code == 0, "was to succeed:\n{self}");
        self
    }

    /// The outcome of a command that must fail.
    ///
    /// # Panics
    ///
    /// If the exit code is another one; the message has its output.
    #[track_caller]
    pub fn failure(self, code: i32) -> Self {
        assert!(self.code == code, "was to fail with {code}:\n{self}");
        self
    }
}

/// For snapshots.
impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.snapshot.trim_end())
    }
}

/// A text with a line break at its end, unless it is empty.
fn ended(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// Replaces the digits after a text.
fn after(text: &str, before: &str, by: &str) -> String {
    let mut pieces = text.split(before);
    let mut normal = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|letter: char| letter.is_ascii_digit());
        normal.push_str(before);
        normal.push_str(if rest.len() < piece.len() { by } else { "" });
        normal.push_str(rest);
    }
    normal
}

/// Replaces 64 hexadecimal digits by `[SHA256]`, and 32 by `[MD5]`.
fn hashes(text: &str) -> String {
    words(
        text,
        |letter| letter.is_ascii_alphanumeric(),
        |word| {
            let hexadecimal = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            match (hexadecimal, word.len()) {
                (true, 64) => Some("[SHA256]"),
                (true, 32) => Some("[MD5]"),
                _ => None,
            }
            .map(str::to_owned)
        },
    )
}

/// Replaces numbers with a unit by `[TIME]` and `[SIZE]`: times, and sizes of compiled programs, must not be part of a
/// snapshot.
fn measures(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let number = |word: &str| {
            word.trim_start_matches('(').parse::<f64>().is_ok() || word.replace(',', "").parse::<u64>().is_ok()
        };
        // The duration of a command may be at the end of a line.
        let is_duration = word.starts_with("s.\n") && words.last().is_some_and(|last| last.contains('.'));
        let word_end = if is_duration { 2 } else { word.len() };
        let letters = word[..word_end].trim_matches(|letter: char| !letter.is_ascii_alphabetic());
        let kind = match letters {
            "ms" | "s" | "seconds" | "min" => "[TIME]",
            "B" | "bytes" | "KB" | "kB" | "KiB" | "MB" | "MiB" | "GB" | "GiB" => "[SIZE]",
            _ => "",
        };
        match words.last() {
            Some(last) if !kind.is_empty() && number(last.rsplit('\n').next().unwrap_or(last)) => {
                let last = words.pop().unwrap();
                let digits = last.trim_end_matches(|letter: char| letter.is_ascii_digit() || ".,".contains(letter));
                words.push(format!("{digits}{}", word.replacen(letters, kind, 1)));
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// A text in which some words are replaced.
fn words(text: &str, letter: fn(char) -> bool, replace: fn(&str) -> Option<String>) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|one| !letter(one)).unwrap_or(rest.len());
        normal.push_str(&replace(&rest[..word]).unwrap_or_else(|| rest[..word].to_owned()));
        let between = rest[word..].find(letter).unwrap_or(rest.len() - word);
        normal.push_str(&rest[word..word + between]);
        rest = &rest[word + between..];
    }
    normal
}

/// A path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[cfg(test)]
mod tests {
    use super::{after, hashes, measures};

    #[test]
    fn what_differs_between_runs_is_replaced() {
        assert_eq!(after("at 127.0.0.1:4711/main", "127.0.0.1:", "[PORT]"), "at 127.0.0.1:[PORT]/main");
        assert_eq!(hashes(&format!("#{},", "0a".repeat(32))), "#[SHA256],");
        assert_eq!(measures("Installed 3 packages (1.5 MB) in 20 ms."), "Installed 3 packages ([SIZE]) in [TIME].");
        assert_eq!(measures("12,345 bytes\n17 s"), "[SIZE]\n[TIME]");
    }
}
