//! A change in place on an overlay file system, as in an image build, of files in a lower layer. There, old files are
//! removed, not moved away. So a killed process leaves a marked prefix, and the next run completes the change.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::*;

/// An overlay that is mounted on a directory, whose contents are the lower layer.
struct Overlay {
    directory: PathBuf,
    layers: TempDir,
}

impl Overlay {
    /// Mounts an overlay; `None` if this is not permitted.
    #[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
    fn on(directory: &Path) -> Option<Self> {
        // An overlay cannot be the upper layer of another one, and a temporary directory may be in an overlay.
        let memory = Path::new("/dev/shm");
        let layers = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let lower = layers.path().join("lower");
        let copied = Command::new("cp").arg("-a").args([directory, &lower]).status().unwrap();
        assert!(copied.success());
        let overlay = Self { directory: directory.to_owned(), layers };
        if overlay.mount() {
            return Some(overlay);
        }
        eprintln!("skipped: an overlay cannot be mounted here");
        None
    }

    fn mount(&self) -> bool {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| self.layers.path().join(name));
        for layer in [&upper, &work] {
            fs_err::create_dir_all(layer).unwrap();
        }
        let options = ["lowerdir=", argument(&lower), ",upperdir=", argument(&upper), ",workdir=", argument(&work)];
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &options.concat()]).arg(&self.directory);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn unmount(&self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).output();
    }

    /// Restores the lower layer.
    fn reset(&self) {
        self.unmount();
        for layer in ["upper", "work"] {
            fs_err::remove_dir_all(self.layers.path().join(layer)).unwrap();
        }
        assert!(self.mount());
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[test]
fn a_change_on_an_overlay_that_is_killed_is_finished_by_the_next_run() {
    let stage = Stage::new(Way::InPlaceWhole);
    let Some(overlay) = Overlay::on(&stage.place()) else { return };
    let Some(counted) = stage.run(Calls::Change, Happens::Nothing) else { return };
    counted.outcome.success();
    let wanted = stage.contents();
    let mut marked = 0;
    for number in spread(counted.calls) {
        overlay.reset();
        let Injected { at, .. } = stage.run(Calls::Change, Happens::Kill(number)).unwrap();
        let Some(at) = at else { continue };
        marked += usize::from(!stage.is_environment());
        let after = format!("kill {number} of {} at {at}", counted.calls);
        let outcome = stage.install();
        assert!(outcome.code == 0, "the run after {after}:\n{outcome}");
        assert_eq!(tree::difference(&wanted, &stage.contents()), "", "the run after {after}");
    }
    println!("of {} calls, killed at {marked} left a marked prefix", counted.calls);
    assert!(marked > 0, "no kill came in the middle of the change");
}

#[test]
fn a_change_on_an_overlay_that_the_disk_does_not_take_leaves_no_environment() {
    const IO: i32 = 5;
    let stage = Stage { sync: true, ..Stage::new(Way::InPlaceWhole) };
    let Some(overlay) = Overlay::on(&stage.place()) else { return };
    let Some(counted) = stage.run(Calls::Sync, Happens::Nothing) else { return };
    counted.outcome.success();
    let wanted = stage.contents();
    for number in 1..=counted.calls {
        overlay.reset();
        let before = stage.contents();
        let Injected { outcome, at, .. } = stage.run(Calls::Sync, Happens::Error(number, IO)).unwrap();
        let after = format!("wait {number} of {} at {at:?} failed:\n{outcome}", counted.calls);
        assert_eq!(outcome.code, 1, "{after}");
        assert!(!stage.is_environment() || stage.contents() == before, "{after}");
        stage.install().success();
        assert_eq!(tree::difference(&wanted, &stage.contents()), "", "{after}");
    }
}

#[test]
fn what_removes_nothing_on_an_overlay_is_undone() {
    let world = world();
    let place = world.path().join("place");
    fs_err::create_dir_all(place.join("real")).unwrap();
    fs_err::write(place.join("real/mine"), "mine").unwrap();
    // A link cannot be exchanged, and the directory is not an environment yet.
    fs_err::os::unix::fs::symlink("real", place.join("link")).unwrap();
    fs_err::create_dir(place.join("real/conda-meta")).unwrap();
    let Some(_overlay) = Overlay::on(&place) else { return };
    let script = "#!/bin/sh\nexit 1\n";
    let package = PackageBuilder::new("package", "1.0")
        .executable("bin/.package-post-link.sh", script)
        .file("share/it", "of the package");
    let text = format!("# platform: {}\n@EXPLICIT\n{}", host_subdir(), packages::line(&world, &package));
    let lock = world.write("failing.lock", &text);
    let before = tree::tree(&place).unwrap();
    world.mlconda(["install", argument(&lock), "-p", argument(&place.join("link"))]).failure(1);
    assert_eq!(tree::difference(&before, &tree::tree(&place).unwrap()), "");
}
