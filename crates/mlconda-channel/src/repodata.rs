//! All that the solver may choose from. The one module that knows that channels answer over a network.
//!
//! Each subdir of each channel is loaded on its own first (`fetch`): as the index of its shards (CEP-16), or as a
//! `repodata.json` in whatever packing. A `repodata.json` is read once, when it arrives (`scan`), and a table of where
//! each package's records stand is kept beside it (`index`). What is needed is read from there: names, records, the
//! names that these depend on, and so on (`walk`, `records`). So the time and memory of a lock do not grow with the
//! channel but with what the environment can reach.
//!
//! Records come in an order of their own, whichever answer came first: a solve must not depend on it.

mod archive;
mod asked;
mod cache;
mod elsewhere;
mod fetch;
mod index;
mod records;
mod scan;
mod shards;
mod single;
#[cfg(test)]
mod tests;
mod walk;

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
pub use archive::index_of;
pub use asked::{Asked, Edition, Entry, Rows, Texts};
pub use single::{Pinned, records_of};

use cache::{ShardStore, Store};
use fetch::{Data, Fetcher};
use records::Origin;
use shards::Shards;
use walk::Source;

/// Where repodata is kept between runs, and whether the network may be asked.
#[derive(Clone, Debug)]
pub struct RepodataOptions {
    /// The directory for cached repodata; made if missing.
    pub cache_directory: PathBuf,
    /// Whether to ask the network.
    pub access: Access,
    /// The time by which the age of what is cached is told.
    pub now: SystemTime,
}

/// Whether the network may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Ask, unless the channel has said that what is cached is good for a while yet (`max-age`, an hour at most).
    #[default]
    Online,
    /// Ask whether what is cached is still what the channel has (`--refresh`).
    Refresh,
    /// Use what is cached, whatever its age (`--offline`); `file://` channels are read as always.
    Offline,
}

/// Records of all channels for one platform and `noarch`, in the order of priority.
#[derive(Debug, Default)]
pub struct Repodata {
    /// One list for each subdir of each channel, sorted by file name.
    pub subdirs: Vec<Vec<Arc<RepoDataRecord>>>,
    /// Whether the first list is no channel's: it has packages that are named by their URL, whatever their channel.
    pub has_archives: bool,
    /// By list, where each run of records ends that have one name and one channel.
    ends: Vec<Vec<usize>>,
    /// By list, what the records ask for.
    asked: Vec<Asked>,
    /// What records ask for, each text once.
    pub texts: Texts,
    /// The names of all packages, of those too that no record was loaded of.
    pub names: Names,
    /// The names of which only the records were loaded that the environment's own specs allow.
    pub partial: BTreeSet<String>,
}

impl Repodata {
    /// Repodata from records at hand: one list for each subdir of each channel, in the order of priority. Of a build that
    /// is there as `.conda` and as `.tar.bz2`, the first counts, as in a channel.
    pub fn new(subdirs: impl IntoIterator<Item = Vec<RepoDataRecord>>) -> Self {
        let subdirs: Vec<_> =
            subdirs.into_iter().map(|records| sorted(preferred(records).map(Arc::new).collect())).collect();
        let own = subdirs.iter().flatten().map(|record| name(record).to_owned()).collect();
        let ends = subdirs.iter().map(|records| ends(records)).collect();
        let mut texts = Texts::default();
        let asked = subdirs.iter().map(|records| texts.asked(records.iter().map(AsRef::as_ref))).collect();
        let names = Names { own, sources: Arc::default() };
        Self { subdirs, ends, asked, texts, names, ..Self::default() }
    }

    /// Adds any version and build of the packages that the environment asks for, which it was loaded for: what an
    /// explanation is to know of. The channels are those that were loaded; nothing of them is asked for or read again but
    /// the records of packages of which only some were loaded, and of those that these newly lead to.
    ///
    /// # Errors
    /// If records cannot be had, as [`load`]; it is as it was then.
    pub async fn add_any_version(&mut self, client: &Client, environment: &Environment) -> Result<(), RepodataError> {
        let (archives, lists) = self.subdirs.split_at(usize::from(self.has_archives));
        let of_any_version = |spec: MatchSpec| match spec.url {
            Some(_) => spec,
            None => MatchSpec { name: spec.name, ..MatchSpec::default() },
        };
        let specs = environment.specs().into_iter().map(of_any_version);
        let specs: Vec<MatchSpec> =
            specs.chain(archives.iter().flatten().flat_map(|archive| walk::dependencies(archive))).collect();
        let loaded = lists.iter().flat_map(|records| records.chunk_by(|one, other| is_of_a_run(one, other)));
        let whole = loaded.map(|run| name(&run[0])).filter(|name| !self.partial.contains(*name)).map(str::to_owned);
        let whole: HashSet<String> = whole.collect();
        let walk::Walked { found, texts } = walk::walk(client, &self.names.sources, specs, whole).await?;
        let ids = self.texts.merge(texts, |_| ());
        let first = archives.len();
        for (place, more) in found.into_iter().enumerate().map(|(place, more)| (first + place, more)) {
            let more = walk::Found { asked: more.asked.renumbered(&ids), ..more };
            let known = walk::Found {
                records: std::mem::take(&mut self.subdirs[place]),
                ends: std::mem::take(&mut self.ends[place]),
                asked: std::mem::take(&mut self.asked[place]),
                ..walk::Found::default()
            };
            let walk::Found { records, ends, asked, .. } = known.with(&more);
            (self.subdirs[place], self.ends[place], self.asked[place]) = (records, ends, asked);
        }
        self.partial.clear();
        Ok(())
    }

    /// Adds a last list: what is installed and in no channel. What has no sha256 cannot be pinned, and is left out.
    fn add_installed(&mut self, installed: &[RepoDataRecord]) {
        let hashes: HashSet<_> = self.records().filter_map(|record| record.package_record.sha256).collect();
        let is_new =
            |record: &&RepoDataRecord| record.package_record.sha256.is_some_and(|hash| !hashes.contains(&hash));
        let of_channel = |record: &RepoDataRecord| {
            let channel = record.url.as_str().rsplitn(3, '/').nth(2).map(|channel| format!("{channel}/"));
            Arc::new(RepoDataRecord { channel, ..record.clone() })
        };
        let records = sorted(installed.iter().filter(is_new).map(of_channel).collect());
        if records.is_empty() {
            return;
        }
        self.names.own.extend(records.iter().map(|record| name(record).to_owned()));
        self.ends.push(ends(&records));
        self.asked.push(self.texts.asked(records.iter().map(AsRef::as_ref)));
        self.subdirs.push(records);
    }

    /// How many records there are to choose from.
    pub fn len(&self) -> usize {
        self.subdirs.iter().map(Vec::len).sum()
    }

    /// Whether a channel has a package of this name, also one that no record was loaded of.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The names of all packages of the channels, those too that no record was loaded of.
    pub fn package_names(&self) -> BTreeSet<&str> {
        self.names.all()
    }

    /// The records, channel by channel, in runs of one name and one channel: the place of its list, the run, and its table.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &[Arc<RepoDataRecord>], Rows<'_>)> {
        self.subdirs.iter().zip(&self.ends).zip(&self.asked).enumerate().flat_map(
            |(place, ((records, ends), asked))| {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                starts.zip(ends).map(move |(start, end)| (place, &records[start..*end], asked.rows(start, *end)))
            },
        )
    }

    /// The records, channel by channel.
    pub fn records(&self) -> impl Iterator<Item = &RepoDataRecord> {
        self.subdirs.iter().flatten().map(AsRef::as_ref)
    }

    /// Whether there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The names of packages. Those of whole channels, tens of thousands, stay where they are, for they are rarely looked at.
#[derive(Debug, Default)]
pub struct Names {
    own: BTreeSet<String>,
    sources: Arc<Vec<Source>>,
}

impl Names {
    /// Whether a channel has a package of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.own.contains(name) || self.sources.iter().any(|source| source.has(name))
    }

    /// All of them, sorted.
    pub fn all(&self) -> BTreeSet<&str> {
        self.own.iter().map(String::as_str).chain(self.sources.iter().flat_map(Source::names)).collect()
    }
}

/// Repodata that could not be loaded. Subdirs are URLs without secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepodataError {
    /// The environment names no channel.
    #[error("`{0}` names no channel to take packages from")]
    NoChannels(PathBuf),
    /// Neither of a channel's subdirs is there.
    #[error("there is no channel at `{channel}`: it has neither `{platform}` nor `noarch`")]
    NoSuchChannel {
        /// The channel's URL.
        channel: String,
        /// The platform.
        platform: Subdir,
        /// Well-known channels whose names are like it, the nearest first.
        near: Vec<&'static str>,
    },
    /// No channel has packages for the platform.
    #[error("no channel has packages for `{platform}`: `{channel}` has them for {} only", others.iter().join(", "))]
    NoPlatform {
        /// The first channel that has packages for others.
        channel: String,
        /// The platform.
        platform: Subdir,
        /// For which it has them.
        others: Vec<Subdir>,
    },
    /// The server wants to know who asks, or does not let us.
    #[error("`{subdir}` answers {status}: the channel asks for a login, or refuses the one it was given")]
    Denied {
        /// The subdir.
        subdir: String,
        /// 401 or 403.
        status: u16,
    },
    /// There was no answer, or none of use.
    #[error("cannot load repodata from `{subdir}`: {reason}")]
    Unreachable {
        /// The subdir.
        subdir: String,
        /// Why.
        reason: String,
        /// The same as a value.
        cause: Cause,
    },
    /// What was answered is no repodata.
    #[error("what `{subdir}` has is not repodata: {reason}")]
    Broken {
        /// The subdir.
        subdir: String,
        /// Why.
        reason: String,
    },
    /// Nothing is cached, and the network may not be asked.
    #[error("nothing is cached of `{subdir}`, and the network may not be asked")]
    NotCached {
        /// The subdir.
        subdir: String,
    },
    /// Part of what is needed is not cached, and the network may not be asked.
    #[error("no records of `{package}` are cached, and the network may not be asked")]
    PackageNotCached {
        /// The package's name.
        package: String,
    },
    /// A package that is named by its URL cannot be used.
    #[error("cannot take the package `{url}`: {reason}")]
    Package {
        /// The URL, without secrets.
        url: String,
        /// Why.
        reason: String,
        /// Why it could not be fetched, if that is so.
        cause: Option<Cause>,
    },
    /// The cache directory could not be used.
    #[error("cannot use the cache directory `{directory}`")]
    Cache {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Loads what an environment can reach, for one host. The environment is that of the host's platform (see
/// [`Environment::for_platform`]).
///
/// # Errors
/// If a channel cannot be reached, or answers with something that is not repodata.
pub async fn load(
    client: &Client,
    environment: &Environment,
    host: &Host,
    options: &RepodataOptions,
    progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    load_with(client, environment, host, options, &[], progress).await
}

/// As [`load`], with records of what is installed: where no channel has one of them, it counts all the same, as the last of
/// its name.
///
/// # Errors
/// As [`load`].
pub async fn load_with(
    client: &Client,
    environment: &Environment,
    host: &Host,
    options: &RepodataOptions,
    installed: &[RepoDataRecord],
    progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    client.telling(progress, load_silently(client, environment, host, options, installed, progress)).await
}

async fn load_silently(
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
    let loaded: Vec<Vec<Option<Source>>> = try_join_all(channels.iter().map(|channel| loader.channel(channel))).await?;
    loader.check_platform(environment, &channels, &loaded).await?;
    let specs = environment.requirements.iter().map(|requirement| to_load(&requirement.spec, &loaded));
    let mut specs: Vec<MatchSpec> = specs.collect();
    let urls =
        channels.iter().flat_map(|channel| platforms(host).into_iter().map(|subdir| subdir_url(channel, subdir)));
    let (urls, sources): (Vec<String>, Vec<Source>) =
        urls.zip(loaded.into_iter().flatten()).filter_map(|(url, source)| Some((url, source?))).unzip();
    // Told here, so that it comes in the channels' order.
    sources.iter().filter_map(|source| source.note.clone()).for_each(|note| progress.event(note));
    let mut names = Names { own: BTreeSet::new(), sources: Arc::new(sources) };
    let partial = partial(&specs);
    let archives = loader.archives(environment, &names.sources).await?;
    for archive in &archives {
        names.own.insert(name(archive).to_owned());
        specs.extend(walk::dependencies(archive));
    }
    specs.extend(installed.iter().flat_map(walk::dependencies));
    let walk::Walked { found, texts } = walk::walk(client, &names.sources, specs, HashSet::new()).await?;
    for (subdir, found) in urls.into_iter().zip(&found) {
        if let Some((file, reason)) = &found.left_out.first {
            progress.event(Event::Warning(left_out(&subdir, found.left_out.count, file, reason)));
        }
        progress.event(Event::RepodataFinished { subdir, records: found.records.len() });
    }
    let mut repodata = Repodata { partial, ..gathered(names, archives, found, texts) };
    repodata.add_installed(installed);
    Ok(repodata)
}

/// Repodata from what was found, and from packages that are named by their URLs.
fn gathered(names: Names, archives: Vec<Arc<RepoDataRecord>>, found: Vec<walk::Found>, mut texts: Texts) -> Repodata {
    // First, for no channel may hide them.
    let archives = Some(archives).filter(|archives| !archives.is_empty());
    let archives = archives.map(|archives| walk::Found {
        ends: ends(&archives),
        asked: texts.asked(archives.iter().map(AsRef::as_ref)),
        records: archives,
        ..walk::Found::default()
    });
    let mut repodata = Repodata { has_archives: archives.is_some(), names, texts, ..Repodata::default() };
    for found in archives.into_iter().chain(found) {
        repodata.subdirs.push(found.records);
        repodata.ends.push(found.ends);
        repodata.asked.push(found.asked);
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

/// The word on records that cannot be read.
fn left_out(subdir: &str, count: usize, file: &str, reason: &str) -> String {
    match count {
        1 => format!("a record of `{subdir}` cannot be read and is left out: `{file}` ({reason})"),
        _ => format!("{count} records of `{subdir}` cannot be read and are left out, the first: `{file}` ({reason})"),
    }
}

fn platforms(host: &Host) -> Vec<Subdir> {
    if host.platform == Subdir::NoArch { vec![Subdir::NoArch] } else { vec![host.platform, Subdir::NoArch] }
}

/// What to load for a spec: the records that match it; but where several channels have the package, all of its records,
/// since it depends on those that do not match, too, which channel it comes from.
fn to_load(spec: &MatchSpec, channels: &[Vec<Option<Source>>]) -> MatchSpec {
    let Some(name) = spec.name.as_exact() else { return spec.clone() };
    let has = |channel: &&Vec<Option<Source>>| channel.iter().flatten().any(|source| source.has(name.as_normalized()));
    if channels.iter().filter(has).count() > 1 { MatchSpec::from(name.clone()) } else { spec.clone() }
}

/// What loading a subdir needs to know.
struct Loader<'a> {
    client: &'a Client,
    host: &'a Host,
    options: &'a RepodataOptions,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    /// Loads the subdirs of a channel. One of them may be missing: a channel need not serve every platform, and some
    /// that people made by hand have no `noarch`.
    async fn channel(&self, channel: &Channel) -> Result<Vec<Option<Source>>, RepodataError> {
        let platforms = platforms(self.host);
        let loaded = join_all(platforms.iter().map(|platform| self.subdir(channel, *platform))).await;
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

    /// The records of packages that are named by the URL of an archive: from the channel that lists it, else from the
    /// archive.
    async fn archives(
        &self,
        environment: &Environment,
        sources: &[Source],
    ) -> Result<Vec<Arc<RepoDataRecord>>, RepodataError> {
        let mut archives: Vec<Arc<RepoDataRecord>> = Vec::new();
        for spec in environment.requirements.iter().map(|requirement| &requirement.spec) {
            let Some(url) = spec.url.as_ref().filter(|url| archives.iter().all(|known| known.url != **url)) else {
                continue;
            };
            let mut listed = None;
            for source in sources.iter().filter(|source| source.origin.holds(url)) {
                listed = listed.or(source.listed(self.client, spec).await?);
            }
            archives.push(match listed {
                Some(record) => record,
                None => Arc::new(archive::record(self.client, spec, url, self.host, self.options).await?),
            });
        }
        Ok(archives)
    }

    /// Loads a subdir; `None` where there is none.
    async fn subdir(&self, channel: &Channel, platform: Subdir) -> Result<Option<Source>, RepodataError> {
        let shown = subdir_url(channel, platform);
        self.progress.event(Event::RepodataStarted { subdir: shown.clone() });
        let url = channel.platform_url(platform);
        let directory = &self.options.cache_directory;
        let mut note = None;
        let data = if let Some(path) = mlconda_system::files::of_url(&url) {
            let (directory, shown, unpacked) = (directory.clone(), shown.clone(), self.client.limits().unpacked);
            let read = tokio::task::spawn_blocking(move || fetch::local(&path, &directory, &shown, unpacked));
            walk::joined(read.await)?
        } else {
            let store = Store::new(directory, &url, self.client.login(&url));
            let RepodataOptions { access, now, .. } = *self.options;
            let fetcher = Fetcher { client: self.client, store, url: &url, access, now };
            let (state, data) = fetcher.load().await?;
            if access == Access::Offline {
                note = Some(Event::RepodataFromCache { subdir: shown, age: state.age(now) });
            }
            data
        };
        Ok(self.source(channel, platform, data)?.map(|source| Source { note, ..source }))
    }

    fn source(&self, channel: &Channel, platform: Subdir, data: Data) -> Result<Option<Source>, RepodataError> {
        let (base_url, shards) = match &data {
            Data::Missing => return Ok(None),
            Data::Json { index, .. } => (index.base_url.as_deref(), None),
            Data::Shards(index) => {
                let store = ShardStore::new(&self.options.cache_directory);
                (Some(index.info.base_url.as_str()), Some(Shards::new(index, channel, platform, store)?))
            }
        };
        let may_ask = self.options.access != Access::Offline;
        let origin = Origin::new(channel, platform, base_url)?;
        Ok(Some(Source { origin, data, shards, may_ask, note: None }))
    }
}

/// Well-known channels whose names are like that of a channel which is not there.
fn near_channels(channel: &Channel) -> Vec<&'static str> {
    let url = channel.base_url.url();
    let name = url.path().trim_matches('/').to_ascii_lowercase();
    let mut near: Vec<_> = WELL_KNOWN_CHANNELS
        .into_iter()
        .map(|known| (strsim::osa_distance(known, &name), known))
        .filter(|(distance, known)| *distance > 0 && *distance <= known.len() / 3)
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, known)| known).collect()
}

fn subdir_url(channel: &Channel, platform: Subdir) -> String {
    network::redact(&channel.platform_url(platform))
}

/// Where each run of records ends that have one name and one channel.
fn ends(records: &[Arc<RepoDataRecord>]) -> Vec<usize> {
    let runs = records.chunk_by(|one, other| is_of_a_run(one, other));
    let add = |end: &mut usize, run: &[Arc<RepoDataRecord>]| {
        *end += run.len();
        Some(*end)
    };
    runs.scan(0, add).collect()
}

/// Whether records have one name and one channel.
pub fn is_of_a_run(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    name(one) == name(other) && one.channel == other.channel
}

/// Without those that are there as `.conda`, too.
fn preferred(records: Vec<RepoDataRecord>) -> impl Iterator<Item = RepoDataRecord> {
    let build = |record: &RepoDataRecord| (record.channel.clone(), record.identifier.identifier.clone());
    let is_conda =
        |record: &&RepoDataRecord| record.identifier.archive_type == DistArchiveType::Conda(CondaArchiveType::Conda);
    let condas: HashSet<_> = records.iter().filter(is_conda).map(build).collect();
    records.into_iter().filter(move |record| is_conda(&record) || !condas.contains(&build(record)))
}

fn sorted(mut records: Vec<Arc<RepoDataRecord>>) -> Vec<Arc<RepoDataRecord>> {
    mlconda_types::sorting::sort_by(&mut records, |left, right| {
        (name(left), left.url.as_str()).cmp(&(name(right), right.url.as_str()))
    });
    records
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
