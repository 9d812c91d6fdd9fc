//! `--sync` waits for the disk: nothing of the old prefix is removed before the new one is on the disk.

use super::*;

const IO: i32 = 5;

/// The number of waits for each way: before pre-unlink scripts, for the journal and for the mark that this is not an
/// environment; before the prefix changes, for the stage and for what is written beside it; before post-link scripts of
/// a change in place; after the scripts; and for the history.
const WAITS: [(Way, u64); 5] =
    [(Way::First, 3), (Way::Swap, 5), (Way::InPlace, 6), (Way::InPlaceWhole, 3), (Way::Add, 3)];

fn stage(way: Way) -> Stage {
    Stage { sync: true, ..Stage::new(way) }
}

#[test]
fn nobody_waits_for_the_disk_who_did_not_ask_for_it() {
    for (way, _) in WAITS {
        let stage = Stage::new(way);
        let (world, arguments) = (&stage.world, stage.arguments());
        let run = inject::run(world, &world.path(), Calls::Sync, Happens::Nothing, &arguments);
        let Some(counted) = run else { return };
        counted.outcome.success();
        assert_eq!(counted.calls, 0, "{way:?}");
    }
}

#[test]
fn who_finds_nothing_to_do_waits_for_what_is_there() {
    let stage = Stage::new(Way::Swap);
    stage.install().success();
    let stage = Stage { sync: true, ..stage };
    let Some(counted) = stage.run(Calls::Sync, Happens::Nothing) else { return };
    counted.outcome.success();
    assert_eq!(counted.calls, 1);
}

#[test]
fn what_the_disk_does_not_take_is_undone() {
    for (way, waits) in WAITS {
        let stage = stage(way);
        let before = stage.all();
        for number in 1..=waits {
            let Some(Injected { outcome, at, .. }) = stage.run(Calls::Sync, Happens::Error(number, IO)) else { return };
            let after = format!("{way:?}: wait {number} at {at:?} failed:\n{outcome}");
            assert_eq!(outcome.code, 1, "{after}");
            assert!(at.is_some_and(|at| at.starts_with("syncfs ")), "{after}");
            assert!(outcome.stderr.contains("failed to write to the disk all of"), "{after}");
            assert_eq!(tree::difference(&before, &stage.all()), "", "{after}");
        }
        let counted = stage.run(Calls::Sync, Happens::Nothing).unwrap();
        counted.outcome.success();
        assert_eq!(counted.calls, waits, "{way:?}");
        assert_eq!(tree::difference(&stage.wanted, &stage.contents()), "");
    }
}

#[test]
fn who_is_killed_while_it_waits_leaves_the_old_prefix_or_the_new_one_or_none() {
    for (way, waits) in WAITS {
        let stage = stage(way);
        for number in 1..=waits {
            let before = stage.contents();
            if stage.run(Calls::Sync, Happens::Kill(number)).is_none() {
                return;
            }
            let found = without_debris(stage.contents());
            let is_new = ["", "~ conda-meta\n"].contains(&tree::difference(&stage.wanted, &found).as_str());
            let after = format!("{way:?}: killed at wait {number}");
            assert!(!stage.is_environment() || found == before || is_new, "{after}");
            // The old prefix is only removed after the last wait.
            assert_eq!(stage.is_environment() && is_new, number == waits, "{after}");
            stage.next_run(&after);
            stage.prepare();
        }
    }
}

#[test]
fn a_package_is_in_the_cache_when_the_disk_has_it() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "large"]);
    let cache = world.home().join(".cache/mlconda");
    fs_err::create_dir_all(&cache).unwrap();
    let fetch = ["install", "env.lock", "-p", "prefix", "--sync", "--threads", "1"];
    let Some(counted) = inject::run(&world, &cache, Calls::Sync, Happens::Nothing, &fetch) else { return };
    counted.outcome.success();
    assert_eq!(counted.calls, 2, "one for each package");
    fs_err::remove_dir_all(&cache).unwrap();
    fs_err::create_dir_all(&cache).unwrap();
    fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
    // A cache on a broken disk is not used; the packages are installed without it.
    let Injected { outcome, at, .. } = inject::run(&world, &cache, Calls::Sync, Happens::Error(1, IO), &fetch).unwrap();
    assert!(at.is_some(), "{outcome}");
    outcome.success();
    let packages = fs_err::read_dir(cache.join("packages-3")).unwrap().count();
    assert_eq!(packages, 0, "none is there that the disk does not have");
}
