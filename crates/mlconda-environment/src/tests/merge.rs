//! Several files as one environment.

use super::*;

fn named(file: &str, text: &str) -> Environment {
    Environment::parse(text, Path::new(file), &options()).unwrap()
}

/// As in conda-lock, all dependencies are kept, and the lists of channels must have a common order.
#[test]
fn several_files_are_one_environment() {
    let base = named(
        "base.yml",
        "name: ml\nchannels: [nvidia, conda-forge]\ndependencies: [python=3.11, numpy]\nvariables: {A: 1, B: 1}\n\
         platforms: [linux-64]",
    );
    let more = named(
        "more.yml",
        "name: other\nchannels: [conda-forge]\ndependencies:\n  - numpy<2\n  - python=3.11\n  - pip\n  - pip: [x]\n\
         variables: {B: 2}\nplatforms: [osx-arm64, linux-64]",
    );
    // A file without channels does not change the list of channels, and one without dependencies adds no specs.
    let rest = named("rest.yml", "variables: {C: 3}");
    let merged = Environment::merge(vec![rest.clone(), more.clone(), base.clone()]).unwrap();
    assert_snapshot!(summary(&merged), @"name `other`; channels `nvidia`, `conda-forge`; specs `numpy<2`, `python=3.11`, `pip`, `numpy`; pip `x`; variables `C=3`, `B=1`, `A=1`; platforms `osx-arm64`, `linux-64`");
    let places = merged.requirements.iter().map(|r| format!("{}:{} {}", r.file.display(), r.location.line, r.text));
    assert_snapshot!(places.collect::<Vec<_>>().join("\n"), @"
    more.yml:4 numpy<2
    more.yml:5 python=3.11
    more.yml:6 pip
    base.yml:3 numpy
    ");
    let defaults = Environment::merge(vec![rest.clone(), rest]).unwrap();
    assert_eq!(defaults.channels.len(), 2);

    let other = named("other.yml", "name: o\nchannels: [conda-forge, pytorch]\ndependencies: [x]");
    assert_snapshot!(Environment::merge(vec![base, other]).unwrap_err(), @"
    other.yml:2:1: these channels (conda-forge, pytorch) and those of `base.yml` (nvidia, conda-forge) have no common order: neither list is a part of the other
      |
    2 | channels: [conda-forge, pytorch]
      | ^^^^^^^^
      = help: write the same `channels:` in both files, or leave them out of one
    ");
    assert_snapshot!(Environment::merge(Vec::new()).unwrap_err(), @"no environment file is named");
}

/// A warning of a single file is dropped if another file resolves it; a merge has warnings of its own for what it
/// changes.
#[test]
fn what_a_merge_changes_is_told() {
    let base = named("base.yml", "channels: [nvidia, conda-forge]\ndependencies: [python=3.11, pip]");
    let more = named("more.yml", "dependencies:\n  - numpy\n  - pip: [x]");
    let warnings = |environments: Vec<Environment>| {
        let merged = Environment::merge(environments).unwrap();
        merged.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(warnings(vec![more.clone(), base]), @"more.yml:1:1: this file has no `channels:`; those of `base.yml` are used");
    assert_snapshot!(warnings(vec![more]), @"more.yml:3:11: there is a `pip:` list, and `pip` is not among the dependencies; it is added, as conda does");
}
