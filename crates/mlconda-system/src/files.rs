//! Reads files of other programs without blocking and up to a size limit, and replaces files of the user safely.
//!
//! A path in a prefix, a cache or a lock can be a FIFO (opening it blocks), a link to `/dev/zero` (it has no end), or a
//! file that is larger than the memory. So only regular files are opened, and each is read up to a limit in bytes.
//! Files that the user names on the command line may also be pipes or terminals ([`read_any`]).

use std::{
    io::{self, Read, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;
use url::Url;

/// The limit for a package's record in `conda-meta`, in bytes. The largest records of real packages have about 20 MB.
pub const LARGEST_RECORD: u64 = 128 << 20;

/// The limit for a lock, in bytes. A lock of 1,000 packages has about 1 MB.
pub const LARGEST_LOCK: u64 = 64 << 20;

/// The limit for cached data of a channel (an index of shards, or the index of a `repodata.json`), in bytes.
pub const LARGEST_REPODATA: u64 = 1 << 30;

/// The limit for other files, in bytes: histories, metadata, settings, environment files.
pub const LARGEST_TEXT: u64 = 16 << 20;

/// The path of a `file:` URL of this machine; `None` for other URLs. The `url` crate cannot be used for this alone,
/// because it ignores the scheme: it converts `http://localhost/etc` to `/etc`.
#[allow(clippy::disallowed_methods, reason = "this is the function that all others use")]
pub fn of_url(url: &Url) -> Option<PathBuf> {
    (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()
}

/// Opens a regular file, or a link to one, for reading. Never blocks.
///
/// # Errors
/// If there is no such file, or if it is a directory, a device, a FIFO or a socket ([`io::ErrorKind::InvalidInput`]).
pub fn open(path: &Path) -> io::Result<fs_err::File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path).map_err(|error| {
        // A socket cannot be opened at all, and the system's message for that is not helpful.
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

/// Moves the position of a reader in a file of `length` bytes, as [`io::Seek`] does, and returns the new position.
///
/// # Errors
/// If the new position would be before the beginning ([`io::ErrorKind::InvalidInput`]).
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
/// As for [`open`], and if the file is larger than `limit` ([`io::ErrorKind::FileTooLarge`]).
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    bounded(open(path)?, path, limit)
}

/// Reads a regular file of at most `limit` bytes as UTF-8.
///
/// # Errors
/// As for [`read`], and if the file is not UTF-8 ([`io::ErrorKind::InvalidData`]).
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not UTF-8", path.display())))
}

/// Reads at most `limit` bytes of a file that the user has named. If it is a pipe or a terminal, this may block.
///
/// # Errors
/// If the file cannot be read, or is larger than `limit` ([`io::ErrorKind::FileTooLarge`]).
pub fn read_any(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = match fs_err::File::open(path) {
        // A socket cannot be opened by this name, nor a pipe of another user.
        Err(_) if path == Path::new("/dev/stdin") => {
            let file = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
            fs_err::File::from_parts(file, path)
        }
        opened => opened?,
    };
    bounded(file, path, limit)
}

/// Reads an open file of at most `limit` bytes. The size is checked again while reading: a pipe has no size, and a file
/// may grow.
pub(crate) fn bounded(file: fs_err::File, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(path, limit));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(path, limit)) } else { Ok(bytes) }
}

/// Replaces the content of a file, or creates the file. An existing file has either the old or the new content at any
/// time, even if the disk is full, the process is killed, or the power fails.
///
/// Links stay links, and the file keeps its mode and its owner. A new file gets `new_mode`, or 0666 without the bits of
/// the umask.
///
/// Some files can only be overwritten in place: files with several hard links or an access control list, mounted files,
/// and files in a directory that may not be changed. They lose their content if the process is killed meanwhile. After
/// an error, they get their old content back.
///
/// # Errors
/// If the file cannot be written.
pub fn replace(path: &Path, content: &[u8], new_mode: Option<u32>) -> io::Result<()> {
    // `/dev/stdout` leads to a file that is open already. A new file with its name would not be that file.
    let is_open = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"].iter().any(|open| path.starts_with(open));
    let target = match fs_err::canonicalize(path) {
        Ok(target) => target,
        // The target of the link is missing, and is created.
        Err(_) if path.is_symlink() => return fs_err::write(path, content),
        Err(_) => path.to_owned(),
    };
    let old = fs_err::metadata(&target).ok();
    let Some(old) = old else { return replace_by_rename(&target, content, None, new_mode) };
    if is_open || !old.is_file() {
        return fs_err::write(path, content);
    }
    let is_writable = rustix::fs::access(&target, rustix::fs::Access::WRITE_OK).is_ok();
    if old.nlink() > 1 || !is_writable || has_access_list(&target) {
        return write_in_place(&target, content);
    }
    match replace_by_rename(&target, content, Some(&old), new_mode) {
        Err(error) if is_of_the_place(&error) => write_in_place(&target, content),
        replaced => replaced,
    }
}

/// Whether an error says that the new file cannot be renamed to its name. Possible causes: the directory belongs to
/// another user or may not be changed, the file is mounted, or its owner cannot be given to the new file.
fn is_of_the_place(error: &io::Error) -> bool {
    use io::ErrorKind::{
        CrossesDevices, InvalidInput, PermissionDenied, ReadOnlyFilesystem, ResourceBusy, Unsupported,
    };
    matches!(
        error.kind(),
        CrossesDevices | InvalidInput | PermissionDenied | ReadOnlyFilesystem | ResourceBusy | Unsupported
    )
}

/// Overwrites a file in place. After an error, the old content is restored if possible.
fn write_in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let old = read(path, LARGEST_LOCK);
    fs_err::write(path, content).inspect_err(|_| {
        if let Ok(old) = old {
            let _ = fs_err::write(path, old);
        }
    })
}

/// Whether a file has an access control list.
#[cfg(target_os = "linux")]
fn has_access_list(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing[..]).is_ok_and(|size| size > 0)
}

/// Always `false`: on other systems, a replaced file loses its access control list.
#[cfg(not(target_os = "linux"))]
fn has_access_list(_path: &Path) -> bool {
    false
}

fn replace_by_rename(
    target: &Path,
    content: &[u8],
    old: Option<&std::fs::Metadata>,
    new_mode: Option<u32>,
) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // No other user may read the file before it has its mode, because it may contain secrets.
    let mode = old.map(|old| old.mode() & 0o7777).or(new_mode);
    let first = std::fs::Permissions::from_mode(if mode.is_some() { 0o600 } else { 0o666 });
    let mut file = tempfile::Builder::new().prefix(".mlconda-").permissions(first).tempfile_in(directory)?;
    file.write_all(content)?;
    if let Some(old) = old {
        let new = file.as_file().metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
    }
    if let Some(mode) = mode {
        super::set_mode(file.as_file(), mode)?;
    }
    // A new file has no old content that a power failure could destroy.
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
    fn what_has_several_names_or_none_yet_is_written_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::write(at("file"), "old").unwrap();
        fs_err::hard_link(at("file"), at("other")).unwrap();
        replace(&at("file"), b"new", None).unwrap();
        assert_eq!(fs_err::read_to_string(at("other")).unwrap(), "new");
        std::os::unix::fs::symlink("missing", at("link")).unwrap();
        replace(&at("link"), b"new", None).unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs_err::read_to_string(at("missing")).unwrap(), "new");
    }

    #[test]
    fn what_is_open_already_is_written_to_and_not_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file.as_file()));
        let number = |path: &Path| fs_err::metadata(path).unwrap().ino();
        let before = number(file.path());
        replace(Path::new(&path), b"new", None).unwrap();
        assert_eq!((number(file.path()), fs_err::read_to_string(file.path()).unwrap()), (before, "new".to_owned()));
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
