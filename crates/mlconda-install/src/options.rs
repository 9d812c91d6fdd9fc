//! The options of an installation.

use std::{num::NonZero, path::PathBuf, sync::Arc, time::Duration};

use mlconda_channel::repodata::Access;
use rattler_conda_types::GenericVirtualPackage;

use super::{Bytecode, CacheCheck, Sharing, Stop};

/// How to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many downloads run at once.
    pub downloads: NonZero<usize>,
    /// How many threads decompress and write.
    pub threads: NonZero<usize>,
    /// The time, in seconds since 1970, of all that has no time of its own (`SOURCE_DATE_EPOCH`): directories,
    /// `history` and `state`, and what scripts write, who are told of it. Files of packages keep the time that their
    /// archive gives them; records, commands of entry points and byte code follow their package. Without it, the time
    /// at which the newest package of the environment was built.
    pub time: Option<i64>,
    /// What `conda-meta/history` gives as the command.
    pub command: String,
    /// What it says was asked for.
    pub revision: Revision,
    /// What happens with post-link and pre-unlink scripts.
    pub scripts: Scripts,
    /// How long one script, or one build of pip, may run; `None` for as long as it likes. The byte-code compiler's python is given
    /// up as soon as no module is done for so long, and after five minutes at most.
    pub script_timeout: Option<Duration>,
    /// What they get of the environment: proxies and the like, and nothing that is secret.
    pub script_variables: Vec<(String, String)>,
    /// Whether packages may be downloaded; else only those of this machine and of the cache are to be had.
    pub access: Access,
    /// What happens with packages' links that point out of the prefix.
    pub outward_links: OutwardLinks,
    /// Whether the modules of noarch python packages are compiled. The environment's python does that; one that
    /// cannot run here is no error.
    pub bytecode: Bytecode,
    /// The package cache, if there is one.
    pub cache: Option<PathBuf>,
    /// How far the cache is trusted.
    pub cache_check: CacheCheck,
    /// What this installation has in common with others of the same call, if there are any.
    pub sharing: Option<Arc<Sharing>>,
    /// By which it is told to stop where it does not wait. Not to be shared between installations.
    pub stop: Stop,
    /// The virtual packages of the machine that the prefix is for. What is not among them is not judged: a
    /// builder need not have the GPU that the program will have.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl Default for Options {
    /// Eight downloads, a thread for each core, scripts run for an hour at most, no cache.
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
            sharing: None,
            stop: Stop::default(),
            virtual_packages: Vec::new(),
        }
    }
}

/// What `conda-meta/history` says was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// All of the plan's specs, and nothing besides: what was asked for before does not count any more.
    #[default]
    Whole,
    /// A change of what was asked for before, in conda's words. Each is a list of match specs.
    Change {
        /// What is asked for from now on.
        updated: Vec<String>,
        /// What is not asked for any more.
        removed: Vec<String>,
        /// What is asked for in any version from now on, since its version stood in the way.
        neutered: Vec<String>,
    },
}

/// What happens with packages' scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scripts {
    /// They run.
    #[default]
    Run,
    /// They do not.
    Skip,
}

/// What happens with a package that has a soft link to a place outside of the prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutwardLinks {
    /// The installation fails: such a link may be an attack, and it makes a prefix that cannot be moved to another
    /// image.
    #[default]
    Refuse,
    /// They are made. Nothing is ever written through them.
    Keep,
}
