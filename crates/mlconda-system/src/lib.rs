//! System calls, files and processes for the other crates, with the differences between operating systems. The crate
//! touches only the paths that it is given, and never a network. It knows nothing of conda packages.
//!
//! Read in this order: this file (modes, times, locks, the exchange of two directories); [`files`], which reads files
//! of other programs, and [`Slice`], a part of a file; [`process`], a running program; `linker` and `removal`, which
//! link and remove many files; `holes`, runs of zeros in files; [`beneath`], which changes a prefix that other users
//! may have written into; [`elf`], headers of programs; [`code_signature`], signatures of macOS programs; [`usage`],
//! which tells what in a cache is in use.

pub mod beneath;
pub mod code_signature;
pub mod elf;
pub mod files;
mod holes;
mod linker;
pub mod process;
mod removal;
mod slice;
pub mod usage;

use std::{
    fs::File,
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rattler_digest::{Sha256, Sha256Hash};
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_OMIT};

pub use self::{
    holes::{end_with_hole, write_piece},
    linker::{LinkMethod, Linker},
    removal::remove_tree,
    slice::{Slice, SliceReader},
};

/// Sets a file's permissions, whatever the umask.
///
/// # Errors
/// If this user may not set the mode.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set the mode of {}: {error}", name(file))))
}

/// The name of an open file for a message: its path, if the system knows it.
fn name(file: &File) -> String {
    open_path(file).map_or_else(|| "a file".to_owned(), |path| format!("`{}`", path.display()))
}

#[cfg(not(target_vendor = "apple"))]
fn open_path(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    fs_err::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(target_vendor = "apple")]
fn open_path(file: &File) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(rustix::fs::getpath(file).ok()?.into_bytes()).into())
}

/// Sets a directory's permissions, whatever the umask.
///
/// # Errors
/// If nothing is at the path, or if this user may not set the mode.
pub fn set_directory_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The umask, computed from the mode of a directory that was just created with mode 0777.
///
/// # Errors
/// If the metadata of the directory cannot be read.
pub fn umask_of(directory: &Path) -> io::Result<u32> {
    Ok(!fs_err::metadata(directory)?.mode() & 0o777)
}

/// Creates a new file.
///
/// # Errors
/// If something is at the path already, or if the file cannot be created.
pub fn create_new(path: &Path, mode: u32) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Removes a file or a link, if it exists.
///
/// # Errors
/// If the path is a directory, or if the file cannot be removed.
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets the modification time of a file, in seconds since 1970.
///
/// # Errors
/// If this user may not set the time.
pub fn set_time(file: &File, seconds: i64) -> io::Result<()> {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
    file.set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set the time of {}: {error}", name(file))))
}

/// Sets the modification time of a directory, in seconds since 1970.
///
/// # Errors
/// If nothing is at the path, or if this user may not set the time.
pub fn set_directory_time(path: &Path, seconds: i64) -> io::Result<()> {
    set_path_time(path, seconds)
}

/// Sets the modification time of a link itself, in seconds since 1970.
///
/// # Errors
/// If nothing is at the path, or if this user may not set the time.
pub fn set_link_time(path: &Path, seconds: i64) -> io::Result<()> {
    set_path_time(path, seconds)
}

/// A modification time that can be restored.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    seconds: i64,
    nanoseconds: i64,
}

impl Time {
    /// The modification time of a directory; `None` if it does not exist.
    pub fn of(directory: &Path) -> Option<Self> {
        let metadata = fs_err::metadata(directory).ok().filter(std::fs::Metadata::is_dir)?;
        Some(Self { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() })
    }

    /// The nearest existing directory above a path, and its modification time.
    pub fn above(path: &Path) -> Option<(PathBuf, Self)> {
        path.ancestors().skip(1).find_map(|path| Some((path.to_owned(), Self::of(path)?)))
    }

    /// Restores the time of a directory.
    ///
    /// # Errors
    /// If nothing is at the path, or if this user may not set the time.
    pub fn set(self, directory: &Path) -> io::Result<()> {
        let Self { seconds: tv_sec, nanoseconds: tv_nsec } = self;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec: tv_nsec as _ },
        };
        Ok(rustix::fs::utimensat(CWD, directory, &times, AtFlags::empty())?)
    }
}

fn set_path_time(path: &Path, seconds: i64) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    set_times(path, &times)
}

fn set_times(path: &Path, times: &Timestamps) -> io::Result<()> {
    rustix::fs::utimensat(CWD, path, times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set the time of `{}`: {error}", path.display())))
}

/// A lock on a directory (`flock`). Dropping this value releases the lock. Closing the file would not be enough,
/// because a program that another thread starts at this moment has a copy of the open file for a short time.
#[derive(Debug)]
pub struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // If the file system has no locks, there is nothing to release.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Locks a directory until the returned value is dropped. `None` if another process has locked it. If the file system
/// has no locks, the call succeeds without one.
///
/// # Errors
/// If the directory cannot be opened, or if locking fails for another reason.
pub fn lock_directory(directory: &Path) -> io::Result<Option<DirectoryLock>> {
    match lock(directory)? {
        // Without locks, no other process is kept out. Other tools accept this, too.
        Lock::Taken(file) | Lock::Unknown(file) => Ok(Some(DirectoryLock(file))),
        Lock::Busy => Ok(None),
    }
}

/// Like [`lock_directory`], but `None` also if the file system has no locks.
///
/// # Errors
/// As for [`lock_directory`].
pub fn lock_directory_strictly(directory: &Path) -> io::Result<Option<DirectoryLock>> {
    match lock(directory)? {
        Lock::Taken(file) => Ok(Some(DirectoryLock(file))),
        Lock::Unknown(_) | Lock::Busy => Ok(None),
    }
}

/// The result of locking a directory.
pub(crate) enum Lock {
    /// It is locked by this process.
    Taken(File),
    /// The file system has no locks.
    Unknown(File),
    /// It is locked by another process, or was replaced.
    Busy,
}

fn lock(directory: &Path) -> io::Result<Lock> {
    Ok(match lock_open(fs_err::File::open(directory)?.into_parts().0, directory)? {
        // Between opening and locking, another process may have replaced the directory.
        Lock::Taken(file) if !is_at(&file, directory) => Lock::Busy,
        other => other,
    })
}

/// Locks an open directory. The path is for messages.
pub(crate) fn lock_open(file: File, directory: &Path) -> io::Result<Lock> {
    use rustix::io::Errno;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Taken(file)),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Busy),
        // Some network file systems have no such locks, or none for directories, which cannot be opened for writing.
        Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS | Errno::BADF) => Ok(Lock::Unknown(file)),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot lock `{}`: {error}", directory.display()))),
    }
}

/// Whether a path names the same file as an open file.
pub fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs_err::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Permissions, owner and modification time of a file or a directory.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Attributes {
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
}

impl From<&std::fs::Metadata> for Attributes {
    fn from(metadata: &std::fs::Metadata) -> Self {
        let owner = (metadata.uid(), metadata.gid());
        Self { mode: metadata.mode() & 0o7777, owner, time: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

impl Attributes {
    /// Whether this process may change the attributes: it runs as the owner or as root.
    pub fn is_own(&self) -> bool {
        let user = rustix::process::geteuid();
        user.is_root() || self.owner.0 == user.as_raw()
    }

    /// Replaces the permissions.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode;
    }

    /// Replaces the modification time, in seconds since 1970.
    pub fn set_time(&mut self, seconds: i64) {
        self.time = (seconds, 0);
    }

    /// Sets the attributes of a path.
    ///
    /// # Errors
    /// If nothing is at the path, or if this user may not set the mode or the time. It is no error if the owner cannot
    /// be set.
    pub fn apply_to(&self, path: &Path) -> io::Result<()> {
        let there = Self::from(&fs_err::metadata(path)?);
        if there.owner != self.owner {
            // Only root may change owners. For other users, the file stays their own.
            let _ = std::os::unix::fs::chown(path, Some(self.owner.0), Some(self.owner.1));
        }
        if there.mode != self.mode {
            set_directory_mode(path, self.mode)?;
        }
        if there.time == self.time {
            return Ok(());
        }
        // The type of `tv_nsec` depends on the processor.
        #[allow(clippy::useless_conversion, reason = "on some there is nothing to convert")]
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.time.0, tv_nsec: self.time.1.try_into().unwrap_or(0) },
        };
        set_times(path, &times)
    }
}

/// Renews the signature of a macOS program or library after its bytes have changed, and returns the new sha256 of the
/// file. `None` if the file is not a macOS program or library.
///
/// # Errors
/// If the file cannot be read or written.
pub fn sign_program(file: &File, path: &Path) -> io::Result<Option<Sha256Hash>> {
    use code_signature::Signature;
    match code_signature::renew(file)? {
        Signature::NotMachO => return Ok(None),
        Signature::Renewed => {}
        // On macOS, the system's own tool signs the file. A file that it cannot sign stays as it is, as with conda.
        Signature::Missing if cfg!(target_os = "macos") => {
            std::process::Command::new("/usr/bin/codesign")
                .args(["--sign", "-", "--force", "--preserve-metadata=entitlements"])
                .arg(path)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()?;
        }
        Signature::Missing => {}
    }
    Ok(Some(rattler_digest::compute_file_digest::<Sha256>(path)?))
}

/// Whether an error says that a hard link is not possible here, so that a copy is needed.
pub fn is_hard_link_unsupported(error: &io::Error) -> bool {
    linker::Refusal::of(error).is_some()
}

/// The modification time of a file, in seconds since 1970.
pub fn modified(metadata: &std::fs::Metadata) -> i64 {
    metadata.mtime()
}

/// Whether a directory can be exchanged with a copy beside it that consists of hard links.
pub fn can_swap_directory(directory: &Path, metadata: &std::fs::Metadata) -> bool {
    let Some(Ok(parent)) = directory.parent().map(fs_err::metadata) else { return false };
    // A directory is not exchanged if it is a mount point, or if another user owns it.
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    let same = own && parent.dev() == metadata.dev() && !is_mount_point(directory);
    same && directory.parent().is_some_and(may_write) && !is_overlay(directory)
}

/// Frees the disk space of the first `bytes` of a file. These bytes read as zeros afterwards.
///
/// # Errors
/// If the file system does not support holes, or if the file is not writable.
#[cfg(target_os = "linux")]
pub fn punch_hole(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    if bytes == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, 0, bytes)?)
}

/// Does nothing on this system: the file keeps its disk space.
#[cfg(not(target_os = "linux"))]
pub fn punch_hole(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Whether something is mounted on a directory. This can also be a directory of the same file system (bind mount), so a
/// comparison of device numbers is not enough.
#[cfg(target_os = "linux")]
pub fn is_mount_point(directory: &Path) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(CWD, directory, flags, StatxFlags::empty())
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Always `false`: this system does not report mount points.
#[cfg(not(target_os = "linux"))]
pub fn is_mount_point(_directory: &Path) -> bool {
    false
}

/// Whether this process may create and remove files in a directory.
pub fn may_write(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether a path is on an overlay file system, as in an image being built. There, a hard link to a file of a lower
/// layer copies the file into the upper layer.
#[cfg(target_os = "linux")]
#[allow(clippy::useless_conversion, reason = "the type of `f_type` is another on other processors")]
pub fn is_overlay(path: &Path) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|statfs| i64::from(statfs.f_type) == OVERLAYFS_SUPER_MAGIC)
}

/// Always `false`: this system has no overlay file system.
#[cfg(not(target_os = "linux"))]
pub fn is_overlay(_path: &Path) -> bool {
    false
}

/// Exchanges two directories atomically.
///
/// # Errors
/// If one of the directories does not exist, or if the kernel or the file system does not support exchanges.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rustix::fs::renameat_with(CWD, one, CWD, other, rustix::fs::RenameFlags::EXCHANGE).map_err(|error| {
        let (one, other) = (one.display(), other.display());
        io::Error::new(error.kind(), format!("cannot swap `{one}` and `{other}`: {error}"))
    })
}
