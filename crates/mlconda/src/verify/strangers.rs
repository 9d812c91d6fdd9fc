//! What no package holds: byte code that python wrote, what pip installed, and the rest.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf},
};

use crate::install::commit::module_of;

/// Files, links and empty directories that no package holds, sorted by whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// How many are byte code of modules that are known: python writes it when it first runs them.
    pub bytecode: usize,
    /// How many are of distributions that pip or the like has installed, by their `RECORD`.
    pub pip: usize,
    /// How many such distributions there are.
    pub distributions: usize,
    /// The rest, sorted, relative to the prefix; directories with a slash behind.
    pub others: Vec<PathBuf>,
}

/// Sorts files that no package holds. `is_recorded` tells of a path whether one does.
pub(super) fn sort(prefix: &Path, mut strangers: Vec<PathBuf>, is_recorded: impl Fn(&Path) -> bool) -> Strangers {
    let mut sorted = Strangers::default();
    let mut listed: HashSet<PathBuf> = HashSet::new();
    for record in strangers.iter().filter(|path| is_list(path)) {
        // A list that cannot be read lists nothing; its files are then among the others.
        let Ok(text) = fs_err::read_to_string(prefix.join(record)) else { continue };
        let site = record.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        sorted.distributions += 1;
        listed.extend(text.lines().map(|line| inside(prefix, site, &first_field(line))));
    }
    strangers.retain(|path| {
        let known = |module: &Path| is_recorded(module) || listed.contains(module);
        let is_bytecode = module_of(path).is_some_and(|module| known(&module));
        let is_pip = !is_bytecode && listed.contains(path);
        sorted.bytecode += usize::from(is_bytecode);
        sorted.pip += usize::from(is_pip);
        !is_bytecode && !is_pip
    });
    strangers.sort();
    sorted.others = strangers;
    sorted
}

/// Whether a file is the list of files of a python distribution.
fn is_list(path: &Path) -> bool {
    let directory = path.parent().and_then(Path::extension);
    path.file_name().is_some_and(|name| name == "RECORD") && directory.is_some_and(|each| each == "dist-info")
}

/// The path of a line of a `RECORD`, a file of comma-separated values.
fn first_field(line: &str) -> String {
    match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\",").map_or(quoted, |(path, _)| path).replace("\"\"", "\""),
        None => line.split_once(',').map_or(line, |(path, _)| path).to_owned(),
    }
}

/// A path of a `RECORD`, which is relative to `site-packages`, relative to the prefix.
fn inside(prefix: &Path, site: &Path, path: &str) -> PathBuf {
    let path = Path::new(path);
    if let Ok(path) = path.strip_prefix(prefix) {
        return path.to_owned();
    }
    let mut inside = site.to_owned();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                inside.pop();
            }
            Component::Normal(part) => inside.push(part),
            _ => {}
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_of_paths_anywhere_in_the_prefix() {
        let path = |line: &str| inside(Path::new("/p"), Path::new("lib/site"), &first_field(line));
        assert_eq!(path("a/b.py,sha256=x,12"), Path::new("lib/site/a/b.py"));
        assert_eq!(path("../../bin/a,,"), Path::new("bin/a"));
        assert_eq!(path("\"a,\"\"b\"\".py\",,"), Path::new("lib/site/a,\"b\".py"));
        assert_eq!(path("/p/share/a,,"), Path::new("share/a"));
    }
}
