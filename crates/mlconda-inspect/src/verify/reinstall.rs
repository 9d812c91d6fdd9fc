//! Finds the packages that must be reinstalled to repair a prefix.

use std::collections::BTreeSet;

use super::{Finding, Verification};
use crate::plan::Reinstall;

impl Verification {
    /// The packages to reinstall ([`Plan::reinstalling`]). This repairs all findings about them. If the prefix was
    /// moved or has no history, these are all packages.
    ///
    /// The result is never [`Reinstall::Nothing`], because a plan detects missing packages and unreadable records
    /// itself.
    ///
    /// [`Plan::reinstalling`]: crate::plan::Plan::reinstalling
    pub fn packages_to_reinstall(&self) -> Reinstall {
        let mut names = BTreeSet::new();
        for finding in &self.findings {
            match finding {
                Finding::Moved { .. } | Finding::NoHistory => return Reinstall::All,
                Finding::Missing { packages, .. }
                | Finding::WrongKind { packages, .. }
                | Finding::Unreadable { packages, .. }
                | Finding::Mode { packages, .. }
                | Finding::SameProject { packages, .. }
                | Finding::Target { packages, .. }
                | Finding::Size { packages, .. }
                | Finding::Content { packages, .. } => names.extend(packages.iter().map(|package| name(package))),
                Finding::DuplicateRecord { package, other } => names.extend([name(package), name(other)]),
                Finding::WrongOwner { expected, found, .. } => names.extend([name(expected), name(found)]),
                _ => {}
            }
        }
        Reinstall::Named(names)
    }
}

/// The name of a package that is given as NAME-VERSION-BUILD.
fn name(package: &str) -> String {
    package.rsplitn(3, '-').nth(2).unwrap_or(package).to_owned()
}
