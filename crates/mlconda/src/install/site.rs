//! Where an installation takes place, and the step that makes a finished stage the prefix.
//!
//! A new prefix is the stage itself, renamed. A prefix that exists is replaced as a whole: a twin of it, made of hard
//! links, takes in what is new, and the two change places in one step of the kernel, so that a killed process leaves the
//! old prefix or the new one. Where that cannot be (on an overlay file system a hard link copies the file into
//! the layer; a volume or a link cannot change places) what is new moves in and what is gone is taken out, and
//! `conda-meta/history` is away meanwhile: the next run sees that, and links everything anew.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    InstallError,
    commit::{self, Change},
};
use crate::{
    prefix::Prefix,
    system::{self, Time},
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

impl Site {
    pub(super) fn prepare(prefix: &Prefix) -> Result<Self, InstallError> {
        let path = prefix.path();
        let above = path.ancestors().skip(1).find_map(|path| Some((path.to_owned(), Time::of(path)?)));
        let made = make_parents(path.parent().unwrap_or(Path::new("/")))?;
        let mut kind = kind(path);
        if kind != Kind::New && !may_hold_environment(path)? {
            return Err(InstallError::Occupied { prefix: path.to_owned() });
        }
        if kind == Kind::Swap && !commit::beside(path).is_some_and(|(one, other)| system::can_exchange(&one, &other)) {
            kind = Kind::InPlace;
        }
        let beside = commit::beside(path).filter(|_| kind != Kind::InPlace);
        let (stage, twin) = match beside {
            Some((stage, twin)) => (stage, Some(twin)),
            None => (path.join(commit::INSIDE), None),
        };
        let busy = || InstallError::Busy { prefix: path.to_owned() };
        tidy(&stage, twin.as_deref())?.then_some(()).ok_or_else(busy)?;
        match fs_err::create_dir(&stage) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(busy()),
            other => other?,
        }
        let mut site = Self { prefix: path.to_owned(), stage, twin, kind, above, made, holds: Vec::new(), done: false };
        site.holds.push(system::hold(&site.stage)?.ok_or_else(busy)?);
        if kind != Kind::New {
            site.holds.push(system::hold(path)?.ok_or_else(busy)?);
        }
        system::set_directory_mode(&site.stage, 0o755)?;
        Ok(site)
    }

    /// Removes what a killed process left, unless another one is at it.
    pub(super) fn tidy(prefix: &Prefix) -> Result<(), InstallError> {
        if let Some((stage, twin)) = commit::beside(prefix.path()) {
            tidy(&stage, Some(&twin))?;
        }
        tidy(&prefix.path().join(commit::INSIDE), None)?;
        Ok(())
    }

    /// Makes the stage the prefix, and runs `scripts`, if there are any. If they fail, the prefix is as it was, unless
    /// it had to be changed in place.
    pub(super) fn commit(
        mut self,
        change: &Change,
        has_scripts: bool,
        scripts: impl FnOnce() -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        let kind = match (self.kind, &self.twin) {
            (Kind::Swap, Some(twin)) if change.make_twin(twin).is_err() => Kind::InPlace,
            (kind, _) => kind,
        };
        // An environment is one from the step on that puts it in place, unless that is not the last step.
        let is_last = !has_scripts && kind != Kind::InPlace;
        if is_last {
            commit::finish(&self.stage, change.time)?;
        }
        let rest = || {
            scripts()?;
            if is_last { Ok(()) } else { commit::finish(&self.prefix, change.time) }
        };
        match (kind, &self.twin) {
            (Kind::New, _) => {
                fs_err::rename(&self.stage, &self.prefix)?;
                if let Err(error) = rest() {
                    fs_err::rename(&self.prefix, &self.stage)?;
                    return Err(error);
                }
                // These names are another process's from now on.
                (self.stage, self.twin) = (PathBuf::new(), None);
            }
            (Kind::Swap, Some(twin)) => {
                commit::merge(&self.stage, twin, change.time)?;
                self.holds.extend(system::hold(twin)?);
                system::exchange(twin, &self.prefix)?;
                if let Err(error) = rest() {
                    system::exchange(twin, &self.prefix)?;
                    return Err(error);
                }
                change.carry_over(twin)?;
            }
            _ => {
                change.check_writable()?;
                commit::begin(&self.prefix)?;
                let changed = change.unlink().and_then(|()| commit::merge(&self.stage, &self.prefix, change.time));
                changed
                    .and_then(|()| rest())
                    .map_err(|source| InstallError::InPart { prefix: self.prefix.clone(), source: Box::new(source) })?;
                // The stage was in the prefix; its going is the last change there.
                let _ = fs_err::remove_dir_all(&self.stage);
                // The prefix may be a link.
                system::set_directory_time(&fs_err::canonicalize(&self.prefix)?, change.time)?;
            }
        }
        for path in &self.made {
            system::set_directory_time(path, change.time)?;
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Nothing more can be done about an error here; the next run removes what is left.
        for left in [self.twin.as_deref(), Some(self.stage.as_path())].into_iter().flatten() {
            if !left.as_os_str().is_empty() {
                let _ = fs_err::remove_dir_all(left);
            }
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

/// Removes a stage and a twin that a killed process left. `false` if a living one holds them.
fn tidy(stage: &Path, twin: Option<&Path>) -> Result<bool, InstallError> {
    let _hold = match stage.is_dir() {
        true => match system::hold(stage)? {
            Some(hold) => Some(hold),
            None => return Ok(false),
        },
        false => None,
    };
    // The stage goes last: as long as it is there and held, nobody else begins.
    for left in [twin, Some(stage)].into_iter().flatten().filter(|left| left.is_dir()) {
        fs_err::remove_dir_all(left)?;
    }
    Ok(true)
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
    let harmless = ["conda-meta", "envs", "pkgs", "lost+found", commit::INSIDE];
    for entry in fs_err::read_dir(path)? {
        if !harmless.iter().any(|name| entry.as_ref().is_ok_and(|entry| entry.file_name() == *name)) {
            return Ok(path.join("conda-meta").is_dir());
        }
    }
    Ok(true)
}

/// Makes the directories above a prefix, and tells which were not there.
fn make_parents(parent: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut made: Vec<PathBuf> = parent.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    made.reverse();
    for path in &made {
        match fs_err::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(InstallError::Parent { path: parent.to_owned(), source }),
            Ok(()) => system::set_directory_mode(path, 0o755)?,
        }
    }
    Ok(made)
}
