//! Failing system calls: a failed installation changes nothing, and the message says what failed and where.

use std::path::Path;

use super::*;

const NO_ENTRY: i32 = 13; // EACCES
const IO: i32 = 5;
const TOO_MANY_OPEN: i32 = 24;
const FULL: i32 = 28;
const READ_ONLY: i32 = 30;

fn words(error: i32) -> &'static str {
    match error {
        NO_ENTRY => "ermission denied",
        IO => "nput/output error",
        TOO_MANY_OPEN => "oo many open files",
        FULL => "o space left on device",
        _ => "ead-only file system",
    }
}

/// Lets calls fail: a failed installation changes nothing.
fn failing(way: Way, calls: Calls, happens: impl Fn(u64) -> (Happens, i32)) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(calls, Happens::Nothing) else { return };
    counted.outcome.success();
    stage.prepare();
    let (mut failed, mut succeeded, mut silent) = (0, 0, Vec::new());
    let mut before = stage.all();
    for number in spread(counted.calls) {
        let (happens, error) = happens(number);
        let Injected { outcome, at, .. } = stage.run(calls, happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}", counted.calls);
        if outcome.code == 0 {
            succeeded += 1;
            // Leftovers that could not be removed are removed by the next run.
            assert_eq!(tree::difference(&stage.wanted, &without_debris(stage.contents())), "", "{after}:\n{outcome}");
            stage.next_run(&after);
            stage.prepare();
            before = stage.all();
            continue;
        }
        failed += 1;
        assert_eq!(outcome.code, 1, "{after}:\n{outcome}");
        assert_eq!(tree::difference(&before, &stage.all()), "", "{after}:\n{outcome}");
        let name = Path::new(&at).file_name().unwrap().to_str().unwrap();
        let name = if name.starts_with('#') || at.ends_with("(deleted)") { "" } else { name };
        // A prefix that is a link has two names.
        let is_named = outcome.stderr.contains(name) || name == "real" && outcome.stderr.contains("link");
        if !outcome.stderr.contains(words(error)) || !is_named {
            silent.push(format!("{after}:\n{outcome}"));
        }
        if failed % 8 == 1 {
            stage.next_run(&after);
            stage.prepare();
            before = stage.all();
        }
    }
    println!("{way:?}: of {} calls, {failed} failed cleanly, {succeeded} did no harm", counted.calls);
    assert!(silent.is_empty(), "{} say not what or where:\n{}", silent.len(), silent.join("\n\n"));
    assert!(failed > 0, "nothing has failed");
}

#[test]
fn a_first_installation_on_a_disk_that_fills_up() {
    failing(Way::First, Calls::Change, |number| (Happens::ErrorFrom(number, FULL), FULL));
}

#[test]
fn a_swap_on_a_disk_that_fills_up() {
    failing(Way::Swap, Calls::Change, |number| (Happens::ErrorFrom(number, FULL), FULL));
}

#[test]
fn a_change_in_place_on_a_disk_that_fills_up() {
    failing(Way::InPlace, Calls::Change, |number| (Happens::ErrorFrom(number, FULL), FULL));
}

#[test]
fn a_change_in_place_of_whole_directories_on_a_disk_that_fills_up() {
    failing(Way::InPlaceWhole, Calls::Change, |number| (Happens::ErrorFrom(number, FULL), FULL));
}

#[test]
fn an_addition_on_a_disk_that_fills_up() {
    failing(Way::Add, Calls::Change, |number| (Happens::ErrorFrom(number, FULL), FULL));
}

#[test]
fn a_disk_with_errors() {
    for way in [Way::First, Way::Swap, Way::InPlace, Way::InPlaceWhole, Way::Add] {
        failing(way, Calls::Change, |number| (Happens::Error(number, IO), IO));
    }
}

#[test]
fn a_disk_that_may_not_be_written_to() {
    for (way, error) in
        [(Way::First, READ_ONLY), (Way::Swap, NO_ENTRY), (Way::InPlace, READ_ONLY), (Way::Add, NO_ENTRY)]
    {
        failing(way, Calls::Change, |number| (Happens::Error(number, error), error));
    }
}

#[test]
fn what_cannot_be_read() {
    for (way, error) in [(Way::First, TOO_MANY_OPEN), (Way::Swap, TOO_MANY_OPEN), (Way::Swap, IO), (Way::InPlace, IO)] {
        failing(way, Calls::Open, |number| (Happens::Error(number, error), error));
    }
}
