//! The model: a short description of a prefix in code. It has all rules, to be read from top to bottom.
//!
//! A prefix is a tree of files, links and directories, and a list of installed packages. A path of an installed package
//! belongs to the package; all other paths belong to the user, including files that scripts have written. The model
//! does not use the library's code.

mod damage;
mod halfway;
mod places;

use std::collections::{BTreeMap, BTreeSet};

use self::halfway::Halfway;
use super::{
    packages::{Content, Contents, HERE, MADE, Package},
    rules::{above, is_below, linking_order, place_of, slim},
};

/// A node at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory { mode: u32 },
    File { text: String, mode: u32 },
    Link(String),
}

pub(crate) type Tree = BTreeMap<String, Node>;

/// How packages are installed.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    /// Packages that are linked again even if they are installed.
    pub(crate) again: BTreeSet<String>,
    /// Whether documentation is left out.
    pub(crate) slim: bool,
    pub(crate) no_scripts: bool,
    /// Whether this is a repair, which links only damaged packages again, and not those whose scripts were skipped
    /// before.
    pub(crate) repair: bool,
    /// Whether a killed installation has removed old files and cannot be undone: all packages are linked again.
    pub(crate) anew: bool,
}

/// An impossible installation: nothing changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

/// A package in the prefix.
#[derive(Clone, Debug)]
struct Installed {
    package: Package,
    /// Its contents without the parts that were left out.
    contents: Contents,
    /// Whether its scripts were skipped.
    without_scripts: bool,
}

/// The path and the text of a file that a script has made.
type Made = (String, String);

/// The owner and the content of each place. A place is the path of a file on the disk, after links are followed.
type Places = BTreeMap<String, (String, Content)>;

/// The place of each path of each package: another path, if a link of a package leads there.
type PlacesOfPackages = BTreeMap<String, BTreeMap<String, String>>;

/// All places when certain packages are installed.
#[derive(Default)]
struct Layout {
    /// The order in which they are linked.
    order: Vec<String>,
    winners: Places,
    places: PlacesOfPackages,
    /// The directories that packages need, with the names of these packages.
    directories: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    /// Its path, as written into files.
    path: String,
    pub(crate) tree: Tree,
    way: Way,
    /// Whether anything was ever installed.
    is_environment: bool,
    /// Whether a first installation ended with an error, and left files of a script: the next one may continue there.
    is_begun: bool,
    /// Whether it is marked as no environment: an installation ended halfway, and could not be undone.
    is_marked: bool,
    installed: BTreeMap<String, Installed>,
}

/// How a prefix is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is swapped for another directory.
    Swapped,
    /// In place. Old files are kept until the change is complete.
    InPlace,
    /// In place on an overlay file system: old files are removed at once.
    Overlay,
}

impl Prefix {
    /// A directory in which nothing is installed.
    pub(crate) fn new(path: &str, way: Way) -> Self {
        let (path, tree, installed) = (path.to_owned(), Tree::new(), BTreeMap::new());
        Self { path, tree, way, is_environment: false, is_begun: false, is_marked: false, installed }
    }

    /// Whether there is a directory for records, and whether there is a history, which makes it an environment.
    pub(crate) fn meta(&self) -> (bool, bool) {
        (self.is_environment || self.is_begun, self.is_environment)
    }

    /// The names of the installed packages, with versions, and the paths that their records list.
    pub(crate) fn records(&self) -> BTreeMap<String, BTreeSet<String>> {
        let files = |installed: &Installed| {
            let files = installed.contents.iter().filter(|(_, content)| **content != Content::Directory);
            files.map(|(path, _)| path.clone()).collect()
        };
        self.installed.iter().map(|(name, it)| (format!("{name}-{}.0", it.package.version), files(it))).collect()
    }

    /// Changes the prefix so that it has exactly a lock's packages.
    pub(crate) fn install(&mut self, lock: &[Package], how: &How) -> Result<(), Refusal> {
        let mut half = Halfway::default();
        match self.changed(lock, how, &mut half) {
            Ok(changed) => *self = changed,
            Err(refusal) => {
                self.end_halfway(half);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// The prefix with the packages of a lock. `half` gets the finished part, even if a script fails.
    fn changed(&self, lock: &[Package], how: &How, half: &mut Halfway) -> Result<Self, Refusal> {
        if !self.is_environment && !self.is_begun && !self.tree.is_empty() {
            return Err(Refusal("the directory holds somebody's files".to_owned()));
        }
        let wanted: BTreeMap<String, Installed> = lock
            .iter()
            .map(|package| {
                let contents = if how.slim { slim(&package.contents) } else { package.contents.clone() };
                let installed = Installed { package: package.clone(), contents, without_scripts: how.no_scripts };
                (package.name.to_owned(), installed)
            })
            .collect();
        let before = self.places_made();
        let mut stay = self.stay(&wanted, how, &before);
        let mut changed = self.clone();
        changed.is_environment = true;
        let ends = self.installed.keys().filter(|name| !stay.contains(*name)).cloned().collect();
        if how.anew {
            stay.clear();
        }
        let comes: BTreeSet<&String> = wanted.keys().filter(|name| !stay.contains(*name)).collect();
        let goes: BTreeSet<&String> = self.installed.keys().filter(|name| !stay.contains(*name)).collect();
        if !comes.is_empty() || !goes.is_empty() {
            let after = self.places_then(&wanted, &stay, &before)?;
            let sets_modes = changed.links_again(how);
            changed.run_pre_unlink(&ends, how)?;
            changed.change(&wanted, &goes.into_iter().cloned().collect(), &before, &after, sets_modes)?;
            half.placed = self.loses_what_goes(&after).then(|| changed.clone());
            for name in after.order.iter().filter(|name| comes.contains(name)) {
                half.ran.extend(changed.run_post_link(&wanted[name], how)?);
                half.placed = half.placed.take().map(|_| changed.clone());
            }
        }
        changed.is_marked = false;
        Ok(changed)
    }

    /// The packages that stay as they are. The lock has the same ones, and the same parts are left out. They share no
    /// place with a removed package, because the owner of the file there would change. They also share no place with
    /// any other package by a link that is removed, because each package has its own file then.
    fn stay(&self, wanted: &BTreeMap<String, Installed>, how: &How, before: &PlacesOfPackages) -> BTreeSet<String> {
        let is_same = |(name, old): &(&String, &Installed)| {
            if self.is_marked {
                return false;
            }
            let scripts_run_now = old.without_scripts && old.has_post_link() && !how.no_scripts && !how.repair;
            let is_wanted = |new: &Installed| new.package == old.package && new.contents == old.contents;
            wanted.get(*name).is_some_and(is_wanted) && !how.again.contains(*name) && !scripts_run_now
        };
        let mut stay: BTreeSet<String> = self.installed.iter().filter(is_same).map(|(name, _)| name.clone()).collect();
        loop {
            let gone: BTreeSet<&String> = before
                .iter()
                .filter(|(name, _)| !stay.contains(*name))
                .flat_map(|(name, places)| self.files(name, places))
                .collect();
            let links: BTreeSet<&String> = self
                .installed
                .iter()
                .filter(|(name, _)| !stay.contains(*name))
                .flat_map(|(_, it)| it.contents.iter())
                .filter_map(|(path, content)| matches!(content, Content::Link(_)).then_some(path))
                .collect();
            let has_another_name = |path: &String, place: &String| {
                before.values().flatten().any(|(other, at)| at == place && other != path)
            };
            let is_apart = |path: &String, place: &String| {
                self.way(path).iter().any(|link| links.contains(link)) && has_another_name(path, place)
            };
            let shares = |name: &String| {
                let contents = &self.installed[name].contents;
                let files = before[name].iter().filter(|(path, _)| contents[*path] != Content::Directory);
                files.into_iter().any(|(path, place)| gone.contains(place) || is_apart(path, place))
            };
            let Some(name) = stay.iter().find(|name| shares(name)).cloned() else { return stay };
            stay.remove(&name);
        }
    }

    /// The places of a package's files and links.
    fn files<'a>(&'a self, name: &str, places: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a String> {
        let contents = &self.installed[name].contents;
        places.iter().filter(|(path, _)| contents[*path] != Content::Directory).map(|(_, place)| place)
    }

    /// The places when these packages are installed, and the directories that packages need. If several packages have
    /// the same place, the one that is linked last gets it.
    fn places_then(
        &self,
        wanted: &BTreeMap<String, Installed>,
        stay: &BTreeSet<String>,
        before: &PlacesOfPackages,
    ) -> Result<Layout, Refusal> {
        let order = linking_order(&wanted.iter().map(|(name, it)| (name.clone(), &it.package)).collect());
        let mut all: Vec<(&String, &Content, &String)> = Vec::new();
        for name in &order {
            all.extend(wanted[name].contents.iter().map(|(path, content)| (path, content, name)));
        }
        // Links first, from the top down, because paths below them are in their targets.
        all.sort_by_key(|(path, content, _)| (path.matches('/').count(), !matches!(content, Content::Link(_))));
        let Layout { winners: mut places, places: mut of_packages, mut directories, .. } = Layout::default();
        // New files follow a link of a package that stays only if the link is still on the disk; files that stay keep
        // their places.
        let kept_link = |place: &str, name: &String| {
            let to = self.link_of(&|other| stay.contains(other), place)?;
            (stay.contains(name) || self.tree.get(place) == Some(&Node::Link(to.clone()))).then_some(to)
        };
        for (path, content, name) in all {
            let link = |place: &str| match places.get(place) {
                Some((holder, Content::Link(_))) if stay.contains(holder) => kept_link(place, name),
                Some((_, Content::Link(to))) => Some(to.clone()),
                _ => None,
            };
            let clash = || Refusal(format!("`{path}` of {name} and something else"));
            let place = place_of(path, content, &link).ok_or_else(clash)?;
            // A path that keeps its place is no reason to refuse, even if the user has put a file in the place of a
            // link.
            let stays = |name: &String| stay.contains(name);
            let is_as_before = stays(name) && before[name].get(path) == Some(&place);
            let is_taken = |above: &str| {
                places
                    .get(above)
                    .is_some_and(|(holder, content)| *content != Content::Directory && !(is_as_before && stays(holder)))
            };
            if above(&place).any(is_taken) {
                return Err(clash());
            }
            for above in above(&place) {
                directories.entry(above.to_owned()).or_default().insert(name.clone());
            }
            of_packages.entry(name.clone()).or_default().insert(path.clone(), place.clone());
            if *content == Content::Directory {
                if is_taken(&place) {
                    return Err(clash());
                }
                directories.entry(place).or_default().insert(name.clone());
            } else if directories.contains_key(&place) {
                return Err(clash());
            } else {
                let rank = |name: &str| order.iter().position(|other| other == name);
                if places.get(&place).is_none_or(|(other, _)| rank(other) < rank(name)) {
                    places.insert(place, (name.clone(), content.clone()));
                }
            }
        }
        Ok(Layout { order, winners: places, places: of_packages, directories })
    }

    /// The change itself: removes old files, then adds new ones. Scripts of removed packages run before it, those of
    /// new packages after it.
    fn change(
        &mut self,
        wanted: &BTreeMap<String, Installed>,
        goes: &BTreeSet<String>,
        before: &PlacesOfPackages,
        after: &Layout,
        sets_modes: bool,
    ) -> Result<(), Refusal> {
        let stays = |name: &String| before.contains_key(name) && !goes.contains(name);
        let new: Places = after.winners.clone().into_iter().filter(|(_, (name, _))| !stays(name)).collect();
        let mut needed: BTreeSet<String> = after
            .directories
            .iter()
            .filter(|(_, names)| !names.iter().all(stays))
            .map(|(path, _)| path.clone())
            .collect();
        let is_one = |node: &Node| matches!(node, Node::Directory { .. });
        // A file that stays may get another place, if a link above it is added or removed. If several files get the
        // same place, the file of the package that is linked last has it.
        let mut moves: BTreeMap<String, (Option<usize>, String)> = BTreeMap::new();
        let (mut gone, mut kept, mut left) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (name, places) in before {
            for (path, from) in places {
                let is_directory = self.installed[name].contents[path] == Content::Directory;
                let to = after.places.get(name).filter(|_| stays(name)).map(|places| places[path].clone());
                match &to {
                    Some(to) if to == from && !is_directory => drop(kept.insert(from.clone())),
                    _ if is_directory && to.as_ref() != Some(from) => {
                        left.insert(from.clone());
                        left.extend(above(from).map(str::to_owned));
                        needed.extend(to.iter().flat_map(|to| above(to).chain([to.as_str()])).map(str::to_owned));
                    }
                    _ if is_directory => {}
                    _ => drop(gone.insert(from.clone())),
                }
                if let Some(to) = to.filter(|_| self.tree.get(from).is_some_and(|node| !is_one(node)) && !is_directory)
                {
                    let rank = after.order.iter().position(|other| other == name);
                    let first = moves.entry(to).or_insert((rank, from.clone()));
                    *first = first.clone().max((rank, from.clone()));
                }
            }
        }
        gone.retain(|place| !kept.contains(place));
        let moved: Tree = moves
            .into_iter()
            .filter(|(to, (_, from))| to != from && !new.contains_key(to))
            .filter_map(|(to, (_, from))| Some((to, self.tree.get(&from)?.clone())))
            .collect();
        needed.extend(moved.keys().flat_map(|to| above(to)).map(str::to_owned));
        self.make_room(new.keys().chain(moved.keys()), &needed, &gone, before)?;
        // Only files and links are removed, and only if all parts of their path are real directories.
        for place in &gone {
            let is_file = matches!(self.tree.get(place), Some(Node::File { .. } | Node::Link(_)));
            if is_file && self.is_reached(place) {
                self.tree.remove(place);
            }
            left.extend(above(place).map(str::to_owned));
        }
        for directory in &needed {
            let mode = match self.tree.get(directory) {
                Some(Node::Directory { mode }) if !sets_modes => *mode,
                _ => 0o755,
            };
            self.tree.insert(directory.clone(), Node::Directory { mode });
        }
        for (place, node) in new.iter().map(|(place, (_, content))| (place, self.node(content))).collect::<Vec<_>>() {
            self.tree.retain(|other, _| !is_below(other, place));
            self.tree.insert(place.clone(), node);
        }
        for (place, node) in moved {
            self.tree.retain(|other, _| !is_below(other, &place));
            self.tree.insert(place, node);
        }
        self.remove_empty(left, &after.directories.keys().collect());
        self.installed.retain(|name, _| !goes.contains(name));
        for (name, installed) in wanted {
            self.installed.entry(name.clone()).or_insert_with(|| installed.clone());
        }
        Ok(())
    }

    /// Whether packages are linked again, by request or because their scripts were skipped. Then directories of new
    /// files get the modes of new directories. Else they keep the modes that the user gave them.
    fn links_again(&self, how: &How) -> bool {
        let is_late = |old: &Installed| old.without_scripts && old.has_post_link();
        !how.again.is_empty() || !how.no_scripts && !how.repair && self.installed.values().any(is_late)
    }

    /// The pre-unlink script of a removed package undoes the work of its post-link script, if that ran.
    fn run_pre_unlink(&mut self, goes: &BTreeSet<String>, how: &How) -> Result<(), Refusal> {
        // If an installation never ended, its packages were not set up.
        for name in goes.iter().filter(|_| !self.is_marked).collect::<Vec<_>>() {
            let old = &self.installed[name];
            let script = Package::pre_unlink(name);
            let is_there = matches!(self.tree.get(&script), Some(Node::File { .. }));
            let did_nothing = old.without_scripts && old.has_post_link();
            if old.contents.contains_key(&script) && is_there && !did_nothing && !how.no_scripts {
                let (made, _) = old.package.made();
                if matches!(self.tree.get(&made), Some(Node::Directory { .. })) {
                    return Err(Refusal(format!("the script of {name} fails")));
                }
                self.tree.remove(&made);
            }
        }
        Ok(())
    }

    fn run_post_link(&mut self, installed: &Installed, how: &How) -> Result<Option<Made>, Refusal> {
        let (path, text) = installed.package.made();
        if installed.has_post_link() && !how.no_scripts {
            let is_one = |path: &str| matches!(self.tree.get(path), Some(Node::Directory { .. }));
            if self.tree.contains_key(MADE) && !is_one(MADE) || is_one(&path) {
                return Err(Refusal(format!("the script of {} fails", installed.package.name)));
            }
            self.tree.entry(MADE.to_owned()).or_insert(Node::Directory { mode: 0o755 });
            let mode = match self.tree.get(&path) {
                Some(Node::File { mode, .. }) => *mode,
                _ => 0o644,
            };
            self.tree.insert(path.clone(), Node::File { text: text.clone(), mode });
            return Ok(Some((path, text)));
        }
        Ok(None)
    }

    /// Makes room for new files. Files of the user at exactly these places are replaced, but no directory of the user
    /// with files in it, and nothing is written through a link of the user.
    fn make_room<'a>(
        &mut self,
        new: impl Iterator<Item = &'a String>,
        needed: &BTreeSet<String>,
        gone: &BTreeSet<String>,
        before: &PlacesOfPackages,
    ) -> Result<(), Refusal> {
        let known: BTreeSet<&String> = before.values().flat_map(BTreeMap::values).collect();
        let files: BTreeSet<String> =
            before.iter().flat_map(|(name, places)| self.files(name, places)).cloned().collect();
        for directory in needed {
            match self.tree.get(directory) {
                None | Some(Node::Directory { .. }) => {}
                Some(_) if gone.contains(directory) => drop(self.tree.remove(directory)),
                // Packages already had a directory here, so the user has put a file in its place.
                Some(Node::File { .. })
                    if !files.contains(directory)
                        && known.iter().any(|path| *path == directory || is_below(path, directory)) =>
                {
                    self.tree.remove(directory);
                }
                Some(_) => return Err(Refusal(format!("`{directory}` is needed as a directory"))),
            }
        }
        for place in new {
            let stays = |(path, node): (&String, &Node)| {
                is_below(path, place) && !matches!(node, Node::Directory { .. }) && !gone.contains(path)
            };
            if matches!(self.tree.get(place), Some(Node::Directory { .. })) && self.tree.iter().any(stays) {
                return Err(Refusal(format!("`{place}` is a directory with files of the user")));
            }
        }
        Ok(())
    }

    /// Whether all paths above a place are real directories.
    fn is_reached(&self, place: &str) -> bool {
        above(place).all(|above| matches!(self.tree.get(above), Some(Node::Directory { .. })))
    }

    /// Removes directories of removed packages, if they are empty and no package needs them.
    fn remove_empty(&mut self, mut left: BTreeSet<String>, needed: &BTreeSet<&String>) {
        while let Some(directory) = left.pop_last() {
            let is_empty = !self.tree.keys().any(|path| is_below(path, &directory));
            let is_directory = matches!(self.tree.get(&directory), Some(Node::Directory { .. }));
            if is_empty && is_directory && self.is_reached(&directory) && !needed.contains(&directory) {
                left.extend(above(&directory).last().map(str::to_owned));
                self.tree.remove(&directory);
            }
        }
    }

    /// The node for a package's content in this prefix.
    fn node(&self, content: &Content) -> Node {
        match content {
            Content::File { text, executable } => {
                Node::File { text: text.replace(HERE, &self.path), mode: if *executable { 0o755 } else { 0o644 } }
            }
            Content::Link(to) => Node::Link(to.clone()),
            Content::Directory => Node::Directory { mode: 0o755 },
        }
    }
}

impl Installed {
    fn has_post_link(&self) -> bool {
        self.contents.contains_key(&Package::post_link(self.package.name))
    }
}
