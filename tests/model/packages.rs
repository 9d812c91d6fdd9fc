//! The packages of a series, and their archives. There are few paths, so that packages share them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use mlconda_test::package::{Archive, PLACEHOLDER, PackageBuilder};
use proptest::prelude::*;

use super::rules::is_below;

/// The names of packages; each has two versions.
pub(crate) const NAMES: [&str; 4] = ["alpha", "beta", "delta", "gamma"];

/// The directory into which scripts write.
pub(crate) const MADE: &str = "made";

/// The placeholder for the path of the prefix in texts of packages.
pub(crate) const HERE: &str = "@PREFIX@";

/// The content of a package at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// A file. [`HERE`] in it becomes the path of the prefix.
    File { text: String, executable: bool },
    /// A soft link.
    Link(String),
    /// An empty directory.
    Directory,
}

/// The paths of a package and their contents.
pub(crate) type Contents = BTreeMap<String, Content>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: u8,
    pub(crate) depends: BTreeSet<&'static str>,
    pub(crate) contents: Contents,
    pub(crate) archive: bool,
}

impl Package {
    pub(crate) fn post_link(name: &str) -> String {
        format!("bin/.{name}-post-link.sh")
    }

    pub(crate) fn pre_unlink(name: &str) -> String {
        format!("bin/.{name}-pre-unlink.sh")
    }

    /// The path and the text that the post-link script writes.
    pub(crate) fn made(&self) -> (String, String) {
        (format!("{MADE}/{}", self.name), format!("{} {}\n", self.name, self.version))
    }

    /// Writes the archive into a channel, and returns its path.
    pub(crate) fn write(&self, channel: &Path) -> std::path::PathBuf {
        let mut builder = PackageBuilder::new(self.name, &format!("{}.0", self.version));
        builder = builder.archive(if self.archive { Archive::Conda } else { Archive::TarBz2 });
        for name in &self.depends {
            builder = builder.depends(name);
        }
        for (path, content) in &self.contents {
            builder = match content {
                Content::File { text, executable } => {
                    let text = text.replace(HERE, PLACEHOLDER);
                    if *executable { builder.executable(path, text) } else { builder.file(path, text) }
                }
                Content::Link(to) => builder.link(path, to),
                Content::Directory => builder.told_directory(path),
            };
        }
        builder.write(channel).unwrap()
    }
}

/// Paths of files. `lib64` is a link to `lib` in some packages, `b` one to `a`, and `c` and `d` lead through `b`.
const FILES: [&str; 18] = [
    "a/x",
    "a/y",
    "a/d/x",
    "a/empty/f",
    "b/x",
    "b/d/x",
    "c/x",
    "d/x",
    "share/s/q",
    "lib/x",
    "lib/deep/z",
    "lib64/w",
    "lib64/x",
    "lib64/deep/z",
    "share/doc/d",
    "share/doc/e",
    "share/s",
    "top",
];

/// Links, with their targets. Two packages may have links with different targets at one path.
const LINKS: [(&str, &str); 10] = [
    ("lib64", "lib"),
    ("lib64", "a"),
    ("b", "lib"),
    ("a/l", "../b/x"),
    ("b/l", "x"),
    ("b", "a"),
    ("c", "b"),
    ("d", "b/d"),
    ("a/x", "y"),
    ("share/l", "doc/d"),
];

const DIRECTORIES: [&str; 4] = ["a/empty", "lib64/empty", "share/doc", "b/d"];

/// All paths that steps may change.
pub(crate) fn paths() -> Vec<&'static str> {
    let mut all: Vec<&str> = FILES.iter().chain(&DIRECTORIES).copied().collect();
    all.extend(LINKS.iter().map(|(path, _)| *path));
    all.extend(["lib", "lib/w", "share", "a", "made", "made/alpha", "own/file"]);
    all.sort_unstable();
    all.dedup();
    all
}

/// The path of the link with a number.
pub(crate) fn link(number: u8) -> &'static str {
    LINKS[usize::from(number) % LINKS.len()].0
}

/// The files of a user in a directory at a path: at paths of packages, if there are any.
pub(crate) fn inside(path: &str) -> Vec<String> {
    let all = paths();
    let below: Vec<&str> = all.iter().copied().filter(|other| is_below(other, path)).collect();
    let is_last = |other: &&&str| !below.iter().any(|another| is_below(another, other));
    let mut found: Vec<String> = below.iter().filter(is_last).map(|&other| other.to_owned()).collect();
    if found.is_empty() {
        found.push(format!("{path}/mine"));
    }
    found
}

/// A content at a path. Two packages may have the same one.
fn content() -> impl Strategy<Value = (String, Content)> {
    let file = (0..FILES.len(), 0..3_u8, any::<bool>(), 0..4_u8).prop_map(|(at, text, executable, prefix)| {
        let prefix = if prefix == 0 { format!("{HERE}/bin\n") } else { String::new() };
        (FILES[at].to_owned(), Content::File { text: format!("{prefix}text {text}\n"), executable })
    });
    let link = (0..LINKS.len()).prop_map(|at| (LINKS[at].0.to_owned(), Content::Link(LINKS[at].1.to_owned())));
    let directory = (0..DIRECTORIES.len()).prop_map(|at| (DIRECTORIES[at].to_owned(), Content::Directory));
    prop_oneof![8 => file, 2 => link, 1 => directory]
}

/// A package with a name and a version. It may depend on another name, before or after its own.
pub(crate) fn package(number: usize, version: u8) -> impl Strategy<Value = Package> {
    let scripts = prop_oneof![3 => Just((false, false)), 1 => Just((true, true)), 1 => Just((true, false))];
    let contents = prop::collection::vec(content(), 1..6);
    (contents, scripts, prop::collection::vec(0..NAMES.len(), 0..2), any::<bool>()).prop_map(
        move |(contents, (post_link, pre_unlink), depends, archive)| {
            let name = NAMES[number];
            let depends = depends.into_iter().filter(|other| *other != number).map(|other| NAMES[other]).collect();
            let mut package = Package { name, version, depends, contents: sound(contents), archive };
            let (path, text) = package.made();
            let mut script = |path: String, text: String| {
                package.contents.insert(path, Content::File { text, executable: true });
            };
            if post_link {
                let text = format!("mkdir -p \"$PREFIX/{MADE}\"\necho '{}' > \"$PREFIX/{path}\"\n", text.trim_end());
                script(Package::post_link(name), text);
            }
            if pre_unlink {
                script(Package::pre_unlink(name), format!("rm -f \"$PREFIX/{path}\"\n"));
            }
            package
        },
    )
}

/// Leaves out contents so that the package has no path below its own file or link.
fn sound(contents: Vec<(String, Content)>) -> Contents {
    // The package also has no two paths that a link of another package makes the same.
    let ways = [["a/", "lib/"], ["lib/", "lib/"], ["a/", "a/"], ["lib/", "a/"]];
    let place = |path: &str, [b, lib64]: [&str; 2]| {
        let links = [("d/", "b/d/"), ("c/", "b/"), ("b/", b), ("lib64/", lib64)];
        links.iter().fold(path.to_owned(), |path, (link, to)| match path.strip_prefix(link) {
            Some(rest) => format!("{to}{rest}"),
            None => path,
        })
    };
    let is_one = |one: &str, other: &str| ways.iter().any(|way| place(one, *way) == place(other, *way));
    let mut sound = Contents::new();
    for (path, content) in contents {
        if sound.keys().any(|other| *other != path && is_one(other, &path)) {
            continue;
        }
        let below = format!("{path}/");
        let is_above = sound.keys().any(|other| other.starts_with(&below)) && content != Content::Directory;
        let is_below = sound
            .iter()
            .any(|(other, content)| path.starts_with(&format!("{other}/")) && *content != Content::Directory);
        if !is_above && !is_below {
            sound.entry(path).or_insert(content);
        }
    }
    // A directory with other paths below it is not empty.
    let all: Vec<String> = sound.keys().cloned().collect();
    sound.retain(|path, content| {
        *content != Content::Directory || !all.iter().any(|other| other.starts_with(&format!("{path}/")))
    });
    sound
}
