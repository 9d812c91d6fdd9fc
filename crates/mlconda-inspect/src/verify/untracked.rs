//! Classifies untracked files: byte code, distributions of pip, and other files.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use mlconda_prefix::{distributions, on_disk::module_of};
use mlconda_system::files;

/// Untracked files, links and empty directories, classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntrackedFiles {
    /// The number of byte code files of recorded modules. Python writes these when it first imports a module.
    pub bytecode: usize,
    /// The number of files of distributions that pip or a similar tool has installed, according to their `RECORD`.
    pub pip: usize,
    /// The number of such distributions.
    pub distributions: usize,
    /// All other paths, sorted and relative to the prefix. Directories end with a slash.
    pub others: Vec<PathBuf>,
}

/// Classifies untracked files. `is_recorded` tells whether a path belongs to a package.
pub(super) fn sort(prefix: &Path, mut untracked: Vec<PathBuf>, is_recorded: impl Fn(&Path) -> bool) -> UntrackedFiles {
    let mut sorted = UntrackedFiles::default();
    let mut listed: HashSet<PathBuf> = HashSet::new();
    for record in untracked.iter().filter(|path| distributions::is_record_file(path)) {
        // If a `RECORD` is unreadable, its files count as other files.
        let Ok(text) = files::read_to_string(&prefix.join(record), files::LARGEST_RECORD) else { continue };
        let site = record.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        sorted.distributions += 1;
        listed.extend(distributions::paths(prefix, site, &text));
    }
    untracked.retain(|path| {
        let known = |module: &Path| is_recorded(module) || listed.contains(module);
        let is_bytecode = module_of(path).is_some_and(|module| known(&module));
        let is_pip = !is_bytecode && listed.contains(path);
        sorted.bytecode += usize::from(is_bytecode);
        sorted.pip += usize::from(is_pip);
        !is_bytecode && !is_pip
    });
    mlconda_types::sorting::sort(&mut untracked);
    sorted.others = untracked;
    sorted
}
