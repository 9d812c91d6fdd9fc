//! The package cache: extracted packages, each in a directory that is named by the sha256 of its archive.
//!
//! A verified archive is extracted into a temporary directory, which is then renamed. So packages in the cache are
//! always complete, even if several processes use it. Prefixes share its files by hard links. Editing such a file in
//! place changes the cache, which [`verification`] detects. The directory of the cache must exist; it is not created
//! here.

mod entries;
mod extraction;
mod prune;
pub(crate) mod temporary;
mod verification;

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use mlconda_lock::{Digest, LockedPackage};
use mlconda_system::{
    self as system,
    beneath::{FileSystem, Root},
    files,
};
use rattler_conda_types::package::IndexJson;
use rattler_digest::{Md5, Sha256, parse_digest_from_hex};

pub(super) use self::verification::verify;
pub use self::{
    entries::{CacheAmount, CacheKind, cache_size},
    prune::{Keep, Pruned, Pruning, prune},
};
use self::{
    extraction::{Checksums, Extraction},
    temporary::{TemporaryDirectory, is_temporary},
};
use super::{
    contents::{self, Content, ContentKind},
    deviations::Deviations,
    fetch::Hashes,
    left_out::SizedFile,
    package::{InfoFiles, PackageMetadata, Wheel, invalid},
    read_if_there,
    unpack::{Archive, IdleCores, unpack},
};

/// The size of a package cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheContents {
    /// The number of packages.
    pub packages: usize,
    /// The size of their files in bytes, including files that prefixes share.
    pub bytes: u64,
}

impl CacheContents {
    /// Reads the size of the cache in a directory, from the metadata of its packages.
    pub fn read(cache: &Path) -> Self {
        let mut contents = Self::default();
        let Ok(entries) = fs_err::read_dir(packages(cache)) else { return contents };
        for entry in entries.flatten().filter(|entry| !is_temporary(&entry.file_name())) {
            contents.packages += 1;
            contents.bytes += Checksums::read(&entry.path()).map_or(0, |checksums| checksums.bytes);
        }
        contents
    }
}

/// The directory of the packages. Its name contains the format version.
fn packages(cache: &Path) -> PathBuf {
    cache.join(format!("packages-{}", contents::FORMAT_VERSION))
}

/// The path of a package in the cache; `None` if the lock has no sha256 for it.
pub(crate) fn package_path(cache: &Path, package: &LockedPackage) -> Option<PathBuf> {
    match &package.digest {
        Digest::Sha256(hash) => Some(packages(cache).join(hex::encode(hash))),
        Digest::Md5(_) | Digest::Unknown => None,
    }
}

/// The `index.json` of a package in the cache; `None` if it is missing or unreadable.
pub fn cached_index(cache: &Path, package: &LockedPackage) -> Option<IndexJson> {
    let text = files::read(&package_path(cache, package)?.join("info/index.json"), files::LARGEST_TEXT).ok()?;
    mlconda_types::lenient::from_slice(&text).ok()
}

/// The `METADATA` of a wheel in the cache; `None` if it is missing or unreadable.
pub fn cached_metadata(cache: &Path, package: &LockedPackage) -> Option<String> {
    let place = package_path(cache, package)?;
    let wheel: Wheel =
        serde_json::from_slice(&files::read(&place.join(InfoFiles::WHEEL), files::LARGEST_TEXT).ok()?).ok()?;
    let text =
        files::read(&place.join("site-packages").join(wheel.dist_info).join("METADATA"), files::LARGEST_TEXT).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Why a package could not be added to the cache.
#[derive(Debug)]
pub(super) enum FillError {
    /// The cache could not be written to.
    Cache(io::Error),
    /// The package is invalid.
    Package(io::Error),
}

impl From<io::Error> for FillError {
    fn from(error: io::Error) -> Self {
        if is_disk_error(&error) { Self::Cache(error) } else { Self::Package(error) }
    }
}

/// Whether an error comes from the disk, and not from the package. Errors of system calls never have the kind `Other`,
/// which decompressors use for invalid data.
pub(super) fn is_disk_error(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    !matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

/// The file with the size and the hashes of a package's archive. The archive itself is not kept.
const ARCHIVE: &str = "info/mlconda-archive";

/// The size in bytes and the hashes of the archive of a package in the cache.
pub(super) fn archive_size_and_hashes(place: &Path) -> (Option<u64>, Hashes) {
    let text = files::read_to_string(&place.join(ARCHIVE), files::LARGEST_TEXT).unwrap_or_default();
    let mut words = text.split(' ');
    let size = words.next().and_then(|size| size.parse().ok());
    let sha256 = words.next().and_then(parse_digest_from_hex::<Sha256>);
    (size, Hashes { sha256, md5: words.next().and_then(parse_digest_from_hex::<Md5>) })
}

/// The text of the file [`ARCHIVE`].
fn archive_line(size: u64, hashes: Hashes) -> String {
    let hex = |bytes: Option<&[u8]>| bytes.map(hex::encode).unwrap_or_default();
    format!("{size} {} {}", hex(hashes.sha256.as_deref()), hex(hashes.md5.as_deref()))
}

/// Extracts a verified archive into the cache. Setting `stop` ends the work early.
pub(super) fn fill(
    place: &Path,
    archive: &Archive,
    hashes: Hashes,
    file_name: &str,
    idle_cores: &IdleCores,
    disk: Option<&FileSystem>,
    stop: &AtomicBool,
) -> Result<Deviations, FillError> {
    make(place, disk, stop, |extraction| {
        unpack(archive, file_name, idle_cores, stop, extraction)?;
        extraction.write_info(ARCHIVE, archive_line(archive.len()?, hashes).as_bytes())
    })
}

/// Copies a package from one cache into another.
pub(super) fn copy(from: &Path, place: &Path, stop: &AtomicBool) -> Result<Deviations, FillError> {
    // Only packages that the environments of one call share are copied. They are removed when the call ends.
    make(place, None, stop, |extraction| {
        extraction.copy(&read(from)?)?;
        match archive_size_and_hashes(from) {
            (Some(size), hashes) => extraction.write_info(ARCHIVE, archive_line(size, hashes).as_bytes()),
            (None, _) => Ok(()),
        }
    })
}

fn make(
    place: &Path,
    disk: Option<&FileSystem>,
    stop: &AtomicBool,
    write: impl FnOnce(&mut Extraction<'_>) -> io::Result<()>,
) -> Result<Deviations, FillError> {
    let temporary = temporary_beside(place).map_err(FillError::Cache)?;
    let root = Root::open_no_follow(temporary.path()).map_err(FillError::Cache)?;
    let mut extraction = Extraction::new(root, stop).map_err(FillError::Cache)?;
    let deviations = write(&mut extraction).and_then(|()| extraction.finish());
    let deviations = deviations.map_err(|error| match temporary.path().is_dir() {
        true => error.into(),
        // The cache was removed meanwhile.
        false => FillError::Cache(error),
    })?;
    system::set_directory_mode(temporary.path(), 0o755)?;
    if let Some(disk) = disk {
        disk.sync().map_err(FillError::Cache)?;
    }
    match fs_err::rename(temporary.path(), place) {
        // Another process was faster. Its package is the same.
        Err(_) if place.is_dir() => {}
        Err(error) => return Err(FillError::Cache(error)),
        Ok(()) => temporary.keep(),
    }
    Ok(deviations)
}

/// Creates a temporary directory beside a path in the cache.
fn temporary_beside(place: &Path) -> io::Result<TemporaryDirectory> {
    let parent = place.parent().ok_or_else(|| invalid("the cache has no directory"))?;
    match fs_err::create_dir(parent) {
        Ok(()) => system::set_directory_mode(parent, 0o755)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    TemporaryDirectory::make_in(parent)
}

/// A temporary directory beside the packages. If this process is killed, the next user of the cache removes it.
pub(super) fn workshop(cache: &Path) -> io::Result<TemporaryDirectory> {
    temporary_beside(&packages(cache).join("any"))
}

/// Removes a package from the cache, by one rename.
pub(super) fn discard(place: &Path) -> io::Result<()> {
    if !place.exists() {
        return Ok(());
    }
    let temporary = temporary_beside(place)?;
    match fs_err::rename(place, temporary.path().join("discarded")) {
        // Another process was faster.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes temporary directories of killed processes. Directories that a running process has locked are kept. On a file
/// system without locks, all are kept.
pub(super) fn remove_leftovers(cache: &Path) {
    temporary::remove_abandoned(&packages(cache));
}

/// A package of the cache.
pub(super) struct Cached {
    /// Its directory.
    pub(super) root: Root,
    /// Its metadata, without paths, which are in `contents`.
    pub(super) package: PackageMetadata,
    /// Its paths, sorted.
    pub(super) contents: Vec<Content>,
}

/// The dependencies of a package in the cache, and the path, the hash and the size of each file.
pub(super) fn file_sizes(cache: &Path, package: &LockedPackage) -> Option<(Option<Vec<String>>, Vec<SizedFile>)> {
    let Cached { package, contents, .. } = read(&package_path(cache, package)?).ok()?;
    let files = contents.into_iter().filter(|content| content.kind != ContentKind::Directory);
    let sized = files.map(|Content { kind, listed, size, .. }| {
        let bytes = if matches!(kind, ContentKind::File | ContentKind::Program) { size } else { 0 };
        (listed.path, listed.sha256, bytes)
    });
    Some((package.wheel.is_none().then_some(package.index.depends), sized.collect()))
}

/// Reads the metadata and the list of contents of a package in the cache.
pub(super) fn read(place: &Path) -> io::Result<Cached> {
    let (mut info, checksums) = (InfoFiles::default(), Checksums::read(place)?);
    for name in ["info/index.json", "info/link.json", InfoFiles::WHEEL] {
        if checksums.info.contains_key(name) {
            let content = read_if_there(&place.join(name))?;
            info.put(name, content.ok_or_else(|| invalid(format!("`{name}` is missing")))?);
        }
    }
    let contents = contents::parse(&files::read(&place.join(contents::NAME), files::LARGEST_RECORD)?)?;
    Ok(Cached { root: Root::open(place)?, package: info.read_all_but_paths()?, contents })
}
