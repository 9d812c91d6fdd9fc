//! Solves with hand-made repodata: which records are chosen, and the messages if there is no solution.

mod failures;
mod limited;
mod removed;
mod update;

use std::path::Path;

use itertools::Itertools;
use mlconda_environment::ReadOptions;
use rattler_conda_types::{PackageName, PackageRecord, VersionWithSource, package::DistArchiveIdentifier};
use url::Url;

use rattler_conda_types::RepoDataRecord;

use super::*;

pub(super) const FIRST: &str = "https://first.example/lab/";
pub(super) const SECOND: &str = "https://second.example/lab/";

/// A `noarch` record, from its file name without the extension and its dependencies.
pub(super) fn record(channel: &str, stem: &str, depends: &[&str]) -> RepoDataRecord {
    let file = format!("{stem}.conda");
    let mut parts = stem.rsplitn(3, '-');
    let (build, version, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let version: VersionWithSource = version.parse().unwrap();
    let mut package = PackageRecord::new(name.parse::<PackageName>().unwrap(), version, build.parse().unwrap());
    package.depends = depends.iter().map(ToString::to_string).collect();
    package.subdir = "noarch".to_owned();
    RepoDataRecord {
        package_record: package,
        identifier: file.parse::<DistArchiveIdentifier>().unwrap(),
        url: Url::parse(&format!("{channel}noarch/{file}")).unwrap(),
        channel: Some(channel.to_owned()),
    }
}

pub(super) fn environment(dependencies: &str) -> Environment {
    let text = format!("channels: [{FIRST}, {SECOND}]\ndependencies:\n{dependencies}");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    Environment::parse(&text, Path::new("environment.yml"), &options).unwrap()
}

pub(super) fn linux() -> Host {
    Host::baseline(Subdir::Linux64)
}

/// The chosen packages, sorted: `name-version-build`.
fn chosen(dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> Vec<String> {
    let solution =
        solve_for_host(&environment(dependencies), &Repodata::new(subdirs), &linux(), &SolveOptions::default())
            .unwrap();
    assert!(solution.records.iter().all(|record| record.package_record.depends.iter().all(|spec| spec != "pip")));
    names(&solution)
}

fn names(solution: &Solution) -> Vec<String> {
    solution
        .records
        .iter()
        .map(|record| {
            record.url.as_str().trim_end_matches(".conda").replace("https://", "").replace(".example/lab/noarch", "")
        })
        .sorted()
        .collect()
}

fn failure(dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> String {
    solve_for_host(&environment(dependencies), &Repodata::new(subdirs), &linux(), &SolveOptions::default())
        .unwrap_err()
        .to_string()
}

/// The chosen packages as [`chosen`] has them, with options.
fn chosen_with(options: SolveOptions, dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> Vec<String> {
    let solution = solve_for_host(&environment(dependencies), &Repodata::new(subdirs), &linux(), &options).unwrap();
    assert_eq!(solution.options, options);
    names(&solution)
}

/// A change to a record.
pub(crate) fn with(mut record: RepoDataRecord, change: impl FnOnce(&mut PackageRecord)) -> RepoDataRecord {
    change(&mut record.package_record);
    record
}

#[test]
fn every_python_brings_pip_but_its_record_stays_as_the_channel_has_it() {
    let python = || record(FIRST, "python-3.11.2-h1_0", &[]);
    let pip = || record(FIRST, "pip-24.0-py_0", &["python >=3.8"]);
    assert_eq!(chosen("- python", vec![vec![python(), pip()]]), ["first/pip-24.0-py_0", "first/python-3.11.2-h1_0"]);
    assert_eq!(chosen("- python", vec![vec![python()]]), ["first/python-3.11.2-h1_0"]);
    let options = SolveOptions { pip: Pip::NotAdded, ..SolveOptions::default() };
    assert_eq!(chosen_with(options, "- python", vec![vec![python(), pip()]]), ["first/python-3.11.2-h1_0"]);
}

#[test]
fn the_first_channel_that_has_a_package_counts_unless_another_is_named() {
    let subdirs = || vec![vec![record(FIRST, "tool-1.0-0", &[])], vec![record(SECOND, "tool-2.0-0", &[])]];
    assert_eq!(chosen("- tool", subdirs()), ["first/tool-1.0-0"]);
    assert_eq!(chosen(&format!("- {SECOND}::tool"), subdirs()), ["second/tool-2.0-0"]);
    insta::assert_snapshot!(failure("- tool >=2", subdirs()), @"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `tool >=2` cannot be installed:
       └─ tool 2.0 is in `https://second.example/lab/`, and a channel before it has packages of the same name
    ");
}

#[test]
fn flexible_prefers_the_first_channel_and_disabled_the_newest_version() {
    let subdirs = || {
        let first = vec![record(FIRST, "tool-1.0-0", &[]), record(FIRST, "tool-1.1-0", &["missing"])];
        vec![first, vec![record(SECOND, "tool-2.0-0", &[]), record(SECOND, "tool-3.0-0", &[])]]
    };
    let flexible = SolveOptions { channel_priority: ChannelPriority::Flexible, ..SolveOptions::default() };
    assert_eq!(chosen_with(flexible, "- tool", subdirs()), ["first/tool-1.0-0"], "any of the first channel");
    assert_eq!(chosen_with(flexible, "- tool >1,<3", subdirs()), ["second/tool-2.0-0"], "if it will do");
    let disabled = SolveOptions { channel_priority: ChannelPriority::Disabled, ..SolveOptions::default() };
    assert_eq!(chosen_with(disabled, "- tool", subdirs()), ["second/tool-3.0-0"]);
}

#[test]
fn what_defaults_consists_of_is_one_channel_to_conda() {
    let (main, r) = ("https://repo.anaconda.com/pkgs/main/", "https://repo.anaconda.com/pkgs/r/");
    let subdirs = vec![vec![record(main, "r-base-3.6-0", &[])], vec![record(r, "r-base-4.0-0", &[])]];
    let repodata = Repodata::new(subdirs);
    let solution = solve_for_host(&environment("- r-base"), &repodata, &linux(), &SolveOptions::default()).unwrap();
    assert_eq!(solution.records[0].package_record.version.as_str(), "4.0");
}

#[test]
fn what_is_newer_than_the_cutoff_does_not_exist() {
    let at = |stem: &str, time: i64| {
        with(record(FIRST, stem, &[]), |record| record.timestamp = serde_json::from_value(time.into()).unwrap())
    };
    // Channels have timestamps in milliseconds and, in old records, in seconds: 2020-09-13T12:26:40Z and
    // 2023-11-14T22:13:20Z.
    let ages = || vec![vec![at("tool-2.0-0", 1_600_000_000), at("tool-3.0-0", 1_700_000_000_000)]];
    let chosen_at = |cutoff: &str, subdirs| {
        let options = SolveOptions { exclude_newer: Some(cutoff.parse().unwrap()), ..SolveOptions::default() };
        chosen_with(options, "- tool", subdirs)
    };
    assert_eq!(chosen_at("2023-11-14", ages()), ["first/tool-3.0-0"], "a date is its end");
    assert_eq!(chosen_at("2023-11-14T22:13:20Z", ages()), ["first/tool-3.0-0"]);
    assert_eq!(chosen_at("2023-11-15T00:13:19+02:00", ages()), ["first/tool-2.0-0"]);
    // The time of indexing takes precedence over the time of the build; a record with neither counts as old.
    let indexed = |time: i64| {
        with(at("tool-3.0-0", 1_700_000_000_000), |record| {
            record.indexed_timestamp = serde_json::from_value(time.into()).unwrap();
        })
    };
    let late = vec![vec![at("tool-2.0-0", 1_600_000_000), indexed(1_750_000_000_000)]];
    assert_eq!(chosen_at("2024-01-01", late), ["first/tool-2.0-0"]);
    assert_eq!(chosen_at("2001-01-01", vec![vec![record(FIRST, "tool-9.0-0", &[])]]), ["first/tool-9.0-0"]);
    // A channel without any record that is old enough hides nothing.
    let channels = vec![vec![at("tool-3.0-0", 1_700_000_000_000)], vec![record(SECOND, "tool-1.0-0", &[])]];
    assert_eq!(chosen_at("2021-01-01", channels), ["second/tool-1.0-0"]);
    assert!(
        ["yesterday", "2024-13-01", "2024-01-01T00:00:00", "1700000000"]
            .iter()
            .all(|text| text.parse::<Cutoff>().is_err())
    );
}

#[test]
fn among_equal_versions_the_choice_is_condas() {
    let number = |stem: &str, number| with(record(FIRST, stem, &[]), |record| record.build_number = number);
    let built = |stem: &str, time: i64| {
        with(record(FIRST, stem, &[]), |record| record.timestamp = serde_json::from_value(time.into()).unwrap())
    };
    let tracks =
        with(record(FIRST, "blas-2.0-special_0", &[]), |record| record.track_features = vec!["special".into()]);
    assert_eq!(
        chosen("- tool", vec![vec![number("tool-1.0-b_2", 2), number("tool-1.0-a_10", 10)]]),
        ["first/tool-1.0-a_10"]
    );
    let plain = record(FIRST, "blas-1.0-plain_0", &[]);
    assert_eq!(chosen("- blas", vec![vec![tracks.clone(), plain.clone()]]), ["first/blas-1.0-plain_0"]);
    assert_eq!(chosen("- blas=*=special*", vec![vec![tracks, plain]]), ["first/blas-2.0-special_0"]);
    let times = vec![built("tool-1.0-x_0", 1_700_000_000_000), built("tool-1.0-y_0", 1_600_000_000_000)];
    assert_eq!(chosen("- tool", vec![times]), ["first/tool-1.0-x_0"]);
    // The versions of the dependencies decide between variants before the timestamp does.
    let variants = vec![
        record(FIRST, "ext-1.0-py311_0", &["python 3.11.*"]),
        record(FIRST, "ext-1.0-py312_0", &["python 3.12.*"]),
        record(FIRST, "python-3.11.2-0", &[]),
        record(FIRST, "python-3.12.1-0", &[]),
    ];
    assert_eq!(chosen("- ext", vec![variants.clone()]), ["first/ext-1.0-py312_0", "first/python-3.12.1-0"]);
    assert_eq!(chosen("- ext\n- python=3.11", vec![variants]), ["first/ext-1.0-py311_0", "first/python-3.11.2-0"]);
}

#[test]
fn constrains_bind_only_what_is_there() {
    let limits = with(record(FIRST, "tool-1.0-0", &[]), |record| record.constrains = vec!["lib <2".into()]);
    let records = vec![limits, record(FIRST, "lib-1.0-0", &[]), record(FIRST, "lib-2.0-0", &[])];
    assert_eq!(chosen("- tool", vec![records.clone()]), ["first/tool-1.0-0"]);
    assert_eq!(chosen("- tool\n- lib", vec![records]), ["first/lib-1.0-0", "first/tool-1.0-0"]);
}

#[test]
fn conditions_and_extras_in_records_are_followed_and_what_cannot_be_read_rules_out_its_record_only() {
    let records = |condition: &str| {
        vec![
            record(FIRST, "tool-1.0-0", &["python", condition]),
            record(FIRST, "python-3.9.1-0", &[]),
            record(FIRST, "python-3.12.1-0", &[]),
            record(FIRST, "backport-1.0-0", &[]),
        ]
    };
    let condition = r#"backport[when="python <3.10"]"#;
    assert_eq!(chosen("- tool", vec![records(condition)]), ["first/python-3.12.1-0", "first/tool-1.0-0"]);
    let old = ["first/backport-1.0-0", "first/python-3.9.1-0", "first/tool-1.0-0"];
    assert_eq!(chosen("- tool\n- python=3.9", vec![records(condition)]), old);
    let extra = with(record(FIRST, "lib-1.0-0", &[]), |record| {
        record.extra_depends.insert("plot".parse().unwrap(), vec!["charts".into()]);
    });
    let extras = vec![extra, record(FIRST, "charts-1.0-0", &[]), record(FIRST, "app-1.0-0", &["lib[extras=[plot]]"])];
    assert_eq!(chosen("- lib", vec![extras.clone()]), ["first/lib-1.0-0"]);
    assert_eq!(chosen("- app", vec![extras]), ["first/app-1.0-0", "first/charts-1.0-0", "first/lib-1.0-0"]);
    for odd in [
        "lib[",
        "other*",
        "^lib.*$",
        "lib; if python >=3.10",
        "lib[flags=[a]]",
        ">=1",
        r#"lib[when="other[when='third']"]"#,
        r#"lib[when="other*"]"#,
        "lib[extras=[]]",
        "",
    ] {
        let records =
            vec![record(FIRST, "app-2.0-0", &[odd]), record(FIRST, "app-1.0-0", &[]), record(FIRST, "lib-1.0-0", &[])];
        let chosen = chosen("- app", vec![records]);
        assert!(chosen.iter().any(|package| package.starts_with("first/app-")), "{odd}: {chosen:?}");
    }
}

#[test]
fn the_order_of_records_does_not_count() {
    let mut records = vec![
        record(FIRST, "tool-1.0-a_0", &["blas"]),
        record(FIRST, "tool-1.0-b_0", &["blas"]),
        record(FIRST, "blas-1.0-mkl", &[]),
        record(FIRST, "blas-1.0-openblas", &[]),
    ];
    let there = chosen("- tool", vec![records.clone()]);
    records.reverse();
    assert_eq!(chosen("- tool", vec![records]), there);
}

/// A package that became `noarch` may exist twice for a while. conda, too, prefers the platform's record after
/// comparing the build number.
#[test]
fn of_a_build_in_noarch_and_on_the_platform_the_platforms_counts() {
    let native = |stem: &str| {
        let mut native = with(record(FIRST, stem, &[]), |package| package.subdir = "linux-64".to_owned());
        native.url = native.url.as_str().replace("noarch", "linux-64").parse().unwrap();
        native
    };
    let noarch = |stem: &str| record(FIRST, stem, &[]);
    let tie = |first: &str, second: &str| chosen("- tool", vec![vec![native(first)], vec![noarch(second)]]).join("");
    insta::assert_snapshot!(tie("tool-1.0-0", "tool-1.0-0"), @"first.example/lab/linux-64/tool-1.0-0");
    insta::assert_snapshot!(tie("tool-1.0-ha_0", "tool-1.0-pyhd_0"), @"first.example/lab/linux-64/tool-1.0-ha_0");
    insta::assert_snapshot!(tie("tool-1.0-hz_0", "tool-1.0-a_0"), @"first.example/lab/linux-64/tool-1.0-hz_0");
    insta::assert_snapshot!(tie("tool-1.0-0", "tool-1.1-0"), @"first/tool-1.1-0");
}
