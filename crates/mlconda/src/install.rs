//! Carries out a plan: fetch, verify, unpack aside, swap, record. A prefix is the old one or the new one.

/// An installation that failed; the prefix is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
}
