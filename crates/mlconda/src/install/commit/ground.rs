//! What is in a prefix where new files come to: files that would be lost, and what a change cannot be made over.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;

use crate::{
    install::{InstallError, record, stage::Stage},
    plan::Plan,
    system::beneath::{Kind, Look, Root},
};

/// What is in the prefix where new files come to.
pub(super) struct Ground {
    /// The paths of nobody that would be lost. Sorted.
    pub(super) strangers: Vec<PathBuf>,
    /// Whether there is nothing at all.
    pub(super) is_free: bool,
}

/// Makes sure that moving in will not fail halfway, nor write over what is nobody's: no directory stands where
/// a file is to be, no file or link where a directory is to be.
pub(super) fn check(
    prefix: &Root,
    new: &[PathBuf],
    known: &HashSet<&Path>,
    kept: &HashSet<&PathBuf>,
) -> Result<Ground, InstallError> {
    let (mut strangers, mut is_free) = (Vec::new(), true);
    let mut looked = HashMap::new();
    let goes = |path: &Path| known.contains(path) && !kept.contains(&path.to_owned());
    for path in new {
        // Most of what comes has a directory of its own, and need not be looked at.
        if !is_directory(prefix, path.parent().unwrap_or(path), known, &goes, &mut looked)? {
            continue;
        }
        let Some(there) = prefix.look(path)? else { continue };
        is_free = false;
        if !there.is_directory() {
            strangers.extend((!known.contains(path.as_path())).then(|| path.clone()));
        } else if !only_files_that_go(prefix, path, &goes)? {
            return Err(kind_of(path, "file"));
        }
    }
    crate::sorting::sort(&mut strangers);
    Ok(Ground { strangers, is_free })
}

/// Whether there is a directory in the prefix, not through a link. What is no directory and stays is an error.
fn is_directory<'a>(
    prefix: &Root,
    path: &'a Path,
    known: &HashSet<&Path>,
    goes: &impl Fn(&Path) -> bool,
    looked: &mut HashMap<&'a Path, bool>,
) -> Result<bool, InstallError> {
    let Some(above) = path.parent() else { return Ok(true) };
    if let Some(known) = looked.get(path) {
        return Ok(*known);
    }
    let is_above = is_directory(prefix, above, known, goes, looked)?;
    let there = if is_above { prefix.look(path)? } else { None };
    let is_one = there.as_ref().is_some_and(Look::is_directory);
    if there.is_some() && !is_one && !goes(path) {
        return Err(match there {
            Some(Look { kind: Kind::Link, .. }) if !known.contains(path) => {
                InstallError::ForeignLink { to: prefix.read_link(path)?, path: prefix.path().join(path) }
            }
            Some(Look { kind: Kind::Link, .. }) => kind_of(path, "link"),
            _ => kind_of(path, "file"),
        });
    }
    looked.insert(path, is_one);
    Ok(is_one)
}

fn kind_of(path: &Path, kind: &'static str) -> InstallError {
    InstallError::Kind { path: path.to_owned(), directory: None, other: None, kind }
}

/// Says which packages do not go together.
pub(super) fn name_holders<'a>(
    error: InstallError,
    plan: &Plan,
    stage: &Stage,
    records: impl Iterator<Item = &'a PrefixRecord>,
) -> InstallError {
    let InstallError::Kind { path, kind, .. } = error else { return error };
    let new = |path: &Path| {
        let number = stage.holder(path)?;
        plan.archives().get(number).map(crate::lock::LockedPackage::dist_name)
    };
    let is_below = |file: &Path| file.starts_with(&path) && file != path;
    let mut directory = stage.paths().iter().find(|file| is_below(file)).and_then(|file| new(file));
    let mut other = new(&path);
    for record in records {
        for file in record::files(record) {
            let holder = if is_below(file) { &mut directory } else { &mut other };
            if holder.is_none() && file.starts_with(&path) {
                *holder = Some(record::dist_name(record));
            }
        }
    }
    InstallError::Kind { path, directory, other, kind }
}

/// Whether a directory holds nothing but files of packages that go, so that it will be gone in time.
fn only_files_that_go(prefix: &Root, path: &Path, goes: &impl Fn(&Path) -> bool) -> io::Result<bool> {
    for (name, kind) in prefix.entries(path)? {
        let inner = path.join(name);
        let fits = match kind {
            Kind::Directory => only_files_that_go(prefix, &inner, goes)?,
            _ => goes(&inner),
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}
