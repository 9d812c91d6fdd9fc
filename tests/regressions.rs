//! What once went wrong: each test fails if the mistake that it is about comes back.
//!
//! Packages are made for the one test that needs them; archives that no builder would write are written entry by
//! entry. What a script is to wait for is a FIFO: opening it for writing waits until the script has opened it, so
//! nothing here depends on how long anything takes.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use mlconda_test::{
    context::{Outcome, TestContext, argument},
    host_subdir,
    package::{Noarch, PackageBuilder},
    sha256_hex, tree,
};

use crate::world;

/// Writes a package into the world's own channel, and gives its line in a lock.
pub(crate) fn line(world: &TestContext, package: &PackageBuilder) -> String {
    locked(&package.write(&world.path().join("channel")).unwrap())
}

/// An archive's line in a lock.
fn locked(archive: &Path) -> String {
    format!("file://{}#sha256:{}\n", archive.display(), sha256_hex(fs_err::read(archive).unwrap()))
}

/// Writes a lock as another tool would.
pub(crate) fn lock(world: &TestContext, lines: &[&str]) -> PathBuf {
    world.write("env.lock", &format!("# platform: {}\n@EXPLICIT\n{}", host_subdir(), lines.concat()))
}

/// Installs packages by their lines.
pub(crate) fn install(world: &TestContext, prefix: &Path, lines: &[&str]) -> Outcome {
    let lock = lock(world, lines);
    world.mlconda(["install", argument(&lock), "-p", argument(prefix)])
}

/// What a prefix holds; the history apart, which tells how it came about.
pub(crate) fn contents(prefix: &Path) -> BTreeMap<String, String> {
    let mut contents = tree::tree(prefix).unwrap();
    assert!(contents.remove("conda-meta/history").is_some(), "a prefix without history is none");
    contents
}

/// Two prefixes that do not exist yet: one that can change places with another, and one behind a link, which is changed
/// where it is. With each, where it really is.
pub(crate) fn both_kinds(world: &TestContext) -> [(PathBuf, PathBuf); 2] {
    let (plain, link, real) = (world.path().join("plain"), world.path().join("link"), world.path().join("real"));
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, &link).unwrap();
    [(plain.clone(), plain), (link, real)]
}

/// An entry of an archive that is written by hand.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    File(&'static str),
    Soft(&'static str),
    Hard(&'static str),
}
use Part::{Hard, Soft};

/// Where an archive has its `info/`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Info {
    First,
    Last,
    /// Most of it comes first, and a part last.
    Divided,
}

/// Writes the `.tar.bz2` of a package `name` 1.0 with these entries and nothing changed in their names, all of which are
/// listed in `info/paths.json`, with the placeholder `/old/prefix` where that is in the content; gives its line in a
/// lock. `before` stands before each name in the archive.
pub(crate) fn archive(world: &TestContext, name: &str, info: Info, before: &str, parts: &[(&str, Part)]) -> String {
    let directory = world.path().join("channel").join(host_subdir());
    fs_err::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{name}-1.0-0.tar.bz2"));
    let index = serde_json::json!({
        "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir(),
    });
    let has_prefix = |part: &Part| matches!(part, Part::File(content) if content.contains("/old/prefix"));
    let listed = parts.iter().map(|(path, part)| {
        let kind = if matches!(part, Soft(_)) { "softlink" } else { "hardlink" };
        let mut entry = serde_json::json!({"_path": path, "path_type": kind});
        let is_same = |(other, _): &&(&str, Part)| matches!(part, Hard(to) if to == other);
        if has_prefix(part) || parts.iter().find(is_same).is_some_and(|(_, part)| has_prefix(part)) {
            entry["prefix_placeholder"] = "/old/prefix".into();
            entry["file_mode"] = "text".into();
        }
        entry
    });
    let paths = serde_json::json!({"paths": listed.collect::<Vec<_>>(), "paths_version": 1});
    let of_info = [("info/index.json", index.to_string()), ("info/paths.json", paths.to_string())];
    let of_info = of_info.iter().map(|(name, text)| (*name, tar::EntryType::Regular, text.as_str(), ""));
    let mut entries: Vec<_> = parts
        .iter()
        .map(|(name, part)| match part {
            Part::File(content) => (*name, tar::EntryType::Regular, *content, ""),
            Soft(to) => (*name, tar::EntryType::Symlink, "", *to),
            Hard(to) => (*name, tar::EntryType::Link, "", *to),
        })
        .collect();
    let place = if info == Info::Last { entries.len() } else { 0 };
    entries.splice(place..place, of_info);
    if info == Info::Divided {
        let link = r#"{"noarch": {"type": "generic"}, "package_metadata_version": 1}"#;
        entries.push(("info/link.json", tar::EntryType::Regular, link, ""));
    }
    let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    for (name, kind, content, target) in entries {
        let mut header = tar::Header::new_gnu();
        // Through the front door, the names that matter here do not get in.
        let name = format!("{before}{name}");
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    fs_err::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    locked(&path)
}

/// Makes the package cache, and gives the variable that names it.
fn cache(world: &TestContext) -> (&'static str, String) {
    let cache = world.path().join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    ("MLCONDA_CACHE_DIR", argument(&cache).to_owned())
}

/// Installs one package, without the package cache and with it; in both cases that is to fail with this message.
fn refused(world: &TestContext, package: &str, message: &str) {
    let lock = lock(world, &[package]);
    let cache = cache(world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).failure(1);
        assert!(outcome.stderr.contains(message), "{variables:?}: {outcome}");
        assert!(!world.work().join("prefix").exists(), "{variables:?}: there is a prefix");
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

#[test]
fn a_new_file_in_place_of_a_directory_that_stays() {
    let world = world();
    let stays = line(&world, &PackageBuilder::new("stays", "1.0").file("data/x", "x"));
    let new = line(&world, &PackageBuilder::new("new", "1.0").file("data", "data"));
    for (prefix, real) in both_kinds(&world) {
        install(&world, &prefix, &[&stays]).success();
        let before = tree::tree(&real).unwrap();
        let outcome = install(&world, &prefix, &[&stays, &new]).failure(1);
        let message = "`data` is a directory for `stays-1.0-h4bc722e_0` and a file for `new-1.0-h4bc722e_0`";
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "");
    }
}

/// A directory becomes a file, and a link a directory, where what was there goes.
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

/// Python takes byte code for a module's if size and time of the module are those in it, and packages of one recipe
/// have the same times.
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

#[test]
fn a_hard_link_through_a_soft_link_gets_nothing() {
    let world = world();
    let outside = world.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("secret"), "secret").unwrap();
    let to: &'static str = argument(&outside).to_owned().leak();
    let file: &'static str = format!("{to}/secret").leak();
    let archives = [
        ("direct", vec![("M", Soft(to)), ("stolen", Hard("M/secret"))]),
        ("chained", vec![("L", Soft(to)), ("M", Soft("L")), ("stolen", Hard("M/secret"))]),
        ("absolute", vec![("stolen", Hard(file))]),
        ("relative", vec![("stolen", Hard("../../../outside/secret"))]),
    ];
    for (name, parts) in archives {
        let lock = lock(&world, &[&archive(&world, name, Info::First, "", &parts)]);
        let cache = cache(&world);
        for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
            // Allowed links are no way in, either.
            let arguments = ["install", argument(&lock), "-p", "prefix", "--allow-outward-links"];
            let outcome = world.mlconda_with(arguments, variables).failure(1);
            assert!(outcome.stderr.contains(&format!("`{name}-1.0-0.tar.bz2` is invalid")), "{outcome}");
        }
    }
    assert_eq!(fs_err::metadata(outside.join("secret")).unwrap().nlink(), 1);
    assert_eq!(tree::paths(&outside).unwrap(), "secret\n");
}

#[test]
fn a_package_writes_where_it_may_only() {
    let world = world();
    let absolute = world.path().join("evil-absolute");
    let paths = ["../evil", "share/../../evil", argument(&absolute), "conda-meta/evil.json", ".mlconda-clash/0/evil"];
    for (number, path) in paths.into_iter().enumerate() {
        let parts = [("share/good", Part::File("good")), (path, Part::File("evil"))];
        let package = archive(&world, &format!("evil-{number}"), Info::First, "", &parts);
        refused(&world, &package, "is not a path that a package may write");
    }
    let evil = world.tree().into_keys().filter(|path| path.ends_with("evil"));
    // The cache has a directory for each package, to put in whatever is in it.
    let evil: Vec<String> = evil.filter(|path| !path.starts_with("cache/packages-3/")).collect();
    assert!(evil.is_empty() && !absolute.exists(), "{evil:?}");
}

#[test]
fn two_paths_of_a_package_are_not_one_in_the_prefix() {
    let world = world();
    let [site, library] = ["site-packages/x.py", "lib/python3.11/site-packages/x.py"];
    let package = PackageBuilder::new("twice", "1.0").noarch(Noarch::Python).file(site, "1\n").file(library, "2\n");
    let package = line(&world, &package);
    let names = ["tzdata", "python-3.11.9"];
    let lock = world.write_lock("env.lock", None, &names);
    world.write("env.lock", &(world.read("env.lock") + &package));
    let cache = cache(&world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).failure(1);
        assert!(outcome.stderr.contains(&format!("two of its paths are to be `{library}`")), "{outcome}");
    }
}

#[test]
fn an_interrupt_ends_a_python_that_hangs() {
    let world = world();
    let late = world.path().join("late");
    let hangs = format!(
        "#!/bin/sh\necho cpython-311\nread question\nkill -INT $PPID\nsleep 20\necho late > '{}'\n",
        late.display()
    );
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", hangs);
    let module = PackageBuilder::new("module", "1.0").noarch(Noarch::Python).file("site-packages/x.py", "1\n");
    let lines = [python, module].map(|package| line(&world, &package));
    install(&world, &world.path().join("prefix"), &[&lines[0], &lines[1]]).failure(130);
    assert!(!late.exists(), "it was waited for");
}

#[test]
fn nothing_is_written_through_a_link() {
    let world = world();
    let outside = world.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    let to: &'static str = argument(&outside).to_owned().leak();
    let package = archive(&world, "through", Info::First, "", &[("M", Soft(to)), ("M/x", Part::File("x"))]);
    let lock = lock(&world, &[&package]);
    let cache = cache(&world);
    for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
        let arguments = ["install", argument(&lock), "-p", "prefix", "--allow-outward-links"];
        world.mlconda_with(arguments, variables).failure(1);
    }
    assert_eq!(tree::paths(&outside).unwrap(), "");
}

#[test]
fn links_out_of_the_prefix_are_made_only_if_that_is_asked_for() {
    let world = world();
    for (number, to) in ["/etc/hostname", "../../../outside", "down/../../outside"].into_iter().enumerate() {
        let package = PackageBuilder::new(&format!("escape-{number}"), "1.0").link("share/deep/escape", to);
        let package = line(&world, &package);
        refused(&world, &package, &format!("points out of the prefix, to `{to}`"));
        let (lock, prefix) = (lock(&world, &[&package]), format!("prefix-{number}"));
        world.mlconda(["install", argument(&lock), "-p", &prefix, "--allow-outward-links"]).success();
        assert_eq!(fs_err::read_link(world.work().join(prefix).join("share/deep/escape")).unwrap(), Path::new(to));
    }
}

#[test]
fn archives_in_an_unusual_order() {
    let world = world();
    let parts = [("share/one", Part::File("one")), ("share/two", Hard("share/one")), ("share/link", Soft("one"))];
    let dotted = [("share/one", Part::File("one")), ("share/two", Hard("./share/one")), ("share/link", Soft("one"))];
    let packages = [
        archive(&world, "usual", Info::First, "", &parts),
        archive(&world, "dotted", Info::First, "./", &dotted),
        archive(&world, "late", Info::Last, "", &parts),
        archive(&world, "dotted-late", Info::Last, "./", &dotted),
        archive(&world, "divided", Info::Divided, "", &parts),
    ];
    let cache = cache(&world);
    let mut trees = Vec::new();
    for package in packages {
        let lock = lock(&world, &[&package]);
        for variables in [&[][..], &[(cache.0, cache.1.as_str())]] {
            let prefix = world.work().join("prefix");
            let outcome = world.mlconda_with(["install", argument(&lock), "-p", "prefix"], variables).success();
            assert!(!outcome.stderr.contains("warning"), "it gets into the cache, too: {outcome}");
            trees.push(tree::tree(&prefix.join("share")).unwrap());
            fs_err::remove_dir_all(prefix).unwrap();
        }
    }
    assert_eq!(trees[0].keys().collect::<Vec<_>>(), ["link", "one", "two"]);
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:?}");
}

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
    // A lock of ours has the last word.
    let text = format!("# mlconda lock: 1\n# platform: {}\n# variable: A=\"b\"\n@EXPLICIT\n", host_subdir());
    world.write("ours.lock", &format!("{text}{}", package("2.0")));
    world.mlconda(["install", "ours.lock", "-p", argument(&prefix)]).success();
    assert_eq!(variables().into_iter().collect::<Vec<_>>(), [("A".to_owned(), "b".into())]);
}

/// `a` and `b` share a path, `b` and `c` another one. With the old `a`, `b` is linked after `c`, with the new
/// one before it.
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

/// A package whose post-link script waits at a FIFO for a line, and then leaves a mark.
pub(crate) fn waiting(world: &TestContext, version: &str) -> String {
    let script = format!(
        "#!/bin/sh\nread word < '{}' || exit 1\necho \"{version} $word\" >> \"$PREFIX/share/mark\"\n",
        fifo(world).display()
    );
    let package = PackageBuilder::new("waits", version)
        .executable("bin/.waits-post-link.sh", script)
        .file("share/version", version)
        .file(&format!("share/only-{version}"), version);
    line(world, &package)
}

pub(crate) fn fifo(world: &TestContext) -> PathBuf {
    world.path().join("fifo")
}

/// Begins an installation, and comes back when its script waits: as long as the file is open, and nothing is written, it
/// does.
pub(crate) fn begun(world: &TestContext, prefix: &Path, package: &str) -> (Child, File) {
    let lock = lock(world, &[package]);
    let mut install = world.mlconda_command(["install", argument(&lock), "-p", argument(prefix)]);
    begun_by(world, install.stderr(Stdio::null()))
}

/// The same by any command.
pub(crate) fn begun_by(world: &TestContext, install: &mut Command) -> (Child, File) {
    let fifo = fifo(world);
    if fifo.exists() {
        fs_err::remove_file(&fifo).unwrap();
    }
    world.run("mkfifo", &[argument(&fifo)]).success();
    let child = install.stdout(Stdio::null()).spawn().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(fs_err::OpenOptions::new().write(true).open(fifo).unwrap().into_parts().0));
    let end = receiver.recv_timeout(Duration::from_secs(60)).expect("no script has come to wait");
    (child, end)
}

#[test]
fn two_installations_at_once() {
    let world = world();
    let (old, first) = (waiting(&world, "1.0"), waiting(&world, "2.0"));
    let second = line(&world, &PackageBuilder::new("waits", "3.0").file("share/only-3.0", "3.0"));
    for (prefix, real) in both_kinds(&world) {
        let alias = if real == prefix { world.path().join("alias") } else { real.clone() };
        if real == prefix {
            fs_err::os::unix::fs::symlink(&real, &alias).unwrap();
        }
        // Into what is not there yet, and into what is.
        for (package, version) in [(&old, "1.0"), (&first, "2.0")] {
            let (mut child, mut end) = begun(&world, &prefix, package);
            for name in [&prefix, &alias] {
                let outcome = install(&world, name, &[&second]).failure(1);
                assert!(outcome.stderr.contains("another mlconda is installing into"), "{outcome}");
            }
            end.write_all(b"go\n").unwrap();
            assert!(child.wait().unwrap().success());
            assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), version);
            assert!(contents(&real).contains_key(&format!("conda-meta/waits-{version}-h4bc722e_0.json")));
            assert!(!real.join("share/only-3.0").exists());
        }
        assert_eq!(fs_err::read_to_string(real.join("share/mark")).unwrap(), "1.0 go\n2.0 go\n");
    }
    let left: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn killed_while_a_script_runs() {
    let world = world();
    let (old, new) = (waiting(&world, "1.0"), waiting(&world, "2.0"));
    let killed = |prefix: &Path, package: &str| {
        let (mut child, end) = begun(&world, prefix, package);
        child.kill().unwrap();
        child.wait().unwrap();
        // The script is still there, and fails when this end is closed; the next one reads a file.
        fs_err::remove_file(fifo(&world)).unwrap();
        fs_err::write(fifo(&world), "again\n").unwrap();
        drop(end);
    };
    for (prefix, real) in both_kinds(&world) {
        killed(&prefix, &old);
        install(&world, &prefix, &[&old]).success();
        assert_eq!(fs_err::read_to_string(real.join("share/mark")).unwrap(), "1.0 again\n", "the script runs again");
        let first = contents(&real);
        assert!(first.contains_key("share/only-1.0"));

        killed(&prefix, &new);
        install(&world, &prefix, &[&new]).success();
        assert!(fs_err::read_to_string(real.join("share/mark")).unwrap().ends_with("2.0 again\n"));
        let mut updated = contents(&real);
        assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), "2.0");
        assert!(!updated.contains_key("share/only-1.0"), "the old version is gone");

        fs_err::remove_dir_all(&real).unwrap();
        if real != prefix {
            fs_err::create_dir(&real).unwrap();
        }
        install(&world, &prefix, &[&new]).success();
        let mut fresh = contents(&real);
        for entries in [&mut updated, &mut fresh] {
            entries.remove("share/mark");
        }
        assert_eq!(tree::difference(&fresh, &updated), "");
    }
    let left: Vec<String> = world.tree().into_keys().filter(|path| path.contains(".mlconda-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A directory that holds nothing but the user's files, and a name that is not a text: both are there again after a script
/// has removed them and failed, before the new files come and after.
#[test]
fn a_script_that_removes_the_users_files_and_fails() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let world = world();
    let script = "#!/bin/sh\nrm -r \"$PREFIX/data\" \"$PREFIX/notes\"\nmkdir \"$PREFIX/notes\"\nexit 1\n";
    let plain = PackageBuilder::new("spoils", "1.0").file("share/version", "1.0");
    let before = line(&world, &plain.clone().build_string("h1_0").executable("bin/.spoils-pre-unlink.sh", script));
    let plain = line(&world, &plain);
    let new = PackageBuilder::new("spoils", "2.0").file("share/version", "2.0");
    let after = line(&world, &new.clone().build_string("h1_0").executable("bin/.spoils-post-link.sh", script));
    let new = line(&world, &new);
    for (prefix, real) in both_kinds(&world) {
        for (old, new) in [(&before, &new), (&plain, &after)] {
            if real.join("conda-meta").exists() {
                fs_err::remove_dir_all(&real).unwrap();
            }
            if real != prefix {
                fs_err::create_dir_all(&real).unwrap();
            }
            install(&world, &prefix, &[old]).success();
            let mine = real.join("data/deep").join(OsStr::from_bytes(b"donn\xe9es.csv"));
            fs_err::create_dir_all(real.join("data/deep")).unwrap();
            fs_err::write(&mine, "mine").unwrap();
            fs_err::write(real.join("notes"), "mine").unwrap();
            let outcome = install(&world, &prefix, &[new]).failure(1);
            assert!(outcome.stderr.contains("failed with exit status: 1"), "{outcome}");
            for path in [&mine, &real.join("notes")] {
                assert_eq!(fs_err::read_to_string(path).ok().as_deref(), Some("mine"), "{}: {outcome}", path.display());
            }
            assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), "1.0");
            assert!(real.join("conda-meta/history").is_file() && !real.join(".mlconda-old").exists());
        }
    }
}

/// JSON is text, and a path need not be: `--json` tells of it as well as it can, and nothing breaks. An installation, whose
/// files name the prefix, refuses.
#[cfg(target_os = "linux")]
#[test]
fn json_tells_of_paths_that_are_no_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let world = world();
    world.locked("env.lock", &["where"]);
    world.mlconda(["install", "env.lock"]).success();
    let odd = OsStr::from_bytes(b"odd-\xff");
    fs_err::write(world.named_prefix("small").join(odd), "").unwrap();
    let run = |words: &[&str], path: Option<&OsStr>| world.mlconda(words.iter().map(OsStr::new).chain(path));
    let refused = run(&["install", "env.lock", "--json", "-p"], Some(odd)).failure(1);
    assert!(refused.stderr.contains("is not UTF-8"), "{refused}");
    for (words, path) in [
        (&["install", "env.lock", "--dry-run", "--json", "-p"][..], Some(odd)),
        (&["info", "--json", "--root-prefix"], Some(odd)),
        (&["lock", "--json", "-o"], Some(odd)),
        (&["verify", "--json", "-n", "small"], None),
    ] {
        let outcome = run(words, path);
        assert!(outcome.code == 0 && outcome.stdout.contains("odd-\u{fffd}"), "{words:?}: {outcome}");
    }
}
