//! Finds distributions that pip has installed and that a package of this installation replaces. They are removed,
//! because otherwise python would see two versions of one project.

use std::{
    borrow::Cow,
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, distributions};

use super::{InstallError, stage::Stage};

/// The plan, with these distributions added to the removed ones.
pub(super) fn with_replaced<'a>(plan: &'a Plan, prefix: &Prefix, stage: &Stage) -> Result<Cow<'a, Plan>, InstallError> {
    if !prefix.path().join("conda-meta").is_dir() {
        return Ok(Cow::Borrowed(plan));
    }
    let paths = stage.paths();
    let metadata = paths.iter().filter(|path| distributions::is_metadata(path));
    let projects: HashSet<String> = metadata.filter_map(|path| distributions::name_of(path)).collect();
    let names: HashSet<&str> = projects.iter().map(String::as_str).collect();
    if !is_there(prefix, &names, &paths)? {
        return Ok(Cow::Borrowed(plan));
    }
    let records = [&plan.keep, &plan.unlink, &plan.pip.keep, &plan.pip.unlink];
    let files = records.into_iter().flatten().flat_map(|record| &record.files);
    let known: HashSet<&PathBuf> = files.chain(&paths).collect();
    let others = distributions::untracked_by_name(prefix.path(), &names, &known).map_err(io::Error::other)?;
    if others.is_empty() {
        return Ok(Cow::Borrowed(plan));
    }
    let mut plan = plan.clone();
    plan.pip.unlink.extend(others);
    Ok(Cow::Owned(plan))
}

/// Whether the prefix contains a distribution with one of these names, besides the new ones.
fn is_there(prefix: &Prefix, names: &HashSet<&str>, paths: &[PathBuf]) -> Result<bool, InstallError> {
    if names.is_empty() {
        return Ok(false);
    }
    let comes: HashSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    for site in distributions::site_packages(prefix.path()).map_err(io::Error::other)? {
        for entry in fs_err::read_dir(site)? {
            let list = entry?.path().join("RECORD");
            let relative = list.strip_prefix(prefix.path()).unwrap_or(&list);
            let is_new = relative.parent().is_some_and(|directory| !comes.contains(directory));
            let name = distributions::name_of(relative).filter(|_| is_new && distributions::is_record_file(relative));
            if name.is_some_and(|name| names.contains(name.as_str())) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
