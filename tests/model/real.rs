//! The prefix on the disk: runs the steps of a series on it, and compares it with the model.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use mlconda::{
    install::{CacheCheck, Options, Scripts, install, recover},
    lock::{Expansion, Lock},
    network::{Client, NetworkOptions},
    plan::{Plan, Reinstall},
    prefix::Prefix as Opened,
    verify::{Finding, verify},
};
use mlconda_test::{
    context::{TestContext, argument},
    inject::{self, Calls, Happens},
};
use tokio::runtime::Runtime;

use super::{
    packages::Package,
    prefix::{How, Node, Prefix, Tree, Way},
    step::{Edit, Fate, MINE, Series, Step},
};
use crate::{packages::locked, world};

thread_local! {
    static RUNTIME: OnceCell<(Runtime, Client)> = const { OnceCell::new() };
}

pub(crate) struct Real {
    world: TestContext,
    /// The path by which the prefix is named, and its real path.
    prefix: PathBuf,
    real: PathBuf,
    cache: Option<PathBuf>,
    _cache: Option<tempfile::TempDir>,
    /// The lines of a lock, by name and version.
    lines: BTreeMap<(String, u8), String>,
    model: Prefix,
    /// The packages of the last lock, and whether it was slim.
    last: (Vec<Package>, bool),
    pub(crate) installations: u32,
    pub(crate) refusals: u32,
    /// The number of installations that were killed or met a full disk.
    pub(crate) happened: u32,
}

impl Real {
    pub(crate) fn new(series: &Series) -> Self {
        let world = world();
        let place = world.path().join("place");
        fs_err::create_dir(&place).unwrap();
        let (prefix, real) = (place.join("prefix"), place.join(if series.behind_link { "real" } else { "prefix" }));
        if series.behind_link {
            fs_err::create_dir(&real).unwrap();
            symlink("real", &prefix).unwrap();
        }
        let outside = cache_directory().map(|directory| tempfile::tempdir_in(directory).unwrap());
        let cache = outside.as_ref().map_or_else(|| world.path().join("cache"), |cache| cache.path().to_owned());
        fs_err::create_dir_all(&cache).unwrap();
        let way = match series.behind_link {
            _ if is_overlay(&place) => Way::Overlay,
            true => Way::InPlace,
            false => Way::Swapped,
        };
        let model = Prefix::new(argument(&prefix), way);
        let cache = series.with_cache.then_some(cache);
        let (lines, last) = (BTreeMap::new(), (Vec::new(), false));
        Self {
            world,
            prefix,
            real,
            cache,
            _cache: outside,
            lines,
            model,
            last,
            installations: 0,
            refusals: 0,
            happened: 0,
        }
    }

    /// Runs all steps; the first difference is the error.
    pub(crate) fn run(&mut self, series: &Series) -> Result<(), String> {
        for (number, step) in series.steps.iter().enumerate() {
            let told = |difference: String| format!("step {number}, {step:?}:\n{difference}");
            match step {
                Step::Install { lock, reinstall, slim, no_scripts, fate } => {
                    let packages: Vec<Package> = series
                        .packages
                        .iter()
                        .zip(lock)
                        .filter_map(|(versions, which)| Some(versions[(*which)?].clone()))
                        .collect();
                    let again = packages.iter().filter(|_| *reinstall).map(|package| package.name.to_owned()).collect();
                    let how = How { again, slim: *slim, no_scripts: *no_scripts, ..How::default() };
                    self.install(&packages, &how, *fate).map_err(told)?;
                }
                Step::Repair => self.repair().map_err(told)?,
                Step::Edit(edit) => {
                    if edit.change(&mut self.model) {
                        self.edit(edit);
                    }
                    self.compare().map_err(told)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the lock of these packages.
    fn lock(&mut self, packages: &[Package]) -> PathBuf {
        let channel = self.world.path().join("channel");
        let mut lines = Vec::new();
        for package in packages {
            let line = self.lines.entry((package.name.to_owned(), package.version));
            lines.push(line.or_insert_with(|| locked(&package.write(&channel))).clone());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        crate::packages::lock(&self.world, &lines)
    }

    fn install(&mut self, packages: &[Package], how: &How, fate: Fate) -> Result<(), String> {
        let (before, lock) = (self.model.clone(), self.lock(packages));
        let mut outcome = self.model.install(packages, how);
        self.installations += 1;
        self.refusals += u32::from(outcome.is_err());
        match fate {
            Fate::Nothing => {}
            Fate::Killed(number) => {
                self.program(&lock, how, Happens::Kill(number));
                self.is_one_of(&before, &self.model)?;
            }
            Fate::Full(number) => {
                let code = self.program(&lock, how, Happens::Full(number));
                // On an overlay, removed files may be lost; then the next installation links all packages again.
                if code == Some(1) && !(is_overlay(&self.real) && self.has_no_way_back()?) {
                    self.is_undone(&before.undone(packages, how))?;
                }
            }
        }
        if is_overlay(&self.real) && !before.is_marked() && self.has_no_way_back()? {
            self.model = before;
            outcome = self.model.install(packages, &How { anew: true, ..how.clone() });
        }
        let done = self.by_the_library(&lock, how, None);
        let outcome = outcome.map_err(|refusal| refusal.0);
        self.agree(done, &outcome)?;
        if outcome.is_ok() {
            self.last = (packages.to_vec(), how.slim);
        }
        self.compare()
    }

    /// Whether an installation has ended halfway, and the old files are lost.
    fn has_no_way_back(&self) -> Result<bool, String> {
        Ok(records(&self.real)?.1 && !self.real.join(".mlconda-old/journal.json").exists())
    }

    /// Compares the result of an installation with that of the model.
    fn agree(&self, done: Result<(), String>, outcome: &Result<(), String>) -> Result<(), String> {
        match (done, outcome) {
            (Ok(()), Ok(())) | (Err(_), Err(_)) => Ok(()),
            (Err(error), Ok(())) => Err(format!("an error that the model has not: {error}")),
            (Ok(()), Err(refusal)) => Err(format!("not refused, although {refusal}")),
        }
    }

    fn repair(&mut self) -> Result<(), String> {
        let (packages, slim) = self.last.clone();
        if self.model.records().is_empty() {
            return Ok(());
        }
        let lock = self.lock(&packages);
        let damaged = self.model.damaged();
        let how = How { again: damaged.clone(), slim, repair: true, ..How::default() };
        let outcome = if damaged.is_empty() { Ok(()) } else { self.model.install(&packages, &how) };
        self.installations += 1;
        self.refusals += u32::from(outcome.is_err());
        let report = self.verified(&lock)?;
        if report.is_ok() != damaged.is_empty() {
            return Err(format!("verify says {:?}, and the model that {damaged:?} are damaged", report.findings));
        }
        if damaged.is_empty() {
            return self.compare();
        }
        let done = self.by_the_library(&lock, &how, Some(report.packages_to_reinstall()));
        self.agree(done, &outcome.clone().map_err(|refusal| refusal.0))?;
        self.compare()?;
        let left = self.verified(&lock)?;
        if outcome.is_ok() && !left.is_ok() {
            return Err(format!("after the repair, verify says {:?}", left.findings));
        }
        Ok(())
    }

    fn verified(&self, lock: &Path) -> Result<mlconda::verify::Verification, String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let lock = Lock::read(lock, &Expansion::default()).map_err(|error| words(&error))?;
        let prefix = Opened::open(&self.prefix).map_err(|error| words(&error))?;
        let report = verify(&prefix, Some(&lock), NonZero::<usize>::MIN, &()).map_err(|error| words(&error));
        // The locks of this test may lack dependencies.
        report.map(|mut report| {
            report.findings.retain(|finding| !matches!(finding, Finding::Dependency { .. }));
            report
        })
    }

    /// Runs an installation in this process, in the same way as the program.
    fn by_the_library(&self, lock: &Path, how: &How, reinstall: Option<Reinstall>) -> Result<(), String> {
        let scripts = if how.no_scripts { Scripts::Skip } else { Scripts::Run };
        let options = Options {
            scripts,
            threads: NonZero::<usize>::MIN,
            cache: self.cache.clone(),
            cache_check: if how.again.is_empty() { CacheCheck::Presence } else { CacheCheck::Content },
            ..Options::default()
        };
        let work = || -> Result<(), mlconda::Error> {
            let mut lock = Lock::read(lock, &Expansion::default())?;
            lock.slim = if how.slim { "docs".parse().unwrap() } else { Default::default() };
            let prefix = Opened::open(&self.prefix)?;
            recover(&prefix)?;
            let again = match &reinstall {
                Some(reinstall) => reinstall.clone(),
                None if how.again.is_empty() => Reinstall::Nothing,
                None => Reinstall::All,
            };
            let mut plan = Plan::reinstalling(&lock, &prefix, &again)?;
            if !how.no_scripts && reinstall.is_none() && !plan.scripts_not_run.is_empty() {
                plan = Plan::reinstalling(&lock, &prefix, &again.with(&plan.scripts_not_run))?;
            }
            if !plan.is_empty() {
                RUNTIME.with(|both| {
                    let (runtime, client) = both.get_or_init(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        (runtime, Client::new(&NetworkOptions::default()).unwrap())
                    });
                    runtime.block_on(install(&plan, client, &prefix, &options, &()))
                })?;
            }
            Ok(())
        };
        work().map_err(|error| format!("{error:?}"))
    }

    /// Runs an installation in the program, which is killed or meets a full disk; `None` if the kernel does not allow
    /// this.
    fn program(&mut self, lock: &Path, how: &How, happens: Happens) -> Option<i32> {
        let mut arguments = vec!["install", argument(lock), "-p", argument(&self.prefix), "--threads", "1"];
        arguments.push("--no-compile-bytecode");
        if !how.again.is_empty() {
            arguments.push("--reinstall");
        }
        if how.slim {
            arguments.push("--slim=docs");
        }
        if how.no_scripts {
            arguments.push("--no-scripts");
        }
        let place = self.world.path().join("place");
        let injected = inject::run(&self.world, &place, Calls::Change, happens, &arguments)?;
        self.happened += u32::from(injected.at.is_some());
        Some(injected.outcome.code)
    }

    fn edit(&self, edit: &Edit) {
        let path = self.real.join(edit.path());
        match edit {
            Edit::Write(_) => {
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                // A new file, because the old one may be a hard link of the cache.
                let _ = fs_err::remove_file(&path);
                fs_err::write(&path, MINE).unwrap();
            }
            Edit::Remove(_) => fs_err::remove_file(&path).or_else(|_| fs_err::remove_dir_all(&path)).unwrap(),
            Edit::Chmod(name, _) => {
                let (Some(Node::File { mode, .. }) | Some(Node::Directory { mode })) = self.model.tree.get(*name)
                else {
                    return;
                };
                if path.is_file() {
                    let text = fs_err::read(&path).unwrap();
                    fs_err::remove_file(&path).unwrap();
                    fs_err::write(&path, text).unwrap();
                }
                fs_err::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
            }
            Edit::LinkAway(name) => {
                fs_err::rename(&path, self.real.join(Edit::away(name))).unwrap();
                symlink(Edit::target(name), &path).unwrap();
            }
            Edit::Relink(name, to) => {
                fs_err::remove_file(&path).unwrap();
                symlink(Edit::up(name) + to, &path).unwrap();
            }
            Edit::Directory(_) => {
                fs_err::remove_file(&path).unwrap();
                fs_err::create_dir(&path).unwrap();
            }
            Edit::Filled(name) => {
                fs_err::remove_file(&path).unwrap();
                for file in super::packages::inside(name).iter().map(|file| self.real.join(file)) {
                    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
                    fs_err::write(file, MINE).unwrap();
                }
            }
        }
    }

    fn compare(&self) -> Result<(), String> {
        self.compare_with(&self.model)
    }

    /// Compares the prefix with a model. No temporary files may be left beside it or in it, but a prefix that is marked
    /// as no environment keeps the files that the next installation needs.
    fn compare_with(&self, model: &Prefix) -> Result<(), String> {
        let mut text = self.difference(model)?;
        let place = self.world.path().join("place");
        for directory in [&place].into_iter().chain((!model.is_marked()).then_some(&self.real)) {
            for entry in fs_err::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().contains("mlconda-")) {
                    text.push_str(&format!("{} is left\n", path.display()));
                }
            }
        }
        if text.is_empty() { Ok(()) } else { Err(text) }
    }

    fn difference(&self, model: &Prefix) -> Result<String, String> {
        let mut found = Tree::new();
        walk(&self.real, "", &mut found);
        let (records, is_marked) = records(&self.real)?;
        // The files of installations themselves are checked separately.
        found.retain(|path, _| !path.starts_with("conda-meta") && !path.starts_with(".mlconda-"));
        let mut text = String::new();
        let all: BTreeSet<&String> = found.keys().chain(model.tree.keys()).collect();
        for path in all {
            let (is, should) = (found.get(path), model.tree.get(path));
            if is != should {
                text.push_str(&format!("`{path}` is {is:?}, and should be {should:?}\n"));
            }
        }
        let meta = self.real.join("conda-meta");
        let (is, should) = ((meta.is_dir(), meta.join("history").is_file()), model.meta());
        if is != should {
            text.push_str(&format!(
                "whether there is a `conda-meta` and a history is {is:?}, and should be {should:?}\n"
            ));
        }
        if is_marked != model.is_marked() {
            text.push_str(&format!("whether it says that it is none is {is_marked}\n"));
        }
        if records != model.records() {
            text.push_str(&format!("records are {records:?}, and should be {:?}\n", model.records()));
        }
        Ok(text)
    }

    /// A kill leaves the old prefix, the new one, or one that is marked as no environment.
    fn is_one_of(&self, old: &Prefix, new: &Prefix) -> Result<(), String> {
        if !self.real.join("conda-meta/history").is_file() {
            return Ok(());
        }
        let (from_old, from_new) = (self.difference(old)?, self.difference(new)?);
        match from_old.is_empty() || from_new.is_empty() {
            true => Ok(()),
            false => Err(format!("after a kill\nneither the old one:\n{from_old}nor the new one:\n{from_new}")),
        }
    }

    /// A full disk leaves one of these prefixes, and no other files.
    fn is_undone(&self, all: &[Prefix]) -> Result<(), String> {
        let compared: Vec<Result<(), String>> = all.iter().map(|one| self.compare_with(one)).collect();
        match compared.iter().any(Result::is_ok) {
            true => Ok(()),
            false => Err(compared
                .into_iter()
                .filter_map(Result::err)
                .fold("after a full disk".to_owned(), |text, one| format!("{text}\nneither what it may be:\n{one}"))),
        }
    }
}

/// Whether old files are removed at once, so that they cannot be restored after a later error (`docs/DESIGN.md`).
fn is_overlay(place: &Path) -> bool {
    const OVERLAY: u64 = 0x794c_7630;
    rustix::fs::statfs(place).is_ok_and(|place| u64::try_from(place.f_type).is_ok_and(|kind| kind == OVERLAY))
}

/// The directory for package caches.
#[allow(clippy::disallowed_methods, reason = "a thorough run is asked for by whoever runs the tests")]
fn cache_directory() -> Option<PathBuf> {
    std::env::var_os("MLCONDA_TEST_CACHE").map(PathBuf::from)
}

/// Reads all paths below a directory.
fn walk(directory: &Path, name: &str, found: &mut Tree) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{name}{}", entry.file_name().to_str().unwrap());
        let metadata = fs_err::symlink_metadata(entry.path()).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_symlink() {
            Node::Link(argument(&fs_err::read_link(entry.path()).unwrap()).to_owned())
        } else if metadata.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
            Node::Directory { mode }
        } else {
            Node::File { text: fs_err::read_to_string(entry.path()).unwrap(), mode }
        };
        found.insert(path, node);
    }
}

/// The packages that have records, the files that these list, and whether the history is not yet in place.
fn records(prefix: &Path) -> Result<(BTreeMap<String, BTreeSet<String>>, bool), String> {
    let (mut found, mut is_marked, meta) = (BTreeMap::new(), false, prefix.join("conda-meta"));
    let Ok(entries) = fs_err::read_dir(&meta) else { return Ok((found, is_marked)) };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(name) = name.strip_suffix(".json") {
            let record: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
            let files = record["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap().to_owned());
            let (name, _) = name.rsplit_once('-').unwrap();
            found.insert(name.to_owned(), files.collect());
        } else if name == "history.mlconda" {
            is_marked = true;
        } else if !["history", "state"].contains(&name.as_str()) {
            return Err(format!("`conda-meta/{name}` is left"));
        }
    }
    Ok((found, is_marked))
}
