//! A damaged prefix is detected and repaired: only the damaged packages are linked again.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{TestContext, argument},
    package::PackageBuilder,
    tree,
};

use crate::{
    crash::killed_with,
    packages::{both_kinds, contents, install, line},
    pip_install::{self, simple},
    world,
};

const PACKAGES: [&str; 9] =
    ["tzdata", "python-3.11.9", "where-2.0", "greet-2.0", "links", "hollow", "scripts", "unicode", "archived"];

const MESSAGE: &str = "share/where/message.txt";

type Harm = (&'static str, fn(&Path));

/// Damages that are detected by the records.
const OF_FILES: [Harm; 13] = [
    ("a file is missing", |prefix| fs_err::remove_file(prefix.join("bin/greet")).unwrap()),
    ("a directory is missing", |prefix| fs_err::remove_dir_all(prefix.join("share/zoneinfo")).unwrap()),
    ("an empty directory is missing", |prefix| fs_err::remove_dir(prefix.join("var/hollow/told")).unwrap()),
    ("another content", |prefix| replace(&prefix.join("share/zoneinfo/Europe/Paris"), "TZif2")),
    ("another mode", |prefix| set_mode(&prefix.join(MESSAGE), 0o666)),
    ("another mode of directories", |prefix| {
        set_mode(&prefix.join("share/where"), 0o700);
        set_mode(&prefix.join("var/hollow/told"), 0o1777);
    }),
    ("a link to another place", |prefix| {
        fs_err::remove_file(prefix.join("share/links/dangling")).unwrap();
        symlink("elsewhere", prefix.join("share/links/dangling")).unwrap();
    }),
    ("a link in place of a file", |prefix| {
        fs_err::remove_file(prefix.join(MESSAGE)).unwrap();
        symlink("elsewhere", prefix.join(MESSAGE)).unwrap();
    }),
    ("a file in place of a link", |prefix| {
        fs_err::remove_file(prefix.join("bin/python")).unwrap();
        fs_err::write(prefix.join("bin/python"), "no link\n").unwrap();
    }),
    ("empty directories in the way of a file", |prefix| {
        fs_err::remove_file(prefix.join(MESSAGE)).unwrap();
        fs_err::create_dir_all(prefix.join(MESSAGE).join("a/b")).unwrap();
    }),
    ("a file in the way of a directory", |prefix| {
        fs_err::remove_dir_all(prefix.join("share/zoneinfo")).unwrap();
        fs_err::write(prefix.join("share/zoneinfo"), "no directory\n").unwrap();
    }),
    ("a file in the way of an empty directory", |prefix| {
        fs_err::remove_dir(prefix.join("var/hollow/told")).unwrap();
        fs_err::write(prefix.join("var/hollow/told"), "no directory\n").unwrap();
    }),
    ("no history", |prefix| fs_err::remove_file(prefix.join("conda-meta/history")).unwrap()),
];

/// Damages that are detected only with a lock.
const OF_RECORDS: [Harm; 5] = [
    ("a record is missing", |prefix| fs_err::remove_file(record(prefix, "where-2.0")).unwrap()),
    ("a record is no JSON", |prefix| replace(&record(prefix, "where-2.0"), "{\"name\": \"whe")),
    ("a record is empty, and a file is missing", |prefix| {
        replace(&record(prefix, "tzdata"), "");
        fs_err::remove_file(prefix.join("share/zoneinfo/Europe/Paris")).unwrap();
    }),
    ("a second record of a package", |prefix| {
        let text = fs_err::read_to_string(record(prefix, "where-2.0")).unwrap();
        let other = text.replace("\"2.0\"", "\"1.9\"");
        fs_err::write(prefix.join("conda-meta/where-1.9-h4bc722e_0.json"), other).unwrap();
    }),
    ("a copy of a record", |prefix| copied(prefix, "where-2.0", "where-9.9-0.json")),
];

/// Copies a record to another file name, which does not fit its content.
fn copied(prefix: &Path, package: &str, name: &str) {
    fs_err::copy(record(prefix, package), prefix.join("conda-meta").join(name)).unwrap();
}

/// Replaces a file instead of changing its content, because packages share files by hard links.
fn replace(path: &Path, text: &str) {
    fs_err::remove_file(path).unwrap();
    fs_err::write(path, text).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn record(prefix: &Path, package: &str) -> std::path::PathBuf {
    let mut entries = fs_err::read_dir(prefix.join("conda-meta")).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{package}-"))).unwrap()
}

/// Files and directories with their times, without the history, which depends on the commands.
fn archived(prefix: &Path) -> BTreeMap<String, String> {
    let mut all = tree::archived(prefix).unwrap();
    assert!(all.remove("conda-meta/history").is_some(), "a prefix without history is none");
    all
}

/// For each damage, damages a prefix and repairs it; `locks` are passed to the repair.
fn repaired(world: &TestContext, lock: &Path, harms: &[Harm], locks: &[&str]) {
    for (prefix, real) in both_kinds(world) {
        world.mlconda(["install", argument(lock), "-p", argument(&prefix)]).success();
        fs_err::write(real.join("share/mine.txt"), "mine\n").unwrap();
        world.mlconda(["install", argument(lock), "-p", argument(&prefix), "--reinstall"]).success();
        let first = archived(&real);
        for (name, harm) in harms {
            harm(&real);
            world.mlconda(["verify", argument(&prefix), argument(lock)]).failure(1);
            let outcome = world.mlconda([&["verify", "--repair", "--offline", argument(&prefix)], locks].concat());
            assert_eq!(outcome.code, 0, "{name}: {outcome}");
            assert_eq!(tree::difference(&first, &archived(&real)), "", "{name}");
            world.mlconda(["verify", argument(&prefix), argument(lock)]).success();
            let left: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
            assert!(left.is_empty(), "{name}: {left:?}");
        }
    }
}

#[test]
fn damaged_files_are_repaired_by_the_records() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &PACKAGES);
    repaired(&world, &lock, &OF_FILES, &[]);
}

#[test]
fn damaged_files_and_records_are_repaired_by_the_lock() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &PACKAGES);
    repaired(&world, &lock, &OF_FILES, &[argument(&lock)]);
    fs_err::remove_dir_all(world.path().join("plain")).unwrap();
    fs_err::remove_file(world.path().join("link")).unwrap();
    fs_err::remove_dir_all(world.path().join("real")).unwrap();
    repaired(&world, &lock, &OF_RECORDS, &[argument(&lock)]);
}

#[test]
fn the_command_that_mends_it_is_told() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
    let prefix = world.path().join("prefix");
    fs_err::remove_file(prefix.join(MESSAGE)).unwrap();
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--verify"]).failure(1), @"
    exit code 1
    --- stdout
    `share/where/message.txt` of `where-2.0-h4bc722e_0`: it is missing
    --- stderr
    `[TEMP]/prefix` is up to date: 2 packages.
    `[TEMP]/prefix` is not intact: 1 finding in 2 packages, 5 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
    assert_snapshot!(world.mlconda(["verify", "../prefix", "--repair"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Found: `share/where/message.txt` of `where-2.0-h4bc722e_0`: it is missing
    Installing 1 package ([SIZE]) into `[TEMP]/prefix`
    ~ where 2.0, linked again
    Linked 1 package in `[TEMP]/prefix`, unlinked 1, kept 1: 2 files, [SIZE], in [TIME].
    `[TEMP]/prefix` is intact: 2 packages, 5 files, [SIZE], in [TIME].
    ");
    replace(&record(&prefix, "where-2.0"), "no record");
    assert_snapshot!(world.mlconda(["verify", "../prefix", "--repair"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Found: `conda-meta/where-2.0-h4bc722e_0.json`: the record cannot be read; found expected ident at line 1 column 2
    error: the record `conda-meta/where-2.0-h4bc722e_0.json` cannot be read
    hint: a repair of this needs the lock: `mlconda verify [TEMP]/prefix LOCK --repair`
    ");
}

#[test]
fn a_file_of_the_user_in_a_directory_in_the_way_stays() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    for (prefix, real) in both_kinds(&world) {
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        let (first, way) = (contents(&real), real.join(MESSAGE));
        fs_err::remove_file(&way).unwrap();
        fs_err::create_dir(&way).unwrap();
        fs_err::write(way.join("mine.txt"), "mine\n").unwrap();
        let damaged = contents(&real);
        let outcome = world.mlconda(["verify", argument(&prefix), "--repair"]).failure(1);
        let message = "error: cannot replace the directory `share/where/message.txt` with a file of a package: \
                       `share/where/message.txt/mine.txt` in it belongs to no package\nhint: move your files out of the directory";
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert_eq!(tree::difference(&damaged, &contents(&real)), "");
        fs_err::remove_file(way.join("mine.txt")).unwrap();
        world.mlconda(["verify", argument(&prefix), "--repair"]).success();
        assert_eq!(tree::difference(&first, &contents(&real)), "");
    }
}

/// The removed package had a file there.
#[test]
fn a_directory_of_the_user_at_the_place_of_a_file_that_goes_stays() {
    let world = world();
    let old = line(&world, &PackageBuilder::new("a", "1.0").file("share/old", "old").file("share/a", "1"));
    let new = line(&world, &PackageBuilder::new("a", "2.0").file("share/a", "2"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&old]).success();
        fs_err::remove_file(real.join("share/old")).unwrap();
        fs_err::create_dir(real.join("share/old")).unwrap();
        fs_err::write(real.join("share/old/mine.txt"), "mine\n").unwrap();
        install(&world, &prefix, &[&new]).success();
        assert_eq!(fs_err::read_to_string(real.join("share/old/mine.txt")).unwrap(), "mine\n");
    }
}

#[test]
fn of_a_shared_path_all_holders_are_linked_anew() {
    let world = world();
    let a = line(&world, &PackageBuilder::new("a", "1.0").file("share/p", "a"));
    let b = line(&world, &PackageBuilder::new("b", "1.0").depends("a").file("share/p", "b").file("share/q", "b"));
    let c = line(&world, &PackageBuilder::new("c", "1.0").depends("b").file("share/q", "c"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&a, &b, &c]).success();
        let first = contents(&real);
        for path in ["share/p", "share/q"] {
            replace(&real.join(path), "somebody's");
            world.mlconda(["verify", argument(&prefix), "--repair"]).success();
            assert_eq!(tree::difference(&first, &contents(&real)), "");
        }
    }
}

/// The record was removed by the name that its content gives, not by that of its file.
#[test]
fn a_copy_of_a_record_was_not_seen_and_stayed() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    pip_install::add(&lock, &[pip_install::line(&world, &simple("wheel", "1.0"), "")]);
    let none = world.write_lock("none.lock", None, &["python-3.11.9"]);
    for (prefix, real) in both_kinds(&world) {
        let install = ["install", argument(&lock), "-p", argument(&prefix)];
        world.mlconda(install).success();
        let first = contents(&real);
        let copies = [("tzdata", "tzdata-9.9-0.json"), ("tzdata", "a copy.json"), ("wheel", "wheel-2.0-pypi_0.pip")];
        for (package, name) in copies {
            for repair in [&install[..], &[&install[..], &["--reinstall"]].concat()] {
                copied(&real, package, name);
                world.mlconda(repair).success();
                assert_eq!(tree::difference(&first, &contents(&real)), "", "{name}");
            }
        }
        copied(&real, "tzdata", "a copy.json");
        world.mlconda(["install", argument(&none), "-p", argument(&prefix)]).success();
        assert!(!real.join("conda-meta/a copy.json").exists());
    }
}

#[test]
fn packages_of_pip_are_repaired_as_well() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    pip_install::add(&lock, &[pip_install::line(&world, &simple("wheel", "1.0"), "")]);
    let file: fn(&Path) = |prefix| {
        let site = prefix.join("lib/python3.11/site-packages/wheel");
        fs_err::remove_dir_all(site).unwrap();
    };
    let list: fn(&Path) = |prefix| {
        let site = prefix.join("lib/python3.11/site-packages/wheel-1.0.dist-info");
        fs_err::remove_file(site.join("METADATA")).unwrap();
    };
    let record: fn(&Path) = |prefix| replace(&record(prefix, "wheel"), "{");
    repaired(&world, &lock, &[("a module is gone", file), ("its metadata are gone", list)], &[]);
    fs_err::remove_dir_all(world.path().join("plain")).unwrap();
    fs_err::remove_file(world.path().join("link")).unwrap();
    fs_err::remove_dir_all(world.path().join("real")).unwrap();
    repaired(&world, &lock, &[("a module is gone", file), ("its record is no JSON", record)], &[argument(&lock)]);
}

/// Records of conda name its cache, and lack mlconda's field.
#[test]
fn a_prefix_that_conda_made() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "greet-2.0"]);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
    let prefix = world.path().join("prefix");
    for entry in fs_err::read_dir(prefix.join("conda-meta")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            let mut record: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
            record.as_object_mut().unwrap().remove("mlconda");
            record["link"]["source"] = "/opt/conda/pkgs/it".into();
            record["requested_spec"] = "None".into();
            fs_err::write(&path, serde_json::to_vec_pretty(&record).unwrap()).unwrap();
        }
    }
    let before = contents(&prefix);
    fs_err::remove_file(prefix.join("bin/greet")).unwrap();
    world.mlconda(["verify", "../prefix", "--repair", "--offline"]).success();
    let changed = tree::difference(&before, &contents(&prefix));
    assert_eq!(changed, "~ conda-meta/greet-2.0-pyhd8ed1ab_0.json\n");
}

#[test]
fn a_repair_is_killed() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "greet-2.0", "where-2.0"]);
    for (prefix, real) in both_kinds(&world) {
        killed_with(&world, &prefix, ["verify", "--repair", argument(&prefix), argument(&lock)], || {
            if real.exists() {
                fs_err::remove_dir_all(&real).unwrap();
            }
            if prefix != real {
                fs_err::create_dir(&real).unwrap();
            }
            world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
            fs_err::remove_file(real.join("bin/greet")).unwrap();
            replace(&real.join("share/zoneinfo/Europe/Paris"), "no zone");
        });
    }
}

/// Editing a file in place also changes the file in the cache. The repair does not copy it from there again.
#[test]
fn what_is_damaged_in_the_cache_too_is_fetched_again() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let cache = world.path().join("cache");
    fs_err::create_dir(&cache).unwrap();
    let with = |arguments: &[&str]| world.mlconda_with(arguments, &[("MLCONDA_CACHE_DIR", argument(&cache))]);
    let prefix = world.path().join("prefix");
    with(&["install", argument(&lock), "-p", "../prefix"]).success();
    let first = contents(&prefix);
    let zone = prefix.join("share/zoneinfo/Europe/Paris");
    assert!(fs_err::metadata(&zone).unwrap().nlink() > 1, "the test says nothing");
    fs_err::write(&zone, "edited").unwrap();
    let outcome = with(&["verify", "../prefix", "--repair", "--offline"]).success();
    assert!(outcome.stderr.contains("damaged in the cache"), "{outcome}");
    assert_eq!(tree::difference(&first, &contents(&prefix)), "");
}

#[test]
fn all_packages_or_some_are_reinstalled() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
    let prefix = world.path().join("prefix");
    let first = contents(&prefix);
    fs_err::remove_file(prefix.join(MESSAGE)).unwrap();
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--reinstall=where"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/prefix`
    ~ where 2.0, linked again
    Linked 1 package in `[TEMP]/prefix`, unlinked 1, kept 1: 2 files, [SIZE], in [TIME].
    ");
    assert_eq!(tree::difference(&first, &contents(&prefix)), "");
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--reinstall"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    ~ tzdata 2024a, linked again
    ~ where 2.0, linked again
    Linked 2 packages in `[TEMP]/prefix`, unlinked 2, kept 0: 5 files, [SIZE], in [TIME].
    ");
    assert_eq!(tree::difference(&first, &contents(&prefix)), "");
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--reinstall=tzdat,where"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `tzdat` is not in the lock, so there is nothing to link again
    hint: did you mean `tzdata`?
    ");
}

/// Only a lock knows the variables. A damaged file is kept under another name.
#[test]
fn damaged_variables_and_directories_in_the_place_of_records_are_repaired_by_the_lock() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    let with = world.path().join("variables.lock");
    let text = fs_err::read_to_string(&lock).unwrap();
    fs_err::write(&with, text.replacen("# platform", "# variable: COLOUR=\"blue\"\n# platform", 1)).unwrap();
    let in_place_of = |path: &Path| {
        fs_err::remove_file(path).or_else(|_| fs_err::remove_dir_all(path)).unwrap();
        fs_err::create_dir_all(path.join("a/b")).unwrap();
    };
    let no_json: fn(&Path) = |state| replace(state, "{\"env_vars\": ");
    let binary: fn(&Path) = |state| {
        fs_err::remove_file(state).unwrap();
        fs_err::write(state, [0xff, 0x00]).unwrap();
    };
    for lock in [&lock, &with] {
        for (prefix, real) in both_kinds(&world) {
            let install = ["install", argument(lock), "-p", argument(&prefix)];
            world.mlconda(install).success();
            let (first, state) = (contents(&real), real.join("conda-meta/state"));
            let damages: [(&str, &dyn Fn()); 4] = [
                ("no JSON", &|| no_json(&state)),
                ("binary", &|| binary(&state)),
                ("a directory for the variables", &|| in_place_of(&state)),
                ("a directory for a record", &|| in_place_of(&record(&real, "where-2.0"))),
            ];
            for repair in [
                &[&install[..], &["--reinstall"]].concat(),
                &vec!["verify", argument(&prefix), argument(lock), "--repair"],
            ] {
                for (name, damage) in damages {
                    if !state.exists() {
                        fs_err::write(&state, "").unwrap();
                    }
                    let before = fs_err::read(&state).unwrap();
                    damage();
                    let is_kept = state.is_file() && fs_err::read(&state).unwrap() != before;
                    let damaged = fs_err::read(&state).unwrap_or_default();
                    world.mlconda(["verify", argument(&prefix)]).failure(1);
                    let told = world.mlconda(repair).success().stderr;
                    assert_eq!(told.contains("the old file is `"), is_kept, "{name}: {told}");
                    let aside = real.join("conda-meta/state.damaged");
                    assert_eq!(aside.exists(), is_kept, "{name}");
                    if is_kept {
                        assert_eq!(fs_err::read(&aside).unwrap(), damaged, "{name}");
                        fs_err::remove_file(&aside).unwrap();
                    }
                    let after = contents(&real);
                    assert_eq!(tree::difference(&first, &after).replace("+ conda-meta/state\n", ""), "", "{name}");
                    world.mlconda(["verify", argument(&prefix), argument(lock)]).success();
                }
            }
            fs_err::remove_dir_all(&real).unwrap();
            if prefix != real {
                fs_err::remove_file(&prefix).unwrap();
            }
        }
    }
}

#[test]
fn what_is_in_a_directory_in_the_place_of_a_record_stays() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    for (prefix, real) in both_kinds(&world) {
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        for place in [real.join("conda-meta/state"), record(&real, "where-2.0")] {
            fs_err::remove_file(&place).unwrap_or_default();
            fs_err::create_dir(&place).unwrap();
            fs_err::write(place.join("mine.txt"), "mine\n").unwrap();
            let damaged = contents(&real);
            let outcome = world.mlconda(["verify", argument(&prefix), argument(&lock), "--repair"]).failure(1);
            assert!(outcome.stderr.contains("hint: move your files out of the directory"), "{outcome}");
            assert_eq!(tree::difference(&damaged, &contents(&real)), "");
            fs_err::remove_file(place.join("mine.txt")).unwrap();
            world.mlconda(["verify", argument(&prefix), argument(&lock), "--repair"]).success();
        }
    }
}

#[test]
fn damaged_variables_are_told() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
    fs_err::write(world.path().join("prefix/conda-meta/state"), "no JSON").unwrap();
    assert_snapshot!(world.mlconda(["verify", "../prefix", "--repair"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Found: `conda-meta/state`: the record cannot be read; found expected ident at line 1 column 2
    error: the record `conda-meta/state` cannot be read
    hint: a repair of this needs the lock: `mlconda verify [TEMP]/prefix LOCK --repair`
    ");
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: cannot read the record `[TEMP]/prefix/conda-meta/state`
      because: expected ident at line 1 column 2
    hint: the prefix is damaged: `mlconda verify PREFIX LOCK --repair` writes the record again
    ");
    assert_snapshot!(world.mlconda(["verify", "../prefix", "env.lock", "--repair"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Found: `conda-meta/state`: the record cannot be read; found expected ident at line 1 column 2
    warning: the variables of the environment could not be read, and are those of the lock now; the old file is `[TEMP]/prefix/conda-meta/state.damaged`
    The variables of `[TEMP]/prefix` are updated; its packages are up to date: 1 package.
    Untracked: 1 file (`conda-meta/state.damaged`).
    `[TEMP]/prefix` is intact: 1 package, 3 files, [SIZE], in [TIME].
    ");
}
