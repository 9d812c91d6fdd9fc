//! What changes in a prefix that exists, and the steps of the change: links, renames and removals. Nothing is written
//! here.

mod additions;
mod ground;
mod mend;
mod whole;

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;

use self::ground::{Ground, check, name_holders};
use super::{
    HISTORY, InstallError,
    aside::{ASIDE, Journal, Old},
    layout::Layout,
    plain, record,
    site::Scripts,
    stage::Stage,
};
use crate::{
    plan::{Plan, Reinstall},
    prefix::{Prefix, STATE, distributions},
    system::{
        self, Attributes,
        beneath::{Kind, Look, Root, is_plain},
    },
};

/// The name of the stage inside a prefix that exists.
pub(crate) const INSIDE: &str = ".mlconda-new";

/// The history while an installation is not finished. A prefix that has records and no `history` is one in which
/// a process was killed: the next installation links everything anew.
pub(crate) const PENDING: &str = "history.mlconda";

/// The prefix is an environment again.
pub(super) fn finish(prefix: &Path, seconds: i64) -> io::Result<()> {
    let (prefix, meta) = (Root::open(prefix)?, Path::new("conda-meta"));
    prefix.rename(&meta.join(PENDING), &prefix, &meta.join(HISTORY))?;
    prefix.set_time(meta, seconds)
}

/// Where the stage of a prefix is, and the twin of one that exists: beside it, so that one step of the kernel puts
/// either in place.
pub(crate) fn beside(prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((sibling(prefix, ".mlconda-new")?, sibling(prefix, ".mlconda-twin")?))
}

/// Where what several environments of one call share is, while they are installed: beside the first of them.
pub(super) fn shared(prefix: &Path) -> Option<PathBuf> {
    sibling(prefix, ".mlconda-shared")
}

/// `.NAME` and an end, beside a prefix, whose name need not be text.
fn sibling(prefix: &Path, end: &str) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(prefix.file_name()?);
    name.push(end);
    Some(prefix.parent()?.join(name))
}

/// What an installation changes in a prefix that exists.
pub(super) struct Change<'a> {
    prefix: PathBuf,
    /// The prefix, open, if there is one.
    root: Option<Root>,
    /// Files of packages that stay.
    kept: HashSet<&'a PathBuf>,
    /// Files that go, relative to the prefix.
    gone: HashSet<PathBuf>,
    /// Modules of python that go or change. Their byte code goes: a new module of the same size and time would be taken
    /// for the old one.
    modules: HashSet<PathBuf>,
    /// Files of packages that come.
    new: HashSet<PathBuf>,
    /// Whether nothing is where they come to.
    is_free: bool,
    /// Directories of the stage, parents first.
    made: Vec<PathBuf>,
    /// Whether those that are there get the permissions of new ones.
    mends: bool,
    /// Directories of packages that stay.
    settled: HashSet<PathBuf>,
    /// Directories that go if nothing is left in them.
    hollow: HashSet<PathBuf>,
    /// Files that belonged to no package, and that a package's file replaces. Sorted.
    pub(super) replaced: Vec<PathBuf>,
    /// Links that no package has made, and behind which files of packages that go would be.
    pub(super) links: Vec<PathBuf>,
    /// The time of directories that change, in seconds since 1970.
    pub(super) time: i64,
}

impl<'a> Change<'a> {
    /// Looks at the prefix, and makes sure that the change will not fail halfway.
    pub(super) fn new(
        plan: &'a Plan,
        layout: Option<&'a Layout>,
        prefix: &Prefix,
        stage: &Stage,
        time: i64,
    ) -> Result<Self, InstallError> {
        // Where no prefix is, all is new, and no path need be looked at.
        let root = prefix.path().exists().then(|| Root::open(prefix.path())).transpose()?;
        let new = if root.is_some() { stage.paths() } else { Vec::new() };
        // Where links of packages count, places take the place of the names that records have.
        const NONE: &[PrefixRecord] = &[];
        let leave = layout.map_or(&[][..], |layout| &layout.leave);
        let (unlink, keep) = match layout {
            Some(Layout { unlink, keep, .. }) => (unlink.iter().chain(NONE), keep.iter().chain(NONE)),
            None => (plan.unlink.iter().chain(&plan.pip.unlink), plan.keep.iter().chain(&plan.pip.keep)),
        };
        let names = unlink.clone().chain(keep.clone()).flat_map(record::files).chain(leave);
        let known: HashSet<&Path> = names.map(PathBuf::as_path).collect();
        let kept: HashSet<&PathBuf> = keep.clone().flat_map(record::files).collect();
        let made = stage.directories();
        let mended = if plan.reinstall == Reinstall::Nothing { &[][..] } else { &made };
        let all = unlink.clone().chain(keep.clone());
        let named: HashSet<&Path> =
            all.flat_map(record::directories).map(|entry| entry.relative_path.as_path()).collect();
        let Ground { strangers: mut replaced, in_the_way, is_free } = match &root {
            Some(root) => check(root, (&new, mended), (&known, &named), &kept)
                .map_err(|error| name_holders(error, plan, stage, unlink.clone().chain(keep.clone())))?,
            None => Ground { strangers: Vec::new(), in_the_way: Vec::new(), is_free: true },
        };
        let mends = !mended.is_empty();
        // Byte code that python wrote when a module was first run is nobody's loss.
        replaced.retain(|path| path.parent().is_none_or(|parent| !parent.ends_with("__pycache__")));
        let stays: HashSet<&PathBuf> = match unlink.clone().next().is_some() || !leave.is_empty() {
            true => new.iter().chain(kept.iter().copied()).collect(),
            false => HashSet::new(),
        };
        let (mut gone, mut hollow, mut modules) = (HashSet::new(), HashSet::new(), HashSet::new());
        hollow.extend(layout.iter().flat_map(|layout| layout.hollow.iter().cloned()));
        for old in unlink.clone() {
            gone.insert(Path::new("conda-meta").join(distributions::record_name(old)));
            let directories = record::directories(old).map(|entry| entry.relative_path.clone());
            hollow.extend(directories.filter(|path| is_plain(path)));
        }
        for path in unlink.flat_map(record::files).chain(leave).filter(|path| is_plain(path)) {
            if path.extension().is_some_and(|kind| kind == "py") {
                modules.insert(path.clone());
            }
            if !stays.contains(path) {
                gone.insert(path.clone());
            }
        }
        gone.extend(in_the_way);
        gone.extend(plan.damaged_state.then(|| STATE.into()));
        hollow.extend(
            root.as_ref().map(|root| mend::directories_for_records(root, &gone)).transpose()?.into_iter().flatten(),
        );
        let links = root.as_ref().map(|root| plain::foreign_links(root, gone.iter().chain(&modules), &known));
        let links = links.transpose()?.unwrap_or_default();
        let (prefix, new) = (prefix.path().to_owned(), new.into_iter().collect());
        let settled = directories(keep);
        Ok(Self {
            prefix,
            root,
            kept,
            gone,
            modules,
            new,
            is_free,
            made,
            mends,
            settled,
            hollow,
            replaced,
            links,
            time,
        })
    }

    fn root(&self) -> io::Result<&Root> {
        self.root.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a path goes: as a file of a package, or as byte code of one.
    fn takes(&self, path: &Path) -> bool {
        self.gone.contains(path)
            || path == Path::new("conda-meta").join(PENDING)
            || module_of(path).is_some_and(|module| self.modules.contains(&module))
    }

    /// Whether no package holds a path of the prefix.
    fn is_of_nobody(&self, path: &PathBuf) -> bool {
        !self.kept.contains(path) && !path.starts_with("conda-meta")
    }

    /// Makes sure that every directory that a change in place touches may be written to.
    pub(super) fn check_writable(&self) -> Result<(), InstallError> {
        let (root, mut looked) = (self.root()?, HashSet::new());
        for directory in self.gone.iter().chain(&self.new).filter_map(|path| path.parent()) {
            // Of what is not there yet, the first that is counts.
            for path in directory.ancestors().take_while(|path| looked.insert(*path)) {
                if !root.has_directory(path)? {
                    continue;
                }
                if !root.may_write(path) {
                    let message = format!("cannot change `{}`: permission denied", self.prefix.join(path).display());
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into());
                }
                break;
            }
        }
        Ok(())
    }

    /// After a swap, links what somebody put into the old prefix meanwhile into the new one, too: files that the twin has
    /// not, and those that were replaced by others. The old prefix stays whole.
    pub(super) fn carry_over(&self, old: &Path) -> io::Result<()> {
        self.carry_over_from(Path::new(""), &Root::open_itself(old)?, &Root::open_itself(&self.prefix)?)
    }

    /// The same for what is in a directory, which is open in the old prefix.
    fn carry_over_from(&self, relative: &Path, old: &Root, prefix: &Root) -> io::Result<()> {
        for (name, kind) in old.entries(Path::new(""))? {
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(ASIDE) {
                continue;
            }
            let there = prefix.look(&path)?;
            if kind == Kind::Directory {
                if there.is_none_or(|there| there.is_directory()) {
                    self.carry_over_from(&path, &old.enter(name)?, prefix)?;
                }
                continue;
            }
            // What installations write has its names to itself.
            let is_ours =
                self.takes(&path) || self.new.contains(&path) || path == Path::new("conda-meta").join(HISTORY);
            match there {
                _ if is_ours => continue,
                None => path.parent().map_or(Ok(()), |above| prefix.make_directories(above, 0o777))?,
                Some(there) if there.is_directory() || relative == Path::new("conda-meta") => continue,
                Some(there) => {
                    let is_same = |old: Look| there.number == old.number || there.looks_the_same(&old);
                    if old.look(name)?.is_none_or(is_same) {
                        continue;
                    }
                    prefix.remove_file(&path)?;
                }
            }
            old.hard_link(name, prefix, &path)?;
        }
        Ok(())
    }

    /// What a change in place does, with a stage that is ready.
    pub(super) fn journal(&self, stage: &Path, scripts: Scripts) -> io::Result<Journal> {
        let root = self.root()?;
        let moved = self.gone.iter().cloned().chain(self.modules.iter().flat_map(|module| self.bytecode(module)));
        // A directory at a file's place is somebody's, and so is what is in it.
        let moved = moved.filter(|path| !matches!(root.has_directory(path), Ok(true)));
        let old = if system::is_overlay(&self.prefix) { Old::Goes } else { Old::Waits };
        let mut journal = Journal { old, moved: moved.collect(), ..Journal::default() };
        let stage = Root::open_itself(stage)?;
        self.compare(&stage, Path::new(""), &mut journal)?;
        let empty = std::mem::take(&mut journal.hollow);
        let history = Path::new("conda-meta").join(HISTORY);
        match root.look(&history)? {
            Some(_) => journal.moved.push(history.clone()),
            None => journal.added.push(history.clone()),
        }
        let whole = match old == Old::Waits && scripts == Scripts::Never {
            true => whole::gather(root, &stage, &mut journal)?,
            false => HashSet::new(),
        };
        // A record goes after the files that it tells of.
        crate::sorting::sort_by_key(&mut journal.moved, |path| {
            (*path != history, path.starts_with("conda-meta"), path.clone())
        });
        journal.moved.dedup();
        let directory = |path: &Path| match path.as_os_str().is_empty() {
            true => Ok(None),
            false => root.look(path).map(|there| there.filter(Look::is_directory)),
        };
        let left = self.gone.iter().flat_map(|path| parents(path));
        let mut hollow: BTreeSet<PathBuf> = left.chain(self.hollow.iter().flat_map(|path| parents(path))).collect();
        hollow.extend(self.hollow.iter().cloned());
        hollow.extend(hollow.iter().map(|path| path.join("__pycache__")).collect::<Vec<_>>());
        hollow.extend(empty);
        hollow.retain(|path| !whole::is_within(path, &whole));
        let mut touched: BTreeSet<PathBuf> = topmost(&journal.added).flat_map(|path| parents(path)).collect();
        touched.extend(journal.moved.iter().flat_map(|path| parents(path)).chain(hollow.iter().cloned()));
        if self.mends {
            touched.extend(self.made.iter().cloned());
        }
        if is_worth_copies(scripts, old) {
            let moved: HashSet<&PathBuf> = journal.moved.iter().collect();
            self.find_strangers(Path::new(""), &moved, &mut journal.copied)?;
            // A script may remove the directory with the file.
            touched.extend(journal.copied.iter().flat_map(|path| parents(path)));
        }
        for path in touched {
            if let Some(there) = directory(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        for path in hollow.into_iter().rev() {
            // One that gets something new stays.
            if directory(&path)?.is_some() && !stage.has_directory(&path)? {
                journal.hollow.push(path);
            }
        }
        Ok(journal)
    }

    /// The journal of a prefix that is swapped, but in which scripts run before that.
    pub(super) fn journal_of_scripts(&self) -> io::Result<Journal> {
        let mut journal = Journal { moved: vec![Path::new("conda-meta").join(HISTORY)], ..Journal::default() };
        let packages: HashSet<&PathBuf> = self.gone.iter().chain(&self.new).collect();
        self.find_strangers(Path::new(""), &packages, &mut journal.copied)?;
        let mut touched: BTreeSet<PathBuf> = journal.copied.iter().flat_map(|path| parents(path)).collect();
        touched.insert("conda-meta".into());
        for path in touched.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            if let Some(there) = self.root()?.look(&path)? {
                journal.directories.push((path, Attributes::from(&there)));
            }
        }
        Ok(journal)
    }

    /// Files of nobody, besides those that move anyway. Other environments, and conda's packages, are in a root prefix but not of it.
    fn find_strangers(&self, relative: &Path, moved: &HashSet<&PathBuf>, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let root = self.root()?;
        for (name, kind) in root.entries(relative)? {
            let path = relative.join(name);
            if kind == Kind::Directory {
                let is_apart = ["envs", "pkgs", INSIDE, ASIDE].iter().any(|name| path == Path::new(name));
                if !is_apart && !root.is_mount_point(&path) {
                    self.find_strangers(&path, moved, found)?;
                }
            } else if kind == Kind::File && self.is_of_nobody(&path) && !moved.contains(&path) {
                found.push(path);
            }
        }
        Ok(())
    }

    /// Which paths of the stage are taken in the prefix, and which are new.
    fn compare(&self, stage: &Root, relative: &Path, journal: &mut Journal) -> io::Result<()> {
        for (name, kind) in stage.entries(relative)? {
            let path = relative.join(name);
            let is_directory = kind == Kind::Directory;
            let there = self.root()?.look(&path)?;
            if there.as_ref().is_some_and(|there| !there.is_directory()) {
                journal.moved.push(path.clone());
            }
            if !is_directory && there.as_ref().is_some_and(Look::is_directory) {
                mend::find_directories(self.root()?, &path, &mut journal.hollow)?;
            }
            match there.is_some_and(|there| there.is_directory() == is_directory) {
                true if is_directory => self.compare(stage, &path, journal)?,
                true => {}
                false => add(stage, path, kind, journal)?,
            }
        }
        Ok(())
    }

    /// Byte code that python wrote when it first ran a module; nobody's record has it.
    fn bytecode(&self, module: &Path) -> Vec<PathBuf> {
        let Some(directory) = module.parent().map(|parent| parent.join("__pycache__")) else { return Vec::new() };
        // One behind a link is not the prefix's.
        let Some(Ok(entries)) = self.root.as_ref().map(|root| root.entries(&directory)) else { return Vec::new() };
        let paths = entries.into_iter().map(|(name, _)| directory.join(name));
        paths.filter(|path| module_of(path).as_deref() == Some(module)).collect()
    }

    /// Makes a twin of the prefix, of hard links, without what goes. On an error nothing of it is left. Where scripts are
    /// to run, files of nobody are copied: a script may write into what another one has made, and the old prefix is
    /// not to see that.
    pub(super) fn make_twin(&self, twin: &Path, scripts: Scripts) -> io::Result<()> {
        fs_err::create_dir(twin)?;
        let made = Root::open_itself(twin)
            .and_then(|into| self.twin_of(Path::new(""), &Root::open_itself(&self.prefix)?, &into, scripts));
        made.map(|_| ()).inspect_err(|_| {
            let _ = fs_err::remove_dir_all(twin);
        })
    }

    /// The same of what is in a directory, which is open in the prefix and in the twin.
    fn twin_of(&self, relative: &Path, source: &Root, twin: &Root, scripts: Scripts) -> io::Result<Twin> {
        let here = Path::new("");
        let Some(was) = source.look(here)? else { return Err(io::ErrorKind::NotFound.into()) };
        let (mut kept, mut left_out) = (0_usize, usize::from(self.hollow.contains(relative)));
        for (name, kind) in source.entries(here)? {
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(ASIDE) {
                continue;
            }
            if kind == Kind::Directory {
                if source.is_mount_point(name) {
                    return Err(io::ErrorKind::CrossesDevices.into());
                }
                twin.make_directory(name, 0o777)?;
                match self.twin_of(&path, &source.enter(name)?, &twin.enter(name)?, scripts)? {
                    Twin::Kept => kept += 1,
                    Twin::Emptied => {
                        twin.remove_directory(name)?;
                        left_out += 1;
                    }
                }
            } else if path == Path::new("conda-meta").join(HISTORY) {
                // The new one comes with the stage: at once, or when all is done.
            } else if self.takes(&path) {
                left_out += 1;
            } else if self.new.contains(&path) {
                // Another one comes to its place.
                kept += 1;
            } else {
                if scripts != Scripts::Never && kind == Kind::File && self.is_of_nobody(&path) {
                    source.copy(name, twin, name)?;
                } else {
                    source.hard_link(name, twin, name)?;
                }
                kept += 1;
            }
        }
        if kept == 0 && !relative.as_os_str().is_empty() && (left_out > 0 || self.is_in_the_way(relative)) {
            return Ok(Twin::Emptied);
        }
        // A twin's directories are new ones anyway: those of packages get the time that a first installation gives.
        let mut attributes = Attributes::from(&was);
        if left_out > 0 || self.settled.contains(relative) {
            attributes.set_time(self.time);
        } else {
            attributes.set_time(was.time.0);
        }
        twin.give(here, &attributes)?;
        Ok(Twin::Kept)
    }
}

/// The directories that packages have something in, or name.
fn directories<'a>(records: impl Iterator<Item = &'a PrefixRecord>) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for record in records {
        let parents = record::files(record).filter_map(|path| path.parent());
        let named = record::directories(record).map(|entry| entry.relative_path.as_path());
        for path in parents.chain(named) {
            // Whatever is in the set has its parents there too.
            for path in path.ancestors() {
                if found.contains(path) {
                    break;
                }
                found.insert(path.to_owned());
            }
        }
    }
    found
}

/// What became of a directory in the twin.
enum Twin {
    Kept,
    /// All that was in it goes, and so it goes too.
    Emptied,
}

/// Of paths of which a directory comes right before what is in it, those that are in none of them.
fn topmost(paths: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let mut last: Option<&PathBuf> = None;
    paths.iter().filter(move |path| {
        let is_top = last.is_none_or(|last| !path.starts_with(last));
        if is_top {
            last = Some(path);
        }
        is_top
    })
}

/// A path of the stage that is new, and all below it. What is below it in the prefix now is not looked at: it may be
/// reached through a link.
fn add(stage: &Root, path: PathBuf, kind: Kind, journal: &mut Journal) -> io::Result<()> {
    journal.added.push(path.clone());
    if kind == Kind::Directory {
        for (name, kind) in stage.entries(&path)? {
            add(stage, path.join(name), kind, journal)?;
        }
    }
    Ok(())
}

/// Whether copies of files of nobody can serve: not where the way back ends before the first script runs.
fn is_worth_copies(scripts: Scripts, old: Old) -> bool {
    match scripts {
        Scripts::Never => false,
        Scripts::After => old == Old::Waits,
        Scripts::BeforeAndAfter => true,
    }
}

/// The directories above a path, up to the prefix.
fn parents(path: &Path) -> impl Iterator<Item = PathBuf> {
    path.ancestors().skip(1).map(Path::to_owned)
}

/// The module that a file is byte code of, by its name: `a/__pycache__/b.cpython-311.pyc` is of `a/b.py`.
pub(crate) fn module_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| parent.ends_with("__pycache__"))?;
    let (stem, _) = path.file_name()?.to_str()?.strip_suffix(".pyc")?.split_once(".cpython-")?;
    Some(directory.parent()?.join(format!("{stem}.py")))
}

/// Moves all that is in `from` into `into`: a directory that is not there yet as a whole, else what is in it.
/// A directory that gets something new gets the time `seconds`, too. Records come first: what has arrived is known
/// then, should this be cut off. A link in the place of a directory is not followed.
pub(super) fn merge(from: &Root, into: &Root, seconds: i64) -> io::Result<()> {
    let here = Path::new("");
    let mut entries = from.entries(here)?;
    crate::sorting::sort_by_key(&mut entries, |(name, _)| (name != "conda-meta", name.clone()));
    for (name, kind) in entries {
        let name = Path::new(&name);
        if kind == Kind::Directory && into.has_directory(name)? {
            merge(&from.enter(name)?, &into.enter(name)?, seconds)?;
        } else {
            from.rename(name, into, name)?;
        }
    }
    into.set_time(here, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_knows_its_module() {
        let module = |path: &str| module_of(Path::new(path));
        assert_eq!(module("a/__pycache__/b.cpython-311.pyc"), Some("a/b.py".into()));
        assert_eq!(module("a/__pycache__/b.cpython-311.opt-1.pyc"), Some("a/b.py".into()));
        assert_eq!([module("a/b.cpython-311.pyc"), module("__pycache__/b.txt")], [None, None]);
    }
}
