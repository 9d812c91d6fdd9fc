//! Makes a file the same as another one: by hard link, else by reflink, else as a copy made in the kernel.
//!
//! Which of these two places allow is learned from the first file that fails and remembered, so that a cache on
//! another file system does not cost two failing system calls a file. What fails for one file only (it has all the
//! links that it may have; another user's file, which `fs.protected_hardlinks` guards) is not remembered.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::AtFlags;

use super::{create_new, set_mode};

/// How a file became the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMethod {
    /// It is the same file, and takes no room.
    HardLink,
    /// It is a file of its own, with the same permissions and time of last change.
    Copy,
}

/// A path below a directory that is open: looking it up from there is shorter.
#[derive(Clone, Copy, Debug)]
pub struct PathBelow<'a> {
    /// The path of the directory.
    pub root: &'a Path,
    /// The root, open.
    pub directory: &'a File,
    /// Relative to the root.
    pub path: &'a Path,
}

impl PathBelow<'_> {
    /// The whole path.
    pub fn full_path(&self) -> PathBuf {
        self.root.join(self.path)
    }
}

/// How much of a file is copied in one go, in bytes.
const PIECE: u64 = 64 << 20;

/// Makes files of one place the same as files of another.
#[derive(Debug, Default)]
pub struct Linker {
    no_hard_links: AtomicBool,
    no_reflinks: AtomicBool,
}

impl Linker {
    /// One that makes no hard links: what it makes is to be changed, or to be left alone by changes.
    pub fn copies_only() -> Self {
        Self { no_hard_links: AtomicBool::new(true), ..Self::default() }
    }

    /// Makes `to`, which is not there yet, the same as `from`. `stop` is set when nobody wants it any more.
    pub fn link_at(&self, from: PathBelow<'_>, to: PathBelow<'_>, stop: &AtomicBool) -> io::Result<LinkMethod> {
        let linked = !self.no_hard_links.load(Ordering::Relaxed)
            && rustix::fs::linkat(from.directory, from.path, to.directory, to.path, AtFlags::empty()).is_ok();
        // Why there is no link, the longer way finds out.
        if linked { Ok(LinkMethod::HardLink) } else { self.make(&from.full_path(), &to.full_path(), stop) }
    }

    fn make(&self, from: &Path, to: &Path, stop: &AtomicBool) -> io::Result<LinkMethod> {
        if !self.no_hard_links.load(Ordering::Relaxed) {
            match fs_err::hard_link(from, to) {
                Ok(()) => return Ok(LinkMethod::HardLink),
                Err(error) => match Refusal::of(&error) {
                    None => return Err(error),
                    Some(Refusal::OfThisFile) => {}
                    Some(Refusal::OfAll) => self.no_hard_links.store(true, Ordering::Relaxed),
                },
            }
        }
        self.copy(from, to, stop).map(|()| LinkMethod::Copy)
    }

    /// Makes `to`, which is not there yet, a copy of `from`. `stop` is set when nobody wants it any more.
    pub fn copy(&self, from: &Path, to: &Path, stop: &AtomicBool) -> io::Result<()> {
        let mut source = crate::files::open(from)?;
        let metadata = source.metadata()?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        let mut copy = create_new(to, mode)?;
        if !self.reflink(source.file(), copy.file()) {
            copy_pieces(source.file_mut(), copy.file_mut(), stop).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot copy `{}` to `{}`: {error}", from.display(), to.display()))
            })?;
        }
        set_mode(copy.file(), mode)?;
        copy.file().set_modified(metadata.modified()?)
    }

    /// Lets two files share their blocks, where the file system has that. (Apple's is not asked: it clones by path, which
    /// needs a call that no safe library has.)
    #[cfg(target_os = "linux")]
    fn reflink(&self, from: &File, to: &File) -> bool {
        if self.no_reflinks.load(Ordering::Relaxed) {
            return false;
        }
        // Whatever the reason: a copy can be made, or its failure says more.
        let done = rustix::fs::ioctl_ficlone(to, from).is_ok();
        if !done {
            self.no_reflinks.store(true, Ordering::Relaxed);
        }
        done
    }

    #[cfg(not(target_os = "linux"))]
    fn reflink(&self, _from: &File, _to: &File) -> bool {
        self.no_reflinks.load(Ordering::Relaxed)
    }
}

/// Copies in the kernel, with `copy_file_range` and the like, where it can.
pub(super) fn copy_pieces(from: &mut File, to: &mut File, stop: &AtomicBool) -> io::Result<()> {
    while io::copy(&mut io::Read::take(&mut *from, PIECE), to)? == PIECE {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the installation was stopped"));
        }
    }
    Ok(())
}

/// Why there is no hard link, where a copy will do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This file has too many links, or is another user's.
    OfThisFile,
    /// Another file system, or one without hard links.
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
        let [from, linked, copied] = ["from", "linked", "copied"].map(|name| directory.path().join(name));
        fs_err::write(&from, "x".repeat(100_000)).unwrap();
        let file = fs_err::File::options().write(true).open(&from).unwrap();
        set_mode(file.file(), 0o755).unwrap();
        system::set_time(file.file(), 1_000_000_000).unwrap();
        let never = AtomicBool::new(false);
        assert_eq!(Linker::default().make(&from, &linked, &never).unwrap(), LinkMethod::HardLink);
        assert_eq!(Linker::copies_only().make(&from, &copied, &never).unwrap(), LinkMethod::Copy);
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
