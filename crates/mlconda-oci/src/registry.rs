//! Registries (distribution spec 1.1): the manifests, blobs and referrers of a repository.
//!
//! [`Registries`] contains the shared values of one call: the client, the logins, and the tokens from registries. A
//! [`Repository`] is cheap to clone. Requests use the one HTTP client with its limits, retries and proxies. A login is
//! sent only to the registry that asks for it, and to the token service that this registry names.

mod access;
mod push;
mod referrers;
mod upload;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use mlconda_channel::network::{
    BodyKind, Client, Transfer,
    send::{Body, Method, Outgoing},
};
use mlconda_types::progress::Progress;
use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RANGE, RETRY_AFTER},
};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

pub use push::Pushed;
pub(crate) use referrers::{Referrers, index_entries};

use crate::{
    Blob, Content, Descriptor, Digest, OciError, Reference,
    json::{self, LARGEST_DOCUMENT},
    logins::{Found, Helpers, Login, LoginOptions},
    media_type,
    reference::host_name,
};

/// The key of a token: the registry with the scopes, and the login of the URL if there is one.
type TokenKey = (String, Option<Login>);

/// The values that all registries of one call share.
#[derive(Clone, Debug)]
pub struct Registries(Arc<Shared>);

/// The options for registries.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// The sources of logins.
    pub logins: LoginOptions,
    /// Registries (`HOST` or `HOST:PORT`) that are requested over `http://`. Registries on this machine always are.
    pub plain_http: Vec<String>,
    /// The largest number of blobs that are sent at once.
    pub uploads: usize,
    /// The wait before a failed upload is resumed. Each further wait is twice as long.
    pub retry_delay: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        let retry_delay = Duration::from_millis(500);
        Self { logins: LoginOptions::default(), plain_http: Vec::new(), uploads: 4, retry_delay }
    }
}

struct Shared {
    client: Client,
    options: RegistryOptions,
    /// The tokens, as values of `Authorization`.
    tokens: Mutex<HashMap<TokenKey, Arc<Mutex<Option<String>>>>>,
    /// The results of looking for logins, by repository.
    logins: Mutex<HashMap<String, Found>>,
    /// The answers of credential helpers.
    helpers: Helpers,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tokens are secrets.
        formatter.debug_struct("Registries").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Registries {
    /// `client` must come from [`Client::for_registries`]. Sends nothing.
    pub fn new(client: Client, options: RegistryOptions) -> Self {
        Self(Arc::new(Shared {
            client,
            options,
            tokens: Mutex::default(),
            logins: Mutex::default(),
            helpers: Helpers::default(),
        }))
    }

    /// Runs `work`, and reports long waits for registries meanwhile.
    ///
    /// The future may be dropped if `work` may be dropped.
    pub async fn report_waits<T>(&self, progress: &dyn Progress, work: impl Future<Output = T>) -> T {
        self.0.client.report_waits(progress, work).await
    }

    /// The repository of a reference. Sends nothing.
    ///
    /// # Errors
    /// If the registry of the reference is not a valid host.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, OciError> {
        let plain = &self.0.options.plain_http;
        let named = |host: &String| *host == reference.registry || host == host_name(&reference.registry);
        let scheme = if reference.is_loopback() || plain.iter().any(named) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/", reference.host(), reference.repository);
        let url = Url::parse(&url).map_err(|error| OciError::Reference {
            text: reference.to_string(),
            reason: format!("its registry is no host ({error})"),
        })?;
        let name = Reference { tag: None, digest: None, ..reference.clone() };
        Ok(Repository { shared: Arc::clone(&self.0), name: Arc::new(name), url, scopes: Arc::default(), login: None })
    }
}

/// A repository in a registry.
#[derive(Clone, Debug)]
pub struct Repository {
    shared: Arc<Shared>,
    name: Arc<Reference>,
    /// The URL of the repository: `https://HOST/v2/NAME/`.
    url: Url,
    /// The scopes of a token: pushing, and pulling from other repositories. If empty, only pulling from this one.
    scopes: Arc<Vec<String>>,
    /// The login of a URL, which is preferred to stored logins.
    login: Option<Login>,
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, formatter)
    }
}

/// A request to a registry, with a body that can be repeated.
struct Ask<'a> {
    method: Method,
    url: &'a Url,
    headers: &'a [(HeaderName, &'a str)],
    body: Option<&'a [u8]>,
    answer: BodyKind,
    /// The requested object, for messages.
    what: &'a str,
}

impl<'a> Ask<'a> {
    fn new(method: Method, url: &'a Url, what: &'a str) -> Self {
        Self { method, url, headers: &[], body: None, answer: BodyKind::Metadata(LARGEST_DOCUMENT), what }
    }
}

/// The media types that are accepted for a manifest.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

impl Repository {
    /// The registry and the repository.
    pub fn name(&self) -> String {
        self.name.name()
    }

    /// Whether another repository is in the same registry.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.name.registry == other.name.registry
    }

    fn join(&self, path: &str) -> Result<Url, OciError> {
        self.url.join(path).map_err(|error| OciError::invalid(format!("the URL `{path}`"), error.to_string()))
    }

    /// Reads a manifest or an index by its tag or digest. Returns its descriptor and its bytes.
    ///
    /// The future may be dropped.
    ///
    /// # Errors
    /// If there is no such manifest, if the registry refuses, if the manifest is larger than 4 MiB, or if it differs
    /// from its digest.
    pub async fn manifest(&self, selector: &str) -> Result<(Descriptor, Vec<u8>), OciError> {
        self.manifest_of("the image", selector).await
    }

    /// Like [`Repository::manifest`]. `kind` is the kind of object in messages.
    pub(crate) async fn manifest_of(&self, kind: &str, selector: &str) -> Result<(Descriptor, Vec<u8>), OciError> {
        let separator = if selector.contains(':') { '@' } else { ':' };
        let what = format!("{kind} `{self}{separator}{selector}`");
        let url = self.join(&format!("manifests/{selector}"))?;
        let headers = [(ACCEPT, MANIFESTS)];
        let transfer = self.ask(Ask { headers: &headers, ..Ask::new(Method::GET, &url, &what) }).await?;
        let transfer = self.successful(transfer, &what).await?;
        let kind =
            header(&transfer, CONTENT_TYPE).map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned());
        let told = header(&transfer, DIGEST).and_then(|digest| digest.parse::<Digest>().ok());
        let bytes = transfer.bytes().await.map_err(OciError::network(&what))?;
        let digest = Digest::of(&bytes);
        let wanted = if separator == '@' { Some(selector.parse()?) } else { told };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            let reason = format!("its digest is to be `{wanted}`, and what came has `{digest}`");
            return Err(OciError::invalid(what, reason));
        }
        let media_type = manifest_type(&bytes, kind, &what)?;
        Ok((Descriptor::new(&media_type, digest, bytes.len() as u64), bytes))
    }

    /// Requests a blob from a position on, which is in bytes.
    pub(crate) async fn open_blob(&self, descriptor: &Descriptor, position: u64) -> Result<Transfer, OciError> {
        let digest = descriptor.digest;
        let what = format!("the blob `{digest}` of `{self}`");
        let url = self.join(&format!("blobs/{digest}"))?;
        let range = format!("bytes={position}-");
        let headers = [(RANGE, range.as_str())];
        let headers = if position == 0 { &[] } else { headers.as_slice() };
        let answer = BodyKind::Package(Some(descriptor.size.saturating_sub(position)));
        let transfer = self.ask(Ask { headers, answer, ..Ask::new(Method::GET, &url, &what) }).await?;
        let transfer = self.successful(transfer, &what).await?;
        if position > 0 && transfer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(OciError::invalid(what, "it broke off, and the registry does not send the rest of it"));
        }
        Ok(transfer)
    }

    /// A blob of this repository.
    pub fn blob(&self, descriptor: Descriptor) -> Blob {
        Blob { descriptor, content: Content::Remote(self.clone()) }
    }

    /// Whether the repository already has a blob that is to be pushed.
    pub(crate) async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, OciError> {
        let what = format!("a push to `{self}`");
        let url = self.join(&format!("blobs/{}", descriptor.digest))?;
        let transfer = self.ask(Ask::new(Method::HEAD, &url, &what)).await?;
        if transfer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let transfer = self.successful(transfer, &what).await?;
        // A blob of another size cannot be the same, although it has this digest.
        let size = header(&transfer, CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
        Ok(size.is_none_or(|size| size == descriptor.size))
    }

    /// Sends a request with a token, and first asks for a token if the registry requires one. Returns the answer with
    /// any status.
    async fn ask(&self, ask: Ask<'_>) -> Result<Transfer, OciError> {
        let mut sent = self.authorization(ask.url).await;
        for _ in 0..2 {
            let transfer = self.send_once(&ask, sent.as_deref()).await?;
            // A server that was reached through a redirect must not decide where logins are sent.
            let is_own = self.is_own(ask.url) && self.is_own(transfer.url());
            if transfer.status() != StatusCode::UNAUTHORIZED || !is_own {
                return Ok(transfer);
            }
            match self.authorize(&transfer, sent.as_deref(), ask.what).await? {
                Some(authorization) => sent = Some(authorization),
                None => return Ok(transfer),
            }
        }
        self.send_once(&ask, sent.as_deref()).await
    }

    async fn send_once(&self, ask: &Ask<'_>, authorization: Option<&str>) -> Result<Transfer, OciError> {
        let body = ask.body.map_or(Body::Empty, |bytes| Body::Bytes(bytes.to_vec()));
        let (method, url, headers) = (ask.method.clone(), ask.url, ask.headers);
        let outgoing = Outgoing { method, url, headers, authorization, body, answer: ask.answer };
        self.shared.client.send(outgoing).await.map_err(OciError::network(ask.what))
    }

    /// Whether a URL is one of the registry itself.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.url.origin()
    }

    /// The answer if its status is a success, or else the error for the status.
    async fn successful(&self, transfer: Transfer, what: &str) -> Result<Transfer, OciError> {
        let status = transfer.status();
        if status.is_success() {
            return Ok(transfer);
        }
        let wait = header(&transfer, RETRY_AFTER).map(str::to_owned);
        let said = said(transfer).await;
        let (what, registry) = (what.to_owned(), self.name.registry.clone());
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                OciError::Denied { registry, what, reason: self.denial(&said).await }
            }
            StatusCode::NOT_FOUND => OciError::Missing { what, said },
            _ => OciError::Refused { what, status, wait, said },
        })
    }
}

/// The header with the digest of the requested object.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

fn header(transfer: &Transfer, name: HeaderName) -> Option<&str> {
    transfer.header(name)
}

/// The codes and messages in the body of an error answer.
async fn said(transfer: Transfer) -> String {
    // If the body is too long or interrupted, the message is empty.
    let bytes = transfer.bytes().await.unwrap_or_default();
    let Ok(Value::Object(answer)) = serde_json::from_slice(&bytes) else { return String::new() };
    let words = |error: &Value| {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("{} {}", text("code"), text("message")).trim().to_owned()
    };
    let all = match answer.get("errors") {
        Some(Value::Array(errors)) => {
            errors.iter().take(3).map(words).filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ")
        }
        _ => json::text(&answer, "details").unwrap_or_default(),
    };
    let all: String = all.chars().filter(|each| !each.is_control()).take(300).collect();
    mlconda_types::redact::text(&all)
}

/// The media type of a manifest: from its own field, or else from the registry's answer.
fn manifest_type(bytes: &[u8], told: Option<String>, what: &str) -> Result<String, OciError> {
    let document = json::parse_object(bytes, what)?;
    if document.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(OciError::invalid(what, "it is in the first format of docker, which has no digests of its layers"));
    }
    let own = json::text(&document, "mediaType");
    let told = told.filter(|told| told.contains("manifest") || told.contains("index"));
    if let (Some(own), Some(told)) = (&own, &told)
        && own != told
    {
        return Err(OciError::invalid(
            what,
            format!("it says that it is `{own}`, and the registry that it is `{told}`"),
        ));
    }
    own.or(told)
        .or_else(|| document.contains_key("manifests").then(|| media_type::INDEX.to_owned()))
        .ok_or_else(|| OciError::invalid(what, "it has no media type"))
}
