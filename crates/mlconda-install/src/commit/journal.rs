//! Makes the journal of a change, which lists all steps before they are made.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk::{BACKUP, STAGE, module_of};
use mlconda_system::{
    self as system, Attributes,
    beneath::{PathInfo, PathKind, Root},
};
use mlconda_types::sorting::IntoTree;

use super::{HISTORY, PrefixChange, ScriptTiming, repair, whole_directories};
use crate::rollback::{Journal, OldFiles};

impl PrefixChange<'_> {
    /// The journal of a change in place, for a finished stage.
    pub(crate) fn journal(&self, stage: &Root, scripts: ScriptTiming) -> io::Result<Journal> {
        let root = self.root()?;
        let moved = self.removed.iter().cloned().chain(self.modules.iter().flat_map(|module| self.bytecode(module)));
        // A directory at the path of a file is untracked, and so are its contents.
        let moved = moved.filter(|path| !matches!(root.has_directory(path), Ok(true)));
        let mut journal = Journal { moved: moved.collect(), ..Journal::default() };
        self.compare(stage, Path::new(""), &mut journal)?;
        let empty = std::mem::take(&mut journal.emptied);
        let history = Path::new("conda-meta").join(HISTORY);
        match root.lookup(&history)? {
            Some(_) => journal.moved.push(history.clone()),
            None => journal.added.push(history.clone()),
        }
        // If no old file is moved, nothing would be copied.
        if !journal.moved.is_empty() && system::is_overlay(&self.prefix) {
            journal.old = OldFiles::Removed;
        }
        let old = journal.old;
        let whole = match old == OldFiles::BackedUp && scripts == ScriptTiming::Never {
            true => whole_directories::gather(root, stage, &mut journal, &|path| self.is_needed(path))?,
            false => HashSet::new(),
        };
        // A record is moved after its files.
        mlconda_types::sorting::sort_by_key(&mut journal.moved, |path| {
            (*path != history, path.starts_with("conda-meta"), path.clone())
        });
        journal.moved.dedup();
        let directory = |path: &Path| match path.as_os_str().is_empty() {
            true => Ok(None),
            false => root.lookup(path).map(|there| there.filter(PathInfo::is_directory)),
        };
        let left = self.removed.iter().flat_map(|path| parents(path));
        let mut emptied: BTreeSet<PathBuf> = left.chain(self.emptied.iter().flat_map(|path| parents(path))).into_tree();
        emptied.extend(self.emptied.iter().cloned());
        emptied.extend(emptied.iter().map(|path| path.join("__pycache__")).collect::<Vec<_>>());
        emptied.extend(empty);
        emptied.retain(|path| !whole_directories::is_within(path, &whole));
        let mut touched: BTreeSet<PathBuf> = topmost(&journal.added).flat_map(|path| parents(path)).into_tree();
        touched.extend(journal.moved.iter().flat_map(|path| parents(path)).chain(emptied.iter().cloned()));
        if self.repairs_modes {
            touched.extend(self.stage_directories.iter().cloned());
        }
        if is_worth_copies(scripts, old) {
            let moved: HashSet<&PathBuf> = journal.moved.iter().collect();
            self.find_untracked(Path::new(""), &moved, &mut journal.copied)?;
            // A script may also remove this directory.
            touched.extend(journal.copied.iter().flat_map(|path| parents(path)));
        }
        for path in touched {
            if let Some(there) = directory(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        for path in emptied.into_iter().rev() {
            // A directory that gets new files is kept.
            if directory(&path)?.is_some() && !self.is_needed(&path) && !stage.has_directory(&path)? {
                journal.emptied.push(path);
            }
        }
        Ok(journal)
    }

    /// The journal of pre-unlink scripts that run before the prefix is exchanged.
    pub(crate) fn journal_of_scripts(&self) -> io::Result<Journal> {
        let mut journal = Journal { moved: vec![Path::new("conda-meta").join(HISTORY)], ..Journal::default() };
        let packages: HashSet<&PathBuf> = self.removed.iter().chain(&self.new).collect();
        self.find_untracked(Path::new(""), &packages, &mut journal.copied)?;
        let mut touched: BTreeSet<PathBuf> = journal.copied.iter().flat_map(|path| parents(path)).into_tree();
        touched.insert("conda-meta".into());
        for path in touched.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            if let Some(there) = self.root()?.lookup(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        Ok(journal)
    }

    /// Finds untracked files, except those that move anyway. In a root prefix, other environments and conda's package
    /// cache are skipped.
    fn find_untracked(&self, relative: &Path, moved: &HashSet<&PathBuf>, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let root = self.root()?;
        for (name, kind) in root.entries(relative)? {
            self.stop.check()?;
            let path = relative.join(name);
            if kind == PathKind::Directory {
                let is_apart = ["envs", "pkgs", STAGE, BACKUP].iter().any(|name| path == Path::new(name));
                if !is_apart && !root.is_mount_point(&path) {
                    self.find_untracked(&path, moved, found)?;
                }
            } else if kind == PathKind::File && self.is_untracked(&path) && !moved.contains(&path) {
                found.push(path);
            }
        }
        Ok(())
    }

    /// Divides the paths of the stage into those that exist in the prefix and those that are new.
    fn compare(&self, stage: &Root, relative: &Path, journal: &mut Journal) -> io::Result<()> {
        for (name, kind) in stage.entries(relative)? {
            self.stop.check()?;
            let path = relative.join(name);
            let is_directory = kind == PathKind::Directory;
            let there = self.root()?.lookup(&path)?;
            if there.as_ref().is_some_and(|there| !there.is_directory()) {
                journal.moved.push(path.clone());
            }
            if !is_directory && there.as_ref().is_some_and(PathInfo::is_directory) {
                repair::find_directories(self.root()?, &path, &mut journal.emptied)?;
            }
            match there.is_some_and(|there| there.is_directory() == is_directory) {
                true if is_directory => self.compare(stage, &path, journal)?,
                true => {}
                false => add(stage, path, kind, journal)?,
            }
        }
        Ok(())
    }

    /// Byte code that python has written for a module, and that is in no record.
    fn bytecode(&self, module: &Path) -> Vec<PathBuf> {
        let Some(directory) = module.parent().map(|parent| parent.join("__pycache__")) else { return Vec::new() };
        // A path behind a link is not in the prefix.
        let Some(Ok(entries)) = self.root.as_ref().map(|root| root.entries(&directory)) else { return Vec::new() };
        let paths = entries.into_iter().map(|(name, _)| directory.join(name));
        paths.filter(|path| module_of(path).as_deref() == Some(module)).collect()
    }
}

/// The paths that are in no other path of the list. In `paths`, a directory comes directly before its contents.
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

/// Adds a new path of the stage and all paths below it. Below it, the prefix is not examined, because the path may be a
/// link there.
fn add(stage: &Root, path: PathBuf, kind: PathKind, journal: &mut Journal) -> io::Result<()> {
    journal.added.push(path.clone());
    if kind == PathKind::Directory {
        for (name, kind) in stage.entries(&path)? {
            add(stage, path.join(name), kind, journal)?;
        }
    }
    Ok(())
}

/// Whether copies of untracked files are useful. That is so only if a rollback is possible after the first script.
fn is_worth_copies(scripts: ScriptTiming, old: OldFiles) -> bool {
    match scripts {
        ScriptTiming::Never => false,
        ScriptTiming::After => old == OldFiles::BackedUp,
        ScriptTiming::BeforeAndAfter => true,
    }
}

/// The directories above a path, up to the prefix.
fn parents(path: &Path) -> impl Iterator<Item = PathBuf> {
    path.ancestors().skip(1).map(Path::to_owned)
}
