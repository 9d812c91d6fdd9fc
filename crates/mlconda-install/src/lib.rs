//! Executes a plan: downloads, verifies, unpacks, links and commits packages. The crate uses the network, the prefix
//! and the package cache, and runs code of packages. It never solves, and never reads repodata.
//!
//! All packages are put together in a stage beside the prefix. A last step makes the stage the prefix, so a prefix is
//! always either the old one or the new one. The entry point is [`install`], and `installation.rs` lists its steps.
//!
//! mlconda does not use rattler's installer, which always extracts into a cache, cannot roll back, and writes paths of
//! the builder into records. The records have rattler's types (`rattler_conda_types`).
//!
//! Network and child processes are awaited on the caller's thread. Disk work is done by threads of its own.
//!
//! Read in this order: `installation`, the steps; `workers`, the order of downloads and the threads that link;
//! `source`, `fetch` and `cache`, the origin of an archive; `unpack` and `package`, its contents; `link` and `stage`,
//! the places of its files; `bytecode` and `metadata`, which complete the stage; `commit`, `transaction` and
//! `rollback`, the step that makes the stage the prefix, and its undoing; `script` and `pip`, code of packages;
//! `ahead`, which only fills the cache; [`staged`], an environment for a prefix on another machine.

mod ahead;
mod bytecode;
mod cache;
pub(crate) mod commit;
mod contents;
mod deviations;
mod disk;
mod error;
mod fetch;
#[cfg(mlconda_fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod installation;
pub(crate) mod layout;
mod left_out;
mod link;
mod link_scripts;
mod metadata;
mod occupied;
mod options;
mod package;
mod package_paths;
mod packed;
mod pip;
mod python_info;
pub(crate) mod record;
pub(crate) mod record_file;
mod record_paths;
mod recovery;
mod replaced;
mod report;
pub(crate) mod rollback;
pub(crate) mod script;
mod sharing;
mod source;
mod stage;
pub mod staged;
mod staged_package;
mod stop;
mod transaction;
mod unpack;
mod workers;

use std::{io, path::Path};

use mlconda_prefix::{Prefix, on_disk};
use mlconda_system::{self as system, files};

pub use self::cache::{cached_index, cached_metadata};
pub use self::{
    ahead::{Fetched, archives, fetch, is_cached},
    bytecode::Compiled,
    cache::{
        CacheAmount, CacheContents, CacheKind, Keep, Pruned, Pruning, cache_size, prune,
        temporary::{TemporaryDirectory, remove_abandoned},
    },
    error::InstallError,
    fetch::{ArchiveSink, Hasher, Hashes, download_into},
    installation::{has_nothing_to_do, install},
    left_out::{Forecast, LeftOutSize, forecast},
    options::{Bytecode, CacheCheck, Durability, Options, OutwardLinks, Revision, Scripts},
    packed::PackedArchives,
    report::{LinkScript, MetadataOutcome, Report, ScriptAudit, UnmetVirtualPackage},
    sharing::Sharing,
    stage::Clash,
    stop::Stop,
};

/// The name of the file in `conda-meta` that makes a directory an environment.
const HISTORY: &str = "history";

/// Cleans up after an installation that was killed: rolls back its changes and removes its temporary directories. Does
/// nothing while another process installs into the prefix. Call this before making a
/// [`Plan`](mlconda_inspect::plan::Plan); otherwise the plan links all packages again.
///
/// # Errors
/// If a change cannot be rolled back, or a file cannot be removed.
pub fn recover(prefix: &Prefix) -> Result<(), InstallError> {
    sharing::remove_leftovers(prefix);
    recovery::recover(prefix.path()).map(|_| ())
}

/// Removes a prefix and everything in it. The prefix is renamed first, so that its path is free at once. If the process
/// is killed, the next installation removes the rest.
///
/// # Errors
/// If another process is changing the prefix, or a file cannot be removed.
pub fn remove(prefix: &Prefix) -> Result<(), InstallError> {
    let path = prefix.path();
    if !recovery::recover(path)? {
        return Err(InstallError::Busy { prefix: path.to_owned() });
    }
    let moved = on_disk::stage_and_replica(path).map(|(stage, _)| stage);
    // A directory that cannot be renamed, such as a volume, is emptied in place.
    let moved = moved.filter(|moved| fs_err::rename(path, moved).is_ok());
    let left = moved.as_deref().unwrap_or(path);
    // If the path is a link, the link is removed, not its target.
    Ok(system::remove_tree(left).or_else(|_| fs_err::remove_dir_all(left))?)
}

/// The content of a file; `None` if it does not exist.
fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, files::LARGEST_TEXT) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}
