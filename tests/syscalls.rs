//! Installations with failing system calls, or killed at a system call: there is exactly the old prefix or the new one,
//! including times, and the next run succeeds.
//!
//! The tests use a sample of the calls, spread over all of them; `MLCONDA_TEST_KILLS` sets its size, up to every call.

#![allow(clippy::print_stdout, reason = "a thorough run is to tell its figures")]

mod bundles;
mod durable;
mod failing;
mod images;
mod killed;
mod overlay;
mod stopped;

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::PathBuf};

use mlconda_test::{
    context::{TestContext, argument},
    host_subdir,
    inject::{self, Calls, Happens, Injected},
    package::PackageBuilder,
    sha256_hex, tree,
};

use crate::{packages, world};

const OLD: [&str; 6] = ["tzdata", "python-3.11.8", "greet-1.0", "where-1.0", "links", "hollow"];
const NEW: [&str; 6] = ["tzdata", "python-3.12.4", "greet-2.0", "where-2.0", "unicode", "archived"];
/// The packages before an addition, and after it. The spec for `tzdata` also changes, so that its record changes.
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
    /// In place, without scripts: directories in which nothing stays are removed as a whole.
    InPlaceWhole,
    /// Only additions: nothing is removed or replaced, in a prefix that could be swapped.
    Add,
}

/// The context and the paths of the installations.
struct Stage {
    world: TestContext,
    way: Way,
    prefix: PathBuf,
    /// The real path of the prefix.
    real: PathBuf,
    old: PathBuf,
    new: PathBuf,
    /// Whether the installation uses `--sync`.
    sync: bool,
    /// The expected contents.
    wanted: BTreeMap<String, String>,
}

/// A package in which files become directories, directories become files, and a link to a directory becomes a
/// directory.
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
        return packages::line(world, &package);
    }
    let script = "#!/bin/sh\necho \"$PKG_VERSION\" > \"$PREFIX/share/shape/by-script\"\n";
    let before = "#!/bin/sh\necho bye >> \"$PREFIX/share/shape/by-script\"; rm -f \"$PREFIX/share/mine\"\n";
    let package = package.executable("bin/.shape-post-link.sh", script).executable("bin/.shape-pre-unlink.sh", before);
    let archive = package.write(&world.path().join("channel")).unwrap();
    format!("file://{}#sha256:{}\n", archive.display(), sha256_hex(fs_err::read(&archive).unwrap()))
}

/// A package with a newer timestamp than all others: the time of every directory changes with it.
pub(crate) fn newer(world: &TestContext) -> String {
    let package = PackageBuilder::new("newer", "1.0").timestamp(1_800_000_000_000).file("share/newer/file", "new");
    packages::line(world, &package)
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
        let mut stage = Self { world, way, prefix, real, old, new, sync: false, wanted: BTreeMap::new() };
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

    fn arguments(&self) -> Vec<&str> {
        // With one thread, the calls have nearly the same order every time.
        let mut words = vec!["install", argument(&self.new), "-p", argument(&self.prefix), "--threads", "1"];
        words.extend(self.sync.then_some("--sync"));
        words
    }

    /// Makes the state before an installation.
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
        // Files of the user: beside files of packages, at the path of a new package's file, and in a directory that is
        // removed. An addition replaces none of them, but adds files to their directories.
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

    /// The contents of the prefix, without the history, which depends on the commands. After an addition also with the
    /// times, because no directory is new.
    fn contents(&self) -> BTreeMap<String, String> {
        let mut contents = match self.way {
            Way::Add => tree::archived(&self.real).unwrap(),
            _ => tree::tree(&self.real).unwrap(),
        };
        contents.remove("");
        contents.remove("conda-meta/history");
        contents
    }

    /// All paths with their contents, times and inode numbers, to check that they are the same files, not copies.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = tree::tree(&self.place()).unwrap();
        for (path, what) in &mut all {
            let metadata = fs_err::symlink_metadata(self.place().join(path)).unwrap();
            // A file that a script has overwritten may be a copy.
            let number = if path.ends_with("by-script") || path.ends_with("mine") { 0 } else { metadata.ino() };
            *what = format!("{what} {number} {} {}", metadata.mtime(), metadata.mtime_nsec());
        }
        all
    }

    fn is_environment(&self) -> bool {
        self.real.join("conda-meta/history").is_file()
    }

    /// An unfinished change is undone before anything else: here by an installation that cannot succeed.
    fn undone_by_an_installation_that_fails(&self, before: &BTreeMap<String, String>, after: &str) {
        if self.way == Way::First {
            return;
        }
        let text = format!("# platform: {}\n@EXPLICIT\nfile:///missing-1.0-0.conda\n", host_subdir());
        let impossible = self.world.write("impossible.lock", &text);
        self.world.mlconda(["install", argument(&impossible), "-p", argument(&self.prefix)]).failure(1);
        assert_eq!(tree::difference(before, &self.contents()), "", "undone after {after}");
    }

    /// The next run succeeds and removes leftovers.
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

/// Numbers from 1 to `last`, evenly spread, as many as the sample has.
fn spread(last: u64) -> impl Iterator<Item = u64> {
    let many = sample().min(last).max(1);
    (0..many).map(move |number| 1 + number * last / many)
}
