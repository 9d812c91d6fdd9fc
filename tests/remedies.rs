//! Failures and their remedies: each cause has a remedy of its own.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use insta::assert_snapshot;
use mlconda_test::{
    context::{TestContext, argument},
    package::PackageBuilder,
    server::{Fault, Server},
};

use crate::{fetch::without_rights, serve, world};

/// A context with a server, and a lock of a package from it.
fn served() -> (TestContext, Server) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    world.write_lock("env.lock", Some(&server.url("main")), &["tzdata"]);
    (world, server)
}

/// The hint of an installation that fails.
fn hint(world: &TestContext) -> String {
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1).to_string();
    outcome.lines().filter(|line| line.starts_with("hint: ")).collect()
}

#[test]
fn a_server_that_goes_on_sending_is_cut_off_at_the_size_that_the_lock_knows() {
    let (world, server) = served();
    world.write("environment.yml", &format!("channels: [{}]\ndependencies: [tzdata]\n", server.url("main")));
    world.lock(&["-o", "env.lock"]).success();
    server.forget();
    server.fail("tzdata-", Fault::Endless);
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package ([SIZE]) into `[TEMP]/work/prefix`
    error: cannot get `tzdata-2024a-hd8ed1ab_0.conda` from [SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda
      because: it has more than the [SIZE] expected
    hint: the prefix is unchanged; the server has another file than the lock: if you know that it was replaced, lock again
    ");
    assert_eq!(server.count("tzdata-"), 1);
}

#[test]
fn a_pause_that_is_longer_than_anybody_waits_is_not_waited_for() {
    let (world, server) = served();
    server.fail("tzdata", Fault::RetryAfter(503, "999999"));
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: cannot get `tzdata-2024a-hd8ed1ab_0.conda` from [SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda
      because: `[SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda` answers 503 Service Unavailable, and asks to wait 999999 s
    hint: the prefix is unchanged; the server has an error: try again later, or use a mirror: `MLCONDA_MIRRORS`
    ");
    assert_eq!(server.count("tzdata-"), 1);
}

#[test]
fn each_status_has_its_remedy() {
    let (world, server) = served();
    let mut hints = String::new();
    for status in [401, 403, 404, 407, 429, 501] {
        server.fail("tzdata", Fault::RetryAfter(status, "999999"));
        hints += &format!("{status} {}\n", hint(&world));
    }
    server.fail("tzdata", Fault::Redirect("file:///etc/hostname".to_owned()));
    hints += &format!("redirect {}\n", hint(&world));
    assert_snapshot!(hints, @r"
    401 hint: the prefix is unchanged; the server needs a login: in `~/.netrc`, from `pixi auth login`, or as a variable in the channel's URL
    403 hint: the prefix is unchanged; the server refuses this login, or this machine: ask the owner of the server for access
    404 hint: the prefix is unchanged; the server does not have the package any more: lock again
    407 hint: the prefix is unchanged; give the proxy's login in its URL: `HTTPS_PROXY=http://USER:PASSWORD@host:port`, or `socks5h://` for a SOCKS proxy
    429 hint: the prefix is unchanged; too many requests came from here: wait some minutes, and reduce `--downloads`
    501 hint: the prefix is unchanged; the server has an error: try again later, or use a mirror: `MLCONDA_MIRRORS`
    redirect hint: the prefix is unchanged; check the URL: the server redirects to a location that is not followed
    ");
}

/// They said that the prefix is unchanged, or what `install` takes, and nothing of `--offline`.
#[test]
fn hints_were_those_of_installations() {
    let (world, server) = served();
    server.fail("tzdata", Fault::Status(404));
    let image = ["image", "env.lock", "-p", "/env", "--base", "scratch", "--tag", "a", "--output", "a.tar"];
    let commands: [&[&str]; 8] = [
        &["fetch", "env.lock"],
        &image,
        &["fetch", "env.lock", "--offline"],
        &["install", "env.lock", "-p", "prefix", "--offline"],
        &["bundle", "env.lock", "-o", "a.bundle", "--offline"],
        &["fetch", "missing.lock"],
        &["cache", "prune", "--keep-locks", "missing.lock"],
        &["image", "missing.lock", "--base", "scratch", "--tag", "a", "--output", "a.tar"],
    ];
    let mut hints = String::new();
    for command in commands {
        let outcome = world.mlconda(command).failure(1).to_string();
        let hint: String = outcome.lines().filter(|line| line.starts_with("hint: ")).collect();
        hints += &format!("{} {}\n", command[0], hint);
    }
    assert_snapshot!(hints, @"
    fetch hint: the server does not have the package any more: lock again
    image hint: the server does not have the package any more: lock again
    fetch hint: the package has to be downloaded: run the command without `--offline`, and without `offline: true` in a `.condarc`
    install hint: the prefix is unchanged; the package has to be downloaded: run the command without `--offline`, and without `offline: true` in a `.condarc`
    bundle hint: the package has to be downloaded: run the command without `--offline`, and without `offline: true` in a `.condarc`
    fetch hint: check the path, and the directory in which the command runs; `mlconda lock environment.yml` makes a lock
    cache hint: check the path, and the directory in which the command runs; `mlconda lock environment.yml` makes a lock
    image hint: check the path, and the directory in which the command runs; `mlconda lock environment.yml` makes a lock
    ");
}

/// It asked for another prefix.
#[test]
fn what_may_not_be_read_or_written_had_the_remedy_of_installations() {
    let (world, server) = served();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    fs_err::create_dir(world.work().join("closed")).unwrap();
    let set_mode = |path: &str, mode| {
        fs_err::set_permissions(world.work().join(path), Permissions::from_mode(mode)).unwrap();
    };
    // The image is put together in the working directory.
    fs_err::set_permissions(world.path(), Permissions::from_mode(0o755)).unwrap();
    set_mode("", 0o777);
    set_mode("closed", 0o555);
    set_mode("prefix/conda-meta", 0o311);
    let image = ["image", "env.lock", "-p", "/env", "--base", "scratch", "--tag", "a", "--output", "closed/a.tar"];
    let outcomes = [without_rights(&world, &image), without_rights(&world, &["list", "-p", "prefix"])];
    set_mode("closed", 0o755);
    set_mode("prefix/conda-meta", 0o755);
    drop(server);
    let [image, list] = outcomes.map(|outcome| outcome.failure(1));
    assert!(image.stderr.contains("hint: change the permissions, or write to a directory of your own"), "{image}");
    assert!(list.stderr.contains("hint: you have no permission to read the prefix"), "{list}");
}

#[test]
fn a_channel_without_packages_for_a_platform_is_told_of_once() {
    let mut world = world();
    let files = world.work();
    let package = PackageBuilder::new("python", "3.11.1");
    let channel = mlconda_test::channel::Channel::write(files.join("lab"), &[package], &[]).unwrap();
    world.filter(&channel.url(), "[CHANNEL]");
    let other = mlconda_test::foreign_subdir();
    world.filter(other, "[OTHER]");
    let text = format!("channels: [{}]\ndependencies: [python, ipython, numpy]\n", channel.url());
    world.write("environment.yml", &text);
    assert_snapshot!(world.mlconda(["lock", "environment.yml", "--platform", other]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: no channel has packages for `[OTHER]`: `[CHANNEL]/` has them for [HOST] only
    hint: lock for a platform that the channel has (`--platform`), or add a channel that has packages for this one
    ");
}

#[test]
fn a_name_to_be_updated_that_is_misspelt_has_near_names() {
    let world = world();
    world.locked("env.lock", &["tzdata"]);
    let outcome = world.mlconda(["lock", "environment.yml", "-o", "env.lock", "-u", "tzdat"]).failure(1);
    assert_snapshot!(outcome, @r"
    exit code 1
    --- stdout
    --- stderr
    error: `tzdat` is in no lock and not asked for, so there is nothing to update
    hint: did you mean `tzdata`?
    ");
}

/// It was said that there is no environment.
#[test]
fn an_environment_of_another_user_is_not_readable() {
    let (world, _server) = served();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    fs_err::set_permissions(world.path(), Permissions::from_mode(0o755)).unwrap();
    let set_mode = |mode| {
        fs_err::set_permissions(world.work().join("prefix/conda-meta"), Permissions::from_mode(mode)).unwrap();
    };
    set_mode(0o000);
    let lines: [&[&str]; 5] = [
        &["list", "-p", "prefix"],
        &["run", "-p", "prefix", "true"],
        &["conda", "list", "-p", "prefix"],
        &["conda", "install", "-p", "prefix", "tzdata"],
        &["conda", "env", "remove", "-p", "prefix"],
    ];
    let outcomes = lines.map(|line| without_rights(&world, line));
    set_mode(0o755);
    for outcome in outcomes {
        let said = &outcome.failure(1).stderr;
        assert!(said.contains("Permission denied") && said.contains("no permission to read the prefix"), "{said}");
    }
}

/// As in a container with another `USER`: conda ignores files that it cannot see.
#[test]
fn the_home_directory_of_another_user_has_no_configuration() {
    let (world, _server) = served();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    world.write("home/.condarc", "channels: [lab]\n");
    let home = world.work().join("home");
    fs_err::set_permissions(world.path(), Permissions::from_mode(0o755)).unwrap();
    fs_err::set_permissions(&home, Permissions::from_mode(0o000)).unwrap();
    let listed =
        crate::fetch::without_rights_and(&world, &["conda", "list", "-p", "prefix"], &[("HOME", argument(&home))]);
    fs_err::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
    let listed = listed.success();
    assert!(listed.stdout.contains("tzdata") && listed.stderr.is_empty(), "{listed}");
}
