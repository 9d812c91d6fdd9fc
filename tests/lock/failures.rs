//! Inputs without a lock, and their messages.

use insta::assert_snapshot;

use super::*;

#[test]
fn a_pip_list_is_refused_if_a_file_is_missing_that_it_names() {
    let world = world();
    world.write("environment.yml", include_str!("../../fixtures/environment-pip.yml"));
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:13:12: there is no file `[TEMP]/work/requirements.txt`
       |
    13 |       - -r requirements.txt
       |            ^^^^^^^^^^^^^^^^
       = help: paths are relative to the file that names them
    ");
    assert!(!world.work().join("env.lock").exists());
}

#[test]
fn no_such_file() {
    let world = world();
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no `environment.yml` in `[TEMP]/work`
    hint: name the file: `mlconda lock path/to/environment.yml`
    ");
    assert_snapshot!(world.lock(&["absent.yml"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: failed to open file `absent.yml`: No such file or directory (os error [NUMBER])
    hint: check the path, and the directory in which the command runs
    ");
    // A file with another name is suggested.
    world.write("conda.yaml", "dependencies: [a]\n");
    world.write("docker-compose.yml", "services: {}\n");
    // These names would change the command in the hint.
    world.write("a $(touch b).yml", "dependencies: [a]\n");
    world.write("-o.yml", "dependencies: [a]\n");
    let hint = |outcome: &str| outcome.lines().last().unwrap().to_owned();
    assert_snapshot!(hint(&world.lock(&[]).failure(1).stderr), @"hint: name the file: `mlconda lock conda.yaml`");
    world.write("env.yml", "channels: [b]\ndependencies:\n  - a\n");
    assert_snapshot!(hint(&world.lock(&[]).failure(1).stderr), @"hint: `conda.yaml` and `env.yml` look like one; name the file: `mlconda lock conda.yaml`");
}

#[test]
fn broken_yaml() {
    let world = world();
    world.write("environment.yml", "name: ml\ndependencies:\n  - python\n - pip: [\n");
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:4:2: the YAML is broken: while parsing a block mapping, did not find expected key
      |
    4 |  - pip: [
      |  ^
      = help: check the indentation, the `- ` and the `:` on this line and on the one above it
    ");
}

#[test]
fn a_missing_comma() {
    let world = world();
    world.write_environment(&["python >=3.8 <3.12"]);
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:5:5: `python >=3.8 <3.12` lacks a comma between two version constraints
      |
    5 |   - python >=3.8 <3.12
      |     ^^^^^^^^^^^^^^^^^^
      = help: write `python >=3.8,<3.12`
    ");
}

#[test]
fn an_unknown_package() {
    let world = world();
    world.write_environment(&["python=3.11", "arays"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:6:5: no channel has `arays` for `[HOST]`
      |
    6 |   - arays
      |     ^^^^^
      = help: did you mean `arrays`?
    ");
}

#[test]
fn a_package_that_another_platform_has() {
    let world = world();
    world.write_environment(&["arrays"]);
    assert_snapshot!(world.lock(&["--platform", host_subdir(), "--platform", foreign_subdir()]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:5:5: no channel has `arrays` for `[FOREIGN]`
      |
    5 |   - arrays
      |     ^^^^^^
      = help: check the spelling, and whether the channel that has it is under `channels:`
    hint: `arrays` exists for `[HOST]`: `- sel([HOST]): arrays` asks for it there only
    ");
}

#[test]
fn an_unknown_version() {
    let world = world();
    world.write_environment(&["greet >=3"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    line 5 asks for `greet >=3`, and the versions are 1.0, 1.1 and 2.0
    this line alone has no solution:
      environment.yml:5: greet >=3
    this change gives a solution:
      line 5: `greet` instead of `greet >=3` (gives greet 2.0)
    ");
}

#[test]
fn no_solution() {
    let world = world();
    world.write_environment(&["frames", "legacy"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    no version of `arrays` satisfies all of this:
    ├─ line 5 asks for `frames`
    │  └─ frames 2.0 and 2.1 need `arrays >=1.25` or `arrays >=1.26`
    └─ line 6 asks for `legacy`
       └─ legacy 0.9 needs `arrays <1.25`
    these 2 lines exclude each other:
      environment.yml:5: frames
      environment.yml:6: legacy
    each of these changes gives a solution:
      line 5: without `frames`
      line 6: without `legacy`
    ");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_glibc_of_the_future_has_to_be_declared_and_is_told_when_installing() {
    let world = world();
    world.write_environment(&["needs-future"]);
    assert_snapshot!(world.lock(&["--platform", "linux-64"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    `[HOST]` is assumed to have `__glibc=2.28`, and that is not what is needed:
    └─ line 5 asks for `needs-future`
       └─ needs-future 1.0 needs `__glibc >=9`
    this line alone has no solution:
      environment.yml:5: needs-future
    this change gives a solution:
      `--virtual-package __glibc=9`, if the machine has it (gives needs-future 1.0)
    ");
    world.lock(&["--platform", "linux-64", "--virtual-package", "__glibc=9"]).success();
    assert!(world.read("env.lock").contains("# virtual package: __glibc=9"));
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert!(outcome.stderr.contains("needs `__glibc >=9`"), "{outcome}");
}

#[test]
fn a_lock_that_cannot_be_written() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.lock(&["-o", "environment.yml/env.lock"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: cannot write the lock `environment.yml/env.lock`: not a directory
    hint: name a file in a directory that can be written to, with `-o`
    ");
}

#[test]
fn a_platform_that_does_not_exist() {
    let world = world();
    world.write_environment(&["tzdata"]);
    let outcome = world.lock(&["--platform", "linux-65"]).failure(2);
    assert!(outcome.stderr.contains("`linux-64`"), "{outcome}");
}

#[test]
fn a_build_of_another_platform_is_told_before_it_is_looked_for() {
    let world = world();
    world.write_environment(&["python=3.11", "vs2015_runtime=14.27=h5e58377_2"]);
    let outcome = world.lock(&["--platform", "linux-64"]).failure(1);
    assert!(outcome.stderr.contains("can be had for win only, not for linux-64"), "{outcome}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let world = world();
    world.write("environment.yml", "channels: [a]\ndependencies:\n  - python >=3.8 <3.12\n  - 3.10\n");
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:3:5: `python >=3.8 <3.12` lacks a comma between two version constraints
      |
    3 |   - python >=3.8 <3.12
      |     ^^^^^^^^^^^^^^^^^^
      = help: write `python >=3.8,<3.12`

    environment.yml:4:5: `3.10` is a number to YAML, and a dependency begins with a package's name
      |
    4 |   - 3.10
      |     ^^^^
      = help: write `- NAME=3.10`
    ");
}
