//! Removes old entries from a cache, also while installations use it.
//!
//! An installation holds a lock on the cache while it links. First it records the use of each package that it will take
//! from the cache. So a package is removed only under its own lock, by one rename, and only if nobody has used it since
//! `prune` began. While somebody holds the cache, a package is removed only if nobody has used it for a day.

use std::{
    collections::HashSet,
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use mlconda_lock::{Digest, Lock, LockedPip};
use mlconda_system::{
    self as system,
    usage::{self, Use},
};

use super::{
    entries::{CacheAmount, CacheEntry, CacheKind, entries, sweep, workshops},
    packages, temporary_beside,
};
use crate::{InstallError, Stop};

/// While somebody uses the cache, entries that were used within this time are kept. No installation takes longer.
const IN_USE: Duration = Duration::from_secs(24 * 60 * 60);

/// How much the times of files may be behind the clock.
const TICK: Duration = Duration::from_secs(1);

/// Which entries of a cache are kept.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The current time.
    pub now: SystemTime,
    /// Entries that were used since this time are kept. `None` means that age is ignored: only packages of locks are
    /// kept, and all layers and repodata, which no lock contains.
    pub used_since: Option<SystemTime>,
    /// The sha256 of packages to keep, in hex.
    packages: HashSet<String>,
}

impl Keep {
    /// Keeps entries by age only.
    pub fn new(now: SystemTime, used_since: Option<SystemTime>) -> Self {
        Self { now, used_since, packages: HashSet::new() }
    }

    /// Keeps the packages of a lock.
    pub fn keep_lock(&mut self, lock: &Lock) {
        let wheels: Vec<_> = lock.pip.iter().filter_map(LockedPip::as_package).collect();
        for package in lock.packages.iter().chain(&wheels) {
            if let Digest::Sha256(hash) = &package.digest {
                self.packages.insert(hex::encode(hash));
            }
        }
    }

    /// Whether an entry is kept for another reason than its age: its package is in a lock, or age is not considered.
    fn is_named(&self, entry: &CacheEntry) -> bool {
        match entry.kind {
            CacheKind::Packages | CacheKind::Wheels => {
                let name = entry.paths.first().and_then(|path| path.file_name()?.to_str());
                name.is_some_and(|name| self.packages.contains(name))
            }
            _ => self.used_since.is_none(),
        }
    }
}

/// Whether entries are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// They are removed.
    Remove,
    /// They are only reported.
    Tell,
}

/// The result of pruning, or what it would be.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The removed entries, by kind.
    pub removed: Vec<(CacheKind, CacheAmount)>,
    /// The packages, layers and repodata that are kept.
    pub kept: CacheAmount,
    /// The number of these that are kept only because somebody uses the cache now.
    pub in_use: usize,
}

/// Removes packages, layers and repodata from a cache. Prefixes keep the files that they share with it.
///
/// # Errors
/// If an entry cannot be read or removed, or if `stop` was requested. Entries that were removed before stay removed.
pub fn prune(cache: &Path, keep: &Keep, pruning: Pruning, stop: &Stop) -> Result<Pruned, InstallError> {
    let mut pruned = Pruned::default();
    if !cache.is_dir() {
        return Ok(pruned);
    }
    if pruning == Pruning::Remove {
        sweep(cache);
    }
    let in_use = !matches!(usage::find(cache)?, Use::Free(_));
    let back = |by| keep.now.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH);
    let wanted = keep.used_since.unwrap_or(keep.now).min(back(TICK));
    let limit = if in_use { wanted.min(back(IN_USE)) } else { wanted };
    let mut removed = CacheKind::ALL.map(|kind| (kind, CacheAmount::default()));
    for entry in entries(cache)? {
        if stop.is_requested() {
            return Err(InstallError::Stopped);
        }
        if matches!(entry.kind, CacheKind::Uv | CacheKind::Tools | CacheKind::Other) {
            continue;
        }
        let amount = CacheAmount::of(&entry);
        let is_old = !keep.is_named(&entry) && entry.used < wanted;
        if is_old && entry.used < limit && remove(&entry, limit, pruning)? {
            removed.iter_mut().filter(|(kind, _)| *kind == entry.kind).for_each(|(_, sum)| sum.add(amount));
        } else if entry.paths.first().is_some_and(|path| fs_err::symlink_metadata(path).is_ok()) {
            // If another `prune` has removed the entry, it does not count.
            pruned.kept.add(amount);
            pruned.in_use += usize::from(is_old);
        }
    }
    if pruning == Pruning::Remove {
        // Removes directories of other format versions if they are empty.
        let others = workshops(cache).into_iter().filter(|directory| *directory != packages(cache));
        others.for_each(|directory| _ = std::fs::remove_dir(directory));
    }
    pruned.removed = removed.into_iter().filter(|(_, amount)| amount.count > 0).collect();
    Ok(pruned)
}

/// Removes an entry, unless somebody uses it. Returns `false` if it is kept.
fn remove(entry: &CacheEntry, limit: SystemTime, pruning: Pruning) -> io::Result<bool> {
    let Some(first) = entry.paths.first() else { return Ok(false) };
    let file = match usage::find(first)? {
        Use::Busy => return Ok(false),
        Use::Free(file) | Use::Unknown(file) => file,
    };
    if matches!(entry.kind, CacheKind::Packages | CacheKind::Wheels) {
        // Somebody may have used it just now.
        if file.metadata()?.modified()? >= limit {
            return Ok(false);
        }
        if pruning == Pruning::Tell {
            return Ok(true);
        }
        let aside = temporary_beside(first)?;
        let renamed = fs_err::rename(first, aside.path().join("discarded"));
        // The package has left the cache, so its lock is released before its files are removed.
        drop(file);
        return match renamed {
            // An installation has found the package damaged, and has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            renamed => renamed.map(|()| true),
        };
    }
    let is_used =
        |path| fs_err::symlink_metadata(path).and_then(|file| file.modified()).is_ok_and(|used| used >= limit);
    if entry.paths.iter().any(is_used) {
        return Ok(false);
    }
    if pruning == Pruning::Remove {
        entry.paths.iter().try_for_each(|path| system::remove_if_exists(path))?;
    }
    Ok(true)
}
