//! Where a package comes from: a sibling of the same call, the cache, a file of this machine, or the network.
//!
//! What is extracted already is linked. What is not is checked, put into the cache if there is one, and linked from
//! there; a cache that cannot be written to is done without. A package that is damaged in the cache is told of, thrown
//! out and fetched again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use mlconda_channel::repodata::Access;
use mlconda_lock::LockedPackage;
use mlconda_system::Linker;

use super::{
    InstallError, Options, Sharing,
    cache::{self, FillError},
    deviations::DeviationLog,
    fetch::{self, Hashes},
    unpack::{Archive, IdleCores},
};

/// From this attempt on, a package is linked from its archive, whatever happens to the cache: others may be at work
/// in it, or remove it.
const WITHOUT_CACHE: u32 = 2;

/// How far a package in the cache is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheCheck {
    /// It was whole when it got in, and that is enough.
    #[default]
    Presence,
    /// Every file is read and compared with the package's own hashes before it is linked. A package that is damaged is
    /// thrown out and fetched again.
    Content,
}

/// Where a package is.
pub(super) enum PackageLocation {
    /// In a file of this machine, not checked yet.
    LocalFile(PathBuf),
    /// Here, and checked.
    Fetched(Archive, Hashes),
    /// In the cache, as another process or an earlier one left it.
    Cached(PathBuf),
    /// Extracted, to be linked.
    Extracted(PathBuf, PackageOrigin),
}

/// Where an extracted package was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackageOrigin {
    /// Nowhere: it came for this installation.
    Archive,
    /// In the cache.
    Cache,
    /// In the cache, and copied from there for this installation and its siblings.
    CacheCopied,
    /// In an environment of the same call.
    Sibling,
}

impl PackageOrigin {
    /// Whether the package came out of the cache.
    pub(super) fn is_cache(self) -> bool {
        matches!(self, Self::Cache | Self::CacheCopied)
    }

    /// Whether a hard link to one of its files takes no room that was not taken before.
    pub(super) fn shares_storage(self) -> bool {
        matches!(self, Self::Cache | Self::Sibling)
    }
}

/// Why a package cannot be linked.
pub(super) enum SourceError {
    /// The installation cannot go on.
    Failed(InstallError),
    /// What is extracted there is not what it was.
    Damaged(PathBuf, io::Error),
    /// What is extracted there cannot be read.
    Unreadable(io::Error),
}

/// What packages may come from.
pub(super) struct Sources {
    cache: Option<PathBuf>,
    check: CacheCheck,
    access: Access,
    sharing: Option<Arc<Sharing>>,
    /// How files get out of the cache, and out of what siblings share: the two may be on different file systems.
    linkers: [Linker; 2],
    /// Why nothing is put into the cache any more.
    unwritable: OnceLock<io::Error>,
    /// What archives hold in another way than they say.
    pub(super) deviations: DeviationLog,
}

impl Sources {
    pub(crate) fn new(options: &Options) -> Self {
        let (cache, sharing) = (options.cache.clone(), options.sharing.clone());
        if let Some(cache) = &cache {
            cache::remove_leftovers(cache);
        }
        let (check, access, unwritable) = (options.cache_check, options.access, OnceLock::new());
        let (linkers, deviations) = (<[Linker; 2]>::default(), DeviationLog::default());
        Self { cache, check, access, sharing, linkers, unwritable, deviations }
    }

    /// Where a package is on this machine; `None` if it has to be downloaded.
    pub(super) fn find(&self, package: &LockedPackage, attempt: u32) -> Result<Option<PackageLocation>, InstallError> {
        if let Some(place) = self.shared(package, attempt).filter(|place| place.is_dir()) {
            return Ok(Some(PackageLocation::Extracted(place, PackageOrigin::Sibling)));
        }
        if let Some(place) = self.cached(package, attempt).filter(|place| place.is_dir()) {
            return Ok(Some(PackageLocation::Cached(place)));
        }
        match mlconda_system::files::of_url(&package.url) {
            Some(path) => Ok(Some(PackageLocation::LocalFile(path))),
            _ if self.access == Access::Offline => Err(fetch::not_asked(package)),
            _ => Ok(None),
        }
    }

    /// Where a package is in the cache, or would be.
    fn cached(&self, package: &LockedPackage, attempt: u32) -> Option<PathBuf> {
        cache::package_path(self.cache.as_deref().filter(|_| attempt < WITHOUT_CACHE)?, package)
    }

    /// Where a package is for several environments of this call, or would be.
    fn shared(&self, package: &LockedPackage, attempt: u32) -> Option<PathBuf> {
        self.sharing.as_deref().filter(|_| attempt < WITHOUT_CACHE)?.package_path(package)
    }

    /// Makes sure of a package: what is new is checked, and extracted for others if there are any.
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
            PackageLocation::Fetched(archive, hashes) => (archive, hashes),
            PackageLocation::Cached(place) => {
                if self.check == CacheCheck::Content {
                    verify(&place, buffer, stop)?;
                }
                return Ok(self.share(package, attempt, place, PackageOrigin::Cache, stop));
            }
            PackageLocation::Extracted(place, origin) => {
                // A script may have written into what the environment before shares with this one.
                if origin == PackageOrigin::Sibling && self.sharing.as_deref().is_some_and(Sharing::may_be_modified) {
                    verify(&place, buffer, stop)?;
                }
                return Ok(PackageLocation::Extracted(place, origin));
            }
        };
        let fill = |place: &Path| {
            let deviations = cache::fill(place, &archive, hashes, &package.file_name, idle_cores, stop)?;
            self.deviations.note(&package.file_name, &deviations);
            Ok(())
        };
        if let Some(place) = self.cached(package, attempt).filter(|_| self.unwritable.get().is_none()) {
            match fill(&place) {
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
                fill(&place).map_err(|error| match error {
                    FillError::Cache(error) => SourceError::Failed(error.into()),
                    FillError::Package(error) => SourceError::Failed(package_or_disk_error(package, error)),
                })?;
                Ok(PackageLocation::Extracted(place, PackageOrigin::Archive))
            }
            None => Ok(PackageLocation::Fetched(archive, hashes)),
        }
    }

    /// Copies a package out of the cache if several environments of this call want it: the cache is on another file
    /// system then, and they can share only a copy. If that fails, linking it will say why, or do without.
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

    /// What to do about a damaged package: it is thrown out, if there is another way to get it. The result is the
    /// attempt that comes next, after this one.
    pub(super) fn discard(
        &self,
        package: &LockedPackage,
        attempt: u32,
        place: &Path,
        source: io::Error,
    ) -> Result<u32, InstallError> {
        // What siblings share may be in the cache, too.
        let is_shared = self.sharing.as_deref().is_some_and(|sharing| sharing.contains(place));
        if self.is_only_in_cache(package) && !is_shared {
            return Err(InstallError::Damaged { package: package.file_name.clone(), source });
        }
        match cache::discard(place) {
            Ok(()) => Ok(attempt + 1),
            Err(error) => self.stop_using_cache(package, error),
        }
    }

    /// What to do about a cache that cannot be read, or not be mended: it is done without, if there is another way to get
    /// the package. The result is the attempt that comes next.
    pub(super) fn stop_using_cache(&self, package: &LockedPackage, error: io::Error) -> Result<u32, InstallError> {
        if self.is_only_in_cache(package) {
            return Err(error.into());
        }
        let _ = self.unwritable.set(error);
        Ok(WITHOUT_CACHE)
    }

    /// Whether only the cache could have a package.
    fn is_only_in_cache(&self, package: &LockedPackage) -> bool {
        self.access == Access::Offline && package.url.scheme() != "file"
    }

    /// How files of a place get into a prefix.
    pub(super) fn linker(&self, place: &PackageLocation) -> &Linker {
        let [of_the_cache, of_siblings] = &self.linkers;
        match (place, &self.sharing) {
            (PackageLocation::Extracted(place, _), Some(sharing)) if sharing.contains(place) => of_siblings,
            _ => of_the_cache,
        }
    }

    /// Why nothing could be put into the cache, if that was so.
    pub(super) fn unwritable(&self) -> Option<String> {
        self.unwritable.get().map(ToString::to_string)
    }
}

/// Proves a package in the cache, or of a sibling. What keeps it from being read at all is no damage.
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

/// Whose fault an error is: the disk's, or the package's.
pub(super) fn package_or_disk_error(package: &LockedPackage, source: io::Error) -> InstallError {
    if cache::is_disk_error(&source) {
        return InstallError::File(source);
    }
    InstallError::Package { package: package.file_name.clone(), source }
}
