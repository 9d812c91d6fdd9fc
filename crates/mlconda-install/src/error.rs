//! Why an installation failed.

use std::{io, path::PathBuf, time::Duration};

use mlconda_types::progress::Task;

/// An installation that failed. Unless it is [`InstallError::PartlyChanged`], the prefix is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Another process is at it.
    #[error("another mlconda is installing into `{}`", .prefix.display())]
    Busy {
        /// The prefix.
        prefix: PathBuf,
    },
    /// Another process has changed the prefix since the plan was made.
    #[error("`{}` has changed meanwhile", .prefix.display())]
    Changed {
        /// The prefix.
        prefix: PathBuf,
    },
    /// It was told to stop ([`Stop`]).
    #[error("the installation was stopped")]
    Stopped,
    /// It could not be undone either.
    #[error("`{}` has changed in part and could not be changed back ({back}); the next installation makes it whole", .prefix.display())]
    PartlyChanged {
        /// The prefix.
        prefix: PathBuf,
        /// Why it could not be changed back.
        back: io::Error,
        /// Why the installation failed.
        #[source]
        source: Box<InstallError>,
    },
    /// A file is where a directory is to be made.
    #[error("`{}` is no directory that can hold environments", .path.display())]
    Parent {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No program could work there.
    #[error("`{}` cannot be a prefix: {reason}", .prefix.display())]
    Unusable {
        /// The prefix.
        prefix: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The directory holds other things.
    #[error("`{}` holds files but no environment", .prefix.display())]
    Occupied {
        /// The prefix.
        prefix: PathBuf,
    },
    /// An archive did not come.
    #[error("cannot get `{package}` from {url}")]
    Download {
        /// The package's file name.
        package: String,
        /// Where it was to come from, without secrets.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive is not the one that was locked.
    #[error("`{package}` from {url} is not what the lock says: its {kind} is {found}, not {expected}")]
    Digest {
        /// The package's file name.
        package: String,
        /// Where it came from, without secrets.
        url: String,
        /// `sha256` or `md5`.
        kind: &'static str,
        /// The lock's, in hex.
        expected: String,
        /// The archive's, in hex.
        found: String,
    },
    /// A package in the cache is damaged, and cannot be fetched again.
    #[error("`{package}` is damaged in the cache, and network access is disabled")]
    Damaged {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An archive is damaged, or holds what no package may.
    #[error("the package `{package}` is not sound")]
    Package {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A path is a directory for one and a file or a link for another.
    #[error("`{}` is a directory for {} and a {kind} for {}", .path.display(), named(.directory, "one package"), named(.other, "another"))]
    PathTypeClash {
        /// The path, relative to the prefix.
        path: PathBuf,
        /// The package that has something in it, by file name without extension, if it is known.
        directory: Option<String>,
        /// The package that it is something else for, if it is known.
        other: Option<String>,
        /// `file` or `link`.
        kind: &'static str,
    },
    /// A directory with files of nobody stands where a file is to be.
    #[error("`{}` is to be a package's file and is a directory, in which `{}` belongs to no package", .path.display(), .inner.display())]
    DirectoryInTheWay {
        /// The directory, relative to the prefix.
        path: PathBuf,
        /// One of the files, relative to the prefix.
        inner: PathBuf,
    },
    /// A link that no package has made stands where files of packages, or the program's own, are to be.
    #[error("`{}` is a link to `{}` that no package has made, and nothing is written or removed through it", .path.display(), .to.display())]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// What is written down of an interrupted installation may be somebody else's.
    #[error("`{}` tells how to undo an installation, but {reason}; nothing of it was done", .path.display())]
    Untrusted {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
    /// A record's name, version or build is not a part of a file name.
    #[error("the record of `{name}` in `{}` is not sound: its file would be `{}`", .prefix.display(), .file.display())]
    RecordName {
        /// The prefix.
        prefix: PathBuf,
        /// The package's name.
        name: String,
        /// What name, version and build make as a path.
        file: PathBuf,
    },
    /// A link out of the prefix.
    #[error("the link `{}` of `{package}` points out of the prefix, to `{}`", .path.display(), .to.display())]
    OutwardLink {
        /// The package's name.
        package: String,
        /// The link, relative to the prefix.
        path: PathBuf,
        /// Where it points.
        to: PathBuf,
    },
    /// The prefix is longer than the room that a program has for it.
    #[error("the prefix has {prefix} bytes, but `{}` of `{package}` has room for {room}", .path.display())]
    PrefixTooLong {
        /// The package's name.
        package: String,
        /// The file, relative to the prefix.
        path: PathBuf,
        /// The prefix's length in bytes.
        prefix: usize,
        /// The room in bytes.
        room: usize,
    },
    /// A noarch python package, or one of pip, in an environment without python.
    #[error("`{package}` is a package for python, but the lock has no python to link it for")]
    NoPython {
        /// The package's file name.
        package: String,
    },
    /// A conda package is the same distribution as a package of pip.
    #[error("`{package}` is from a channel and `{wheel}` is not, but both are the python distribution `{name}`")]
    SameDistribution {
        /// The distribution's name, normalized.
        name: String,
        /// The conda package, by file name without extension.
        package: String,
        /// The wheel's file name.
        wheel: String,
    },
    /// A wheel is for another python or platform.
    #[error("`{wheel}` is not for {machine}")]
    WrongTags {
        /// The wheel's file name.
        wheel: String,
        /// The python and the machine that the lock is for.
        machine: String,
    },
    /// A package has to be built, and pip is what does that.
    #[error("`{package}` has to be built from its sources, but the environment has no pip to do that")]
    NoPip {
        /// The package's name.
        package: String,
    },
    /// A package has to be built, which runs its code.
    #[error("`{package}` has to be built from its sources, which runs code of the package")]
    BuildSkipped {
        /// The package's name.
        package: String,
    },
    /// The sources of a package are in a git repository, and network access is disabled.
    #[error("`{package}` has to be fetched with git, and network access is disabled")]
    GitOffline {
        /// The package's name.
        package: String,
    },
    /// pip could not build or install a package.
    #[error("pip could not install `{package}` ({status}):\n{output}")]
    Build {
        /// The package's name.
        package: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A script failed.
    #[error("the script `{}` of `{package}` failed with {status}:\n{output}", .script.display())]
    Script {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it printed, and what it left in `.messages.txt`.
        output: String,
    },
    /// A script or a build has not ended in time, and was stopped.
    #[error("{} of `{package}` has not ended within {} seconds, and was stopped{}{output}", .task.name(), .limit.as_secs(), if .output.is_empty() { "" } else { ":\n" })]
    Expired {
        /// What it was.
        task: Task,
        /// The package's name.
        package: String,
        /// How long it was given.
        limit: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// A script cannot run.
    #[error("`{package}` has the script `{}`, but there is no shell to run it", .script.display())]
    NoShell {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
    },
}

/// A package in a message.
fn named(package: &Option<String>, unknown: &str) -> String {
    package.as_ref().map_or_else(|| unknown.to_owned(), |package| format!("`{package}`"))
}
