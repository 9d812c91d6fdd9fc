//! Operations on the open directory itself: its lock, the umask, exchanges, and files without a name.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{Root, bits};
use crate::{DirectoryLock, Lock, lock_open};

/// A path by which child processes reach an open directory.
#[derive(Debug)]
pub struct WayForChildren {
    path: PathBuf,
    _open: Option<OwnedFd>,
}

impl WayForChildren {
    /// The path. It is valid as long as this value lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file system, held open through one of its directories.
#[derive(Debug)]
pub struct FileSystem {
    open: OwnedFd,
    /// The path of that directory, for messages.
    path: PathBuf,
}

impl FileSystem {
    /// Writes all data of the file system to the disk, and waits until the disk has stored it.
    ///
    /// # Errors
    /// If a write failed since this value was created, or since the last call. Linux before 5.8 does not report this. A
    /// file system that runs as a process of its own (FUSE) may ignore the call.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let synced = rustix::fs::syncfs(&self.open);
        // After the first call, data may still be in the disk's own cache. The second call writes that cache to the
        // disk.
        #[cfg(not(target_os = "linux"))]
        let synced = {
            rustix::fs::sync();
            rustix::fs::fcntl_fullfsync(&self.open)
        };
        synced.map_err(|errno| super::path_error("write to the disk all of", &self.path, errno))
    }
}

impl Root {
    /// A path by which child processes reach this directory. On Linux it leads through `/proc` to an open file that
    /// they inherit. So it leads to this directory even after the directory was renamed. On other systems, or without
    /// `/proc`, it is the path that the directory was opened by.
    ///
    /// # Errors
    /// If the directory cannot be opened again.
    pub fn way_for_children(&self) -> io::Result<WayForChildren> {
        #[cfg(target_os = "linux")]
        if let Some(way) = self.way_by_number()? {
            return Ok(way);
        }
        Ok(WayForChildren { path: self.path.clone(), _open: None })
    }

    #[cfg(target_os = "linux")]
    fn way_by_number(&self) -> io::Result<Option<WayForChildren>> {
        use rustix::{fd::AsRawFd, io::FdFlags};
        // At least 3: a child uses the lower numbers for stdin, stdout and stderr.
        let open = rustix::io::fcntl_dupfd_cloexec(&self.directory, 3)?;
        rustix::io::fcntl_setfd(&open, FdFlags::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let look = |root: &Self| root.lookup(Path::new(""));
        let is_same = match (look(self)?, Self::open(&path).and_then(|root| look(&root))) {
            (Some(here), Ok(Some(there))) => here.is_same(&there),
            _ => false,
        };
        Ok(is_same.then_some(WayForChildren { path, _open: Some(open) }))
    }

    /// Locks the directory until the returned value is dropped. `None` if another process has locked it. If the file
    /// system has no locks, the call succeeds without one.
    ///
    /// # Errors
    /// If the directory cannot be opened for reading, or if locking fails for another reason.
    pub fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        match lock_open(self.open_to_read()?.into(), &self.path)? {
            Lock::Taken(file) | Lock::Unknown(file) => Ok(Some(DirectoryLock(file))),
            Lock::Busy => Ok(None),
        }
    }

    /// The directory's file system, to wait for its disk later. Open it before anything is written: it reports errors
    /// only of later writes.
    ///
    /// # Errors
    /// If the directory cannot be opened for reading.
    pub fn file_system(&self) -> io::Result<FileSystem> {
        Ok(FileSystem { open: self.open_to_read()?, path: self.path.clone() })
    }

    /// Opens the directory for reading. A directory that is open for lookups only can neither be locked nor synced.
    fn open_to_read(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |open: &OwnedFd, name: &std::ffi::OsStr| rustix::fs::openat(open, name, flags, Mode::empty());
        self.at("open directory", Path::new(""), open)
    }

    /// The umask. To read it from the kernel would change it for other threads for a moment. So a directory is created,
    /// and its mode is read.
    ///
    /// # Errors
    /// If the directory `.umask` cannot be created or removed.
    pub fn umask(&self) -> io::Result<u32> {
        let probe = Path::new(".umask");
        self.make_directory(probe, 0o777)?;
        let there = self.lookup(probe)?.ok_or_else(|| self.path_error("query", probe, Errno::NOENT))?;
        self.remove_directory(probe)?;
        Ok(!there.mode & 0o777)
    }

    /// Whether the file system can exchange two directories. Two new directories are exchanged to find out.
    ///
    /// # Errors
    /// If the two directories cannot be created or removed, or if the exchange fails for another reason.
    pub fn can_exchange(&self) -> io::Result<bool> {
        let [one, other] = [".one", ".other"].map(Path::new);
        self.make_directory(one, 0o700)?;
        self.make_directory(other, 0o700)?;
        let exchanged = self.pair("exchange", one, self, other, |from, name, open, new| {
            rustix::fs::renameat_with(from, name, open, new, RenameFlags::EXCHANGE)
        });
        self.remove_directory(one)?;
        self.remove_directory(other)?;
        match exchanged {
            Ok(()) => Ok(true),
            // Both directories are ours, so the cause is the kernel, the file system or a system call filter: exchanges
            // are not possible.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Creates a file without a name in the directory, for reading and writing.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn unnamed_file(&self) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        {
            let here = Path::new("");
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::openat(&self.directory, ".", flags, bits(0o600)) {
                // The kernel or the file system has no unnamed files (`O_TMPFILE`).
                Err(Errno::NOTSUP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
                opened => {
                    return opened.map(File::from).map_err(|errno| self.path_error("create a file in", here, errno));
                }
            }
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".mlconda-file-{}-{number}", std::process::id());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            self.at("create file", Path::new(&name), |open, name| rustix::fs::openat(open, name, flags, bits(0o600)))?;
        self.remove_file(Path::new(&name))?;
        Ok(open.into())
    }
}
