//! Temporary directories in the cache. Each is locked while its process runs.
//!
//! A directory is removed when its value is dropped. The directory of a killed process has no lock, so the next user of
//! the cache removes it.

use std::{ffi::OsStr, io, path::Path};

use mlconda_system as system;
use tempfile::TempDir;

/// The first characters of the names of such directories.
const PREFIX: &str = ".new-";

/// The number of attempts, because another process may remove the directory before it is locked.
const TRIES: usize = 16;

/// Whether a name is that of a temporary directory.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// A locked temporary directory.
#[derive(Debug)]
pub struct TemporaryDirectory {
    directory: TempDir,
    _hold: system::DirectoryLock,
}

impl TemporaryDirectory {
    /// Creates an empty temporary directory in a directory.
    ///
    /// # Errors
    /// If it cannot be created or locked.
    pub fn make_in(parent: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            match system::lock_directory(directory.path()) {
                Ok(Some(hold)) => return Ok(Self { directory, _hold: hold }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("cannot make a directory in `{}`", parent.display())))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Drops the value without removing the directory, which was renamed.
    pub(crate) fn keep(self) {
        let _ = self.directory.keep();
    }
}

/// Removes temporary directories of killed processes. Directories that a running process has locked are kept. On a file
/// system without locks, all are kept.
pub fn remove_abandoned(parent: &Path) {
    for entry in fs_err::read_dir(parent).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name())
            && let Ok(Some(_hold)) = system::lock_directory_strictly(&entry.path())
        {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::remove_leftovers;

    #[test]
    fn what_a_living_process_holds_is_not_swept() -> io::Result<()> {
        let cache = tempfile::tempdir()?;
        let packages = crate::cache::packages(cache.path());
        fs_err::create_dir_all(packages.join(".new-abandoned/lib"))?;
        fs_err::create_dir_all(packages.join("0a1b"))?;
        let held = TemporaryDirectory::make_in(&packages)?;
        fs_err::write(held.path().join("file"), "half a package")?;
        remove_leftovers(cache.path());
        assert!(held.path().join("file").is_file(), "another process is at it");
        assert!(!packages.join(".new-abandoned").exists(), "nobody is");
        assert!(packages.join("0a1b").is_dir(), "a package");
        drop(held);
        assert_eq!(fs_err::read_dir(&packages)?.count(), 1);
        Ok(())
    }
}
