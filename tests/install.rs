//! `install`: packages of every kind are installed into a prefix, and nothing outside of it changes.

mod bytecode;
mod reproducible;
mod signed;

use std::collections::BTreeMap;

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    foreign_subdir,
    package::PLACEHOLDER,
    sha256_hex, tree,
};

use crate::{
    packages::{Info, Part, archive},
    serve, world,
};

/// One package of each kind, dependencies first.
pub(crate) const EVERY_KIND: [&str; 17] = [
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

/// Installs packages of the small channel into `PREFIX` of a context. Returns the prefix.
pub(crate) fn installed(world: &TestContext, packages: &[&str]) -> std::path::PathBuf {
    let lock = world.write_lock("env.lock", None, packages);
    let prefix = world.path().join("prefix");
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    prefix
}

#[test]
fn packages_of_every_kind() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    let paths = tree::paths(&prefix).unwrap();
    // Directories are listed by their contents only.
    let is_leaf = |path: &&str| !paths.contains(&format!("{path}/"));
    let leaves = paths.lines().filter(is_leaf).filter(|path| !path.starts_with("conda-meta/"));
    assert_snapshot!(leaves.collect::<Vec<_>>().join("\n"), @r"
    bin/.after-link-post-link.sh
    bin/.after-link-pre-unlink.sh
    bin/ancient
    bin/ancient-link
    bin/archived
    bin/archived-link
    bin/greet
    bin/greet-script
    bin/pip
    bin/pip3
    bin/python
    bin/python3
    bin/python3.11
    bin/say-hello
    bin/show-prefix
    bin/where-am-i
    etc/archived.conf
    etc/conda/activate.d/activated.sh
    etc/conda/deactivate.d/activated.sh
    etc/conda/env_vars.d/with-variables.json
    lib/links/libone.so
    lib/links/libone.so.1
    lib/links/libone.so.1.2.3
    lib/pkgconfig/scripts.pc
    lib/python3.11/_sysconfigdata.py
    lib/python3.11/lib-dynload
    lib/python3.11/os.py
    lib/python3.11/site-packages/README.txt
    lib/python3.11/site-packages/greet-2.0.dist-info/INSTALLER
    lib/python3.11/site-packages/greet-2.0.dist-info/METADATA
    lib/python3.11/site-packages/greet/__init__.py
    lib/python3.11/site-packages/greet/__pycache__/__init__.cpython-311.pyc
    lib/python3.11/site-packages/greet/__pycache__/cli.cpython-311.pyc
    lib/python3.11/site-packages/greet/cli.py
    lib/python3.11/site-packages/greet/data/greeting.txt
    lib/python3.11/site-packages/pip-24.0.dist-info/INSTALLER
    lib/python3.11/site-packages/pip-24.0.dist-info/METADATA
    lib/python3.11/site-packages/pip/__init__.py
    lib/python3.11/site-packages/pip/__pycache__/__init__.cpython-311.pyc
    lib/python3.11/site-packages/pip/__pycache__/cli.cpython-311.pyc
    lib/python3.11/site-packages/pip/cli.py
    share/after-link/README.txt
    share/after-link/linked.txt
    share/clash/left.txt
    share/clash/shared.txt
    share/greet/where.txt
    share/hollow/README.txt
    share/links/dangling
    share/links/directory
    share/links/from-afar
    share/needs-glibc.txt
    share/unicode/a file with spaces
    share/unicode/naïve café.txt
    share/unicode/ссылка
    share/unicode/日本語/データ.txt
    share/where/message.txt
    share/zoneinfo/Etc/UTC
    share/zoneinfo/Europe/Paris
    share/zoneinfo/Zulu
    var/hollow/spool
    var/hollow/told
    var/空
    ");
}

#[test]
fn each_package_has_its_record() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    let paths = tree::paths(&prefix).unwrap();
    let records = paths.lines().filter(|path| path.starts_with("conda-meta/") && path.ends_with(".json"));
    assert_eq!(records.count(), EVERY_KIND.len());
}

#[test]
fn no_placeholder_is_left() {
    let world = world();
    let prefix = installed(&world, &EVERY_KIND);
    for (path, what) in tree::tree(&prefix).unwrap() {
        // Only the records mention the placeholder.
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
    assert_snapshot!(run("bin/where-am-i"), @r"
    prefix: [TEMP]/prefix
    message: where 2.0
    ");
    assert_snapshot!(run("bin/archived-link"), @r"
    prefix: [TEMP]/prefix
    message: where 2.0
    ");
    assert_snapshot!(run("bin/ancient-link"), @"[TEMP]/prefix");
    assert_snapshot!(run("bin/say-hello"), @"python stand-in in [TEMP]/prefix runs [TEMP]/prefix/bin/say-hello with []");
    assert_snapshot!(run("bin/greet"), @"python stand-in in [TEMP]/prefix runs [TEMP]/prefix/bin/greet with []");
    assert_snapshot!(run("bin/greet-script"), @"python stand-in in [TEMP]/prefix runs [TEMP]/prefix/bin/greet-script with []");
    assert_snapshot!(run("bin/show-prefix"), @"[TEMP]/prefix");
}

#[test]
fn soft_links_stay_what_they_are() {
    let world = world();
    let prefix = installed(&world, &["links"]);
    let mut entries = tree::tree(&prefix).unwrap();
    entries.retain(|_, what| what.starts_with("link"));
    let lines: String = entries.iter().map(|(path, what)| format!("{path} {what}\n")).collect();
    assert_snapshot!(lines, @r"
    lib/links/libone.so link -> libone.so.1
    lib/links/libone.so.1 link -> libone.so.1.2.3
    share/links/dangling link -> nothing-here
    share/links/directory link -> ../../lib/links
    share/links/from-afar link -> ../../lib/links/libone.so
    ");
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
    // The records contain the origin of a package.
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
    assert_snapshot!(outcome, @r"
    exit code 0
    --- stdout
    --- stderr
    `[TEMP]/prefix` is up to date: 17 packages.
    ");
    assert_eq!(before, identities(&prefix));
}

/// The identity of the file at each path: inode and time.
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
    assert_snapshot!(world.normal(&fs_err::read_to_string(prefix.join("conda-meta/state")).unwrap()), @r#"
    {
      "env_vars": {
        "OMP_NUM_THREADS": "1",
        "DATA": "/srv/data set"
      }
    }
    "#);
    assert_snapshot!(world.normal(&fs_err::read_to_string(prefix.join("conda-meta/history")).unwrap()), @r#"
    ==> 2023-11-14 22:13:20 <==
    # cmd: mlconda install
    +file://[CHANNELS]/extra/noarch::special-1.2-hd8ed1ab_0
    +file://[CHANNELS]/main/[HOST]::arrays-1.26.4-cpu_py311_0
    +file://[CHANNELS]/main/[HOST]::libarrays-3.0.1-h4bc722e_0
    +file://[CHANNELS]/main/[HOST]::python-3.11.9-h4bc722e_0_cpython
    +file://[CHANNELS]/main/[HOST]::where-2.0-h4bc722e_0
    +file://[CHANNELS]/main/noarch::frames-2.1-pyhd8ed1ab_0
    +file://[CHANNELS]/main/noarch::greet-1.1-pyhd8ed1ab_0
    +file://[CHANNELS]/main/noarch::pip-24.0-pyhd8ed1ab_0
    +file://[CHANNELS]/main/noarch::python_abi-3.11-8_cp311
    +file://[CHANNELS]/main/noarch::tzdata-2024a-hd8ed1ab_0
    +file://[CHANNELS]/main/noarch::with-variables-1.0-hd8ed1ab_0
    # update specs: ['arrays >=1.25,<2', 'file://[CHANNELS]/extra::special=1.2', 'frames==2.1', 'greet=1.1=pyhd8ed1ab_0', "libarrays[version='>=3.0,<3.2']", 'pip', 'python=3.11', 'where', 'with-variables']
    "#);
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
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success(), @r"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    warning: `clash-left-1.0-hd8ed1ab_0` and `clash-right-1.0-hd8ed1ab_0` hold `share/clash/shared.txt`; the file of `clash-right-1.0-hd8ed1ab_0` is there
    + clash-left 1.0
    + clash-right 1.0
    Linked 2 packages in `[TEMP]/prefix`: 4 files, [SIZE], in [TIME].
    ");
    assert_snapshot!(fs_err::read_to_string(prefix.join("share/clash/shared.txt")).unwrap(), @"from clash-right");
}

#[test]
fn a_lock_with_md5_only_installs_and_says_so() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    let archive = world.channels().main.path().join("noarch/tzdata-2024a-hd8ed1ab_0.conda");
    let md5 = mlconda_test::md5_hex(fs_err::read(archive).unwrap());
    fs_err::write(&lock, format!("{}#{md5}\n", text.split("#sha256:").next().unwrap())).unwrap();
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "prefix"]).success(), @r"
    exit code 0
    --- stdout
    --- stderr
    warning: `env.lock` has no sha256 for 1 package; `mlconda lock` pins every package by sha256
    Installing 1 package into `[TEMP]/work/prefix`
    + tzdata 2024a
    Linked 1 package in `[TEMP]/work/prefix`: 3 files, [SIZE], in [TIME].
    ");
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let before = world.tree();
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", "prefix", "--dry-run"]).success(), @r"
    exit code 0
    --- stdout
    --- stderr
    + tzdata-2024a-hd8ed1ab_0
    + where-2.0-h4bc722e_0
    Would link 2 packages and unlink 0 in `[TEMP]/work/prefix`; 0 would stay.
    ");
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

#[test]
fn programs_hear_of_events() {
    let (world, server) = (world(), serve());
    let lock = world.write_lock(
        "env.lock",
        Some(&server.url("main")),
        &["tzdata", "python-3.11.9", "templates", "after-link-1.0"],
    );
    let last = |outcome: &Outcome| {
        let line = outcome.stderr.lines().rfind(|line| line.contains("\"downloaded\"")).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes"].as_u64().unwrap()
    };
    let outcome = world.mlconda(["install", argument(&lock), "-p", "prefix", "--progress", "json"]).success();
    let events = outcome.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut names: Vec<String> = events.map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names.retain(|name| name != "downloaded" && name != "package-installed");
    assert_eq!(names, ["install-started", "bytecode-started", "committing", "script", "message", "finished"]);
    let sizes: u64 = world
        .read("env.lock")
        .lines()
        .filter(|line| line.starts_with("http"))
        .map(|line| {
            let path = line.split('#').next().unwrap().split_once("/main/").unwrap().1;
            fs_err::metadata(world.channels().main.path().join(path)).unwrap().len()
        })
        .sum();
    assert_eq!(last(&outcome), sizes);
    // Packages that need no download are counted, too.
    let local = world.write_lock("local.lock", None, &["tzdata", "python-3.11.9", "templates", "after-link-1.0"]);
    assert_eq!(
        last(&world.mlconda(["install", argument(&local), "-p", "other", "--progress", "json"]).success()),
        sizes
    );
    let failure = world.mlconda(["install", "missing.lock", "--progress", "json"]).failure(1);
    let error: serde_json::Value = serde_json::from_str(&failure.stderr).unwrap();
    assert_eq!(error["event"], "error");
}

#[test]
fn errors_of_the_command_line_are_events_too() {
    let world = world();
    let lines = [
        &["install", "--nope"][..],
        &["convert", "env.lock", "--to", "nope"],
        &["export", "-n"],
        &["nope"],
        &[],
        &["conda", "create", "--nope"],
        &["env", "list", "--nope"],
    ];
    for line in lines {
        for form in [&["--progress", "json"][..], &["--progress=json"]] {
            let told = world.mlconda(form.iter().chain(line)).failure(2);
            let events: Vec<serde_json::Value> =
                told.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
            assert_eq!(events.len(), 1, "{told}");
            assert_eq!(events[0]["event"], "error", "{told}");
            let text = events[0]["text"].as_str().unwrap();
            assert!(!text.is_empty() && !text.starts_with("error"), "{told}");
        }
    }
}

#[test]
fn downloads_are_as_many_as_allowed() {
    let (world, server) = (world(), serve());
    let lock = world.write_lock("env.lock", Some(&server.url("main")), &EVERY_KIND);
    world.mlconda(["install", argument(&lock), "-p", "prefix", "--downloads", "1"]).success();
    assert_eq!(server.most_at_once(), 1);
}

#[test]
fn what_is_installed_can_be_listed_and_run() {
    let world = world();
    world.locked("env.lock", &["ml-stack", "activated"]);
    world.mlconda(["install", "env.lock"]).success();
    assert_snapshot!(world.mlconda(["list", "-n", "small"]).success(), @r"
    exit code 0
    --- stdout
    # Name      Version  Build               Channel
    activated   1.0      hd8ed1ab_0          file://[CHANNELS]/main
    arrays      1.26.4   cpu_py311_0         file://[CHANNELS]/main
    frames      2.1      pyhd8ed1ab_0        file://[CHANNELS]/main
    greet       2.0      pyhd8ed1ab_0        file://[CHANNELS]/main
    libarrays   3.2.0    h4bc722e_0          file://[CHANNELS]/main
    ml-stack    2024.1   hd8ed1ab_0          file://[CHANNELS]/main
    pip         24.0     pyhd8ed1ab_0        file://[CHANNELS]/main
    python      3.11.9   h4bc722e_0_cpython  file://[CHANNELS]/main
    python_abi  3.11     8_cp311             file://[CHANNELS]/main
    tzdata      2024a    hd8ed1ab_0          file://[CHANNELS]/main
    where       2.0      h4bc722e_0          file://[CHANNELS]/main
    --- stderr
    ");
    assert_snapshot!(world.mlconda(["run", "greet", "you"]).success(), @r#"
    exit code 0
    --- stdout
    python stand-in in [TEMP]/root/envs/small runs [TEMP]/root/envs/small/bin/greet with ["you"]
    --- stderr
    "#);
    let variable = world.mlconda(["run", "sh", "-c", "echo $ACTIVATED"]).success();
    assert_eq!(variable.stdout, format!("yes, in {}\n", world.named_prefix("small").display()));
}
