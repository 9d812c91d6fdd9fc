//! Writes `conda-meta/history` and `conda-meta/state` into the stage. Also writes records of kept packages whose
//! requested match spec or [`Slim`](mlconda_types::slim::Slim) value has changed.

use std::path::{Path, PathBuf};

use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, STATE, distributions, on_disk, slim};
use mlconda_system::{
    self as system,
    beneath::{PathKind, Root},
    files,
};

use super::{
    HISTORY, InstallError, Options, Revision, read_if_there, record, record_file, stage::Stage,
    staged_package::StagedPackage,
};

/// The extension of the copy of a `conda-meta/state` that cannot be read.
const DAMAGED: &str = "damaged";

/// Writes `history`, `state` and changed records of kept packages into the stage.
pub(super) fn write(
    plan: &Plan,
    prefix: &Prefix,
    stage: &Stage,
    time: i64,
    options: &Options,
) -> Result<(), InstallError> {
    stage.directory(Path::new("conda-meta"))?;
    let (old, new) = (prefix.path().join("conda-meta"), Path::new("conda-meta"));
    let history = match read_if_there(&old.join(HISTORY))? {
        Some(history) => Some(history),
        None => read_if_there(&old.join(on_disk::PENDING_HISTORY))?,
    };
    let mut history = String::from_utf8_lossy(&history.unwrap_or_default()).into_owned();
    if options.revision != Revision::Unrecorded {
        // conda lists revisions in the order of the file, so the times must ascend in that order.
        let since = record::last_revision(&history).map_or(time, |last| last.max(time));
        let revision = record::revision(since, options, plan, &history);
        history.push_str(&revision);
    }
    stage.root.put(&new.join(on_disk::PENDING_HISTORY), history.as_bytes(), time)?;
    write_kept(plan, &old, &stage.root)?;
    let Some(variables) = &plan.variables else { return Ok(()) };
    let old = if plan.damaged_state {
        // A user may have edited the file by hand, so a copy is kept.
        let (root, state) = (Root::open(prefix.path())?, Path::new(STATE));
        if root.lookup(state)?.is_some_and(|there| there.kind == PathKind::File) {
            root.copy(state, &stage.root, &state.with_extension(DAMAGED), stage.stop.flag())?;
        }
        None
    } else {
        read_if_there(&old.join("state"))?
    };
    if let Some(state) = record::state(old.as_deref(), variables) {
        stage.root.put(&new.join("state"), &state, time)?;
    }
    Ok(())
}

/// The copy of an unreadable state, after the commit.
pub(super) fn damaged_state(plan: &Plan, prefix: &Prefix) -> Option<PathBuf> {
    let copy = prefix.path().join(STATE).with_extension(DAMAGED);
    Some(copy).filter(|copy| plan.damaged_state && copy.is_file())
}

/// Writes new records of kept packages whose match spec was not requested before, has changed, or is no longer
/// requested, and of those with another [`Slim`](mlconda_types::slim::Slim) value. `old` is the `conda-meta` of the
/// prefix.
fn write_kept(plan: &Plan, old: &Path, stage: &Root) -> Result<(), InstallError> {
    for record in plan.keep.iter().chain(&plan.pip.keep) {
        let package = &record.repodata_record.package_record;
        let name = package.name.as_normalized();
        let spec = record::requested(&plan.specs, name);
        let is_asked =
            !distributions::is_distribution(package) && record.requested_specs.iter().map(String::as_str).ne(spec);
        let file = distributions::record_name(record);
        let is_wished = plan.wished_anew.contains(&file);
        if !is_asked && !is_wished {
            continue;
        }
        let place = old.join(&file);
        let mut text = files::read(&place, files::LARGEST_RECORD)?;
        if is_asked {
            text = record_file::requested_anew(&text, spec)?;
        }
        if is_wished {
            text = record_file::wished_anew(&text, slim::wish(&plan.slim, name))?;
        }
        let time = fs_err::metadata(&place)?;
        stage.put(&Path::new("conda-meta").join(file), &text, system::modified(&time))?;
    }
    Ok(())
}

/// The build time of the newest package in the new environment, in seconds since 1970. It does not depend on what was
/// installed before. If no package has a build time, it is the time of the last installation.
pub(super) fn newest_build_time(plan: &Plan, finished: &[StagedPackage], prefix: &Prefix) -> i64 {
    let kept = plan
        .keep
        .iter()
        .chain(&plan.pip.keep)
        .filter_map(|record| record.repodata_record.package_record.timestamp.as_ref());
    let kept = kept.map(|time| time.jiff_timestamp().as_second());
    let newest = finished.iter().filter_map(|package| package.built).chain(kept).max();
    let last = || {
        let history = fs_err::metadata(prefix.path().join("conda-meta").join(HISTORY)).ok()?;
        Some(system::modified(&history))
    };
    newest.or_else(last).unwrap_or(0)
}
