//! The package cache, if there is one: extracted packages, each in a directory named by its archive's sha256.
//!
//! A package gets in only after its archive has been checked, is extracted aside, and appears by one rename: what
//! is there is whole, whoever else is at it. Prefixes share its files by hard link; so whoever edits such a file in
//! place edits the cache's, and [`verification`] is what finds that. Nothing here makes the cache's own directory: without one
//! there is no cache.

mod extraction;
mod temporary;
mod verification;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use mlconda_lock::{Digest, LockedPackage};
use mlconda_system::{self as system, files};
use rattler_conda_types::package::IndexJson;
use rattler_digest::{Md5, Sha256, parse_digest_from_hex};

pub(super) use self::verification::verify;
use self::{
    extraction::{Checksums, Extraction},
    temporary::{TemporaryDirectory, is_temporary},
};
use super::{
    contents::{self, Content},
    deviations::Deviations,
    fetch::Hashes,
    package::{InfoFiles, PackageMetadata, invalid},
    read_if_there,
    unpack::{Archive, IdleCores, unpack, wheel::Wheel},
};

/// What a package cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheContents {
    /// How many packages.
    pub packages: usize,
    /// The size of their files in bytes, those that prefixes share with the cache among them.
    pub bytes: u64,
}

impl CacheContents {
    /// Counts what is in the cache of this directory, without looking at each file.
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

/// Where the packages are. Versions that write them in another form have another directory, and leave each other's alone.
fn packages(cache: &Path) -> PathBuf {
    cache.join(format!("packages-{}", contents::FORMAT_VERSION))
}

/// The place of a package in the cache; `None` where the lock gives no sha256 to know it by.
pub(crate) fn package_path(cache: &Path, package: &LockedPackage) -> Option<PathBuf> {
    match &package.digest {
        Digest::Sha256(hash) => Some(packages(cache).join(hex::encode(hash))),
        Digest::Md5(_) | Digest::Unknown => None,
    }
}

/// What a package of the cache says of itself; `None` if it is not there, or cannot be read.
pub fn cached_index(cache: &Path, package: &LockedPackage) -> Option<IndexJson> {
    let text = files::read(&package_path(cache, package)?.join("info/index.json"), files::LARGEST_TEXT).ok()?;
    mlconda_types::lenient::from_slice(&text).ok()
}

/// The metadata of a wheel of the cache; `None` if it is not there, or cannot be read.
pub fn cached_metadata(cache: &Path, package: &LockedPackage) -> Option<String> {
    let place = package_path(cache, package)?;
    let wheel: Wheel =
        serde_json::from_slice(&files::read(&place.join(InfoFiles::WHEEL), files::LARGEST_TEXT).ok()?).ok()?;
    let text =
        files::read(&place.join("site-packages").join(wheel.dist_info).join("METADATA"), files::LARGEST_TEXT).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Why a package is not in the cache.
#[derive(Debug)]
pub(super) enum FillError {
    /// The cache's disk, or its owner, would not have it.
    Cache(io::Error),
    /// The package is not sound.
    Package(io::Error),
}

impl From<io::Error> for FillError {
    fn from(error: io::Error) -> Self {
        if is_disk_error(&error) { Self::Cache(error) } else { Self::Package(error) }
    }
}

/// Whether an error is the disk's, and not the package's: whatever does not speak of content. What comes from the
/// kernel never has the kind `Other`; decompressors use it for what they cannot read.
pub(super) fn is_disk_error(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    !matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

/// Where the size of a package's archive and its hashes are noted, as text: the archive itself is not kept.
const ARCHIVE: &str = "info/mlconda-archive";

/// The size in bytes of the archive that a package of the cache came in, and its hashes.
pub(super) fn archive_size_and_hashes(place: &Path) -> (Option<u64>, Hashes) {
    let text = files::read_to_string(&place.join(ARCHIVE), files::LARGEST_TEXT).unwrap_or_default();
    let mut words = text.split(' ');
    let size = words.next().and_then(|size| size.parse().ok());
    let sha256 = words.next().and_then(parse_digest_from_hex::<Sha256>);
    (size, Hashes { sha256, md5: words.next().and_then(parse_digest_from_hex::<Md5>) })
}

/// The text of that file.
fn archive_line(size: u64, hashes: Hashes) -> String {
    let hex = |bytes: Option<&[u8]>| bytes.map(hex::encode).unwrap_or_default();
    format!("{size} {} {}", hex(hashes.sha256.as_deref()), hex(hashes.md5.as_deref()))
}

/// Extracts a verified archive to its place in the cache. `stop` is set when nobody wants it any more.
pub(super) fn fill(
    place: &Path,
    archive: &Archive,
    hashes: Hashes,
    file_name: &str,
    idle_cores: &IdleCores,
    stop: &AtomicBool,
) -> Result<Deviations, FillError> {
    make(place, stop, |extraction| {
        unpack(archive, file_name, idle_cores, extraction)?;
        extraction.write_info(ARCHIVE, archive_line(archive.len()?, hashes).as_bytes())
    })
}

/// Copies a package of one cache to its place in another.
pub(super) fn copy(from: &Path, place: &Path, stop: &AtomicBool) -> Result<Deviations, FillError> {
    make(place, stop, |extraction| {
        extraction.copy(&read(from)?)?;
        match archive_size_and_hashes(from) {
            (Some(size), hashes) => extraction.write_info(ARCHIVE, archive_line(size, hashes).as_bytes()),
            (None, _) => Ok(()),
        }
    })
}

fn make(
    place: &Path,
    stop: &AtomicBool,
    write: impl FnOnce(&mut Extraction<'_>) -> io::Result<()>,
) -> Result<Deviations, FillError> {
    let temporary = temporary_beside(place).map_err(FillError::Cache)?;
    let mut extraction = Extraction::new(temporary.path(), stop).map_err(FillError::Cache)?;
    let deviations = write(&mut extraction).and_then(|()| extraction.finish());
    let deviations = deviations.map_err(|error| match temporary.path().is_dir() {
        true => error.into(),
        // Somebody has removed the cache meanwhile.
        false => FillError::Cache(error),
    })?;
    system::set_directory_mode(temporary.path(), 0o755)?;
    match fs_err::rename(temporary.path(), place) {
        // Another process was faster: its package is as good as ours.
        Err(_) if place.is_dir() => {}
        Err(error) => return Err(FillError::Cache(error)),
        Ok(()) => temporary.keep(),
    }
    Ok(deviations)
}

/// A directory on the way to a place in the cache, or from there.
fn temporary_beside(place: &Path) -> io::Result<TemporaryDirectory> {
    let parent = place.parent().ok_or_else(|| invalid("the cache has no directory"))?;
    match fs_err::create_dir(parent) {
        Ok(()) => system::set_directory_mode(parent, 0o755)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    TemporaryDirectory::make_in(parent)
}

/// Throws a package out of the cache; it is gone in one step.
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

/// Removes what killed processes left in the cache. What a living one holds stays, and what cannot be removed;
/// so does what is on a file system that cannot tell.
pub(super) fn remove_leftovers(cache: &Path) {
    let Ok(entries) = fs_err::read_dir(packages(cache)) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary(&entry.file_name())) {
        if let Ok(Some(_hold)) = system::lock_directory_strictly(&entry.path()) {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

/// A package of the cache.
pub(super) struct Cached {
    /// Its place.
    pub(super) place: PathBuf,
    /// Its directory, open: looking a path up from here is shorter.
    pub(super) directory: File,
    /// What it says of itself; its paths are in `contents`.
    pub(super) package: PackageMetadata,
    /// Its paths, sorted.
    pub(super) contents: Vec<Content>,
}

/// Reads what a package of the cache holds.
pub(super) fn read(place: &Path) -> io::Result<Cached> {
    let (mut info, checksums) = (InfoFiles::default(), Checksums::read(place)?);
    for name in ["info/index.json", "info/link.json", InfoFiles::WHEEL] {
        if checksums.info.contains_key(name) {
            let content = read_if_there(&place.join(name))?;
            info.put(name, content.ok_or_else(|| invalid(format!("`{name}` is missing")))?);
        }
    }
    let contents = contents::parse(&files::read(&place.join(contents::NAME), files::LARGEST_RECORD)?)?;
    let directory = fs_err::File::open(place)?.into_parts().0;
    Ok(Cached { place: place.to_owned(), directory, package: info.read_all_but_paths()?, contents })
}
