//! The explicit format: what its lines and comments can contain, and what they cannot.

use mlconda_test::{context::argument, host_subdir, package::PackageBuilder, tree};

use crate::{
    packages::{install, line, locked},
    world,
};

#[test]
fn a_lock_cannot_name_a_directory_elsewhere() {
    let world = world();
    world.write("env.lock", "# mlconda lock: 1\n# name: ../../x\n@EXPLICIT\n");
    let before = world.tree();
    let outcome = world.mlconda(["install", "env.lock"]).failure(1);
    assert!(outcome.stderr.contains("`../../x` cannot name an environment"), "{outcome}");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn another_tools_words_for_the_platform_do_no_harm() {
    let world = world();
    let package = line(&world, &PackageBuilder::new("plain", "1.0").file("share/plain", "plain"));
    world.write("env.lock", &format!("# platform: {} (x86)\n@EXPLICIT\n{package}", host_subdir()));
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    world.write("ours.lock", &format!("# mlconda lock: 1\n# platform: {} (x86)\n@EXPLICIT\n", host_subdir()));
    let outcome = world.mlconda(["install", "ours.lock", "-p", "prefix"]).failure(1);
    assert!(outcome.stderr.contains("unknown platform"), "{outcome}");
}

#[test]
fn a_hash_is_of_the_kind_that_it_says() {
    let world = world();
    let package = PackageBuilder::new("plain", "1.0").file("share/plain", "plain");
    let package = package.write(&world.path().join("channel")).unwrap();
    let md5 = mlconda_test::md5_hex(fs_err::read(&package).unwrap());
    let url = format!("file://{}", package.display());
    let outcome = install(&world, &world.path().join("prefix"), &[&format!("{url}#sha256:{md5}\n")]).failure(1);
    assert!(outcome.stderr.contains("is neither a sha256 (64 hex digits) nor an md5 (32)"), "{outcome}");
    install(&world, &world.path().join("prefix"), &[&format!("{url}#{md5}\n")]).success();
}

#[test]
fn an_archive_with_capitals_in_its_name() {
    let world = world();
    let package = PackageBuilder::new("plain", "1.0").file("share/plain", "plain");
    let package = package.write(&world.path().join("channel")).unwrap();
    let capitals = package.with_file_name(package.file_name().unwrap().to_str().unwrap().replace("plain", "PLain"));
    fs_err::rename(package, &capitals).unwrap();
    let prefix = world.path().join("prefix");
    install(&world, &prefix, &[&locked(&capitals)]).success();
    let before = tree::tree(&prefix).unwrap();
    install(&world, &prefix, &[&locked(&capitals)]).success();
    assert_eq!(tree::difference(&before, &tree::tree(&prefix).unwrap()), "", "it is not taken for another package");
}

#[test]
fn variables_stay_where_the_lock_has_no_word_for_them() {
    let world = world();
    let package = |version: &str| {
        let package = PackageBuilder::new("plain", version).file("share/plain", version);
        line(&world, &package)
    };
    let prefix = world.path().join("prefix");
    install(&world, &prefix, &[&package("1.0")]).success();
    let state = prefix.join("conda-meta/state");
    fs_err::write(&state, r#"{"env_vars": {"MINE": "yes", "NUMBER": 5}}"#).unwrap();
    install(&world, &prefix, &[&package("2.0")]).success();
    let variables = || {
        let state: serde_json::Value = serde_json::from_slice(&fs_err::read(&state).unwrap()).unwrap();
        state["env_vars"].as_object().unwrap().clone()
    };
    assert_eq!(variables().keys().collect::<Vec<_>>(), ["MINE", "NUMBER"]);
    let shown = world.mlconda(["run", "-p", argument(&prefix), "sh", "-c", "echo $MINE $NUMBER"]).success();
    assert_eq!(shown.stdout, "yes 5\n");
    // A lock of mlconda takes precedence.
    let text = format!("# mlconda lock: 1\n# platform: {}\n# variable: A=\"b\"\n@EXPLICIT\n", host_subdir());
    world.write("ours.lock", &format!("{text}{}", package("2.0")));
    world.mlconda(["install", "ours.lock", "-p", argument(&prefix)]).success();
    assert_eq!(variables().into_iter().collect::<Vec<_>>(), [("A".to_owned(), "b".into())]);
}
