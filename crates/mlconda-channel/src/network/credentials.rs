//! Logins that other tools have stored, by host. They are only read, and never shown.
//!
//! Three formats are supported: `credentials.json` of pixi and rattler, `authentication.json` of mamba, and `.netrc`.
//! A login in a URL takes precedence. A conda token becomes part of the path (`/t/TOKEN/channel`). Other logins become
//! an `Authorization` header, which does not follow a redirect to another host.

use std::{fmt, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use mlconda_system::files;
use mlconda_types::redact::{self, MASK, secrets};
use rattler_conda_types::Subdir;
use reqwest::{
    Request, Response,
    header::{AUTHORIZATION, HeaderValue},
};
use reqwest_middleware::{Middleware, Next};
use serde_json::Value;
use url::Url;

use super::{NetworkError, mirrors::without_login};

/// A file with logins, by its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialFile {
    /// `credentials.json` of pixi and rattler.
    Rattler(PathBuf),
    /// `authentication.json` of mamba.
    Mamba(PathBuf),
    /// `.netrc`.
    Netrc(PathBuf),
}

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A token for the path.
    CondaToken(String),
    /// The value of an `Authorization` header.
    Header(String),
}

impl Login {
    /// The token or the value of the header.
    pub(super) fn secret(&self) -> &str {
        match self {
            Self::CondaToken(text) | Self::Header(text) => text,
        }
    }

    fn basic(user: &str, password: &str) -> Self {
        Self::Header(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Logins must not be printed.
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// All logins, in order of precedence.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    /// Hosts and their logins. `*.host` stands for the host and all hosts below it, an empty text for any host.
    logins: Vec<(String, Login)>,
    /// The beginnings of masked URLs, and the same with the login.
    channels: Vec<(String, String)>,
}

impl Credentials {
    /// Reads the files, in order of precedence. `channels` are URLs of channels with logins.
    pub(super) fn read(files: &[CredentialFile], channels: &[String]) -> Result<Self, NetworkError> {
        let mut logins = Vec::new();
        for file in files {
            let (CredentialFile::Rattler(path) | CredentialFile::Mamba(path) | CredentialFile::Netrc(path)) = file;
            let text = files::read_to_string(path, files::LARGEST_TEXT).map_err(NetworkError::Credentials)?;
            let broken = || NetworkError::BrokenCredentials(path.clone());
            match file {
                CredentialFile::Rattler(_) => logins.extend(stored(&text, rattler).ok_or_else(broken)?),
                CredentialFile::Mamba(_) => logins.extend(stored(&text, mamba).ok_or_else(broken)?),
                CredentialFile::Netrc(_) => logins.extend(netrc(&text)),
            }
        }
        let masked = |channel: &String| {
            let channel = channel.trim_end_matches('/');
            let (base, last) = channel.rsplit_once('/')?;
            let channel = if last.parse::<Subdir>().is_ok() { base } else { channel };
            let url = Url::parse(&format!("{channel}/")).ok()?;
            let masked = redact::url(&url);
            (masked != url.as_str()).then(|| (masked, url.into()))
        };
        let mut channels: Vec<_> = channels.iter().filter_map(masked).collect();
        // The longest beginning counts.
        mlconda_types::sorting::sort_by_key(&mut channels, |(masked, _)| std::cmp::Reverse(masked.len()));
        Ok(Self { logins, channels })
    }

    /// A URL of a record with the login that the record does not have. If no channel has this login, it is the URL
    /// without login.
    pub(super) fn unmasked(&self, url: &Url) -> Url {
        if !url.as_str().contains(MASK) {
            return url.clone();
        }
        let known = self.channels.iter().find_map(|(masked, channel)| {
            let rest = url.as_str().strip_prefix(masked.as_str())?;
            Url::parse(&format!("{channel}{rest}")).ok()
        });
        let secrets = secrets(url);
        let is_masked = !secrets.is_empty() && secrets.iter().all(|secret| *secret == MASK);
        known.unwrap_or_else(|| if is_masked { without_login(url) } else { url.clone() })
    }

    /// The login for a URL.
    pub(super) fn for_url(&self, url: &Url) -> Option<&Login> {
        let host = url.host_str()?;
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let named = |name: &str| {
            self.logins.iter().find(|(pattern, _)| pattern.eq_ignore_ascii_case(name)).map(|(_, login)| login)
        };
        let domains = std::iter::successors(Some(host), |domain| domain.split_once('.').map(|(_, rest)| rest));
        let wildcards = || domains.clone().find_map(|domain| named(&format!("*.{domain}")));
        with_port.and_then(|host| named(&host)).or_else(|| named(host)).or_else(wildcards).or_else(|| named(""))
    }
}

/// A JSON object of hosts and logins. Kinds of logins that conda channels do not use are ignored.
fn stored(text: &str, login: fn(&Value) -> Option<Login>) -> Option<Vec<(String, Login)>> {
    let Value::Object(hosts) = serde_json::from_str(text).ok()? else { return None };
    Some(hosts.into_iter().filter_map(|(host, value)| Some((host, login(&value)?))).collect())
}

fn rattler(value: &Value) -> Option<Login> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (kind, value) = value.as_object()?.iter().next()?;
    match kind.as_str() {
        "CondaToken" => text(value).map(Login::CondaToken),
        "BearerToken" => text(value).map(|token| Login::Header(format!("Bearer {token}"))),
        "OAuth" => text(value.get("access_token")?).map(|token| Login::Header(format!("Bearer {token}"))),
        "BasicHTTP" => Some(Login::basic(value.get("username")?.as_str()?, value.get("password")?.as_str()?)),
        _ => None,
    }
}

fn mamba(value: &Value) -> Option<Login> {
    let text = |key: &str| value.get(key)?.as_str();
    match text("type")? {
        "CondaToken" => text("token").map(|token| Login::CondaToken(token.to_owned())),
        "BearerToken" => text("token").map(|token| Login::Header(format!("Bearer {token}"))),
        "BasicHTTPAuthentication" => {
            // mamba stores it in base64.
            let password = String::from_utf8(BASE64_STANDARD.decode(text("password")?).ok()?).ok()?;
            Some(Login::basic(text("user").or_else(|| text("username"))?, &password))
        }
        _ => None,
    }
}

/// `machine HOST login USER password PASSWORD` in any layout, and `default` for all other hosts.
fn netrc(text: &str) -> Vec<(String, Login)> {
    let text: String =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let mut words = text.split_whitespace();
    let mut logins = Vec::new();
    let (mut host, mut user) = (None, String::new());
    while let Some(word) = words.next() {
        match word {
            "machine" => (host, user) = (words.next().map(str::to_owned), String::new()),
            "default" => (host, user) = (Some(String::new()), String::new()),
            "login" => user = words.next().unwrap_or_default().to_owned(),
            "password" => {
                let password = words.next().unwrap_or_default();
                logins.extend(host.clone().map(|host| (host, Login::basic(&user, password))));
            }
            _ => {}
        }
    }
    logins
}

/// Adds the stored logins to requests.
pub(super) struct AuthMiddleware(pub(super) Arc<Credentials>);

#[async_trait::async_trait]
impl Middleware for AuthMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let has_login = request.headers().contains_key(AUTHORIZATION) || !secrets(request.url()).is_empty();
        match self.0.for_url(request.url()).filter(|_| !has_login) {
            Some(Login::CondaToken(token)) => {
                let path = format!("/t/{token}{}", request.url().path());
                request.url_mut().set_path(&path);
            }
            Some(Login::Header(value)) => {
                if let Ok(mut value) = HeaderValue::from_str(value) {
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
            }
            None => {}
        }
        next.run(request, extensions).await
    }
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_login_is_that_of_the_channel() {
        let channels = [
            "https://ro:pw@other",
            "https://host/t/tk-1",
            "https://me:pw@other/lab/noarch",
            "https://open/lab",
            "not a URL",
        ];
        let credentials = Credentials::read(&[], &channels.map(str::to_owned)).unwrap();
        for (url, expected) in [
            ("https://host/t/********/lab/noarch/a-1-0.conda", "https://host/t/tk-1/lab/noarch/a-1-0.conda"),
            ("https://********@other/lab/noarch/a-1-0.conda", "https://me:pw@other/lab/noarch/a-1-0.conda"),
            ("https://********@other/free/noarch/a-1-0.conda", "https://ro:pw@other/free/noarch/a-1-0.conda"),
            ("https://********@third/t/********/lab/a-1-0.conda", "https://third/lab/a-1-0.conda"),
            // No channel has this login.
            ("https://third/t/********/lab/noarch/a-1-0.conda", "https://third/lab/noarch/a-1-0.conda"),
            ("https://********@open/lab/a-1-0.conda", "https://open/lab/a-1-0.conda"),
            ("https://host/t/tk-2/lab/a-1-0.conda", "https://host/t/tk-2/lab/a-1-0.conda"),
            ("https://host/lab/a-1-0.conda", "https://host/lab/a-1-0.conda"),
        ] {
            assert_eq!(credentials.unmasked(&Url::parse(url).unwrap()).as_str(), expected, "{url}");
        }
    }

    #[test]
    fn logins_of_other_tools_are_understood() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs_err::write(directory.path().join(name), text).unwrap();
            directory.path().join(name)
        };
        let rattler = file(
            "credentials.json",
            r#"{"token.example": {"CondaToken": "tk-1"}, "*.bearer.example": {"BearerToken": "b"},
                "basic.example": {"BasicHTTP": {"username": "me", "password": "pw"}}, "s3.example": {"S3Credentials": {}}}"#,
        );
        let mamba = file(
            "authentication.json",
            r#"{"mamba.example": {"type": "BasicHTTPAuthentication", "user": "me", "password": "cHc="},
                "token.example": {"type": "CondaToken", "token": "another"}}"#,
        );
        let netrc =
            file("netrc", "# ours\nmachine netrc.example login me\n  password pw\ndefault login any password x\n");
        let files = [CredentialFile::Rattler(rattler), CredentialFile::Mamba(mamba), CredentialFile::Netrc(netrc)];
        let credentials = Credentials::read(&files, &[]).unwrap();
        let of = |url: &str| match credentials.for_url(&Url::parse(url).unwrap()) {
            Some(Login::CondaToken(token)) => format!("/t/{token}"),
            Some(Login::Header(value)) => value.clone(),
            None => String::new(),
        };
        assert_eq!(of("https://token.example/lab"), "/t/tk-1");
        assert_eq!(of("https://eu.bearer.example/lab"), "Bearer b");
        assert_eq!(of("https://basic.example/lab"), "Basic bWU6cHc=");
        assert_eq!(of("https://mamba.example/lab"), "Basic bWU6cHc=");
        assert_eq!(of("https://netrc.example/lab"), "Basic bWU6cHc=");
        assert_eq!(of("https://other.example/lab"), "Basic YW55Ong=");
        let broken = [CredentialFile::Rattler(file("broken", "no json"))];
        let error = Credentials::read(&broken, &[]).err().unwrap().to_string();
        assert!(error.ends_with("broken` cannot be read: it is not a JSON object of hosts"), "{error}");
    }
}
