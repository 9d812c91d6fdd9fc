//! Compares the solver behind the interface of `rattler_solve` with rattler's own, on random channels.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::RngSeed};
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, PackageName, PackageRecord, ParseStrictness, RepoDataRecord, Version,
    package::DistArchiveIdentifier,
};
use rattler_solve::{CancellationToken, ChannelPriority, RepoDataIter, SolveError, SolverImpl, SolverTask, resolvo};
use url::Url;

use super::Solver;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A record: name, version, build number and dependencies, by numbers.
type Recipe = (usize, u8, u8, Vec<String>);

fn spec() -> impl Strategy<Value = String> {
    let version = prop_oneof![
        3 => Just(String::new()),
        2 => (1..4_u8).prop_map(|version| format!(" >={version}")),
        1 => (1..5_u8).prop_map(|version| format!(" <{version}")),
        1 => (1..4_u8).prop_map(|version| format!(" {version}.*")),
        1 => (1..4_u8, 0..2_u8).prop_map(|(version, build)| format!(" {version}.0 {build}")),
    ];
    let name = prop_oneof![9 => prop::sample::select(NAMES.to_vec()), 1 => Just("__glibc")];
    (name, version).prop_map(|(name, version)| format!("{name}{version}"))
}

fn recipe() -> impl Strategy<Value = Recipe> {
    (0..NAMES.len(), 1..5_u8, 0..2_u8, prop::collection::vec(spec(), 0..3))
}

/// The records of a channel, each build once.
fn channel(number: usize, recipes: &[Recipe]) -> Vec<RepoDataRecord> {
    let base = format!("https://channel-{number}.example/");
    let mut files = BTreeSet::new();
    let record = |(name, version, build, depends): &Recipe| {
        let file = format!("{}-{version}.0-{build}.conda", NAMES[*name]);
        let mut record = PackageRecord::new(
            PackageName::new_unchecked(NAMES[*name]),
            format!("{version}.0").parse::<rattler_conda_types::VersionWithSource>().unwrap(),
            build.to_string().parse().unwrap(),
        );
        record.build_number = u64::from(*build);
        record.subdir = "linux-64".to_owned();
        record.depends = depends.iter().filter(|spec| !spec.starts_with(NAMES[*name])).cloned().collect();
        files.insert(file.clone()).then(|| RepoDataRecord {
            package_record: record,
            identifier: DistArchiveIdentifier::try_from_filename(&file).unwrap(),
            url: Url::parse(&format!("{base}linux-64/{file}")).unwrap(),
            channel: Some(base.clone()),
        })
    };
    recipes.iter().filter_map(record).collect()
}

/// A task over channels, with a glibc.
fn task<'a>(
    channels: &'a [Vec<RepoDataRecord>],
    specs: &[String],
    priority: ChannelPriority,
) -> SolverTask<'a, Vec<RepoDataIter<&'a Vec<RepoDataRecord>>>> {
    let glibc = GenericVirtualPackage {
        name: PackageName::new_unchecked("__glibc"),
        version: "2.0".parse::<Version>().unwrap(),
        build_string: "0".parse().unwrap(),
    };
    SolverTask {
        specs: specs.iter().map(|spec| MatchSpec::from_str(spec, ParseStrictness::Lenient).unwrap()).collect(),
        virtual_packages: vec![glibc],
        channel_priority: priority,
        ..SolverTask::from_iter(channels)
    }
}

/// The URLs of a solution, sorted; `None` if there is none.
fn urls(answer: Result<rattler_conda_types::SolverResult, SolveError>) -> Option<BTreeSet<String>> {
    match answer {
        Ok(answer) => Some(answer.records.iter().map(|record| record.url.to_string()).collect()),
        Err(SolveError::Unsolvable(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn priority() -> impl Strategy<Value = ChannelPriority> {
    prop::sample::select(vec![ChannelPriority::Strict, ChannelPriority::Flexible, ChannelPriority::Disabled])
}

proptest! {
    // The cases are always the same, because two solvers may choose different ones of several equally good solutions.
    // That happens in about one of 10,000 random channels, and in none of these.
    #![proptest_config(ProptestConfig {
        cases: 1000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_solvers_give_the_same_answer(
        recipes in prop::collection::vec(prop::collection::vec(recipe(), 0..12), 1..4),
        specs in prop::collection::vec(spec(), 1..4),
        priority in priority(),
    ) {
        let channels: Vec<_> = recipes.iter().enumerate().map(|(number, recipes)| channel(number, recipes)).collect();
        let ours = urls(Solver.solve(task(&channels, &specs, priority)));
        prop_assert_eq!(ours, urls(resolvo::Solver.solve(task(&channels, &specs, priority))));
    }

    #[test]
    fn locked_pinned_and_excluded_records_mean_the_same(
        recipes in prop::collection::vec(prop::collection::vec(recipe(), 1..12), 1..3),
        specs in prop::collection::vec(spec(), 1..3),
        priority in priority(),
        (locked, pinned, excluded) in (prop::collection::vec(any::<prop::sample::Index>(), 0..3), prop::option::of(any::<prop::sample::Index>()), prop::option::of(any::<prop::sample::Index>())),
    ) {
        let channels: Vec<_> = recipes.iter().enumerate().map(|(number, recipes)| channel(number, recipes)).collect();
        let all: Vec<&RepoDataRecord> = channels.iter().flatten().collect();
        let mut names = BTreeSet::new();
        let of_a_new_name = |record: &&RepoDataRecord| names.insert(record.package_record.name.clone());
        let mut chosen: Vec<&RepoDataRecord> = locked.iter().map(|index| *index.get(&all)).chain(pinned.map(|index| *index.get(&all))).filter(of_a_new_name).collect();
        let pin = if pinned.is_some() { chosen.pop() } else { None };
        let excluded = excluded.map(|index| (index.get(&all).url.clone(), Arc::from("it is not here")));
        let question = || SolverTask {
            locked_packages: chosen.clone(),
            pinned_packages: pin.into_iter().collect(),
            excluded_candidates: excluded.clone().into_iter().collect(),
            ..task(&channels, &specs, priority)
        };
        let ours = urls(Solver.solve(question()));
        prop_assert_eq!(ours, urls(resolvo::Solver.solve(question())));
    }
}

#[test]
fn what_only_the_other_solver_knows_is_asked_of_it() {
    let channels = [channel(0, &[(0, 1, 0, Vec::new()), (0, 2, 0, Vec::new()), (0, 3, 0, Vec::new())])];
    let mut question = task(&channels, &["a".to_owned()], ChannelPriority::Strict);
    question.constraints = vec![MatchSpec::from_str("a <3", ParseStrictness::Lenient).unwrap()];
    let answer = urls(Solver.solve(question)).unwrap();
    assert_eq!(answer.into_iter().collect::<Vec<_>>(), ["https://channel-0.example/linux-64/a-2.0-0.conda"]);
}

#[test]
fn a_task_without_a_solution_says_why() {
    let channels = [channel(0, &[(0, 1, 0, vec!["b >=2".to_owned()]), (1, 1, 0, Vec::new())])];
    let error = Solver.solve(task(&channels, &["a".to_owned()], ChannelPriority::Strict)).unwrap_err();
    let text = error.to_string();
    insta::assert_snapshot!(text.lines().skip(1).collect::<Vec<_>>().join("\n"), @r"
    └─ `a` cannot be installed:
       └─ a 1.0 needs
          └─ `b >=2`, which nothing matches
    ");
}

#[test]
fn a_task_that_was_cancelled_gives_no_answer() {
    let channels = [channel(0, &[(0, 1, 0, Vec::new())])];
    let token = CancellationToken::new();
    let question = || SolverTask {
        cancellation_token: Some(token.clone()),
        timeout: Some(Duration::from_secs(60)),
        ..task(&channels, &["a".to_owned()], ChannelPriority::Strict)
    };
    assert!(Solver.solve(question()).is_ok());
    token.cancel();
    assert!(matches!(Solver.solve(question()), Err(SolveError::Cancelled)));
}
