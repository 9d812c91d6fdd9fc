//! What went wrong with an image or the place where it lies. Messages name registries and repositories, and never a
//! login or a token.

use mlconda_channel::network::NetworkError;
use reqwest::StatusCode;

use crate::Platform;

/// What went wrong.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// A digest is not written `sha256:` and 64 hexadecimal digits.
    #[error("`{0}` is not a digest that is known here: one is `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// A text is no reference to an image.
    #[error("`{text}` names no image: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document (manifest, index, config, layout) or a blob is not what the image spec or its descriptor says.
    #[error("{what} is invalid: {reason}")]
    Invalid {
        /// What it is, with its place.
        what: String,
        /// Where it departs from what it should be.
        reason: String,
    },
    /// A registry, or what it names, gave no answer, or not all of it.
    #[error("cannot get an answer for {what}")]
    Network {
        /// What was asked for.
        what: String,
        /// Why it did not come.
        #[source]
        source: NetworkError,
    },
    /// A registry wants a login, or refuses the one that it got.
    #[error("`{registry}` denies {what}: {reason}")]
    Denied {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Whether there was a login, and what the registry says.
        reason: String,
    },
    /// A registry or a layout does not have it.
    #[error("there is no {}{}", what.strip_prefix("the ").unwrap_or(what), in_words(.said))]
    Missing {
        /// What was asked for.
        what: String,
        /// What the registry says.
        said: String,
    },
    /// A registry refuses a request.
    #[error("the registry answers {status} for {what}{}", in_words(.said))]
    Refused {
        /// What was asked for.
        what: String,
        /// The status.
        status: StatusCode,
        /// How long it asks to wait (`Retry-After`), as it was sent.
        wait: Option<String>,
        /// What the registry says.
        said: String,
    },
    /// An image is not there for a platform.
    #[error("{what} is not for {wanted}: {}", platforms(.there))]
    Platform {
        /// The image.
        what: String,
        /// The platform that is wanted.
        wanted: Box<Platform>,
        /// Those that it is for.
        there: Vec<Platform>,
    },
    /// A file with logins is invalid.
    #[error("the logins in `{path}` cannot be read: {reason}")]
    Logins {
        /// The file.
        path: String,
        /// What is wrong with it. Nothing of its content.
        reason: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

mlconda_types::debug_as_words!(OciError);

fn in_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" (it says: {said})") }
}

fn platforms(there: &[Platform]) -> String {
    match there {
        [] => "it names no platform".to_owned(),
        there => {
            let names: Vec<String> = there.iter().map(|platform| format!("`{platform}`")).collect();
            format!("it is for {}", names.join(", "))
        }
    }
}

impl OciError {
    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    /// Makes a network's error one of what was asked for.
    pub(crate) fn network(what: &str) -> impl FnOnce(NetworkError) -> Self {
        move |source| Self::Network { what: what.to_owned(), source }
    }
}
