//! Archives in one file, a bundle. They are read from that file, and verified like other archives.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_lock::{Digest, LockedPackage};
use mlconda_system::Slice;
use rattler_digest::Sha256Hash;

/// The archives in a file, by their sha256.
#[derive(Clone, Debug)]
pub struct PackedArchives {
    path: PathBuf,
    file: Arc<File>,
    places: HashMap<Sha256Hash, (u64, u64)>,
}

impl PackedArchives {
    /// The archives of an open file. `places` contains the offset and the size of each in bytes, by sha256. `path` is
    /// for messages.
    pub fn new(path: PathBuf, file: Arc<File>, places: HashMap<Sha256Hash, (u64, u64)>) -> Self {
        Self { path, file, places }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The archive of a package. `None` if it is not in the file, or if the lock has no sha256 for it.
    pub fn find(&self, package: &LockedPackage) -> Option<Slice> {
        let Digest::Sha256(hash) = package.digest else { return None };
        let (offset, size) = *self.places.get(&hash)?;
        Some(Slice::new(Arc::clone(&self.file), offset, size))
    }
}

/// The archive of a package, in the first file that contains it, and the path of that file.
pub(super) fn find<'a>(all: &'a [Arc<PackedArchives>], package: &LockedPackage) -> Option<(&'a Path, Slice)> {
    all.iter().find_map(|archives| Some((archives.path(), archives.find(package)?)))
}
