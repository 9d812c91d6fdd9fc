//! Unusual input from others: paths that are not regular files, names that lead elsewhere, and archives that do not
//! match their metadata.

use std::path::Path;

use mlconda_test::{
    context::{TestContext, argument},
    package::{Noarch, PackageBuilder},
    sha256_hex, tree,
};
use rustix::fs::{CWD, FileType, mknodat};
use serde_json::{Value, json};

use crate::{
    bounds::{by_hand, index},
    packages::{install, line, lock},
    world,
};

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// Every command that reads a prefix, with its arguments in addition to `-p prefix`.
fn readers() -> Vec<Vec<&'static str>> {
    vec![
        vec!["install", "env.lock"],
        vec!["list"],
        vec!["verify"],
        vec!["export"],
        vec!["tree"],
        vec!["sbom"],
        vec!["lock", "--from-prefix", "prefix", "-o", "new.lock"],
    ]
}

fn read(world: &TestContext, command: &[&str]) -> mlconda_test::context::Outcome {
    let prefix = if command[0] == "lock" { &[][..] } else { &["-p", "prefix"][..] };
    world.mlconda(command.iter().chain(prefix))
}

#[test]
fn a_record_that_is_no_file_is_an_error_at_once() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let record = world.work().join("prefix/conda-meta/x-1.0-0.json");
    let zero = || fs_err::os::unix::fs::symlink("/dev/zero", &record).unwrap();
    let make: [(&str, &dyn Fn()); 3] =
        [("a FIFO", &|| fifo(&record)), ("a device", &zero), ("a directory", &|| fs_err::create_dir(&record).unwrap())];
    for (kind, make) in make {
        make();
        for command in readers() {
            let outcome = read(&world, &command).failure(1);
            let message = format!("x-1.0-0.json`: it is {kind}, not a regular file");
            let (said, is_finding) = (outcome.stdout.clone() + &outcome.stderr, command[0] == "verify");
            assert!(said.contains(&message), "{command:?}: {outcome}");
            assert!(is_finding || said.contains("hint: "), "{command:?}: {outcome}");
        }
        fs_err::remove_file(&record).or_else(|_| fs_err::remove_dir(&record)).unwrap();
    }
    assert_eq!(world.tree().keys().filter(|path| path.contains(".mlconda")).count(), 0, "no stage stays");
}

#[test]
fn a_history_or_state_that_is_no_file_hangs_nothing() {
    for name in ["history", "state"] {
        let world = world();
        world.write_lock("env.lock", None, &["tzdata"]);
        world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
        world.write_lock("env.lock", None, &["where-1.0"]);
        let place = world.work().join("prefix/conda-meta").join(name);
        let _ = fs_err::remove_file(&place);
        fifo(&place);
        for command in readers() {
            // Commands that do not read the file may succeed; others report that this is not an environment.
            read(&world, &command);
        }
        world.mlconda(["run", "-p", "prefix", "true"]);
        world.mlconda(["shell-hook", "-p", "prefix"]);
        assert_eq!(world.tree().keys().filter(|path| path.contains(".mlconda")).count(), 0, "no stage stays");
    }
}

#[test]
fn a_lock_that_names_no_file_is_an_error_at_once() {
    let world = world();
    let directory = world.work();
    fifo(&directory.join("fifo-1.0-0.conda"));
    fs_err::os::unix::fs::symlink("/dev/zero", directory.join("zero-1.0-0.conda")).unwrap();
    fs_err::create_dir(directory.join("directory-1.0-0.conda")).unwrap();
    for (name, kind) in [("fifo", "a FIFO"), ("zero", "a device"), ("directory", "a directory")] {
        let package = format!("file://{}/{name}-1.0-0.conda#sha256:{}\n", directory.display(), sha256_hex("x"));
        let outcome = install(&world, &directory.join("prefix"), &[&package]).failure(1);
        assert!(outcome.stderr.contains(&format!("it is {kind}, not a regular file")), "{outcome}");
        assert!(!directory.join("prefix").exists());
    }
}

/// Names that become parts of paths must be plain.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    let world = world();
    let nothing = json!({"paths": [], "paths_version": 1});
    for (field, value) in [("name", "../x"), ("version", "1/../../x"), ("build", "../../x"), ("build", "a\nb")] {
        let mut told = index("odd");
        told[field] = json!(value);
        let package = by_hand(&world, "odd", &told, &nothing, &[]);
        let outcome = install(&world, &world.work().join("prefix"), &[&package]).failure(1);
        assert!(outcome.stderr.contains("the package `odd-1.0-0.tar.bz2` is invalid"), "{field}: {outcome}");
        assert!(outcome.stderr.contains("`info/index.json`"), "{field}: {outcome}");
    }
    // A plain build string that differs from the one in the lock.
    let mut told = index("odd");
    told["build"] = json!("1");
    let package = by_hand(&world, "odd", &told, &nothing, &[]);
    let outcome = install(&world, &world.work().join("prefix"), &[&package]).failure(1);
    assert!(outcome.stderr.contains("it says that it is `odd` 1.0, build `1`"), "{outcome}");
}

#[test]
fn a_record_whose_build_leads_elsewhere_deletes_nothing() {
    let world = world();
    let old = line(&world, &PackageBuilder::new("old", "1.0").file("share/old", "old"));
    let new = line(&world, &PackageBuilder::new("new", "1.0").file("share/new", "new"));
    let prefix = world.work().join("prefix");
    install(&world, &prefix, &[&old]).success();
    let meta = prefix.join("conda-meta");
    let record = meta.join("old-1.0-h4bc722e_0.json");
    let text = fs_err::read_to_string(&record).unwrap();
    let text = text.replace("\"build\":\"h4bc722e_0\"", "\"build\":\"x/../../../../keep\"");
    fs_err::write(&record, text).unwrap();
    fs_err::create_dir(meta.join("old-1.0-x")).unwrap();
    fs_err::write(world.path().join("keep.json"), "kept").unwrap();
    for command in readers() {
        lock(&world, &[&new]);
        let outcome = read(&world, &command).failure(1);
        let said = outcome.stdout.clone() + &outcome.stderr;
        assert!(said.contains("cannot be part of a package's file name"), "{command:?}: {outcome}");
    }
    assert_eq!(fs_err::read_to_string(world.path().join("keep.json")).unwrap(), "kept");
}

#[test]
fn entry_points_may_name_extras() {
    let world = world();
    let python = "#!/bin/sh\necho \"$@\"\n";
    let python = line(&world, &PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", python));
    let tool = |name: &str, entry: &str| {
        let package = PackageBuilder::new(name, "1.0").noarch(Noarch::Python).file("site-packages/m.py", "1\n");
        line(&world, &package.entry_point(entry))
    };
    let prefix = world.work().join("prefix");
    for entry in ["x = m:main [cli]", "x = m:main[cli,more]", "x=m:main"] {
        install(&world, &prefix, &[&python, &tool("tool", entry)]).success();
        assert!(fs_err::read_to_string(prefix.join("bin/x")).unwrap().contains("sys.exit(main())"));
        fs_err::remove_dir_all(&prefix).unwrap();
    }
    for entry in ["x\ny = m:main", "x\u{1b}[2J = m:main", "../x = m:main"] {
        let outcome = install(&world, &prefix, &[&python, &tool("odd", entry)]).failure(1);
        assert!(outcome.stderr.contains("the entry point `"), "{outcome}");
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
    }
}

fn listed(path: &str, content: &str) -> Value {
    json!({"_path": path, "path_type": "hardlink", "sha256": sha256_hex(content), "size_in_bytes": content.len()})
}

/// The contents of the archive count. The difference is reported once, with and without the cache.
#[test]
fn an_archive_that_is_not_what_it_says_is_told_of() {
    let world = world();
    fs_err::create_dir(world.path().join("cache")).unwrap();
    let cache = world.path().join("cache");
    let paths = json!({"paths": [listed("a", "four"), listed("b", "four")], "paths_version": 1});
    let members = [("a", 5, &b"other"[..]), ("b", 4, b"four"), ("c", 4, b"left"), ("d", 4, b"left")];
    let package = by_hand(&world, "lies", &index("lies"), &paths, &members);
    lock(&world, &[&package]);
    let words = "warning: `lies-1.0-0.tar.bz2` differs from its own metadata: `a` has 5 bytes, and `paths.json` says 4; \
                 `c` is not among its paths and is left out (and so with one more)\n";
    for (prefix, variables) in [("one", &[][..]), ("two", &[("MLCONDA_CACHE_DIR", argument(&cache))])] {
        let outcome = world.mlconda_with(["install", "env.lock", "-p", prefix], variables).success();
        assert_eq!(outcome.stderr.matches("differs from its own metadata").count(), 1, "{outcome}");
        assert!(outcome.stderr.contains(words), "{outcome}");
        assert_eq!(fs_err::read_to_string(world.work().join(prefix).join("a")).unwrap(), "other");
        assert!(!world.work().join(prefix).join("c").exists());
        world.mlconda(["verify", "-p", prefix]).success();
    }
    assert_eq!(tree::tree(&world.work().join("one")).unwrap(), tree::tree(&world.work().join("two")).unwrap());
}

#[test]
fn two_members_of_one_path_are_refused() {
    let world = world();
    fs_err::create_dir(world.path().join("cache")).unwrap();
    let cache = world.path().join("cache");
    let paths = json!({"paths": [listed("a", "four")], "paths_version": 1});
    let package = by_hand(&world, "twice", &index("twice"), &paths, &[("a", 4, b"four"), ("a", 4, b"five")]);
    lock(&world, &[&package]);
    for variables in [&[][..], &[("MLCONDA_CACHE_DIR", argument(&cache))]] {
        let outcome = world.mlconda_with(["install", "env.lock", "-p", "prefix"], variables).failure(1);
        assert!(outcome.stderr.contains("it has two members `a`"), "{outcome}");
    }
    let paths = json!({"paths": [listed("a", "four"), listed("a", "five")], "paths_version": 1});
    let package = by_hand(&world, "listed", &index("listed"), &paths, &[("a", 4, b"four")]);
    let outcome = install(&world, &world.work().join("prefix"), &[&package]).failure(1);
    assert!(outcome.stderr.contains("`a` stands there twice"), "{outcome}");
}

#[test]
fn an_archive_whose_tail_is_cut_off_is_refused() {
    let world = world();
    let paths = json!({"paths": [listed("a", "four")], "paths_version": 1});
    by_hand(&world, "cut", &index("cut"), &paths, &[("a", 4, b"four")]);
    let place = world.path().join("channel").join(mlconda_test::host_subdir()).join("cut-1.0-0.tar.bz2");
    let whole = fs_err::read(&place).unwrap();
    // Cuts off the end of the stream, with its checksum.
    fs_err::write(&place, &whole[..whole.len() - 6]).unwrap();
    let package = format!("file://{}#sha256:{}\n", place.display(), sha256_hex(fs_err::read(&place).unwrap()));
    let outcome = install(&world, &world.work().join("prefix"), &[&package]).failure(1);
    assert!(outcome.stderr.contains("the archive ends before its content does"), "{outcome}");
}

#[test]
fn a_prefix_in_which_nothing_works_is_refused() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    for (prefix, reason) in
        [("a:b", "it contains a `:`"), ("a\nb", "a control character"), ("a\tb", "control character")]
    {
        let outcome = world.mlconda(["install", "env.lock", "-p", prefix]).failure(1);
        assert!(outcome.stderr.contains("cannot be a prefix") && outcome.stderr.contains(reason), "{outcome}");
        assert!(outcome.stderr.contains("hint: choose another directory"), "{outcome}");
        assert!(!world.work().join(prefix).exists());
    }
    let outcome = world.mlconda(["install", "env.lock", "-p", &"n".repeat(300)]).failure(1);
    assert!(outcome.stderr.contains("hint: choose a shorter name"), "{outcome}");
}

#[test]
fn a_prefix_that_is_too_long_is_told_with_file_and_package() {
    let world = world();
    let package = PackageBuilder::new("program", "1.0");
    let package = package.file("bin/program", format!("{}\0", mlconda_test::package::PLACEHOLDER));
    let prefix = world.work().join("long".repeat(60)).join("prefix".repeat(10));
    let outcome = install(&world, &prefix, &[&line(&world, &package)]).failure(1);
    assert!(outcome.stderr.contains("but `bin/program` of `program` has room for 255"), "{outcome}");
    assert!(outcome.stderr.contains("hint: choose a shorter prefix"), "{outcome}");
}

/// Scripts run with every interpreter and option, in a prefix with a space and in a long one.
#[test]
fn scripts_run_in_every_prefix_that_is_accepted() {
    let world = world();
    let placeholder = mlconda_test::package::PLACEHOLDER;
    let tool = "#!/bin/sh\necho ran \"$1\"\n";
    let package = PackageBuilder::new("scripts", "1.0")
        .executable("bin/tool", tool)
        .executable("bin/python3.11", tool)
        .executable("bin/plain", format!("#!{placeholder}/bin/tool\n"))
        .executable("bin/option", format!("#!{placeholder}/bin/tool -w\n"))
        .executable("bin/by-env", format!("#!/usr/bin/env {placeholder}/bin/tool\n"))
        .executable("bin/snake", format!("#!{placeholder}/bin/python3.11 -s\n"));
    let package = line(&world, &package);
    for (prefix, is_short) in [("env".to_owned(), true), ("my env".to_owned(), true), ("long".repeat(35), false)] {
        let prefix = world.work().join(prefix);
        install(&world, &prefix, &[&package]).success();
        for (script, first) in [("plain", "bin/plain"), ("option", "-w"), ("by-env", "bin/by-env"), ("snake", "-s")] {
            let inside = world.mlconda(["run", "-p", argument(&prefix), script]).success();
            assert!(inside.stdout.starts_with("ran ") && inside.stdout.trim_end().ends_with(first), "{inside}");
            if is_short || script == "snake" {
                let outside = world.run(prefix.join("bin").join(script), &[]).success();
                assert!(outside.stdout.trim_end().ends_with(first), "{outside}");
            }
        }
    }
}
