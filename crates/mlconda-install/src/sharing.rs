//! Packages that several environments of one call share: a temporary package cache beside one of them.
//!
//! A package in two of the locks is extracted once, and its files are hard links in both prefixes. The second prefix is
//! not linked from the first one, because files that contain the prefix must be written from the package.
//!
//! A script of the first environment may change a shared file. So after a script has run, shared packages are verified
//! before the next environment uses them. If a later script changes a file in place, this also affects the first
//! environment.

use std::{
    collections::{HashMap, HashSet},
    fs::DirBuilder,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use mlconda_inspect::plan::Plan;
use mlconda_lock::{Digest, LockedPackage};
use mlconda_prefix::{Prefix, on_disk};
use mlconda_system::{self as system, DirectoryLock, Time};
use rattler_digest::Sha256Hash;

use super::{InstallError, cache, transaction};

/// The packages that several environments share, and their directory. Dropping this value removes the directory. The
/// environments keep their files.
#[derive(Debug)]
pub struct Sharing {
    directory: PathBuf,
    /// The prefix beside which the directory is.
    prefix: PathBuf,
    packages: HashSet<Sha256Hash>,
    /// The nearest existing directory above it, and its modification time.
    above: Option<(PathBuf, Time)>,
    /// Directories above it that were created, the topmost first.
    made: Vec<PathBuf>,
    /// The lock on the directory, once it exists.
    hold: Option<DirectoryLock>,
    /// Whether a script has run, which may have changed shared files.
    modified: AtomicBool,
}

impl Sharing {
    /// Finds the packages that several plans share. `None` if there are none, or if the prefixes cannot share files;
    /// then each plan is executed separately. A cache on the same file system as the prefixes has the same effect, so
    /// then no sharing is needed.
    pub fn between(plans: &[(&Plan, &Prefix)], cache: Option<&Path>) -> Option<Self> {
        let (prefix, beside, members) = plans.iter().find_map(|(_, prefix)| {
            let beside = on_disk::shared_packages(prefix.path())?;
            let device = device(beside.parent()?)?;
            let is_near = |prefix: &Prefix| self::device(prefix.path()) == Some(device);
            let near: Vec<&Plan> = plans.iter().filter(|(_, prefix)| is_near(prefix)).map(|(plan, _)| *plan).collect();
            (near.len() > 1 && cache.and_then(self::device) != Some(device)).then_some((*prefix, beside, near))
        })?;
        let mut counts: HashMap<Sha256Hash, usize> = HashMap::new();
        for package in members.iter().flat_map(|plan| plan.archives()) {
            if let Digest::Sha256(hash) = package.digest {
                *counts.entry(hash).or_default() += 1;
            }
        }
        let packages: HashSet<_> = counts.into_iter().filter(|(_, count)| *count > 1).map(|(hash, _)| hash).collect();
        if packages.is_empty() {
            return None;
        }
        // If this error also affects the installation, the installation reports it.
        Self::make(prefix, beside, packages).ok()
    }

    fn make(prefix: &Prefix, directory: PathBuf, packages: HashSet<Sha256Hash>) -> Result<Self, InstallError> {
        let busy = || InstallError::from(io::Error::from(io::ErrorKind::ResourceBusy));
        let (above, prefix) = (Time::above(&directory), prefix.path().to_owned());
        let (made, hold, modified) = (Vec::new(), None, AtomicBool::new(false));
        // From here on, dropping the value removes the created directories.
        let mut sharing = Self { directory, prefix, packages, above, made, hold, modified };
        let directory = &sharing.directory;
        transaction::make_parents(directory.parent().unwrap_or(Path::new("/")), &mut sharing.made)?;
        remove_abandoned(directory);
        // Only this user may write into the directory, because its files get into the prefixes.
        DirBuilder::new().mode(0o700).create(directory)?;
        match system::lock_directory(directory).map_err(InstallError::from).and_then(|hold| hold.ok_or_else(busy)) {
            Ok(hold) => sharing.hold = Some(hold),
            Err(error) => {
                let _ = fs_err::remove_dir(directory);
                return Err(error);
            }
        }
        Ok(sharing)
    }

    /// Records that a script may change shared files. Call this before a script runs in one of the environments.
    pub(super) fn mark_modified(&self) {
        self.modified.store(true, Ordering::Relaxed);
    }

    /// Whether shared packages must be verified before they are linked.
    pub(super) fn may_be_modified(&self) -> bool {
        self.modified.load(Ordering::Relaxed)
    }

    /// Whether a path is in the shared directory.
    pub(super) fn contains(&self, place: &Path) -> bool {
        place.starts_with(&self.directory)
    }

    /// The path of a package that several environments share.
    pub fn package_path(&self, package: &LockedPackage) -> Option<PathBuf> {
        match &package.digest {
            Digest::Sha256(hash) if self.packages.contains(hash) => cache::package_path(&self.directory, package),
            _ => None,
        }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        // Errors are ignored: the next run removes leftovers.
        if self.hold.is_some() {
            let _ = fs_err::remove_dir_all(&self.directory);
        }
        // Directories that contain a prefix are kept. Their times are set, because they would be in an image's layer.
        for path in self.made.iter().rev() {
            if fs_err::remove_dir(path).is_err()
                && let Some(time) = Time::of(&self.prefix)
            {
                let _ = time.set(path);
            }
        }
        if let Some((path, time)) = &self.above {
            let _ = time.set(path);
        }
    }
}

/// Removes the shared directory of a killed process beside a prefix.
pub(super) fn remove_leftovers(prefix: &Prefix) {
    if let Some(directory) = on_disk::shared_packages(prefix.path()) {
        remove_abandoned(&directory);
    }
}

fn remove_abandoned(directory: &Path) {
    if directory.is_dir()
        && let Ok(Some(_hold)) = system::lock_directory_strictly(directory)
    {
        let _ = fs_err::remove_dir_all(directory);
    }
}

/// The device number of the file system that contains a path, or will contain it once it is created.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| fs_err::metadata(path).ok()).map(|metadata| metadata.dev())
}
