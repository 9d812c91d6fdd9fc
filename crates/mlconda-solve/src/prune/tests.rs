//! Which records remain for the solver, rule by rule; and that the solution is the same as without pruning.

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;

use rattler_solve::{SolverImpl, SolverTask, resolvo};

use super::*;
use crate::{
    Pip, SolveOptions,
    request::{KeptRecords, RecordRun, Scope},
    session::{CandidateRecords, SolverSession, SubdirRecords},
    tests::{FIRST, SECOND, environment, linux, record},
};

/// The file names of the remaining records, without extensions, sorted.
fn left(dependencies: &str, channel_priority: ChannelPriority, subdirs: Vec<Vec<RepoDataRecord>>) -> String {
    let repodata = Repodata::new(subdirs);
    let runs = repodata.runs().map(|(_, records, rows)| RecordRun {
        records: records.iter().map(AsRef::as_ref).collect(),
        tier: None,
        rows,
    });
    let mut pool = Pool::new(runs, repodata.interner.texts(), Pip::NotAdded);
    let (specs, host) = (environment(dependencies).specs(), linux());
    let options = SolveOptions { channel_priority, ..SolveOptions::default() };
    let request = SolveRequest {
        specs: &specs,
        channel_specs: &[],
        host: &host,
        options,
        kept: &KeptRecords::default(),
        scope: Scope::Pruned,
        meter: &crate::limits::Meter::default(),
    };
    let exists = existing_records(&pool, &request);
    let kept = prune(&mut pool, &exists, &request).map_or(exists, |remains| remains.kept);
    let left = pool.records.iter().zip(kept).filter(|(_, kept)| *kept).map(|(record, _)| record);
    left.map(|record| record.identifier.identifier.to_string()).sorted().join(" ")
}

fn left_of(dependencies: &str, records: Vec<RepoDataRecord>) -> String {
    left(dependencies, ChannelPriority::Strict, vec![records])
}

fn constraining(mut record: RepoDataRecord, spec: &str) -> RepoDataRecord {
    record.package_record.constrains.push(spec.to_owned());
    record
}

#[test]
fn what_cannot_go_with_a_pin_goes_and_so_does_what_only_that_asked_for() {
    let records = vec![
        record(FIRST, "python-3.10-0", &[]),
        record(FIRST, "python-3.11-0", &["new"]),
        record(FIRST, "lib-1.0-0", &["python 3.10.*"]),
        record(FIRST, "lib-2.0-0", &["python 3.11.*", "other"]),
        record(FIRST, "new-1-0", &[]),
        record(FIRST, "other-1-0", &[]),
        record(FIRST, "stranger-1-0", &[]),
    ];
    assert_eq!(left_of("- python=3.10\n- lib", records), "lib-1.0-0 python-3.10-0");
}

#[test]
fn what_lacks_something_goes_and_what_needs_it_too() {
    let records = vec![
        record(FIRST, "tool-1-0", &["lib >=1"]),
        record(FIRST, "tool-2-0", &["lib >=2"]),
        record(FIRST, "lib-1-0", &[]),
        record(FIRST, "lib-2-0", &["base >=2"]),
        record(FIRST, "base-2-0", &["nothing"]),
        record(FIRST, "base-1-0", &["==>unreadable"]),
    ];
    assert_eq!(left_of("- tool", records), "lib-1-0 tool-1-0");
}

#[test]
fn what_rules_a_required_package_out_goes_and_what_rules_out_another_stays() {
    let records = vec![
        record(FIRST, "tool-1-0", &[]),
        constraining(record(FIRST, "lib-2-0", &[]), "tool >=2"),
        constraining(record(FIRST, "lib-1-0", &[]), "other >=2"),
        record(FIRST, "other-1-0", &[]),
    ];
    assert_eq!(left_of("- tool\n- lib", records), "lib-1-0 tool-1-0");
}

#[test]
fn what_every_solution_has_leaves_only_what_goes_with_it() {
    let records = || {
        vec![
            constraining(record(FIRST, "tool-1-0", &["lib 2.*", "__glibc >=2"]), "side <2"),
            constraining(record(FIRST, "tool-2-0", &["lib 3.*", "more"]), "side 3.*"),
            record(FIRST, "lib-1-0", &[]),
            record(FIRST, "lib-2-0", &["base <3"]),
            record(FIRST, "lib-3-0", &["base <2"]),
            record(FIRST, "lib-4-0", &[]),
            record(FIRST, "base-1-0", &[]),
            record(FIRST, "base-2-0", &[]),
            record(FIRST, "base-3-0", &[]),
            record(FIRST, "more-1-0", &[]),
            record(FIRST, "other-1-0", &["lib 4.*"]),
            record(FIRST, "other-2-0", &["base >=2"]),
            record(FIRST, "other-3-0", &["base >=3"]),
            record(FIRST, "other-4-0", &["side"]),
            record(FIRST, "side-1-0", &[]),
            record(FIRST, "side-2-0", &[]),
            record(FIRST, "side-3-0", &[]),
        ]
    };
    // Each tool needs a lib, and each lib that fits a tool needs a base. Nothing needs side, but a side that remains
    // has to fit a tool. Only one of the tools needs more.
    assert_eq!(
        left_of("- tool\n- other", records()),
        "base-1-0 base-2-0 lib-2-0 lib-3-0 more-1-0 other-2-0 other-4-0 side-1-0 side-3-0 tool-1-0 tool-2-0"
    );
}

#[test]
fn the_better_twin_remains_unless_the_other_is_wanted_for_itself() {
    let records = || {
        vec![
            record(FIRST, "lib-1-0", &["base"]),
            record(FIRST, "lib-2-0", &["base"]),
            record(FIRST, "lib-3-0", &["base >=2"]),
            record(FIRST, "base-1-0", &["tool"]),
            record(FIRST, "base-2-0", &[]),
            record(FIRST, "tool-1-0", &["lib"]),
            constraining(record(FIRST, "old-1-0", &[]), "lib <2"),
            record(FIRST, "side-1-0", &[]),
            record(FIRST, "side-2-0", &["old"]),
        ]
    };
    assert_eq!(left_of("- tool", records()), "base-1-0 base-2-0 lib-2-0 lib-3-0 tool-1-0");
    // `lib <2`, as an upper bound, matches only lib 1.
    let with_side = "base-1-0 base-2-0 lib-1-0 lib-2-0 lib-3-0 old-1-0 side-1-0 side-2-0 tool-1-0";
    assert_eq!(left_of("- tool\n- side", records()), with_side);
    // Without base 1, `base` and `base >=2` match the same records.
    assert_eq!(left_of("- tool\n- base=2", records()), "base-2-0 lib-3-0 tool-1-0");
}

#[test]
fn a_channel_hides_another_under_strict_priority_only() {
    let subdirs = || {
        let first = vec![record(FIRST, "lib-1-0", &[])];
        vec![first, vec![record(SECOND, "lib-2-0", &[]), record(SECOND, "tool-1-0", &["lib"])]]
    };
    assert_eq!(left("- tool", ChannelPriority::Strict, subdirs()), "lib-1-0 tool-1-0");
    assert_eq!(left("- tool", ChannelPriority::Flexible, subdirs()), "lib-1-0 lib-2-0 tool-1-0");
    // No record of the first channel matches, but the channel still hides the second one.
    assert_eq!(left("- lib >=2", ChannelPriority::Strict, subdirs()), "");
}

#[test]
fn the_system_takes_nothing_away_and_conditions_leave_everything() {
    let records = || vec![record(FIRST, "tool-1-0", &["__glibc >=9"]), record(FIRST, "tool-2-0", &["__cuda"])];
    assert_eq!(left_of("- tool", records()), "tool-1-0 tool-2-0");
    // The same is true if the environment asks for the virtual package by name.
    let constrained = constraining(record(FIRST, "tool-1-0", &[]), "__glibc >=2.17");
    assert_eq!(left_of("- tool\n- __glibc", vec![constrained]), "tool-1-0");
    let mut records = records();
    records.push(record(FIRST, "tool-3-0", &["base[when=\"python\"]"]));
    records.push(record(FIRST, "stranger-1-0", &[]));
    assert_eq!(left_of("- tool", records), "stranger-1-0 tool-1-0 tool-2-0 tool-3-0");
}

/// Pseudo-random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A spec for one of these names.
    fn spec(&mut self, names: &[&str]) -> String {
        let name = names[self.below(names.len() as u64) as usize];
        let version = 1 + self.below(4);
        let form = self.below(6);
        [format!("{name} >={version}"), format!("{name} <{version}"), format!("{name} {version}.*")]
            .into_iter()
            .nth(form as usize)
            .unwrap_or_else(|| name.to_owned())
    }

    /// The same, under a condition or with an extra.
    fn intricate(&mut self, names: &[&str]) -> String {
        let (spec, other) = (self.spec(names), self.spec(&NAMES));
        match self.below(8) {
            0 => format!("{spec}[when=\"{other}\"]"),
            1 => format!("{spec}[when=\"{other} and {}\"]", self.spec(&NAMES)),
            2 => format!("{spec}[when=\"{other} or {}\"]", self.spec(&NAMES)),
            3 => format!("{spec}[extras=[more]]"),
            4 => format!("{spec}[extras=[more], when=\"{other}[extras=[more]]\"]"),
            _ => spec,
        }
    }

    /// Two channels of packages that need and exclude each other.
    fn channels(&mut self, names: [&str; 2], kind: Kind) -> Vec<Vec<RepoDataRecord>> {
        let mut subdirs = vec![Vec::new(), Vec::new()];
        for (record_id, name) in NAMES.iter().enumerate() {
            for (version, build) in (1..=4).cartesian_product(0..2) {
                let of = usize::from(self.below(8) == 0);
                let mut made = record(names[of], &format!("{name}-{version}.{}-{build}", self.below(2)), &[]);
                made.package_record.build_number = build;
                // To later ones mostly, so that there are solutions.
                let others = if record_id + 1 < NAMES.len() { &NAMES[record_id + 1..] } else { &NAMES[..1] };
                made.package_record.depends = (0..self.below(3)).map(|_| self.spec(others)).collect();
                made.package_record.constrains = (0..self.below(2)).map(|_| self.spec(others)).collect();
                if kind == Kind::Intricate {
                    made.package_record.depends = (0..self.below(3)).map(|_| self.intricate(others)).collect();
                    let more = (0..self.below(3)).map(|_| self.intricate(others)).collect();
                    made.package_record.extra_depends.insert("more".to_owned(), more);
                }
                if self.below(4) == 0 {
                    made.package_record.track_features = vec!["old".to_owned()];
                }
                subdirs[of].push(made);
            }
        }
        subdirs
    }
}

/// What records depend on: version bounds only, or also conditions and extras.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Intricate,
}

/// Two channels that conda treats as one.
const ONE: [&str; 2] = ["https://repo.anaconda.com/pkgs/main/", "https://repo.anaconda.com/pkgs/r/"];

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The solution of rattler's own provider, without pruning.
fn expected(all: &CandidateRecords<'_>, specs: &[MatchSpec]) -> Option<Vec<RepoDataRecord>> {
    let available =
        all.subdirs().map(|SubdirRecords { records, tier }| resolvo::RepoData { records, multi_channel: tier });
    let task = SolverTask {
        specs: specs.to_vec(),
        virtual_packages: linux().virtual_packages,
        channel_priority: match all.options.channel_priority {
            ChannelPriority::Strict => rattler_solve::ChannelPriority::Strict,
            ChannelPriority::Flexible => rattler_solve::ChannelPriority::Flexible,
            ChannelPriority::Disabled => rattler_solve::ChannelPriority::Disabled,
        },
        available_packages: available.collect_vec(),
        locked_packages: Vec::new(),
        pinned_packages: Vec::new(),
        constraints: Vec::new(),
        timeout: None,
        exclude_newer: None,
        strategy: rattler_solve::SolveStrategy::Highest,
        dependency_overrides: Vec::new(),
        excluded_candidates: std::collections::HashMap::default(),
        cancellation_token: None,
    };
    resolvo::Solver.solve(task).ok().map(|answer| answer.records)
}

/// Without pruning, the solver always finds rattler's solution. With pruning, it may choose another one of several
/// equally good solutions, in which one package is newer and another one older: then the choice depends on the order in
/// which it visits them. That happens in one of a hundred of these worlds.
#[test]
fn there_is_an_answer_if_rattler_has_one_and_it_is_the_same_nearly_always() {
    let mut dice = Dice(7);
    let (mut answers, mut refusals, mut others) = (0, 0, 0);
    for world in 0..40 {
        let names = if world % 8 == 7 { ONE } else { [FIRST, SECOND] };
        let kind = if world % 3 == 2 { Kind::Intricate } else { Kind::Plain };
        let repodata = Repodata::new(dice.channels(names, kind));
        let dependencies: String = (0..3).map(|_| format!("- {}\n", dice.spec(&NAMES))).collect();
        let environment = environment(&dependencies);
        let specs = environment.specs();
        for channel_priority in [ChannelPriority::Strict, ChannelPriority::Flexible, ChannelPriority::Disabled] {
            let options = SolveOptions { channel_priority, ..SolveOptions::default() };
            let (session, all) =
                (SolverSession::new(&repodata, options), CandidateRecords::new(&environment, &repodata, options));
            let urls =
                |records: Vec<RepoDataRecord>| records.into_iter().map(|record| record.url).sorted().collect_vec();
            let expected = expected(&all, &specs).map(urls);
            let of_all = session.solve_unpruned(&specs, &linux()).ok().map(urls);
            assert_eq!(of_all, expected, "world {world}, {channel_priority}:\n{dependencies}");
            let found = session.solve(&specs, &linux()).ok().map(urls);
            assert_eq!(found.is_some(), expected.is_some(), "world {world}, {channel_priority}:\n{dependencies}");
            *if expected.is_some() { &mut answers } else { &mut refusals } += 1;
            others += usize::from(found != expected);
        }
    }
    assert!(answers > 60 && refusals > 5, "{answers} answers and {refusals} refusals prove little");
    assert!(others * 50 < answers, "{others} of {answers} answers differ");
}

/// If the records of a solution are favored in the next solve, the solver finds the same solution again, even if there
/// are better twins of these records.
#[test]
fn what_is_favored_is_the_answer_if_it_is_one() {
    let mut dice = Dice(11);
    let mut count = 0;
    for world in 0..40 {
        let repodata = Repodata::new(dice.channels([FIRST, SECOND], Kind::Plain));
        let dependencies: String = (0..3).map(|_| format!("- {}\n", dice.spec(&NAMES))).collect();
        let specs = environment(&dependencies).specs();
        // An older solution, from only a part of the records.
        let part = repodata.subdirs.iter().map(|records| {
            records.iter().filter(|_| dice.below(3) > 0).map(|record| RepoDataRecord::clone(record)).collect_vec()
        });
        let part = Repodata::new(part.collect_vec());
        let options = SolveOptions { channel_priority: ChannelPriority::Flexible, ..SolveOptions::default() };
        let Ok(older) = SolverSession::new(&part, options).solve(&specs, &linux()) else { continue };
        let kept = KeptRecords { favored: older.iter().collect(), ..KeptRecords::default() };
        let found =
            SolverSession::new(&repodata, options).solve_keeping(&specs, &linux(), &kept).ok().unwrap_or_default();
        let urls = |records: &[RepoDataRecord]| records.iter().map(|record| record.url.clone()).sorted().collect_vec();
        assert_eq!(urls(&found), urls(&older), "world {world}:\n{dependencies}");
        count += 1;
    }
    assert!(count > 15, "{count} answers prove little");
}
