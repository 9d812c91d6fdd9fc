//! What went wrong with an image or the place where it lies. Messages name registries and repositories, and never a
//! login or a token.

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// A digest is not written `sha256:` and 64 hexadecimal digits.
    #[error("`{0}` is not a digest that is known here: one is `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// A document (manifest, index, config, layout) is not what the image spec says.
    #[error("{what} is invalid: {reason}")]
    Invalid {
        /// What it is, with its place.
        what: String,
        /// Where it departs from the spec.
        reason: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl OciError {
    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }
}
