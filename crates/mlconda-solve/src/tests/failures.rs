//! Environments without a solution, and their messages.

use super::*;

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
    // If a package was only partly loaded, there may be more versions.
    let mut repodata = Repodata::new(vec![records]);
    repodata.partial = ["lib".to_owned()].into();
    let error = solve_for_host(&environment("- lib >=11"), &repodata, &linux(), &SolveOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("nothing matches `lib >=11`"), "{error}");
}

#[test]
fn a_gpu_is_not_assumed_and_its_lack_is_told() {
    let subdirs = vec![vec![record(FIRST, "torch-2.0-cuda", &["__cuda >=12"])]];
    let repodata = Repodata::new(subdirs);
    let environment = environment("- torch");
    let error = solve(&environment, &repodata, &linux(), &[], &SolveOptions::default()).unwrap_err();
    let SolveError::Unsolvable { virtual_packages, .. } = error else { panic!("{error}") };
    let lacking = VirtualDemand { name: "__cuda".into(), wanted: ">=12".into(), assumed: None };
    assert_eq!(virtual_packages, [lacking]);
    let declared = linux().with(&["__cuda=12.4".parse().unwrap()]);
    assert_eq!(solve_for_host(&environment, &repodata, &declared, &SolveOptions::default()).unwrap().records.len(), 1);
}

#[test]
fn an_old_system_is_raised_to_the_oldest_that_will_do_unless_it_was_declared() {
    let repodata = Repodata::new(vec![vec![
        record(FIRST, "tool-1.0-0", &["__glibc >=2.38,<3.0.a0"]),
        record(FIRST, "tool-2.0-0", &["__glibc >=2.41,<3.0.a0"]),
    ]]);
    let environment = environment("- tool");
    let (solution, host) = solve(&environment, &repodata, &linux(), &[], &SolveOptions::default()).unwrap();
    assert_eq!(solution.records[0].package_record.version.as_str(), "1.0");
    assert!(host.virtual_packages.iter().any(|package| package.to_string() == "__glibc=2.38=0"));
    let pinned = ["__glibc=2.31".parse().unwrap()];
    assert!(solve(&environment, &repodata, &linux().with(&pinned), &pinned, &SolveOptions::default()).is_err());
}

#[test]
fn what_the_solver_cannot_take_is_refused() {
    let mut environment = environment("- tool");
    environment.requirements[0].spec.url = Url::parse("https://host/tool-1.0-0.conda").ok();
    let error =
        solve_for_host(&environment, &Repodata::default(), &linux(), &SolveOptions::default()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"environment.yml:3:3: cannot solve for `tool`: the record of its archive was not loaded");
}
