//! A lock over time: which packages stay when the channel or the environment changes, whether the lock is still valid,
//! how two locks differ, and how two are merged.

use insta::assert_snapshot;
use mlconda_test::{
    channel::Channel,
    context::{Outcome, TestContext, argument},
    foreign_subdir, host_subdir,
    package::{Noarch, PackageBuilder},
};

use crate::world;

/// A package with only a name, a version and dependencies.
fn package(stem: &str, depends: &[&str]) -> PackageBuilder {
    let (name, version) = stem.rsplit_once('-').unwrap();
    let package = PackageBuilder::new(name, version).noarch(Noarch::Generic);
    depends.iter().fold(package, |package, need| package.depends(need))
}

/// A context with a channel of its own, to which packages can be added, and an environment that asks for `app`.
fn world_with_channel() -> (TestContext, Channel) {
    let world = world();
    let packages = [package("app-1.0", &["lib <2"]), package("lib-1.0", &["base"]), package("base-1.0", &[])];
    let channel = Channel::write(world.work().join("channel"), &packages, &[]).unwrap();
    ask(&world, "  - app\n");
    (world, channel)
}

/// Adds newer packages to the channel.
fn grow(channel: &Channel) {
    let packages = [
        package("app-2.0", &["lib >=2"]),
        package("lib-1.1", &["base"]),
        package("lib-2.0", &["base", "extra"]),
        package("base-1.1", &[]),
        package("extra-1.0", &[]),
        package("tool-1.0", &["lib <2"]),
        package("tool-2.0", &["lib >=2"]),
    ];
    channel.add(&packages).unwrap();
}

fn ask(world: &TestContext, dependencies: &str) {
    world.write("environment.yml", &format!("name: ml\nchannels:\n  - ./channel\ndependencies:\n{dependencies}"));
}

/// The packages of a lock: `name-version`.
fn packages(lock: &str) -> Vec<String> {
    let lines = lock.lines().skip_while(|line| *line != "@EXPLICIT").skip(1);
    let names = lines.map(|line| line.split(".conda").next().unwrap().rsplit('/').next().unwrap());
    let mut names: Vec<String> = names.map(|name| name.rsplit_once('-').unwrap().0.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_lock_changes_no_more_than_it_must_and_says_why() {
    let (world, channel) = world_with_channel();
    world.lock(&[]).success();
    let first = world.read("env.lock");
    grow(&channel);
    assert_snapshot!(world.lock(&[]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    3 packages ([SIZE] to download) for [HOST] locked; `env.lock` is up to date, in [TIME]
    ");
    assert_eq!(world.read("env.lock"), first);
    ask(&world, "  - app\n  - tool\n");
    assert_snapshot!(world.lock(&[]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    + tool  1.0: `tool` is asked for by environment.yml:6
      spec `tool`: nothing → `tool`
    4 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    ask(&world, "  - tool >=2\n");
    assert_snapshot!(world.lock(&[]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    - app    1.0: nothing needs it any more
    + extra  1.0: lib 2.0 needs `extra`
      lib    1.0 → 2.0: tool 2.0 needs `lib >=2`
      tool   1.0 → 2.0: `tool >=2` is asked for by environment.yml:5
      spec `app`: `app` → nothing
      spec `tool`: `tool` → `tool >=2`
    4 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    fs_err::remove_file(channel.path().join("noarch/base-1.0-hd8ed1ab_0.conda")).unwrap();
    channel.add(&[]).unwrap();
    assert_snapshot!(world.lock(&[]).success(), @"
    exit code 0
    --- stdout
    --- stderr
      base  1.0 → 1.1: the old one is no longer in the channel
    4 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
}

#[test]
fn packages_are_renewed_by_name_or_all() {
    let (world, channel) = world_with_channel();
    world.lock(&[]).success();
    grow(&channel);
    let outcome = world.lock(&["--update", "lib", "--dry-run", "--json"]).success();
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let changes = told["locks"][0]["changes"].as_array().unwrap();
    let changes: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {} {}", change["name"], change["new"]["version"], change["why"]))
        .collect();
    assert_snapshot!(changes.join("\n"), @r#"
    "app" "2.0" "the old one needs `lib <2`"
    "extra" "1.0" "lib 2.0 needs `extra`"
    "lib" "2.0" "renewed with `--update`"
    "#);
    assert_snapshot!(world.lock(&["--update", "base"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
      base  1.0 → 1.1: renewed with `--update`
    3 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_snapshot!(world.lock(&["--update"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
      app    1.0 → 2.0: renewed with `--update`
    + extra  1.0: lib 2.0 needs `extra`
      lib    1.0 → 2.0: renewed with `--update`
    4 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_eq!(packages(&world.read("env.lock")), ["app-2.0", "base-1.1", "extra-1.0", "lib-2.0"]);
    assert_snapshot!(world.lock(&["--update", "bass"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `bass` is in no lock and not asked for, so there is nothing to update
    hint: did you mean `base`?
    ");
    assert_snapshot!(world.lock(&["--update", "environment.yml"]).failure(2), @"
    exit code 2
    --- stdout
    --- stderr
    error: `environment.yml` after `--update` is read as a package name: put the file before `--update`
    ");
}

#[test]
fn what_is_no_lock_is_replaced_and_a_lock_that_cannot_be_read_is_not() {
    let (world, _channel) = world_with_channel();
    world.write("env.lock", "notes\n");
    assert_snapshot!(world.lock(&[]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    warning: `env.lock` is not a lock; the new lock replaces it
    3 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    world.write("env.lock", "@EXPLICIT\nhttps://example.org/oops\n");
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the existing lock cannot be read, so none of its packages can be kept: [TEMP]/work/env.lock:2: a package's file name ends with `.conda` or `.tar.bz2`
      https://example.org/oops
    hint: repair it, or lock without it: `--update`
    ");
    world.lock(&["--update"]).success();
}

#[test]
fn a_lock_is_checked_against_what_is_asked_for() {
    let (world, _channel) = world_with_channel();
    assert_snapshot!(world.lock(&["--check"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` does not satisfy `environment.yml`:
      the file does not exist
    hint: lock again, with as few changes as possible: `mlconda lock environment.yml -o env.lock`
    ");
    world.lock(&[]).success();
    world.write(
        "environment.yml",
        "# Nothing but the layout is new.\nchannels: [./channel]\nname: ml\ndependencies: ['app >=1']\n",
    );
    assert_snapshot!(world.lock(&["--check"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    `env.lock` satisfies `environment.yml`.
    ");
    ask(&world, "  - app >=2\n  - tool\nvariables:\n  A: b\n");
    assert_snapshot!(world.lock(&["--check"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` does not satisfy `environment.yml`, for 3 reasons:
      environment.yml:5:5: `app >=2` is asked for, and app 1.0 hd8ed1ab_0 is locked
      environment.yml:6:5: `tool` is asked for, and nothing of it is locked
      environment.yml:8:3: the variable `A` is not in the lock
    hint: lock again, with as few changes as possible: `mlconda lock environment.yml -o env.lock`
    ");
    let outcome = world.lock(&["--check", "--json"]).failure(1);
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (told["locks"][0]["answers"].as_bool(), told["locks"][0]["reasons"].as_array().unwrap().len()),
        (Some(false), 3)
    );
    // Options of the command line are compared, too.
    ask(&world, "  - app\n");
    assert_snapshot!(world.lock(&["--check", "--channel-priority", "flexible"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` does not satisfy `environment.yml`:
      it was locked with `--channel-priority strict`, not `flexible`
    hint: lock again, with as few changes as possible: `mlconda lock environment.yml -o env.lock`
    ");
}

#[test]
fn every_platform_of_the_environment_needs_its_lock() {
    let (world, _channel) = world_with_channel();
    let (host, foreign) = (host_subdir(), foreign_subdir());
    ask(&world, &format!("  - app\nplatforms: [{host}, {foreign}]\n"));
    world.lock(&[]).success();
    world.lock(&["--check"]).success();
    fs_err::remove_file(world.work().join(format!("env.{foreign}.lock"))).unwrap();
    assert_snapshot!(world.lock(&["--check"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    `env.[HOST].lock` satisfies `environment.yml`.
    error: `env.[FOREIGN].lock` does not satisfy `environment.yml`:
      the file does not exist
    hint: lock again, with as few changes as possible: `mlconda lock environment.yml -o env.lock`
    ");
    // One file for all platforms. Its format is detected from its contents.
    world.lock(&["--format", "pixi"]).success();
    world.lock(&["--check", "-o", "pixi.lock"]).success();
    ask(&world, &format!("  - app >=2\nplatforms: [{host}, {foreign}]\n"));
    assert_snapshot!(world.lock(&["--check", "-o", "pixi.lock"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `pixi.lock` for [HOST] does not satisfy `environment.yml`:
      environment.yml:5:5: `app >=2` is asked for, and app 1.0 hd8ed1ab_0 is locked
    `pixi.lock` for [FOREIGN] does not satisfy `environment.yml`:
      environment.yml:5:5: `app >=2` is asked for, and app 1.0 hd8ed1ab_0 is locked
    hint: lock again, with as few changes as possible: `mlconda lock environment.yml -o pixi.lock --format pixi`
    ");
    assert_snapshot!(world.lock(&["pixi.lock", "--check"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `pixi.lock` is a lock; `mlconda lock` needs an environment file
    hint: give the environment.yml, and the lock with `-o pixi.lock`; `mlconda convert` converts locks
    ");
}

#[test]
fn install_locked_installs_the_lock_beside_the_environment_or_nothing() {
    let (world, channel) = world_with_channel();
    assert_snapshot!(world.mlconda(["install", "--locked", "environment.yml"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: there is no lock beside `environment.yml`: none of `environment.lock`, `environment.[HOST].lock`, `env.lock` and `env.[HOST].lock`
    hint: lock it: `mlconda lock environment.yml -o env.lock`
    ");
    world.lock(&[]).success();
    grow(&channel);
    world.mlconda(["install", "--locked", "environment.yml"]).success();
    assert!(world.named_prefix("ml").join("conda-meta/app-1.0-hd8ed1ab_0.json").is_file());
    ask(&world, "  - app >=2\n");
    assert_snapshot!(world.mlconda(["install", "--locked", "environment.yml"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` does not satisfy `environment.yml`:
      environment.yml:5:5: `app >=2` is asked for, and app 1.0 hd8ed1ab_0 is locked
    hint: lock it: `mlconda lock environment.yml -o env.lock`
    ");
    assert!(world.named_prefix("ml").join("conda-meta/app-1.0-hd8ed1ab_0.json").is_file());
}

/// A context with `old.lock`, which is installed, and `env.lock`, which is newer and from another environment.
fn old_and_new() -> TestContext {
    let (world, channel) = world_with_channel();
    world.lock(&["-o", "old.lock"]).success();
    world.mlconda(["install", "old.lock"]).success();
    grow(&channel);
    ask(&world, "  - app >=2\nvariables:\n  A: b\n");
    world.lock(&["--update"]).success();
    world
}

#[test]
fn two_locks_are_compared() {
    let world = old_and_new();
    assert_snapshot!(world.mlconda(["diff", "old.lock", "env.lock"]).success(), @"
    exit code 0
    --- stdout
      app    1.0 → 2.0
      base   1.0 → 1.1
    + extra  1.0
      lib    1.0 → 2.0
      spec `app`: `app` → `app >=2`
      variable `A`: nothing → `b`
    4 packages differ (1 added and 3 upgraded), and 2 settings; 0 the same; [SIZE] more to download.
    --- stderr
    ");
    assert_snapshot!(world.mlconda(["diff", "old.lock", "env.lock", "--markdown"]).success(), @"
    exit code 0
    --- stdout
    4 packages differ (1 added and 3 upgraded), and 2 settings; 0 the same; [SIZE] more to download.

    | | package | before | after |
    |---|---|---|---|
    | upgraded | `app` | 1.0 | 2.0 |
    | upgraded | `base` | 1.0 | 1.1 |
    | added | `extra` |  | 1.0 |
    | upgraded | `lib` | 1.0 | 2.0 |

    - spec `app`: `app` → `app >=2`
    - variable `A`: nothing → `b`
    --- stderr
    ");
    let outcome = world.mlconda(["diff", "old.lock", "env.lock", "--json"]).success();
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let lib = &told["platforms"][0]["changes"][3];
    assert_eq!(
        (&lib["name"], &lib["kind"], &lib["old"]["version"]),
        (&"lib".into(), &"upgraded".into(), &"1.0".into())
    );
}

#[test]
fn prefixes_and_environments_are_compared_too() {
    let world = old_and_new();
    let prefix = world.named_prefix("ml");
    assert_snapshot!(world.mlconda(["diff", argument(&prefix), "old.lock", "--exit-code"]).success(), @"
    exit code 0
    --- stdout
    No differences: 3 packages.
    --- stderr
    ");
    assert_snapshot!(world.mlconda(["diff", argument(&prefix), "env.lock", "--exit-code", "--markdown"]).failure(1), @"
    exit code 1
    --- stdout
    4 packages differ (1 added and 3 upgraded), and 1 setting; 0 the same; [SIZE] more to download.

    | | package | before | after |
    |---|---|---|---|
    | upgraded | `app` | 1.0 | 2.0 |
    | upgraded | `base` | 1.0 | 1.1 |
    | added | `extra` |  | 1.0 |
    | upgraded | `lib` | 1.0 | 2.0 |

    - variable `A`: nothing → `b`
    --- stderr
    ");
    assert_snapshot!(world.mlconda(["diff", "old.lock", "environment.yml", "--exit-code"]).failure(1), @"
    exit code 1
    --- stdout
    environment.yml:5:5: `app >=2` is asked for, and app 1.0 hd8ed1ab_0 is locked
    environment.yml:7:3: the variable `A` is not in the lock
    The lock does not satisfy the environment: 2 reasons.
    --- stderr
    ");
    world.write("other.yml", "channels: [./channel]\ndependencies: [tool, 'app >=1']\n");
    assert_snapshot!(world.mlconda(["diff", "environment.yml", "other.yml"]).success(), @"
    exit code 0
    --- stdout
      app   >=2 → >=1
    + tool  any version
      name: `ml` → nothing
      variable `A`: `b` → nothing
    2 packages differ (1 added and 1 changed), and 2 settings; 0 the same.
    --- stderr
    ");
}

/// Runs git in the working directory, without any configuration of the user.
fn git(world: &TestContext, arguments: &[&str]) -> Outcome {
    let mut command = world.command("git");
    command.args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]);
    command.args(["-c", "core.pager=cat", "-c", "merge.conflictStyle=merge"]);
    command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    world.outcome(&mut command)
}

/// A repository with an environment and its lock.
fn repository(world: &TestContext) {
    git(world, &["init", "-q"]).success();
    world.write(".gitignore", "channel\n");
    world.lock(&[]).success();
    commit(world, "first");
}

fn commit(world: &TestContext, message: &str) {
    git(world, &["add", "."]).success();
    git(world, &["commit", "-q", "-m", message]).success();
}

#[test]
fn git_shows_what_differs_between_locks() {
    let (world, channel) = world_with_channel();
    repository(&world);
    grow(&channel);
    world.lock(&["--update", "app"]).success();
    let textconv = format!("diff.mlconda.textconv={} diff --textconv", crate::program());
    world.write(".gitattributes", "*.lock diff=mlconda\n");
    let shown = git(&world, &["-c", &textconv, "diff", "--no-color", "-U0"]).success().stdout;
    let shown: Vec<&str> = shown.lines().filter(|line| line.starts_with(['+', '-'])).skip(2).collect();
    assert_snapshot!(world.normal(&shown.join("\n")), @"
    -app 1.0 hd8ed1ab_0 file://[TEMP]/work/channel
    +app 2.0 hd8ed1ab_0 file://[TEMP]/work/channel
    -lib 1.0 hd8ed1ab_0 file://[TEMP]/work/channel
    +extra 1.0 hd8ed1ab_0 file://[TEMP]/work/channel
    +lib 2.0 hd8ed1ab_0 file://[TEMP]/work/channel
    ");
}

#[test]
fn a_lock_that_two_branches_changed_becomes_one() {
    let (world, channel) = world_with_channel();
    ask(&world, "  - app\n  - base\n");
    repository(&world);
    // One branch adds a tool and gets a newer base; the other one updates lib, which was added later.
    channel.add(&[package("base-1.1", &[]), package("tool-1.0", &["lib <2"])]).unwrap();
    git(&world, &["checkout", "-q", "-b", "one"]).success();
    ask(&world, "  - tool\n  - app\n  - base >=1.1\n");
    world.lock(&[]).success();
    commit(&world, "tool");
    git(&world, &["checkout", "-q", "main"]).success();
    channel.add(&[package("lib-1.1", &["base"])]).unwrap();
    git(&world, &["checkout", "-q", "-b", "two"]).success();
    world.lock(&["--update", "lib"]).success();
    commit(&world, "lib");
    // Packages that are newer than both branches.
    channel.add(&[package("lib-1.2", &["base"]), package("base-1.2", &[]), package("tool-1.3", &["lib <2"])]).unwrap();
    assert_eq!(git(&world, &["merge", "-q", "one"]).code, 1);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` holds git's conflict markers
    hint: `mlconda lock --resolve-conflict` solves again, and keeps the packages of both sides where it can
    ");
    assert_snapshot!(world.lock(&["--check"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/env.lock` holds git's conflict markers
    hint: `mlconda lock --resolve-conflict` solves again, and keeps the packages of both sides where it can
    ");
    assert_snapshot!(world.lock(&["--resolve-conflict"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
      base  1.0 → 1.1: taken from the other side
      spec `base`: `base` → `base >=1.1`
      spec `tool`: nothing → `tool`
    4 packages ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_eq!(packages(&world.read("env.lock")), ["app-1.0", "base-1.1", "lib-1.1", "tool-1.0"]);
    world.lock(&["--check"]).success();
    commit(&world, "merged");
    world.write("environment.yml", "<<<<<<< HEAD\nname: a\n=======\nname: b\n>>>>>>> one\ndependencies: [app]\n");
    assert_snapshot!(world.lock(&["--resolve-conflict"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:1:1: git's conflict markers: the file holds two versions of itself
      |
    1 | <<<<<<< HEAD
      | ^^^^^^^
      = help: keep what should hold, remove the markers, then `mlconda lock --resolve-conflict` makes one lock of two
    ");
}
