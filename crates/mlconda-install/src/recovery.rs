//! What a killed process left beside a prefix and in it: it is undone or finished, and removed.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk::{self, BACKUP};
use mlconda_system::{self as system, beneath::Root};

use super::{HISTORY, InstallError, rollback::Rollback};

/// Rolls back and cleans up after a killed process. `false` if a running process has locked the prefix.
pub(super) fn recover(prefix: &Path) -> Result<bool, InstallError> {
    let (beside, replica) = on_disk::stage_and_replica(prefix).unzip();
    let inside = prefix.join(on_disk::STAGE);
    check_own(beside.iter().chain(&replica).chain([&inside, &prefix.join(BACKUP), &prefix.join("conda-meta")]))?;
    let left: Vec<&PathBuf> = replica.iter().chain(&beside).filter(|left| left.is_dir()).collect();
    let (backup, is_inside) = (prefix.join(BACKUP), inside.is_dir());
    if left.is_empty() && !is_inside && !backup.is_dir() {
        return Ok(true);
    }
    let mut locks = Vec::new();
    for held in beside.iter().map(PathBuf::as_path).chain([inside.as_path(), prefix]).filter(|held| held.is_dir()) {
        match system::lock_directory(held)? {
            Some(hold) => locks.push(hold),
            None => return Ok(false),
        }
    }
    let is_old = |replica: &&PathBuf| has_history(replica) || replica.join(BACKUP).is_dir();
    if let Some(replica) = replica.as_ref().filter(is_old).filter(|_| prefix.is_dir() && !has_history(prefix)) {
        // The replica is the old prefix: the process was killed before all scripts of the new one had run.
        check_owner(replica, prefix)?;
        system::exchange(replica, prefix)?;
    }
    if backup.is_dir() {
        let stage = beside.as_ref().filter(|stage| !is_inside && stage.is_dir()).unwrap_or(&inside);
        let is_finished = Rollback::is_finished(prefix, stage);
        if let Some(left) = Rollback::read_interrupted(prefix)? {
            left.roll_back(Root::open_no_follow(stage).ok().as_ref())?;
        }
        system::remove_tree(&backup)?;
        if is_finished {
            set_directory_times(prefix);
        }
    }
    // The stage is removed last: while it exists and is locked, no other process begins.
    for left in left.into_iter().chain([&inside]).filter(|left| left.is_dir()) {
        system::remove_tree(left)?;
    }
    Ok(true)
}

/// Makes sure that no path of the installation itself is a link: its target belongs to somebody else.
fn check_own<'a>(mut names: impl Iterator<Item = &'a PathBuf>) -> Result<(), InstallError> {
    names.try_for_each(|path| match fs_err::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            Err(InstallError::ForeignLink { path: path.clone(), to: fs_err::read_link(path)? })
        }
        _ => Ok(()),
    })
}

/// Makes sure that a replica belongs to this user, to root or to the owner of the prefix. In a directory such as `/tmp`,
/// any user could have created it.
fn check_owner(replica: &Path, prefix: &Path) -> Result<(), InstallError> {
    let owner = |path: &Path| fs_err::symlink_metadata(path).map(|there| there.uid());
    let trusted = [0, rustix::process::geteuid().as_raw(), owner(prefix)?];
    if trusted.contains(&owner(replica)?) {
        return Ok(());
    }
    Err(InstallError::Untrusted { path: replica.to_owned(), reason: "belongs to another user".to_owned() })
}

/// Sets the modification time of the directories of an environment to that of its history: the process was killed right
/// before this step.
fn set_directory_times(prefix: &Path) {
    let meta = prefix.join("conda-meta");
    if let Ok(history) = fs_err::metadata(meta.join(HISTORY)) {
        for directory in [&meta, prefix] {
            let _ = system::set_directory_time(directory, system::modified(&history));
        }
    }
}

fn has_history(prefix: &Path) -> bool {
    prefix.join("conda-meta").join(HISTORY).is_file()
}
