//! A prefix that others have changed: no link, record or journal in it lets an installation change anything outside of
//! it, or files of the user behind a link.

use std::path::{Path, PathBuf};

use mlconda_test::{
    context::{Outcome, TestContext},
    package::PackageBuilder,
    tree,
};

use crate::{
    packages::{both_kinds, install, line},
    world,
};

/// A directory outside of all prefixes, with files that must not change.
fn outside(world: &TestContext) -> PathBuf {
    let outside = world.path().join("outside");
    fs_err::create_dir_all(outside.join("__pycache__")).unwrap();
    for file in ["keep", "keep.json", "history", "m.py", "__pycache__/m.cpython-311.pyc", "x-1.0-h4bc722e_0.json"] {
        fs_err::write(outside.join(file), "mine").unwrap();
    }
    outside
}

/// Replaces a directory of a prefix by a symbolic link.
fn link(real: &Path, path: &str, to: &Path) {
    fs_err::remove_dir_all(real.join(path)).unwrap();
    fs_err::os::unix::fs::symlink(to, real.join(path)).unwrap();
}

fn record(real: &Path, name: &str) -> PathBuf {
    real.join(format!("conda-meta/{name}-1.0-h4bc722e_0.json"))
}

/// Changes the text of a record.
fn forge(real: &Path, name: &str, from: &str, to: &str) {
    let path = record(real, name);
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs_err::write(path, text.replace(from, to)).unwrap();
}

/// Runs a test in a prefix that can be swapped and in one that is changed in place. Nothing outside may change.
fn in_both(story: impl Fn(&TestContext, &Path, &Path, &Path)) {
    let world = world();
    for (prefix, real) in both_kinds(&world) {
        let outside = outside(&world);
        let before = tree::archived(&outside).unwrap();
        story(&world, &prefix, &real, &outside);
        assert_eq!(tree::difference(&before, &tree::archived(&outside).unwrap()), "", "{}", prefix.display());
    }
}

fn other(world: &TestContext) -> String {
    line(world, &PackageBuilder::new("other", "1.0").file("etc/other", "other"))
}

/// The user has moved directories elsewhere and linked them. Then their package is removed, or gets another version.
#[test]
fn what_is_behind_a_link_of_the_user_is_not_the_packages() {
    in_both(|world, prefix, real, outside| {
        let files = |version: &str| PackageBuilder::new("x", version).file("share/keep", "x").file("pk/m.py", "pass");
        let (old, new) = (line(world, &files("1.0")), line(world, &files("2.0")));
        install(world, prefix, &[&old]).success();
        link(real, "share", outside);
        link(real, "pk", outside);
        let outcome = install(world, prefix, &[&new]).failure(1);
        assert!(outcome.stderr.contains("that belongs to no package"), "{outcome}");
        let outcome = install(world, prefix, &[&other(world)]).success();
        assert!(outcome.stderr.contains("`share` is a link that belongs to no package"), "{outcome}");
        assert!(outcome.stderr.contains("`pk` is a link that belongs to no package"), "{outcome}");
        assert!(real.join("share").is_symlink() && real.join("pk").is_symlink() && !record(real, "x").exists());
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

#[test]
fn a_record_reaches_no_path_outside_of_the_prefix() {
    in_both(|world, prefix, real, outside| {
        let package = PackageBuilder::new("x", "1.0").file("share/one", "x").file("lib/m.py", "pass");
        let package = package.told_directory("share/empty");
        install(world, prefix, &[&line(world, &package)]).success();
        let absolute = outside.join("keep");
        forge(real, "x", "lib/m.py", "../outside/m.py");
        forge(real, "x", "share/one", absolute.to_str().unwrap());
        forge(real, "x", "share/empty", "share/../../outside");
        let outcome = install(world, prefix, &[&other(world)]).success();
        for path in ["../outside/m.py", absolute.to_str().unwrap(), "share/../../outside"] {
            let told = format!("the record `x-1.0-h4bc722e_0.json` names `{path}`, which is outside the prefix");
            assert!(outcome.stderr.contains(&told) || outcome.stderr.contains("/outside/keep"), "{told}\n{outcome}");
        }
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

/// The file name of a record is built from its fields.
#[test]
fn a_record_whose_build_is_a_path_is_refused() {
    in_both(|world, prefix, real, outside| {
        install(world, prefix, &[&line(world, &PackageBuilder::new("x", "1.0").file("share/one", "x"))]).success();
        fs_err::create_dir_all(real.join("conda-meta/x-1.0-x")).unwrap();
        let up = format!("x/../../../{}/keep", outside.file_name().unwrap().to_str().unwrap());
        forge(real, "x", "\"build\":\"h4bc722e_0\"", &format!("\"build\":\"{up}\""));
        let before = tree::tree(real).unwrap();
        let outcome = install(world, prefix, &[&other(world)]).failure(1);
        assert!(outcome.stderr.contains("cannot be part of a package's file name"), "{outcome}");
        assert_eq!(tree::difference(&before, &tree::tree(real).unwrap()), "");
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

#[test]
fn names_of_an_installation_that_are_links_are_refused() {
    in_both(|world, prefix, real, outside| {
        let x = line(world, &PackageBuilder::new("x", "1.0").file("share/one", "x"));
        for name in ["conda-meta", ".mlconda-old", ".mlconda-new"] {
            install(world, prefix, &[&x]).success();
            let place = real.join(name);
            if name == "conda-meta" {
                fs_err::rename(&place, real.join("moved")).unwrap();
            }
            fs_err::os::unix::fs::symlink(outside, &place).unwrap();
            let before = tree::tree(real).unwrap();
            let outcome = install(world, prefix, &[&other(world)]).failure(1);
            assert!(outcome.stderr.contains(&format!("{name}` is a link to")), "{outcome}");
            assert_eq!(tree::difference(&before, &tree::tree(real).unwrap()), "");
            fs_err::remove_file(&place).unwrap();
            if name == "conda-meta" {
                fs_err::rename(real.join("moved"), &place).unwrap();
            }
        }
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

/// The next run continues the change of a killed process, whoever wrote its journal.
#[test]
fn a_forged_journal_does_nothing() {
    in_both(|world, prefix, real, _| {
        install(world, prefix, &[&other(world)]).success();
        let aside = real.join(".mlconda-old");
        fs_err::create_dir(&aside).unwrap();
        let hex = |path: &str| hex(path);
        let journal = format!(
            r#"{{"format":"mlconda journal 1","moved":["{}","{}"],"hollow":[],"added":["{}"],"copied":[],"old":"Waits","directories":[]}}"#,
            hex("conda-meta/history"),
            hex("../outside/keep"),
            hex("../outside/m.py"),
        );
        fs_err::write(aside.join("journal.json"), journal).unwrap();
        fs_err::rename(real.join("conda-meta/history"), aside.join("file-0")).unwrap();
        fs_err::write(aside.join("file-1"), "evil").unwrap();
        let outcome = install(world, prefix, &[&other(world)]).failure(1);
        assert!(outcome.stderr.contains("names `../outside/keep`, which is not a path in the prefix"), "{outcome}");
        fs_err::remove_dir_all(&aside).unwrap();
        install(world, prefix, &[&other(world)]).success();
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The tar of macOS writes such files, and other programs keep settings there.
#[test]
fn what_is_no_record_in_conda_meta_is_left_alone() {
    let world = world();
    let prefix = world.path().join("prefix");
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let install = || world.mlconda(["install", lock.to_str().unwrap(), "-p", prefix.to_str().unwrap()]);
    install().success();
    let foreign: [(&str, &[u8]); 5] = [
        ("._tzdata-2024a-hd8ed1ab_0.json", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"),
        ("._x.json", b"\x00\x05\x16\x07"),
        (".state.json", b"{"),
        ("settings.json", b"{\"name\": \"mine\", \"theme\": 1}"),
        ("list-1.0-0.json", b"[1, 2]"),
    ];
    for (name, content) in foreign {
        fs_err::write(prefix.join("conda-meta").join(name), content).unwrap();
    }
    let list = world.mlconda(["list", "-p", prefix.to_str().unwrap()]).success();
    let names: Vec<&str> = list.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["tzdata"]);
    install().success();
    world.mlconda(["verify", "-p", prefix.to_str().unwrap()]).success();
    world.mlconda(["export", "-p", prefix.to_str().unwrap()]).success();
    fs_err::write(prefix.join("conda-meta/damaged-1.0-0.json"), "{").unwrap();
    let outcome: Outcome = world.mlconda(["list", "-p", prefix.to_str().unwrap()]).failure(1);
    assert!(outcome.stderr.contains("damaged-1.0-0.json"), "{outcome}");
}

/// A record contains a path that no file system allows. It belongs to no package, and nothing fails because of it.
#[test]
fn a_path_that_no_system_takes_is_not_in_the_prefix() {
    in_both(|world, prefix, real, _| {
        let package = PackageBuilder::new("x", "1.0").file("share/one", "x").file("share/two", "x");
        let package = package.told_directory("share/empty");
        install(world, prefix, &[&line(world, &package)]).success();
        forge(real, "x", "share/one", "a\\u0000b");
        forge(real, "x", "share/two", &"n".repeat(300));
        forge(real, "x", "share/empty", &"n".repeat(300));
        let outcome = install(world, prefix, &[&other(world)]).success();
        assert!(outcome.stderr.contains("which is outside the prefix"), "{outcome}");
        assert!(!record(real, "x").exists());
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

/// A package has a link to a path that only installations write, and another package has a file below the link.
#[test]
fn no_record_or_journal_comes_through_a_link_of_a_package() {
    in_both(|world, prefix, real, _| {
        for (to, file) in [
            ("conda-meta", "way/evil-1.0-0.json"),
            (".", "way/conda-meta/history"),
            (".", "way/.mlconda-old/journal.json"),
            (".mlconda-old", "way/journal.json"),
        ] {
            let way = line(world, &PackageBuilder::new("way", "1.0").link("way", to));
            let evil = line(world, &PackageBuilder::new("evil", "1.0").file(file, "{}"));
            for lines in [&[&*way, &evil][..], &[&evil, &way]] {
                let outcome = install(world, prefix, lines).failure(1);
                let told = "error: `way` is a directory in `evil-1.0-h4bc722e_0` and a link in `way-1.0-h4bc722e_0`";
                assert!(outcome.stderr.contains(told), "{outcome}");
            }
            // The link is already in the prefix.
            install(world, prefix, &[&way]).success();
            install(world, prefix, &[&way, &evil]).failure(1);
            assert!(!real.join(".mlconda-old").exists() && !real.join("conda-meta/evil-1.0-0.json").exists());
            install(world, prefix, &[&other(world)]).success();
        }
        fs_err::remove_dir_all(real).unwrap();
        fs_err::create_dir(real).unwrap();
    });
}

/// In a directory that everybody may write to, another user has made a directory like the twin of an interrupted
/// installation.
#[test]
fn a_twin_of_somebody_else_does_not_become_the_prefix() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = world();
    let (prefix, twin) = (world.path().join("env"), world.path().join(".env.mlconda-twin"));
    fs_err::create_dir(&prefix).unwrap();
    fs_err::create_dir_all(twin.join("conda-meta")).unwrap();
    fs_err::write(twin.join("conda-meta/history"), "").unwrap();
    std::os::unix::fs::chown(&twin, Some(1234), None).unwrap();
    let outcome = install(&world, &prefix, &[&other(&world)]).failure(1);
    assert!(outcome.stderr.contains(": it belongs to another user"), "{outcome}");
    assert_eq!(fs_err::read_dir(&prefix).unwrap().count(), 0);
    assert!(twin.join("conda-meta/history").exists());
    std::os::unix::fs::chown(&twin, Some(0), None).unwrap();
    install(&world, &prefix, &[&other(&world)]).success();
}
