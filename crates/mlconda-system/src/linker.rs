//! Links or copies files. It tries a hard link, then a reflink, then a copy in the kernel. On macOS, reflinks (clones)
//! come first: there they cost no more than hard links, and a change of one file does not show in the other.
//!
//! If a method is not possible for a pair of directories, this is remembered. So a cache on another file system does
//! not cost two failing system calls per file. Errors of a single file are not remembered (too many links; a file of
//! another user, protected by `fs.protected_hardlinks`).

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{beneath::Root, holes, set_mode};

/// How a file was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMethod {
    /// A hard link: the same file, without additional disk space.
    HardLink,
    /// A copy, with the same permissions and modification time.
    Copy,
}

/// The size of the pieces in which a file is copied, in bytes.
const PIECE: u64 = 64 << 20;

/// Links files of one directory into another, and remembers which methods work.
#[derive(Debug, Default)]
pub struct Linker {
    no_hard_links: AtomicBool,
    no_reflinks: AtomicBool,
}

impl Linker {
    /// Creates a linker that makes no hard links, for files that may be changed later.
    pub fn copies_only() -> Self {
        Self { no_hard_links: AtomicBool::new(true), ..Self::default() }
    }

    /// Links `path` below `from` to the new path `to` below `into`, or copies it. Setting `stop` ends a copy early.
    ///
    /// # Errors
    /// If `path` cannot be linked or read, if something is at `to` already, if a copy cannot be written, or if `stop`
    /// was set.
    pub fn link(&self, from: &Root, path: &Path, into: &Root, to: &Path, stop: &AtomicBool) -> io::Result<LinkMethod> {
        if cfg!(target_vendor = "apple") && self.cloned(from.read(path)?.file(), into, to)?.is_some() {
            return Ok(LinkMethod::Copy);
        }
        if !self.no_hard_links.load(Ordering::Relaxed) {
            match from.hard_link(path, into, to) {
                Ok(()) => return Ok(LinkMethod::HardLink),
                Err(error) => match Refusal::of(&error) {
                    None => return Err(error),
                    Some(Refusal::OfThisFile) => {}
                    Some(Refusal::OfAll) => self.no_hard_links.store(true, Ordering::Relaxed),
                },
            }
        }
        self.copy(from, path, into, to, stop).map(|()| LinkMethod::Copy)
    }

    /// Copies `path` below `from` to the new path `to` below `into`. Setting `stop` ends the copy early.
    ///
    /// # Errors
    /// If `path` is not a regular file, if something is at `to` already, if the copy cannot be written, or if `stop`
    /// was set.
    pub fn copy(&self, from: &Root, path: &Path, into: &Root, to: &Path, stop: &AtomicBool) -> io::Result<()> {
        let mut source = from.read(path)?;
        let metadata = source.metadata()?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        let cloned = self.cloned(source.file(), into, to)?;
        let is_done = cloned.is_some();
        let mut copy = cloned.map_or_else(|| into.create(to, mode), Ok)?;
        if !is_done && !self.reflink(source.file(), copy.file()) {
            copy_pieces(source.file_mut(), copy.file_mut(), stop).map_err(|error| {
                let (from, to) = (from.path().join(path), into.path().join(to));
                io::Error::new(error.kind(), format!("cannot copy `{}` to `{}`: {error}", from.display(), to.display()))
            })?;
        }
        set_mode(copy.file(), mode)?;
        copy.file().set_modified(metadata.modified()?)
    }

    /// Makes two files share their blocks (reflink), if the file system supports it.
    #[cfg(target_os = "linux")]
    fn reflink(&self, from: &File, to: &File) -> bool {
        if self.no_reflinks.load(Ordering::Relaxed) {
            return false;
        }
        // The reason does not matter: a copy is tried next, and its error says more.
        let done = rustix::fs::ioctl_ficlone(to, from).is_ok();
        if !done {
            self.no_reflinks.store(true, Ordering::Relaxed);
        }
        done
    }

    #[cfg(not(target_os = "linux"))]
    fn reflink(&self, _from: &File, _to: &File) -> bool {
        false
    }

    /// Clones a file on macOS, where a reflink is a new file with content, mode and time. `None` if the file system
    /// cannot.
    #[cfg(target_vendor = "apple")]
    fn cloned(&self, from: &File, into: &Root, to: &Path) -> io::Result<Option<fs_err::File>> {
        if self.no_reflinks.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match into.clone_file(from, to) {
            Ok(()) => into.read(to).map(Some),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // The reason does not matter: a link or a copy is tried next, and its error says more.
            Err(_) => {
                self.no_reflinks.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    #[cfg(not(target_vendor = "apple"))]
    fn cloned(&self, _from: &File, _into: &Root, _to: &Path) -> io::Result<Option<fs_err::File>> {
        Ok(None)
    }
}

/// Copies in the kernel, with `copy_file_range` or a similar call, if possible. Holes stay holes.
pub(super) fn copy_pieces(from: &mut File, to: &mut File, stop: &AtomicBool) -> io::Result<()> {
    let about = from.metadata()?;
    if about.blocks() < about.len() / 512 {
        return holes::copy_with_holes(from, to, 1 << 20, stop);
    }
    while io::copy(&mut io::Read::take(&mut *from, PIECE), to)? == PIECE {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the installation was stopped"));
        }
    }
    Ok(())
}

/// Why a hard link is not possible, although a copy may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This file has too many links, or belongs to another user.
    OfThisFile,
    /// No file can be linked: the directories are on two file systems, or on one without hard links.
    OfAll,
}

impl Refusal {
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
        match error.kind() {
            CrossesDevices | Unsupported => Some(Self::OfAll),
            PermissionDenied | TooManyLinks => Some(Self::OfThisFile),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::io::Errno;

    use super::*;
    use crate as system;

    #[test]
    fn a_copy_has_the_content_the_mode_and_the_time() {
        let directory = tempfile::tempdir().unwrap();
        let (names, root) = (["from", "linked", "copied"], Root::open(directory.path()).unwrap());
        let [from, linked, copied] = names.map(|name| directory.path().join(name));
        let names = names.map(Path::new);
        fs_err::write(&from, "x".repeat(100_000)).unwrap();
        let file = fs_err::File::options().write(true).open(&from).unwrap();
        set_mode(file.file(), 0o755).unwrap();
        system::set_time(file.file(), 1_000_000_000).unwrap();
        let never = AtomicBool::new(false);
        assert_eq!(Linker::default().link(&root, names[0], &root, names[1], &never).unwrap(), LinkMethod::HardLink);
        assert_eq!(Linker::copies_only().link(&root, names[0], &root, names[2], &never).unwrap(), LinkMethod::Copy);
        let look = |path: &Path| {
            let metadata = fs_err::metadata(path).unwrap();
            (fs_err::read(path).unwrap(), metadata.permissions().mode() & 0o777, metadata.mtime(), metadata.ino())
        };
        let (original, linked, copied) = (look(&from), look(&linked), look(&copied));
        assert_eq!(original, linked);
        assert_eq!((&original.0, original.1, original.2), (&copied.0, 0o755, 1_000_000_000));
        assert_eq!(copied.0.len(), 100_000);
        assert_ne!(original.3, copied.3);
    }

    #[test]
    fn what_is_no_hard_link_may_be_a_copy() {
        let refusal = |errno: Errno| Refusal::of(&errno.into());
        assert_eq!([Errno::XDEV, Errno::NOTSUP, Errno::NOSYS].map(refusal), [Some(Refusal::OfAll); 3]);
        assert_eq!([Errno::MLINK, Errno::PERM, Errno::ACCESS].map(refusal), [Some(Refusal::OfThisFile); 3]);
        assert_eq!([Errno::NOENT, Errno::NOSPC, Errno::EXIST].map(refusal), [None; 3]);
    }
}
