//! Finds the records of packages whose URLs are known, as in a lock. Only the records of these names are parsed, and
//! dependencies are not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use mlconda_types::{host::Host, progress::Progress, sorting::IntoTree};
use rattler_conda_types::{Channel, PackageRecord, RepoDataRecord, Subdir};
use url::Url;

use super::{
    RepodataError, RepodataOptions,
    load::Loader,
    reachable::{self, LoadedSubdir, REQUESTS},
};
use crate::network::Client;
use rattler_digest::{Md5Hash, Sha256Hash};

/// A package whose URL is known.
#[derive(Clone, Copy, Debug)]
pub struct PinnedPackage<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, as in the file name.
    pub version: &'a str,
    /// Its build string.
    pub build: &'a str,
    /// The subdir in the URL.
    pub subdir: Subdir,
    /// The file name of the archive.
    pub file_name: &'a str,
    /// The URL of the archive.
    pub url: &'a Url,
    /// The sha256 of the archive, if known.
    pub sha256: Option<Sha256Hash>,
    /// The md5 of the archive, if known.
    pub md5: Option<Md5Hash>,
}

/// Finds the records of these packages, in their order; `None` if the channel has none. Also returns the errors of the
/// subdirs that could not be loaded.
///
/// The future may be dropped: the cache has no incomplete files.
pub async fn pinned_records(
    client: &Client,
    packages: &[PinnedPackage<'_>],
    options: &RepodataOptions,
    progress: &dyn Progress,
) -> (Vec<Option<Arc<PackageRecord>>>, Vec<RepodataError>) {
    let mut subdirs: BTreeMap<(Url, Subdir), Vec<usize>> = BTreeMap::new();
    for (index, package) in packages.iter().enumerate() {
        if let Some(channel) = channel_url(package) {
            subdirs.entry((channel, package.subdir)).or_default().push(index);
        }
    }
    // The host does not matter here: each URL names its own subdir.
    let host = Host::baseline(Subdir::NoArch);
    let loader = Loader { client, host: &host, options, progress };
    let found = join_all(subdirs.into_iter().map(async |((channel, subdir), indices)| {
        let names = indices.iter().map(|index| packages[*index].name).into_tree();
        let records = loader.records_by_name(&Channel::from_url(channel), subdir, names).await;
        (indices, records)
    }));
    let (mut records, mut errors) = (vec![None; packages.len()], Vec::new());
    for (indices, found) in found.await {
        match found {
            Ok(found) => indices.into_iter().for_each(|index| records[index] = find_record(&packages[index], &found)),
            Err(error) => errors.push(error),
        }
    }
    (records, errors)
}

/// The channel of a package's URL; `None` if the URL names no subdir.
fn channel_url(package: &PinnedPackage<'_>) -> Option<Url> {
    let mut url = package.url.clone();
    url.set_query(None);
    let mut segments = url.path_segments()?.rev();
    segments.next()?;
    if segments.next()? != package.subdir.as_str() {
        return None;
    }
    url.path_segments_mut().ok()?.pop().pop().push("");
    Some(url)
}

/// Finds the record of a package. If a build exists as `.conda` and as `.tar.bz2`, only one record is loaded, which
/// describes both. But if the archive was replaced under the same name, the hashes differ, and there is no record.
fn find_record(
    package: &PinnedPackage<'_>,
    records: &BTreeMap<String, Vec<Arc<RepoDataRecord>>>,
) -> Option<Arc<PackageRecord>> {
    let is = |record: &&Arc<RepoDataRecord>| {
        let known = &record.package_record;
        let is_build = known.version.to_string() == package.version && known.build == package.build;
        let is_file = record.identifier.to_file_name() == package.file_name;
        let differs = package.sha256.is_some_and(|hash| known.sha256.is_some_and(|other| other != hash))
            || package.md5.is_some_and(|hash| known.md5.is_some_and(|other| other != hash));
        is_build && !(is_file && differs)
    };
    let record = records.get(package.name)?.iter().find(is)?;
    let mut known = record.package_record.clone();
    if record.identifier.to_file_name() != package.file_name {
        (known.sha256, known.md5, known.size) = (None, None, None);
    }
    Some(Arc::new(known))
}

impl Loader<'_> {
    /// Loads all records of these names from a subdir.
    async fn records_by_name(
        &self,
        channel: &Channel,
        subdir: Subdir,
        names: BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Vec<Arc<RepoDataRecord>>>, RepodataError> {
        let Some(loaded) = self.load_subdir(channel, subdir).await? else { return Ok(BTreeMap::new()) };
        loaded.note.iter().for_each(|note| self.progress.event(note.clone()));
        let (client, loaded) = (self.client, Arc::new(loaded));
        let fetched: Vec<(String, reachable::PackageData)> = stream::iter(names)
            .map(async |name| Ok::<_, RepodataError>((name.to_owned(), loaded.package_data(client, name).await?)))
            .buffer_unordered(REQUESTS)
            .try_collect()
            .await?;
        let read = tokio::task::spawn_blocking(move || parse_records(&loaded, fetched));
        reachable::join_result(read.await)
    }
}

fn parse_records(
    subdir: &LoadedSubdir,
    fetched: Vec<(String, reachable::PackageData)>,
) -> Result<BTreeMap<String, Vec<Arc<RepoDataRecord>>>, RepodataError> {
    let read = |(name, package_data): (String, reachable::PackageData)| {
        let records = subdir.read(&name, &package_data)?.records;
        Ok((name, records))
    };
    fetched.into_iter().map(read).collect()
}
