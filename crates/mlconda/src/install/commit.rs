//! What changes in a prefix that exists, and the steps of the change: links, renames and removals. Nothing is written
//! here.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;

use super::{InstallError, record, script, stage::Stage};
use crate::{plan::Plan, prefix::Prefix, system};

/// The name of the stage inside a prefix that exists.
pub(crate) const INSIDE: &str = ".mlconda-new";

/// The history while an installation is not finished. A prefix that has records and no `history` is one in which
/// a process was killed: the next installation links everything anew.
pub(crate) const PENDING: &str = "history.mlconda";

/// From here on, until [`finish`], the prefix is no environment.
pub(super) fn begin(prefix: &Path) -> Result<(), InstallError> {
    let meta = prefix.join("conda-meta");
    match fs_err::rename(meta.join("history"), meta.join(PENDING)) {
        Err(error) if !is_gone(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The prefix is an environment again.
pub(super) fn finish(prefix: &Path, seconds: i64) -> Result<(), InstallError> {
    let meta = prefix.join("conda-meta");
    fs_err::rename(meta.join(PENDING), meta.join("history"))?;
    Ok(system::set_directory_time(&meta, seconds)?)
}

/// Where the stage of a prefix is, and the twin of one that exists: beside it, so that one step of the kernel puts
/// either in place.
pub(crate) fn beside(prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    let (parent, name) = (prefix.parent()?, prefix.file_name()?.to_str()?);
    Some((parent.join(format!(".{name}.mlconda-new")), parent.join(format!(".{name}.mlconda-twin"))))
}

/// What an installation changes in a prefix that exists.
pub(super) struct Change {
    prefix: PathBuf,
    /// Files that go, relative to the prefix.
    gone: HashSet<PathBuf>,
    /// Modules of python that go or change. Their byte code goes: a new module of the same size and time would be taken
    /// for the old one.
    modules: HashSet<PathBuf>,
    /// Directories that get something new.
    entered: HashSet<PathBuf>,
    /// Directories of packages that stay.
    settled: HashSet<PathBuf>,
    /// Directories that go if nothing is left in them.
    hollow: HashSet<PathBuf>,
    /// Files that belonged to no package, and that a package's file replaces. Sorted.
    pub(super) replaced: Vec<PathBuf>,
    /// The time of directories that change, in seconds since 1970.
    pub(super) time: i64,
}

impl Change {
    /// Looks at the prefix, and makes sure that the change will not fail halfway.
    pub(super) fn new(plan: &Plan, prefix: &Prefix, stage: &Stage, time: i64) -> Result<Self, InstallError> {
        // Where no prefix is, all is new, and no path need be looked at.
        let new = if prefix.path().exists() { stage.paths() } else { Vec::new() };
        let known: HashSet<PathBuf> = plan.unlink.iter().chain(&plan.keep).flat_map(record::files).cloned().collect();
        let kept: HashSet<&PathBuf> = plan.keep.iter().flat_map(record::files).collect();
        let mut replaced = check(prefix.path(), &new, &known, &kept)?;
        // Byte code that python wrote when a module was first run is nobody's loss.
        replaced.retain(|path| path.parent().is_none_or(|parent| !parent.ends_with("__pycache__")));
        let stays: HashSet<&PathBuf> = new.iter().chain(kept).collect();
        let (mut gone, mut hollow, mut modules) = (HashSet::new(), HashSet::new(), HashSet::new());
        for old in &plan.unlink {
            let files = record::files(old).filter(|path| super::stage::is_inside(path) && !stays.contains(path));
            gone.extend(files.cloned());
            modules
                .extend(record::files(old).filter(|path| path.extension().is_some_and(|kind| kind == "py")).cloned());
            gone.insert(Path::new("conda-meta").join(old.file_name()));
            let directories = record::directories(old).map(|entry| entry.relative_path.clone());
            hollow.extend(directories.filter(|path| super::stage::is_inside(path)));
        }
        let entered = new.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        let settled = directories(&plan.keep);
        Ok(Self { prefix: prefix.path().to_owned(), gone, modules, entered, settled, hollow, replaced, time })
    }

    /// Runs the scripts of packages that go.
    pub(super) fn run_pre_unlink(&self, plan: &Plan, told: script::Told<'_>) -> Result<(), InstallError> {
        let packages = plan.unlink.iter().map(|old| &old.repodata_record.package_record);
        let path = |name: &str| self.prefix.join(script::path(name, script::When::PreUnlink));
        let packages: Vec<_> = packages.filter(|package| path(package.name.as_normalized()).is_file()).collect();
        if packages.is_empty() {
            return Ok(());
        }
        let since = script::begin(&self.prefix)?;
        for package in packages {
            script::run(&self.prefix, package, script::When::PreUnlink, told)?;
        }
        script::settle(&self.prefix, since, self.time)
    }

    /// Whether a path goes: as a file of a package, or as byte code of one.
    fn takes(&self, path: &Path) -> bool {
        self.gone.contains(path)
            || path == Path::new("conda-meta").join(PENDING)
            || module_of(path).is_some_and(|module| self.modules.contains(&module))
    }

    /// Makes sure that every directory that a change in place touches may be written to.
    pub(super) fn check_writable(&self) -> Result<(), InstallError> {
        let left = self.gone.iter().filter_map(|path| path.parent());
        for directory in left.chain(self.entered.iter().map(PathBuf::as_path)) {
            // Of what is not there yet, the first that is counts.
            let there = directory.ancestors().map(|path| self.prefix.join(path)).find(|path| path.exists());
            if let Some(directory) = there.filter(|directory| !system::may_write(directory)) {
                let message = format!("cannot change `{}`: permission denied", directory.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into());
            }
        }
        Ok(())
    }

    /// After a swap, moves what somebody put into the old prefix meanwhile into the new one.
    pub(super) fn carry_over(&self, old: &Path) -> Result<(), InstallError> {
        self.carry_over_from(Path::new(""), old)
    }

    fn carry_over_from(&self, relative: &Path, old: &Path) -> Result<(), InstallError> {
        for entry in fs_err::read_dir(old)? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let place = self.prefix.join(&path);
            let there = fs_err::symlink_metadata(&place);
            if entry.file_type()?.is_dir() {
                if there.as_ref().map_or(true, std::fs::Metadata::is_dir) {
                    self.carry_over_from(&path, &entry.path())?;
                }
            } else if there.is_err() && !self.takes(&path) {
                if let Some(parent) = place.parent() {
                    fs_err::create_dir_all(parent)?;
                }
                fs_err::rename(entry.path(), place)?;
            }
        }
        Ok(())
    }

    /// Removes what goes.
    pub(super) fn unlink(&self) -> Result<(), InstallError> {
        let mut parents = HashSet::new();
        let mut gone: Vec<&PathBuf> = self.gone.iter().collect();
        // A record goes after the files that it tells of.
        gone.sort_by_key(|path| (path.starts_with("conda-meta"), *path));
        for path in gone {
            // A missing file is no reason to fail: it was to go anyway.
            match fs_err::remove_file(self.prefix.join(path)) {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            }
            parents.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
        for module in &self.modules {
            remove_bytecode(&self.prefix.join(module))?;
        }
        parents.extend(self.hollow.iter().flat_map(|path| path.ancestors()).map(Path::to_owned));
        let mut parents: Vec<PathBuf> = parents.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
        parents.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in parents {
            let path = self.prefix.join(path);
            let _ = fs_err::remove_dir(path.join("__pycache__"));
            // A directory that is not empty stays: something else is in it.
            if fs_err::remove_dir(&path).is_err() && path.is_dir() {
                system::set_directory_time(&path, self.time)?;
            }
        }
        Ok(())
    }

    /// Makes a twin of the prefix, of hard links, without what goes. On an error nothing of it is left.
    pub(super) fn make_twin(&self, twin: &Path) -> io::Result<()> {
        self.twin_of(Path::new(""), twin).map(|_| ()).inspect_err(|_| {
            let _ = fs_err::remove_dir_all(twin);
        })
    }

    fn twin_of(&self, relative: &Path, twin: &Path) -> io::Result<Twin> {
        let source = self.prefix.join(relative);
        let metadata = fs_err::metadata(&source)?;
        fs_err::create_dir(twin)?;
        let (mut kept, mut left_out) = (0_usize, usize::from(self.hollow.contains(relative)));
        for entry in fs_err::read_dir(&source)? {
            let entry = entry?;
            let (path, place) = (relative.join(entry.file_name()), twin.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                match self.twin_of(&path, &place)? {
                    Twin::Kept => kept += 1,
                    Twin::Emptied => left_out += 1,
                }
            } else if path == Path::new("conda-meta/history") {
                // The new one comes with the stage: at once, or when all is done.
            } else if self.takes(&path) {
                left_out += 1;
            } else {
                fs_err::hard_link(entry.path(), place)?;
                kept += 1;
            }
        }
        if kept == 0 && left_out > 0 && !relative.as_os_str().is_empty() {
            fs_err::remove_dir(twin)?;
            return Ok(Twin::Emptied);
        }
        // A twin's directories are new ones anyway: those of packages get the time that a first installation gives.
        let is_settled = left_out > 0 || self.settled.contains(relative);
        let time = if is_settled { self.time } else { system::modified(&metadata) };
        system::copy_directory(&metadata, twin, time)?;
        Ok(Twin::Kept)
    }
}

/// The directories that packages have something in, or name.
fn directories(records: &[PrefixRecord]) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for record in records {
        let parents = record::files(record).filter_map(|path| path.parent());
        let named = record::directories(record).map(|entry| entry.relative_path.as_path());
        for path in parents.chain(named).flat_map(Path::ancestors) {
            if !found.contains(path) {
                found.insert(path.to_owned());
            }
        }
    }
    found
}

/// What became of a directory in the twin.
enum Twin {
    Kept,
    /// All that was in it goes, and so it goes too.
    Emptied,
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The module that a file is byte code of, by its name: `a/__pycache__/b.cpython-311.pyc` is of `a/b.py`.
pub(crate) fn module_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| parent.ends_with("__pycache__"))?;
    let (stem, _) = path.file_name()?.to_str()?.strip_suffix(".pyc")?.split_once(".cpython-")?;
    Some(directory.parent()?.join(format!("{stem}.py")))
}

/// Python wrote byte code of a module when it first ran it; nobody's record has it.
fn remove_bytecode(module: &Path) -> Result<(), InstallError> {
    if module.extension().is_none_or(|extension| extension != "py") {
        return Ok(());
    }
    let Some(directory) = module.parent() else { return Ok(()) };
    let Ok(entries) = fs_err::read_dir(directory.join("__pycache__")) else { return Ok(()) };
    for entry in entries.flatten() {
        if module_of(&entry.path()).as_deref() == Some(module) {
            system::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes sure that moving in will not fail halfway, nor write over what is nobody's: no directory stands where
/// a file is to be, no file or link where a directory is to be. Gives the paths of nobody that would be lost.
fn check(
    prefix: &Path,
    new: &[PathBuf],
    known: &HashSet<PathBuf>,
    kept: &HashSet<&PathBuf>,
) -> Result<Vec<PathBuf>, InstallError> {
    let mut strangers = Vec::new();
    let mut looked = HashSet::new();
    let goes = |path: &Path| known.contains(path) && !kept.contains(&path.to_owned());
    for path in new {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if !looked.insert(parent) {
                break;
            }
            if !goes(parent) && fs_err::symlink_metadata(prefix.join(parent)).is_ok_and(|metadata| !metadata.is_dir()) {
                return Err(InstallError::Kind { path: parent.to_owned() });
            }
        }
        match fs_err::symlink_metadata(prefix.join(path)) {
            Ok(metadata) if metadata.is_dir() && !only_files_that_go(&prefix.join(path), path, &goes) => {
                return Err(InstallError::Kind { path: path.clone() });
            }
            Ok(metadata) if !metadata.is_dir() && !known.contains(path) => strangers.push(path.clone()),
            _ => {}
        }
    }
    strangers.sort();
    Ok(strangers)
}

/// Whether a directory holds nothing but files of packages that go, so that it will be gone in time.
fn only_files_that_go(place: &Path, path: &Path, goes: &impl Fn(&Path) -> bool) -> bool {
    let Ok(entries) = fs_err::read_dir(place) else { return false };
    entries.flatten().all(|entry| {
        let inner = path.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => only_files_that_go(&entry.path(), &inner, goes),
            _ => goes(&inner),
        }
    })
}

/// Moves all that is in `from` into `into`: a directory that is not there yet as a whole, else what is in it.
/// A directory that gets something new gets the time `seconds`, too. Records come first: what has arrived is known
/// then, should this be cut off.
pub(super) fn merge(from: &Path, into: &Path, seconds: i64) -> Result<(), InstallError> {
    let mut entries = fs_err::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| (entry.file_name() != "conda-meta", entry.file_name()));
    for entry in entries {
        let target = into.join(entry.file_name());
        let is_directory = entry.file_type()?.is_dir();
        if is_directory && fs_err::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
            merge(&entry.path(), &target, seconds)?;
        } else {
            fs_err::rename(entry.path(), &target)?;
        }
    }
    Ok(system::set_directory_time(into, seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_knows_its_module() {
        let module = |path: &str| module_of(Path::new(path));
        assert_eq!(module("a/__pycache__/b.cpython-311.pyc"), Some("a/b.py".into()));
        assert_eq!(module("a/__pycache__/b.cpython-311.opt-1.pyc"), Some("a/b.py".into()));
        assert_eq!([module("a/b.cpython-311.pyc"), module("__pycache__/b.txt")], [None, None]);
    }
}
