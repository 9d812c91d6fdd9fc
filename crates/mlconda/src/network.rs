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

mod credentials;
mod mirrors;
mod names;

use crate::files;
use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::{Request, Response, StatusCode, header};
use reqwest_middleware::{ClientWithMiddleware, Middleware, Next};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::Url;

pub use credentials::CredentialFile;
use credentials::{Authenticate, Credentials};
use mirrors::Redirect;
pub use mirrors::{Mirror, MirrorError};
use names::{NameError, Names};

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for (`Retry-After`).
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a request is made, at most.
const ATTEMPTS: u32 = 4;

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
        }
    }
}

/// A client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    /// Makes each request up to [`ATTEMPTS`] times.
    pub(crate) http: ClientWithMiddleware,
    /// The stored logins, one copy for all.
    credentials: Arc<Credentials>,
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
        /// Why.
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
    #[error("`{url}` answers {status}")]
    Status {
        /// What was asked for, without secrets.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// There was no answer.
    #[error("cannot reach `{url}`: {reason}")]
    Unreachable {
        /// What was asked for, without secrets.
        url: String,
        /// Why, without secrets.
        reason: String,
    },
}

impl Client {
    /// Makes a client. Nothing is sent.
    ///
    /// # Errors
    /// If a named file or directory of certificates or logins cannot be read, or a proxy's address is none.
    pub fn new(options: &NetworkOptions) -> Result<Self, NetworkError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mlconda/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(options)?)
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            // It would tell another host the URL that redirects there, with its token.
            .referer(false)
            // The environment is read by whoever calls us, if at all.
            .no_proxy();
        for proxy in proxies(&options.proxies)? {
            builder = builder.proxy(proxy);
        }
        if cfg!(target_os = "linux") {
            builder = builder.dns_resolver(Names::new(names::Config::read(Path::new("/"))));
        }
        let retry = Retry { first_delay: options.retry_delay };
        let mirrors = Redirect::new(&options.mirrors);
        let credentials = Arc::new(Credentials::read(&options.credential_files)?);
        let login = Authenticate(Arc::clone(&credentials));
        // From the outside to the inside.
        let layers: [Arc<dyn Middleware>; 3] = [Arc::new(mirrors), Arc::new(retry), Arc::new(login)];
        Ok(Self { http: ClientWithMiddleware::new(builder.build()?, layers), credentials })
    }

    /// The stored login that a URL is asked for with, as text to tell it from others: a secret.
    pub(crate) fn login(&self, url: &Url) -> Option<&str> {
        self.credentials.of(url).filter(|_| secrets(url).is_empty()).map(credentials::Login::secret)
    }

    /// Asks for a URL, again if need be, until the answer's body begins.
    ///
    /// # Errors
    /// If there is no answer, or it is not one of success.
    pub async fn get(&self, url: &Url) -> Result<Response, NetworkError> {
        let response = self
            .http
            .get(url.clone())
            .send()
            .await
            .map_err(|error| NetworkError::Unreachable { url: redact(url), reason: reason(&error) })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(NetworkError::Status { url: redact(url), status }),
        }
    }
}

impl Client {
    /// The size of what a URL is, in bytes, where the server says so without sending it.
    pub(crate) async fn size(&self, url: &Url) -> Option<u64> {
        let response = self.http.head(url.clone()).send().await.ok().filter(|answer| answer.status().is_success())?;
        response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "********";

/// A URL without its secrets: user and password, the token of `/t/TOKEN/`, and the query, in which storage
/// services put signatures.
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // These fail for URLs that cannot have a user, and then there is none to hide.
        let _ = shown.set_username(MASK);
        let _ = shown.set_password(None);
    }
    let mut segments: Vec<&str> = url.path().split('/').collect();
    if let Some(place) = token_place(url, &segments) {
        segments[place] = MASK;
    }
    shown.set_path(&segments.join("/"));
    shown.set_query(url.query().map(|_| MASK));
    shown.to_string()
}

/// A line of a file without the tokens of the URLs in it; variables, which stand for them, stay.
pub(crate) fn without_tokens(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find("/t/") {
        let (before, behind) = rest.split_at(start + 3);
        shown.push_str(before);
        let ends = |each: char| each.is_whitespace() || "/?#`'\"<>,])".contains(each);
        let (token, after) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        let is_url = shown.rsplit_once("://").is_some_and(|(scheme, _)| !scheme.ends_with("file"));
        let is_token = is_url && after.starts_with('/') && !token.is_empty() && !token.starts_with("${");
        shown.push_str(if is_token { MASK } else { token });
        rest = after;
    }
    shown + rest
}

/// Which segment of a URL's path is a token: the one after `/t/`, wherever a server has its channels.
fn token_place(url: &Url, segments: &[&str]) -> Option<usize> {
    let place = segments.iter().position(|segment| *segment == "t")? + 1;
    // Something follows a token: the channel.
    (url.scheme() != "file" && place + 1 < segments.len()).then_some(place)
}

/// The secrets of a URL as they stand in it, percent-encoded: user and password, and the token of `/t/TOKEN/`.
pub(crate) fn secrets(url: &Url) -> Vec<&str> {
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let segments: Vec<&str> = url.path().split('/').collect();
    let token = token_place(url, &segments).map(|place| segments[place]);
    [user, url.password(), token].into_iter().flatten().collect()
}

/// The last cause of an error: `Connection refused` rather than the layers through which it came. It names
/// no URL.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let last = causes(error).last().unwrap_or(error);
    match last.downcast_ref::<reqwest::Error>() {
        // This one would show its URL.
        Some(error) if error.is_timeout() => "no answer in time".to_owned(),
        Some(error) if error.is_redirect() => "it redirects without end".to_owned(),
        Some(error) => error.status().map_or_else(|| "the request failed".to_owned(), |status| status.to_string()),
        None => match last.to_string().as_str() {
            "operation timed out" => "no answer in time".to_owned(),
            "end of file before message length reached" => "the answer broke off".to_owned(),
            text => text.to_owned(),
        },
    }
}

/// An error and its causes, outermost first. An I/O error is asked for what it wraps, which it does not
/// call its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
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
        crate::sorting::sort(&mut inside);
        paths.append(&mut inside);
    }
    Ok(paths)
}

/// Makes a request again when the failure may pass.
struct Retry {
    first_delay: Duration,
}

#[async_trait::async_trait]
impl Middleware for Retry {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let mut delay = self.first_delay;
        for _ in 1..ATTEMPTS {
            let Some(copy) = request.try_clone() else { break };
            let wait = match next.clone().run(copy, extensions).await {
                Ok(response) if may_pass(response.status()) => asked_wait(&response).unwrap_or(delay),
                Err(error) if !is_lasting(&error) => delay,
                outcome => return outcome,
            };
            tokio::time::sleep(wait).await;
            delay *= 2;
        }
        next.run(request, extensions).await
    }
}

fn may_pass(status: StatusCode) -> bool {
    // 501 says that the server will never know how: sharded repodata is asked for this way.
    status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether asking again is of no use.
fn is_lasting(error: &reqwest_middleware::Error) -> bool {
    let reqwest_middleware::Error::Reqwest(error) = error else { return true };
    let is_lasting_cause = causes(error).any(|cause| {
        matches!(cause.downcast_ref(), Some(NameError::Missing(_) | NameError::Invalid(_)))
            || cause.downcast_ref::<rustls::Error>().is_some()
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    error.is_builder() || error.is_redirect() || is_lasting_cause
}

/// How long the server asks us to wait, where it says so in seconds.
fn asked_wait(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let shown = |url: &str| redact(&Url::parse(url).unwrap());
        assert_eq!(shown("https://conda.anaconda.org/conda-forge/"), "https://conda.anaconda.org/conda-forge/");
        assert_eq!(shown("https://me:pw@host/t/tk-123/lab/noarch/"), "https://********@host/t/********/lab/noarch/");
        assert_eq!(shown("https://host/repo/t/tk-1/lab/noarch/"), "https://host/repo/t/********/lab/noarch/");
        assert_eq!(shown("https://host/a?X-Amz-Signature=ab"), "https://host/a?********");
        assert_eq!(shown("file:///channels/t/lab"), "file:///channels/t/lab");
        let line =
            "[https://h/t/tk-1/a, 'https://h/t/${T}/b', https://h/x/t/tk-2/c, file:///t/d/e, https://h/t/f, /t/]";
        let shown = "[https://h/t/********/a, 'https://h/t/${T}/b', https://h/x/t/********/c, file:///t/d/e, https://h/t/f, /t/]";
        assert_eq!(without_tokens(line), shown);
    }

    /// A server on loopback that gives one canned answer after the other, the last one for ever.
    async fn server(answers: &'static [&'static str]) -> (Url, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/t/secret/x", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let answer = answers[number.min(answers.len() - 1)];
                stream.write_all(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        (url, asked)
    }

    fn client() -> Client {
        Client::new(&NetworkOptions { retry_delay: Duration::ZERO, ..NetworkOptions::default() }).unwrap()
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_for_again_and_what_will_not_is_not() {
        let (url, asked) = server(&["503 Busy\r\nRetry-After: 0", "200 OK"]).await;
        assert!(client().get(&url).await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);

        let (url, asked) = server(&["403 Forbidden"]).await;
        let error = client().get(&url).await.unwrap_err().to_string();
        assert!(error.ends_with("/t/********/x` answers 403 Forbidden"), "{error}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let (url, asked) = server(&["500 Oops"]).await;
        assert!(client().get(&url).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn the_reason_is_the_last_cause_and_holds_no_url() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/t/secret/x", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let NetworkError::Unreachable { reason, .. } = client().get(&url).await.unwrap_err() else { panic!() };
        assert!(reason.starts_with("Connection refused"), "{reason}");
    }
}
