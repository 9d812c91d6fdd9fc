//! Why a transfer failed: in words, and as a value on which the remedy depends.

use std::{error::Error, io};

use reqwest::StatusCode;
use rustls::CertificateError;

use super::{dns::DnsError, scheme::SchemeDowngrade};

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Nobody knows a host of this name.
    NoHost,
    /// No name server answers.
    NameServer,
    /// Nobody listens at this address.
    Refused,
    /// There is no way to this address.
    NoRoute,
    /// There was no answer in time, or the rest of it did not come.
    TimedOut,
    /// The bytes come too slowly.
    Slow,
    /// The connection ended before the answer did.
    BrokeOff,
    /// There are more bytes than there may be.
    TooLong,
    /// The certificate is of somebody whom we do not trust.
    UnknownIssuer,
    /// The certificate was good once, or will be.
    OutOfDate,
    /// The certificate is for another host.
    OtherHost,
    /// The two sides find no common way to encrypt.
    Tls,
    /// The proxy cannot be reached, or does not let us through.
    Proxy,
    /// The proxy wants to know who asks.
    ProxyLogin,
    /// It redirects without end, or to where it must not lead.
    Redirect,
    /// The server said so.
    Status(StatusCode),
    /// Something else.
    Other,
}

/// The last cause of an error: `Connection refused` rather than the layers through which it came. It names
/// no URL.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let last = source_chain(error).last().unwrap_or(error);
    if let Some(rustls::Error::InvalidCertificate(error)) = last.downcast_ref() {
        return match error {
            // webpki has no kind of its own for this.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the server's certificate is signed by itself (CaUsedAsEndEntity)".to_owned()
            }
            error => format!("the server's certificate is not valid: {error}"),
        };
    }
    match last.downcast_ref::<reqwest::Error>() {
        // This one would show its URL.
        Some(error) if error.is_timeout() => "no answer in time".to_owned(),
        Some(error) if error.is_redirect() => "it redirects to where there is no server".to_owned(),
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
pub(super) fn source_chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // This one does not call the error that it wraps its source, but that one's source.
    let error = match error.downcast_ref() {
        Some(reqwest_middleware::Error::Reqwest(inner)) => inner,
        _ => error,
    };
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// What kind of failure an error is. `by_proxy` says whether a proxy was asked.
pub(super) fn classify(error: &(dyn Error + 'static), by_proxy: Route) -> Cause {
    let mut found = Cause::Other;
    for cause in source_chain(error) {
        let text = cause.to_string();
        if text.contains("proxy authorization required") {
            return Cause::ProxyLogin;
        }
        // The library that speaks HTTP shows the kinds of its errors in words only.
        if text.contains("tunnel error") {
            found = Cause::Proxy;
        } else if text.contains("connection closed before message completed") {
            found = Cause::BrokeOff;
        }
        let this = classify_one(cause);
        if this != Cause::Other {
            found = this;
        }
    }
    let never_came_about = matches!(found, Cause::NoHost | Cause::NameServer | Cause::Refused | Cause::NoRoute);
    let is_timed_out = found == Cause::TimedOut && source_chain(error).any(is_connecting);
    if by_proxy == Route::Proxy && (never_came_about || is_timed_out) { Cause::Proxy } else { found }
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
            // webpki has no kind of its own for a certificate that signs itself.
            rustls::Error::InvalidCertificate(CertificateError::Other(other))
                if other.to_string().contains("CaUsedAsEndEntity") =>
            {
                Cause::UnknownIssuer
            }
            _ => Cause::Tls,
        };
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
