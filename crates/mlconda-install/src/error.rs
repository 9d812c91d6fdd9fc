//! Why an installation failed.

use std::{io, path::PathBuf, time::Duration};

use mlconda_types::progress::Task;

/// Why an installation failed. The prefix is as it was before, except after [`InstallError::PartlyChanged`].
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Another process is changing the prefix.
    #[error("another mlconda is installing into `{}`", .prefix.display())]
    Busy {
        /// The prefix.
        prefix: PathBuf,
    },
    /// Another process has changed the prefix since the plan was made.
    #[error("`{}` was changed by another process in the meantime", .prefix.display())]
    Changed {
        /// The prefix.
        prefix: PathBuf,
    },
    /// Another process has renamed a directory of the installation, and may have put a link in its place.
    #[error("`{}` was replaced during the installation; nothing was written to the new one", .path.display())]
    Replaced {
        /// The directory.
        path: PathBuf,
    },
    /// The installation was stopped by [`Stop`](super::Stop).
    #[error("the installation was stopped")]
    Stopped,
    /// The installation failed, and the changes could not be rolled back.
    #[error("`{}` has changed in part and could not be restored ({back}); the next installation completes it", .prefix.display())]
    PartlyChanged {
        /// The prefix.
        prefix: PathBuf,
        /// Why the rollback failed.
        back: io::Error,
        /// Why the installation failed.
        #[source]
        source: Box<InstallError>,
    },
    /// A directory above the prefix could not be created.
    #[error("cannot create the directory `{}` for environments", .path.display())]
    Parent {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path cannot be a prefix, because packages would not work there.
    #[error("`{}` cannot be a prefix: {reason}", .prefix.display())]
    Unusable {
        /// The prefix.
        prefix: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The directory contains other files and is not an environment.
    #[error("`{}` holds files but no environment", .prefix.display())]
    Occupied {
        /// The prefix.
        prefix: PathBuf,
    },
    /// An archive could not be read or downloaded.
    #[error("cannot get `{package}` from {url}")]
    Download {
        /// The package's file name.
        package: String,
        /// Its URL, without secrets.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hash of an archive differs from the lock.
    #[error("`{package}` from {url} is not what the lock says: its {kind} is {found}, not {expected}")]
    Digest {
        /// The package's file name.
        package: String,
        /// Its URL, without secrets.
        url: String,
        /// `sha256` or `md5`.
        kind: &'static str,
        /// The hash in the lock, in hex.
        expected: String,
        /// The actual hash, in hex.
        found: String,
    },
    /// The hash of an archive in a bundle differs from the lock.
    #[error("`{package}` in `{}` is not what the lock says: its sha256 is {found}, not {expected}", .file.display())]
    Packed {
        /// The package's file name.
        package: String,
        /// The bundle.
        file: PathBuf,
        /// The hash in the lock, in hex.
        expected: String,
        /// The actual hash, in hex.
        found: String,
    },
    /// A package in the cache is damaged, and cannot be downloaded again.
    #[error("`{package}` is damaged in the cache, and network access is disabled")]
    Damaged {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An archive is damaged, or contains something that is not allowed in a package.
    #[error("the package `{package}` is invalid")]
    Package {
        /// The package's file name.
        package: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A path is a directory for one package, and a file or a link for another.
    #[error("`{}` is a directory in {} and a {kind} in {}", .path.display(), named(.directory, "one package"), named(.other, "another"))]
    PathTypeClash {
        /// The path, relative to the prefix.
        path: PathBuf,
        /// The package for which it is a directory, by file name without extension, if known.
        directory: Option<String>,
        /// The package for which it is a file or a link, if known.
        other: Option<String>,
        /// `file` or `link`.
        kind: &'static str,
    },
    /// A package has files below a link of another package, but the user has removed or replaced that link.
    #[error("the link `{}` of `{link}` was removed or replaced, but {} has files below it", .path.display(), named(.directory, "a package"))]
    ReplacedLink {
        /// The path of the link, relative to the prefix.
        path: PathBuf,
        /// The package that made the link, by file name without extension.
        link: String,
        /// The package with files below the link, if known.
        directory: Option<String>,
    },
    /// A directory with untracked files is at the path of a package's file.
    #[error("cannot replace the directory `{}` with a file of a package: `{}` in it belongs to no package", .path.display(), .inner.display())]
    DirectoryInTheWay {
        /// The directory, relative to the prefix.
        path: PathBuf,
        /// One of the files, relative to the prefix.
        inner: PathBuf,
    },
    /// An untracked file is at the path of a directory of packages.
    #[error("`{}` must become a directory of a package, but it is a file that belongs to no package", .path.display())]
    FileInTheWay {
        /// The file, relative to the prefix.
        path: PathBuf,
    },
    /// An untracked soft link is at the path of a package's directory, or of a directory of the installation itself.
    #[error("`{}` is a link to `{}` that belongs to no package; nothing is written or removed through it", .path.display(), .to.display())]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// The target of the link.
        to: PathBuf,
    },
    /// The journal of an interrupted installation may have been written by another user.
    #[error("cannot undo an interrupted installation with `{}`: it {reason}", .path.display())]
    Untrusted {
        /// The journal.
        path: PathBuf,
        /// The reason as a verb phrase, such as `is not a regular file`.
        reason: String,
    },
    /// Name, version or build of a record cannot be used as a file name.
    #[error("the record of `{name}` in `{}` is invalid: its file name would be `{}`", .prefix.display(), .file.display())]
    RecordName {
        /// The prefix.
        prefix: PathBuf,
        /// The package's name.
        name: String,
        /// The file name that results from name, version and build.
        file: PathBuf,
    },
    /// A soft link of a package points out of the prefix.
    #[error("the link `{}` of `{package}` points out of the prefix, to `{}`", .path.display(), .to.display())]
    OutwardLink {
        /// The package's name.
        package: String,
        /// The link, relative to the prefix.
        path: PathBuf,
        /// The target of the link.
        to: PathBuf,
    },
    /// The prefix is longer than the placeholder in a binary file, which it must replace.
    #[error("the prefix has {prefix} bytes, but `{}` of `{package}` has room for {room}", .path.display())]
    PrefixTooLong {
        /// The package's name.
        package: String,
        /// The file, relative to the prefix.
        path: PathBuf,
        /// The prefix's length in bytes.
        prefix: usize,
        /// The length of the placeholder in bytes.
        room: usize,
    },
    /// A noarch python package or a wheel needs python, but the environment has none.
    #[error("`{package}` is a package for python, but the lock has no python")]
    NoPython {
        /// The package's file name.
        package: String,
    },
    /// A conda package and a wheel are the same python distribution.
    #[error("`{package}` from a channel and `{wheel}` from pip are the same python distribution: `{name}`")]
    SameDistribution {
        /// The distribution's name, normalized.
        name: String,
        /// The conda package, by file name without extension.
        package: String,
        /// The wheel's file name.
        wheel: String,
    },
    /// A wheel does not fit the python or the platform of the lock.
    #[error("`{wheel}` is not for {machine}")]
    WrongTags {
        /// The wheel's file name.
        wheel: String,
        /// The python and the machine that the lock is for.
        machine: String,
    },
    /// A package must be built, but the environment has no pip.
    #[error("`{package}` has to be built from its sources, but the environment has no pip to do that")]
    NoPip {
        /// The package's name.
        package: String,
    },
    /// A package must be built, which runs its code, but scripts are skipped.
    #[error("`{package}` has to be built from its sources, which runs code of the package")]
    BuildSkipped {
        /// The package's name.
        package: String,
    },
    /// The sources of a package are in a git repository, but the installation is offline.
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
        /// Its exit status.
        status: String,
        /// The end of pip's output.
        output: String,
    },
    /// A script failed.
    #[error("the script `{}` of `{package}` failed with {status}:\n{output}", .script.display())]
    Script {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
        /// Its exit status.
        status: String,
        /// The end of its output, with the text of `.messages.txt`.
        output: String,
    },
    /// A script or a build exceeded its time limit, and was stopped.
    #[error("{} of `{package}` has not ended within {} seconds, and was stopped{}{output}", .task.name(), .limit.as_secs(), if .output.is_empty() { "" } else { ":\n" })]
    Expired {
        /// The kind of task.
        task: Task,
        /// The package's name.
        package: String,
        /// The time limit.
        limit: Duration,
        /// The end of its output.
        output: String,
    },
    /// A script cannot run, because there is no shell.
    #[error("`{package}` has the script `{}`, but there is no shell to run it", .script.display())]
    NoShell {
        /// The package's name.
        package: String,
        /// The script, relative to the prefix.
        script: PathBuf,
    },
}

mlconda_types::debug_as_words!(InstallError);

/// The name of a package for messages.
fn named(package: &Option<String>, unknown: &str) -> String {
    package.as_ref().map_or_else(|| unknown.to_owned(), |package| format!("`{package}`"))
}
