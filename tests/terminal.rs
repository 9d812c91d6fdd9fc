//! Output on a terminal and in a log: no control characters from input, colours only where they are wanted, the
//! progress, and hints.

use std::process::Stdio;

use mlconda_test::{
    context::{Outcome, TestContext, argument},
    package::PackageBuilder,
};
use serde_json::Value;

use crate::{
    packages::{install, line, lock},
    scripts::{begun_by, waiting},
    world,
};

/// Characters that control a terminal, in one or two bytes, and one that reverses the direction of writing.
const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{7}\u{202e}";

/// Checks that the output is only text.
#[track_caller]
fn is_plain(outcome: &Outcome) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    let is_hidden = |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!said.contains(is_hidden), "{said:?}");
}

#[test]
fn control_characters_of_a_record_do_not_reach_the_terminal() {
    let world = world();
    let prefix = world.path().join("prefix");
    install(&world, &prefix, &[&line(&world, &PackageBuilder::new("tool", "1.0").file("share/tool", "tool"))])
        .success();
    let record = fs_err::read_dir(prefix.join("conda-meta")).unwrap().filter_map(Result::ok);
    let record = record.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|kind| kind == "json"));
    let record = record.unwrap();
    let mut value: Value = serde_json::from_str(&fs_err::read_to_string(&record).unwrap()).unwrap();
    let place = argument(&prefix);
    let sound = value.clone();
    // A text that becomes a path is rejected, and the message is plain text, too.
    value["build"] = format!("0{HOSTILE}\nforged  1.0  0  conda-forge\r").into();
    fs_err::write(&record, value.to_string()).unwrap();
    for command in ["list", "tree", "verify", "export"] {
        let outcome = world.mlconda([command, "-p", place]);
        is_plain(&outcome);
        assert!(!outcome.stdout.contains("\nforged"), "a line is a package: {outcome}");
        is_plain(&world.mlconda(["--progress", "json", command, "-p", place]));
    }
    value = sound;
    let need = format!("nothing {HOSTILE}\nforged");
    value["depends"] = serde_json::json!([need]);
    value["license"] = need.clone().into();
    value["channel"] = need.into();
    fs_err::write(&record, value.to_string()).unwrap();
    let list = world.mlconda(["list", "-p", place]).success();
    is_plain(&list);
    assert_eq!(list.stdout.lines().count(), 2, "a line is a package: {list}");
    is_plain(&world.mlconda(["list", "-p", place, "--json"]).success());
    for command in ["tree", "verify", "export"] {
        let outcome = world.mlconda([command, "-p", place]);
        is_plain(&outcome);
        assert!(!outcome.stdout.contains("\nforged"), "{outcome}");
    }
    is_plain(&world.mlconda(["why", "tool", "-p", place]));
    let sbom = world.mlconda(["sbom", place]).success();
    is_plain(&sbom);
    serde_json::from_str::<Value>(&sbom.stdout).unwrap();
}

#[test]
fn control_characters_of_files_do_not_reach_the_terminal() {
    let world = world();
    for (file, text) in [
        ("env.lock", format!("# platform: linux-64\n@EXPLICIT\nnonsense {HOSTILE}\n")),
        ("other.lock", format!("{HOSTILE}\n")),
        ("pixi.lock", format!("version: 6\n\"{HOSTILE}\": {{\n")),
        ("environment.yml", format!("name: x\n\"key {HOSTILE}\": 1\ndependencies: [\"numpy {HOSTILE}\", a^b]\n")),
    ] {
        world.write(file, &text);
        let outcome = world.mlconda(["install", file, "-p", "prefix"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        is_plain(&outcome);
        is_plain(&world.mlconda(["--progress", "json", "install", file, "-p", "prefix"]));
    }
    is_plain(&world.mlconda(["install", &format!("no{HOSTILE}.lock")]));
    is_plain(&world.mlconda([&format!("inst{HOSTILE}")]));
}

#[test]
fn what_a_script_says_forges_no_line() {
    let world = world();
    let says = format!("#!/bin/sh\nprintf 'one{HOSTILE}\\nerror: forged\\n' >> \"$PREFIX/.messages.txt\"\n");
    let package = PackageBuilder::new("says", "1.0").executable("bin/.says-post-link.sh", says);
    let outcome = install(&world, &world.path().join("prefix"), &[&line(&world, &package)]).success();
    is_plain(&outcome);
    assert!(outcome.stderr.contains("says: one\\u{1b}[2J"), "{outcome}");
    assert!(!outcome.stderr.contains("\nerror: forged"), "{outcome}");
}

#[test]
fn colours_come_where_they_are_wanted() {
    let world = world();
    let said = |arguments: &[&str], variables: &[(&str, &str)]| {
        let outcome = world.mlconda_with([arguments, &["install", "nothere.lock"]].concat(), variables).failure(1);
        (outcome.stderr.contains('\u{1b}'), outcome.stderr.replace("\u{1b}[1;31m", "").replace("\u{1b}[0m", ""))
    };
    let plain = said(&[], &[]);
    assert!(!plain.0 && plain.1.starts_with("error: "), "no terminal, no colour: {plain:?}");
    let painted = said(&["--color", "always"], &[("NO_COLOR", "1")]);
    assert!(painted.0 && painted.1.starts_with("error: "), "{painted:?}");
    assert!(said(&[], &[("CLICOLOR_FORCE", "1")]).0);
    assert!(!said(&[], &[("CLICOLOR_FORCE", "0")]).0);
    assert!(!said(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).0);
    assert!(!said(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]).0);
}

/// The lines of a lock for packages without a channel, each with a file.
fn lines_of(world: &TestContext, packages: &[(&str, &str)]) -> Vec<String> {
    let file = |name: &str| format!("share/{name}");
    let build = |(name, version): &(&str, &str)| PackageBuilder::new(name, version).file(&file(name), version);
    packages.iter().map(|package| line(world, &build(package))).collect()
}

#[test]
fn an_installation_names_what_came_in() {
    let world = world();
    let prefix = world.path().join("prefix");
    let install = |packages: &[(&str, &str)], specs: &[&str], arguments: &[&str]| {
        let lines = lines_of(&world, packages);
        let text = fs_err::read_to_string(lock(&world, &lines.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
        let specs: String = specs.iter().map(|spec| format!("# spec: {spec}\n")).collect();
        let lock = world.write("env.lock", &format!("# mlconda lock: 1\n{specs}{text}"));
        world.mlconda([&["install", argument(&lock), "-p", argument(&prefix)], arguments].concat()).success()
    };
    let marked = |outcome: &Outcome| -> Vec<String> {
        let is_marked = |line: &&str| line.starts_with(['+', '-', '~', ' ']);
        outcome.stderr.lines().filter(is_marked).map(str::to_owned).collect()
    };
    let first = install(&[("base", "1.0"), ("gone", "2"), ("tool", "1.0")], &["tool >=1"], &[]);
    assert_eq!(marked(&first), ["+ tool 1.0", "+ base 1.0", "+ gone 2"], "{first}");
    let second = install(&[("base", "1.0"), ("new", "3"), ("tool", "1.1")], &["tool"], &["--json"]);
    assert_eq!(marked(&second), ["~ tool 1.0 -> 1.1", "- gone 2", "+ new 3"], "{second}");
    let told: Value = serde_json::from_str(&second.stdout).unwrap();
    let changes = told[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 3);
    assert_eq!(changes[0]["old"]["version"], "1.0");
    assert_eq!([&changes[0]["name"], &changes[0]["kind"]], ["tool", "changed"]);

    let names: Vec<String> = (0..30).map(|number| format!("many{number:02}")).collect();
    let mut many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    many.extend([("base", "1.0"), ("new", "3"), ("tool", "1.1")]);
    let short = install(&many, &["many29", "tool"], &[]);
    assert_eq!(marked(&short).first().unwrap(), "+ many29 1", "{short}");
    assert_eq!(marked(&short).last().unwrap(), "  and 18 more; `-v` lists all", "{short}");
    fs_err::remove_dir_all(&prefix).unwrap();
    assert_eq!(marked(&install(&many, &["many29"], &["-v"])).len(), 33);
}

#[test]
fn a_lock_beside_an_environment_is_not_passed_over_in_silence() {
    let world = world();
    world.locked("env.lock", &["hollow"]);
    let outcome = world.mlconda(["install", "environment.yml", "-p", "prefix"]).success();
    assert!(outcome.stderr.contains("`mlconda install --locked environment.yml` installs the lock"), "{outcome}");
    world.write_environment(&["hollow", "tzdata"]);
    let outcome = world.mlconda(["install", "environment.yml", "-p", "prefix"]).success();
    assert!(outcome.stderr.contains("is out of date"), "{outcome}");
    fs_err::remove_file(world.work().join("env.lock")).unwrap();
    let outcome = world.mlconda(["install", "environment.yml", "-p", "other"]).success();
    assert!(!outcome.stderr.contains("--locked"), "{outcome}");
}

#[test]
fn a_lock_behind_file_is_installed_as_it_is() {
    let world = world();
    world.locked("env.lock", &["hollow"]);
    world.locked("renamed.yml", &["tzdata"]);
    world.mlconda(["install", "--file", "env.lock", "-p", "prefix"]).success();
    world.mlconda(["install", "-f", "renamed.yml", "-p", "other"]).success();
}

#[test]
fn a_file_that_cannot_be_read_comes_with_a_remedy() {
    let world = world();
    let long = format!("{}.yml", "x".repeat(300));
    fs_err::create_dir(world.work().join("directory.yml")).unwrap();
    for (file, hint) in [
        ("nothere.yml", "check the path"),
        (long.as_str(), "the name is longer than"),
        ("directory.yml", "name the file"),
    ] {
        for arguments in [&["lock", file][..], &["install", "--file", file], &["lock", "-f", file]] {
            let outcome = world.mlconda(arguments).failure(1);
            assert!(outcome.stderr.contains(&format!("\nhint: {hint}")), "{outcome}");
        }
    }
    for file in ["nothere.yml", long.as_str()] {
        let outcome = world.mlconda(["install", file]).failure(1);
        assert!(outcome.stderr.contains("\nhint: "), "{outcome}");
    }
}

/// The first signal is reported at once. A second one does not wait until leftovers are removed.
#[test]
fn a_stop_is_told_at_once() {
    let world = world();
    let package = lock(&world, &[&waiting(&world, "1.0")]);
    let mut command = world.mlconda_command(["install", argument(&package), "-p", "prefix"]);
    let (child, end) = begun_by(&world, command.stderr(Stdio::piped()));
    world.run("/bin/sh", &["-c", &format!("kill -INT {}", child.id())]).success();
    let output = child.wait_with_output().unwrap();
    drop(end);
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    let told = said.find("\nstopping: removing what was written").unwrap_or_else(|| panic!("{said}"));
    assert!(said.find("\nerror: stopped; nothing was changed\n").is_some_and(|end| end > told), "{said}");
}

/// Commands and options of other tools are answered with their equivalent here; clap reports misspellings.
#[test]
fn foreign_words_get_their_hint() {
    let world = world();
    for (arguments, hint) in [
        (&["instal", "env.lock"][..], "'install'"),
        (&["outdated"], "mlconda lock --update"),
        (&["apply"], "mlconda install env.lock"),
        (&["freeze"], "mlconda export"),
        (&["exec", "ml"], "mlconda run"),
        (&["environment.yml"], "mlconda install environment.yml"),
        (&["run", "-n", "envs/ml", "python"], "-p"),
        (&["lock", "--yes"], "mlconda never asks for confirmation"),
        (&["info", "--envs"], "hint: `mlconda conda info --envs` has it\n"),
        (&["info", "-e"], "hint: `mlconda conda info -e` has it\n"),
        (&["info", "--base"], "hint: `mlconda conda info --base` has it\n"),
        (&["install", "-n", "ml"], "mlconda install env.lock"),
    ] {
        let outcome = world.mlconda(arguments).failure(2);
        assert!(outcome.stderr.starts_with("error: ") && outcome.stderr.contains(hint), "{arguments:?}: {outcome}");
    }
}

/// JSON is text, but a path may not be: `--json` shows an approximation, and nothing fails. An installation rejects
/// such a path, because files would contain the prefix.
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
