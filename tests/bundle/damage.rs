//! Damaged or forged bundles: each is rejected, and nothing is partly installed.

use insta::assert_snapshot;
use mlconda_test::{context::TestContext, foreign_subdir, host_subdir, tree};

use super::{bundle, install, path, served};
use crate::{bundle::unpacked, packages::line};

/// A context with a bundle of these packages, and without their server.
fn bundled(packages: &[&str]) -> TestContext {
    let (world, _server) = served(packages);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    world
}

#[test]
fn one_that_is_cut_short() {
    let world = bundled(&["tzdata", "where-2.0"]);
    let whole = fs_err::read(path(&world, "env.bundle")).unwrap();
    fs_err::write(path(&world, "cut.bundle"), &whole[..whole.len() - 1]).unwrap();
    let before = world.tree();
    let refused = install(&world, "cut.bundle", "prefix").failure(1).to_string();
    let lengths = [(whole.len(), "[LENGTH]"), (whole.len() - 1, "[LESS]")].map(|(size, name)| (size.to_string(), name));
    assert_snapshot!(lengths.iter().fold(refused, |text, (size, name)| text.replace(size, name)), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/cut.bundle` is cut short: it has [LESS] of [LENGTH] bytes
    hint: nothing was written. Copy the file again, or make it again from the lock
    ");
    for length in [600, 1024, 2000, whole.len() / 2, whole.len() - 1024] {
        fs_err::write(path(&world, "cut.bundle"), &whole[..length]).unwrap();
        for arguments in [vec!["install", "cut.bundle", "-p", "prefix"], vec!["bundle", "--verify", "cut.bundle"]] {
            let refused = world.mlconda(&arguments).failure(1);
            assert!(refused.stderr.contains("is cut short: it has "), "{length}: {refused}");
        }
    }
    fs_err::write(path(&world, "cut.bundle"), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn one_in_which_any_byte_is_another() {
    let world = bundled(&["tzdata", "hollow"]);
    let whole = fs_err::read(path(&world, "env.bundle")).unwrap();
    world.mlconda(["bundle", "--verify", "env.bundle"]).success();
    // Changes one byte in every block, at a different offset in each.
    for (number, start) in (0..whole.len()).step_by(512).enumerate() {
        let mut changed = whole.clone();
        changed[start + number * 37 % 512] ^= 1;
        fs_err::write(path(&world, "changed.bundle"), &changed).unwrap();
        let refused = world.mlconda(["bundle", "--verify", "changed.bundle"]);
        assert!(refused.code == 1, "block {number}: {refused}");
    }
    fs_err::write(path(&world, "changed.bundle"), [whole.as_slice(), b"more"].concat()).unwrap();
    assert_snapshot!(world.mlconda(["bundle", "--verify", "changed.bundle"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/changed.bundle` is damaged or was changed: it has [SIZE] after its end
    hint: nothing was written. Copy the file again; if that does not help, somebody has changed it: make it again from the lock
    ");
    assert_snapshot!(world.mlconda(["bundle", "--verify", "env.lock"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` is not a bundle
    hint: `mlconda verify` verifies environments; `mlconda bundle` makes bundles
    ");
}

#[test]
fn one_with_another_archive_or_lock() {
    let world = bundled(&["tzdata", "where-2.0"]);
    let whole = fs_err::read(path(&world, "env.bundle")).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).rposition(|window| window == text).unwrap();
    let change = |place: usize| {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs_err::write(path(&world, "changed.bundle"), changed).unwrap();
    };
    // The beginning of an archive, which is a zip.
    change(find(b"PK\x03\x04") + 40);
    let before = world.tree();
    let refused = install(&world, "changed.bundle", "prefix").failure(1);
    assert_snapshot!(refused, @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages ([SIZE]) into `[TEMP]/work/prefix`
    error: `tzdata-2024a-hd8ed1ab_0.conda` in `[TEMP]/work/changed.bundle` is not what the lock says: its sha256 is [SHA256], not [SHA256]
    hint: nothing was installed. Copy the file again; if that does not help, somebody has changed it: make it again from the lock
    ");
    assert_eq!(tree::difference(&before, &world.tree()), "");
    change(find(b"@EXPLICIT") + 30);
    assert_snapshot!(install(&world, "changed.bundle", "prefix").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/changed.bundle` is damaged or was changed: `locks/env.[HOST].lock` is not what was put into it
    hint: nothing was written. Copy the file again; if that does not help, somebody has changed it: make it again from the lock
    ");
    // A digest in the list.
    change(find(b"\"path\": \"locks/") - 10);
    install(&world, "changed.bundle", "prefix").failure(1);
}

#[test]
fn one_whose_lock_names_what_is_not_in_it() {
    let world = bundled(&["tzdata", "where-2.0"]);
    // A bundle that was repacked with a valid list, but without one archive.
    let directory = unpacked(&world, "env.bundle");
    let list = fs_err::read_to_string(directory.join("mlconda-bundle.json")).unwrap();
    let lines: Vec<&str> = list.lines().filter(|line| !line.contains("/where-2.0")).collect();
    let list = lines.join("\n") + "\n";
    fs_err::write(directory.join("mlconda-bundle.json"), &list).unwrap();
    let names =
        list.lines().filter_map(|line| line.split("\"path\": \"").nth(1)).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<&str> = names.skip(1).collect();
    names.insert(0, "mlconda-bundle.json");
    let options =
        ["--format=ustar", "--owner=0", "--group=0", "--numeric-owner", "-cf", "less.bundle", "-C", "unpacked"];
    world.run("tar", &[&options[..], &names].concat()).success();
    let before = world.tree();
    assert_snapshot!(install(&world, "less.bundle", "prefix").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/less.bundle` has no archive of `where-2.0-h4bc722e_0.conda`, which its lock `locks/env.[HOST].lock` names
    hint: nothing was written. Copy the file again; if that does not help, somebody has changed it: make it again from the lock
    ");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn one_for_another_platform_or_of_a_newer_mlconda() {
    let world = bundled(&["tzdata"]);
    let lock = world.read("env.lock").replace(host_subdir(), foreign_subdir());
    world.write("foreign.lock", &lock);
    let package =
        mlconda_test::package::PackageBuilder::new("plain", "1.0").noarch(mlconda_test::package::Noarch::Generic);
    world.write("foreign.lock", &format!("# platform: {}\n@EXPLICIT\n{}", foreign_subdir(), line(&world, &package)));
    bundle(&world, &["foreign.lock", "-o", "foreign.bundle"]).success();
    assert_snapshot!(install(&world, "foreign.bundle", "prefix").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `foreign.bundle` is a lock for [FOREIGN], and this is [HOST]
    hint: make a lock with `mlconda lock --platform [HOST]`
    ");
    let mut newer = fs_err::read(path(&world, "env.bundle")).unwrap();
    let place = newer.windows(12).position(|window| window == b"\"format\": 1,").unwrap() + 10;
    newer[place] = b'2';
    fs_err::write(path(&world, "newer.bundle"), newer).unwrap();
    assert_snapshot!(install(&world, "newer.bundle", "prefix").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/newer.bundle` has bundle format 2; this mlconda reads formats up to 1
    hint: use the mlconda that wrote it, or a newer one
    ");
}

#[test]
fn archives_that_are_not_what_the_lock_says_do_not_get_into_one() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    server.fail("where", mlconda_test::server::Fault::Corrupted);
    let refused = bundle(&world, &["env.lock", "-o", "env.bundle"]).failure(1);
    assert!(refused.stderr.contains("is not what the lock says: its sha256 is "), "{refused}");
    assert!(!path(&world, "env.bundle").exists());
    server.recover();
    let local = line(&world, &mlconda_test::package::PackageBuilder::new("plain", "1.0"));
    let wrong = format!("{}{}\n", &local[..local.len() - 65], "0".repeat(64));
    crate::packages::lock(&world, &[&wrong]);
    let refused = bundle(&world, &["env.lock", "-o", "local.bundle"]).failure(1);
    assert!(refused.stderr.contains("is not what the lock says: its sha256 is "), "{refused}");
    assert!(!path(&world, "local.bundle").exists() && !path(&world, "local.bundle.partial").exists());
}
