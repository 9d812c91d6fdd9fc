//! Tells whether an item of a cache is in use, and when it was last used. A user of an item holds a shared lock on it
//! (`flock`). The modification time of the file or directory is the time of its last use.

use std::{fs::File, io, path::Path, time::Duration};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::{
    fs::{FlockOperation, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};

use super::is_at;

/// Opens a file or a directory without blocking.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    Ok(fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?.into_parts().0)
}

/// How often a shared lock is tried while another process has an exclusive one for a moment.
const TRIES: usize = 64;

/// Takes a shared lock on a file or a directory, which lasts until the returned file is dropped. Several users can have
/// one. `None` if the path does not exist (any more), if another process has an exclusive lock, or if the file system
/// has no locks.
pub fn hold(path: &Path) -> Option<File> {
    let file = open(path).ok()?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return is_at(&file, path).then_some(file),
            // [`find`] takes an exclusive lock for a moment. A program that it starts just then may keep it longer.
            Err(Errno::WOULDBLOCK) => std::thread::yield_now(),
            Err(_) => break,
        }
    }
    None
}

/// Records that a file or a directory is used now. If only other users may set its time, the returned file holds a
/// shared lock instead: until it is dropped, nobody removes the item.
pub fn note(path: &Path) -> Option<File> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    // A user who may write to the file, but does not own it, can only set both times together.
    let of_access = [UTIME_OMIT, UTIME_NOW];
    let file = hold(path)?;
    let set = |access| {
        let times = Timestamps { last_access: time(access), last_modification: time(UTIME_NOW) };
        rustix::fs::futimens(&file, &times).is_ok()
    };
    if of_access.into_iter().any(set) { None } else { Some(file) }
}

/// Like [`note`], but does nothing if a use was recorded within `time`. This is for many small files that are used
/// again and again. Returns no lock.
pub fn note_within(path: &Path, time: Duration) {
    let noted =
        fs_err::metadata(path).and_then(|data| data.modified()).and_then(|at| at.elapsed().map_err(io::Error::other));
    if noted.is_ok_and(|age| age < time) {
        return;
    }
    note(path);
}

/// Whether a file or a directory is in use.
#[derive(Debug)]
pub enum Use {
    /// Nobody uses it, and nobody can begin to while this value exists.
    Free(File),
    /// The file system has no locks.
    Unknown(File),
    /// Somebody uses it, or it does not exist any more.
    Busy,
}

/// Finds out whether a file or a directory is in use. Drop the result soon: other processes retry their lock only a
/// limited number of times.
///
/// # Errors
/// If the path cannot be opened or locked.
pub fn find(path: &Path) -> io::Result<Use> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Use::Busy),
        file => file?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if is_at(&file, path) => Ok(Use::Free(file)),
        Ok(()) | Err(Errno::WOULDBLOCK) => Ok(Use::Busy),
        Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS | Errno::BADF) => Ok(Use::Unknown(file)),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot lock `{}`: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_uses_it_keeps_it_from_being_removed() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (one, other) = (hold(directory.path()), hold(directory.path()));
        assert!(one.is_some() && other.is_some(), "several hold it at once");
        assert!(matches!(find(directory.path())?, Use::Busy));
        drop(one);
        assert!(matches!(find(directory.path())?, Use::Busy), "the other one still does");
        drop(other);
        let free = find(directory.path())?;
        assert!(matches!(free, Use::Free(_)) && hold(directory.path()).is_none());
        drop(free);
        assert!(hold(directory.path()).is_some());
        let gone = directory.path().join("gone");
        assert!(hold(&gone).is_none() && matches!(find(&gone)?, Use::Busy));
        Ok(())
    }

    #[test]
    fn it_knows_when_it_was_used() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("file");
        fs_err::write(&file, "text")?;
        for path in [directory.path(), &file] {
            crate::set_directory_time(path, 1_000_000_000)?;
            note(path);
            assert!(crate::modified(&fs_err::metadata(path)?) > 1_700_000_000, "{}", path.display());
        }
        note(&directory.path().join("gone"));
        let modified = || -> io::Result<_> { Ok(crate::modified(&fs_err::metadata(&file)?)) };
        let now = modified()?;
        let minutes = |count: i64| now - 60 * count;
        for (before, is_noted) in [(minutes(30), false), (minutes(90), true)] {
            crate::set_directory_time(&file, before)?;
            note_within(&file, Duration::from_secs(3600));
            assert_eq!(modified()? >= now, is_noted);
        }
        note_within(&directory.path().join("gone"), Duration::ZERO);
        Ok(())
    }
}
