//! The `pip:` list into a lock, with the true resolver and an index that the tests serve.
//!
//! The resolver is uv, as `MLCONDA_UV` names it or `PATH` has it; without one these tests fail, and say so. It needs some
//! python of the machine, and the tests that build need it, too.

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

/// uv, and the `PATH` on which it finds a python.
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

/// The lines of a lock that have to do with pip.
fn pip_lines(world: &TestContext, lock: &str) -> String {
    let text = world.read(lock);
    let lines =
        text.lines().filter(|line| line.starts_with("# pip ") || line.contains(".whl") || line.contains(".tar.gz"));
    world.normal(&lines.collect::<Vec<_>>().join("\n"))
}

/// A wheel for a platform, by the beginning of its subdir.
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
        // conda has 2.0, and that is what counts.
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
    // The same question, the same answer.
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
    error: pip and conda contradict each other:
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

/// Only the project's own metadata knows what an extra needs; the index has that of the version that conda installs.
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

/// An index of packages that need each other, and an environment.yml that asks for some.
fn needy(world: &TestContext) -> Server {
    let app = Wheel::new("My.App", "1.0").requires("dep[fast]>=1,<2").requires("greet (>=1)").requires_python(">=3.8");
    let app = app.requires("dep; sys_platform == 'win32'").extra("docs", "other").metadata("License-Expression: MIT");
    let dep = Wheel::new("dep", "1.5").extra("fast", "speedups").metadata("License: BSD");
    let releases = [app.into(), dep.into(), Wheel::new("speedups", "0.1").into(), Wheel::new("other", "1.0").into()];
    let server = serve(world, &releases);
    write(world, &["my_app", "other"]);
    server
}

/// An explicit lock has no word for what packages need: it is in the metadata beside the wheels.
#[test]
fn what_packages_of_pip_need_is_shown() {
    let world = world();
    let server = needy(&world);
    lock(&world, &Index::url(&server), &[]).success();
    let tree = world.mlconda(["tree", "--package", "my-app", "--package", "other"]).success();
    assert_snapshot!(tree.to_string(), @"
    exit code 0
    --- stdout
    ├── my-app 1.0 [pip] ([SIZE], [SIZE] with 2 of its own) ← my_app (environment.yml:9)
    │   ├── dep 1.5 [pip] ([SIZE], [SIZE] with 1 of its own)
    │   │   ├── python 3.11.9 ([SIZE], [SIZE] with 1 of its own)
    │   │   │   └── tzdata 2024a ([SIZE])
    │   │   └── speedups 0.1 [pip] ([SIZE])
    │   │       └── python 3.11.9 (*)
    │   ├── greet 2.0 ([SIZE])
    │   │   └── python 3.11.9 (*)
    │   └── python 3.11.9 (*)
    └── other 1.0 [pip] ([SIZE]) ← other (environment.yml:10)
        └── python 3.11.9 (*)
    --- stderr
    ");
    let why = world.mlconda(["why", "speedups"]).success();
    assert_snapshot!(why.to_string(), @"
    exit code 0
    --- stdout
    speedups 0.1 [pip] (708 bytes)

    my_app (environment.yml:9)
      my-app 1.0 [pip] needs dep[fast]>=1,<2
      dep 1.5 [pip] needs speedups
    --- stderr
    ");
    let bill: serde_json::Value = serde_json::from_str(&world.mlconda(["sbom"]).success().stdout).unwrap();
    let licences = |name: &str| {
        let mut all = bill["components"].as_array().unwrap().iter();
        all.find(|each| each["name"] == name).unwrap()["licenses"][0]["license"].to_string()
    };
    assert_eq!(licences("my-app"), r#"{"id":"MIT","acknowledgement":"declared"}"#);
    assert_eq!(licences("dep"), r#"{"name":"BSD","acknowledgement":"declared"}"#);
    // Without the server, the environment tells it.
    world.mlconda(["install", "env.lock"]).success();
    drop(server);
    let of_prefix = world.mlconda(["tree", "-n", "small", "--package", "my-app", "--depth", "1"]).success();
    assert_snapshot!(of_prefix.to_string(), @"
    exit code 0
    --- stdout
    └── my-app 1.0 [pip] ([SIZE], [SIZE] with 2 of its own) ← my-app
        ├── dep 1.5 [pip] ([SIZE], [SIZE] with 1 of its own)
        ├── greet 2.0 ([SIZE])
        └── python 3.11.9 ([SIZE], [SIZE] with 1 of its own)
    --- stderr
    ");
    let offline = world.mlconda(["tree", "env.lock", "--package", "my-app", "--depth", "1", "--offline"]).success();
    assert!(offline.stdout.contains("dep 1.5 [pip]"), "{offline}");
}

#[test]
fn other_formats_have_what_packages_of_pip_need() {
    let world = world();
    let server = needy(&world);
    let item = |format: &str, first: &str| {
        let written = lock(&world, &Index::url(&server), &["--format", format, "-o", "other.lock"]).success();
        assert!(!written.stderr.contains("not known"), "{written}");
        let text = world.read("other.lock");
        let start = text.find(first).unwrap();
        let rest = &text[start + 2..];
        world.normal(rest.split("\n- ").next().unwrap())
    };
    assert_snapshot!(item("pixi", "  name: my-app"), @"
    name: my-app
      version: '1.0'
      sha256: [SHA256]
      requires_dist:
      - dep[fast]>=1,<2
      - greet (>=1)
      - dep; sys_platform == 'win32'
      - other; extra == 'docs'
      requires_python: '>=3.8'
    ");
    // What is known is not asked for again.
    let bill: serde_json::Value =
        serde_json::from_str(&world.mlconda(["sbom", "other.lock"]).success().stdout).unwrap();
    let licence =
        bill.pointer("/components").and_then(|all| all.as_array()?.iter().find(|each| each["name"] == "my-app"));
    assert_eq!(licence.unwrap()["licenses"][0]["license"]["id"], "MIT", "no lock knows it");
    let before = world.read("other.lock");
    let offline = ["--format", "pixi", "-o", "other.lock", "--offline", "--update", "dep"];
    lock(&world, &Index::url(&server), &offline).success();
    assert_eq!(world.read("other.lock"), before);
    fs_err::remove_file(world.work().join("other.lock")).unwrap();
    assert_snapshot!(item("conda-lock", "- name: my-app"), @"
    name: my-app
      version: '1.0'
      manager: pip
      platform: [HOST]
      dependencies:
        dep: '>=1,<2'
        greet: '>=1'
      url: http://127.0.0.1:[PORT]/files/my_app-1.0-py3-none-any.whl
      hash:
        sha256: [SHA256]
      category: main
      optional: false
    ");
}

/// Archives of which no list of [`REFUSED`] can be made.
fn unhelpful() -> Vec<Release> {
    vec![
        Wheel::new("a", "1.0").requires("b<2").into(),
        Wheel::new("b", "2.0").into(),
        Wheel::new("b", "1.0").into(),
        Release::from(Wheel::new("taken-back", "1.0")).yanked("it is broken"),
        Wheel::new("windows-only", "1.0").tags("cp311-cp311-win_amd64").into(),
        Sdist::new("src-only", "0.3").into(),
    ]
}

/// Lists that cannot be locked.
const REFUSED: [&[&str]; 10] = [
    &["no-such-project"],
    &["pytorch"],
    &["a", "b>=2"],
    &["taken-back>=1"],
    &["windows-only"],
    &["--only-binary :all:", "src-only"],
    &["b==2.0 --hash=sha256:HASH"],
    &["b; python_versio < '3'"],
    &["./no/such/directory"],
    &["-e ."],
];

#[test]
fn lists_that_cannot_be_locked_are_refused_at_their_lines() {
    let mut world = world();
    let platforms = ["manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "macosx_13_0_x86_64", "macosx_13_0_arm64"];
    platforms.iter().for_each(|platform| world.filter(platform, "[PLATFORM]"));
    let server = serve(&world, &unhelpful());
    let mut told = String::new();
    for lines in REFUSED {
        let quoted = |line: &&str| format!("\"{}\"", line.replace("HASH", &"0".repeat(64)));
        let lines: Vec<String> = lines.iter().map(quoted).collect();
        write(&world, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let text = lock(&world, &Index::url(&server), &[]).failure(1).to_string();
        told.push_str(&format!("{}\n{}\n\n", lines.join(", "), text.split("--- stderr\n").nth(1).unwrap()));
        assert!(!world.work().join("env.lock").exists());
    }
    assert_snapshot!(world.normal(&told), @r#"
    "no-such-project"
    error: the `pip:` list cannot be locked for [HOST]:
      Because no-such-project was not found in the package registry and you require no-such-project, we can conclude that your requirements are unsatisfiable.
      asked for: `no-such-project` (environment.yml:9)
    hint: correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`

    "pytorch"
    error: the `pip:` list cannot be locked for [HOST]:
      Because pytorch was not found in the package registry and you require pytorch, we can conclude that your requirements are unsatisfiable.
      asked for: `pytorch` (environment.yml:9)
      conda's `pytorch` is called `torch` there
    hint: correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`

    "a", "b>=2"
    error: the `pip:` list cannot be locked for [HOST]:
      Because all versions of a depend on b<2 and you require a, we can conclude that you require b<2.
      And because you require b>=2, we can conclude that your requirements are unsatisfiable.
      asked for: `a` (environment.yml:9)
      asked for: `b>=2` (environment.yml:10)

    "taken-back>=1"
    error: the `pip:` list cannot be locked for [HOST]:
      Because taken-back==1.0 was yanked (reason: it is broken) and you require taken-back==1.0, we can conclude that your requirements are unsatisfiable.
      asked for: `taken-back>=1` (environment.yml:9)

    "windows-only"
    error: the `pip:` list cannot be locked for [HOST]:
      Because windows-only==1.0 has no wheels with a matching platform tag (e.g., `[PLATFORM]`) and only windows-only==1.0 is available, we can conclude that all versions of windows-only cannot be used.
      And because you require windows-only, we can conclude that your requirements are unsatisfiable.
      Wheels are available for `windows-only` (v1.0) on the following platform: `win_amd64`
      asked for: `windows-only` (environment.yml:9)

    "--only-binary :all:", "src-only"
    error: the `pip:` list cannot be locked for [HOST]:
      Because src-only==0.3 has no usable wheels and only src-only==0.3 is available, we can conclude that all versions of src-only cannot be used.
      And because you require src-only, we can conclude that your requirements are unsatisfiable.
      asked for: `src-only` (environment.yml:10)

    "b==2.0 --hash=sha256:[SHA256]"
    error: `b` has no suitable file for [HOST]: none has the hash that is asked for
      asked for: `b==2.0 --hash=sha256:[SHA256]` (environment.yml:9)
      there is: b-2.0-py3-none-any.whl (sha256:[SHA256])
    hint: if you know that the index replaced the file, correct the hash; otherwise somebody has changed the file

    "b; python_versio < '3'"
    error: environment.yml:9:9: expected a quoted string or a valid marker name, found `python_versio`
      |
    9 |       - b; python_versio < '3'
      |         ^^^^^^^^^^^^^^^^^^^^^^
      = help: a requirement is as in PEP 508: `name>=1; python_version < '3.12'`

    "./no/such/directory"
    error: environment.yml:9:9: there is no `[TEMP]/work/no/such/directory`
      |
    9 |       - ./no/such/directory
      |         ^^^^^^^^^^^^^^^^^^^
      = help: paths are relative to the file that names them

    "-e ."
    error: environment.yml:9:9: `[TEMP]/work` is not a project of python: it has no `pyproject.toml` and no `setup.py`
      |
    9 |       - -e .
      |         ^^^^
      = help: name the directory that has it; paths are relative to the file that names them
    "#);
}

/// What the resolver says no name of, and what only a server can tell, is told with the lines, too.
#[test]
fn what_is_wrong_with_places_is_told_with_their_lines() {
    let world = world();
    let server =
        serve(&world, &[Wheel::new("forbidden", "1.0").into(), Wheel::new("deep", "1.0").requires("no-such").into()]);
    server.fail("simple/forbidden", Fault::Status(403));
    world.write("broken/pyproject.toml", "[project]\nname = \n");
    let missing = format!("x @ {}", server.url("files/x-1.0-py3-none-any.whl"));
    let mut told = String::new();
    write(&world, &["./broken"]);
    let broken = lock(&world, &Index::url(&server), &[]).failure(1);
    assert!(broken.stderr.contains("asked for: `./broken` (environment.yml:9)"), "{broken}");
    for line in ["--find-links ./nowhere", &missing, "forbidden", "deep", "-r no.txt"] {
        write(&world, &[line]);
        let outcome = lock(&world, &Index::url(&server), &[]).failure(1);
        told.push_str(&format!("{line}\n{}\n", outcome.stderr));
        assert!(!world.work().join("env.lock").exists());
    }
    assert_snapshot!(world.normal(&told), @"
    --find-links ./nowhere
    error: environment.yml:9:9: there is no `[TEMP]/work/nowhere`
      |
    9 |       - --find-links ./nowhere
      |         ^^^^^^^^^^^^^^^^^^^^^^
      = help: paths are relative to the file that names them

    x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl
    error: the `pip:` list cannot be locked for [HOST]:
      Failed to download `x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl`
      Failed to fetch: http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl
      HTTP status client error (404 Not Found) for url (http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl)
      asked for: `x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl` (environment.yml:9)
    hint: correct the URL: its server has no such file

    forbidden
    error: the `pip:` list cannot be locked for [HOST]:
      Because forbidden was not found in the package registry and you require forbidden, we can conclude that your requirements are unsatisfiable.
      An index (http://127.0.0.1:[PORT]/simple/) returned a 403 Forbidden error. Check that the index URL is correct and the credentials are valid.
      asked for: `forbidden` (environment.yml:9)
    hint: the index needs a login: in its URL, as `https://${USER}:${PASSWORD}@host/simple`, or in `~/.netrc`

    deep
    error: the `pip:` list cannot be locked for [HOST]:
      Because no-such was not found in the package registry and all versions of deep depend on no-such, we can conclude that all versions of deep cannot be used.
      And because you require deep, we can conclude that your requirements are unsatisfiable.
      asked for: `deep` (environment.yml:9)

    -r no.txt
    error: environment.yml:9:12: there is no file `[TEMP]/work/no.txt`
      |
    9 |       - -r no.txt
      |            ^^^^^^
      = help: paths are relative to the file that names them
    ");
}

/// Who gives a hash wants no other archive: also where the URL is given, and where the index has hashes of another kind.
#[test]
fn every_hash_that_is_given_is_checked() {
    let mut world = world();
    let server = serve(&world, &[Wheel::new("a", "1.0").into(), Wheel::new("b", "1.0").into()]);
    let hash = |name: &str| sha512_hex(fs_err::read(world.path().join(format!("index/files/{name}"))).unwrap());
    let (a, b) = (hash("a-1.0-py3-none-any.whl"), hash("b-1.0-py3-none-any.whl"));
    world.filter(&a, "[SHA512 OF A]");
    world.filter(&b, "[SHA512 OF B]");
    let url = server.url("files/b-1.0-py3-none-any.whl");
    write(&world, &[&format!("a --hash=sha512:{a}"), &format!("b @ {url} --hash=sha512:{b}")]);
    lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(pip_lines(&world, "env.lock"), @"
    # pip requirement: a --hash=sha512:[SHA512 OF A]
    # pip requirement: b @ http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl --hash=sha512:[SHA512 OF B]
    # size: [SIZE] a-1.0-py3-none-any.whl
    # size: [SIZE] b-1.0-py3-none-any.whl
    # pip a @ http://127.0.0.1:[PORT]/files/a-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    # pip b @ http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl --hash=sha256:[SHA256] --direct
    ");
    let before = world.read("env.lock");
    let zeros = "0".repeat(64);
    let signed = format!("b @ {url}?signature=s3cret --hash=sha256:{zeros}");
    let told = [format!("b --hash=sha512:{a}"), format!("b @ {url} --hash=sha256:{zeros}"), signed].map(|line| {
        write(&world, &[&line]);
        lock(&world, &Index::url(&server), &[]).failure(1).stderr.lines().next().unwrap().to_owned() + "\n"
    });
    assert_snapshot!(world.normal(&told.concat()), @"
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl`, whose sha256 is [SHA256], has not the hash that is asked for
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl`, whose sha256 is [SHA256], has not the hash that is asked for
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl?********`, whose sha256 is [SHA256], has not the hash that is asked for
    ");
    world.write("mine/pyproject.toml", "[project]\nname = \"mine\"\nversion = \"1\"\n");
    write(&world, &[&format!("./mine --hash=sha256:{zeros}")]);
    assert_snapshot!(lock(&world, &Index::url(&server), &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:9:9: `mine` is not an archive, which could have a hash
      |
    9 |       - ./mine --hash=sha256:[SHA256]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: remove the hash: a repository is locked by its commit, a directory by its path
    ");
    assert_eq!(world.read("env.lock"), before);
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
    // A version that will not do for its hash is no reason for there to be no answer.
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

#[test]
fn what_has_no_hash_is_locked_by_what_it_is() {
    let world = world();
    let server = serve(&world, &[]);
    Sdist::new("mine", "0.5").unpack(&world.work().join("src/mine")).unwrap();
    Sdist::new("copied", "0.5").unpack(&world.work().join("src/copied")).unwrap();
    Sdist::new("repo", "0.5").static_metadata(StaticMetadata::Built).unpack(&world.work().join("repo/python")).unwrap();
    Wheel::new("local", "1.0").write(&world.work().join("wheels")).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = world.command("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-C", "repo"]).args(arguments);
        command.env("GIT_AUTHOR_DATE", "2024-01-01T00:00:00Z").env("GIT_COMMITTER_DATE", "2024-01-01T00:00:00Z");
        world.outcome(&mut command).success()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    let repository = format!("git+file://{}/repo@v1#subdirectory=python&egg=repo", world.work().display());
    write(&world, &["-e src/mine", "./src/copied", "./wheels/local-1.0-py3-none-any.whl", &repository]);
    let outcome = lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(outcome, @"
    exit code 0
    --- stdout
    --- stderr
    warning: `repo` is locked by its commit: a repository cannot be pinned by hash
    warning: `copied` and `mine` are locked by their paths: a directory cannot be pinned by hash
    4 packages and 4 of pip ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_snapshot!(pip_lines(&world, "env.lock").replace(&commit, "[COMMIT]"), @"
    # pip requirement: -e src/mine
    # pip requirement: ./src/copied
    # pip requirement: ./wheels/local-1.0-py3-none-any.whl
    # pip requirement: git+file://[TEMP]/work/repo@v1#subdirectory=python&egg=repo
    # pip requested: copied
    # pip requested: local
    # pip requested: mine
    # pip requested: repo
    # size: [SIZE] local-1.0-py3-none-any.whl
    # pip copied @ ./src/copied
    # pip local @ file://[TEMP]/work/wheels/local-1.0-py3-none-any.whl --hash=sha256:[SHA256] --direct
    # pip mine @ ./src/mine --editable
    # pip repo @ git+file://[TEMP]/work/repo@[COMMIT]#subdirectory=python
    ");
    // pip has a clone to be edited; a lock has the commit, and that stays.
    let locked = |line: &str, arguments: &[&str]| {
        write(&world, &[line]);
        lock(&world, &Index::url(&server), arguments).success();
        pip_lines(&world, "env.lock").replace(&commit, "[COMMIT]").contains("@[COMMIT]#subdirectory=python")
    };
    let branch = format!("-e {}", repository.replace("@v1", "@trunk"));
    git(&["checkout", "-q", "-b", "trunk"]);
    assert!(locked(&branch, &["--update"]));
    git(&["commit", "-q", "--allow-empty", "-m", "second"]);
    assert!(locked(&branch, &[]), "the branch has moved, and what was locked still answers");
    assert!(!locked(&branch, &["--update", "repo"]));
    assert!(locked(&repository, &[]), "another line is another question");
}

#[test]
fn logins_reach_the_index_and_nothing_else() {
    let world = world();
    let server =
        serve(&world, &[Wheel::new("a", "1.0").requires("no-such-project").into(), Wheel::new("b", "1.0").into()]);
    let url = Index::url(&server).replace("http://", "http://me:${TOKEN}@");
    let attempt = |line: &str| {
        write(&world, &[&format!("--index-url {url}"), line]);
        let (uv, path) = resolver();
        let mut command = world.mlconda_command(["lock", "--json"]);
        command.env("MLCONDA_UV", uv).env("PATH", path).env("TOKEN", "s3cret").env("HOME", world.developer());
        world.outcome(&mut command)
    };
    let told = attempt("b").success();
    assert!(!format!("{}{}", told.stdout, told.stderr).contains("s3cret"), "{told}");
    assert!(world.read("env.lock").contains("# pip b @ http://me:${TOKEN}@127.0.0.1"), "{}", world.read("env.lock"));
    let asked = server.requests();
    let login =
        asked.iter().find(|request| request.path == "simple/b/" && request.headers.contains_key("authorization"));
    // `me:s3cret`, in base64.
    assert_eq!(login.map(|request| request.headers["authorization"].as_str()), Some("Basic bWU6czNjcmV0"));
    let told = attempt("a").failure(1);
    assert!(told.stderr.contains("no-such-project") && !told.stderr.contains("s3cret"), "{told}");
    server.fail("simple", Fault::Status(401));
    let told = attempt("c").failure(1);
    assert!(told.stderr.contains("401") && !told.stderr.contains("s3cret"), "{told}");
}

#[test]
fn an_index_that_does_not_answer_is_named() {
    let world = world();
    write(&world, &["a"]);
    let url = unreachable_url().unwrap().replace("http://", "http://me:s3cret@");
    assert_snapshot!(lock(&world, &format!("{url}/simple"), &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the `pip:` list cannot be locked for [HOST]:
      Failed to fetch: http://127.0.0.1:[PORT]/simple/a/
      error sending request for url (http://127.0.0.1:[PORT]/simple/a/)
      client error (Connect)
      tcp connect error
      Connection refused (os error [NUMBER])
      asked for: `a` (environment.yml:9)
    hint: check the network, the index (`PIP_INDEX_URL`, `pip.conf`, `--index-url` in the list), `HTTPS_PROXY` and `NO_PROXY`; `--offline` uses cached data
    ");
}

#[test]
fn extras_that_no_index_knows_are_told() {
    let world = world();
    let newer = Wheel::new("greet", "2.5").extra("loud", "sirens");
    let server = serve(&world, &[newer.into(), Wheel::new("sirens", "1.0").into(), Wheel::new("a", "1.0").into()]);
    write(&world, &["greet[loud]", "a"]);
    let outcome = lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(outcome, @"
    exit code 0
    --- stdout
    --- stderr
    warning: what the extras of `greet` need is not known, and not locked: conda has a version that the index lacks
    4 packages and 1 of pip ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_eq!(pip_lines(&world, "env.lock").matches(" @ ").count(), 1);
}

/// The channel's uv and python are the machine's, in scripts: what counts is that they are found there.
#[test]
fn without_uv_it_comes_from_the_channels() {
    let world = world();
    let (uv, path) = resolver();
    let python =
        std::env::split_paths(&path).map(|directory| directory.join("python3")).find(|python| python.is_file());
    let script = |program: &Path| format!("#!/bin/sh\nexec {} \"$@\"\n", program.display());
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python", script(&python.unwrap()));
    let uv = PackageBuilder::new("uv", "0.13.9").executable("bin/uv", script(&uv));
    let tool = PackageBuilder::new("tool", "1.0").noarch(Noarch::Python).depends("python");
    let server = serve(&world, &[Wheel::new("a", "1.0").requires("tool").into()]);
    let attempt = |packages: &[PackageBuilder], name: &str| {
        Channel::write(world.work().join(name), packages, &[]).unwrap();
        world.write(
            "environment.yml",
            &format!("channels: [./{name}]\ndependencies:\n  - python\n  - tool\n  - pip: [a]\n"),
        );
        let mut command = world.mlconda_command(["lock", "--no-pip"]);
        command.env("PATH", "/nowhere").env("PIP_INDEX_URL", Index::url(&server));
        world.outcome(&mut command)
    };
    let pip = PackageBuilder::new("pip", "24.0").noarch(Noarch::Python).depends("python");
    let packages = [python.clone(), tool.clone(), pip.clone()];
    assert_snapshot!(attempt(&packages, "without").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    warning: environment.yml:5:11: there is a `pip:` list, and `pip` is not among the dependencies; it is added, as conda does
    error: the `pip:` list is resolved by `uv`, which is not on this machine, nor in the environment's channels: none has `uv` for `[HOST]`
    hint: install uv so that it is on `PATH`, or set `MLCONDA_UV` to its path, or add a channel that has it, such as conda-forge
    ");
    attempt(&[python, tool, pip, uv], "with").success();
    assert!(pip_lines(&world, "env.lock").contains("# pip a @ "));
    let tools: Vec<_> = fs_err::read_dir(world.home().join(".cache/mlconda/tools")).unwrap().collect();
    assert_eq!(tools.len(), 1);
}

/// Each platform has its own wheels; those that the resolver does not know, and other pythons, are refused.
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
    hint: move what pip is to install up to the conda dependencies
    error: packages of pip can be locked for CPython 3 only, and the environment has python 3.11.9 (0_73_pypy)
      asked for: `a` (environment.yml:5)
      asked for: `b` (environment.yml:6)
      asked for: `b` (environment.yml:7)
      and 1 more
    hint: ask for CPython: `- python=3.12=*_cpython`, or move the packages of pip to the conda dependencies
    ");
}

/// A page on a server that links to a wheel of this machine: `lock` must not read it, nor `install` after it.
#[test]
fn an_index_leads_to_no_file_of_this_machine() {
    let world = world();
    let server = serve(&world, &[Wheel::new("app", "1.0").into()]);
    let page = world.path().join("index/simple/app");
    fs_err::remove_file(page.join("index.json")).unwrap();
    let files = format!("file://{}/", world.path().join("index/files").display());
    let html = fs_err::read_to_string(page.join("index.html")).unwrap();
    fs_err::write(page.join("index.html"), html.replace("../../files/", &files)).unwrap();
    write(&world, &["app"]);
    let outcome = lock(&world, &Index::url(&server), &[]).failure(1).to_string();
    assert!(outcome.contains("app"), "{outcome}");
    assert!(!world.work().join("env.lock").exists());
    // Whoever names the directory trusts it.
    write(&world, &["app", &format!("--find-links {}", world.path().join("index/files").display())]);
    lock(&world, &Index::url(&server), &[]).success();
}
