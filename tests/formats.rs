//! Locks in the formats of other tools: each format can be installed, and converted to the others.

mod explicit;

use insta::assert_snapshot;
use mlconda_test::context::TestContext;

use crate::world;

/// Locks of two platforms in the three formats: `env.*.lock`, `conda-lock.yml`, `pixi.lock`.
fn locked() -> TestContext {
    let world = world();
    world.write(
        "environment.yml",
        "name: ml\nchannels: ['${CHANNELS}/main']\nplatforms: [linux-64, osx-arm64]\ndependencies:\n  - where=1.0\n  \
         - greet\n  - python=3.11\nvariables:\n  SWITCH: 'on'\n",
    );
    world.lock(&[]).success();
    world.lock(&["--format", "conda-lock"]).success();
    world.lock(&["--format", "pixi"]).success();
    world
}

/// The dry run of an installation, without the name of the lock file.
fn plan(world: &TestContext, file: &str) -> String {
    let outcome = world.mlconda(["install", file, "-p", "planned", "--dry-run", "--json", "--platform", "linux-64"]);
    outcome.success().stdout
}

#[test]
fn every_format_installs_the_same() {
    let world = locked();
    let wanted = plan(&world, "env.linux-64.lock");
    assert!(wanted.contains("greet-") && wanted.contains("python-3.11.9"), "{wanted}");
    assert_eq!(plan(&world, "pixi.lock"), wanted);
    assert_eq!(plan(&world, "conda-lock.yml"), wanted, "a lock is told from an environment.yml by what is in it");
    // The environment's name and variables are in comments.
    world.mlconda(["install", "pixi.lock"]).success();
    let outcome = world.mlconda(["run", "-n", "ml", "/bin/sh", "-c", "echo $SWITCH; where-am-i"]).success();
    assert!(outcome.stdout.starts_with("on\n"), "{outcome}");
    assert!(world.mlconda(["verify", "-n", "ml", "conda-lock.yml"]).success().stdout.is_empty());
}

#[test]
fn a_lock_that_is_there_keeps_its_format() {
    let world = locked();
    for file in ["pixi.lock", "conda-lock.yml"] {
        let before = world.read(file);
        world.lock(&["-o", file]).success();
        assert_eq!(world.read(file), before);
    }
}

#[test]
fn a_lock_comes_back_from_every_format() {
    let world = locked();
    let one = world.read("env.linux-64.lock");
    for (file, there) in [("pixi.lock", "conda-lock"), ("conda-lock.yml", "pixi")] {
        world.mlconda(["convert", file, "--to", there, "-o", "there"]).success();
        world.mlconda(["convert", "there", "--to", "explicit", "--platform", "linux-64", "-o", "back.lock"]).success();
        let sizeless =
            |text: &str| text.lines().filter(|line| !line.starts_with("# size")).collect::<Vec<_>>().join("\n");
        assert_eq!(sizeless(&world.read("back.lock")), sizeless(&one), "{file}");
    }
}

#[test]
fn what_is_installed_becomes_a_lock() {
    let world = locked();
    world.mlconda(["install", "env.linux-64.lock", "env.osx-arm64.lock"]).success();
    let prefix = world.named_prefix("ml");
    let outcome = world.mlconda(["lock", "--from-prefix", prefix.to_str().unwrap(), "-o", "again.lock"]).success();
    assert_snapshot!(world.normal(&outcome.stderr), @"
    warning: an explicit lock cannot contain dependencies, licences and times of packages
    5 packages of `[TEMP]/root/envs/ml` are locked in `again.lock`.
    ");
    let packages = |text: String| text.split_once("@EXPLICIT\n").unwrap().1.to_owned();
    assert_eq!(packages(world.read("again.lock")), packages(world.read("env.linux-64.lock")));
    let meta = prefix.join("conda-meta");
    let outcome = world.mlconda(["convert", meta.to_str().unwrap(), "--to", "pixi"]).success();
    assert!(outcome.stdout.contains("  depends:\n  - python >=3.8\n"), "{outcome}");
}

#[test]
fn what_is_lost_and_what_is_not_there_is_said() {
    let world = locked();
    let outcome = world.mlconda(["convert", "env.linux-64.lock", "--to", "conda-lock", "-o", "out.yml"]).success();
    assert_snapshot!(world.normal(&outcome.stderr), @"
    warning: conda-lock.yml cannot contain the environment's name, variables and virtual packages: mlconda keeps them in comments
    warning: conda-lock.yml cannot contain packages' sizes, times, licences and `constrains`
    `env.[HOST].lock` is converted to `out.yml`.
    ");
    assert!(world.read("out.yml").contains("  dependencies:\n    python: '>=3.8'\n"), "what the channel says");
    // The channel of this lock is gone.
    world.write("old.lock", &world.read("env.linux-64.lock").replace("/main/", "/gone/"));
    let outcome = world.mlconda(["convert", "old.lock", "--to", "conda-lock", "--offline", "-o", "out.yml"]).success();
    assert_snapshot!(world.normal(&outcome.stderr), @"
    warning: conda-lock.yml cannot contain the environment's name, variables and virtual packages: mlconda keeps them in comments
    warning: what packages depend on is not known for 5 of 5 packages, and left out
    warning: the md5 is not known for 5 of 5 packages: conda-lock itself needs all of them
    `old.lock` is converted to `out.yml`.
    ");
    world.write("pixi.lock.bak", &world.read("pixi.lock"));
    world.write("pixi.lock", "version: 6\n<<<<<<< a\nenvironments: {}\n=======\nenvironments: []\n>>>>>>> b\n");
    let outcome = world.mlconda(["install", "pixi.lock"]).failure(1);
    assert_snapshot!(world.normal(&outcome.stderr), @"
    error: `[TEMP]/work/pixi.lock` holds git's conflict markers
    hint: `mlconda lock --format pixi --resolve-conflict` solves again, and keeps the packages of both sides where it can
    ");
    world.write("pixi.lock", &world.read("pixi.lock.bak"));
    let outcome = world.mlconda(["convert", "pixi.lock", "--to", "explicit"]).failure(1);
    assert_snapshot!(world.normal(&outcome.stderr), @"
    error: `[TEMP]/work/pixi.lock` holds locks for several platforms: `[HOST]`, `[FOREIGN]`
    hint: choose one with `--platform PLATFORM`
    ");
    let outcome = world.mlconda(["install", "pixi.lock", "--environment", "gpu"]).failure(1);
    assert_snapshot!(world.normal(&outcome.stderr), @"
    error: `[TEMP]/work/pixi.lock` has no environment `gpu`; it has `default`
    hint: choose one with `--environment NAME`
    ");
    let outcome = world.mlconda(["install", "pixi.lock", "--platform", "win-64"]).failure(1);
    assert_snapshot!(world.normal(&outcome.stderr), @"
    error: `[TEMP]/work/pixi.lock` has no lock for win-64; it has `[HOST]`, `[FOREIGN]`
    hint: make one with `mlconda lock --platform win-64`
    ");
    world.write("broken.lock", "version: 6\nenvironments: {}\npackages:\n- conda: https://h/a.conda\n  sha256: [1\n");
    let outcome = world.mlconda(["install", "broken.lock"]).failure(1);
    assert_snapshot!(world.normal(&outcome.stderr), @"
    error: [TEMP]/work/broken.lock:5:13: the YAML is broken: while parsing a flow sequence, expected ',' or ']'
      |
    5 |   sha256: [1
      |             ^
      = help: check the brackets: what is opened is closed, and commas stand between the entries
    ");
}

#[test]
fn categories_are_chosen() {
    let world = locked();
    let text = world.read("conda-lock.yml");
    let (head, packages) = text.split_once("package:\n").unwrap();
    let dev = packages.split("- name: ").map(|package| match package.split_once('\n') {
        Some((name, rest)) if name == "greet" => {
            format!("- name: {name}\n{}", rest.replace("category: main", "category: dev"))
        }
        Some((name, rest)) => format!("- name: {name}\n{rest}"),
        None => String::new(),
    });
    world.write("conda-lock.yml", &format!("{head}package:\n{}", dev.collect::<String>()));
    assert!(!plan(&world, "conda-lock.yml").contains("greet-"));
    let arguments = ["install", "conda-lock.yml", "-p", "planned", "--dry-run", "--platform", "linux-64"];
    let outcome = world.mlconda(arguments).success();
    assert!(outcome.stderr.contains("has the category `dev` too: `--with-category dev` adds it"), "{outcome}");
    for option in ["--dev", "--with-category=dev", "--category=dev"] {
        let outcome = world.mlconda(arguments.iter().chain(&[option])).success();
        assert!(outcome.stderr.contains("+ greet-2.0"), "{option}: {outcome}");
    }
}
