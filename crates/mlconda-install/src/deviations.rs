//! Differences between an archive with the locked hash and its own list of paths.
//!
//! The archive is installed as it is, and the record describes the installed files. A member that is not listed is left
//! out, as in conda. Both cases give one warning per package, because the package was built incorrectly. Two members
//! with the same path are an error, because tools disagree about which one is used. Hashes of file contents are not
//! compared here, because this would hash each file of each environment. `verify` compares them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The differences of one archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deviations {
    /// The number of files with another size than listed, and a description of the first.
    sizes: (usize, String),
    /// The number of members that are not listed, and a description of the first.
    unlisted: (usize, String),
}

impl Deviations {
    /// Adds a file whose size differs from its listed size. Both are in bytes.
    pub(crate) fn size(&mut self, path: &Path, listed: u64, found: u64) {
        self.sizes.0 += 1;
        if self.sizes.0 == 1 {
            self.sizes.1 = format!("`{}` has {found} bytes, and `paths.json` says {listed}", path.display());
        }
    }

    /// A member that is not listed as a file.
    pub(super) fn unlisted(&mut self, path: &Path) {
        self.unlisted.0 += 1;
        if self.unlisted.0 == 1 {
            self.unlisted.1 = format!("`{}` is not among its paths and is left out", path.display());
        }
    }

    /// A description; `None` if there are no differences.
    fn describe(&self) -> Option<String> {
        let both = [&self.sizes, &self.unlisted].into_iter().filter(|(count, _)| *count > 0);
        let text: Vec<String> = both
            .map(|(count, first)| match count - 1 {
                0 => first.clone(),
                1 => format!("{first} (and so with one more)"),
                others => format!("{first} (and so with {others} more)"),
            })
            .collect();
        (!text.is_empty()).then(|| text.join("; "))
    }
}

/// The differences of all packages, by package.
#[derive(Debug, Default)]
pub(super) struct DeviationLog(Mutex<BTreeMap<String, String>>);

impl DeviationLog {
    /// Adds the differences of a package, by its file name. The first entry of a package is kept.
    pub(super) fn note(&self, package: &str, deviations: &Deviations) {
        if let Some(text) = deviations.describe() {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.entry(package.to_owned()).or_insert(text);
        }
    }

    /// A warning for each package.
    pub(super) fn warnings(&self) -> Vec<String> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|(package, text)| format!("`{package}` differs from its own metadata: {text}")).collect()
    }
}
