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

/// How to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many downloads run at once.
    pub downloads: NonZero<usize>,
    /// How many threads decompress and write.
    pub threads: NonZero<usize>,
    /// The modification time, in seconds since 1970 (`SOURCE_DATE_EPOCH`), of directories, `history`, `state` and files that
    /// scripts write. Files of packages keep the time that their archive gives them; records, entry points and byte code
    /// get the time of their package. `None`: the time at which the newest package of the environment was built.
    pub time: Option<i64>,
    /// The command line for `conda-meta/history`.
    pub command: String,
    /// The requested match specs for `conda-meta/history`.
    pub revision: Revision,
    /// Whether post-link and pre-unlink scripts run.
    pub scripts: Scripts,
    /// The time limit for one script and for one build of pip; `None`: no limit. The python that compiles byte code is
    /// stopped when it finishes no module within this time, or within five minutes if this is longer.
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
    /// Whether the disk has everything in the end.
    pub durability: Durability,
    /// Files with archives of packages, such as bundles. They come before local files and the network.
    pub archives: Vec<Arc<PackedArchives>>,
    /// The packages that this installation shares with others of the same call.
    pub sharing: Option<Arc<Sharing>>,
    /// The handle that stops the installation. Each installation needs its own.
    pub stop: Stop,
    /// The virtual packages of the machine that will use the prefix. Dependencies on virtual packages that are not listed are
    /// not checked: a build machine need not have the GPU of the target.
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
/// The default is not to compile, because compiling runs the environment's python, which is code of packages. The program
/// `mlconda` uses [`Bytecode::Timestamp`] by default, as conda does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bytecode {
    /// Nothing is compiled.
    #[default]
    Skip,
    /// By the module's modification time and size, as in packages for one platform.
    Timestamp,
    /// By the hash of the module, which is computed at each import. Valid also if times change.
    CheckedHash,
    /// Not at all. The byte code is used even if the module has been edited.
    UncheckedHash,
}

/// How packages in the cache are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheCheck {
    /// Not at all: they were verified when they were added.
    #[default]
    Presence,
    /// Every file is hashed and compared with the hashes of the package before it is linked. A damaged package is removed and
    /// fetched again.
    Content,
}

/// What an installation survives.
///
/// The kernel writes files to the disk some seconds after a program has written them, in an order of its own. Until then a
/// power cut, or a crash of the kernel, can leave files without content under their final names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process at any moment. The kernel writes to the disk when it will. For image builds and
    /// everything else that is thrown away if the machine stops.
    #[default]
    Kills,
    /// A power cut at any moment, too: the prefix is the old one, the new one, or no environment, which the next
    /// installation repairs; after a success it is the new one. A package is in the cache only when the disk has it. Each
    /// wait for the disk writes all of the prefix's file system (`syncfs(2)`; on macOS `sync(2)` and `F_FULLFSYNC`),
    /// and so also what other programs have written there. The file system has to keep the order of renames, as ext4, XFS,
    /// btrfs and APFS do; one in a process of its own (FUSE) may not hear of it.
    PowerCuts,
}

impl Durability {
    /// What is waited for, before anything is written into the directory.
    pub(crate) fn watch(self, directory: &Root) -> io::Result<Option<FileSystem>> {
        match self {
            Self::Kills => Ok(None),
            Self::PowerCuts => directory.file_system().map(Some),
        }
    }

    /// Waits until the disk has what was written by now, also by others.
    pub(crate) fn wait_for(self, directory: &Path, progress: &dyn Progress) -> io::Result<()> {
        match self {
            Self::Kills => Ok(()),
            Self::PowerCuts => Disk { file_system: Root::open(directory)?.file_system()?, progress }.sync(),
        }
    }
}
