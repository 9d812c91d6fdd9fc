//! `verify`: an intact prefix is reported as intact, and every difference from its lock is found.

use std::{os::unix::fs::PermissionsExt, path::Path};

use insta::assert_snapshot;
use mlconda_test::context::{Outcome, TestContext, argument};

use crate::world;

const PACKAGES: [&str; 9] =
    ["tzdata", "python-3.11.9", "where-2.0", "greet-2.0", "links", "hollow", "scripts", "unicode", "archived"];

/// Verifies an environment of some packages after a damage.
fn verified(packages: &[&str], harm: impl Fn(&Path)) -> Outcome {
    let world = world();
    installed(&world, packages);
    harm(&world.path().join("prefix"));
    world.mlconda(["verify", "../prefix", "env.lock"])
}

fn installed(world: &TestContext, packages: &[&str]) {
    let lock = world.write_lock("env.lock", None, packages);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the record of a package.
fn edit_record(prefix: &Path, package: &str, from: &str, to: &str) {
    let entries = fs_err::read_dir(prefix.join("conda-meta")).unwrap();
    let record = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{package}-")));
    let record = record.unwrap();
    let text = fs_err::read_to_string(&record).unwrap();
    assert!(text.contains(from), "{text}");
    fs_err::write(record, text.replace(from, to)).unwrap();
}

#[test]
fn an_environment_that_equals_its_lock() {
    assert_snapshot!(verified(&PACKAGES, |_| ()).success(), @"
    exit code 0
    --- stdout
    --- stderr
    `[TEMP]/prefix` is intact: 9 packages, 38 files, [SIZE], in [TIME].
    ");
}

#[test]
fn without_a_lock_the_records_are_the_measure() {
    let world = world();
    installed(&world, &PACKAGES);
    world.mlconda(["verify", "-p", "../prefix"]).success();
    // The lock may be newer than the environment, which is intact nevertheless.
    let other = world.write_lock("other.lock", None, &["tzdata", "hollow"]);
    world.mlconda(["verify", argument(&other), "-p", "../prefix"]).failure(1);
    world.mlconda(["verify", "../prefix"]).success();
}

#[test]
fn a_changed_byte() {
    let outcome = verified(&PACKAGES, |prefix| {
        fs_err::write(prefix.join("share/zoneinfo/Europe/Paris"), b"TZif2\0\0\x01").unwrap();
        // The prefix in the file is replaced by another one of the same length.
        let script = prefix.join("lib/pkgconfig/scripts.pc");
        let text = fs_err::read_to_string(&script).unwrap();
        fs_err::write(script, text.replace("/prefix", "/Prefix")).unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `lib/pkgconfig/scripts.pc` of `scripts-1.0-h4bc722e_0`: its content differs; expected sha256 [SHA256], found sha256 [SHA256]
    `share/zoneinfo/Europe/Paris` of `tzdata-2024a-hd8ed1ab_0`: its content differs; expected sha256 [SHA256], found sha256 [SHA256]
    --- stderr
    `[TEMP]/prefix` is not intact: 2 findings in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn missing_files_and_directories() {
    let outcome = verified(&PACKAGES, |prefix| {
        fs_err::remove_file(prefix.join("bin/greet")).unwrap();
        fs_err::remove_file(prefix.join("share/links/dangling")).unwrap();
        fs_err::remove_dir(prefix.join("var/hollow/told")).unwrap();
        fs_err::write(prefix.join("share/where/message.txt"), "").unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `bin/greet` of `greet-2.0-pyhd8ed1ab_0`: it is missing
    `share/links/dangling` of `links-1.0-h4bc722e_0`: it is missing
    `share/where/message.txt` of `where-2.0-h4bc722e_0`: it has another size; expected [SIZE], found 0 bytes
    `var/hollow/told` of `hollow-1.0-h4bc722e_0`: it is missing
    --- stderr
    `[TEMP]/prefix` is not intact: 4 findings in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn a_link_in_place_of_a_file_or_of_a_directory() {
    let outcome = verified(&PACKAGES, |prefix| {
        // The content is the same, but the file behind the link can be changed.
        let file = prefix.join("lib/links/libone.so.1.2.3");
        fs_err::rename(&file, prefix.join("elsewhere")).unwrap();
        fs_err::os::unix::fs::symlink("../../elsewhere", file).unwrap();
        fs_err::rename(prefix.join("share/zoneinfo"), prefix.join("zones")).unwrap();
        fs_err::os::unix::fs::symlink("../zones", prefix.join("share/zoneinfo")).unwrap();
        fs_err::remove_file(prefix.join("bin/python")).unwrap();
        fs_err::copy(prefix.join("bin/python3.11"), prefix.join("bin/python")).unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `bin/python` of `python-3.11.9-h4bc722e_0_cpython`: it has another file type; expected a symbolic link, found a file
    `lib/links/libone.so.1.2.3` of `links-1.0-h4bc722e_0`: it has another file type; expected a file, found a symbolic link
    `share/zoneinfo` of `tzdata-2024a-hd8ed1ab_0`: it has another file type; expected a directory, found a symbolic link
    --- stderr
    Untracked: 4 files (`elsewhere`, `zones/Etc/UTC`, `zones/Europe/Paris` and `zones/Zulu`).
    `[TEMP]/prefix` is not intact: 3 findings in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn changed_permissions() {
    let outcome = verified(&PACKAGES, |prefix| {
        set_mode(&prefix.join("share/where/message.txt"), 0o666);
        set_mode(&prefix.join("bin/greet"), 0o644);
        set_mode(&prefix.join("share/where"), 0o700);
        set_mode(&prefix.join("share/links"), 0o777);
        set_mode(&prefix.join("var/hollow/told"), 0o1777);
        // A program without the executable bit, a data file with it, and a setuid program.
        set_mode(&prefix.join("bin/where-am-i"), 0o644);
        set_mode(&prefix.join("lib/python3.11/os.py"), 0o755);
        set_mode(&prefix.join("bin/python3.11"), 0o4755);
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `bin/greet` of `greet-2.0-pyhd8ed1ab_0`: it has other permissions; expected 0755, found 0644
    `bin/python3.11` of `python-3.11.9-h4bc722e_0_cpython`: it has other permissions; expected 0755, found 4755
    `bin/where-am-i` of `where-2.0-h4bc722e_0`: it has other permissions; expected 0755, found 0644
    `lib/python3.11/os.py` of `python-3.11.9-h4bc722e_0_cpython`: it has other permissions; expected 0644, found 0755
    `share/links` of `links-1.0-h4bc722e_0`: it has other permissions; expected 0755, found 0777
    `share/where` of `where-2.0-h4bc722e_0`: it has other permissions; expected 0755, found 0700
    `share/where/message.txt` of `where-2.0-h4bc722e_0`: it has other permissions; expected 0644, found 0666
    `var/hollow/told` of `hollow-1.0-h4bc722e_0`: it has other permissions; expected 0755, found 1777
    --- stderr
    `[TEMP]/prefix` is not intact: 8 findings in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn a_link_to_another_place() {
    let outcome = verified(&PACKAGES, |prefix| {
        for (link, to) in [("lib/links/libone.so", "../../elsewhere"), ("bin/python", "/usr/bin/python3")] {
            fs_err::remove_file(prefix.join(link)).unwrap();
            fs_err::os::unix::fs::symlink(to, prefix.join(link)).unwrap();
        }
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `bin/python` of `python-3.11.9-h4bc722e_0_cpython`: it points to another target; expected `python3.11`, found `/usr/bin/python3`
    `lib/links/libone.so` of `links-1.0-h4bc722e_0`: it points to another target; expected `libone.so.1`, found `../../elsewhere`
    --- stderr
    `[TEMP]/prefix` is not intact: 2 findings in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn a_prefix_that_was_moved() {
    let world = world();
    installed(&world, &PACKAGES);
    fs_err::rename(world.path().join("prefix"), world.path().join("moved")).unwrap();
    assert_snapshot!(world.mlconda(["verify", "../moved", "env.lock"]).failure(1), @"
    exit code 1
    --- stdout
    `[TEMP]/moved`: its files contain the path of another prefix; expected `[TEMP]/prefix`, found `[TEMP]/moved`
    --- stderr
    `[TEMP]/moved` is not intact: 1 finding in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/moved env.lock --repair` repairs it
    ");
    // The same is true under another name.
    fs_err::rename(world.path().join("moved"), world.path().join("prefix")).unwrap();
    fs_err::os::unix::fs::symlink("prefix", world.path().join("moved")).unwrap();
    world.mlconda(["verify", "../moved", "env.lock"]).success();
}

#[test]
fn two_records_of_a_package() {
    let outcome = verified(&["tzdata", "python-3.11.9", "greet-2.0"], |prefix| {
        let meta = prefix.join("conda-meta");
        let record = fs_err::read_to_string(meta.join("greet-2.0-pyhd8ed1ab_0.json")).unwrap();
        let older = record.replacen("\"version\":\"2.0\"", "\"version\":\"1.0\"", 1);
        fs_err::write(meta.join("greet-1.0-pyhd8ed1ab_0.json"), older).unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `greet-2.0-pyhd8ed1ab_0`: another record has the same package name; found `greet-1.0-pyhd8ed1ab_0`
    --- stderr
    `[TEMP]/prefix` is not intact: 1 finding in 4 packages, 19 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn a_missing_record_and_the_files_that_are_nobodys_then() {
    let outcome = verified(&PACKAGES, |prefix| {
        fs_err::remove_file(prefix.join("conda-meta/tzdata-2024a-hd8ed1ab_0.json")).unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `tzdata-2024a-hd8ed1ab_0`: it is in the lock, but not in the environment
    `python-3.11.9-h4bc722e_0_cpython`: a dependency is not met; expected `tzdata`, found none
    --- stderr
    Untracked: 3 files (`share/zoneinfo/Etc/UTC`, `share/zoneinfo/Europe/Paris` and `share/zoneinfo/Zulu`).
    `[TEMP]/prefix` is not intact: 2 findings in 8 packages, 35 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn packages_that_are_not_the_locks() {
    let world = world();
    installed(&world, &["tzdata", "python-3.11.9", "where-2.0", "hollow"]);
    let lock = world.write_lock("new.lock", None, &["tzdata", "python-3.11.9", "where-1.0", "links"]);
    let text = world.read("new.lock");
    let hash = text.lines().find_map(|line| line.contains("tzdata").then(|| line.split_once('#').unwrap().1)).unwrap();
    fs_err::write(&lock, text.replace(hash, &format!("sha256:{}", "0".repeat(64)))).unwrap();
    assert_snapshot!(world.mlconda(["verify", "../prefix", "new.lock"]).failure(1), @r"
    exit code 1
    --- stdout
    `tzdata-2024a-hd8ed1ab_0`: it comes from another archive than the one in the lock; expected [SHA256], found [SHA256]
    `where-1.0-h4bc722e_0`: the environment has another version or build; expected `where-1.0-h4bc722e_0`, found `where-2.0-h4bc722e_0`
    `links-1.0-h4bc722e_0`: it is in the lock, but not in the environment
    `hollow-1.0-h4bc722e_0`: it is in the environment, but not in the lock
    --- stderr
    `[TEMP]/prefix` is not intact: 4 findings in 4 packages, 12 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix new.lock --repair` repairs it
    ");
}

#[test]
fn dependencies_that_are_not_met() {
    let open = verified(&["greet-2.0", "python-3.11.9", "python_abi-3.12"], |_| ());
    assert_snapshot!(open.failure(1), @"
    exit code 1
    --- stdout
    `python-3.11.9-h4bc722e_0_cpython`: a dependency is not met; expected `tzdata`, found none
    `python-3.11.9-h4bc722e_0_cpython`: it conflicts with a package of the environment; expected `python_abi 3.11.* *_cp311`, found `python_abi-3.12-8_cp312`
    `python_abi-3.12-8_cp312`: it conflicts with a package of the environment; expected `python 3.12.*`, found `python-3.11.9-h4bc722e_0_cpython`
    --- stderr
    `[TEMP]/prefix` is not intact: 3 findings in 3 packages, 16 files, [SIZE], in [TIME].
    ");
}

#[test]
fn strangers_are_told_of_and_are_no_failure() {
    let outcome = verified(&PACKAGES, |prefix| {
        let site = prefix.join("lib/python3.11/site-packages");
        fs_err::create_dir_all(site.join("mine-1.0.dist-info")).unwrap();
        fs_err::create_dir_all(site.join("greet/__pycache__")).unwrap();
        fs_err::write(site.join("greet/__pycache__/cli.cpython-312.pyc"), "").unwrap();
        fs_err::write(site.join("greet/__pycache__/gone.cpython-311.pyc"), "").unwrap();
        fs_err::write(site.join("mine.py"), "").unwrap();
        fs_err::write(prefix.join("bin/mine"), "").unwrap();
        let record = "mine.py,,\n../../../bin/mine,,\nmine-1.0.dist-info/RECORD,,\n";
        fs_err::write(site.join("mine-1.0.dist-info/RECORD"), record).unwrap();
        fs_err::write(prefix.join("notebook.ipynb"), "{}").unwrap();
        fs_err::create_dir_all(prefix.join("runs/none")).unwrap();
        fs_err::write(prefix.join("conda-meta/state"), "{}").unwrap();
    });
    assert_snapshot!(outcome.success(), @"
    exit code 0
    --- stdout
    --- stderr
    Untracked: 3 files of 1 distribution that pip installed, 1 file of byte code and 3 other files (`lib/python3.11/site-packages/greet/__pycache__/gone.cpython-311.pyc`, `notebook.ipynb` and `runs/none/`).
    `[TEMP]/prefix` is intact: 9 packages, 38 files, [SIZE], in [TIME].
    ");
}

#[test]
fn an_installation_that_was_cut_off() {
    let outcome = verified(&["tzdata"], |prefix| {
        fs_err::rename(prefix.join("conda-meta/history"), prefix.join("conda-meta/history.mlconda")).unwrap();
        fs_err::create_dir(prefix.join(".mlconda-new")).unwrap();
        fs_err::write(prefix.join("conda-meta/broken-1-0.json"), "{").unwrap();
    });
    assert_snapshot!(outcome.failure(1), @"
    exit code 1
    --- stdout
    `conda-meta/history.mlconda`: an installation was interrupted, or is running
    `.mlconda-new`: an installation was interrupted, or is running
    `conda-meta/history`: the history is missing
    `conda-meta/broken-1-0.json`: the record cannot be read; found EOF while parsing an object at line 1 column 1
    --- stderr
    Untracked: 1 file (`.mlconda-new/`).
    `[TEMP]/prefix` is not intact: 4 findings in 1 package, 3 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix env.lock --repair` repairs it
    ");
}

#[test]
fn of_several_holders_the_last_one_counts() {
    let world = world();
    let lock = world.locked("clash.lock", &["clash-left", "clash-right"]);
    world.mlconda(["install", argument(&lock), "-p", "../prefix"]).success();
    world.mlconda(["verify", "../prefix", "clash.lock"]).success();
    let shared = world.path().join("prefix/share/clash/shared.txt");
    fs_err::write(&shared, "from clash-left\n").unwrap();
    world.mlconda(["verify", "../prefix"]).success();
    assert_snapshot!(world.mlconda(["verify", "../prefix", "clash.lock"]).failure(1), @r"
    exit code 1
    --- stdout
    `share/clash/shared.txt`: several packages contain it, and the file of the wrong one is installed; expected `clash-right-1.0-hd8ed1ab_0`, found `clash-left-1.0-hd8ed1ab_0`
    --- stderr
    `[TEMP]/prefix` is not intact: 1 finding in 2 packages, 3 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix clash.lock --repair` repairs it
    ");
    fs_err::write(&shared, "of neither\n").unwrap();
    assert_snapshot!(world.mlconda(["verify", "../prefix"]).failure(1), @r"
    exit code 1
    --- stdout
    `share/clash/shared.txt` of `clash-left-1.0-hd8ed1ab_0` and `clash-right-1.0-hd8ed1ab_0`: it has another size; expected [SIZE], found [SIZE]
    --- stderr
    `[TEMP]/prefix` is not intact: 1 finding in 2 packages, 3 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix --repair` repairs it
    ");
}

#[test]
fn what_other_tools_have_recorded() {
    // Other tools record a cache, keep the modes of the archive, and record no hash for files that they make.
    let outcome = verified(&["tzdata", "python-3.11.9", "greet-2.0"], |prefix| {
        for package in ["tzdata", "python", "greet"] {
            edit_record(prefix, package, "\"source\":\"\"", "\"source\":\"/opt/conda/pkgs/it\"");
        }
        edit_record(prefix, "greet", "\"sha256", "\"unknown");
        set_mode(&prefix.join("lib/python3.11/os.py"), 0o664);
    });
    assert_snapshot!(outcome.success(), @"
    exit code 0
    --- stdout
    --- stderr
    warning: the records have no hash to compare for `greet-2.0-pyhd8ed1ab_0`
    warning: the records have no hash for 10 files of 1 package
    `[TEMP]/prefix` is intact: 3 packages, 19 files, [SIZE], in [TIME].
    ");
}

#[test]
fn as_json() {
    let world = world();
    installed(&world, &["tzdata", "hollow"]);
    let prefix = world.path().join("prefix");
    fs_err::write(prefix.join("share/zoneinfo/Etc/UTC"), "noon").unwrap();
    fs_err::remove_file(prefix.join("share/hollow/README.txt")).unwrap();
    fs_err::write(prefix.join("mine"), "").unwrap();
    let outcome = world.mlconda(["verify", "../prefix", "env.lock", "--json", "--quiet"]).failure(1);
    let stdout = world.normal(&outcome.stdout);
    let stable: Vec<&str> = stdout.lines().filter(|line| !line.contains("\"seconds\"")).collect();
    assert_snapshot!(stable.join("\n"), @r#"
    {
      "prefix": "[TEMP]/prefix",
      "holds": false,
      "packages": 2,
      "files": 4,
      "bytes": 12,
      "findings": [
        {
          "kind": "missing",
          "path": "share/hollow/README.txt",
          "packages": [
            "hollow-1.0-h4bc722e_0"
          ]
        },
        {
          "kind": "size",
          "path": "share/zoneinfo/Etc/UTC",
          "packages": [
            "tzdata-2024a-hd8ed1ab_0"
          ],
          "expected": "9",
          "found": "4"
        }
      ],
      "strangers": {
        "files": [
          "mine"
        ],
        "bytecode": 0,
        "pip": {
          "distributions": 0,
          "files": 0
        }
      },
      "files_without_hash": {},
      "packages_without_digest": [],
      "left_out": {},
    }
    "#);
}

#[test]
fn install_proves_what_it_did() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &PACKAGES);
    let first = world.mlconda(["install", argument(&lock), "-p", "../prefix", "--verify"]).success();
    assert!(first.stderr.contains("Linked 9 packages") && first.stderr.contains("is intact"), "{first}");
    // According to the records, there is nothing to do.
    fs_err::remove_file(world.path().join("prefix/bin/greet")).unwrap();
    let again = world.mlconda(["install", argument(&lock), "-p", "../prefix", "--verify"]).failure(1);
    assert_snapshot!(again, @"
    exit code 1
    --- stdout
    `bin/greet` of `greet-2.0-pyhd8ed1ab_0`: it is missing
    --- stderr
    `[TEMP]/prefix` is up to date: 9 packages.
    `[TEMP]/prefix` is not intact: 1 finding in 9 packages, 38 files, [SIZE], in [TIME].
    hint: `mlconda verify [TEMP]/prefix [TEMP]/work/env.lock --repair` repairs it
    ");
}

#[test]
fn neither_a_prefix_nor_a_lock() {
    let world = world();
    assert_snapshot!(world.mlconda(["verify", "nowhere"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is neither an environment nor a lock at `[TEMP]/work/nowhere`
    hint: name the prefix of an environment, a lock, or both
    ");
}
