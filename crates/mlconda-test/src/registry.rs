//! A registry of images on loopback (OCI distribution spec 1.1), in memory, that can misbehave on request.
//!
//! It supports the features that clients need: manifests by tag and digest, blobs with ranges, uploads in one or
//! several requests, mounts, referrers, and logins by Basic and by a token service. It records all requests, so that a
//! test can count the requests and the sent bytes.

mod api;
mod channel;
mod connection;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{acceptor::Acceptor, sha256_hex};

/// The logins that a registry requires.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// No login is required.
    #[default]
    Open,
    /// Each request must have this user and password (Basic).
    Basic(String, String),
    /// A token service at `/token` gives tokens (Bearer): for pulling to everybody, for pushing to this user and
    /// password.
    Token(String, String),
    /// The same, with an identity token instead of a user and a password.
    Identity(String),
}

/// The options of a registry.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// The required logins.
    pub access: Access,
    /// Whether it has the referrers API.
    pub has_referrers: bool,
    /// How many referrers are on a page; the others follow on further pages.
    pub referrers_on_a_page: Option<usize>,
    /// Whether it rejects mounts.
    pub refuses_mounts: bool,
    /// Whether the token service gives tokens for pulling to the user only.
    pub is_private: bool,
}

/// The fault of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Answers with this status, and an error in JSON.
    Status(u16),
    /// Answers with this status and this `Retry-After`.
    RetryAfter(u16, &'static str),
    /// Closes the connection without an answer.
    HangUp,
    /// Handles the request, and closes the connection without an answer.
    LostAnswer,
    /// Receives or sends this many bytes of a body, then closes the connection.
    BreakOff(usize),
    /// Sends another body of the same length.
    Corrupted,
    /// `Content-Length` is ten bytes larger than the body.
    WrongLength,
    /// Answers with this body instead.
    Body(Vec<u8>),
    /// Answers with this media type instead.
    MediaType(&'static str),
    /// Sends zeros without end.
    Endless,
    /// Never answers.
    Silent,
    /// The answer has this additional header.
    Header(&'static str, String),
    /// Answers after this time.
    Late(Duration),
    /// `Location` leads to this host, which needs no login.
    Elsewhere(String),
    /// Redirects to this URL.
    Redirect(String),
    /// After this request, the tag `latest` of the repository refers to this manifest.
    MovesTag(Vec<u8>),
}

/// A request as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistryRequest {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The status that was answered; 0 if none was.
    pub status: u16,
    /// The bytes of the body that arrived.
    pub bytes: u64,
}

/// A running registry; dropping it closes all connections.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    _acceptor: Acceptor,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    options: RegistryOptions,
    state: Mutex<State>,
}

/// A manifest and its media type.
type Manifest = (String, Vec<u8>);

#[derive(Debug, Default)]
struct State {
    /// Blobs by repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// Manifests by repository and digest.
    manifests: BTreeMap<(String, String), Manifest>,
    /// Digests by repository and tag.
    tags: BTreeMap<(String, String), String>,
    /// Uploads by their number.
    uploads: BTreeMap<String, Vec<u8>>,
    /// The number of the next upload, and of the next token.
    next: usize,
    /// Tokens and what they allow.
    tokens: BTreeMap<String, String>,
    /// The faults: method, part of the path, fault, and how often it still happens.
    failures: Vec<(String, String, Failure, usize)>,
    requests: Vec<RegistryRequest>,
}

impl Registry {
    /// Serves an empty registry on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start(options: RegistryOptions) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { address, options, state: Mutex::default() });
        let of_connections = Arc::clone(&shared);
        let converse = move |connection: &TcpStream| connection::converse(connection, &of_connections);
        Ok(Self { address, shared, _acceptor: Acceptor::start(listener, address, converse) })
    }

    /// The registry in image references: host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The next `times` requests of a method whose path contains `pattern` have this fault.
    pub fn fail(&self, method: &str, pattern: &str, failure: Failure, times: usize) {
        self.shared.state().failures.push((method.to_owned(), pattern.to_owned(), failure, times));
    }

    /// Removes all faults.
    pub fn recover(&self) {
        self.shared.state().failures.clear();
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RegistryRequest> {
        self.shared.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.state().requests.clear();
    }

    /// The number of requests so far with this method and a path that contains `pattern`.
    pub fn count(&self, method: &str, pattern: &str) -> usize {
        let is_it = |request: &&RegistryRequest| request.method == method && request.path.contains(pattern);
        self.shared.state().requests.iter().filter(is_it).count()
    }

    /// The total size of all received bodies, in bytes.
    pub fn bytes_received(&self) -> u64 {
        self.shared.state().requests.iter().map(|request| request.bytes).sum()
    }

    /// Invalidates all tokens.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Stores a blob, and returns its digest.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.shared.state().blobs.insert((repository.to_owned(), digest.clone()), bytes.to_vec());
        digest
    }

    /// Stores a manifest under a tag, and returns its digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let mut state = self.shared.state();
        let manifest = (media_type.to_owned(), bytes.to_vec());
        state.manifests.insert((repository.to_owned(), digest.clone()), manifest);
        state.tags.insert((repository.to_owned(), tag.to_owned()), digest.clone());
        digest
    }

    /// Stores an image under a tag, with these layers (uncompressed tars), and returns the digest of its manifest. The
    /// config is `{"os": …, "architecture": …}` with the additions of `config`.
    pub fn put_image(
        &self,
        name: (&str, &str),
        architecture: &str,
        layers: &[&[u8]],
        config: &serde_json::Value,
    ) -> String {
        let (repository, tag) = name;
        let ids: Vec<String> = layers.iter().map(|layer| self.put_blob(repository, layer)).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": config,
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = config.to_string().into_bytes();
        let entry = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let layer = |bytes: &&[u8]| entry("application/vnd.docker.image.rootfs.diff.tar", bytes);
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": entry("application/vnd.docker.container.image.v1+json", &config),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        self.put_blob(repository, &config);
        self.put_manifest(repository, tag, kind, manifest.to_string().as_bytes())
    }

    /// A manifest by its tag or digest: its media type, and its bytes.
    pub fn manifest(&self, repository: &str, selector: &str) -> Option<(String, Vec<u8>)> {
        self.shared.state().manifest(repository, selector).cloned()
    }

    /// A blob.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.shared.state().blobs.get(&(repository.to_owned(), digest.to_owned())).cloned()
    }

    /// The number of manifests in all repositories.
    pub fn manifests(&self) -> usize {
        self.shared.state().manifests.len()
    }
}

impl State {
    fn manifest(&self, repository: &str, selector: &str) -> Option<&Manifest> {
        let tag = self.tags.get(&(repository.to_owned(), selector.to_owned()));
        let digest = tag.cloned().unwrap_or_else(|| selector.to_owned());
        self.manifests.get(&(repository.to_owned(), digest))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of a request with a body of this many bytes, if there is one.
    fn failure(&self, method: &str, path: &str, length: usize) -> Option<Failure> {
        let mut state = self.state();
        let is_it = |(of, pattern, failure, times): &&mut (String, String, Failure, usize)| {
            // A body that is shorter than the limit is not broken off.
            let has_room = !matches!(failure, Failure::BreakOff(most) if length > 0 && *most >= length);
            *times > 0 && has_room && of == method && path.contains(pattern.as_str())
        };
        let (_, _, failure, times) = state.failures.iter_mut().find(is_it)?;
        *times -= 1;
        Some(failure.clone())
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}
