//! Signals at a system call: the whole change is undone, or it is complete.

use super::*;

/// The number of SIGTERM.
const TERM: i32 = 15;

/// Sends a signal at each call, which is held until the program has reported the signal: the whole change is undone, or
/// it is complete.
fn stopped(way: Way, calls: Calls) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(calls, Happens::Nothing) else { return };
    counted.outcome.success();
    stage.prepare();
    let (mut before, mut undone, mut finished) = (stage.all(), 0, 0);
    for number in spread(counted.calls) {
        let Injected { outcome, at, .. } = stage.run(calls, Happens::Signal(number, TERM)).unwrap();
        let Some(at) = at else { continue };
        let after = format!("signal {number} of {} at {at}", counted.calls);
        let is_late = outcome.stderr.contains("stopping: the change can no longer be undone.");
        assert_eq!(outcome.code, if is_late { 0 } else { 143 }, "{after}:\n{outcome}");
        if is_late {
            finished += 1;
            assert_eq!(tree::difference(&stage.wanted, &stage.contents()), "", "{after}:\n{outcome}");
            assert!(outcome.stderr.contains("\nLinked "), "{after}:\n{outcome}");
            stage.prepare();
            before = stage.all();
        } else {
            undone += 1;
            assert!(outcome.stderr.contains("error: stopped; nothing was changed"), "{after}:\n{outcome}");
            assert_eq!(tree::difference(&before, &stage.all()), "", "{after}:\n{outcome}");
        }
    }
    println!("{way:?}: of {} calls, a signal at {undone} undid all, and at {finished} all was there", counted.calls);
    assert!(undone > 0, "nothing was undone");
}

/// A signal at a rename, and another one before anything is undone: the next run undoes the change.
fn stopped_twice(way: Way) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(Calls::Rename, Happens::Nothing) else { return };
    stage.prepare();
    let mut left = 0;
    for number in spread(counted.calls) {
        let before = stage.contents();
        let Injected { outcome, at, .. } = stage.run(Calls::Rename, Happens::SignalTwice(number, TERM)).unwrap();
        let Some(at) = at else { continue };
        let after = format!("two signals {number} of {} at {at}", counted.calls);
        assert_eq!(outcome.code, 143, "{after}:\n{outcome}");
        let text = "error: stopped before everything was undone; the next installation into this prefix finishes it";
        assert!(outcome.stderr.contains(text), "{after}:\n{outcome}");
        left += usize::from(!tree::difference(&before, &stage.contents()).is_empty());
        stage.undone_by_an_installation_that_fails(&before, &after);
        stage.next_run(&after);
        stage.prepare();
    }
    println!("{way:?}: {left} left something in the prefix");
}

/// Killed while the change is being undone after a signal: the next run continues.
fn killed_while_undoing(way: Way) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(Calls::Change, Happens::Nothing) else { return };
    stage.prepare();
    let mut killed = 0;
    // At this call, most of the change has to be undone.
    let number = counted.calls * 2 / 3;
    for more in spread(100) {
        let before = stage.contents();
        let happens = Happens::SignalAndKill(number, TERM, more);
        let Injected { outcome, at, .. } = stage.run(Calls::Change, happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}", counted.calls);
        killed += usize::from(outcome.code == 137);
        assert!([137, 143, 0].contains(&outcome.code), "{after}:\n{outcome}");
        // After the last step that can be undone, the prefix is the new one.
        if outcome.code != 0 && !outcome.stderr.contains("it is too late") {
            stage.undone_by_an_installation_that_fails(&before, &after);
        }
        stage.next_run(&after);
        stage.prepare();
    }
    assert!(killed > 0, "all was undone before the kill");
}

#[test]
fn a_second_signal_leaves_the_undoing_to_the_next_run() {
    for way in [Way::First, Way::Swap, Way::InPlace, Way::Add] {
        stopped_twice(way);
    }
}

#[test]
fn an_undoing_that_is_killed() {
    for way in [Way::Swap, Way::InPlace, Way::Add] {
        killed_while_undoing(way);
    }
}

#[test]
fn stopped_at_a_change() {
    for way in [Way::First, Way::Swap, Way::InPlace, Way::Add] {
        stopped(way, Calls::Change);
    }
}

#[test]
fn stopped_at_a_rename() {
    for way in [Way::Swap, Way::InPlace, Way::Add] {
        stopped(way, Calls::Rename);
    }
}
