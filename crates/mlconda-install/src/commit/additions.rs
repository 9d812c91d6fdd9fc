//! A change that only adds files: no package is removed or replaced, no script runs, and no new path exists already.
//!
//! This is the most frequent change (one more package, or wheels on top of conda packages), and a replica takes time
//! for each existing file. So new files are moved into the prefix in place, with a journal. Directories need not be
//! read, because the table of the stage contains all new paths.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_system::{
    Attributes,
    beneath::{PathInfo, Root, is_contained},
};

use super::{HISTORY, PrefixChange};
use crate::rollback::Journal;

impl PrefixChange<'_> {
    /// The journal of a change that only adds files. `None` if there are other changes, or if a directory is not
    /// writable or belongs to another user. (In a replica, all directories are new and writable.)
    ///
    /// Only records, the state and the history are replaced. As with a replica, directories of packages get the time of
    /// the installation, so they are in the journal.
    pub(crate) fn additions(&self, stage: &Root) -> io::Result<Option<Journal>> {
        let history = Path::new("conda-meta").join(HISTORY);
        let root = self.root()?;
        if root.lookup(&history)?.is_none() || !self.removed.is_empty() || !self.is_free {
            return Ok(None);
        }
        let mut journal = Journal { moved: vec![history], ..Journal::default() };
        let Some(mut directories) = self.add_directories(&mut journal)? else { return Ok(None) };
        journal.added.extend(self.new.iter().cloned());
        self.add_meta(stage, &mut journal)?;
        let mut needed: Vec<&Path> =
            self.needed.iter().map(PathBuf::as_path).filter(|path| is_contained(path)).collect();
        // Parents come first, so that no path behind a link is examined.
        mlconda_types::sorting::sort_by_key(&mut needed, |path| path.as_os_str().len());
        let mut inside = HashSet::from([Path::new("")]);
        for path in needed {
            let is_above = path.parent().is_some_and(|parent| inside.contains(parent));
            let there = if is_above { root.lookup(path)? } else { None };
            let Some(there) = there.filter(PathInfo::is_directory) else { continue };
            if root.is_mount_point(path) {
                return Ok(None);
            }
            inside.insert(path);
            if there.time != (self.time, 0) {
                directories.insert(path.to_owned(), Attributes::from(&there));
            }
        }
        let is_ours = directories.values().all(Attributes::is_own);
        journal.directories = directories.into_iter().collect();
        Ok(is_ours.then_some(journal))
    }

    /// Adds new directories to the journal. Returns the existing ones that get new files, or `None` if one of these is
    /// not a directory or not writable.
    fn add_directories(&self, journal: &mut Journal) -> io::Result<Option<BTreeMap<PathBuf, Attributes>>> {
        let (mut present, mut found) = (HashSet::from([Path::new("")]), BTreeMap::new());
        let root = self.root()?;
        if !root.may_write(Path::new("")) {
            return Ok(None);
        }
        for path in &self.stage_directories {
            let is_above = path.parent().is_some_and(|parent| present.contains(parent));
            let there = if is_above { root.lookup(path)? } else { None };
            match there {
                Some(look) if look.is_directory() && root.may_write(path) => {
                    present.insert(path);
                    found.insert(path.clone(), Attributes::from(&look));
                }
                Some(_) => return Ok(None),
                None => journal.added.push(path.clone()),
            }
        }
        Ok(Some(found))
    }

    /// Adds the files that mlconda writes into `conda-meta`.
    fn add_meta(&self, stage: &Root, journal: &mut Journal) -> io::Result<()> {
        let meta = Path::new("conda-meta");
        for (name, _) in stage.entries(meta)? {
            let path = meta.join(name);
            let is_there = self.root()?.lookup(&path)?.is_some();
            if is_there { journal.moved.push(path) } else { journal.added.push(path) }
        }
        Ok(())
    }
}
