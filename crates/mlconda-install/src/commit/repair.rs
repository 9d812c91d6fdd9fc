//! What a change does to mend a prefix: permissions of directories, and directories of nobody in the way of files.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use mlconda_system::{
    Attributes,
    beneath::{PathInfo, PathKind, Root},
};

use super::{PrefixChange, conflicts::first_kept_entry};
use crate::InstallError;

impl PrefixChange<'_> {
    /// Gives directories of packages the permissions of new ones, where packages are linked anew; `root` is the prefix, or its
    /// twin.
    pub(crate) fn repair_directories(&self, root: &Path) -> io::Result<()> {
        if !self.repairs_modes {
            return Ok(());
        }
        let root = Root::open(root)?;
        for path in &self.stage_directories {
            // What is reached through a link is not the prefix's.
            let Some(there) = root.lookup(path).ok().flatten().filter(PathInfo::is_directory) else { continue };
            let mut attributes = Attributes::from(&there);
            attributes.set_mode(0o755);
            attributes.set_time(self.time);
            root.set_attributes(path, &attributes)?;
        }
        Ok(())
    }

    /// Whether a directory is where a file comes, or in one that is.
    pub(super) fn is_in_the_way(&self, directory: &Path) -> bool {
        directory.ancestors().any(|path| self.new.contains(path))
    }
}

/// A directory and those in it.
pub(super) fn find_directories(root: &Root, path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    found.push(path.to_owned());
    for (name, kind) in root.entries(path)? {
        if kind == PathKind::Directory {
            find_directories(root, &path.join(name), found)?;
        }
    }
    Ok(())
}

/// The directories in the place of records and of the state that go. One in which something is is an error.
pub(super) fn directories_for_records(root: &Root, removed: &HashSet<PathBuf>) -> Result<Vec<PathBuf>, InstallError> {
    let mut found = Vec::new();
    for path in removed.iter().filter(|path| path.starts_with("conda-meta")) {
        if root.has_directory(path)? {
            if let Some(inner) = first_kept_entry(root, path, &|_| false)? {
                return Err(InstallError::DirectoryInTheWay { path: path.clone(), inner });
            }
            find_directories(root, path, &mut found)?;
        }
    }
    Ok(found)
}
