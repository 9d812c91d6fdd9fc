//! The package cache, and files that several environments of one command share.

use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    package::PackageBuilder,
    server::Server,
    tree,
};

use crate::{install::identities, packages::line, serve, world};

/// A context with a cache, a server, and a lock of packages from it.
pub(crate) fn cached(packages: &[&str]) -> (TestContext, Server, PathBuf) {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    let cache = world.home().join(".cache/mlconda");
    fs_err::create_dir_all(&cache).unwrap();
    world.write_lock("env.lock", Some(&server.url("main")), packages);
    (world, server, cache.join("packages-3"))
}

pub(crate) fn install(world: &TestContext, prefix: &str, options: &[&str]) -> Outcome {
    let _ = fs_err::remove_dir_all(world.work().join(prefix));
    world.mlconda([&["install", "env.lock", "-p", prefix], options].concat())
}

/// The directory of the package in the cache that contains a path.
pub(crate) fn entry(packages: &Path, path: &str) -> PathBuf {
    let entries = fs_err::read_dir(packages).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|entry| entry.join(path).symlink_metadata().is_ok()).unwrap()
}

/// Appends to a file in place, as an editor or a script may do.
fn append(file: &Path) {
    fs_err::OpenOptions::new().append(true).open(file).unwrap().write_all(b"edited\n").unwrap();
}

#[test]
fn whoever_edits_a_shared_file_is_found_out() {
    let (world, server, _) = cached(&["tzdata", "where-2.0"]);
    install(&world, "one", &[]).success();
    let message = |prefix: &str| world.read(&format!("{prefix}/share/where/message.txt"));
    append(&world.work().join("one/share/where/message.txt"));
    install(&world, "two", &[]).success();
    assert_eq!(message("two"), "where 2.0\nedited\n", "without the option, that a package is there is enough");
    assert_snapshot!(install(&world, "two", &["--verify-cache"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/two`
    warning: `where-2.0-h4bc722e_0.conda` was damaged in the cache and is downloaded again: `share/where/message.txt` has another size
    + tzdata 2024a
    + where 2.0
    Linked 2 packages in `[TEMP]/work/two`: 5 files, [SIZE] ([SIZE] of it shared by hard link, 1 package from the cache), in [TIME].
    ");
    assert_eq!([message("two"), message("one")], ["where 2.0\n", "where 2.0\nedited\n"]);
    assert_eq!([server.count("where-2.0"), server.count("tzdata")], [2, 1]);
    assert_snapshot!(install(&world, "two", &["--verify-cache"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/work/two`
    + tzdata 2024a
    + where 2.0
    Linked 2 packages in `[TEMP]/work/two`: 5 files, [SIZE] ([SIZE] of it shared by hard link, 2 packages from the cache), in [TIME].
    ");
}

#[test]
fn every_kind_of_damage_is_found() {
    let (world, server, packages) = cached(&["tzdata", "links", "greet-2.0", "python-3.11.9"]);
    install(&world, "prefix", &[]).success();
    let fresh = tree::tree(&world.work().join("prefix")).unwrap();
    let proven = install(&world, "prefix", &["--verify-cache"]).success();
    assert!(!proven.stderr.contains("warning"), "{proven}");
    let rewrite = |file: &Path, text: &str| fs_err::write(file, text).unwrap();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 9] = [
        ("share/zoneinfo/Etc/UTC", &|file| rewrite(file, "TZif2\0\0\0X")),
        ("share/zoneinfo/Europe/Paris", &append),
        ("lib/links/libone.so.1.2.3", &|file| fs_err::remove_file(file).unwrap()),
        ("lib/links/libone.so.1", &|file| {
            fs_err::remove_file(file).unwrap();
            fs_err::os::unix::fs::symlink("libone.so.9", file).unwrap();
        }),
        ("lib/links/libone.so.1.2.3", &|file| {
            fs_err::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("site-packages/greet/cli.py", &|file| {
            rewrite(&file.ancestors().nth(3).unwrap().join("info/paths.json"), "{}")
        }),
        ("site-packages/greet/cli.py", &|file| rewrite(&file.ancestors().nth(3).unwrap().join("info/link.json"), "{}")),
        ("site-packages/greet/cli.py", &|file| {
            fs_err::remove_file(file.ancestors().nth(3).unwrap().join("info/mlconda.json")).unwrap();
        }),
        ("bin/python3.11", &|file| {
            fs_err::remove_file(file).unwrap();
            fs_err::create_dir(file).unwrap();
        }),
    ];
    let mut found = String::new();
    for (path, damage) in damages {
        let place = entry(&packages, path);
        damage(&place.join(path));
        server.forget();
        let outcome = install(&world, "prefix", &["--verify-cache"]).success();
        let warnings = outcome.stderr.lines().filter(|line| line.starts_with("warning"));
        found.extend(warnings.map(|line| format!("{line}\n")));
        assert_eq!(server.count(".conda"), 1, "{path}: it alone is downloaded again");
        assert_eq!(tree::difference(&fresh, &tree::tree(&world.work().join("prefix")).unwrap()), "", "{path}");
    }
    assert_snapshot!(world.normal(&found), @"
    warning: `tzdata-2024a-hd8ed1ab_0.conda` was damaged in the cache and is downloaded again: `share/zoneinfo/Etc/UTC` has another content
    warning: `tzdata-2024a-hd8ed1ab_0.conda` was damaged in the cache and is downloaded again: `share/zoneinfo/Europe/Paris` has another size
    warning: `links-1.0-h4bc722e_0.conda` was damaged in the cache and is downloaded again: `lib/links/libone.so.1.2.3` is missing
    warning: `links-1.0-h4bc722e_0.conda` was damaged in the cache and is downloaded again: `lib/links/libone.so.1` is not the link that it was
    warning: `links-1.0-h4bc722e_0.conda` was damaged in the cache and is downloaded again: `lib/links/libone.so.1.2.3` has the permissions 600
    warning: `greet-2.0-pyhd8ed1ab_0.conda` was damaged in the cache and is downloaded again: `info/paths.json` has another content
    warning: `greet-2.0-pyhd8ed1ab_0.conda` was damaged in the cache and is downloaded again: `info/link.json` has another content
    warning: `greet-2.0-pyhd8ed1ab_0.conda` was damaged in the cache and is downloaded again: failed to open file `[TEMP]/home/.cache/mlconda/packages-3/[SHA256]/info/mlconda.json`: No such file or directory (os error [NUMBER])
    warning: `python-3.11.9-h4bc722e_0_cpython.conda` was damaged in the cache and is downloaded again: `bin/python3.11` is not a file
    ");
    assert!(!install(&world, "prefix", &["--verify-cache"]).success().stderr.contains("warning"));
}

#[test]
fn a_damaged_package_that_cannot_be_fetched_again() {
    let (world, _server, packages) = cached(&["tzdata"]);
    install(&world, "one", &[]).success();
    append(&entry(&packages, "share/zoneinfo/Zulu").join("share/zoneinfo/Etc/UTC"));
    let before = world.tree();
    assert_snapshot!(install(&world, "two", &["--verify-cache", "--offline"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/work/two`
    error: `tzdata-2024a-hd8ed1ab_0.conda` is damaged in the cache, and network access is disabled
      because: `share/zoneinfo/Etc/UTC` has another size
    hint: run the command once without `--offline`: the package is then downloaded again
    ");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn what_is_missing_in_the_cache_is_fetched_again_without_being_asked() {
    let (world, server, packages) = cached(&["tzdata", "links"]);
    install(&world, "one", &[]).success();
    fs_err::remove_file(entry(&packages, "lib/links").join("lib/links/libone.so.1.2.3")).unwrap();
    fs_err::remove_dir_all(entry(&packages, "share/zoneinfo").join("info")).unwrap();
    let outcome = install(&world, "two", &[]).success();
    assert_eq!(outcome.stderr.matches("was damaged in the cache and is downloaded again").count(), 2, "{outcome}");
    assert_eq!(server.count(".conda"), 4);
    assert_eq!(world.read("two/lib/links/libone.so"), "one\n");
}

#[test]
fn what_killed_processes_left_in_the_cache_is_swept() {
    let (world, _server, packages) = cached(&["tzdata"]);
    for name in [".new-abandoned/lib", ".new-held/lib"] {
        fs_err::create_dir_all(packages.join(name)).unwrap();
    }
    let held = fs_err::File::open(packages.join(".new-held")).unwrap();
    held.file().lock().unwrap();
    install(&world, "prefix", &[]).success();
    assert!(!packages.join(".new-abandoned").exists(), "nobody is at it");
    assert!(packages.join(".new-held/lib").is_dir(), "another process is at it");
    drop(held);
    install(&world, "prefix", &[]).success();
    assert_eq!(fs_err::read_dir(&packages).unwrap().count(), 1, "the package alone");
}

#[test]
fn several_processes_fill_a_cache_at_once() {
    let (world, _server, packages) = cached(&["tzdata", "many", "large", "links"]);
    let start = |number: usize| {
        world.mlconda_command(["install", "env.lock", "-p", &format!("prefix-{number}")]).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs_err::read_dir(&packages).unwrap().count(), 4, "the packages, and nothing besides");
    install(&world, "prefix", &["--verify-cache", "--offline"]).success();
}

#[test]
fn a_cache_that_cannot_be_written_to_is_done_without() {
    let (world, _server, packages) = cached(&["tzdata"]);
    // File modes would not stop root.
    fs_err::write(&packages, "no directory").unwrap();
    let outcome = install(&world, "prefix", &[]).success();
    assert!(outcome.stderr.contains("warning: packages could not be put into the cache: "), "{outcome}");
    assert!(world.work().join("prefix/share/zoneinfo/Zulu").is_file());
}

#[test]
fn info_tells_how_large_the_cache_is() {
    let (world, _server, packages) = cached(&["tzdata", "links"]);
    install(&world, "prefix", &[]).success();
    fs_err::create_dir(packages.join(".new-abandoned")).unwrap();
    let info = world.mlconda(["info"]).success();
    let line = info.stdout.lines().find(|line| line.contains("cache directory")).unwrap();
    assert_eq!(
        line.trim(),
        format!("cache directory: {} (2 packages, 21 bytes)", argument(packages.parent().unwrap()))
    );
}

/// Locks of two environments, `a` and `b`, from a server.
fn two_locks(world: &TestContext, server: &Server, a: &[&str], b: &[&str]) {
    for (name, packages) in [("a", a), ("b", b)] {
        let file = format!("{name}.lock");
        world.write_lock(&file, Some(&server.url("main")), packages);
        let text = world.read(&file);
        world.write(&file, &format!("# mlconda lock: 1\n# name: {name}\n{text}"));
    }
}

/// The inodes of the regular files below a directory.
fn inodes(prefix: &Path) -> BTreeMap<String, u64> {
    let files =
        identities(prefix).into_iter().filter(|(path, _)| prefix.join(path).symlink_metadata().unwrap().is_file());
    files.map(|(path, (inode, _))| (path, inode)).collect()
}

const A: [&str; 6] = ["tzdata", "python-3.11.9", "greet-2.0", "scripts", "where-1.0", "links"];
const B: [&str; 6] = ["tzdata", "python-3.11.9", "greet-2.0", "where-1.0", "large", "unicode"];

#[test]
fn environments_of_one_call_share_files() {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    two_locks(&world, &server, &A, &B);
    let [a, b] = ["a", "b"].map(|name| world.named_prefix(name));
    let alone = ["a.lock", "b.lock"].map(|lock| world.mlconda(["install", lock]).success());
    assert!(alone.iter().all(|outcome| !outcome.stderr.contains("hard link")));
    let envs = world.root_prefix().join("envs");
    let above =
        || [&world.root_prefix(), &envs].map(|directory| fs_err::metadata(directory).unwrap().modified().unwrap());
    let trees = || ([&a, &b].map(|prefix| (tree::tree(prefix).unwrap(), times(prefix))), above());
    let (apart, size_apart) = (trees(), tree::bytes(&world.root_prefix()).unwrap());
    fs_err::remove_dir_all(world.root_prefix()).unwrap();
    server.forget();

    let before = world.tree();
    let outcome = world.mlconda(["install", "a.lock", "b.lock"]).success();
    let said: String = outcome.stderr.lines().map(|line| world.normal(&format!("{line}\n"))).collect();
    assert_snapshot!(said, @"
    Installing 6 packages into `[TEMP]/root/envs/a`
    + greet 2.0
    + links 1.0
    + python 3.11.9
    + scripts 1.0
    + tzdata 2024a
    + where 1.0
    Linked 6 packages in `[TEMP]/root/envs/a`: 30 files, [SIZE], in [TIME].
    Installing 6 packages into `[TEMP]/root/envs/b`
    + greet 2.0
    + large 1.0
    + python 3.11.9
    + tzdata 2024a
    + unicode 1.0
    + where 1.0
    Linked 6 packages in `[TEMP]/root/envs/b`: 26 files, [SIZE] ([SIZE] of it shared by hard link), in [TIME].
    2 environments share files by hard link, which saves [SIZE].
    ");
    assert_eq!(server.count(".conda"), 8, "what both have is downloaded once");
    let new = tree::difference(&before, &world.tree());
    let stray = |line: &&str| {
        !["root", "root/envs"].contains(&&line[2..])
            && !line.starts_with("+ root/envs/a")
            && !line.starts_with("+ root/envs/b")
    };
    assert_eq!(new.lines().filter(stray).collect::<Vec<_>>(), [""; 0], "nothing is left but the environments");
    assert_eq!(apart, trees(), "they are what they are alone");
    assert!(tree::bytes(&world.root_prefix()).unwrap() < size_apart);
    let (inodes_a, inodes_b) = (inodes(&a), inodes(&b));
    let shared: String = inodes_a
        .iter()
        .filter(|(path, inode)| inodes_b.get(*path) == Some(inode))
        .map(|(path, _)| format!("{path}\n"))
        .collect();
    assert_snapshot!(shared, @"
    lib/python3.11/os.py
    lib/python3.11/site-packages/README.txt
    lib/python3.11/site-packages/greet-2.0.dist-info/INSTALLER
    lib/python3.11/site-packages/greet-2.0.dist-info/METADATA
    lib/python3.11/site-packages/greet/__init__.py
    lib/python3.11/site-packages/greet/cli.py
    lib/python3.11/site-packages/greet/data/greeting.txt
    share/where/message.txt
    share/zoneinfo/Etc/UTC
    share/zoneinfo/Europe/Paris
    ");
    let where_it_is = fs_err::read_to_string(b.join("share/greet/where.txt")).unwrap();
    assert_eq!(where_it_is, format!("{}/share/greet\n", b.display()), "what names the prefix names its own");
}

fn times(prefix: &Path) -> Vec<(String, i64)> {
    identities(prefix).into_iter().map(|(path, (_, time))| (path, time)).collect()
}

#[test]
fn with_a_cache_on_another_file_system_too() {
    let (world, server) = (world(), serve());
    let device = |path: &Path| fs_err::metadata(path).map(|metadata| metadata.dev()).ok();
    let memory = Path::new("/dev/shm");
    let (Some(here), Some(there)) = (device(&world.path()), device(memory)) else { return };
    if here == there {
        return;
    }
    let cache = tempfile::tempdir_in(memory).unwrap();
    let cache = [("MLCONDA_CACHE_DIR", argument(cache.path()))];
    two_locks(&world, &server, &A, &B);
    let [a, b] = ["a", "b"].map(|name| world.named_prefix(name));
    let prefixes = || [&a, &b].map(|prefix| (tree::tree(prefix).unwrap(), times(prefix)));
    world.mlconda(["install", "a.lock"]).success();
    world.mlconda(["install", "b.lock"]).success();
    let apart = prefixes();
    for fill in ["cold", "warm"] {
        fs_err::remove_dir_all(world.root_prefix()).unwrap();
        world.mlconda_with(["install", "a.lock", "b.lock"], &cache).success();
        assert_eq!(apart, prefixes(), "{fill}");
        let (inodes_a, inodes_b) = (inodes(&a), inodes(&b));
        let shared = inodes_a.iter().filter(|(path, inode)| inodes_b.get(*path) == Some(inode)).count();
        assert_eq!(shared, 10, "{fill}");
    }
}

#[test]
fn an_update_of_one_environment_leaves_its_sibling_alone() {
    let (world, server) = (world(), serve());
    two_locks(&world, &server, &["tzdata", "where-1.0", "links"], &["tzdata", "where-1.0"]);
    world.mlconda(["install", "a.lock", "b.lock"]).success();
    let [a, b] = ["a", "b"].map(|name| world.named_prefix(name));
    let message = "share/where/message.txt";
    assert_eq!(inodes(&a)[message], inodes(&b)[message]);
    let (before, times_before) = (tree::tree(&a).unwrap(), identities(&a));
    two_locks(&world, &server, &["tzdata", "where-1.0", "links"], &["tzdata", "where-2.0"]);
    world.mlconda(["install", "b.lock"]).success();
    assert_eq!(fs_err::read_to_string(b.join(message)).unwrap(), "where 2.0\n");
    assert_eq!(tree::difference(&before, &tree::tree(&a).unwrap()), "");
    assert_eq!(times_before, identities(&a));
    // The same for a change in place, if a prefix cannot be swapped.
    two_locks(&world, &server, &["tzdata", "where-2.0"], &["tzdata", "where-2.0"]);
    let elsewhere = world.path().join("elsewhere");
    fs_err::rename(&a, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &a).unwrap();
    let before = (tree::tree(&b).unwrap(), identities(&b));
    world.mlconda(["install", "a.lock"]).success();
    assert_eq!(fs_err::read_to_string(elsewhere.join(message)).unwrap(), "where 2.0\n");
    assert_eq!(before, (tree::tree(&b).unwrap(), identities(&b)));
}

#[test]
fn what_a_killed_process_left_beside_its_environments_is_swept() {
    let (world, server) = (world(), serve());
    two_locks(&world, &server, &["tzdata"], &["tzdata"]);
    let envs = world.root_prefix().join("envs");
    let left = envs.join(".a.mlconda-shared");
    fs_err::create_dir_all(left.join("packages-3/.new-half")).unwrap();
    let held = fs_err::File::open(&left).unwrap();
    held.file().lock().unwrap();
    world.mlconda(["install", "a.lock", "b.lock"]).success();
    assert!(left.join("packages-3/.new-half").is_dir(), "another process is at it");
    assert_ne!(inode(&envs, "a"), inode(&envs, "b"), "each on its own, then");
    drop(held);
    world.mlconda(["install", "a.lock"]).success();
    assert!(!left.exists(), "nobody is at it, and nothing else was to be done");
    fs_err::create_dir_all(left.join("packages-3/.new-half")).unwrap();
    for name in ["a", "b"] {
        fs_err::remove_dir_all(envs.join(name)).unwrap();
    }
    world.mlconda(["install", "a.lock", "b.lock"]).success();
    assert!(!left.exists());
    assert_eq!(inode(&envs, "a"), inode(&envs, "b"));
}

fn inode(envs: &Path, name: &str) -> u64 {
    fs_err::metadata(envs.join(name).join("share/zoneinfo/Etc/UTC")).unwrap().ino()
}

#[test]
fn a_failure_leaves_nothing_of_what_was_to_be_shared() {
    let (world, server) = (world(), serve());
    two_locks(&world, &server, &["tzdata", "where-1.0"], &["tzdata", "links"]);
    server.fail("links", mlconda_test::server::Fault::Status(404));
    world.mlconda(["install", "a.lock", "b.lock"]).failure(1);
    let envs: Vec<_> =
        fs_err::read_dir(world.root_prefix().join("envs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(envs, ["a"], "the first stands, the second is not there");
    fs_err::remove_dir_all(world.root_prefix()).unwrap();
    server.fail("tzdata", mlconda_test::server::Fault::Status(404));
    world.mlconda(["install", "a.lock", "b.lock"]).failure(1);
    assert!(!world.root_prefix().exists(), "not even the directory above");
}

#[test]
fn two_locks_for_one_prefix_are_refused() {
    let (world, server) = (world(), serve());
    two_locks(&world, &server, &["tzdata"], &["links"]);
    world.write("b.lock", &world.read("b.lock").replace("# name: b", "# name: a"));
    assert_snapshot!(world.mlconda(["install", "a.lock", "b.lock"]).failure(2), @"
    exit code 2
    --- stdout
    --- stderr
    error: several locks have the prefix `[TEMP]/root/envs/a`: give one of them
    ");
}

#[test]
fn a_cache_is_for_others_too() {
    let (world, _server, packages) = cached(&["tzdata", "links", "hollow"]);
    let install = world.mlconda_command(["install"]);
    let program = argument(Path::new(install.get_program())).to_owned();
    world.run("/bin/sh", &["-c", "umask 077; exec \"$0\" install env.lock -p prefix", &program]).success();
    let mut closed = Vec::new();
    for path in tree::tree(&packages).unwrap().into_keys().chain([String::new()]) {
        let metadata = fs_err::symlink_metadata(packages.join(&path)).unwrap();
        let wanted = if metadata.is_dir() { 0o755 } else { 0o644 };
        if !metadata.is_symlink() && metadata.permissions().mode() & 0o7777 != wanted {
            closed.push(path);
        }
    }
    assert_eq!(closed, [""; 0]);
}

#[test]
fn commands_do_not_go_missing_with_a_file_of_the_cache() {
    let (world, server, packages) = cached(&["tzdata", "python-3.11.9", "greet-2.0"]);
    install(&world, "one", &[]).success();
    fs_err::remove_file(entry(&packages, "site-packages/greet").join("info/link.json")).unwrap();
    let outcome = install(&world, "two", &[]).success();
    assert_eq!(outcome.stderr.matches("was damaged in the cache and is downloaded again").count(), 1, "{outcome}");
    assert!(world.work().join("two/bin/greet").is_file());
    assert_eq!(server.count("greet-2.0"), 2);
}

#[test]
fn what_a_script_did_to_one_environment_does_not_get_into_the_next() {
    let (world, server) = (world(), serve());
    two_locks(&world, &server, &["tzdata", "where-1.0"], &["tzdata", "where-1.0"]);
    let script = "#!/bin/sh\necho edited >> \"$PREFIX/share/where/message.txt\"\n";
    let edits = PackageBuilder::new("edits", "1.0").executable("bin/.edits-post-link.sh", script);
    world.write("a.lock", &(world.read("a.lock") + &line(&world, &edits)));
    let outcome = world.mlconda(["install", "a.lock", "b.lock"]).success();
    assert_eq!(outcome.stderr.matches("is downloaded again: `share/where/message.txt` has another size").count(), 1);
    let messages = ["a", "b"]
        .map(|name| fs_err::read_to_string(world.named_prefix(name).join("share/where/message.txt")).unwrap());
    assert_eq!(messages, ["where 1.0\nedited\n", "where 1.0\n"]);
    let envs = world.root_prefix().join("envs");
    assert_eq!(inode(&envs, "a"), inode(&envs, "b"), "what is as it was is shared still");
}

#[test]
fn a_cache_that_cannot_be_mended_or_read_is_done_without() {
    // Root may read and write everything.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let (world, server, packages) = cached(&["tzdata"]);
    install(&world, "one", &[]).success();
    let place = entry(&packages, "share/zoneinfo");
    let close = |directory: &Path, mode: u32| {
        fs_err::set_permissions(directory, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let is_downloaded = |told: &str| {
        server.forget();
        let outcome = install(&world, "two", &[]).success();
        assert!(outcome.stderr.contains(told), "{outcome}");
        assert_eq!(server.count("tzdata"), 1);
    };
    close(&place.join("share/zoneinfo"), 0o000);
    is_downloaded("warning: packages could not be put into the cache: ");
    close(&place.join("share/zoneinfo"), 0o755);
    fs_err::remove_file(place.join("share/zoneinfo/Etc/UTC")).unwrap();
    close(&packages, 0o555);
    is_downloaded("warning: packages could not be put into the cache: ");
    close(&packages, 0o755);
    is_downloaded("was damaged in the cache and is downloaded again");
}
