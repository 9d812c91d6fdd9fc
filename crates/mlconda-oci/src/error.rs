//! Errors of images, and of the registries, layouts and archives that contain them. Messages contain names of
//! registries and repositories, but never a login or a token.

use mlconda_channel::network::NetworkError;
use reqwest::StatusCode;

use crate::Platform;

/// Why an image could not be read or written.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// A digest does not have the form `sha256:` and 64 hexadecimal digits.
    #[error("`{0}` is not a sha256 digest: expected `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// A text is not a reference to an image.
    #[error("`{text}` is not an image name: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// A document (manifest, index, config, layout) or a blob violates the image spec, or differs from its descriptor.
    #[error("{what} is invalid: {reason}")]
    Invalid {
        /// The document or blob, and its place.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A registry, or a server that it redirects to, did not answer, or the answer was incomplete.
    #[error("cannot get an answer for {what}")]
    Network {
        /// The requested object, in words.
        what: String,
        /// The error of the transfer.
        #[source]
        source: NetworkError,
    },
    /// A registry requires a login, or refuses the given one.
    #[error("`{registry}` denies {what}: {reason}")]
    Denied {
        /// The registry.
        registry: String,
        /// The requested object, in words.
        what: String,
        /// Whether a login was sent, and the message of the registry.
        reason: String,
    },
    /// The object does not exist in the registry or the layout.
    #[error("there is no {}{}", what.strip_prefix("the ").unwrap_or(what), in_words(.said))]
    Missing {
        /// The requested object, in words.
        what: String,
        /// The message of the registry.
        said: String,
    },
    /// A registry refuses a request.
    #[error("the registry answers {status} for {what}{}", in_words(.said))]
    Refused {
        /// The requested object, in words.
        what: String,
        /// The HTTP status.
        status: StatusCode,
        /// The value of `Retry-After`, if the registry sent it.
        wait: Option<String>,
        /// The message of the registry.
        said: String,
    },
    /// There is no image for the platform.
    #[error("{what} is not for {wanted}: {}", platforms(.there))]
    Platform {
        /// The image.
        what: String,
        /// The wanted platform.
        wanted: Box<Platform>,
        /// The platforms that have an image.
        there: Vec<Platform>,
    },
    /// A file with logins is not valid.
    #[error("the logins in `{path}` cannot be read: {reason}")]
    Logins {
        /// The file.
        path: String,
        /// The reason, without content of the file.
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

    /// Adds the requested object to a network error.
    pub(crate) fn network(what: &str) -> impl FnOnce(NetworkError) -> Self {
        move |source| Self::Network { what: what.to_owned(), source }
    }
}
