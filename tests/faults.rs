//! Everything that goes wrong with an installation: a clear word, exit code 1, and the prefix as it was.

use std::process::Stdio;

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    foreign_subdir,
    server::{Fault, Server, unreachable_url},
    tree,
};

use crate::{serve, world};

/// A world with a server, and a lock of packages from it.
fn served(packages: &[&str]) -> (TestContext, Server) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    world.write_lock("env.lock", Some(&server.url("main")), packages);
    (world, server)
}

/// Installs `env.lock` into `prefix`, which fails and leaves everything as it was.
#[track_caller]
fn fails(world: &TestContext) -> Outcome {
    let before = world.tree();
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
    assert_eq!(tree::difference(&before, &world.tree()), "");
    outcome
}

/// The same, with a prefix that is not there and with one that is.
#[track_caller]
fn fails_twice(world: &TestContext, server: &Server) -> Outcome {
    let first = fails(world);
    let lock = world.read("env.lock");
    server.recover();
    world.write_lock("env.lock", Some(&server.url("main")), &["where-1.0"]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    fs_err::write(world.work().join("env.lock"), lock).unwrap();
    first
}

#[test]
fn a_corrupt_package() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    server.fail("where-2.0", Fault::Corrupted);
    assert_snapshot!(fails_twice(&world, &server), @"");
    server.fail("where-2.0", Fault::Corrupted);
    fails(&world);
    server.recover();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
}

#[test]
fn a_truncated_package() {
    let (world, server) = served(&["tzdata", "large"]);
    server.fail("large", Fault::Truncated);
    assert_snapshot!(fails_twice(&world, &server), @"");
    server.fail("large", Fault::Truncated);
    fails(&world);
}

#[test]
fn a_download_that_breaks_off_once_is_tried_again() {
    for fault in [Fault::TruncatedFirst(1), Fault::UnavailableFirst(2), Fault::HangUpFirst(1)] {
        let (world, server) = served(&["tzdata", "large"]);
        server.fail("large", fault);
        world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
        assert!(server.count("large") > 1);
    }
}

#[test]
fn a_redirect_is_followed() {
    let (world, server) = served(&["tzdata"]);
    fs_err::copy(
        world.channels().main.path().join("noarch/tzdata-2024a-hd8ed1ab_0.conda"),
        world.work().join("elsewhere.conda"),
    )
    .unwrap();
    let other = Server::serve(world.work()).unwrap();
    server.fail("tzdata", Fault::Redirect(other.url("elsewhere.conda")));
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert_eq!(other.count("elsewhere"), 1);
}

#[test]
fn a_package_that_is_not_there() {
    let (world, server) = served(&["tzdata"]);
    server.fail("tzdata", Fault::Status(404));
    assert_snapshot!(fails(&world), @"");
    assert_eq!(server.count("tzdata"), 1, "asking again would not help");
}

#[test]
fn a_package_that_wants_a_login() {
    let (world, server) = served(&["tzdata"]);
    server.fail("tzdata", Fault::Status(401));
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_server_that_cannot_be_reached() {
    let world = world();
    world.write_lock("env.lock", Some(&unreachable_url().unwrap()), &["tzdata"]);
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_package_that_is_another_than_was_locked() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    let hash = text.rsplit_once("#sha256:").unwrap().1.trim();
    fs_err::write(&lock, text.replace(hash, &"0".repeat(64))).unwrap();
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_file_that_is_no_package() {
    let world = world();
    fs_err::write(world.work().join("fake-1.0-0.conda"), "not a zip").unwrap();
    let digest = mlconda_test::sha256_hex("not a zip");
    let url = format!("file://{}/fake-1.0-0.conda", world.work().display());
    world
        .write("env.lock", &format!("# platform: {}\n@EXPLICIT\n{url}#sha256:{digest}\n", mlconda_test::host_subdir()));
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_lock_for_another_platform() {
    let world = world();
    world.write_environment(&["where"]);
    world.lock(&["--platform", foreign_subdir()]).success();
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn no_such_lock() {
    assert_snapshot!(fails(&world()), @"");
}

#[test]
fn a_file_that_is_no_lock() {
    let world = world();
    world.write("env.lock", "Dear all,\n");
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_line_that_is_no_package() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    fs_err::write(&lock, format!("{text}https://example.org/what#is-this\n")).unwrap();
    assert_snapshot!(fails(&world), @"");
}

#[test]
fn a_prefix_that_cannot_be_made() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let before = world.tree();
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", "env.lock/prefix"]).failure(1), @"");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn a_prefix_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    // Root may write everywhere.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let closed = world.work().join("closed");
    fs_err::create_dir(&closed).unwrap();
    fs_err::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    let outcome = world.mlconda(["install", argument(&lock), "-p", "closed/prefix"]).failure(1);
    assert!(outcome.stderr.contains("closed"), "{outcome}");
}

/// The limit on a file's size stands for a full disk: a write fails in the middle, and needs no file system of its
/// own for it.
#[test]
fn a_disk_that_is_full() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "large"]);
    let before = world.tree();
    let install = world.mlconda_command(["install", "env.lock", "-p", "prefix"]);
    let program = argument(std::path::Path::new(install.get_program())).to_owned();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" install env.lock -p prefix";
    let outcome = world.run("/bin/sh", &["-c", script, &program]).failure(1);
    assert_snapshot!(outcome, @"");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn killed_in_the_middle() {
    let (world, server) = served(&["tzdata", "many", "large"]);
    server.fail("large", Fault::Stalled);
    let mut install = world.mlconda_command(["install", "env.lock", "-p", "prefix"]);
    let mut child = install.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    server.wait_for("large");
    server.wait_for("many");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.work().join("prefix/conda-meta").exists(), "there is no half of a prefix");

    // The next run succeeds, and takes the debris away.
    server.recover();
    let before: Vec<String> = vec!["env.lock".to_owned(), "prefix".to_owned()];
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let mut names: Vec<String> = fs_err::read_dir(world.work())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, before);
}
