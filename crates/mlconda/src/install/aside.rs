//! The way back from a change in place: old files wait aside, in the prefix, until the new ones are all there.
//!
//! Everything that will be done is written down before anything is: which paths leave, which come, what the directories
//! were like. So one function leads back, whether an error asks for it or the next run finds what a killed
//! process left. Files go aside and back by renames, which need no room; on an overlay file system, the rename of a file
//! of a lower layer copies it, and its removal leaves nothing of the copy in the layer.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{HISTORY, commit::is_gone};
use crate::system::Attributes;

/// The name of the directory in the prefix.
pub(crate) const ASIDE: &str = ".mlconda-old";

/// What a change in place does to a prefix. All paths are relative to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Files and links that leave or are replaced. The history comes first.
    pub(super) moved: Vec<PathBuf>,
    /// What was not there before, a directory before what is in it.
    pub(super) added: Vec<PathBuf>,
    /// The directories that are touched, as they were; parents come first.
    pub(super) directories: Vec<(PathBuf, Attributes)>,
}

/// A change in place that is under way.
#[derive(Debug)]
pub(super) struct Aside {
    prefix: PathBuf,
    journal: Journal,
}

impl Aside {
    /// Writes down what will be done. The prefix is as it was.
    pub(super) fn begin(prefix: &Path, journal: Journal) -> io::Result<Self> {
        let aside = Self { prefix: prefix.to_owned(), journal };
        fs_err::create_dir(aside.root())?;
        let unfinished = aside.root().join("journal.new");
        let written = fs_err::write(&unfinished, serde_json::to_vec(&aside.journal)?)
            .and_then(|()| fs_err::rename(unfinished, aside.root().join("journal.json")));
        match written {
            Ok(()) => Ok(aside),
            Err(error) => {
                aside.forget();
                Err(error)
            }
        }
    }

    /// What a killed process left; `None` if it had not begun to move anything, or had finished.
    pub(super) fn left_in(prefix: &Path) -> io::Result<Option<Self>> {
        let journal = prefix.join(ASIDE).join("journal.json");
        if prefix.join("conda-meta").join(HISTORY).is_file() || !journal.is_file() {
            return Ok(None);
        }
        // One that a power cut has spoilt leads nowhere: the next installation links everything anew.
        let journal = serde_json::from_slice(&fs_err::read(journal)?).ok();
        Ok(journal.map(|journal| Self { prefix: prefix.to_owned(), journal }))
    }

    fn root(&self) -> PathBuf {
        self.prefix.join(ASIDE)
    }

    /// Moves what leaves. From here on the prefix is no environment, until it has a history again.
    pub(super) fn move_old(&self) -> io::Result<()> {
        for (number, path) in self.journal.moved.iter().enumerate() {
            // A file that is missing is no reason to fail: it was to go anyway.
            match fs_err::rename(self.prefix.join(path), self.root().join(number.to_string())) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the prefix what it was. `stage` tells which of the new files have not come yet. Can be done again if it
    /// was cut off.
    pub(super) fn roll_back(&self, stage: &Path) -> io::Result<()> {
        let history = Path::new("conda-meta").join(HISTORY);
        // Should this be cut off, the next run is to see that it was.
        if self.root().join("0").exists() || !self.journal.moved.contains(&history) {
            remove(&self.prefix.join(&history))?;
        }
        for path in self.journal.added.iter().rev() {
            // What is still in the stage never came; what is at its place is the old file, or somebody else's.
            if fs_err::symlink_metadata(stage.join(path)).is_err() {
                remove(&self.prefix.join(path))?;
            }
        }
        for (path, attributes) in &self.journal.directories {
            let place = self.prefix.join(path);
            if fs_err::symlink_metadata(&place).is_err() {
                fs_err::create_dir(&place)?;
                attributes.give_to(&place)?;
            }
        }
        for (number, path) in self.journal.moved.iter().enumerate().rev() {
            match fs_err::rename(self.root().join(number.to_string()), self.prefix.join(path)) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        let mut directories = self.journal.directories.iter().rev();
        directories.try_for_each(|(path, attributes)| attributes.give_to(&self.prefix.join(path)))
    }

    /// Lets the old files go: there is no way back from here. What cannot be removed, the next run tries again.
    pub(super) fn forget(self) {
        let _ = fs_err::remove_dir_all(self.root());
    }
}

/// Removes a file, or a directory with nothing in it.
fn remove(path: &Path) -> io::Result<()> {
    match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs_err::remove_dir(path) {
            // A script or a user has put something into it; that stays.
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty && !is_gone(&error) => Err(error),
            _ => Ok(()),
        },
        Ok(_) => fs_err::remove_file(path),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}
