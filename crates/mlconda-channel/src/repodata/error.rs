//! Why repodata could not be loaded.

use std::path::PathBuf;

use itertools::Itertools;
use rattler_conda_types::Subdir;

use crate::network::Cause;

/// Why repodata could not be loaded. Subdirs are shown as URLs without secrets.
#[derive(thiserror::Error)]
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
    #[error("`{subdir}` does not contain valid repodata: {reason}")]
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

mlconda_types::debug_as_words!(RepodataError);
