//! Scripts of packages: what others see while a script waits, and the state after a script is killed or fails.
//!
//! A script waits at a FIFO: opening the FIFO for writing blocks until the script has opened it, so nothing here
//! depends on time.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use mlconda_test::{
    context::{TestContext, argument},
    package::PackageBuilder,
    tree,
};

use crate::{
    packages::{both_kinds, contents, install, line, lock},
    world,
};

/// A package whose post-link script waits for a line from a FIFO, and then writes a file.
pub(crate) fn waiting(world: &TestContext, version: &str) -> String {
    let script = format!(
        "#!/bin/sh\nread word < '{}' || exit 1\necho \"{version} $word\" >> \"$PREFIX/share/mark\"\n",
        fifo(world).display()
    );
    let package = PackageBuilder::new("waits", version)
        .executable("bin/.waits-post-link.sh", script)
        .file("share/version", version)
        .file(&format!("share/only-{version}"), version);
    line(world, &package)
}

pub(crate) fn fifo(world: &TestContext) -> PathBuf {
    world.path().join("fifo")
}

/// Begins an installation, and returns when its script waits. It waits as long as the returned file is open and nothing
/// is written.
pub(crate) fn begun(world: &TestContext, prefix: &Path, package: &str) -> (Child, File) {
    let lock = lock(world, &[package]);
    let mut install = world.mlconda_command(["install", argument(&lock), "-p", argument(prefix)]);
    begun_by(world, install.stderr(Stdio::null()))
}

/// The same with any command.
pub(crate) fn begun_by(world: &TestContext, install: &mut Command) -> (Child, File) {
    let fifo = fifo(world);
    if fifo.exists() {
        fs_err::remove_file(&fifo).unwrap();
    }
    world.run("mkfifo", &[argument(&fifo)]).success();
    let child = install.stdout(Stdio::null()).spawn().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(fs_err::OpenOptions::new().write(true).open(fifo).unwrap().into_parts().0));
    let end = receiver.recv_timeout(Duration::from_secs(60)).expect("no script has come to wait");
    (child, end)
}

#[test]
fn two_installations_at_once() {
    let world = world();
    let (old, first) = (waiting(&world, "1.0"), waiting(&world, "2.0"));
    let second = line(&world, &PackageBuilder::new("waits", "3.0").file("share/only-3.0", "3.0"));
    for (prefix, real) in both_kinds(&world) {
        let alias = if real == prefix { world.path().join("alias") } else { real.clone() };
        if real == prefix {
            fs_err::os::unix::fs::symlink(&real, &alias).unwrap();
        }
        // First into a new prefix, then into an existing one.
        for (package, version) in [(&old, "1.0"), (&first, "2.0")] {
            let (mut child, mut end) = begun(&world, &prefix, package);
            for name in [&prefix, &alias] {
                let outcome = install(&world, name, &[&second]).failure(1);
                assert!(outcome.stderr.contains("another mlconda is installing into"), "{outcome}");
            }
            end.write_all(b"go\n").unwrap();
            assert!(child.wait().unwrap().success());
            assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), version);
            assert!(contents(&real).contains_key(&format!("conda-meta/waits-{version}-h4bc722e_0.json")));
            assert!(!real.join("share/only-3.0").exists());
        }
        assert_eq!(fs_err::read_to_string(real.join("share/mark")).unwrap(), "1.0 go\n2.0 go\n");
    }
    let left: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn killed_while_a_script_runs() {
    let world = world();
    let (old, new) = (waiting(&world, "1.0"), waiting(&world, "2.0"));
    let killed = |prefix: &Path, package: &str| {
        let (mut child, end) = begun(&world, prefix, package);
        child.kill().unwrap();
        child.wait().unwrap();
        // The script still waits, and fails when this end is closed; the next script reads a regular file.
        fs_err::remove_file(fifo(&world)).unwrap();
        fs_err::write(fifo(&world), "again\n").unwrap();
        drop(end);
    };
    for (prefix, real) in both_kinds(&world) {
        killed(&prefix, &old);
        install(&world, &prefix, &[&old]).success();
        assert_eq!(fs_err::read_to_string(real.join("share/mark")).unwrap(), "1.0 again\n", "the script runs again");
        let first = contents(&real);
        assert!(first.contains_key("share/only-1.0"));

        killed(&prefix, &new);
        install(&world, &prefix, &[&new]).success();
        assert!(fs_err::read_to_string(real.join("share/mark")).unwrap().ends_with("2.0 again\n"));
        let mut updated = contents(&real);
        assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), "2.0");
        assert!(!updated.contains_key("share/only-1.0"), "the old version is gone");

        fs_err::remove_dir_all(&real).unwrap();
        if real != prefix {
            fs_err::create_dir(&real).unwrap();
        }
        install(&world, &prefix, &[&new]).success();
        let mut fresh = contents(&real);
        for entries in [&mut updated, &mut fresh] {
            entries.remove("share/mark");
        }
        assert_eq!(tree::difference(&fresh, &updated), "");
    }
    let left: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A directory with only files of the user, and a file name that is not text: both are restored after a script has
/// removed them and failed, before and after the new files are in place.
#[test]
fn a_script_that_removes_the_users_files_and_fails() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let world = world();
    let script = "#!/bin/sh\nrm -r \"$PREFIX/data\" \"$PREFIX/notes\"\nmkdir \"$PREFIX/notes\"\nexit 1\n";
    let plain = PackageBuilder::new("spoils", "1.0").file("share/version", "1.0");
    let before = line(&world, &plain.clone().build_string("h1_0").executable("bin/.spoils-pre-unlink.sh", script));
    let plain = line(&world, &plain);
    let new = PackageBuilder::new("spoils", "2.0").file("share/version", "2.0");
    let after = line(&world, &new.clone().build_string("h1_0").executable("bin/.spoils-post-link.sh", script));
    let new = line(&world, &new);
    for (prefix, real) in both_kinds(&world) {
        for (old, new) in [(&before, &new), (&plain, &after)] {
            if real.join("conda-meta").exists() {
                fs_err::remove_dir_all(&real).unwrap();
            }
            if real != prefix {
                fs_err::create_dir_all(&real).unwrap();
            }
            install(&world, &prefix, &[old]).success();
            let mine = real.join("data/deep").join(OsStr::from_bytes(b"donn\xe9es.csv"));
            fs_err::create_dir_all(real.join("data/deep")).unwrap();
            fs_err::write(&mine, "mine").unwrap();
            fs_err::write(real.join("notes"), "mine").unwrap();
            let outcome = install(&world, &prefix, &[new]).failure(1);
            assert!(outcome.stderr.contains("failed with exit status: 1"), "{outcome}");
            for path in [&mine, &real.join("notes")] {
                assert_eq!(fs_err::read_to_string(path).ok().as_deref(), Some("mine"), "{}: {outcome}", path.display());
            }
            assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), "1.0");
            assert!(real.join("conda-meta/history").is_file() && !real.join(".mlconda-old").exists());
        }
    }
}

/// A first installation was killed after the packages were in place, but before the prefix became an environment. No
/// post-link script ran, so no pre-unlink script may run, and a failing one causes no problem.
#[test]
fn an_installation_that_never_ended_runs_no_pre_unlink_script() {
    let world = world();
    let script = "#!/bin/sh\necho no >&2\nexit 3\n";
    let stubborn =
        line(&world, &PackageBuilder::new("stubborn", "1.0").executable("bin/.stubborn-pre-unlink.sh", script));
    let other = line(&world, &PackageBuilder::new("other", "1.0").file("share/other", "other"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stubborn]).success();
        let before = contents(&real);
        install(&world, &prefix, &[&other]).failure(1);
        assert_eq!(tree::difference(&before, &contents(&real)), "");
        fs_err::remove_file(real.join("conda-meta/history")).unwrap();
        install(&world, &prefix, &[&other]).success();
        assert!(real.join("share/other").is_file() && !real.join("bin/.stubborn-pre-unlink.sh").exists());
    }
}
