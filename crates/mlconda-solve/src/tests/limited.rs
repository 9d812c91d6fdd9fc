//! Solves that end before there is a result: because of a limit of steps, or because they are stopped.

use super::*;

/// Ten birds and nine holes for one bird each (the pigeonhole principle): a SAT solver needs very long to prove that
/// there is no solution.
fn hopeless() -> (Environment, Repodata) {
    let (birds, holes) = (10, 9);
    let mut records = Vec::new();
    for hole in 1..=holes {
        records.extend((1..=birds).map(|bird| record(FIRST, &format!("hole{hole}-{bird}-0"), &[])));
    }
    for bird in 1..=birds {
        let in_hole = |hole: usize| record(FIRST, &format!("bird{bird}-{hole}-0"), &[&format!("hole{hole} =={bird}")]);
        records.extend((1..=holes).map(in_hole));
    }
    let lines: String = (1..=birds).map(|bird| format!("- bird{bird}\n")).collect();
    (environment(&lines), Repodata::new(vec![records]))
}

fn within(limits: &SolveLimits) -> Result<(Solution, Host), SolveError> {
    let (environment, repodata) = hopeless();
    solve_within(&environment, &repodata, &linux(), &[], &SolveOptions::default(), limits)
}

#[test]
fn a_solve_ends_after_its_steps() {
    let error = within(&SolveLimits::of_steps(1_000)).unwrap_err();
    assert!(matches!(error, SolveError::TooManySteps(1_000)), "{error}");
    insta::assert_snapshot!(error, @"the solver found no solution in 1000 steps");
}

#[test]
fn that_there_is_no_answer_is_told_though_the_steps_end_before_all_its_reasons() {
    let error = within(&SolveLimits::of_steps(5_000)).unwrap_err();
    assert!(matches!(error, SolveError::Unsolvable { .. }), "{error}");
}

#[test]
fn a_solve_is_stopped_from_another_thread() {
    let stop = SolveStop::default();
    let limits = SolveLimits::until(stop.clone());
    let solving = std::thread::spawn(move || within(&limits).map(|_| ()));
    stop.request();
    let error = solving.join().unwrap().unwrap_err();
    assert!(matches!(error, SolveError::Stopped), "{error}");
}

#[test]
fn an_update_has_the_same_limits() {
    let (environment, repodata) = hopeless();
    let previous = Previous { locks: &[], renew: &Upgrade::AsNeeded };
    let (host, options, limits) = (linux(), SolveOptions::default(), SolveLimits::of_steps(1_000));
    let error = update_within(&environment, &repodata, (&host, &[]), &options, previous, &limits).unwrap_err();
    assert!(matches!(error, SolveError::TooManySteps(1_000)), "{error}");
}

#[test]
fn limits_that_are_not_reached_change_nothing() {
    let records = vec![record(FIRST, "app-1.0-0", &["lib"]), record(FIRST, "lib-2.0-0", &[])];
    let (environment, repodata) = (environment("- app"), Repodata::new(vec![records]));
    let solve = |limits: &SolveLimits| {
        let (solution, _) =
            solve_within(&environment, &repodata, &linux(), &[], &SolveOptions::default(), limits).unwrap();
        solution.records.len()
    };
    assert_eq!((solve(&SolveLimits::of_steps(1_000)), solve(&SolveLimits::default())), (2, 2));
}
