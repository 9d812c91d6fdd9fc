//! Finds the metadata of pip packages. The places in order: the prefix, the package cache, an archive or a project on
//! this machine, and last the server of a wheel, where it is in a file beside the wheel (PEP 658) or in the wheel
//! itself.
//!
//! Of a wheel on a server, at most the pieces with the metadata are downloaded. So the metadata of source archives and
//! of commits is not known before they are installed.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    str::FromStr,
    sync::Mutex,
};

use futures::{StreamExt, stream};
use mlconda_channel::{
    network::{BodyKind, Client, NetworkError},
    repodata::Access,
};
use mlconda_install as install;
use mlconda_lock::{LockedPip, PipSource};
use mlconda_prefix::{Prefix, distributions};
use mlconda_python::metadata::Metadata;
use mlconda_system::files;
use pep440_rs::Version;
use url::Url;
use zip::ZipArchive;

use super::{
    Sources, Wanted, remote,
    wheel::{LARGEST, metadata_of},
};

/// The number of concurrent requests.
const QUESTIONS: usize = 16;

/// Completes packages with their metadata, if it is found.
pub(super) async fn complete(packages: &mut [LockedPip], client: &Client, sources: &Sources) {
    let is_open = |package: &LockedPip| match sources.wanted {
        Wanted::Dependencies => package.requires.is_none(),
        Wanted::Licences => package.requires.is_none() || package.licence.is_none(),
    };
    let mut open: Vec<&mut LockedPip> = packages.iter_mut().filter(|package| is_open(package)).collect();
    if open.is_empty() {
        return;
    }
    let installed = sources.prefix.as_ref().map(installed).unwrap_or_default();
    open.retain_mut(|package| {
        let found = installed.get(&package.name).filter(|(metadata, hash)| is_of(metadata, *hash, package));
        let found = found.map(|(metadata, _)| metadata.clone()).or_else(|| of_machine(package, sources));
        found.is_none_or(|found| {
            take(package, found);
            false
        })
    });
    if sources.repodata.access == Access::Offline {
        return;
    }
    let silent = Mutex::new(HashSet::new());
    let asking = open.into_iter().filter(|package| package.is_wheel()).map(|package| async {
        if let Some(found) = of_server(package, client, &silent).await {
            take(package, found);
        }
    });
    stream::iter(asking).buffer_unordered(QUESTIONS).collect::<()>().await;
}

fn take(package: &mut LockedPip, found: Metadata) {
    package.requires.get_or_insert(found.requires);
    package.requires_python = found.requires_python.or(package.requires_python.take());
    package.licence = found.licence;
}

type Hash = Option<rattler_digest::Sha256Hash>;

/// The metadata of the installed distributions, by name, each with the hash of its archive.
fn installed(prefix: &Prefix) -> HashMap<String, (Metadata, Hash)> {
    // A prefix that cannot be read is ignored.
    let records = prefix.distributions().unwrap_or_default();
    let read = |record: &rattler_conda_types::PrefixRecord| {
        let file = record.files.iter().find(|path| distributions::is_metadata(path))?;
        let text = files::read(&prefix.path().join(file), files::LARGEST_TEXT).ok()?;
        let metadata = Metadata::read(&String::from_utf8_lossy(&text))?;
        Some((metadata.name.clone(), (metadata, record.repodata_record.package_record.sha256)))
    };
    records.iter().filter_map(read).collect()
}

/// Whether metadata belongs to a package: it is from the same archive or, if no hash can be compared, of the same
/// version.
fn is_of(metadata: &Metadata, hash: Hash, package: &LockedPip) -> bool {
    let locked = match &package.source {
        PipSource::Archive { sha256, .. } => *sha256,
        _ => None,
    };
    // `2024.05` and `2024.5` are the same version.
    let plain = |version: &str| Version::from_str(version).map_or_else(|_| version.to_owned(), |each| each.to_string());
    match (hash, locked) {
        (Some(hash), Some(locked)) => hash == locked,
        _ => {
            let is_version = |version: &String| plain(version) == plain(&metadata.version);
            metadata.name == package.name && package.version.as_ref().is_none_or(is_version)
        }
    }
}

/// The metadata from the cache, from a local file, or from a bundle.
fn of_machine(package: &LockedPip, sources: &Sources) -> Option<Metadata> {
    let cached = || install::cached_metadata(sources.package_cache.as_deref()?, &package.as_package()?);
    let PipSource::Archive { url, .. } = &package.source else { return None };
    let file = || of_wheel(&files::of_url(url).filter(|_| package.is_wheel())?);
    let packed = || {
        let package = package.as_package().filter(|_| package.is_wheel())?;
        let slice = sources.archives.iter().find_map(|archives| archives.find(&package))?;
        metadata_of(&mut ZipArchive::new(slice.reader()).ok()?)
    };
    Metadata::read(&cached().or_else(file).or_else(packed)?).filter(|metadata| metadata.name == package.name)
}

/// The metadata in a wheel on this machine.
fn of_wheel(path: &Path) -> Option<String> {
    metadata_of(&mut ZipArchive::new(files::open(path).ok()?).ok()?)
}

/// The metadata beside a wheel on a server, or else inside the wheel. A server that does not answer is not asked again.
async fn of_server(package: &LockedPip, client: &Client, silent: &Mutex<HashSet<String>>) -> Option<Metadata> {
    let PipSource::Archive { url, size, .. } = &package.source else { return None };
    if !["http", "https"].contains(&url.scheme()) || silent.lock().ok()?.contains(url.host_str()?) {
        return None;
    }
    let mut place: Url = url.clone();
    place.set_path(&format!("{}.metadata", url.path()));
    let is_it = |text: &str| Metadata::read(text).filter(|metadata| is_of(metadata, None, package));
    match client.get(&place, BodyKind::Metadata(LARGEST)).await {
        Ok(response) => {
            // Some servers answer every request with some page.
            let found = response.bytes().await.ok().and_then(|bytes| is_it(&String::from_utf8_lossy(&bytes)));
            if found.is_some() {
                return found;
            }
        }
        Err(NetworkError::Status { .. }) => {}
        Err(_) => {
            silent.lock().ok()?.insert(url.host_str()?.to_owned());
            return None;
        }
    }
    let size = match size {
        Some(size) => *size,
        None => client.content_length(url).await?,
    };
    is_it(&remote::metadata(url, size, client).await?)
}
