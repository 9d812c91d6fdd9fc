//! Tests of faults that series of the model have found.

mod links;

use std::os::unix::fs::{PermissionsExt, symlink};

use mlconda_test::{
    context::argument,
    inject::{self, Calls, Happens, Injected},
    package::PackageBuilder,
    tree,
};

use crate::{
    packages::{both_kinds, install, line},
    world,
};

fn package(name: &str) -> PackageBuilder {
    PackageBuilder::new(name, "1.0")
}

#[test]
fn an_empty_directory_of_two_packages_stays_until_both_are_gone() {
    let world = world();
    let [one, two] = ["one", "two"].map(|name| line(&world, &package(name).told_directory("share/empty")));
    let filled = line(&world, &package("filled").file("share/empty/file", "x"));
    for (prefix, real) in both_kinds(&world) {
        for other in [&two, &filled] {
            install(&world, &prefix, &[&one, other]).success();
            install(&world, &prefix, &[&one]).success();
            assert!(real.join("share/empty").is_dir(), "{other}");
            world.mlconda(["verify", "-p", argument(&prefix)]).success();
            install(&world, &prefix, &[]).success();
            assert!(!real.join("share").exists(), "{other}");
        }
    }
}

#[test]
fn an_empty_directory_behind_a_link_goes_with_its_package() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let empty = line(&world, &package("empty").told_directory("lib64/empty"));
    let file = line(&world, &package("file").file("lib/file", "x"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &empty]).success();
        assert!(real.join("lib/empty").is_dir());
        install(&world, &prefix, &[]).success();
        assert_eq!(tree::paths(&real).unwrap().replace("conda-meta\n", "").replace("conda-meta/history\n", ""), "");
        // The link is installed later, and leads to a directory that has no other files any more.
        install(&world, &prefix, &[&file, &empty]).success();
        install(&world, &prefix, &[&link, &empty]).success();
        assert!(real.join("lib/empty").is_dir());
        install(&world, &prefix, &[]).success();
    }
}

#[test]
fn a_directory_whose_files_the_user_has_removed_goes_with_its_package() {
    let world = world();
    let package = line(&world, &package("package").file("share/deep/file", "x"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&package]).success();
        fs_err::remove_file(real.join("share/deep/file")).unwrap();
        install(&world, &prefix, &[]).success();
        assert!(!real.join("share").exists(), "{}", real.display());
    }
}

#[test]
fn a_directory_that_is_emptied_and_filled_keeps_the_mode_that_the_user_gave_it() {
    let world = world();
    let [old, new] = ["old", "new"].map(|name| line(&world, &package(name).file(&format!("share/{name}"), "x")));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&old]).success();
        fs_err::set_permissions(real.join("share"), std::fs::Permissions::from_mode(0o700)).unwrap();
        install(&world, &prefix, &[&new]).success();
        let mode = fs_err::metadata(real.join("share")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", real.display());
    }
}

/// The file belongs to no package, so the error must not propose a repair, which would restore nothing.
#[test]
fn a_file_of_the_user_where_a_package_needs_a_directory_is_said_to_be_the_users() {
    let world = world();
    let (first, second) = (line(&world, &package("first").file("x", "x")), package("second"));
    for (prefix, real) in both_kinds(&world) {
        for needs in [second.clone().file("data/it", "x"), second.clone().told_directory("data")] {
            let second = line(&world, &needs);
            install(&world, &prefix, &[&first]).success();
            fs_err::write(real.join("data"), "mine").unwrap();
            let outcome = install(&world, &prefix, &[&first, &second]).failure(1);
            let told = "error: `data` must become a directory of a package, but it is a file that belongs to no package\n\
                        hint: move your file away, and run the command again\n";
            assert!(outcome.stderr.contains(told), "{outcome}");
            assert_eq!(fs_err::read_to_string(real.join("data")).unwrap(), "mine");
            fs_err::remove_file(real.join("data")).unwrap();
            install(&world, &prefix, &[&first, &second]).success();
        }
    }
}

/// A first installation refuses both packages, so an update refuses them, too, and no file is lost.
#[test]
fn an_empty_directory_takes_no_place_of_a_file() {
    let world = world();
    let file = line(&world, &package("file").file("share/it", "x"));
    let directory = line(&world, &package("directory").told_directory("share/it"));
    for (prefix, real) in both_kinds(&world) {
        for (first, second) in [(&file, &directory), (&directory, &file)] {
            install(&world, &prefix, &[first]).success();
            let before = world.tree();
            let outcome = install(&world, &prefix, &[first, second]).failure(1);
            assert!(outcome.stderr.contains("`share/it` is a directory in "), "{outcome}");
            assert!(outcome.stderr.contains(" and a file in `file-1.0-h4bc722e_0`"), "{outcome}");
            let [before, after] = [before, world.tree()].map(|mut all| {
                all.remove("work/env.lock");
                all
            });
            assert_eq!(tree::difference(&before, &after), "");
        }
        // A link of the user does not count as a directory of a package.
        install(&world, &prefix, &[]).success();
        fs_err::create_dir_all(real.join("share")).unwrap();
        fs_err::os::unix::fs::symlink("elsewhere", real.join("share/it")).unwrap();
        install(&world, &prefix, &[&directory]).failure(1);
        assert!(real.join("share/it").is_symlink());
    }
}

/// Both packages have a file at `lib/it`, one of them under the name `lib64/it`.
#[test]
fn a_file_that_another_one_covered_through_a_link_comes_back() {
    let world = world();
    let link = line(&world, &package("a-link").link("lib64", "lib"));
    let plain = line(&world, &package("b-plain").file("lib/it", "plain"));
    let covers = line(&world, &package("c-covers").file("lib64/it", "covers"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &plain, &covers]).success();
        assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "covers");
        install(&world, &prefix, &[&link, &plain]).success();
        assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "plain");
    }
}

/// If the prefix is behind a link, it is changed in place, and files of the script stay. They must not stop the next
/// try.
#[test]
fn a_first_installation_whose_script_failed_is_tried_again() {
    let world = world();
    let script = |end: &str| {
        let text = format!("mkdir -p \"$PREFIX/made\"\necho made > \"$PREFIX/made/file\"\n{end}\n");
        line(&world, &package("package").executable("bin/.package-post-link.sh", text).file("share/it", end))
    };
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&script("exit 1")]).failure(1);
        assert!(!real.join("share").exists());
        install(&world, &prefix, &[&script("exit 0")]).success();
        assert!(real.join("share/it").is_file() && real.join("made/file").is_file());
    }
}

/// One of them has a link there, so only the other one has the content of the file.
#[test]
fn an_edit_is_found_at_a_path_of_two_packages() {
    let world = world();
    let link = line(&world, &package("link").link("share/it", "other"));
    let file = line(&world, &package("with-file").file("share/it", "of the package"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &file]).success();
        world.mlconda(["verify", "-p", argument(&prefix)]).success();
        fs_err::remove_file(real.join("share/it")).unwrap();
        fs_err::write(real.join("share/it"), "of the user!!!").unwrap();
        world.mlconda(["verify", "-p", argument(&prefix)]).failure(1);
        world.mlconda(["verify", "-p", argument(&prefix), "--repair"]);
        assert_eq!(fs_err::read_to_string(real.join("share/it")).unwrap(), "of the package");
        world.mlconda(["verify", "-p", argument(&prefix)]).success();
    }
}

/// The path of the link was a directory before, and the file at the link's target belongs to no package.
#[test]
fn a_file_of_the_user_where_a_new_link_leads_is_not_replaced() {
    let world = world();
    let stays = line(&world, &package("stays").file("lib64/it", "x"));
    let link = line(&world, &package("link").link("lib64", "lib"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        fs_err::write(real.join("lib"), "mine").unwrap();
        let outcome = install(&world, &prefix, &[&stays, &link]).failure(1);
        assert!(outcome.stderr.contains("`lib`"), "{outcome}");
        assert_eq!(fs_err::read_to_string(real.join("lib")).unwrap(), "mine");
        assert_eq!(fs_err::read_to_string(real.join("lib64/it")).unwrap(), "x");
        // A file of the user at exactly the path of a new file is replaced, as always, and reported.
        fs_err::remove_file(real.join("lib")).unwrap();
        fs_err::create_dir(real.join("lib")).unwrap();
        fs_err::write(real.join("lib/it"), "mine").unwrap();
        let outcome = install(&world, &prefix, &[&stays, &link]).success();
        assert!(outcome.stderr.contains("lib/it"), "{outcome}");
        assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "x");
    }
}

/// Two packages that stay have one file each, and a new link makes both paths the same.
#[test]
fn a_link_that_makes_two_files_one_leaves_that_of_the_later_package() {
    for (first, last) in [("lib/it", "lib64/it"), ("lib64/it", "lib/it")] {
        let world = world();
        let link = line(&world, &package("link").link("lib64", "lib"));
        let [one, other] =
            [("a-first", first), ("b-last", last)].map(|(name, path)| line(&world, &package(name).file(path, name)));
        for (prefix, real) in both_kinds(&world) {
            install(&world, &prefix, &[&one, &other]).success();
            install(&world, &prefix, &[&one, &other, &link]).success();
            assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "b-last", "{first}");
            world.mlconda(["verify", "-p", argument(&prefix)]).success();
        }
    }
}

/// The user has removed the file of the package that stays. The new link moves this file to the path of a removed
/// package's file.
#[test]
fn no_file_of_a_package_that_goes_takes_the_place_of_a_missing_one() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let stays = line(&world, &package("stays").file("lib64/it", "of what stays"));
    let goes = line(&world, &package("goes").file("lib/it", "of what goes"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays, &goes]).success();
        fs_err::remove_file(real.join("lib64/it")).unwrap();
        install(&world, &prefix, &[&stays, &link]).success();
        assert!(!real.join("lib/it").exists());
        world.mlconda(["verify", "-p", argument(&prefix), "--repair"]);
        world.mlconda(["verify", "-p", argument(&prefix)]).success();
        assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "of what stays");
    }
}

/// All files below the directory are missing, so all packages with files there are linked again, not only the first
/// one.
#[test]
fn one_repair_is_enough_where_a_directory_of_several_packages_is_a_file() {
    let world = world();
    let [one, two] = ["one", "two"].map(|name| line(&world, &package(name).file(&format!("share/{name}"), name)));
    let empty = line(&world, &package("with-empty").told_directory("data"));
    let filled = line(&world, &package("with-file").file("data/file", "x"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&one, &two, &empty, &filled]).success();
        for directory in ["share", "data"] {
            fs_err::remove_dir_all(real.join(directory)).unwrap();
            fs_err::write(real.join(directory), "mine").unwrap();
        }
        world.mlconda(["verify", "-p", argument(&prefix)]).failure(1);
        world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
        assert!(real.join("share/two").is_file() && real.join("data/file").is_file());
    }
}

/// A full disk has no space for a directory, so the mark that lets the next installation continue is made before.
#[test]
#[cfg(target_os = "linux")]
fn a_first_installation_with_a_script_is_undone_on_a_full_disk() {
    let world = world();
    let place = world.path().join("place");
    let (prefix, real) = (place.join("prefix"), place.join("real"));
    fs_err::create_dir_all(&real).unwrap();
    symlink("real", &prefix).unwrap();
    let scripts = ["one", "two"].map(|name| {
        let text = format!("mkdir -p \"$PREFIX/made\"\necho made > \"$PREFIX/made/{name}\"\n");
        line(&world, &package(name).executable(&format!("bin/.{name}-post-link.sh"), text))
    });
    let lock = crate::packages::lock(&world, &scripts.each_ref().map(String::as_str));
    let arguments = ["install", argument(&lock), "-p", argument(&prefix), "--threads", "1"];
    let empty = || {
        fs_err::remove_dir_all(&real).unwrap();
        fs_err::create_dir(&real).unwrap();
    };
    let run = |happens| inject::run(&world, &place, Calls::Change, happens, &arguments);
    let Some(Injected { calls, .. }) = run(Happens::Nothing) else { return };
    let mut is_seen = false;
    for number in (1..=calls).rev() {
        empty();
        let code = run(Happens::Full(number)).unwrap().outcome.code;
        let is_there = |path: &str| real.join(path).exists();
        if code == 0 {
            continue;
        }
        // Only the files of the first script stay, as documented.
        let left: Vec<_> = fs_err::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "made" || name == "conda-meta"), "{left:?} at {number}");
        if !is_there("made") {
            assert!(left.is_empty(), "{left:?} at {number}");
            break;
        }
        is_seen |= is_there("made/one") && !is_there("made/two");
        assert_eq!(fs_err::read_dir(real.join("conda-meta")).unwrap().count(), 0, "at {number}");
        install(&world, &prefix, &scripts.each_ref().map(String::as_str)).success();
    }
    assert!(is_seen);
}

/// A file of the user in the place of a link does no harm, as long as no new file belongs below the link.
#[test]
fn a_link_that_the_user_has_replaced_does_not_stop_an_installation_of_something_else() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let below = line(&world, &package("below").file("lib64/it", "x"));
    let other = line(&world, &package("other").file("share/other", "x"));
    let late = line(&world, &package("late").file("lib64/late", "x"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &below]).success();
        fs_err::remove_file(real.join("lib64")).unwrap();
        fs_err::write(real.join("lib64"), "mine").unwrap();
        install(&world, &prefix, &[&link, &below, &other]).success();
        assert!(real.join("lib/it").is_file() && real.join("share/other").is_file());
        install(&world, &prefix, &[&link, &below, &late]).failure(1);
        assert_eq!(fs_err::read_to_string(real.join("lib64")).unwrap(), "mine");
    }
}

/// One package is enough to set the mode, and the scripts of the others with files there need not run.
#[test]
fn one_package_is_linked_again_for_the_mode_of_a_directory_of_several() {
    let world = world();
    let [one, two] = ["one", "two"].map(|name| line(&world, &package(name).file(&format!("share/{name}"), name)));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&one, &two]).success();
        fs_err::set_permissions(real.join("share"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let outcome = world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
        assert!(outcome.stderr.contains("~ one 1.0") && !outcome.stderr.contains("~ two"), "{outcome}");
        assert_eq!(fs_err::metadata(real.join("share")).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}

/// Both packages have a file at `a/it`, one of them under a name below the link that the user has replaced or removed.
#[test]
fn a_repair_of_a_link_leaves_the_file_that_another_package_has_behind_it() {
    let world = world();
    let link = line(&world, &package("a-link").link("b", "a").file("a/it", "of the first"));
    let behind = line(&world, &package("b-behind").file("b/it", "of the last"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &behind]).success();
        for text in [Some("mine"), None] {
            fs_err::remove_file(real.join("b")).unwrap();
            text.into_iter().for_each(|text| fs_err::write(real.join("b"), text).unwrap());
            world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
            assert_eq!(fs_err::read_to_string(real.join("a/it")).unwrap(), "of the last");
        }
    }
}

/// Both packages have a file at `lib/it`, one of them under the name `lib64/it`. Without the link, the paths differ
/// again.
#[test]
fn a_link_that_goes_gives_each_package_its_own_file_back() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let one = line(&world, &package("a-one").file("lib64/it", "a-one"));
    let other = line(&world, &package("b-other").file("lib/it", "b-other"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &one, &other]).success();
        install(&world, &prefix, &[&one, &other]).success();
        assert_eq!(fs_err::read_to_string(real.join("lib64/it")).unwrap(), "a-one");
        assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "b-other");
    }
}

/// The package of the empty directory is removed, and a new link takes the path of the directory above it.
#[test]
fn a_file_of_the_user_at_the_place_of_an_empty_directory_is_not_removed_for_a_link() {
    let world = world();
    let empty = line(&world, &package("empty").told_directory("b/d"));
    let link = line(&world, &package("link").link("b", "a"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&empty]).success();
        fs_err::remove_dir(real.join("b/d")).unwrap();
        fs_err::write(real.join("b/d"), "mine").unwrap();
        install(&world, &prefix, &[&link]).failure(1);
        assert_eq!(fs_err::read_to_string(real.join("b/d")).unwrap(), "mine");
    }
}
