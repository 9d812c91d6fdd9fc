//! Compares prefixes with a model (`model::prefix`). A series is a sequence of installations, repairs, edits of users,
//! kills and full disks on random packages. After each step, the prefix must match the model.
//!
//! Installations run in this process, with the library. Those that are killed or meet a full disk run in the program. A
//! difference is shown with the smallest series that has one. `MLCONDA_TEST_SERIES` is the number of series,
//! `MLCONDA_TEST_SEED` another seed, `TMPDIR` a directory on the file system to test, and `MLCONDA_TEST_CACHE` a
//! directory for the package caches (for example on another device).

#![allow(clippy::print_stdout, reason = "a thorough run is to tell its figures")]

mod found;
mod packages;
mod prefix;
mod real;
mod rules;
mod step;

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::{
    real::Real,
    step::{Series, series},
};

#[allow(clippy::disallowed_methods, reason = "a thorough run is asked for by whoever runs the tests")]
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs series until one shows a difference.
fn hold(fates: bool, default: u32) {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("MLCONDA_TEST_SEED", 1).to_le_bytes());
    let cases = number("MLCONDA_TEST_SERIES", default);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 150, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let counts = Cell::new([0; 3]);
    let run = |series: Series| {
        let mut real = Real::new(&series);
        let outcome = real.run(&series);
        let [installations, refusals, happened] = counts.get();
        counts.set([installations + real.installations, refusals + real.refusals, happened + real.happened]);
        outcome.map_err(TestCaseError::fail)
    };
    let outcome = runner.run(&series(fates), run);
    let [installations, refusals, happened] = counts.get();
    println!(
        "{cases} series: {installations} installations and repairs, {refusals} refused, {happened} killed or full"
    );
    match outcome {
        Err(TestError::Fail(reason, series)) => panic!("{}\n{reason}", series.tell()),
        outcome => outcome.unwrap(),
    }
}

#[test]
fn a_prefix_is_what_the_model_says_after_each_step() {
    hold(false, 40);
}

#[test]
#[cfg(target_os = "linux")]
fn a_prefix_is_what_the_model_says_after_kills_and_full_disks() {
    hold(true, 8);
}
