//! The difference between a lock and a prefix, as a value: `--dry-run` prints it, `install` carries it out.

use crate::{
    lock::{Lock, LockedPackage},
    prefix::{Prefix, PrefixError},
};

/// What is to be done so that a prefix equals a lock.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Packages to link, dependencies first.
    pub link: Vec<LockedPackage>,
    /// Records of packages to unlink.
    pub unlink: Vec<rattler_conda_types::PrefixRecord>,
    /// Records of packages that stay.
    pub keep: Vec<rattler_conda_types::PrefixRecord>,
}

impl Plan {
    /// Compares.
    ///
    /// # Errors
    /// If the prefix cannot be read.
    pub fn between(_lock: &Lock, _prefix: &Prefix) -> Result<Self, PrefixError> {
        todo!()
    }
}
