//! The library's errors: one enum with a variant for each stage, which wraps the stage's own error. `Debug` of an error
//! prints its message and its causes, so that `main` can return it.

pub use mlconda_types::words::chain;

/// An error, by stage.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An `environment.yml` could not be read.
    #[error(transparent)]
    Environment(#[from] mlconda_environment::EnvironmentError),
    /// A file could not be changed in place.
    #[error(transparent)]
    Edit(#[from] mlconda_environment::edit::EditError),
    /// A network client could not be made.
    #[cfg(feature = "network")]
    #[error(transparent)]
    Network(#[from] mlconda_channel::network::NetworkError),
    /// Repodata could not be loaded.
    #[cfg(feature = "network")]
    #[error(transparent)]
    Repodata(#[from] mlconda_channel::repodata::RepodataError),
    /// There is no solution.
    #[cfg(feature = "solve")]
    #[error(transparent)]
    Solve(#[from] mlconda_solve::SolveError),
    /// A lock could not be read or written.
    #[error(transparent)]
    Lock(#[from] mlconda_lock::LockError),
    /// A `pip:` list could not be locked.
    #[cfg(feature = "pip")]
    #[error(transparent)]
    Pip(#[from] mlconda_pip::PipError),
    /// A prefix could not be opened.
    #[error(transparent)]
    Prefix(#[from] mlconda_prefix::PrefixError),
    /// An installation failed; the prefix is unchanged.
    #[cfg(feature = "install")]
    #[error(transparent)]
    Install(#[from] mlconda_install::InstallError),
    /// An image could not be made.
    #[cfg(feature = "image")]
    #[error(transparent)]
    Image(#[from] mlconda_image::ImageError),
    /// A bundle could not be made or read.
    #[cfg(feature = "bundle")]
    #[error(transparent)]
    Bundle(#[from] mlconda_bundle::BundleError),
    /// An image could not be read or written.
    #[cfg(feature = "image")]
    #[error(transparent)]
    Oci(#[from] mlconda_oci::OciError),
    /// An environment could not be activated.
    #[error(transparent)]
    Activate(#[from] mlconda_prefix::activate::ActivateError),
}

mlconda_types::debug_as_words!(Error);

/// A result with the library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
