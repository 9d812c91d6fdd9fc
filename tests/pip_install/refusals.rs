//! Wheels that are rejected: the prefix does not change.

use insta::assert_snapshot;

use super::*;

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
    hint: the archive was not used. If you know that the server replaced the package, lock again; otherwise somebody between you and the server has changed it
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
    error: `greet-2.0-py3-none-any.whl` is a package for python, but the lock has no python
    hint: add `python` to the environment.yml and lock it again
    ");
    let path = lock(&world, &["tzdata", "python-3.11.9", "greet-1.0"], &[wheel]);
    assert_snapshot!(world.mlconda(["install", argument(&path), "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 4 packages into `[TEMP]/prefix`
    error: `greet-1.0-pyhd8ed1ab_0` from a channel and `greet-2.0-py3-none-any.whl` from pip are the same python distribution: `greet`
    hint: lock again: a package of a channel is not installed by pip as well. Or remove it from one of the two lists
    ");
    assert!(!prefix(&world).exists());
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

/// A small archive must not fill the memory.
#[test]
fn what_is_read_of_a_wheel_has_limits() {
    let world = world();
    let large = simple("large", "1.0").metadata(&format!("Keywords: {}", "x".repeat(65 << 20)));
    let record = simple("record", "1.0").unrecorded("record-1.0.dist-info/entry_points.txt", vec![b' '; 65 << 20]);
    for (wheel, message) in [
        (large, "`large-1.0.dist-info/METADATA` is too large"),
        (record, "`record-1.0.dist-info/entry_points.txt` is too large"),
    ] {
        assert!(wheel.write(&world.path().join("wheels")).unwrap().metadata().unwrap().len() < 64 << 20);
        let outcome = install(&world, &[line(&world, &wheel, "")]).failure(1);
        assert!(outcome.stderr.contains(message) && outcome.stderr.contains(&wheel.stem()), "{outcome}");
        assert!(!prefix(&world).exists());
    }
}
