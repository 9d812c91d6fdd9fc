//! Tests with links of packages that lead to each other, or that the user has replaced.

use std::path::Path;

use mlconda_test::{context::argument, package::PackageBuilder, tree};
use serde_json::Value;

use super::package;
use crate::{
    packages::{both_kinds, install, line},
    world,
};

#[test]
fn a_file_behind_several_links_in_a_row_is_its_packages_own_again_when_one_of_them_goes() {
    let world = world();
    let first = line(&world, &package("first").link("a", "b/c"));
    let second = line(&world, &package("second").link("b", "lib"));
    let behind = line(&world, &package("kone").file("a/x", "kone"));
    let direct = line(&world, &package("ktwo").file("lib/c/x", "ktwo"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&first, &second, &behind, &direct]).success();
        assert_eq!(fs_err::read_to_string(real.join("a/x")).unwrap(), "ktwo");
        install(&world, &prefix, &[&first, &behind, &direct]).success();
        assert_eq!(fs_err::read_to_string(real.join("b/c/x")).unwrap(), "kone");
        assert_eq!(fs_err::read_to_string(real.join("lib/c/x")).unwrap(), "ktwo");
        world.mlconda(["verify", "-p", argument(&prefix)]).success();
        install(&world, &prefix, &[]).success();
    }
}

/// Replaces a link by a directory of the user with these files.
fn replace_link(link: &Path, files: &[&str]) {
    fs_err::remove_file(link).unwrap();
    fs_err::create_dir(link).unwrap();
    files.iter().for_each(|file| fs_err::write(link.join(file), "mine").unwrap());
}

/// Removes the field from records that other tools do not write.
fn untold(prefix: &Path, names: &[&str]) {
    for name in names {
        let record = prefix.join(format!("conda-meta/{name}-1.0-h4bc722e_0.json"));
        let mut json: Value = serde_json::from_slice(&fs_err::read(&record).unwrap()).unwrap();
        json.as_object_mut().unwrap().remove("mlconda").unwrap();
        fs_err::write(&record, serde_json::to_vec(&json).unwrap()).unwrap();
    }
}

/// The package's file is in the old target of the link, even if the user has a file with the same name in the
/// directory.
#[test]
fn a_file_of_the_user_in_the_place_of_a_link_does_not_go_with_a_package() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package").told_directory("lib64/empty"));
    let other = line(&world, &package("other").file("share/other", "x"));
    for (prefix, real) in both_kinds(&world) {
        for left in [vec![&link], vec![&link, &other], vec![]] {
            install(&world, &prefix, &[&link, &behind]).success();
            replace_link(&real.join("lib64"), &["it", "empty"]);
            // A package without files at the link can be installed.
            install(&world, &prefix, &[&link, &behind, &other]).success();
            assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "of the package");
            let left: Vec<&str> = left.into_iter().map(String::as_str).collect();
            let outcome = install(&world, &prefix, &left).success();
            assert!(!outcome.stderr.contains("lib64/it"), "{outcome}");
            assert!(!real.join("lib").exists(), "{left:?}");
            for mine in ["it", "empty"] {
                assert_eq!(fs_err::read_to_string(real.join("lib64").join(mine)).unwrap(), "mine", "{left:?}");
            }
            fs_err::remove_dir_all(real.join("lib64")).unwrap();
            install(&world, &prefix, &[]).success();
        }
    }
}

/// An update and a repair would have to replace the directory by the link, or write into it. Both errors name its path.
#[test]
fn a_directory_of_the_user_in_the_place_of_a_link_refuses_what_is_to_be_there() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let newer = line(&world, &PackageBuilder::new("link", "2.0").link("lib64", "lib"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package"));
    let update = line(&world, &PackageBuilder::new("behind", "2.0").file("lib64/it", "newer"));
    for (prefix, real) in both_kinds(&world) {
        let refused = |lines: &[&str], command: &str, because: &str| {
            let (before, lock) = (tree::tree(&real).unwrap(), crate::packages::lock(&world, lines));
            let arguments = match command {
                "verify" => vec!["verify", "-p", argument(&prefix), "--repair"],
                command => vec!["install", argument(&lock), "-p", argument(&prefix), command],
            };
            let outcome = world.mlconda(arguments).failure(1);
            assert!(outcome.stderr.contains(&format!("error: {because}")), "{outcome}");
            assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "", "{outcome}");
        };
        for file in ["other", "it"] {
            install(&world, &prefix, &[&link, &behind]).success();
            replace_link(&real.join("lib64"), &[file]);
            let there = "the link `lib64` of `link-1.0-h4bc722e_0` was removed or replaced, but \
                         `behind-2.0-h4bc722e_0` has files below it";
            refused(&[&link, &update], "--quiet", there);
            let in_the_way = format!("cannot replace the directory `lib64` with a file of a package: `lib64/{file}`");
            refused(&[&newer, &behind], "--quiet", &in_the_way);
            refused(&[&newer, &update], "--quiet", &in_the_way);
            refused(&[&link, &behind], "--reinstall", &in_the_way);
            refused(&[&link, &behind], "verify", &in_the_way);
            assert_eq!(fs_err::read_to_string(real.join("lib64").join(file)).unwrap(), "mine");
            // Without the file, a repair makes the link again.
            fs_err::remove_file(real.join("lib64").join(file)).unwrap();
            world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
            world.mlconda(["verify", "-p", argument(&prefix)]).success();
            assert_eq!(fs_err::read_to_string(real.join("lib64/it")).unwrap(), "of the package");
            assert!(real.join("lib64").is_symlink());
        }
    }
}

/// The order of linking decides, and not the names of the packages.
#[test]
fn of_several_links_that_the_user_replaced_the_one_that_was_linked_last_says_where_files_are() {
    let world = world();
    let first = line(&world, &package("zero").link("lib64", "lib").file("lib/other", "x"));
    let last = line(&world, &package("alpha").depends("zero").link("lib64", "opt"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package"));
    let (all, left) = ([first.as_str(), &last, &behind], [first.as_str(), &last]);
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &all).success();
        assert!(real.join("opt/it").exists());
        replace_link(&real.join("lib64"), &["it"]);
        let outcome = world.mlconda(["verify", "-p", argument(&prefix)]).failure(1);
        assert!(outcome.stdout.contains("lib64") && !outcome.stdout.contains("behind"), "{outcome}");
        install(&world, &prefix, &left).success();
        assert!(!real.join("opt").exists());
        assert_eq!(fs_err::read_to_string(real.join("lib64/it")).unwrap(), "mine");
        fs_err::remove_dir_all(real.join("lib64")).unwrap();
        world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
        assert_eq!(fs_err::read_link(real.join("lib64")).unwrap(), Path::new("opt"));
        install(&world, &prefix, &all).success();
    }
}

/// The packages are compatible: with the link, both can be installed.
#[test]
fn what_would_come_behind_a_link_that_is_gone_or_replaced_names_the_link_and_the_repair() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib").file("lib/other", "x"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package"));
    let told = "error: the link `lib64` of `link-1.0-h4bc722e_0` was removed or replaced, but `behind-1.0-h4bc722e_0` has \
                files below it\nhint: make the link again with `mlconda verify --repair`; if something of yours is there, move it away first\n";
    for (prefix, real) in both_kinds(&world) {
        let place = real.join("lib64");
        let replaced: [&dyn Fn(); 4] =
            [&|| (), &|| fs_err::write(&place, "mine").unwrap(), &|| fs_err::create_dir(&place).unwrap(), &|| {
                fs_err::os::unix::fs::symlink("elsewhere", &place).unwrap()
            }];
        for replace in replaced {
            install(&world, &prefix, &[&link]).success();
            fs_err::remove_file(&place).unwrap();
            replace();
            let outcome = install(&world, &prefix, &[&link, &behind]).failure(1);
            assert!(outcome.stderr.contains(told), "{outcome}");
            match place.is_dir() {
                true => fs_err::remove_dir(&place).unwrap(),
                false => drop(fs_err::remove_file(&place)),
            }
            world.mlconda(["verify", "-p", argument(&prefix), "--repair"]).success();
            install(&world, &prefix, &[&link, &behind]).success();
            assert_eq!(fs_err::read_to_string(real.join("lib/it")).unwrap(), "of the package");
        }
    }
}

/// Records of other tools do not have the target of a link. The file in the directory still belongs to the user.
#[test]
fn a_directory_in_the_place_of_a_link_that_another_tool_has_made_is_the_users() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&link, &behind]).success();
        untold(&real, &["link", "behind"]);
        replace_link(&real.join("lib64"), &["it"]);
        let lock = crate::packages::lock(&world, &[&link, &behind]);
        let outcome = world.mlconda(["install", argument(&lock), "-p", argument(&prefix), "--reinstall"]).failure(1);
        assert!(outcome.stderr.contains("`lib64`"), "{outcome}");
        for left in [&[link.as_str()][..], &[]] {
            install(&world, &prefix, left).success();
            assert_eq!(fs_err::read_to_string(real.join("lib64/it")).unwrap(), "mine");
        }
    }
}

/// Another tool may keep an existing directory in the place of a link, and `cp -rL` replaces a link by a directory. The
/// packages' files in this directory belong to the packages.
#[test]
fn files_of_packages_in_a_directory_in_the_place_of_another_tools_link_are_theirs() {
    let world = world();
    let link = line(&world, &package("link").link("lib64", "lib"));
    let behind = line(&world, &package("behind").file("lib64/it", "of the package").file("lib64/prefix", "/opt/it"));
    let newer = line(&world, &PackageBuilder::new("link", "2.0").link("lib64", "lib"));
    let update = line(&world, &PackageBuilder::new("behind", "2.0").file("lib64/it", "newer"));
    for (prefix, real) in both_kinds(&world) {
        for (after, content) in [(vec![link.as_str()], None), (vec![&newer, &update], Some("newer"))] {
            install(&world, &prefix, &[&link, &behind]).success();
            untold(&real, &["link", "behind"]);
            fs_err::remove_file(real.join("lib64")).unwrap();
            fs_err::rename(real.join("lib"), real.join("lib64")).unwrap();
            install(&world, &prefix, &after).success();
            assert_eq!(fs_err::read_to_string(real.join("lib64/it")).ok().as_deref(), content);
            assert!(!real.join("lib64/prefix").exists());
            install(&world, &prefix, &[]).success();
            assert!(!real.join("lib64").exists() && !real.join("lib").exists());
        }
    }
}

/// A new link leads out of the prefix, and another package has a directory at its path: neither belongs to the user.
#[test]
fn a_new_link_out_of_the_prefix_names_the_package_that_has_a_directory_there() {
    let world = world();
    let stays = line(&world, &package("stays").file("lib64/it", "x"));
    let link = line(&world, &package("link").link("lib64", "/opt/elsewhere"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        let (before, lock) = (tree::tree(&real).unwrap(), crate::packages::lock(&world, &[&stays, &link]));
        let arguments = ["install", argument(&lock), "-p", argument(&prefix), "--allow-outward-links"];
        let outcome = world.mlconda(arguments).failure(1);
        assert!(["stays-1.0", "link-1.0", "`lib64`"].iter().all(|part| outcome.stderr.contains(part)), "{outcome}");
        assert!(!outcome.stderr.contains("belongs to no package"), "{outcome}");
        assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "", "{outcome}");
    }
}

/// Two packages have a link at one path. The package that stays is linked last, so its link is on the disk.
#[test]
fn a_link_that_stays_says_where_a_new_file_lies_and_not_a_new_one_that_it_covers() {
    let world = world();
    let behind = line(&world, &package("behind").file("lib64/it", "x"));
    // In the second pair, the package that stays is linked last because it depends on another one.
    let by_name = [package("z-stays"), package("a-covered")];
    let by_order = [package("a-stays").depends("behind"), package("z-covered")];
    let prefixes = both_kinds(&world);
    for [stays, covered] in [by_name, by_order] {
        let stays = line(&world, &stays.link("lib64", "other"));
        let covered = line(&world, &covered.link("lib64", "lib"));
        for (prefix, real) in &prefixes {
            let lies = |path: &str, not: &str| {
                assert_eq!(fs_err::read_to_string(real.join(path).join("it")).unwrap(), "x");
                assert!(!real.join(not).exists());
                world.mlconda(["verify", "-p", argument(prefix)]).success();
            };
            install(&world, prefix, &[&stays]).success();
            install(&world, prefix, &[&stays, &covered, &behind]).success();
            lies("other", "lib");
            install(&world, prefix, &[&stays, &behind]).success();
            lies("other", "lib");
            install(&world, prefix, &[&stays, &covered, &behind]).success();
            install(&world, prefix, &[&covered, &behind]).success();
            lies("lib", "other");
            install(&world, prefix, &[&stays, &covered, &behind]).success();
            lies("other", "lib");
            install(&world, prefix, &[&stays]).success();
            assert!(!real.join("other").exists());
            replace_link(&real.join("lib64"), &[]);
            let outcome = install(&world, prefix, &[&stays, &covered, &behind]).failure(1);
            assert!(outcome.stderr.contains("`lib64`"), "{outcome}");
            fs_err::remove_dir(real.join("lib64")).unwrap();
            install(&world, prefix, &[]).success();
        }
    }
}

/// A new link moves the file of a package that stays to a path at which the user has a directory.
#[test]
fn a_directory_of_the_user_where_a_new_link_leads_is_not_replaced() {
    let world = world();
    let stays = line(&world, &package("stays").file("lib64/it", "x"));
    let link = line(&world, &package("link").link("lib64", "lib"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        fs_err::create_dir_all(real.join("lib/it")).unwrap();
        fs_err::write(real.join("lib/it/file"), "mine").unwrap();
        let before = tree::tree(&real).unwrap();
        let outcome = install(&world, &prefix, &[&stays, &link]).failure(1);
        assert!(outcome.stderr.contains("`lib/it/file` in it belongs to no package"), "{outcome}");
        assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "", "{outcome}");
    }
}
