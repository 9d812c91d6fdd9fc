//! The options of an installation.

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlconda_channel::repodata::Access;
use mlconda_system::beneath::{FileSystem, Root};
use mlconda_types::progress::Progress;
use rattler_conda_types::GenericVirtualPackage;

use super::{PackedArchives, Sharing, Stop, disk::Disk};

/// The options of an installation.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of downloads at once.
    pub downloads: NonZero<usize>,
    /// The number of threads that decompress and write.
    pub threads: NonZero<usize>,
    /// The modification time of directories, `history`, `state` and files that scripts write, in seconds since 1970
    /// (`SOURCE_DATE_EPOCH`). `None` means the build time of the environment's newest package. Files of packages keep
    /// the time in their archive. Records, entry points and byte code get the build time of their package.
    pub time: Option<i64>,
    /// The command line for `conda-meta/history`.
    pub command: String,
    /// The requested match specs for `conda-meta/history`.
    pub revision: Revision,
    /// Whether post-link and pre-unlink scripts run.
    pub scripts: Scripts,
    /// The time limit for one script, and for one build of pip; `None` means no limit. The python that compiles byte
    /// code is stopped if it finishes no module within this time, or within five minutes if this is longer.
    pub script_timeout: Option<Duration>,
    /// Environment variables for scripts, such as proxies. They contain no secrets.
    pub script_variables: Vec<(String, String)>,
    /// Whether packages may be downloaded. Offline, only local files and the cache are used.
    pub access: Access,
    /// Whether soft links of packages may point out of the prefix.
    pub outward_links: OutwardLinks,
    /// Whether the modules of noarch python packages are compiled. The environment's python compiles them. If it cannot
    /// run on this machine, [`Report::compiled`](super::Report::compiled) says so; this is not an error.
    pub bytecode: Bytecode,
    /// The directory of the package cache; `None`: no cache.
    pub cache: Option<PathBuf>,
    /// How packages in the cache are verified.
    pub cache_check: CacheCheck,
    /// Whether to wait until the disk has stored everything.
    pub durability: Durability,
    /// Files with archives of packages, such as bundles. They are preferred to local files and the network.
    pub archives: Vec<Arc<PackedArchives>>,
    /// The packages that this installation shares with others of the same call.
    pub sharing: Option<Arc<Sharing>>,
    /// The handle that stops the installation. Each installation needs its own.
    pub stop: Stop,
    /// The virtual packages of the machine that will use the prefix. Dependencies on other virtual packages are not
    /// checked, because a build machine need not have the GPU of the target, for example.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl Default for Options {
    /// Eight downloads, one thread per core, a limit of one hour per script, no cache.
    fn default() -> Self {
        let eight = NonZero::<usize>::MIN.saturating_add(7);
        Self {
            downloads: eight,
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            time: None,
            command: "mlconda install".to_owned(),
            revision: Revision::default(),
            scripts: Scripts::default(),
            script_timeout: Some(Duration::from_secs(3600)),
            script_variables: Vec::new(),
            bytecode: Bytecode::default(),
            access: Access::default(),
            outward_links: OutwardLinks::default(),
            cache: None,
            cache_check: CacheCheck::default(),
            durability: Durability::default(),
            archives: Vec::new(),
            sharing: None,
            stop: Stop::default(),
            virtual_packages: Vec::new(),
        }
    }
}

/// The match specs that `conda-meta/history` records as requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// All specs of the plan. They replace the specs of earlier revisions.
    #[default]
    Whole,
    /// A change of the specs of earlier revisions, by conda's categories. Each is a list of match specs.
    Change {
        /// Added or changed specs.
        updated: Vec<String>,
        /// Removed specs.
        removed: Vec<String>,
        /// Specs whose version constraint was dropped because of a conflict.
        neutered: Vec<String>,
    },
    /// None: the history stays as it is. For a change of variables, which conda does not record either.
    Unrecorded,
}

/// Whether link scripts of packages run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scripts {
    /// They run.
    #[default]
    Run,
    /// They do not run.
    Skip,
}

/// Whether packages may contain soft links that point out of the prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutwardLinks {
    /// The installation fails. Such a link may be an attack, and the prefix could not be copied to another image.
    #[default]
    Refuse,
    /// The links are created. Nothing is ever written through them.
    Keep,
}

/// Whether noarch python packages are compiled, and how python detects that a module has changed since (PEP 552).
///
/// The default is not to compile, because compiling runs the environment's python, which is code of packages. The
/// program `mlconda` uses [`Bytecode::Timestamp`] by default, as conda does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bytecode {
    /// Nothing is compiled.
    #[default]
    Skip,
    /// By the module's modification time and size, as in packages for a single platform.
    Timestamp,
    /// By the hash of the module, which python computes at each import. This is valid even if times change.
    CheckedHash,
    /// Never. Python uses the byte code even if the module was edited.
    UncheckedHash,
}

/// How packages in the cache are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheCheck {
    /// Not at all: they were verified when they were added to the cache.
    #[default]
    Presence,
    /// Every file is hashed and compared with the hashes of the package before it is linked. A damaged package is
    /// removed and fetched again.
    Content,
}

/// The kinds of crashes that an installation survives.
///
/// The kernel writes files to the disk some seconds after a program has written them, in any order. Until then, a power
/// failure or a crash of the kernel can leave empty files under their final names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process at any moment. The kernel decides when to write to the disk. Use this for image builds
    /// and other work that is discarded if the machine stops.
    #[default]
    Kills,
    /// Also a power failure at any moment. After it, the prefix is the old one, the new one, or no environment, which
    /// the next installation repairs. After a success it is the new one. A package is in the cache only when the disk
    /// has stored it.
    ///
    /// Each wait for the disk writes the whole file system of the prefix (`syncfs(2)`; on macOS `sync(2)` and
    /// `F_FULLFSYNC`), and so also data of other programs. The file system must keep the order of renames, as ext4,
    /// XFS, btrfs and APFS do. A file system in a process of its own (FUSE) may ignore the call.
    PowerCuts,
}

impl Durability {
    /// The file system to wait for, if any. Call this before anything is written into the directory.
    pub(crate) fn watch(self, directory: &Root) -> io::Result<Option<FileSystem>> {
        match self {
            Self::Kills => Ok(None),
            Self::PowerCuts => directory.file_system().map(Some),
        }
    }

    /// Waits until the disk has stored everything that was written until now, also by other programs.
    pub(crate) fn wait_for(self, directory: &Path, progress: &dyn Progress) -> io::Result<()> {
        match self {
            Self::Kills => Ok(()),
            Self::PowerCuts => Disk { file_system: Root::open(directory)?.file_system()?, progress }.sync(),
        }
    }
}
