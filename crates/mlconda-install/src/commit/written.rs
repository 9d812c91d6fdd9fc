//! The journal of a change: all that will be done, written down before anything is.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk::{ASIDE, INSIDE, module_of};
use mlconda_system::{
    self as system, Attributes,
    beneath::{Kind, Look, Root},
};

use super::{Change, HISTORY, Scripts, mend, whole};
use crate::aside::{Journal, Old};

impl Change<'_> {
    /// What a change in place does, with a stage that is ready.
    pub(crate) fn journal(&self, stage: &Path, scripts: Scripts) -> io::Result<Journal> {
        let root = self.root()?;
        let moved = self.gone.iter().cloned().chain(self.modules.iter().flat_map(|module| self.bytecode(module)));
        // A directory at a file's place is somebody's, and so is what is in it.
        let moved = moved.filter(|path| !matches!(root.has_directory(path), Ok(true)));
        let old = if system::is_overlay(&self.prefix) { Old::Goes } else { Old::Waits };
        let mut journal = Journal { old, moved: moved.collect(), ..Journal::default() };
        let stage = Root::open_itself(stage)?;
        self.compare(&stage, Path::new(""), &mut journal)?;
        let empty = std::mem::take(&mut journal.hollow);
        let history = Path::new("conda-meta").join(HISTORY);
        match root.look(&history)? {
            Some(_) => journal.moved.push(history.clone()),
            None => journal.added.push(history.clone()),
        }
        let whole = match old == Old::Waits && scripts == Scripts::Never {
            true => whole::gather(root, &stage, &mut journal)?,
            false => HashSet::new(),
        };
        // A record goes after the files that it tells of.
        mlconda_types::sorting::sort_by_key(&mut journal.moved, |path| {
            (*path != history, path.starts_with("conda-meta"), path.clone())
        });
        journal.moved.dedup();
        let directory = |path: &Path| match path.as_os_str().is_empty() {
            true => Ok(None),
            false => root.look(path).map(|there| there.filter(Look::is_directory)),
        };
        let left = self.gone.iter().flat_map(|path| parents(path));
        let mut hollow: BTreeSet<PathBuf> = left.chain(self.hollow.iter().flat_map(|path| parents(path))).collect();
        hollow.extend(self.hollow.iter().cloned());
        hollow.extend(hollow.iter().map(|path| path.join("__pycache__")).collect::<Vec<_>>());
        hollow.extend(empty);
        hollow.retain(|path| !whole::is_within(path, &whole));
        let mut touched: BTreeSet<PathBuf> = topmost(&journal.added).flat_map(|path| parents(path)).collect();
        touched.extend(journal.moved.iter().flat_map(|path| parents(path)).chain(hollow.iter().cloned()));
        if self.mends {
            touched.extend(self.made.iter().cloned());
        }
        if is_worth_copies(scripts, old) {
            let moved: HashSet<&PathBuf> = journal.moved.iter().collect();
            self.find_strangers(Path::new(""), &moved, &mut journal.copied)?;
            // A script may remove the directory with the file.
            touched.extend(journal.copied.iter().flat_map(|path| parents(path)));
        }
        for path in touched {
            if let Some(there) = directory(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        for path in hollow.into_iter().rev() {
            // One that gets something new stays.
            if directory(&path)?.is_some() && !stage.has_directory(&path)? {
                journal.hollow.push(path);
            }
        }
        Ok(journal)
    }

    /// The journal of a prefix that is swapped, but in which scripts run before that.
    pub(crate) fn journal_of_scripts(&self) -> io::Result<Journal> {
        let mut journal = Journal { moved: vec![Path::new("conda-meta").join(HISTORY)], ..Journal::default() };
        let packages: HashSet<&PathBuf> = self.gone.iter().chain(&self.new).collect();
        self.find_strangers(Path::new(""), &packages, &mut journal.copied)?;
        let mut touched: BTreeSet<PathBuf> = journal.copied.iter().flat_map(|path| parents(path)).collect();
        touched.insert("conda-meta".into());
        for path in touched.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            if let Some(there) = self.root()?.look(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        Ok(journal)
    }

    /// Files of nobody, besides those that move anyway. Other environments, and conda's packages, are in a root prefix but not of it.
    fn find_strangers(&self, relative: &Path, moved: &HashSet<&PathBuf>, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let root = self.root()?;
        for (name, kind) in root.entries(relative)? {
            self.stop.check()?;
            let path = relative.join(name);
            if kind == Kind::Directory {
                let is_apart = ["envs", "pkgs", INSIDE, ASIDE].iter().any(|name| path == Path::new(name));
                if !is_apart && !root.is_mount_point(&path) {
                    self.find_strangers(&path, moved, found)?;
                }
            } else if kind == Kind::File && self.is_of_nobody(&path) && !moved.contains(&path) {
                found.push(path);
            }
        }
        Ok(())
    }

    /// Which paths of the stage are taken in the prefix, and which are new.
    fn compare(&self, stage: &Root, relative: &Path, journal: &mut Journal) -> io::Result<()> {
        for (name, kind) in stage.entries(relative)? {
            self.stop.check()?;
            let path = relative.join(name);
            let is_directory = kind == Kind::Directory;
            let there = self.root()?.look(&path)?;
            if there.as_ref().is_some_and(|there| !there.is_directory()) {
                journal.moved.push(path.clone());
            }
            if !is_directory && there.as_ref().is_some_and(Look::is_directory) {
                mend::find_directories(self.root()?, &path, &mut journal.hollow)?;
            }
            match there.is_some_and(|there| there.is_directory() == is_directory) {
                true if is_directory => self.compare(stage, &path, journal)?,
                true => {}
                false => add(stage, path, kind, journal)?,
            }
        }
        Ok(())
    }

    /// Byte code that python wrote when it first ran a module; nobody's record has it.
    fn bytecode(&self, module: &Path) -> Vec<PathBuf> {
        let Some(directory) = module.parent().map(|parent| parent.join("__pycache__")) else { return Vec::new() };
        // One behind a link is not the prefix's.
        let Some(Ok(entries)) = self.root.as_ref().map(|root| root.entries(&directory)) else { return Vec::new() };
        let paths = entries.into_iter().map(|(name, _)| directory.join(name));
        paths.filter(|path| module_of(path).as_deref() == Some(module)).collect()
    }
}

/// Of paths of which a directory comes right before what is in it, those that are in none of them.
fn topmost(paths: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let mut last: Option<&PathBuf> = None;
    paths.iter().filter(move |path| {
        let is_top = last.is_none_or(|last| !path.starts_with(last));
        if is_top {
            last = Some(path);
        }
        is_top
    })
}

/// A path of the stage that is new, and all below it. What is below it in the prefix now is not looked at: it may be
/// reached through a link.
fn add(stage: &Root, path: PathBuf, kind: Kind, journal: &mut Journal) -> io::Result<()> {
    journal.added.push(path.clone());
    if kind == Kind::Directory {
        for (name, kind) in stage.entries(&path)? {
            add(stage, path.join(name), kind, journal)?;
        }
    }
    Ok(())
}

/// Whether copies of files of nobody can serve: not where the way back ends before the first script runs.
fn is_worth_copies(scripts: Scripts, old: Old) -> bool {
    match scripts {
        Scripts::Never => false,
        Scripts::After => old == Old::Waits,
        Scripts::BeforeAndAfter => true,
    }
}

/// The directories above a path, up to the prefix.
fn parents(path: &Path) -> impl Iterator<Item = PathBuf> {
    path.ancestors().skip(1).map(Path::to_owned)
}
