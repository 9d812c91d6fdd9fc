//! Finds what exists in a prefix at the paths of new files: untracked files that are replaced, and conflicts that stop
//! the installation.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_inspect::plan::Plan;
use mlconda_system::beneath::{PathInfo, PathKind, Root};
use rattler_conda_types::{
    PrefixRecord,
    prefix_record::{PathType, PathsEntry},
};

use crate::{InstallError, record_file, stage::Stage};

/// The paths of new files that already exist in the prefix.
pub(super) struct Conflicts {
    /// Untracked paths that are replaced. Sorted.
    pub(super) untracked: Vec<PathBuf>,
    /// Those of them that are files at the path of a package's directory. They are removed first. Sorted.
    pub(super) in_the_way: Vec<PathBuf>,
    /// Whether no path of a new file exists.
    pub(super) is_free: bool,
}

/// Checks that moving the new files cannot fail halfway, and destroys no untracked files:
///
/// - A directory at the path of a file is an error, unless it is empty.
/// - A file or a link at the path of a directory is an error, unless it is removed, or a package had a directory there.
/// - New and kept packages must have the same type at a path, whatever is there now.
///
/// `new` and `directories` are those of new packages, `kept` and `kept_directories` those of kept packages. `named` are
/// the directories in records.
pub(super) fn find_conflicts(
    prefix: &Root,
    (new, directories): (&[PathBuf], &[PathBuf]),
    (known, named): (&HashSet<&Path>, &HashSet<&Path>),
    (kept, kept_directories): (&HashSet<&PathBuf>, &HashSet<PathBuf>),
) -> Result<Conflicts, InstallError> {
    let (mut untracked, mut is_free) = (Vec::new(), true);
    let (mut looked, in_the_way) = (HashMap::new(), RefCell::new(BTreeSet::new()));
    let goes_with_package = |path: &Path| known.contains(path) && !kept.contains(&path.to_owned());
    let goes = |path: &Path| {
        let is_a_directory_of_packages =
            || named.contains(path) || known.iter().any(|file| *file != path && file.starts_with(path));
        if known.contains(path) {
            return goes_with_package(path);
        }
        let is_file = || matches!(prefix.lookup(path), Ok(Some(PathInfo { kind: PathKind::File, .. })));
        let makes_room = in_the_way.borrow().contains(path) || is_file() && is_a_directory_of_packages();
        if makes_room {
            in_the_way.borrow_mut().insert(path.to_owned());
        }
        makes_room
    };
    for path in new {
        if kept_directories.contains(path) {
            return Err(path_type_clash(path, "file"));
        }
        // Most new files are in new directories, so their paths need not be looked up.
        if !is_directory(prefix, path.parent().unwrap_or(path), known, &goes, &mut looked)? {
            continue;
        }
        let Some(there) = prefix.lookup(path)? else { continue };
        is_free = false;
        if !there.is_directory() {
            untracked.extend((!known.contains(path.as_path())).then(|| path.clone()));
        } else if let Some(stays) = first_kept_entry(prefix, path, &goes_with_package)? {
            return Err(match known.contains(stays.as_path()) {
                true => path_type_clash(path, "file"),
                false => InstallError::DirectoryInTheWay { path: path.clone(), inner: stays },
            });
        }
    }
    for path in directories {
        if kept.contains(path) {
            let kind = match prefix.lookup(path)?.map(|there| there.kind) {
                Some(PathKind::Link) => "link",
                _ => "file",
            };
            return Err(path_type_clash(path, kind));
        }
        is_directory(prefix, path, known, &goes, &mut looked)?;
    }
    let in_the_way: Vec<PathBuf> = in_the_way.into_inner().into_iter().collect();
    untracked.extend(in_the_way.iter().cloned());
    mlconda_types::sorting::sort(&mut untracked);
    Ok(Conflicts { untracked, in_the_way, is_free })
}

/// Whether a path is a directory in the prefix, and not below a link. A file or a link that is kept at this path is an
/// error.
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
    let there = if is_above { prefix.lookup(path)? } else { None };
    let is_one = there.as_ref().is_some_and(PathInfo::is_directory);
    if there.is_some() && !is_one && !goes(path) {
        return Err(match there {
            Some(PathInfo { kind: PathKind::Link, .. }) if !known.contains(path) => {
                InstallError::ForeignLink { to: prefix.read_link(path)?, path: prefix.path().join(path) }
            }
            Some(PathInfo { kind: PathKind::Link, .. }) => path_type_clash(path, "link"),
            _ if !known.contains(path) => InstallError::FileInTheWay { path: path.to_owned() },
            _ => path_type_clash(path, "file"),
        });
    }
    looked.insert(path, is_one);
    Ok(is_one)
}

fn path_type_clash(path: &Path, kind: &'static str) -> InstallError {
    InstallError::PathTypeClash { path: path.to_owned(), directory: None, other: None, kind }
}

/// Adds the names of the packages to an error about a path.
pub(super) fn name_owners<'a>(
    error: InstallError,
    plan: &Plan,
    stage: &Stage,
    unlink: impl Iterator<Item = &'a PrefixRecord>,
    keep: impl Iterator<Item = &'a PrefixRecord> + Clone,
) -> InstallError {
    let InstallError::PathTypeClash { path, kind, .. } = error else { return error };
    let new = |path: &Path| {
        let number = stage.owner(path)?;
        plan.archives().get(number).map(mlconda_lock::LockedPackage::dist_name)
    };
    let is_below = |file: &Path| file.starts_with(&path) && file != path;
    let mut directory = stage.paths().iter().find(|file| is_below(file)).and_then(|file| new(file));
    let mut other = new(&path);
    let is_link = |entry: &PathsEntry| entry.path_type == PathType::SoftLink && entry.relative_path == path;
    let link = keep.clone().find(|record| record.paths_data.paths.iter().any(is_link));
    for record in unlink.chain(keep) {
        for file in record_file::files(record) {
            let holder = if is_below(file) { &mut directory } else { &mut other };
            if holder.is_none() && file.starts_with(&path) {
                *holder = Some(record_file::dist_name(record));
            }
        }
    }
    match link.map(record_file::dist_name) {
        // The link of the package, if the user had not replaced it, would have been followed.
        Some(link) => InstallError::ReplacedLink { path, link, directory },
        None => InstallError::PathTypeClash { path, directory, other, kind },
    }
}

/// The first path in a directory that is not removed. `None` if all contents are removed.
pub(super) fn first_kept_entry(
    prefix: &Root,
    path: &Path,
    goes: &impl Fn(&Path) -> bool,
) -> io::Result<Option<PathBuf>> {
    for (name, kind) in prefix.entries(path)? {
        let inner = path.join(name);
        let stays = match kind {
            PathKind::Directory => first_kept_entry(prefix, &inner, goes)?,
            _ if goes(&inner) => None,
            _ => Some(inner),
        };
        if stays.is_some() {
            return Ok(stays);
        }
    }
    Ok(None)
}
