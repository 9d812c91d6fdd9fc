//! Where an installation takes place, and the step that makes a finished stage the prefix.
//!
//! A new prefix is the stage itself, renamed. A prefix that exists is replaced as a whole: a twin of it, made of hard
//! links, takes in what is new, and the two change places in one step of the kernel, so that a killed process leaves the
//! old prefix or the new one. Where that cannot be (on an overlay file system a hard link copies the file into
//! the layer; a volume or a link cannot change places) what is gone moves aside and what is new moves in, by a journal
//! that leads back ([`super::aside`]). So it does where nothing but additions are to be made: a twin would take most of the
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
    on_disk::{self, ASIDE},
};
use mlconda_system::{self as system, Attributes, Time, beneath::Root};

use super::{
    HISTORY, InstallError,
    aside::{Aside, Journal},
    commit::{self, Change},
};

/// A place that this process holds. Dropping it removes what is left over, and the directories made for it.
pub(super) struct Site {
    prefix: PathBuf,
    pub(super) stage: PathBuf,
    /// Where the twin of the prefix is, and after the swap the old one.
    twin: Option<PathBuf>,
    kind: Kind,
    /// The directory above the prefix that was there before, and its time in seconds since 1970 and nanoseconds.
    above: Option<(PathBuf, Time)>,
    /// Directories above the prefix that were not there before, the topmost first.
    made: Vec<PathBuf>,
    /// Keep other processes out as long as they are open: the stage, and the prefix if there is one. A lock goes with
    /// the directory when that is renamed.
    holds: Vec<File>,
    /// What a prefix that something is made in is to be like at the end.
    was: Option<Attributes>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// There is no prefix yet.
    New,
    /// There is one, and it can be swapped for another.
    Swap,
    /// There is one, and it has to be changed where it is.
    InPlace,
}

/// When packages' scripts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scripts {
    /// Never: the step that gives the new files their place makes them an environment.
    Never,
    /// When the new files have their place. Until then there is no environment.
    After,
    /// Before, too: from the first script on there is none.
    BeforeAndAfter,
}

/// A commit that is under way. Dropping it makes the prefix what it was, unless [`Commit::finish`] was called.
pub(super) struct Commit<'a> {
    site: Site,
    change: &'a Change<'a>,
    scripts: Scripts,
    /// The old files of a change in place, and those that scripts may spoil.
    aside: Option<Aside>,
    step: Step,
}

/// What has changed its place as a whole.
enum Step {
    None,
    /// The prefix was not there: it gets the stage's name again.
    Renamed,
    /// The old prefix is where the twin was.
    Swapped(PathBuf),
}

impl Site {
    pub(super) fn prepare(prefix: &Prefix) -> Result<Self, InstallError> {
        let path = prefix.path();
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        recover(path)?.then_some(()).ok_or_else(busy)?;
        let (stage, twin) = on_disk::beside(path).unzip();
        let kind = if stage.is_some() { kind(path) } else { Kind::InPlace };
        let (prefix, none) = (path.to_owned(), PathBuf::new());
        let above = Time::above(path);
        let (made, holds, was) = (Vec::new(), Vec::new(), None);
        let mut site = Self { prefix, stage: none, twin, kind, above, made, holds, was, done: false };
        make_parents(path.parent().unwrap_or(Path::new("/")), &mut site.made)?;
        if kind != Kind::New && !may_hold_environment(path)? {
            return Err(InstallError::Occupied { prefix: path.to_owned() });
        }
        if let Some(stage) = stage.filter(|_| kind != Kind::InPlace) {
            site.make_stage(stage)?;
        }
        if kind == Kind::Swap && !system::can_exchange(&site.stage)? {
            site.kind = Kind::InPlace;
            fs_err::remove_dir(std::mem::take(&mut site.stage))?;
            site.holds.clear();
        }
        if kind != Kind::New {
            site.holds.push(system::hold(path)?.ok_or_else(busy)?);
        }
        if site.kind == Kind::InPlace {
            site.twin = None;
            // It may be a link, which is to stay as it is.
            site.prefix = fs_err::canonicalize(path)?;
            site.was = Some(Attributes::from(&fs_err::metadata(path)?));
            site.make_stage(path.join(on_disk::INSIDE))?;
        }
        system::set_directory_mode(&site.stage, 0o755)?;
        Ok(site)
    }

    /// Makes the stage and holds it.
    fn make_stage(&mut self, stage: PathBuf) -> Result<(), InstallError> {
        let busy = || InstallError::Busy { prefix: self.prefix.clone() };
        match fs_err::create_dir(&stage) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(busy()),
            other => other?,
        }
        let hold = system::hold(&stage).inspect_err(|_| {
            let _ = fs_err::remove_dir(&stage);
        });
        let hold = hold?.ok_or_else(busy)?;
        self.holds.push(hold);
        self.stage = stage;
        Ok(())
    }

    /// Begins to make the stage the prefix. Scripts of packages that go may run then.
    pub(super) fn begin<'a>(self, change: &'a Change<'a>, scripts: Scripts) -> Result<Commit<'a>, InstallError> {
        let mut commit = Commit { site: self, change, scripts, aside: None, step: Step::None };
        if scripts != Scripts::BeforeAndAfter || commit.site.kind == Kind::New {
            return Ok(commit);
        }
        let (stage, prefix) = (&commit.site.stage, &commit.site.prefix);
        let journal = match commit.site.kind {
            Kind::InPlace => change.journal(stage, scripts)?,
            _ => change.journal_of_scripts()?,
        };
        if commit.site.was.is_none() {
            commit.site.was = Some(Attributes::from(&fs_err::metadata(prefix)?));
        }
        let aside = Aside::begin(prefix, journal, &change.stop)?;
        let marked = aside.move_history();
        commit.aside = Some(aside);
        match marked {
            Ok(()) => Ok(commit),
            Err(error) => Err(commit.undo(error.into())),
        }
    }
}

impl Commit<'_> {
    /// Gives the new files their place.
    pub(crate) fn place(&mut self) -> Result<(), InstallError> {
        if self.site.kind == Kind::Swap
            && self.scripts == Scripts::Never
            && let Some(journal) = self.change.additions(&self.site.stage)?
        {
            return self.add(journal);
        }
        if self.site.kind == Kind::Swap && !self.make_twin()? {
            // Its journal is of another kind of change. What scripts have done by now stays.
            self.aside.take().map_or(Ok(()), Aside::give_up)?;
            self.stay()?;
        }
        match self.site.kind {
            Kind::New => self.rename(),
            Kind::Swap => self.swap(),
            Kind::InPlace => self.change_in_place(),
        }
    }

    /// From here on the prefix is changed where it is. The stage moves in from beside; it is on the same file system.
    fn stay(&mut self) -> io::Result<()> {
        self.site.kind = Kind::InPlace;
        if self.site.was.is_none() {
            self.site.was = Some(Attributes::from(&fs_err::metadata(&self.site.prefix)?));
        }
        Ok(())
    }

    /// Moves in what is new, where nothing else changes.
    fn add(&mut self, journal: Journal) -> Result<(), InstallError> {
        self.stay()?;
        let aside = Aside::begin(&self.site.prefix, journal, &self.change.stop)?;
        self.aside = Some(aside);
        self.move_in()?;
        self.aside.iter().try_for_each(|aside| aside.settle_directories(self.change.time))?;
        Ok(())
    }

    /// Makes the twin; `false` if there can be none: for reasons that stay, and no other.
    fn make_twin(&self) -> Result<bool, InstallError> {
        let Some(twin) = &self.site.twin else { return Ok(false) };
        match self.change.make_twin(twin, self.scripts) {
            Ok(()) => Ok(true),
            Err(error) if system::is_no_link(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&mut self) -> Result<(), InstallError> {
        let site = &self.site;
        if self.scripts == Scripts::Never {
            commit::finish(&site.stage, self.change.time)?;
        }
        fs_err::rename(&site.stage, &site.prefix)?;
        self.step = Step::Renamed;
        Ok(())
    }

    fn swap(&mut self) -> Result<(), InstallError> {
        let Some(twin) = self.site.twin.clone() else { return Ok(()) };
        let (stage, time, stop) = (Root::open_itself(&self.site.stage)?, self.change.time, &self.change.stop);
        commit::merge(&stage, &Root::open_itself(&twin)?, time, stop)?;
        self.change.mend_directories(&twin)?;
        self.site.holds.extend(system::hold(&twin)?);
        // Last: a twin that has a history is whole.
        if self.scripts == Scripts::Never {
            commit::finish(&twin, self.change.time)?;
        }
        system::exchange(&twin, &self.site.prefix)?;
        self.step = Step::Swapped(twin.clone());
        Ok(self.change.carry_over(&twin)?)
    }

    fn change_in_place(&mut self) -> Result<(), InstallError> {
        self.change.check_writable()?;
        if self.aside.is_none() {
            let journal = self.change.journal(&self.site.stage, self.scripts)?;
            self.aside = Some(Aside::begin(&self.site.prefix, journal, &self.change.stop)?);
        }
        Ok(self.move_in()?)
    }

    /// Does what the journal says.
    fn move_in(&self) -> io::Result<()> {
        let (stage, time, stop) = (Root::open_itself(&self.site.stage)?, self.change.time, &self.change.stop);
        self.aside.iter().try_for_each(|aside| aside.move_old(time, stop))?;
        commit::merge(&stage, &Root::open(&self.site.prefix)?, time, stop)?;
        self.change.mend_directories(&self.site.prefix)
    }

    /// Makes the prefix an environment. From here on it is too late to stop.
    pub(super) fn finish(mut self) -> Result<(), InstallError> {
        if !self.change.stop.pass() {
            return Err(self.undo(InstallError::Stopped));
        }
        let is_one = self.scripts == Scripts::Never && self.site.kind != Kind::InPlace;
        if !is_one && let Err(error) = commit::finish(&self.site.prefix, self.change.time) {
            return Err(self.undo(error.into()));
        }
        if let Step::Renamed = std::mem::replace(&mut self.step, Step::None) {
            // The names beside the prefix are another process's from now on.
            (self.site.stage, self.site.twin) = (PathBuf::new(), None);
        }
        if let Some(aside) = self.aside.take() {
            aside.forget();
        }
        if let Some(was) = &mut self.site.was {
            was.set_time(self.change.time);
        }
        for path in &self.site.made {
            let _ = system::set_directory_time(path, self.change.time);
        }
        self.site.done = true;
        Ok(())
    }

    /// Makes the prefix what it was, and gives the error to report.
    pub(super) fn undo(mut self, cause: InstallError) -> InstallError {
        match self.go_back() {
            Ok(()) => cause,
            Err(back) => InstallError::InPart { prefix: self.site.prefix.clone(), back, source: Box::new(cause) },
        }
    }

    fn go_back(&mut self) -> io::Result<()> {
        let (prefix, stage) = (&self.site.prefix, &self.site.stage);
        let back = match std::mem::replace(&mut self.step, Step::None) {
            Step::Renamed => return fs_err::rename(prefix, stage),
            Step::Swapped(twin) => system::exchange(&twin, prefix),
            Step::None => Ok(()),
        };
        let aside = self.aside.take();
        let back = back.and_then(|()| aside.as_ref().map_or(Ok(()), |aside| aside.roll_back(stage)));
        match (&back, aside) {
            (Ok(()), Some(aside)) => aside.forget(),
            (Ok(()), None) => {}
            // What the next run needs to try again stays.
            (Err(_), _) => (self.site.stage, self.site.twin) = (PathBuf::new(), None),
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

impl Drop for Site {
    fn drop(&mut self) {
        // Nothing more can be done about an error here; the next run removes what is left. The stage goes last: as long
        // as it is there and held, nobody else begins.
        for left in [self.twin.as_deref(), Some(self.stage.as_path())].into_iter().flatten() {
            if !left.as_os_str().is_empty() {
                let _ = system::remove_tree(left);
            }
        }
        if let Some(was) = &self.was {
            let _ = was.give_to(&self.prefix);
        }
        if !self.done {
            for path in self.made.iter().rev() {
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
    let (beside, twin) = on_disk::beside(prefix).unzip();
    let inside = prefix.join(on_disk::INSIDE);
    check_own(beside.iter().chain(&twin).chain([&inside, &prefix.join(ASIDE), &prefix.join("conda-meta")]))?;
    let left: Vec<&PathBuf> = twin.iter().chain(&beside).filter(|left| left.is_dir()).collect();
    let (aside, is_inside) = (prefix.join(ASIDE), inside.is_dir());
    if left.is_empty() && !is_inside && !aside.is_dir() {
        return Ok(true);
    }
    let mut holds = Vec::new();
    for held in beside.iter().map(PathBuf::as_path).chain([inside.as_path(), prefix]).filter(|held| held.is_dir()) {
        match system::hold(held)? {
            Some(hold) => holds.push(hold),
            None => return Ok(false),
        }
    }
    let is_old = |twin: &&PathBuf| has_history(twin) || twin.join(ASIDE).is_dir();
    if let Some(twin) = twin.as_ref().filter(is_old).filter(|_| prefix.is_dir() && !has_history(prefix)) {
        // The twin is the old prefix, and the scripts of the new one have not all run.
        check_owner(twin, prefix)?;
        system::exchange(twin, prefix)?;
    }
    if aside.is_dir() {
        let stage = beside.as_ref().filter(|stage| !is_inside && stage.is_dir()).unwrap_or(&inside);
        let is_finished = Aside::is_finished(prefix, stage);
        if let Some(left) = Aside::left_in(prefix)? {
            left.roll_back(stage)?;
        }
        system::remove_tree(&aside)?;
        if is_finished {
            settle_directories(prefix);
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
fn check_owner(twin: &Path, prefix: &Path) -> Result<(), InstallError> {
    let owner = |path: &Path| fs_err::symlink_metadata(path).map(|there| there.uid());
    let trusted = [0, rustix::process::geteuid().as_raw(), owner(prefix)?];
    if trusted.contains(&owner(twin)?) {
        return Ok(());
    }
    Err(InstallError::Distrusted { path: twin.to_owned(), reason: "belongs to another user".to_owned() })
}

/// Gives the directories of an environment that was just finished the time that its history has: a process that was killed
/// right then has not come to that.
fn settle_directories(prefix: &Path) {
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
fn kind(prefix: &Path) -> Kind {
    let Ok(metadata) = fs_err::symlink_metadata(prefix) else { return Kind::New };
    // A root prefix holds other environments, which a twin would have to hold too.
    let is_root = prefix.join("envs").exists();
    let swappable = metadata.is_dir() && !is_root && system::can_change_places(prefix, &metadata);
    if swappable { Kind::Swap } else { Kind::InPlace }
}

/// Whether an environment may be put into a directory that exists: there is one already, or nothing but what
/// stands in a root prefix or in a fresh volume. Other people's directories are left alone.
fn may_hold_environment(path: &Path) -> Result<bool, InstallError> {
    let harmless = ["conda-meta", "envs", "pkgs", "lost+found", ".condarc", on_disk::INSIDE, ASIDE];
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

/// Makes the directories above a prefix, and notes in `made` which were not there, also where an error ends it.
pub(super) fn make_parents(parent: &Path, made: &mut Vec<PathBuf>) -> Result<(), InstallError> {
    let mut missing: Vec<&Path> = parent.ancestors().take_while(|path| !path.exists()).collect();
    while let Some(path) = missing.pop() {
        match fs_err::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(InstallError::Parent { path: parent.to_owned(), source }),
            Ok(()) => {
                made.push(path.to_owned());
                system::set_directory_mode(path, 0o755)?;
            }
        }
    }
    Ok(())
}
