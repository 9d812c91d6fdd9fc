//! environment.yml files among the inputs of an installation: the lock beside them is installed, or a lock made in
//! memory.

use std::path::PathBuf;

use mlconda::{Subdir, lock::Lock, repodata::Access};

use crate::{
    commands::lock::check,
    context::Context,
    error::CliError,
    locking::{self, Cache, LockingArgs, PreviousLocks},
};

/// What an environment.yml is installed by
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EnvironmentArgs {
    /// Install the lock beside an environment.yml (`NAME.lock` of `NAME.yml`, else `env.lock`), but only if it satisfies
    /// the file; nothing is solved
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    locking: LockingArgs,
}

/// The lock that is installed for environment.yml files.
pub(super) enum Found {
    /// The lock in this file.
    Beside(PathBuf),
    /// Locks made from this file.
    Made(PathBuf, Vec<Lock>),
}

impl EnvironmentArgs {
    /// The files of `--file`.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.locking.files
    }

    /// Whether the network is used.
    pub(super) fn access(&self) -> Access {
        self.locking.access()
    }

    /// The lock for these files, which are one environment.
    pub(super) fn lock(&self, files: &[PathBuf], platform: Subdir, context: &Context) -> Result<Found, CliError> {
        let environment = locking::read(files, &self.locking, context)?;
        if self.locked {
            return Ok(Found::Beside(check::beside(files, &environment, platform, context)?));
        }
        check::tell_of_lock_beside(files, &environment, platform, context);
        let before = PreviousLocks::default();
        let made = locking::lock(&environment, &[platform], &before, &self.locking, Cache::IfPresent, context)?;
        Ok(Found::Made(environment.file.clone(), made.into_iter().map(|locked| locked.lock).collect()))
    }
}
