//! Creates, renames, links, copies and removes paths below a directory.

use std::{ffi::OsStr, io, path::Path, sync::atomic::AtomicBool};

use fs_err::File;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, OFlags},
    io::Errno,
};

use super::{Root, bits, ignore_missing};
use crate::{Attributes, linker::copy_pieces};

impl Root {
    /// Removes a file or a link, if it exists.
    ///
    /// # Errors
    /// If the path is a directory, or if the file cannot be removed.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        ignore_missing(self.at("remove file", path, |open, name| rustix::fs::unlinkat(open, name, AtFlags::empty())))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// If the path is not an empty directory that can be removed.
    pub fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.forget_directory(path);
        self.at("remove directory", path, |open, name| rustix::fs::unlinkat(open, name, AtFlags::REMOVEDIR))
    }

    /// Creates a directory. The umask applies to `mode`.
    ///
    /// # Errors
    /// If something is at the path already, or if the directory cannot be created.
    pub fn make_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.at("create directory", path, |open, name| rustix::fs::mkdirat(open, name, bits(mode)))
    }

    /// Creates a directory and its missing parents. The umask applies to `mode`.
    ///
    /// # Errors
    /// If something other than a directory is at the path or above it, or if a directory cannot be created.
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
    ///
    /// # Errors
    /// If something is at the path already, or if the file cannot be created.
    pub fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.at("create file", path, |open, name| rustix::fs::openat(open, name, flags, bits(mode)))?;
        Ok(File::from_parts(file.into(), self.path.join(path)))
    }

    /// Creates a new file that shares the blocks of an open one, with its mode and times.
    #[cfg(target_vendor = "apple")]
    pub(crate) fn clone_file(&self, source: &std::fs::File, path: &Path) -> io::Result<()> {
        use rustix::fs::{CloneFlags, fclonefileat};
        self.at("create file", path, |open, name| fclonefileat(source, open, name, CloneFlags::empty()))
    }

    /// Creates a soft link with this target.
    ///
    /// # Errors
    /// If something is at the path already, or if the link cannot be created.
    pub fn soft_link(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.at("create link", path, |open, name| rustix::fs::symlinkat(target, open, name))
    }

    /// Renames `path` to `to`, which is below the directory `into`.
    ///
    /// # Errors
    /// If nothing is at `path`, or if it cannot be renamed. A file at `to` is replaced.
    pub fn rename(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        self.forget_directory(path);
        into.forget_directory(to);
        self.pair("rename", path, into, to, |from, name, open, new| rustix::fs::renameat(from, name, open, new))
    }

    /// Like [`Root::rename`], if the path exists.
    ///
    /// # Errors
    /// As for [`Root::rename`], except if nothing is at `path`.
    pub fn rename_if_exists(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        ignore_missing(self.rename(path, into, to))
    }

    /// Creates a hard link `to`, below the directory `into`, to the file or soft link at `path`.
    ///
    /// # Errors
    /// If something is at `to` already, or if the link cannot be created.
    pub fn hard_link(&self, path: &Path, into: &Self, to: &Path) -> io::Result<()> {
        self.pair("hard link", path, into, to, |from, name, open, new| {
            rustix::fs::linkat(from, name, open, new, AtFlags::empty())
        })
    }

    pub(super) fn pair(
        &self,
        what: &str,
        path: &Path,
        into: &Self,
        to: &Path,
        act: impl FnOnce(&OwnedFd, &OsStr, &OwnedFd, &OsStr) -> Result<(), Errno>,
    ) -> io::Result<()> {
        // The error of the inner operation is kept apart: the outer operation would name the wrong path in it.
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

    /// Copies a file to `to`, below the directory `into`, with permissions, owner and time. Setting `stop` ends the
    /// copy early.
    ///
    /// # Errors
    /// If `path` is not a regular file, if something is at `to` already, if the copy cannot be written, or if `stop`
    /// was set.
    pub fn copy(&self, path: &Path, into: &Self, to: &Path, stop: &AtomicBool) -> io::Result<()> {
        let mut file = self.read(path)?;
        let mut copy = into.create(to, 0o600)?;
        copy_pieces(file.file_mut(), copy.file_mut(), stop).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to copy `{}`: {error}", self.path.join(path).display()))
        })?;
        drop(copy);
        into.set_attributes(to, &Attributes::from(&file.metadata()?))
    }
}
