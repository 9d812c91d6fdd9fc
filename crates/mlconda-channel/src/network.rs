//! The HTTP client: TLS roots, name resolution, proxies, logins, mirrors, limits and retries.
//!
//! * **Roots.** The Mozilla roots are built in, because a `debian:slim` or `scratch` image has none. Roots of the
//!   system and of a company are added to them and never replace them.
//! * **TLS** is rustls with ring, passed explicitly. No provider is installed for the whole process, so a program that
//!   embeds this crate can choose another one.
//! * **Names** are resolved here on Linux (module `dns`).
//! * **Retries** are made here and nowhere else, so that repodata and packages are treated alike. Transient failures
//!   (an overloaded server, a lost connection) are retried. Other failures (an unknown name, an untrusted certificate)
//!   are reported at once.
//! * **Logins** come from the URL, or from files of other tools (module `credentials`). **Mirrors** come from the
//!   caller (module `mirrors`).
//! * **Registries** (`oci://`) are asked by an implementation that the caller passes (module `registry`).
//! * **Secrets.** Channel URLs contain tokens and passwords. Messages show a URL only after [`redact`].

mod cause;
mod credentials;
mod dns;
mod limits;
mod mirrors;
mod registry;
mod retry;
mod scheme;
pub mod send;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;
mod waits;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlconda_types::progress::Progress;
use reqwest::{StatusCode, header};
use reqwest_middleware::{ClientWithMiddleware, Middleware};
use url::Url;

pub use cause::{Cause, Scheme, reason};
use cause::{Route, classify};
pub use credentials::CredentialFile;
use credentials::{AuthMiddleware, Credentials};
use dns::Resolver;
#[cfg(mlconda_fuzzing)]
#[doc(hidden)]
pub use dns::addresses_of_reply;
pub(crate) use limits::display_size as shown_size;
pub use limits::{BodyKind, Limit, Limits};
use mirrors::MirrorMiddleware;
pub use mirrors::{Mirror, MirrorError, percent_decoded};
pub(crate) use mlconda_types::redact::secrets;
pub use mlconda_types::redact::url as redact;
pub use registry::{ChannelRegistry, RegistryAnswer, RegistryError};
use registry::{RegistryMiddleware, Said};
pub use scheme::check as check_scheme;
pub use transfer::Transfer;
use waits::WaitMonitor;

/// The options of a [`Client`].
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// PEM files with certificates to trust besides the built-in Mozilla roots.
    pub certificate_files: Vec<PathBuf>,
    /// Directories of such files.
    pub certificate_directories: Vec<PathBuf>,
    /// The proxies.
    pub proxies: Proxies,
    /// Files with logins; the first one with a login for a host counts.
    pub credential_files: Vec<CredentialFile>,
    /// URLs of channels with their logins. Records contain a mask in the place of a login; a request for such a URL gets
    /// the login of the channel with the same URL. Texts that are no such URLs are ignored.
    pub channel_logins: Vec<String>,
    /// Mirrors, in order of preference.
    pub mirrors: Vec<Mirror>,
    /// Loads channels at `oci://` from registries of images. Without it, `oci://` is not supported.
    pub registry: Option<Arc<dyn ChannelRegistry>>,
    /// The wait before the first retry. Each later wait is twice as long.
    pub retry_delay: Duration,
    /// Limits of size and time.
    pub limits: Limits,
}

/// The proxies for each scheme of the requested URL, as URLs.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Hosts that are reached without a proxy: names, domains, addresses or networks, separated by commas.
    pub except: Option<String>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            certificate_files: Vec::new(),
            certificate_directories: Vec::new(),
            proxies: Proxies::default(),
            credential_files: Vec::new(),
            channel_logins: Vec::new(),
            mirrors: Vec::new(),
            registry: None,
            retry_delay: Duration::from_millis(500),
            limits: Limits::default(),
        }
    }
}

/// A client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client with its middleware.
    http: ClientWithMiddleware,
    /// The stored logins, shared by all clones.
    credentials: Arc<Credentials>,
    proxies: Arc<Proxies>,
    limits: Arc<Limits>,
    waits: Arc<WaitMonitor>,
    /// Whether a [`ChannelRegistry`] for `oci://` was given.
    asks_registries: bool,
}

/// Why a client could not be made, or a request failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A certificate file could not be read.
    #[error(transparent)]
    Certificate(#[from] std::io::Error),
    /// A file with logins could not be read.
    #[error("cannot read stored logins")]
    Credentials(#[source] std::io::Error),
    /// A file with logins is invalid.
    #[error("the stored logins in `{}` cannot be read: it is not a JSON object of hosts", .0.display())]
    BrokenCredentials(PathBuf),
    /// The address of a proxy is not a URL, or has an unsupported scheme.
    #[error(
        "the address of the proxy for `{scheme}://` is not a URL with `http://`, `https://`, `socks5://` or `socks5h://`"
    )]
    Proxy {
        /// The scheme that the proxy is for.
        scheme: &'static str,
        /// The reason, if it is not a URL.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The client could not be made.
    #[error("cannot set up the network client")]
    Client(#[from] reqwest::Error),
    /// The server answered with an error status.
    #[error("`{url}` answers {status}{}{}", colon(said), wait.map_or_else(String::new, |wait| format!(", and asks to wait {} s", wait.as_secs())))]
    Status {
        /// The requested URL, without secrets.
        url: String,
        /// The status.
        status: StatusCode,
        /// The message of a registry; empty for other servers.
        said: String,
        /// How long the server asks to wait, if it does.
        wait: Option<Duration>,
    },
    /// The server gave no answer.
    #[error("cannot reach `{url}`: {reason}")]
    Unreachable {
        /// The requested URL, without secrets.
        url: String,
        /// The reason, without secrets.
        reason: String,
        /// The reason, as a value.
        cause: Cause,
    },
    /// The body is incomplete, or exceeds a limit.
    #[error("{reason}")]
    Transfer {
        /// The reason.
        reason: String,
        /// The reason, as a value.
        cause: Cause,
    },
    /// A registry of images did not give the file. Transient failures were already retried.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

mlconda_types::debug_as_words!(NetworkError);

fn colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl NetworkError {
    /// Why the request failed.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Status { status, .. } if *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => Cause::ProxyLogin,
            Self::Status { status, .. } => Cause::Status(*status),
            Self::Unreachable { cause, .. }
            | Self::Transfer { cause, .. }
            | Self::Registry(RegistryError { cause, .. }) => *cause,
            _ => Cause::Other,
        }
    }
}

impl Client {
    /// Makes a client. Sends nothing.
    ///
    /// # Errors
    /// If a file or directory of certificates or logins cannot be read, or the address of a proxy is invalid.
    pub fn new(options: &NetworkOptions) -> Result<Self, NetworkError> {
        let credentials = Arc::new(Credentials::read(&options.credential_files, &options.channel_logins)?);
        let login: Arc<dyn Middleware> = Arc::new(AuthMiddleware(Arc::clone(&credentials)));
        let mirrors: Arc<dyn Middleware> = Arc::new(MirrorMiddleware::new(&options.mirrors));
        let builder = builder(options)?.read_timeout(options.limits.read_timeout);
        Self::with_layers(builder, options, credentials, (Some(mirrors), login))
    }

    /// Makes a client for servers that are not channels: it has no mirrors and no stored logins, and request bodies may
    /// take long (module [`send`]). Sends nothing.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn for_registries(options: &NetworkOptions) -> Result<Self, NetworkError> {
        let watch: Arc<dyn Middleware> =
            Arc::new(send::Watch { moves: options.limits.read_timeout, stored: options.limits.stored });
        // Registries on this machine are asked over `http://`, so no proxy may get their logins.
        let mut options = NetworkOptions { registry: None, ..options.clone() };
        let except = options.proxies.except.take().map_or_else(String::new, |list| list + ",");
        options.proxies.except = Some(except + "localhost,127.0.0.0/8,::1");
        Self::with_layers(builder(&options)?, &options, Arc::default(), (None, watch))
    }

    fn with_layers(
        builder: reqwest::ClientBuilder,
        options: &NetworkOptions,
        credentials: Arc<Credentials>,
        (outermost, innermost): (Option<Arc<dyn Middleware>>, Arc<dyn Middleware>),
    ) -> Result<Self, NetworkError> {
        let (limits, waits) = (Arc::new(options.limits.clone()), Arc::<WaitMonitor>::default());
        let retry: Arc<dyn Middleware> = Arc::new(retry::RetryMiddleware {
            first_delay: options.retry_delay,
            limits: Arc::clone(&limits),
            waits: Arc::clone(&waits),
        });
        // The registry layer has its own retries, so it is placed outside `retry`.
        let registry = options.registry.clone().map(|registry| {
            let layer: Arc<dyn Middleware> = Arc::new(RegistryMiddleware { registry, waits: Arc::clone(&waits) });
            layer
        });
        let layers: Vec<_> = outermost.into_iter().chain(registry).chain([retry, innermost]).collect();
        let proxies = Arc::new(options.proxies.clone());
        let http = ClientWithMiddleware::new(builder.build()?, layers);
        Ok(Self { http, credentials, proxies, limits, waits, asks_registries: options.registry.is_some() })
    }

    /// The URL that is requested for a URL of a record, with the login that the record does not have.
    pub(crate) fn unmasked(&self, url: &Url) -> Url {
        self.credentials.unmasked(url)
    }

    /// The stored login for a URL, as a key for caches. It is a secret.
    pub(crate) fn login_key(&self, url: &Url) -> Option<&str> {
        self.credentials.for_url(url).filter(|_| secrets(url).is_empty()).map(credentials::Login::secret)
    }

    /// Requests a URL, with retries, up to the headers of the response.
    ///
    /// The future may be dropped: the connection is closed.
    ///
    /// # Errors
    /// If there is no response, or its status is not a success.
    pub async fn get(&self, url: &Url, kind: BodyKind) -> Result<Transfer, NetworkError> {
        let transfer = self.request(url, kind, &[]).await?;
        if transfer.status().is_success() { Ok(transfer) } else { Err(self.status_error(url, &transfer)) }
    }

    /// The error for a response with an error status.
    pub fn status_error(&self, url: &Url, transfer: &Transfer) -> NetworkError {
        let wait = retry::retry_after(transfer.response()).filter(|wait| *wait > self.limits.max_retry_after);
        let said = transfer.response().extensions().get::<Said>().map(|said| said.0.clone()).unwrap_or_default();
        NetworkError::Status { url: redact(url), status: transfer.status(), said, wait }
    }

    /// Requests a URL with extra headers, with retries, up to the headers of the response. Any status is returned.
    ///
    /// The future may be dropped: the connection is closed. The server may already have handled the request.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn request(
        &self,
        url: &Url,
        kind: BodyKind,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Transfer, NetworkError> {
        let mut request = self.http.get(self.credentials.unmasked(url));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = request.send().await.map_err(|error| self.unreachable_error(url, &error))?;
        if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
            return Err(redirect_error(url, response.headers().get(header::LOCATION)));
        }
        Ok(self.transfer(response, kind, url))
    }

    fn unreachable_error(&self, url: &Url, error: &reqwest_middleware::Error) -> NetworkError {
        if let reqwest_middleware::Error::Middleware(inner) = error
            && let Some(error) = inner.downcast_ref::<RegistryError>()
        {
            return error.clone().into();
        }
        let cause = classify(error, self.proxies.route(url));
        // If the URL has a mirror, it was requested with the mirror's scheme, and the error has another cause.
        let has_registry = self.asks_registries && url.scheme() == "oci" && !host(url).is_empty();
        if let (Cause::Other, Some(scheme), false) = (cause, Scheme::unsupported(url), has_registry) {
            if url.scheme() == "oci" && self.asks_registries {
                let reason = "it names no registry: a channel is `oci://HOST/CHANNEL`".to_owned();
                return NetworkError::Unreachable { url: redact(url), reason, cause: Cause::Registry };
            }
            let registries = if self.asks_registries { ", `oci://`" } else { "" };
            let reason = match url.scheme() {
                "oci" => "`oci://` needs `NetworkOptions::registry` (with the feature `image`)".to_owned(),
                other => {
                    format!("`{other}://` is not supported, only `https://`, `http://`{registries} and `file://`")
                }
            };
            return NetworkError::Unreachable { url: redact(url), reason, cause: Cause::Scheme(scheme) };
        }
        NetworkError::Unreachable { url: redact(url), reason: reason(error), cause }
    }

    fn transfer(&self, response: reqwest::Response, kind: BodyKind, url: &Url) -> Transfer {
        Transfer::new(response, kind, url, Arc::clone(&self.limits), Arc::clone(&self.waits))
    }

    /// The size of a file in bytes, from the headers of a HEAD request; `None` if there is no size, or the request
    /// fails.
    ///
    /// The future may be dropped.
    pub async fn content_length(&self, url: &Url) -> Option<u64> {
        let response = self
            .http
            .head(self.credentials.unmasked(url))
            .send()
            .await
            .ok()
            .filter(|answer| answer.status().is_success())?;
        response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The size of a file in bytes; `None` if the server does not report it.
    ///
    /// The future may be dropped.
    ///
    /// # Errors
    /// If there is no response, or the server does not have the file.
    pub async fn size(&self, url: &Url) -> Result<Option<u64>, NetworkError> {
        let answer = self.http.head(url.clone()).send().await.map_err(|error| self.unreachable_error(url, &error))?;
        let length = |text: &str| text.parse().ok();
        let told = answer.headers().get(header::CONTENT_LENGTH).and_then(|value| length(value.to_str().ok()?));
        if answer.status().is_success() && told.is_some() {
            return Ok(told);
        }
        // Not all servers support HEAD, and the response to GET has the right error.
        let transfer = self.get(url, BodyKind::Package(None)).await?;
        Ok(transfer.header(header::CONTENT_LENGTH).and_then(length))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Runs `work`, and reports each server that the client waits for longer than [`Limits::notice_interval`].
    ///
    /// The future may be dropped, if `work` may be.
    pub async fn report_waits<T>(&self, progress: &dyn Progress, work: impl Future<Output = T>) -> T {
        self.waits.report_while(self.limits.notice_interval, progress, work).await
    }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// The error for a redirect that was not followed.
fn redirect_error(url: &Url, location: Option<&header::HeaderValue>) -> NetworkError {
    let to = location.and_then(|location| url.join(location.to_str().ok()?).ok());
    let worse = to.and_then(|to| scheme::check(url, &to).err()).map(|error| error.to_string());
    let reason = worse.unwrap_or_else(|| "it redirects to no place that can be asked".to_owned());
    NetworkError::Unreachable { url: redact(url), reason, cause: Cause::Redirect }
}

impl Proxies {
    /// Whether a URL is requested through a proxy. Networks among the exceptions are ignored: the result only affects
    /// the hint of an error.
    fn route(&self, url: &Url) -> Route {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let host = host(url);
        let is_it = |except: &str| {
            let domain = except.trim().trim_start_matches('.');
            except.trim() == "*"
                || host
                    .strip_suffix(domain)
                    .is_some_and(|rest| !domain.is_empty() && (rest.is_empty() || rest.ends_with('.')))
        };
        let is_excepted = self.except.as_deref().is_some_and(|all| all.split(',').any(is_it));
        if proxy.is_some() && !is_excepted { Route::Proxy } else { Route::Direct }
    }
}

/// The settings of all clients.
fn builder(options: &NetworkOptions) -> Result<reqwest::ClientBuilder, NetworkError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("mlconda/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls::configuration(options)?)
        .connect_timeout(options.limits.connect)
        .redirect(scheme::policy())
        // The header `Referer` would send the URL, with its token, to the host of the redirect.
        .referer(false)
        // The caller decides whether to read the environment.
        .no_proxy();
    for proxy in proxies(&options.proxies)? {
        builder = builder.proxy(proxy);
    }
    if cfg!(target_os = "linux") {
        builder = builder.dns_resolver(Resolver::new(dns::ResolverConfig::read(Path::new("/"))));
    }
    Ok(builder)
}

fn proxies(proxies: &Proxies) -> Result<Vec<reqwest::Proxy>, NetworkError> {
    let except = || proxies.except.as_deref().and_then(reqwest::NoProxy::from_string);
    let mut all = Vec::new();
    if let Some(url) = &proxies.http {
        all.push(proxy("http", url, reqwest::Proxy::http(url))?.no_proxy(except()));
    }
    if let Some(url) = &proxies.https {
        all.push(proxy("https", url, reqwest::Proxy::https(url))?.no_proxy(except()));
    }
    Ok(all)
}

/// The proxy for a scheme. Unsupported kinds are an error, because reqwest would ignore them and connect directly.
fn proxy(
    scheme: &'static str,
    url: &str,
    proxy: Result<reqwest::Proxy, reqwest::Error>,
) -> Result<reqwest::Proxy, NetworkError> {
    // A text without a host, such as `name:8080`, has no scheme: reqwest adds `http://`.
    let other = Url::parse(url)
        .is_ok_and(|url| url.has_host() && !["http", "https", "socks5", "socks5h"].contains(&url.scheme()));
    match proxy {
        Ok(proxy) if !other => Ok(proxy),
        outcome => Err(NetworkError::Proxy { scheme, source: outcome.err() }),
    }
}
