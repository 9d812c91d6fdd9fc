//! The way back from a change in place: old files wait aside, in the prefix, until the new ones are all there.
//!
//! Everything that will be done is written down before anything is: which paths leave, which come, what the directories
//! were like. So one function leads back, whether an error asks for it or the next run finds what a killed
//! process left. Files go aside and back by renames, which need no room. On an overlay file system nothing waits aside, for
//! there a rename copies a file of a lower layer and waits for the disk (20 ms a file): old files are removed,
//! there is no way back, and the next installation links everything anew.

use std::{
    cell::Cell,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    HISTORY,
    commit::{PENDING, is_gone},
};
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
    /// What becomes of what leaves.
    pub(super) old: Old,
    /// The directories that are touched, as they were; parents come first.
    pub(super) directories: Vec<(PathBuf, Attributes)>,
}

/// What becomes of files that leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Old {
    /// They wait aside.
    #[default]
    Waits,
    /// They are removed.
    Goes,
}

/// A change in place that is under way.
#[derive(Debug)]
pub(super) struct Aside {
    prefix: PathBuf,
    journal: Journal,
    /// Whether more than the history has left.
    removing: Cell<bool>,
}

impl Aside {
    /// Writes down what will be done, and makes the copies. The prefix is as it was.
    pub(super) fn begin(prefix: &Path, journal: Journal) -> io::Result<Self> {
        let aside = Self { prefix: prefix.to_owned(), journal, removing: Cell::new(false) };
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
        let leads_back = journal.filter(|journal: &Journal| journal.old == Old::Waits);
        Ok(leads_back.map(|journal| Self { prefix: prefix.to_owned(), journal, removing: Cell::new(true) }))
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
        match self.journal.moved.first().filter(|path| path.ends_with(HISTORY)) {
            Some(history) => rename_if_there(&self.prefix.join(history), &self.place_of_history()),
            None => Ok(()),
        }
    }

    /// Where the history waits: where there is no way back, in its directory, for the next installation to go on with it.
    fn place_of_history(&self) -> PathBuf {
        match self.journal.old {
            Old::Waits => self.of("file", 0),
            Old::Goes => self.prefix.join("conda-meta").join(PENDING),
        }
    }

    /// Moves what leaves, the history before all. Directories that something stays in get the time `seconds`.
    pub(super) fn move_old(&self, seconds: i64) -> io::Result<()> {
        self.move_history()?;
        self.removing.set(true);
        for (number, path) in self.journal.moved.iter().enumerate() {
            // A file that is missing is no reason to fail: it was to go anyway.
            match self.journal.old {
                Old::Waits => rename_if_there(&self.prefix.join(path), &self.of("file", number))?,
                Old::Goes if path.file_name() == Some(PENDING.as_ref()) => {}
                Old::Goes => remove(&self.prefix.join(path))?,
            }
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
        match (self.journal.old, self.journal.moved.first().filter(|path| path.ends_with(HISTORY))) {
            (Old::Waits, _) => {}
            (Old::Goes, Some(history)) if !self.removing.get() => {
                return rename_if_there(&self.place_of_history(), &self.prefix.join(history));
            }
            (Old::Goes, None) if !self.removing.get() => return Ok(()),
            (Old::Goes, _) => return Err(io::Error::other("on an overlay file system, old files are not kept")),
        }
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
            rename_if_there(&self.place_of_history(), &self.prefix.join(history))?;
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
