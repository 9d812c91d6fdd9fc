//! Bundles with failing system calls: there is the old file or the new one, and at most an unfinished one besides, with
//! which the next run makes the same bytes. A full disk is one of these failures.

use super::*;

const IO: i32 = 5;
const FULL: i32 = 28;

const ARGUMENTS: [&str; 6] = ["bundle", "env.lock", "-o", "out/env.bundle", "--threads", "1"];

fn disturbed(happens: impl Fn(u64) -> Happens) {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "links", "archived"]);
    let directory = world.work().join("out");
    let prepare = || {
        let _ = fs_err::remove_dir_all(&directory);
        fs_err::create_dir(&directory).unwrap();
        fs_err::write(directory.join("env.bundle"), "old").unwrap();
    };
    let digest = || sha256_hex(fs_err::read(directory.join("env.bundle")).unwrap());
    prepare();
    let old = digest();
    let run = |happens| inject::run(&world, &directory, Calls::Change, happens, &ARGUMENTS);
    let Some(counted) = run(Happens::Nothing) else { return };
    counted.outcome.success();
    let (wanted, mut failed) = (digest(), 0);
    for number in spread(counted.calls) {
        prepare();
        let happens = happens(number);
        let Injected { outcome, at, .. } = run(happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}:\n{outcome}", counted.calls);
        assert!([0, 1].contains(&outcome.code), "{after}");
        assert!([&old, &wanted].contains(&&digest()), "{after}");
        assert_eq!(outcome.code == 0, digest() == wanted, "{after}");
        if outcome.code == 1 {
            failed += 1;
            assert!(outcome.stderr.contains("/out/"), "it does not say where: {after}");
        }
        let mut names: Vec<_> = fs_err::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name != "env.bundle" && name != "env.bundle.partial");
        assert!(names.is_empty(), "{names:?} after {after}");
        world.mlconda(ARGUMENTS).success();
        assert_eq!(digest(), wanted, "the run after {after}");
        assert!(!directory.join("env.bundle.partial").exists(), "the run after {after}");
    }
    println!("of {} calls, {failed} failed cleanly", counted.calls);
}

#[test]
fn a_bundle_on_a_disk_that_fills_up() {
    disturbed(|number| Happens::ErrorFrom(number, FULL));
}

#[test]
fn a_bundle_on_a_disk_with_errors() {
    disturbed(|number| Happens::Error(number, IO));
}
