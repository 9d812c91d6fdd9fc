//! All that the solver may choose from. The one module that knows that channels answer over a network.
//!
//! Each subdir of each channel is loaded on its own first: so a failure names its channel and subdir, a
//! platform that a channel does not serve is told from a channel that does not exist, and the names of all
//! packages are at hand for "did you mean". Then one recursive query follows the dependencies of what was
//! asked for. The gateway finds out by itself whether a channel has sharded repodata (CEP-16), `.zst`,
//! `.bz2` or plain JSON, and keeps what it got with its ETag.
//!
//! The gateway collects records in the order in which they arrive. They are sorted here, since a solve
//! must not depend on which answer came first.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use futures::future::{join_all, try_join_all};
use rattler_conda_types::{Channel, MatchSpec, PackageName, RepoDataRecord, Subdir};
use rattler_repodata_gateway::{
    CacheClearMode, ChannelConfig, ChannelRelationsMode, Gateway, GatewayError, SourceConfig, SubdirSelection,
    fetch::{CacheAction, FetchRepoDataError},
};

use crate::{
    environment::Environment,
    host::Host,
    network::{self, Client},
    progress::{Event, Progress},
};

/// How many requests are under way at once. A server takes more over one HTTP/2 connection, and sharded
/// repodata is many small files.
const REQUESTS: usize = 50;

/// How often an answer may break off.
const BODY_ATTEMPTS: usize = 3;

/// Where repodata is kept between runs, and whether the network may be asked.
#[derive(Clone, Debug)]
pub struct RepodataOptions {
    /// The directory for cached repodata; made if missing.
    pub cache_directory: PathBuf,
    /// Whether to ask the network.
    pub access: Access,
}

/// Whether the network may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Ask, unless the cache is fresh.
    #[default]
    Online,
    /// Use what is cached, whatever its age (`--offline`); `file://` channels are read as always.
    Offline,
}

/// Records of all channels for one platform and `noarch`, in the order of priority.
#[derive(Debug, Default)]
pub struct Repodata {
    /// One list for each subdir of each channel, sorted by file name.
    pub(crate) subdirs: Vec<Vec<Arc<RepoDataRecord>>>,
    /// The names of all packages, of those too that no record was loaded of.
    pub(crate) names: BTreeSet<String>,
}

impl Repodata {
    /// Repodata from records at hand: one list for each subdir of each channel, in the order of priority.
    pub fn new(subdirs: impl IntoIterator<Item = Vec<RepoDataRecord>>) -> Self {
        let subdirs: Vec<_> =
            subdirs.into_iter().map(|records| sorted(records.into_iter().map(Arc::new).collect())).collect();
        let names = subdirs.iter().flatten().map(|record| name(record).to_owned()).collect();
        Self { subdirs, names }
    }

    /// How many records there are to choose from.
    pub fn len(&self) -> usize {
        self.subdirs.iter().map(Vec::len).sum()
    }

    /// Whether a channel has a package of this name, also one that no record was loaded of.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    },
    /// A channel has no `noarch`, which it must have, even if empty.
    #[error("the channel `{channel}` has no `noarch`, so it is not a complete channel")]
    NoNoarch {
        /// The channel's URL.
        channel: String,
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
    /// The cache directory could not be used.
    #[error("cannot use the cache directory `{directory}`")]
    Cache {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Loading records failed after the subdirs answered.
    #[error("cannot load repodata: {0}")]
    Records(String),
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
    let channels = environment.all_channels();
    if channels.is_empty() {
        return Err(RepodataError::NoChannels(environment.file.clone()));
    }
    let platforms = platforms(host);
    let gateway = gateway(client, &channels, options)?;
    let loader = Loader { gateway: &gateway, host, options, progress };
    let names = try_join_all(channels.iter().map(|channel| loader.channel(channel))).await?;
    let specs = environment.requirements.iter().map(|requirement| to_load(&requirement.spec, &names)).chain(pip());
    let query = gateway
        .query(channels.iter().cloned(), platforms.iter().copied(), specs)
        .recursive(true)
        .channel_relations(ChannelRelationsMode::Disabled);
    let answer = persistently(|| query.clone().execute()).await.map_err(|error| records_error(&error))?;
    let subdirs: Vec<_> = answer.repodata.iter().map(|subdir| sorted(subdir.iter_arc().cloned().collect())).collect();
    let urls = channels.iter().flat_map(|channel| platforms.iter().map(|platform| subdir_url(channel, *platform)));
    for (subdir, records) in urls.zip(&subdirs) {
        progress.event(Event::RepodataFinished { subdir, records: records.len() });
    }
    Ok(Repodata { subdirs, names: names.into_iter().flatten().map(|name| name.as_normalized().to_owned()).collect() })
}

fn platforms(host: &Host) -> Vec<Subdir> {
    if host.platform == Subdir::NoArch { vec![Subdir::NoArch] } else { vec![host.platform, Subdir::NoArch] }
}

/// What to load for a spec: the records that match it; but where several channels have the package, all of its records,
/// since it depends on those that do not match, too, which channel it comes from.
fn to_load(spec: &MatchSpec, names: &[Vec<PackageName>]) -> MatchSpec {
    match spec.name.as_exact() {
        Some(name) if names.iter().filter(|of_channel| of_channel.contains(name)).count() > 1 => {
            MatchSpec::from(name.clone())
        }
        _ => spec.clone(),
    }
}

/// Records of pip are needed besides: the solver gives it to every python, as conda does.
fn pip() -> Option<MatchSpec> {
    "pip".parse::<PackageName>().ok().map(MatchSpec::from)
}

fn gateway(client: &Client, channels: &[Channel], options: &RepodataOptions) -> Result<Gateway, RepodataError> {
    let directory = &options.cache_directory;
    // Channels on disk are read where they are.
    if channels.iter().any(|channel| channel.base_url.url().scheme() != "file") {
        fs_err::create_dir_all(directory)
            .map_err(|source| RepodataError::Cache { directory: directory.clone(), source })?;
    }
    let cache_action = match options.access {
        Access::Online => CacheAction::CacheOrFetch,
        Access::Offline => CacheAction::ForceCacheOnly,
    };
    let source = SourceConfig { cache_action, ..SourceConfig::default() };
    Ok(Gateway::builder()
        .with_client(client.http.clone())
        .with_cache_dir(directory)
        .with_channel_config(ChannelConfig { default: source, ..ChannelConfig::default() })
        .with_max_concurrent_requests(REQUESTS)
        .with_max_concurrent_io(REQUESTS)
        .finish())
}

/// What loading a subdir needs to know.
struct Loader<'a> {
    gateway: &'a Gateway,
    host: &'a Host,
    options: &'a RepodataOptions,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    /// Loads what a channel has; the gateway keeps it for the query that follows. Gives the names of its
    /// packages.
    async fn channel(&self, channel: &Channel) -> Result<Vec<PackageName>, RepodataError> {
        let platforms = platforms(self.host);
        let loaded = join_all(platforms.iter().map(|platform| self.subdir(channel, *platform))).await;
        let mut names = Vec::new();
        let mut has_noarch = true;
        for subdir in loaded {
            match subdir? {
                Some(found) => names.extend(found),
                None => has_noarch = false,
            }
        }
        let channel_url = network::redact(channel.base_url.url());
        match (has_noarch, names.is_empty()) {
            (true, _) => Ok(names),
            (false, true) => Err(RepodataError::NoSuchChannel { channel: channel_url, platform: self.host.platform }),
            (false, false) => Err(RepodataError::NoNoarch { channel: channel_url }),
        }
    }

    /// Loads a subdir: the names of its packages, none where the channel does not serve the platform, and
    /// `None` where there is no `noarch`.
    async fn subdir(&self, channel: &Channel, platform: Subdir) -> Result<Option<Vec<PackageName>>, RepodataError> {
        self.progress.event(Event::RepodataStarted { subdir: subdir_url(channel, platform) });
        let query = self.gateway.names([channel.clone()], [platform]).channel_relations(ChannelRelationsMode::Disabled);
        match persistently(|| query.clone().execute()).await {
            Ok(answer) => Ok(Some(answer.names)),
            Err(GatewayError::SubdirNotFoundError(_)) => Ok(None),
            Err(error) => Err(self.explain(channel, platform, &error)),
        }
    }

    /// Says what went wrong with a subdir.
    fn explain(&self, channel: &Channel, platform: Subdir, error: &GatewayError) -> RepodataError {
        let subdir = subdir_url(channel, platform);
        let reason = network::reason(error);
        if let Some(status @ (401 | 403)) = status(error) {
            return RepodataError::Denied { subdir, status };
        }
        match error {
            GatewayError::ShardedIndexNotCached(_)
            | GatewayError::FetchRepoDataError(FetchRepoDataError::NoCacheAvailable(_)) => {
                RepodataError::NotCached { subdir }
            }
            // This is what the gateway answers for what it has got and cannot read.
            GatewayError::IoError(..) | GatewayError::InvalidPackageName(_) => {
                self.forget(channel, platform);
                RepodataError::Broken { subdir, reason }
            }
            _ => RepodataError::Unreachable { subdir, reason },
        }
    }

    /// Drops what is cached of a subdir, so that it is not found broken for ever.
    fn forget(&self, channel: &Channel, platform: Subdir) {
        if self.options.access == Access::Online && channel.base_url.url().scheme() != "file" {
            let subdirs = SubdirSelection::Some([platform.as_str().to_owned()].into());
            // What cannot be dropped is fetched anew when it is stale.
            let _ = self.gateway.clear_repodata_cache(channel, subdirs, CacheClearMode::InMemoryAndDisk);
        }
    }
}

/// Asks again where an answer broke off in the middle. The client's own retries end where a body begins; what
/// arrived whole is cached, and not asked for again.
async fn persistently<T>(ask: impl AsyncFn() -> Result<T, GatewayError>) -> Result<T, GatewayError> {
    for _ in 1..BODY_ATTEMPTS {
        match ask().await {
            Err(GatewayError::ReqwestError(error)) if error.is_body() || error.is_decode() => {}
            outcome => return outcome,
        }
    }
    ask().await
}

/// Says what went wrong with the records of single packages, whose subdir the gateway does not tell.
fn records_error(error: &GatewayError) -> RepodataError {
    match error {
        GatewayError::ShardNotCached(package) => RepodataError::PackageNotCached { package: package.clone() },
        GatewayError::IoError(what, source) => RepodataError::Records(format!("{what}: {source}")),
        _ => RepodataError::Records(network::reason(error)),
    }
}

/// The status that a server answered with, where that is what went wrong.
fn status(error: &GatewayError) -> Option<u16> {
    let error = match error {
        GatewayError::ReqwestError(error) => error,
        GatewayError::FetchRepoDataError(FetchRepoDataError::HttpError(reqwest_middleware::Error::Reqwest(error))) => {
            error
        }
        _ => return None,
    };
    error.status().map(|status| status.as_u16())
}

fn subdir_url(channel: &Channel, platform: Subdir) -> String {
    network::redact(&channel.platform_url(platform))
}

fn sorted(mut records: Vec<Arc<RepoDataRecord>>) -> Vec<Arc<RepoDataRecord>> {
    records.sort_by(|left, right| (name(left), left.url.as_str()).cmp(&(name(right), right.url.as_str())));
    records
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
