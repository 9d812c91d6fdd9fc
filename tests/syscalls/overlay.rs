//! A change in place on an overlay file system, as in an image build: old files are removed there, and not moved aside. So a
//! killed process leaves a marked prefix, and the next run finishes what it began.

use std::{path::Path, process::Command};

use super::*;

/// A mounted overlay; unmounted when it is dropped.
struct Overlay(PathBuf);

impl Overlay {
    /// Mounts one on a directory; `None` if this process may not.
    #[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
    fn mount(directory: &Path, beside: &Path) -> Option<Self> {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| beside.join(name));
        for layer in [&lower, &upper, &work] {
            fs_err::create_dir_all(layer).unwrap();
        }
        let options = ["lowerdir=", argument(&lower), ",upperdir=", argument(&upper), ",workdir=", argument(&work)];
        let mounted =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options.concat()]).arg(directory).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory.to_owned()));
        }
        eprintln!("skipped: an overlay cannot be mounted here");
        None
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_change_on_an_overlay_that_is_killed_is_finished_by_the_next_run() {
    // Overlays are no layers of one another, and a temporary directory may be in one.
    let memory = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let stage = Stage::new(Way::InPlaceWhole);
    let Some(_overlay) = Overlay::mount(&stage.place(), memory.path()) else { return };
    stage.prepare();
    let Some(counted) = stage.run(Calls::Change, Happens::Nothing) else { return };
    counted.outcome.success();
    let wanted = stage.contents();
    stage.prepare();
    let mut marked = 0;
    for number in spread(counted.calls) {
        let Injected { at, .. } = stage.run(Calls::Change, Happens::Kill(number)).unwrap();
        let Some(at) = at else { continue };
        marked += usize::from(!stage.is_environment());
        let after = format!("kill {number} of {} at {at}", counted.calls);
        let outcome = stage.install();
        assert!(outcome.code == 0, "the run after {after}:\n{outcome}");
        assert_eq!(tree::difference(&wanted, &stage.contents()), "", "the run after {after}");
        stage.prepare();
    }
    println!("of {} calls, killed at {marked} left a marked prefix", counted.calls);
}
