//! Classifies why a transfer failed: as text, and as a value that decides on the hint.

use std::{error::Error, io};

use reqwest::StatusCode;
use rustls::CertificateError;
use url::Url;

use super::{dns::DnsError, registry::RegistryError, scheme::SchemeDowngrade};

/// Why a transfer failed. The command line chooses its hint by this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The host name does not exist.
    NoHost,
    /// The host name cannot be resolved on this machine. It is needed because a `socks5://` proxy gets addresses only.
    NoHostForProxy,
    /// No name server answered.
    NameServer,
    /// The connection was refused.
    Refused,
    /// There is no route to the address.
    NoRoute,
    /// The response, or the rest of it, did not come in time.
    TimedOut,
    /// The transfer was too slow.
    Slow,
    /// The connection was closed before the response was complete.
    BrokeOff,
    /// The response exceeds its size limit.
    TooLong,
    /// The certificate is from an untrusted issuer.
    UnknownIssuer,
    /// The certificate has expired, or is not valid yet.
    OutOfDate,
    /// The certificate is for another host.
    OtherHost,
    /// TLS failed for another reason.
    Tls,
    /// The proxy cannot be reached, or refuses the connection.
    Proxy,
    /// The proxy requires a login.
    ProxyLogin,
    /// There were too many redirects, or one to a scheme that is not followed.
    Redirect,
    /// The URL has a scheme that is not supported, such as `s3`.
    Scheme(Scheme),
    /// A registry of images requires a login, or rejects the one that was sent.
    RegistryLogin,
    /// A file with logins for registries cannot be read. The message names the file.
    LoginFile,
    /// The artifact is not a file of a channel, or differs from its manifest.
    Registry,
    /// Network access is disabled.
    Offline,
    /// The server answered with this status.
    Status(StatusCode),
    /// Anything else.
    Other,
}

/// A scheme that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A bucket (`s3://`).
    S3,
    /// Another one.
    Other,
}

impl Scheme {
    /// The unsupported scheme of a URL; `None` if it is supported.
    pub(super) fn unsupported(url: &Url) -> Option<Self> {
        match url.scheme() {
            "http" | "https" => None,
            "s3" => Some(Self::S3),
            _ => Some(Self::Other),
        }
    }
}

/// The innermost cause of an error, such as `Connection refused`. It contains no URL.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let last = source_chain(error).last().unwrap_or(error);
    if let Some(rustls::Error::InvalidCertificate(error)) = last.downcast_ref() {
        return match error {
            // webpki has no error kind for this.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the server's certificate is signed by itself (CaUsedAsEndEntity)".to_owned()
            }
            error => format!("the server's certificate is not valid: {error}"),
        };
    }
    match last.downcast_ref::<reqwest::Error>() {
        // The text of this error contains its URL.
        Some(error) if error.is_timeout() => "no answer in time".to_owned(),
        Some(error) if error.is_redirect() => "it redirects to a URL without a server".to_owned(),
        Some(error) => error.status().map_or_else(|| "the request failed".to_owned(), |status| status.to_string()),
        None => match last.to_string().as_str() {
            "operation timed out" => "no answer in time".to_owned(),
            "end of file before message length reached" => "the answer broke off".to_owned(),
            text => text.strip_prefix(SOCKS).map_or_else(|| text.to_owned(), socks_reason),
        },
    }
}

/// An error and its sources, outermost first. It also looks into I/O errors, which do not report the error that they
/// wrap as their source.
pub(super) fn source_chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // This error skips the one that it wraps, and reports its source instead.
    let error: &(dyn Error + 'static) = match error.downcast_ref() {
        Some(reqwest_middleware::Error::Reqwest(inner)) => inner,
        Some(reqwest_middleware::Error::Middleware(inner)) => inner.as_ref(),
        _ => error,
    };
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// Classifies an error. `by_proxy` tells whether the request went through a proxy.
pub(super) fn classify(error: &(dyn Error + 'static), by_proxy: Route) -> Cause {
    let mut found = Cause::Other;
    let mut is_local_name = false;
    for cause in source_chain(error) {
        let text = cause.to_string();
        is_local_name |= text == "error resolving for socks proxy";
        // hyper reports these errors only by their text.
        if text.contains("proxy authorization required") || is_socks_login(&text) {
            return Cause::ProxyLogin;
        }
        if text.contains("tunnel error") || text.starts_with(SOCKS) {
            found = Cause::Proxy;
        } else if text.contains("connection closed before message completed") {
            found = Cause::BrokeOff;
        }
        let this = classify_one(cause);
        if this != Cause::Other {
            found = this;
        }
    }
    if is_local_name {
        return if found == Cause::NoHost { Cause::NoHostForProxy } else { found };
    }
    let never_came_about = matches!(found, Cause::NoHost | Cause::NameServer | Cause::Refused | Cause::NoRoute);
    let is_timed_out = found == Cause::TimedOut && source_chain(error).any(is_connecting);
    if by_proxy == Route::Proxy && (never_came_about || is_timed_out) { Cause::Proxy } else { found }
}

/// The beginning of hyper's messages about SOCKS proxies.
const SOCKS: &str = "SOCKS error: ";

/// hyper's message if a login is too long for a request (RFC 1929).
const LONG_LOGIN: &str = "failed serialize request";

/// Whether a SOCKS proxy requires a login, or rejects the one that was sent.
fn is_socks_login(text: &str) -> bool {
    let words = text.strip_prefix(SOCKS).unwrap_or_default();
    words.contains("authentication") || words.contains("credentials") || words == LONG_LOGIN
}

/// Why a SOCKS proxy could not be used, from hyper's message.
fn socks_reason(words: &str) -> String {
    match words {
        LONG_LOGIN => "SOCKS allows 255 bytes for the name in the proxy's login, and 255 for the password".to_owned(),
        _ if words.contains("authentication") || words.contains("credentials") => {
            "the proxy wants a login, or does not take the one that it gets".to_owned()
        }
        "failed to create underlying connection" => "cannot connect to the proxy".to_owned(),
        "io error during SOCKS handshake" => "the proxy closed the connection".to_owned(),
        "failed parsing server response" => "the proxy does not answer as SOCKS5 proxies do".to_owned(),
        _ => format!("the proxy cannot connect to the server: {words}"),
    }
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    Proxy,
}

fn is_connecting(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

fn classify_one(cause: &(dyn Error + 'static)) -> Cause {
    if let Some(error) = cause.downcast_ref() {
        return match error {
            DnsError::Missing(_) | DnsError::Invalid(_) => Cause::NoHost,
            DnsError::Failed { .. } => Cause::NameServer,
        };
    }
    if let Some(error) = cause.downcast_ref() {
        return match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Cause::UnknownIssuer,
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Cause::OutOfDate,
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Cause::OtherHost,
            // webpki has no error kind for a self-signed certificate.
            rustls::Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string().contains("CaUsedAsEndEntity") =>
            {
                Cause::UnknownIssuer
            }
            _ => Cause::Tls,
        };
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return error.cause;
    }
    if cause.downcast_ref::<SchemeDowngrade>().is_some() {
        return Cause::Redirect;
    }
    if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
        return match error {
            _ if error.is_timeout() => Cause::TimedOut,
            _ if error.is_redirect() => Cause::Redirect,
            _ => Cause::Other,
        };
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Cause::Refused,
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => Cause::NoRoute,
        Some(io::ErrorKind::TimedOut) => Cause::TimedOut,
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe,
        ) => Cause::BrokeOff,
        _ if cause.to_string() == "end of file before message length reached" => Cause::BrokeOff,
        _ => Cause::Other,
    }
}
