//! The transaction: locks a prefix, holds the stage, and commits the finished stage to the prefix.
//!
//! There are three ways to commit ([`CommitMethod`]):
//!
//! - A new prefix is the stage itself, renamed.
//! - An existing prefix is replaced as a whole. A replica of it, made of hard links, receives the new files; then replica
//!   and prefix are exchanged by one system call. A killed process leaves either the old prefix or the new one.
//! - Where this is not possible, the prefix is changed in place, with a journal and a backup ([`super::rollback`]). This is
//!   the case on an overlay file system (a hard link would copy the file into the layer), and for volumes and soft links
//!   (they cannot be exchanged). It is also done where files are only added: a replica would take most of the time.
//!
//! Each commit is rolled back if a later step fails, and when its value is dropped.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mlconda_prefix::{
    Prefix,
    on_disk::{self, BACKUP},
};
use mlconda_system::{self as system, Attributes, Time, beneath::Root};

use super::{
    HISTORY, InstallError,
    commit::{self, PrefixChange, ScriptTiming},
    rollback::{Journal, Rollback},
};

/// A prefix that this process has locked. Dropping it removes the stage, and the directories that were created for it.
pub(super) struct Transaction {
    prefix: PathBuf,
    pub(super) stage: PathBuf,
    /// The path of the replica; after the exchange, of the old prefix.
    replica: Option<PathBuf>,
    method: CommitMethod,
    /// The nearest existing directory above the prefix, and its modification time.
    above: Option<(PathBuf, Time)>,
    /// Directories above the prefix that were created, the topmost first.
    created: Vec<PathBuf>,
    /// Locks on the stage, and on the prefix if it exists. A lock stays with its directory when that is renamed.
    locks: Vec<File>,
    /// The attributes that a prefix that is changed in place gets at the end.
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
    transaction: Transaction,
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
    /// The prefix was exchanged; the old prefix is at this path.
    Swapped(PathBuf),
}

impl Transaction {
    pub(super) fn prepare(prefix: &Prefix) -> Result<Self, InstallError> {
        let path = prefix.path();
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        recover(path)?.then_some(()).ok_or_else(busy)?;
        let (stage, replica) = on_disk::stage_and_replica(path).unzip();
        let method = if stage.is_some() { commit_method(path) } else { CommitMethod::InPlace };
        let (prefix, none) = (path.to_owned(), PathBuf::new());
        let above = Time::above(path);
        let (created, locks, attributes) = (Vec::new(), Vec::new(), None);
        let mut transaction =
            Self { prefix, stage: none, replica, method, above, created, locks, attributes, done: false };
        make_parents(path.parent().unwrap_or(Path::new("/")), &mut transaction.created)?;
        if method != CommitMethod::Rename && !may_hold_environment(path)? {
            return Err(InstallError::Occupied { prefix: path.to_owned() });
        }
        if let Some(stage) = stage.filter(|_| method != CommitMethod::InPlace) {
            transaction.make_stage(stage)?;
        }
        if method == CommitMethod::Swap && !system::can_exchange(&transaction.stage)? {
            transaction.method = CommitMethod::InPlace;
            fs_err::remove_dir(std::mem::take(&mut transaction.stage))?;
            transaction.locks.clear();
        }
        if method != CommitMethod::Rename {
            transaction.locks.push(system::lock_directory(path)?.ok_or_else(busy)?);
        }
        if transaction.method == CommitMethod::InPlace {
            transaction.replica = None;
            // It may be a link, which is kept.
            transaction.prefix = fs_err::canonicalize(path)?;
            transaction.attributes = Some(Attributes::from(&fs_err::metadata(path)?));
            transaction.make_stage(path.join(on_disk::STAGE))?;
        }
        system::set_directory_mode(&transaction.stage, 0o755)?;
        Ok(transaction)
    }

    /// Creates the stage and locks it.
    fn make_stage(&mut self, stage: PathBuf) -> Result<(), InstallError> {
        let busy = || InstallError::Busy { prefix: self.prefix.clone() };
        match fs_err::create_dir(&stage) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(busy()),
            other => other?,
        }
        let hold = system::lock_directory(&stage).inspect_err(|_| {
            let _ = fs_err::remove_dir(&stage);
        });
        let hold = hold?.ok_or_else(busy)?;
        self.locks.push(hold);
        self.stage = stage;
        Ok(())
    }

    /// Begins the commit. Pre-unlink scripts may run afterwards.
    pub(super) fn begin<'a>(
        self,
        change: &'a PrefixChange<'a>,
        scripts: ScriptTiming,
    ) -> Result<Commit<'a>, InstallError> {
        let mut commit = Commit { transaction: self, change, scripts, rollback: None, step: AppliedStep::None };
        if scripts != ScriptTiming::BeforeAndAfter || commit.transaction.method == CommitMethod::Rename {
            return Ok(commit);
        }
        let (stage, prefix) = (&commit.transaction.stage, &commit.transaction.prefix);
        let journal = match commit.transaction.method {
            CommitMethod::InPlace => change.journal(stage, scripts)?,
            _ => change.journal_of_scripts()?,
        };
        if commit.transaction.attributes.is_none() {
            commit.transaction.attributes = Some(Attributes::from(&fs_err::metadata(prefix)?));
        }
        let rollback = Rollback::begin(prefix, journal, &change.stop)?;
        let marked = rollback.move_history();
        commit.rollback = Some(rollback);
        match marked {
            Ok(()) => Ok(commit),
            Err(error) => Err(commit.undo(error.into())),
        }
    }
}

impl Commit<'_> {
    /// Moves the new files into the prefix.
    pub(crate) fn place(&mut self) -> Result<(), InstallError> {
        if self.transaction.method == CommitMethod::Swap
            && self.scripts == ScriptTiming::Never
            && let Some(journal) = self.change.additions(&self.transaction.stage)?
        {
            return self.add(journal);
        }
        if self.transaction.method == CommitMethod::Swap && !self.make_replica()? {
            // The journal so far is for an exchange. What scripts have changed by now is kept.
            self.rollback.take().map_or(Ok(()), Rollback::cancel)?;
            self.switch_to_in_place()?;
        }
        match self.transaction.method {
            CommitMethod::Rename => self.rename(),
            CommitMethod::Swap => self.swap(),
            CommitMethod::InPlace => self.change_in_place(),
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

    /// Moves new files into the prefix, where nothing else changes.
    fn add(&mut self, journal: Journal) -> Result<(), InstallError> {
        self.switch_to_in_place()?;
        let rollback = Rollback::begin(&self.transaction.prefix, journal, &self.change.stop)?;
        self.rollback = Some(rollback);
        self.move_in()?;
        self.rollback.iter().try_for_each(|rollback| rollback.set_directory_times(self.change.time))?;
        Ok(())
    }

    /// Creates the replica; `false` if hard links are not possible there.
    fn make_replica(&self) -> Result<bool, InstallError> {
        let Some(replica) = &self.transaction.replica else { return Ok(false) };
        match self.change.make_replica(replica, self.scripts) {
            Ok(()) => Ok(true),
            Err(error) if system::is_hard_link_unsupported(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&mut self) -> Result<(), InstallError> {
        let transaction = &self.transaction;
        if self.scripts == ScriptTiming::Never {
            commit::publish_history(&transaction.stage, self.change.time)?;
        }
        fs_err::rename(&transaction.stage, &transaction.prefix)?;
        self.step = AppliedStep::Renamed;
        Ok(())
    }

    fn swap(&mut self) -> Result<(), InstallError> {
        let Some(replica) = self.transaction.replica.clone() else { return Ok(()) };
        let (stage, time, stop) = (Root::open_no_follow(&self.transaction.stage)?, self.change.time, &self.change.stop);
        commit::merge(&stage, &Root::open_no_follow(&replica)?, time, stop)?;
        self.change.repair_directories(&replica)?;
        self.transaction.locks.extend(system::lock_directory(&replica)?);
        // Last: a replica that has a history is complete.
        if self.scripts == ScriptTiming::Never {
            commit::publish_history(&replica, self.change.time)?;
        }
        system::exchange(&replica, &self.transaction.prefix)?;
        self.step = AppliedStep::Swapped(replica.clone());
        Ok(self.change.carry_over(&replica)?)
    }

    fn change_in_place(&mut self) -> Result<(), InstallError> {
        self.change.check_writable()?;
        if self.rollback.is_none() {
            let journal = self.change.journal(&self.transaction.stage, self.scripts)?;
            self.rollback = Some(Rollback::begin(&self.transaction.prefix, journal, &self.change.stop)?);
        }
        Ok(self.move_in()?)
    }

    /// Executes the journal.
    fn move_in(&self) -> io::Result<()> {
        let (stage, time, stop) = (Root::open_no_follow(&self.transaction.stage)?, self.change.time, &self.change.stop);
        self.rollback.iter().try_for_each(|rollback| rollback.move_old_files(time, stop))?;
        commit::merge(&stage, &Root::open(&self.transaction.prefix)?, time, stop)?;
        self.change.repair_directories(&self.transaction.prefix)
    }

    /// Publishes the history, which makes the prefix an environment. Afterwards the installation cannot be stopped.
    pub(super) fn finish(mut self) -> Result<(), InstallError> {
        if !self.change.stop.enter_final_step() {
            return Err(self.undo(InstallError::Stopped));
        }
        let is_one = self.scripts == ScriptTiming::Never && self.transaction.method != CommitMethod::InPlace;
        if !is_one && let Err(error) = commit::publish_history(&self.transaction.prefix, self.change.time) {
            return Err(self.undo(error.into()));
        }
        if let AppliedStep::Renamed = std::mem::replace(&mut self.step, AppliedStep::None) {
            // From now on another process may use the paths beside the prefix.
            (self.transaction.stage, self.transaction.replica) = (PathBuf::new(), None);
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
            AppliedStep::Renamed => return fs_err::rename(prefix, stage),
            AppliedStep::Swapped(replica) => system::exchange(&replica, prefix),
            AppliedStep::None => Ok(()),
        };
        let rollback = self.rollback.take();
        let back = back.and_then(|()| rollback.as_ref().map_or(Ok(()), |rollback| rollback.roll_back(stage)));
        match (&back, rollback) {
            (Ok(()), Some(rollback)) => rollback.discard(),
            (Ok(()), None) => {}
            // Keeps what the next run needs to try again.
            (Err(_), _) => (self.transaction.stage, self.transaction.replica) = (PathBuf::new(), None),
        }
        back
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // `undo` reports errors. The next run tries again.
        let _ = self.go_back();
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Errors are ignored: the next run removes what is left. The stage is removed last: while it exists and is locked, no
        // other process begins.
        for left in [self.replica.as_deref(), Some(self.stage.as_path())].into_iter().flatten() {
            if !left.as_os_str().is_empty() {
                let _ = system::remove_tree(left);
            }
        }
        if let Some(attributes) = &self.attributes {
            let _ = attributes.apply_to(&self.prefix);
        }
        if !self.done {
            for path in self.created.iter().rev() {
                let _ = fs_err::remove_dir(path);
            }
        }
        // Creating and removing the stage changed its modification time, which would be in an image's layer. Without the
        // permission to set it, the new time stays.
        if let Some((path, time)) = &self.above {
            let _ = time.set(path);
        }
    }
}

/// Rolls back and cleans up after a killed process. `false` if a running process has locked the prefix.
pub(super) fn recover(prefix: &Path) -> Result<bool, InstallError> {
    let (beside, replica) = on_disk::stage_and_replica(prefix).unzip();
    let inside = prefix.join(on_disk::STAGE);
    check_own(beside.iter().chain(&replica).chain([&inside, &prefix.join(BACKUP), &prefix.join("conda-meta")]))?;
    let left: Vec<&PathBuf> = replica.iter().chain(&beside).filter(|left| left.is_dir()).collect();
    let (backup, is_inside) = (prefix.join(BACKUP), inside.is_dir());
    if left.is_empty() && !is_inside && !backup.is_dir() {
        return Ok(true);
    }
    let mut locks = Vec::new();
    for held in beside.iter().map(PathBuf::as_path).chain([inside.as_path(), prefix]).filter(|held| held.is_dir()) {
        match system::lock_directory(held)? {
            Some(hold) => locks.push(hold),
            None => return Ok(false),
        }
    }
    let is_old = |replica: &&PathBuf| has_history(replica) || replica.join(BACKUP).is_dir();
    if let Some(replica) = replica.as_ref().filter(is_old).filter(|_| prefix.is_dir() && !has_history(prefix)) {
        // The replica is the old prefix: the process was killed before all scripts of the new one had run.
        check_owner(replica, prefix)?;
        system::exchange(replica, prefix)?;
    }
    if backup.is_dir() {
        let stage = beside.as_ref().filter(|stage| !is_inside && stage.is_dir()).unwrap_or(&inside);
        let is_finished = Rollback::is_finished(prefix, stage);
        if let Some(left) = Rollback::read_interrupted(prefix)? {
            left.roll_back(stage)?;
        }
        system::remove_tree(&backup)?;
        if is_finished {
            set_directory_times(prefix);
        }
    }
    // The stage is removed last: while it exists and is locked, no other process begins.
    for left in left.into_iter().chain([&inside]).filter(|left| left.is_dir()) {
        system::remove_tree(left)?;
    }
    Ok(true)
}

/// Makes sure that no path of the installation itself is a link: its target belongs to somebody else.
fn check_own<'a>(mut names: impl Iterator<Item = &'a PathBuf>) -> Result<(), InstallError> {
    names.try_for_each(|path| match fs_err::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            Err(InstallError::ForeignLink { path: path.clone(), to: fs_err::read_link(path)? })
        }
        _ => Ok(()),
    })
}

/// Makes sure that a replica belongs to this user, to root or to the owner of the prefix. In a directory such as `/tmp`,
/// any user could have created it.
fn check_owner(replica: &Path, prefix: &Path) -> Result<(), InstallError> {
    let owner = |path: &Path| fs_err::symlink_metadata(path).map(|there| there.uid());
    let trusted = [0, rustix::process::geteuid().as_raw(), owner(prefix)?];
    if trusted.contains(&owner(replica)?) {
        return Ok(());
    }
    Err(InstallError::Untrusted { path: replica.to_owned(), reason: "belongs to another user".to_owned() })
}

/// Sets the modification time of the directories of an environment to that of its history: the process was killed right
/// before this step.
fn set_directory_times(prefix: &Path) {
    let meta = prefix.join("conda-meta");
    if let Ok(history) = fs_err::metadata(meta.join(HISTORY)) {
        for directory in [&meta, prefix] {
            let _ = system::set_directory_time(directory, system::modified(&history));
        }
    }
}

fn has_history(prefix: &Path) -> bool {
    prefix.join("conda-meta").join(HISTORY).is_file()
}

/// How the new files get into a prefix.
fn commit_method(prefix: &Path) -> CommitMethod {
    let Ok(metadata) = fs_err::symlink_metadata(prefix) else { return CommitMethod::Rename };
    // A root prefix contains other environments, which a replica would have to contain too.
    let is_root = prefix.join("envs").exists();
    let swappable = metadata.is_dir() && !is_root && system::can_swap_directory(prefix, &metadata);
    if swappable { CommitMethod::Swap } else { CommitMethod::InPlace }
}

/// Whether an environment may be installed into an existing directory: it is one already, or it contains only what a root
/// prefix or a new volume contains. Other directories are refused.
fn may_hold_environment(path: &Path) -> Result<bool, InstallError> {
    let harmless = ["conda-meta", "envs", "pkgs", "lost+found", ".condarc", on_disk::STAGE, BACKUP];
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        let is_one_of = |names: &[&str]| names.iter().any(|name| entry.file_name() == *name);
        let is_harmless = is_one_of(&harmless) || is_one_of(&FOR_SHELLS) && is_for_shells(&entry.path())?;
        if !is_harmless {
            return Ok(path.join("conda-meta").is_dir());
        }
    }
    Ok(true)
}

/// The directories of a root prefix that may contain files of conda before there is an environment, and the names of these
/// files.
const FOR_SHELLS: [&str; 4] = ["bin", "condabin", "etc", "shell"];
const OF_CONDA: [&str; 6] = ["conda", "mamba", "micromamba", "mlconda", "activate", "deactivate"];

/// Whether a directory contains nothing but conda's files for shells.
fn is_for_shells(directory: &Path) -> io::Result<bool> {
    if !fs_err::symlink_metadata(directory)?.is_dir() {
        return Ok(false);
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        let is_harmless = match entry.file_type()?.is_dir() {
            true => is_for_shells(&entry.path())?,
            false => OF_CONDA.contains(&stem),
        };
        if !is_harmless {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Creates the directories above a prefix, and adds those that did not exist to `created`, also if an error occurs.
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
