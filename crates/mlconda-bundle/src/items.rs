//! Determines the archives of a bundle: those of all locks, each once, with their paths. As a channel, the bundle has
//! the same paths.

use std::{collections::BTreeMap, num::NonZero, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use mlconda_channel::{
    network::{Cause, Client, NetworkError},
    repodata::Access,
};
use mlconda_install::{InstallError, PackedArchives};
use mlconda_lock::{Digest, Lock, LockedPackage, PipSource};
use mlconda_system::files;
use mlconda_types::redact;
use rattler_conda_types::Subdir;
use rattler_digest::Sha256Hash;

use crate::{BundleError, Environment};

/// The directory of conda packages in the bundle.
pub(crate) const CHANNEL: &str = "channel";

/// The directory of wheels and source archives in the bundle.
pub(crate) const PYPI: &str = "pypi";

/// An archive of a bundle.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its path in the bundle.
    pub(crate) path: String,
    /// Its package, which includes the size.
    pub(crate) package: LockedPackage,
    /// The subdir of a conda package; `None` for a package of pip.
    pub(crate) subdir: Option<Subdir>,
    /// The indices of the locks that contain it.
    pub(crate) locks: Vec<usize>,
}

impl Item {
    /// The size of the archive, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.package.size.unwrap_or(0)
    }

    /// Whether a package with the same path in the bundle is this package, as far as the hashes tell.
    fn is_same(&self, package: &LockedPackage) -> bool {
        match (&self.package.digest, &package.digest) {
            (Digest::Sha256(one), Digest::Sha256(other)) => one == other,
            (Digest::Md5(one), Digest::Md5(other)) => one == other,
            _ => self.package.url == package.url,
        }
    }
}

/// The sha256 of a package, if the lock contains it.
pub(crate) fn sha256(package: &LockedPackage) -> Option<Sha256Hash> {
    match package.digest {
        Digest::Sha256(hash) => Some(hash),
        Digest::Md5(_) | Digest::Unknown => None,
    }
}

/// All packages of a lock with their paths in a bundle. Fails if a package has no archive.
pub(crate) fn archives(lock: &Lock) -> Result<Vec<(String, LockedPackage, Option<Subdir>)>, BundleError> {
    let mut found = Vec::with_capacity(lock.packages.len() + lock.pip.len());
    for package in &lock.packages {
        let told = package.record.as_ref().and_then(|record| record.subdir.parse().ok());
        let subdir: Subdir = told.unwrap_or(package.subdir);
        found.push((format!("{CHANNEL}/{subdir}/{}", package.file_name), package.clone(), Some(subdir)));
    }
    for package in &lock.pip {
        let from = match &package.source {
            PipSource::Archive { .. } => "a URL without a file name",
            PipSource::Git { .. } => "a git repository",
            PipSource::Directory { .. } => "a directory of this machine",
        };
        let archive = package.as_package();
        let archive = archive.ok_or_else(|| BundleError::NotAnArchive { package: package.name.clone(), from })?;
        found.push((format!("{PYPI}/{}", archive.file_name), archive, None));
    }
    Ok(found)
}

/// The archives of all locks, sorted by path.
pub(crate) fn collect(environments: &[Environment]) -> Result<Vec<Item>, BundleError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for (number, Environment { lock, .. }) in environments.iter().enumerate() {
        for (path, package, subdir) in archives(lock)? {
            match items.get_mut(&path) {
                None => {
                    items.insert(path.clone(), Item { path, package, subdir, locks: vec![number] });
                }
                Some(item) if item.is_same(&package) => {
                    item.locks.push(number);
                    item.package.size = item.package.size.or(package.size);
                }
                Some(_) => return Err(BundleError::SameName { path }),
            }
        }
    }
    Ok(items.into_values().collect())
}

/// The error for an archive that would have to be downloaded although network access is disabled.
pub(crate) fn not_asked(package: &LockedPackage) -> BundleError {
    let (package, url) = (package.file_name.clone(), redact::url(&package.url));
    let reason = "network access is disabled, and it is no local file".to_owned();
    let source = NetworkError::Transfer { reason, cause: Cause::Offline }.into();
    InstallError::Download { package, url, source }.into()
}

/// Finds the sizes of the archives: of local files from the file, of others from the lock or from the server. Several
/// servers are asked at once.
pub(crate) async fn find_sizes(
    items: &mut [Item],
    packed: &[Arc<PackedArchives>],
    client: &Client,
    access: Access,
    at_once: NonZero<usize>,
) -> Result<(), BundleError> {
    let asked = stream::iter(items).map(async |item: &mut Item| {
        let size = find_size(&item.package, packed, client, access).await?;
        let no_size = || BundleError::NoSize { package: item.package.file_name.clone() };
        item.package.size = Some(size.ok_or_else(no_size)?);
        Ok::<_, BundleError>(())
    });
    asked.buffered(at_once.get()).try_collect().await
}

async fn find_size(
    package: &LockedPackage,
    packed: &[Arc<PackedArchives>],
    client: &Client,
    access: Access,
) -> Result<Option<u64>, BundleError> {
    // The lock of a bundle has all sizes, and its `file:` URLs may be those of another machine.
    if let Some(slice) = packed.iter().find_map(|packed| packed.find(package)) {
        return Ok(Some(slice.size()));
    }
    if let Some(path) = files::of_url(&package.url) {
        return Ok(Some(files::open(&path)?.metadata()?.len()));
    }
    if package.size.is_some() {
        return Ok(package.size);
    }
    if access == Access::Offline {
        return Err(not_asked(package));
    }
    let failed = |error: NetworkError| InstallError::Download {
        package: package.file_name.clone(),
        url: redact::url(&package.url),
        source: error.into(),
    };
    Ok(client.size(&package.url).await.map_err(failed)?)
}
