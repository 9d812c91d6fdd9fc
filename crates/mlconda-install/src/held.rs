//! A directory that an installation makes beside a prefix or in it, and holds open: the stage, or the replica.
//!
//! Whoever may write into the directory above it can rename it, and put a link or another directory in its place. So it is
//! filled and read from the open directory only, and before its name counts again (for a rename, or at the end), it is
//! checked that the name still means it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_system::{
    self as system,
    beneath::{PathInfo, Root},
};

use super::InstallError;

/// How many directories of the stage are kept open. Each thread is in one or two at a time.
pub(super) const OPEN_PARENTS: usize = 48;

/// An open directory that was made by this process.
#[derive(Debug)]
pub(super) struct HeldDirectory {
    root: Arc<Root>,
    /// The directory above it.
    above: Root,
    name: PathBuf,
    look: PathInfo,
}

impl HeldDirectory {
    /// Makes a directory; `None` if there is something at the path, or if another process has removed it already.
    pub(super) fn make(path: &Path) -> Result<Option<Self>, InstallError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
        };
        let (above, name) = (Root::open(parent)?, PathBuf::from(name));
        match above.make_directory(&name, 0o755) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made?,
        }
        let replaced = || InstallError::Replaced { path: path.to_owned() };
        let root = match above.open_directory(&name) {
            Ok(root) => root,
            // Another process took it for one that was left, and has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => match above.lookup(&name) {
                Ok(Some(there)) if there.is_directory() => return Err(error.into()),
                Ok(None) => return Ok(None),
                _ => return Err(replaced()),
            },
        };
        let root = Arc::new(root.with_open_parents(OPEN_PARENTS));
        let look = root.lookup(Path::new(""))?.ok_or_else(replaced)?;
        match root.entries(Path::new("")) {
            Ok(entries) if entries.is_empty() => Ok(Some(Self { root, above, name, look })),
            // Another process has removed it, and perhaps made its own.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Makes sure that its path still means this directory.
    pub(super) fn check(&self) -> Result<(), InstallError> {
        self.check_at(&self.name)
    }

    fn check_at(&self, name: &Path) -> Result<(), InstallError> {
        match self.above.lookup(name)? {
            Some(there) if there.is_same(&self.look) => Ok(()),
            _ => Err(InstallError::Replaced { path: self.root.path().to_owned() }),
        }
    }

    /// Makes sure that a path beside it means this directory, after a rename or an exchange.
    pub(super) fn check_beside(&self, path: &Path) -> Result<(), InstallError> {
        self.check_at(Path::new(path.file_name().unwrap_or_default()))
    }

    /// Renames it to a path beside it.
    pub(super) fn rename_to(&self, path: &Path) -> io::Result<()> {
        self.above.rename(&self.name, &self.above, Path::new(path.file_name().unwrap_or_default()))
    }

    /// Renames it back from a path beside it.
    pub(super) fn rename_from(&self, path: &Path) -> io::Result<()> {
        self.above.rename(Path::new(path.file_name().unwrap_or_default()), &self.above, &self.name)
    }

    /// Removes it with everything in it. What has taken its place stays.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Removing opens directories, too.
        self.root.clear_cache();
        match self.check() {
            Ok(()) => system::remove_tree(self.root.path()),
            Err(_) => Ok(()),
        }
    }
}
