//! Older kernels and strict filters: if newer system calls are missing, other calls are used, and the result is the
//! same.
//!
//! `docs/platforms.md` lists the supported kernels; this file tests that table.

use mlconda_test::{
    context::{Outcome, TestContext},
    inject, tree,
};
use rustix::io::Errno;

use crate::world;

/// The system calls added since Linux 3.15, except `getrandom`, that the program or its libraries may use.
const NEWER: [&str; 12] = [
    "clone3",
    "close_range",
    "copy_file_range",
    "execveat",
    "faccessat2",
    "io_uring_setup",
    "memfd_create",
    "openat2",
    "pidfd_open",
    "renameat2",
    "rseq",
    "statx",
];

/// Runs each of the commands while some system calls fail; `false` if the kernel does not allow the filter.
#[track_caller]
fn all_without(world: &TestContext, calls: &[&str], error: Errno, commands: &[&[&str]]) -> bool {
    let run = |command: &&[&str]| -> Option<Outcome> {
        let outcome = inject::run_without(world, calls, error.raw_os_error(), command)?;
        assert!(outcome.code == 0, "without {calls:?} ({error}): {command:?}\n{outcome}");
        Some(outcome)
    };
    commands.iter().all(|command| run(command).is_some())
}

/// The life of an environment: locked, installed from files and from the cache, replaced and changed in place,
/// verified, used.
const LIFE: [&[&str]; 9] = [
    &["lock", "environment.yml", "-o", "env.lock"],
    &["install", "old.lock", "-p", "one"],
    &["install", "env.lock", "-p", "one"],
    &["install", "old.lock", "-p", "two"],
    &["install", "env.lock", "-p", "two"],
    &["verify", "-p", "one"],
    &["verify", "-p", "two"],
    &["run", "-p", "one", "where-am-i"],
    &["image", "env.lock", "--base", "scratch", "--tag", "small:1", "--output", "image.tar"],
];

/// A context in which `one` does not exist yet, and `two` is a link to a directory, so that it is changed in place.
fn begun() -> TestContext {
    let world = world();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    fs_err::create_dir(world.work().join("real")).unwrap();
    fs_err::os::unix::fs::symlink(world.work().join("real"), world.work().join("two")).unwrap();
    world.write_lock("old.lock", None, &["tzdata", "python-3.11.8", "greet-1.0", "where-1.0", "links", "hollow"]);
    world.write_environment(&["python 3.12.*", "greet", "where 2.0.*", "links", "unicode", "templates"]);
    world
}

/// The paths of a prefix.
fn paths(world: &TestContext, prefix: &str) -> Vec<String> {
    let real = fs_err::canonicalize(world.work().join(prefix)).unwrap();
    tree::tree(&real).unwrap().into_keys().collect()
}

#[test]
fn a_kernel_without_the_newer_calls_is_enough() {
    let (usual, older) = (begun(), begun());
    for command in LIFE {
        usual.mlconda(command).success();
    }
    if !all_without(&older, &NEWER, Errno::NOSYS, &LIFE) {
        return;
    }
    for prefix in ["one", "two"] {
        assert_eq!(paths(&usual, prefix), paths(&older, prefix));
    }
}

/// Container engines used to reject unknown system calls with this error. Without threads (`clone3`), nothing could
/// run.
#[test]
fn a_filter_that_forbids_a_newer_call_is_no_obstacle() {
    for call in NEWER.iter().filter(|call| **call != "clone3") {
        let world = begun();
        if !all_without(&world, &[*call], Errno::PERM, &LIFE[..6]) {
            return;
        }
    }
}

/// Network file systems and simple kernels in user space lack some of these system calls.
#[test]
fn without_locks_links_and_copies_in_the_kernel_it_is_the_same() {
    for (calls, error) in [
        (&["flock"][..], Errno::NOSYS),
        (&["linkat"], Errno::PERM),
        (&["linkat"], Errno::OPNOTSUPP),
        (&["copy_file_range", "sendfile", "splice"], Errno::NOSYS),
        (&["fallocate"], Errno::OPNOTSUPP),
    ] {
        let world = begun();
        if !all_without(&world, calls, error, &LIFE[..8]) {
            return;
        }
    }
}
