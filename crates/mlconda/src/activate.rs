//! Activation: what a process in an environment sees.

/// An environment that cannot be activated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// A file of the prefix could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}
