//! Links to directories between packages: a sysroot has `lib64 -> lib`, and another package has a file in `lib64`. The
//! file belongs to the target of the link, in any order of installing and removing the packages.

use std::path::Path;

use mlconda_test::{
    context::{TestContext, argument},
    package::{Noarch, PackageBuilder},
    tree,
};

use crate::{
    packages::{Info, Part, archive, both_kinds, contents, install, line},
    world,
};

/// A package with the link, and one with files behind it. One of them is larger, so that it is unpacked first.
fn sysroot(world: &TestContext, version: &str, padding: usize) -> String {
    let package = PackageBuilder::new("sysroot", version).file("sys/lib/libc.so.6", "c").link("sys/lib64", "lib");
    let package = package.link("sys/usr/lib64", "../lib64").file("sys/padding", noise(padding));
    line(world, &package)
}

fn udev(world: &TestContext, version: &str, padding: usize) -> String {
    let package = PackageBuilder::new("udev", version).file("sys/lib64/libudev.so.1", version);
    let package = package.file("sys/usr/lib64/deep/mod.py", "pass\n").link("sys/lib64/libudev.so", "libudev.so.1");
    let package = package.told_directory("sys/lib64/empty").file("etc/padding", noise(padding));
    line(world, &package)
}

/// A sysroot in which `lib64` is a directory.
fn unlinked(world: &TestContext) -> String {
    let package = PackageBuilder::new("sysroot", "2.0").file("sys/lib/libc.so.6", "c").file("sys/lib64/ld.so", "ld");
    line(world, &package)
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

#[track_caller]
fn verify(world: &TestContext, prefix: &Path) {
    world.mlconda(["verify", "-p", argument(prefix)]).success();
}

#[test]
fn a_file_belongs_where_the_link_of_another_package_leads_whichever_is_first() {
    let world = world();
    let mut trees = Vec::new();
    for (left, right) in [(0, 200_000), (200_000, 0)] {
        let (sysroot, udev) = (sysroot(&world, "1.0", left), udev(&world, "1.0", right));
        for lines in [[&*sysroot, &udev], [&udev, &sysroot]] {
            let prefix = world.path().join("prefix");
            let lock = crate::packages::lock(&world, &lines);
            world.mlconda(["install", argument(&lock), "-p", argument(&prefix), "--threads", "1"]).success();
            assert_eq!(fs_err::read_link(prefix.join("sys/lib64")).unwrap(), Path::new("lib"));
            assert_eq!(fs_err::read_to_string(prefix.join("sys/lib/libudev.so.1")).unwrap(), "1.0");
            assert!(prefix.join("sys/lib/deep/mod.py").is_file() && prefix.join("sys/lib/empty").is_dir());
            assert_eq!(fs_err::read_to_string(prefix.join("sys/usr/lib64/libudev.so")).unwrap(), "1.0");
            let record = fs_err::read_to_string(prefix.join("conda-meta/udev-1.0-h4bc722e_0.json")).unwrap();
            assert!(record.contains("\"sys/lib64/libudev.so.1\"") && record.contains("\"sys/usr/lib64/deep/mod.py\""));
            verify(&world, &prefix);
            let mut tree = contents(&prefix);
            tree.retain(|path, _| path.starts_with("sys/lib"));
            trees.push(tree);
            fs_err::remove_dir_all(&prefix).unwrap();
        }
    }
    for tree in &trees {
        assert_eq!(tree::difference(&trees[0], tree), "");
    }
}

#[test]
fn a_link_and_files_below_it_in_one_package() {
    let link = ("sys/lib64", Part::Soft("lib"));
    let files =
        [("sys/lib/a", Part::File("a")), ("sys/lib64/b", Part::File("b")), ("sys/lib64/c", Part::Hard("sys/lib64/b"))];
    for (number, place) in [0, 1, 3].into_iter().enumerate() {
        let (world, mut parts) = (world(), files.to_vec());
        parts.insert(place, link);
        let package = archive(&world, &format!("both{number}"), Info::First, "", &parts);
        for (prefix, real) in both_kinds(&world) {
            install(&world, &prefix, &[&package]).success();
            let found = tree::paths(&real.join("sys")).unwrap();
            assert_eq!(found, "lib\nlib/a\nlib/b\nlib/c\nlib64\n", "{number}");
            verify(&world, &prefix);
        }
    }
}

/// Every sequence of updates gives the same result as a first installation.
#[test]
fn updates_move_files_with_the_links() {
    let world = world();
    let (link, file) = (sysroot(&world, "1.0", 0), udev(&world, "1.0", 0));
    let (newer_link, newer_file, directory) = (sysroot(&world, "1.1", 0), udev(&world, "1.1", 0), unlinked(&world));
    let steps: [&[&str]; 11] = [
        &[&link],
        // A file is added behind a link that stays.
        &[&link, &file],
        &[&link, &newer_file],
        &[&newer_link, &newer_file],
        // The link becomes a directory, and then a link again.
        &[&directory, &newer_file],
        &[&link, &newer_file],
        // The link is removed, and added where a directory is.
        &[&newer_file],
        &[&link, &newer_file],
        &[&link],
        &[&link, &file],
        &[&directory],
    ];
    let fresh: Vec<_> = steps
        .iter()
        .map(|lines| {
            let prefix = world.path().join("fresh");
            install(&world, &prefix, lines).success();
            let contents = contents(&prefix);
            fs_err::remove_dir_all(prefix).unwrap();
            contents
        })
        .collect();
    for (prefix, real) in both_kinds(&world) {
        for (number, (lines, fresh)) in steps.iter().zip(&fresh).enumerate() {
            install(&world, &prefix, lines).success();
            assert_eq!(tree::difference(fresh, &contents(&real)), "", "step {number} in {}", prefix.display());
            verify(&world, &prefix);
        }
    }
}

#[test]
fn a_link_of_a_package_that_the_user_has_changed_is_the_users() {
    let world = world();
    let (link, file, newer) = (sysroot(&world, "1.0", 0), udev(&world, "1.0", 0), udev(&world, "1.1", 0));
    for (prefix, real) in both_kinds(&world) {
        let outside = world.path().join("outside");
        fs_err::create_dir_all(&outside).unwrap();
        fs_err::write(outside.join("libudev.so.1"), "mine").unwrap();
        install(&world, &prefix, &[&link, &file]).success();
        for to in [outside.as_path(), Path::new("../mine")] {
            fs_err::remove_file(real.join("sys/lib64")).unwrap();
            fs_err::os::unix::fs::symlink(to, real.join("sys/lib64")).unwrap();
            fs_err::create_dir_all(real.join("mine")).unwrap();
            fs_err::write(real.join("mine/libudev.so.1"), "mine").unwrap();
            install(&world, &prefix, &[&link, &newer]).failure(1);
            for place in [&outside, &real.join("mine")] {
                assert_eq!(fs_err::read_to_string(place.join("libudev.so.1")).unwrap(), "mine");
            }
        }
        install(&world, &prefix, &[&link]).success();
        assert_eq!(fs_err::read_to_string(real.join("mine/libudev.so.1")).unwrap(), "mine");
    }
}

#[test]
fn what_does_not_go_together_is_told_with_both_names() {
    let world = world();
    let package = |name: &str| PackageBuilder::new(name, "1.0");
    let directory = line(&world, &package("directory").file("data/x", "x"));
    let file = line(&world, &package("file").file("data", "data"));
    let link = line(&world, &package("link").file("other", "other").link("data", "other"));
    let (below, out) = (package("below").file("up/x", "x"), package("out").link("up", "../outside"));
    let (below, out) = (line(&world, &below), line(&world, &out));
    let (a, b) =
        (package("a").link("one", "two").file("two/x", "x"), package("b").link("two", "one").file("one/y", "y"));
    let (a, b) = (line(&world, &a), line(&world, &b));
    fs_err::create_dir(world.path().join("outside")).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (
            &[&directory, &file],
            "`data` is a directory in `directory-1.0-h4bc722e_0` and a file in `file-1.0-h4bc722e_0`",
        ),
        (
            &[&directory, &link],
            "`data` is a directory in `directory-1.0-h4bc722e_0` and a link in `link-1.0-h4bc722e_0`",
        ),
        (&[&below, &out], "`up` is a directory in `below-1.0-h4bc722e_0` and a link in `out-1.0-h4bc722e_0`"),
        (&[&a, &b], "is a directory in "),
    ];
    for (lines, message) in cases {
        let lock = crate::packages::lock(&world, lines);
        for prefix in ["prefix", "other"] {
            let arguments = ["install", argument(&lock), "-p", prefix, "--allow-outward-links"];
            let outcome = world.mlconda(arguments).failure(1);
            assert!(outcome.stderr.contains(message), "{outcome}");
            assert!(!world.work().join(prefix).exists());
        }
    }
    // The same message, if the link was installed before.
    let told = "`up` is a directory in `below-1.0-h4bc722e_0` and a link in `out-1.0-h4bc722e_0`";
    for lines in [&[out.as_str()][..], &[&out, &below]] {
        let lock = crate::packages::lock(&world, lines);
        let outcome = world.mlconda(["install", argument(&lock), "-p", "before", "--allow-outward-links"]);
        let outcome = if lines.len() == 1 { outcome.success() } else { outcome.failure(1) };
        assert_eq!(outcome.stderr.contains(told), lines.len() == 2, "{outcome}");
    }
    assert_eq!(tree::paths(&world.path().join("outside")).unwrap(), "");
}

/// `bin` is a link of one package, and another package has a pre-unlink script in it.
#[test]
fn a_script_behind_a_link_of_a_package_runs() {
    let world = world();
    for (prefix, real) in both_kinds(&world) {
        let base = PackageBuilder::new("base", "1.0").file("usr/bin/tool", "tool").link("bin", "usr/bin");
        let text = "echo gone > \"$PREFIX/told\"\n";
        let ends = PackageBuilder::new("ends", "1.0").executable("bin/.ends-pre-unlink.sh", text);
        let (base, ends) = (line(&world, &base), line(&world, &ends));
        install(&world, &prefix, &[&base, &ends]).success();
        assert!(real.join("usr/bin/.ends-pre-unlink.sh").is_file() && !real.join("told").exists());
        install(&world, &prefix, &[&base]).success();
        assert_eq!(fs_err::read_to_string(real.join("told")).unwrap(), "gone\n");
        assert!(!real.join("usr/bin/.ends-pre-unlink.sh").exists());
    }
}

/// The byte code is beside the module, has the module's path in the record, and is removed with it.
#[test]
fn modules_below_a_link_of_a_package_are_compiled() {
    const SITE: &str = "lib/python3.11/site-packages";
    let world = world();
    let python = fs_err::read_to_string(world.write_lock("python.lock", None, &["tzdata", "python-3.11.9"])).unwrap();
    let python = python.split_once("@EXPLICIT\n").unwrap().1.to_owned();
    let links = |version: &str, to: &str| {
        let package = PackageBuilder::new("links", version).file(&format!("{SITE}/one/__init__.py"), "1\n");
        line(&world, &package.file(&format!("{SITE}/two/__init__.py"), "2\n").link(&format!("{SITE}/link"), to))
    };
    let (one, two) = (links("1.0", "one"), links("2.0", "two"));
    let module = PackageBuilder::new("module", "1.0").noarch(Noarch::Python).depends("python");
    let module = line(&world, &module.file("site-packages/link/deep/mod.py", "x = 1\n"));
    let code = |place: &str| format!("{SITE}/{place}/deep/__pycache__/mod.cpython-311.pyc");
    for (prefix, real) in both_kinds(&world) {
        // The link is installed together with the module, or before it.
        for before in [&[&*python][..], &[&*python, &one]] {
            install(&world, &prefix, before).success();
            install(&world, &prefix, &[&python, &one, &module]).success();
            assert!(real.join(code("one")).is_file(), "{}", tree::paths(&real.join(SITE)).unwrap());
            let mut entries = fs_err::read_dir(real.join("conda-meta")).unwrap().map(|entry| entry.unwrap().path());
            let record = entries.find(|path| path.to_string_lossy().contains("/module-1.0-")).unwrap();
            let record = fs_err::read_to_string(record).unwrap();
            assert!(record.contains(&format!("\"{}\"", code("link"))), "{record}");
            verify(&world, &prefix);
            install(&world, &prefix, &[&python, &two, &module]).success();
            assert!(real.join(code("two")).is_file() && !real.join(format!("{SITE}/one/deep")).exists());
            verify(&world, &prefix);
            install(&world, &prefix, &[&python, &two]).success();
            assert!(!real.join(format!("{SITE}/two/deep")).exists(), "{}", tree::paths(&real.join(SITE)).unwrap());
            install(&world, &prefix, &[&python]).success();
        }
        fs_err::remove_dir_all(&real).unwrap();
        if prefix != real {
            fs_err::create_dir(&real).unwrap();
        }
    }
}

#[test]
fn a_script_runs_where_bin_is_a_link_of_a_package_that_stays() {
    let world = world();
    let links = line(&world, &PackageBuilder::new("links", "1.0").file("usr/bin/tool", "t").link("bin", "usr/bin"));
    let script = |when: &str| format!("#!/bin/sh\necho {when} >> \"$PREFIX/ran\"\n");
    let scripts = PackageBuilder::new("scripts", "1.0").executable("bin/.scripts-post-link.sh", script("post"));
    let scripts = line(&world, &scripts.executable("bin/.scripts-pre-unlink.sh", script("pre")));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&links]).success();
        install(&world, &prefix, &[&links, &scripts]).success();
        assert_eq!(fs_err::read_to_string(real.join("ran")).unwrap(), "post\n");
        install(&world, &prefix, &[&links]).success();
        assert_eq!(fs_err::read_to_string(real.join("ran")).unwrap(), "post\npre\n");
    }
}

#[test]
fn a_new_file_below_a_link_that_stays() {
    let world = world();
    let stays = line(&world, &PackageBuilder::new("stays", "1.0").file("lib/one", "one").link("lib64", "lib"));
    let new = line(&world, &PackageBuilder::new("new", "1.0").file("lib64/x", "x"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        install(&world, &prefix, &[&stays, &new]).success();
        assert_eq!(fs_err::read_link(real.join("lib64")).unwrap(), Path::new("lib"));
        assert_eq!(fs_err::read_to_string(real.join("lib/x")).unwrap(), "x");
    }
}
