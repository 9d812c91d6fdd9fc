//! Everything that can fail during an installation: a clear message, exit code 1, and an unchanged prefix.

use std::process::Stdio;

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    foreign_subdir,
    package::{Archive, PackageBuilder},
    server::{Fault, Server, unreachable_url},
    tree,
};

use crate::{serve, world};

/// A context with a server, and a lock of packages from it.
fn served(packages: &[&str]) -> (TestContext, Server) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    world.write_lock("env.lock", Some(&server.url("main")), packages);
    (world, server)
}

/// Installs `env.lock` into `prefix`. It must fail and change nothing.
#[track_caller]
fn fails(world: &TestContext) -> Outcome {
    let before = world.tree();
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
    assert_eq!(tree::difference(&before, &world.tree()), "");
    outcome
}

/// Does the same with a fault for a package, with a missing and with an existing prefix. Afterwards the fault is
/// removed, and the installation succeeds.
#[track_caller]
fn fails_while(world: &TestContext, server: &Server, package: &str, fault: &Fault) -> Outcome {
    server.fail(package, fault.clone());
    let outcome = fails(world);
    server.recover();
    let wanted = world.read("env.lock");
    world.write_lock("env.lock", Some(&server.url("main")), &["where-1.0"]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    world.write("env.lock", &wanted);
    server.fail(package, fault.clone());
    fails(world);
    server.recover();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    outcome
}

#[test]
fn a_corrupt_package() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    assert_snapshot!(fails_while(&world, &server, "where-2.0", &Fault::Corrupted), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/prefix`
    error: `where-2.0-h4bc722e_0.conda` from [SERVER]/main/[HOST]/where-2.0-h4bc722e_0.conda is not what the lock says: its sha256 is [SHA256], not [SHA256]
    hint: the archive was not used. If you know that the server replaced the package, lock again; otherwise somebody between you and the server has changed it
    ");
}

#[test]
fn a_truncated_package() {
    let (world, server) = served(&["tzdata", "large"]);
    assert_snapshot!(fails_while(&world, &server, "large", &Fault::Truncated), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/prefix`
    `large-1.0-h4bc722e_0.conda` again: the answer broke off
    `large-1.0-h4bc722e_0.conda` again: the answer broke off
    `large-1.0-h4bc722e_0.conda` again: the answer broke off
    error: cannot get `large-1.0-h4bc722e_0.conda` from [SERVER]/main/[HOST]/large-1.0-h4bc722e_0.conda
      because: the answer broke off
    hint: the prefix is unchanged; try again; if it happens again, a proxy or the server closes the connection
    ");
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
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: cannot get `tzdata-2024a-hd8ed1ab_0.conda` from [SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda
      because: `[SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda` answers 404 Not Found
    hint: the prefix is unchanged; the server does not have the package any more: lock again
    ");
    assert_eq!(server.count("tzdata"), 1, "asking again would not help");
}

#[test]
fn a_package_that_wants_a_login() {
    let (world, server) = served(&["tzdata"]);
    server.fail("tzdata", Fault::Status(401));
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: cannot get `tzdata-2024a-hd8ed1ab_0.conda` from [SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda
      because: `[SERVER]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda` answers 401 Unauthorized
    hint: the prefix is unchanged; the server needs a login: in `~/.netrc`, from `pixi auth login`, or as a variable in the channel's URL
    ");
}

#[test]
fn a_server_that_cannot_be_reached() {
    let world = world();
    world.write_lock("env.lock", Some(&unreachable_url().unwrap()), &["tzdata"]);
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: cannot get `tzdata-2024a-hd8ed1ab_0.conda` from http://127.0.0.1:[PORT]/noarch/tzdata-2024a-hd8ed1ab_0.conda
      because: cannot reach `http://127.0.0.1:[PORT]/noarch/tzdata-2024a-hd8ed1ab_0.conda`: Connection refused (os error [NUMBER])
    hint: the prefix is unchanged; no server listens there: check the address and its port, or try again when the server is up
    ");
}

#[test]
fn a_package_that_is_another_than_was_locked() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    let hash = text.rsplit_once("#sha256:").unwrap().1.trim();
    fs_err::write(&lock, text.replace(hash, &"0".repeat(64))).unwrap();
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/prefix`
    error: `where-2.0-h4bc722e_0.conda` from file://[CHANNELS]/main/[HOST]/where-2.0-h4bc722e_0.conda is not what the lock says: its sha256 is [SHA256], not [SHA256]
    hint: the archive was not used. If you know that the server replaced the package, lock again; otherwise somebody between you and the server has changed it
    ");
}

#[test]
fn a_file_that_is_no_package() {
    let world = world();
    fs_err::write(world.work().join("fake-1.0-0.conda"), "not a zip").unwrap();
    let digest = mlconda_test::sha256_hex("not a zip");
    let url = format!("file://{}/fake-1.0-0.conda", world.work().display());
    world
        .write("env.lock", &format!("# platform: {}\n@EXPLICIT\n{url}#sha256:{digest}\n", mlconda_test::host_subdir()));
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: the package `fake-1.0-0.conda` is invalid
      because: invalid zip archive: invalid Zip archive: Could not find EOCD
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    ");
}

#[test]
fn a_large_package_that_is_damaged_near_its_end() {
    let world = world();
    // Random bytes, so that the archive is large enough for several threads.
    let mut noise = 1_u64;
    let mut file = || {
        let numbers = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        });
        numbers.take(800_000).collect::<Vec<u8>>()
    };
    let package = PackageBuilder::new("large", "1.0").archive(Archive::TarBz2);
    let package = package.file("share/one", file()).file("share/two", file()).file("share/three", file());
    let archive = package.write(&world.work().join("channel")).unwrap();
    let whole = fs_err::read(&archive).unwrap();
    let lock = |bytes: &[u8]| {
        fs_err::write(&archive, bytes).unwrap();
        let (digest, path) = (mlconda_test::sha256_hex(bytes), archive.display());
        let platform = mlconda_test::host_subdir();
        world.write("env.lock", &format!("# platform: {platform}\n@EXPLICIT\nfile://{path}#sha256:{digest}\n"));
    };
    let mut damaged = whole.clone();
    damaged[whole.len() - 100_000] ^= 1;
    lock(&damaged);
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: the package `large-1.0-h4bc722e_0.tar.bz2` is invalid
      because: bzip2: invalid data
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    ");
    // The same for an update. A complete archive is installed byte for byte.
    lock(&whole);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    world.mlconda(["verify", "-p", "prefix"]).success();
    lock(&whole[..whole.len() - 100_000]);
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/prefix`
    error: the package `large-1.0-h4bc722e_0.tar.bz2` is invalid
      because: the archive ends before its content does
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    ");
}

#[test]
fn a_lock_for_another_platform() {
    let world = world();
    world.write_environment(&["where"]);
    world.lock(&["--platform", foreign_subdir()]).success();
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` is a lock for [FOREIGN], and this is [HOST]
    hint: make a lock with `mlconda lock --platform [HOST]`
    ");
}

#[test]
fn no_such_lock() {
    assert_snapshot!(fails(&world()), @r"
    exit code 1
    --- stdout
    --- stderr
    error: failed to open file `[TEMP]/work/env.lock`: No such file or directory (os error [NUMBER])
    hint: make a lock with `mlconda lock environment.yml`; `mlconda install` takes an environment.yml as well
    ");
}

#[test]
fn a_file_that_is_no_lock() {
    let world = world();
    world.write("env.lock", "Dear all,\n");
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/env.lock` is not a lock: it has no line `@EXPLICIT`, nor the keys of a conda-lock.yml or a pixi.lock
    hint: an environment file is recognised by its name, `.yml` or `.yaml`; `mlconda lock` makes a lock from it
    ");
}

#[test]
fn a_line_that_is_no_package() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    fs_err::write(&lock, format!("{text}https://example.org/what#is-this\n")).unwrap();
    assert_snapshot!(fails(&world), @r"
    exit code 1
    --- stdout
    --- stderr
    error: [TEMP]/work/env.lock:4: `is-this` is neither a sha256 (64 hex digits) nor an md5 (32)
      https://example.org/what#is-this
    ");
}

#[test]
fn a_prefix_that_cannot_be_made() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let before = world.tree();
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", "env.lock/prefix"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: failed to open directory `[TEMP]/work/env.lock`: Not a directory (os error [NUMBER])
    ");
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

/// A limit of the file size simulates a full disk: a write fails in the middle, without a file system of its own.
#[test]
fn a_disk_that_is_full() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "large"]);
    let before = world.tree();
    let install = world.mlconda_command(["install", "env.lock", "-p", "prefix"]);
    let program = argument(std::path::Path::new(install.get_program())).to_owned();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" install env.lock -p prefix";
    let outcome = world.run("/bin/sh", &["-c", script, &program]).failure(1);
    assert_snapshot!(outcome, @r"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/prefix`
    error: failed to write to file `[TEMP]/work/.prefix.mlconda-new/share/large.bin`: File too large (os error [NUMBER])
    hint: the file is larger than a limit of the shell or container (`ulimit -f`), or of the file system
    ");
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

    // The next run succeeds and removes leftovers.
    server.recover();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let mut names = world.tree();
    names.retain(|path, _| path.starts_with("work/") && !path.starts_with("work/prefix/"));
    assert_eq!(names.into_keys().collect::<Vec<_>>(), ["work/env.lock", "work/prefix"]);
}
