//! The unfinished file of a bundle. Only one process writes it, and it is continued only if this user alone can have
//! written it.
//!
//! Another user could change the file while it is hashed, and in a directory such as `/tmp`, any user can have created
//! it. An empty unfinished file is removed when the value is dropped.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::{
    fs::{FallocateFlags, FlockOperation, OFlags},
    io::Errno,
};

use crate::BundleError;

/// How often opening is tried, because another process may finish or remove the file before it is locked.
const TRIES: usize = 16;

/// The unfinished file, locked by this process.
pub(crate) struct Partial {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// Whether the file has content from an earlier run.
    pub(crate) had_content: bool,
    /// The number of archives that are in their places.
    pub(crate) arrived: AtomicUsize,
}

impl Partial {
    /// Opens or creates the file, and locks it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, BundleError> {
        for _ in 0..TRIES {
            let Some((file, is_new)) = open(&path)? else { continue };
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                let message = format!("cannot write `{}`: it is not a regular file", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
            }
            // Any other error means that the file system has no locks.
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                return Err(BundleError::Busy { path });
            }
            // Another process may have finished or removed the file before it was locked.
            if !mlconda_system::is_at(&file, &path) {
                continue;
            }
            let metadata = file.metadata()?;
            if let Some(reason) = distrust(&metadata).filter(|_| !is_new) {
                return Err(BundleError::Untrusted { path, reason });
            }
            let (had_content, arrived) = (metadata.len() > 0, AtomicUsize::new(0));
            return Ok(Self { path, file: Arc::new(file), had_content, arrived });
        }
        Err(BundleError::Busy { path })
    }

    /// Reserves disk space for the whole file, so that a full disk is noticed before anything is downloaded. Not all
    /// file systems support this.
    pub(crate) fn allocate(&self, room: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, room.max(1)) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                let error = io::Error::from(error);
                let path = self.path.display();
                let message = format!("there is no room for the {room} bytes of `{path}`: {error}");
                Err(io::Error::new(error.kind(), message))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let is_empty = !self.had_content && self.arrived.load(Ordering::Relaxed) == 0;
        // At this path there may be the file of another process now.
        if is_empty && mlconda_system::is_at(&self.file, &self.path) {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Opens or creates the file. The flag tells whether the file is new. `None` if it was removed meanwhile.
fn open(path: &Path) -> io::Result<Option<(File, bool)>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).mode(0o666).custom_flags(flags);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some((file?.into_parts().0, false))),
        },
        file => Ok(Some((file?.into_parts().0, true))),
    }
}

/// Why an existing file must not be continued, as a verb phrase.
fn distrust(metadata: &Metadata) -> Option<&'static str> {
    match metadata {
        file if file.uid() != rustix::process::geteuid().as_raw() => Some("belongs to another user"),
        file if file.mode() & 0o002 != 0 => Some("can be written to by other users"),
        file if file.nlink() > 1 => Some("has several names (hard links)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_what_this_user_alone_has_written_is_gone_on_with() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("env.bundle.partial");
        let reason = || match Partial::open(path.clone()) {
            Err(BundleError::Untrusted { reason, .. }) => reason,
            Ok(partial) if partial.had_content => "kept",
            Ok(_) => "new",
            Err(_) => "other",
        };
        assert_eq!((reason(), path.exists()), ("new", false), "nothing has arrived");
        fs_err::write(&path, "content")?;
        fs_err::set_permissions(&path, Permissions::from_mode(0o644))?;
        assert_eq!((reason(), path.exists()), ("kept", true));
        fs_err::set_permissions(&path, Permissions::from_mode(0o666))?;
        assert_eq!(reason(), "can be written to by other users");
        fs_err::set_permissions(&path, Permissions::from_mode(0o644))?;
        fs_err::hard_link(&path, directory.path().join("other"))?;
        assert_eq!(reason(), "has several names (hard links)");
        fs_err::remove_file(&path)?;
        std::os::unix::fs::symlink("other", &path)?;
        assert_eq!((reason(), fs_err::read(directory.path().join("other"))?.len()), ("other", 7));
        if rustix::process::geteuid().is_root() {
            fs_err::remove_file(&path)?;
            fs_err::rename(directory.path().join("other"), &path)?;
            std::os::unix::fs::chown(&path, Some(4711), None)?;
            assert_eq!(reason(), "belongs to another user");
        }
        Ok(())
    }

    #[test]
    fn one_process_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env.bundle.partial");
        let held = Partial::open(path.clone()).unwrap();
        assert!(matches!(Partial::open(path.clone()), Err(BundleError::Busy { .. })));
        // The file is finished, and renamed to its name.
        fs_err::rename(&path, directory.path().join("env.bundle")).unwrap();
        let next = Partial::open(path.clone()).unwrap();
        drop(held);
        assert!(path.exists() && directory.path().join("env.bundle").exists());
        drop(next);
        assert!(!path.exists());
    }
}
