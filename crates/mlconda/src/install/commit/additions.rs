//! A change that only adds: no package goes or changes, no script runs, and nothing comes to a place where something is.
//!
//! It is the change that is made most often (one more package, wheels on top of what conda has), and a twin costs as much as
//! all that is there. So what is new moves in where the prefix is, by renames and by a journal, as where no twin can be. What
//! would need looking into every directory is known by now: the stage's table tells what comes.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Change, HISTORY};
use crate::{
    install::{aside::Journal, stage::is_inside},
    system::{self, Attributes},
};

impl Change<'_> {
    /// The journal of a change that only adds, to an environment that could be swapped; `None` if more is to change, or if a
    /// directory cannot be written to or is not this user's: a twin's would be.
    ///
    /// Nothing but records, the state and the history leaves its place, and that is mlconda's own. So that it ends as with a
    /// twin, directories of packages get the time of the installation; those are in the journal.
    pub(in crate::install) fn additions(&self, stage: &Path) -> io::Result<Option<Journal>> {
        let history = Path::new("conda-meta").join(HISTORY);
        let is_environment = fs_err::symlink_metadata(self.prefix.join(&history)).is_ok();
        if !is_environment || !self.gone.is_empty() || !self.is_free {
            return Ok(None);
        }
        let mut journal = Journal { moved: vec![history], ..Journal::default() };
        let Some(mut directories) = self.add_directories(&mut journal)? else { return Ok(None) };
        journal.added.extend(self.new.iter().cloned());
        self.add_meta(stage, &mut journal)?;
        let mut settled: Vec<&Path> =
            self.settled.iter().map(PathBuf::as_path).filter(|path| is_inside(path)).collect();
        // Parents first: what is behind a link is not the prefix's.
        crate::sorting::sort_by_key(&mut settled, |path| path.as_os_str().len());
        let mut inside = HashSet::from([Path::new("")]);
        for path in settled {
            let is_above = path.parent().is_some_and(|parent| inside.contains(parent));
            let place = self.prefix.join(path);
            let there = is_above.then(|| fs_err::symlink_metadata(&place).ok()).flatten();
            let Some(there) = there.filter(std::fs::Metadata::is_dir) else { continue };
            if system::is_mount_point(&place) {
                return Ok(None);
            }
            inside.insert(path);
            if (there.mtime(), there.mtime_nsec()) != (self.time, 0) {
                directories.insert(path.to_owned(), Attributes::from(&there));
            }
        }
        let is_ours = directories.values().all(Attributes::is_own);
        journal.directories = directories.into_iter().collect();
        Ok(is_ours.then_some(journal))
    }

    /// Puts the directories that are not there into the journal, and gives those that are and get something; `None` if
    /// nothing can be put into one of them, or if one is no directory.
    fn add_directories(&self, journal: &mut Journal) -> io::Result<Option<BTreeMap<PathBuf, Attributes>>> {
        let (mut there, mut found) = (HashSet::from([Path::new("")]), BTreeMap::new());
        if !system::may_write(&self.prefix) {
            return Ok(None);
        }
        for path in &self.made {
            let is_above = path.parent().is_some_and(|parent| there.contains(parent));
            let place = self.prefix.join(path);
            match is_above.then(|| fs_err::symlink_metadata(&place)) {
                Some(Ok(metadata)) if metadata.is_dir() && system::may_write(&place) => {
                    there.insert(path);
                    found.insert(path.clone(), Attributes::from(&metadata));
                }
                Some(Ok(_)) => return Ok(None),
                Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Some(Err(_)) | None => journal.added.push(path.clone()),
            }
        }
        Ok(Some(found))
    }

    /// What mlconda itself has written.
    fn add_meta(&self, stage: &Path, journal: &mut Journal) -> io::Result<()> {
        let meta = Path::new("conda-meta");
        for entry in fs_err::read_dir(stage.join(meta))? {
            let path = meta.join(entry?.file_name());
            let is_there = fs_err::symlink_metadata(self.prefix.join(&path)).is_ok();
            if is_there { journal.moved.push(path) } else { journal.added.push(path) }
        }
        Ok(())
    }
}
