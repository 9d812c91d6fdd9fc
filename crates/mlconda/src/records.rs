//! The records of a lock's packages: dependencies, licences and the like, for which an @EXPLICIT file has no words.
//!
//! The channels are asked first: what they say may have been mended since the package was built, the solver went by it,
//! and it is the same for everybody. Then come the prefix of that lock, and the package cache: what packages say of
//! themselves, without a network. A lock of another format has its records, and nobody is asked for them.
//!
//! What a package of pip says of itself is the same wherever it is read, so what is nearest is asked first (module `python`).

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

/// Where records may come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// How the channels are asked; whether the servers of packages of pip are.
    pub repodata: RepodataOptions,
    /// A prefix in which the lock may be installed; packages of it that are not the lock's do not count.
    pub prefix: Option<Prefix>,
    /// The directory of the package cache.
    pub package_cache: Option<PathBuf>,
    /// Bundles that have archives. For a wheel in one of them no server is asked what the package says of itself.
    pub archives: Vec<Arc<PackedArchives>>,
    /// What is looked for.
    pub wanted: Wanted,
}

/// What is to be known of a lock's packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What they need.
    #[default]
    Dependencies,
    /// Their licences, too: of packages of pip, no lock tells them, also where it tells what they need.
    Licences,
}

/// What is still not known.
#[derive(Debug, Default)]
pub struct Missing {
    /// The packages without a record, by file name, in the order of the lock; behind them those of pip whose metadata are
    /// not to be had, by file name or by name.
    pub packages: Vec<String>,
    /// Why channels could not be asked.
    pub reasons: Vec<RepodataError>,
}

/// Completes a lock: gives a record to each package that has none, where there is one to be had, and to those of pip what
/// their metadata say.
///
/// It does not fail: a view of a lock is worth something without the records of a few packages. Where all records are
/// there, nothing is read and nobody asked.
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
/// The future may be dropped: each package of the lock has its record then, or has none.
pub async fn complete(lock: &mut Lock, client: &Client, sources: &Sources, progress: &dyn Progress) -> Missing {
    let reasons = client.report_waits(progress, conda(lock, client, sources, progress)).await;
    client.report_waits(progress, python::complete(&mut lock.pip, client, sources)).await;
    let packages = lock.packages.iter().filter(|package| package.record.is_none());
    let packages = packages.map(|package| package.file_name.clone());
    let pip = lock.pip.iter().filter(|package| package.requires.is_none());
    let pip = pip.map(|package| package.file_name().unwrap_or_else(|| package.name.clone()));
    Missing { packages: packages.chain(pip).collect(), reasons }
}

/// Gives conda packages their records; why channels could not be asked.
async fn conda(lock: &mut Lock, client: &Client, sources: &Sources, progress: &dyn Progress) -> Vec<RepodataError> {
    let open: Vec<usize> = (0..lock.packages.len()).filter(|place| lock.packages[*place].record.is_none()).collect();
    if open.is_empty() {
        return Vec::new();
    }
    let packages: Vec<PinnedPackage<'_>> = open.iter().map(|place| pinned(&lock.packages[*place])).collect();
    let (found, reasons) = repodata::pinned_records(client, &packages, &sources.repodata, progress).await;
    // A prefix that cannot be read is not a prefix of use here.
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

/// What the channels are asked for.
fn pinned(package: &LockedPackage) -> PinnedPackage<'_> {
    let (sha256, md5) = match package.digest {
        Digest::Sha256(hash) => (Some(hash), None),
        Digest::Md5(hash) => (None, Some(hash)),
        Digest::Unknown => (None, None),
    };
    let LockedPackage { name, version, build, subdir, file_name, url, .. } = package;
    PinnedPackage { name, version, build, subdir: *subdir, file_name, url, sha256, md5 }
}

/// Whether a record of a prefix is that of a package: the same archive, or, where no hash can be compared, the same build.
fn is_of(record: &PackageRecord, package: &LockedPackage) -> bool {
    let is_archive = match package.digest {
        Digest::Sha256(hash) => record.sha256.is_none_or(|other| other == hash),
        Digest::Md5(hash) => record.md5.is_none_or(|other| other == hash),
        Digest::Unknown => true,
    };
    let is_build = record.version.to_string() == package.version && record.build == package.build;
    record.name.as_normalized() == package.name && is_build && is_archive
}

/// What a package says of itself, in the cache, or where the lock has a file of this machine.
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
