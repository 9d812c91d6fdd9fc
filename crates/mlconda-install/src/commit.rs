//! The change of an existing prefix, and its steps: hard links, renames and removals. No content of a file is written
//! here.

mod additions;
mod conflicts;
mod journal;
mod repair;
mod replica;
mod whole_directories;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use mlconda_inspect::plan::{Plan, Reinstall};
use mlconda_prefix::{
    Prefix, STATE, distributions,
    on_disk::{PENDING_HISTORY, module_of},
};
use mlconda_system::beneath::{PathKind, Root, is_contained};
use rattler_conda_types::PrefixRecord;

use self::conflicts::{Conflicts, find_conflicts, name_owners};
use super::{HISTORY, InstallError, layout::Layout, record_file, record_paths, stage::Stage, stop::Stop};

/// When code of packages runs during a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptTiming {
    /// Never. The step that moves the new files also publishes the history.
    Never,
    /// After the new files are in place. The prefix is an environment only after that.
    After,
    /// Before and after. From the first script on, the prefix is not an environment.
    BeforeAndAfter,
}

/// Renames the pending history to its final name, which makes the prefix an environment. `seconds` is the modification
/// time of the directory, in seconds since 1970.
pub(super) fn publish_history(prefix: &Root, seconds: i64) -> io::Result<()> {
    let meta = Path::new("conda-meta");
    // Scripts may have run meanwhile, so no open directory is reused.
    prefix.clear_cache();
    prefix.rename(&meta.join(PENDING_HISTORY), prefix, &meta.join(HISTORY))?;
    prefix.set_time(meta, seconds)
}

/// Reverts [`publish_history`].
pub(super) fn withdraw_history(prefix: &Root) -> io::Result<()> {
    let meta = Path::new("conda-meta");
    prefix.rename(&meta.join(HISTORY), prefix, &meta.join(PENDING_HISTORY))
}

/// The changes of an existing prefix by an installation.
pub(super) struct PrefixChange<'a> {
    prefix: PathBuf,
    /// The open prefix, if it exists.
    root: Option<Root>,
    /// Files of kept packages.
    kept: HashSet<&'a PathBuf>,
    /// Files to remove, relative to the prefix.
    removed: HashSet<PathBuf>,
    /// Python modules that are removed or changed. Their byte code is removed, because python would use it for a new
    /// module with the same size and time.
    modules: HashSet<PathBuf>,
    /// Files of new packages.
    new: HashSet<PathBuf>,
    /// Whether no new path exists in the prefix.
    is_free: bool,
    /// Directories of the stage, parents first.
    stage_directories: Vec<PathBuf>,
    /// Whether existing directories also get the permissions of new ones.
    repairs_modes: bool,
    /// Directories of kept and of new packages. They are kept with their permissions, even if they are empty.
    needed: HashSet<PathBuf>,
    /// Directories of packages to remove, and directories above their files. They are removed if they become empty.
    emptied: HashSet<PathBuf>,
    /// Untracked files that files of packages replace. Sorted.
    pub(super) replaced: Vec<PathBuf>,
    /// Untracked links above paths of packages to remove.
    pub(super) links: Vec<PathBuf>,
    /// The time of directories that change, in seconds since 1970.
    pub(super) time: i64,
    /// Whether the installation is to stop.
    pub(super) stop: Stop,
}

impl<'a> PrefixChange<'a> {
    /// Compares the stage with the prefix, and checks that the change cannot fail halfway.
    pub(crate) fn new(
        plan: &'a Plan,
        layout: Option<&'a Layout>,
        prefix: &Prefix,
        stage: &Stage,
        time: i64,
    ) -> Result<Self, InstallError> {
        // Without a prefix, everything is new.
        let root = prefix.path().exists().then(|| Root::open(prefix.path())).transpose()?;
        let new = if root.is_some() { stage.paths() } else { Vec::new() };
        // If links of packages matter, real paths are used instead of those in the records.
        const NONE: &[PrefixRecord] = &[];
        let vacated = layout.map_or(&[][..], |layout| &layout.vacated);
        let (unlink, keep) = match layout {
            Some(Layout { unlink, keep, .. }) => (unlink.iter().chain(NONE), keep.iter().chain(NONE)),
            None => (plan.unlink.iter().chain(&plan.pip.unlink), plan.keep.iter().chain(&plan.pip.keep)),
        };
        let (known, named) = paths_now(layout, unlink.clone(), keep.clone());
        let kept: HashSet<&PathBuf> = keep.clone().flat_map(record_file::files).collect();
        let stage_directories = stage.directories();
        let mut needed = directories(keep.clone());
        let Conflicts { untracked: mut replaced, in_the_way, is_free } = match &root {
            Some(root) => find_conflicts(root, (&new, &stage_directories), (&known, &named), (&kept, &needed))
                .map_err(|error| name_owners(error, plan, stage, unlink.clone(), keep.clone()))?,
            None => Conflicts { untracked: Vec::new(), in_the_way: Vec::new(), is_free: true },
        };
        let repairs_modes = plan.reinstall != Reinstall::Nothing;
        // Byte code that python has written is not reported.
        replaced.retain(|path| path.parent().is_none_or(|parent| !parent.ends_with("__pycache__")));
        let stays: HashSet<&PathBuf> = match unlink.clone().next().is_some() || !vacated.is_empty() {
            true => new.iter().chain(kept.iter().copied().filter(|path| !arrives(layout, path))).collect(),
            false => HashSet::new(),
        };
        let (mut removed, mut emptied) = records_and_directories(unlink.clone());
        emptied.extend(layout.iter().flat_map(|layout| layout.emptied.iter().cloned()));
        let gone = || unlink.clone().flat_map(record_file::files).chain(vacated).filter(|path| is_contained(path));
        let modules: HashSet<PathBuf> = gone().filter(|path| is_module(path)).cloned().collect();
        let left = vacated.iter().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned);
        emptied.extend(directories(unlink.clone()).into_iter().chain(left).filter(|path| is_contained(path)));
        removed.extend(gone().filter(|path| !stays.contains(path)).cloned());
        removed.extend(in_the_way);
        removed.extend(plan.misnamed.iter().map(|file| Path::new("conda-meta").join(file)));
        removed.extend(plan.damaged_state.then(|| STATE.into()));
        let in_meta = root.as_ref().map(|root| repair::directories_for_records(root, &removed)).transpose()?;
        emptied.extend(in_meta.into_iter().flatten());
        let links = root.as_ref().map(|root| record_paths::foreign_links(root, removed.iter().chain(&modules), &known));
        let links = links.transpose()?.unwrap_or_default();
        let (prefix, new) = (prefix.path().to_owned(), new.into_iter().collect());
        needed.extend(stage_directories.iter().cloned());
        Ok(Self {
            prefix,
            root,
            kept,
            removed,
            modules,
            new,
            is_free,
            stage_directories,
            repairs_modes,
            needed,
            emptied,
            replaced,
            links,
            time,
            stop: stage.stop.clone(),
        })
    }

    /// Closes the cached directories of the prefix, because another program may have moved them.
    pub(super) fn clear_cache(&self) {
        self.root.iter().for_each(Root::clear_cache);
    }

    /// The open prefix.
    pub(super) fn root(&self) -> io::Result<&Root> {
        self.root.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a path is removed, as a file of a package or as byte code of a module.
    fn removes(&self, path: &Path) -> bool {
        self.removed.contains(path)
            || path == Path::new("conda-meta").join(PENDING_HISTORY)
            || module_of(path).is_some_and(|module| self.modules.contains(&module))
    }

    /// Whether packages need a directory, so that it is kept even if it is empty.
    fn is_needed(&self, directory: &Path) -> bool {
        self.needed.contains(directory) && !self.is_in_the_way(directory)
    }

    /// Whether a path belongs to no package.
    fn is_untracked(&self, path: &PathBuf) -> bool {
        !self.kept.contains(path) && !path.starts_with("conda-meta")
    }

    /// Checks that all directories that a change in place touches are writable.
    pub(super) fn check_writable(&self) -> Result<(), InstallError> {
        let (root, mut looked) = (self.root()?, HashSet::new());
        for directory in self.removed.iter().chain(&self.new).filter_map(|path| path.parent()) {
            // Checks the nearest existing parent.
            for path in directory.ancestors().take_while(|path| looked.insert(*path)) {
                if !root.has_directory(path)? {
                    continue;
                }
                if !root.may_write(path) {
                    let message = format!("cannot change `{}`: permission denied", self.prefix.join(path).display());
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into());
                }
                break;
            }
        }
        Ok(())
    }
}

/// Whether a path only becomes a path of a kept package. Nothing at this path belongs to a package now.
fn arrives(layout: Option<&Layout>, path: &Path) -> bool {
    layout.is_some_and(|layout| layout.arrivals.contains(path))
}

/// The current paths of the files and directories in records.
fn paths_now<'a>(
    layout: Option<&'a Layout>,
    unlink: impl Iterator<Item = &'a PrefixRecord> + Clone,
    keep: impl Iterator<Item = &'a PrefixRecord> + Clone,
) -> (HashSet<&'a Path>, HashSet<&'a Path>) {
    let directories = |record| record_file::directories(record).map(|entry| entry.relative_path.as_path());
    let files = |record| record_file::files(record).map(PathBuf::as_path);
    let stays = |path: &&Path| !arrives(layout, path);
    let left = |paths: fn(&Layout) -> &[PathBuf]| layout.map_or(&[][..], paths).iter().map(PathBuf::as_path);
    let known = unlink.clone().flat_map(files).chain(keep.clone().flat_map(files).filter(stays));
    let named = unlink.flat_map(directories).chain(keep.flat_map(directories).filter(stays));
    let (vacated, emptied) = (left(|layout| &layout.vacated), left(|layout| &layout.emptied));
    (known.chain(vacated).collect(), named.chain(emptied).collect())
}

/// The paths of the records of these packages, and the directories in the records.
fn records_and_directories<'a>(unlink: impl Iterator<Item = &'a PrefixRecord>) -> (HashSet<PathBuf>, HashSet<PathBuf>) {
    let (mut records, mut directories) = (HashSet::new(), HashSet::new());
    for old in unlink {
        records.insert(Path::new("conda-meta").join(distributions::record_name(old)));
        let named = record_file::directories(old).map(|entry| entry.relative_path.clone());
        directories.extend(named.filter(|path| is_contained(path)));
    }
    (records, directories)
}

/// The directories of packages and the parents of their files.
fn directories<'a>(records: impl Iterator<Item = &'a PrefixRecord>) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for record in records {
        let parents = record_file::files(record).filter_map(|path| path.parent());
        let named = record_file::directories(record).map(|entry| entry.relative_path.as_path());
        for path in parents.chain(named) {
            // The set contains all parents of its members.
            for path in path.ancestors() {
                if found.contains(path) {
                    break;
                }
                found.insert(path.to_owned());
            }
        }
    }
    found
}

/// Moves the contents of `from` into `into`. A new directory is moved as a whole. An existing one is merged, and gets
/// the modification time `seconds`. `stop` is checked before each step. Records are moved first, so that an interrupted
/// merge can be noticed. A link at the path of a directory is not followed.
pub(super) fn merge(from: &Root, into: &Root, seconds: i64, stop: &Stop) -> io::Result<()> {
    let here = Path::new("");
    let mut entries = from.entries(here)?;
    mlconda_types::sorting::sort_by_key(&mut entries, |(name, _)| (name != "conda-meta", name.clone()));
    for (name, kind) in entries {
        stop.check()?;
        let name = Path::new(&name);
        if kind == PathKind::Directory && into.has_directory(name)? {
            merge(&from.open_directory(name)?, &into.open_directory(name)?, seconds, stop)?;
        } else {
            from.rename(name, into, name)?;
        }
    }
    // The renames used other open directories, so cached ones may be outdated.
    from.clear_cache();
    into.clear_cache();
    into.set_time(here, seconds)
}

/// Whether a path is a module of python.
fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "py")
}
