//! Permissions, owners and modification times of paths below a directory.

use std::{io, path::Path};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};

use super::{PathKind, Root, bits};
use crate::Attributes;

impl Root {
    /// Sets the modification time of a file, a directory or a link itself, in seconds since 1970.
    ///
    /// # Errors
    /// If nothing is at the path, or if this user may not set the time.
    pub fn set_time(&self, path: &Path, seconds: i64) -> io::Result<()> {
        self.set_times(path, (seconds, 0))
    }

    fn set_times(&self, path: &Path, time: (i64, i64)) -> io::Result<()> {
        // The type of `tv_nsec` depends on the processor.
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
    ///
    /// # Errors
    /// If the path is neither a file nor a directory, or if this user may not set its mode or time. It is no error if
    /// the owner cannot be set.
    pub fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let Some(there) = self.lookup(path)?.filter(|there| matches!(there.kind, PathKind::File | PathKind::Directory))
        else {
            return Err(self.path_error("query", path, Errno::NOENT));
        };
        let Attributes { mode, owner, time } = *attributes;
        if there.owner != owner {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            // Only root may change owners. For other users, the file stays their own.
            let _ = self.at("change the owner of", path, |open, name| {
                rustix::fs::chownat(open, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            });
        }
        if there.mode != mode {
            // No call changes the mode of a path and reliably follows no link. So the file is opened and its mode is
            // changed.
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

    /// Sets the permissions of a directory that this process has just created, whatever the umask.
    ///
    /// # Errors
    /// If the mode cannot be set.
    pub fn set_directory_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        // The umask may have removed the permission to open the directory, so it is changed by name. No other user can
        // have replaced it by a link, because its parent was created just as recently.
        self.at("set the mode of", path, |open, name| rustix::fs::chmodat(open, name, bits(mode), AtFlags::empty()))
    }
}
