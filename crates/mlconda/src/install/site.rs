//! Where an installation takes place, and the step that makes a finished stage the prefix.
//!
//! A new prefix is the stage itself, renamed. A prefix that exists is replaced as a whole: a twin of it, made of hard
//! links, takes in what is new, and the two change places in one step of the kernel, so that a killed process leaves the
//! old prefix or the new one. Where that cannot be (on an overlay file system a hard link copies the file into
//! the layer; a volume or a link cannot change places) what is gone moves aside and what is new moves in, by a journal
//! that leads back ([`super::aside`]). Each of the three is undone if anything fails later, and when its value is dropped.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    HISTORY, InstallError,
    aside::{ASIDE, Aside},
    commit::{self, Change},
};
use crate::{
    prefix::Prefix,
    system::{self, Attributes},
};

/// A place that this process holds. Dropping it removes what is left over, and the directories made for it.
pub(super) struct Site {
    prefix: PathBuf,
    pub(super) stage: PathBuf,
    /// Where the twin of the prefix is, and after the swap the old one.
    twin: Option<PathBuf>,
    kind: Kind,
    /// Directories above the prefix that were not there before, the topmost first.
    made: Vec<PathBuf>,
    /// Keep other processes out as long as they are open: the stage, and the prefix if there is one. A lock goes with
    /// the directory when that is renamed.
    holds: Vec<File>,
    /// What a prefix that is changed in place is to be like at the end: the stage is made in it.
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

/// What is left to do when the new files have their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the step that gives them their place makes them an environment.
    Nothing,
    /// Post-link scripts run. Until they have, there is no environment.
    Scripts,
}

/// New files that have their place. Dropping this takes them out again, unless [`Placed::finish`] was called.
pub(super) struct Placed {
    site: Site,
    way_back: WayBack,
    rest: Rest,
    time: i64,
}

/// How a step is undone.
enum WayBack {
    /// The prefix was not there: it gets the stage's name again.
    Rename,
    /// The old prefix is where the twin was.
    Exchange(PathBuf),
    /// The old files are aside.
    Aside(Aside),
    /// There is none, or none is needed.
    None,
}

impl Site {
    pub(super) fn prepare(prefix: &Prefix) -> Result<Self, InstallError> {
        let path = prefix.path();
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        recover(path)?.then_some(()).ok_or_else(busy)?;
        let (stage, twin) = commit::beside(path).unzip();
        let kind = if stage.is_some() { kind(path) } else { Kind::InPlace };
        let (prefix, none) = (path.to_owned(), PathBuf::new());
        let mut site =
            Self { prefix, stage: none, twin, kind, made: Vec::new(), holds: Vec::new(), was: None, done: false };
        site.make_parents(path.parent().unwrap_or(Path::new("/")))?;
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
            site.make_stage(path.join(commit::INSIDE))?;
        }
        system::set_directory_mode(&site.stage, 0o755)?;
        Ok(site)
    }

    /// Makes the directories above a prefix, and keeps in mind which were not there.
    fn make_parents(&mut self, parent: &Path) -> Result<(), InstallError> {
        let mut missing: Vec<&Path> = parent.ancestors().take_while(|path| !path.exists()).collect();
        while let Some(path) = missing.pop() {
            match fs_err::create_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(InstallError::Parent { path: parent.to_owned(), source }),
                Ok(()) => {
                    self.made.push(path.to_owned());
                    system::set_directory_mode(path, 0o755)?;
                }
            }
        }
        Ok(())
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

    /// Gives the new files their place. If that fails, the prefix is as it was.
    pub(super) fn place(mut self, change: &Change<'_>, rest: Rest) -> Result<Placed, InstallError> {
        let (time, prefix) = (change.time, self.prefix.clone());
        if self.kind == Kind::Swap && self.make_twin(change, rest)? == Kind::InPlace {
            // The stage moves in from beside; it is on the same file system.
            self.kind = Kind::InPlace;
            self.was = Some(Attributes::from(&fs_err::metadata(&prefix)?));
        }
        let mut placed = Placed { site: self, way_back: WayBack::None, rest, time };
        let done = match placed.site.kind {
            Kind::New => placed.rename(),
            Kind::Swap => placed.swap(change),
            Kind::InPlace => placed.change(change),
        };
        match done {
            Ok(()) => Ok(placed),
            Err(error) => Err(placed.undo(error)),
        }
    }

    /// Makes the twin, or tells that the prefix has to be changed where it is: for reasons that stay, and no other.
    fn make_twin(&self, change: &Change<'_>, rest: Rest) -> Result<Kind, InstallError> {
        let Some(twin) = &self.twin else { return Ok(Kind::InPlace) };
        match change.make_twin(twin, rest) {
            Ok(()) => Ok(Kind::Swap),
            Err(error) if system::is_no_link(&error) => Ok(Kind::InPlace),
            Err(error) => Err(error.into()),
        }
    }
}

impl Placed {
    fn rename(&mut self) -> Result<(), InstallError> {
        let site = &self.site;
        if self.rest == Rest::Nothing {
            commit::finish(&site.stage, self.time)?;
        }
        fs_err::rename(&site.stage, &site.prefix)?;
        self.way_back = WayBack::Rename;
        Ok(())
    }

    fn swap(&mut self, change: &Change<'_>) -> Result<(), InstallError> {
        let Some(twin) = self.site.twin.clone() else { return Ok(()) };
        commit::merge(&self.site.stage, &twin, self.time)?;
        self.site.holds.extend(system::hold(&twin)?);
        // Last: a twin that has a history is whole.
        if self.rest == Rest::Nothing {
            commit::finish(&twin, self.time)?;
        }
        system::exchange(&twin, &self.site.prefix)?;
        self.way_back = WayBack::Exchange(twin.clone());
        Ok(change.carry_over(&twin)?)
    }

    fn change(&mut self, change: &Change<'_>) -> Result<(), InstallError> {
        change.check_writable()?;
        let (stage, prefix) = (&self.site.stage, &self.site.prefix);
        let aside = Aside::begin(prefix, change.journal(stage, self.rest)?)?;
        let changed = aside.move_old(self.time);
        self.way_back = WayBack::Aside(aside);
        Ok(changed.and_then(|()| commit::merge(stage, prefix, self.time))?)
    }

    /// Makes the prefix an environment. If that fails, it is as it was.
    pub(super) fn finish(mut self) -> Result<(), InstallError> {
        if (self.rest == Rest::Scripts || self.site.kind == Kind::InPlace)
            && let Err(error) = commit::finish(&self.site.prefix, self.time)
        {
            return Err(self.undo(error.into()));
        }
        match std::mem::replace(&mut self.way_back, WayBack::None) {
            // The names beside the prefix are another process's from now on.
            WayBack::Rename => (self.site.stage, self.site.twin) = (PathBuf::new(), None),
            WayBack::Aside(aside) => aside.forget(),
            WayBack::Exchange(_) | WayBack::None => {}
        }
        if let Some(was) = &mut self.site.was {
            was.set_time(self.time);
        }
        self.site.done = true;
        Ok(())
    }

    /// Makes the prefix what it was, and gives the error to report.
    pub(super) fn undo(mut self, cause: InstallError) -> InstallError {
        match self.go_back() {
            Ok(()) => cause,
            Err(back) => {
                InstallError::InPart { prefix: self.site.prefix.clone(), back, source: Box::new(cause) }
            }
        }
    }

    fn go_back(&mut self) -> io::Result<()> {
        let (prefix, stage) = (&self.site.prefix, &self.site.stage);
        match std::mem::replace(&mut self.way_back, WayBack::None) {
            WayBack::Rename => fs_err::rename(prefix, stage),
            WayBack::Exchange(twin) => {
                let back = system::exchange(&twin, prefix);
                if back.is_err() {
                    // It is the old prefix: the next run tries again.
                    (self.site.stage, self.site.twin) = (PathBuf::new(), None);
                }
                back
            }
            WayBack::Aside(aside) => {
                let back = aside.roll_back(stage);
                match back {
                    Ok(()) => aside.forget(),
                    Err(_) => self.site.stage = PathBuf::new(),
                }
                back
            }
            WayBack::None => Ok(()),
        }
    }
}

impl Drop for Placed {
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
                let _ = fs_err::remove_dir_all(left);
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
    }
}

/// Undoes what a killed process left half-done, and removes what it left over. `false` if a living one is at it.
pub(super) fn recover(prefix: &Path) -> Result<bool, InstallError> {
    let (beside, twin) = commit::beside(prefix).unzip();
    let inside = prefix.join(commit::INSIDE);
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
    if let Some(twin) = twin.as_ref().filter(|twin| has_history(twin) && prefix.is_dir() && !has_history(prefix)) {
        // The twin is the old prefix, and the scripts of the new one have not all run.
        system::exchange(twin, prefix)?;
    }
    if aside.is_dir() {
        let stage = beside.as_ref().filter(|stage| !is_inside && stage.is_dir()).unwrap_or(&inside);
        if let Some(left) = Aside::left_in(prefix)? {
            left.roll_back(stage)?;
        }
        fs_err::remove_dir_all(&aside)?;
    }
    // A stage goes last: as long as it is there and held, nobody else begins.
    for left in left.into_iter().chain([&inside]).filter(|left| left.is_dir()) {
        fs_err::remove_dir_all(left)?;
    }
    Ok(true)
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
    let harmless = ["conda-meta", "envs", "pkgs", "lost+found", commit::INSIDE, ASIDE];
    for entry in fs_err::read_dir(path)? {
        if !harmless.iter().any(|name| entry.as_ref().is_ok_and(|entry| entry.file_name() == *name)) {
            return Ok(path.join("conda-meta").is_dir());
        }
    }
    Ok(true)
}
