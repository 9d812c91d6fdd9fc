//! `mlconda bundle`: a lock with its archives in one file, and installing it without a network.

mod damage;
mod executable;
mod readers;

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    foreign_subdir, host_subdir,
    package::PackageBuilder,
    server::{Fault, Server},
    sha256_hex, tree,
    wheel::Sdist,
};
use rustix::process::Signal;

use crate::{
    packages::{contents, line},
    pip_install::{add, line as wheel_line, simple},
    serve,
    stopping::{begin, stop},
    world,
};

/// Packages of every kind: noarch and platform-specific, `.tar.bz2`, links, scripts, variables.
const KINDS: [&str; 12] = [
    "tzdata",
    "python-3.11.9",
    "greet-2.0",
    "templates",
    "scripts",
    "links",
    "hollow",
    "unicode",
    "where-2.0",
    "archived",
    "with-variables",
    "many",
];

/// A context with a lock of packages from a server.
fn served(packages: &[&str]) -> (TestContext, Server) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    world.write_lock("env.lock", Some(&server.url("main")), packages);
    (world, server)
}

fn bundle(world: &TestContext, arguments: &[&str]) -> Outcome {
    world.mlconda([&["bundle"], arguments].concat())
}

fn install(world: &TestContext, file: &str, prefix: &str) -> Outcome {
    world.mlconda(["install", file, "-p", prefix])
}

/// Unpacks a bundle with `tar`. Returns the directory.
fn unpacked(world: &TestContext, file: &str) -> PathBuf {
    let directory = world.work().join("unpacked");
    fs_err::create_dir(&directory).unwrap();
    world.run("tar", &["-C", argument(&directory), "-xf", file]).success();
    directory
}

#[test]
fn what_is_installed_from_it_is_what_is_installed_from_the_lock() {
    let (world, server) = served(&KINDS);
    assert_snapshot!(bundle(&world, &["env.lock", "-o", "env.bundle"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Put 12 packages of 1 lock for [HOST] into `env.bundle`: [SIZE], in [TIME].
    ");
    let expected = world.path().join("prefix");
    install(&world, "env.lock", "../prefix").success();
    let expected_contents = contents(&expected);
    fs_err::remove_dir_all(&expected).unwrap();
    drop(server);
    install(&world, "env.bundle", "../prefix").success();
    assert_eq!(tree::difference(&expected_contents, &contents(&expected)), "");
    for arguments in [vec!["verify", "../prefix", "env.bundle"], vec!["diff", "env.lock", "env.bundle", "--exit-code"]]
    {
        world.mlconda(arguments).success();
    }
    // The records come from the bundle; no server is asked.
    let why = world.mlconda(["why", "tzdata", "env.bundle"]).success();
    assert!(why.stdout.contains("python 3.11.9 needs tzdata") && why.stderr.is_empty(), "{why}");
    assert!(!world.work().join("env.bundle.partial").exists());
}

#[test]
fn one_that_is_named_by_an_option_is_asked_too() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    let named = |name: &str| {
        let lock = world.read("env.lock");
        world.write(
            &format!("{name}.lock"),
            &lock.replace("# platform", &format!("# mlconda lock: 1\n# name: {name}\n# platform")),
        );
    };
    named("one");
    named("other");
    bundle(&world, &["one.lock", "-o", "one.bundle"]).success();
    // The packages of the second lock are downloaded.
    world.mlconda(["install", "one.bundle", "-f", "other.lock"]).success();
    drop(server);
    world.mlconda(["install", "-f", "one.bundle", "-p", "installed"]).success();
    world.mlconda(["create", "-p", "created", "--file", "one.bundle", "-y"]).success();
    world.mlconda(["install", "one.bundle", "-f", "one.bundle", "--dry-run"]).failure(2);
    for prefix in ["installed", "created"] {
        world.mlconda(["verify", prefix, "one.bundle"]).success();
    }
}

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let (world, server) = served(&KINDS);
    bundle(&world, &["env.lock", "-o", "one.bundle"]).success();
    let (channel, from_server) =
        (world.channels().main.path().to_owned(), fs_err::read(world.work().join("one.bundle")).unwrap());
    // The same bundle must result with another name, one thread, a umask, and other files in the directory.
    let script = "umask 077; exec \"$0\" bundle env.lock -o two.bundle --threads 1 --downloads 1";
    world.run("sh", &["-c", script, crate::program()]).success();
    assert_eq!(sha256_hex(&from_server), sha256_hex(fs_err::read(world.work().join("two.bundle")).unwrap()));
    // An earlier run for another lock has left a partial file.
    fs_err::write(world.work().join("three.bundle.partial"), vec![7; from_server.len() * 2]).unwrap();
    bundle(&world, &["env.lock", "-o", "three.bundle"]).success();
    assert_eq!(sha256_hex(&from_server), sha256_hex(fs_err::read(world.work().join("three.bundle")).unwrap()));
    // From local files, the bundle is the same except for the URLs in the lock.
    drop(server);
    world.write_lock("local.lock", None, &KINDS);
    bundle(&world, &["local.lock", "-o", "local.bundle", "--offline"]).success();
    bundle(&world, &["local.lock", "-o", "again.bundle", "--threads", "3"]).success();
    let read = |name: &str| sha256_hex(fs_err::read(world.work().join(name)).unwrap());
    assert_eq!(read("local.bundle"), read("again.bundle"));
    assert!(channel.is_dir());
}

#[test]
fn unpacked_it_is_a_channel() {
    let (world, server) = served(&["tzdata", "python-3.11.9", "greet-2.0", "where-2.0", "archived"]);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    drop(server);
    let directory = unpacked(&world, "env.bundle");
    assert_snapshot!(world.normal(&tree::paths(&directory).unwrap()), @"
    channel
    channel/[HOST]
    channel/[HOST]/archived-1.0-h4bc722e_0.tar.bz2
    channel/[HOST]/python-3.11.9-h4bc722e_0_cpython.conda
    channel/[HOST]/repodata.json
    channel/[HOST]/where-2.0-h4bc722e_0.conda
    channel/noarch
    channel/noarch/greet-2.0-pyhd8ed1ab_0.conda
    channel/noarch/repodata.json
    channel/noarch/tzdata-2024a-hd8ed1ab_0.conda
    environment.yml
    locks
    locks/env.[HOST].lock
    mlconda-bundle.json
    pixi-pack.json
    ");
    let environment = fs_err::read_to_string(directory.join("environment.yml")).unwrap();
    assert_snapshot!(world.normal(&environment), @"
    name: env
    channels:
      - ./channel
      - nodefaults
    dependencies:
      - tzdata=2024a=hd8ed1ab_0
      - python=3.11.9=h4bc722e_0_cpython
      - greet=2.0=pyhd8ed1ab_0
      - where=2.0=h4bc722e_0
      - archived=1.0=h4bc722e_0
    ");
    assert_snapshot!(fs_err::read_to_string(directory.join("pixi-pack.json")).unwrap().replace(host_subdir(), "[HOST]"), @r#"{"version":"1","platform":"[HOST]"}"#);
    let mut lock = world.mlconda_command(["lock", "--offline", "--no-pip"]);
    world.outcome(lock.current_dir(&directory)).success();
    let mut installing = world.mlconda_command(["install", "env.lock", "--offline", "-p", "../../prefix"]);
    world.outcome(installing.current_dir(&directory)).success();
    let listed = world.mlconda(["list", "-p", "../prefix"]).success().stdout;
    assert!(["greet", "archived", "python"].iter().all(|name| listed.contains(name)), "{listed}");
    // The same, with a channel URL in the form of another tool.
    let channel = format!("file://{}/channel", directory.display());
    world.write("other.yml", &format!("channels: ['{channel}']\ndependencies: [greet, where]\n"));
    world.mlconda(["lock", "other.yml", "--offline", "-o", "other.lock"]).success();
    assert!(world.read("other.lock").contains("/unpacked/channel/"), "{}", world.read("other.lock"));
}

#[test]
fn what_a_channel_has_mended_since_does_not_stand_in_the_way() {
    let world = world();
    let one = PackageBuilder::new("one", "1.0").depends("two >=5").depends("gone").constrains("two <1");
    let lines = [line(&world, &PackageBuilder::new("two", "2.0").depends("__unix")), line(&world, &one)];
    crate::packages::lock(&world, &[&lines.concat()]);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    let directory = unpacked(&world, "env.bundle");
    let repodata = directory.join("channel").join(host_subdir()).join("repodata.json");
    let repodata: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(repodata).unwrap()).unwrap();
    let mut records = repodata["packages.conda"].as_object().unwrap().values();
    let one = records.find(|record| record["name"] == "one").unwrap();
    assert_eq!((one["depends"].to_string(), one.get("constrains")), (r#"["two"]"#.to_owned(), None));
    assert!(repodata.to_string().contains("__unix"));
}

#[test]
fn an_unfinished_file_is_gone_on_with() {
    let (mut world, server) = served(&["tzdata", "where-2.0", "large", "many"]);
    world.filter("tzdata-2024a-hd8ed1ab_0.conda", "[LAST]");
    server.fail("tzdata", Fault::Truncated);
    let failed = bundle(&world, &["env.lock", "-o", "env.bundle", "--downloads", "1"]).failure(1);
    assert!(
        failed.stderr.contains("env.bundle.partial` keeps what has arrived; the same command goes on with it."),
        "{failed}"
    );
    assert!(!world.work().join("env.bundle").exists());
    server.recover();
    server.forget();
    let made = bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    assert!(made.stderr.contains("of an earlier run)"), "{made}");
    let fetched = server.requests().into_iter().filter(|request| request.method == "GET");
    let fetched: Vec<String> = fetched.map(|request| request.path).collect();
    assert!(matches!(fetched.as_slice(), [only] if only.contains("tzdata")), "{fetched:?}");
    bundle(&world, &["env.lock", "-o", "anew.bundle"]).success();
    let read = |name: &str| sha256_hex(fs_err::read(world.work().join(name)).unwrap());
    assert_eq!(read("env.bundle"), read("anew.bundle"));
}

#[test]
fn a_signal_leaves_what_has_arrived_and_nothing_that_looks_finished() {
    let (world, server) = served(&["tzdata", "where-2.0", "large"]);
    server.fail("large", Fault::Stalled);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let making = begin(&world, &["bundle", "env.lock", "-o", "env.bundle"]);
        server.wait_for("large");
        let (found, said) = stop(making, signal);
        assert_eq!(found, code, "{said}");
        assert!(!said.contains("removing what was written"), "{said}");
        assert!(!world.work().join("env.bundle").exists());
        server.forget();
    }
    let partial = world.work().join("env.bundle.partial");
    if partial.exists() {
        fs_err::copy(&partial, world.work().join("half.bundle")).unwrap();
        let refused = install(&world, "half.bundle", "prefix").failure(1);
        // The message depends on how much of the file was written.
        let says = ["is not a lock", "is no part of a text in UTF-8"].map(|words| refused.stderr.contains(words));
        assert!(says.contains(&true), "{refused}");
    }
    server.recover();
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    install(&world, "env.bundle", "prefix").success();
}

#[test]
fn where_nothing_has_arrived_nothing_is_left() {
    let (world, server) = served(&["tzdata"]);
    let before = world.tree();
    drop(server);
    let script = "exec \"$0\" bundle env.lock -o env.bundle --offline";
    let offline = world.run("sh", &["-c", script, crate::program()]).failure(1);
    assert!(offline.stderr.contains("network access is disabled"), "{offline}");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn several_platforms_and_environments_are_in_one() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    let own = world.read("env.lock");
    world.write("one.lock", &own.replace("# platform", "# mlconda lock: 1\n# name: one\n# platform"));
    let foreign = world.channels().main.archives(foreign_subdir()).unwrap();
    let foreign = foreign.iter().find(|name| name.starts_with("where-2.0")).unwrap();
    let digest = sha256_hex(fs_err::read(world.channels().main.path().join(foreign_subdir()).join(foreign)).unwrap());
    let text = format!(
        "# mlconda lock: 1\n# name: one\n# platform: {0}\n@EXPLICIT\n{1}/{0}/{foreign}#sha256:{digest}\n",
        foreign_subdir(),
        server.url("main")
    );
    world.write("one.foreign.lock", &text);
    world.write_lock("two.lock", Some(&server.url("main")), &["tzdata", "large"]);
    let two = world.read("two.lock").replace("# platform", "# mlconda lock: 1\n# name: two\n# platform");
    world.write("two.lock", &two);
    let files = ["one.lock", "one.foreign.lock", "two.lock", "-o", "all.bundle"];
    let made = bundle(&world, &files).success();
    assert!(made.stderr.contains("Put 4 packages of 3 locks for "), "what two locks have is there once: {made}");
    drop(server);
    world.mlconda(["install", "all.bundle"]).success();
    assert!(world.named_prefix("one").join("share/where").is_dir());
    assert!(world.named_prefix("two").join("share/large.bin").is_file());
    world.mlconda(["install", "all.bundle", "--environment", "one", "-p", "prefix"]).success();
    let foreign = ["install", "all.bundle", "--environment", "one", "--platform", foreign_subdir(), "-p", "foreign"];
    world.mlconda(foreign).success();
    assert!(world.read("foreign/conda-meta/history").contains(foreign_subdir()));
    // A bundle can be made from a bundle, from all of it or from a selection.
    let again = ["all.bundle", "-o", "again.bundle", "--platform", host_subdir(), "--platform", foreign_subdir()];
    let again = bundle(&world, &again).failure(1);
    assert!(again.stderr.contains("`two`") || again.stderr.contains("has no lock for"), "{again}");
    let again = ["all.bundle", "-o", "again.bundle", "--platform", host_subdir(), "--offline"];
    assert!(bundle(&world, &again).success().stderr.contains("Put 3 packages of 2 locks for "));
    let several = install(&world, "all.bundle", "prefix").failure(2);
    assert!(several.stderr.contains("several environments cannot be installed into one prefix"), "{several}");
    let clash = bundle(&world, &["one.lock", "env.lock", "one.lock", "-o", "x.bundle"]).failure(1);
    assert!(clash.stderr.contains("two locks are for the environment `one`"), "{clash}");
}

#[test]
fn an_image_of_it_is_that_of_the_lock() {
    let (world, server) = served(&["tzdata", "hollow", "unicode"]);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    let image = |file: &str, output: &str| {
        let arguments = ["image", file, "--base", "scratch", "-n", "ml", "--tag", "ml", "--no-compile-bytecode"];
        world.mlconda([&arguments[..], &["--oci-layout", output]].concat())
    };
    image("env.lock", "one").success();
    drop(server);
    image("env.bundle", "other").success();
    assert_eq!(world.read("one/index.json"), world.read("other/index.json"));
}

#[test]
fn wheels_and_sources_are_in_it() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    add(&lock, &[wheel_line(&world, &simple("tool", "1.0"), "")]);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    fs_err::remove_dir_all(world.path().join("wheels")).unwrap();
    install(&world, "env.bundle", "prefix").success();
    assert!(world.read("prefix/lib/python3.11/site-packages/tool/__init__.py").contains("1.0"));
    let directory = unpacked(&world, "env.bundle");
    assert!(directory.join("pypi/tool-1.0-py3-none-any.whl").is_file());
    let environment = fs_err::read_to_string(directory.join("environment.yml")).unwrap();
    assert!(environment.contains("      - '--find-links ./pypi'\n      - tool==1.0\n"), "{environment}");
    let sdist = Sdist::new("source", "1.0").write(&world.path().join("sources")).unwrap();
    let digest = sha256_hex(fs_err::read(&sdist).unwrap());
    let lock = world.write_lock("sources.lock", None, &["tzdata", "python-3.11.9"]);
    add(&lock, &[format!("# pip source @ file://{} --hash=sha256:{digest}\n", sdist.display())]);
    bundle(&world, &["sources.lock", "-o", "sources.bundle"]).success();
    let listed = world.run("tar", &["-tf", "sources.bundle"]).success().stdout;
    assert!(listed.contains("pypi/source-1.0.tar.gz") && !listed.contains("pixi-pack.json"), "{listed}");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let lock = world.write_lock("git.lock", None, &["tzdata", "python-3.11.9"]);
    add(
        &lock,
        &[format!("# pip tool @ git+https://git.example.org/tool@{commit}\n"), "# pip here @ ./src\n".to_owned()],
    );
    assert_snapshot!(bundle(&world, &["git.lock", "-o", "git.bundle"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `tool` cannot be in a bundle: it comes from a git repository
    hint: build a wheel of it (`pip wheel`), name that in the `pip:` list, and lock again
    ");
}

#[test]
fn the_lock_in_it_has_sha256_and_no_secrets() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    let md5 = |text: String| {
        let line = |line: &str| line.split_once("#sha256:").map_or(line, |(url, _)| url).to_owned();
        text.lines().map(|each| line(each) + "\n").collect::<String>()
    };
    let text = md5(world.read("env.lock")).replace("http://", "http://me:secret@");
    world.write("env.lock", &text);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    drop(server);
    let directory = unpacked(&world, "env.bundle");
    let lock = fs_err::read_to_string(directory.join(format!("locks/env.{}.lock", host_subdir()))).unwrap();
    assert!(lock.matches("#sha256:").count() == 2 && lock.matches("# size: ").count() == 2, "{lock}");
    assert!(!fs_err::read(world.work().join("env.bundle")).unwrap().windows(6).any(|bytes| bytes == b"secret"));
    install(&world, "env.bundle", "prefix").success();
}

#[test]
fn what_would_be_in_it_is_told() {
    let (world, _server) = served(&["tzdata", "where-2.0"]);
    assert_snapshot!(bundle(&world, &["env.lock", "--dry-run"]).success(), @"
    exit code 0
    --- stdout
             ?  channel/[HOST]/where-2.0-h4bc722e_0.conda
             ?  channel/noarch/tzdata-2024a-hd8ed1ab_0.conda
    --- stderr
    A bundle of 1 lock would have 2 archives.
    ");
    world.write_environment(&["tzdata"]);
    assert_snapshot!(bundle(&world, &["environment.yml", "-o", "env.bundle"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `environment.yml` is an environment file; a bundle is made of locks
    hint: lock it first: `mlconda lock environment.yml -o env.lock`
    ");
    assert_snapshot!(bundle(&world, &["env.lock", "-o", "."]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `.` is a directory
    hint: name a file in it: `-o ./env.bundle`
    ");
    assert_snapshot!(bundle(&world, &["env.lock", "-o", "-"]).failure(2), @"
    exit code 2
    --- stdout
    --- stderr
    error: a bundle cannot be written to stdout: name a file with `-o FILE`
    ");
    let json = bundle(&world, &["env.lock", "-o", "env.bundle", "--json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json["packages"].as_u64(), json["kept"].as_u64()), (Some(2), Some(0)));
    assert_eq!(json["bytes"].as_u64(), Some(fs_err::metadata(world.work().join("env.bundle")).unwrap().len()));
}

#[test]
fn sizes_that_the_lock_does_not_have_are_asked_for_and_why_there_is_none_is_told() {
    let (world, server) = served(&["tzdata", "where-2.0"]);
    let lock = world.read("env.lock");
    let bare = lock.lines().filter(|line| !line.starts_with('#') || line.starts_with("# platform"));
    let bare: String = bare.map(|line| format!("{}\n", line.split(" #").next().unwrap())).collect();
    world.write("bare.lock", &bare);
    server.forget();
    bundle(&world, &["bare.lock", "-o", "env.bundle"]).success();
    assert_eq!(server.requests().iter().filter(|request| request.method == "HEAD").count(), 2);
    server.fail("where", Fault::Status(404));
    let failed = bundle(&world, &["bare.lock", "-o", "other.bundle"]).failure(1);
    assert!(failed.stderr.contains("where-2.0-h4bc722e_0.conda") && failed.stderr.contains("404"), "{failed}");
    assert!(!world.work().join("other.bundle.partial").exists());
    drop(server);
    install(&world, "env.bundle", "prefix").success();
}

#[test]
fn a_full_disk_is_known_before_anything_is_fetched() {
    let (world, server) = served(&["tzdata", "large"]);
    let before = world.tree();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" bundle env.lock -o env.bundle";
    let outcome = world.run("sh", &["-c", script, crate::program()]).failure(1);
    assert!(
        outcome.stderr.contains("error: there is no room for the ") && outcome.stderr.contains("hint: "),
        "{outcome}"
    );
    assert!(!server.requests().iter().any(|request| request.method == "GET"));
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn two_at_once_do_not_write_one_file() {
    let (world, server) = served(&["tzdata", "large"]);
    server.fail("large", Fault::Stalled);
    let making = begin(&world, &["bundle", "env.lock", "-o", "env.bundle"]);
    server.wait_for("large");
    assert_snapshot!(bundle(&world, &["env.lock", "-o", "env.bundle"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: another mlconda is writing `[TEMP]/work/env.bundle.partial`
    hint: wait until it has finished, or write to another file, with `-o`
    ");
    stop(making, Signal::INT);
}

/// A path in the working directory of the test.
pub(crate) fn path(world: &TestContext, name: &str) -> PathBuf {
    world.work().join(Path::new(name))
}
