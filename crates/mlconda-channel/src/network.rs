//! The one HTTP client: its TLS roots, names, time limits and retries.
//!
//! * **Roots.** The Mozilla roots are built in, because a `debian:slim` or `scratch` image has none; those
//!   of the system and of the company are *added* to them, never put in their place.
//! * **TLS** is rustls with ring, given explicitly: nothing is installed for the whole process, and an
//!   embedding program's choice is not touched.
//! * **Names** are resolved here on Linux (see the module `names`).
//! * **Retries** are made here and nowhere else, so that repodata and packages are asked for with the same
//!   patience: what may pass (an overloaded server, a lost connection) is asked for again, what will not (a
//!   name nobody knows, a certificate nobody trusts) is reported at once.
//! * **Logins** come from the URL, or from files that other tools keep (module `credentials`); **mirrors** from whoever
//!   calls (module `mirrors`).
//! * **Secrets.** Channel URLs hold tokens and passwords: no message shows a URL that did not go through
//!   [`redact`].

mod cause;
mod credentials;
mod dns;
mod limits;
mod mirrors;
mod retry;
mod scheme;
#[cfg(test)]
mod tests;
mod transfer;
mod waits;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlconda_system::files;
use mlconda_types::progress::Progress;
use reqwest::{StatusCode, header};
use reqwest_middleware::{ClientWithMiddleware, Middleware};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::Url;

pub use cause::{Cause, reason};
use cause::{Route, classify};
pub use credentials::CredentialFile;
use credentials::{AuthMiddleware, Credentials};
use dns::Resolver;
pub(crate) use limits::display_size as shown_size;
pub use limits::{BodyKind, Limit, Limits};
use mirrors::MirrorMiddleware;
pub use mirrors::{Mirror, MirrorError};
pub(crate) use mlconda_types::redact::secrets;
pub use mlconda_types::redact::url as redact;
pub use scheme::check as check_scheme;
pub use transfer::Transfer;
use waits::WaitMonitor;

/// How to talk to servers.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Files of PEM certificates to trust besides the built-in Mozilla roots.
    pub certificate_files: Vec<PathBuf>,
    /// Directories of such files.
    pub certificate_directories: Vec<PathBuf>,
    /// The proxies to go through.
    pub proxies: Proxies,
    /// Files of logins; the first that has one for a host counts.
    pub credential_files: Vec<CredentialFile>,
    /// Mirrors; of one place, those that come first are asked first.
    pub mirrors: Vec<Mirror>,
    /// How long to wait before the first retry; each later wait is twice as long.
    pub retry_delay: Duration,
    /// How much may come, and how long it may take.
    pub limits: Limits,
}

/// Proxies by the scheme of what is asked for, as URLs.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Hosts that are asked directly: names, domains, addresses or networks, between commas.
    pub except: Option<String>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            certificate_files: Vec::new(),
            certificate_directories: Vec::new(),
            proxies: Proxies::default(),
            credential_files: Vec::new(),
            mirrors: Vec::new(),
            retry_delay: Duration::from_millis(500),
            limits: Limits::default(),
        }
    }
}

/// A client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    /// Makes a request again where that may help.
    http: ClientWithMiddleware,
    /// The stored logins, one copy for all.
    credentials: Arc<Credentials>,
    proxies: Arc<Proxies>,
    limits: Arc<Limits>,
    waits: Arc<WaitMonitor>,
}

/// A client that could not be made, or a request that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A certificate file could not be read.
    #[error(transparent)]
    Certificate(#[from] std::io::Error),
    /// A file of logins could not be read.
    #[error("cannot read stored logins")]
    Credentials(#[source] std::io::Error),
    /// A file of logins makes no sense.
    #[error("the stored logins in `{}` cannot be read: it is no JSON object of hosts", .0.display())]
    BrokenCredentials(PathBuf),
    /// A proxy's address makes no sense.
    #[error("the address of the proxy for `{scheme}://` is none")]
    Proxy {
        /// Which proxy.
        scheme: &'static str,
        /// The reason.
        #[source]
        source: reqwest::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The client could not be made.
    #[error("cannot set up the network client")]
    Client(#[from] reqwest::Error),
    /// The server answers that there is no such thing, or that it is not for us, or that it has trouble.
    #[error("`{url}` answers {status}{}", wait.map_or_else(String::new, |wait| format!(", and asks to wait for {} s", wait.as_secs())))]
    Status {
        /// What was asked for, without secrets.
        url: String,
        /// The answer.
        status: StatusCode,
        /// How long the server asks us to wait.
        wait: Option<Duration>,
    },
    /// There was no answer.
    #[error("cannot reach `{url}`: {reason}")]
    Unreachable {
        /// What was asked for, without secrets.
        url: String,
        /// The reason, without secrets.
        reason: String,
        /// The reason, as a value.
        cause: Cause,
    },
    /// The body of an answer did not come whole, or is not what it may be.
    #[error("{reason}")]
    Transfer {
        /// The reason.
        reason: String,
        /// The reason, as a value.
        cause: Cause,
    },
}

impl NetworkError {
    /// Why a transfer failed.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Status { status, .. } if *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => Cause::ProxyLogin,
            Self::Status { status, .. } => Cause::Status(*status),
            Self::Unreachable { cause, .. } | Self::Transfer { cause, .. } => *cause,
            _ => Cause::Other,
        }
    }
}

impl Client {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// If a named file or directory of certificates or logins cannot be read, or a proxy's address is none.
    pub fn new(options: &NetworkOptions) -> Result<Self, NetworkError> {
        let (limits, waits) = (Arc::new(options.limits.clone()), Arc::<WaitMonitor>::default());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mlconda/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(options)?)
            .connect_timeout(limits.connect)
            .read_timeout(limits.read_timeout)
            .redirect(scheme::policy())
            // It would tell another host the URL that redirects there, with its token.
            .referer(false)
            // The environment is read by whoever calls us, if at all.
            .no_proxy();
        for proxy in proxies(&options.proxies)? {
            builder = builder.proxy(proxy);
        }
        if cfg!(target_os = "linux") {
            builder = builder.dns_resolver(Resolver::new(dns::ResolverConfig::read(Path::new("/"))));
        }
        let retry = retry::RetryMiddleware {
            first_delay: options.retry_delay,
            limits: Arc::clone(&limits),
            waits: Arc::clone(&waits),
        };
        let mirrors = MirrorMiddleware::new(&options.mirrors);
        let credentials = Arc::new(Credentials::read(&options.credential_files)?);
        let login = AuthMiddleware(Arc::clone(&credentials));
        // From the outside to the inside.
        let layers: [Arc<dyn Middleware>; 3] = [Arc::new(mirrors), Arc::new(retry), Arc::new(login)];
        let proxies = Arc::new(options.proxies.clone());
        let http = ClientWithMiddleware::new(builder.build()?, layers);
        Ok(Self { http, credentials, proxies, limits, waits })
    }

    /// The stored login that a URL is asked for with, as text to tell it from others: a secret.
    pub(crate) fn login_key(&self, url: &Url) -> Option<&str> {
        self.credentials.for_url(url).filter(|_| secrets(url).is_empty()).map(credentials::Login::secret)
    }

    /// Asks for a URL, again if need be, until the answer's body begins.
    ///
    /// # Errors
    /// If there is no answer, or it is not one of success.
    pub async fn get(&self, url: &Url, kind: BodyKind) -> Result<Transfer, NetworkError> {
        let transfer = self.request(url, kind, &[]).await?;
        if transfer.status().is_success() { Ok(transfer) } else { Err(self.status_error(url, &transfer)) }
    }

    /// The error for an answer that is not one of success.
    pub(crate) fn status_error(&self, url: &Url, transfer: &Transfer) -> NetworkError {
        let wait = retry::retry_after(transfer.response()).filter(|wait| *wait > self.limits.max_retry_after);
        NetworkError::Status { url: redact(url), status: transfer.status(), wait }
    }

    /// Asks for a URL, again if need be, until the body of an answer begins, whichever it is.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn request(
        &self,
        url: &Url,
        kind: BodyKind,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Transfer, NetworkError> {
        let mut request = self.http.get(url.clone());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = request.send().await.map_err(|error| NetworkError::Unreachable {
            url: redact(url),
            reason: reason(&error),
            cause: classify(&error, self.proxies.route(url)),
        })?;
        if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
            return Err(redirect_error(url, response.headers().get(header::LOCATION)));
        }
        Ok(Transfer::new(response, kind, url, Arc::clone(&self.limits), Arc::clone(&self.waits)))
    }

    /// The size of what a URL is, in bytes, where the server says so without sending it.
    pub async fn content_length(&self, url: &Url) -> Option<u64> {
        let response = self.http.head(url.clone()).send().await.ok().filter(|answer| answer.status().is_success())?;
        response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Does some work, and tells of each server that the client waits for longer than [`Limits::notice`].
    pub async fn report_waits<T>(&self, progress: &dyn Progress, work: impl Future<Output = T>) -> T {
        self.waits.report_while(self.limits.notice_interval, progress, work).await
    }
}

/// The error for a redirect that was not followed.
fn redirect_error(url: &Url, location: Option<&header::HeaderValue>) -> NetworkError {
    let to = location.and_then(|location| url.join(location.to_str().ok()?).ok());
    let worse = to.and_then(|to| scheme::check(url, &to).err()).map(|error| error.to_string());
    let reason = worse.unwrap_or_else(|| "it redirects to no place that can be asked".to_owned());
    NetworkError::Unreachable { url: redact(url), reason, cause: Cause::Redirect }
}

impl Proxies {
    /// Whether a URL is asked for through a proxy. Networks among the exceptions are not looked at: on this depends a
    /// remedy, and nothing else.
    fn route(&self, url: &Url) -> Route {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let host = url.host_str().unwrap_or_default();
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

fn proxies(proxies: &Proxies) -> Result<Vec<reqwest::Proxy>, NetworkError> {
    let except = || proxies.except.as_deref().and_then(reqwest::NoProxy::from_string);
    let mut all = Vec::new();
    if let Some(url) = &proxies.http {
        let proxy = reqwest::Proxy::http(url).map_err(|source| NetworkError::Proxy { scheme: "http", source })?;
        all.push(proxy.no_proxy(except()));
    }
    if let Some(url) = &proxies.https {
        let proxy = reqwest::Proxy::https(url).map_err(|source| NetworkError::Proxy { scheme: "https", source })?;
        all.push(proxy.no_proxy(except()));
    }
    Ok(all)
}

/// What TLS connections need: ring, the roots, and HTTP/2 where the server has it.
fn tls(options: &NetworkOptions) -> Result<rustls::ClientConfig, NetworkError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for path in certificate_paths(options)? {
        let pem = files::read(&path, files::LARGEST_TEXT)?;
        // Bundles hold what rustls cannot use (version 1, odd encodings); the rest of them serves.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificate_paths(options: &NetworkOptions) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut paths = options.certificate_files.clone();
    for directory in &options.certificate_directories {
        let mut inside =
            fs_err::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        inside.retain(|path| path.is_file());
        mlconda_types::sorting::sort(&mut inside);
        paths.append(&mut inside);
    }
    Ok(paths)
}
