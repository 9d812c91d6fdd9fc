//! The records of packages that are known by their URLs: those of a lock. Nothing else is read of the channels, and what
//! the packages depend on is not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use mlconda_types::{host::Host, progress::Progress};
use rattler_conda_types::{Channel, PackageRecord, RepoDataRecord, Subdir};
use url::Url;

use super::{
    Loader, RepodataError, RepodataOptions,
    walk::{self, REQUESTS, Source},
};
use crate::network::Client;
use rattler_digest::{Md5Hash, Sha256Hash};

/// A package that is known by its URL.
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, as the file's name has it.
    pub version: &'a str,
    /// Its build string.
    pub build: &'a str,
    /// The subdir that the URL names.
    pub subdir: Subdir,
    /// The archive's file name.
    pub file_name: &'a str,
    /// The URL of the archive.
    pub url: &'a Url,
    /// The archive's sha256, where known …
    pub sha256: Option<Sha256Hash>,
    /// … and its md5.
    pub md5: Option<Md5Hash>,
}

/// The records of packages, in their order; `None` where the channel has none. Of the subdirs that could not be asked, the
/// errors are told.
pub async fn records_of(
    client: &Client,
    packages: &[Pinned<'_>],
    options: &RepodataOptions,
    progress: &dyn Progress,
) -> (Vec<Option<Arc<PackageRecord>>>, Vec<RepodataError>) {
    let mut subdirs: BTreeMap<(Url, Subdir), Vec<usize>> = BTreeMap::new();
    for (place, package) in packages.iter().enumerate() {
        if let Some(channel) = channel(package) {
            subdirs.entry((channel, package.subdir)).or_default().push(place);
        }
    }
    // Which platforms a channel has does not matter here: each URL names its own.
    let host = Host::baseline(Subdir::NoArch);
    let loader = Loader { client, host: &host, options, progress };
    let found = join_all(subdirs.into_iter().map(async |((channel, subdir), places)| {
        let names = places.iter().map(|place| packages[*place].name).collect();
        let records = loader.named(&Channel::from_url(channel), subdir, names).await;
        (places, records)
    }));
    let (mut records, mut errors) = (vec![None; packages.len()], Vec::new());
    for (places, found) in found.await {
        match found {
            Ok(found) => places.into_iter().for_each(|place| records[place] = pick(&packages[place], &found)),
            Err(error) => errors.push(error),
        }
    }
    (records, errors)
}

/// The channel that a package's URL lies in; `None` where the URL names no subdir, as that of a single file.
fn channel(package: &Pinned<'_>) -> Option<Url> {
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

/// The record of this package. Of a build that is there as `.conda` and as `.tar.bz2`, one record is at hand, which says
/// the same of both; but an archive that has taken the place of another under its name is another package.
fn pick(package: &Pinned<'_>, records: &BTreeMap<String, Vec<Arc<RepoDataRecord>>>) -> Option<Arc<PackageRecord>> {
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
    /// All records of these names in a subdir.
    async fn named(
        &self,
        channel: &Channel,
        subdir: Subdir,
        names: BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Vec<Arc<RepoDataRecord>>>, RepodataError> {
        let Some(source) = self.subdir(channel, subdir).await? else { return Ok(BTreeMap::new()) };
        source.note.iter().for_each(|note| self.progress.event(note.clone()));
        let (client, source) = (self.client, Arc::new(source));
        let fetched: Vec<(String, walk::Material)> = stream::iter(names)
            .map(async |name| Ok::<_, RepodataError>((name.to_owned(), source.material(client, name).await?)))
            .buffer_unordered(REQUESTS)
            .try_collect()
            .await?;
        let read = tokio::task::spawn_blocking(move || read(&source, fetched));
        walk::joined(read.await)
    }
}

fn read(
    source: &Source,
    fetched: Vec<(String, walk::Material)>,
) -> Result<BTreeMap<String, Vec<Arc<RepoDataRecord>>>, RepodataError> {
    let read = |(name, material): (String, walk::Material)| {
        let records = source.read(&name, &material)?.records;
        Ok((name, records))
    };
    fetched.into_iter().map(read).collect()
}
