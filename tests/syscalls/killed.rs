//! A process that is killed at a system call: there is the old prefix or the new one, or none until the next run.

use super::*;

/// Kills it at calls: there is the old prefix or the new one, or none until the next run.
fn killed(way: Way) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(Calls::Change, Happens::Nothing) else { return };
    stage.prepare();
    let (mut old, mut new, mut neither) = (0, 0, 0);
    for number in spread(counted.calls) {
        let before = stage.contents();
        let Injected { at, .. } = stage.run(Calls::Change, Happens::Kill(number)).unwrap();
        let Some(at) = at else { continue };
        let after = format!("kill {number} of {} at {at}", counted.calls);
        let found = stage.contents();
        if stage.is_environment() || way == Way::First && !stage.prefix.exists() {
            let found = without_debris(found);
            // The time of this directory is set last, and the next run corrects it.
            let is_new = ["", "~ conda-meta\n"].contains(&tree::difference(&stage.wanted, &found).as_str());
            assert!(found == before || is_new, "{after}: {}", tree::difference(&before, &found));
            if found == before { old += 1 } else { new += 1 }
        } else {
            neither += 1;
            if way != Way::First {
                stage.undone_by_an_installation_that_fails(&before, &after);
            }
        }
        stage.next_run(&after);
        stage.prepare();
    }
    println!(
        "{way:?}: of {} calls, killed at {old} left the old, at {new} the new, at {neither} the marked prefix",
        counted.calls
    );
    assert!(old > 0, "the first kill comes before anything can have happened");
}

#[test]
fn a_change_in_place_of_whole_directories_that_is_killed() {
    killed(Way::InPlaceWhole);
}

#[test]
fn a_first_installation_that_is_killed() {
    killed(Way::First);
}

#[test]
fn a_swap_that_is_killed() {
    killed(Way::Swap);
}

#[test]
fn a_change_in_place_that_is_killed() {
    killed(Way::InPlace);
}

#[test]
fn an_addition_that_is_killed() {
    killed(Way::Add);
}
