//! Wheels in a prefix: the installed files, the errors, and the same guarantees as for conda packages.

mod refusals;
mod sources;

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    host_subdir,
    package::PackageBuilder,
    server::{Fault, Server},
    sha256_hex, tree,
    wheel::{Sdist, Wheel},
};

use crate::{packages, world};

const SITE: &str = "lib/python3.11/site-packages";
const PACKAGES: [&str; 2] = ["tzdata", "python-3.11.9"];

/// A wheel with everything that a wheel can contain.
fn rich() -> Wheel {
    Wheel::new("Rich.Tool", "1.0")
        .file("rich_tool/__init__.py", "x = 1\n")
        .executable("rich_tool/run.sh", "#!/bin/sh\n")
        .data("scripts", "rich-script", "#!python -E\nprint('script')\n")
        .data("scripts", "rich-shell", "#!/bin/sh\necho shell\n")
        .data("scripts", "rich", "#!python\nprint('the entry point of this name counts')\n")
        .data("data", "share/rich/data, and more.txt", "data\n")
        .data("headers", "rich.h", "#define RICH\n")
        .data("purelib", "rich_pure.py", "pure = True\n")
        .data("platlib", "rich_plat.py", "plat = True\n")
        .entry_point("console_scripts", "rich = rich_tool:main [color]")
        .entry_point("gui_scripts", "rich-window = rich_tool.window:Window.open")
        .entry_point("rich.plugins", "one = rich_tool:one")
}

pub(crate) fn simple(name: &str, version: &str) -> Wheel {
    Wheel::new(name, version).file(&format!("{name}/__init__.py"), format!("version = '{version}'\n"))
}

/// Writes a wheel. Returns its line in a lock, with `options` at the end.
pub(crate) fn line(world: &TestContext, wheel: &Wheel, options: &str) -> String {
    let archive = wheel.write(&world.path().join("wheels")).unwrap();
    let name = wheel.name().to_lowercase().replace(['.', '_'], "-");
    let sha256 = sha256_hex(fs_err::read(&archive).unwrap());
    format!("# pip {name} @ file://{} --hash=sha256:{sha256}{options}\n", archive.display())
}

/// Writes a lock of mlconda with packages and lines for wheels.
fn lock(world: &TestContext, packages: &[&str], lines: &[String]) -> PathBuf {
    let path = world.write_lock("env.lock", None, packages);
    add(&path, lines);
    path
}

/// Converts a lock to one of mlconda, with lines for wheels.
pub(crate) fn add(lock: &Path, lines: &[String]) {
    let text = fs_err::read_to_string(lock).unwrap();
    let head = format!("# mlconda lock: 1\n# input: sha256:{}\n{}", "0".repeat(64), lines.concat());
    fs_err::write(lock, text.replace("@EXPLICIT", &format!("{head}@EXPLICIT"))).unwrap();
}

fn install(world: &TestContext, lines: &[String]) -> Outcome {
    let lock = lock(world, &PACKAGES, lines);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"])
}

fn prefix(world: &TestContext) -> PathBuf {
    world.path().join("prefix")
}

/// The paths below `SITE`.
fn site(world: &TestContext) -> String {
    let paths = tree::paths(&prefix(world)).unwrap();
    paths.lines().filter(|line| line.contains("site-packages/")).map(|line| format!("{line}\n")).collect()
}

fn text(world: &TestContext, path: &str) -> String {
    fs_err::read_to_string(prefix(world).join(path)).unwrap()
}

#[test]
fn every_part_of_a_wheel_gets_its_place() {
    let world = world();
    let requirement = "# pip requirement: rich.tool>=1\n".to_owned();
    install(&world, &[requirement, line(&world, &rich(), "")]).success();
    let record = text(&world, &format!("{SITE}/rich_tool-1.0.dist-info/RECORD"));
    // The hashes of files that contain the prefix depend on the prefix.
    let shown = |line: &str| match line.split_once(',') {
        Some((path, _)) if path.starts_with("../../../bin/") => format!("{path},[OF THE PREFIX]\n"),
        _ => format!("{line}\n"),
    };
    let record: String = record.lines().map(shown).collect();
    assert_snapshot!(world.normal(&record), @r#"
    "../../../share/rich/data, and more.txt",sha256=Zmey0aq2oAyqWu5a-K2fFGXlZ6vxwgnRVyfVez6Pbl8,5
    ../../../bin/rich,[OF THE PREFIX]
    ../../../bin/rich-script,[OF THE PREFIX]
    ../../../bin/rich-shell,[OF THE PREFIX]
    ../../../bin/rich-window,[OF THE PREFIX]
    ../../../include/python3.11/Rich.Tool/rich.h,sha256=qBt3NdrlaMDkdCKXGSp9hSiMiZgVDwzIT189PaXPXZY,13
    __pycache__/rich_plat.cpython-311.pyc,,
    __pycache__/rich_pure.cpython-311.pyc,,
    rich_plat.py,sha256=SCBXSDZ_BguDsPhfuSRELkpRVfRkcfv8jqMsodsaHQg,12
    rich_pure.py,sha256=D4jPCNP0ykRLKXP4IPAwSA6S90sxnAFb2PUJPBvUq5k,12
    rich_tool-1.0.dist-info/INSTALLER,sha256=ojZBsKeREw1bqH-RwfX5d8TUt0CAqjOi7ya3jUM3WP4,8
    rich_tool-1.0.dist-info/METADATA,sha256=UQy7X5T0dk_Re4myJfXliVKd5sCfL86hlL24mhZxhsQ,51
    rich_tool-1.0.dist-info/RECORD,,
    rich_tool-1.0.dist-info/REQUESTED,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
    rich_tool-1.0.dist-info/WHEEL,sha256=RWnHMfW9T-t-xXtCPE-a_hIQGtOvT251fwfWEBIu5Tw,87
    rich_tool-1.0.dist-info/entry_points.txt,sha256=PC_mgarxjddmc4y3PCHxEKSO2h8411lnII4MkXbCe0Q,142
    rich_tool/__init__.py,sha256=nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q,6
    rich_tool/__pycache__/__init__.cpython-311.pyc,,
    rich_tool/run.sh,sha256=qAdtPSjSHgIBKyDq99v3VAmmJ3E0Q5Al8oLjaOMwWr8,10
    "#);
    assert_snapshot!(world.normal(&text(&world, "bin/rich-window")), @r"
    #![TEMP]/prefix/bin/python3.11
    # -*- coding: utf-8 -*-
    import re
    import sys

    from rich_tool.window import Window

    if __name__ == '__main__':
        sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])
        sys.exit(Window.open())
    ");
    assert_snapshot!(world.normal(&text(&world, "bin/rich-script")), @"
    #![TEMP]/prefix/bin/python3.11 -E
    print('script')
    ");
    let mode = |path: &str| fs_err::metadata(prefix(&world).join(path)).unwrap().permissions().mode() & 0o777;
    let programs = ["bin/rich", "bin/rich-shell", "lib/python3.11/site-packages/rich_tool/run.sh"];
    assert_eq!(programs.map(mode), [0o755; 3]);
    assert_eq!(mode("include/python3.11/Rich.Tool/rich.h"), 0o644);
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    let listed = world.mlconda(["list", "-p", "../prefix", "rich"]).success();
    for command in [["list", "--explicit"], ["export", "--explicit"]] {
        let text = world.mlconda([&command[..], &["-p", "../prefix"]].concat()).success().stdout;
        let lock = world.write("again.lock", &text);
        let planned = world.mlconda(["install", argument(&lock), "-p", "../prefix", "--dry-run"]).success();
        assert!(planned.stderr.contains("3 would stay"), "{text}{planned}");
    }
    assert_snapshot!(listed, @"
    exit code 0
    --- stdout
    # Name     Version  Build   Channel
    rich-tool  1.0      pypi_0  pypi
    --- stderr
    ");
}

#[test]
fn the_list_of_a_vendored_distribution_is_not_taken_for_the_wheels_own() {
    let world = world();
    let vendored = "tools/_vendor/helper-2.0.dist-info/RECORD";
    let wheel = simple("tools", "1.0").file(vendored, "helper.py,,\n").file("tools/_vendor/helper.py", "");
    install(&world, &[line(&world, &wheel, "")]).success();
    assert_eq!(text(&world, &format!("{SITE}/{vendored}")), "helper.py,,\n");
    let record = text(&world, &format!("{SITE}/tools-1.0.dist-info/RECORD"));
    let listed: Vec<&str> = record.lines().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(
        listed,
        [
            "tools-1.0.dist-info/INSTALLER",
            "tools-1.0.dist-info/METADATA",
            "tools-1.0.dist-info/RECORD",
            "tools-1.0.dist-info/WHEEL",
            "tools/__init__.py",
            "tools/__pycache__/__init__.cpython-311.pyc",
            "tools/_vendor/__pycache__/helper.cpython-311.pyc",
            vendored,
            "tools/_vendor/helper.py",
        ]
    );
    world.mlconda(["verify", "-p", "../prefix"]).success();
}

#[test]
fn where_a_wheel_came_from_is_said_if_its_requirement_said_so() {
    let world = world();
    install(&world, &[line(&world, &simple("direct", "1.0"), " --direct")]).success();
    let told = text(&world, &format!("{SITE}/direct-1.0.dist-info/direct_url.json"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let archive = world.path().join("wheels/direct-1.0-py3-none-any.whl");
    assert_eq!(told["url"], format!("file://{}", archive.display()));
    assert_eq!(told["archive_info"]["hashes"]["sha256"], sha256_hex(fs_err::read(archive).unwrap()));
    // The change to an index is recorded, too.
    install(&world, &[line(&world, &simple("direct", "1.0"), "")]).success();
    assert!(!prefix(&world).join(format!("{SITE}/direct-1.0.dist-info/direct_url.json")).exists());
}

#[test]
fn only_what_differs_changes() {
    let world = world();
    let wheels = |versions: [&str; 3]| {
        let names = ["stays", "changes", "goes"].into_iter().zip(versions).filter(|(_, version)| !version.is_empty());
        names.map(|(name, version)| line(&world, &simple(name, version), "")).collect::<Vec<_>>()
    };
    install(&world, &wheels(["1.0", "1.0", "1.0"])).success();
    let inode = || fs_err::metadata(prefix(&world).join(SITE).join("stays/__init__.py")).unwrap().ino();
    let stays = inode();
    let before = tree::tree(&prefix(&world)).unwrap();
    lock(&world, &PACKAGES, &wheels(["1.0", "2.0", ""]));
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--dry-run"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    - changes-1.0-pypi_0
    - goes-1.0-pypi_0
    + changes-2.0-pypi_0
    Would link 1 package and unlink 2 in `[TEMP]/prefix`; 3 would stay.
    ");
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert_snapshot!(tree::difference(&before, &tree::tree(&prefix(&world)).unwrap()), @"
    - conda-meta/changes-1.0-pypi_0.pip
    + conda-meta/changes-2.0-pypi_0.pip
    - conda-meta/goes-1.0-pypi_0.pip
    ~ conda-meta/history
    - lib/python3.11/site-packages/changes-1.0.dist-info
    - lib/python3.11/site-packages/changes-1.0.dist-info/INSTALLER
    - lib/python3.11/site-packages/changes-1.0.dist-info/METADATA
    - lib/python3.11/site-packages/changes-1.0.dist-info/RECORD
    - lib/python3.11/site-packages/changes-1.0.dist-info/WHEEL
    + lib/python3.11/site-packages/changes-2.0.dist-info
    + lib/python3.11/site-packages/changes-2.0.dist-info/INSTALLER
    + lib/python3.11/site-packages/changes-2.0.dist-info/METADATA
    + lib/python3.11/site-packages/changes-2.0.dist-info/RECORD
    + lib/python3.11/site-packages/changes-2.0.dist-info/WHEEL
    ~ lib/python3.11/site-packages/changes/__init__.py
    - lib/python3.11/site-packages/goes
    - lib/python3.11/site-packages/goes-1.0.dist-info
    - lib/python3.11/site-packages/goes-1.0.dist-info/INSTALLER
    - lib/python3.11/site-packages/goes-1.0.dist-info/METADATA
    - lib/python3.11/site-packages/goes-1.0.dist-info/RECORD
    - lib/python3.11/site-packages/goes-1.0.dist-info/WHEEL
    - lib/python3.11/site-packages/goes/__init__.py
    - lib/python3.11/site-packages/goes/__pycache__
    - lib/python3.11/site-packages/goes/__pycache__/__init__.cpython-311.pyc
    ");
    assert_eq!(stays, inode());
    let again = world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(again.stderr.contains("is up to date: 4 packages"), "{again}");
    // Another minor version of python has another `site-packages`.
    lock(&world, &["tzdata", "python-3.12.4"], &wheels(["1.0", "2.0", ""]));
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(!prefix(&world).join(SITE).join("stays").exists());
    assert!(prefix(&world).join("lib/python3.12/site-packages/stays/__init__.py").exists());
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
}

#[test]
fn what_pip_did_since_is_understood() {
    let world = world();
    let lines = [line(&world, &simple("one", "1.0"), ""), line(&world, &simple("two", "1.0"), "")];
    install(&world, &lines).success();
    let whole = tree::tree(&prefix(&world)).unwrap();
    let site = prefix(&world).join(SITE);
    // As pip leaves it: `one` is uninstalled, `two` has another version, and `three` is the user's.
    for gone in ["one", "one-1.0.dist-info", "two-1.0.dist-info"] {
        fs_err::remove_dir_all(site.join(gone)).unwrap();
    }
    for (name, version) in [("two", "2.0"), ("three", "1.0")] {
        let info = site.join(format!("{name}-{version}.dist-info"));
        fs_err::create_dir_all(&info).unwrap();
        fs_err::create_dir_all(site.join(name)).unwrap();
        fs_err::write(site.join(name).join("__init__.py"), "pip\n").unwrap();
        fs_err::write(site.join(name).join("new.py"), "pip\n").unwrap();
        fs_err::write(info.join("METADATA"), format!("Name: {name}\nVersion: {version}\n")).unwrap();
        let files = format!("{name}/__init__.py,,\n{name}/new.py,,\n{name}-{version}.dist-info/METADATA,,\n");
        fs_err::write(info.join("RECORD"), format!("{files}{name}-{version}.dist-info/RECORD,,\n../../../../x,,\n"))
            .unwrap();
    }
    world.mlconda(["verify", "../prefix", "env.lock"]).failure(1);
    let listed = world.mlconda(["list", "-p", "../prefix"]).success();
    assert_snapshot!(world.normal(&listed.stdout), @"
    # Name  Version  Build               Channel
    python  3.11.9   h4bc722e_0_cpython  file://[CHANNELS]/main
    three   1.0      pypi_0              pypi
    two     2.0      pypi_0              pypi
    tzdata  2024a    hd8ed1ab_0          file://[CHANNELS]/main
    ");
    let tree = world.mlconda(["tree", "-p", "../prefix", "--depth", "0"]).success();
    assert!(tree.stderr.contains("pip has installed 2 packages that no record lists"), "{tree}");
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    let difference = tree::difference(&whole, &tree::tree(&prefix(&world)).unwrap());
    assert_snapshot!(difference, @"
    ~ conda-meta/history
    + lib/python3.11/site-packages/three
    + lib/python3.11/site-packages/three-1.0.dist-info
    + lib/python3.11/site-packages/three-1.0.dist-info/METADATA
    + lib/python3.11/site-packages/three-1.0.dist-info/RECORD
    + lib/python3.11/site-packages/three/__init__.py
    + lib/python3.11/site-packages/three/new.py
    ");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    // A lock of another tool says nothing about wheels.
    let path = world.write_lock("other.lock", None, &PACKAGES);
    world.mlconda(["install", argument(&path), "-p", "../prefix"]).success();
    assert!(site.join("one/__init__.py").exists());
    install(&world, &[]).success();
    assert!(!site.join("one").exists() && site.join("three/new.py").exists());
}

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let world = world();
    let lines = [line(&world, &rich(), ""), line(&world, &simple("one", "1.0"), "")];
    install(&world, &lines).success();
    let first = tree::archived(&prefix(&world)).unwrap();
    let cache = world.home().join(".cache/mlconda");
    fs_err::create_dir_all(&cache).unwrap();
    for number in 0..3 {
        fs_err::remove_dir_all(prefix(&world)).unwrap();
        if number == 1 {
            // For another environment without the archives: everything is in the cache.
            fs_err::remove_dir_all(world.path().join("wheels")).unwrap();
        }
        world.mlconda(["install", "env.lock", "-p", "../prefix", "--threads", "1"]).success();
        assert_eq!(tree::difference(&first, &tree::archived(&prefix(&world)).unwrap()), "", "{number}");
    }
    let links = |path: &str| fs_err::metadata(prefix(&world).join(path)).unwrap().nlink();
    assert_eq!([links(&format!("{SITE}/one/__init__.py")), links("bin/rich-script")], [2, 1]);
}

#[test]
fn verify_sees_every_file_of_a_wheel() {
    let world = world();
    install(&world, &[line(&world, &rich(), "")]).success();
    let at = |path: &str| prefix(&world).join(path);
    fs_err::write(at(&format!("{SITE}/rich_tool/__init__.py")), "x = 2\n").unwrap();
    fs_err::remove_file(at("share/rich/data, and more.txt")).unwrap();
    fs_err::set_permissions(at("bin/rich-shell"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!(world.mlconda(["verify", "../prefix", "env.lock"]).failure(1), @"
    exit code 1
    --- stdout
    `bin/rich-shell` of `rich-tool-1.0-pypi_0`: it has other permissions; expected 0755, found 0644
    `lib/python3.11/site-packages/rich_tool/__init__.py` of `rich-tool-1.0-pypi_0`: its content differs; expected sha256 [SHA256], found sha256 [SHA256]
    `share/rich/data, and more.txt` of `rich-tool-1.0-pypi_0`: it is missing
    --- stderr
    `[TEMP]/prefix` is not intact: 3 findings in 3 packages, 27 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
    lock(&world, &PACKAGES, &[line(&world, &simple("other", "1.0"), "")]);
    assert_snapshot!(world.mlconda(["verify", "../prefix", "env.lock"]).failure(1), @"
    exit code 1
    --- stdout
    `other-1.0-pypi_0`: it is in the lock, but not in the environment
    `rich-tool-1.0-pypi_0`: it is in the environment, but not in the lock
    `bin/rich-shell` of `rich-tool-1.0-pypi_0`: it has other permissions; expected 0755, found 0644
    `lib/python3.11/site-packages/rich_tool/__init__.py` of `rich-tool-1.0-pypi_0`: its content differs; expected sha256 [SHA256], found sha256 [SHA256]
    `share/rich/data, and more.txt` of `rich-tool-1.0-pypi_0`: it is missing
    --- stderr
    `[TEMP]/prefix` is not intact: 5 findings in 3 packages, 27 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn two_wheels_of_one_path_are_told_of() {
    let world = world();
    let with = |name: &str| simple(name, "1.0").file("tests/__init__.py", name);
    let outcome = install(&world, &[line(&world, &with("a"), ""), line(&world, &with("b"), "")]).success();
    assert!(
        outcome
            .stderr
            .contains("`lib/python3.11/site-packages/tests/__init__.py`; the file of `b-1.0-pypi_0` is there"),
        "{outcome}"
    );
    assert_eq!(text(&world, &format!("{SITE}/tests/__init__.py")), "b");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
}

#[test]
fn a_conda_package_gets_its_file_back_when_the_wheel_that_took_it_goes() {
    let world = world();
    let packages = ["tzdata", "python-3.11.9", "where-2.0"];
    let taker = simple("taker", "1.0").data("data", "share/where/message.txt", "the wheel's\n");
    lock(&world, &packages, &[line(&world, &taker, "")]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(
        outcome.stderr.contains("hold `share/where/message.txt`; the file of `taker-1.0-pypi_0` is there"),
        "{outcome}"
    );
    assert_eq!(text(&world, "share/where/message.txt"), "the wheel's\n");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    lock(&world, &packages, &[]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert_eq!(text(&world, "share/where/message.txt"), "where 2.0\n");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
}

#[test]
fn wheels_come_over_the_network_with_a_login_that_nobody_sees() {
    let (mut world, wheels) = (world(), tempfile::tempdir().unwrap());
    let wheel = simple("private", "1.0");
    wheel.write(wheels.path()).unwrap();
    let server = Server::serve(wheels.path()).unwrap();
    world.filter(&server.url(""), "[SERVER]/");
    let sha256 = sha256_hex(wheel.bytes());
    let line = |at: &str| format!("# pip private @ {at}{} --hash=sha256:{sha256}\n", wheel.file_name());
    let url = server.url("");
    let logins = || server.requests().into_iter().map(|request| request.headers.get("authorization").cloned());
    let expected = Some("Basic bWU6c2VjcmV0".to_owned());
    fs_err::write(world.home().join(".netrc"), "machine 127.0.0.1 login me password secret\n").unwrap();
    install(&world, &[line(&url)]).success();
    assert!(logins().all(|login| login == expected));
    fs_err::remove_file(world.home().join(".netrc")).unwrap();
    server.forget();
    let host = url.split_once("://").unwrap().1;
    let path = lock(&world, &PACKAGES, &[line(&format!("http://${{INDEX_USER}}:${{INDEX_PASSWORD}}@{host}"))]);
    fs_err::remove_dir_all(prefix(&world)).unwrap();
    let variables = [("INDEX_USER", "me"), ("INDEX_PASSWORD", "secret")];
    let install = || world.mlconda_with(["install", argument(&path), "-p", "../prefix"], &variables);
    server.fail(".whl", Fault::Status(403));
    assert_snapshot!(install().failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 3 packages into `[TEMP]/prefix`
    error: cannot get `private-1.0-py3-none-any.whl` from http://********@127.0.0.1:[PORT]/private-1.0-py3-none-any.whl
      because: `http://********@127.0.0.1:[PORT]/private-1.0-py3-none-any.whl` answers 403 Forbidden
    hint: the prefix is unchanged; the server refuses this login, or this machine: ask the owner of the server for access
    ");
    server.recover();
    install().success();
    assert!(logins().all(|login| login == expected));
    let everything = fs_err::read_dir(prefix(&world).join("conda-meta")).unwrap();
    for file in everything.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        assert!(!fs_err::read_to_string(&file).unwrap().contains("secret"), "{}", file.display());
    }
}
