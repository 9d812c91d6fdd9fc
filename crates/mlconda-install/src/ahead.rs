//! Fills the cache before installations: archives are downloaded, verified and extracted, but nothing is linked.

use std::{collections::HashSet, io, path::Path, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use mlconda_channel::network::Client;
use mlconda_lock::{Digest, Lock, LockedPackage};
use mlconda_system::beneath::Root;
use mlconda_types::progress::{Event, Progress};

use super::{
    InstallError, Options, Stop,
    cache::{self, temporary::TemporaryDirectory},
    fetch::download,
    source::{PackageLocation, SourceError, Sources},
    unpack::IdleCores,
};

/// The result of filling a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The number of packages that were added.
    pub fetched: usize,
    /// The size of their archives in bytes.
    pub bytes: u64,
    /// The number of packages that were in the cache already.
    pub present: usize,
}

/// The packages of locks that a cache can contain, each once: conda packages and wheels with a sha256. The second list
/// has the names of the others, which are downloaded at each installation.
pub fn archives(locks: &[Lock]) -> (Vec<LockedPackage>, Vec<String>) {
    let (mut known, mut packages, mut others) = (HashSet::new(), Vec::new(), Vec::new());
    for lock in locks {
        let wheels =
            lock.pip.iter().map(|package| (&package.name, package.as_package().filter(|_| package.is_wheel())));
        let all = lock.packages.iter().map(|package| (&package.name, Some(package.clone()))).chain(wheels);
        for (name, package) in all {
            match package.map(|package| (package.digest, package)) {
                Some((Digest::Sha256(hash), package)) => packages.extend(known.insert(hash).then_some(package)),
                _ => others.push(name.clone()),
            }
        }
    }
    (packages, others)
}

/// Whether a package is in a cache.
pub fn is_cached(cache: &Path, package: &LockedPackage) -> bool {
    cache::package_path(cache, package).is_some_and(|path| path.is_dir())
}

/// Adds packages to the cache in `options`, which must exist. The options that are used are those to find, verify and
/// download packages, and the number of downloads at once.
///
/// The future may be dropped: the cache contains only complete packages.
///
/// # Errors
/// If a package cannot be fetched or differs from the lock, or if the cache cannot be written to. Packages that were
/// added before the error stay in the cache.
pub async fn fetch(
    packages: Vec<LockedPackage>,
    client: &Client,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fetched, InstallError> {
    let Some(cache) = &options.cache else { return Ok(Fetched::default()) };
    let sources = Sources::new(options, &packages);
    // A directory for unnamed files, which is removed at the end.
    let directory = cache::workshop(cache);
    let open = |directory: &TemporaryDirectory| Root::open(directory.path());
    let root = directory.as_ref().map_err(again).and_then(open);
    let missing: Vec<&LockedPackage> = packages.iter().filter(|package| !is_cached(cache, package)).collect();
    let bytes = missing.iter().map(|package| package.size).sum();
    if !missing.is_empty() {
        // If nothing is missing, the cache need not be writable.
        root.as_ref().map_err(again)?;
        progress.event(Event::FetchStarted { packages: missing.len(), bytes });
    }
    let filling = Arc::new(Filling { sources, stop: options.stop.clone(), idle_cores: IdleCores::default() });
    let each = packages.iter().map(|package| filling.fetch(package, client, &root, progress));
    let working = stream::iter(each).buffer_unordered(options.downloads.get());
    let sum = working.try_fold(Fetched::default(), |mut sum, bytes| async move {
        match bytes {
            Some(bytes) => (sum.fetched, sum.bytes) = (sum.fetched + 1, sum.bytes + bytes),
            None => sum.present += 1,
        }
        Ok(sum)
    });
    let outcome = client.report_waits(progress, sum).await.map_err(|error| options.stop.classify(error));
    filling.sources.report_deviations(progress);
    let fetched = outcome?;
    options.durability.wait_for(cache, progress)?;
    Ok(fetched)
}

/// An equal error.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The state that the threads share.
struct Filling {
    sources: Sources,
    stop: Stop,
    idle_cores: IdleCores,
}

impl Filling {
    /// Adds one package to the cache. Returns the size of its archive, or `None` if it was in the cache already.
    async fn fetch(
        self: &Arc<Self>,
        package: &LockedPackage,
        client: &Client,
        root: &io::Result<Root>,
        progress: &dyn Progress,
    ) -> Result<Option<u64>, InstallError> {
        let mut attempt = 0;
        loop {
            self.stop.check()?;
            let place = match self.sources.find(package, attempt)? {
                Some(place) => place,
                None => {
                    let (archive, hashes) = download(client, package, root.as_ref().map_err(again)?, progress).await?;
                    PackageLocation::Fetched(archive, hashes)
                }
            };
            let (was_there, is_here) = match &place {
                PackageLocation::Cached(_) => (true, true),
                place => (false, !matches!(place, PackageLocation::Fetched(..))),
            };
            let (filling, wanted) = (Arc::clone(self), package.clone());
            let prepared = tokio::task::spawn_blocking(move || {
                let (mut buffer, stop) = (Vec::new(), filling.stop.flag());
                filling.sources.prepare(place, &wanted, attempt, &filling.idle_cores, &mut buffer, stop)
            });
            match prepared.await.map_err(io::Error::other)? {
                Ok(PackageLocation::Extracted(place, _)) if !was_there => {
                    let size = cache::archive_size_and_hashes(&place).0.or(package.size).unwrap_or(0);
                    if is_here {
                        progress.event(Event::Local { bytes: size });
                    }
                    progress.event(Event::PackageFetched { package: package.file_name.clone() });
                    return Ok(Some(size));
                }
                Ok(PackageLocation::Extracted(..)) => return Ok(None),
                Ok(_) => return Err(self.sources.cache_error().into()),
                Err(SourceError::Failed(error)) => return Err(error),
                Err(SourceError::Unreadable(error)) => return Err(error.into()),
                Err(SourceError::Damaged(place, source)) => {
                    let reason = source.to_string();
                    attempt = self.sources.discard(package, attempt, &place, source)?;
                    progress.event(Event::CacheDamaged { package: package.file_name.clone(), reason });
                }
            }
        }
    }
}
