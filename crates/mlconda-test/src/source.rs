//! Checks the sources of the workspace: files are not too long, every file is part of a module, and the tests that the
//! documents name exist.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The most lines of a file.
const LONGEST: usize = 500;

/// Files that may be longer, because they are tables with one row per line.
const TABLES: [&str; 0] = [];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The paths of all sources of this project, relative to the workspace, with their texts.
fn sources() -> Vec<(PathBuf, String)> {
    let (workspace, mut found) = (workspace(), Vec::new());
    let mut open = ["crates", "tests", "benches"].map(|name| workspace.join(name)).to_vec();
    while let Some(directory) = open.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.strip_prefix(&workspace).unwrap().to_owned(), fs_err::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn no_file_is_long() {
    let is_long = |(path, text): &(PathBuf, String)| {
        text.lines().count() > LONGEST && !TABLES.iter().any(|table| path == Path::new(table))
    };
    let long: Vec<_> = sources().into_iter().filter(is_long).map(|(path, _)| path).collect();
    assert!(long.is_empty(), "of more than {LONGEST} lines: {long:?}");
}

/// A file that no `mod` names is not compiled, and its tests do not run.
#[test]
fn every_file_is_a_module() {
    let sources = sources();
    let text = |path: &Path| sources.iter().find(|(other, _)| other == path).map(|(_, text)| text.as_str());
    let lost = sources.iter().map(|(path, _)| path).filter(|path| {
        let (directory, name) = (path.parent().unwrap(), path.file_stem().unwrap().to_str().unwrap());
        // cargo compiles all files in these directories of a crate.
        let is_of_a_crate = directory.starts_with("crates") && directory.components().count() == 3;
        let is_of_cargo = is_of_a_crate && (directory.ends_with("examples") || directory.ends_with("tests"));
        let is_root = ["lib", "main", "build"].contains(&name) || directory.ends_with("bin") || is_of_cargo;
        // Programs of tests and benchmarks are listed in a `Cargo.toml`, or are included as text.
        if is_root || directory.ends_with("programs") || directory.starts_with("benches") {
            return false;
        }
        let parents = [directory.with_extension("rs"), directory.join("lib.rs"), directory.join("main.rs")];
        let (declared, by_path) = (format!("mod {name};"), format!("/{name}.rs\""));
        !parents
            .iter()
            .filter_map(|parent| text(parent))
            .any(|text| text.contains(&declared) || text.contains(&by_path))
    });
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "no module names {lost:?}");
}

/// In "What holds everywhere" of `docs/ARCHITECTURE.md` and in all of `docs/TRUST.md`, each promise names its tests,
/// some of them with their modules. A name of four or more words is taken for the name of a test.
#[test]
fn the_tests_that_the_promises_name_exist() {
    let page = |name: &str| fs_err::read_to_string(workspace().join("docs").join(name)).unwrap();
    let (architecture, trust) = (page("ARCHITECTURE.md"), page("TRUST.md"));
    let section = architecture.split("\n## What holds everywhere\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let is_name = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_:".contains(&byte) || byte.is_ascii_digit())
    };
    let is_test =
        |text: &&str| is_name(text) && text.rsplit("::").next().is_some_and(|name| name.matches('_').count() > 2);
    // Every second part is in backticks.
    let parts = section.split('`').skip(1).step_by(2).chain(trust.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = parts.filter(is_test).collect();
    assert!(named.len() > 30, "the sections were not understood: {named:?}");
    let sources = sources();
    let exists = |name: &str| {
        let (module, name) = name.rsplit_once("::").unwrap_or(("", name));
        let (module, function) = (module.replace("::", "/"), format!("fn {name}("));
        let is_there = |path: &Path| path.with_extension("").to_str().is_some_and(|path| path.ends_with(&module));
        sources.iter().any(|(path, text)| is_there(path) && text.contains(&function))
    };
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "there are no tests {missing:?}");
}
