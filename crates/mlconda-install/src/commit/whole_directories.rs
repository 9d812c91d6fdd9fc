//! Directories whose contents are all removed. Each is moved into the backup by one rename.
//!
//! A file system executes renames between directories one after the other, and each may wait for a busy disk. In this
//! way, an update that removes a hundred packages with 30,000 files needs only a few hundred renames.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use mlconda_system::beneath::{PathKind, Root};

use crate::rollback::Journal;

/// Replaces paths in the journal by their directory if all contents of the directory move, and returns these
/// directories. They are not in the stage, and no package needs them (`needed`). No script may run before the move,
/// because it could add files.
pub(super) fn gather(
    root: &Root,
    stage: &Root,
    journal: &mut Journal,
    needed: &dyn Fn(&Path) -> bool,
) -> io::Result<HashSet<PathBuf>> {
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
    Search { root, stage, moved: &moved, above: &above, needed }.look_into(Path::new(""), &mut found)?;
    let found: HashSet<PathBuf> = found.into_iter().collect();
    journal.moved.retain(|path| !is_within(path, &found));
    journal.moved.extend(found.iter().cloned());
    Ok(found)
}

/// Whether a path is one of these directories or in one of them.
pub(super) fn is_within(path: &Path, directories: &HashSet<PathBuf>) -> bool {
    path.ancestors().any(|path| directories.contains(path))
}

struct Search<'a> {
    root: &'a Root,
    stage: &'a Root,
    /// The paths that move.
    moved: &'a HashSet<&'a Path>,
    /// The parents of these paths.
    above: &'a HashSet<&'a Path>,
    needed: &'a dyn Fn(&Path) -> bool,
}

impl Search<'_> {
    /// Whether all contents of a directory move. If so, the directory is added to `found`; else, such directories in it
    /// are.
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
            && !(self.needed)(directory)
            && self.stage.lookup(directory)?.is_none()
            && !self.root.is_mount_point(directory);
        if goes {
            found.truncate(begin);
            found.push(directory.to_owned());
        }
        Ok(goes)
    }
}
