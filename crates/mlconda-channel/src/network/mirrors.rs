//! Mirrors: what a URL's beginning is replaced by when something is asked for. Locks and messages keep the URL that the
//! environment names, so that they mean the same elsewhere.
//!
//! One mirror after the other is tried, with all the patience that a server gets. One that is not there for a moment is
//! not tried first again; one that lacks a file is passed over for this file. What is not mirrored is asked for as it is.
//! A channel's login is for the channel: it neither decides on what is mirrored nor is sent to a mirror.

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

/// A place that has what another one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What it is a mirror of: the beginning of URLs.
    of: Url,
    /// What takes its place.
    at: Url,
}

/// Text that describes no mirror.
#[derive(Debug, thiserror::Error)]
#[error("a mirror is written `URL=URL`, as in `https://conda.anaconda.org=https://mirror.example.org/conda`")]
pub struct MirrorError;

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let (of, at) = text.split_once('=').ok_or(MirrorError)?;
        let url = |text: &str| {
            let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok();
            url.filter(|url| ["http", "https"].contains(&url.scheme())).ok_or(MirrorError)
        };
        Ok(Self { of: url(of)?, at: url(at)? })
    }
}

/// The mirrors of one place.
struct MirrorGroup {
    of: String,
    at: Vec<Url>,
    /// Which of them is tried first.
    first: AtomicUsize,
}

/// Asks mirrors.
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
        // The most precise counts.
        mlconda_types::sorting::sort_by_key(&mut groups, |group| std::cmp::Reverse(group.of.len()));
        Self { groups }
    }

    /// Where a URL is mirrored, and the rest of it.
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
            // The login is for the place itself.
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
                // It is down: the next requests need not find that out again.
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

/// The login that stands in a mirror's URL, as a header: in a request that is made already, nobody looks for it there.
fn login(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut login = decoded(url.username());
    login.push(b':');
    login.extend(decoded(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(login))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Without percent-encoding.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let byte = others.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok()?.pop());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    bytes
}

/// A URL without user, password and `/t/TOKEN`: what is mirrored is the same for everybody.
fn without_login(url: &Url) -> Url {
    let mut bare = url.clone();
    // These fail for URLs that cannot have a user.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut segments: Vec<&str> = url.path().split('/').collect();
    if let Some(index) = mlconda_types::redact::token_place(url, &segments) {
        segments.drain(index - 1..=index);
        bare.set_path(&segments.join("/"));
    }
    bare
}

/// How much a failure says: a server that is down less than one that has no such thing, and that less than a refusal.
fn informativeness(outcome: &reqwest_middleware::Result<Response>) -> u8 {
    match outcome {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => 1,
        Ok(response) if response.status().is_client_error() => 2,
        _ => 0,
    }
}
