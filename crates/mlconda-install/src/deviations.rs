//! Where an archive is not what its own list of paths says, though its hash is the lock's.
//!
//! The archive counts: what it holds is what its maker signed for, and what the record describes. A member that is not listed is
//! left out, as conda leaves it out. Either is told once for a package, for one of the two is a mistake of its maker. Two members
//! of one path are refused: tools differ about which of them counts. The contents' own hashes are not compared here, for they
//! would be computed for every file of every environment; `verify` compares them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What an archive holds in another way than it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deviations {
    /// Files of another size than is listed: how many, and the first of them in words.
    sizes: (usize, String),
    /// Members that are not listed: how many, and the first of them.
    unlisted: (usize, String),
}

impl Deviations {
    /// A file of another size, in bytes, than its list says.
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

    /// All of it, if there is anything.
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

/// The deviations of an installation's packages, each told once.
#[derive(Debug, Default)]
pub(super) struct DeviationLog(Mutex<BTreeMap<String, String>>);

impl DeviationLog {
    /// Notes those of a package, by its file name. What was noted first counts: that is what its archive was.
    pub(super) fn note(&self, package: &str, deviations: &Deviations) {
        if let Some(text) = deviations.describe() {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.entry(package.to_owned()).or_insert(text);
        }
    }

    /// A warning for each package.
    pub(super) fn warnings(&self) -> Vec<String> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|(package, text)| format!("`{package}` is not what it says of itself: {text}")).collect()
    }
}
