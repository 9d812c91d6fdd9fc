//! While an installation runs, another process renames its stage and replaces it by a link. Nothing is written to the
//! target of the link, and no program there is run.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use mlconda_test::{
    context::{TestContext, argument},
    inject::{self, Calls, Happens, Injected, Swap},
    package::PackageBuilder,
    tree,
};

use crate::{packages::line, world};

/// The place of the stage: beside the prefix, or inside a prefix that is a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    New,
    Swap,
    InPlace,
}

struct Story {
    world: TestContext,
    way: Way,
    prefix: PathBuf,
    stage: PathBuf,
    outside: PathBuf,
}

impl Story {
    fn new(way: Way) -> Self {
        let world = world();
        let (place, outside) = (world.path().join("place"), world.path().join("outside"));
        let prefix = place.join("env");
        let stage = match way {
            Way::New | Way::Swap => place.join(".env.mlconda-new"),
            Way::InPlace => place.join("real/.mlconda-new"),
        };
        let evil = format!("#!/bin/sh\ntouch '{}/ran'\n", outside.display());
        for directory in ["bin", "conda-meta", "lib/python3.11/site-packages", "share/one"] {
            fs_err::create_dir_all(outside.join(directory)).unwrap();
        }
        let program = outside.join("bin/python3.11");
        fs_err::write(&program, evil).unwrap();
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        Self { world, way, prefix, stage, outside }
    }

    fn place(&self) -> PathBuf {
        self.world.path().join("place")
    }

    /// Makes the state before the installation.
    fn prepare(&self, old: &Path) {
        let _ = fs_err::remove_dir_all(self.place());
        fs_err::create_dir(self.place()).unwrap();
        if self.way == Way::InPlace {
            fs_err::create_dir(self.place().join("real")).unwrap();
            fs_err::os::unix::fs::symlink("real", &self.prefix).unwrap();
        }
        if self.way != Way::New {
            self.world.mlconda(["install", argument(old), "-p", argument(&self.prefix)]).success();
        }
    }
}

/// Two packages that share a path, with a link to a directory and files below it, a text that contains the prefix, and
/// modules to compile.
fn two_packages(world: &TestContext, version: &str) -> String {
    let [one, two] = ["one", "two"].map(|name| {
        let package = PackageBuilder::new(name, version).file("share/both", format!("{name} {version}"));
        let package = package.file(&format!("share/{name}/file"), version).directory(&format!("share/{name}/empty"));
        let package = package.file(&format!("share/{name}/text"), mlconda_test::package::PLACEHOLDER);
        match name {
            "one" => package.link("share/way", "one").executable("bin/one", "#!/bin/sh\n"),
            _ => package.file("share/way/below", "below the link"),
        }
    });
    [line(world, &one), line(world, &two)].concat()
}

fn story(way: Way) {
    let story = Story::new(way);
    let lock = |name: &str, version: &str, python: &str| {
        let lock = story.world.write_lock(name, None, &["tzdata", python, "greet-2.0"]);
        let text = fs_err::read_to_string(&lock).unwrap() + &two_packages(&story.world, version);
        fs_err::write(&lock, text).unwrap();
        lock
    };
    let (old, new) = (lock("old.lock", "1.0", "python-3.11.8"), lock("new.lock", "2.0", "python-3.11.9"));
    let arguments = ["install", argument(&new), "-p", argument(&story.prefix), "--threads", "1"];
    story.prepare(&old);
    let before = tree::archived(&story.outside).unwrap();
    let place = story.place();
    let Some(counted) = inject::run(&story.world, &place, Calls::Change, Happens::Nothing, &arguments) else { return };
    counted.outcome.success();
    let (mut refused, mut swapped) = (0, 0);
    let step = (counted.calls / 24).max(1);
    for number in (1..=counted.calls).step_by(usize::try_from(step).unwrap()) {
        story.prepare(&old);
        let swap = Swap { place: &story.stage, to: &story.outside };
        let injected = inject::run_with_swap(&story.world, &place, number, swap, &arguments);
        let Injected { outcome, at, .. } = injected.unwrap();
        let after = format!("{way:?}: {number} of {} at {}", counted.calls, at.unwrap_or_default());
        let found = tree::archived(&story.outside).unwrap();
        assert_eq!(tree::difference(&before, &found), "", "{after}\n{outcome}");
        assert!(!story.prefix.is_symlink() || way == Way::InPlace, "{after}\n{outcome}");
        swapped += u64::from(story.stage.is_symlink());
        if outcome.code != 0 {
            let told = outcome
                .stderr
                .contains(".mlconda-new` was replaced during the installation; nothing was written to the new one");
            assert!(told, "{after}\n{outcome}");
            refused += 1;
        }
    }
    assert!(swapped > 0 && refused > 0, "{swapped} swapped, {refused} refused");
}

#[test]
fn a_link_in_the_place_of_the_stage_of_a_new_prefix_is_not_followed() {
    story(Way::New);
}

#[test]
fn a_link_in_the_place_of_the_stage_of_a_swap_is_not_followed() {
    story(Way::Swap);
}

#[test]
fn a_link_in_the_place_of_the_stage_in_a_prefix_is_not_followed() {
    story(Way::InPlace);
}
