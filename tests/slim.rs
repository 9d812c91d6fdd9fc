//! `--slim`: the parts of packages that are left out, that this is recorded, and that they can be restored.

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    package::PackageBuilder,
    tree,
    wheel::Wheel,
};
use serde_json::Value;

use crate::{
    packages::{Info, Part, archive, contents, line, lock},
    pip_install, world,
};

const SITE: &str = "lib/python3.11/site-packages";

/// A package with files in most of the parts.
fn wide() -> PackageBuilder {
    PackageBuilder::new("wide", "1.0")
        .file(&format!("{SITE}/wide/__init__.py"), "from wide.tests import common\n")
        .file(&format!("{SITE}/wide/__init__.pyi"), "x: int\n")
        .file(&format!("{SITE}/wide/only.pyi"), "y: int\n")
        .file(&format!("{SITE}/wide/tests/__init__.py"), "")
        .file(&format!("{SITE}/wide/tests/common.py"), "helper = 1\n")
        .file(&format!("{SITE}/wide/tests/test_wide.py"), "assert True\n")
        .file(&format!("{SITE}/wide/tests/data/big.csv"), "1,2\n".repeat(3000))
        .file("share/man/man1/wide.1", ".TH wide\n")
        .link("share/man/man1/also.1", "wide.1")
        .file("include/wide.h", "int wide;\n")
        .executable("bin/wide", "#!/bin/sh\necho wide\n")
}

fn plain() -> PackageBuilder {
    PackageBuilder::new("plain", "1.0").file("share/plain.txt", "plain\n")
}

/// A context with a lock of both packages.
fn locked() -> TestContext {
    let world = world();
    lock(&world, &[&line(&world, &wide()), &line(&world, &plain())]);
    world
}

fn install(world: &TestContext, prefix: &str, options: &[&str]) -> Outcome {
    world.mlconda([&["install", "env.lock", "-p", prefix], options].concat())
}

fn has(world: &TestContext, path: &str) -> bool {
    world.work().join(path).symlink_metadata().is_ok()
}

fn record(world: &TestContext, prefix: &str, name: &str) -> Value {
    let meta = world.work().join(prefix).join("conda-meta");
    let files = fs_err::read_dir(meta).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.starts_with(name) && file.ends_with(".json")
    });
    serde_json::from_str(&fs_err::read_to_string(file.unwrap()).unwrap()).unwrap()
}

#[test]
fn what_is_left_out_is_told_and_comes_back() {
    let world = locked();
    install(&world, "full", &[]).success();
    assert_snapshot!(install(&world, "env", &["--slim"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/env`
    + plain 1.0
    + wide 1.0
    Linked 2 packages in `[TEMP]/work/env`: 7 files, [SIZE], in [TIME].
    Left out [SIZE] (99 %): tests [SIZE], records [SIZE], docs [SIZE], stubs [SIZE].
    ");
    let there = |path: &str| has(&world, &format!("env/{path}"));
    assert!(there(&format!("{SITE}/wide/tests/common.py")) && there(&format!("{SITE}/wide/only.pyi")));
    assert!(there("include/wide.h") && there("bin/wide"));
    assert!(!there(&format!("{SITE}/wide/tests/data")) && !there("share/man") && !there("share/man/man1/also.1"));
    // The record lists the installed files, and says what was left out.
    let wide = record(&world, "env", "wide");
    let files: Vec<&str> = wide["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(files.iter().all(|path| there(path)) && !files.contains(&"share/man/man1/wide.1"), "{files:?}");
    let left = &wide["mlconda"]["left_out"];
    assert_eq!(left["parts"]["tests"]["files"], 2);
    assert_eq!(left["parts"]["docs"]["paths"], serde_json::json!(["share/man/man1/also.1", "share/man/man1/wide.1"]));
    assert_snapshot!(world.mlconda(["verify", "env"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Left out on purpose: docs [SIZE], stubs [SIZE], tests 12.0 kB.
    `[TEMP]/work/env` is intact: 2 packages, 7 files, [SIZE], in [TIME].
    ");
    let again = install(&world, "env", &["--slim"]).success().to_string();
    assert!(again.contains("is up to date"), "{again}");
    // Without the option, everything is restored. The package without omitted parts does not change.
    let back = install(&world, "env", &[]).success().to_string();
    assert!(back.contains("Linked 1 package in") && back.contains("kept 1"), "{back}");
    let (mut full, mut env) = (contents(&world.work().join("full")), contents(&world.work().join("env")));
    assert_eq!(record(&world, "env", "plain")["mlconda"], record(&world, "full", "plain")["mlconda"]);
    // The record of `plain` was kept, so it still has each hash only once.
    for tree in [&mut full, &mut env] {
        tree.retain(|path, _| !path.starts_with("conda-meta/plain"));
    }
    assert_eq!(env, full);
    install(&world, "env", &["--slim=docs"]).success();
    assert!(there(&format!("{SITE}/wide/tests/test_wide.py")) && !there("share/man/man1/wide.1"));
}

#[test]
fn the_cache_and_the_archive_give_the_same() {
    let world = locked();
    install(&world, "archive", &["--slim=all"]).success();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    install(&world, "first", &["--slim=all"]).success();
    install(&world, "second", &["--slim=all"]).success();
    let of = |prefix: &str| tree::tree(&world.work().join(prefix)).unwrap();
    assert_eq!(of("first"), of("archive"));
    assert_eq!(of("second"), of("archive"));
    assert!(!has(&world, "second/include") && has(&world, "second/bin/wide"));
    assert_snapshot!(install(&world, "third", &["--slim", "--dry-run"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    + wide-1.0-h4bc722e_0
    + plain-1.0-h4bc722e_0
    Would link 2 packages and unlink 0 in `[TEMP]/work/third`; 0 would stay.
    Would leave out [SIZE] (99 %): tests [SIZE], docs [SIZE], stubs [SIZE]; symbols are told when they are left out.
    ");
    // Files in the cache are complete, whichever prefix uses them.
    install(&world, "whole", &["--no-slim", "--verify-cache"]).success();
    assert!(has(&world, "whole/include/wide.h") && has(&world, "whole/share/man/man1/also.1"));
}

#[test]
fn a_lock_says_what_is_left_out_and_the_line_overrules_it() {
    let world = world();
    world.write_environment(&["where 2.0"]);
    world.mlconda(["lock", "--slim=docs,tests"]).success();
    assert!(world.read("env.lock").contains("# slim: docs,tests\n"));
    // The setting stays when the environment is locked again, and changes with the option.
    world.mlconda(["lock", "--update"]).success();
    assert!(world.read("env.lock").contains("# slim: docs,tests\n"));
    world.mlconda(["lock", "--check"]).success();
    world.mlconda(["lock", "--check", "--slim=docs"]).failure(1);
    world.mlconda(["convert", "env.lock", "--to", "conda-lock", "-o", "conda-lock.yml"]).success();
    assert!(world.read("conda-lock.yml").contains("# slim: docs,tests\n"));
    install(&world, "env", &[]).success();
    assert_eq!(record(&world, "env", "where")["mlconda"]["left_out"]["slim"], "docs,tests");
    install(&world, "other", &["--no-slim"]).success();
    assert_eq!(record(&world, "other", "where")["mlconda"]["left_out"], Value::Null);
    let exported = world.mlconda(["export", "env"]).success().to_string();
    assert!(exported.contains("x-mlconda:\n  slim: docs,tests\n"), "{exported}");
    world.mlconda(["lock", "--no-slim"]).success();
    assert!(!world.read("env.lock").contains("# slim:"));
}

#[test]
fn the_key_in_the_environment_file_counts_and_is_checked() {
    let world = world();
    let environment = world.write_environment(&["where 2.0"]);
    let text = fs_err::read_to_string(&environment).unwrap();
    fs_err::write(&environment, format!("{text}x-mlconda:\n  slim: [tests, docs]\n")).unwrap();
    world.mlconda(["lock"]).success();
    assert!(world.read("env.lock").contains("# slim: docs,tests\n"));
    world.mlconda(["add", "tzdata"]).success();
    assert!(world.read("env.lock").contains("# slim: docs,tests\n"));
    assert!(world.read("environment.yml").contains("x-mlconda:\n  slim: [tests, docs]\n"));
    let lock = world.read("env.lock").replace("# slim: docs,tests\n", "");
    world.write("env.lock", &lock);
    let told = world.mlconda(["lock", "--check"]).failure(1).to_string();
    assert!(told.contains("the environment leaves out `docs,tests`, and the lock `none`"), "{told}");
    // The command line takes precedence.
    world.mlconda(["lock", "--slim=docs"]).success();
    world.mlconda(["lock", "--check", "--slim=docs"]).success();
    fs_err::write(&environment, format!("{text}x-mlconda:\n  slim: test\n")).unwrap();
    let told = world.mlconda(["lock"]).failure(1).to_string();
    assert!(told.contains("`test` is not a part to leave out: use `safe`, `all`,"), "{told}");
}

#[test]
fn what_conda_words_change_stays_slim() {
    let world = locked();
    install(&world, "env", &["--slim=tests"]).success();
    let prefix = world.work().join("env");
    let told = world.mlconda(["remove", "-y", "-p", argument(&prefix), "plain"]);
    told.success();
    assert!(!has(&world, "env/share/plain.txt") && !has(&world, &format!("env/{SITE}/wide/tests/test_wide.py")));
    world.mlconda(["verify", "env"]).success();
    // A repair restores missing files, but not omitted ones.
    fs_err::remove_file(prefix.join("bin/wide")).unwrap();
    world.mlconda(["verify", "env", "--repair"]).success();
    assert!(has(&world, "env/bin/wide") && !has(&world, &format!("env/{SITE}/wide/tests/test_wide.py")));
}

#[test]
fn another_wish_is_told_by_all_records() {
    let world = world();
    let wheel = Wheel::new("round", "1.0").file("round/__init__.py", "x = 1\n");
    let env = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    pip_install::add(&env, &[pip_install::line(&world, &wheel, "")]);
    let wish = |name: &str| record(&world, "env", name)["mlconda"]["left_out"]["slim"].clone();
    install(&world, "env", &["--slim=maps"]).success();
    assert_eq!([wish("tzdata"), wish("python")], ["maps", "maps"]);
    install(&world, "env", &["--slim=docs,keep:tzdata"]).success();
    assert_eq!([wish("tzdata"), wish("python")], [Value::Null, "docs,keep:tzdata".into()]);
    let again = install(&world, "env", &["--slim=docs,keep:tzdata"]).success().to_string();
    assert!(again.contains("is up to date"), "{again}");
    let exported = world.mlconda(["export", "env"]).success().to_string();
    assert!(exported.contains("slim: docs"), "{exported}");
    install(&world, "env", &["--no-slim"]).success();
    let exported = world.mlconda(["export", "env"]).success().to_string();
    assert!(!exported.contains("x-mlconda"), "{exported}");
    let again = install(&world, "env", &["--no-slim"]).success().to_string();
    assert!(again.contains("is up to date"), "{again}");
    world.mlconda(["verify", "env"]).success();
}

#[test]
fn a_repair_leaves_out_nothing_of_a_whole_environment() {
    let world = locked();
    install(&world, "env", &[]).success();
    let text = world.read("env.lock");
    world.write("env.lock", &format!("# mlconda lock: 1\n# slim: docs,tests\n{text}"));
    fs_err::remove_file(world.work().join("env/bin/wide")).unwrap();
    world.mlconda(["verify", "env", "env.lock", "--repair"]).success();
    assert!(has(&world, "env/bin/wide") && has(&world, "env/share/man/man1/wide.1"));
}

#[test]
fn an_environment_in_place_of_a_slim_one_is_whole() {
    let world = locked();
    install(&world, "env", &["--slim=docs"]).success();
    let prefix = world.work().join("env");
    let url = line(&world, &wide()).split('#').next().map(|url| url.trim().to_owned()).unwrap();
    world.mlconda(["create", "-y", "-p", argument(&prefix), &url]).success();
    assert!(has(&world, "env/share/man/man1/wide.1"));
}

#[test]
fn a_hard_link_to_what_was_left_out_is_no_empty_file() {
    // Without hashes, it is not known in advance that two names are one file.
    let world = world();
    let parts = [("share/man/man1/x.1", Part::File("text\n")), ("z/x.1", Part::Hard("share/man/man1/x.1"))];
    lock(&world, &[&archive(&world, "linked", Info::First, "", &parts)]);
    let told = install(&world, "env", &["--slim=docs"]).failure(1).to_string();
    assert!(told.contains("which was left out: `keep:linked` leaves the package whole"), "{told}");
    assert!(!has(&world, "env"));
    install(&world, "env", &["--slim=docs,keep:linked"]).success();
    assert_eq!(world.read("env/z/x.1"), "text\n");
}

#[test]
fn a_name_that_no_package_has_is_told() {
    let world = locked();
    let told = install(&world, "env", &["--slim=docs,keep:wide+wyde"]).success().to_string();
    assert!(
        told.contains("`keep:wyde` has no effect: the lock has no package of this name")
            && !told.contains("`keep:wide`"),
        "{told}"
    );
}

#[test]
fn an_sbom_tells_what_was_left_out() {
    let world = locked();
    install(&world, "env", &["--slim=tests"]).success();
    let told = world.mlconda(["sbom", "env"]).success().to_string();
    assert_eq!(told.matches("mlconda:left-out").count(), 2, "of the environment and of one package: {told}");
    let told = world.mlconda(["sbom", "env", "--format", "spdx"]).success().to_string();
    assert_eq!(told.matches("left out by mlconda: tests").count(), 2, "{told}");
}

#[test]
fn a_word_that_is_no_part_is_refused() {
    let world = locked();
    let told = install(&world, "env", &["--slim=test"]).failure(2).to_string();
    assert!(told.contains("`test` is not a part to leave out: use `safe`, `all`,"), "{told}");
    assert!(!has(&world, "env"));
    let text = world.read("env.lock");
    world.write("env.lock", &format!("# mlconda lock: 1\n# slim: everything\n{text}"));
    let told = install(&world, "env", &[]).failure(1).to_string();
    assert!(told.contains("`everything` is not a part to leave out: use `safe`, `all`,"), "{told}");
}

#[test]
fn hard_links_of_one_file_stay_together() {
    let world = world();
    let same = "the same text\n";
    let package = PackageBuilder::new("twins", "1.0").file("share/doc/twins/NOTICE", same).file("etc/notice", same);
    lock(&world, &[&line(&world, &package)]);
    install(&world, "env", &["--slim=docs"]).success();
    assert!(has(&world, "env/share/doc/twins/NOTICE"));
    let again = install(&world, "env", &["--slim=docs"]).success().to_string();
    assert!(again.contains("is up to date"), "{again}");
}

#[test]
fn the_record_of_a_wheel_lists_what_is_there() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    let wheel = Wheel::new("round", "1.0")
        .file("round/__init__.py", "x = 1\n")
        .file("round/tests/__init__.py", "")
        .file("round/tests/test_round.py", "assert True\n");
    pip_install::add(&lock, &[pip_install::line(&world, &wheel, "")]);
    install(&world, "env", &["--slim=tests"]).success();
    let list = world.read(&format!("env/{SITE}/round-1.0.dist-info/RECORD"));
    assert!(list.contains("round/tests/__init__.py") && !list.contains("test_round"), "{list}");
    world.mlconda(["verify", "env"]).success();
    // Omitted byte code is not compiled, and is compiled when it is no longer omitted.
    let compiled = |prefix: &str| has(&world, &format!("{prefix}/{SITE}/round/__pycache__"));
    install(&world, "bare", &["--slim=bytecode"]).success();
    assert!(!compiled("bare") && has(&world, &format!("bare/{SITE}/round/tests/test_round.py")));
    let again = install(&world, "bare", &["--slim=bytecode"]).success().to_string();
    assert!(again.contains("is up to date"), "{again}");
    install(&world, "bare", &[]).success();
    assert_eq!(compiled("bare"), compiled("env"));
}

#[test]
fn an_image_is_the_same_twice_and_other_than_a_whole_one() {
    let world = world();
    let manual: String = (0..5000).map(|line| format!("{line}\n")).collect();
    let package = PackageBuilder::new("quiet", "1.0").file("share/man/man1/quiet.1", manual).file("share/quiet", "");
    lock(&world, &[&line(&world, &package)]);
    let image = |options: &[&str]| {
        let line = ["image", "env.lock", "-n", "ml", "--tag", "ml", "--base", "scratch", "--output", "image.tar"];
        world.mlconda([&line[..], options].concat()).success();
        fs_err::read(world.work().join("image.tar")).unwrap()
    };
    let slim = image(&["--slim"]);
    assert!(slim == image(&["--slim"]), "the same lock gives other bytes");
    let whole = image(&[]);
    assert!(whole.len() > slim.len(), "{} and {}", whole.len(), slim.len());
}
