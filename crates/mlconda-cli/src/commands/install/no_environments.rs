//! Replaces `environments` in a program without the feature `lock`, which installs locks, but no environment.yml.

use std::path::PathBuf;

use mlconda::{Subdir, lock::Lock, repodata::Access};

use crate::{context::Context, error::CliError};

/// Where packages come from
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EnvironmentArgs {
    /// Do not use the network: use the cache and local channels
    #[arg(long, help_heading = None::<&str>)]
    offline: bool,
}

/// The lock that is installed for environment.yml files: none in this program.
pub(super) enum Found {
    /// The lock in this file.
    Beside(PathBuf),
    /// Locks made from this file.
    Made(PathBuf, Vec<Lock>),
}

impl EnvironmentArgs {
    /// There is no `--file`.
    pub(super) fn files(&self) -> &[PathBuf] {
        &[]
    }

    /// Whether the network is used.
    pub(super) fn access(&self) -> Access {
        if self.offline { Access::Offline } else { Access::Online }
    }

    /// The error that this program cannot lock.
    pub(super) fn lock(&self, files: &[PathBuf], _platform: Subdir, _context: &Context) -> Result<Found, CliError> {
        let file = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        Err(CliError::world(
            format!("`{file}` is an environment file, and this program was built without the feature `lock`"),
            "make a lock with the complete mlconda, and install that: `mlconda lock`, then `mlconda install env.lock`",
        ))
    }
}
