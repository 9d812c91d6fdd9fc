//! Solving on hand-made repodata: which records are chosen, and how it reads when there are none.

mod removed;

use std::path::Path;

use itertools::Itertools;
use mlconda_environment::ReadOptions;
use rattler_conda_types::{PackageName, PackageRecord, VersionWithSource, package::DistArchiveIdentifier};
use url::Url;

use rattler_conda_types::RepoDataRecord;

use super::*;

pub(super) const FIRST: &str = "https://first.example/lab/";
pub(super) const SECOND: &str = "https://second.example/lab/";

/// A record of `noarch`, from its file name without the extension and what it depends on.
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
        solve(&environment(dependencies), &Repodata::new(subdirs), &linux(), &SolveOptions::default()).unwrap();
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
    solve(&environment(dependencies), &Repodata::new(subdirs), &linux(), &SolveOptions::default())
        .unwrap_err()
        .to_string()
}

/// The chosen packages as [`chosen`] has them, with options.
fn chosen_with(options: SolveOptions, dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> Vec<String> {
    let solution = solve(&environment(dependencies), &Repodata::new(subdirs), &linux(), &options).unwrap();
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
    let solution = solve(&environment("- r-base"), &repodata, &linux(), &SolveOptions::default()).unwrap();
    assert_eq!(solution.records[0].package_record.version.as_str(), "4.0");
}

#[test]
fn what_is_newer_than_the_cutoff_does_not_exist() {
    let at = |stem: &str, time: i64| {
        with(record(FIRST, stem, &[]), |record| record.timestamp = serde_json::from_value(time.into()).unwrap())
    };
    // Channels have milliseconds and, from early days, seconds: 2020-09-13T12:26:40Z and 2023-11-14T22:13:20Z.
    let ages = || vec![vec![at("tool-2.0-0", 1_600_000_000), at("tool-3.0-0", 1_700_000_000_000)]];
    let chosen_at = |cutoff: &str, subdirs| {
        let options = SolveOptions { exclude_newer: Some(cutoff.parse().unwrap()), ..SolveOptions::default() };
        chosen_with(options, "- tool", subdirs)
    };
    assert_eq!(chosen_at("2023-11-14", ages()), ["first/tool-3.0-0"], "a date is its end");
    assert_eq!(chosen_at("2023-11-14T22:13:20Z", ages()), ["first/tool-3.0-0"]);
    assert_eq!(chosen_at("2023-11-15T00:13:19+02:00", ages()), ["first/tool-2.0-0"]);
    // When it was indexed counts more than when it was built; and what tells neither counts as old.
    let indexed = |time: i64| {
        with(at("tool-3.0-0", 1_700_000_000_000), |record| {
            record.indexed_timestamp = serde_json::from_value(time.into()).unwrap();
        })
    };
    let late = vec![vec![at("tool-2.0-0", 1_600_000_000), indexed(1_750_000_000_000)]];
    assert_eq!(chosen_at("2024-01-01", late), ["first/tool-2.0-0"]);
    assert_eq!(chosen_at("2001-01-01", vec![vec![record(FIRST, "tool-9.0-0", &[])]]), ["first/tool-9.0-0"]);
    // A channel that had nothing yet hides nothing.
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
    // The dependencies' versions decide between variants before the time does.
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

#[test]
fn all_misspelt_names_are_told_at_once_with_near_ones() {
    let names = ["pandas-2.0-0", "scikit-learn-1.3-0", "scipy-1.0-0"];
    let records = names.iter().map(|stem| record(FIRST, stem, &[])).collect();
    insta::assert_snapshot!(failure("- scipy\n- pandsa >=2\n- sklearn\n- zzzz\n- scipy1.0\n- pywin32\n", vec![records]), @"
    environment.yml:4:3: no channel has `pandsa` for `linux-64`
      |
    4 | - pandsa >=2
      |   ^^^^^^^^^^
      = help: did you mean `pandas`?

    environment.yml:5:3: no channel has `sklearn` for `linux-64`
      |
    5 | - sklearn
      |   ^^^^^^^
      = help: did you mean `scikit-learn`?

    environment.yml:6:3: no channel has `zzzz` for `linux-64`
      |
    6 | - zzzz
      |   ^^^^
      = help: check the spelling, and whether the channel that has it is under `channels:`

    environment.yml:7:3: no channel has `scipy1.0` for `linux-64`
      |
    7 | - scipy1.0
      |   ^^^^^^^^
      = help: did you mean `scipy=1.0`?

    environment.yml:8:3: no channel has `pywin32` for `linux-64`
      |
    8 | - pywin32
      |   ^^^^^^^
      = help: it is a package of win: `- sel(win): pywin32` asks for it there only
    ");
}

#[test]
fn near_names_are_those_of_a_slip_or_of_another_tongue() {
    let known = "arpack ciso8601 future gcc_linux-64 liblapack libpng numpy openff-toolkit-base openmm openmpi param pytest-md \
                 python python-box python3-saml pythongo r-ggplot2 requests scikit-learn torchvision yaml";
    let names = known.split_whitespace().collect();
    let near = |name: &str| format!("{name} → {}", near_names(name, &names).join(" ")).trim_end().to_owned();
    let asked = "ggplot2 glm iso8601 lapack libpng-dev nmupy openff-toolkit openmp pari pytest-qt python-pptx \
                 python-yaml python3 python3-requests scikit-lern torch-vision vulture";
    insta::assert_snapshot!(asked.split_whitespace().map(near).collect::<Vec<_>>().join("\n"), @"
    ggplot2 → r-ggplot2
    glm →
    iso8601 → ciso8601
    lapack → liblapack
    libpng-dev → libpng
    nmupy → numpy
    openff-toolkit → openff-toolkit-base
    openmp → openmm openmpi
    pari →
    pytest-qt →
    python-pptx →
    python-yaml → yaml
    python3 → python
    python3-requests → requests
    scikit-lern → scikit-learn
    torch-vision → torchvision
    vulture →
    ");
}

#[test]
fn a_contradiction_is_explained() {
    let records = vec![
        record(FIRST, "app-1.0-0", &["lib >=2", "helper"]),
        record(FIRST, "helper-1.0-0", &["lib <2"]),
        record(FIRST, "lib-1.0-0", &[]),
        record(FIRST, "lib-2.0-0", &[]),
    ];
    insta::assert_snapshot!(failure("- app", vec![records]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `app` cannot be installed:
       └─ app 1.0 needs
          ├─ `lib >=2`, which is possible:
          │  └─ lib 2.0
          └─ `helper`, which cannot be installed:
             └─ helper 1.0 needs
                └─ `lib <2`, which cannot be installed:
                   └─ lib 1.0, which conflicts with the versions above
    ");
}

#[test]
fn a_version_that_is_nowhere_is_told_with_those_that_are_there() {
    let records: Vec<_> =
        ["lib-2.0-0", "lib-10.0-0", "lib-10.0-1"].iter().map(|stem| record(FIRST, stem, &[])).collect();
    insta::assert_snapshot!(failure("- lib >=11", vec![records.clone()]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    nothing matches `lib >=11`: the channels have versions 10.0, 2.0
    ");
    // Of what was not loaded whole, there may be more.
    let mut repodata = Repodata::new(vec![records]);
    repodata.partial = ["lib".to_owned()].into();
    let error = solve(&environment("- lib >=11"), &repodata, &linux(), &SolveOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("nothing matches `lib >=11`"), "{error}");
}

#[test]
fn a_gpu_is_not_assumed_and_its_lack_is_told() {
    let subdirs = vec![vec![record(FIRST, "torch-2.0-cuda", &["__cuda >=12"])]];
    let repodata = Repodata::new(subdirs);
    let environment = environment("- torch");
    let error = solve_for_oldest(&environment, &repodata, &linux(), &[], &SolveOptions::default()).unwrap_err();
    let SolveError::Unsolvable { virtual_packages, .. } = error else { panic!("{error}") };
    let lacking = VirtualDemand { name: "__cuda".into(), wanted: ">=12".into(), assumed: None };
    assert_eq!(virtual_packages, [lacking]);
    let declared = linux().with(&["__cuda=12.4".parse().unwrap()]);
    assert_eq!(solve(&environment, &repodata, &declared, &SolveOptions::default()).unwrap().records.len(), 1);
}

#[test]
fn an_old_system_is_raised_to_the_oldest_that_will_do_unless_it_was_declared() {
    let repodata = Repodata::new(vec![vec![
        record(FIRST, "tool-1.0-0", &["__glibc >=2.38,<3.0.a0"]),
        record(FIRST, "tool-2.0-0", &["__glibc >=2.41,<3.0.a0"]),
    ]]);
    let environment = environment("- tool");
    let (solution, host) = solve_for_oldest(&environment, &repodata, &linux(), &[], &SolveOptions::default()).unwrap();
    assert_eq!(solution.records[0].package_record.version.as_str(), "1.0");
    assert!(host.virtual_packages.iter().any(|package| package.to_string() == "__glibc=2.38=0"));
    let pinned = ["__glibc=2.31".parse().unwrap()];
    assert!(
        solve_for_oldest(&environment, &repodata, &linux().with(&pinned), &pinned, &SolveOptions::default()).is_err()
    );
}

#[test]
fn what_the_solver_cannot_take_is_refused() {
    let mut environment = environment("- tool");
    environment.requirements[0].spec.url = Url::parse("https://host/tool-1.0-0.conda").ok();
    let error = solve(&environment, &Repodata::default(), &linux(), &SolveOptions::default()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"environment.yml:3:3: cannot solve for `tool`: the record of its archive was not loaded");
}

/// Solves with locks of these packages there already.
fn updated(
    dependencies: &str,
    subdirs: Vec<Vec<RepoDataRecord>>,
    locked: &[&[&str]],
    renew: Upgrade,
) -> (Vec<String>, Vec<String>) {
    let (environment, repodata) = (environment(dependencies), Repodata::new(subdirs));
    let lock = |packages: &&[&str]| {
        let lines: String = packages.iter().map(|stem| format!("{FIRST}noarch/{stem}.conda\n")).collect();
        let text =
            format!("# mlconda lock: 1\n# platform: linux-64\n# virtual package: __glibc=2.34=0\n@EXPLICIT\n{lines}");
        mlconda_lock::explicit::parse(&text, Path::new("/env.lock"), &mlconda_lock::Expansion::default()).unwrap()
    };
    let locks: Vec<_> = locked.iter().map(lock).collect();
    let previous = Previous { locks: &locks, renew: &renew };
    let (solution, host) = update(&environment, &repodata, &linux(), &[], &SolveOptions::default(), previous).unwrap();
    let why = change_reasons(&environment, &repodata, &host, &solution, previous);
    let names = solution.records.iter().map(|record| {
        record
            .url
            .as_str()
            .trim_start_matches(FIRST)
            .trim_start_matches("noarch/")
            .trim_end_matches(".conda")
            .trim_end_matches("-0")
            .to_owned()
    });
    (names.sorted().collect(), why.iter().map(|(name, why)| format!("{name}: {why}")).collect())
}

/// `app` needs `lib`, and each of its versions another; `base` is below both.
fn generations() -> Vec<RepoDataRecord> {
    vec![
        record(FIRST, "app-1.0-0", &["lib >=1,<2", "base"]),
        record(FIRST, "app-2.0-0", &["lib >=2", "base"]),
        record(FIRST, "lib-1.0-0", &["base"]),
        record(FIRST, "lib-1.5-0", &["base"]),
        record(FIRST, "lib-2.0-0", &["base", "extra"]),
        record(FIRST, "base-1.0-0", &[]),
        record(FIRST, "base-1.1-0", &[]),
        record(FIRST, "extra-1.0-0", &[]),
        record(FIRST, "other-1.0-0", &["lib <2"]),
        record(FIRST, "other-3.0-0", &["lib >=2"]),
    ]
}

#[test]
fn what_was_locked_stays_for_as_long_as_it_answers() {
    let old: &[&[&str]] = &[&["app-1.0-0", "lib-1.0-0", "base-1.0-0"]];
    let update = |dependencies, renew| updated(dependencies, vec![generations()], old, renew);
    assert_eq!(
        update("- app", Upgrade::AsNeeded),
        (vec!["app-1.0".into(), "base-1.0".into(), "lib-1.0".into()], vec![])
    );
    // Something new comes in a version that goes with what is there.
    insta::assert_debug_snapshot!(update("- app\n- other", Upgrade::AsNeeded), @r#"
    (
        [
            "app-1.0",
            "base-1.0",
            "lib-1.0",
            "other-1.0",
        ],
        [
            "other: `other` is asked for by environment.yml:4",
        ],
    )
    "#);
    // What must change takes along what it forces, and no more.
    insta::assert_debug_snapshot!(update("- app >=2", Upgrade::AsNeeded), @r#"
    (
        [
            "app-2.0",
            "base-1.0",
            "extra-1.0",
            "lib-2.0",
        ],
        [
            "app: `app >=2` is asked for by environment.yml:3",
            "extra: lib 2.0 needs `extra`",
            "lib: app 2.0 needs `lib >=2`",
        ],
    )
    "#);
    insta::assert_debug_snapshot!(update("- lib", Upgrade::AsNeeded), @r#"
    (
        [
            "base-1.0",
            "lib-1.0",
        ],
        [
            "app: nothing needs it any more",
        ],
    )
    "#);
}

#[test]
fn what_is_renewed_is_what_it_would_be_without_a_lock() {
    let old: &[&[&str]] = &[&["app-1.0-0", "lib-1.0-0", "base-1.0-0"]];
    let update = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        updated("- app", vec![generations()], old, Upgrade::Packages(names))
    };
    insta::assert_debug_snapshot!(update(&["lib"]), @r#"
    (
        [
            "app-2.0",
            "base-1.0",
            "extra-1.0",
            "lib-2.0",
        ],
        [
            "app: the old one needs `lib >=1,<2`",
            "extra: lib 2.0 needs `extra`",
            "lib: renewed with `--update`",
        ],
    )
    "#);
    insta::assert_debug_snapshot!(update(&["base"]), @r#"
    (
        [
            "app-1.0",
            "base-1.1",
            "lib-1.0",
        ],
        [
            "base: renewed with `--update`",
        ],
    )
    "#);
    insta::assert_debug_snapshot!(updated("- app", vec![generations()], old, Upgrade::All), @r#"
    (
        [
            "app-2.0",
            "base-1.1",
            "extra-1.0",
            "lib-2.0",
        ],
        [
            "app: renewed with `--update`",
            "base: renewed with `--update`",
            "extra: lib 2.0 needs `extra`",
            "lib: renewed with `--update`",
        ],
    )
    "#);
}

#[test]
fn what_is_gone_hidden_or_too_much_for_the_machine_is_replaced() {
    let mut records = generations();
    records.retain(|record| record.url.as_str() != format!("{FIRST}noarch/lib-1.0-0.conda"));
    let old: &[&[&str]] = &[&["app-1.0-0", "lib-1.0-0", "base-1.0-0"]];
    insta::assert_debug_snapshot!(updated("- app", vec![records], old, Upgrade::AsNeeded), @r#"
    (
        [
            "app-1.0",
            "base-1.0",
            "lib-1.5",
        ],
        [
            "lib: the old one is no longer in the channel",
        ],
    )
    "#);
    // Another channel has come before the one that it is from: favouring it must not lead around the order.
    let hidden = vec![vec![record(SECOND, "base-0.5-0", &[])], generations()];
    let (chosen, why) = updated("- base", hidden, &[&["base-1.0-0"]], Upgrade::AsNeeded);
    assert_eq!(chosen, ["https://second.example/lab/noarch/base-0.5"]);
    assert_eq!(why, ["base: the old one is ruled out by the order of the channels, or by its age"]);
    // The machine was raised for it once, and is again.
    let raised = vec![record(FIRST, "tool-1.0-0", &[]), record(FIRST, "tool-2.0-0", &["__glibc >=2.34"])];
    let newer = vec![record(FIRST, "tool-2.0-0", &["__glibc >=2.40"]), record(FIRST, "tool-1.0-0", &[])];
    assert_eq!(updated("- tool", vec![raised], &[&["tool-2.0-0"]], Upgrade::AsNeeded).0, ["tool-2.0"]);
    assert_eq!(updated("- tool", vec![newer], &[&["tool-2.0-0"]], Upgrade::AsNeeded).0, ["tool-1.0"]);
}

#[test]
fn where_a_build_cannot_stay_its_version_does() {
    let build = |stem: &str, core: &str| record(FIRST, stem, &[core]);
    let records = vec![
        record(FIRST, "core-1.0-0", &[]),
        record(FIRST, "core-2.0-0", &[]),
        build("tool-1.0-cpu_py1habcdef0_0", "core <2"),
        build("tool-1.0-cpu_py2habcdef1_0", "core >=2"),
        build("tool-1.0-gpu_py2habcdef2_0", "core >=2"),
        build("tool-1.5-cpu_py2habcdef3_0", "core"),
    ];
    let old: &[&[&str]] = &[&["core-1.0-0", "tool-1.0-cpu_py1habcdef0_0"]];
    let (chosen, why) = updated("- core >=2\n- tool", vec![records], old, Upgrade::AsNeeded);
    assert_eq!(chosen, ["core-2.0", "tool-1.0-cpu_py2habcdef1_0"]);
    assert_eq!(why, ["core: `core >=2` is asked for by environment.yml:3", "tool: the old one needs `core <2`"]);
}

#[test]
fn of_several_locks_the_first_that_answers_counts() {
    let locks: &[&[&str]] = &[&["lib-2.0-0"], &["lib-1.0-0", "base-1.0-0"]];
    assert_eq!(updated("- lib", vec![generations()], locks, Upgrade::AsNeeded).0, ["base-1.0", "extra-1.0", "lib-2.0"]);
    assert_eq!(updated("- lib <2", vec![generations()], locks, Upgrade::AsNeeded).0, ["base-1.0", "lib-1.0"]);
}

#[test]
fn what_does_not_fit_is_found_among_many_that_do() {
    // Fifty pairs, each of which goes together, and one package that must move and takes one of them along.
    let mut records = vec![record(FIRST, "core-1.0-0", &[]), record(FIRST, "core-2.0-0", &[])];
    for number in 0..50 {
        let core = if number == 17 { "core <2" } else { "core" };
        records.push(record(FIRST, &format!("p{number}-1.0-0"), &[core]));
        records.push(record(FIRST, &format!("p{number}-2.0-0"), &[]));
        records.push(record(FIRST, &format!("q{number}-1.0-0"), &[]));
        records.push(record(FIRST, &format!("q{number}-1.1-0"), &[]));
        // The newest of a new package wants what is not locked, an older one does not.
        records.push(record(FIRST, &format!("r{number}-2.0-0"), &[&format!("q{number} >=1.1")]));
        records.push(record(FIRST, &format!("r{number}-1.0-0"), &[&format!("q{number}")]));
    }
    let names = |letter: char| (0..50).map(move |number| format!("{letter}{number}-1.0-0"));
    let old: Vec<String> = names('p').chain(names('q')).chain(["core-1.0-0".to_owned()]).collect();
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let lines: String = (0..50).map(|n| format!("- p{n}\n- r{n}\n")).collect();
    let (_, why) = updated(&format!("- core=2\n{lines}"), vec![records], &[&old], Upgrade::AsNeeded);
    let changed: Vec<_> = why.iter().filter(|line| !line.starts_with('r')).collect();
    insta::assert_debug_snapshot!(changed, @r#"
    [
        "core: `core=2` is asked for by environment.yml:3",
        "p17: the old one needs `core <2`",
    ]
    "#);
}

/// A package that became `noarch` is there twice for a while. conda prefers the platform's, too, after the build number.
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
