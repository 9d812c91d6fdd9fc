//! The steps of a series: changes of a prefix by mlconda and by its user.

use proptest::prelude::*;

use super::{
    packages::{self, MADE, NAMES, Package},
    prefix::{Node, Prefix},
    rules::above,
};

/// A series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Two versions of each name.
    pub(crate) packages: Vec<[Package; 2]>,
    /// Whether the prefix is named by a link. Then it cannot be swapped, and is changed in place.
    pub(crate) behind_link: bool,
    pub(crate) with_cache: bool,
    pub(crate) steps: Vec<Step>,
}

impl Series {
    /// A description with a line for each package and each step.
    pub(crate) fn tell(&self) -> String {
        let place = if self.behind_link { "a prefix behind a link" } else { "a prefix" };
        let mut text = format!("{place}{}\n", if self.with_cache { ", with a cache" } else { "" });
        for (number, step) in self.steps.iter().enumerate() {
            text.push_str(&format!("step {number}: {step:?}\n"));
            let Step::Install { lock, .. } = step else { continue };
            for (versions, which) in self.packages.iter().zip(lock) {
                let Some(package) = which.map(|which| &versions[which]) else { continue };
                let Package { name, version, depends, contents, .. } = package;
                text.push_str(&format!("    {name} {version}, depends on {depends:?}\n"));
                contents.iter().for_each(|(path, content)| text.push_str(&format!("        {path}: {content:?}\n")));
            }
        }
        text
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// `mlconda install` of a lock, which has the first version of each name, the second or none.
    Install { lock: Vec<Option<usize>>, reinstall: bool, slim: bool, no_scripts: bool, fate: Fate },
    /// `mlconda verify --repair`.
    Repair,
    /// An edit by a user.
    Edit(Edit),
}

/// The event at an installation's N-th change of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Nothing,
    /// The program is killed, and run again.
    Killed(u64),
    /// The disk is full from this change on.
    Full(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Writes a file, and makes the directories above it.
    Write(&'static str),
    /// Removes a file, or a directory with its content.
    Remove(&'static str),
    /// Sets a mode.
    Chmod(&'static str, u32),
    /// Renames a directory, and replaces it by a link.
    LinkAway(&'static str),
    /// Replaces a file by an empty directory.
    Directory(&'static str),
    /// Replaces a link by a directory that has files at paths of packages.
    Filled(&'static str),
    /// Changes the target of a link to another directory of the prefix.
    Relink(&'static str, &'static str),
}

/// The text that users write into files.
pub(crate) const MINE: &str = "mine\n";

impl Edit {
    /// Applies the edit to the model; `false` if it is not possible, and nothing changes.
    pub(crate) fn change(&self, prefix: &mut Prefix) -> bool {
        let path = self.path();
        let tree = &mut prefix.tree;
        let is_free = |above: &str| matches!(tree.get(above), None | Some(Node::Directory { .. }));
        if !above(path).all(is_free) {
            return false;
        }
        let there = tree.get(path).cloned();
        let is_directory = matches!(there, Some(Node::Directory { .. }));
        match self {
            Self::Write(_) if !is_directory => {
                for above in above(path) {
                    tree.entry(above.to_owned()).or_insert(Node::Directory { mode: 0o755 });
                }
                tree.insert(path.to_owned(), Node::File { text: MINE.to_owned(), mode: 0o644 });
            }
            Self::Remove(_) if there.is_some() => {
                tree.retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
            }
            Self::Chmod(_, mode) => match tree.get_mut(path) {
                Some(Node::File { mode: old, .. } | Node::Directory { mode: old }) => {
                    *old = *mode | 0o600 | if is_directory { 0o100 } else { 0 }
                }
                _ => return false,
            },
            Self::LinkAway(_) if is_directory && path != MADE && !tree.contains_key(&Self::away(path)) => {
                let below = format!("{path}/");
                let inside: Vec<String> =
                    tree.keys().filter(|other| *other == path || other.starts_with(&below)).cloned().collect();
                for other in inside {
                    let node = tree.remove(&other).unwrap();
                    tree.insert(other.replacen(path, &Self::away(path), 1), node);
                }
                tree.insert(path.to_owned(), Node::Link(Self::target(path)));
            }
            Self::Directory(_) if there.is_some() && !is_directory => {
                tree.insert(path.to_owned(), Node::Directory { mode: 0o755 });
            }
            Self::Filled(_) if matches!(there, Some(Node::Link(_))) => {
                tree.insert(path.to_owned(), Node::Directory { mode: 0o755 });
                for file in packages::inside(path) {
                    for above in above(&file) {
                        tree.entry(above.to_owned()).or_insert(Node::Directory { mode: 0o755 });
                    }
                    tree.insert(file, Node::File { text: MINE.to_owned(), mode: 0o644 });
                }
            }
            Self::Relink(_, to) if matches!(there, Some(Node::Link(_))) => {
                tree.insert(path.to_owned(), Node::Link(Self::up(path) + to));
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Write(path)
            | Self::Remove(path)
            | Self::Chmod(path, _)
            | Self::LinkAway(path)
            | Self::Directory(path)
            | Self::Filled(path)
            | Self::Relink(path, _) => path,
        }
    }

    /// The new name of a renamed directory.
    pub(crate) fn away(path: &str) -> String {
        format!("away-{}", path.replace('/', "-"))
    }

    pub(crate) fn target(path: &str) -> String {
        Self::up(path) + &Self::away(path)
    }

    /// The relative path from the directory of a path to the prefix.
    pub(crate) fn up(path: &str) -> String {
        "../".repeat(path.matches('/').count())
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let paths = packages::paths();
    let at = (0..paths.len()).prop_map(move |at| paths[at]);
    let modes = prop_oneof![Just(0o700), Just(0o755), Just(0o644), Just(0o777)];
    let targets = prop_oneof![Just("own"), Just("share"), Just("a"), Just("lib/deep")];
    (at, modes, 0..11_u8, any::<u8>(), targets).prop_map(|(path, mode, which, link, to)| match which {
        0..=2 => Edit::Write(path),
        3 | 4 => Edit::Remove(path),
        5 => Edit::Chmod(path, mode),
        6 => Edit::LinkAway(path),
        7 | 8 => Edit::Filled(packages::link(link)),
        9 => Edit::Relink(packages::link(link), to),
        _ => Edit::Directory(path),
    })
}

fn installation(fates: bool) -> impl Strategy<Value = Step> {
    let lock = prop::collection::vec(prop::option::weighted(0.7, 0..2_usize), NAMES.len());
    let rarely = || prop::bool::weighted(0.15);
    let fate = match fates {
        true => prop_oneof![
            6 => Just(Fate::Nothing),
            1 => (1..250_u64).prop_map(Fate::Killed),
            1 => (1..250_u64).prop_map(Fate::Full),
        ]
        .boxed(),
        false => Just(Fate::Nothing).boxed(),
    };
    (lock, rarely(), rarely(), rarely(), fate).prop_map(|(lock, reinstall, slim, no_scripts, fate)| Step::Install {
        lock,
        reinstall,
        slim,
        no_scripts,
        fate,
    })
}

fn step(fates: bool) -> impl Strategy<Value = Step> {
    prop_oneof![5 => installation(fates), 1 => Just(Step::Repair), 3 => edit().prop_map(Step::Edit)]
}

/// Random series.
pub(crate) fn series(fates: bool) -> impl Strategy<Value = Series> {
    let versions = |number| (packages::package(number, 1), packages::package(number, 2)).prop_map(|(a, b)| [a, b]);
    let packages: Vec<_> = (0..NAMES.len()).map(versions).collect();
    (packages, any::<bool>(), any::<bool>(), installation(fates), prop::collection::vec(step(fates), 1..8)).prop_map(
        |(packages, behind_link, with_cache, first, mut steps)| {
            steps.insert(0, first);
            Series { packages, behind_link, with_cache, steps }
        },
    )
}
