//! Reads the records of a prefix, as far as a proof needs them.
//!
//! A record is read as text twice over, once for the package and once for its paths: that spares both a detour
//! through a generic value, which the record's flat form would otherwise ask for. Of the paths only what is
//! compared is kept.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io,
    num::NonZero,
    path::{Path, PathBuf},
};

use mlconda_lock::in_linking_order;
use mlconda_prefix::{
    self as prefix, Prefix, PrefixError, distributions,
    foreign_records::{self, NoarchPaths},
    on_disk::{self, OwnFields},
};
use mlconda_system::files;
use rattler_conda_types::PackageRecord;
use rattler_digest::{Sha256, Sha256Hash, parse_digest_from_hex};
use serde::Deserialize;

use super::{FileKind, Finding, each};
use crate::links::link_made;

/// A package that is recorded.
pub(super) struct RecordedPackage {
    /// NAME-VERSION-BUILD.
    pub(super) dist_name: String,
    /// What repodata says of it.
    pub(super) record: PackageRecord,
    /// What it holds.
    pub(super) entries: Vec<RecordedPath>,
    /// The prefix that was written into its files, if one was and the record tells.
    pub(super) prefix: Option<PathBuf>,
    /// What was left out on purpose: part, files and bytes.
    pub(super) left_out: Vec<(String, (u64, u64))>,
}

impl RecordedPackage {
    /// The name.
    pub(super) fn name(&self) -> &str {
        self.record.name.as_normalized()
    }

    /// Whether it is from no channel.
    pub(crate) fn is_distribution(&self) -> bool {
        distributions::is_distribution(&self.record)
    }
}

/// A path that a package holds.
pub(super) struct RecordedPath {
    /// The path, relative to the prefix.
    pub path: PathBuf,
    /// What it is; a record from before `paths_data` does not tell.
    pub(super) kind: Option<FileKind>,
    /// The sha256 that the file has in the prefix.
    pub(super) sha256: Option<Sha256Hash>,
    /// The size in bytes that it has there; where the prefix was put in, nothing says how long the file has become.
    pub(super) size: Option<u64>,
    /// Whether mlconda made it, and so the directories above it.
    pub(super) is_ours: bool,
    /// The permissions that a file may have; any, if there are none.
    pub(super) modes: &'static [u32],
    /// Where it points to, if it is a soft link and the record tells.
    pub(super) target: Option<PathBuf>,
}

/// The permissions of the files that mlconda writes, whatever the umask: of those that may be run, and of the others.
const EXECUTABLE: &[u32] = &[0o755];
const PLAIN: &[u32] = &[0o644];
/// Of a file that mlconda wrote before its records told which it is.
const EITHER: &[u32] = &[0o644, 0o755];

/// The part of a record that tells what was linked.
#[derive(Deserialize)]
struct Linked {
    files: Option<Vec<PathBuf>>,
    paths_data: Option<PathsData>,
    link: Option<Link>,
    mlconda: Option<OwnFields>,
}

/// As in rattler's type of that name, but what other tools leave empty or invent is no reason to give up.
#[derive(Default, Deserialize)]
struct PathsData {
    #[serde(default)]
    paths: Vec<PathData>,
}

#[derive(Deserialize)]
struct PathData {
    #[serde(rename = "_path")]
    path: PathBuf,
    path_type: Option<String>,
    sha256: Option<String>,
    sha256_in_prefix: Option<String>,
    size_in_bytes: Option<u64>,
    prefix_placeholder: Option<String>,
}

/// Where a package was linked from. mlconda has no directory to name; with all others, the modes of files are
/// the archive's or the umask's.
#[derive(Deserialize)]
struct Link {
    source: Option<PathBuf>,
}

/// Reads all records, sorted by file name. One that cannot be read is a finding.
pub(super) fn read(
    prefix: &Prefix,
    threads: NonZero<usize>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<RecordedPackage>, PrefixError> {
    let mut files = prefix.record_files()?;
    files.extend(prefix.meta_files(distributions::EXTENSION)?);
    let mut packages: Vec<RecordedPackage> = Vec::with_capacity(files.len());
    for (path, outcome) in files.iter().zip(each(&files, threads, || (), |(), path| read_one(path))) {
        match outcome {
            Ok(package) => packages.extend(package),
            Err(error) => {
                let path = path.strip_prefix(prefix.path()).unwrap_or(path).to_owned();
                findings.push(Finding::Record { path, reason: error.to_string() });
            }
        }
    }
    resolve_links(prefix.path(), &mut packages)?;
    let mut by_name: HashMap<(bool, &str), &str> = HashMap::new();
    for package in &packages {
        if let Some(other) = by_name.insert((package.is_distribution(), package.name()), &package.dist_name) {
            findings.push(Finding::DuplicateRecord { package: package.dist_name.clone(), other: other.to_owned() });
        }
    }
    Ok(packages)
}

/// A package with a link, and where that leads, if its record tells.
type Made<'a> = (&'a PackageRecord, Option<&'a PathBuf>);

/// Files that a package names below a link of a package are where that leads.
pub(crate) fn resolve_links(prefix: &Path, packages: &mut [RecordedPackage]) -> io::Result<()> {
    let entries = || packages.iter().flat_map(|package| &package.entries);
    let mut links: HashMap<&Path, Vec<Made<'_>>> = HashMap::new();
    for package in &*packages {
        for entry in package.entries.iter().filter(|entry| entry.kind == Some(FileKind::Link)) {
            links.entry(&entry.path).or_default().push((&package.record, entry.target.as_ref()));
        }
    }
    let mut above: HashSet<&Path> = HashSet::new();
    for entry in entries() {
        let _ = entry.path.ancestors().skip(1).all(|path| above.insert(path));
    }
    if !links.keys().any(|path| above.contains(path)) {
        return Ok(());
    }
    // Few links have something below them.
    let known: RefCell<HashMap<PathBuf, Option<PathBuf>>> = RefCell::default();
    let link = |path: &Path| {
        let Some(several) = links.get(path) else { return Ok(None) };
        if let Some(to) = known.borrow().get(path) {
            return Ok(to.clone());
        }
        let some: Vec<_> = several.iter().map(|(package, _)| *package).collect();
        let all: Vec<_> = packages.iter().map(|package| &package.record).collect();
        let mut told = in_linking_order(&some, &all).into_iter().map(|number| several[number].1.cloned());
        let to = link_made(fs_err::read_link(prefix.join(path)).ok(), &mut told);
        known.borrow_mut().insert(path.to_owned(), to.clone());
        Ok(to)
    };
    let mut moved = Vec::new();
    for (number, package) in packages.iter().enumerate() {
        for (at, entry) in package.entries.iter().enumerate() {
            let place = on_disk::resolve(&entry.path, &link)?.filter(|place| *place != entry.path);
            moved.extend(place.map(|place| (number, at, place)));
        }
    }
    for (number, at, place) in moved {
        packages[number].entries[at].path = place;
    }
    Ok(())
}

/// Reads a record; `None` if the file is something else.
fn read_one(path: &Path) -> io::Result<Option<RecordedPackage>> {
    let text = files::read(path, files::LARGEST_RECORD)?;
    let record: PackageRecord = match mlconda_types::lenient::from_slice(&text) {
        Ok(record) => record,
        Err(_) if prefix::is_foreign(&text) => return Ok(None),
        Err(error) => mlconda_types::lenient::from_value(foreign_records::normalize(&text).ok_or(error)?)?,
    };
    mlconda_types::file_name_parts::check(record.name.as_normalized(), &record.version.as_str(), record.build.as_str())
        .map_err(io::Error::other)?;
    let linked: Linked = serde_json::from_slice(&text)?;
    let ours = linked.link.is_some_and(|link| link.source.is_some_and(|source| source.as_os_str().is_empty()));
    let own = linked.mlconda.filter(|_| ours);
    let of_path = |data| of_path(data, ours, own.as_ref());
    let mut entries: Vec<RecordedPath> = linked.paths_data.unwrap_or_default().paths.into_iter().map(of_path).collect();
    let files = linked.files.unwrap_or_default();
    if record.noarch.is_python() && !ours {
        let placed = NoarchPaths::new(&files);
        entries.iter_mut().for_each(|entry| placed.place(&mut entry.path));
    }
    if !ours || entries.is_empty() {
        // A record may have no `paths_data`, or leave there out what the tool itself has made.
        let known: HashSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let rest: Vec<PathBuf> = files.iter().filter(|path| !known.contains(path.as_path())).cloned().collect();
        let bare =
            |path| RecordedPath { path, kind: None, sha256: None, size: None, is_ours: ours, modes: &[], target: None };
        entries.extend(rest.into_iter().map(bare));
    }
    // They lie where the paths of the record lay, which had more room than they need.
    entries.shrink_to_fit();
    let prefix = own.as_ref().and_then(|own| own.prefix.clone());
    let left_out = own.and_then(|own| own.left_out).map(|left| left.sizes()).unwrap_or_default();
    let dist_name = format!("{}-{}-{}", record.name.as_normalized(), record.version.as_str(), record.build);
    Ok(Some(RecordedPackage { dist_name, record, entries, prefix, left_out }))
}

fn of_path(data: PathData, ours: bool, own: Option<&OwnFields>) -> RecordedPath {
    let path_type = data.path_type.as_deref();
    let kind = match path_type {
        Some("softlink") => Some(FileKind::Link),
        Some("directory") => Some(FileKind::Directory),
        Some(_) => Some(FileKind::File),
        None => None,
    };
    let is_file = kind == Some(FileKind::File);
    let hash = |text: &Option<String>| text.as_deref().and_then(parse_digest_from_hex::<Sha256>).filter(|_| is_file);
    let (packed, placed) = (hash(&data.sha256), hash(&data.sha256_in_prefix));
    // mamba records no placeholder, and the size in the package. That the prefix was put in, the two hashes tell.
    let is_changed = !ours && packed.is_some() && placed.is_some() && packed != placed;
    let is_contained =
        is_file && !is_changed && data.prefix_placeholder.is_none_or(|placeholder| placeholder.is_empty());
    let modes = match (path_type, own) {
        _ if !ours || !is_file => &[],
        (_, Some(own)) if own.executable.contains(&data.path) => EXECUTABLE,
        (_, Some(_)) => PLAIN,
        (Some("unix_python_entry_point"), None) => EXECUTABLE,
        (_, None) => EITHER,
    };
    let target = own.and_then(|own| own.links.get(&data.path)).filter(|_| kind == Some(FileKind::Link)).cloned();
    RecordedPath {
        path: data.path,
        kind,
        // A file that was not changed is the package's own.
        sha256: placed.or_else(|| packed.filter(|_| is_contained)),
        size: data.size_in_bytes.filter(|_| is_contained),
        is_ours: ours,
        modes,
        target,
    }
}
