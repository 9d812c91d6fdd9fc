//! Wheels in a prefix: what comes of them, what is refused, and that they get the same care as packages.

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

use crate::{regressions, world};

const SITE: &str = "lib/python3.11/site-packages";
const PACKAGES: [&str; 2] = ["tzdata", "python-3.11.9"];

/// A wheel that has everything that a wheel can have.
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

/// Writes a wheel into the world, and gives its line in a lock, with `options` behind.
pub(crate) fn line(world: &TestContext, wheel: &Wheel, options: &str) -> String {
    let archive = wheel.write(&world.path().join("wheels")).unwrap();
    let name = wheel.name().to_lowercase().replace(['.', '_'], "-");
    let sha256 = sha256_hex(fs_err::read(&archive).unwrap());
    format!("# pip {name} @ file://{} --hash=sha256:{sha256}{options}\n", archive.display())
}

/// Writes a lock of mlconda, of packages and of lines about wheels.
fn lock(world: &TestContext, packages: &[&str], lines: &[String]) -> PathBuf {
    let path = world.write_lock("env.lock", None, packages);
    add(&path, lines);
    path
}

/// Makes a lock one of mlconda, with lines about wheels.
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

/// What is below `SITE`.
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
    // What names the prefix has another hash in each.
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
fn where_a_wheel_came_from_is_said_if_its_requirement_said_so() {
    let world = world();
    install(&world, &[line(&world, &simple("direct", "1.0"), " --direct")]).success();
    let told = text(&world, &format!("{SITE}/direct-1.0.dist-info/direct_url.json"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let archive = world.path().join("wheels/direct-1.0-py3-none-any.whl");
    assert_eq!(told["url"], format!("file://{}", archive.display()));
    assert_eq!(told["archive_info"]["hashes"]["sha256"], sha256_hex(fs_err::read(archive).unwrap()));
    // That it comes from an index now is told, too.
    install(&world, &[line(&world, &simple("direct", "1.0"), "")]).success();
    assert!(!prefix(&world).join(format!("{SITE}/direct-1.0.dist-info/direct_url.json")).exists());
}

#[test]
fn what_is_not_sound_is_refused_and_leaves_the_prefix_as_it_was() {
    let mut world = world();
    install(&world, &[line(&world, &simple("good", "1.0"), "")]).success();
    let before = world.tree();
    let other = sha256_hex("other");
    let wrong = line(&world, &simple("wrong", "1.0"), "");
    let wrong = wrong.replace(wrong.rsplit(':').next().unwrap().trim(), &other);
    world.filter(&other, "[OTHER]");
    let bad = |wheel: &Wheel| line(&world, wheel, "");
    let cases = [
        wrong,
        bad(&simple("lies", "1.0").misrecorded("lies/data.txt", "this")),
        bad(&simple("climbs", "1.0").file("../climbs.py", "")),
        bad(&simple("breaks", "1.0").file("breaks\nother.py", "")),
        bad(&simple("rooted", "1.0").file("/etc/rooted", "")),
        bad(&simple("meta", "1.0").data("data", "conda-meta/history", "")),
        bad(&simple("odd", "1.0").data("elsewhere", "file", "")),
        bad(&simple("twice", "1.0").data("purelib", "twice/__init__.py", "")),
        bad(&simple("command", "1.0").entry_point("console_scripts", "../command = command:main")),
    ];
    let mut said = String::new();
    for case in cases {
        let outcome = install(&world, &[case]).failure(1);
        said.extend(
            outcome.stderr.lines().filter(|line| !line.starts_with("Installing")).map(|line| format!("{line}\n")),
        );
        let mut after = world.tree();
        after.retain(|path, _| before.contains_key(path) || !path.contains("wheels/"));
        let lock = "work/env.lock";
        assert_eq!(tree::difference(&before, &after).replace(&format!("~ {lock}\n"), ""), "");
    }
    assert_snapshot!(world.normal(&said), @r#"
    error: `wrong-1.0-py3-none-any.whl` from file://[TEMP]/wheels/wrong-1.0-py3-none-any.whl is not what the lock says: its sha256 is [SHA256], not [OTHER]
    hint: nothing of it was used. If its server has replaced the package and that is as it should be, lock anew; else somebody between you and the server has changed it
    error: the package `lies-1.0-py3-none-any.whl` is invalid
      because: `site-packages/lies/data.txt` is not what its `RECORD` says
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `climbs-1.0-py3-none-any.whl` is invalid
      because: `../climbs.py` is not a path that a wheel may have
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `breaks-1.0-py3-none-any.whl` is invalid
      because: `breaks?other.py` is not a path that a wheel may have
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `rooted-1.0-py3-none-any.whl` is invalid
      because: `/etc/rooted` is not a path that a wheel may have
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `meta-1.0-py3-none-any.whl` is invalid
      because: `python-data/conda-meta/history` is not a path that a package may write
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `odd-1.0-py3-none-any.whl` is invalid
      because: `odd-1.0.data/elsewhere/file` is in a place that no wheel has
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `twice-1.0-py3-none-any.whl` is invalid
      because: it has `twice-1.0.data/purelib/twice/__init__.py` twice
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    error: the package `command-1.0-py3-none-any.whl` is invalid
      because: the entry point `../command = command:main` makes no sense: entry point command must not contain path separators or NUL: "../command"
    hint: the prefix is unchanged. This is an error of the package: report it to its maintainers
    "#);
}

#[test]
fn a_wheel_needs_python_and_is_no_second_copy_of_a_conda_package() {
    let world = world();
    let wheel = line(&world, &simple("greet", "2.0"), "");
    let path = lock(&world, &["tzdata"], std::slice::from_ref(&wheel));
    assert_snapshot!(world.mlconda(["install", argument(&path), "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    error: `greet-2.0-py3-none-any.whl` is a package for python, but the lock has no python to link it for
    hint: add `python` to the environment.yml and lock it again
    ");
    let path = lock(&world, &["tzdata", "python-3.11.9", "greet-1.0"], &[wheel]);
    assert_snapshot!(world.mlconda(["install", argument(&path), "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 4 packages into `[TEMP]/prefix`
    error: `greet-1.0-pyhd8ed1ab_0` is from a channel and `greet-2.0-py3-none-any.whl` is not, but both are the python distribution `greet`
    hint: lock anew: what a channel has is not to be installed by pip as well. Or take it out of one of the two lists
    ");
    assert!(!prefix(&world).exists());
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
    // Another minor version of python looks elsewhere.
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
    // As pip leaves it: one is uninstalled, two is another version, three is the user's.
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
    assert!(tree.stderr.contains("pip has installed 2 packages besides"), "{tree}");
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
    // Another tool's lock says nothing of wheels.
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
            // Over another environment, without the archives: all is in the cache.
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
fn a_wheel_for_another_python_or_platform_is_refused() {
    let world = world();
    let tagged = |tags: &str| line(&world, &simple("tagged", "1.0").tags(tags), "");
    let mut said = String::new();
    for tags in [
        "cp310-cp310-manylinux_2_17_x86_64",
        "cp311-cp311-win_amd64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "py2-none-any",
    ] {
        let outcome = install(&world, &[tagged(tags)]).failure(1);
        said.extend(outcome.stderr.lines().filter(|line| line.starts_with("error")).map(|line| format!("{line}\n")));
    }
    assert!(!prefix(&world).exists());
    if host_subdir() == "linux-64" {
        assert_snapshot!(said, @"
        error: `tagged-1.0-cp310-cp310-manylinux_2_17_x86_64.whl` is not for python 3.11.9 on linux-64
        error: `tagged-1.0-cp311-cp311-win_amd64.whl` is not for python 3.11.9 on linux-64
        error: `tagged-1.0-cp312-abi3-manylinux_2_17_x86_64.whl` is not for python 3.11.9 on linux-64
        error: `tagged-1.0-py2-none-any.whl` is not for python 3.11.9 on linux-64
        ");
        install(&world, &[tagged("cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64")]).success();
    }
    install(&world, &[tagged("py2.py3-none-any")]).success();
}

/// A python whose pip, whatever it is given, installs `PIP` 1.0 as pip does, and which compiles in its own way.
fn python_with_pip() -> PackageBuilder {
    const PYTHON: &str = r#"#!/bin/sh
if [ "$2" = -S ]; then
    echo cpython-311
    while read -r time path; do
        text="${10}: $time $path"
        printf '%s\n%s' "${#text}" "$text"
    done
    exit
fi
[ "$5" = install ] || [ "$4" = install ] || exit 3
for last; do :; done
case "$last" in *broken*) echo "no such back end"; exit 1;; esac
site="$PREFIX/lib/python3.11/site-packages"
mkdir -p "$site/built-1.0.dist-info" "$PREFIX/bin"
echo "$last" | sed "s#.*/##" > "$site/built.py"
printf '#!/bin/sh\n' > "$PREFIX/bin/built"
chmod 700 "$PREFIX/bin/built"
cd "$site/built-1.0.dist-info"
printf 'Name: built\nVersion: 1.0\n' > METADATA
echo '{"url": "file:///where/it/was"}' > direct_url.json
: > REQUESTED
for path in METADATA direct_url.json REQUESTED RECORD; do echo "built-1.0.dist-info/$path,,"; done > RECORD
printf 'built.py,,\n../../../bin/built,,\n' >> RECORD
"#;
    PackageBuilder::new("python", "3.11.9")
        .executable("bin/python3.11", PYTHON)
        .file(&format!("{SITE}/pip/__main__.py"), "")
}

/// A lock of a python that can build, and of lines about packages.
fn lock_to_build(world: &TestContext, lines: &[String]) {
    let python = regressions::line(world, &python_with_pip());
    let head = format!("# mlconda lock: 1\n# input: sha256:{}\n# platform: {}\n", "0".repeat(64), host_subdir());
    world.write("env.lock", &format!("{head}{}@EXPLICIT\n{python}", lines.concat()));
}

fn sources(world: &TestContext, name: &str, options: &str) -> String {
    let archive = Sdist::new(name, "1.0").write(&world.path().join("sources")).unwrap();
    let sha256 = sha256_hex(fs_err::read(&archive).unwrap());
    format!("# pip {name} @ file://{} --hash=sha256:{sha256}{options}\n", archive.display())
}

#[test]
fn sources_are_built_by_the_environments_own_pip() {
    let world = world();
    lock_to_build(&world, &[sources(&world, "built", "")]);
    let install = || world.mlconda(["install", "env.lock", "-p", "../prefix"]);
    assert_snapshot!(install().success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    Building `built` with the environment's pip
    + python 3.11.9
    + built 1.0 (pip)
    Linked 2 packages in `[TEMP]/prefix`: 3 files, [SIZE], in [TIME].
    ");
    assert_eq!(text(&world, &format!("{SITE}/built.py")), "built-1.0.tar.gz\n", "it is given the checked archive");
    let modified = fs_err::metadata(prefix(&world).join(SITE).join("built.py")).unwrap().mtime();
    let code = text(&world, &format!("{SITE}/__pycache__/built.cpython-311.pyc"));
    assert_eq!(code, format!("timestamp: {modified} {SITE}/built.py"));
    assert!(
        text(&world, &format!("{SITE}/built-1.0.dist-info/RECORD")).contains("\n__pycache__/built.cpython-311.pyc,,\n")
    );
    assert_snapshot!(site(&world), @"
    lib/python3.11/site-packages/__pycache__
    lib/python3.11/site-packages/__pycache__/built.cpython-311.pyc
    lib/python3.11/site-packages/built-1.0.dist-info
    lib/python3.11/site-packages/built-1.0.dist-info/METADATA
    lib/python3.11/site-packages/built-1.0.dist-info/RECORD
    lib/python3.11/site-packages/built.py
    lib/python3.11/site-packages/pip
    lib/python3.11/site-packages/pip/__main__.py
    ");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    let fresh = tree::archived(&prefix(&world)).unwrap();
    assert!(install().success().stderr.contains("is up to date: 2 packages"));
    fs_err::remove_dir_all(prefix(&world)).unwrap();
    install().success();
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    // One that cannot be built leaves the old environment.
    lock_to_build(&world, &[sources(&world, "broken", "")]);
    assert_snapshot!(install().failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/prefix`
    Building `broken` with the environment's pip
    error: pip could not install `broken` (exit status: 1):
    no such back end

    hint: the prefix is unchanged. What the build needs, such as `setuptools`, must be a package of the environment
    ");
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    let right = sources(&world, "built", "");
    let wrong = right.replace(right.rsplit(':').next().unwrap(), &format!("{}\n", sha256_hex("other")));
    lock_to_build(&world, &[wrong]);
    assert!(install().failure(1).stderr.contains("is not what the lock says"));
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    lock_to_build(&world, &[]);
    install().success();
    assert!(!prefix(&world).join("bin/built").exists());
}

/// What fails leaves the old prefix, also where that is changed in place and one package was built by then.
#[test]
fn a_second_package_that_cannot_be_built_takes_the_first_with_it() {
    let world = world();
    let real = world.path().join("real");
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, prefix(&world)).unwrap();
    lock_to_build(&world, &[]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    let before = tree::tree(&real).unwrap();
    lock_to_build(&world, &[sources(&world, "built", ""), sources(&world, "broken", "")]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "../prefix"]).failure(1);
    assert!(outcome.stderr.contains("Building `broken`") && outcome.stderr.contains("the prefix is unchanged"));
    assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "");
}

#[test]
fn what_is_built_is_not_built_without_pip_or_against_the_users_will() {
    let world = world();
    let line = sources(&world, "built", "");
    lock(&world, &PACKAGES, std::slice::from_ref(&line));
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 3 packages into `[TEMP]/prefix`
    error: `built` has to be built from its sources, but the environment has no pip to do that
    hint: add `pip` and the packages that the build needs to the environment.yml, and lock it again
    ");
    lock_to_build(&world, &[line]);
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--no-scripts"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    error: `built` has to be built from its sources, which runs code of the package
    hint: install without `--no-scripts`, or use a version that has a wheel
    ");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    lock_to_build(&world, &[format!("# pip built @ git+https://host.example/built.git@{commit}\n")]);
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--offline"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    error: `built` has to be fetched with git, and network access is disabled
    hint: install without `--offline`
    ");
    assert!(!prefix(&world).exists());
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert_eq!(text(&world, &format!("{SITE}/built.py")), format!("built.git@{commit}\n"));
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    lock_to_build(&world, &["# pip built @ ./built --editable\n".to_owned()]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(world.mlconda(["install", "env.lock", "-p", "../prefix"]).success().stderr.contains("up to date"));
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
