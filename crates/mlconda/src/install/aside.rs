//! The way back from a change in place: old files wait aside, in the prefix, until the new ones are all there.
//!
//! Everything that will be done is written down before anything is: which paths leave, which come, what the directories
//! were like. So one function leads back, whether an error asks for it or the next run finds what a killed
//! process left. Files go aside and back by renames, which need no room; on an overlay file system, the rename of a file
//! of a lower layer copies it, and its removal leaves nothing of the copy in the layer.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{HISTORY, commit::is_gone};
use crate::system::{self, Attributes};

/// The name of the directory in the prefix.
pub(crate) const ASIDE: &str = ".mlconda-old";

/// What a change in place does to a prefix. All paths are relative to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Files and links that leave or are replaced. The history comes first.
    pub(super) moved: Vec<PathBuf>,
    /// Directories that leave if nothing is left in them by then, the deepest first.
    pub(super) hollow: Vec<PathBuf>,
    /// What was not there before, a directory before what is in it.
    pub(super) added: Vec<PathBuf>,
    /// Files of nobody, of which there are copies: scripts may change or remove them.
    pub(super) copied: Vec<PathBuf>,
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
    /// Writes down what will be done, and makes the copies. The prefix is as it was.
    pub(super) fn begin(prefix: &Path, journal: Journal) -> io::Result<Self> {
        let aside = Self { prefix: prefix.to_owned(), journal };
        fs_err::create_dir(aside.root())?;
        match aside.write() {
            Ok(()) => Ok(aside),
            Err(error) => {
                aside.forget();
                Err(error)
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        for (number, path) in self.journal.copied.iter().enumerate() {
            system::copy(&self.prefix.join(path), &self.of("copy", number))?;
        }
        let unfinished = self.root().join("journal.new");
        fs_err::write(&unfinished, serde_json::to_vec(&self.journal)?)?;
        fs_err::rename(unfinished, self.root().join("journal.json"))
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

    /// Where something waits, by its kind and its number in the journal.
    fn of(&self, kind: &str, number: usize) -> PathBuf {
        self.root().join(format!("{kind}-{number}"))
    }

    /// Moves the history: from here on the prefix is no environment, until it has one again.
    pub(super) fn move_history(&self) -> io::Result<()> {
        match self.journal.moved.first() {
            Some(history) => rename_if_there(&self.prefix.join(history), &self.of("file", 0)),
            None => Ok(()),
        }
    }

    /// Moves what leaves, the history before all. Directories that something stays in get the time `seconds`.
    pub(super) fn move_old(&self, seconds: i64) -> io::Result<()> {
        for (number, path) in self.journal.moved.iter().enumerate() {
            // A file that is missing is no reason to fail: it was to go anyway.
            rename_if_there(&self.prefix.join(path), &self.of("file", number))?;
        }
        for (number, path) in self.journal.hollow.iter().enumerate() {
            let place = self.prefix.join(path);
            if !fs_err::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_dir()) {
                continue;
            }
            if fs_err::read_dir(&place)?.next().is_some() {
                system::set_directory_time(&place, seconds)?;
                continue;
            }
            match fs_err::rename(&place, self.of("directory", number)) {
                // On an overlay file system, those of lower layers can only be made again.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs_err::remove_dir(&place)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes the prefix what it was. `stage` tells which of the new files have not come yet. Can be done again if it
    /// was cut off.
    pub(super) fn roll_back(&self, stage: &Path) -> io::Result<()> {
        let history = Path::new("conda-meta").join(HISTORY);
        // Should this be cut off, the next run is to see that it was.
        if self.of("file", 0).exists() || !self.journal.moved.contains(&history) {
            remove(&self.prefix.join(&history))?;
        }
        for path in self.journal.added.iter().rev() {
            // What is still in the stage never came; what is at its place is the old file, or somebody else's.
            if fs_err::symlink_metadata(stage.join(path)).is_err() {
                remove(&self.prefix.join(path))?;
            }
        }
        for (number, path) in self.journal.hollow.iter().enumerate().rev() {
            rename_if_there(&self.of("directory", number), &self.prefix.join(path))?;
        }
        for (path, attributes) in &self.journal.directories {
            let place = self.prefix.join(path);
            if fs_err::symlink_metadata(&place).is_err() {
                fs_err::create_dir(&place)?;
                attributes.give_to(&place)?;
            }
        }
        for (number, path) in self.journal.copied.iter().enumerate() {
            let (copy, place) = (self.of("copy", number), self.prefix.join(path));
            if copy.is_file() && !is_same(&copy, &place)? {
                fs_err::rename(copy, place)?;
            }
        }
        for (number, path) in self.journal.moved.iter().enumerate().rev() {
            rename_if_there(&self.of("file", number), &self.prefix.join(path))?;
        }
        let mut directories = self.journal.directories.iter().rev();
        directories.try_for_each(|(path, attributes)| attributes.give_to(&self.prefix.join(path)))
    }

    /// Puts back the history only.
    pub(super) fn give_up(self) -> io::Result<()> {
        if let Some(history) = self.journal.moved.first() {
            rename_if_there(&self.of("file", 0), &self.prefix.join(history))?;
        }
        self.forget();
        Ok(())
    }

    /// Lets the old files go: there is no way back from here. What cannot be removed, the next run tries again.
    pub(super) fn forget(self) {
        let _ = fs_err::remove_dir_all(self.root());
    }
}

/// Whether a file is as its copy. Times tell nothing: what scripts write gets the time of the installation.
fn is_same(copy: &Path, file: &Path) -> io::Result<bool> {
    let (Ok(copied), Ok(there)) = (fs_err::symlink_metadata(copy), fs_err::symlink_metadata(file)) else {
        return Ok(false);
    };
    let looks = there.is_file() && system::looks_the_same(&copied, &there) && copied.mode() == there.mode();
    Ok(looks && fs_err::read(copy)? == fs_err::read(file)?)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs_err::rename(from, to) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
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
