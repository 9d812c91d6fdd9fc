//! Checks paths in records. An installation must not touch files outside of the prefix, or behind a link of the user.
//!
//! Any user with write access to a prefix can write a record. Removals cannot leave the prefix in any case
//! ([`mlconda_system::beneath`]). This module finds such paths for the report.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, distributions};
use mlconda_system::beneath::{PathKind, Root, is_contained};

use super::{InstallError, record_file};

/// Checks that the file names of records, which are made of name, version and build, stay in `conda-meta`.
pub(super) fn check_record_names(plan: &Plan, prefix: &Prefix) -> Result<(), InstallError> {
    let records = [&plan.unlink, &plan.keep, &plan.pip.unlink, &plan.pip.keep].into_iter().flatten();
    for record in records {
        let file = distributions::record_name(record);
        if !is_contained(&file) || file.components().count() != 1 {
            let name = record.repodata_record.package_record.name.as_normalized().to_owned();
            return Err(InstallError::RecordName { prefix: prefix.path().to_owned(), name, file });
        }
    }
    Ok(())
}

/// Paths outside of the prefix in records of packages to remove, each with the name of its record.
pub(super) fn outside_prefix(plan: &Plan) -> Vec<(PathBuf, PathBuf)> {
    let mut found = BTreeSet::new();
    for old in plan.unlink.iter().chain(&plan.pip.unlink) {
        let directories = record_file::directories(old).map(|entry| &entry.relative_path);
        let paths = record_file::files(old).chain(directories).filter(|path| !is_contained(path));
        found.extend(paths.map(|path| (distributions::record_name(old), path.clone())));
    }
    found.into_iter().collect()
}

/// Untracked links above paths of packages to remove.
pub(super) fn foreign_links<'a>(
    prefix: &Root,
    gone: impl Iterator<Item = &'a PathBuf>,
    known: &HashSet<&Path>,
) -> io::Result<Vec<PathBuf>> {
    let mut kinds: HashMap<&Path, Option<PathKind>> = HashMap::new();
    let mut links = BTreeSet::new();
    for path in gone {
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        // Walks from the prefix down to the first path that is not a directory.
        while let Some(directory) = above.pop() {
            let kind = match kinds.get(directory) {
                Some(kind) => *kind,
                None => {
                    let kind = prefix.lookup(directory)?.map(|there| there.kind);
                    kinds.insert(directory, kind);
                    kind
                }
            };
            if kind == Some(PathKind::Link) && !known.contains(directory) {
                links.insert(directory.to_owned());
            }
            if kind != Some(PathKind::Directory) {
                break;
            }
        }
    }
    Ok(links.into_iter().collect())
}
