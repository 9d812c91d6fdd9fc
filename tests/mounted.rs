//! Files of the user that cannot be replaced by a rename: files that are mount points, as in a container, or in a
//! read-only directory. They are written in place, and an error restores the old content.

use mlconda_test::context::{Outcome, TestContext, argument};

use crate::world;

/// The exit code of a script that is not permitted to mount.
const MAY_NOT: i32 = 77;

/// A context with a lock, and `out/env.txt`, which a command will write; `apart/env.txt` is for mounts.
fn with_file() -> TestContext {
    let world = world();
    let packages = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "after-link-2.0", "many"];
    assert!(world.read(argument(&world.write_lock("env.lock", None, &packages))).len() > 1024);
    for name in ["out/env.txt", "apart/env.txt"] {
        world.write(name, "old\n");
    }
    world
}

/// Runs a script in a mount namespace of its own, in the working directory; then `out/env.txt` is written. `None` if
/// this is not permitted here.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
fn write_after(world: &TestContext, script: &str) -> Option<Outcome> {
    let program = crate::program();
    let text = format!(
        "set -e\nmay() {{ \"$@\" 2>/dev/null || exit {MAY_NOT}; }}\n{script}\n\
         exec $with '{program}' convert env.lock --to explicit -o out/env.txt\n"
    );
    let mut command = world.command("unshare");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.args(["--mount", "/bin/sh", "-c", &text]).current_dir(world.work()).env("PATH", path);
    let output = command.output().ok()?;
    let outcome = world.outcome_of(&output);
    if output.status.code() == Some(MAY_NOT) || outcome.stderr.contains("unshare failed") {
        eprintln!("skipped: nothing can be mounted here: {outcome}");
        return None;
    }
    Some(outcome)
}

/// The file names in `out`, and the texts of both files.
fn left(world: &TestContext) -> (Vec<String>, String, String) {
    let mut names: Vec<String> = fs_err::read_dir(world.work().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    (names, world.read("out/env.txt"), world.read("apart/env.txt"))
}

const MOUNT_FILE: &str = "may mount --bind apart/env.txt out/env.txt";
const READ_ONLY: &str = "may mount --bind out out\nmay mount -o remount,bind,ro out";
/// Without these capabilities, directory modes apply to root, too.
const WITHOUT_RIGHTS: &str = "with='setpriv --bounding-set -dac_override,-dac_read_search'\nmay $with true";

#[test]
fn a_file_that_is_mounted_by_itself_is_written_where_it_is() {
    for script in [MOUNT_FILE.to_owned(), format!("{READ_ONLY}\n{MOUNT_FILE}")] {
        let world = with_file();
        let Some(outcome) = write_after(&world, &script) else { return };
        outcome.success();
        let (names, behind, mounted) = left(&world);
        assert_eq!((names, behind.as_str()), (vec!["env.txt".to_owned()], "old\n"), "{script}");
        assert!(mounted.contains("@EXPLICIT"), "{script}: {mounted}");
    }
}

#[test]
fn a_file_in_a_directory_that_may_not_be_changed_is_written_where_it_is() {
    let world = with_file();
    let Some(outcome) = write_after(&world, &format!("{WITHOUT_RIGHTS}\nchmod 555 out")) else { return };
    outcome.success();
    let (names, written, _) = left(&world);
    assert_eq!(names, ["env.txt"]);
    assert!(written.contains("@EXPLICIT"), "{written}");
}

#[test]
fn a_file_that_may_not_be_written_keeps_its_content() {
    for script in [READ_ONLY.to_owned(), format!("{WITHOUT_RIGHTS}\nchmod 444 out/env.txt")] {
        let world = with_file();
        let Some(outcome) = write_after(&world, &script) else { return };
        let outcome = outcome.failure(1);
        assert!(outcome.stderr.contains("cannot write `out/env.txt`"), "{outcome}");
        assert_eq!(left(&world), (vec!["env.txt".to_owned()], "old\n".to_owned(), "old\n".to_owned()), "{script}");
    }
}

/// A limit of the file size simulates a full disk.
#[test]
fn a_mounted_file_that_is_not_written_whole_gets_its_old_content_back() {
    for script in [MOUNT_FILE.to_owned(), format!("{READ_ONLY}\n{MOUNT_FILE}")] {
        let world = with_file();
        let Some(outcome) = write_after(&world, &format!("{script}\nulimit -f 1")) else { return };
        outcome.failure(1);
        assert_eq!(left(&world), (vec!["env.txt".to_owned()], "old\n".to_owned(), "old\n".to_owned()), "{script}");
    }
}
