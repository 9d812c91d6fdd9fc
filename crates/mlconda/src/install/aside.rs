//! The way back from a change in place: old files wait aside, in the prefix, until the new ones are all there.
//!
//! Everything that will be done is written down before anything is: which paths leave, which come, what the directories
//! were like. So one function leads back, whether an error asks for it or the next run finds what a killed
//! process left. Files go aside and back by renames, which need no room. On an overlay file system nothing waits aside, for
//! there a rename copies a file of a lower layer and waits for the disk (20 ms a file): old files are removed,
//! there is no way back from the first of them on, and the next installation links everything anew.

mod bytes;

use std::{
    cell::Cell,
    collections::HashMap,
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    HISTORY,
    commit::{PENDING, is_gone},
};
use crate::files;
use crate::system::{self, Attributes};

/// The name of the directory in the prefix.
pub(crate) const ASIDE: &str = ".mlconda-old";

/// The name of the journal in it. It is there as long as there is a way back.
const JOURNAL: &str = "journal.json";

/// What a change in place does to a prefix. All paths are relative to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Files and links that leave or are replaced. The history comes first.
    #[serde(with = "bytes")]
    pub(super) moved: Vec<PathBuf>,
    /// Directories that leave if nothing is left in them by then, the deepest first.
    #[serde(with = "bytes")]
    pub(super) hollow: Vec<PathBuf>,
    /// What was not there before, a directory before what is in it.
    #[serde(with = "bytes")]
    pub(super) added: Vec<PathBuf>,
    /// Files of nobody, of which there are copies: scripts may change or remove them.
    #[serde(with = "bytes")]
    pub(super) copied: Vec<PathBuf>,
    /// What becomes of what leaves.
    pub(super) old: Old,
    /// The directories that are touched, as they were; parents come first.
    #[serde(with = "bytes::with_attributes")]
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
    /// Whether files have been removed.
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
        fs_err::rename(unfinished, self.place_of_journal())
    }

    fn place_of_journal(&self) -> PathBuf {
        self.root().join(JOURNAL)
    }

    /// What a killed process left; `None` if it had not begun to move anything, or there is no way back.
    pub(super) fn left_in(prefix: &Path) -> io::Result<Option<Self>> {
        let journal = prefix.join(ASIDE).join(JOURNAL);
        if prefix.join("conda-meta").join(HISTORY).is_file() || !journal.is_file() {
            return Ok(None);
        }
        // One that a power cut has spoilt leads nowhere: the next installation links everything anew.
        let journal = serde_json::from_slice(&files::read(&journal, files::LARGEST_RECORD)?).ok();
        Ok(journal.map(|journal| Self { prefix: prefix.to_owned(), journal, removing: Cell::new(false) }))
    }

    /// Whether a process was killed after it had made the prefix an environment again, and before the old files went.
    pub(super) fn is_finished(prefix: &Path, stage: &Path) -> bool {
        let meta = Path::new("conda-meta");
        let is_one = prefix.join(meta).join(HISTORY).is_file() && prefix.join(ASIDE).join(JOURNAL).is_file();
        // Before it began, the new history is in the stage still.
        is_one && !stage.join(meta).join(PENDING).exists()
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
        if self.has_history() { rename_if_there(&self.history(), &self.place_of_history()) } else { Ok(()) }
    }

    /// Whether there was a history. Then it is the first that is moved.
    fn has_history(&self) -> bool {
        self.journal.moved.first().is_some_and(|path| self.prefix.join(path) == self.history())
    }

    fn history(&self) -> PathBuf {
        self.prefix.join("conda-meta").join(HISTORY)
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
        if self.journal.old == Old::Goes {
            fs_err::remove_file(self.place_of_journal())?;
            self.removing.set(true);
        }
        let pending = Path::new("conda-meta").join(PENDING);
        for (number, path) in self.journal.moved.iter().enumerate() {
            // A file that is missing is no reason to fail: it was to go anyway.
            match self.journal.old {
                Old::Waits => rename_if_there(&self.prefix.join(path), &self.of("file", number))?,
                Old::Goes if *path == pending => {}
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

    /// Gives every directory of the journal the time `seconds`; none of them leaves.
    pub(super) fn settle_directories(&self, seconds: i64) -> io::Result<()> {
        let mut directories = self.journal.directories.iter();
        directories.try_for_each(|(path, _)| system::set_directory_time(&self.prefix.join(path), seconds))
    }

    /// Makes the prefix what it was. `stage` tells which of the new files have not come yet. Can be done again if it
    /// was cut off, or if something could not be put back: then the rest is, but for the history.
    pub(super) fn roll_back(&self, stage: &Path) -> io::Result<()> {
        match self.journal.old {
            Old::Waits => self.take_out(stage)?,
            Old::Goes if self.removing.get() => {
                return Err(io::Error::other("on an overlay file system, old files are not kept"));
            }
            // Nothing but the history has left, and nothing has come; but scripts may have run.
            Old::Goes => {}
        }
        for (number, (path, attributes)) in self.journal.directories.iter().enumerate() {
            let place = self.prefix.join(path);
            if !fs_err::symlink_metadata(&place).is_ok_and(|there| there.is_dir()) {
                rename_if_there(&place, &self.of("instead-of-directory", number))?;
                fs_err::create_dir(&place)?;
                attributes.give_to(&place)?;
            }
        }
        let numbers = 0..self.journal.copied.len();
        let put_back = numbers.map(|number| self.put_back(number)).fold(Ok(()), io::Result::and);
        if self.journal.old == Old::Waits {
            for (number, path) in self.journal.moved.iter().enumerate().skip(usize::from(self.has_history())).rev() {
                rename_if_there(&self.of("file", number), &self.prefix.join(path))?;
            }
        }
        // As long as something is missing, the next run is to try again.
        put_back?;
        let directories = || self.journal.directories.iter().rev();
        let settle = || directories().try_for_each(|(path, attributes)| attributes.give_to(&self.prefix.join(path)));
        // Before it is an environment again, and once more for the history's own directory.
        settle()?;
        if self.has_history() {
            rename_if_there(&self.place_of_history(), &self.history())?;
        }
        settle()
    }

    /// Removes what has come, and puts back directories that have gone.
    fn take_out(&self, stage: &Path) -> io::Result<()> {
        // Should this be cut off, the next run is to see that it was.
        if self.of("file", 0).exists() || !self.has_history() {
            remove(&self.history())?;
        }
        let moved: HashMap<&PathBuf, usize> = self.journal.moved.iter().zip(0..).collect();
        let is_away = |number: &usize| fs_err::symlink_metadata(self.of("file", *number)).is_ok();
        for path in self.journal.added.iter().rev() {
            // What is still in the stage never came; what is at its place is the old file, or somebody else's. So it is
            // with one that an earlier try has put back.
            if fs_err::symlink_metadata(stage.join(path)).is_err() && moved.get(path).is_none_or(is_away) {
                remove(&self.prefix.join(path))?;
            }
        }
        for (number, path) in self.journal.hollow.iter().enumerate().rev() {
            rename_if_there(&self.of("directory", number), &self.prefix.join(path))?;
        }
        Ok(())
    }

    /// Puts back a file of nobody, if a script has changed or removed it. A directory in its place is a script's.
    fn put_back(&self, number: usize) -> io::Result<()> {
        let (copy, place) = (self.of("copy", number), self.prefix.join(&self.journal.copied[number]));
        if !copy.is_file() || is_same(&copy, &place)? {
            return Ok(());
        }
        if fs_err::symlink_metadata(&place).is_ok_and(|there| there.is_dir()) {
            fs_err::rename(&place, self.of("instead-of-file", number))?;
        }
        fs_err::rename(copy, place)
    }

    /// Puts back the history only.
    pub(super) fn give_up(self) -> io::Result<()> {
        if self.has_history() {
            rename_if_there(&self.place_of_history(), &self.history())?;
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
    Ok(looks && has_same_content(copy, file)?)
}

/// Compares files in pieces, for they may be larger than the memory.
fn has_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let open = |path: &Path| Ok::<_, io::Error>(BufReader::with_capacity(1 << 16, files::open(path)?));
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 || left[..length] != right[..length] {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(length);
        other.consume(length);
    }
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

#[cfg(test)]
mod tests;
