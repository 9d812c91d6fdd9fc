//! Dependencies of pip packages: how they are shown, and written into the formats of other tools.

use insta::assert_snapshot;

use super::*;

/// An index of packages with dependencies, and an environment.yml that requests some of them.
fn needy(world: &TestContext) -> Server {
    let app = Wheel::new("My.App", "1.0").requires("dep[fast]>=1,<2").requires("greet (>=1)").requires_python(">=3.8");
    let app = app.requires("dep; sys_platform == 'win32'").extra("docs", "other").metadata("License-Expression: MIT");
    let dep = Wheel::new("dep", "1.5").extra("fast", "speedups").metadata("License: BSD");
    let releases = [app.into(), dep.into(), Wheel::new("speedups", "0.1").into(), Wheel::new("other", "1.0").into()];
    let server = serve(world, &releases);
    write(world, &["my_app", "other"]);
    server
}

/// An explicit lock cannot contain the dependencies of pip packages: they are read from the metadata beside the wheels.
#[test]
fn what_packages_of_pip_need_is_shown() {
    let world = world();
    let server = needy(&world);
    lock(&world, &Index::url(&server), &[]).success();
    let tree = world.mlconda(["tree", "--package", "my-app", "--package", "other"]).success();
    assert_snapshot!(tree.to_string(), @"
    exit code 0
    --- stdout
    ├── my-app 1.0 [pip] ([SIZE], [SIZE] with 2 of its own) ← my_app (environment.yml:9)
    │   ├── dep 1.5 [pip] ([SIZE], [SIZE] with 1 of its own)
    │   │   ├── python 3.11.9 ([SIZE], [SIZE] with 1 of its own)
    │   │   │   └── tzdata 2024a ([SIZE])
    │   │   └── speedups 0.1 [pip] ([SIZE])
    │   │       └── python 3.11.9 (*)
    │   ├── greet 2.0 ([SIZE])
    │   │   └── python 3.11.9 (*)
    │   └── python 3.11.9 (*)
    └── other 1.0 [pip] ([SIZE]) ← other (environment.yml:10)
        └── python 3.11.9 (*)
    --- stderr
    ");
    let why = world.mlconda(["why", "speedups"]).success();
    assert_snapshot!(why.to_string(), @"
    exit code 0
    --- stdout
    speedups 0.1 [pip] (708 bytes)

    my_app (environment.yml:9)
      my-app 1.0 [pip] needs dep[fast]>=1,<2
      dep 1.5 [pip] needs speedups
    --- stderr
    ");
    let bill: serde_json::Value = serde_json::from_str(&world.mlconda(["sbom"]).success().stdout).unwrap();
    let licences = |name: &str| {
        let mut all = bill["components"].as_array().unwrap().iter();
        all.find(|each| each["name"] == name).unwrap()["licenses"][0]["license"].to_string()
    };
    assert_eq!(licences("my-app"), r#"{"id":"MIT","acknowledgement":"declared"}"#);
    assert_eq!(licences("dep"), r#"{"name":"BSD","acknowledgement":"declared"}"#);
    // Without the server, they are read from the prefix.
    world.mlconda(["install", "env.lock"]).success();
    drop(server);
    let of_prefix = world.mlconda(["tree", "-n", "small", "--package", "my-app", "--depth", "1"]).success();
    assert_snapshot!(of_prefix.to_string(), @"
    exit code 0
    --- stdout
    └── my-app 1.0 [pip] ([SIZE], [SIZE] with 2 of its own) ← my-app
        ├── dep 1.5 [pip] ([SIZE], [SIZE] with 1 of its own)
        ├── greet 2.0 ([SIZE])
        └── python 3.11.9 ([SIZE], [SIZE] with 1 of its own)
    --- stderr
    ");
    let offline = world.mlconda(["tree", "env.lock", "--package", "my-app", "--depth", "1", "--offline"]).success();
    assert!(offline.stdout.contains("dep 1.5 [pip]"), "{offline}");
}

#[test]
fn other_formats_have_what_packages_of_pip_need() {
    let world = world();
    let server = needy(&world);
    let item = |format: &str, first: &str| {
        let written = lock(&world, &Index::url(&server), &["--format", format, "-o", "other.lock"]).success();
        assert!(!written.stderr.contains("not known"), "{written}");
        let text = world.read("other.lock");
        let start = text.find(first).unwrap();
        let rest = &text[start + 2..];
        world.normal(rest.split("\n- ").next().unwrap())
    };
    assert_snapshot!(item("pixi", "  name: my-app"), @"
    name: my-app
      version: '1.0'
      sha256: [SHA256]
      requires_dist:
      - dep[fast]>=1,<2
      - greet (>=1)
      - dep; sys_platform == 'win32'
      - other; extra == 'docs'
      requires_python: '>=3.8'
    ");
    // Facts that the lock contains are not requested again.
    let bill: serde_json::Value =
        serde_json::from_str(&world.mlconda(["sbom", "other.lock"]).success().stdout).unwrap();
    let licence =
        bill.pointer("/components").and_then(|all| all.as_array()?.iter().find(|each| each["name"] == "my-app"));
    assert_eq!(licence.unwrap()["licenses"][0]["license"]["id"], "MIT", "no lock knows it");
    let before = world.read("other.lock");
    let offline = ["--format", "pixi", "-o", "other.lock", "--offline", "--update", "dep"];
    lock(&world, &Index::url(&server), &offline).success();
    assert_eq!(world.read("other.lock"), before);
    fs_err::remove_file(world.work().join("other.lock")).unwrap();
    assert_snapshot!(item("conda-lock", "- name: my-app"), @"
    name: my-app
      version: '1.0'
      manager: pip
      platform: [HOST]
      dependencies:
        dep: '>=1,<2'
        greet: '>=1'
      url: http://127.0.0.1:[PORT]/files/my_app-1.0-py3-none-any.whl
      hash:
        sha256: [SHA256]
      category: main
      optional: false
    ");
}
