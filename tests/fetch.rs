//! `mlconda fetch` fills the cache, so that everything else works without a network.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    time::Duration,
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext},
    foreign_subdir,
    server::{Fault, Server},
    sha256_hex, tree,
    wheel::Sdist,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cache::entry,
    packages::contents,
    pip_install::{add, line as wheel_line, simple},
    prune, serve,
    stopping::{begin, stop},
    world,
};

const PACKAGES: [&str; 5] = ["tzdata", "python-3.11.9", "greet-2.0", "where-2.0", "archived"];

/// A context without a cache, with a lock of packages from a server. The path is where the cache will put the packages.
fn served(packages: &[&str]) -> (TestContext, Server, PathBuf) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    world.write_lock("env.lock", Some(&server.url("main")), packages);
    let cache = world.home().join(".cache/mlconda");
    (world, server, cache.join("packages-3"))
}

fn fetch(world: &TestContext, arguments: &[&str]) -> Outcome {
    world.mlconda([&["fetch"], arguments].concat())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_fetched_is_installed_without_a_network() {
    let (world, server, packages) = served(&PACKAGES);
    let prefix = world.path().join("prefix");
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    let expected = contents(&prefix);
    fs_err::remove_dir_all(&prefix).unwrap();
    let before = world.tree();
    let told = fetch(&world, &["env.lock", "--dry-run"]).success();
    assert_eq!(
        (told.stdout.lines().count(), told.stderr.trim()),
        (5, "5 packages would be fetched; 0 are in the cache.")
    );
    assert_eq!(tree::difference(&before, &world.tree()), "");
    assert_snapshot!(fetch(&world, &["env.lock"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Fetching 5 packages into the cache
    Fetched 5 packages ([SIZE]) into the cache `[TEMP]/home/.cache/mlconda`, in [TIME].
    ");
    assert_eq!(names(&world.home().join(".cache/mlconda")), ["packages-3"], "and nothing else");
    assert_eq!(names(&packages).len(), 5);
    server.forget();
    assert_snapshot!(fetch(&world, &["env.lock"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    All 5 packages are in the cache `[TEMP]/home/.cache/mlconda` already.
    ");
    assert!(server.requests().is_empty());
    drop(server);
    world.mlconda(["install", "env.lock", "-p", "../prefix", "--offline"]).success();
    assert_eq!(tree::difference(&expected, &contents(&prefix)), "");
}

#[test]
fn several_locks_of_any_platform_and_wheels() {
    let (world, server, packages) = served(&["tzdata", "where-2.0"]);
    let foreign = world.channels().main.archives(foreign_subdir()).unwrap();
    let foreign = foreign.iter().find(|name| name.starts_with("where-2.0")).unwrap();
    let digest = sha256_hex(fs_err::read(world.channels().main.path().join(foreign_subdir()).join(foreign)).unwrap());
    let text = format!(
        "# platform: {0}\n@EXPLICIT\n{1}/{0}/{foreign}#sha256:{digest}\n",
        foreign_subdir(),
        server.url("main")
    );
    world.write("foreign.lock", &text);
    let wheels = world.write_lock("wheels.lock", None, &["tzdata", "python-3.11.9"]);
    let sdist = Sdist::new("source", "1.0").write(&world.path().join("sources")).unwrap();
    let hash = sha256_hex(fs_err::read(&sdist).unwrap());
    let source = format!("# pip source @ file://{} --hash=sha256:{hash}\n", sdist.display());
    add(&wheels, &[wheel_line(&world, &simple("one", "1.0"), ""), source]);
    let told = fetch(&world, &["env.lock", "foreign.lock", "wheels.lock", "--json"]).success();
    let said: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&said["fetched"], &said["present"]), (&5.into(), &0.into()), "{told}");
    assert_eq!(said["left_out"], serde_json::json!(["source"]), "what is built is built at each installation");
    assert!(told.stderr.contains("warning: `source` cannot be in the cache"), "{told}");
    assert!(packages.join(digest).is_dir());
    entry(&packages, "site-packages/one/__init__.py");
}

#[test]
fn a_bundle_fills_it_too() {
    let (world, server, packages) = served(&PACKAGES);
    world.mlconda(["bundle", "env.lock", "-o", "env.bundle"]).success();
    drop(server);
    fetch(&world, &["env.bundle"]).success();
    assert_eq!(names(&packages).len(), 5);
    world.mlconda(["install", "env.lock", "-p", "prefix", "--offline"]).success();
}

#[test]
fn what_is_not_what_the_lock_says_does_not_get_in() {
    for fault in [Fault::Corrupted, Fault::Status(404), Fault::WrongLength] {
        let (world, server, packages) = served(&["tzdata", "where-2.0"]);
        server.fail("where-2.0", fault);
        let failed = fetch(&world, &["env.lock", "--downloads", "1"]).failure(1);
        assert!(failed.stderr.contains("where-2.0"), "{failed}");
        let left = names(&packages);
        assert!(left.len() <= 1 && left.iter().all(|name| !name.starts_with('.')), "{left:?}");
        assert_eq!(names(packages.parent().unwrap()), ["packages-3"]);
        server.recover();
        fetch(&world, &["env.lock"]).success();
        assert_eq!(names(&packages).len(), 2);
    }
}

#[test]
fn damage_in_the_cache_is_mended() {
    let (world, server, packages) = served(&["tzdata", "where-2.0"]);
    fetch(&world, &["env.lock"]).success();
    let file = entry(&packages, "share/where/message.txt").join("share/where/message.txt");
    fs_err::write(&file, "edited\n").unwrap();
    assert!(fetch(&world, &["env.lock"]).success().stderr.starts_with("All 2 packages"));
    let mended = fetch(&world, &["env.lock", "--verify-cache"]).success();
    assert!(mended.stderr.contains("was damaged in the cache and is downloaded again"), "{mended}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "where 2.0\n");
    drop(server);
    let offline = fetch(&world, &["env.lock", "--verify-cache", "--offline"]).success();
    assert!(offline.stderr.starts_with("All 2 packages"), "{offline}");
}

#[test]
fn a_signal_leaves_whole_packages_and_nothing_else() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (world, server, packages) = served(&["tzdata", "large"]);
        server.fail("large", Fault::Stalled);
        let running = begin(&world, &["fetch", "env.lock"]);
        server.wait_for("large");
        let (found, said) = stop(running, signal);
        assert_eq!(found, code, "{said}");
        assert!(said.contains("stopped; packages that have arrived stay in the cache"), "{said}");
        assert_eq!(names(packages.parent().unwrap()).iter().filter(|name| name.starts_with('.')).count(), 0, "{said}");
        server.recover();
        fetch(&world, &["env.lock"]).success();
        assert_eq!(names(&packages).len(), 2);
    }
}

#[test]
fn what_a_killed_one_leaves_goes_with_the_next() {
    let (world, server, packages) = served(&["tzdata", "large"]);
    server.fail("large", Fault::Stalled);
    let mut running = begin(&world, &["fetch", "env.lock"]);
    server.wait_for("large");
    running.kill().unwrap();
    running.wait().unwrap();
    server.recover();
    fetch(&world, &["env.lock"]).success();
    assert_eq!(names(&packages).len(), 2);
    assert!(!names(packages.parent().unwrap()).iter().any(|name| name.starts_with('.')));
}

#[test]
fn what_cannot_be_done_is_said() {
    let (world, server, _) = served(&["tzdata"]);
    world.write_environment(&["tzdata"]);
    let wrong = fetch(&world, &["environment.yml"]).failure(1);
    assert!(wrong.stderr.contains("lock it first: `mlconda lock environment.yml -o env.lock`"), "{wrong}");
    drop(server);
    let offline = fetch(&world, &["env.lock", "--offline"]).failure(1);
    assert!(offline.stderr.contains("network access is disabled"), "{offline}");
    let in_the_way = world.write("file", "");
    let cache = in_the_way.join("cache");
    let wrong = world.mlconda_with(["fetch", "env.lock"], &[("MLCONDA_CACHE_DIR", cache.to_str().unwrap())]).failure(1);
    assert!(wrong.stderr.contains("set `MLCONDA_CACHE_DIR` to a directory that can be written to"), "{wrong}");
}

/// Runs mlconda so that the modes of directories apply to it, even if root runs the tests.
pub(crate) fn without_rights(world: &TestContext, arguments: &[&str]) -> Outcome {
    without_rights_and(world, arguments, &[])
}

/// The same with these environment variables.
pub(crate) fn without_rights_and(world: &TestContext, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = world.mlconda_command(arguments);
    command.envs(variables.iter().copied());
    if rustix::process::geteuid().is_root() {
        command.uid(prune::NOBODY).gid(prune::NOBODY);
    }
    world.outcome(&mut command)
}

/// It asked for a prefix that can be written to, even if there was nothing to fetch.
#[test]
fn a_cache_that_cannot_be_written_to_but_has_everything_was_an_error() {
    let (world, server, packages) = served(&["tzdata", "where-2.0"]);
    fetch(&world, &["env.lock"]).success();
    world.write_lock("more.lock", Some(&server.url("main")), &["tzdata", "python-3.11.9"]);
    server.forget();
    prune::all_grow_old(&packages, Duration::from_secs(3600));
    fs_err::set_permissions(world.path(), Permissions::from_mode(0o755)).unwrap();
    let set_mode = |mode| fs_err::set_permissions(&packages, Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let run = |arguments: &[&str]| without_rights(&world, arguments);
    let fetched = [run(&["fetch", "env.lock"]), run(&["fetch", "env.lock", "--verify-cache"])];
    let failed = [run(&["fetch", "more.lock"]), run(&["cache", "prune", "--older-than", "1m"])];
    let requests = server.requests();
    let file = entry(&packages, "share/where/message.txt").join("share/where/message.txt");
    fs_err::write(&file, "edited\n").unwrap();
    let damaged = run(&["fetch", "env.lock", "--verify-cache"]);
    set_mode(0o755);
    for told in fetched.map(Outcome::success) {
        assert!(told.stderr.starts_with("All 2 packages are in the cache"), "{told}");
    }
    assert!(requests.is_empty(), "nothing is fetched that cannot be kept");
    let [unkept, unremoved] = failed.map(|told| told.failure(1));
    assert_snapshot!(unkept, @"
    exit code 1
    --- stdout
    --- stderr
    error: cannot use the cache `[TEMP]/home/.cache/mlconda`: permission denied
    hint: set `MLCONDA_CACHE_DIR` to a directory that can be written to
    ");
    assert_snapshot!(unremoved, @"
    exit code 1
    --- stdout
    --- stderr
    error: cannot use the cache `[TEMP]/home/.cache/mlconda`: permission denied
    hint: run the command as a user who can write to it, or name another cache with `MLCONDA_CACHE_DIR`
    ");
    assert_snapshot!(damaged.failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    warning: `where-2.0-h4bc722e_0.conda` was damaged in the cache and is downloaded again: `share/where/message.txt` has another size
    error: cannot use the cache `[TEMP]/home/.cache/mlconda`: permission denied
    hint: set `MLCONDA_CACHE_DIR` to a directory that can be written to
    ");
}
