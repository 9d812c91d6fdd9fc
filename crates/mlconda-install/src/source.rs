//! Finds packages: in another environment of the same call, in the cache, in a bundle, as a local file, or on the
//! network.
//!
//! An extracted package is linked directly. An archive is verified, extracted into the cache (if there is one) and
//! linked from there. If the cache cannot be written to, it is not used. A damaged package in the cache is reported,
//! removed and fetched again.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use mlconda_channel::repodata::Access;
use mlconda_lock::LockedPackage;
use mlconda_system::{
    Linker, Slice,
    beneath::{FileSystem, Root},
    usage,
};
use mlconda_types::progress::{Event, Progress};

use super::{
    CacheCheck, InstallError, Options, PackedArchives, Sharing,
    cache::{self, FillError},
    deviations::DeviationLog,
    fetch::{self, Hashes},
    packed,
    unpack::{Archive, IdleCores},
};

/// From this attempt on, a package is linked from its archive without the cache, because another process may be
/// changing or removing the cache.
const WITHOUT_CACHE: u32 = 2;

/// The place of a package.
pub(super) enum PackageLocation {
    /// A local file, not verified yet.
    LocalFile(PathBuf),
    /// An archive that is a part of the file at this path, not verified yet.
    Packed(PathBuf, Slice),
    /// An archive that was fetched and verified.
    Fetched(Archive, Hashes),
    /// A directory in the cache.
    Cached(PathBuf),
    /// An extracted package, ready to be linked.
    Extracted(PathBuf, PackageOrigin),
}

/// The origin of an extracted package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackageOrigin {
    /// The archive was extracted for this installation.
    Archive,
    /// The cache.
    Cache,
    /// The cache, from which it was copied for the environments of this call.
    CacheCopied,
    /// Another environment of the same call.
    Sibling,
}

impl PackageOrigin {
    /// Whether the package comes from the cache.
    pub(super) fn is_cache(self) -> bool {
        matches!(self, Self::Cache | Self::CacheCopied)
    }

    /// Whether hard links to its files need no additional disk space.
    pub(super) fn shares_storage(self) -> bool {
        matches!(self, Self::Cache | Self::Sibling)
    }
}

/// Why a package cannot be prepared for linking.
pub(super) enum SourceError {
    /// The installation has to fail.
    Failed(InstallError),
    /// The extracted package at this path is damaged.
    Damaged(PathBuf, io::Error),
    /// The extracted package cannot be read.
    Unreadable(io::Error),
}

/// The largest number of packages that are locked at once, because the number of open files of a process is limited.
const HELD: usize = 512;

/// The places that packages are taken from.
pub(super) struct Sources {
    cache: Option<PathBuf>,
    check: CacheCheck,
    /// The disk that must store a package before the package is in the cache; `None` if nothing waits for the disk.
    disk: Option<FileSystem>,
    access: Access,
    /// A lock that shows other processes that the cache is in use.
    _hold: Option<File>,
    /// Locks on packages of another user's cache, whose use this user cannot record.
    _used: Vec<File>,
    archives: Vec<Arc<PackedArchives>>,
    sharing: Option<Arc<Sharing>>,
    /// The linkers for the cache and for shared packages, which may be on different file systems.
    linkers: [Linker; 2],
    /// Why the cache is no longer written to.
    unwritable: OnceLock<io::Error>,
    /// Differences between archives and their lists of paths.
    pub(super) deviations: DeviationLog,
}

impl Sources {
    /// Also records in the cache that these packages are used. Nobody removes them while this value exists.
    pub(crate) fn new(options: &Options, packages: &[LockedPackage]) -> Self {
        let (cache, sharing, archives) = (options.cache.clone(), options.sharing.clone(), options.archives.clone());
        let hold = cache.as_deref().and_then(usage::hold);
        let mut used = Vec::new();
        if let Some(cache) = &cache {
            cache::remove_leftovers(cache);
            let paths = packages.iter().filter_map(|package| cache::package_path(cache, package));
            for path in paths {
                used.extend(usage::note(&path).filter(|_| used.len() < HELD));
            }
        }
        let (check, access, unwritable) = (options.cache_check, options.access, OnceLock::new());
        let disk = cache.as_deref().map(|cache| Root::open(cache).and_then(|cache| options.durability.watch(&cache)));
        let disk = disk.transpose().unwrap_or_else(|error| {
            let _ = unwritable.set(error);
            None
        });
        let (linkers, deviations) = (<[Linker; 2]>::default(), DeviationLog::default());
        Self {
            cache,
            check,
            disk: disk.flatten(),
            access,
            _hold: hold,
            _used: used,
            archives,
            sharing,
            linkers,
            unwritable,
            deviations,
        }
    }

    /// Finds a package on this machine. `None` if it must be downloaded.
    pub(super) fn find(&self, package: &LockedPackage, attempt: u32) -> Result<Option<PackageLocation>, InstallError> {
        if let Some(place) = self.shared(package, attempt).filter(|place| place.is_dir()) {
            return Ok(Some(PackageLocation::Extracted(place, PackageOrigin::Sibling)));
        }
        if let Some(place) = self.cached(package, attempt).filter(|place| place.is_dir()) {
            return Ok(Some(PackageLocation::Cached(place)));
        }
        if let Some((file, slice)) = packed::find(&self.archives, package) {
            return Ok(Some(PackageLocation::Packed(file.to_owned(), slice)));
        }
        match mlconda_system::files::of_url(&package.url) {
            Some(path) => Ok(Some(PackageLocation::LocalFile(path))),
            _ if self.access == Access::Offline => Err(fetch::not_asked(package)),
            _ => Ok(None),
        }
    }

    /// The path that a package has in the cache, even if it is not there.
    fn cached(&self, package: &LockedPackage, attempt: u32) -> Option<PathBuf> {
        cache::package_path(self.cache.as_deref().filter(|_| attempt < WITHOUT_CACHE)?, package)
    }

    /// The path that a package has if the environments of this call share it, even if it is not there.
    fn shared(&self, package: &LockedPackage, attempt: u32) -> Option<PathBuf> {
        self.sharing.as_deref().filter(|_| attempt < WITHOUT_CACHE)?.package_path(package)
    }

    /// Prepares a package for linking. A new archive is verified, and extracted into the cache or for other
    /// environments.
    pub(super) fn prepare(
        &self,
        place: PackageLocation,
        package: &LockedPackage,
        attempt: u32,
        idle_cores: &IdleCores,
        buffer: &mut Vec<u8>,
        stop: &AtomicBool,
    ) -> Result<PackageLocation, SourceError> {
        let (archive, hashes) = match place {
            PackageLocation::LocalFile(path) => fetch::local(package, &path, stop).map_err(SourceError::Failed)?,
            PackageLocation::Packed(file, slice) => {
                fetch::packed(package, &file, slice, stop).map_err(SourceError::Failed)?
            }
            PackageLocation::Fetched(archive, hashes) => (archive, hashes),
            PackageLocation::Cached(place) => {
                if self.check == CacheCheck::Content {
                    verify(&place, buffer, stop)?;
                }
                return Ok(self.share(package, attempt, place, PackageOrigin::Cache, stop));
            }
            PackageLocation::Extracted(place, origin) => {
                // A script of an earlier environment may have changed shared files, so they are verified.
                if origin == PackageOrigin::Sibling && self.sharing.as_deref().is_some_and(Sharing::may_be_modified) {
                    verify(&place, buffer, stop)?;
                }
                return Ok(PackageLocation::Extracted(place, origin));
            }
        };
        let fill = |place: &Path, disk: Option<&FileSystem>| {
            let name = &package.file_name;
            let deviations = cache::fill(place, &archive, hashes, name, idle_cores, disk, stop)?;
            self.deviations.note(&package.file_name, &deviations);
            Ok(())
        };
        if let Some(place) = self.cached(package, attempt).filter(|_| self.unwritable.get().is_none()) {
            match fill(&place, self.disk.as_ref()) {
                Ok(()) => return Ok(self.share(package, attempt, place, PackageOrigin::Archive, stop)),
                Err(FillError::Cache(error)) => {
                    let _ = self.unwritable.set(error);
                }
                Err(FillError::Package(error)) => {
                    return Err(SourceError::Failed(package_or_disk_error(package, error)));
                }
            }
        }
        match self.shared(package, attempt) {
            Some(place) => {
                fill(&place, None).map_err(|error| match error {
                    FillError::Cache(error) => SourceError::Failed(error.into()),
                    FillError::Package(error) => SourceError::Failed(package_or_disk_error(package, error)),
                })?;
                Ok(PackageLocation::Extracted(place, PackageOrigin::Archive))
            }
            None => Ok(PackageLocation::Fetched(archive, hashes)),
        }
    }

    /// Copies a package out of the cache if several environments of this call need it. This is done if the cache is on
    /// another file system, so that the environments can share the copy. If copying fails, the package in the cache is
    /// used.
    fn share(
        &self,
        package: &LockedPackage,
        attempt: u32,
        place: PathBuf,
        origin: PackageOrigin,
        stop: &AtomicBool,
    ) -> PackageLocation {
        match self.shared(package, attempt) {
            Some(shared) if cache::copy(&place, &shared, stop).is_ok() => PackageLocation::Extracted(
                shared,
                if origin == PackageOrigin::Cache { PackageOrigin::CacheCopied } else { origin },
            ),
            _ => PackageLocation::Extracted(place, origin),
        }
    }

    /// Removes a damaged package from the cache if it can be fetched again. Returns the number of the next attempt.
    pub(super) fn discard(
        &self,
        package: &LockedPackage,
        attempt: u32,
        place: &Path,
        source: io::Error,
    ) -> Result<u32, InstallError> {
        // A damaged shared package may still be intact in the cache.
        let is_shared = self.sharing.as_deref().is_some_and(|sharing| sharing.contains(place));
        if self.is_only_in_cache(package) && !is_shared {
            return Err(InstallError::Damaged { package: package.file_name.clone(), source });
        }
        match cache::discard(place) {
            Ok(()) => Ok(attempt + 1),
            Err(error) => self.stop_using_cache(package, error),
        }
    }

    /// Stops using a cache that cannot be read or repaired, if the package can be fetched from elsewhere. Returns the
    /// number of the next attempt.
    pub(super) fn stop_using_cache(&self, package: &LockedPackage, error: io::Error) -> Result<u32, InstallError> {
        if self.is_only_in_cache(package) {
            return Err(error.into());
        }
        let _ = self.unwritable.set(error);
        Ok(WITHOUT_CACHE)
    }

    /// Whether a package can come only from the cache.
    fn is_only_in_cache(&self, package: &LockedPackage) -> bool {
        self.access == Access::Offline
            && package.url.scheme() != "file"
            && packed::find(&self.archives, package).is_none()
    }

    /// The linker for the files of a package at this location.
    pub(super) fn linker(&self, place: &PackageLocation) -> &Linker {
        let [of_the_cache, of_siblings] = &self.linkers;
        match (place, &self.sharing) {
            (PackageLocation::Extracted(place, _), Some(sharing)) if sharing.contains(place) => of_siblings,
            _ => of_the_cache,
        }
    }

    /// Why the cache cannot be written to.
    pub(super) fn cache_error(&self) -> io::Error {
        let kind = self.unwritable.get().map_or(io::ErrorKind::Other, io::Error::kind);
        let reason = self.unwritable.get().map_or_else(|| "it is not used".to_owned(), ToString::to_string);
        io::Error::new(kind, format!("packages cannot be put into the cache: {reason}"))
    }

    /// Reports archives that differ from their lists of paths.
    pub(super) fn report_deviations(&self, progress: &dyn Progress) {
        self.deviations.warnings().into_iter().for_each(|warning| progress.event(Event::Warning(warning)));
    }

    /// Reports archives that differ from their lists of paths, and whether the cache could not be written to.
    pub(super) fn report(&self, progress: &dyn Progress) {
        self.report_deviations(progress);
        if let Some(reason) = self.unwritable.get().map(ToString::to_string) {
            progress.event(Event::CacheNotWritten { reason });
        }
    }
}

/// Verifies a package in the cache, or a shared one. A package that cannot be read at all does not count as damaged.
pub(super) fn verify(place: &Path, buffer: &mut Vec<u8>, stop: &AtomicBool) -> Result<(), SourceError> {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    cache::verify(place, buffer, stop).map_err(|error| match error.kind() {
        _ if stop.load(std::sync::atomic::Ordering::Relaxed) => SourceError::Failed(error.into()),
        InvalidData | IsADirectory | NotADirectory | NotFound | UnexpectedEof => {
            SourceError::Damaged(place.to_owned(), error)
        }
        _ => SourceError::Unreadable(error),
    })
}

/// Classifies an error as one of the disk or one of the package.
pub(super) fn package_or_disk_error(package: &LockedPackage, source: io::Error) -> InstallError {
    let file = &package.file_name;
    // Errors of opened files contain the path. Errors of reading an archive do not.
    let is_bare = source.raw_os_error().is_some() && source.get_ref().is_none();
    match cache::is_disk_error(&source) {
        true if is_bare => io::Error::new(source.kind(), format!("cannot read the archive `{file}`: {source}")).into(),
        true => InstallError::File(source),
        false => InstallError::Package { package: file.clone(), source },
    }
}
