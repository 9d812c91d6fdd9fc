//! Repairs during a change: permissions of directories, and untracked directories at the paths of files.

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
    /// Sets the permissions of packages' directories if packages are reinstalled. `root` is the prefix or its replica.
    pub(crate) fn repair_directories(&self, root: &Root) -> io::Result<()> {
        if !self.repairs_modes {
            return Ok(());
        }
        for path in &self.stage_directories {
            // A path behind a link is not in the prefix.
            let Some(there) = root.lookup(path).ok().flatten().filter(PathInfo::is_directory) else { continue };
            let mut attributes = Attributes::from(&there);
            attributes.set_mode(0o755);
            attributes.set_time(self.time);
            root.set_attributes(path, &attributes)?;
        }
        Ok(())
    }

    /// Whether a directory is at the path of a new file, or below one.
    pub(super) fn is_in_the_way(&self, directory: &Path) -> bool {
        directory.ancestors().any(|path| self.new.contains(path))
    }
}

/// Collects a directory and all directories in it.
pub(super) fn find_directories(root: &Root, path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    found.push(path.to_owned());
    for (name, kind) in root.entries(path)? {
        if kind == PathKind::Directory {
            find_directories(root, &path.join(name), found)?;
        }
    }
    Ok(())
}

/// Finds directories at the paths of records and of the state. It is an error if one of them is not empty.
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
