//! Where a URL may lead. A channel that answers over a network must not lead to files of this machine, and one that is
//! asked by https not to one that anybody on the way can change.

use reqwest::redirect::{Action, Attempt, Policy};
use url::Url;

/// How often an answer may redirect.
const MAX_REDIRECTS: usize = 10;

/// A URL leads to a worse scheme than its own.
#[derive(Debug, thiserror::Error)]
#[error("it leads from `{from}` to `{to}`: only the same scheme or `https` is followed")]
pub struct SchemeDowngrade {
    from: String,
    to: String,
}

/// Whether one URL may lead to another: to the same scheme, or to https.
pub fn check(from: &Url, to: &Url) -> Result<(), SchemeDowngrade> {
    if to.scheme() == from.scheme() || to.scheme() == "https" {
        return Ok(());
    }
    Err(SchemeDowngrade { from: from.scheme().to_owned(), to: to.scheme().to_owned() })
}

/// The redirects that are followed.
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
