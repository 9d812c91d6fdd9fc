//! File operations on paths below an open directory. No operation can leave that directory.
//!
//! Paths come from records, journals and packages, and any user with write access to a prefix can create links in it.
//! So the kernel never gets a whole path to follow. The parent of a path is opened relative to the open directory,
//! without following links (with `openat2` if available, else component by component). The operation then uses the file
//! name in that parent. A link that is created meanwhile is not followed either. A path behind a link counts as missing
//! ([`io::ErrorKind::NotADirectory`]). The parents that were used last stay open, because the next path is most often
//! in one of them.
//!
//! A method that returns [`io::Result`] fails with the error of its system call. The message names the operation and
//! the path.

mod attributes;
mod change;
mod handles;
mod info;
mod put;
mod whole;

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use fs_err::File;
use rustix::{
    fd::OwnedFd,
    fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use self::handles::Handles;
pub use self::{
    info::{PathInfo, PathKind},
    whole::{FileSystem, WayForChildren},
};

/// The flags to open a directory for lookups. With `O_PATH`, no read permission is needed.
#[cfg(target_os = "linux")]
const LOOK_UP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK_UP: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Whether `openat2` is missing, or forbidden by a system call filter, as in older container engines.
#[cfg(target_os = "linux")]
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// An open directory. All paths are relative to it; an empty path is the directory itself.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// The path that the directory was opened by, for messages.
    path: PathBuf,
    way: Resolution,
    /// The parents that were used last.
    handles: Handles,
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

/// The default for the number of parents that stay open. Each [`Root`] has its own.
const KEPT_OPEN: usize = 4;

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
    ///
    /// # Errors
    /// If the path is not a directory that can be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::empty())
    }

    /// Opens a directory. The path must not be a link.
    ///
    /// # Errors
    /// If the path is a link, or is not a directory that can be opened.
    pub fn open_no_follow(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OFlags::NOFOLLOW)
    }

    fn open_with(path: &Path, flags: OFlags) -> io::Result<Self> {
        let directory = rustix::fs::openat(CWD, path, LOOK_UP | flags, Mode::empty());
        let directory = directory.map_err(|errno| path_error("open directory", path, errno))?;
        Ok(Self { directory, path: path.to_owned(), way: Resolution::Kernel, handles: Handles::new(KEPT_OPEN) })
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// If the path is not a directory that can be opened, or leads through a link.
    pub fn open_directory(&self, path: &Path) -> io::Result<Self> {
        let directory = self.descend(path).map_err(|errno| self.path_error("open directory", path, errno))?;
        let full = if path.as_os_str().is_empty() { self.path.clone() } else { self.path.join(path) };
        Ok(Self { directory, path: full, way: self.way, handles: Handles::new(KEPT_OPEN) })
    }

    /// The same directory, with up to `most` parents that stay open, for use by several threads. There are fewer if the
    /// process may open only few files: at most an eighth of that limit.
    #[must_use]
    pub fn with_open_parents(self, most: usize) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = limit.map_or(most, |limit| usize::try_from(limit / 8).unwrap_or(most));
        Self { handles: Handles::new(most.min(share).max(1)), ..self }
    }

    /// The path that the directory was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the cached parents. Call this after a script or another program may have moved directories.
    pub fn clear_cache(&self) {
        self.handles.clear();
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
                // Another process renamed something meanwhile, so the kernel cannot be sure of the path.
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
        if let Some(open) = self.handles.get(path) {
            return Ok(open);
        }
        let open = Arc::new(self.descend(path)?);
        self.handles.put(path, &open);
        Ok(open)
    }

    /// Closes the cached parents that are in a directory that is moved or removed.
    fn forget_directory(&self, path: &Path) {
        self.handles.forget(path);
    }

    /// The metadata of a path. `None` if nothing is there, or if the path leads through a link.
    ///
    /// # Errors
    /// If the metadata cannot be read for another reason.
    pub fn lookup(&self, path: &Path) -> io::Result<Option<PathInfo>> {
        if !path.as_os_str().is_empty() && !is_contained(path) {
            return Ok(None);
        }
        let stat = self.at("query", path, |open, name| rustix::fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Some(info::path_info(&stat))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the path is a directory, and does not lead through a link.
    ///
    /// # Errors
    /// As for [`Root::lookup`].
    pub fn has_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lookup(path)?.is_some_and(|there| there.is_directory()))
    }

    /// The entries of a directory, in no particular order.
    ///
    /// # Errors
    /// If the path is not a readable directory, or leads through a link.
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

    /// Opens a regular file for reading. Never blocks; other file types are errors.
    ///
    /// # Errors
    /// If the path is not a readable regular file, or leads through a link.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.at("open file", path, |open, name| rustix::fs::openat(open, name, flags, Mode::empty()))?;
        let file = File::from_parts(file.into(), self.path.join(path));
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => {
                let message = format!("`{}` is not a regular file", self.path.join(path).display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The target of a link.
    ///
    /// # Errors
    /// If the path is not a link, or leads through another link.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let read = |open: &OwnedFd, name: &OsStr| rustix::fs::readlinkat(open, name, Vec::new());
        let text: CString = self.at("read link", path, read)?;
        Ok(OsString::from_vec(text.into_bytes()).into())
    }

    /// Whether this process may create and remove files in a directory.
    pub fn may_write(&self, path: &Path) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        self.at("access", path, |open, name| rustix::fs::accessat(open, name, access, AtFlags::empty())).is_ok()
    }

    /// Whether something is mounted on a directory. This can also be a directory of the same file system (bind mount),
    /// so a comparison of device numbers is not enough.
    #[cfg(target_os = "linux")]
    pub fn is_mount_point(&self, path: &Path) -> bool {
        use rustix::fs::{StatxAttributes, StatxFlags};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        self.at("query", path, |open, name| rustix::fs::statx(open, name, flags, StatxFlags::empty()))
            .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// Always `false`: this system does not report mount points.
    #[cfg(not(target_os = "linux"))]
    pub fn is_mount_point(&self, _path: &Path) -> bool {
        false
    }
}

/// Turns the error that a path does not exist into success.
fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// Makes an [`io::Error`] of an `errno`. A path that leads through a link counts as missing.
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

#[cfg(test)]
mod tests;
