//! Proof that a prefix equals a lock, or at least its own records.
//!
//! Everything is looked at, nothing is changed, and what was found is a value: [`Verification`]. The records say what
//! each package has put where, the lock says which packages there are, and the disk must agree with both. One
//! walk through the prefix tells what is there and of which kind; then each recorded file is opened once, as no
//! link, and hashed. The largest come first, so that no thread is left alone with one in the end.
//!
//! What cannot be told from a record is not judged. conda's fields have no word for a file's mode and a soft link's
//! target (a link's hash is that of the file it pointed to when the package was built); mlconda writes both into a field
//! of its own. conda and mamba keep the modes that an archive has, and write no hash for some of the files that they make;
//! such files are counted.

pub(crate) mod closure;
mod files;
mod projects;
mod records;
mod reinstall;
mod untracked;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use mlconda_lock::{Digest, Lock, LockedPackage, LockedPip};
use mlconda_prefix::{
    Prefix, PrefixError, STATE,
    on_disk::{BACKUP, PENDING_HISTORY, STAGE, stage_and_replica},
};
use mlconda_types::progress::Progress;

pub use self::untracked::UntrackedFiles;
use self::{files::Claims, records::RecordedPackage};

/// What a look at a prefix came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// How many packages are recorded.
    pub packages: usize,
    /// How many files and links they hold.
    pub files: usize,
    /// The size of the files that were read, in bytes.
    pub bytes: u64,
    /// What is not as it should be: first of packages, then of paths, sorted. The proof holds if there is nothing.
    pub findings: Vec<Finding>,
    /// What no package holds; for information.
    pub untracked: UntrackedFiles,
    /// Packages with files that no record gives a hash for, and how many those are: they are there, with the recorded
    /// size if there is one, and that is all that can be said.
    pub without_hash: Vec<(String, usize)>,
    /// Packages that the lock pins by a hash that their record does not have: the file name has to do.
    pub without_digest: Vec<String>,
}

impl Verification {
    /// Whether the prefix is what it should be.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One thing that is not as it should be. Paths are relative to the prefix, packages are named by file name without
/// extension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// An installation was cut off, or is under way.
    Interrupted {
        /// What tells, relative to the prefix or absolute.
        path: PathBuf,
    },
    /// There is no `conda-meta/history`: for conda tools, no environment.
    NoHistory,
    /// The prefix was installed at another place, which is written in its files.
    Moved {
        /// Where it was installed.
        expected: PathBuf,
        /// Where it is.
        found: PathBuf,
    },
    /// A record, or the variables that the environment sets, cannot be read.
    Record {
        /// The record's file, or `conda-meta/state`.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two records are of packages of the same name.
    DuplicateRecord {
        /// The one package.
        package: String,
        /// The other.
        other: String,
    },
    /// The lock has a package that no record has.
    NotInstalled {
        /// The package.
        package: String,
    },
    /// A record has a package that the lock does not have.
    NotLocked {
        /// The package.
        package: String,
    },
    /// A package has another version or build than the lock says.
    OtherPackage {
        /// The lock's.
        expected: String,
        /// The record's.
        found: String,
    },
    /// A package is from another archive than the lock says.
    OtherArchive {
        /// The package.
        package: String,
        /// The lock's sha256 or md5, in hex.
        expected: String,
        /// The record's.
        found: String,
    },
    /// A variable of the environment is not what the lock says.
    Variable {
        /// Its name.
        name: String,
        /// The lock's value, if it sets it.
        expected: Option<String>,
        /// The prefix's value, if it sets it.
        found: Option<String>,
    },
    /// A package needs what is not installed.
    Dependency {
        /// The package.
        package: String,
        /// What it needs, as a match spec.
        expected: String,
        /// The package of that name that is there, if one is.
        found: Option<String>,
    },
    /// A package does not go together with another one that is there.
    Constraint {
        /// The package.
        package: String,
        /// What it goes together with, as a match spec.
        expected: String,
        /// The package that is there.
        found: String,
    },
    /// A path is missing.
    Missing {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
    },
    /// A path is of another kind: a link in place of a file, say.
    WrongKind {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// What it should be.
        expected: FileKind,
        /// What it is.
        found: FileKind,
    },
    /// A path cannot be read.
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A file or directory has permissions that its package did not give it.
    Mode {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// The permissions that it may have.
        expected: &'static [u32],
        /// Those that it has.
        found: u32,
    },
    /// A soft link points somewhere else.
    Target {
        /// The link.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// Where it should point to.
        expected: PathBuf,
        /// Where it points to.
        found: PathBuf,
    },
    /// A file has another size.
    Size {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// The recorded size in bytes.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// A file has another content.
    Content {
        /// The path.
        path: PathBuf,
        /// The packages that hold it.
        packages: Vec<String>,
        /// The recorded sha256 in hex; of several packages, that of the one that is linked last.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Two distributions of one python project are there.
    SameProject {
        /// The metadata of the one that is too many.
        path: PathBuf,
        /// The packages that hold it; none, if pip or the like has installed it.
        packages: Vec<String>,
        /// The metadata of the other.
        other: PathBuf,
    },
    /// Several packages hold a path, and the file is not of the one that is linked last.
    WrongOwner {
        /// The path.
        path: PathBuf,
        /// The package whose file should be there.
        expected: String,
        /// The one whose file is.
        found: String,
    },
}

impl Finding {
    /// The path that it is about, if it is about one.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Missing { path, .. }
            | Self::WrongKind { path, .. }
            | Self::Unreadable { path, .. }
            | Self::Mode { path, .. }
            | Self::Target { path, .. }
            | Self::Size { path, .. }
            | Self::Content { path, .. }
            | Self::WrongOwner { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// What a path can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A soft link.
    Link,
    /// A directory.
    Directory,
    /// A device, a pipe, a socket.
    Other,
}

impl From<std::fs::FileType> for FileKind {
    fn from(kind: std::fs::FileType) -> Self {
        match (kind.is_file(), kind.is_symlink(), kind.is_dir()) {
            (true, _, _) => Self::File,
            (_, true, _) => Self::Link,
            (_, _, true) => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// Looks at a prefix, and compares it with its records and, if there is one, with a lock.
///
/// All that is there is read once. Memory grows with the number of paths, not with their size.
///
/// # Errors
/// If the prefix or its `conda-meta` cannot be read at all. What is wrong inside is a [`Finding`].
pub fn verify(
    prefix: &Prefix,
    lock: Option<&Lock>,
    threads: NonZero<usize>,
    progress: &dyn Progress,
) -> Result<Verification, PrefixError> {
    let mut findings = environment(prefix);
    let packages = records::read(prefix, threads, &mut findings)?;
    findings.extend(moved(prefix.path(), &packages));
    let mut report = Verification { packages: packages.len(), ..Verification::default() };
    if let Some(lock) = lock {
        report.without_digest = compare(lock, &packages, &mut findings);
    }
    variables(lock, prefix, &mut findings)?;
    closure::check(&packages, &mut findings);
    projects::check(prefix.path(), &packages, &mut findings)?;
    report.findings = findings;
    let mut claims = Claims::new(&packages);
    if let Some(lock) = lock.filter(|lock| lock.input.is_some()) {
        // mlconda ordered this lock, so it is known who wins.
        let packages = lock.packages.iter().map(|package| (false, package.name.as_str()));
        let all = packages.chain(lock.pip.iter().map(|package| (true, package.name.as_str())));
        let order: HashMap<(bool, &str), usize> = all.enumerate().map(|(number, key)| (key, number)).collect();
        claims.sort_by_link_order(&order);
    }
    files::check(prefix.path(), &claims, threads, progress, &mut report);
    Ok(report)
}

/// Whether the prefix is an environment, and a finished one.
fn environment(prefix: &Prefix) -> Vec<Finding> {
    let inside = [Path::new("conda-meta").join(PENDING_HISTORY), PathBuf::from(STAGE), PathBuf::from(BACKUP)];
    let siblings = stage_and_replica(prefix.path()).map(|(stage, replica)| [stage, replica]).into_iter().flatten();
    let left = inside.into_iter().chain(siblings).filter(|path| prefix.path().join(path).symlink_metadata().is_ok());
    let mut findings: Vec<Finding> = left.map(|path| Finding::Interrupted { path }).collect();
    if !prefix.is_environment() {
        findings.push(Finding::NoHistory);
    }
    findings
}

/// Whether the files of packages name another prefix than this one, under whatever name.
fn moved(prefix: &Path, packages: &[RecordedPackage]) -> Vec<Finding> {
    let written: BTreeSet<&Path> = packages.iter().filter_map(|package| package.prefix.as_deref()).collect();
    let same = |one: &Path| matches!((one.canonicalize(), prefix.canonicalize()), (Ok(one), Ok(other)) if one == other);
    let others = written.into_iter().filter(|written| *written != prefix && !same(written));
    others.map(|written| Finding::Moved { expected: written.to_owned(), found: prefix.to_owned() }).collect()
}

/// Compares the packages of a lock with those that are recorded; gives those whose records cannot be compared by hash.
fn compare(lock: &Lock, packages: &[RecordedPackage], findings: &mut Vec<Finding>) -> Vec<String> {
    let recorded: HashMap<(bool, &str), &RecordedPackage> =
        packages.iter().map(|package| ((package.is_distribution(), package.name()), package)).collect();
    let archives: Vec<LockedPackage> = lock.pip.iter().filter_map(LockedPip::as_package).collect();
    let all = lock.packages.iter().chain(&archives);
    // Of what has no archive, the version is known when it is built.
    let built = lock.pip.iter().filter(|package| package.file_name().is_none());
    let built = built.map(|package| (true, package.name.as_str()));
    let locked: HashSet<(bool, &str)> =
        all.clone().map(|package| (package.is_distribution(), package.name.as_str())).chain(built.clone()).collect();
    let mut unknown = Vec::new();
    let missing = built.filter(|key| !recorded.contains_key(key));
    findings.extend(missing.map(|(_, name)| Finding::NotInstalled { package: name.to_owned() }));
    for package in all {
        let name = package.dist_name();
        let Some(found) = recorded.get(&(package.is_distribution(), package.name.as_str())) else {
            findings.push(Finding::NotInstalled { package: name });
            continue;
        };
        if found.dist_name != name {
            findings.push(Finding::OtherPackage { expected: name, found: found.dist_name.clone() });
            continue;
        }
        let (expected, found) = match package.digest {
            Digest::Sha256(hash) => (hex::encode(hash), found.record.sha256.map(hex::encode)),
            Digest::Md5(hash) => (hex::encode(hash), found.record.md5.map(hex::encode)),
            Digest::Unknown => continue,
        };
        match found {
            Some(found) if found != expected => {
                findings.push(Finding::OtherArchive { package: name, expected, found });
            }
            Some(_) => {}
            None => unknown.push(name),
        }
    }
    // Another tool's lock knows nothing of what is from no channel.
    let is_stated = lock.input.is_some() || !lock.pip.is_empty();
    let judged = packages.iter().filter(|package| is_stated || !package.is_distribution());
    let not_locked = judged.filter(|package| !locked.contains(&(package.is_distribution(), package.name())));
    findings.extend(not_locked.map(|package| Finding::NotLocked { package: package.dist_name.clone() }));
    unknown
}

/// Compares the variables that the environment sets. Where they cannot be read, it is as with a record.
fn variables(lock: Option<&Lock>, prefix: &Prefix, findings: &mut Vec<Finding>) -> Result<(), PrefixError> {
    let set = match prefix.variables() {
        Err(PrefixError::Record { source, .. }) => {
            findings.push(Finding::Record { path: STATE.into(), reason: source.to_string() });
            return Ok(());
        }
        set => set?,
    };
    let Some(lock) = lock else { return Ok(()) };
    let names = lock.variables.keys().chain(set.keys().filter(|name| !lock.variables.contains_key(*name)));
    for name in names {
        let (expected, found) = (lock.variables.get(name).cloned(), set.get(name).cloned());
        if expected != found {
            findings.push(Finding::Variable { name: name.clone(), expected, found });
        }
    }
    Ok(())
}

/// Does the same with each item, on several threads; each has a state of its own. The results come in the items' order.
fn each<T: Sync, R: Send, S>(
    items: &[T],
    threads: NonZero<usize>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        let (mut state, mut own) = (state(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            own.push((number, work(&mut state, item)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    thread::scope(|scope| {
        for _ in 1..threads.get().min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
