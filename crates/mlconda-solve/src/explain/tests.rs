//! Every kind of conflict, as text: the reasons, the lines, and the remedies.

mod channels;
mod systems;

use std::path::Path;

use insta::assert_snapshot;
use itertools::Itertools;
use mlconda_environment::ReadOptions;
use rattler_conda_types::{Channel, PackageRecord, RepoDataRecord};

use super::*;
use crate::{
    solve_for_host,
    tests::{FIRST, SECOND, environment, linux, record},
};

/// The explanation for an environment with these dependencies; the first of them is on line 3. Every remedy is applied
/// exactly as written, to check that it helps.
fn told(dependencies: &[&str], subdirs: &[Vec<RepoDataRecord>], options: SolveOptions) -> String {
    let text = |lines: &[String]| lines.iter().map(|line| format!("- {line}\n")).collect::<String>();
    let lines: Vec<String> = dependencies.iter().map(ToString::to_string).collect();
    let asked = environment(&text(&lines));
    let repodata = Repodata::new(subdirs.to_vec());
    assert!(solve_for_host(&asked, &repodata, &linux(), &options).is_err());
    let explanation = explain(&asked, &repodata, &linux(), &[], &options, ExplainEffort::default()).unwrap();
    for remedy in &explanation.remedies {
        let (mut lines, mut options, mut host) = (lines.clone(), options, linux());
        for change in &remedy.changes {
            match change {
                RemedyChange::Rewrite(line, form) => lines[line.location.line - 3].clone_from(form),
                RemedyChange::LeaveOut(line) => lines[line.location.line - 3].clear(),
                RemedyChange::ChannelPriority(priority) => options.channel_priority = *priority,
                RemedyChange::VirtualPackage(package) => host = host.with(&[package.parse().unwrap()]),
                RemedyChange::ExcludeNewer(cutoff) => options.exclude_newer = Some(*cutoff),
            }
        }
        lines.retain(|line| !line.is_empty());
        let solution = solve_for_host(&environment(&text(&lines)), &repodata, &host, &options).unwrap();
        let chosen = solution.records.iter().map(|record| {
            let PackageRecord { name, version, .. } = &record.package_record;
            format!("{} {version}", name.as_normalized())
        });
        let chosen = chosen.collect_vec();
        assert!(remedy.gives.iter().all(|given| chosen.contains(given)), "{remedy}: {chosen:?}");
    }
    explanation.to_string()
}

fn plainly(dependencies: &[&str], records: &[RepoDataRecord]) -> String {
    told(dependencies, &[records.to_vec()], SolveOptions::default())
}

fn constrains(mut record: RepoDataRecord, specs: &[&str]) -> RepoDataRecord {
    record.package_record.constrains = specs.iter().map(ToString::to_string).collect();
    record
}

/// A record with a timestamp. Channels have both milliseconds and seconds since 1970.
fn dated(mut record: RepoDataRecord, time: i64) -> RepoDataRecord {
    record.package_record.timestamp = serde_json::from_value(time.into()).unwrap();
    record
}

/// python 3.8 to 3.12.
fn pythons() -> Vec<RepoDataRecord> {
    (8..=12).map(|minor| record(FIRST, &format!("python-3.{minor}.1-0"), &[])).collect()
}

#[test]
fn a_version_that_nobody_has() {
    let records: Vec<_> = (1..=9).map(|minor| record(FIRST, &format!("lib-1.{minor}-0"), &[])).collect();
    assert_snapshot!(plainly(&["lib >=2"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    line 3 asks for `lib >=2`, and there is no such one among the 9 versions from 1.1 to 1.9
    this line alone has no solution:
      environment.yml:3: lib >=2
    this change gives a solution:
      line 3: `lib` instead of `lib >=2` (gives lib 1.9)
    ");
    assert_snapshot!(plainly(&["lib >=2"], &records[..1]), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    line 3 asks for `lib >=2`, and the only version is 1.1
    this line alone has no solution:
      environment.yml:3: lib >=2
    this change gives a solution:
      line 3: `lib` instead of `lib >=2` (gives lib 1.1)
    ");
}

/// The nearest form that has a solution is proposed, but no form that allows nothing new, or every version.
#[test]
fn a_version_that_is_too_exact() {
    let records = [
        record(FIRST, "lib-2.7.18-0", &[]),
        record(FIRST, "lib-3.11.4-0", &["gone"]),
        record(FIRST, "lib-3.11.9-0", &[]),
        record(FIRST, "lib-3.14.0-0", &[]),
        record(FIRST, "old-1.0-0", &["lib 2.*"]),
        record(FIRST, "new-1.0-0", &["lib >=3.12"]),
    ];
    let remedies = |dependencies: &[&str]| {
        let text = plainly(dependencies, &records);
        text.lines().filter(|line| line.contains(" instead of ")).map(str::trim).join("\n")
    };
    assert_snapshot!(remedies(&["lib=3.11.99"]), @"line 3: `lib=3.11` instead of `lib=3.11.99` (gives lib 3.11.9)");
    assert_snapshot!(remedies(&["lib==3.11.99"]), @"line 3: `lib=3.11` instead of `lib==3.11.99` (gives lib 3.11.9)");
    assert_snapshot!(remedies(&["lib==3.11"]), @"line 3: `lib=3.11` instead of `lib==3.11` (gives lib 3.11.9)");
    assert_snapshot!(remedies(&["lib=3.11.9=cuda_0"]), @"line 3: `lib ==3.11.9` instead of `lib=3.11.9=cuda_0` (gives lib 3.11.9)");
    assert_snapshot!(remedies(&["lib=3.11.99", "new"]), @"line 3: `lib=3` instead of `lib=3.11.99` (gives lib 3.14.0)");
    assert_snapshot!(remedies(&["lib=3.11.99", "old"]), @"line 3: `lib` instead of `lib=3.11.99` (gives lib 2.7.18)");
    assert_snapshot!(remedies(&["lib=3.9"]), @"line 3: `lib=3` instead of `lib=3.9` (gives lib 3.14.0)");
    assert_snapshot!(remedies(&["old=1.5.2"]), @"line 3: `old` instead of `old=1.5.2` (gives old 1.0)");
}

#[test]
fn a_build_that_nobody_has() {
    let records = [record(FIRST, "lib-1.0-cpu_0", &[]), record(FIRST, "lib-1.0-cpu_1", &[])];
    assert_snapshot!(plainly(&["lib=1.0=*cuda*"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    line 3 asks for `lib=1.0=*cuda*`, and no such build exists; there are `cpu_1`, `cpu_0`
    this line alone has no solution:
      environment.yml:3: lib=1.0=*cuda*
    this change gives a solution:
      line 3: `lib ==1.0` instead of `lib=1.0=*cuda*` (gives lib 1.0)
    ");
}

#[test]
fn a_python_that_a_package_is_not_built_for() {
    let mut records = pythons();
    records.push(record(FIRST, "frames-1.5-py38", &["python >=3.8,<3.9.0a0"]));
    records.push(record(FIRST, "frames-1.5-py39", &["python >=3.9,<3.10.0a0"]));
    records.push(record(FIRST, "frames-2.0-py312", &["python >=3.12,<3.13.0a0"]));
    records.push(record(FIRST, "innocent-1.0-0", &["python"]));
    assert_snapshot!(plainly(&["innocent", "python=3.12", "frames=1.5"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `python` satisfies all of this:
    ├─ line 4 asks for `python=3.12`
    └─ line 5 asks for `frames=1.5`
       └─ frames 1.5 needs `python >=3.8,<3.9.0a0` or `python >=3.9,<3.10.0a0`
    these 2 lines exclude each other:
      environment.yml:4: python=3.12
      environment.yml:5: frames=1.5
    each of these changes gives a solution:
      line 4: `python` instead of `python=3.12` (gives python 3.9.1)
      line 5: `frames` instead of `frames=1.5` (gives frames 2.0)
    ");
}

#[test]
fn two_packages_that_want_different_versions_of_a_third() {
    let records = [
        record(FIRST, "app-1.0-0", &["lib >=2", "helper"]),
        record(FIRST, "helper-1.0-0", &["lib <2"]),
        record(FIRST, "other-1.0-0", &["lib >=2"]),
        record(FIRST, "lib-1.0-0", &[]),
        record(FIRST, "lib-2.0-0", &[]),
    ];
    assert_snapshot!(plainly(&["app"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `lib` satisfies all of this:
    └─ line 3 asks for `app`
       ├─ app 1.0 needs `lib >=2`
       └─ app 1.0 needs `helper`
          └─ helper 1.0 needs `lib <2`
    this line alone has no solution:
      environment.yml:3: app
    ");
    assert_snapshot!(plainly(&["helper", "other"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `lib` satisfies all of this:
    ├─ line 4 asks for `other`
    │  └─ other 1.0 needs `lib >=2`
    └─ line 3 asks for `helper`
       └─ helper 1.0 needs `lib <2`
    these 2 lines exclude each other:
      environment.yml:3: helper
      environment.yml:4: other
    each of these changes gives a solution:
      line 3: without `helper`
      line 4: without `other`
    ");
}

/// 3.9 comes before 3.10, regardless of their order in the channel.
#[test]
fn alternatives_are_told_in_the_order_of_their_versions() {
    let app = |number: usize, python: &str| {
        let need = format!("python {python}.*");
        record(FIRST, &format!("app-1.0-py{}_{number}", python.replace('.', "")), &[need.as_str()])
    };
    let pythons = ["3.10", "3.12", "3.9", "3.11", "3.8"];
    let mut records: Vec<_> = pythons.iter().enumerate().map(|(number, python)| app(number, python)).collect();
    records.extend(["3.7", "3.8", "3.9", "3.10"].map(|python| record(FIRST, &format!("python-{python}-0"), &[])));
    assert_snapshot!(plainly(&["python=3.7", "app"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `python` satisfies all of this:
    ├─ line 3 asks for `python=3.7`
    └─ line 4 asks for `app`
       └─ app 1.0 needs `python 3.8.*` or `python 3.9.*` or … or `python 3.12.*`
    these 2 lines exclude each other:
      environment.yml:3: python=3.7
      environment.yml:4: app
    each of these changes gives a solution:
      line 3: `python` instead of `python=3.7` (gives python 3.10)
      line 4: without `app`
    ");
}

#[test]
fn a_dependency_that_no_channel_has() {
    let records = [record(FIRST, "app-1.0-0", &["windows-only >=2"]), record(FIRST, "app-0.9-0", &["gone"])];
    assert_snapshot!(plainly(&["app"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `app` will do:
    ├─ line 3 asks for `app`
    ├─ app 0.9 needs `gone`, which no channel has
    └─ app 1.0 needs `windows-only >=2`, which no channel has
    this line alone has no solution:
      environment.yml:3: app
    ");
}

#[test]
fn a_circle_that_does_not_close() {
    let records = [
        record(FIRST, "left-1.0-0", &["right >=2"]),
        record(FIRST, "right-1.0-0", &["left >=1"]),
        record(FIRST, "right-2.0-0", &["left >=2"]),
    ];
    assert_snapshot!(plainly(&["left"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `left` will do:
    └─ line 3 asks for `left`
       └─ left 1.0 needs `right >=2`
          └─ right 2.0 needs `left >=2`
    this line alone has no solution:
      environment.yml:3: left
    ");
}

#[test]
fn a_constraint_on_what_another_line_asks_for() {
    let records = [
        constrains(record(FIRST, "compiler-2.0-0", &[]), &["linker <1.5"]),
        record(FIRST, "linker-1.0-0", &[]),
        record(FIRST, "linker-2.0-0", &[]),
    ];
    assert_snapshot!(plainly(&["compiler", "linker >=2"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `linker` satisfies all of this:
    ├─ line 4 asks for `linker >=2`
    └─ line 3 asks for `compiler`
       └─ compiler 2.0 goes only with `linker <1.5`
    these 2 lines exclude each other:
      environment.yml:3: compiler
      environment.yml:4: linker >=2
    each of these changes gives a solution:
      line 3: without `compiler`
      line 4: `linker` instead of `linker >=2` (gives linker 1.0)
    ");
}

#[test]
fn variants_that_track_features_are_as_good_as_any_where_they_are_asked_for() {
    let mut special = record(FIRST, "blas-1.0-mkl", &["mkl"]);
    special.package_record.track_features = vec!["mkl".to_owned()];
    let records = [special, record(FIRST, "blas-1.0-openblas", &[]), record(FIRST, "mkl-1.0-0", &["nothing"])];
    assert_snapshot!(plainly(&["blas=*=mkl"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no channel has `nothing` for `linux-64`, and it is needed:
    └─ line 3 asks for `blas=*=mkl`
       └─ blas 1.0 mkl needs `mkl`
          └─ mkl 1.0 needs `nothing`
    this line alone has no solution:
      environment.yml:3: blas=*=mkl
    this change gives a solution:
      line 3: `blas` instead of `blas=*=mkl` (gives blas 1.0)
    ");
}

#[test]
fn what_is_newer_than_the_date() {
    let records = [
        dated(record(FIRST, "tool-1.0-0", &[]), 1_600_000_000_000),
        dated(record(FIRST, "tool-2.0-0", &[]), 1_700_000_000_500),
        dated(record(FIRST, "tool-3.0-0", &[]), 1_750_000_000),
    ];
    let options = SolveOptions { exclude_newer: Some("2023-01-01".parse().unwrap()), ..SolveOptions::default() };
    assert_snapshot!(told(&["tool >=2"], &[records.to_vec()], options), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    ├─ line 3 asks for `tool >=2`
    └─ tool 2.0 and 3.0 are newer than 2023-01-01T23:59:59Z
    this line alone has no solution:
      environment.yml:3: tool >=2
    each of these changes gives a solution:
      line 3: `tool` instead of `tool >=2` (gives tool 1.0)
      `--exclude-newer 2023-11-14T22:13:21Z` or later (gives tool 2.0)
    ");
}

#[test]
fn a_choice_of_which_each_leads_nowhere() {
    let records = [
        record(FIRST, "app-1.0-0", &["one", "two"]),
        record(FIRST, "one-1.0-0", &["engine 1.*"]),
        record(FIRST, "one-1.0-1", &["engine 2.*"]),
        record(FIRST, "two-1.0-0", &["engine 1.*", "lib 2.*"]),
        record(FIRST, "two-1.0-1", &["engine 2.*", "lib 1.*"]),
        record(FIRST, "engine-1.0-0", &["lib 1.*"]),
        record(FIRST, "engine-2.0-0", &["lib 2.*"]),
        record(FIRST, "lib-1.0-0", &[]),
        record(FIRST, "lib-2.0-0", &[]),
    ];
    assert_snapshot!(plainly(&["app"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `engine` will do:
    ├─ line 3 asks for `app`
    │  └─ app 1.0 needs `one`
    │     └─ one 1.0 needs `engine`
    ├─ with engine 1.0, no version of `two` will do:
    │  ├─ line 3 asks for `app`
    │  │  └─ app 1.0 needs `two`
    │  ├─ two 1.0 0 needs `lib 2.*`
    │  │  └─ line 3 asks for `app`
    │  │     └─ app 1.0 needs `one`
    │  │        └─ one 1.0 needs `engine`
    │  │           └─ engine 1.0 needs `lib 1.*`
    │  └─ two 1.0 1 needs `engine 2.*`
    └─ with engine 2.0, no version of `two` will do:
       ├─ line 3 asks for `app`
       │  └─ app 1.0 needs `two`
       ├─ two 1.0 0 needs `engine 1.*`
       └─ two 1.0 1 needs `lib 1.*`
          └─ line 3 asks for `app`
             └─ app 1.0 needs `one`
                └─ one 1.0 needs `engine`
                   └─ engine 2.0 needs `lib 2.*`
    this line alone has no solution:
      environment.yml:3: app
    ");
}

#[test]
fn two_conflicts_at_once_and_a_change_for_both() {
    let mut records = pythons();
    records.push(record(FIRST, "old-1.0-0", &["python <3.9"]));
    records.push(record(FIRST, "lib-1.0-0", &[]));
    assert_snapshot!(plainly(&["python=3.12", "old", "lib=2"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for, for several reasons:
    no version of `python` satisfies all of this:
    ├─ line 3 asks for `python=3.12`
    └─ line 4 asks for `old`
       └─ old 1.0 needs `python <3.9`
    these 2 lines exclude each other:
      environment.yml:3: python=3.12
      environment.yml:4: old
    line 5 asks for `lib=2`, and the only version is 1.0
    this line alone has no solution:
      environment.yml:5: lib=2
    this change gives a solution:
      line 3: `python` instead of `python=3.12`, and line 5: `lib` instead of `lib=2` (gives python 3.8.1, lib 1.0)
    ");
}

/// If there are many conflicts, only the first are explained; the lines of the others are only named.
#[test]
fn further_conflicts_are_named() {
    let names = ["a", "b", "c", "d", "e"];
    let mut records: Vec<_> = names.iter().map(|name| record(FIRST, &format!("{name}-1.0-0"), &[])).collect();
    records.push(constrains(record(FIRST, "f-1.0-0", &[]), &["e <1"]));
    let text = plainly(&["a=2", "b=2", "c=2", "d=2", "e", "f"], &records);
    let named = text.lines().find(|line| line.starts_with("and the same is true for")).unwrap();
    assert_snapshot!(named, @"and the same is true for `d=2` (line 6), `e` (line 7) and `f` (line 8) together");
}

#[test]
fn a_search_that_is_cut_short_says_so() {
    let mut records = pythons();
    records.push(record(FIRST, "old-1.0-0", &["python <3.9"]));
    records.push(record(FIRST, "lib-1.0-0", &[]));
    let asked = environment("- python=3.12\n- lib\n- old\n");
    let options = SolveOptions::default();
    let effort = ExplainEffort { solves: 0 };
    let explanation = explain(&asked, &Repodata::new(vec![records]), &linux(), &[], &options, effort).unwrap();
    assert!(!explanation.conflicts[0].is_minimal && explanation.remedies.is_empty());
    assert_snapshot!(explanation.conflicts[0], @"these 3 lines cannot go together (perhaps fewer do it: the search was cut short):");
}

#[test]
fn lines_of_two_files_are_told_with_their_file() {
    let mut records = pythons();
    records.push(record(FIRST, "old-1.0-0", &["python <3.9"]));
    let read = |file: &str, dependencies: &str| {
        let text = format!("channels: [{FIRST}]\ndependencies: [{dependencies}]");
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        Environment::parse(&text, Path::new(file), &options).unwrap()
    };
    let merged = Environment::merge(vec![read("base.yml", "python=3.12"), read("train.yml", "old")]).unwrap();
    let repodata = Repodata::new(vec![records]);
    let explanation =
        explain(&merged, &repodata, &linux(), &[], &SolveOptions::default(), ExplainEffort::default()).unwrap();
    assert_snapshot!(explanation.conflicts[0].reasons, @"
    no version of `python` satisfies all of this:
    ├─ line 2 asks for `python=3.12`
    └─ line 2 of `train.yml` asks for `old`
       └─ old 1.0 needs `python <3.9`
    ");
}

/// `==3.11` allows 3.11.0 only. The proposal is the one that the warning makes, even if the channel has no other
/// version.
#[test]
fn an_exact_version_is_loosened_to_the_nearest_that_solves() {
    for versions in [&["3.11.1"][..], &["3.11.1", "3.11.4"], &["3.11.4", "3.12.1"]] {
        let records: Vec<_> =
            versions.iter().map(|version| record(FIRST, &format!("python-{version}-0"), &[])).collect();
        let told = plainly(&["python==3.11"], &records);
        assert!(told.contains("line 3: `python=3.11` instead of `python==3.11` (gives python 3.11."), "{told}");
    }
}

/// A chain as long as the channel: its explanation is no longer than that of other conflicts, and needs no deep stack.
#[test]
fn a_long_chain_is_told_in_short() {
    const LENGTH: usize = 1_000;
    let link = |index: usize| record(FIRST, &format!("p{index}-1.0-0"), &[&format!("p{}", index + 1)]);
    let mut records: Vec<_> = (0..LENGTH).map(link).collect();
    assert_snapshot!(plainly(&["p0"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no channel has `p1000` for `linux-64`, and it is needed:
    └─ line 3 asks for `p0`
       └─ p0 1.0 needs `p1`
          └─ p1 1.0 needs `p2`
             └─ p2 1.0 needs `p3`
                └─ p3 1.0 needs `p4`
                   └─ p4 1.0 needs `p5`
                      └─ p5 1.0 needs `p6`
                         └─ … and so on, through 987 more packages
                            └─ p993 1.0 needs `p994`
                               └─ p994 1.0 needs `p995`
                                  └─ p995 1.0 needs `p996`
                                     └─ p996 1.0 needs `p997`
                                        └─ p997 1.0 needs `p998`
                                           └─ p998 1.0 needs `p999`
                                              └─ p999 1.0 needs `p1000`
    this line alone has no solution:
      environment.yml:3: p0
    ");
    // Two alternatives, neither of which is needed by itself, so the chain can only be followed backward.
    records.push(record(FIRST, "p0-2.0-0", &["p500"]));
    let told = plainly(&["p0"], &records);
    assert!(told.lines().count() < 40, "{told}");
}
