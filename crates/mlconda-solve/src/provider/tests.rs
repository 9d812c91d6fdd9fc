//! Cases in which rattler's provider depends on chance, ignores something, or does not return.

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use rattler_conda_types::{MatchSpec, MatchSpecCondition, RepoDataRecord, package::DistArchiveIdentifier};

use crate::{
    ChannelPriority, SolveOptions, solve, solve_for_host,
    tests::{FIRST, SECOND, environment, linux, record},
};

/// The file names of the solution, sorted, or the text that there is none.
fn answer(dependencies: &str, repodata: &Repodata, channel_priority: ChannelPriority) -> String {
    let options = SolveOptions { channel_priority, ..SolveOptions::default() };
    solve_for_host(&environment(dependencies), repodata, &linux(), &options).map_or_else(
        |_| "none".to_owned(),
        |found| {
            found
                .records
                .iter()
                .map(|record| record.url.as_str().rsplit('/').next().unwrap_or_default())
                .sorted()
                .join(" ")
        },
    )
}

fn strictly(dependencies: &str, subdirs: Vec<Vec<RepoDataRecord>>) -> String {
    answer(dependencies, &Repodata::new(subdirs), ChannelPriority::Strict)
}

#[test]
fn a_spec_means_the_subdir_and_all_the_channels_that_it_names() {
    let subdirs = || vec![vec![record(FIRST, "lib-1-0", &[])], vec![record(SECOND, "lib-2-0", &[])]];
    assert_eq!(strictly(&format!("- '{FIRST}noarch::lib'"), subdirs()), "lib-1-0.conda");
    assert_eq!(strictly(&format!("- '{FIRST}linux-64::lib'"), subdirs()), "none");
    assert_eq!(strictly(&format!("- '{SECOND}::lib'"), subdirs()), "lib-2-0.conda");
    assert_eq!(strictly(&format!("- '{FIRST}::lib'\n- '{SECOND}::lib'"), subdirs()), "none");
}

#[test]
fn dependencies_beyond_reason_cost_their_records() {
    let long = format!("lib >=1{}", ",!=1.1".repeat(2000));
    // The solver writes out every combination: `a and a and …`, `b and a and …`, and so on.
    let tangled = format!("lib[when=\"{}\"]", ["(a or b)"; 14].join(" and "));
    let simple = "lib[when=\"(a or b) and (a or b)\"]";
    let channel = |dependency: &str| {
        let mut records = vec![record(FIRST, "tool-1-0", &[]), record(FIRST, "tool-2-0", &[dependency])];
        records.extend(["a-1-0", "b-1-0", "lib-1-0"].map(|stem| record(FIRST, stem, &[])));
        vec![records]
    };
    assert_eq!(strictly("- tool\n- a", channel(simple)), "a-1-0.conda lib-1-0.conda tool-2-0.conda");
    assert_eq!(strictly("- tool\n- a", channel(&tangled)), "a-1-0.conda tool-1-0.conda");
    assert_eq!(strictly("- tool", channel(&long)), "tool-1-0.conda");
}

#[test]
fn what_excludes_itself_cannot_be_had() {
    let channel = |bound: &str| {
        let mut records = vec![record(FIRST, "tool-1-0", &[]), record(FIRST, "tool-2-0", &[])];
        records[1].package_record.constrains.push(bound.to_owned());
        vec![records]
    };
    assert_eq!(strictly("- tool", channel("tool <2")), "tool-1-0.conda");
    assert_eq!(strictly("- tool", channel("tool >=2")), "tool-2-0.conda");
}

/// `f` and `h` need each other; the library explains them each time that it visits them.
#[test]
fn reasons_that_go_round_in_a_circle_come_to_an_end() {
    let mut records = vec![
        record(FIRST, "d-1-0", &["h 2.0.*", "f"]),
        record(FIRST, "d-2-0", &["f"]),
        record(FIRST, "f-1-0", &["h >=2", "g <2"]),
        record(FIRST, "g-1-0", &[]),
        record(FIRST, "h-2.0a0-0", &[]),
        record(FIRST, "h-2.1-0", &["f"]),
    ];
    records[1].package_record.constrains.push("g >=2".to_owned());
    assert_eq!(strictly("- h\n- d", vec![records]), "none");
}

#[test]
fn a_line_that_makes_no_sense_is_not_passed_over() {
    let repodata = Repodata::new([vec![record(FIRST, "lib-1-0", &[])]]);
    let when = |spec: MatchSpec| Some(MatchSpecCondition::MatchSpec(Box::new(spec)));
    let name = || environment("- lib").specs().remove(0);
    let condition = when(MatchSpec { condition: when(name()), ..name() });
    let mut environment = environment("- lib");
    environment.requirements[0].spec.condition = condition;
    let message = solve_for_host(&environment, &repodata, &linux(), &SolveOptions::default()).unwrap_err().to_string();
    assert!(message.contains("a condition has a condition"), "{message}");
}

/// resolvo's own explanation of a conflict with conditions may panic.
#[test]
fn a_conflict_with_conditions_has_words_and_a_newer_system_is_found() {
    let repodata = Repodata::new([vec![
        record(FIRST, "tool-1-0", &["lib >=2[when=\"tool\"]"]),
        record(FIRST, "lib-1-0", &[]),
        record(FIRST, "new-1-0", &["__glibc >=2.34", "lib[when=\"new\"]"]),
    ]]);
    let options = SolveOptions::default();
    let message = solve_for_host(&environment("- tool"), &repodata, &linux(), &options).unwrap_err().to_string();
    assert!(message.contains("under conditions"), "{message}");
    let (_, host) = solve(&environment("- new"), &repodata, &linux(), &[], &options).unwrap();
    let glibc = host.virtual_packages.iter().find(|package| package.name.as_normalized() == "__glibc").unwrap();
    assert_eq!(glibc.version.to_string(), "2.34");
}

#[test]
fn of_two_archives_of_a_build_the_newer_format_counts() {
    let mut other = record(FIRST, "lib-1-0", &[]);
    other.identifier = "lib-1-0.tar.bz2".parse::<DistArchiveIdentifier>().unwrap();
    other.url = format!("{FIRST}noarch/lib-1-0.tar.bz2").parse().unwrap();
    other.package_record.timestamp = Some(jiff::Timestamp::from_second(1_700_000_000).unwrap().into());
    let records = vec![record(FIRST, "lib-1-0", &[]), other];
    assert_eq!(strictly("- lib", vec![records.clone()]), "lib-1-0.conda");
    assert_eq!(strictly("- lib", vec![records[1..].to_vec()]), "lib-1-0.tar.bz2");
}

/// As in rattler, the build whose dependencies can be newer comes first. Dependencies of extras count, too.
#[test]
fn dependencies_of_extras_count_in_the_order() {
    let build = |stem: &str, bound: &str, time: i64| {
        let mut record = record(FIRST, stem, &[]);
        record.package_record.extra_depends.insert("more".to_owned(), vec![bound.to_owned()]);
        record.package_record.timestamp = Some(jiff::Timestamp::from_second(time).unwrap().into());
        record
    };
    let mut records = vec![build("tool-1-a", "lib >=2", 1_600_000_000), build("tool-1-b", "lib <2", 1_700_000_000)];
    records.extend(["lib-1-0", "lib-2-0"].map(|stem| record(FIRST, stem, &[])));
    assert_eq!(strictly("- tool", vec![records]), "tool-1-a.conda");
}

/// Packages that are named by their URL are in the first list. This must not put their channel before the other
/// channels.
#[test]
fn a_package_named_by_its_url_does_not_put_its_channel_before_others() {
    let named = || record(SECOND, "tool-1-0", &[]);
    let mut repodata = Repodata::new([
        vec![named()],
        vec![record(FIRST, "lib-1-0", &[]), record(FIRST, "tool-2-0", &[])],
        vec![record(SECOND, "lib-2-0", &[]), named()],
    ]);
    repodata.has_archives = true;
    let dependencies = format!("- lib\n- {}", named().url);
    for priority in [ChannelPriority::Strict, ChannelPriority::Flexible] {
        assert_eq!(answer(&dependencies, &repodata, priority), "lib-1-0.conda tool-1-0.conda", "{priority}");
    }
}
