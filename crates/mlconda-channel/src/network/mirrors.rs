//! Mirrors: replaces the beginning of requested URLs. Locks and messages keep the original URL, so that they mean the
//! same elsewhere.
//!
//! Mirrors are tried in order, each with retries. A mirror that is down is not tried first again. A mirror that lacks
//! a file is skipped for this file. URLs without a mirror are requested as they are. The login of a channel is ignored
//! when a mirror is chosen, and never sent to a mirror.

use std::{
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{
    Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
};
use reqwest_middleware::{Middleware, Next};
use url::Url;

use super::{Cause, RegistryError};

/// A mirror of a URL prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The prefix of the original URLs.
    of: Url,
    /// The prefix of the mirror.
    at: Url,
}

/// The text is not a mirror.
#[derive(Debug, thiserror::Error)]
#[error("a mirror is written `URL=URL`, as in `https://conda.anaconda.org=https://mirror.example.org/conda`")]
pub struct MirrorError;

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let (of, at) = text.split_once('=').ok_or(MirrorError)?;
        let url = |text: &str, schemes: &[&str]| {
            let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok().map(with_lower_host);
            url.filter(|url| schemes.contains(&url.scheme())).ok_or(MirrorError)
        };
        // S3 buckets are only supported through a mirror.
        Ok(Self { of: url(of, &["http", "https", "s3", "oci"])?, at: url(at, &["http", "https", "oci"])? })
    }
}

/// The mirrors of one URL prefix.
struct MirrorGroup {
    of: String,
    at: Vec<Url>,
    /// The index of the mirror that is tried first.
    first: AtomicUsize,
}

/// Requests files from mirrors.
pub(super) struct MirrorMiddleware {
    groups: Vec<MirrorGroup>,
}

impl MirrorMiddleware {
    pub(crate) fn new(mirrors: &[Mirror]) -> Self {
        let mut groups: Vec<MirrorGroup> = Vec::new();
        for Mirror { of, at } in mirrors {
            let of = String::from(without_login(of));
            match groups.iter_mut().find(|group| group.of == of) {
                Some(group) => group.at.push(at.clone()),
                None => groups.push(MirrorGroup { of, at: vec![at.clone()], first: AtomicUsize::new(0) }),
            }
        }
        // The longest prefix counts.
        mlconda_types::sorting::sort_by_key(&mut groups, |group| std::cmp::Reverse(group.of.len()));
        Self { groups }
    }

    /// The mirrors of a URL, and the rest of the URL.
    fn group<'a>(&self, url: &'a str) -> Option<(&MirrorGroup, &'a str)> {
        self.groups.iter().find_map(|group| Some((group, url.strip_prefix(&group.of)?)))
    }
}

#[async_trait::async_trait]
impl Middleware for MirrorMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = without_login(request.url());
        let Some((group, rest)) = self.group(url.as_str()) else { return next.run(request, extensions).await };
        let first = group.first.load(Ordering::Relaxed);
        let mut best = None;
        for turn in 0..group.at.len() {
            let index = (first + turn) % group.at.len();
            let (Some(mut copy), Ok(mirrored)) = (request.try_clone(), group.at[index].join(rest)) else { continue };
            // The login is for the original host.
            if mirrored != url {
                copy.headers_mut().remove(AUTHORIZATION);
                if let Some(login) = login(&mirrored) {
                    copy.headers_mut().insert(AUTHORIZATION, login);
                }
                *copy.url_mut() = mirrored;
            }
            let outcome = next.clone().run(copy, extensions).await;
            match &outcome {
                Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED => {
                    return outcome;
                }
                Ok(response) if !response.status().is_server_error() => {}
                Err(error) if is_refused(error) => {}
                // The mirror is down: later requests start with the next one.
                _ => group.first.store((index + 1) % group.at.len(), Ordering::Relaxed),
            }
            if best.as_ref().is_none_or(|(rank, _)| *rank <= informativeness(&outcome)) {
                best = Some((informativeness(&outcome), outcome));
            }
        }
        match best {
            Some((_, outcome)) => outcome,
            None => next.run(request, extensions).await,
        }
    }
}

/// The login of a mirror's URL, as a header. reqwest does not read logins from the URL of a finished request.
fn login(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut login = percent_decoded(url.username());
    login.push(b':');
    login.extend(percent_decoded(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(login))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Decodes percent-encoding.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let byte = others.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok()?.pop());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    bytes
}

/// A URL with its host in lower case. For schemes that the URL standard does not list, the library keeps the case.
fn with_lower_host(mut url: Url) -> Url {
    if url.scheme() == "oci"
        && let Some(host) = url.host_str().map(str::to_ascii_lowercase)
    {
        // This fails for URLs that cannot have a host.
        let _ = url.set_host(Some(&host));
    }
    url
}

/// Whether a registry answered, but did not give the file.
fn is_refused(error: &reqwest_middleware::Error) -> bool {
    matches!(error, reqwest_middleware::Error::Middleware(inner) if inner.downcast_ref::<RegistryError>().is_some_and(
        |error| matches!(error.cause, Cause::RegistryLogin | Cause::Registry | Cause::LoginFile)
    ))
}

/// A URL without user, password and `/t/TOKEN`: mirrors are the same for all users.
pub(super) fn without_login(url: &Url) -> Url {
    let mut bare = with_lower_host(url.clone());
    // These fail for URLs that cannot have a user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut segments: Vec<&str> = url.path().split('/').collect();
    if let Some(index) = mlconda_types::redact::token_index(url, &segments) {
        segments.drain(index - 1..=index);
        bare.set_path(&segments.join("/"));
    }
    bare
}

/// How informative a failure is: a 404 says more than a server that is down, and other client errors say more than a
/// 404.
fn informativeness(outcome: &reqwest_middleware::Result<Response>) -> u8 {
    match outcome {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => 1,
        Ok(response) if response.status().is_client_error() => 2,
        Err(error) if is_refused(error) => 2,
        _ => 0,
    }
}
