//! If an installation is killed at any moment, there is the old prefix or the new one, and the next run succeeds.
//!
//! The moments are spread over the duration of an installation on this machine. The checks must pass at each of them,
//! so the test does not depend on a certain moment. `MLCONDA_TEST_KILLS` sets the number of moments.

#![allow(clippy::print_stdout, reason = "a thorough run is to tell its figures")]

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use mlconda_test::{
    context::{TestContext, argument},
    package::PackageBuilder,
    tree,
};

use crate::{
    packages::{both_kinds, install as install_lines, line, lock},
    pip_install::{self, simple},
    scripts::{begun, begun_by, waiting},
    world,
};

const OLD: [&str; 6] = ["tzdata", "python-3.11.8", "greet-1.0", "where-1.0", "after-link-1.0", "hollow"];
const NEW: [&str; 6] = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "after-link-2.0", "many"];

/// Two wheels: one changes, and the other one stays.
fn wheels(world: &TestContext, version: &str) -> Vec<String> {
    [("wheel", version), ("stays", "1.0")]
        .map(|(name, version)| pip_install::line(world, &simple(name, version), ""))
        .into()
}

/// The state after a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// An environment; without its history, which depends on the commands.
    Environment(BTreeMap<String, String>),
    /// A prefix that is marked as incomplete: a script was running, or a change in place was in progress.
    Marked,
}

#[allow(clippy::disallowed_methods, reason = "a thorough run is asked for by whoever runs the tests")]
fn kills() -> u32 {
    std::env::var("MLCONDA_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn found(prefix: &Path) -> Found {
    if !prefix.exists() {
        return Found::Nothing;
    }
    let mut contents = tree::tree(prefix).unwrap();
    // The next run removes leftovers.
    contents.retain(|path, _| !path.starts_with(".mlconda-"));
    match contents.remove("conda-meta/history") {
        Some(_) => Found::Environment(contents),
        None => Found::Marked,
    }
}

/// Kills installations of `NEW` at all moments. `prepare` makes the state before the installation.
fn killed(world: &TestContext, prefix: &Path, prepare: impl Fn()) {
    let lock = world.write_lock("new.lock", None, &NEW);
    pip_install::add(&lock, &wheels(world, "2.0"));
    killed_by(world, prefix, &lock, prepare);
}

fn killed_by(world: &TestContext, prefix: &Path, lock: &Path, prepare: impl Fn()) {
    killed_with(world, prefix, ["install", argument(lock), "-p", argument(prefix)], prepare);
}

/// Kills a command that changes a prefix, at all moments.
pub(crate) fn killed_with(world: &TestContext, prefix: &Path, arguments: [&str; 4], prepare: impl Fn()) {
    prepare();
    let begun = Instant::now();
    world.mlconda(arguments).success();
    let (length, new) = (begun.elapsed(), found(prefix));
    assert!(matches!(new, Found::Environment(_)));
    let (mut saw, kills) = ([0, 0, 0], kills());
    for number in 0..kills {
        prepare();
        let old = found(prefix);
        let mut child = world.mlconda_command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Also some time after the usual end, because no two runs take the same time.
        std::thread::sleep(length.mul_f64(1.3 * f64::from(number) / f64::from(kills)).min(Duration::from_secs(10)));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = found(prefix);
        let which = [old == left, new == left, left == Found::Marked].iter().position(|is_it| *is_it);
        saw[which.unwrap_or_else(|| panic!("kill {number} left neither the old prefix nor the new one"))] += 1;
        world.mlconda(arguments).success();
        assert_eq!(found(prefix), new, "the run after kill {number}");
        let names: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
        assert!(names.is_empty(), "the run after kill {number} left {names:?}");
    }
    println!("of {kills} kills, {} left the old prefix, {} the new one, {} a marked one", saw[0], saw[1], saw[2]);
    assert!(saw[0] > 0, "the first kill comes before anything can have happened");
}

#[test]
fn a_first_installation() {
    let world = world();
    let prefix = world.path().join("prefix");
    killed(&world, &prefix, || {
        if prefix.exists() {
            fs_err::remove_dir_all(&prefix).unwrap();
        }
    });
}

#[test]
fn an_update() {
    let world = world();
    let (old, prefix) = (world.write_lock("old.lock", None, &OLD), world.path().join("prefix"));
    pip_install::add(&old, &wheels(&world, "1.0"));
    killed(&world, &prefix, || {
        if prefix.exists() {
            fs_err::remove_dir_all(&prefix).unwrap();
        }
        world.mlconda(["install", argument(&old), "-p", argument(&prefix)]).success();
    });
}

#[test]
fn an_update_in_place() {
    let world = world();
    let (old, prefix, real) =
        (world.write_lock("old.lock", None, &OLD), world.path().join("prefix"), world.path().join("real"));
    pip_install::add(&old, &wheels(&world, "1.0"));
    // A link cannot be exchanged with a directory, so the prefix is changed in place.
    fs_err::os::unix::fs::symlink(&real, &prefix).unwrap();
    killed(&world, &prefix, || {
        if real.exists() {
            fs_err::remove_dir_all(&real).unwrap();
        }
        fs_err::create_dir(&real).unwrap();
        world.mlconda(["install", argument(&old), "-p", argument(&prefix)]).success();
    });
}

#[test]
fn an_addition() {
    let world = world();
    let (old, prefix) = (["tzdata", "python-3.12.4", "greet-2.0"], world.path().join("prefix"));
    let new = world.write_lock("new.lock", None, &[&old[..], &["many", "where-2.0"]].concat());
    let old = world.write_lock("old.lock", None, &old);
    pip_install::add(&new, &wheels(&world, "2.0"));
    killed_by(&world, &prefix, &new, || {
        if prefix.exists() {
            fs_err::remove_dir_all(&prefix).unwrap();
        }
        world.mlconda(["install", argument(&old), "-p", argument(&prefix)]).success();
    });
}

#[test]
fn an_update_that_cannot_be_swapped_in_is_mended_by_the_next_run() {
    let world = world();
    let (old, new) = (world.write_lock("old.lock", None, &OLD), world.write_lock("new.lock", None, &NEW));
    let (real, prefix) = (world.path().join("real"), world.path().join("prefix"));
    fs_err::create_dir(&real).unwrap();
    // A link cannot be exchanged with a directory, so the prefix is changed in place.
    fs_err::os::unix::fs::symlink(&real, &prefix).unwrap();
    let install = |lock: &Path| world.mlconda(["install", argument(lock), "-p", argument(&prefix)]).success();
    install(&new);
    let wanted = found(&real);
    install(&old);
    // The state after a kill in the middle of the change: no history, and some files are missing.
    fs_err::rename(real.join("conda-meta/history"), real.join("conda-meta/history.mlconda")).unwrap();
    fs_err::remove_dir_all(real.join("bin")).unwrap();
    install(&new);
    assert_eq!(found(&real), wanted);
    let history = fs_err::read_to_string(real.join("conda-meta/history")).unwrap();
    assert_eq!(history.matches("==>").count(), 3, "the history goes on: {history}");
}

/// The change is already complete, so the next run has nothing else to do.
#[test]
fn what_activation_scripts_set_is_stored_by_the_run_after_a_kill_at_the_very_end() {
    let world = world();
    let (prefix, file) = (world.work().join("prefix"), world.work().join("prefix/conda-meta/activation.mlconda"));
    let version = |version: &str| {
        let script = format!("export VERSION={version}\n");
        line(&world, &PackageBuilder::new("active", version).file("etc/conda/activate.d/active.sh", script))
    };
    install_lines(&world, &prefix, &[&version("1.0")]).success();
    let old = fs_err::read(&file).unwrap();
    lock(&world, &[&version("2.0")]);
    let run = || world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let is_told = |told: &str| told.contains("1 activation script ran once: `etc/conda/activate.d/active.sh`.");
    assert!(is_told(&run().stderr));
    let new = tree::tree(&prefix).unwrap();
    let meta = |prefix: &Path| fs_err::metadata(prefix.join("conda-meta")).unwrap().modified().unwrap();
    let time = meta(&prefix);
    // States after a kill: the snapshot of the old prefix, no snapshot, or half of one.
    for left in [Some(old), None, Some(b"{\"seen\": {".to_vec())] {
        match &left {
            Some(left) => fs_err::write(&file, left).unwrap(),
            None => fs_err::remove_file(&file).unwrap(),
        }
        assert!(is_told(&run().stderr), "{left:?}");
        assert_eq!(tree::difference(&new, &tree::tree(&prefix).unwrap()), "");
        assert_eq!(meta(&prefix), time);
        let again = run().stderr;
        assert!(again.contains("is up to date") && !is_told(&again), "{again}");
    }
    fs_err::remove_file(&file).unwrap();
    let without = world.mlconda(["install", "env.lock", "-p", "prefix", "--no-scripts"]).success();
    assert!(!file.exists(), "{without}");
}

/// Ctrl-C or `docker stop` while a package's script runs: the script and all its child processes are stopped, and the
/// prefix is the old one.
#[test]
fn stopped_while_a_script_runs() {
    let world = world();
    let package = |version| waiting(&world, version);
    for (prefix, real) in both_kinds(&world) {
        for (version, signal, code) in
            [("1.0", "INT", 130), ("1.0", "TERM", 143), ("2.0", "INT", 130), ("2.0", "TERM", 143)]
        {
            if version == "2.0" && !real.join("conda-meta").exists() {
                let plain = line(&world, &PackageBuilder::new("waits", "1.0").file("share/version", "1.0"));
                install_lines(&world, &prefix, &[&plain]).success();
                fs_err::write(real.join("share/mark"), "mine\n").unwrap();
            }
            let before = world.tree();
            let (mut child, end) = begun(&world, &prefix, &package(version));
            world.run("/bin/sh", &["-c", &format!("kill -{signal} {}", child.id())]).success();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{version} {signal}");
            // No process has the other end open any more.
            let written = (&end).write_all(b"go\n");
            assert!(written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe), "the script is still there");
            let [before, after] = [before, world.tree()].map(|mut tree| {
                tree.retain(|path, _| {
                    !["fifo", "work/env.lock"].contains(&path.as_str()) && !path.starts_with("channel")
                });
                tree
            });
            assert_eq!(tree::difference(&before, &after), "", "{version} {signal} {}", real.display());
        }
    }
}

/// Stopped during the second of two environments: the first one is installed, and the message says so.
#[test]
fn what_is_installed_by_the_time_of_a_stop_is_told() {
    let world = world();
    let quick = line(&world, &PackageBuilder::new("quick", "1.0").file("share/quick", "quick"));
    for (name, package) in [("a", &quick), ("b", &waiting(&world, "1.0"))] {
        let text = fs_err::read_to_string(lock(&world, &[package])).unwrap();
        world.write(&format!("{name}.lock"), &format!("# mlconda lock: 1\n# name: {name}\n{text}"));
    }
    let stopped = |arguments: &[&str]| {
        let (child, end) = begun_by(&world, world.mlconda_command(arguments).stderr(Stdio::piped()));
        world.run("/bin/sh", &["-c", &format!("kill -TERM {}", child.id())]).success();
        let output = child.wait_with_output().unwrap();
        drop(end);
        assert_eq!(output.status.code(), Some(143));
        String::from_utf8(output.stderr).unwrap()
    };
    let alone = stopped(&["install", "b.lock"]);
    assert!(alone.contains("error: stopped; nothing was changed\n"), "{alone}");
    let second = stopped(&["install", "a.lock", "b.lock"]);
    let a = world.named_prefix("a");
    let told = format!("error: stopped; `{}` is installed, and nothing else was changed\n", a.display());
    assert!(second.contains(&told), "{second}");
    assert!(a.join("conda-meta/history").is_file() && !world.named_prefix("b").exists());
}
