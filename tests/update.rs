//! Installing into an existing prefix: only the differences change, and files of the user stay.

mod paths;

use std::os::unix::fs::MetadataExt;

use insta::assert_snapshot;
use mlconda_test::{
    context::{TestContext, argument},
    tree,
};

use crate::{install::identities, syscalls::newer, world};

/// Installs packages into `prefix`, replacing the installed ones.
fn install(world: &TestContext, packages: &[&str]) -> std::path::PathBuf {
    let lock = world.write_lock("env.lock", None, packages);
    let prefix = world.path().join("prefix");
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    prefix
}

#[test]
fn only_what_differs_changes() {
    let world = world();
    let prefix = install(&world, &["tzdata", "python-3.11.9", "greet-1.0", "where-1.0", "links"]);
    let (before, before_files) = (tree::tree(&prefix).unwrap(), identities(&prefix));
    install(&world, &["tzdata", "python-3.11.9", "greet-2.0", "where-1.0", "unicode"]);
    let (after, after_files) = (tree::tree(&prefix).unwrap(), identities(&prefix));
    assert_snapshot!(tree::difference(&before, &after), @r"
    - conda-meta/greet-1.0-pyhd8ed1ab_0.json
    + conda-meta/greet-2.0-pyhd8ed1ab_0.json
    ~ conda-meta/history
    - conda-meta/links-1.0-h4bc722e_0.json
    + conda-meta/unicode-1.0-hd8ed1ab_0.json
    - lib/links
    - lib/links/libone.so
    - lib/links/libone.so.1
    - lib/links/libone.so.1.2.3
    - lib/python3.11/site-packages/greet-1.0.dist-info
    - lib/python3.11/site-packages/greet-1.0.dist-info/INSTALLER
    - lib/python3.11/site-packages/greet-1.0.dist-info/METADATA
    + lib/python3.11/site-packages/greet-2.0.dist-info
    + lib/python3.11/site-packages/greet-2.0.dist-info/INSTALLER
    + lib/python3.11/site-packages/greet-2.0.dist-info/METADATA
    ~ lib/python3.11/site-packages/greet/__init__.py
    - share/links
    - share/links/dangling
    - share/links/directory
    - share/links/from-afar
    + share/unicode
    + share/unicode/a file with spaces
    + share/unicode/naïve café.txt
    + share/unicode/ссылка
    + share/unicode/日本語
    + share/unicode/日本語/データ.txt
    ");
    for path in ["bin/where-am-i", "share/zoneinfo/Etc/UTC", "lib/python3.11/os.py", "bin/python"] {
        assert_eq!(before_files[path], after_files[path], "{path} is the same file as before");
    }
}

#[test]
fn an_update_gives_what_a_first_installation_gives() {
    let world = world();
    let wanted = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "after-link-2.0"];
    install(&world, &["tzdata", "python-3.11.8", "greet-1.0", "where-1.0", "after-link-1.0", "hollow"]);
    let prefix = install(&world, &wanted);
    let mut updated = tree::archived(&prefix).unwrap();
    fs_err::remove_dir_all(&prefix).unwrap();
    install(&world, &wanted);
    let mut fresh = tree::archived(&prefix).unwrap();
    // The history differs, because it lists both installations.
    for entries in [&mut updated, &mut fresh] {
        entries.remove("conda-meta/history");
    }
    assert_eq!(tree::difference(&fresh, &updated), "");
}

/// A link cannot be exchanged with a directory, and a prefix that contains environments is not swapped: these are
/// changed in place.
#[test]
fn what_goes_in_place_leaves_no_time_of_the_clock() {
    let world = world();
    let (prefix, real) = (world.path().join("prefix"), world.path().join("real"));
    let old = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "links", "hollow", "unicode"];
    for (kind, wanted) in [("link", &old[..2]), ("link", &["tzdata", "hollow"]), ("root", &old[..2])] {
        let ready = || {
            if kind == "link" {
                fs_err::create_dir(&real).unwrap();
                fs_err::os::unix::fs::symlink(&real, &prefix).unwrap();
            }
        };
        ready();
        install(&world, &old);
        // A file of the user keeps its directory; all other files in it are removed.
        fs_err::create_dir_all(prefix.join("share/unicode/日本語")).unwrap();
        fs_err::write(prefix.join("share/unicode/日本語/mine.txt"), "mine").unwrap();
        if kind == "root" {
            fs_err::create_dir(prefix.join("envs")).unwrap();
        }
        install(&world, wanted);
        let mut updated = tree::archived(&prefix).unwrap();
        let mine = prefix.join("share/unicode/日本語");
        let time = |path: &std::path::Path| fs_err::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&mine), time(&prefix.join("conda-meta")), "what stays because of a file of the user");
        fs_err::remove_dir_all(prefix.canonicalize().unwrap()).unwrap();
        if kind == "link" {
            fs_err::remove_file(&prefix).unwrap();
        }
        ready();
        install(&world, wanted);
        let mut fresh = tree::archived(&prefix).unwrap();
        for entries in [&mut updated, &mut fresh] {
            entries
                .retain(|path, _| !path.starts_with("share/unicode") && path != "envs" && path != "conda-meta/history");
        }
        assert_eq!(tree::difference(&fresh, &updated), "", "{kind}, {wanted:?}");
        for path in [&prefix, &real] {
            if path.is_symlink() {
                fs_err::remove_file(path).unwrap();
            } else if path.exists() {
                fs_err::remove_dir_all(path).unwrap();
            }
        }
    }
}

/// An addition makes no twin: all files and directories stay the same. If something is removed or replaced, the prefix
/// becomes another directory.
#[test]
fn an_addition_leaves_all_in_its_place_and_gives_what_a_first_installation_gives() {
    let world = world();
    let old = ["tzdata", "python-3.12.4"];
    let new = world.write_lock("new.lock", None, &["tzdata", "python-3.12.4", "greet-2.0", "unicode"]);
    fs_err::write(&new, fs_err::read_to_string(&new).unwrap() + &newer(&world)).unwrap();
    let prefix = install(&world, &old);
    let update = || world.mlconda(["install", argument(&new), "-p", argument(&prefix)]).success();
    let number = |path: &str| fs_err::symlink_metadata(prefix.join(path)).unwrap().ino();
    let there: Vec<(String, u64)> =
        tree::tree(&prefix).unwrap().into_keys().map(|path| (path.clone(), number(&path))).collect();
    let was = number("");
    update();
    for (path, was) in there.iter().filter(|(path, _)| path != "conda-meta/history") {
        assert_eq!(number(path), *was, "{path} is the same as before");
    }
    assert_eq!(number(""), was);
    let mut updated = tree::archived(&prefix).unwrap();
    // A file of the user is replaced, or a package is removed.
    install(&world, &old);
    assert_ne!(number(""), was);
    fs_err::create_dir(prefix.join("share/unicode")).unwrap();
    fs_err::write(prefix.join("share/unicode/a file with spaces"), "mine").unwrap();
    let was = number("");
    update();
    assert_ne!(number(""), was);

    fs_err::remove_dir_all(&prefix).unwrap();
    update();
    let mut fresh = tree::archived(&prefix).unwrap();
    for entries in [&mut updated, &mut fresh] {
        entries.remove("conda-meta/history");
    }
    assert_eq!(tree::difference(&fresh, &updated), "");
}

/// A user may have moved a part of a prefix elsewhere and linked it. Files behind the link do not belong to the prefix.
#[test]
fn an_addition_touches_nothing_behind_a_link_out_of_the_prefix() {
    let world = world();
    let prefix = install(&world, &["tzdata", "python-3.12.4"]);
    let (inside, elsewhere) = (prefix.join("lib"), world.path().join("elsewhere"));
    fs_err::rename(&inside, &elsewhere).unwrap();
    fs_err::os::unix::fs::symlink(&elsewhere, &inside).unwrap();
    let new = world.write_lock("new.lock", None, &["tzdata", "python-3.12.4"]);
    fs_err::write(&new, fs_err::read_to_string(&new).unwrap() + &newer(&world)).unwrap();
    let (was, before) = (fs_err::metadata(&prefix).unwrap().ino(), tree::archived(&elsewhere).unwrap());
    world.mlconda(["install", argument(&new), "-p", argument(&prefix)]).success();
    assert_eq!(fs_err::metadata(&prefix).unwrap().ino(), was, "it is an addition");
    assert!(prefix.join("share/newer/file").is_file());
    assert_eq!(tree::difference(&before, &tree::archived(&elsewhere).unwrap()), "");
}

#[test]
fn records_of_packages_that_stay_say_who_asks_for_them_now() {
    let world = world();
    let prefix = world.path().join("prefix");
    let install = |dependencies: &[&str]| {
        let lock = world.locked("env.lock", dependencies);
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        let mut tree = tree::archived(&prefix).unwrap();
        tree.remove("conda-meta/history");
        tree
    };
    install(&["greet >=2.0", "where"]);
    let updated = install(&["greet", "python 3.11.*", "tzdata", "hollow"]);
    fs_err::remove_dir_all(&prefix).unwrap();
    assert_eq!(tree::difference(&install(&["greet", "python 3.11.*", "tzdata", "hollow"]), &updated), "");
}

#[test]
fn a_clash_ends_the_same_whichever_package_comes_later() {
    let world = world();
    let both = ["clash-left", "clash-right"];
    let prefix = install(&world, &both);
    let fresh = fs_err::read_to_string(prefix.join("share/clash/shared.txt")).unwrap();
    for first in both {
        fs_err::remove_dir_all(&prefix).unwrap();
        install(&world, &[first]);
        let lock = world.write_lock("both.lock", None, &both);
        let outcome = world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        assert_eq!(fs_err::read_to_string(prefix.join("share/clash/shared.txt")).unwrap(), fresh, "{first} first");
        assert!(outcome.stderr.contains("hold `share/clash/shared.txt`"), "{outcome}");
    }
    // When the winning package is removed, the other one gets its file back.
    install(&world, &["clash-left"]);
    assert_eq!(fs_err::read_to_string(prefix.join("share/clash/shared.txt")).unwrap(), "from clash-left\n");
}

#[test]
fn a_run_with_nothing_to_do_takes_away_what_a_killed_one_left() {
    let world = world();
    let prefix = install(&world, &["tzdata"]);
    let (before, beside) = (world.tree(), prefix.parent().unwrap());
    for debris in [".prefix.mlconda-new", ".prefix.mlconda-twin"] {
        fs_err::create_dir(beside.join(debris)).unwrap();
        fs_err::write(beside.join(debris).join("half a file"), "").unwrap();
    }
    // The state after a kill that came after the backup was removed from the prefix.
    let archived = tree::archived(&prefix).unwrap();
    fs_err::create_dir(prefix.join(".mlconda-old")).unwrap();
    fs_err::remove_dir(prefix.join(".mlconda-old")).unwrap();
    install(&world, &["tzdata"]);
    assert_eq!(tree::difference(&before, &world.tree()), "");
    assert_eq!(tree::difference(&archived, &tree::archived(&prefix).unwrap()), "");
}

#[test]
fn what_a_killed_run_left_in_a_prefix_goes_without_a_time_of_the_clock() {
    let world = world();
    let (prefix, real) = (world.path().join("prefix"), world.path().join("real"));
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, &prefix).unwrap();
    install(&world, &["tzdata"]);
    let before = tree::archived(&prefix).unwrap();
    for debris in [&[".mlconda-new"][..], &[".mlconda-old"], &[".mlconda-new", ".mlconda-old"]] {
        for debris in debris {
            fs_err::create_dir(real.join(debris)).unwrap();
        }
        install(&world, &["tzdata"]);
        assert_eq!(tree::difference(&before, &tree::archived(&prefix).unwrap()), "", "{debris:?}");
    }
}

#[test]
fn files_of_the_user_stay() {
    let world = world();
    let prefix = install(&world, &["tzdata", "python-3.11.9", "greet-1.0"]);
    let mine = ["notebook.ipynb", "lib/python3.11/site-packages/mine.py", "share/greet/mine.txt"];
    for path in mine {
        fs_err::write(prefix.join(path), "mine").unwrap();
    }
    install(&world, &["tzdata", "python-3.11.9", "greet-2.0"]);
    install(&world, &["tzdata", "python-3.11.9"]);
    for path in mine {
        assert_eq!(fs_err::read_to_string(prefix.join(path)).unwrap(), "mine", "{path}");
    }
}

#[test]
fn a_directory_that_is_no_prefix_is_not_touched() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    world.write("documents/letter.txt", "Dear all");
    let before = world.tree();
    assert_snapshot!(world.mlconda(["install", argument(&lock), "-p", "documents"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/work/documents` holds files but no environment
    hint: choose a directory that does not exist yet, or an empty one
    ");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}
