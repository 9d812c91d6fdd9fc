//! Paths that change with their packages: their kind, their package, and the byte code beside them.

use std::os::unix::fs::MetadataExt;

use mlconda_test::{package::PackageBuilder, tree};

use crate::{
    packages::{both_kinds, contents, install, line},
    world,
};

#[test]
fn a_new_file_in_place_of_a_directory_that_stays() {
    let world = world();
    let stays = line(&world, &PackageBuilder::new("stays", "1.0").file("data/x", "x"));
    let new = line(&world, &PackageBuilder::new("new", "1.0").file("data", "data"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        let before = tree::tree(&real).unwrap();
        let outcome = install(&world, &prefix, &[&stays, &new]).failure(1);
        let message = "`data` is a directory in `stays-1.0-h4bc722e_0` and a file in `new-1.0-h4bc722e_0`";
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "");
    }
}

/// A directory becomes a file, and a link becomes a directory, if the old contents are removed.
#[test]
fn a_path_may_change_its_kind_with_its_package() {
    let world = world();
    let old = PackageBuilder::new("changes", "1.0").file("data/x", "x").file("lib/one", "one").link("lib64", "lib");
    let new = PackageBuilder::new("changes", "2.0").file("data", "data").file("lib64/x", "x");
    let (old, new) = (line(&world, &old), line(&world, &new));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&old]).success();
        install(&world, &prefix, &[&new]).success();
        assert_eq!(fs_err::read_to_string(real.join("data")).unwrap(), "data");
        assert_eq!(fs_err::read_to_string(real.join("lib64/x")).unwrap(), "x");
        assert!(!real.join("lib64").is_symlink() && !real.join("lib").exists());
    }
}

/// Python uses byte code if it contains the size and time of its module, and packages of one recipe have the same
/// times.
#[test]
fn byte_code_of_a_module_that_changes_goes() {
    let world = world();
    let package = |build: &str, text: &str| {
        PackageBuilder::new("module", "1.0").build_string(build).file("lib/mod.py", text).file("lib/a.txt", "a")
    };
    let old = line(&world, &package("h1_0", "answer = 41\n"));
    let new = line(&world, &package("h2_0", "answer = 42\n"));
    let other = line(&world, &PackageBuilder::new("other", "1.0").file("lib/other.py", "pass\n"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&old, &other]).success();
        let stamp = |path: &str| fs_err::metadata(real.join(path)).map(|found| (found.len(), found.mtime())).unwrap();
        let before = stamp("lib/mod.py");
        let code = real.join("lib/__pycache__");
        fs_err::create_dir(&code).unwrap();
        for name in ["mod.cpython-311.pyc", "mod.cpython-311.opt-1.pyc", "other.cpython-311.pyc"] {
            fs_err::write(code.join(name), "byte code").unwrap();
        }
        install(&world, &prefix, &[&new, &other]).success();
        assert_eq!(stamp("lib/mod.py"), before, "the modules can be told apart; the test says nothing");
        assert_eq!(fs_err::read_to_string(real.join("lib/mod.py")).unwrap(), "answer = 42\n");
        assert_eq!(tree::paths(&code).unwrap(), "other.cpython-311.pyc\n");
    }
}

/// `a` and `b` share a path, `b` and `c` share another one. With the old `a`, `b` is linked after `c`; with the new
/// one, before it.
#[test]
fn what_shares_a_path_with_what_is_linked_anew_is_linked_anew() {
    let world = world();
    let a = |version: &str| PackageBuilder::new("a", version).file("share/a.txt", version).file("share/p", "a");
    let (old, new) = (line(&world, &a("1.0").depends("d")), line(&world, &a("2.0")));
    let b = PackageBuilder::new("b", "1.0").depends("a").file("share/p", "b").file("share/q", "b");
    let c = PackageBuilder::new("c", "1.0").depends("d").file("share/q", "c");
    let d = PackageBuilder::new("d", "1.0").file("share/d", "d");
    let (b, c, d) = (line(&world, &b), line(&world, &c), line(&world, &d));
    let fresh = world.path().join("fresh");
    install(&world, &fresh, &[&new, &b, &c, &d]).success();
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&old, &b, &c, &d]).success();
        let (before, wanted) = (real.join("share/q"), fresh.join("share/q"));
        assert_ne!(fs_err::read(&before).unwrap(), fs_err::read(&wanted).unwrap(), "the test says nothing");
        install(&world, &prefix, &[&new, &b, &c, &d]).success();
        assert_eq!(tree::difference(&contents(&fresh), &contents(&real)), "");
    }
}
