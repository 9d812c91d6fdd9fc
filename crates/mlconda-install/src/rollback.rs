//! Rollback of a change in place: old files are moved into a backup directory in the prefix until the change is
//! complete.
//!
//! A journal is written before anything changes. It lists removed and added paths and the attributes of directories.
//! The same function rolls back after an error and, in the next run, after the process was killed. Files are renamed
//! into the backup and back, which needs no disk space. On an overlay file system there is no backup, because a rename
//! copies each file of a lower layer and waits for the disk (20 ms per file). There, old files are removed; after the
//! first removal no rollback is possible, and the next installation links all packages again.

mod bytes;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
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

use super::{HISTORY, InstallError, occupied::holds_other_files, stop::Stop};

/// The directory of records. If it exists, the directory above it is for an environment, even with other files in it.
const META: &str = "conda-meta";

/// The name of the journal in the backup directory. The journal exists as long as a rollback is possible.
const JOURNAL: &str = "journal.json";

/// The format version in a journal. Any other value is from another version, or not from this program.
const FORMAT: &str = "mlconda journal 1";

/// The steps of a change in place. All paths are relative to the prefix.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Always [`FORMAT`].
    #[serde(default)]
    pub(super) format: String,
    /// Files and links that are removed or replaced. The history comes first.
    #[serde(with = "bytes")]
    pub(super) moved: Vec<PathBuf>,
    /// Directories to remove if they are empty at the end, the deepest first.
    #[serde(rename = "hollow", with = "bytes")]
    pub(super) emptied: Vec<PathBuf>,
    /// New paths. A directory comes before its contents.
    #[serde(with = "bytes")]
    pub(super) added: Vec<PathBuf>,
    /// Untracked files that were copied to the backup, because scripts may change or remove them.
    #[serde(with = "bytes")]
    pub(super) copied: Vec<PathBuf>,
    /// Whether old files are backed up.
    pub(super) old: OldFiles,
    /// The directories that change, with their old attributes. Parents come first.
    #[serde(with = "bytes::with_attributes")]
    pub(super) directories: Vec<(PathBuf, Attributes)>,
}

/// Whether old files are backed up or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OldFiles {
    /// They are moved into the backup directory.
    #[default]
    #[serde(rename = "Waits")]
    BackedUp,
    /// They are removed at once. Then no rollback is possible.
    #[serde(rename = "Goes")]
    Removed,
}

impl Journal {
    /// All paths in the journal.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let lists = [&self.moved, &self.emptied, &self.added, &self.copied];
        let directories = self.directories.iter().map(|(path, _)| path);
        lists.into_iter().flatten().chain(directories).map(PathBuf::as_path)
    }

    /// Reads the journal in a backup directory. `None` if there is none, or if it cannot be parsed.
    ///
    /// The steps of a journal are executed, and any user with write access to the prefix could create one. So a journal
    /// is accepted only if this user or root has written it, and all its paths are inside the prefix.
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
        // Checks the open file, not the path, because the path could lead to another file now.
        if let Some(reason) = PathInfo::from(&file.metadata()?).untrusted_reason() {
            return Err(distrusted(reason));
        }
        let mut text = Vec::new();
        file.take(files::LARGEST_RECORD).read_to_end(&mut text)?;
        // A power failure may have damaged it. Then the next installation links all packages again.
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

/// A change in place with its backup. Dropping it does nothing; call `roll_back` or `discard`.
#[derive(Debug)]
pub(super) struct Rollback {
    prefix: Root,
    /// The backup directory.
    old: Root,
    journal: Journal,
    /// Whether files have been removed.
    removing: Cell<bool>,
}

impl Rollback {
    /// Writes the journal and copies untracked files. The prefix itself does not change yet.
    pub(super) fn begin(prefix: &Root, mut journal: Journal, stop: &Stop) -> io::Result<Self> {
        let prefix = prefix.open_directory(Path::new(""))?;
        // The empty path is the prefix itself, whose attributes the transaction restores.
        journal.directories.retain(|(path, _)| !path.as_os_str().is_empty());
        FORMAT.clone_into(&mut journal.format);
        // Only this user may write into the directory, because the next run executes the journal.
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

    /// Reads the rollback of a killed process. `None` if that process had not changed anything, or if no rollback is
    /// possible.
    pub(super) fn read_interrupted(prefix: &Path) -> Result<Option<Self>, InstallError> {
        let prefix = Root::open(prefix)?;
        let old = prefix.open_directory(Path::new(BACKUP))?;
        let journal = Journal::read(&old)?;
        if prefix.lookup(&history())?.is_some() {
            return Ok(None);
        }
        Ok(journal.map(|journal| Self { prefix, old, journal, removing: Cell::new(false) }))
    }

    /// Whether a process was killed after the commit was complete, and before it removed the backup.
    pub(super) fn is_finished(prefix: &Path, stage: &Path) -> bool {
        let meta = Path::new(META);
        let is_one = prefix.join(meta).join(HISTORY).is_file() && prefix.join(BACKUP).join(JOURNAL).is_file();
        // Before the change, the new history is still in the stage.
        is_one && !stage.join(meta).join(PENDING_HISTORY).exists()
    }

    /// Moves the history away. Without it the prefix is not an environment.
    pub(super) fn move_history(&self) -> io::Result<()> {
        if !self.has_history() {
            return Ok(());
        }
        let (root, place) = self.place_of_history();
        self.prefix.rename_if_exists(&history(), root, &place)
    }

    /// Whether there was a history. It is the first path that is moved.
    fn has_history(&self) -> bool {
        self.journal.moved.first().is_some_and(|path| *path == history())
    }

    /// The path to which the history is moved. Without a backup it stays in `conda-meta` under another name, so that
    /// the next installation continues it.
    fn place_of_history(&self) -> (&Root, PathBuf) {
        match self.journal.old {
            OldFiles::BackedUp => (&self.old, backup_name("file", 0)),
            OldFiles::Removed => (&self.prefix, Path::new(META).join(PENDING_HISTORY)),
        }
    }

    /// Moves the old files, the history first. Directories that change and are kept get the time `seconds`. `stop` is
    /// checked before each step as long as a rollback is possible.
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
        // Records are moved last. As long as a record exists, the next run knows the remaining files of its package.
        for records in [false, true] {
            let is_one = |path: &Path| path.starts_with(META) == records;
            self.move_paths(is_one, stop)?;
            self.move_emptied(is_one, seconds, stop)?;
        }
        self.set_times_of_changed(seconds)
    }

    /// Moves or removes the old files for which `is_one` is true.
    fn move_paths(&self, is_one: impl Fn(&Path) -> bool, stop: &Stop) -> io::Result<()> {
        let pending = Path::new(META).join(PENDING_HISTORY);
        for (number, path) in self.journal.moved.iter().enumerate().filter(|(_, path)| is_one(path)) {
            stop.check()?;
            // A missing file is not an error, because it would be removed anyway.
            match self.journal.old {
                OldFiles::BackedUp => self.prefix.rename_if_exists(path, &self.old, &backup_name("file", number))?,
                OldFiles::Removed if *path == pending => {}
                OldFiles::Removed => remove(&self.prefix, path)?,
            }
        }
        Ok(())
    }

    /// Moves or removes directories that have become empty.
    fn move_emptied(&self, is_one: impl Fn(&Path) -> bool, seconds: i64, stop: &Stop) -> io::Result<()> {
        for (number, path) in self.journal.emptied.iter().enumerate().filter(|(_, path)| is_one(path)) {
            stop.check()?;
            if !self.prefix.has_directory(path)? {
                continue;
            }
            if !self.prefix.entries(path)?.is_empty() {
                self.prefix.set_time(path, seconds)?;
                continue;
            }
            match self.prefix.rename(path, &self.old, &backup_name("directory", number)) {
                // On an overlay file system, directories of lower layers cannot be renamed.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.prefix.remove_directory(path)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Sets the modification time of directories from which something was moved. Those of other users keep the new
    /// time.
    fn set_times_of_changed(&self, seconds: i64) -> io::Result<()> {
        let moved = self.journal.moved.iter().chain(&self.journal.emptied);
        let changed: HashSet<&Path> = moved.filter_map(|path| path.parent()).collect();
        // The transaction sets the time of the prefix itself.
        for path in changed.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            if self.prefix.has_directory(path)? {
                match self.prefix.set_time(path, seconds) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Sets the modification time of all directories in the journal.
    pub(super) fn set_directory_times(&self, seconds: i64) -> io::Result<()> {
        let mut directories = self.journal.directories.iter();
        directories.try_for_each(|(path, _)| self.prefix.set_time(path, seconds))
    }

    /// Restores the prefix. New files that are still in `stage` were never moved. This can be repeated if it was
    /// interrupted, or if a file could not be restored. In the latter case, everything except the history is restored.
    pub(super) fn roll_back(&self, stage: Option<&Root>) -> io::Result<()> {
        self.prefix.clear_cache();
        // Directories of the stage were moved into the prefix, so cached ones are outdated.
        stage.into_iter().for_each(Root::clear_cache);
        match self.journal.old {
            OldFiles::BackedUp => self.remove_new_files(stage)?,
            OldFiles::Removed if self.removing.get() => {
                return Err(io::Error::other("old files are not kept on an overlay file system"));
            }
            // Only the history was moved, but scripts may have run.
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
        // If a file is missing, the next run tries again.
        put_back?;
        let directories = || self.journal.directories.iter().rev();
        let restore_attributes =
            || directories().try_for_each(|(path, attributes)| self.prefix.set_attributes(path, attributes));
        // Before the history is restored, and again for the directory of the history.
        restore_attributes()?;
        if self.has_history() {
            let (root, place) = self.place_of_history();
            root.rename_if_exists(&place, &self.prefix, &history())?;
        }
        restore_attributes()?;
        if self.has_history() { Ok(()) } else { self.keep_or_remove_meta() }
    }

    /// After a failed first installation, files of a script may be left, and must not keep the next installation from
    /// using the directory. A directory `conda-meta` has this effect. If it is a new one, it was kept until now,
    /// because on a full disk it could not be created again.
    fn keep_or_remove_meta(&self) -> io::Result<()> {
        let meta = Path::new(META);
        let is_marked = self.prefix.has_directory(meta)?;
        match holds_other_files(self.prefix.path())? {
            true if !is_marked => self.prefix.make_directory(meta, 0o755),
            false if is_marked && self.journal.added.iter().any(|path| path == meta) => remove(&self.prefix, meta),
            _ => Ok(()),
        }
    }

    /// Removes new files, and restores removed directories.
    fn remove_new_files(&self, stage: Option<&Root>) -> io::Result<()> {
        // If this is interrupted, the next run must notice it. So the history is removed first.
        if self.old.lookup(&backup_name("file", 0))?.is_some() || !self.has_history() {
            remove(&self.prefix, &history())?;
        }
        let moved: HashMap<&PathBuf, usize> = self.journal.moved.iter().zip(0..).collect();
        for path in self.journal.added.iter().rev().filter(|path| *path != Path::new(META)) {
            // If the new file is still in the stage, the path has the old file or a file of another program. The same
            // is true if an earlier attempt has restored the old file.
            let waits = stage.map_or(Ok(None), |stage| stage.lookup(path))?.is_some();
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

    /// Restores an untracked file if a script has changed or removed it. If a directory is at its path, a script has
    /// created the directory.
    fn restore_copy(&self, number: usize) -> io::Result<()> {
        let (copy, path) = (backup_name("copy", number), &self.journal.copied[number]);
        let Some(copied) = self.old.lookup(&copy)?.filter(|copied| copied.kind == PathKind::File) else {
            return Ok(());
        };
        match self.prefix.lookup(path)? {
            Some(there) if there.is_directory() => {
                self.prefix.rename(path, &self.old, &backup_name("instead-of-file", number))?;
            }
            // Modification times prove nothing, because files that scripts write get the time of the installation.
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

    /// Restores only the history, and removes the backup.
    pub(super) fn cancel(self) -> io::Result<()> {
        if self.has_history() {
            let (root, place) = self.place_of_history();
            root.rename_if_exists(&place, &self.prefix, &history())?;
        }
        self.discard();
        Ok(())
    }

    /// Removes the backup. Afterwards no rollback is possible. Files that cannot be removed now are removed by the next
    /// run.
    pub(super) fn discard(self) {
        let _ = system::remove_tree(self.old.path());
    }
}

fn history() -> PathBuf {
    Path::new(META).join(HISTORY)
}

/// The name of a file in the backup directory, by its kind and its number in the journal.
fn backup_name(kind: &str, number: usize) -> PathBuf {
    format!("{kind}-{number}").into()
}

/// Compares two files piece by piece, because they may be larger than the memory.
fn has_same_content(one: fs_err::File, other: fs_err::File) -> io::Result<bool> {
    let open = |file: fs_err::File| BufReader::with_capacity(1 << 16, file);
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

/// Removes a file, or an empty directory.
fn remove(prefix: &Root, path: &Path) -> io::Result<()> {
    match prefix.lookup(path)? {
        Some(there) if there.is_directory() => match prefix.remove_directory(path) {
            // A script or a user has put a file into the directory, so it is kept.
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
