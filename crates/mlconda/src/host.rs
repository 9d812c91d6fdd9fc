//! The machine that an environment is for: its platform and virtual packages, as a value.

use std::path::Path;

use rattler_conda_types::{GenericVirtualPackage, Subdir};

/// A machine: detected, or declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The platform.
    pub platform: Subdir,
    /// The virtual packages (CEP-30), sorted by name.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl Host {
    /// The declared baseline of a platform: what a lock assumes unless told otherwise.
    pub fn baseline(_platform: Subdir) -> Self {
        todo!()
    }

    /// What this machine is. `root` is the directory that `/lib`, `/proc` … are looked for under.
    pub fn detect(_root: &Path) -> Self {
        todo!()
    }

    /// Replaces or adds virtual packages.
    #[must_use]
    pub fn with(self, _overrides: &[Override]) -> Self {
        todo!()
    }
}

/// A virtual package declared by the user: `__cuda=12.4`, or `__cuda=` for its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The name, with the underscores.
    pub name: String,
    /// The package, or `None` where the machine is declared not to have it.
    pub package: Option<GenericVirtualPackage>,
}
