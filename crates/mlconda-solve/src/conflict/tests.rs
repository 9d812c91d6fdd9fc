//! The reasons from resolvo's conflict graphs as text, and the virtual packages that records need.

use mlconda_channel::repodata::Repodata;
use rattler_conda_types::RepoDataRecord;

use crate::{
    SolveError, SolveOptions, solve, solve_for_host,
    tests::{FIRST, SECOND, environment, linux, record},
};

fn failure(dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> String {
    let repodata = Repodata::new(subdirs);
    solve_for_host(&environment(dependencies), &repodata, &linux(), &SolveOptions::default()).unwrap_err().to_string()
}

fn constrained(stem: &str, depends: &[&str], constraint: &str) -> RepoDataRecord {
    let mut record = record(FIRST, stem, depends);
    record.package_record.constrains.push(constraint.to_owned());
    record
}

#[test]
fn a_record_is_told_of_once() {
    let records = vec![
        record(FIRST, "a-1-0", &["c", "old"]),
        record(FIRST, "b-1-0", &["c", "old"]),
        record(FIRST, "c-1-0", &["old >=2"]),
        record(FIRST, "old-1-0", &[]),
    ];
    insta::assert_snapshot!(failure("- a\n- b", vec![records]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `b` cannot be installed:
       └─ b 1 needs
          └─ `c`, which cannot be installed:
             └─ c 1 needs
                └─ `old >=2`, which nothing matches
    ");
}

#[test]
fn constraints_and_what_is_not_in_the_channel_that_is_named() {
    let records = vec![constrained("a-1-0", &[], "lib <2"), record(FIRST, "lib-2-0", &[])];
    insta::assert_snapshot!(failure("- a\n- lib", vec![records]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    ├─ `lib` is possible:
    │  └─ lib 2
    └─ `a` cannot be installed:
       └─ a 1 allows only `lib <2`
    ");
    let subdirs = || vec![vec![record(FIRST, "lib-1-0", &[])], vec![record(SECOND, "lib-2-0", &[])]];
    insta::assert_snapshot!(failure(&format!("- '{FIRST}::lib'\n- '{SECOND}::lib'"), subdirs()), @r#"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `lib [channel="https://second.example/lab/"]` cannot be installed:
       ├─ lib 2 is not in `https://first.example/lab`, the channel that is asked for
       └─ lib 1 is not in `https://second.example/lab`, the channel that is asked for
    "#);
    insta::assert_snapshot!(failure(&format!("- '{FIRST}linux-64::lib'"), subdirs()), @r#"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `lib [channel="https://first.example/lab/", subdir="linux-64"]` cannot be installed:
       ├─ lib 2 is not in `https://first.example/lab`, the channel that is asked for
       └─ lib 1 is not for `linux-64`, the subdir that is asked for
    "#);
    let odd = vec![record(FIRST, "a-1-0", &["lib >=1,,"]), constrained("b-1-0", &[], "b >1")];
    insta::assert_snapshot!(failure("- a\n- b", vec![odd]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    └─ `b` cannot be installed:
       └─ b 1 does not meet its own constraint `b >1`
    ");
}

#[test]
fn packages_that_need_each_other_do_not_stand_in_their_own_way() {
    let records = vec![
        record(FIRST, "snake-3-0", &["installer"]),
        record(FIRST, "installer-1-0", &["snake"]),
        record(FIRST, "tool-1-0", &["snake <3"]),
        record(FIRST, "snake-2-0", &["installer"]),
    ];
    insta::assert_snapshot!(failure("- snake >=3\n- tool", vec![records]), @"
    no set of packages for `linux-64` satisfies what is asked for:
    ├─ `snake >=3` is possible:
    │  └─ snake 3
    └─ `tool` cannot be installed:
       └─ tool 1 needs
          └─ `snake <3`, which cannot be installed:
             └─ snake 2, which conflicts with the versions above
    ");
}

#[test]
fn what_records_need_of_the_system_is_known_of_dependencies_and_constraints() {
    let lacking = |record: RepoDataRecord| {
        let repodata = Repodata::new([vec![record]]);
        match solve_for_host(&environment("- tool"), &repodata, &linux(), &SolveOptions::default()) {
            Err(SolveError::Unsolvable { virtual_packages, .. }) => {
                virtual_packages.into_iter().map(|lacks| format!("{} {}", lacks.name, lacks.wanted)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lacking(record(FIRST, "tool-1-0", &["__cuda"])), ["__cuda "]);
    assert_eq!(lacking(record(FIRST, "tool-1-0", &["__glibc >=2.38,<3.0.a0"])), ["__glibc >=2.38,<3.0.a0"]);
    assert_eq!(lacking(constrained("tool-1-0", &[], "__glibc >=2.40")), ["__glibc >=2.40"]);
}

#[test]
fn a_constraint_on_the_system_raises_it_as_a_dependency_does() {
    let repodata = Repodata::new([vec![constrained("tool-1-0", &[], "__glibc >=2.38,<3.0.a0")]]);
    let (_, host) = solve(&environment("- tool"), &repodata, &linux(), &[], &SolveOptions::default()).unwrap();
    assert!(host.virtual_packages.iter().any(|package| package.to_string() == "__glibc=2.38=0"));
}
