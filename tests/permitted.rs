//! The permissions of a package during its installation: each row of the table in docs/TRUST.md that no other file
//! tests.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{TestContext, argument},
    host_subdir,
    package::{Noarch, PackageBuilder},
    tree,
    wheel::Wheel,
};
use serde_json::{Value, json};

use crate::{
    packages::{contents, install, line, lock, locked},
    pip_install, world,
};

/// A package whose scripts record in the prefix that they ran.
fn scripted(name: &str, version: &str) -> PackageBuilder {
    let script = |what: &str| format!("#!/bin/sh\necho {name} {version} {what} >> \"$PREFIX/ran\"\n");
    PackageBuilder::new(name, version)
        .executable(&format!("bin/.{name}-post-link.sh"), script("post-link"))
        .executable(&format!("bin/.{name}-pre-unlink.sh"), script("pre-unlink"))
        .executable(&format!("bin/.{name}-pre-link.sh"), script("pre-link"))
}

fn ran(prefix: &Path) -> String {
    fs_err::read_to_string(prefix.join("ran")).unwrap_or_default()
}

/// The field `scripts` of the JSON result.
fn scripts(stdout: &str) -> Value {
    let result: Value = serde_json::from_str(stdout).unwrap();
    result[0]["scripts"].clone()
}

/// The lines about scripts in the output of an installation.
fn told(stderr: &str) -> String {
    let is_told = |line: &&str| line.contains("script") && !line.starts_with("Running ");
    stderr.lines().filter(is_told).map(|line| format!("{line}\n")).collect()
}

#[test]
fn link_scripts_run_and_are_told() {
    let world = world();
    let prefix = world.work().join("prefix");
    let plain = line(&world, &PackageBuilder::new("plain", "1.0").file("share/plain", "plain"));
    let both = [line(&world, &scripted("one", "1.0")), line(&world, &scripted("two", "1.0")), plain.clone()];
    lock(&world, &both.each_ref().map(String::as_str));
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix", "--json"]).success();
    assert_snapshot!(told(&outcome.stderr), @"2 packages ran scripts: `one` and `two`.");
    let script = |name: &str, kind: &str| json!({"package": name, "script": kind});
    let expected = [script("one", "post-link"), script("two", "post-link")];
    assert_eq!(scripts(&outcome.stdout), json!({"ran": expected, "not_run": [], "activation": [], "built": []}));
    assert_eq!(ran(&prefix), "one 1.0 post-link\ntwo 1.0 post-link\n", "and none before the files are there");

    let changed = [line(&world, &scripted("one", "2.0")), plain];
    let outcome = install(&world, &prefix, &changed.each_ref().map(String::as_str)).success();
    assert_snapshot!(told(&outcome.stderr), @"2 packages ran scripts: `one` and `two`.");
    assert!(ran(&prefix).ends_with("one 1.0 pre-unlink\ntwo 1.0 pre-unlink\none 2.0 post-link\n"), "{}", ran(&prefix));
}

#[test]
fn scripts_that_were_left_out_are_told_and_run_when_that_is_asked_for() {
    let world = world();
    let prefix = world.work().join("prefix");
    let packages = [line(&world, &scripted("one", "1.0")), line(&world, &scripted("two", "1.0"))];
    lock(&world, &packages.each_ref().map(String::as_str));
    let install = |arguments: &[&str], variables: &[(&str, &str)]| {
        world.mlconda_with([&["install", "env.lock", "-p", "prefix"], arguments].concat(), variables).success()
    };
    let outcome = install(&["--no-scripts", "--json", "--verify"], &[]);
    assert_snapshot!(told(&outcome.stderr), @"2 packages brought scripts that were not run: `one` and `two`.");
    assert_eq!(scripts(&outcome.stdout)["not_run"].as_array().unwrap().len(), 2);
    assert_eq!(ran(&prefix), "");
    world.mlconda(["verify", "env.lock", "-p", "prefix"]).success();

    // Nothing changes while scripts are disabled, by the option or by the variable.
    let before = contents(&prefix);
    for (arguments, variables) in [(&["--no-scripts"][..], &[][..]), (&[], &[("MLCONDA_NO_SCRIPTS", "1")])] {
        assert!(install(arguments, variables).stderr.contains("is up to date"));
        assert_eq!(tree::difference(&before, &contents(&prefix)), "");
    }

    // The post-link scripts did not run, so no pre-unlink script may run.
    let again = "Scripts of `one` and `two` did not run before; they are linked again to run them.\n";
    let dry = install(&["--dry-run"], &[]);
    assert!(dry.stderr.starts_with(again), "{dry}");
    assert_eq!(tree::difference(&before, &contents(&prefix)), "");
    let outcome = install(&[], &[]);
    assert!(outcome.stderr.starts_with(again), "{outcome}");
    assert_snapshot!(told(&outcome.stderr), @"2 packages ran scripts: `one` and `two`.");
    assert_eq!(ran(&prefix), "one 1.0 post-link\ntwo 1.0 post-link\n");
    world.mlconda(["verify", "env.lock", "-p", "prefix"]).success();
    assert!(install(&[], &[]).stderr.contains("is up to date"));
    let mut after = contents(&prefix);
    after.remove("ran");
    fs_err::remove_dir_all(&prefix).unwrap();
    install(&[], &[]);
    let mut fresh = contents(&prefix);
    fresh.remove("ran");
    assert_eq!(tree::difference(&fresh, &after), "", "as if they had run at first");
}

#[test]
fn a_package_that_is_linked_again_for_another_reason_is_not_told_to_be_so_for_its_scripts() {
    let world = world();
    let prefix = world.work().join("prefix");
    let (one, two) = (line(&world, &scripted("one", "1.0")), line(&world, &scripted("two", "1.0")));
    lock(&world, &[&one, &two]);
    world.mlconda(["install", "env.lock", "-p", "prefix", "--no-scripts"]).success();
    let outcome = install(&world, &prefix, &[&line(&world, &scripted("one", "2.0")), &two]).success();
    let told = outcome.stderr.lines().next().unwrap_or_default();
    assert_snapshot!(told, @"Scripts of `two` did not run before; it is linked again to run them.");
    assert_eq!(ran(&prefix), "one 2.0 post-link\ntwo 1.0 post-link\n");
}

/// conda's command lines have the same option.
#[test]
fn conda_create_leaves_scripts_out_too() {
    let world = world();
    let archive = scripted("one", "1.0").write(&world.path().join("channel")).unwrap();
    for (number, (arguments, variables)) in
        [(&["--no-scripts"][..], &[][..]), (&[], &[("MLCONDA_NO_SCRIPTS", "1")])].into_iter().enumerate()
    {
        let prefix = format!("prefix-{number}");
        let create = [&["conda", "create", "-y", "-p", &prefix, argument(&archive)], arguments].concat();
        let outcome = world.mlconda_with(create, variables).success();
        assert_eq!(told(&outcome.stderr), "1 package brought scripts that were not run: `one`.\n", "{outcome}");
        assert_eq!(ran(&world.work().join(&prefix)), "");
        let remove = world.mlconda(["conda", "remove", "-y", "-p", &prefix, "one"]).success();
        assert_eq!(told(&remove.stderr), "", "what was never set up is not undone: {remove}");
        assert_eq!(ran(&world.work().join(&prefix)), "");
    }
}

/// The script of a package must be from the package itself, not from another package or a wheel.
#[test]
fn no_package_has_a_script_of_another() {
    let world = world();
    let evil = "#!/bin/sh\necho evil > \"$PREFIX/ran\"\n";
    let victim = line(&world, &PackageBuilder::new("victim", "1.0").file("share/victim", "victim"));
    let other = PackageBuilder::new("other", "1.0").executable("bin/.victim-post-link.sh", evil);
    let other = line(&world, &other.executable("bin/.victim-pre-unlink.sh", evil));
    let prefix = world.work().join("prefix");
    let outcome = install(&world, &prefix, &[&victim, &other]).success();
    assert_eq!((told(&outcome.stderr).as_str(), ran(&prefix).as_str()), ("", ""));
    let outcome = install(&world, &prefix, &[&other]).success();
    assert_eq!((told(&outcome.stderr).as_str(), ran(&prefix).as_str()), ("", ""));

    // A wheel cannot replace the package's own script either.
    let wheel = Wheel::new("other", "1.0")
        .data("scripts", ".tzdata-post-link.sh", evil)
        .data("scripts", ".victim-post-link.sh", evil)
        .data("scripts", ".victim-pre-unlink.sh", evil);
    let wheel = pip_install::line(&world, &wheel, "");
    let victim = line(&world, &scripted("victim", "2.0"));
    let install_wheel = |package: &str| {
        let lock = world.write_lock("wheel.lock", None, &["tzdata", "python-3.11.9"]);
        pip_install::add(&lock, std::slice::from_ref(&wheel));
        let text = world.read("wheel.lock") + package;
        world.write("wheel.lock", &text);
        told(&world.mlconda(["install", "wheel.lock", "-p", "wheels"]).success().stderr)
    };
    let wheels = world.work().join("wheels");
    for package in [victim.as_str(), ""] {
        assert_eq!((install_wheel(package).as_str(), ran(&wheels).as_str()), ("", ""));
        assert!(wheels.join("bin/.tzdata-post-link.sh").is_file());
    }
}

/// If two packages have a file with the name of a script, the script only runs if the installed file is from its own
/// package.
#[test]
fn no_package_has_its_script_replaced_by_another() {
    let world = world();
    let evil = "#!/bin/sh\necho evil >> \"$PREFIX/ran\"\n";
    let victim = line(&world, &scripted("victim", "1.0"));
    let other = PackageBuilder::new("zother", "1.0").depends("victim");
    let other = other.executable("bin/.victim-post-link.sh", evil).executable("bin/.victim-pre-unlink.sh", evil);
    let other = line(&world, &other);
    let prefix = world.work().join("prefix");
    for packages in [&[victim.as_str(), &other][..], &[&other]] {
        let outcome = install(&world, &prefix, packages).success();
        assert_eq!(fs_err::read_to_string(prefix.join("bin/.victim-post-link.sh")).unwrap(), evil);
        assert_eq!((told(&outcome.stderr).as_str(), ran(&prefix).as_str()), ("", ""));
    }

    // No script was left out, so none has to run later.
    lock(&world, &[&victim, &other]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "without", "--no-scripts"]).success();
    assert_eq!(told(&outcome.stderr), "");
    let outcome = world.mlconda(["install", "env.lock", "-p", "without"]).success();
    assert!(outcome.stderr.contains("is up to date"), "{outcome}");

    // The other package is installed later, also through a link of a third package.
    for (name, directory) in [("straight", "bin"), ("linked", "sbin")] {
        let alpha = line(&world, &scripted("alpha", "1.0"));
        let links = line(&world, &PackageBuilder::new("links", "1.0").link("sbin", "bin"));
        let zeta = PackageBuilder::new(&format!("zeta-{name}"), "1.0").depends("alpha").depends("links");
        let zeta = line(&world, &zeta.executable(&format!("{directory}/.alpha-pre-unlink.sh"), evil));
        let prefix = world.work().join(name);
        install(&world, &prefix, &[&alpha, &links]).success();
        for packages in [&[alpha.as_str(), &links, &zeta][..], &[&links, &zeta]] {
            let outcome = install(&world, &prefix, packages).success();
            assert_eq!(fs_err::read_to_string(prefix.join("bin/.alpha-pre-unlink.sh")).unwrap(), evil, "{outcome}");
            assert_eq!(ran(&prefix), "alpha 1.0 post-link\n", "{outcome}");
        }
    }
}

#[test]
fn activation_scripts_run_once_and_are_told() {
    let world = world();
    let script = "export ACTIVE=yes\necho activated >> \"$CONDA_PREFIX/ran\"\n";
    let package = PackageBuilder::new("active", "1.0").file("etc/conda/activate.d/active.sh", script);
    lock(&world, &[&line(&world, &package)]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix", "--json"]).success();
    assert_snapshot!(told(&outcome.stderr), @"1 activation script ran once: `etc/conda/activate.d/active.sh`.");
    assert_eq!(scripts(&outcome.stdout)["activation"], json!(["etc/conda/activate.d/active.sh"]));
    assert_eq!(ran(&world.work().join("prefix")), "activated\n");
    let outcome = world.mlconda(["install", "env.lock", "-p", "other", "--no-scripts"]).success();
    assert_eq!((told(&outcome.stderr).as_str(), ran(&world.work().join("other")).as_str()), ("", ""));
}

/// An entry of an archive that no builder would write.
struct Entry {
    path: &'static str,
    kind: tar::EntryType,
    mode: u32,
}

/// Writes the archive of a package with these entries. Each belongs to another user, and files have a capability.
/// Returns its line in a lock.
fn odd(world: &TestContext, name: &str, entries: &[Entry]) -> String {
    let directory = world.path().join("channel").join(host_subdir());
    fs_err::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{name}-1.0-0.tar.bz2"));
    let index = json!({"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir()});
    let paths: Vec<Value> =
        entries.iter().map(|Entry { path, .. }| json!({"_path": path, "path_type": "hardlink"})).collect();
    let paths = json!({"paths": paths, "paths_version": 1});
    let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    let mut append = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        if kind.is_file() && !path.starts_with("info/") {
            let capability =
                [("SCHILY.xattr.security.capability", &b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..])];
            tar.append_pax_extensions(capability).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(4321);
        header.set_gid(4321);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        tar.append_data(&mut header, path, content).unwrap();
    };
    append("info/index.json", tar::EntryType::Regular, 0o644, index.to_string().as_bytes());
    append("info/paths.json", tar::EntryType::Regular, 0o644, paths.to_string().as_bytes());
    for Entry { path, kind, mode } in entries {
        append(path, *kind, *mode, if kind.is_file() { b"#!/bin/sh\n" } else { b"" });
    }
    fs_err::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    locked(&path)
}

/// Two ways into the prefix: directly from the archive, and through the cache.
fn with_and_without_cache(world: &TestContext) -> [(PathBuf, Vec<(&'static str, String)>); 2] {
    let cache = world.path().join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let variable = ("MLCONDA_CACHE_DIR", argument(&cache).to_owned());
    [(world.work().join("straight"), Vec::new()), (world.work().join("cached"), vec![variable])]
}

/// Only the executable bit of the mode is kept. The owner is the installing user, and no extended attributes are kept.
#[test]
fn no_package_brings_a_setuid_bit_an_owner_or_a_capability() {
    let world = world();
    let modes =
        [("bin/all", 0o7777), ("bin/set", 0o4755), ("share/group", 0o2644), ("share/open", 0o666), ("share/shut", 0)];
    let entries = modes.map(|(path, mode)| Entry { path, kind: tar::EntryType::Regular, mode });
    lock(&world, &[&odd(&world, "modes", &entries)]);
    for (prefix, variables) in with_and_without_cache(&world) {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.mlconda_with(["install", "env.lock", "-p", argument(&prefix)], &variables).success();
        let own = fs_err::metadata(world.work()).unwrap();
        for (path, mode) in modes {
            let metadata = fs_err::metadata(prefix.join(path)).unwrap();
            let expected = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            assert_eq!(metadata.mode() & 0o7777, expected, "{path}");
            assert_eq!((metadata.uid(), metadata.gid()), (own.uid(), own.gid()), "{path}");
            let mut names = [0_u8; 4096];
            let length = rustix::fs::listxattr(prefix.join(path), &mut names[..]).unwrap_or(0);
            // The system may add attributes of its own.
            let names = String::from_utf8_lossy(&names[..length]);
            assert!(!names.contains("capability"), "{path} has {names}");
        }
    }
}

#[test]
fn no_package_brings_a_device_a_fifo_or_a_socket() {
    let world = world();
    for (name, kind) in [
        ("char", tar::EntryType::Char),
        ("block", tar::EntryType::Block),
        ("fifo", tar::EntryType::Fifo),
        ("unknown", tar::EntryType::new(b'Z')),
    ] {
        lock(&world, &[&odd(&world, name, &[Entry { path: "share/odd", kind, mode: 0o666 }])]);
        for (prefix, variables) in with_and_without_cache(&world) {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let outcome = world.mlconda_with(["install", "env.lock", "-p", argument(&prefix)], &variables).failure(1);
            assert!(outcome.stderr.contains("`share/odd` is neither a file, a link nor a directory"), "{outcome}");
            assert!(!prefix.exists());
        }
    }
}

/// Menu entries are only files in the prefix; nothing is written to the home directory or the desktop.
#[test]
fn menu_entries_stay_files() {
    let world = world();
    let menu = r#"{"menu_name": "Evil", "menu_items": [{"name": "x", "command": ["sh"], "platforms": {"linux": {}, "osx": {}}}]}"#;
    lock(&world, &[&line(&world, &PackageBuilder::new("menu", "1.0").file("Menu/menu.json", menu))]);
    let before = tree::tree(&world.home()).unwrap();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert!(world.work().join("prefix/Menu/menu.json").is_file());
    assert_eq!(tree::difference(&before, &tree::tree(&world.home()).unwrap()), "");
}

/// Files that python executes at every start are not executed during the installation: the compiler is started with
/// `-S`, and only reads modules as text. The stand-in does not compile if it is started in another way.
#[test]
fn what_python_runs_at_its_start_does_not_run() {
    let world = world();
    let code = "import os; os.system('touch \"$PREFIX/ran\"')\n";
    let package = PackageBuilder::new("starts", "1.0")
        .noarch(Noarch::Python)
        .depends("python")
        .file("site-packages/starts.pth", code)
        .file("site-packages/sitecustomize.py", code)
        .file("site-packages/usercustomize.py", code);
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
    let text = world.read("env.lock") + &line(&world, &package);
    world.write("env.lock", &text);
    world.mlconda(["install", argument(&lock), "-p", "prefix"]).success();
    let site = world.work().join("prefix/lib/python3.11/site-packages");
    assert!(site.join("starts.pth").is_file() && site.join("__pycache__/sitecustomize.cpython-311.pyc").is_file());
    assert!(!world.work().join("prefix/ran").exists());
}

#[test]
fn commands_are_files_in_bin_and_nowhere_else() {
    let world = world();
    for (number, name) in ["../../evil", "/tmp/evil", "a/b", ".."].into_iter().enumerate() {
        let package =
            PackageBuilder::new(&format!("commands-{number}"), "1.0").noarch(Noarch::Python).depends("python");
        let package = package.entry_point(&format!("{name} = module:main")).file("site-packages/module.py", "");
        world.write_lock("env.lock", None, &["tzdata", "python-3.11.9"]);
        let text = world.read("env.lock") + &line(&world, &package);
        world.write("env.lock", &text);
        let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
        assert!(outcome.stderr.contains("the entry point `"), "{outcome}");
        assert!(!world.work().join("prefix").exists());
    }
}
