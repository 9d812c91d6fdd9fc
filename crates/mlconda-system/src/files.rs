//! Reads files that other programs have written, without blocking and up to a size limit; and replaces files of the user,
//! which stay whole.
//!
//! A path in a prefix, a cache or a lock can be a FIFO (opening it blocks), a link to `/dev/zero` (it has no end), or a file
//! that is larger than the memory. So only regular files are opened, and each is read up to a limit in bytes. Files that the
//! user names on the command line may also be pipes or terminals ([`read_any`]).

use std::{
    io::{self, Read, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;
use url::Url;

/// The limit for a package's record in `conda-meta`, in bytes. The largest of real packages have some 20 MB.
pub const LARGEST_RECORD: u64 = 128 << 20;

/// The limit for a lock, in bytes. A lock of 1,000 packages has about 1 MB.
pub const LARGEST_LOCK: u64 = 64 << 20;

/// The limit for cached data of a channel (an index of shards, or the index of a `repodata.json`), in bytes.
pub const LARGEST_REPODATA: u64 = 1 << 30;

/// The limit for other files, in bytes: histories, metadata, settings, environment files.
pub const LARGEST_TEXT: u64 = 16 << 20;

/// The path of a `file:` URL of this machine; `None` for other URLs. (The conversion of the `url` crate ignores the scheme:
/// it turns `http://localhost/etc` into `/etc`.)
#[allow(clippy::disallowed_methods, reason = "this is the function that all others use")]
pub fn of_url(url: &Url) -> Option<PathBuf> {
    (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()
}

/// Opens a regular file, or a link to one, for reading. Never blocks.
///
/// # Errors
/// If there is no such file, or it is a directory, a device, a FIFO or a socket (`InvalidInput`).
pub fn open(path: &Path) -> io::Result<fs_err::File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path).map_err(|error| {
        // A socket cannot be opened at all; the system's words for that say nothing.
        match fs_err::metadata(path) {
            Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
                irregular(path, &metadata)
            }
            _ => error,
        }
    })?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(file) } else { Err(irregular(path, &metadata)) }
}

/// Moves the place of a reader in a file of `length` bytes, as [`io::Seek`] does, and gives the new one.
///
/// # Errors
/// If that would be before the beginning (`InvalidInput`).
pub fn seek(place: &mut u64, length: u64, to: SeekFrom) -> io::Result<u64> {
    let moved = match to {
        SeekFrom::Start(start) => Some(start),
        SeekFrom::End(offset) => length.checked_add_signed(offset),
        SeekFrom::Current(offset) => place.checked_add_signed(offset),
    };
    *place = moved.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(*place)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; and if the file is larger (`FileTooLarge`).
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(open(path)?, path, limit)
}

/// Reads a regular file of at most `limit` bytes as UTF-8.
///
/// # Errors
/// As [`read`]; and if it is not UTF-8 (`InvalidData`).
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not UTF-8", path.display())))
}

/// Reads at most `limit` bytes of a file that the user has named. It may be a pipe or a terminal, which may block.
///
/// # Errors
/// If it cannot be read, or is larger (`FileTooLarge`).
pub fn read_any(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(fs_err::File::open(path)?, path, limit)
}

/// Reads an open file of at most `limit` bytes. A pipe has no size, and a file may grow while it is read.
pub(crate) fn bounded(file: fs_err::File, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(path, limit));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(path, limit)) } else { Ok(bytes) }
}

/// Puts other content in the place of a file, or makes the file. Whatever happens on the way, the file has the old content
/// or the new one: the disk full, the process killed, a power cut.
///
/// Links stay links. The mode and the owner stay; the mode of a new file is `new_mode`, or 0666 without the bits of the
/// umask. What is not a regular file (`/dev/stdout`), is mounted itself, or would get another owner, is written to in its
/// place.
///
/// # Errors
/// If the file cannot be written.
pub fn replace(path: &Path, content: &[u8], new_mode: Option<u32>) -> io::Result<()> {
    let target = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs_err::metadata(&target).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return fs_err::write(&target, content);
    }
    match replace_by_rename(&target, content, old.as_ref(), new_mode) {
        // The directory is of somebody else, the file is mounted, or its owner cannot be given to another one.
        Err(error)
            if old.is_some()
                && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy) =>
        {
            fs_err::write(&target, content)
        }
        replaced => replaced,
    }
}

fn replace_by_rename(
    target: &Path,
    content: &[u8],
    old: Option<&std::fs::Metadata>,
    new_mode: Option<u32>,
) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let any = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".mlconda-").permissions(any).tempfile_in(directory)?;
    file.write_all(content)?;
    if let Some(old) = old {
        let new = file.as_file().metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
    }
    if let Some(mode) = old.map(|old| old.mode() & 0o7777).or(new_mode) {
        super::set_mode(file.as_file(), mode)?;
    }
    // A new file has nothing to lose.
    if old.is_some_and(|old| old.len() > 0) {
        file.as_file().sync_all()?;
    }
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

fn too_large(path: &Path, limit: u64) -> io::Error {
    let message = format!("cannot read `{}`: it is larger than {} MiB", path.display(), limit >> 20);
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

fn irregular(path: &Path, metadata: &std::fs::Metadata) -> io::Error {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let message = format!("cannot read `{}`: it is {kind}, not a regular file", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_url_is_a_path() {
        let path = |url: &str| of_url(&Url::parse(url).unwrap());
        assert_eq!(path("file:///etc/hostname"), Some("/etc/hostname".into()));
        assert_eq!(path("file://localhost/etc/hostname"), Some("/etc/hostname".into()));
        for other in ["http://localhost/etc", "https://localhost:8443/etc", "ftp://localhost/etc", "file://host/etc"] {
            assert_eq!(path(other), None, "{other}");
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, link) = (directory.path().join("fifo"), directory.path().join("zero"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in
            [(fifo.as_path(), "a FIFO"), (&link, "a device"), (&socket, "a socket"), (directory.path(), "a directory")]
        {
            let error = read(path, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                format!("cannot read `{}`: it is {kind}, not a regular file", path.display())
            );
        }
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode_and_the_links_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| fs_err::metadata(at(name)).unwrap().mode() & 0o7777;
        fs_err::write(at("file"), "old").unwrap();
        fs_err::set_permissions(at("file"), PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        replace(&at("link"), b"new", Some(0o644)).unwrap();
        assert_eq!(fs_err::read_to_string(at("file")).unwrap(), "new");
        assert!(at("link").is_symlink());
        assert_eq!(mode("file"), 0o640);
        replace(&at("new"), b"new", Some(0o604)).unwrap();
        assert_eq!(mode("new"), 0o604);
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        fs_err::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap().len(), 1 << 20);
        fs_err::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        for read in [read, read_any] {
            let error = read(&path, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("cannot read `{}`: it is larger than 1 MiB", path.display()));
        }
    }
}
