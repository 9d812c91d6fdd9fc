//! File operations below a directory that cannot leave it.
//!
//! Paths come from records, journals and packages, and everybody with write access to a prefix can create links in it. So a
//! path is never passed to the kernel as a whole: its parent is opened relative to the open directory without following
//! links (with `openat2` if available, else component by component), and the operation uses the name in that parent. A link
//! that is created meanwhile is not followed either. A path behind a link counts as missing
//! ([`io::ErrorKind::NotADirectory`]). The last parent stays open, because the next path is most often in it.

mod put;

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fd::OwnedFd,
    fs::{Access, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};

use super::{Attributes, linker::copy_pieces};

/// The flags to open a directory for lookups. With `O_PATH`, no read permission is needed.
#[cfg(target_os = "linux")]
const LOOK_UP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK_UP: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Whether `openat2` is missing, or forbidden by a filter, as in older container engines.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// An open directory. All paths are relative to it; an empty path is the directory itself.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// The path by which it was opened, for messages.
    path: PathBuf,
    way: Resolution,
    /// The directory of the last path.
    last: Mutex<Option<(PathBuf, Arc<OwnedFd>)>>,
}

/// How a path is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// By the kernel in one call, if it can.
    Kernel,
    /// One component at a time.
    #[cfg(test)]
    Steps,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A soft link.
    Link,
    /// A device, a FIFO or a socket.
    Other,
}

/// The metadata of a path. Links are not followed.
#[derive(Clone, Debug)]
pub struct PathInfo {
    /// The type.
    pub kind: PathKind,
    /// Permissions.
    pub mode: u32,
    /// The numbers of the user and the group that own it.
    pub owner: (u32, u32),
    /// The modification time, in seconds since 1970 and nanoseconds.
    pub time: (i64, i64),
    /// The size in bytes.
    pub size: u64,
    /// The inode number.
    pub number: u64,
}

impl PathInfo {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == PathKind::Directory
    }

    /// The modification time.
    pub fn modified(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.time;
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
        whole.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(nanoseconds.unsigned_abs())
    }

    /// Whether size and modification time are equal: then neither file was written to since one was copied from the other.
    pub fn has_same_size_and_time(&self, other: &Self) -> bool {
        (self.size, self.time) == (other.size, other.time)
    }

    /// Why the file may have been written by another user; `None` if only this user and root can have written it.
    pub fn untrusted_reason(&self) -> Option<&'static str> {
        let user = rustix::process::geteuid().as_raw();
        if self.owner.0 != 0 && self.owner.0 != user {
            return Some("belongs to another user");
        }
        (self.mode & 0o022 != 0).then_some("can be written to by others")
    }
}

impl From<&PathInfo> for Attributes {
    fn from(look: &PathInfo) -> Self {
        Self { mode: look.mode, owner: look.owner, time: look.time }
    }
}

/// The maximum length of a path and of a file name, in bytes.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;

/// Whether a path is relative, has no `..`, and is not too long for the system.
pub fn is_contained(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(name) if name.len() <= LONGEST_NAME);
    !bytes.is_empty() && bytes.len() <= LONGEST_PATH && !bytes.contains(&0) && path.components().all(is_name)
}

impl Root {
    /// Opens a directory. The path may be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::empty())
    }

    /// Opens a directory. The path must not be a link.
    pub fn open_no_follow(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::NOFOLLOW)
    }

    fn open_with(path: &Path, flags: OFlags) -> io::Result<Self> {
        let directory = rustix::fs::openat(CWD, path, LOOK_UP | flags, Mode::empty());
        let directory = directory.map_err(|errno| path_error("open directory", path, errno))?;
        Ok(Self { directory, path: path.to_owned(), way: Resolution::Kernel, last: Mutex::default() })
    }

    /// Opens a directory below this one.
    pub fn open_directory(&self, path: &Path) -> io::Result<Self> {
        let directory = self.descend(path).map_err(|errno| self.path_error("open directory", path, errno))?;
        Ok(Self { directory, path: self.path.join(path), way: self.way, last: Mutex::default() })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the cached parent. Call this after a script or another program may have moved directories.
    pub fn clear_cache(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn path_error(&self, what: &str, path: &Path, errno: Errno) -> io::Error {
        path_error(what, &self.path.join(path), errno)
    }

    /// Opens the directory at a path, without following links.
    fn descend(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if path.as_os_str().is_empty() {
            return rustix::fs::openat(&self.directory, ".", LOOK_UP, Mode::empty());
        }
        if !is_contained(path) {
            return Err(Errno::INVAL);
        }
        #[cfg(target_os = "linux")]
        if self.way == Resolution::Kernel && !NO_OPENAT2.load(Ordering::Relaxed) {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match rustix::fs::openat2(&self.directory, path, LOOK_UP | OFlags::NOFOLLOW, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
                // Something was renamed meanwhile, and the kernel does not know.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        let mut open: Option<OwnedFd> = None;
        for part in path.components() {
            let above = open.as_ref().unwrap_or(&self.directory);
            open = Some(rustix::fs::openat(above, part.as_os_str(), LOOK_UP | OFlags::NOFOLLOW, Mode::empty())?);
        }
        open.ok_or(Errno::INVAL)
    }

    /// Calls a function with the open parent of a path and its file name.
    fn at<T>(&self, what: &str, path: &Path, act: impl FnOnce(&OwnedFd, &OsStr) -> Result<T, Errno>) -> io::Result<T> {
        let done = match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) if above.as_os_str().is_empty() && is_contained(path) => {
                act(&self.directory, name)
            }
            (Some(above), Some(name)) => self.parent(above).and_then(|open| act(&open, name)),
            (None, _) if path.as_os_str().is_empty() => act(&self.directory, OsStr::new(".")),
            _ => Err(Errno::INVAL),
        };
        done.map_err(|errno| self.path_error(what, path, errno))
    }

    /// The open parent of a path.
    fn parent(&self, path: &Path) -> Result<Arc<OwnedFd>, Errno> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, open)) = last.as_ref().filter(|(known, _)| known.as_os_str() == path.as_os_str()) {
            return Ok(Arc::clone(open));
        }
        let open = Arc::new(self.descend(path)?);
        *last = Some((path.to_owned(), Arc::clone(&open)));
        drop(last);
        Ok(open)
    }

    /// Closes the cached parent, if it is in a directory that is moved or removed.
    fn forget_directory(&self, path: &Path) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|(known, _)| known.starts_with(path));
    }

    /// The metadata of a path; `None` if it does not exist, or is behind a link.
    pub fn lookup(&self, path: &Path) -> io::Result<Option<PathInfo>> {
        if !path.as_os_str().is_empty() && !is_contained(path) {
            return Ok(None);
        }
        let stat = self.at("query", path, |open, name| rustix::fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Some(path_info(&stat))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the path is a directory, not behind a link.
    pub fn has_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lookup(path)?.is_some_and(|there| there.is_directory()))
    }

    /// The entries of a directory, in no particular order.
    pub fn entries(&self, path: &Path) -> io::Result<Vec<(OsString, PathKind)>> {
        let read = || {
            let open = self.descend(path)?;
            let mut found = Vec::new();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            for entry in Dir::new(rustix::fs::openat(&open, ".", flags, Mode::empty())?)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let mut kind = entry.file_type();
                if kind == FileType::Unknown {
                    let stat = rustix::fs::statat(&open, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                    kind = FileType::from_raw_mode(stat.st_mode);
                }
                found.push((OsString::from_vec(name.to_vec()), PathKind::from(kind)));
            }
            Ok(found)
        };
        read().map_err(|errno| self.path_error("read directory", path, errno))
    }

    /// Removes a file or a link, if it exists.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        ignore_missing(self.at("remove file", path, |open, name| rustix::fs::unlinkat(open, name, AtFlags::empty())))
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.forget_directory(path);
        self.at("remove directory", path, |open, name| rustix::fs::unlinkat(open, name, AtFlags::REMOVEDIR))
    }

    /// Creates a directory.
    pub fn make_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.at("create directory", path, |open, name| rustix::fs::mkdirat(open, name, bits(mode)))
    }

    /// Creates a directory and its missing parents.
    pub fn make_directories(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.has_directory(path)? {
            return Ok(());
        }
        path.parent().map_or(Ok(()), |above| self.make_directories(above, mode))?;
        match self.make_directory(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.has_directory(path)? => Ok(()),
            other => other,
        }
    }

    /// Creates a new file. The umask applies to `mode`.
    pub fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.at("create file", path, |open, name| rustix::fs::openat(open, name, flags, bits(mode))).map(File::from)
    }

    /// Opens a regular file for reading. Never blocks; other file types are errors.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.at("open file", path, |open, name| rustix::fs::openat(open, name, flags, Mode::empty()))?;
        let file = File::from(file);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => {
                let message = format!("`{}` is not a regular file", self.path.join(path).display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The target of a link.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let read = |open: &OwnedFd, name: &OsStr| rustix::fs::readlinkat(open, name, Vec::new());
        let text: CString = self.at("read link", path, read)?;
        Ok(OsString::from_vec(text.into_bytes()).into())
    }

    /// Renames a path to another one below another directory.
    pub fn rename(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        self.forget_directory(path);
        into.forget_directory(to);
        self.pair("rename", path, into, to, |from, name, open, new| rustix::fs::renameat(from, name, open, new))
    }

    /// Like [`Root::rename`], if the path exists.
    pub fn rename_if_exists(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        ignore_missing(self.rename(path, into, to))
    }

    /// Creates a hard link to a file or a soft link, below another directory.
    pub fn hard_link(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        self.pair("hard link", path, into, to, |from, name, open, new| {
            rustix::fs::linkat(from, name, open, new, AtFlags::empty())
        })
    }

    fn pair(
        &self,
        what: &str,
        path: &Path,
        into: &Self,
        to: &Path,
        act: impl FnOnce(&OwnedFd, &OsStr, &OwnedFd, &OsStr) -> Result<(), Errno>,
    ) -> io::Result<()> {
        // An error of the outer one would name the wrong path.
        let mut done = Ok(());
        let inner = |from: &OwnedFd, name: &OsStr| {
            done = into.at(what, to, |open, new| act(from, name, open, new));
            Ok(())
        };
        self.at(what, path, inner)?;
        done.map_err(|error| {
            let from = self.path.join(path);
            io::Error::new(error.kind(), format!("{error} (from `{}`)", from.display()))
        })
    }

    /// Copies a file to a path below another directory, with permissions, owner and time. `stop` ends the copy early.
    pub fn copy(&self, path: &Path, into: &Self, to: &Path, stop: &AtomicBool) -> io::Result<()> {
        let mut file = self.read(path)?;
        let mut copy = into.create(to, 0o600)?;
        copy_pieces(&mut file, &mut copy, stop).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to copy `{}`: {error}", self.path.join(path).display()))
        })?;
        drop(copy);
        into.set_attributes(to, &Attributes::from(&file.metadata()?))
    }

    /// Sets the modification time of a file, a directory or a link itself, in seconds since 1970.
    pub fn set_time(&self, path: &Path, seconds: i64) -> io::Result<()> {
        self.set_times(path, (seconds, 0))
    }

    fn set_times(&self, path: &Path, time: (i64, i64)) -> io::Result<()> {
        // The type of the nanoseconds is another on other processors.
        #[allow(clippy::useless_conversion, reason = "on some there is nothing to convert")]
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.0, tv_nsec: time.1.try_into().unwrap_or(0) },
        };
        self.at("set the time of", path, |open, name| {
            rustix::fs::utimensat(open, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Sets permissions, owner and time of a file or a directory.
    pub fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let Some(there) = self.lookup(path)?.filter(|there| matches!(there.kind, PathKind::File | PathKind::Directory))
        else {
            return Err(self.path_error("query", path, Errno::NOENT));
        };
        let Attributes { mode, owner, time } = *attributes;
        if there.owner != owner {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            // Only root may; for others it stays theirs.
            let _ = self.at("change the owner of", path, |open, name| {
                rustix::fs::chownat(open, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            });
        }
        if there.mode != mode {
            // There is no call that changes a mode and is sure to follow no link, but by the file when it is open.
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            self.at("set the mode of", path, |open, name| {
                rustix::fs::fchmod(rustix::fs::openat(open, name, flags, Mode::empty())?, bits(mode))
            })?;
        }
        if self.lookup(path)?.is_some_and(|there| there.time == time) {
            return Ok(());
        }
        self.set_times(path, time)
    }

    /// Whether this process may create and remove files in a directory.
    pub fn may_write(&self, path: &Path) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        self.at("access", path, |open, name| rustix::fs::accessat(open, name, access, AtFlags::empty())).is_ok()
    }

    /// Whether something is mounted on a directory. It may be a directory of the same file system, which has the same device.
    #[cfg(target_os = "linux")]
    pub fn is_mount_point(&self, path: &Path) -> bool {
        use rustix::fs::{StatxAttributes, StatxFlags};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        self.at("query", path, |open, name| rustix::fs::statx(open, name, flags, StatxFlags::empty()))
            .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn is_mount_point(&self, _path: &Path) -> bool {
        false
    }
}

impl From<FileType> for PathKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

/// Ignores the error that a path does not exist.
fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// Converts an error. A path through a link counts as missing.
fn path_error(what: &str, path: &Path, errno: Errno) -> io::Error {
    let kind = match errno {
        Errno::LOOP => io::ErrorKind::NotADirectory,
        errno => errno.kind(),
    };
    io::Error::new(kind, format!("failed to {what} `{}`: {errno}", path.display()))
}

#[allow(clippy::useless_conversion, reason = "the type is another on other systems")]
fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode.try_into().unwrap_or(0))
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "the types of the fields are others on other processors and systems"
)]
fn path_info(stat: &rustix::fs::Stat) -> PathInfo {
    PathInfo {
        kind: FileType::from_raw_mode(stat.st_mode).into(),
        mode: u32::from(stat.st_mode) & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        time: (stat.st_mtime.try_into().unwrap_or(0), stat.st_mtime_nsec.try_into().unwrap_or(0)),
        size: stat.st_size.try_into().unwrap_or(0),
        number: stat.st_ino.into(),
    }
}

/// The same of an open file.
impl From<&std::fs::Metadata> for PathInfo {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            kind: FileType::from_raw_mode(metadata.mode() as _).into(),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            time: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.len(),
            number: metadata.ino(),
        }
    }
}

#[cfg(test)]
mod tests;
