//! `add`, `drop` and `init`: an environment.yml is changed in place, and locked with the least change, or not at all.

use insta::assert_snapshot;
use mlconda_test::context::TestContext;

use crate::world;

const FILE: &str = "\
# what we need
name: ours   # and nobody else's
channels: [ ${CHANNELS}/main ]
dependencies:
- where=1.1   # not newer
# the rest
- pip
";

/// The file, with the path of the channels as in its original text.
fn file(world: &TestContext) -> String {
    let channels = format!("file://{}", world.channels().directory().display());
    world.read("environment.yml").replace(&channels, "${CHANNELS}")
}

/// The package names in the lock.
fn locked(world: &TestContext) -> Vec<String> {
    let lock = world.read("env.lock");
    let urls = lock.lines().filter(|line| line.starts_with("file:"));
    urls.map(|url| url.rsplit('/').next().unwrap().rsplitn(3, '-').last().unwrap().to_owned()).collect()
}

#[test]
fn a_package_is_added_to_the_file_and_to_the_lock() {
    let world = world();
    world.write("environment.yml", FILE);
    world.mlconda(["lock"]).success();
    let before = locked(&world);
    world.mlconda(["add", "unicode", "hollow>=0"]).success();
    assert_eq!(file(&world), FILE.replace("- pip\n", "- pip\n- unicode\n- hollow>=0\n"));
    let after = locked(&world);
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    assert!(after.contains(&"unicode".to_owned()) && after.contains(&"hollow".to_owned()), "{after:?}");
    world.mlconda(["drop", "unicode", "hollow"]).success();
    assert_eq!(file(&world), FILE);
    assert_eq!(locked(&world), before);
    world.mlconda(["lock", "--check"]).success();
}

/// The second spec would silently replace the first one.
#[test]
fn a_package_that_is_added_with_two_specs_is_refused() {
    let world = world();
    world.write("environment.yml", FILE);
    for arguments in [["add", "where <2", "where=1.1"], ["add", "unicode>=0", "Unicode"]] {
        let outcome = world.mlconda(arguments).failure(1);
        let told = format!("error: `{}` and `{}` are for the same package", arguments[1], arguments[2]);
        assert!(outcome.stderr.contains(&told), "{outcome}");
        assert_eq!(file(&world), FILE);
    }
    let outcome = world.mlconda(["add", "--pip", "six<2", "--pip", "Six"]).failure(1);
    assert!(outcome.stderr.contains("error: `six<2` and `Six` are for the same package"), "{outcome}");
    world.mlconda(["add", "unicode", "unicode"]).success();
    assert_eq!(file(&world), FILE.replace("- pip\n", "- pip\n- unicode\n"));
}

#[test]
fn a_package_that_is_there_gets_the_new_spec() {
    let world = world();
    world.write("environment.yml", &FILE.replace('\n', "\r\n"));
    world.mlconda(["add", "where >=1,<2"]).success();
    let wanted = FILE.replace("- where=1.1   #", "- where >=1,<2   #").replace('\n', "\r\n");
    assert_eq!(file(&world), wanted);
    let outcome = world.mlconda(["add", "where"]).success();
    assert!(outcome.stderr.contains("`where >=1,<2` is already in the file"), "{outcome}");
    assert_eq!(file(&world), wanted);
}

#[test]
fn what_cannot_be_locked_leaves_file_and_lock_as_they_were() {
    let world = world();
    world.write("environment.yml", FILE);
    world.mlconda(["lock"]).success();
    let files = || (file(&world), world.read("env.lock"));
    let before = files();
    let outcome = world.mlconda(["add", "no-such-package"]).failure(1);
    assert!(outcome.stderr.contains("no-such-package"), "{outcome}");
    for words in [&["add", "where=99"][..], &["add", "where=="], &["drop", "unicode"], &["add", "a b c d"]] {
        assert_ne!(world.mlconda(words.iter().copied()).code, 0, "{words:?}");
        assert_eq!(files(), before);
    }
    assert_snapshot!(world.mlconda(["drop", "unicode"]), @r"
    exit code 1
    --- stdout
    --- stderr
    error: the list `dependencies` does not ask for `unicode`
    hint: a dependency of another package is removed together with that package; `mlconda why` shows which
    ");
    world.mlconda(["add", "unicode", "--dry-run"]).success();
    assert_eq!(files(), before);
    // The lock cannot be written.
    world.mlconda(["add", "unicode", "-o", "nowhere/env.lock"]).failure(1);
    assert_eq!(files(), before);
}

#[test]
fn what_was_added_is_installed_where_a_prefix_is_named() {
    let world = world();
    world.write("environment.yml", FILE);
    world.mlconda(["add", "unicode", "-n", "ml"]).success();
    let outcome = world.mlconda(["list", "-n", "ml"]).success();
    assert!(outcome.stdout.contains("unicode"), "{outcome}");
    world.mlconda(["drop", "unicode", "-n", "ml"]).success();
    let outcome = world.mlconda(["list", "-n", "ml"]).success();
    assert!(!outcome.stdout.contains("unicode"), "{outcome}");
}

#[test]
fn a_file_is_begun_once() {
    let world = world();
    let channel = format!("file://{}/main", world.channels().directory().display());
    world.mlconda(["init", "-c", &channel, "--name", "first", "where"]).success();
    assert_eq!(file(&world), "name: first\nchannels:\n  - ${CHANNELS}/main\ndependencies:\n  - where\n");
    world.mlconda(["add", "unicode"]).success();
    assert_eq!(file(&world), "name: first\nchannels:\n  - ${CHANNELS}/main\ndependencies:\n  - where\n  - unicode\n");
    assert_snapshot!(world.mlconda(["init"]), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `environment.yml` already exists
    hint: add packages with `mlconda add SPEC`; to set up `conda activate`, give the shell: `mlconda init bash`
    ");
}

#[test]
fn without_a_file_there_is_nothing_to_add_to() {
    let world = world();
    assert_snapshot!(world.mlconda(["add", "where"]), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no `environment.yml` in `[TEMP]/work`
    hint: give the file with `-f FILE`, or create one: `mlconda init`
    ");
    world.write("other.yml", "dependencies: [where]\nchannels:\n- ${CHANNELS}/main\n");
    world.mlconda(["add", "-f", "other.yml", "unicode"]).success();
    assert!(world.read("other.yml").starts_with("dependencies: [where, unicode]\n"));
    assert!(world.work().join("env.lock").is_file());
}
