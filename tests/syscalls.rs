//! An installation whose system calls fail, one after the other, or that is killed at one: the old prefix or the new
//! one, word for word and time for time, and a next run that succeeds.
//!
//! A sample of the calls, spread over all of them; `MLCONDA_TEST_KILLS` sets how many, up to every one.

#![allow(clippy::print_stdout, reason = "a thorough run is to tell its figures")]

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mlconda_test::{
    context::{TestContext, argument},
    host_subdir,
    inject::{self, Calls, Happens, Injected},
    package::PackageBuilder,
    sha256_hex, tree,
};

use crate::{regressions, world};

const NO_ENTRY: i32 = 13; // EACCES
const IO: i32 = 5;
const TOO_MANY_OPEN: i32 = 24;
const FULL: i32 = 28;
const READ_ONLY: i32 = 30;

/// The number of SIGTERM.
const TERM: i32 = 15;

const OLD: [&str; 6] = ["tzdata", "python-3.11.8", "greet-1.0", "where-1.0", "links", "hollow"];
const NEW: [&str; 6] = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "unicode", "archived"];
/// What an addition finds and what comes besides; `tzdata` is asked for in other words then, so that its record changes.
const KEPT: [&str; 3] = ["tzdata", "python-3.12.4", "where-2.0"];
const ADDED: [&str; 6] = ["tzdata", "python-3.12.4", "where-2.0", "greet-2.0", "unicode", "links"];

#[allow(clippy::disallowed_methods, reason = "a thorough run is asked for by whoever runs the tests")]
fn sample() -> u64 {
    std::env::var("MLCONDA_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// How a prefix gets its new contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    First,
    Swap,
    InPlace,
    /// The same, and no script runs: directories in which nothing stays go as a whole.
    InPlaceWhole,
    /// Nothing goes and nothing is replaced, in a prefix that could be swapped.
    Add,
}

/// What installations happen in.
struct Stage {
    world: TestContext,
    way: Way,
    prefix: PathBuf,
    /// Where the prefix really is.
    real: PathBuf,
    old: PathBuf,
    new: PathBuf,
    /// What is there at the end.
    wanted: BTreeMap<String, String>,
}

/// A package that makes files of directories, directories of files, and a directory of a link to one.
fn shape(world: &TestContext, version: &str, way: Way) -> String {
    let package = PackageBuilder::new("shape", version).file(&format!("share/shape/{version}"), version);
    let package = match version {
        "1.0" => package
            .file("share/shape/file-then-directory", "a file")
            .file("share/shape/directory-then-file/inner/most", "in a directory")
            .file("share/shape/kept/libs/one", "one")
            .link("share/shape/link-then-directory", "kept/libs"),
        _ => package
            .file("share/shape/file-then-directory/inner/most", "in a directory")
            .file("share/shape/directory-then-file", "a file")
            .file("share/shape/kept/libs/one", "another one")
            .file("share/shape/link-then-directory/one", "not through the link"),
    };
    if way == Way::InPlaceWhole {
        return regressions::line(world, &package);
    }
    let script = "#!/bin/sh\necho \"$PKG_VERSION\" > \"$PREFIX/share/shape/by-script\"\n";
    let before = "#!/bin/sh\necho bye >> \"$PREFIX/share/shape/by-script\"; rm -f \"$PREFIX/share/mine\"\n";
    let package = package.executable("bin/.shape-post-link.sh", script).executable("bin/.shape-pre-unlink.sh", before);
    let archive = package.write(&world.path().join("channel")).unwrap();
    format!("file://{}#sha256:{}\n", archive.display(), sha256_hex(fs_err::read(&archive).unwrap()))
}

/// A package that is newer than all others: the time of every directory changes with it.
pub(crate) fn newer(world: &TestContext) -> String {
    let package = PackageBuilder::new("newer", "1.0").timestamp(1_800_000_000_000).file("share/newer/file", "new");
    regressions::line(world, &package)
}

impl Stage {
    fn new(way: Way) -> Self {
        let world = world();
        let lock = |name: &str, packages: &[&str], version: &str| {
            let lock = world.write_lock(name, None, packages);
            let text = fs_err::read_to_string(&lock).unwrap();
            let text = match way {
                Way::Add if version == "1.0" => format!("# mlconda lock: 1\n# spec: tzdata\n{text}"),
                Way::Add => format!("{text}{}", newer(&world)),
                _ => format!("{text}{}", shape(&world, version, way)),
            };
            fs_err::write(&lock, text).unwrap();
            lock
        };
        let (before, after) = if way == Way::Add { (&KEPT[..], &ADDED[..]) } else { (&OLD[..], &NEW[..]) };
        let (old, new) = (lock("old.lock", before, "1.0"), lock("new.lock", after, "2.0"));
        let place = world.path().join("place");
        let (prefix, real) = match way {
            Way::First => (place.join("deep/down/prefix"), place.join("deep/down/prefix")),
            Way::Swap | Way::Add => (place.join("prefix"), place.join("prefix")),
            Way::InPlace | Way::InPlaceWhole => (place.join("link"), place.join("real")),
        };
        fs_err::create_dir(&place).unwrap();
        let mut stage = Self { world, way, prefix, real, old, new, wanted: BTreeMap::new() };
        stage.prepare();
        let number = || fs_err::metadata(&stage.real).map(|metadata| metadata.ino()).ok();
        let before = number();
        stage.install().success();
        assert_eq!(
            before == number(),
            matches!(way, Way::InPlace | Way::InPlaceWhole | Way::Add),
            "what is not swapped is the same directory"
        );
        stage.wanted = stage.contents();
        stage.prepare();
        stage
    }

    fn place(&self) -> PathBuf {
        self.world.path().join("place")
    }

    fn arguments(&self) -> [&str; 6] {
        // One thread: as good as the same calls in the same order every time.
        ["install", argument(&self.new), "-p", argument(&self.prefix), "--threads", "1"]
    }

    /// What is there before.
    fn prepare(&self) {
        for entry in fs_err::read_dir(self.place()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() { fs_err::remove_file(path) } else { fs_err::remove_dir_all(path) }.unwrap();
        }
        if self.way == Way::First {
            return;
        }
        if matches!(self.way, Way::InPlace | Way::InPlaceWhole) {
            fs_err::create_dir(&self.real).unwrap();
            fs_err::os::unix::fs::symlink(&self.real, &self.prefix).unwrap();
        }
        self.world.mlconda(["install", argument(&self.old), "-p", argument(&self.prefix)]).success();
        // The user's own: beside packages' files, where a package's file will be, and in a directory that goes; an
        // addition replaces none, but comes to where one is.
        let mine = match self.way {
            Way::Add => ["notebook.ipynb", "share/unicode/mine", "lib/python3.12/site-packages/mine.py", "share/mine"],
            _ => ["notebook.ipynb", "share/unicode/a file with spaces", "lib/links/mine", "share/mine"],
        };
        for path in mine {
            fs_err::create_dir_all(self.real.join(path).parent().unwrap()).unwrap();
            fs_err::write(self.real.join(path), "mine").unwrap();
            let file = fs_err::OpenOptions::new().append(true).open(self.real.join(path)).unwrap();
            file.file().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }

    fn install(&self) -> mlconda_test::context::Outcome {
        self.world.mlconda(self.arguments())
    }

    fn run(&self, calls: Calls, happens: Happens) -> Option<Injected> {
        inject::run(&self.world, &self.place(), calls, happens, &self.arguments())
    }

    /// What is in the prefix; the history apart, which tells how it came about. After an addition with the times of all,
    /// for no directory is a new one.
    fn contents(&self) -> BTreeMap<String, String> {
        let mut contents = match self.way {
            Way::Add => tree::archived(&self.real).unwrap(),
            _ => tree::tree(&self.real).unwrap(),
        };
        contents.remove("");
        contents.remove("conda-meta/history");
        contents
    }

    /// All that is there, each with its contents, its time and its number: the same files, not others like them.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = tree::tree(&self.place()).unwrap();
        for (path, what) in &mut all {
            let metadata = fs_err::symlink_metadata(self.place().join(path)).unwrap();
            // What a script has written over may be a copy of it.
            let number = if path.ends_with("by-script") || path.ends_with("mine") { 0 } else { metadata.ino() };
            *what = format!("{what} {number} {} {}", metadata.mtime(), metadata.mtime_nsec());
        }
        all
    }

    fn is_environment(&self) -> bool {
        self.real.join("conda-meta/history").is_file()
    }

    /// What is half-done is undone before anything else is: here an installation that cannot succeed.
    fn undone_by_an_installation_that_fails(&self, before: &BTreeMap<String, String>, after: &str) {
        if self.way == Way::First {
            return;
        }
        let text = format!("# platform: {}\n@EXPLICIT\nfile:///missing-1.0-0.conda\n", host_subdir());
        let impossible = self.world.write("impossible.lock", &text);
        self.world.mlconda(["install", argument(&impossible), "-p", argument(&self.prefix)]).failure(1);
        assert_eq!(tree::difference(before, &self.contents()), "", "undone after {after}");
    }

    /// The next run succeeds and takes away what was left.
    fn next_run(&self, after: &str) {
        let outcome = self.install();
        assert!(outcome.code == 0, "the run after {after}:\n{outcome}");
        assert_eq!(tree::difference(&self.wanted, &self.contents()), "", "the run after {after}");
        let left: Vec<String> = self.all().into_keys().filter(|path| path.contains("mlconda")).collect();
        assert!(left.is_empty(), "the run after {after} left {left:?}");
    }
}

fn without_debris(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tree.retain(|path, _| !path.contains(".mlconda-"));
    tree
}

/// Numbers from 1 to `last`, as many as are asked for, spread evenly.
fn spread(last: u64) -> impl Iterator<Item = u64> {
    let many = sample().min(last).max(1);
    (0..many).map(move |number| 1 + number * last / many)
}

fn words(error: i32) -> &'static str {
    match error {
        NO_ENTRY => "ermission denied",
        IO => "nput/output error",
        TOO_MANY_OPEN => "oo many open files",
        FULL => "o space left on device",
        _ => "ead-only file system",
    }
}

/// Lets calls fail: what does not succeed changes nothing.
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
            // What could not be removed afterwards, the next run removes.
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
            // The time of this directory is what is set last of all, and the next run sees to it.
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
fn a_change_in_place_of_whole_directories_that_is_killed() {
    killed(Way::InPlaceWhole);
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

/// Lets a signal come at calls, and each be held until it was heard: all is undone, or all is there.
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
        let is_late = outcome.stderr.contains("stopping: it is too late to undo what was done.");
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

/// A signal at a rename, and another one before anything is undone: the next run does that.
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

/// Killed while a signal's undoing is under way: the next run goes on with it.
fn killed_while_undoing(way: Way) {
    let stage = Stage::new(way);
    let Some(counted) = stage.run(Calls::Change, Happens::Nothing) else { return };
    stage.prepare();
    let mut killed = 0;
    // Most of it is to be undone then.
    let number = counted.calls * 2 / 3;
    for more in spread(100) {
        let before = stage.contents();
        let happens = Happens::SignalAndKill(number, TERM, more);
        let Injected { outcome, at, .. } = stage.run(Calls::Change, happens).unwrap();
        let Some(at) = at else { continue };
        let after = format!("{happens:?} of {} at {at}", counted.calls);
        killed += usize::from(outcome.code == 137);
        assert!([137, 143, 0].contains(&outcome.code), "{after}:\n{outcome}");
        // Past the last step that can be undone, the new prefix is there.
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
