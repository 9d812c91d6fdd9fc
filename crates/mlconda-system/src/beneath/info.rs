//! The type and the metadata of a path.

use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::FileType;

use crate::Attributes;

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
    /// The numeric ids of the owning user and group.
    pub owner: (u32, u32),
    /// The modification time, in seconds since 1970 and nanoseconds.
    pub time: (i64, i64),
    /// The size in bytes.
    pub size: u64,
    /// The inode number. It identifies a file together with `device`.
    pub number: u64,
    /// The device number of the file system.
    pub device: u64,
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

    /// Whether both are the same file or directory, possibly under two names.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.number) == (other.device, other.number)
    }

    /// Whether size and modification time are equal. If one file is a copy of the other, neither was written to since
    /// then.
    pub fn has_same_size_and_time(&self, other: &Self) -> bool {
        (self.size, self.time) == (other.size, other.time)
    }

    /// Why another user may have written the file, as a phrase for messages. `None` if only this user and root can have
    /// done so.
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

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "the types of the fields are others on other processors and systems"
)]
pub(super) fn path_info(stat: &rustix::fs::Stat) -> PathInfo {
    PathInfo {
        kind: FileType::from_raw_mode(stat.st_mode).into(),
        mode: u32::from(stat.st_mode) & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        time: (stat.st_mtime.try_into().unwrap_or(0), stat.st_mtime_nsec.try_into().unwrap_or(0)),
        size: stat.st_size.try_into().unwrap_or(0),
        number: stat.st_ino.into(),
        device: stat.st_dev.try_into().unwrap_or(0),
    }
}

/// The same for an open file.
impl From<&std::fs::Metadata> for PathInfo {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            kind: FileType::from_raw_mode(metadata.mode() as _).into(),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            time: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.len(),
            number: metadata.ino(),
            device: metadata.dev(),
        }
    }
}
