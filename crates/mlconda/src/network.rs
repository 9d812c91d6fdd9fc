//! The one HTTP client: its TLS roots, names, time limits and retries.

use std::path::PathBuf;

/// How to talk to servers.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// Files of PEM certificates to trust besides the built-in Mozilla roots.
    pub certificate_files: Vec<PathBuf>,
    /// Directories of such files.
    pub certificate_directories: Vec<PathBuf>,
}

/// A client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: reqwest::Client,
}

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A certificate file could not be read.
    #[error(transparent)]
    Certificate(#[from] std::io::Error),
    /// The client could not be made.
    #[error("cannot set up the network client")]
    Client(#[from] reqwest::Error),
}

impl Client {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// If a named certificate file cannot be read, or TLS cannot be set up.
    pub fn new(_options: &NetworkOptions) -> Result<Self, NetworkError> {
        todo!()
    }
}

/// A URL without secrets, for messages and locks: no user, no password, no token of a path `/t/TOKEN/…`.
pub fn redact(url: &url::Url) -> String {
    url.to_string()
}
