//! Finds the records of a lock's packages: dependencies, licences and so on, which an @EXPLICIT file does not contain.
//!
//! The channels are asked first, for three reasons: their records may have been corrected since the package was built,
//! the solver used them, and they are the same for everybody. Next come a prefix of the lock, and the package cache,
//! both without a network. Locks of other formats already contain records, so nothing is searched for.
//!
//! The metadata of a pip package is the same at all places, so the nearest place is asked first (module `python`).

mod python;
mod remote;
mod wheel;

use std::{path::PathBuf, sync::Arc};

use mlconda_channel::{
    network::Client,
    repodata::{self, PinnedPackage, RepodataError, RepodataOptions},
};
use mlconda_install::{self as install, PackedArchives};
use mlconda_lock::{Digest, Lock, LockedPackage};
use mlconda_prefix::Prefix;
use mlconda_system::{Slice, files};
use mlconda_types::progress::Progress;
use rattler_conda_types::PackageRecord;

/// Where to look for records.
#[derive(Clone, Debug)]
pub struct Sources {
    /// How the channels are asked. With [`Access::Offline`](repodata::Access::Offline), the servers of pip packages are
    /// not asked either.
    pub repodata: RepodataOptions,
    /// A prefix in which the lock may be installed. Packages in it that are not in the lock are ignored.
    pub prefix: Option<Prefix>,
    /// The directory of the package cache.
    pub package_cache: Option<PathBuf>,
    /// Bundles with archives. If a wheel is in one of them, its metadata is read there, and no server is asked.
    pub archives: Vec<Arc<PackedArchives>>,
    /// What to look for.
    pub wanted: Wanted,
}

/// What to look for in the records of a lock's packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Their dependencies.
    #[default]
    Dependencies,
    /// Their licences, too. No lock contains those of pip packages, even if it contains their dependencies.
    Licences,
}

/// The records that were not found.
#[derive(Debug, Default)]
pub struct Missing {
    /// The packages without a record, by file name, in the order of the lock; then the pip packages without metadata,
    /// by file name, or by name if there is none.
    pub packages: Vec<String>,
    /// Why channels could not be asked.
    pub reasons: Vec<RepodataError>,
}

/// Completes a lock: adds the records of conda packages and the metadata of pip packages, as far as they are found.
///
/// It cannot fail, because a lock is useful even if a few records are missing. If no record is missing, nothing is read
/// or requested.
///
/// ```
/// use std::{path::Path, time::SystemTime};
///
/// use mlconda::{graph::Graph, lock::{Expansion, Lock}, network::{Client, NetworkOptions}};
/// use mlconda::{records::{Sources, Wanted, complete}, repodata::{Access, RepodataOptions}};
///
/// async fn graph(lock: &Path, cache: &Path) -> Result<Graph, Box<dyn std::error::Error>> {
///     let mut lock = Lock::read(lock, &Expansion::default())?;
///     let options = RepodataOptions { cache_directory: cache.into(), access: Access::Online, now: SystemTime::now() };
///     let sources = Sources { repodata: options, prefix: None, package_cache: None, archives: Vec::new(), wanted: Wanted::Dependencies };
///     let missing = complete(&mut lock, &Client::new(&NetworkOptions::default())?, &sources, &()).await;
///     assert!(missing.packages.is_empty());
///     Ok(Graph::new(&lock))
/// }
/// # use mlconda_test::{channel::Channel, package::{Noarch, PackageBuilder}};
/// # let directory = tempfile::tempdir()?;
/// # let words = PackageBuilder::new("words", "1.0").noarch(Noarch::Generic);
/// # let greeting = PackageBuilder::new("greeting", "2.1").noarch(Noarch::Generic).depends("words >=1");
/// # let channel = Channel::write(directory.path().join("channel"), &[words, greeting], &["linux-64"])?;
/// # let line = |name: &str| {
/// #     let file = channel.archives("noarch").unwrap().into_iter().find(|file| file.starts_with(name)).unwrap();
/// #     format!("{}/noarch/{file}\n", channel.url())
/// # };
/// # let text = format!("@EXPLICIT\n{}{}", line("words"), line("greeting"));
/// # std::fs::write(directory.path().join("env.lock"), text)?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # let graph = runtime.block_on(graph(&directory.path().join("env.lock"), &directory.path().join("cache")))?;
/// # assert_eq!(graph.packages[1].needs[0].spec, "words >=1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The future may be dropped: then each package of the lock either has its record, or has none.
pub async fn complete(lock: &mut Lock, client: &Client, sources: &Sources, progress: &dyn Progress) -> Missing {
    let reasons = client.report_waits(progress, conda(lock, client, sources, progress)).await;
    client.report_waits(progress, python::complete(&mut lock.pip, client, sources)).await;
    let packages = lock.packages.iter().filter(|package| package.record.is_none());
    let packages = packages.map(|package| package.file_name.clone());
    let pip = lock.pip.iter().filter(|package| package.requires.is_none());
    let pip = pip.map(|package| package.file_name().unwrap_or_else(|| package.name.clone()));
    Missing { packages: packages.chain(pip).collect(), reasons }
}

/// Gives conda packages their records. Returns why channels could not be asked.
async fn conda(lock: &mut Lock, client: &Client, sources: &Sources, progress: &dyn Progress) -> Vec<RepodataError> {
    let open: Vec<usize> = (0..lock.packages.len()).filter(|place| lock.packages[*place].record.is_none()).collect();
    if open.is_empty() {
        return Vec::new();
    }
    let packages: Vec<PinnedPackage<'_>> = open.iter().map(|place| pinned(&lock.packages[*place])).collect();
    let (found, reasons) = repodata::pinned_records(client, &packages, &sources.repodata, progress).await;
    // A prefix that cannot be read is ignored.
    let installed = match (&sources.prefix, found.iter().any(Option::is_none)) {
        (Some(prefix), true) => prefix.records().unwrap_or_default(),
        _ => Vec::new(),
    };
    let installed: Vec<&PackageRecord> =
        installed.iter().map(|record| &record.repodata_record.package_record).collect();
    for (place, record) in open.into_iter().zip(found) {
        let package = &mut lock.packages[place];
        let elsewhere = || {
            let record = installed.iter().find(|record| is_of(record, package)).map(|record| (*record).clone());
            record.or_else(|| of_itself(package, sources)).map(Arc::new)
        };
        package.record = record.or_else(elsewhere);
    }
    reasons
}

/// The query for a channel.
fn pinned(package: &LockedPackage) -> PinnedPackage<'_> {
    let (sha256, md5) = match package.digest {
        Digest::Sha256(hash) => (Some(hash), None),
        Digest::Md5(hash) => (None, Some(hash)),
        Digest::Unknown => (None, None),
    };
    let LockedPackage { name, version, build, subdir, file_name, url, .. } = package;
    PinnedPackage { name, version, build, subdir: *subdir, file_name, url, sha256, md5 }
}

/// Whether a record of a prefix belongs to a package: the same build and, if both have a hash, the same archive.
fn is_of(record: &PackageRecord, package: &LockedPackage) -> bool {
    let is_archive = match package.digest {
        Digest::Sha256(hash) => record.sha256.is_none_or(|other| other == hash),
        Digest::Md5(hash) => record.md5.is_none_or(|other| other == hash),
        Digest::Unknown => true,
    };
    let is_build = record.version.to_string() == package.version && record.build == package.build;
    record.name.as_normalized() == package.name && is_build && is_archive
}

/// The package's own record, from `index.json` in the cache, or in the archive if the lock names a local file.
fn of_itself(package: &LockedPackage, sources: &Sources) -> Option<PackageRecord> {
    let cached = || install::cached_index(sources.package_cache.as_deref()?, package);
    let file = || {
        let file = files::open(&files::of_url(&package.url)?).ok()?.into_parts().0;
        let size = file.metadata().ok()?.len();
        repodata::read_index_json(&Slice::new(Arc::new(file), 0, size), package.url.path().ends_with(".conda")).ok()
    };
    let (sha256, md5) = match package.digest {
        Digest::Sha256(hash) => (Some(hash), None),
        Digest::Md5(hash) => (None, Some(hash)),
        Digest::Unknown => (None, None),
    };
    let record = PackageRecord::from_index_json(cached().or_else(file)?, package.size, sha256, md5).ok()?;
    Some(record).filter(|record| is_of(record, package))
}
