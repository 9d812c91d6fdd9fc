//! Reads the parts of records that are needed for verification.
//!
//! The text of a record is parsed twice, once for the package and once for its paths. So neither needs an intermediate
//! JSON value, which one parse of this flat format would need. Only the fields of paths that are compared are kept.

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

/// A package with a record.
pub(super) struct RecordedPackage {
    /// NAME-VERSION-BUILD.
    pub(super) dist_name: String,
    /// The fields of its repodata.
    pub(super) record: PackageRecord,
    /// Its paths.
    pub(super) entries: Vec<RecordedPath>,
    /// The prefix that was written into its files, if the record says so.
    pub(super) prefix: Option<PathBuf>,
    /// The parts that were left out on purpose: name, number of files, size in bytes.
    pub(super) left_out: Vec<(String, (u64, u64))>,
}

impl RecordedPackage {
    /// The name of the package.
    pub(super) fn name(&self) -> &str {
        self.record.name.as_normalized()
    }

    /// Whether it is a distribution, which does not come from a channel.
    pub(crate) fn is_distribution(&self) -> bool {
        distributions::is_distribution(&self.record)
    }
}

/// A recorded path of a package.
pub(super) struct RecordedPath {
    /// The path, relative to the prefix.
    pub path: PathBuf,
    /// The type of the path. Records without `paths_data` do not contain it.
    pub(super) kind: Option<FileKind>,
    /// The sha256 of the file in the prefix.
    pub(super) sha256: Option<Sha256Hash>,
    /// The size of the file in the prefix, in bytes. If the prefix was written into the file, the new size is not
    /// recorded.
    pub(super) size: Option<u64>,
    /// Whether mlconda created it, and so also the directories above it.
    pub(super) is_ours: bool,
    /// The permissions that the file may have. If empty, all are allowed.
    pub(super) modes: &'static [u32],
    /// The target of a soft link, if the record contains it.
    pub(super) target: Option<PathBuf>,
}

/// The permissions of executable files and of other files that mlconda writes. They do not depend on the umask.
const EXECUTABLE: &[u32] = &[0o755];
const PLAIN: &[u32] = &[0o644];
/// The permissions of files from versions of mlconda whose records did not say which files are executable.
const EITHER: &[u32] = &[0o644, 0o755];

/// The fields of a record about the installed files.
#[derive(Deserialize)]
struct Linked {
    files: Option<Vec<PathBuf>>,
    paths_data: Option<PathsData>,
    link: Option<Link>,
    mlconda: Option<OwnFields>,
}

/// Like the type of this name in rattler, but it also accepts missing values and unknown types of other tools.
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

/// The directory that a package was linked from. It is empty in records of mlconda. Other tools set file modes from the
/// archive or the umask.
#[derive(Deserialize)]
struct Link {
    source: Option<PathBuf>,
}

/// Reads all records, sorted by file name. An unreadable record is a finding.
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

/// A package with a link, and the target of the link if the record contains it.
type Made<'a> = (&'a PackageRecord, Option<&'a PathBuf>);

/// Replaces paths below links of packages by the real paths.
pub(crate) fn resolve_links(prefix: &Path, packages: &mut [RecordedPackage]) -> io::Result<()> {
    let entries = || packages.iter().flat_map(|package| &package.entries);
    let mut links: HashMap<&Path, Vec<Made<'_>>> = HashMap::new();
    for package in &*packages {
        // Without a kind, it may be a link.
        for entry in package.entries.iter().filter(|entry| matches!(entry.kind, Some(FileKind::Link) | None)) {
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
    // Targets are computed on demand, because few links have paths below them.
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

/// Reads a record; `None` if the file is not a record.
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
        // A record may have no `paths_data`, or leave out files in it that the tool itself has created.
        let known: HashSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let rest: Vec<PathBuf> = files.iter().filter(|path| !known.contains(path.as_path())).cloned().collect();
        let bare =
            |path| RecordedPath { path, kind: None, sha256: None, size: None, is_ours: ours, modes: &[], target: None };
        entries.extend(rest.into_iter().map(bare));
    }
    // The list reuses the memory of the parsed paths, which is larger than needed.
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
    // mamba records no placeholder, and the size within the package. Two different hashes show that the prefix was
    // written into the file.
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
        // If the file was not changed, its hash is that of the packaged file.
        sha256: placed.or_else(|| packed.filter(|_| is_contained)),
        size: data.size_in_bytes.filter(|_| is_contained),
        is_ours: ours,
        modes,
        target,
    }
}
