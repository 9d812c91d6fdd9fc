//! All that the solver may choose from. The one module that knows that channels answer over a network.

use std::path::PathBuf;

use crate::{environment::Environment, host::Host, network::Client, progress::Progress};

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
#[derive(Debug)]
pub struct Repodata {
    pub(crate) subdirs: Vec<rattler_repodata_gateway::RepoData>,
}

/// Repodata that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepodataError {
    /// The loader failed.
    #[error("cannot load repodata")]
    Gateway(#[from] rattler_repodata_gateway::GatewayError),
}

/// Loads what an environment can reach, for one host.
///
/// # Errors
/// If a channel cannot be reached, or answers with something that is not repodata.
pub async fn load(
    _client: &Client,
    _environment: &Environment,
    _host: &Host,
    _options: &RepodataOptions,
    _progress: &dyn Progress,
) -> Result<Repodata, RepodataError> {
    todo!()
}
