//! No operation changes anything outside of the directory, neither with `openat2` nor component by component.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::symlink;

use super::*;
use crate::Attributes;

/// A directory with a file, a directory, a link that leads out of it and a link that stays inside; and a second
/// directory that is outside.
fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
    for directory in [&inside, &outside] {
        fs_err::create_dir_all(directory.join("deep/er")).unwrap();
        fs_err::write(directory.join("deep/er/keep"), "keep").unwrap();
    }
    symlink(&outside, inside.join("out")).unwrap();
    symlink("deep", inside.join("in")).unwrap();
    symlink("../../outside", inside.join("deep/up")).unwrap();
    (place, inside, outside)
}

fn roots(path: &Path) -> [Root; 2] {
    [Root::open(path).unwrap(), Root { way: Resolution::Steps, ..Root::open(path).unwrap() }]
}

#[test]
fn no_path_leads_out_and_none_through_a_link() {
    let (_place, inside, outside) = places();
    for root in roots(&inside) {
        let bad = ["out/deep/er/keep", "in/er/keep", "deep/up/deep/er/keep", "../outside/deep/er/keep", "/etc/passwd"];
        for path in bad.map(Path::new) {
            assert!(!matches!(root.lookup(path), Ok(Some(_))), "{}", path.display());
            let _ = root.remove_file(path);
            let _ = root.remove_directory(path.parent().unwrap());
            assert!(root.create(&path.with_file_name("new"), 0o644).is_err());
            assert!(root.make_directory(&path.with_file_name("new"), 0o755).is_err());
            assert!(root.read(path).is_err() && root.open_directory(path.parent().unwrap()).is_err());
            assert!(root.entries(path.parent().unwrap()).is_err());
            assert!(root.set_time(path, 1).is_err() && root.set_attributes(path, &attributes()).is_err());
            assert!(root.rename(path, &root, Path::new("stolen")).is_err());
            assert!(root.rename(Path::new("deep/er/keep"), &root, path).is_err());
            assert!(root.hard_link(Path::new("deep/er/keep"), &root, &path.with_file_name("new")).is_err());
            assert!(root.copy(path, &root, Path::new("copy"), &AtomicBool::new(false)).is_err());
        }
        for place in [&inside, &outside] {
            assert_eq!(fs_err::read(place.join("deep/er/keep")).unwrap(), b"keep");
            assert_eq!(fs_err::read_dir(place.join("deep/er")).unwrap().count(), 1);
        }
    }
}

fn attributes() -> Attributes {
    Attributes { mode: 0o700, owner: (0, 0), time: (1, 0) }
}

#[test]
fn a_link_itself_is_removed_and_moved_and_what_is_behind_it_stays() {
    let (_place, inside, outside) = places();
    for root in roots(&inside) {
        root.rename(Path::new("out"), &root, Path::new("deep/er/out")).unwrap();
        assert_eq!(root.read_link(Path::new("deep/er/out")).unwrap(), outside);
        assert_eq!(root.lookup(Path::new("deep/er/out")).unwrap().unwrap().kind, PathKind::Link);
        root.set_time(Path::new("deep/er/out"), 5).unwrap();
        root.remove_file(Path::new("deep/er/out")).unwrap();
        assert_eq!(fs_err::read(outside.join("deep/er/keep")).unwrap(), b"keep");
        let mut entries = root.entries(Path::new("")).unwrap();
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(entries, [("deep".into(), PathKind::Directory), ("in".into(), PathKind::Link)]);
        assert_eq!(
            root.open_directory(Path::new("deep")).unwrap().entries(Path::new("er")).unwrap(),
            [("keep".into(), PathKind::File)]
        );
        symlink(&outside, inside.join("out")).unwrap();
    }
}

/// The parent of the last path stays open. It must not be mistaken for a new directory at the same path.
#[test]
fn a_directory_that_is_moved_is_not_the_one_at_its_path() {
    let (_place, inside, _) = places();
    for root in roots(&inside) {
        root.create(Path::new("deep/er/one"), 0o644).unwrap();
        root.rename(Path::new("deep"), &root, Path::new("moved")).unwrap();
        assert!(root.create(Path::new("deep/er/two"), 0o644).is_err());
        root.make_directories(Path::new("deep/er"), 0o755).unwrap();
        root.create(Path::new("deep/er/two"), 0o644).unwrap();
        assert!(inside.join("deep/er/two").is_file() && inside.join("moved/er/one").is_file());
        fs_err::remove_dir_all(inside.join("deep")).unwrap();
        fs_err::rename(inside.join("moved"), inside.join("deep")).unwrap();
        fs_err::remove_file(inside.join("deep/er/one")).unwrap();
    }
}

#[test]
fn a_copy_is_like_the_file_and_only_of_files() {
    let (_place, inside, _) = places();
    for root in roots(&inside) {
        let (file, copy) = (Path::new("deep/er/keep"), Path::new("copy"));
        root.set_attributes(file, &Attributes { mode: 0o640, ..attributes() }).unwrap();
        root.copy(file, &root, copy, &AtomicBool::new(false)).unwrap();
        let (file, there) = (root.lookup(file).unwrap().unwrap(), root.lookup(copy).unwrap().unwrap());
        assert!(file.has_same_size_and_time(&there) && there.mode == 0o640 && there.number != file.number);
        root.remove_file(copy).unwrap();
        assert!(root.copy(Path::new("out"), &root, copy, &AtomicBool::new(false)).is_err(), "a link is not a file");
    }
}
