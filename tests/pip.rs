//! Locks the `pip:` list, with the real resolver and an index that the tests serve.
//!
//! The resolver is uv, from `MLCONDA_UV` or `PATH`. Without it these tests fail with a message. uv needs a python on
//! the machine, and so do the tests that build packages.

mod dependencies;
mod hashes;
mod index;
mod refusals;

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use mlconda_test::{
    channel::Channel,
    context::{Outcome, TestContext},
    foreign_subdir, host_subdir,
    index::{Index, Pages, Release},
    package::{Noarch, PackageBuilder},
    server::{Fault, Server, unreachable_url},
    sha256_hex, sha512_hex,
    wheel::{Sdist, StaticMetadata, Wheel},
};

use crate::world;

/// The program uv, and the `PATH` on which it finds a python.
#[allow(clippy::disallowed_methods, reason = "the resolver is the machine's")]
pub(crate) fn resolver() -> (PathBuf, String) {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = || std::env::split_paths(&path).map(|directory| directory.join("uv"));
    let uv = std::env::var_os("MLCONDA_UV").map(PathBuf::from).or_else(|| directories().find(|path| path.is_file()));
    let uv = uv.expect("these tests need uv: `pip install uv`, or name it with MLCONDA_UV");
    let path = format!("{}:{path}", uv.parent().unwrap().display());
    (uv, path)
}

/// An index with these archives, served.
fn serve(world: &TestContext, releases: &[Release]) -> Server {
    Index::write(world.path().join("index"), releases, Pages::HtmlAndJson).unwrap();
    Server::serve(world.path().join("index")).unwrap()
}

/// An environment.yml with python, `greet` and these lines for pip.
fn write(world: &TestContext, lines: &[&str]) {
    let lines: String = lines.iter().map(|line| format!("      - {line}\n")).collect();
    let text = "name: small\nchannels:\n  - ${CHANNELS}/main\ndependencies:\n  - python=3.11\n  - pip\n  - greet=2.0\n  - pip:\n";
    world.write("environment.yml", &format!("{text}{lines}"));
}

/// Locks the environment.yml, with this index.
fn lock(world: &TestContext, index: &str, arguments: &[&str]) -> Outcome {
    let (uv, path) = resolver();
    let mut command = world.mlconda_command(["lock"]);
    command.args(arguments).env("MLCONDA_UV", uv).env("PATH", path).env("PIP_INDEX_URL", index);
    command.env("HOME", world.developer()).env("UV_HTTP_RETRIES", "0").env("no_proxy", "127.0.0.1");
    world.outcome(&mut command)
}

/// The lines of a lock that are about pip.
fn pip_lines(world: &TestContext, lock: &str) -> String {
    let text = world.read(lock);
    let lines =
        text.lines().filter(|line| line.starts_with("# pip ") || line.contains(".whl") || line.contains(".tar.gz"));
    world.normal(&lines.collect::<Vec<_>>().join("\n"))
}

/// The wheel tags for a platform, by the beginning of its subdir.
fn tags(subdir: &str) -> &'static str {
    match subdir {
        "linux-64" => "cp311-cp311-manylinux_2_17_x86_64",
        "linux-aarch64" => "cp311-cp311-manylinux_2_17_aarch64",
        "osx-64" => "cp311-cp311-macosx_10_9_x86_64",
        _ => "cp311-cp311-macosx_11_0_arm64",
    }
}

#[test]
fn what_pip_would_install_is_pinned_for_each_platform() {
    let mut world = world();
    let app = Wheel::new("My.App", "1.0").requires("dep>=1,<2").requires("greet>=1").extra("fast", "speedups");
    let app = app.requires("only-windows; sys_platform == 'win32'");
    let dep = |tags: &str| Wheel::new("dep", "1.5").tags(tags).file("dep.py", tags);
    let releases = [
        app.into(),
        dep("py3-none-any").into(),
        dep(tags(host_subdir())).into(),
        dep(tags(foreign_subdir())).into(),
        Wheel::new("dep", "2.0").into(),
        Wheel::new("speedups", "0.1").into(),
        // conda provides 2.0, so this version is not used.
        Wheel::new("greet", "3.0").into(),
        Sdist::new("src-only", "0.3").requires("dep").into(),
    ];
    let server = serve(&world, &releases);
    world.filter(tags(host_subdir()), "[HOST-TAGS]");
    world.filter(tags(foreign_subdir()), "[FOREIGN-TAGS]");
    write(&world, &["my_app[fast]  # why", "src-only==0.3"]);
    let platforms = ["--platform", host_subdir(), "--platform", foreign_subdir()];
    let outcome = lock(&world, &Index::url(&server), &platforms).success();
    assert!(outcome.stderr.contains("`src-only` has no wheel for"), "{outcome}");
    assert_snapshot!(pip_lines(&world, &format!("env.{}.lock", host_subdir())), @"
    # pip requirement: my_app[fast]
    # pip requirement: src-only==0.3
    # size: [SIZE] dep-1.5-[HOST-TAGS].whl
    # size: [SIZE] my_app-1.0-py3-none-any.whl
    # size: [SIZE] speedups-0.1-py3-none-any.whl
    # size: [SIZE] src_only-0.3.tar.gz
    # pip dep @ http://127.0.0.1:[PORT]/files/dep-1.5-[HOST-TAGS].whl --hash=sha256:[SHA256]
    # pip my-app @ http://127.0.0.1:[PORT]/files/my_app-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    # pip speedups @ http://127.0.0.1:[PORT]/files/speedups-0.1-py3-none-any.whl --hash=sha256:[SHA256]
    # pip src-only @ http://127.0.0.1:[PORT]/files/src_only-0.3.tar.gz --hash=sha256:[SHA256]
    ");
    let foreign = pip_lines(&world, &format!("env.{}.lock", foreign_subdir()));
    assert!(foreign.contains("dep-1.5-[FOREIGN-TAGS].whl") && !foreign.contains("HOST-TAGS"), "{foreign}");
    // The same input gives the same lock.
    let before = world.read(&format!("env.{}.lock", host_subdir()));
    lock(&world, &Index::url(&server), &platforms).success();
    assert_eq!(world.read(&format!("env.{}.lock", host_subdir())), before);
}

#[test]
fn what_conda_has_and_pip_wants_otherwise_is_told_with_both_lines() {
    let world = world();
    let needs_old = Wheel::new("needs-old", "1.0").requires("greet<2");
    let server = serve(&world, &[needs_old.into(), Wheel::new("greet", "1.0").into()]);
    let index = Index::url(&server);
    write(&world, &["greet<2", "greet @ https://example.org/greet-1.0-py3-none-any.whl"]);
    assert_snapshot!(lock(&world, &index, &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the `pip:` list conflicts with conda's packages:
    `greet<2` (environment.yml:9) does not allow `greet` 2.0, which conda installs for `greet=2.0` (environment.yml:7)
    `greet @ https://example.org/greet-1.0-py3-none-any.whl` (environment.yml:10) would replace `greet` 2.0, which conda installs for `greet=2.0` (environment.yml:7)
    hint: conda packages are solved first: change one of the two lines, or move the line of pip to the conda dependencies
    ");
    write(&world, &["needs-old"]);
    assert_snapshot!(lock(&world, &index, &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the `pip:` list cannot be locked for [HOST]:
      Because only greet>=2 is available and all versions of needs-old depend on greet<2, we can conclude that all versions of needs-old cannot be used.
      And because you require needs-old, we can conclude that your requirements are unsatisfiable.
      asked for: `needs-old` (environment.yml:9)
      `greet` 2.0 is what conda installs for `greet=2.0` (environment.yml:7)
    ");
    write(&world, &["greet<2; python_version < '3'", "greet>=1"]);
    lock(&world, &index, &[]).success();
    assert_eq!(pip_lines(&world, "env.lock").matches(" @ ").count(), 0);
}

/// Only the metadata of the project lists the requirements of an extra. The index has the metadata of the version that
/// conda installs.
#[test]
fn extras_of_what_conda_has_are_added() {
    let world = world();
    let greet = Wheel::new("greet", "2.0").extra("loud", "megaphone");
    let newer = Wheel::new("greet", "2.5").extra("loud", "sirens");
    let releases =
        [greet.into(), newer.into(), Wheel::new("megaphone", "1.0").into(), Wheel::new("sirens", "1.0").into()];
    let server = serve(&world, &releases);
    write(&world, &["greet[loud]"]);
    lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(pip_lines(&world, "env.lock"), @"
    # pip requirement: greet[loud]
    # size: [SIZE] megaphone-1.0-py3-none-any.whl
    # pip megaphone @ http://127.0.0.1:[PORT]/files/megaphone-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    ");
}

#[test]
fn a_version_that_was_taken_back_is_locked_if_it_is_named_and_told() {
    let world = world();
    let server = serve(&world, &[Release::from(Wheel::new("taken-back", "1.0")).yanked("it is broken")]);
    write(&world, &["taken-back==1.0"]);
    let outcome = lock(&world, &Index::url(&server), &[]).success();
    assert!(outcome.stderr.contains("is yanked") && outcome.stderr.contains("it is broken"), "{outcome}");
}

#[test]
fn what_was_locked_is_installed_as_pip_would() {
    let world = world();
    let app =
        Wheel::new("app", "1.0").requires("dep").requires("greet").entry_point("console_scripts", "app = app:main");
    let app = app.file("app/__init__.py", "def main(): pass\n");
    let local = Wheel::new("Local.Tool", "2.0").file("local_tool.py", "x = 1\n");
    let local = local.write(&world.work().join("wheels")).unwrap();
    let releases = [
        app.into(),
        Wheel::new("dep", "1.0").file("dep.py", "").into(),
        Wheel::new("dep", "2.0").file("dep.py", "").into(),
        Wheel::new("listed", "1.0").into(),
        Wheel::new("Pinned", "3.0").into(),
    ];
    let server = serve(&world, &releases);
    let archive = fs_err::read(world.path().join("index/files/pinned-3.0-py3-none-any.whl")).unwrap();
    world.write("base.txt", &format!("listed\nlisted-not; python_version < '3'\n-c limits.txt\n{}\n", local.display()));
    world.write("limits.txt", "dep<2\n");
    write(&world, &["app", "-r base.txt", &format!("pinned==3.0 --hash=sha256:{}", sha256_hex(archive))]);
    lock(&world, &Index::url(&server), &[]).success();
    let install = || world.mlconda(["install", "env.lock", "-p", "../prefix"]);
    assert!(install().success().stderr.contains("Linked 9 packages"));
    let site = world.path().join("prefix/lib/python3.11/site-packages");
    let requested = |name: &str| site.join(format!("{name}.dist-info/REQUESTED")).exists();
    assert!(["app-1.0", "listed-1.0", "pinned-3.0", "local_tool-2.0"].into_iter().all(requested));
    assert!(site.join("dep-1.0.dist-info").is_dir() && !requested("dep-1.0"), "it is only needed");
    assert!(world.path().join("prefix/bin/app").is_file());
    assert!(!site.join("pinned-3.0.dist-info/direct_url.json").exists());
    assert!(site.join("local_tool-2.0.dist-info/direct_url.json").exists());
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    assert!(install().success().stderr.contains("is up to date: 9 packages"));
    let listed = world.mlconda(["list", "-p", "../prefix"]).success().stdout;
    let listed: Vec<_> = listed.lines().filter(|line| line.ends_with(" pypi")).map(str::to_owned).collect();
    assert_eq!(listed.len(), 5, "{listed:?}");
    assert_snapshot!(world.mlconda(["why", "listed", "env.lock"]).success().stdout, @"
    listed 1.0 [pip] (690 bytes)

    listed
    ");
    fs_err::write(site.join("dep.py"), "changed").unwrap();
    assert!(world.mlconda(["verify", "../prefix", "env.lock"]).failure(1).stdout.contains("dep.py"));
}

#[test]
fn what_was_locked_stays_until_it_is_renewed() {
    let world = world();
    let release = |name: &str, version: &str| Wheel::new(name, version);
    let old = || vec![release("app", "1.0").requires("dep").into(), release("dep", "1.0").into()];
    let mut all: Vec<Release> = old();
    all.extend([release("app", "2.0").requires("dep").into(), release("dep", "2.0").into()]);
    let versions = |lines: &[&str], arguments: &[&str], server: &Server| {
        write(&world, lines);
        lock(&world, &Index::url(server), arguments).success();
        let lines = pip_lines(&world, "env.lock");
        let files = lines.lines().filter_map(|line| line.split_once("/files/"));
        files.map(|(_, file)| file.split("-py3").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let server = serve(&world, &old());
    assert_eq!(versions(&["app"], &[], &server), ["app-1.0", "dep-1.0"]);
    let server = serve(&world, &all);
    assert_eq!(versions(&["app  "], &[], &server), ["app-1.0", "dep-1.0"]);
    let hash = sha256_hex(fs_err::read(world.path().join("index/files/app-2.0-py3-none-any.whl")).unwrap());
    assert_eq!(versions(&["app", "dep>1"], &[], &server), ["app-1.0", "dep-2.0"]);
    assert_eq!(versions(&["app", "dep<2"], &["--update", "App"], &server), ["app-2.0", "dep-1.0"]);
    assert_eq!(versions(&["app<2", "dep"], &[], &server), ["app-1.0", "dep-1.0"]);
    // If the locked version does not have the required hash, another version is chosen.
    assert_eq!(versions(&[&format!("app --hash=sha256:{hash}")], &[], &server), ["app-2.0", "dep-2.0"]);
    assert_eq!(versions(&["app<2", "dep<2"], &[], &server), ["app-1.0", "dep-1.0"]);
    assert_eq!(versions(&["app"], &["--update"], &server), ["app-2.0", "dep-2.0"]);
}

#[test]
fn requirements_files_are_read_and_count_for_the_input() {
    let world = world();
    let server = serve(&world, &[Wheel::new("a", "1.0").into(), Wheel::new("a", "2.0").into()]);
    write(&world, &["-r requirements/base.txt"]);
    assert_snapshot!(lock(&world, &Index::url(&server), &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:9:12: there is no file `[TEMP]/work/requirements/base.txt`
      |
    9 |       - -r requirements/base.txt
      |            ^^^^^^^^^^^^^^^^^^^^^
      = help: paths are relative to the file that names them
    ");
    world.write("requirements/base.txt", "# what we need\n-c limits.txt\na\n");
    world.write("requirements/limits.txt", "a<2\n");
    lock(&world, &Index::url(&server), &[]).success();
    assert!(pip_lines(&world, "env.lock").contains("/a-1.0-py3-none-any.whl"));
    let input = |world: &TestContext| {
        world.read("env.lock").lines().find(|line| line.starts_with("# input")).unwrap().to_owned()
    };
    let before = input(&world);
    world.write("requirements/base.txt", "-c limits.txt\na # the same\n");
    lock(&world, &Index::url(&server), &[]).success();
    assert_eq!(input(&world), before);
    world.write("requirements/limits.txt", "a>1\n");
    lock(&world, &Index::url(&server), &[]).success();
    assert!(input(&world) != before && pip_lines(&world, "env.lock").contains("/a-2.0-py3-none-any.whl"));
}

/// Each platform has its own wheels. Platforms and pythons that the resolver does not support are rejected.
#[test]
fn platforms_and_pythons_that_are_known_are_locked_for() {
    let world = world();
    let tags =
        ["win_amd64", "manylinux_2_31_riscv64", "manylinux_2_17_ppc64le"].map(|tag| format!("cp311-cp311-{tag}"));
    let mut releases: Vec<Release> = tags.iter().map(|tags| Wheel::new("a", "1.0").tags(tags).into()).collect();
    releases.push(Wheel::new("b", "1.0").into());
    let server = serve(&world, &releases);
    let python = |subdir: &str| PackageBuilder::new("python", "3.11.9").subdir(subdir);
    let subdirs = ["win-64", "linux-riscv64", "linux-ppc64le"];
    let mut packages: Vec<PackageBuilder> = subdirs.iter().map(|subdir| python(subdir)).collect();
    packages.push(python("linux-s390x").build_string("0_73_pypy"));
    packages.push(PackageBuilder::new("pip", "24.0").noarch(Noarch::Python).depends("python"));
    Channel::write(world.work().join("channel"), &packages, &[]).unwrap();
    let text = "channels: [./channel]\ndependencies:\n  - python\n  - pip:\n    - a\n    - b\n    - b\n    - b\n";
    world.write("environment.yml", text);
    let attempt = |platform: &str| {
        let glibc: &[&str] = if platform == "linux-riscv64" { &["--virtual-package", "__glibc=2.35"] } else { &[] };
        lock(&world, &Index::url(&server), &[&["--no-pip", "--platform", platform], glibc].concat())
    };
    let files = |lock: &str| {
        let lines = pip_lines(&world, lock);
        lines.lines().filter_map(|line| Some(format!("{}\n", line.split_once("/files/")?.1))).collect::<String>()
    };
    let mut told = String::new();
    for subdir in subdirs.iter().chain(&["linux-s390x"]) {
        let outcome = attempt(subdir);
        let errors = outcome.stderr.lines().filter(|line| !line.starts_with("warning"));
        match outcome.code {
            0 => told.push_str(&files("env.lock")),
            _ => told.push_str(&errors.map(|line| format!("{line}\n")).collect::<String>()),
        }
    }
    assert_snapshot!(world.normal(&told), @"
    a-1.0-cp311-cp311-win_amd64.whl --hash=sha256:[SHA256]
    b-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    a-1.0-cp311-cp311-manylinux_2_31_riscv64.whl --hash=sha256:[SHA256]
    b-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    error: packages of pip cannot be locked for linux-ppc64le: the resolver, uv, does not know that platform
      asked for: `a` (environment.yml:5)
      asked for: `b` (environment.yml:6)
      asked for: `b` (environment.yml:7)
      and 1 more
    hint: move the packages of pip to the conda dependencies
    error: packages of pip can be locked for CPython 3 only, and the environment has python 3.11.9 (0_73_pypy)
      asked for: `a` (environment.yml:5)
      asked for: `b` (environment.yml:6)
      asked for: `b` (environment.yml:7)
      and 1 more
    hint: ask for CPython: `- python=3.12=*_cpython`, or move the packages of pip to the conda dependencies
    ");
}
