//! Undoes or finishes the work of a killed process, and removes its files beside the prefix and in it.

use std::{
    io,
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
    let is_left = replica.iter().chain(&beside).any(|left| left.is_dir());
    let (backup, is_inside) = (prefix.join(BACKUP), inside.is_dir());
    if !is_left && !is_inside && !backup.is_dir() {
        return Ok(true);
    }
    let mut locks = Vec::new();
    for held in beside.iter().map(PathBuf::as_path).chain([inside.as_path(), prefix]).filter(|held| held.is_dir()) {
        match system::lock_directory(held) {
            Ok(Some(hold)) => locks.push((held, hold)),
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if locks.is_empty() && prefix.is_dir() {
        // The leftovers have disappeared, and a new prefix exists. A directory beside it may be in use by another
        // process now.
        return Ok(false);
    }
    let is_old = |replica: &&PathBuf| has_history(replica) || replica.join(BACKUP).is_dir();
    if let Some(replica) = replica.as_ref().filter(is_old).filter(|_| prefix.is_dir() && !has_history(prefix)) {
        // The replica is the old prefix. The process was killed before all scripts of the new prefix had run.
        check_owner(replica, prefix)?;
        system::exchange(replica, prefix)?;
    }
    // A stage beside the prefix may mean that the prefix was changed, and the process was killed during its cleanup.
    let (mut is_finished, is_changed) = (false, is_inside || is_left || backup.is_dir());
    if backup.is_dir() {
        let stage = beside.as_ref().filter(|stage| !is_inside && stage.is_dir()).unwrap_or(&inside);
        is_finished = Rollback::is_finished(prefix, stage);
        if let Some(left) = Rollback::read_interrupted(prefix)? {
            left.roll_back(Root::open_no_follow(stage).ok().as_ref())?;
        }
        system::remove_tree(&backup)?;
    }
    // The stage is removed last, because its lock keeps other processes from beginning. A stage that is not locked here
    // was made by another process meanwhile.
    let is_held = |path: &PathBuf| locks.iter().any(|(held, _)| *held == path.as_path());
    let stages = beside.iter().chain([&inside]).filter(|stage| is_held(stage));
    for left in replica.iter().chain(stages).filter(|left| left.is_dir()) {
        system::remove_tree(left)?;
    }
    if is_changed {
        set_directory_times(prefix, if is_finished { &["", "conda-meta"] } else { &[""] });
    }
    Ok(true)
}

/// Checks that no path of the installation itself is a link, because the target of a link belongs to somebody else.
fn check_own<'a>(mut names: impl Iterator<Item = &'a PathBuf>) -> Result<(), InstallError> {
    names.try_for_each(|path| match fs_err::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            Err(InstallError::ForeignLink { path: path.clone(), to: fs_err::read_link(path)? })
        }
        _ => Ok(()),
    })
}

/// Checks that a replica belongs to this user, to root or to the owner of the prefix. In a directory such as `/tmp`,
/// any user could have created it.
fn check_owner(replica: &Path, prefix: &Path) -> Result<(), InstallError> {
    let owner = |path: &Path| fs_err::symlink_metadata(path).map(|there| there.uid());
    let trusted = [0, rustix::process::geteuid().as_raw(), owner(prefix)?];
    if trusted.contains(&owner(replica)?) {
        return Ok(());
    }
    Err(InstallError::Untrusted { path: replica.to_owned(), reason: "belongs to another user".to_owned() })
}

/// Sets the modification time of an environment's directories to that of its history. The killed process did not do
/// this, and removing its files changed the times.
fn set_directory_times(prefix: &Path, directories: &[&str]) {
    if let Ok(history) = fs_err::metadata(prefix.join("conda-meta").join(HISTORY)) {
        for directory in directories {
            let _ = system::set_directory_time(&prefix.join(directory), system::modified(&history));
        }
    }
}

fn has_history(prefix: &Path) -> bool {
    prefix.join("conda-meta").join(HISTORY).is_file()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mlconda_prefix::Prefix;

    use super::*;
    use crate::{Durability, transaction::Transaction};

    #[test]
    fn several_that_begin_at_once_are_told_that_another_one_is_there() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["new", "empty", "root"].map(|name| directory.path().join(name)) {
            if !path.ends_with("new") {
                fs_err::create_dir(&path).unwrap();
            }
            if path.ends_with("root") {
                fs_err::create_dir_all(path.join("conda-meta")).unwrap();
                fs_err::create_dir(path.join("envs")).unwrap();
                fs_err::write(path.join("conda-meta/history"), "").unwrap();
            }
            let prefix = Prefix::open(&path).unwrap();
            let begun = AtomicUsize::new(0);
            let begin = || {
                for _ in 0..300 {
                    match Transaction::prepare(&prefix, Durability::default(), &()) {
                        Ok(transaction) => {
                            begun.fetch_add(1, Ordering::Relaxed);
                            transaction.stage().unwrap().check().unwrap();
                        }
                        Err(InstallError::Busy { .. }) => {}
                        Err(error) => panic!("{}: {error:?}", path.display()),
                    }
                }
            };
            std::thread::scope(|scope| [(); 6].map(|()| scope.spawn(begin)).map(|thread| thread.join().unwrap()));
            assert!(begun.into_inner() > 0, "{}", path.display());
        }
    }

    #[test]
    fn who_comes_second_does_not_take_the_replica_of_the_first_away() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = directory.path().join("env");
        fs_err::create_dir_all(prefix.join("conda-meta")).unwrap();
        fs_err::write(prefix.join("conda-meta/history"), "").unwrap();
        let first = Transaction::make(&prefix, Durability::default(), &()).unwrap();
        let (stage, replica) = on_disk::stage_and_replica(&prefix).unwrap();
        fs_err::create_dir(&replica).unwrap();
        // The second process has looked for leftovers before the first one began.
        let second = Transaction::make(&prefix, Durability::default(), &());
        assert!(matches!(second, Err(InstallError::Busy { .. })));
        assert!(replica.is_dir() && stage.is_dir());
        drop(first);
        assert!(!replica.exists() && !stage.exists());
    }
}
