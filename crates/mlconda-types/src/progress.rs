//! Progress of the library, as a stream of typed events.
//!
//! The library prints nothing. A caller implements [`Progress`], or passes `&()` to ignore all events. Events are data;
//! the user interface writes the texts.

use std::{path::PathBuf, time::Duration};

/// An event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Loading the repodata of a subdir begins.
    RepodataStarted {
        /// The subdir's URL, without secrets.
        subdir: String,
    },
    /// The repodata of a subdir is loaded.
    RepodataFinished {
        /// The subdir's URL, as in [`Event::RepodataStarted`].
        subdir: String,
        /// The number of its records.
        records: usize,
    },
    /// Cached repodata of a subdir is used, and the channel was not asked.
    RepodataFromCache {
        /// The subdir's URL, as in [`Event::RepodataStarted`].
        subdir: String,
        /// The time since the channel last confirmed it; `None` if the clock makes no sense.
        age: Option<Duration>,
    },
    /// The solver begins.
    SolveStarted {
        /// The number of records.
        records: usize,
    },
    /// The solver has found a solution.
    SolveFinished {
        /// The number of its packages.
        packages: usize,
    },
    /// The resolver begins with the `pip:` list.
    PipStarted {
        /// The number of requirements, with those of the files that the list names.
        requirements: usize,
    },
    /// The `pip:` list is resolved.
    PipFinished {
        /// The number of packages that it adds.
        packages: usize,
    },
    /// An installation begins.
    InstallStarted {
        /// The prefix.
        prefix: PathBuf,
        /// The number of packages to link.
        packages: usize,
        /// The number of bytes to download, if the lock has the size of every package.
        bytes: Option<u64>,
    },
    /// The staging of packages for an image begins. The following events are those of an installation.
    StagingStarted {
        /// The prefix in the image.
        prefix: PathBuf,
        /// The number of packages.
        packages: usize,
        /// The number of bytes to download, if the lock has the size of every package.
        bytes: Option<u64>,
    },
    /// More bytes of a package were downloaded.
    Downloaded {
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// Downloaded bytes were discarded: either they are downloaded again, or the download has failed.
    DownloadedAgain {
        /// The number of bytes.
        bytes: u64,
    },
    /// A package was found as a local file or in the cache, and was linked.
    Local {
        /// The size of its archive, in bytes.
        bytes: u64,
    },
    /// A download failed and is tried again.
    Retrying {
        /// The package's file name.
        package: String,
        /// The reason, without secrets.
        reason: String,
    },
    /// A package in the cache is damaged. It was removed, and is downloaded again.
    CacheDamaged {
        /// The package's file name.
        package: String,
        /// The reason.
        reason: String,
    },
    /// Packages could not be cached, or not be repaired in the cache. The installation went on without the cache.
    CacheNotWritten {
        /// The reason.
        reason: String,
    },
    /// The files of a package are in place (in the staging directory until the commit).
    PackageInstalled {
        /// The package's file name.
        package: String,
    },
    /// Python begins to compile modules of noarch packages.
    BytecodeStarted {
        /// The number of modules.
        modules: usize,
    },
    /// Everything is staged, and the commit begins.
    Committing,
    /// A package's post-link script begins.
    LinkScript {
        /// The package's name.
        package: String,
    },
    /// A script, a build or Python has been running for long. The event comes after ten seconds, and then each time
    /// that the elapsed time has doubled.
    StillRunning {
        /// What runs.
        task: Task,
        /// The package's name.
        package: String,
        /// How long it has been running, or has printed nothing.
        elapsed: Duration,
        /// The elapsed time at which it is killed; `None` if it is not.
        limit: Option<Duration>,
    },
    /// The installation waits until the disk has stored what was written. The event comes after ten seconds, and then
    /// each time that the elapsed time has doubled.
    WaitingForDisk {
        /// How long it has been waiting.
        waited: Duration,
    },
    /// The pip of the prefix begins to build a package from source.
    Building {
        /// The package's name.
        package: String,
    },
    /// The archives of a bundle are collected.
    BundleStarted {
        /// The number of archives.
        packages: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// The download of packages into the cache begins.
    FetchStarted {
        /// The number of packages.
        packages: usize,
        /// The number of bytes to download, if the lock has the size of every package.
        bytes: Option<u64>,
    },
    /// A package is in the cache.
    PackageFetched {
        /// The package's file name.
        package: String,
    },
    /// The layers of an image are written.
    LayersStarted {
        /// The number of layers to write. Layers that are in the cache do not count.
        layers: usize,
        /// The size of their files in bytes, as far as it is known.
        bytes: u64,
    },
    /// A layer of an image is begun.
    LayerStarted {
        /// Its number, from 1.
        number: usize,
        /// The number of all layers.
        layers: usize,
        /// Its name: a package or a group.
        name: String,
    },
    /// More bytes of files were written into a layer.
    Packed {
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// A layer of an image is finished.
    LayerWritten {
        /// The size of its files in bytes.
        bytes: u64,
    },
    /// The layers of an image are read. [`Event::Downloaded`] reports how far this is.
    ImageStarted {
        /// The number of layers.
        layers: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// An image is written into a file or a directory.
    ImageWriteStarted {
        /// The number of blobs: layers, configs, manifests.
        blobs: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// More bytes of an image were written.
    ImageWritten {
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// The comparison of a prefix with its records begins.
    VerifyStarted {
        /// The number of files to read.
        files: usize,
        /// Their size in bytes, as far as the records have it.
        bytes: u64,
    },
    /// More bytes of the prefix were read.
    Verified {
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// A push begins.
    PushStarted {
        /// The number of blobs: layers and configs.
        blobs: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// More bytes of a blob were sent to a registry.
    Uploaded {
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// Bytes that were sent have not arrived: either they are sent again, or the push has failed.
    UploadedAgain {
        /// The number of bytes.
        bytes: u64,
    },
    /// The registry has a blob already, or mounts it from another of its repositories.
    AlreadyThere {
        /// Its size in bytes.
        bytes: u64,
    },
    /// A server does not answer, sends almost nothing, or has asked for a pause.
    Waiting {
        /// The requested URL, without secrets.
        url: String,
        /// How long the client has been waiting.
        waited: Duration,
        /// The reason for the wait.
        reason: String,
    },
    /// A warning for the user.
    Warning(String),
}

/// A task that runs as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A post-link script.
    PostLink,
    /// A pre-unlink script.
    PreUnlink,
    /// pip building a package.
    Build,
    /// Python compiling modules.
    Bytecode,
}

impl Task {
    /// The name of the task with its article, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::PostLink => "the post-link script",
            Self::PreUnlink => "the pre-unlink script",
            Self::Build => "the build",
            Self::Bytecode => "the byte-code compiler",
        }
    }
}

/// Receives events. Called from several threads at once.
pub trait Progress: Send + Sync {
    /// Handles one event. Called on hot paths: it should be quick, and must not block.
    fn event(&self, event: Event);
}

impl Progress for () {
    fn event(&self, _event: Event) {}
}
