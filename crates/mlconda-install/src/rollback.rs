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
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk::{BACKUP, PENDING_HISTORY};
use mlconda_system::{
    self as system, Attributes,
    beneath::{PathInfo, PathKind, Root, is_contained},
    files,
};
use serde::{Deserialize, Serialize};

use super::{HISTORY, InstallError, stop::Stop};

/// The name of the journal in it. It is there as long as there is a way back.
const JOURNAL: &str = "journal.json";

/// What a journal says of itself. One that says something else is not this program's, or another version's.
const FORMAT: &str = "mlconda journal 1";

/// What a change in place does to a prefix. All paths are relative to it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// [`FORMAT`].
    #[serde(default)]
    pub(super) format: String,
    /// Files and links that leave or are replaced. The history comes first.
    #[serde(with = "bytes")]
    pub(super) moved: Vec<PathBuf>,
    /// Directories that leave if nothing is left in them by then, the deepest first.
    #[serde(rename = "hollow", with = "bytes")]
    pub(super) emptied: Vec<PathBuf>,
    /// What was not there before, a directory before what is in it.
    #[serde(with = "bytes")]
    pub(super) added: Vec<PathBuf>,
    /// Files of nobody, of which there are copies: scripts may change or remove them.
    #[serde(with = "bytes")]
    pub(super) copied: Vec<PathBuf>,
    /// What becomes of what leaves.
    pub(super) old: OldFiles,
    /// The directories that are touched, as they were; parents come first.
    #[serde(with = "bytes::with_attributes")]
    pub(super) directories: Vec<(PathBuf, Attributes)>,
}

/// What becomes of files that leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OldFiles {
    /// They wait aside.
    #[default]
    #[serde(rename = "Waits")]
    BackedUp,
    /// They are removed.
    #[serde(rename = "Goes")]
    Removed,
}

impl Journal {
    /// Every path in it.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let lists = [&self.moved, &self.emptied, &self.added, &self.copied];
        let directories = self.directories.iter().map(|(path, _)| path);
        lists.into_iter().flatten().chain(directories).map(PathBuf::as_path)
    }

    /// Reads the journal in a directory; `None` if there is none, or none that can be read.
    ///
    /// Whoever may write into a prefix can put one there, and what it says is done: so one is believed only if nobody but
    /// this user or root can have written it, and all its paths are in the prefix.
    fn read(old: &Root) -> Result<Option<Self>, InstallError> {
        let path = old.path().join(JOURNAL);
        let distrusted = |reason: &str| InstallError::Untrusted { path: path.clone(), reason: reason.to_owned() };
        if let Some(reason) = old.lookup(Path::new(""))?.and_then(|there| there.untrusted_reason()) {
            return Err(distrusted(&format!("is in a directory that {reason}")));
        }
        match old.lookup(Path::new(JOURNAL))? {
            None => return Ok(None),
            Some(there) if there.kind != PathKind::File => return Err(distrusted("is not a regular file")),
            Some(_) => {}
        }
        let file = old.read(Path::new(JOURNAL))?;
        // Of the open file, so that it is this one that is judged.
        if let Some(reason) = PathInfo::from(&file.metadata()?).untrusted_reason() {
            return Err(distrusted(reason));
        }
        let mut text = Vec::new();
        file.take(files::LARGEST_RECORD).read_to_end(&mut text)?;
        // One that a power cut has spoilt leads nowhere: the next installation links everything anew.
        let Ok(journal) = serde_json::from_slice::<Self>(&text) else { return Ok(None) };
        if journal.format != FORMAT {
            return Err(distrusted("is not a journal of this version of mlconda"));
        }
        if let Some(path) = journal.paths().find(|path| !is_contained(path)) {
            return Err(distrusted(&format!("names `{}`, which is not a path in the prefix", path.display())));
        }
        Ok(Some(journal))
    }
}

/// A change in place that is under way.
#[derive(Debug)]
pub(super) struct Rollback {
    prefix: Root,
    /// The directory that old files wait in.
    old: Root,
    journal: Journal,
    /// Whether files have been removed.
    removing: Cell<bool>,
}

impl Rollback {
    /// Writes down what will be done, and makes the copies. The prefix is as it was.
    pub(super) fn begin(prefix: &Path, mut journal: Journal, stop: &Stop) -> io::Result<Self> {
        let prefix = Root::open(prefix)?;
        // An empty path is the prefix itself, whose attributes its site keeps.
        journal.directories.retain(|(path, _)| !path.as_os_str().is_empty());
        FORMAT.clone_into(&mut journal.format);
        // What others could write there would be done by the next run.
        prefix.make_directory(Path::new(BACKUP), 0o700)?;
        let old = prefix.open_directory(Path::new(BACKUP))?;
        let rollback = Self { prefix, old, journal, removing: Cell::new(false) };
        match rollback.write(stop) {
            Ok(()) => Ok(rollback),
            Err(error) => {
                rollback.discard();
                Err(error)
            }
        }
    }

    fn write(&self, stop: &Stop) -> io::Result<()> {
        for (number, path) in self.journal.copied.iter().enumerate() {
            stop.check()?;
            self.prefix.copy(path, &self.old, &backup_name("copy", number), stop.flag())?;
        }
        let unfinished = Path::new("journal.new");
        let mut file = self.old.create(unfinished, 0o600)?;
        file.write_all(&serde_json::to_vec(&self.journal)?)
            .map_err(|error| io::Error::new(error.kind(), format!("failed to write `{JOURNAL}`: {error}")))?;
        drop(file);
        self.old.rename(unfinished, &self.old, Path::new(JOURNAL))
    }

    /// What a killed process left; `None` if it had not begun to move anything, or there is no way back.
    pub(super) fn read_interrupted(prefix: &Path) -> Result<Option<Self>, InstallError> {
        let prefix = Root::open(prefix)?;
        let old = prefix.open_directory(Path::new(BACKUP))?;
        let journal = Journal::read(&old)?;
        if prefix.lookup(&history())?.is_some() {
            return Ok(None);
        }
        Ok(journal.map(|journal| Self { prefix, old, journal, removing: Cell::new(false) }))
    }

    /// Whether a process was killed after it had made the prefix an environment again, and before the old files went.
    pub(super) fn is_finished(prefix: &Path, stage: &Path) -> bool {
        let meta = Path::new("conda-meta");
        let is_one = prefix.join(meta).join(HISTORY).is_file() && prefix.join(BACKUP).join(JOURNAL).is_file();
        // Before it began, the new history is in the stage still.
        is_one && !stage.join(meta).join(PENDING_HISTORY).exists()
    }

    /// Moves the history: from here on the prefix is no environment, until it has one again.
    pub(super) fn move_history(&self) -> io::Result<()> {
        if !self.has_history() {
            return Ok(());
        }
        let (root, place) = self.place_of_history();
        self.prefix.rename_if_exists(&history(), root, &place)
    }

    /// Whether there was a history. Then it is the first that is moved.
    fn has_history(&self) -> bool {
        self.journal.moved.first().is_some_and(|path| *path == history())
    }

    /// Where the history waits: where there is no way back, in its directory, for the next installation to go on with it.
    fn place_of_history(&self) -> (&Root, PathBuf) {
        match self.journal.old {
            OldFiles::BackedUp => (&self.old, backup_name("file", 0)),
            OldFiles::Removed => (&self.prefix, Path::new("conda-meta").join(PENDING_HISTORY)),
        }
    }

    /// Moves what leaves, the history before all. Directories that something stays in get the time `seconds`. `stop` is asked
    /// before each step, as long as there is a way back.
    pub(super) fn move_old_files(&self, seconds: i64, stop: &Stop) -> io::Result<()> {
        self.prefix.clear_cache();
        self.move_history()?;
        if self.journal.old == OldFiles::Removed {
            if !stop.enter_final_step() {
                return stop.check();
            }
            self.old.remove_file(Path::new(JOURNAL))?;
            self.removing.set(true);
        }
        let pending = Path::new("conda-meta").join(PENDING_HISTORY);
        for (number, path) in self.journal.moved.iter().enumerate() {
            stop.check()?;
            // A file that is missing is no reason to fail: it was to go anyway.
            match self.journal.old {
                OldFiles::BackedUp => self.prefix.rename_if_exists(path, &self.old, &backup_name("file", number))?,
                OldFiles::Removed if *path == pending => {}
                OldFiles::Removed => remove(&self.prefix, path)?,
            }
        }
        for (number, path) in self.journal.emptied.iter().enumerate() {
            stop.check()?;
            if !self.prefix.has_directory(path)? {
                continue;
            }
            if !self.prefix.entries(path)?.is_empty() {
                self.prefix.set_time(path, seconds)?;
                continue;
            }
            match self.prefix.rename(path, &self.old, &backup_name("directory", number)) {
                // On an overlay file system, those of lower layers can only be made again.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.prefix.remove_directory(path)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Gives every directory of the journal the time `seconds`; none of them leaves.
    pub(super) fn set_directory_times(&self, seconds: i64) -> io::Result<()> {
        let mut directories = self.journal.directories.iter();
        directories.try_for_each(|(path, _)| self.prefix.set_time(path, seconds))
    }

    /// Makes the prefix what it was. `stage` tells which of the new files have not come yet. Can be done again if it
    /// was cut off, or if something could not be put back: then the rest is, but for the history.
    pub(super) fn roll_back(&self, stage: &Path) -> io::Result<()> {
        self.prefix.clear_cache();
        match self.journal.old {
            OldFiles::BackedUp => self.remove_new_files(stage)?,
            OldFiles::Removed if self.removing.get() => {
                return Err(io::Error::other("on an overlay file system, old files are not kept"));
            }
            // Nothing but the history has left, and nothing has come; but scripts may have run.
            OldFiles::Removed => {}
        }
        for (number, (path, attributes)) in self.journal.directories.iter().enumerate() {
            if !self.prefix.has_directory(path)? {
                self.prefix.rename_if_exists(path, &self.old, &backup_name("instead-of-directory", number))?;
                self.prefix.make_directory(path, 0o755)?;
                self.prefix.set_attributes(path, attributes)?;
            }
        }
        let numbers = 0..self.journal.copied.len();
        let put_back = numbers.map(|number| self.restore_copy(number)).fold(Ok(()), io::Result::and);
        if self.journal.old == OldFiles::BackedUp {
            for (number, path) in self.journal.moved.iter().enumerate().skip(usize::from(self.has_history())).rev() {
                self.old.rename_if_exists(&backup_name("file", number), &self.prefix, path)?;
            }
        }
        // As long as something is missing, the next run is to try again.
        put_back?;
        let directories = || self.journal.directories.iter().rev();
        let restore_attributes =
            || directories().try_for_each(|(path, attributes)| self.prefix.set_attributes(path, attributes));
        // Before it is an environment again, and once more for the history's own directory.
        restore_attributes()?;
        if self.has_history() {
            let (root, place) = self.place_of_history();
            root.rename_if_exists(&place, &self.prefix, &history())?;
        }
        restore_attributes()
    }

    /// Removes what has come, and puts back directories that have gone.
    fn remove_new_files(&self, stage: &Path) -> io::Result<()> {
        // Should this be cut off, the next run is to see that it was.
        if self.old.lookup(&backup_name("file", 0))?.is_some() || !self.has_history() {
            remove(&self.prefix, &history())?;
        }
        let moved: HashMap<&PathBuf, usize> = self.journal.moved.iter().zip(0..).collect();
        let stage = Root::open_no_follow(stage).ok();
        for path in self.journal.added.iter().rev() {
            // What is still in the stage never came; what is at its place is the old file, or somebody else's. So it is
            // with one that an earlier try has put back.
            let waits = stage.as_ref().map_or(Ok(None), |stage| stage.lookup(path))?.is_some();
            let is_old = match moved.get(path) {
                Some(number) => self.old.lookup(&backup_name("file", *number))?.is_none(),
                None => false,
            };
            if !waits && !is_old {
                remove(&self.prefix, path)?;
            }
        }
        for (number, path) in self.journal.emptied.iter().enumerate().rev() {
            self.old.rename_if_exists(&backup_name("directory", number), &self.prefix, path)?;
        }
        Ok(())
    }

    /// Puts back a file of nobody, if a script has changed or removed it. A directory in its place is a script's.
    fn restore_copy(&self, number: usize) -> io::Result<()> {
        let (copy, path) = (backup_name("copy", number), &self.journal.copied[number]);
        let Some(copied) = self.old.lookup(&copy)?.filter(|copied| copied.kind == PathKind::File) else {
            return Ok(());
        };
        match self.prefix.lookup(path)? {
            Some(there) if there.is_directory() => {
                self.prefix.rename(path, &self.old, &backup_name("instead-of-file", number))?;
            }
            // Times tell nothing: what scripts write gets the time of the installation.
            Some(there)
                if there.kind == PathKind::File
                    && there.has_same_size_and_time(&copied)
                    && there.mode == copied.mode
                    && has_same_content(self.old.read(&copy)?, self.prefix.read(path)?)? =>
            {
                return Ok(());
            }
            _ => {}
        }
        self.old.rename(&copy, &self.prefix, path)
    }

    /// Puts back the history only.
    pub(super) fn cancel(self) -> io::Result<()> {
        if self.has_history() {
            let (root, place) = self.place_of_history();
            root.rename_if_exists(&place, &self.prefix, &history())?;
        }
        self.discard();
        Ok(())
    }

    /// Lets the old files go: there is no way back from here. What cannot be removed, the next run tries again.
    pub(super) fn discard(self) {
        let _ = system::remove_tree(self.old.path());
    }
}

fn history() -> PathBuf {
    Path::new("conda-meta").join(HISTORY)
}

/// Where something waits, by its kind and its number in the journal.
fn backup_name(kind: &str, number: usize) -> PathBuf {
    format!("{kind}-{number}").into()
}

/// Compares files in pieces, for they may be larger than the memory.
fn has_same_content(one: File, other: File) -> io::Result<bool> {
    let open = |file: File| BufReader::with_capacity(1 << 16, file);
    let (mut one, mut other) = (open(one), open(other));
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

/// Removes a file, or a directory with nothing in it.
fn remove(prefix: &Root, path: &Path) -> io::Result<()> {
    match prefix.lookup(path)? {
        Some(there) if there.is_directory() => match prefix.remove_directory(path) {
            // A script or a user has put something into it; that stays.
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty && !is_gone(&error) => Err(error),
            _ => Ok(()),
        },
        Some(_) => prefix.remove_file(path),
        None => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
