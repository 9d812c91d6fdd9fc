//! The library's errors: one enum of stages, each wrapping the stage's own error.

/// What went wrong, by stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An `environment.yml` could not be read.
    #[error(transparent)]
    Environment(#[from] crate::environment::EnvironmentError),
    /// A file could not be changed in place.
    #[error(transparent)]
    Edit(#[from] crate::edit::EditError),
    /// A network client could not be made.
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    /// Repodata could not be loaded.
    #[error(transparent)]
    Repodata(#[from] crate::repodata::RepodataError),
    /// There is no solution.
    #[error(transparent)]
    Solve(#[from] crate::solve::SolveError),
    /// A lock could not be read or written.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// A `pip:` list could not be locked.
    #[error(transparent)]
    Pip(#[from] crate::pip::PipError),
    /// A prefix could not be opened.
    #[error(transparent)]
    Prefix(#[from] crate::prefix::PrefixError),
    /// An installation failed; the prefix is as it was.
    #[error(transparent)]
    Install(#[from] crate::install::InstallError),
    /// An environment could not be activated.
    #[error(transparent)]
    Activate(#[from] crate::activate::ActivateError),
}

/// A result with the library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
