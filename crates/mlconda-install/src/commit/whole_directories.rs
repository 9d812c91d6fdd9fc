//! Directories in which nothing stays: each moves aside by one rename, with all that is in it.
//!
//! A rename across directories is one at a time for a whole file system, and on a busy disk each of them may have to wait. Of
//! an update that removes a hundred packages with 30,000 files, a few hundred renames are left.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use mlconda_system::beneath::{PathKind, Root};

use crate::rollback::Journal;

/// Of what moves, puts directories in the place of all that is in them, and gives these. The stage has nothing at their place, and
/// no script may run before they move: it could put something there.
pub(super) fn gather(root: &Root, stage: &Root, journal: &mut Journal) -> io::Result<HashSet<PathBuf>> {
    let moved: HashSet<&Path> = journal.moved.iter().map(PathBuf::as_path).collect();
    let mut above = HashSet::new();
    for path in &moved {
        for path in path.ancestors().skip(1) {
            if !above.insert(path) {
                break;
            }
        }
    }
    let mut found = Vec::new();
    Search { root, stage, moved: &moved, above: &above }.look_into(Path::new(""), &mut found)?;
    let found: HashSet<PathBuf> = found.into_iter().collect();
    journal.moved.retain(|path| !is_within(path, &found));
    journal.moved.extend(found.iter().cloned());
    Ok(found)
}

/// Whether a path is one of these directories, or in one.
pub(super) fn is_within(path: &Path, directories: &HashSet<PathBuf>) -> bool {
    path.ancestors().any(|path| directories.contains(path))
}

struct Search<'a> {
    root: &'a Root,
    stage: &'a Root,
    /// What moves.
    moved: &'a HashSet<&'a Path>,
    /// The directories that something of it is in.
    above: &'a HashSet<&'a Path>,
}

impl Search<'_> {
    /// Whether nothing in a directory stays. Then it is found; else those in it are of which that is true.
    fn look_into(&self, directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<bool> {
        let (begin, mut goes) = (found.len(), true);
        for (name, kind) in self.root.entries(directory)? {
            let path = directory.join(name);
            goes &= match kind {
                PathKind::Directory => self.above.contains(path.as_path()) && self.look_into(&path, found)?,
                _ => self.moved.contains(path.as_path()),
            };
        }
        let goes = goes
            && !directory.as_os_str().is_empty()
            && self.stage.lookup(directory)?.is_none()
            && !self.root.is_mount_point(directory);
        if goes {
            found.truncate(begin);
            found.push(directory.to_owned());
        }
        Ok(goes)
    }
}
