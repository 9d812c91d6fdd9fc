//! Turns a finished stage into the prefix: by one rename where the prefix is new, else by moving in what is new
//! and taking out what is gone. Nothing is written here but `conda-meta/history` and `state`; the rest is renames.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;

use super::{InstallError, record};
use crate::system;

/// The name of the stage inside a prefix that exists.
pub(super) const INSIDE: &str = ".mlconda-new";

/// The history while an installation is not finished. A prefix that has records and no `history` is one in which
/// a process was killed: the next installation links everything anew.
pub(super) const PENDING: &str = "history.mlconda";

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

/// Where the stage of a new prefix is: beside it, so that one rename puts it in place.
pub(super) fn beside(prefix: &Path) -> Option<PathBuf> {
    let name = prefix.file_name()?.to_str()?;
    Some(prefix.parent()?.join(format!(".{name}.mlconda-new")))
}

/// Removes what the old records hold and neither the new packages nor the kept ones do.
pub(super) fn unlink(prefix: &Path, old: &[PrefixRecord], stays: &HashSet<PathBuf>) -> Result<(), InstallError> {
    let mut parents = HashSet::new();
    for record in old {
        for path in record::files(record).filter(|path| super::stage::is_inside(path) && !stays.contains(*path)) {
            // A missing file is no reason to fail: it was to go anyway.
            match fs_err::remove_file(prefix.join(path)) {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            }
            remove_bytecode(&prefix.join(path))?;
            parents.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
        let directories = record::directories(record).map(|entry| &entry.relative_path);
        let directories = directories.filter(|path| super::stage::is_inside(path));
        parents.extend(directories.flat_map(|path| path.ancestors()).map(Path::to_owned));
        system::remove_if_there(&prefix.join("conda-meta").join(record.file_name()))?;
    }
    let mut parents: Vec<PathBuf> = parents.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
    parents.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in parents {
        let path = prefix.join(path);
        let _ = fs_err::remove_dir(path.join("__pycache__"));
        // A directory that is not empty stays: something else is in it.
        let _ = fs_err::remove_dir(path);
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Python wrote byte code of a module when it first ran it; nobody's record has it.
fn remove_bytecode(module: &Path) -> Result<(), InstallError> {
    let (Some(stem), Some(directory)) = (module.file_stem().and_then(|stem| stem.to_str()), module.parent()) else {
        return Ok(());
    };
    if module.extension().is_none_or(|extension| extension != "py") {
        return Ok(());
    }
    let Ok(entries) = fs_err::read_dir(directory.join("__pycache__")) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let compiled =
            name.to_str().and_then(|name| name.strip_suffix(".pyc")).and_then(|name| name.strip_prefix(stem));
        if compiled.is_some_and(|rest| rest.starts_with(".cpython-")) {
            system::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes sure that moving in will not fail halfway, nor write over what is nobody's: no directory stands where
/// a file is to be, no file or link where a directory is to be. Gives the paths of nobody that would be lost.
pub(super) fn check(prefix: &Path, new: &[PathBuf], known: &HashSet<PathBuf>) -> Result<Vec<PathBuf>, InstallError> {
    let mut strangers = Vec::new();
    let mut looked = HashSet::new();
    for path in new {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if !looked.insert(parent) {
                break;
            }
            let replaced = known.contains(parent);
            if !replaced && fs_err::symlink_metadata(prefix.join(parent)).is_ok_and(|metadata| !metadata.is_dir()) {
                return Err(InstallError::Kind { path: parent.to_owned() });
            }
        }
        match fs_err::symlink_metadata(prefix.join(path)) {
            Ok(metadata) if metadata.is_dir() && !only_old_files(&prefix.join(path), path, known) => {
                return Err(InstallError::Kind { path: path.clone() });
            }
            Ok(metadata) if !metadata.is_dir() && !known.contains(path) => strangers.push(path.clone()),
            _ => {}
        }
    }
    strangers.sort();
    Ok(strangers)
}

/// Whether a directory holds nothing but what the old packages brought, so that it will be gone in time.
fn only_old_files(place: &Path, path: &Path, known: &HashSet<PathBuf>) -> bool {
    let Ok(entries) = fs_err::read_dir(place) else { return false };
    entries.flatten().all(|entry| {
        let inner = path.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => only_old_files(&entry.path(), &inner, known),
            _ => known.contains(&inner),
        }
    })
}

/// Moves all that is in `from` into `into`: a directory that is not there yet as a whole, else what is in it.
/// A directory that gets something new gets the time `seconds`, too.
pub(super) fn merge(from: &Path, into: &Path, seconds: i64) -> Result<(), InstallError> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
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
