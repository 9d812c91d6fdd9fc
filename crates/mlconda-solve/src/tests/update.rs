//! Solves that change little of a lock.

use super::*;

/// The result of a solve that prefers the packages of these locks.
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

/// Each version of `app` needs another version of `lib`; both need `base`.
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
    // A new package comes in a version that fits the locked packages.
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
    // A package that must change forces only the changes that are necessary.
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
    // Another channel now comes before that of the locked record: preferring the record must not bypass channel
    // priority.
    let hidden = vec![vec![record(SECOND, "base-0.5-0", &[])], generations()];
    let (chosen, why) = updated("- base", hidden, &[&["base-1.0-0"]], Upgrade::AsNeeded);
    assert_eq!(chosen, ["https://second.example/lab/noarch/base-0.5"]);
    assert_eq!(why, ["base: the old one is ruled out by the order of the channels, or by its age"]);
    // The system was raised for the locked package, and is raised again.
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
    // Fifty pairs that each fit together, and a package that must change and forces a change in one of the pairs.
    let mut records = vec![record(FIRST, "core-1.0-0", &[]), record(FIRST, "core-2.0-0", &[])];
    for number in 0..50 {
        let core = if number == 17 { "core <2" } else { "core" };
        records.push(record(FIRST, &format!("p{number}-1.0-0"), &[core]));
        records.push(record(FIRST, &format!("p{number}-2.0-0"), &[]));
        records.push(record(FIRST, &format!("q{number}-1.0-0"), &[]));
        records.push(record(FIRST, &format!("q{number}-1.1-0"), &[]));
        // The newest version of a new package needs a version that is not locked; an older one does not.
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
