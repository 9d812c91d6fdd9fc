//! Loads the channels of an environment into [`Repodata`]: first each subdir, then the reachable records.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures::future::{join_all, try_join_all};
use mlconda_environment::{Environment, WELL_KNOWN_CHANNELS};
use mlconda_types::{
    host::Host,
    progress::{Event, Progress},
    sorting::IntoTree,
};
use rattler_conda_types::{Channel, MatchSpec, RepoDataRecord, Subdir};

use super::{
    Access, PackageNames, Repodata, RepodataError, RepodataOptions, SpecInterner, archive,
    cache::{RepodataCache, ShardCache},
    fetch::{self, Fetcher, SubdirData},
    name,
    reachable::{self, LoadedSubdir},
    records::SubdirContext,
    run_ends,
    shards::ShardFetcher,
};
use crate::network::{self, Client};

/// Loads the records that an environment can reach, for one host. The environment must be reduced to the host's
/// platform (see [`Environment::for_platform`]).
///
/// The future may be dropped: the cache has no incomplete files, because a file gets its name only when it is complete.
///
/// # Errors
/// If a channel cannot be reached, or its response is not repodata.
pub async fn load(
    client: &Client,
    environment: &Environment,
    host: &Host,
    options: &RepodataOptions,
    progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    load_with(client, environment, host, options, &[], progress).await
}

/// Like [`load`], with the records of installed packages. An installed record that no channel has is added as the last
/// choice of its name.
///
/// The future may be dropped, as that of [`load`].
///
/// # Errors
/// As for [`load`].
pub async fn load_with(
    client: &Client,
    environment: &Environment,
    host: &Host,
    options: &RepodataOptions,
    installed: &[RepoDataRecord],
    progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    client.report_waits(progress, load_all(client, environment, host, options, installed, progress)).await
}

async fn load_all(
    client: &Client,
    environment: &Environment,
    host: &Host,
    options: &RepodataOptions,
    installed: &[RepoDataRecord],
    progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    let channels = environment.all_channels();
    let by_url = environment.requirements.iter().all(|requirement| requirement.spec.url.is_some());
    if channels.is_empty() && installed.is_empty() && (!by_url || environment.requirements.is_empty()) {
        return Err(RepodataError::NoChannels(environment.file.clone()));
    }
    let loader = Loader { client, host, options, progress };
    let loaded: Vec<Vec<Option<LoadedSubdir>>> =
        try_join_all(channels.iter().map(|channel| loader.load_channel(channel))).await?;
    loader.check_platform(environment, &channels, &loaded).await?;
    let specs = environment.requirements.iter().map(|requirement| spec_to_load(&requirement.spec, &loaded));
    let mut specs: Vec<MatchSpec> = specs.collect();
    let urls =
        channels.iter().flat_map(|channel| subdirs_of(host).into_iter().map(|subdir| subdir_url(channel, subdir)));
    let (urls, sources): (Vec<String>, Vec<LoadedSubdir>) =
        urls.zip(loaded.into_iter().flatten()).filter_map(|(url, source)| Some((url, source?))).unzip();
    // Report here, so that the events come in the order of the channels.
    sources.iter().filter_map(|subdir| subdir.note.clone()).for_each(|note| progress.event(note));
    let mut names = PackageNames { own: BTreeSet::new(), subdirs: Arc::new(sources) };
    let partial = partial(&specs);
    let archives = loader.load_archives(environment, &names.subdirs).await?;
    for archive in &archives {
        names.own.insert(name(archive).to_owned());
        specs.extend(reachable::dependency_specs(archive));
    }
    specs.extend(installed.iter().flat_map(reachable::dependency_specs));
    let reachable::ReachableRecords { found, interner } =
        reachable::reachable_records(client, &names.subdirs, specs, HashSet::new()).await?;
    for (subdir, found) in urls.into_iter().zip(&found) {
        if let Some((file, reason)) = &found.skipped.first {
            progress.event(Event::Warning(skipped_warning(&subdir, found.skipped.count, file, reason)));
        }
        progress.event(Event::RepodataFinished { subdir, records: found.records.len() });
    }
    let mut repodata = Repodata { partial, ..assemble(names, archives, found, interner) };
    repodata.add_installed(installed);
    Ok(repodata)
}

/// Makes repodata from the found records and the packages that are named by their URLs.
fn assemble(
    names: PackageNames,
    archives: Vec<Arc<RepoDataRecord>>,
    found: Vec<reachable::SubdirRecords>,
    mut interner: SpecInterner,
) -> Repodata {
    // They come first, so that no channel hides them.
    let archives = Some(archives).filter(|archives| !archives.is_empty());
    let archives = archives.map(|archives| reachable::SubdirRecords {
        ends: run_ends(&archives),
        table: interner.intern_records(archives.iter().map(AsRef::as_ref)),
        records: archives,
        ..reachable::SubdirRecords::default()
    });
    let mut repodata = Repodata { has_archives: archives.is_some(), names, interner, ..Repodata::default() };
    for found in archives.into_iter().chain(found) {
        repodata.subdirs.push(found.records);
        repodata.ends.push(found.ends);
        repodata.table.push(found.table);
    }
    repodata
}

/// The names whose records these specs load only partly.
pub(super) fn partial(specs: &[MatchSpec]) -> BTreeSet<String> {
    let of = |spec: &MatchSpec| spec.name.as_exact().map(|name| name.as_normalized().to_owned());
    let whole = specs.iter().filter(|spec| **spec == MatchSpec { name: spec.name.clone(), ..MatchSpec::default() });
    let whole: BTreeSet<String> = whole.filter_map(of).into_tree();
    specs.iter().filter_map(of).filter(|name| !whole.contains(name)).into_tree()
}

/// The warning about unreadable records.
fn skipped_warning(subdir: &str, count: usize, file: &str, reason: &str) -> String {
    match count {
        1 => format!("a record of `{subdir}` cannot be read and is left out: `{file}` ({reason})"),
        _ => format!("{count} records of `{subdir}` cannot be read and are left out, the first: `{file}` ({reason})"),
    }
}

fn subdirs_of(host: &Host) -> Vec<Subdir> {
    if host.platform == Subdir::NoArch { vec![Subdir::NoArch] } else { vec![host.platform, Subdir::NoArch] }
}

/// The spec to load for a requested spec: the records that match it. If several channels have the package, all of its
/// records are loaded, because channel priority also depends on records that do not match.
fn spec_to_load(spec: &MatchSpec, channels: &[Vec<Option<LoadedSubdir>>]) -> MatchSpec {
    let Some(name) = spec.name.as_exact() else { return spec.clone() };
    let has =
        |channel: &&Vec<Option<LoadedSubdir>>| channel.iter().flatten().any(|subdir| subdir.has(name.as_normalized()));
    if channels.iter().filter(has).count() > 1 { MatchSpec::from(name.clone()) } else { spec.clone() }
}

/// The input for loading a subdir.
pub(super) struct Loader<'a> {
    pub(super) client: &'a Client,
    pub(super) host: &'a Host,
    pub(super) options: &'a RepodataOptions,
    pub(super) progress: &'a dyn Progress,
}

impl Loader<'_> {
    /// Loads the subdirs of a channel. One of them may be missing: a channel need not serve every platform, and some
    /// hand-made channels have no `noarch`.
    pub(super) async fn load_channel(&self, channel: &Channel) -> Result<Vec<Option<LoadedSubdir>>, RepodataError> {
        let platforms = subdirs_of(self.host);
        let loaded = join_all(platforms.iter().map(|platform| self.load_subdir(channel, *platform))).await;
        let sources = loaded.into_iter().collect::<Result<Vec<_>, _>>()?;
        let shown = network::redact(channel.base_url.url());
        if sources.iter().all(Option::is_none) {
            return Err(RepodataError::NoSuchChannel {
                near: near_channels(channel),
                channel: shown,
                platform: self.host.platform,
            });
        }
        if sources.last().is_some_and(Option::is_none) {
            self.progress.event(Event::Warning(format!(
                "the channel `{shown}` has no `noarch`, which every channel should have, even if empty"
            )));
        }
        Ok(sources)
    }

    /// Loads the records of packages that are named by the URL of an archive: from the channel that lists the archive,
    /// else from the archive.
    pub(super) async fn load_archives(
        &self,
        environment: &Environment,
        sources: &[LoadedSubdir],
    ) -> Result<Vec<Arc<RepoDataRecord>>, RepodataError> {
        let mut archives: Vec<Arc<RepoDataRecord>> = Vec::new();
        for spec in environment.requirements.iter().map(|requirement| &requirement.spec) {
            let Some(url) = spec.url.as_ref().filter(|url| archives.iter().all(|known| known.url != **url)) else {
                continue;
            };
            let mut listed = None;
            for subdir in sources.iter().filter(|subdir| subdir.context.contains_url(url)) {
                listed = listed.or(subdir.record_by_url(self.client, spec).await?);
            }
            archives.push(match listed {
                Some(record) => record,
                None => Arc::new(archive::record_from_archive(self.client, spec, url, self.host, self.options).await?),
            });
        }
        Ok(archives)
    }

    /// Loads a subdir; `None` if the channel does not have it.
    pub(super) async fn load_subdir(
        &self,
        channel: &Channel,
        platform: Subdir,
    ) -> Result<Option<LoadedSubdir>, RepodataError> {
        let shown = subdir_url(channel, platform);
        self.progress.event(Event::RepodataStarted { subdir: shown.clone() });
        let url = channel.platform_url(platform);
        let directory = &self.options.cache_directory;
        let mut note = None;
        let data = if let Some(path) = mlconda_system::files::of_url(&url) {
            let (directory, shown, unpacked) = (directory.clone(), shown.clone(), self.client.limits().unpacked);
            let read = tokio::task::spawn_blocking(move || fetch::open_local(&path, &directory, &shown, unpacked));
            reachable::join_result(read.await)?
        } else {
            // The cache of one login is not used with another.
            let real = self.client.unmasked(&url);
            let cache = RepodataCache::new(directory, &real, self.client.login_key(&real));
            let RepodataOptions { access, now, .. } = *self.options;
            let fetcher = Fetcher { client: self.client, cache, url: &url, access, now };
            let (state, data) = fetcher.load().await?;
            if access == Access::Offline {
                note = Some(Event::RepodataFromCache { subdir: shown, age: state.age(now) });
            }
            data
        };
        Ok(self.loaded_subdir(channel, platform, data)?.map(|subdir| LoadedSubdir { note, ..subdir }))
    }

    fn loaded_subdir(
        &self,
        channel: &Channel,
        platform: Subdir,
        data: SubdirData,
    ) -> Result<Option<LoadedSubdir>, RepodataError> {
        let (base_url, shards) = match &data {
            SubdirData::Missing => return Ok(None),
            SubdirData::Json { index, .. } => (index.base_url.as_deref(), None),
            SubdirData::Shards(index) => {
                let cache = ShardCache::new(&self.options.cache_directory);
                (Some(index.info.base_url.as_str()), Some(ShardFetcher::new(index, channel, platform, cache)?))
            }
        };
        let may_download = self.options.access != Access::Offline;
        let context = SubdirContext::new(channel, platform, base_url)?;
        Ok(Some(LoadedSubdir { context, data, shards, may_download, note: None }))
    }
}

/// Well-known channels with names similar to that of a missing channel.
pub(super) fn near_channels(channel: &Channel) -> Vec<&'static str> {
    let url = channel.base_url.url();
    let name = url.path().trim_matches('/').to_ascii_lowercase();
    let mut near: Vec<_> = WELL_KNOWN_CHANNELS
        .into_iter()
        .map(|known| (strsim::osa_distance(known, &name), known))
        .filter(|(distance, known)| *distance > 0 && *distance <= known.len() / 3)
        .collect();
    mlconda_types::sorting::sort(&mut near);
    near.into_iter().map(|(_, known)| known).collect()
}

fn subdir_url(channel: &Channel, platform: Subdir) -> String {
    network::redact(&channel.platform_url(platform))
}
