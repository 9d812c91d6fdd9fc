//! Rollback after scripts: untracked files are restored, whatever a script has done to them, even if no old file has to
//! be restored.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::*;

/// A prefix with untracked files. The name of one of them is not UTF-8.
fn prefix() -> (tempfile::TempDir, Vec<PathBuf>) {
    let prefix = tempfile::tempdir().unwrap();
    let names: [&[u8]; 4] = [b"data/deep/one", b"data/donn\xe9es.csv", b"changed", b"kept"];
    let copied: Vec<PathBuf> = names.iter().map(|name| OsStr::from_bytes(name).into()).collect();
    fs_err::create_dir_all(prefix.path().join("data/deep")).unwrap();
    fs_err::create_dir(prefix.path().join("conda-meta")).unwrap();
    fs_err::write(prefix.path().join("conda-meta/history"), "history").unwrap();
    copied.iter().for_each(|path| fs_err::write(prefix.path().join(path), "mine").unwrap());
    (prefix, copied)
}

fn begun(prefix: &Path, old: OldFiles, copied: &[PathBuf]) -> Rollback {
    let directories = ["conda-meta", "data", "data/deep"].map(|path| {
        let metadata = fs_err::metadata(prefix.join(path)).unwrap();
        (path.into(), Attributes::from(&metadata))
    });
    let moved = vec!["conda-meta/history".into()];
    let journal =
        Journal { old, moved, copied: copied.to_vec(), directories: directories.into(), ..Journal::default() };
    let rollback = Rollback::begin(&Root::open(prefix).unwrap(), journal, &Stop::default()).unwrap();
    rollback.move_history().unwrap();
    rollback
}

/// Examples of what a script may do: it removes a directory, replaces a file by a directory, and changes another file.
fn spoil(prefix: &Path, data: Option<&str>) {
    fs_err::remove_dir_all(prefix.join("data")).unwrap();
    if let Some(text) = data {
        fs_err::write(prefix.join("data"), text).unwrap();
    }
    fs_err::remove_file(prefix.join("changed")).unwrap();
    fs_err::create_dir_all(prefix.join("changed/into")).unwrap();
    fs_err::write(prefix.join("kept"), "more").unwrap();
}

#[track_caller]
fn is_as_it_was(prefix: &Path, copied: &[PathBuf]) {
    for path in copied {
        assert_eq!(fs_err::read(prefix.join(path)).unwrap(), b"mine", "{}", path.display());
    }
    assert_eq!(fs_err::read(prefix.join("conda-meta/history")).unwrap(), b"history");
    assert!(!prefix.join("conda-meta").join(PENDING_HISTORY).exists());
}

#[test]
fn what_scripts_spoilt_comes_back() {
    for (old, data) in [
        (OldFiles::BackedUp, None),
        (OldFiles::BackedUp, Some("a file")),
        (OldFiles::Removed, None),
        (OldFiles::Removed, Some("file")),
    ] {
        let (prefix, copied) = prefix();
        let rollback = begun(prefix.path(), old, &copied);
        spoil(prefix.path(), data);
        rollback.roll_back(None).unwrap();
        is_as_it_was(prefix.path(), &copied);

        // The same if the process was killed, and the next run reads the journal.
        rollback.discard();
        drop(begun(prefix.path(), old, &copied));
        spoil(prefix.path(), data);
        Rollback::read_interrupted(prefix.path()).unwrap().unwrap().roll_back(None).unwrap();
        is_as_it_was(prefix.path(), &copied);
    }
}

#[test]
fn what_cannot_be_put_back_does_not_end_the_rest_and_is_tried_again() {
    let (prefix, copied) = prefix();
    let rollback = begun(prefix.path(), OldFiles::BackedUp, &copied);
    spoil(prefix.path(), None);
    // The backup path for the directory that a script has put in the file's place is occupied.
    let obstacle = prefix.path().join(BACKUP).join(backup_name("instead-of-file", 2));
    fs_err::write(&obstacle, "").unwrap();
    rollback.roll_back(None).unwrap_err();
    assert_eq!(fs_err::read(prefix.path().join("kept")).unwrap(), b"mine");
    fs_err::remove_file(obstacle).unwrap();
    Rollback::read_interrupted(prefix.path()).unwrap().unwrap().roll_back(None).unwrap();
    is_as_it_was(prefix.path(), &copied);
}

#[test]
fn once_old_files_are_removed_there_is_no_way_back() {
    let (prefix, copied) = prefix();
    let rollback = begun(prefix.path(), OldFiles::Removed, &copied);
    rollback.move_old_files(0, &Stop::default()).unwrap();
    rollback.roll_back(None).unwrap_err();
    assert!(Rollback::read_interrupted(prefix.path()).unwrap().is_none());
}

#[test]
fn a_file_of_a_package_may_be_called_as_the_history() {
    let (prefix, _) = prefix();
    let theirs = [PathBuf::from("history"), PathBuf::from(PENDING_HISTORY)];
    theirs.iter().for_each(|path| fs_err::write(prefix.path().join(path), "theirs").unwrap());
    let journal = Journal { old: OldFiles::Removed, moved: theirs.to_vec(), ..Journal::default() };
    let rollback = Rollback::begin(&Root::open(prefix.path()).unwrap(), journal, &Stop::default()).unwrap();
    rollback.move_history().unwrap();
    assert!(theirs.iter().all(|path| prefix.path().join(path).exists()));
    rollback.move_old_files(0, &Stop::default()).unwrap();
    assert!(theirs.iter().all(|path| !prefix.path().join(path).exists()));
}

#[test]
fn files_are_compared_to_their_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs_err::write(directory.path().join(name), text).unwrap();
        directory.path().join(name)
    };
    let long = "x".repeat(200_000);
    let (one, same) = (file("one", &long), file("same", &long));
    let (longer, other) = (file("longer", &format!("{long}x")), file("other", &format!("{}y", &long[1..])));
    let open = |path: &PathBuf| fs_err::File::open(path).unwrap();
    let same_as_one = [&same, &longer, &other].map(|path| has_same_content(open(&one), open(path)).unwrap());
    assert_eq!(same_as_one, [true, false, false]);
}

/// Spoils a journal. Any user with write access to a prefix can put a journal there.
type Spoil<'a> = &'a dyn Fn(&Path);

#[test]
fn a_journal_of_somebody_else_is_not_believed() {
    let write = |journal: &Path, from: &str, to: &str| {
        let text = fs_err::read_to_string(journal).unwrap();
        assert!(text.contains(from), "{text}");
        fs_err::write(journal, text.replace(from, to)).unwrap();
    };
    let hex = |path: &str| format!("\"{}\"", hex::encode(path));
    let mode = |path: &Path, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs_err::set_permissions(path, permissions).unwrap();
    };
    let cases: [(&str, Spoil<'_>); 8] = [
        ("names `../../keep`, which is not", &|journal| write(journal, &hex("changed"), &hex("../../keep"))),
        ("names `/etc/keep`, which is not", &|journal| write(journal, &hex("data/deep/one"), &hex("/etc/keep"))),
        ("names `../x`, which is not", &|journal| write(journal, &hex("data"), &hex("../x"))),
        ("names `..`, which is not", &|journal| write(journal, "\"added\":[", &format!("\"added\":[{}", hex("..")))),
        ("is not a journal of this version of mlconda", &|journal| write(journal, FORMAT, "another")),
        ("can be written to by others", &|journal| mode(journal, 0o666)),
        ("is in a directory that can be written to by others", &|journal| mode(journal.parent().unwrap(), 0o775)),
        ("is not a regular file", &|journal| {
            fs_err::rename(journal, journal.with_file_name("moved")).unwrap();
            fs_err::os::unix::fs::symlink("moved", journal).unwrap();
        }),
    ];
    for (reason, forge) in cases {
        let (prefix, copied) = prefix();
        drop(begun(prefix.path(), OldFiles::BackedUp, &copied));
        let before = fs_err::read(prefix.path().join("changed")).unwrap();
        forge(&prefix.path().join(BACKUP).join(JOURNAL));
        let error = Rollback::read_interrupted(prefix.path()).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(fs_err::read(prefix.path().join("changed")).unwrap(), before);
    }
}
