//! Where an installation takes place, and the step that makes a finished stage the prefix.
//!
//! A new prefix is the stage itself, renamed. A prefix that exists is replaced as a whole: a twin of it, made of hard
//! links, takes in what is new, and the two change places in one step of the kernel, so that a killed process leaves the
//! old prefix or the new one. Where that cannot be (on an overlay file system a hard link copies the file into
//! the layer; a volume or a link cannot change places) what is gone moves aside and what is new moves in, by a journal
//! that leads back ([`super::rollback`]). So it does where nothing but additions are to be made: a twin would take most of the
//! time, and what a kill can cut off are a few renames. Each of them is undone if anything fails later, and when its value
//! is dropped.

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
    commit::{self, PrefixChange},
    rollback::{Journal, Rollback},
};

/// A place that this process holds. Dropping it removes what is left over, and the directories made for it.
pub(super) struct Transaction {
    prefix: PathBuf,
    pub(super) stage: PathBuf,
    /// Where the twin of the prefix is, and after the swap the old one.
    replica: Option<PathBuf>,
    method: CommitMethod,
    /// The directory above the prefix that was there before, and its time in seconds since 1970 and nanoseconds.
    above: Option<(PathBuf, Time)>,
    /// Directories above the prefix that were not there before, the topmost first.
    created: Vec<PathBuf>,
    /// Keep other processes out as long as they are open: the stage, and the prefix if there is one. A lock goes with
    /// the directory when that is renamed.
    locks: Vec<File>,
    /// What a prefix that something is made in is to be like at the end.
    attributes: Option<Attributes>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommitMethod {
    /// There is no prefix yet.
    Rename,
    /// There is one, and it can be swapped for another.
    Swap,
    /// There is one, and it has to be changed where it is.
    InPlace,
}

/// When packages' scripts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptTiming {
    /// Never: the step that gives the new files their place makes them an environment.
    Never,
    /// When the new files have their place. Until then there is no environment.
    After,
    /// Before, too: from the first script on there is none.
    BeforeAndAfter,
}

/// A commit that is under way. Dropping it makes the prefix what it was, unless [`Commit::finish`] was called.
pub(super) struct Commit<'a> {
    transaction: Transaction,
    change: &'a PrefixChange<'a>,
    scripts: ScriptTiming,
    /// The old files of a change in place, and those that scripts may spoil.
    rollback: Option<Rollback>,
    step: AppliedStep,
}

/// What has changed its place as a whole.
enum AppliedStep {
    None,
    /// The prefix was not there: it gets the stage's name again.
    Renamed,
    /// The old prefix is where the twin was.
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
            // It may be a link, which is to stay as it is.
            transaction.prefix = fs_err::canonicalize(path)?;
            transaction.attributes = Some(Attributes::from(&fs_err::metadata(path)?));
            transaction.make_stage(path.join(on_disk::STAGE))?;
        }
        system::set_directory_mode(&transaction.stage, 0o755)?;
        Ok(transaction)
    }

    /// Makes the stage and holds it.
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

    /// Begins to make the stage the prefix. Scripts of packages that go may run then.
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
    /// Gives the new files their place.
    pub(crate) fn place(&mut self) -> Result<(), InstallError> {
        if self.transaction.method == CommitMethod::Swap
            && self.scripts == ScriptTiming::Never
            && let Some(journal) = self.change.additions(&self.transaction.stage)?
        {
            return self.add(journal);
        }
        if self.transaction.method == CommitMethod::Swap && !self.make_replica()? {
            // Its journal is of another kind of change. What scripts have done by now stays.
            self.rollback.take().map_or(Ok(()), Rollback::cancel)?;
            self.switch_to_in_place()?;
        }
        match self.transaction.method {
            CommitMethod::Rename => self.rename(),
            CommitMethod::Swap => self.swap(),
            CommitMethod::InPlace => self.change_in_place(),
        }
    }

    /// From here on the prefix is changed where it is. The stage moves in from beside; it is on the same file system.
    fn switch_to_in_place(&mut self) -> io::Result<()> {
        self.transaction.method = CommitMethod::InPlace;
        if self.transaction.attributes.is_none() {
            self.transaction.attributes = Some(Attributes::from(&fs_err::metadata(&self.transaction.prefix)?));
        }
        Ok(())
    }

    /// Moves in what is new, where nothing else changes.
    fn add(&mut self, journal: Journal) -> Result<(), InstallError> {
        self.switch_to_in_place()?;
        let rollback = Rollback::begin(&self.transaction.prefix, journal, &self.change.stop)?;
        self.rollback = Some(rollback);
        self.move_in()?;
        self.rollback.iter().try_for_each(|rollback| rollback.set_directory_times(self.change.time))?;
        Ok(())
    }

    /// Makes the twin; `false` if there can be none: for reasons that stay, and no other.
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
        // Last: a twin that has a history is whole.
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

    /// Does what the journal says.
    fn move_in(&self) -> io::Result<()> {
        let (stage, time, stop) = (Root::open_no_follow(&self.transaction.stage)?, self.change.time, &self.change.stop);
        self.rollback.iter().try_for_each(|rollback| rollback.move_old_files(time, stop))?;
        commit::merge(&stage, &Root::open(&self.transaction.prefix)?, time, stop)?;
        self.change.repair_directories(&self.transaction.prefix)
    }

    /// Makes the prefix an environment. From here on it is too late to stop.
    pub(super) fn finish(mut self) -> Result<(), InstallError> {
        if !self.change.stop.enter_final_step() {
            return Err(self.undo(InstallError::Stopped));
        }
        let is_one = self.scripts == ScriptTiming::Never && self.transaction.method != CommitMethod::InPlace;
        if !is_one && let Err(error) = commit::publish_history(&self.transaction.prefix, self.change.time) {
            return Err(self.undo(error.into()));
        }
        if let AppliedStep::Renamed = std::mem::replace(&mut self.step, AppliedStep::None) {
            // The names beside the prefix are another process's from now on.
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

    /// Makes the prefix what it was, and gives the error to report.
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
            // What the next run needs to try again stays.
            (Err(_), _) => (self.transaction.stage, self.transaction.replica) = (PathBuf::new(), None),
        }
        back
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // Whoever wants to know calls `undo`; the next run tries again what could not be done.
        let _ = self.go_back();
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Nothing more can be done about an error here; the next run removes what is left. The stage goes last: as long
        // as it is there and held, nobody else begins.
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
        // Making and removing what is ours gave it the clock's time, which would be in an image's layer. Where it belongs
        // to somebody else, it keeps that.
        if let Some((path, time)) = &self.above {
            let _ = time.set(path);
        }
    }
}

/// Undoes what a killed process left half-done, and removes what it left over. `false` if a living one is at it.
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
        // The twin is the old prefix, and the scripts of the new one have not all run.
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
    // A stage goes last: as long as it is there and held, nobody else begins.
    for left in left.into_iter().chain([&inside]).filter(|left| left.is_dir()) {
        system::remove_tree(left)?;
    }
    Ok(true)
}

/// Makes sure that none of the names that are an installation's own is a link: what is behind it is somebody else's.
fn check_own<'a>(mut names: impl Iterator<Item = &'a PathBuf>) -> Result<(), InstallError> {
    names.try_for_each(|path| match fs_err::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            Err(InstallError::ForeignLink { path: path.clone(), to: fs_err::read_link(path)? })
        }
        _ => Ok(()),
    })
}

/// Makes sure that a twin belongs to this user, to root or to the owner of the prefix. Where all may write, as in `/tmp`, anybody could
/// have put it there.
fn check_owner(replica: &Path, prefix: &Path) -> Result<(), InstallError> {
    let owner = |path: &Path| fs_err::symlink_metadata(path).map(|there| there.uid());
    let trusted = [0, rustix::process::geteuid().as_raw(), owner(prefix)?];
    if trusted.contains(&owner(replica)?) {
        return Ok(());
    }
    Err(InstallError::Untrusted { path: replica.to_owned(), reason: "belongs to another user".to_owned() })
}

/// Gives the directories of an environment that was just finished the time that its history has: a process that was killed
/// right then has not come to that.
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

/// How a prefix can be changed.
fn commit_method(prefix: &Path) -> CommitMethod {
    let Ok(metadata) = fs_err::symlink_metadata(prefix) else { return CommitMethod::Rename };
    // A root prefix holds other environments, which a twin would have to hold too.
    let is_root = prefix.join("envs").exists();
    let swappable = metadata.is_dir() && !is_root && system::can_swap_directory(prefix, &metadata);
    if swappable { CommitMethod::Swap } else { CommitMethod::InPlace }
}

/// Whether an environment may be put into a directory that exists: there is one already, or nothing but what
/// stands in a root prefix or in a fresh volume. Other people's directories are left alone.
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

/// The directories of a root prefix in which there may be something of conda before there is an environment, and what.
const FOR_SHELLS: [&str; 4] = ["bin", "condabin", "etc", "shell"];
const OF_CONDA: [&str; 6] = ["conda", "mamba", "micromamba", "mlconda", "activate", "deactivate"];

/// Whether a directory has nothing in it but what shells need of conda.
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

/// Makes the directories above a prefix, and notes in `created` which were not there, also where an error ends it.
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
