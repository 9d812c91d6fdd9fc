//! The transaction: locks a prefix, holds the stage, and commits the finished stage to the prefix.
//!
//! There are three ways to commit ([`CommitMethod`]):
//!
//! - A new prefix is the stage itself, renamed.
//! - An existing prefix is replaced as a whole. A replica of it, made of hard links, receives the new files. Then
//!   replica and prefix are exchanged by one system call. A killed process leaves either the old prefix or the new one.
//! - If this is not possible, the prefix is changed in place, with a journal and a backup ([`super::rollback`]). This
//!   is so on an overlay file system, where a hard link would copy the file into the layer, and for volumes and soft
//!   links, which cannot be exchanged. It is also done if files are only added, because a replica would take most of
//!   the time.
//!
//! With [`Durability::PowerCuts`], each step waits until the disk has stored the data that the step relies on. The old
//! prefix is removed only after the disk has stored the new one.
//!
//! A commit is rolled back if a later step fails, and if its value is dropped.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_prefix::{Prefix, on_disk};
use mlconda_system::{self as system, Attributes, DirectoryLock, Time, beneath::Root};
use mlconda_types::progress::Progress;

use super::{
    Durability, InstallError,
    commit::{self, PrefixChange, ScriptTiming},
    disk::Disk,
    held::HeldDirectory,
    occupied::may_hold_environment,
    recovery::recover,
    rollback::{Journal, Rollback},
};

/// A prefix that this process has locked. Dropping it removes the stage, and the directories that were created for it.
pub(super) struct Transaction<'a> {
    prefix: PathBuf,
    /// The stage. `None` before it is made, and after it has become the prefix.
    stage: Option<HeldDirectory>,
    /// The path of the replica, and after the exchange of the old prefix. `None` until the prefix is locked, because a
    /// directory at this path may belong to another process.
    replica: Option<PathBuf>,
    method: CommitMethod,
    /// The disk that each step waits for, if any.
    disk: Option<Disk<'a>>,
    /// The nearest existing directory above the prefix, and its modification time.
    above: Option<(PathBuf, Time)>,
    /// Directories above the prefix that were created, the topmost first.
    created: Vec<PathBuf>,
    /// Locks on the stage, and on the prefix if it exists. A lock stays with its directory when the directory is
    /// renamed.
    locks: Vec<DirectoryLock>,
    /// The attributes that the prefix gets at the end if it is changed in place.
    attributes: Option<Attributes>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommitMethod {
    /// There is no prefix yet: the stage is renamed.
    Rename,
    /// The prefix exists and is exchanged with its replica.
    Swap,
    /// The prefix exists and is changed in place.
    InPlace,
}

/// A commit in progress. Dropping it restores the prefix, unless [`Commit::finish`] was called.
pub(super) struct Commit<'a> {
    transaction: Transaction<'a>,
    change: &'a PrefixChange<'a>,
    scripts: ScriptTiming,
    /// The backup of a change in place, and of untracked files that scripts may change.
    rollback: Option<Rollback>,
    step: AppliedStep,
}

/// The step of the commit that was done, for the rollback.
enum AppliedStep {
    None,
    /// The stage was renamed to the prefix.
    Renamed,
    /// The prefix was exchanged with this directory; the old prefix is at its path.
    Swapped(HeldDirectory),
}

impl<'a> Transaction<'a> {
    pub(super) fn prepare(
        prefix: &Prefix,
        durability: Durability,
        progress: &'a dyn Progress,
    ) -> Result<Self, InstallError> {
        let path = prefix.path();
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        recover(path)?.then_some(()).ok_or_else(busy)?;
        Self::make(path, durability, progress)
    }

    /// Locks the prefix, and makes the stage. After the check for leftovers, another process may have begun.
    pub(super) fn make(path: &Path, durability: Durability, progress: &'a dyn Progress) -> Result<Self, InstallError> {
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        let (stage, replica) = on_disk::stage_and_replica(path).unzip();
        let method = if stage.is_some() { commit_method(path) } else { CommitMethod::InPlace };
        let prefix = path.to_owned();
        let above = Time::above(path);
        let (created, locks, attributes) = (Vec::new(), Vec::new(), None);
        let mut transaction = Self {
            prefix,
            stage: None,
            replica: None,
            method,
            disk: None,
            above,
            created,
            locks,
            attributes,
            done: false,
        };
        make_parents(path.parent().unwrap_or(Path::new("/")), &mut transaction.created)?;
        if method != CommitMethod::Rename && !may_hold_environment(path)? {
            return Err(InstallError::Occupied { prefix: path.to_owned() });
        }
        if let Some(stage) = stage.filter(|_| method != CommitMethod::InPlace) {
            transaction.make_stage(&stage)?;
        }
        if method == CommitMethod::Swap && !transaction.stage()?.root().can_exchange()? {
            transaction.method = CommitMethod::InPlace;
            transaction.stage.take().map_or(Ok(()), |stage| stage.remove())?;
            transaction.locks.clear();
        }
        if method != CommitMethod::Rename {
            transaction.locks.push(system::lock_directory(path)?.ok_or_else(busy)?);
        }
        if transaction.method == CommitMethod::Swap {
            transaction.replica = replica;
        }
        if transaction.method == CommitMethod::InPlace {
            // If the path is a link, the link is kept.
            transaction.prefix = fs_err::canonicalize(path)?;
            transaction.attributes = Some(Attributes::from(&fs_err::metadata(path)?));
            transaction.make_stage(&transaction.prefix.join(on_disk::STAGE))?;
        }
        let stage = transaction.stage()?.root();
        stage.set_directory_mode(Path::new(""), 0o755)?;
        transaction.disk = durability.watch(stage)?.map(|file_system| Disk { file_system, progress });
        Ok(transaction)
    }

    /// Creates and locks the stage.
    fn make_stage(&mut self, path: &Path) -> Result<(), InstallError> {
        let busy = || InstallError::Busy { prefix: self.prefix.clone() };
        let stage = HeldDirectory::make(path)?.ok_or_else(busy)?;
        // Before it is locked, another process may take it for a leftover and remove it.
        let hold = match stage.root().lock() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            hold => hold.inspect_err(|_| {
                let _ = stage.remove();
            })?,
        };
        let hold = hold.ok_or_else(busy)?;
        stage.check().map_err(|error| if matches!(error, InstallError::Replaced { .. }) { busy() } else { error })?;
        self.locks.push(hold);
        self.stage = Some(stage);
        Ok(())
    }

    /// The stage.
    pub(super) fn stage(&self) -> io::Result<&HeldDirectory> {
        self.stage.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Begins the commit. Pre-unlink scripts may run afterwards.
    pub(super) fn begin(self, change: &'a PrefixChange<'a>, scripts: ScriptTiming) -> Result<Commit<'a>, InstallError> {
        let mut commit = Commit { transaction: self, change, scripts, rollback: None, step: AppliedStep::None };
        commit.transaction.stage()?.check()?;
        if scripts != ScriptTiming::BeforeAndAfter || commit.transaction.method == CommitMethod::Rename {
            return Ok(commit);
        }
        let prefix = &commit.transaction.prefix;
        let journal = match commit.transaction.method {
            CommitMethod::InPlace => change.journal(commit.transaction.stage()?.root(), scripts)?,
            _ => change.journal_of_scripts()?,
        };
        if commit.transaction.attributes.is_none() {
            commit.transaction.attributes = Some(Attributes::from(&fs_err::metadata(prefix)?));
        }
        let rollback = commit.rollback.insert(Rollback::begin(change.root()?, journal, &change.stop)?);
        // Before a script changes anything, the disk must have stored the journal, and that this is not an environment.
        let disk = &commit.transaction.disk;
        let marked = sync(disk).and_then(|()| rollback.move_history()).and_then(|()| sync(disk));
        match marked {
            Ok(()) => Ok(commit),
            Err(error) => Err(commit.undo(error.into())),
        }
    }
}

impl Commit<'_> {
    /// Moves the new files into the prefix.
    pub(crate) fn place(&mut self) -> Result<(), InstallError> {
        // Scripts may have moved directories, so none is kept open.
        self.change.clear_cache();
        if self.transaction.method == CommitMethod::Swap
            && self.scripts == ScriptTiming::Never
            && let Some(journal) = self.change.additions(self.transaction.stage()?.root())?
        {
            return self.add(journal);
        }
        if self.transaction.method == CommitMethod::Swap {
            if let Some(replica) = self.make_replica()? {
                return self.swap(replica);
            }
            // This journal is for an exchange. Changes by scripts until now are kept.
            self.rollback.take().map_or(Ok(()), Rollback::cancel)?;
            self.switch_to_in_place()?;
        }
        match self.transaction.method {
            CommitMethod::Rename => self.rename(),
            CommitMethod::Swap | CommitMethod::InPlace => self.change_in_place(),
        }
    }

    /// Changes the method to a change in place. The stage stays beside the prefix, on the same file system.
    fn switch_to_in_place(&mut self) -> io::Result<()> {
        self.transaction.method = CommitMethod::InPlace;
        if self.transaction.attributes.is_none() {
            self.transaction.attributes = Some(Attributes::from(&fs_err::metadata(&self.transaction.prefix)?));
        }
        Ok(())
    }

    /// Moves new files into the prefix, if nothing else changes.
    fn add(&mut self, journal: Journal) -> Result<(), InstallError> {
        self.switch_to_in_place()?;
        self.rollback = Some(Rollback::begin(self.change.root()?, journal, &self.change.stop)?);
        sync(&self.transaction.disk)?;
        self.move_in()?;
        self.rollback.iter().try_for_each(|rollback| rollback.set_directory_times(self.change.time))?;
        Ok(())
    }

    /// Creates the replica. `None` if hard links are not possible there.
    fn make_replica(&mut self) -> Result<Option<HeldDirectory>, InstallError> {
        let Some(path) = &self.transaction.replica else { return Ok(None) };
        let Some(replica) = HeldDirectory::make(path)? else {
            // The directory belongs to another process, so it is not removed later.
            self.transaction.replica = None;
            return Err(InstallError::Busy { prefix: self.transaction.prefix.clone() });
        };
        match self.change.fill_replica(replica.root(), self.scripts) {
            Ok(()) => Ok(Some(replica)),
            Err(error) => {
                let _ = replica.remove();
                if system::is_hard_link_unsupported(&error) { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    fn rename(&mut self) -> Result<(), InstallError> {
        let (stage, prefix) = (self.transaction.stage()?, &self.transaction.prefix);
        if self.scripts == ScriptTiming::Never {
            commit::publish_history(stage.root(), self.change.time)?;
        }
        sync(&self.transaction.disk)?;
        stage.rename_to(prefix)?;
        self.step = AppliedStep::Renamed;
        // The rename may have moved another directory that was put at the stage's path.
        stage.check_beside(prefix)
    }

    fn swap(&mut self, replica: HeldDirectory) -> Result<(), InstallError> {
        let (stage, time, stop) = (self.transaction.stage()?, self.change.time, &self.change.stop);
        let (root, prefix) = (Arc::clone(replica.root()), &self.transaction.prefix);
        commit::merge(stage.root(), &root, time, stop)?;
        self.change.repair_directories(&root)?;
        let lock = root.lock()?;
        // The history comes last: a replica with a history is complete.
        if self.scripts == ScriptTiming::Never {
            commit::publish_history(&root, self.change.time)?;
        }
        sync(&self.transaction.disk)?;
        replica.check()?;
        system::exchange(root.path(), prefix)?;
        self.change.clear_cache();
        let is_ours = replica.check_beside(prefix);
        self.step = AppliedStep::Swapped(replica);
        self.transaction.locks.extend(lock);
        is_ours?;
        Ok(self.change.carry_over(&root)?)
    }

    fn change_in_place(&mut self) -> Result<(), InstallError> {
        self.change.check_writable()?;
        if self.rollback.is_none() {
            let journal = self.change.journal(self.transaction.stage()?.root(), self.scripts)?;
            self.rollback = Some(Rollback::begin(self.change.root()?, journal, &self.change.stop)?);
        }
        sync(&self.transaction.disk)?;
        self.transaction.stage()?.check()?;
        Ok(self.move_in()?)
    }

    /// Makes the changes in the journal.
    fn move_in(&self) -> io::Result<()> {
        let (stage, time, stop) = (self.transaction.stage()?, self.change.time, &self.change.stop);
        self.rollback.iter().try_for_each(|rollback| rollback.move_old_files(time, stop))?;
        let prefix = self.change.root()?;
        prefix.clear_cache();
        commit::merge(stage.root(), prefix, time, stop)?;
        self.change.repair_directories(prefix)?;
        // The disk must have stored the changes before a script changes anything.
        if self.scripts == ScriptTiming::Never { Ok(()) } else { sync(&self.transaction.disk) }
    }

    /// The open directory that is the prefix now.
    fn new_prefix(&self) -> io::Result<&Root> {
        Ok(match &self.step {
            AppliedStep::Renamed => self.transaction.stage()?.root(),
            AppliedStep::Swapped(replica) => replica.root(),
            AppliedStep::None => self.change.root()?,
        })
    }

    /// Publishes the history, which makes the prefix an environment. Afterwards the installation cannot be stopped.
    pub(super) fn finish(mut self) -> Result<(), InstallError> {
        if !self.change.stop.enter_final_step() {
            return Err(self.undo(InstallError::Stopped));
        }
        let is_one = self.scripts == ScriptTiming::Never && self.transaction.method != CommitMethod::InPlace;
        if let Err(error) = self.publish(is_one) {
            return Err(self.undo(error.into()));
        }
        if let AppliedStep::Renamed = std::mem::replace(&mut self.step, AppliedStep::None) {
            // From now on, another process may use the paths beside the prefix.
            (self.transaction.stage, self.transaction.replica) = (None, None);
        }
        if let Some(rollback) = self.rollback.take() {
            rollback.discard();
        }
        if let Some(attributes) = &mut self.transaction.attributes {
            attributes.set_time(self.change.time);
        }
        for path in &self.transaction.created {
            let _ = system::set_directory_time(path, self.change.time);
        }
        self.transaction.done = true;
        Ok(())
    }

    /// Makes the prefix an environment, unless it is one already, and waits for the disk.
    fn publish(&self, is_one: bool) -> io::Result<()> {
        let (root, disk) = (self.new_prefix()?, &self.transaction.disk);
        if is_one {
            return sync(disk);
        }
        // The disk must store the results of scripts before the history, which says that the scripts are finished.
        sync(disk)?;
        commit::publish_history(root, self.change.time)?;
        sync(disk).inspect_err(|_| {
            // If there is no backup, nothing else would withdraw the history.
            let _ = commit::withdraw_history(root);
        })
    }

    /// Restores the prefix, and returns the error to report.
    pub(super) fn undo(mut self, cause: InstallError) -> InstallError {
        match self.go_back() {
            Ok(()) => cause,
            Err(back) => {
                InstallError::PartlyChanged { prefix: self.transaction.prefix.clone(), back, source: Box::new(cause) }
            }
        }
    }

    fn go_back(&mut self) -> io::Result<()> {
        let (prefix, stage) = (&self.transaction.prefix, &self.transaction.stage);
        let back = match std::mem::replace(&mut self.step, AppliedStep::None) {
            AppliedStep::Renamed => return stage.as_ref().map_or(Ok(()), |stage| stage.rename_from(prefix)),
            AppliedStep::Swapped(replica) => system::exchange(replica.root().path(), prefix),
            AppliedStep::None => Ok(()),
        };
        let stage = stage.as_ref().map(|stage| &**stage.root());
        let rollback = self.rollback.take();
        let back = back.and_then(|()| rollback.as_ref().map_or(Ok(()), |rollback| rollback.roll_back(stage)));
        match (&back, rollback) {
            (Ok(()), Some(rollback)) => rollback.discard(),
            (Ok(()), None) => {}
            // If undoing has failed, the next run needs these directories to try again.
            (Err(_), _) => (self.transaction.stage, self.transaction.replica) = (None, None),
        }
        back
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // Only `undo` reports errors. After an error here, the next run tries again.
        let _ = self.go_back();
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Errors are ignored: the next run removes leftovers. The stage is removed last, because its lock keeps other
        // processes from beginning.
        if let Some(replica) = &self.replica {
            let _ = system::remove_tree(replica);
        }
        if let Some(stage) = &self.stage {
            let _ = stage.remove();
        }
        if let Some(attributes) = &self.attributes {
            // This path is not a link: for a change in place, it is the real path.
            let root = Root::open_no_follow(&self.prefix);
            let _ = root.and_then(|root| root.set_attributes(Path::new(""), attributes));
        }
        if !self.done {
            for path in self.created.iter().rev() {
                let _ = fs_err::remove_dir(path);
            }
        }
        // Making and removing the stage changed the modification time of this directory, which would add it to an
        // image's layer. If this user may not set the time, the new time stays.
        if let Some((path, time)) = &self.above {
            let _ = time.set(path);
        }
    }
}

/// Waits for the disk, if the options say so.
fn sync(disk: &Option<Disk<'_>>) -> io::Result<()> {
    disk.as_ref().map_or(Ok(()), Disk::sync)
}

/// Chooses how the new files get into a prefix.
fn commit_method(prefix: &Path) -> CommitMethod {
    let Ok(metadata) = fs_err::symlink_metadata(prefix) else { return CommitMethod::Rename };
    // A root prefix contains other environments, and a replica would have to contain them, too.
    let is_root = prefix.join("envs").exists();
    let swappable = metadata.is_dir() && !is_root && system::can_swap_directory(prefix, &metadata);
    if swappable { CommitMethod::Swap } else { CommitMethod::InPlace }
}

/// Creates the directories above a prefix. Each new one is added to `created`, even if a later one fails.
pub(super) fn make_parents(parent: &Path, created: &mut Vec<PathBuf>) -> Result<(), InstallError> {
    let mut missing: Vec<&Path> = parent.ancestors().take_while(|path| !path.exists()).collect();
    while let Some(path) = missing.pop() {
        match fs_err::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(InstallError::Parent { path: parent.to_owned(), source }),
            Ok(()) => {
                created.push(path.to_owned());
                system::set_directory_mode(path, 0o755)?;
            }
        }
    }
    Ok(())
}
