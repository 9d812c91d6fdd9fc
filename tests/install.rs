//! `install`: packages of every kind become a prefix, and nothing else becomes anything.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use mlconda_test::{
    context::{TestContext, argument},
    foreign_subdir,
    package::PLACEHOLDER,
    tree,
};

use crate::{serve, world};

/// One package of each kind, dependencies first.
const EVERY_KIND: [&str; 17] = [
    "tzdata",
    "python-3.11.9",
    "where-2.0",
    "archived",
    "ancient",
    "greet-2.0",
    "pip",
    "scripts",
    "links",
    "hollow",
    "unicode",
    "after-link-1.0",
    "activated",
    "with-variables",
    "ml-stack",
    "clash-left",
    "needs-glibc",
];

/// Installs packages of the small channel into `PREFIX` of a world, and gives the prefix.
fn installed(world: &TestContext, packages: &[&str]) -> std::path::PathBuf {
    let lock = world.write_lock("env.lock", None, packages);
    let prefix = world.path().join("prefix");
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    prefix
}

#[test]
fn packages_of_every_kind() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    assert_snapshot!(tree::paths(&prefix).unwrap(), @"");
}

#[test]
fn no_placeholder_is_left() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    for (path, what) in tree::tree(&prefix).unwrap() {
        // The records say what the placeholder was.
        if what.starts_with("file") && !path.starts_with("conda-meta/") {
            let contents = fs_err::read(prefix.join(&path)).unwrap();
            assert!(!contents.windows(255).any(|window| window == PLACEHOLDER.as_bytes()), "{path}");
        }
    }
}

#[test]
fn programs_know_their_prefix() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    let run = |program: &str| world.normal(&world.run(prefix.join(program), &[]).success().stdout);
    assert_snapshot!(run("bin/where-am-i"), @"");
    assert_snapshot!(run("bin/archived-link"), @"");
    assert_snapshot!(run("bin/ancient-link"), @"");
    assert_snapshot!(run("bin/say-hello"), @"");
    assert_snapshot!(run("bin/greet"), @"");
    assert_snapshot!(run("bin/greet-script"), @"");
    assert_snapshot!(run("bin/show-prefix"), @"");
}

#[test]
fn soft_links_stay_what_they_are() {
    let world = world();
    let prefix = installed(&world, &["links"]);
    let mut entries = tree::tree(&prefix).unwrap();
    entries.retain(|_, what| what.starts_with("link"));
    let lines: String = entries.iter().map(|(path, what)| format!("{path} {what}\n")).collect();
    assert_snapshot!(lines, @"");
}

#[test]
fn scripts_of_packages_run() {
    let world = world();
    let prefix = installed(&world, &["after-link-1.0"]);
    let text = fs_err::read_to_string(prefix.join("share/after-link/linked.txt")).unwrap();
    assert_eq!(text, format!("after-link 1.0 was linked into {}\n", prefix.display()));
}

#[test]
fn a_server_and_a_directory_give_the_same_prefix() {
    let (world, server) = (world(), serve());
    let prefix = installed(&world, &EVERY_KIND);
    let mut from_directory = tree::tree(&prefix).unwrap();
    fs_err::remove_dir_all(&prefix).unwrap();
    let lock = world.write_lock("env.lock", Some(&server.url("main")), &EVERY_KIND);
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    let mut from_server = tree::tree(&prefix).unwrap();
    // The records say where a package came from.
    for entries in [&mut from_directory, &mut from_server] {
        entries.retain(|path, _| !path.starts_with("conda-meta/"));
    }
    assert_eq!(tree::difference(&from_directory, &from_server), "");
    assert_eq!(server.count(".conda") + server.count(".tar.bz2"), EVERY_KIND.len());
}

#[test]
fn nothing_is_left_over() {
    let (world, server) = (world(), serve());
    let lock = world.write_lock("env.lock", Some(&server.url("main")), &EVERY_KIND);
    let before = world.tree();
    world.mlconda(["install", argument(&lock), "-p", argument(&world.path().join("prefix"))]).success();
    let mut after = world.tree();
    after.retain(|path, _| path != "prefix" && !path.starts_with("prefix/"));
    assert_eq!(tree::difference(&before, &after), "");
}

#[test]
fn a_second_time_there_is_nothing_to_do() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    let before = identities(&prefix);
    let outcome = world.mlconda(["install", "env.lock", "-p", argument(&prefix)]).success();
    assert_snapshot!(outcome, @"");
    assert_eq!(before, identities(&prefix));
}

/// Which file of the file system lies at each path.
pub(crate) fn identities(prefix: &std::path::Path) -> BTreeMap<String, (u64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &String| {
        let metadata = fs_err::symlink_metadata(prefix.join(path)).unwrap();
        (metadata.ino(), metadata.mtime())
    };
    tree::tree(prefix).unwrap().keys().map(|path| (path.clone(), identity(path))).collect()
}

#[test]
fn the_lock_names_the_environment() {
    let world = world();
    world.locked("env.lock", &["where"]);
    world.mlconda(["install", "env.lock"]).success();
    world.mlconda(["install", "env.lock", "-n", "other"]).success();
    for name in ["small", "other"] {
        assert!(world.named_prefix(name).join("bin/where-am-i").is_file(), "{name}");
    }
}

#[test]
fn what_users_write_becomes_a_prefix() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment.yml"));
    world.lock(&[]).success();
    world.mlconda(["install", "env.lock"]).success();
    let prefix = world.named_prefix("ml");
    assert_snapshot!(world.normal(&fs_err::read_to_string(prefix.join("conda-meta/state")).unwrap()), @"");
    assert_snapshot!(world.normal(&fs_err::read_to_string(prefix.join("conda-meta/history")).unwrap()), @"");
}

#[test]
fn an_environment_is_installed_without_a_lock() {
    let world = world();
    world.write_environment(&["where=1.1"]);
    let before = world.tree();
    world.mlconda(["install", "environment.yml"]).success();
    let mut after = world.tree();
    after.retain(|path, _| path != "root" && !path.starts_with("root/"));
    assert_eq!(tree::difference(&before, &after), "");
    let message = fs_err::read_to_string(world.named_prefix("small").join("share/where/message.txt")).unwrap();
    assert_eq!(message, "where 1.1\n");
}

#[test]
fn a_cache_is_used_if_there_is_one() {
    let (world, server) = (world(), serve());
    let cache = world.home().join(".cache/mlconda");
    fs_err::create_dir_all(&cache).unwrap();
    let lock = world.write_lock("env.lock", Some(&server.url("main")), &["where-2.0", "tzdata"]);
    for prefix in ["one", "two"] {
        world.mlconda(["install", argument(&lock), "-p", argument(&world.path().join(prefix))]).success();
    }
    assert_eq!(server.count(".conda"), 2, "each is downloaded once");
    let shared = |prefix: &str| identities(&world.path().join(prefix))["share/zoneinfo/Etc/UTC"];
    assert_eq!(shared("one"), shared("two"));
    let archives = tree::paths(&cache).unwrap().lines().filter(|path| path.ends_with(".conda")).count();
    assert_eq!(archives, 0);
}

#[test]
fn two_packages_may_claim_a_path() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["clash-left", "clash-right"]);
    let prefix = world.path().join("prefix");
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success(), @"");
    assert_snapshot!(fs_err::read_to_string(prefix.join("share/clash/shared.txt")).unwrap(), @"");
}

#[test]
fn a_lock_with_md5_only_installs_and_says_so() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    let archive = world.channels().main.path().join("noarch/tzdata-2024a-hd8ed1ab_0.conda");
    let md5 = mlconda_test::md5_hex(fs_err::read(archive).unwrap());
    fs_err::write(&lock, format!("{}#{md5}\n", text.split("#sha256:").next().unwrap())).unwrap();
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "prefix"]).success(), @"");
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let before = world.tree();
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", "prefix", "--dry-run"]).success(), @"");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn of_several_platforms_the_machines_is_installed() {
    let world = world();
    world.write_environment(&["where=2.0"]);
    world.lock(&["--platform", foreign_subdir(), "--platform", mlconda_test::host_subdir()]).success();
    let files = [foreign_subdir(), mlconda_test::host_subdir()].map(|subdir| format!("env.{subdir}.lock"));
    world.mlconda(["install", &files[0], &files[1], "-p", "prefix"]).success();
    world.run("prefix/bin/where-am-i", &[]).success();
}
