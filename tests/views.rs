//! `tree`, `why`, `sbom`: the packages of a lock or a prefix, and the reasons for them. (`manual` runs the examples of
//! the docs.)

use insta::assert_snapshot;
use mlconda_test::context::TestContext;
use serde_json::Value;

use crate::{serve, world};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A context with a lock of `frames` and its dependencies.
fn locked() -> TestContext {
    let world = world();
    world.locked("env.lock", &["python=3.11", "frames"]);
    world
}

/// An explicit lock does not contain dependencies, and its server is gone. They are read from the prefix or the package
/// cache; without these, the output says that they are unknown.
#[test]
fn what_a_lock_needs_is_found_without_its_channel() {
    let server = serve();
    let world = world();
    let packages = ["tzdata", "python-3.11.9", "greet-1.1", "pip"];
    let lock = world.write_lock("env.lock", Some(&server.url("main")), &packages);
    let text = fs_err::read_to_string(&lock).unwrap();
    fs_err::write(&lock, format!("# mlconda lock: 1\n# name: small\n{text}")).unwrap();
    world.mlconda(["install", "env.lock"]).success();
    let port = server.url("main");
    drop(server);
    let names = |text: &str| -> Vec<String> {
        let name =
            |line: &str| line.trim_start_matches(['│', '├', '└', '─', ' ']).split(' ').next().unwrap().to_owned();
        text.lines().skip(1).map(name).collect()
    };
    let of_prefix = world.mlconda(["tree", "env.lock", "--offline"]).success();
    assert_eq!(names(&of_prefix.stdout), ["greet", "python", "tzdata", "pip", "python"], "{of_prefix}");
    assert_eq!(of_prefix.stderr, "");
    fs_err::remove_dir_all(world.root_prefix()).unwrap();
    let unknown = world.mlconda(["tree", "env.lock", "--offline"]).success();
    assert!(names(&unknown.stdout).len() == 4 && unknown.stdout.contains("has unknown dependencies"), "{unknown}");
    let told = world.normal(&unknown.stderr).replace(&world.normal(&port), "[URL]");
    assert_snapshot!(told, @"
    warning: no record was found for 4 packages (such as `tzdata-2024a-hd8ed1ab_0.conda`, `python-3.11.9-h4bc722e_0_cpython.conda` and `greet-1.1-pyhd8ed1ab_0.conda`): their dependencies and licences are unknown
      because: `[URL]/[HOST]/` is not cached, and network access is disabled
      because: `[URL]/noarch/` is not cached, and network access is disabled
    ");
}

/// If the environment.yml has changed since the lock was made, its lines are not used to explain the lock.
#[test]
fn lines_are_those_of_the_environment_that_was_locked() {
    let world = locked();
    let why = |arguments: &[&str]| world.mlconda([&["why", "libarrays"], arguments].concat()).success();
    assert!(why(&[]).stdout.contains("\nframes (environment.yml:6)\n"));
    world.write_environment(&["frames >=2", "python=3.11"]);
    assert!(why(&[]).stdout.contains("\nframes\n"), "{}", why(&[]));
    let told = why(&["-f", "environment.yml"]);
    assert!(told.stdout.contains("\nframes >=2 (environment.yml:5)\n"), "{told}");
    assert!(told.stderr.contains("was not made from `environment.yml`"), "{told}");
}

#[test]
fn programs_read_the_whole_graph() {
    let world = locked();
    let tree = json(&world.mlconda(["tree", "--json"]).success().stdout);
    let package =
        |name: &str| tree["packages"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!((&tree["name"], tree["packages"].as_array().unwrap().len()), (&"small".into(), 7));
    let frames = package("frames");
    assert_eq!(frames["asked"], serde_json::json!([{"spec": "frames", "file": "environment.yml", "line": 6}]));
    assert_eq!(
        (&frames["weight"]["packages"], &frames["known"], &frames["kind"]),
        (&4.into(), &true.into(), &"conda".into())
    );
    assert_eq!(frames["needs"][0], serde_json::json!({"name": "arrays", "spec": "arrays >=1.26"}));
    let why = json(&world.mlconda(["why", "python", "--all", "--json"]).success().stdout);
    let ways: Vec<usize> =
        why["ways"].as_array().unwrap().iter().map(|way| way["packages"].as_array().unwrap().len()).collect();
    // The chains: requested itself; by frames, through arrays and directly; by pip.
    assert_eq!((ways, &why["more"]), (vec![1, 3, 2, 2], &false.into()));
}

#[test]
fn bills_are_the_same_for_the_same_lock() {
    let world = locked();
    let bill = |arguments: &[&str], variables: &[(&str, &str)]| {
        let outcome = world.mlconda_with([&["sbom"], arguments].concat(), variables).success();
        assert_eq!(outcome.stderr, "");
        outcome.stdout
    };
    for format in ["cyclonedx", "spdx"] {
        let text = bill(&["env.lock", "--format", format], &[]);
        assert_eq!(text, bill(&["env.lock", "--format", format], &[("TZ", "Asia/Tokyo")]));
        assert!(!text.contains(world.channels().directory().to_str().unwrap()), "{text}");
        assert!(text.contains("pkg:conda/python@3.11.9?build="), "{text}");
        let at = bill(&["env.lock", "--format", format], &[("SOURCE_DATE_EPOCH", "1000000000")]);
        assert!(at.contains("\"2001-09-09T01:46:40Z\""), "{at}");
    }
    world.mlconda(["install", "env.lock"]).success();
    let (lock, prefix) = (json(&bill(&["env.lock"], &[])), json(&bill(&["-n", "small"], &[])));
    assert_eq!(lock["dependencies"], prefix["dependencies"]);
    let licences = |bill: &Value| -> Vec<Value> {
        bill["components"].as_array().unwrap().iter().map(|component| component["licenses"].clone()).collect()
    };
    assert_eq!(licences(&lock), licences(&prefix));
    assert_eq!(licences(&lock)[0][0]["license"]["id"], "BSD-3-Clause");
    let site = world.named_prefix("small").join("lib/python3.11/site-packages/torchlike-2.0.dist-info");
    fs_err::create_dir_all(&site).unwrap();
    fs_err::write(site.join("METADATA"), "Name: torchlike\nVersion: 2.0\n").unwrap();
    let told = world.mlconda(["sbom", "-n", "small"]).success().stderr;
    assert!(told.contains("pip has installed 1 package that no record lists: `torchlike==2.0`"), "{told}");
    assert_snapshot!(world.mlconda(["sbom", "env.lock", "-o", "no/such.json"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: cannot write `no/such.json`: entity not found
    hint: name a file in a directory that can be written to, with `-o`
    ");
}
