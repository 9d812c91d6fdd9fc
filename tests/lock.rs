//! `lock`: the same question, the same answer; and every way in which there is none.

use insta::assert_snapshot;
use mlconda_test::{
    context::TestContext,
    foreign_subdir, host_subdir,
    server::{Fault, unreachable_url},
};

use crate::{serve, world};

/// The archives' names in a lock, in order, without their extension.
fn archives(lock: &str) -> String {
    let lines = lock.lines().skip_while(|line| *line != "@EXPLICIT").skip(1);
    let names = lines.map(|line| line.split('#').next().unwrap().rsplit('/').next().unwrap());
    names.map(|name| format!("{}\n", name.trim_end_matches(".conda").trim_end_matches(".tar.bz2"))).collect()
}

/// Locks these dependencies.
fn lock(world: &TestContext, dependencies: &[&str]) -> String {
    world.locked("env.lock", dependencies);
    world.read("env.lock")
}

#[test]
fn what_users_write_becomes_a_lock() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment.yml"));
    world.lock(&[]).success();
    assert_snapshot!(world.normal(&world.read("env.lock")), @"");
}

#[test]
fn the_same_question_has_the_same_answer() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment.yml"));
    world.lock(&["-o", "one.lock"]).success();
    world.lock(&["-o", "two.lock"]).success();
    assert_eq!(world.read("one.lock"), world.read("two.lock"));
    // Also with nothing in the cache.
    fs_err::remove_dir_all(world.developer()).unwrap();
    fs_err::create_dir(world.developer()).unwrap();
    world.lock(&["-o", "three.lock"]).success();
    assert_eq!(world.read("one.lock"), world.read("three.lock"));
}

#[test]
fn a_pip_list_is_refused_by_the_names_of_its_packages() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment-pip.yml"));
    assert_snapshot!(world.lock(&[]).failure(1), @"");
    assert!(!world.work().join("env.lock").exists());
}

#[test]
fn the_first_channel_that_has_a_package_is_the_one() {
    let world = world();
    world.write(
        "environment.yml",
        "channels: ['${CHANNELS}/main', '${CHANNELS}/extra']\ndependencies: [where, special]\n",
    );
    world.lock(&[]).success();
    assert_snapshot!(archives(&world.read("env.lock")), @"");
    world.write("environment.yml", "channels: ['${CHANNELS}/main']\ndependencies: [where]\n");
    let extra = world.channels().extra.url();
    world.lock(&["-c", &extra]).success();
    assert_snapshot!(archives(&world.read("env.lock")), @"");
}

#[test]
fn another_platform_is_locked_on_any_machine() {
    let world = world();
    world.write_environment(&["where", "tzdata"]);
    world.lock(&["--platform", foreign_subdir()]).success();
    let lock = world.read("env.lock");
    assert!(lock.contains(&format!("/{}/where-2.0-", foreign_subdir())) && !lock.contains(host_subdir()), "{lock}");
    world.lock(&["--platform", foreign_subdir(), "--platform", host_subdir()]).success();
    assert_eq!(world.read(&format!("env.{}.lock", foreign_subdir())), lock);
    assert!(world.read(&format!("env.{}.lock", host_subdir())).contains(host_subdir()));
}

#[test]
fn a_gpu_is_there_if_it_is_declared() {
    let world = world();
    assert!(lock(&world, &["arrays=1.26"]).contains("arrays-1.26.4-cpu_py311_0"));
    world.lock(&["--virtual-package", "__cuda=12.4"]).success();
    assert!(world.read("env.lock").contains("arrays-1.26.4-cuda_py311_1"));
    world.write_environment(&["gpu"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"");
    let mut command = world.mlconda_command(["lock"]);
    world.outcome(command.env("CONDA_OVERRIDE_CUDA", "12.4")).success();
}

#[test]
fn a_dry_run_prints_the_lock_and_writes_nothing() {
    let world = world();
    let written = lock(&world, &["greet"]);
    fs_err::remove_file(world.work().join("env.lock")).unwrap();
    assert_eq!(world.lock(&["--dry-run"]).success().stdout, written);
    assert!(!world.work().join("env.lock").exists());
}

#[test]
fn json_is_for_programs() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.normal(&world.lock(&["--json"]).success().stdout), @"");
}

#[test]
fn offline_uses_what_was_loaded_and_nothing_else() {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    let main = server.url("main");
    world.write_environment(&["greet"]);
    let channel = ["-c", main.as_str(), "--override-channels"];
    assert_snapshot!(world.lock(&[&channel[..], &["--offline"]].concat()).failure(1), @"");
    world.lock(&[&channel[..], &["-o", "online.lock"]].concat()).success();
    server.forget();
    world.lock(&[&channel[..], &["--offline"]].concat()).success();
    assert_eq!(server.count(""), 0);
    assert_eq!(world.read("env.lock"), world.read("online.lock"));
}

#[test]
fn every_form_of_repodata_gives_the_same_lock() {
    let (world, server) = (world(), serve());
    let main = server.url("main");
    world.write_environment(&["frames", "greet"]);
    for name in ["shards.lock", "zst.lock", "json.lock"] {
        if name != "shards.lock" {
            server.fail("repodata_shards", Fault::Status(404));
        }
        if name == "json.lock" {
            server.fail(".zst", Fault::Status(404));
        }
        fs_err::remove_dir_all(world.developer()).unwrap();
        fs_err::create_dir(world.developer()).unwrap();
        world.lock(&["-c", &main, "--override-channels", "-o", name]).success();
    }
    assert_eq!(world.read("shards.lock"), world.read("zst.lock"));
    assert_eq!(world.read("shards.lock"), world.read("json.lock"));
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let (world, server) = (world(), serve());
    server.fail("repodata", Fault::UnavailableFirst(1));
    world.write_environment(&["tzdata"]);
    world.lock(&["-c", &server.url("main"), "--override-channels"]).success();
}

#[test]
fn no_such_file() {
    let world = world();
    assert_snapshot!(world.lock(&[]).failure(1), @"");
    assert_snapshot!(world.lock(&["absent.yml"]).failure(1), @"");
}

#[test]
fn broken_yaml() {
    let world = world();
    world.write("environment.yml", "name: ml\ndependencies:\n  - python\n - pip: [\n");
    assert_snapshot!(world.lock(&[]).failure(1), @"");
}

#[test]
fn a_missing_comma() {
    let world = world();
    world.write_environment(&["python >=3.8 <3.12"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"");
}

#[test]
fn an_unknown_package() {
    let world = world();
    world.write_environment(&["python=3.11", "aray"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"");
}

#[test]
fn an_unknown_version() {
    let world = world();
    world.write_environment(&["greet >=3"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"");
}

#[test]
fn no_solution() {
    let world = world();
    world.write_environment(&["frames", "legacy"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"");
}

#[test]
fn a_glibc_of_the_future() {
    let world = world();
    world.write_environment(&["needs-future"]);
    assert_snapshot!(world.lock(&["--platform", "linux-64"]).failure(1), @"");
}

/// Locks `tzdata` from a channel at a URL, which fails.
fn fails_with_channel(world: &TestContext, url: &str) -> String {
    world.write_environment(&["tzdata"]);
    world.lock(&["-c", url, "--override-channels"]).failure(1).to_string()
}

#[test]
fn a_channel_that_cannot_be_reached() {
    assert_snapshot!(fails_with_channel(&world(), &unreachable_url().unwrap()), @"");
}

#[test]
fn a_channel_that_is_not_there() {
    let (world, server) = (world(), serve());
    assert_snapshot!(fails_with_channel(&world, &server.url("absent")), @"");
    assert_snapshot!(fails_with_channel(&world, "./absent"), @"");
}

#[test]
fn a_channel_that_wants_a_login() {
    let (world, server) = (world(), serve());
    server.fail("", Fault::Status(401));
    assert_snapshot!(fails_with_channel(&world, &server.url("main")), @"");
}

#[test]
fn repodata_that_breaks_off() {
    let (world, server) = (world(), serve());
    server.fail("repodata_shards", Fault::Status(404));
    server.fail(".zst", Fault::Status(404));
    server.fail("noarch/repodata.json", Fault::Truncated);
    assert_snapshot!(fails_with_channel(&world, &server.url("main")), @"");
}

#[test]
fn a_lock_that_cannot_be_written() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.lock(&["-o", "environment.yml/env.lock"]).failure(1), @"");
}

#[test]
fn a_platform_that_does_not_exist() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.lock(&["--platform", "linux-65"]).failure(2), @"");
}
