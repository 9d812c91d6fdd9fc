//! Paths of packages: maps by path, and the paths that a package may write.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

/// A map by path with a fast hash function, because large environments need hundreds of thousands of lookups.
pub(super) type PathMap<T> = HashMap<PathBuf, T, foldhash::fast::RandomState>;

/// Whether a path is relative and has no `..`.
pub(super) fn is_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether packages must not write a path, because it is for records or directories of installations. Case is ignored,
/// because some file systems ignore it.
pub(super) fn is_reserved(path: &Path) -> bool {
    let first = path.components().next().map(|first| first.as_os_str().to_ascii_lowercase());
    first.is_some_and(|first| first == "conda-meta" || first.as_encoded_bytes().starts_with(b".mlconda-"))
}

/// Whether a link at `path` to `target` stays in the prefix. Only the text of the target is considered.
pub(super) fn link_stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut descended = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => descended = true,
            Component::CurDir => {}
            // `..` after a name is the parent of that name's target, which is unknown.
            Component::ParentDir if depth > 0 && !descended => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_the_prefix_are_seen() {
        let stays = |path: &str, target: &str| link_stays_inside(Path::new(path), Path::new(target));
        assert!(stays("lib/libz.so", "libz.so.1") && stays("a/b/c", "../../d") && stays("lib64", "lib"));
        assert!(!stays("lib/libz.so", "../../etc") && !stays("a", "/etc/passwd") && !stays("a/b", "../c/../d"));
    }

    #[test]
    fn paths_that_leave_the_prefix_are_seen() {
        assert!(is_inside(Path::new("lib/a..b/c")));
        assert!(["", "/etc", "../a", "a/../../b"].iter().all(|path| !is_inside(Path::new(path))));
    }
}
