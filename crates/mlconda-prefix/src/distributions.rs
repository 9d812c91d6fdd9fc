//! Python distributions (PEP 376): installed packages that do not come from a channel.
//!
//! A distribution that mlconda has installed has a record `conda-meta/NAME-VERSION-pypi_0.pip`. It has the format of a
//! conda record, but not the extension `.json`, because conda tools would take it for a conda package. Other
//! distributions are known only by their `.dist-info`.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Component, Path, PathBuf},
};

use mlconda_python::{metadata::Metadata, normalize};
use mlconda_system::{beneath::is_contained, files};
use mlconda_types::sorting::IntoTree;
use rattler_conda_types::{
    PackageName, PackageRecord, PrefixRecord, RepoDataRecord, Version, package::DistArchiveIdentifier,
};
use rattler_digest::{Sha256, compute_bytes_digest};
use url::Url;

use super::{Prefix, PrefixError};

/// The extension of records of distributions.
pub const EXTENSION: &str = "pip";

/// The build string of distributions, as in conda.
pub const BUILD: &str = "pypi_0";

/// The channel and the subdir of distributions, as in conda.
pub const CHANNEL: &str = "pypi";

/// Whether a record describes a distribution, not a conda package.
pub fn is_distribution(record: &PackageRecord) -> bool {
    record.subdir == CHANNEL
}

/// The name of the file of a package's record, within `conda-meta`.
pub fn record_name(record: &PrefixRecord) -> PathBuf {
    let name = PathBuf::from(record.file_name());
    match is_distribution(&record.repodata_record.package_record) {
        true => name.with_extension(EXTENSION),
        false => name,
    }
}

impl Prefix {
    /// The records of the distributions that mlconda has installed, sorted by file name.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn distributions(&self) -> Result<Vec<PrefixRecord>, PrefixError> {
        let read = |path: PathBuf| super::read_record(&path).map_err(|source| PrefixError::of_record(path, source));
        self.meta_files(EXTENSION)?.into_iter().map(read).collect()
    }
}

/// A distribution without a record: pip has installed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrackedDistribution {
    /// Its normalized name (PEP 503).
    pub name: String,
    /// Its version, as written in its metadata.
    pub version: String,
}

impl Prefix {
    /// The distributions without a record, sorted by name. Records without their metadata are removed from `records`,
    /// because pip has uninstalled or replaced these packages.
    ///
    /// # Errors
    /// If the directories of distributions cannot be read.
    pub fn untracked(&self, records: &mut Vec<PrefixRecord>) -> Result<Vec<UntrackedDistribution>, PrefixError> {
        let found = untracked(self.path(), records)?;
        let read = |path: &PathBuf| {
            metadata(path).map(|Metadata { name, version, .. }| UntrackedDistribution { name, version })
        };
        let mut untracked: Vec<UntrackedDistribution> = found.iter().filter_map(read).collect();
        mlconda_types::sorting::sort_by(&mut untracked, |one, other| one.name.cmp(&other.name));
        Ok(untracked)
    }
}

/// The metadata paths of distributions without a record. Records without their metadata are removed from `records`.
///
/// # Errors
/// If a directory of distributions cannot be read.
pub fn untracked(prefix: &Path, records: &mut Vec<PrefixRecord>) -> Result<BTreeSet<PathBuf>, PrefixError> {
    let is = |path: &Path, end: &str| path.extension().is_some_and(|extension| extension == end);
    let is_metadata = |path: &PathBuf| is(path, "dist-info") && path.join("METADATA").is_file() || is(path, "egg-info");
    let mut found = BTreeSet::new();
    for site in site_packages(prefix)? {
        for entry in fs_err::read_dir(&site)? {
            found.extend(Some(entry?.path()).filter(is_metadata));
        }
    }
    let known: BTreeSet<PathBuf> = records.iter().flat_map(anchors).map(|path| prefix.join(path)).into_tree();
    let is_replaced = |record: &PrefixRecord| {
        let mut own = anchors(record).peekable();
        own.peek().is_some() && own.all(|path| !found.contains(&prefix.join(path)))
    };
    records.retain(|record| !is_replaced(record));
    found.retain(|path| !known.contains(path));
    Ok(found)
}

/// The metadata paths of the distributions in a record, relative to the prefix.
fn anchors(record: &PrefixRecord) -> impl Iterator<Item = &Path> {
    record.files.iter().filter_map(|file| match is_metadata(file) {
        true => file.parent(),
        false => Some(file.as_path())
            .filter(|path| path.extension().is_some_and(|end| end == "egg-info") && is_in_site(path)),
    })
}

/// Reads the metadata of a distribution: `path` is its `.dist-info`, its `.egg-info`, or a file of that name.
pub fn metadata(path: &Path) -> Option<Metadata> {
    let files = [path.join("METADATA"), path.join("PKG-INFO"), path.to_owned()];
    let text = files.iter().find(|file| file.is_file()).and_then(|file| files::read(file, files::LARGEST_TEXT).ok())?;
    Metadata::read(&String::from_utf8_lossy(&text))
}

/// Whether the distribution of a record is still installed. pip removes the file `RECORD` when it uninstalls a
/// distribution, and writes another one when it replaces it.
pub fn is_installed(prefix: &Path, record: &PrefixRecord) -> bool {
    let list = record.paths_data.paths.iter().find(|entry| is_record_file(&entry.relative_path));
    list.is_some_and(|entry| {
        let text = files::read(&prefix.join(&entry.relative_path), files::LARGEST_RECORD).ok();
        text.is_some_and(|text| Some(compute_bytes_digest::<Sha256>(&text)) == entry.sha256_in_prefix)
    })
}

/// Minimal records of the distributions with these normalized names that pip has installed, which have no record. A
/// package that replaces them must remove them. `known` are the paths that belong to packages.
///
/// # Errors
/// If a directory of distributions cannot be read, or if a name or version is not possible in a record.
pub fn untracked_by_name(
    prefix: &Path,
    names: &HashSet<&str>,
    known: &HashSet<&PathBuf>,
) -> Result<Vec<PrefixRecord>, PrefixError> {
    let mut found = Vec::new();
    if names.is_empty() {
        return Ok(found);
    }
    for site in site_packages(prefix)? {
        for entry in fs_err::read_dir(&site)? {
            let directory = entry?.path();
            let stem = directory.file_name().and_then(|name| name.to_str()?.strip_suffix(".dist-info"));
            let Some((name, version)) = stem.and_then(|stem| stem.split_once('-')) else { continue };
            let name = normalize(name);
            let list = directory.join("RECORD");
            let Ok(relative) = list.strip_prefix(prefix) else { continue };
            if !names.contains(name.as_str()) || known.contains(&relative.to_owned()) {
                continue;
            }
            let Ok(text) = files::read_to_string(&list, files::LARGEST_RECORD) else { continue };
            let site = site.strip_prefix(prefix).unwrap_or(Path::new(""));
            let mut record = minimal_record(&name, version)?;
            record.files = paths(prefix, site, &text).filter(|path| !known.contains(path)).collect();
            found.push(record);
        }
    }
    Ok(found)
}

/// A record with only a name and a version.
fn minimal_record(name: &str, version: &str) -> Result<PrefixRecord, PrefixError> {
    let invalid = |message: String| std::io::Error::new(std::io::ErrorKind::InvalidData, message);
    let identifier: DistArchiveIdentifier =
        format!("{name}-0-{BUILD}.whl").parse().map_err(|_| invalid(format!("`{name}` is not a name")))?;
    let name = PackageName::try_from(name).map_err(|error| invalid(error.to_string()))?;
    let version: Version = version.replace('-', "_").parse().unwrap_or_else(|_| Version::major(0));
    let build = BUILD.parse().map_err(|_| invalid(format!("`{BUILD}` is not a build")))?;
    let mut record = PackageRecord::new(name, version, build);
    record.subdir = CHANNEL.to_owned();
    let url = Url::parse("https://example.invalid").map_err(|error| invalid(error.to_string()))?;
    let record = RepoDataRecord { package_record: record, identifier, url, channel: Some(CHANNEL.to_owned()) };
    Ok(PrefixRecord::from_repodata_record(record, Vec::new()))
}

/// The `site-packages` directories of a prefix.
///
/// # Errors
/// If the directory of libraries cannot be read.
pub fn site_packages(prefix: &Path) -> Result<Vec<PathBuf>, PrefixError> {
    let mut site_packages = vec![prefix.join("Lib").join("site-packages")];
    let library = prefix.join("lib");
    if library.is_dir() {
        for entry in fs_err::read_dir(&library)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("python3") || entry.file_name() == "python2.7" {
                site_packages.push(entry.path().join("site-packages"));
            }
        }
    }
    site_packages.retain(|site| site.is_dir());
    mlconda_types::sorting::sort(&mut site_packages);
    // If the file system does not distinguish `Lib` from `lib`, or if one is a link to the other, both are the same
    // directory.
    let mut seen = BTreeSet::new();
    site_packages.retain(|site| seen.insert(fs_err::canonicalize(site).unwrap_or_else(|_| site.clone())));
    Ok(site_packages)
}

/// Whether a file is the `RECORD` of a distribution. The `RECORD` of a vendored distribution does not count.
pub fn is_record_file(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(Path::new(""));
    let is_info = directory.extension().is_some_and(|end| end == "dist-info");
    is_info && is_in_site(directory) && path.file_name().is_some_and(|name| name == "RECORD")
}

/// Whether the parent of a path is a `site-packages` directory.
fn is_in_site(path: &Path) -> bool {
    path.parent().is_some_and(|site| site.ends_with("site-packages"))
}

/// Whether a path is the metadata of a distribution. The metadata of vendored distributions do not count.
pub fn is_metadata(path: &Path) -> bool {
    let is = |directory: &Path, end: &str| directory.extension().is_some_and(|extension| extension == end);
    let directory = path.parent().unwrap_or(Path::new(""));
    let file = path.file_name().unwrap_or_default();
    is_in_site(directory)
        && (file == "METADATA" && is(directory, "dist-info") || file == "PKG-INFO" && is(directory, "egg-info"))
}

/// The normalized name (PEP 503) of the distribution that a metadata file belongs to.
pub fn name_of(path: &Path) -> Option<String> {
    let directory = path.parent()?.file_name()?.to_str()?;
    Some(normalize(directory.rsplit_once('.')?.0.split('-').next()?))
}

/// The paths in the `RECORD` of a distribution, relative to the prefix. In the file they are relative to `site`. Left
/// out are paths outside of the prefix, paths in `conda-meta`, and paths that are not possible.
pub fn paths<'a>(prefix: &'a Path, site: &'a Path, text: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let of = |line| inside(prefix, site, fields(line).first().map_or("", String::as_str));
    text.lines().map(of).filter(|path| is_contained(path) && !path.starts_with("conda-meta"))
}

/// Converts a path of a `RECORD`, which is relative to `site-packages`, to a path relative to the prefix.
fn inside(prefix: &Path, site: &Path, path: &str) -> PathBuf {
    let path = Path::new(path);
    let (mut inside, path) = match path.strip_prefix(prefix) {
        Ok(path) => (PathBuf::new(), path),
        Err(_) => (site.to_owned(), path),
    };
    for component in path.components() {
        match component {
            // A path that leads out of the prefix is ignored.
            Component::ParentDir if !inside.pop() => return PathBuf::new(),
            Component::ParentDir | Component::CurDir => {}
            Component::Normal(part) => inside.push(part),
            Component::RootDir | Component::Prefix(_) => return PathBuf::new(),
        }
    }
    inside
}

/// The fields of a line of a `RECORD`, which is a CSV file.
pub fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(each) = characters.next() {
        match each {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            each => field.push(each),
        }
    }
    fields.push(field);
    fields
}

/// Quotes a field of a `RECORD` if needed.
pub fn quoted(field: &str) -> String {
    match field.contains([',', '"']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_of_paths_anywhere_in_the_prefix_and_nowhere_else() {
        let text = "a/b.py,sha256=x,12\n../../bin/a,,\n\"a,\"\"b\"\".py\",,\n/p/share/a,,\n../../../x,,\n/etc/x,,\n\
                    ../../conda-meta/history,,\n";
        let found: Vec<PathBuf> = paths(Path::new("/p"), Path::new("lib/site"), text).collect();
        let expected = ["lib/site/a/b.py", "bin/a", "lib/site/a,\"b\".py", "share/a"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert_eq!(fields(&format!("{},x", quoted("a,\"b\""))), ["a,\"b\"", "x"]);
    }

    #[test]
    fn no_path_of_a_list_leads_out_by_the_name_of_the_prefix() {
        let long = "n".repeat(300);
        let text = format!(
            "/p/../etc/x,,\n/p/share/../../etc/x,,\n/p/share/../conda-meta/history,,\n/p,,\n/p/../p/a,,\na\0b,,\n{long},,\n\
             /p/share/../bin/a,,\n/p/./b,,\n"
        );
        let found: Vec<PathBuf> = paths(Path::new("/p"), Path::new("lib/site"), &text).collect();
        assert_eq!(found, [PathBuf::from("bin/a"), PathBuf::from("b")]);
    }
}
