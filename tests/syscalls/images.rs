//! Images with failing system calls or signals: there is exactly the old file or layout, or the new one, and nothing
//! else. A full disk is one of these failures.

use std::path::Path;

use super::*;

const IO: i32 = 5;
const FULL: i32 = 28;
const TERM: i32 = 15;

/// The destination of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A new file.
    File,
    /// An existing file, which is replaced.
    Replaced,
    /// A new layout, in new directories.
    Layout,
    /// A layout that contains another image.
    Added,
}

/// The context and the paths of the images.
struct Workshop {
    world: TestContext,
    place: Place,
    /// The expected contents.
    wanted: BTreeMap<String, String>,
}

impl Workshop {
    fn new(place: Place) -> Self {
        let world = world();
        world.write_lock("old.lock", None, &["tzdata"]);
        world.write_lock("env.lock", None, &["tzdata", "links", "unicode"]);
        let mut workshop = Self { world, place, wanted: BTreeMap::new() };
        workshop.prepare();
        workshop.world.mlconda(workshop.arguments()).success();
        workshop.wanted = workshop.contents();
        workshop.prepare();
        workshop
    }

    /// The directory of the destination.
    fn directory(&self) -> PathBuf {
        self.world.work().join("out")
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments_for("env.lock", "1")
    }

    fn arguments_for(&self, lock: &'static str, tag: &'static str) -> Vec<&str> {
        let place = match self.place {
            Place::File | Place::Replaced => ["--output", "out/image.tar"],
            Place::Layout => ["--oci-layout", "out/a/b/layout"],
            Place::Added => ["--oci-layout", "out/layout"],
        };
        // With one thread, the calls have nearly the same order every time. Programs that need no dynamic loader need
        // no base.
        let tag = if tag == "1" { "small:1" } else { "small:old" };
        let mut arguments = vec!["image", lock, "-n", "small", "--tag", tag, "--base", "scratch", "--threads", "1"];
        arguments.extend(place);
        arguments
    }

    /// Makes the state before a run.
    fn prepare(&self) {
        let _ = fs_err::remove_dir_all(self.directory());
        fs_err::create_dir(self.directory()).unwrap();
        if matches!(self.place, Place::Replaced | Place::Added) {
            self.world.mlconda(self.arguments_for("old.lock", "old")).success();
        }
    }

    fn contents(&self) -> BTreeMap<String, String> {
        tree::tree(&self.directory()).unwrap()
    }

    fn run(&self, directory: &Path, happens: Happens) -> Option<Injected> {
        inject::run(&self.world, directory, Calls::Change, happens, &self.arguments())
    }
}

/// Lets calls in the destination directory fail, or sends a signal at them.
fn disturbed(place: Place, happens: impl Fn(u64) -> Happens) {
    let workshop = Workshop::new(place);
    let Some(counted) = workshop.run(&workshop.directory(), Happens::Nothing) else { return };
    counted.outcome.success();
    workshop.prepare();
    let (before, mut failed, mut silent) = (workshop.world.tree(), 0, Vec::new());
    for number in spread(counted.calls) {
        let happens = happens(number);
        let Injected { outcome, at, .. } = workshop.run(&workshop.directory(), happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}", counted.calls);
        if outcome.code == 0 {
            // Leftovers that could not be removed at the end are removed by the next run.
            assert_eq!(
                tree::difference(&workshop.wanted, &without_debris(workshop.contents())),
                "",
                "{after}:\n{outcome}"
            );
            workshop.world.mlconda(workshop.arguments()).success();
            assert_eq!(tree::difference(&workshop.wanted, &workshop.contents()), "", "the run after {after}");
            workshop.prepare();
            continue;
        }
        failed += 1;
        assert_eq!(outcome.code, if matches!(happens, Happens::Signal(..)) { 143 } else { 1 }, "{after}:\n{outcome}");
        assert_eq!(tree::difference(&before, &workshop.world.tree()), "", "{after}:\n{outcome}");
        // In a layout, the message may name an unfinished file; for a file, it must name the final one.
        let is_file = matches!(place, Place::File | Place::Replaced);
        let is_told = outcome.stderr.contains("/out/") && !(is_file && outcome.stderr.contains("/.mlconda-"));
        if !matches!(happens, Happens::Signal(..)) && !is_told {
            silent.push(format!("{after}:\n{outcome}"));
        }
    }
    println!("{place:?}: of {} calls, {failed} failed cleanly", counted.calls);
    assert!(silent.is_empty(), "{} say not where:\n{}", silent.len(), silent.join("\n\n"));
    assert!(failed > 0, "nothing has failed");
}

const PLACES: [Place; 4] = [Place::File, Place::Replaced, Place::Layout, Place::Added];

#[test]
fn an_image_on_a_disk_that_fills_up() {
    PLACES.into_iter().for_each(|place| disturbed(place, |number| Happens::ErrorFrom(number, FULL)));
}

#[test]
fn an_image_on_a_disk_with_errors() {
    PLACES.into_iter().for_each(|place| disturbed(place, |number| Happens::Error(number, IO)));
}

#[test]
fn an_image_that_is_stopped() {
    PLACES.into_iter().for_each(|place| disturbed(place, |number| Happens::Signal(number, TERM)));
}

/// After a failure, the cache is valid: each layer has its description, and there are no unfinished files.
fn check_cache(layers: &Path, after: &str, is_held: &dyn Fn(&str) -> bool) {
    let names =
        fs_err::read_dir(layers).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    for name in &names {
        if is_held(name) {
            continue;
        }
        assert!(!name.starts_with('.'), "{after} left `{name}`");
        assert!(name.ends_with(".json") || names.contains(&format!("{name}.json")), "{after} left `{name}` alone");
    }
}

/// Lets calls in the cache of layers fail.
fn disturbed_cache(happens: impl Fn(u64) -> (Happens, i32)) {
    let workshop = Workshop::new(Place::File);
    let cache = workshop.world.home().join(".cache/mlconda");
    let empty = || {
        let _ = fs_err::remove_dir_all(&cache);
        fs_err::create_dir_all(&cache).unwrap();
    };
    empty();
    let Some(counted) = workshop.run(&cache, Happens::Nothing) else { return };
    counted.outcome.success();
    for number in spread(counted.calls) {
        empty();
        workshop.prepare();
        let (happens, code) = happens(number);
        let Injected { outcome, at, .. } = workshop.run(&cache, happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}", counted.calls);
        assert!(outcome.code == 0 || outcome.code == code, "{after}:\n{outcome}");
        if outcome.code != 0 {
            assert!(workshop.contents().keys().all(|path| !path.ends_with("tar")), "{after}:\n{outcome}");
        }
        // A process that is killed at a call does not clean up; the next run does.
        let is_ended = outcome.stderr.ends_with("error: stopped\n");
        check_cache(&cache.join("layers-1"), &format!("{after}:\n{outcome}\n"), &|name| {
            is_ended && name.starts_with('.')
        });
        // The next run succeeds, whatever the state of the cache is.
        workshop.world.mlconda(workshop.arguments()).success();
        assert_eq!(tree::difference(&workshop.wanted, &workshop.contents()), "", "{after}:\n{outcome}");
        check_cache(&cache.join("layers-1"), &format!("the run after {after}"), &|_| false);
    }
}

#[test]
fn an_image_with_a_cache_that_fills_up() {
    disturbed_cache(|number| (Happens::ErrorFrom(number, FULL), 1));
}

#[test]
fn an_image_with_a_cache_that_has_errors() {
    disturbed_cache(|number| (Happens::Error(number, IO), 1));
}

#[test]
fn an_image_that_is_stopped_while_it_writes_into_the_cache() {
    disturbed_cache(|number| (Happens::Signal(number, TERM), 143));
}
