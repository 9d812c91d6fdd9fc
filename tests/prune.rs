//! `mlconda cache`: lists the cache, and removes files that were not used for a long time, but never files that are in
//! use.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext},
    server::{Fault, Server},
    tree,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cache::{cached, entry, install},
    pip_install::{add, line as wheel_line, simple},
    stopping::{begin, stop},
};

/// The ID of a user who is not root.
pub(crate) const NOBODY: u32 = 65_534;

const DAY: Duration = Duration::from_secs(86_400);

/// A package, and a path by which its directory in the cache is found.
const TZDATA: (&str, &str) = ("tzdata", "share/zoneinfo/Etc/UTC");
const WHERE: (&str, &str) = ("where-2.0", "share/where/message.txt");

fn prune(world: &TestContext, options: &[&str]) -> Outcome {
    world.mlconda([&["cache", "prune"], options].concat())
}

/// Sets the time of a file as if it was last used this long ago.
fn grow_old(path: &Path, age: Duration) {
    fs_err::File::open(path).unwrap().file().set_modified(SystemTime::now() - age).unwrap();
}

/// Does this for all packages.
pub(crate) fn all_grow_old(packages: &Path, age: Duration) {
    for entry in fs_err::read_dir(packages).unwrap() {
        grow_old(&entry.unwrap().path(), age);
    }
}

/// A context with two packages in its cache, and a lock for each.
fn filled() -> (TestContext, Server, PathBuf) {
    let (world, server, packages) = cached(&[TZDATA.0, WHERE.0]);
    world.write_lock("tzdata.lock", Some(&server.url("main")), &[TZDATA.0]);
    install(&world, "prefix", &[]).success();
    (world, server, packages)
}

fn number(directory: &Path) -> usize {
    fs_err::read_dir(directory).unwrap().count()
}

#[test]
fn what_was_not_used_for_long_goes() {
    let (world, server, packages) = filled();
    let before = tree::tree(&world.work().join("prefix")).unwrap();
    let [tzdata, other] = [TZDATA, WHERE].map(|(_, path)| entry(&packages, path));
    assert!(prune(&world, &[]).success().stderr.contains("There is nothing to remove"));
    all_grow_old(&packages, DAY * 40);
    // An installation counts as use, even if it only links to the cache from a new prefix.
    world.mlconda(["install", "tzdata.lock", "-p", "second"]).success();
    assert_snapshot!(prune(&world, &["--dry-run"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Would remove 1 package ([SIZE]) from the cache `[TEMP]/home/.cache/mlconda`; 1 item stays ([SIZE]).
    ");
    assert!(tzdata.is_dir() && other.is_dir());
    prune(&world, &["--older-than", "50d"]).success();
    assert!(other.is_dir(), "it is not that old");
    assert_snapshot!(prune(&world, &["--older-than", "39d"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Removed 1 package ([SIZE]) from the cache `[TEMP]/home/.cache/mlconda`; 1 item stays ([SIZE]).
    ");
    assert!(tzdata.is_dir() && !other.exists());
    assert_eq!(number(&packages), 1, "nothing is left of it");
    assert_eq!(tree::difference(&before, &tree::tree(&world.work().join("prefix")).unwrap()), "");
    world.mlconda(["verify", "prefix"]).success();
    server.forget();
    install(&world, "prefix", &[]).success();
    assert_eq!([server.count("where-2.0"), server.count("tzdata")], [1, 0]);
    assert_eq!(tree::difference(&before, &tree::tree(&world.work().join("prefix")).unwrap()), "");
}

#[test]
fn packages_of_locks_stay_and_others_go_at_any_age() {
    let (world, _server, packages) = filled();
    let lock = world.write_lock("wheel.lock", None, &["tzdata", "python-3.11.9"]);
    add(&lock, &[wheel_line(&world, &simple("one", "1.0"), "")]);
    world.mlconda(["install", "wheel.lock", "-p", "wheels"]).success();
    let wheel = entry(&packages, "site-packages/one/__init__.py");
    all_grow_old(&packages, DAY / 2);
    let kept = prune(&world, &["--keep-locks", "tzdata.lock", "wheel.lock", "--json"]).success();
    let told: Value = serde_json::from_str(&kept.stdout).unwrap();
    assert_eq!((&told["removed"][0]["name"], &told["removed"][0]["count"]), (&"packages".into(), &1.into()), "{kept}");
    assert_eq!((&told["kept"]["count"], &told["in_use"], &told["dry_run"]), (&3.into(), &0.into(), &false.into()));
    assert!(wheel.is_dir() && entry(&packages, TZDATA.1).is_dir() && number(&packages) == 3);
    // Both conditions apply.
    prune(&world, &["--keep-locks", "tzdata.lock", "--older-than", "1d"]).success();
    assert_eq!(number(&packages), 3);
    let size = world.mlconda(["cache", "size"]).success();
    assert!(size.stdout.contains("packages        2 ") && size.stdout.contains("wheels          1 "), "{size}");
    prune(&world, &["--keep-locks", "tzdata.lock", "--older-than", "1h"]).success();
    assert_eq!(number(&packages), 1);
    let wrong = prune(&world, &["--keep-locks", "gone.lock"]).failure(1);
    assert!(wrong.stderr.contains("gone.lock") && number(&packages) == 1, "{wrong}");
    world.write_environment(&["tzdata"]);
    assert!(prune(&world, &["--keep-locks", "environment.yml"]).failure(1).stderr.contains("give its lock"));
    prune(&world, &["--older-than", "soon"]).failure(2);
}

#[test]
fn a_running_installation_keeps_what_it_uses() {
    let (world, server, packages) = filled();
    world.write_lock("large.lock", Some(&server.url("main")), &["tzdata", "large"]);
    all_grow_old(&packages, DAY * 400);
    server.fail("large", Fault::Stalled);
    let running = begin(&world, &["install", "large.lock", "-p", "large"]);
    server.wait_for("large");
    for (options, left) in [(["--older-than", "0"], 1), (["--keep-locks", "large.lock"], 1)] {
        let pruned = prune(&world, &options).success();
        assert_eq!(number(&packages), left, "{pruned}");
        assert!(entry(&packages, TZDATA.1).is_dir());
    }
    // A package that was used today may be in use by the running installation, even if the lock does not keep it. The
    // output says so.
    world.write_lock("other.lock", Some(&server.url("main")), &["where-2.0"]);
    grow_old(&entry(&packages, TZDATA.1), Duration::from_secs(3600));
    let pruned = prune(&world, &["--keep-locks", "other.lock"]).success();
    assert!(
        pruned.stderr.contains("1 of them stays only because the cache is in use and it was used today."),
        "{pruned}"
    );
    stop(running, Signal::INT);
    assert!(entry(&packages, TZDATA.1).is_dir());
    prune(&world, &["--keep-locks", "other.lock"]).success();
    assert_eq!(number(&packages), 0, "now nobody uses it");
}

#[test]
fn what_somebody_who_can_only_read_the_cache_uses_stays() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let (world, server, packages) = filled();
    world.write_lock("large.lock", Some(&server.url("main")), &["tzdata", "large"]);
    all_grow_old(&packages, DAY * 400);
    let theirs = world.path().join("theirs");
    fs_err::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    fs_err::set_permissions(world.path(), Permissions::from_mode(0o755)).unwrap();
    server.fail("large", Fault::Stalled);
    let mut command = world.mlconda_command(["install", "large.lock", "-p", "../theirs/large"]);
    command.uid(NOBODY).gid(NOBODY).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = command.spawn().unwrap();
    server.wait_for("large");
    for options in [["--older-than", "0"], ["--keep-locks", "large.lock"]] {
        prune(&world, &options).success();
        assert!(entry(&packages, TZDATA.1).is_dir(), "it is not new, but it is held");
    }
    let (_, said) = stop(running, Signal::INT);
    assert!(said.contains("stopped"), "{said}");
    prune(&world, &["--older-than", "0"]).success();
    assert_eq!(number(&packages), 0, "now nobody uses it");
}

#[test]
fn installations_beside_it_never_miss_a_package() {
    let (world, _server, packages) = filled();
    let expected = tree::tree(&world.work().join("prefix")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                removed += usize::from(prune(&world, &["--older-than", "0"]).success().stderr.contains("Removed "));
            }
            removed
        });
        for round in 0..12 {
            // Make it old again, except for the moment in which the next installation begins.
            for entry in fs_err::read_dir(&packages).into_iter().flatten().flatten() {
                let file = fs_err::File::open(entry.path()).map(|file| file.into_parts().0);
                let _ = file.map(|file| file.set_modified(SystemTime::UNIX_EPOCH));
            }
            let outcome = install(&world, "prefix", &[]).success();
            assert!(!outcome.stderr.contains("damaged"), "round {round}: {outcome}");
            assert_eq!(tree::difference(&expected, &tree::tree(&world.work().join("prefix")).unwrap()), "", "{round}");
        }
        done.store(true, Ordering::Relaxed);
        pruning.join().unwrap();
    });
    world.mlconda(["verify", "prefix"]).success();
}

#[test]
fn layers_repodata_and_what_other_versions_left_go_by_age() {
    let (world, _server, packages) = filled();
    let cache = packages.parent().unwrap();
    let write = |name: &str, age: Duration| {
        let path = cache.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, name).unwrap();
        grow_old(&path, age);
        path
    };
    let old = [
        "layers-1/aa.json",
        "layers-1/aa",
        "repodata/0011223344556677.info.json",
        "repodata/0011223344556677-x.json",
        "repodata/shards/ab.msgpack.zst",
    ]
    .map(|name| write(name, DAY * 50));
    // A new state may confirm old data, and a layer that is used is not made again.
    let new = [
        ("layers-1/bb.json", DAY),
        ("layers-1/bb", DAY * 50),
        ("repodata/8899aabbccddeeff.info.json", DAY),
        ("repodata/8899aabbccddeeff-x.json", DAY * 50),
        ("tools/mlconda-uv/bin/uv", DAY * 50),
        ("uv/archive", DAY * 50),
        ("notes.txt", DAY * 50),
    ]
    .map(|(name, age)| write(name, age));
    let of_old_version = write("packages-2/00aa/info/index.json", DAY * 50).ancestors().nth(2).unwrap().to_owned();
    grow_old(&of_old_version, DAY * 50);
    fs_err::create_dir_all(packages.join(".new-killed/lib")).unwrap();
    assert!(
        prune(&world, &["--keep-locks", "env.lock", "--dry-run"]).success().stderr.contains("Would remove 1 package")
    );
    let size = world.mlconda(["cache", "size", "--json"]).success().stdout;
    let size: Value = serde_json::from_str(&size).unwrap();
    let names: Vec<&str> =
        size["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["packages", "layers", "repodata", "uv", "tools", "other"]);
    let pruned = prune(&world, &[]).success();
    assert!(pruned.stderr.contains("1 package (") && pruned.stderr.contains("1 layer ("), "{pruned}");
    assert!(old.iter().all(|path| !path.exists()), "{pruned}");
    assert!(new.iter().all(|path| path.exists()), "{pruned}");
    assert!(!cache.join("packages-2").exists() && !packages.join(".new-killed").exists());
    assert_eq!(number(&packages), 2);
}

#[test]
fn without_a_cache_there_is_nothing_to_do() {
    let world = crate::world();
    let before = world.tree();
    assert!(world.mlconda(["cache", "size"]).success().stderr.contains("There is nothing in the cache"));
    assert!(prune(&world, &[]).success().stderr.contains("There is nothing to remove"));
    assert_eq!(tree::difference(&before, &world.tree()), "");
}
