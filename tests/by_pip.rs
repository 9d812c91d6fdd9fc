//! What pip has installed, replaced and removed in an environment: no record lists it, so every command that makes
//! something else of the records says so.

use insta::assert_snapshot;
use mlconda_test::context::{TestContext, argument};

use crate::{
    conda::World,
    pip_install::{add, line, simple},
    world,
};

const SITE: &str = "lib/python3.11/site-packages";

/// An environment `ml` with conda's `pip` 24.0 and mlconda's `tinyw` 1.1 and `gone` 1.0. Then pip has replaced the first
/// two, removed the third and installed a fourth.
fn changed(world: &TestContext) {
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "pip-24.0"]);
    add(&lock, &[line(world, &simple("tinyw", "1.1"), ""), line(world, &simple("gone", "1.0"), "")]);
    world.mlconda(["install", "env.lock", "-n", "ml"]).success();
    let site = world.named_prefix("ml").join(SITE);
    for gone in ["pip-24.0.dist-info", "tinyw-1.1.dist-info", "gone-1.0.dist-info"] {
        fs_err::remove_dir_all(site.join(gone)).unwrap();
    }
    for (name, version) in [("pip", "25.0"), ("tinyw", "1.0"), ("new", "3.0")] {
        let info = site.join(format!("{name}-{version}.dist-info"));
        fs_err::create_dir_all(&info).unwrap();
        fs_err::write(info.join("METADATA"), format!("Name: {name}\nVersion: {version}\n")).unwrap();
        fs_err::write(info.join("RECORD"), format!("{name}-{version}.dist-info/METADATA,,\n")).unwrap();
    }
}

/// A lock of a prefix had the old versions, and no word of it.
#[test]
fn a_lock_of_a_prefix_says_what_pip_has_changed() {
    let world = world();
    changed(&world);
    let prefix = world.named_prefix("ml");
    let prefix = argument(&prefix);
    let locked = world.mlconda(["lock", "--from-prefix", prefix, "-o", "again.lock"]).success();
    assert_snapshot!(world.normal(&locked.stderr), @"
    warning: pip has installed 3 packages in `[TEMP]/root/envs/ml` that are not in the lock: `new==3.0`, `pip==25.0` and `tinyw==1.0`
    warning: pip has replaced or removed 3 packages in `[TEMP]/root/envs/ml`, but the lock has `pip 24.0`, `gone 1.0` and `tinyw 1.1`
    hint: `mlconda export [TEMP]/root/envs/ml` writes an environment.yml with the packages of pip in its `pip:` list; `mlconda lock` locks that
    warning: an explicit lock cannot contain dependencies, licences and times of packages
    3 packages and 2 of pip of `[TEMP]/root/envs/ml` are locked in `again.lock`.
    ");
    for arguments in [
        &["convert", prefix, "--to", "pixi"][..],
        &["export", "-n", "ml", "--explicit"],
        &["fetch", prefix],
        &["install", prefix, "-p", "../copy"],
        &["bundle", prefix, "-o", "ml.tar"],
        &["image", prefix, "--output", "ml-image.tar", "--base", "scratch", "--tag", "x", "-n", "ml"],
    ] {
        let outcome = world.mlconda(arguments).success();
        let warnings = "that are not in the lock: `new==3.0`, `pip==25.0` and `tinyw==1.0`\n";
        assert!(outcome.stderr.contains(warnings) && outcome.stderr.matches(warnings).count() == 1, "{outcome}");
    }
    // Nothing is made of the records here.
    for arguments in [&["cache", "prune", "--dry-run", "--keep-locks", prefix][..], &["verify", prefix, "--repair"]] {
        let outcome = world.mlconda(arguments).success();
        assert!(!outcome.stderr.contains("pip has installed"), "{outcome}");
    }
}

/// `diff` of two prefixes had no differences.
#[test]
fn a_diff_says_which_packages_of_pip_it_does_not_compare() {
    let world = world();
    changed(&world);
    let prefix = world.named_prefix("ml");
    let outcome = world.mlconda(["diff", "env.lock", argument(&prefix)]).success();
    assert_snapshot!(world.normal(&outcome.stderr), @"
    warning: pip has installed 3 packages in `[TEMP]/root/envs/ml` that are not compared: `new==3.0`, `pip==25.0` and `tinyw==1.0`
    warning: pip has replaced or removed 3 packages in `[TEMP]/root/envs/ml`, but the records have `pip 24.0`, `gone 1.0` and `tinyw 1.1`
    ");
    let tree = world.mlconda(["tree", "-n", "ml", "--depth", "0"]).success();
    assert_snapshot!(world.normal(&tree.stderr), @"
    warning: pip has installed 3 packages that no record lists: `new==3.0`, `pip==25.0` and `tinyw==1.0`
    warning: pip has replaced or removed 3 packages, but the records have `pip 24.0`, `gone 1.0` and `tinyw 1.1`
    ");
}

/// The clone got the version that pip had replaced, beside a warning that the package is not copied.
#[test]
fn a_clone_has_no_package_that_it_says_is_not_copied() {
    let world = World::new();
    changed(&world.context);
    let outcome = world.run("conda create -y -n copy --clone ml").success();
    let warnings: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_snapshot!(warnings.join("\n"), @"
    warning: `new==3.0`, `pip==25.0` and `tinyw==1.0` were installed by pip and are not copied: `--clone` copies packages with a record only
    warning: pip has replaced or removed 1 package, but the clone has `pip 24.0`
    ");
    let listed = world.context.mlconda(["list", "-n", "copy"]).success().stdout;
    assert!(listed.contains("pip     24.0") && !listed.contains("tinyw") && !listed.contains("gone"), "{listed}");
}
