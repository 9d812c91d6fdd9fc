//! Turns a conda `environment.yml` into a fully pinned lock, and a lock into a prefix.
//!
//! Every stage's value has a name, and functions lead from one to the next:
//! [`environment::Environment`] → [`repodata::Repodata`] → [`solve::Solution`] → [`lock::Lock`] →
//! [`plan::Plan`] → [`install::Report`].
//!
//! The library does not print, prompt, or read environment variables, the home directory, the current
//! directory or the clock: all of these come in as values. What it has to say while it works goes
//! through [`progress::Progress`].

pub mod activate;
pub mod environment;
pub mod error;
pub mod host;
pub mod install;
pub mod lock;
pub mod network;
pub mod plan;
pub mod prefix;
pub mod progress;
pub mod repodata;
pub mod solve;
mod system;

pub use error::{Error, Result};

/// The field's vocabulary, re-exported once from `rattler_conda_types`.
pub use rattler_conda_types::{
    Channel, GenericVirtualPackage, MatchSpec, PackageName, PackageRecord, PrefixRecord, RepoDataRecord, Subdir,
    Version,
};
pub use url::Url;
