//! What the library has to say while it works: a stream of typed events.
//!
//! The library cannot talk; whoever calls it implements [`Progress`], or passes `&()` and hears nothing.
//! Events are facts, not words: a user interface makes the words.

use std::{path::PathBuf, time::Duration};

/// One thing that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Loading repodata of this channel and subdir begins.
    RepodataStarted {
        /// The subdir's URL, without secrets.
        subdir: String,
    },
    /// Repodata of this channel and subdir is loaded.
    RepodataFinished {
        /// The subdir's URL, as in [`Event::RepodataStarted`].
        subdir: String,
        /// How many records the solver may choose from.
        records: usize,
    },
    /// What was loaded of this subdir some time ago is used, and its channel was not asked.
    RepodataFromCache {
        /// The subdir's URL, as in [`Event::RepodataStarted`].
        subdir: String,
        /// How long ago the channel said last that this is what it has; `None` if that cannot be, by the clock.
        age: Option<Duration>,
    },
    /// The SAT solver begins.
    SolveStarted {
        /// How many records it chooses from.
        records: usize,
    },
    /// The SAT solver has an answer.
    SolveFinished {
        /// How many packages the answer holds.
        packages: usize,
    },
    /// The resolver begins with the `pip:` list.
    PipStarted {
        /// How many requirements it has, with those of the files that it names.
        requirements: usize,
    },
    /// The `pip:` list is resolved.
    PipFinished {
        /// How many packages it adds.
        packages: usize,
    },
    /// An installation begins.
    InstallStarted {
        /// The prefix.
        prefix: PathBuf,
        /// How many packages are to be linked.
        packages: usize,
        /// How many bytes are to be downloaded, where the lock says so for every package.
        bytes: Option<u64>,
    },
    /// More bytes of a package have arrived.
    Downloaded {
        /// How many more.
        bytes: u64,
    },
    /// Bytes that had arrived are of no use: they will be downloaded again, or the download has failed.
    DownloadedAgain {
        /// How many.
        bytes: u64,
    },
    /// A package was on this machine already, in a file or in the cache, and is in place now.
    Local {
        /// The size of its archive.
        bytes: u64,
    },
    /// A download failed and will be tried again.
    Retrying {
        /// The package's file name.
        package: String,
        /// What went wrong, without secrets.
        reason: String,
    },
    /// A package in the cache was not what it was when it got in. It has been thrown out, and is fetched again.
    CacheDamaged {
        /// The package's file name.
        package: String,
        /// What was wrong with it.
        reason: String,
    },
    /// Packages could not be put into the cache, or not be read or mended there; the installation did without.
    CacheNotWritten {
        /// The reason.
        reason: String,
    },
    /// A package's files are in place (aside, until the swap).
    PackageInstalled {
        /// The package's file name.
        package: String,
    },
    /// Python begins to compile the modules of noarch packages.
    BytecodeStarted {
        /// How many there are.
        modules: usize,
    },
    /// All is put together aside, and begins to get its place in the prefix.
    Committing,
    /// A package's post-link script begins.
    LinkScript {
        /// The package's name.
        package: String,
    },
    /// Code of a package, or python at work for packages, runs for long and has not ended. It comes after ten seconds, and again
    /// each time that it has run for twice as long.
    StillRunning {
        /// What runs.
        task: Task,
        /// The package's name.
        package: String,
        /// How long it has run, or has not answered.
        elapsed: Duration,
        /// When it is stopped.
        limit: Option<Duration>,
    },
    /// The prefix's pip begins to build a package from its sources.
    Building {
        /// The package's name.
        package: String,
    },
    /// A prefix is compared with its records.
    VerifyStarted {
        /// How many files are to be read.
        files: usize,
        /// Their size, as far as the records tell it.
        bytes: u64,
    },
    /// More bytes of the prefix's files have been read.
    Verified {
        /// How many more.
        bytes: u64,
    },
    /// A server does not answer, sends next to nothing, or has asked for a pause.
    Waiting {
        /// What was asked for, without secrets.
        url: String,
        /// How long it has been waited for.
        waited: Duration,
        /// What is waited for.
        reason: String,
    },
    /// Something the user should know of, and that stops nothing.
    Warning(String),
}

/// What runs as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A post-link script.
    PostLink,
    /// A pre-unlink script.
    PreUnlink,
    /// pip, which builds a package.
    Build,
    /// python, which compiles modules.
    Bytecode,
}

impl Task {
    /// The word for it, with its article.
    pub fn name(self) -> &'static str {
        match self {
            Self::PostLink => "the post-link script",
            Self::PreUnlink => "the pre-unlink script",
            Self::Build => "the build",
            Self::Bytecode => "the byte-code compiler",
        }
    }
}

/// Hears of events; called from several threads at once.
pub trait Progress: Send + Sync {
    /// Takes one event. It is called on hot paths: it should be quick, and must not block.
    fn event(&self, event: Event);
}

impl Progress for () {
    fn event(&self, _event: Event) {}
}
