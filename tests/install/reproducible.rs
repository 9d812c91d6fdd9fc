//! The same lock gives the same prefix, including the times and modes of files and directories.

use super::*;

#[test]
fn the_same_lock_gives_the_same_prefix() {
    let world = world();
    let listed = world.write_lock("listed.lock", None, &EVERY_KIND);
    let script = Part::File("#!/old/prefix/bin/sh\n");
    let twice = archive(&world, "twice", Info::First, "", &[("bin/one", script), ("bin/two", Part::Hard("bin/one"))]);
    let text = fs_err::read_to_string(listed).unwrap();
    let lock = world.write("env.lock", &format!("{text}{twice}\n"));
    let (prefix, cache) = (world.path().join("envs/deep/prefix"), world.path().join("cache"));
    let install = |umask: &str, threads: &str, variables: &[(&str, &str)]| {
        let mut command = world.command("/bin/sh");
        let program = crate::program();
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh", program, "install", "--threads", threads]);
        command.arg(&lock).arg("-p").arg(&prefix).envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = tree::archived(&world.path().join("envs")).unwrap();
        fs_err::remove_dir_all(world.path().join("envs")).unwrap();
        tree
    };
    let tree = install("022", "1", &[]);
    let again = |what: &str, umask: &str, threads: &str, variables: &[(&str, &str)]| {
        assert_eq!(tree::difference(&tree, &install(umask, threads, variables)), "", "{what}");
    };
    again("eight threads", "022", "8", &[]);
    again("nobody else may look", "077", "2", &[]);
    again("the group may write", "002", "2", &[]);
    again("everybody may write", "000", "2", &[]);
    let elsewhere = [
        ("TZ", "Asia/Tokyo"),
        ("LC_ALL", "C"),
        ("PYTHONHASHSEED", "7"),
        ("PYTHONOPTIMIZE", "2"),
        ("HOME", argument(&prefix)),
        ("TMPDIR", "/nonexistent"),
    ];
    again("another user", "022", "2", &elsewhere);
    fs_err::create_dir(&cache).unwrap();
    let with_cache = [("MLCONDA_CACHE_DIR", argument(&cache))];
    again("a cache that is filled", "022", "4", &with_cache);
    again("a full cache", "022", "1", &with_cache);
}

#[test]
fn a_prefix_that_is_there_and_empty_becomes_the_same() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &EVERY_KIND);
    let prefix = world.path().join("prefix");
    let install = || {
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        let tree = tree::archived(&prefix).unwrap();
        fs_err::remove_dir_all(prefix.canonicalize().unwrap()).unwrap();
        tree
    };
    let tree = install();
    fs_err::create_dir(&prefix).unwrap();
    assert_eq!(tree::difference(&tree, &install()), "");
    fs_err::create_dir(prefix.with_file_name("real")).unwrap();
    std::os::unix::fs::symlink("real", &prefix).unwrap();
    assert_eq!(tree::difference(&tree, &install()), "", "a prefix that is a link");
}

#[test]
fn directories_above_do_not_tell_when() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata"]);
    let time = |path: &std::path::Path| fs_err::metadata(path).unwrap().modified().unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
    let mine = world.path().join("mine");
    fs_err::create_dir(&mine).unwrap();
    fs_err::File::open(&mine).unwrap().file().set_modified(long_ago).unwrap();
    // The second installation makes a new prefix and swaps it in.
    for lock in [lock, world.write_lock("other.lock", None, &["hollow"])] {
        world.mlconda(["install", argument(&lock), "-p", "../mine/envs/prefix"]).success();
        assert_eq!(time(&mine), long_ago, "what was there");
        assert_eq!(time(&mine.join("envs")), time(&mine.join("envs/prefix")), "what was made");
    }
}

#[test]
fn what_has_no_time_of_its_own_has_that_of_the_epoch() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["after-link-1.0", "scripts"]);
    let arguments = ["install", argument(&lock), "-p", "prefix"];
    world.mlconda_with(arguments, &[("SOURCE_DATE_EPOCH", "1000000000")]).success();
    let seconds = |path: &str| {
        let time = fs_err::symlink_metadata(world.work().join("prefix").join(path)).unwrap().modified().unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    // A script writes the first of these files.
    for path in ["share/after-link/linked.txt", "share/after-link", "bin", "", "conda-meta", "conda-meta/history"] {
        assert_eq!(seconds(path), 1_000_000_000, "`{path}`");
    }
    assert_ne!(seconds("share/after-link/README.txt"), 1_000_000_000);
}
