//! Compares the files on disk with the records: one walk finds all paths, then each file is read once.
//!
//! Memory mainly holds the records. For each recorded path, the walk stores one byte, and files that are correct leave
//! nothing else.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read},
    num::NonZero,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use fs_err::os::unix::fs::OpenOptionsExt;
use mlconda_prefix::distributions;
use mlconda_types::progress::{Event, Progress};
use rattler_digest::{Sha256, Sha256Hash, digest::Digest};

use super::{
    FileKind, Finding, Verification, each,
    records::{RecordedPackage, RecordedPath},
    untracked,
};

/// The number of bytes that a thread reads at once.
const BUFFER: usize = 256 << 10;

/// The number of directories or files that the threads process before their results are evaluated.
const PART: usize = 2048;

/// The permissions of directories that mlconda creates.
const DIRECTORY_MODES: &[u32] = &[0o755];

/// Directories that do not belong to the environment: in a root prefix, other environments and the package cache, and
/// on a new volume, `lost+found`.
const ELSEWHERE: [&str; 3] = ["envs", "pkgs", "lost+found"];

/// A path in the record of one package.
#[derive(Clone, Copy)]
struct Claim<'a> {
    package: &'a RecordedPackage,
    entry: &'a RecordedPath,
}

/// All recorded paths.
pub(super) struct Claims<'a> {
    /// Sorted by path. The claims of one path are in linking order, if that is known.
    all: Vec<Claim<'a>>,
    /// For each path: the index in `all` of its first claim, and the number of its claims.
    by_path: HashMap<&'a Path, (usize, usize)>,
    /// The directories above recorded paths. The value is the index of a claim below the directory.
    parents: HashMap<&'a Path, usize>,
    /// Whether the linking order is known, and so which package's file is expected at a shared path.
    is_ordered: bool,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(packages: &'a [RecordedPackage]) -> Self {
        let of = |package: &'a RecordedPackage| package.entries.iter().map(move |entry| Claim { package, entry });
        let mut all: Vec<Claim<'a>> = packages.iter().flat_map(of).collect();
        mlconda_types::sorting::sort_by_key(&mut all, |claim| claim.entry.path.as_path());
        let (mut by_path, mut parents) = (HashMap::with_capacity(all.len()), HashMap::new());
        for (number, claim) in all.iter().enumerate() {
            by_path.entry(claim.entry.path.as_path()).or_insert((number, 0)).1 += 1;
            for parent in claim.entry.path.ancestors().skip(1) {
                if parents.contains_key(parent) {
                    break;
                }
                parents.insert(parent, number);
            }
        }
        Self { all, by_path, parents, is_ordered: false }
    }

    /// Sorts the claims of each path into linking order.
    pub(super) fn sort_by_link_order(&mut self, order: &HashMap<(bool, &str), usize>) {
        let rank = |claim: &Claim<'_>| {
            order.get(&(claim.package.is_distribution(), claim.package.name())).copied().unwrap_or(usize::MAX)
        };
        mlconda_types::sorting::sort_by_key(&mut self.all, |claim| (claim.entry.path.as_path(), rank(claim)));
        self.is_ordered = true;
    }

    fn at(&self, path: &Path) -> Option<&[Claim<'a>]> {
        self.by_path.get(path).and_then(|(first, count)| self.all.get(*first..first + count))
    }

    /// The packages with claims at a path or below it. If the path is not a directory, all of these are missing.
    fn holders(&self, path: &Path) -> Vec<String> {
        let first = self.all.partition_point(|claim| claim.entry.path.as_path() < path);
        let all = self.all.iter().skip(first).take_while(|claim| claim.entry.path.starts_with(path));
        let mut names: Vec<String> = Vec::new();
        for name in all.map(|claim| &claim.package.dist_name) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The claims, grouped by path.
    fn groups(&self) -> impl Iterator<Item = &[Claim<'a>]> {
        self.all.chunk_by(|one, other| one.entry.path == other.entry.path)
    }
}

/// The packages that have a path.
fn owners(claims: &[Claim<'_>]) -> Vec<String> {
    claims.iter().map(|claim| claim.package.dist_name.clone()).collect()
}

/// The expected type of a path.
fn kind(claims: &[Claim<'_>]) -> Option<FileKind> {
    claims.last().and_then(|claim| claim.entry.kind)
}

fn is_of_kind(claims: &[Claim<'_>], found: FileKind) -> bool {
    claims.iter().any(|claim| claim.entry.kind.map_or(found != FileKind::Directory, |kind| kind == found))
}

/// Compares all paths, and adds the problems to the report.
pub(super) fn check(
    prefix: &Path,
    claims: &Claims<'_>,
    threads: NonZero<usize>,
    progress: &dyn Progress,
    report: &mut Verification,
) {
    let mut findings = Vec::new();
    let found = walk(prefix, claims, threads, &mut findings);
    let untracked = compare_kinds(claims, &found, &mut findings);
    let mut files = missing(prefix, claims, &found, &mut findings);
    report.files = claims.groups().filter(|group| kind(group) != Some(FileKind::Directory)).count();
    // The largest files come first. Files of equal size stay in the order of their paths.
    let size = |group: &&[Claim<'_>]| group.iter().filter_map(|claim| claim.entry.size).max().unwrap_or(0);
    mlconda_types::sorting::sort_by_key(&mut files, |group| std::cmp::Reverse(size(group)));
    progress.event(Event::VerifyStarted { files: files.len(), bytes: files.iter().map(size).sum() });
    let look = |buffer: &mut Vec<u8>, group: &&[Claim<'_>]| file(prefix, group, claims.is_ordered, buffer, progress);
    let mut without_hash: HashMap<&str, usize> = HashMap::new();
    for part in files.chunks(PART) {
        for (group, seen) in part.iter().zip(each(part, threads, || vec![0; BUFFER], look)) {
            report.bytes += seen.bytes;
            findings.extend(seen.findings);
            for claim in group.iter().filter(|_| !seen.hashed) {
                *without_hash.entry(&claim.package.dist_name).or_default() += 1;
            }
        }
    }
    mlconda_types::sorting::sort_by(&mut findings, |one, other| one.path().cmp(&other.path()));
    report.findings.append(&mut findings);
    report.without_hash = without_hash.into_iter().map(|(package, files)| (package.to_owned(), files)).collect();
    mlconda_types::sorting::sort(&mut report.without_hash);
    report.untracked = untracked::sort(prefix, untracked, |path| claims.by_path.contains_key(path));
}

/// The result of the walk.
struct FoundPaths<'c, 'a> {
    claims: &'c Claims<'a>,
    /// The type of each recorded path, by the index of its first claim. `None` if the path is missing.
    recorded: Vec<Option<FileKind>>,
    /// The types of all other paths, which are relative to the prefix.
    others: HashMap<PathBuf, FileKind>,
}

impl<'c, 'a> FoundPaths<'c, 'a> {
    fn insert(&mut self, path: PathBuf, kind: FileKind) {
        match self.claims.by_path.get(path.as_path()).and_then(|(first, _)| self.recorded.get_mut(*first)) {
            Some(place) => *place = Some(kind),
            None => _ = self.others.insert(path, kind),
        }
    }

    fn get(&self, path: &Path) -> Option<FileKind> {
        match self.claims.by_path.get(path) {
            Some((first, _)) => self.recorded.get(*first).copied().flatten(),
            None => self.others.get(path).copied(),
        }
    }

    /// The claims, grouped by path, each group with the type that was found.
    fn groups(&self) -> impl Iterator<Item = (&'c [Claim<'a>], Option<FileKind>)> {
        self.claims.groups().scan(0, |first, group| {
            let found = self.recorded.get(*first).copied().flatten();
            *first += group.len();
            Some((group, found))
        })
    }
}

/// Walks through the prefix, level by level, without following links. The records in `conda-meta` are checked
/// elsewhere.
fn walk<'c, 'a>(
    prefix: &Path,
    claims: &'c Claims<'a>,
    threads: NonZero<usize>,
    findings: &mut Vec<Finding>,
) -> FoundPaths<'c, 'a> {
    let mut found = FoundPaths { claims, recorded: vec![None; claims.all.len()], others: HashMap::new() };
    let mut level = vec![PathBuf::new()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for part in level.chunks(PART) {
            let listed = each(part, threads, || (), |(), directory| list(prefix, directory));
            for (directory, listed) in part.iter().zip(listed) {
                for (path, kind) in judge(directory, listed, claims, findings) {
                    if kind == FileKind::Directory && is_walked(&path, claims) {
                        below.push(path.clone());
                    }
                    found.insert(path, kind);
                }
            }
        }
        level = below;
    }
    found
}

/// Evaluates one directory, and returns its entries. It is a finding if the directory is unreadable or has wrong
/// permissions.
fn judge(
    directory: &Path,
    listed: io::Result<(u32, Vec<(PathBuf, FileKind)>)>,
    claims: &Claims<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<(PathBuf, FileKind)> {
    let below_it = claims.parents.get(directory).and_then(|number| claims.all.get(*number));
    let holder = below_it.or_else(|| claims.at(directory).and_then(<[_]>::last));
    let packages = || holder.iter().map(|claim| claim.package.dist_name.clone()).collect();
    let (mode, entries) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let (path, reason) = (directory.to_owned(), error.to_string());
            findings.push(Finding::Unreadable { path, packages: packages(), reason });
            return Vec::new();
        }
    };
    // The permissions of the prefix itself are not checked: the user may have created it as a private directory.
    let is_judged = holder.is_some_and(|claim| claim.entry.is_ours);
    if is_judged && !directory.as_os_str().is_empty() && !DIRECTORY_MODES.contains(&mode) {
        let path = directory.to_owned();
        findings.push(Finding::Mode { path, packages: packages(), expected: DIRECTORY_MODES, found: mode });
    }
    entries
}

/// Whether a directory belongs to the environment.
fn is_walked(path: &Path, claims: &Claims<'_>) -> bool {
    !ELSEWHERE.iter().any(|name| Path::new(name) == path) || claims.parents.contains_key(path)
}

/// The permissions of a directory, and its entries.
fn list(prefix: &Path, directory: &Path) -> io::Result<(u32, Vec<(PathBuf, FileKind)>)> {
    let place = prefix.join(directory);
    let mode = fs_err::metadata(&place)?.permissions().mode() & 0o7777;
    let entries = fs_err::read_dir(&place)?.map(|entry| {
        let entry = entry?;
        Ok((directory.join(entry.file_name()), entry.file_type()?.into()))
    });
    Ok((mode, entries.collect::<io::Result<_>>()?))
}

/// Compares the types of all paths. Returns the untracked files, links and empty directories. The directories end with
/// a slash.
fn compare_kinds(claims: &Claims<'_>, found: &FoundPaths<'_, '_>, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    for (group, found) in found.groups() {
        let Some((found, claim)) = found.zip(group.first()).filter(|(found, _)| !is_of_kind(group, *found)) else {
            continue;
        };
        let (path, expected) = (claim.entry.path.clone(), kind(group).unwrap_or(FileKind::File));
        let packages = if found == FileKind::Directory { owners(group) } else { claims.holders(&path) };
        findings.push(Finding::WrongKind { path, packages, expected, found });
    }
    let mut untracked = Vec::new();
    // Directories above recorded paths are checked by means of the records.
    let filled: HashSet<&Path> = found.others.keys().filter_map(|path| path.parent()).collect();
    for (path, found) in &found.others {
        match claims.parents.get(path.as_path()) {
            Some(_) if *found == FileKind::Directory => {}
            Some(_) => {
                let packages = claims.holders(path);
                let (path, expected, found) = (path.clone(), FileKind::Directory, *found);
                findings.push(Finding::WrongKind { path, packages, expected, found });
            }
            None if *found == FileKind::Directory => {
                // A directory that is not empty is reported through its contents.
                let is_empty = is_walked(path, claims) && !filled.contains(path.as_path());
                untracked.extend(is_empty.then(|| path.join("")));
            }
            None if !is_of_the_environment(path) => untracked.push(path.clone()),
            None => {}
        }
    }
    untracked
}

/// Files that mlconda, conda and pixi keep in `conda-meta` besides records.
const OWN: [&str; 9] = [
    "history",
    "state",
    mlconda_prefix::on_disk::PENDING_HISTORY,
    mlconda_prefix::activate::snapshot::FILE,
    "created_at",
    "frozen",
    "pinned",
    "pixi",
    "pixi_env_prefix",
];

/// Whether a path is one of the files that each environment has besides packages. Readable records are known, and
/// unreadable ones are findings already.
fn is_of_the_environment(path: &Path) -> bool {
    let in_meta = path.parent() == Some(Path::new("conda-meta"));
    let is_own = |name: &std::ffi::OsStr| OWN.iter().any(|own| name == *own);
    let is_record = |kind: &std::ffi::OsStr| kind == "json" || kind == distributions::EXTENSION;
    in_meta && (path.extension().is_some_and(is_record) || path.file_name().is_some_and(is_own))
}

/// Reports missing paths. Returns the claims of the paths that are files.
fn missing<'c, 'a>(
    prefix: &Path,
    claims: &'c Claims<'a>,
    found: &FoundPaths<'c, 'a>,
    findings: &mut Vec<Finding>,
) -> Vec<&'c [Claim<'a>]> {
    let mut files = Vec::with_capacity(claims.by_path.len());
    for (group, kind) in found.groups() {
        let Some(claim) = group.first() else { continue };
        let path = claim.entry.path.as_path();
        match kind.or_else(|| kind_behind_link(prefix, path, claims, found)) {
            Some(FileKind::File) if is_of_kind(group, FileKind::File) => files.push(group),
            Some(FileKind::Link) if is_of_kind(group, FileKind::Link) => link(prefix, group, findings),
            Some(_) => {}
            // A parent is not a directory. This was reported already, so its contents are not reported.
            None if path
                .ancestors()
                .skip(1)
                .any(|parent| found.get(parent).is_some_and(|it| it != FileKind::Directory)) => {}
            None => findings.push(Finding::Missing { path: path.to_owned(), packages: owners(group) }),
        }
    }
    files
}

/// Compares the target of a soft link.
fn link(prefix: &Path, claims: &[Claim<'_>], findings: &mut Vec<Finding>) {
    let Some(Claim { entry, .. }) = claims.last() else { return };
    let path = entry.path.clone();
    match fs_err::read_link(prefix.join(&path)) {
        Ok(found) => {
            // A record without a target agrees with any target.
            let agrees = |claim: &Claim<'_>| claim.entry.target.as_ref().is_none_or(|target| *target == found);
            if let Some(expected) = entry.target.clone().filter(|_| !claims.iter().any(agrees)) {
                findings.push(Finding::Target { path, packages: owners(claims), expected, found });
            }
        }
        Err(error) => {
            findings.push(Finding::Unreadable { path, packages: owners(claims), reason: error.to_string() });
        }
    }
}

/// The type of a path that one package has put below a link of another one. For example, `lib64` may be a link to
/// `lib`.
fn kind_behind_link(prefix: &Path, path: &Path, claims: &Claims<'_>, found: &FoundPaths<'_, '_>) -> Option<FileKind> {
    let is_link = |parent: &Path| {
        found.get(parent) == Some(FileKind::Link)
            && claims.at(parent).is_some_and(|group| is_of_kind(group, FileKind::Link))
    };
    if !path.ancestors().skip(1).any(is_link) {
        return None;
    }
    fs_err::symlink_metadata(prefix.join(path)).ok().map(|metadata| metadata.file_type().into())
}

/// The result of checking a file.
#[derive(Default)]
struct FileCheck {
    bytes: u64,
    /// Whether its content was compared with a hash.
    hashed: bool,
    findings: Vec<Finding>,
}

/// Checks the permissions, the size and the content of a file.
fn file(
    prefix: &Path,
    claims: &[Claim<'_>],
    is_ordered: bool,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> FileCheck {
    let Some(Claim { entry, .. }) = claims.last() else { return FileCheck::default() };
    let mut seen = FileCheck { hashed: true, ..FileCheck::default() };
    if let Err(error) = check_content(prefix, claims, is_ordered, buffer, progress, &mut seen) {
        let (path, packages) = (entry.path.clone(), owners(claims));
        seen.findings.push(Finding::Unreadable { path, packages, reason: error.to_string() });
    }
    seen
}

fn check_content(
    prefix: &Path,
    claims: &[Claim<'_>],
    is_ordered: bool,
    buffer: &mut [u8],
    progress: &dyn Progress,
    seen: &mut FileCheck,
) -> io::Result<()> {
    // If a package has a link at this path, the content of the file says nothing about that package.
    let is_file = |claim: &&Claim<'_>| claim.entry.kind.is_none_or(|kind| kind == FileKind::File);
    let of_files: Vec<&Claim<'_>> = claims.iter().filter(is_file).collect();
    let Some(Claim { entry, .. }) = of_files.last() else { return Ok(()) };
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = fs_err::OpenOptions::new().read(true).custom_flags(no_follow).open(prefix.join(&entry.path))?;
    let mut file = file.into_parts().0;
    let metadata = file.metadata()?;
    seen.bytes = metadata.len();
    let mode = metadata.permissions().mode() & 0o7777;
    let path = || entry.path.clone();
    if of_files.iter().all(|claim| !claim.entry.modes.is_empty() && !claim.entry.modes.contains(&mode)) {
        let (packages, expected) = (owners(claims), entry.modes);
        seen.findings.push(Finding::Mode { path: path(), packages, expected, found: mode });
    }
    let fits = |claim: &&&Claim<'_>| claim.entry.size.is_none_or(|size| size == metadata.len());
    let fitting: Vec<&Claim<'_>> = of_files.iter().filter(fits).copied().collect();
    if let ([], Some(expected)) = (fitting.as_slice(), entry.size) {
        let (packages, found) = (owners(claims), metadata.len());
        seen.findings.push(Finding::Size { path: path(), packages, expected, found });
        return Ok(());
    }
    if fitting.iter().all(|claim| claim.entry.sha256.is_none()) {
        seen.hashed = false;
        return Ok(());
    }
    let hash = hash(&mut file, metadata.len(), buffer, progress)?;
    let equal = |claim: &&&Claim<'_>| claim.entry.sha256.is_none_or(|expected| expected == hash);
    let expected = fitting.iter().rev().find_map(|claim| claim.entry.sha256);
    match (fitting.iter().rev().find(equal), claims.last()) {
        (None, _) => seen.findings.push(Finding::Content {
            path: path(),
            packages: owners(claims),
            expected: expected.map(hex::encode).unwrap_or_default(),
            found: hex::encode(hash),
        }),
        (Some(holder), Some(last)) if is_ordered && !std::ptr::eq(holder.entry, last.entry) => {
            let (expected, found) = (last.package.dist_name.clone(), holder.package.dist_name.clone());
            seen.findings.push(Finding::WrongOwner { path: path(), expected, found });
        }
        _ => {}
    }
    Ok(())
}

/// The sha256 of a file of `size` bytes. As the size is known, no further read is needed to find the end.
fn hash(file: &mut std::fs::File, size: u64, buffer: &mut [u8], progress: &dyn Progress) -> io::Result<Sha256Hash> {
    let (mut hasher, mut left) = (Sha256::new(), size);
    while left > 0 {
        let read = match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        left = left.saturating_sub(read as u64);
        progress.event(Event::Verified { bytes: read as u64 });
    }
    Ok(hasher.finalize())
}
