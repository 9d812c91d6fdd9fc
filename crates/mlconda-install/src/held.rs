//! A directory that an installation makes beside a prefix or in it, and keeps open: the stage or the replica.
//!
//! A user with write access to the parent directory can rename it, and put a link or another directory in its place. So
//! all files in it are read and written through the open directory. Before its name is used again (for a rename, or at
//! the end), it is checked that the name still belongs to this directory.

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

/// The number of directories of the stage that are kept open. Each thread uses one or two at a time.
pub(super) const OPEN_PARENTS: usize = 48;

/// An open directory that was made by this process.
#[derive(Debug)]
pub(super) struct HeldDirectory {
    root: Arc<Root>,
    /// The parent directory.
    above: Root,
    name: PathBuf,
    look: PathInfo,
}

impl HeldDirectory {
    /// Creates a directory. `None` if something is at the path already, or if another process has removed the new
    /// directory.
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
            // Another process took the directory for a leftover, and has removed it.
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
            // Another process has removed the directory, and may have made its own.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Checks that its name still belongs to this directory.
    pub(super) fn check(&self) -> Result<(), InstallError> {
        self.check_at(&self.name)
    }

    fn check_at(&self, name: &Path) -> Result<(), InstallError> {
        match self.above.lookup(name)? {
            Some(there) if there.is_same(&self.look) => Ok(()),
            _ => Err(InstallError::Replaced { path: self.root.path().to_owned() }),
        }
    }

    /// Checks that a path beside it belongs to this directory, after a rename or an exchange.
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

    /// Removes the directory with its contents. If its name belongs to something else now, nothing is removed.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Removing opens directories, too, and the number of open files is limited.
        self.root.clear_cache();
        match self.check() {
            Ok(()) => system::remove_tree(self.root.path()),
            Err(_) => Ok(()),
        }
    }
}
