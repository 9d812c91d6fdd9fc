//! A bundle appended to the program: one executable for a machine without any tools.

use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use mlconda_test::context::{Outcome, TestContext};

use super::{bundle, path, served};

/// A context with an executable of these packages, and without their server.
fn executable(packages: &[&str]) -> TestContext {
    let (world, _server) = served(packages);
    bundle(&world, &["env.lock", "--self", "-o", "env.run"]).success();
    world
}

fn run(world: &TestContext, arguments: &[&str]) -> Outcome {
    world.run(path(world, "env.run"), arguments)
}

#[test]
fn it_installs_what_is_in_it() {
    let world = executable(&["tzdata", "where-2.0", "python-3.11.9", "greet-2.0"]);
    run(&world, &["-p", "prefix"]).success();
    let ran = run(&world, &["mlconda", "run", "-p", "prefix", "where-am-i"]).success();
    assert!(ran.stdout.contains("prefix"), "{ran}");
    assert_snapshot!(run(&world, &["--verify"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    `env.run` is intact: 4 packages, [SIZE].
    ");
    assert_snapshot!(run(&world, &["--help"]).success(), @"
    exit code 0
    --- stdout
    Installs the environment that is in this file. No network is used, and nothing else is needed.

      ./env.run -p /opt/env           install it into this prefix
      ./env.run                       install it as the environment of its name, under the root prefix
      ./env.run --verify              compare this file with what was written, and install nothing
      ./env.run --extract FILE        write the bundle without the program: a tar, and a channel when it is unpacked
      ./env.run mlconda COMMAND …     the program: `./env.run mlconda run -p /opt/env python`

    The other options are those of `mlconda install`: `./env.run mlconda install --help` lists them.
    --- stderr
    ");
    // A partial file of an earlier run does not matter. A directory is not a file.
    world.write("env.bundle.partial", "half");
    run(&world, &["--extract", "env.bundle"]).success();
    fs_err::create_dir(path(&world, "directory")).unwrap();
    let refused = run(&world, &["--extract", "directory"]).failure(1);
    assert!(refused.stderr.contains("directory` is a directory"), "{refused}");
    assert_eq!(
        fs_err::read_dir(world.work())
            .unwrap()
            .filter(|it| { it.as_ref().unwrap().file_name().to_string_lossy().ends_with(".partial") })
            .count(),
        1
    );
    bundle(&world, &["--verify", "env.bundle", "env.run"]).success();
    let listed = world.run("tar", &["-tf", "env.bundle"]).success().stdout;
    assert!(listed.starts_with("mlconda-bundle.json\n"), "{listed}");
    // Any mlconda can use it as a bundle, and an executable can be made from another one.
    world.mlconda(["install", "env.run", "-p", "other"]).success();
    run(&world, &["mlconda", "bundle", "env.run", "--self", "-o", "again.run", "--offline"]).success();
    let [one, again] = ["env.run", "again.run"].map(|name| fs_err::read(path(&world, name)).unwrap());
    assert!(one == again, "the program in it is taken without what is behind it");
}

/// An image may have it under this name.
#[test]
fn under_the_name_of_the_program_it_is_the_program() {
    let world = executable(&["tzdata"]);
    world.run("cp", &["env.run", "mlconda"]).success();
    let program = |arguments: &[&str]| world.run(path(&world, "mlconda"), arguments);
    program(&["install", "env.run", "-p", "prefix", "--offline"]).success();
    let listed = program(&["conda", "list", "-p", "prefix", "--json"]).success();
    assert!(listed.stdout.contains("tzdata"), "{listed}");
    program(&["conda", "config", "--add", "channels", "lab"]).success();
    // An error before the command line is parsed is an event too.
    let refused = run(&world, &["--progress", "json", "--extract"]).failure(2);
    assert!(refused.stderr.starts_with('{'), "{refused}");
}

#[test]
fn one_that_is_cut_short_or_changed_writes_nothing() {
    let world = executable(&["tzdata", "where-2.0"]);
    let whole = fs_err::read(path(&world, "env.run")).unwrap();
    let put = |bytes: &[u8]| {
        fs_err::write(path(&world, "new.run"), bytes).unwrap();
        fs_err::set_permissions(path(&world, "new.run"), PermissionsExt::from_mode(0o755)).unwrap();
        // Copied by another process: if this process had the file open for writing, a child of another test could
        // inherit the file descriptor, and the file could not be executed.
        world.run("cp", &["--remove-destination", "new.run", "env.run"]).success();
    };
    run(&world, &["--extract", "env.bundle"]).success();
    let tar = whole.len() - fs_err::read(path(&world, "env.bundle")).unwrap().len();
    put(&whole[..whole.len() - 700]);
    let refused = run(&world, &["-p", "prefix"]).failure(1);
    assert!(refused.stderr.contains("env.run` is cut short: it has "), "{refused}");
    for length in [tar, tar + 100, tar + 600] {
        put(&whole[..length]);
        let refused = run(&world, &["-p", "prefix"]).failure(1);
        assert!(refused.stderr.contains("is cut short: it has "), "{length}: {refused}");
    }
    // A byte of the program that is not executed, two in the block after it, and one each in a header, in an archive
    // and at the end.
    for place in [tar - 1200, tar - 480, tar - 300, tar + 148, whole.len() - 20_000, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        put(&changed);
        let arguments: &[&str] = if place % 2 == 0 { &["-p", "prefix"] } else { &["--extract", "other.bundle"] };
        let refused = run(&world, arguments).failure(1);
        assert!(refused.stderr.contains("is damaged or was changed: "), "{place}: {refused}");
        run(&world, &["--verify"]).failure(1);
    }
    assert!(!path(&world, "prefix").exists() && !path(&world, "other.bundle").exists());
}

#[test]
fn it_is_for_one_platform_and_needs_a_program() {
    let (world, _server) = served(&["tzdata"]);
    let script = world.write("script", "#!/bin/sh\n");
    assert!(script.is_file());
    let arguments = ["env.lock", "--self", "-o", "env.run", "--mlconda", "script"];
    assert_snapshot!(bundle(&world, &arguments).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/script` is not a program for [HOST]
    hint: name a static mlconda for that platform with `--mlconda FILE`
    ");
    let foreign = world.read("env.lock").replace(mlconda_test::host_subdir(), mlconda_test::foreign_subdir());
    world.write("foreign.lock", &foreign);
    let refused = bundle(&world, &["foreign.lock", "--self", "-o", "env.run"]).failure(1);
    assert!(refused.stderr.contains("`--self` makes programs for Linux, and the lock is for "), "{refused}");
    let refused = bundle(&world, &["foreign.lock", "env.lock", "--self", "-o", "env.run"]).failure(1);
    assert!(refused.stderr.contains("one executable cannot be for several platforms"), "{refused}");
}

#[test]
fn a_changed_byte_of_what_it_says_of_itself_is_found() {
    let (world, _server) = served(&["tzdata"]);
    // A small program is enough, because it is not run.
    bundle(&world, &["env.lock", "--self", "--mlconda", "/bin/true", "-o", "env.run"]).success();
    let whole = fs_err::read(path(&world, "env.run")).unwrap();
    let mark = b"mlconda-executable 1";
    let block = whole.windows(mark.len()).position(|window| window == mark).unwrap();
    let written = (block..block + 512).filter(|place| whole[*place] != 0);
    for place in written {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs_err::write(path(&world, "changed.run"), changed).unwrap();
        let refused = bundle(&world, &["--verify", "changed.run"]);
        assert!(refused.code == 1, "{}: {refused}", place - block);
    }
}

#[test]
fn an_image_gets_the_program_without_the_bundle() {
    let world = executable(&["tzdata", "activated"]);
    let program = fs_err::metadata(crate::program()).unwrap().len();
    let arguments = [
        "mlconda",
        "image",
        "env.run",
        "--base",
        "scratch",
        "-p",
        "/opt/env",
        "--tag",
        "ml:1",
        "--output",
        "image.tar",
    ];
    run(&world, &arguments).success();
    let image = crate::image::union(&world, "image.tar");
    let found = fs_err::metadata(image.join("usr/local/bin/mlconda")).unwrap();
    assert_eq!(found.len(), program);
}
