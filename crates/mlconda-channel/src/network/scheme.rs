//! Which URLs may lead to which. A channel on a server must not lead to local files, and a channel on https must not
//! lead to http, where others can change the data.

use reqwest::redirect::{Action, Attempt, Policy};
use url::Url;

/// The most redirects of a request.
const MAX_REDIRECTS: usize = 10;

/// A URL leads to a less secure scheme than its own.
#[derive(Debug, thiserror::Error)]
#[error("it leads from `{from}` to `{to}`: only the same scheme or `https` is followed")]
pub struct SchemeDowngrade {
    from: String,
    to: String,
}

/// Checks that a URL may lead to another one: with the same scheme, or to https.
///
/// # Errors
/// If the other scheme is less secure.
pub fn check(from: &Url, to: &Url) -> Result<(), SchemeDowngrade> {
    if to.scheme() == from.scheme() || to.scheme() == "https" {
        return Ok(());
    }
    Err(SchemeDowngrade { from: from.scheme().to_owned(), to: to.scheme().to_owned() })
}

/// The redirect policy.
pub(super) fn policy() -> Policy {
    Policy::custom(follow)
}

fn follow(attempt: Attempt<'_>) -> Action {
    let outcome = attempt.previous().last().map_or(Ok(()), |from| check(from, attempt.url()));
    match outcome {
        Err(error) => attempt.error(error),
        Ok(()) if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
        Ok(()) => attempt.follow(),
    }
}
