//! Contents of archives: where entries may be written, and in which order they may come.

use std::{os::unix::fs::MetadataExt, path::Path};

use mlconda_test::{
    context::{TestContext, argument},
    package::{Noarch, PackageBuilder},
    tree,
};

use crate::{
    packages::{
        Info, Part,
        Part::{Hard, Soft},
        archive, line, lock,
    },
    world,
};

/// Makes the package cache. Returns the environment variable for it.
fn cache(world: &TestContext) -> (&'static str, String) {
    let cache = world.path().join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    ("MLCONDA_CACHE_DIR", argument(&cache).to_owned())
}

/// Installs one package, with and without the package cache. Both must fail with this message.
fn refused(world: &TestContext, package: &str, message: &str) {
    let lock = lock(world, &[package]);
    let cache = cache(world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).failure(1);
        assert!(outcome.stderr.contains(message), "{variables:?}: {outcome}");
        assert!(!world.work().join("prefix").exists(), "{variables:?}: there is a prefix");
    }
}

#[test]
fn a_hard_link_through_a_soft_link_gets_nothing() {
    let world = world();
    let outside = world.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("secret"), "secret").unwrap();
    let to: &'static str = argument(&outside).to_owned().leak();
    let file: &'static str = format!("{to}/secret").leak();
    let archives = [
        ("direct", vec![("M", Soft(to)), ("stolen", Hard("M/secret"))]),
        ("chained", vec![("L", Soft(to)), ("M", Soft("L")), ("stolen", Hard("M/secret"))]),
        ("absolute", vec![("stolen", Hard(file))]),
        ("relative", vec![("stolen", Hard("../../../outside/secret"))]),
    ];
    for (name, parts) in archives {
        let lock = lock(&world, &[&archive(&world, name, Info::First, "", &parts)]);
        let cache = cache(&world);
        for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
            // `--allow-outward-links` does not permit this either.
            let arguments = ["install", argument(&lock), "-p", "prefix", "--allow-outward-links"];
            let outcome = world.mlconda_with(arguments, variables).failure(1);
            assert!(outcome.stderr.contains(&format!("`{name}-1.0-0.tar.bz2` is invalid")), "{outcome}");
        }
    }
    assert_eq!(fs_err::metadata(outside.join("secret")).unwrap().nlink(), 1);
    assert_eq!(tree::paths(&outside).unwrap(), "secret\n");
}

#[test]
fn a_package_writes_where_it_may_only() {
    let world = world();
    let absolute = world.path().join("evil-absolute");
    let paths = ["../evil", "share/../../evil", argument(&absolute), "conda-meta/evil.json", ".mlconda-clash/0/evil"];
    for (number, path) in paths.into_iter().enumerate() {
        let parts = [("share/good", Part::File("good")), (path, Part::File("evil"))];
        let package = archive(&world, &format!("evil-{number}"), Info::First, "", &parts);
        refused(&world, &package, "is not a path that a package may write");
    }
    let evil = world.tree().into_keys().filter(|path| path.ends_with("evil"));
    // A package's own directory in the cache may contain any files.
    let evil: Vec<String> = evil.filter(|path| !path.starts_with("cache/packages-3/")).collect();
    assert!(evil.is_empty() && !absolute.exists(), "{evil:?}");
}

#[test]
fn two_paths_of_a_package_are_not_one_in_the_prefix() {
    let world = world();
    let [site, library] = ["site-packages/x.py", "lib/python3.11/site-packages/x.py"];
    let package = PackageBuilder::new("twice", "1.0").noarch(Noarch::Python).file(site, "1\n").file(library, "2\n");
    let package = line(&world, &package);
    let names = ["tzdata", "python-3.11.9"];
    let lock = world.write_lock("env.lock", None, &names);
    world.write("env.lock", &(world.read("env.lock") + &package));
    let cache = cache(&world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).failure(1);
        assert!(outcome.stderr.contains(&format!("two of its paths are to be `{library}`")), "{outcome}");
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let world = world();
    let outside = world.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    let to: &'static str = argument(&outside).to_owned().leak();
    let package = archive(&world, "through", Info::First, "", &[("M", Soft(to)), ("M/x", Part::File("x"))]);
    let lock = lock(&world, &[&package]);
    let cache = cache(&world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let arguments = ["install", argument(&lock), "-p", "prefix", "--allow-outward-links"];
        world.mlconda_with(arguments, variables).failure(1);
    }
    assert_eq!(tree::paths(&outside).unwrap(), "");
}

#[test]
fn links_out_of_the_prefix_are_made_only_if_that_is_asked_for() {
    let world = world();
    for (number, to) in ["/etc/hostname", "../../../outside", "down/../../outside"].into_iter().enumerate() {
        let package = PackageBuilder::new(&format!("escape-{number}"), "1.0").link("share/deep/escape", to);
        let package = line(&world, &package);
        refused(&world, &package, &format!("points out of the prefix, to `{to}`"));
        let (lock, prefix) = (lock(&world, &[&package]), format!("prefix-{number}"));
        world.mlconda(["install", argument(&lock), "-p", &prefix, "--allow-outward-links"]).success();
        assert_eq!(fs_err::read_link(world.work().join(prefix).join("share/deep/escape")).unwrap(), Path::new(to));
    }
}

#[test]
fn archives_in_an_unusual_order() {
    let world = world();
    let parts = [("share/one", Part::File("one")), ("share/two", Hard("share/one")), ("share/link", Soft("one"))];
    let dotted = [("share/one", Part::File("one")), ("share/two", Hard("./share/one")), ("share/link", Soft("one"))];
    let packages = [
        archive(&world, "usual", Info::First, "", &parts),
        archive(&world, "dotted", Info::First, "./", &dotted),
        archive(&world, "late", Info::Last, "", &parts),
        archive(&world, "dotted-late", Info::Last, "./", &dotted),
        archive(&world, "divided", Info::Divided, "", &parts),
    ];
    let cache = cache(&world);
    let mut trees = Vec::new();
    for package in packages {
        let lock = lock(&world, &[&package]);
        for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
            let prefix = world.work().join("prefix");
            let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).success();
            assert!(!outcome.stderr.contains("warning"), "it gets into the cache, too: {outcome}");
            trees.push(tree::tree(&prefix.join("share")).unwrap());
            fs_err::remove_dir_all(prefix).unwrap();
        }
    }
    assert_eq!(trees[0].keys().collect::<Vec<_>>(), ["link", "one", "two"]);
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:?}");
}
