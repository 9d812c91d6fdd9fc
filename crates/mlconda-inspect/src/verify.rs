//! Verifies that a prefix equals a lock, or its own records.
//!
//! Nothing is changed; the result is a [`Verification`]. The records list the files of each package, the lock lists the
//! packages, and the disk must agree with both. One walk through the prefix finds all paths and their types. Then each
//! recorded file is opened once (without following links) and hashed, the largest files first, so that all threads
//! finish at about the same time.
//!
//! Only facts in the records are checked. conda's fields contain neither the mode of a file nor the target of a soft
//! link (the hash of a link is that of its target when the package was built). mlconda writes both into its own field.
//! conda and mamba keep the modes of the archive, and write no hash for some files that they create; such files are
//! counted.

pub(crate) mod closure;
mod files;
mod projects;
mod records;
mod reinstall;
mod untracked;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
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
use mlconda_types::{
    progress::Progress,
    sorting::{self, IntoTree},
};

pub use self::untracked::UntrackedFiles;
use self::{files::Claims, records::RecordedPackage};

/// The result of verifying a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The number of recorded packages.
    pub packages: usize,
    /// The number of recorded files and links.
    pub files: usize,
    /// The number of bytes that were read.
    pub bytes: u64,
    /// All problems, sorted: first those of packages, then those of paths. Empty if the prefix is correct.
    pub findings: Vec<Finding>,
    /// Untracked files. They are no problem.
    pub untracked: UntrackedFiles,
    /// Packages with files without a recorded hash, and the number of these files. For such files, only existence and
    /// recorded size are checked.
    pub without_hash: Vec<(String, usize)>,
    /// Parts that were left out on purpose: the number of files and their size in bytes, by the name of the part.
    pub left_out: BTreeMap<String, (u64, u64)>,
    /// Packages whose records lack the kind of hash that the lock has. For these, only the file names are compared.
    pub without_digest: Vec<String>,
}

impl Verification {
    /// Whether the prefix is correct.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One problem. Paths are relative to the prefix. Packages are given as NAME-VERSION-BUILD.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// An installation was interrupted, or is in progress.
    Interrupted {
        /// The file or directory that was left by that installation, relative to the prefix or absolute.
        path: PathBuf,
    },
    /// There is no `conda-meta/history`, so conda tools do not recognize the environment.
    NoHistory,
    /// The prefix was installed at another path, which its files contain.
    Moved {
        /// The path at which it was installed.
        expected: PathBuf,
        /// The path of the prefix.
        found: PathBuf,
    },
    /// A record, or the variables that the environment sets, cannot be read.
    Record {
        /// The record's file, or `conda-meta/state`.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two records describe packages with the same name.
    DuplicateRecord {
        /// The one package.
        package: String,
        /// The other.
        other: String,
    },
    /// A package of the lock has no record.
    NotInstalled {
        /// The package.
        package: String,
    },
    /// A package with a record is not in the lock.
    NotLocked {
        /// The package.
        package: String,
    },
    /// A package has another version or build than the lock says.
    OtherPackage {
        /// The package of the lock.
        expected: String,
        /// The package of the record.
        found: String,
    },
    /// The archive of a package has another hash than the lock says.
    OtherArchive {
        /// The package.
        package: String,
        /// The lock's sha256 or md5, in hex.
        expected: String,
        /// The record's hash, in hex.
        found: String,
    },
    /// A variable of the environment has another value than in the lock.
    Variable {
        /// Its name.
        name: String,
        /// The value in the lock, if it has one.
        expected: Option<String>,
        /// The value in the prefix, if it has one.
        found: Option<String>,
    },
    /// A dependency of a package is not installed.
    Dependency {
        /// The package.
        package: String,
        /// The dependency, as a match spec.
        expected: String,
        /// The installed package of that name, if there is one.
        found: Option<String>,
    },
    /// A constraint (`constrains`) of a package is violated by another installed package.
    Constraint {
        /// The package.
        package: String,
        /// The constraint, as a match spec.
        expected: String,
        /// The installed package.
        found: String,
    },
    /// A path is missing.
    Missing {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
    },
    /// A path has another type, such as a link instead of a file.
    WrongKind {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// The expected type.
        expected: FileKind,
        /// The actual type.
        found: FileKind,
    },
    /// A path cannot be read.
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A file or a directory has other permissions than mlconda gave it.
    Mode {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// The permissions that are allowed.
        expected: &'static [u32],
        /// The actual permissions.
        found: u32,
    },
    /// A soft link has another target.
    Target {
        /// The link.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// The expected target.
        expected: PathBuf,
        /// The actual target.
        found: PathBuf,
    },
    /// A file has another size.
    Size {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// The recorded size in bytes.
        expected: u64,
        /// The actual size in bytes.
        found: u64,
    },
    /// A file has another content.
    Content {
        /// The path.
        path: PathBuf,
        /// The packages whose records list it.
        packages: Vec<String>,
        /// The recorded sha256 in hex. If several packages have the path, it is that of the package that is linked
        /// last.
        expected: String,
        /// The actual sha256 in hex.
        found: String,
    },
    /// Two distributions of one python project are installed.
    SameProject {
        /// The metadata directory of the surplus distribution.
        path: PathBuf,
        /// The packages whose records list it. Empty if pip or a similar tool installed it.
        packages: Vec<String>,
        /// The metadata directory of the other distribution.
        other: PathBuf,
    },
    /// Several packages have a path, and the file is not that of the package that is linked last.
    WrongOwner {
        /// The path.
        path: PathBuf,
        /// The package whose file is expected.
        expected: String,
        /// The package whose file was found.
        found: String,
    },
}

impl Finding {
    /// The path of the problem, if it has one.
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

/// The type of a path.
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

/// Compares a prefix with its records and, if given, with a lock.
///
/// Each file is read once. Memory use depends on the number of paths, not on the size of files.
///
/// # Errors
/// If the prefix or its `conda-meta` cannot be read at all. Problems inside are [`Finding`]s.
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
    for (part, size) in packages.iter().flat_map(|package| &package.left_out) {
        let sum = report.left_out.entry(part.clone()).or_default();
        *sum = (sum.0 + size.0, sum.1 + size.1);
    }
    if let Some(lock) = lock {
        report.without_digest = compare(lock, &packages, &mut findings);
    }
    variables(lock, prefix, &mut findings)?;
    closure::check(&packages, &mut findings);
    projects::check(prefix.path(), &packages, &mut findings)?;
    report.findings = findings;
    let mut claims = Claims::new(&packages);
    if let Some(lock) = lock.filter(|lock| lock.input.is_some()) {
        // mlconda has sorted this lock, so it is known which package is linked last.
        let packages = lock.packages.iter().map(|package| (false, package.name.as_str()));
        let all = packages.chain(lock.pip.iter().map(|package| (true, package.name.as_str())));
        let order: HashMap<(bool, &str), usize> = all.enumerate().map(|(number, key)| (key, number)).collect();
        claims.sort_by_link_order(&order);
    }
    files::check(prefix.path(), &claims, threads, progress, &mut report);
    Ok(report)
}

/// Checks that the prefix is an environment, and that no installation into it was interrupted.
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

/// Finds prefixes in the files of packages that are not this prefix, under any name of it.
fn moved(prefix: &Path, packages: &[RecordedPackage]) -> Vec<Finding> {
    let written: BTreeSet<&Path> = packages.iter().filter_map(|package| package.prefix.as_deref()).into_tree();
    let same = |one: &Path| matches!((one.canonicalize(), prefix.canonicalize()), (Ok(one), Ok(other)) if one == other);
    let others = written.into_iter().filter(|written| *written != prefix && !same(written));
    others.map(|written| Finding::Moved { expected: written.to_owned(), found: prefix.to_owned() }).collect()
}

/// Compares the packages of a lock with the recorded ones. Returns those whose records have no hash to compare.
fn compare(lock: &Lock, packages: &[RecordedPackage], findings: &mut Vec<Finding>) -> Vec<String> {
    let recorded: HashMap<(bool, &str), &RecordedPackage> =
        packages.iter().map(|package| ((package.is_distribution(), package.name()), package)).collect();
    let archives: Vec<LockedPackage> = lock.pip.iter().filter_map(LockedPip::as_package).collect();
    let all = lock.packages.iter().chain(&archives);
    // The version of a package without an archive is known only after it was built.
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
    // Another tool's lock does not list packages of pip.
    let is_stated = lock.input.is_some() || !lock.pip.is_empty();
    let judged = packages.iter().filter(|package| is_stated || !package.is_distribution());
    let not_locked = judged.filter(|package| !locked.contains(&(package.is_distribution(), package.name())));
    findings.extend(not_locked.map(|package| Finding::NotLocked { package: package.dist_name.clone() }));
    unknown
}

/// Compares the variables of the environment with those of the lock. If they cannot be read, that is a finding like an
/// unreadable record.
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

/// Calls `work` for each item, on several threads. Each thread has its own state. The results are in the order of the
/// items.
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
    sorting::sort_by_key(&mut done, |(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
