//! What several environments of one call have in common: a package cache for the time of the call, beside one of them.
//!
//! A package that two of the locks hold is extracted once, and its files are hard links in both prefixes. It is a
//! cache, and not a link from one prefix to the next, because files that name the prefix have to come from the
//! package. A script of the first environment may write into a file that it shares; so once one has run, what is shared is
//! proven before the next environment gets it. What a later one's scripts write in place, the first has, too.

use std::{
    collections::{HashMap, HashSet},
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use mlconda_inspect::plan::Plan;
use mlconda_lock::{Digest, LockedPackage};
use mlconda_prefix::{Prefix, on_disk};
use mlconda_system::{self as system, Time};
use rattler_digest::Sha256Hash;

use super::{InstallError, cache, transaction};

/// The packages that several environments have in common, and where they are. Dropping it removes them there; the
/// environments keep their files.
#[derive(Debug)]
pub struct Sharing {
    directory: PathBuf,
    /// The prefix that it is beside.
    prefix: PathBuf,
    packages: HashSet<Sha256Hash>,
    /// The directory above it that was there before, and its time.
    above: Option<(PathBuf, Time)>,
    /// Directories above it that were not there before, the topmost first.
    made: Vec<PathBuf>,
    /// Once the directory is there, and ours.
    hold: Option<File>,
    /// Set once a script has run that may have written into files of an environment.
    modified: AtomicBool,
}

impl Sharing {
    /// Prepares for carrying out several plans, each into its prefix. `None` if they have nothing in common, or cannot
    /// share files: then each is carried out on its own. A cache on the file system of the prefixes does the same
    /// and makes this needless.
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
        // Whatever hinders it will be told by the installation, unless that can do without.
        Self::make(prefix, beside, packages).ok()
    }

    fn make(prefix: &Prefix, directory: PathBuf, packages: HashSet<Sha256Hash>) -> Result<Self, InstallError> {
        let busy = || InstallError::from(io::Error::from(io::ErrorKind::ResourceBusy));
        let (above, prefix) = (Time::above(&directory), prefix.path().to_owned());
        let (made, hold, modified) = (Vec::new(), None, AtomicBool::new(false));
        // From here on, dropping it removes what was made.
        let mut sharing = Self { directory, prefix, packages, above, made, hold, modified };
        let directory = &sharing.directory;
        transaction::make_parents(directory.parent().unwrap_or(Path::new("/")), &mut sharing.made)?;
        remove_abandoned(directory);
        // What others could write there would get into the prefixes.
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

    /// To be called before a script runs in one of the environments: it may write into files that the next ones share.
    pub(super) fn mark_modified(&self) {
        self.modified.store(true, Ordering::Relaxed);
    }

    /// Whether what is shared has to be proven before it is linked.
    pub(super) fn may_be_modified(&self) -> bool {
        self.modified.load(Ordering::Relaxed)
    }

    /// Whether this is where a place is.
    pub(super) fn contains(&self, place: &Path) -> bool {
        place.starts_with(&self.directory)
    }

    /// The place of a package that several environments want.
    pub fn package_path(&self, package: &LockedPackage) -> Option<PathBuf> {
        match &package.digest {
            Digest::Sha256(hash) if self.packages.contains(hash) => cache::package_path(&self.directory, package),
            _ => None,
        }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        // Nothing more can be done about an error here; the next run removes what is left. What is not ours stays.
        if self.hold.is_some() {
            let _ = fs_err::remove_dir_all(&self.directory);
        }
        // What holds a prefix stays; nothing is to have the clock's time, which would be in an image's layer.
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

/// Removes what a killed process left beside a prefix, unless a living one is at it.
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

/// The file system that a path is on, or will be once it is made.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| fs_err::metadata(path).ok()).map(|metadata| metadata.dev())
}
