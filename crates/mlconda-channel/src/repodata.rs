//! Repodata: loads the records that the solver may choose from.
//!
//! Each subdir of each channel is loaded first (`fetch`), either as the index of its shards (CEP-16) or as a
//! `repodata.json`, compressed or not. A `repodata.json` is scanned once, when it arrives (`scan`). The byte ranges of
//! each package's records are kept in an index beside it (`index`). Then only the reachable records are read: those of
//! the requested names, of the names these depend on, and so on (`reachable`, `records`). So the time and memory of a
//! lock depend on what the environment can reach, not on the size of the channel.
//!
//! The order of the records does not depend on the order in which servers answer, so a solve is reproducible.

mod archive;
mod cache;
mod dependency_table;
mod fetch;
mod index;
mod msgpack;
mod pinned;
mod platform_check;
mod reachable;
mod records;
mod scan;
mod shards;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use futures::future::{join_all, try_join_all};
use itertools::Itertools;
use mlconda_environment::{Environment, WELL_KNOWN_CHANNELS};
use mlconda_types::{
    host::Host,
    progress::{Event, Progress},
};
use rattler_conda_types::{
    Channel, MatchSpec, RepoDataRecord, Subdir,
    package::{CondaArchiveType, DistArchiveType},
};

use crate::network::{self, Cause, Client};
pub use archive::read_index_json;
pub use dependency_table::{DependencyRows, DependencyTable, RecordRow, SpecInterner, VersionGroup};
pub use pinned::{PinnedPackage, pinned_records};

use cache::{RepodataCache, ShardCache};
use fetch::{Fetcher, SubdirData};
use reachable::LoadedSubdir;
use records::SubdirContext;
use shards::ShardFetcher;

/// Where repodata is cached, and whether the network may be used.
#[derive(Clone, Debug)]
pub struct RepodataOptions {
    /// The cache directory; created if missing.
    pub cache_directory: PathBuf,
    /// Whether the network may be used.
    pub access: Access,
    /// The current time; the age of cached repodata is measured from it.
    pub now: SystemTime,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Use cached repodata while the channel's `max-age` (at most an hour) lasts; else ask the channel whether it
    /// changed.
    #[default]
    Online,
    /// Always ask the channel whether the cached repodata changed (`--refresh`).
    Refresh,
    /// Use cached repodata of any age, and nothing else (`--offline`). `file://` channels are read as always.
    Offline,
}

/// The records of all channels for one platform and `noarch`, in order of priority.
#[derive(Debug, Default)]
pub struct Repodata {
    /// One list for each subdir of each channel, sorted by file name.
    pub subdirs: Vec<Vec<Arc<RepoDataRecord>>>,
    /// Whether the first list holds packages that are named by the URL of an archive. They may come from any channel.
    pub has_archives: bool,
    /// For each list, the end of each run: the records that have the same name and channel.
    ends: Vec<Vec<usize>>,
    /// For each list, the dependencies of its records.
    table: Vec<DependencyTable>,
    /// The texts of all dependencies and constraints, each stored once.
    pub interner: SpecInterner,
    /// The names of all packages, also of those without a loaded record.
    pub names: PackageNames,
    /// The names of which only the records that match the environment's own specs were loaded.
    pub partial: BTreeSet<String>,
}

impl Repodata {
    /// Makes repodata from records: one list for each subdir of each channel, in order of priority. If a build exists
    /// as `.conda` and as `.tar.bz2`, the `.conda` counts, as in a channel.
    pub fn new(subdirs: impl IntoIterator<Item = Vec<RepoDataRecord>>) -> Self {
        let subdirs: Vec<_> =
            subdirs.into_iter().map(|records| sorted_by_name(prefer_conda(records).map(Arc::new).collect())).collect();
        let own = subdirs.iter().flatten().map(|record| name(record).to_owned()).collect();
        let ends = subdirs.iter().map(|records| run_ends(records)).collect();
        let mut interner = SpecInterner::default();
        let table = subdirs.iter().map(|records| interner.intern_records(records.iter().map(AsRef::as_ref))).collect();
        let names = PackageNames { own, subdirs: Arc::default() };
        Self { subdirs, ends, table, interner, names, ..Self::default() }
    }

    /// Loads every version and build of the packages that the environment asks for, and what these newly lead to. An
    /// explanation needs them. Only the missing records are read; the channels are not asked for their repodata again.
    ///
    /// # Errors
    /// If records cannot be read, as in [`load`]. The repodata is unchanged then.
    pub async fn add_any_version(&mut self, client: &Client, environment: &Environment) -> Result<(), RepodataError> {
        let (archives, lists) = self.subdirs.split_at(usize::from(self.has_archives));
        let of_any_version = |spec: MatchSpec| match spec.url {
            Some(_) => spec,
            None => MatchSpec { name: spec.name, ..MatchSpec::default() },
        };
        let specs = environment.specs().into_iter().map(of_any_version);
        let specs: Vec<MatchSpec> =
            specs.chain(archives.iter().flatten().flat_map(|archive| reachable::dependency_specs(archive))).collect();
        let loaded = lists.iter().flat_map(|records| records.chunk_by(|one, other| is_same_run(one, other)));
        let whole = loaded.map(|run| name(&run[0])).filter(|name| !self.partial.contains(*name)).map(str::to_owned);
        let whole: HashSet<String> = whole.collect();
        let reachable::ReachableRecords { found, interner } =
            reachable::reachable_records(client, &self.names.subdirs, specs, whole).await?;
        let ids = self.interner.merge(interner, |_| ());
        let first = archives.len();
        for (place, more) in found.into_iter().enumerate().map(|(place, more)| (first + place, more)) {
            let more = reachable::SubdirRecords { table: more.table.renumbered(&ids), ..more };
            let known = reachable::SubdirRecords {
                records: std::mem::take(&mut self.subdirs[place]),
                ends: std::mem::take(&mut self.ends[place]),
                table: std::mem::take(&mut self.table[place]),
                ..reachable::SubdirRecords::default()
            };
            let reachable::SubdirRecords { records, ends, table, .. } = known.merged_with(&more);
            (self.subdirs[place], self.ends[place], self.table[place]) = (records, ends, table);
        }
        self.partial.clear();
        Ok(())
    }

    /// Adds the installed records that no channel has as the last list. Records without a sha256 cannot be pinned and
    /// are left out.
    fn add_installed(&mut self, installed: &[RepoDataRecord]) {
        let hashes: HashSet<_> = self.records().filter_map(|record| record.package_record.sha256).collect();
        let is_new =
            |record: &&RepoDataRecord| record.package_record.sha256.is_some_and(|hash| !hashes.contains(&hash));
        let of_channel = |record: &RepoDataRecord| {
            let channel = record.url.as_str().rsplitn(3, '/').nth(2).map(|channel| format!("{channel}/"));
            Arc::new(RepoDataRecord { channel, ..record.clone() })
        };
        let records = sorted_by_name(installed.iter().filter(is_new).map(of_channel).collect());
        if records.is_empty() {
            return;
        }
        self.names.own.extend(records.iter().map(|record| name(record).to_owned()));
        self.ends.push(run_ends(&records));
        self.table.push(self.interner.intern_records(records.iter().map(AsRef::as_ref)));
        self.subdirs.push(records);
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.subdirs.iter().map(Vec::len).sum()
    }

    /// Whether a channel has a package of this name, even if none of its records was loaded.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The names of all packages of the channels, even of those without a loaded record.
    pub fn package_names(&self) -> BTreeSet<&str> {
        self.names.to_set()
    }

    /// Iterates over the records by channel, in runs of the same name and channel. Yields the index of the list, the
    /// records of the run, and their rows of the dependency table.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &[Arc<RepoDataRecord>], DependencyRows<'_>)> {
        self.subdirs.iter().zip(&self.ends).zip(&self.table).enumerate().flat_map(
            |(place, ((records, ends), table))| {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                starts.zip(ends).map(move |(start, end)| (place, &records[start..*end], table.slice(start, *end)))
            },
        )
    }

    /// Iterates over the records, channel by channel.
    pub fn records(&self) -> impl Iterator<Item = &RepoDataRecord> {
        self.subdirs.iter().flatten().map(AsRef::as_ref)
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The names of packages. The tens of thousands of names of whole channels are not copied: they are seldom needed.
#[derive(Debug, Default)]
pub struct PackageNames {
    own: BTreeSet<String>,
    subdirs: Arc<Vec<LoadedSubdir>>,
}

impl PackageNames {
    /// Whether a channel has a package of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.own.contains(name) || self.subdirs.iter().any(|subdir| subdir.has(name))
    }

    /// All names, sorted.
    pub fn to_set(&self) -> BTreeSet<&str> {
        self.own.iter().map(String::as_str).chain(self.subdirs.iter().flat_map(LoadedSubdir::names)).collect()
    }
}

/// Why repodata could not be loaded. Subdirs are shown as URLs without secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepodataError {
    /// The environment names no channel.
    #[error("`{0}` names no channel to take packages from")]
    NoChannels(PathBuf),
    /// The channel has neither of the subdirs.
    #[error("there is no channel at `{channel}`: it has neither `{platform}` nor `noarch`")]
    NoSuchChannel {
        /// The channel's URL.
        channel: String,
        /// The platform.
        platform: Subdir,
        /// Well-known channels with similar names, the most similar first.
        near: Vec<&'static str>,
    },
    /// No channel has packages for the platform.
    #[error("no channel has packages for `{platform}`: `{channel}` has them for {} only", others.iter().join(", "))]
    NoPlatform {
        /// The first channel that has packages for other platforms.
        channel: String,
        /// The platform.
        platform: Subdir,
        /// The platforms that it has packages for.
        others: Vec<Subdir>,
    },
    /// The server asks for a login, or refuses the request.
    #[error("`{subdir}` answers {status}: the channel asks for a login, or refuses the one it was given")]
    Denied {
        /// The subdir.
        subdir: String,
        /// The HTTP status: 401 or 403.
        status: u16,
    },
    /// The server gave no answer, or no usable one.
    #[error("cannot load repodata from `{subdir}`: {reason}")]
    Unreachable {
        /// The subdir.
        subdir: String,
        /// The reason, as text.
        reason: String,
        /// The reason, as a value.
        cause: Cause,
    },
    /// The answer is not repodata.
    #[error("what `{subdir}` has is not repodata: {reason}")]
    Broken {
        /// The subdir.
        subdir: String,
        /// The reason.
        reason: String,
    },
    /// The subdir is not cached, and the network may not be used.
    #[error("`{subdir}` is not cached, and network access is disabled")]
    NotCached {
        /// The subdir.
        subdir: String,
    },
    /// The records of a package are not cached, and the network may not be used.
    #[error("no records of `{package}` are cached, and network access is disabled")]
    PackageNotCached {
        /// The package's name.
        package: String,
    },
    /// A package that is named by its URL cannot be used.
    #[error("cannot take the package `{url}`: {reason}")]
    Package {
        /// The URL, without secrets.
        url: String,
        /// The reason.
        reason: String,
        /// Why the download failed, if it did.
        cause: Option<Cause>,
    },
    /// The cache directory cannot be used.
    #[error("cannot use the cache directory `{directory}`")]
    Cache {
        /// The directory.
        directory: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
}

/// Loads the records that an environment can reach, for one host. The environment must be reduced to the host's
/// platform (see [`Environment::for_platform`]).
///
/// # Errors
/// If a channel cannot be reached, or its answer is not repodata.
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

/// The names of which these specs do not load every record.
fn partial(specs: &[MatchSpec]) -> BTreeSet<String> {
    let of = |spec: &MatchSpec| spec.name.as_exact().map(|name| name.as_normalized().to_owned());
    let whole = specs.iter().filter(|spec| **spec == MatchSpec { name: spec.name.clone(), ..MatchSpec::default() });
    let whole: BTreeSet<String> = whole.filter_map(of).collect();
    specs.iter().filter_map(of).filter(|name| !whole.contains(name)).collect()
}

/// The warning about records that cannot be read.
fn skipped_warning(subdir: &str, count: usize, file: &str, reason: &str) -> String {
    match count {
        1 => format!("a record of `{subdir}` cannot be read and is left out: `{file}` ({reason})"),
        _ => format!("{count} records of `{subdir}` cannot be read and are left out, the first: `{file}` ({reason})"),
    }
}

fn subdirs_of(host: &Host) -> Vec<Subdir> {
    if host.platform == Subdir::NoArch { vec![Subdir::NoArch] } else { vec![host.platform, Subdir::NoArch] }
}

/// Decides what to load for a spec: the records that match it. If several channels have the package, all of its
/// records are loaded, because channel priority depends on the records that do not match, too.
fn spec_to_load(spec: &MatchSpec, channels: &[Vec<Option<LoadedSubdir>>]) -> MatchSpec {
    let Some(name) = spec.name.as_exact() else { return spec.clone() };
    let has =
        |channel: &&Vec<Option<LoadedSubdir>>| channel.iter().flatten().any(|subdir| subdir.has(name.as_normalized()));
    if channels.iter().filter(has).count() > 1 { MatchSpec::from(name.clone()) } else { spec.clone() }
}

/// What is needed to load a subdir.
struct Loader<'a> {
    client: &'a Client,
    host: &'a Host,
    options: &'a RepodataOptions,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    /// Loads the subdirs of a channel. One of them may be missing: a channel need not serve every platform, and some
    /// hand-made channels have no `noarch`.
    async fn load_channel(&self, channel: &Channel) -> Result<Vec<Option<LoadedSubdir>>, RepodataError> {
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
    async fn load_archives(
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
    async fn load_subdir(&self, channel: &Channel, platform: Subdir) -> Result<Option<LoadedSubdir>, RepodataError> {
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
            let cache = RepodataCache::new(directory, &url, self.client.login_key(&url));
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
fn near_channels(channel: &Channel) -> Vec<&'static str> {
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

/// The end of each run of records with the same name and channel.
fn run_ends(records: &[Arc<RepoDataRecord>]) -> Vec<usize> {
    let runs = records.chunk_by(|one, other| is_same_run(one, other));
    let add = |end: &mut usize, run: &[Arc<RepoDataRecord>]| {
        *end += run.len();
        Some(*end)
    };
    runs.scan(0, add).collect()
}

/// Whether two records have the same name and channel.
pub fn is_same_run(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    name(one) == name(other) && one.channel == other.channel
}

/// Drops the `.tar.bz2` records of builds that also exist as `.conda`.
fn prefer_conda(records: Vec<RepoDataRecord>) -> impl Iterator<Item = RepoDataRecord> {
    let build = |record: &RepoDataRecord| (record.channel.clone(), record.identifier.identifier.clone());
    let is_conda =
        |record: &&RepoDataRecord| record.identifier.archive_type == DistArchiveType::Conda(CondaArchiveType::Conda);
    let condas: HashSet<_> = records.iter().filter(is_conda).map(build).collect();
    records.into_iter().filter(move |record| is_conda(&record) || !condas.contains(&build(record)))
}

fn sorted_by_name(mut records: Vec<Arc<RepoDataRecord>>) -> Vec<Arc<RepoDataRecord>> {
    mlconda_types::sorting::sort_by(&mut records, |left, right| {
        (name(left), left.url.as_str()).cmp(&(name(right), right.url.as_str()))
    });
    records
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
