//! Conflicts with the system: virtual packages that are not declared, and other platforms.

use super::*;

#[test]
fn a_gpu_that_is_not_declared() {
    let records = [
        record(FIRST, "torch-2.0-cuda", &["__cuda >=12.1", "lib"]),
        record(FIRST, "torch-1.0-cpu", &["lib"]),
        record(FIRST, "lib-1.0-0", &[]),
    ];
    assert_snapshot!(plainly(&["torch >=2"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    `linux-64` is assumed to have no `__cuda`, and it is needed:
    └─ line 3 asks for `torch >=2`
       └─ torch 2.0 needs `__cuda >=12.1`
    this line alone has no solution:
      environment.yml:3: torch >=2
    each of these changes gives a solution:
      line 3: `torch` instead of `torch >=2` (gives torch 1.0)
      `--virtual-package __cuda=12.1`, if the machine has it (gives torch 2.0)
    ");
}

#[test]
fn a_system_that_is_declared_too_old() {
    let repodata = Repodata::new(vec![vec![
        record(FIRST, "tool-1.0-0", &["engine"]),
        record(FIRST, "engine-1.0-0", &["__glibc >=2.34,<3.0.a0"]),
    ]]);
    let pinned = ["__glibc=2.17".parse().unwrap()];
    let host = linux().with(&pinned);
    let options = SolveOptions::default();
    let explanation =
        explain(&environment("- tool"), &repodata, &host, &pinned, &options, ExplainEffort::default()).unwrap();
    assert_snapshot!(explanation, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    `linux-64` is assumed to have `__glibc=2.17`, and that is not what is needed:
    └─ line 3 asks for `tool`
       └─ tool 1.0 needs `engine`
          └─ engine 1.0 needs `__glibc >=2.34,<3.0.a0`
    this line alone has no solution:
      environment.yml:3: tool
    this change gives a solution:
      `--virtual-package __glibc=2.34`, if the machine has it (gives tool 1.0)
    ");
    assert!(explain(&environment("- tool"), &repodata, &linux(), &[], &options, ExplainEffort::default()).is_none());
}

#[test]
fn another_platform_is_needed() {
    let records = [record(FIRST, "app-1.0-0", &["__osx >=11"])];
    assert_snapshot!(plainly(&["app"], &records), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    `linux-64` is assumed to have no `__osx`, and it is needed:
    └─ line 3 asks for `app`
       └─ app 1.0 needs `__osx >=11`
    this line alone has no solution:
      environment.yml:3: app
    ");
}

#[test]
fn what_a_newer_system_will_do_for_is_no_conflict() {
    let records = [
        record(FIRST, "engine-1.0-0", &["__glibc >=2.34"]),
        record(FIRST, "a-1.0-0", &["lib 1.*"]),
        record(FIRST, "b-1.0-0", &["lib 2.*"]),
        record(FIRST, "lib-1.0-0", &[]),
        record(FIRST, "lib-2.0-0", &[]),
    ];
    let asked = environment("- engine\n- a\n- b\n");
    let repodata = Repodata::new(vec![records.to_vec()]);
    let told = |pinned: &[Override]| {
        let host = linux().with(pinned);
        explain(&asked, &repodata, &host, pinned, &SolveOptions::default(), ExplainEffort::default()).unwrap()
    };
    let lines = |explanation: &Explanation| {
        let conflicts = explanation.conflicts.iter();
        conflicts.map(|conflict| conflict.lines.iter().map(|line| line.text.as_str()).join(" ")).collect_vec()
    };
    assert_eq!(lines(&told(&[])), ["a b"]);
    assert_eq!(lines(&told(&["__glibc=2.28".parse().unwrap()])), ["engine", "a b"]);
}

/// A newer system would satisfy one dependency, but the package still could not be installed.
#[test]
fn what_a_newer_system_does_not_help_is_not_told_of_the_system() {
    let records =
        [record(FIRST, "app-1.0-0", &["__glibc >=2.34", "lib"]), dated(record(FIRST, "lib-1.0-0", &[]), 1_600_000_000)];
    let options = SolveOptions { exclude_newer: Some("2019-01-01".parse().unwrap()), ..SolveOptions::default() };
    let asked = environment("- app");
    let repodata = Repodata::new([records.to_vec()]);
    let explanation = explain(&asked, &repodata, &linux(), &[], &options, ExplainEffort::default()).unwrap();
    assert_snapshot!(explanation, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `lib` will do:
    ├─ line 3 asks for `app`
    │  └─ app 1.0 needs `lib`
    └─ lib 1.0 is newer than 2019-01-01T23:59:59Z
    this line alone has no solution:
      environment.yml:3: app
    this change gives a solution:
      `--exclude-newer 2020-09-13T12:26:40Z` or later (gives app 1.0)
    ");
}
