//! Reads records of other tools: all versions of conda since 4, mamba, micromamba and pixi.
//!
//! A record in the current format is read unchanged. In records of older or other tools, missing fields, other field
//! names and `null` values are normalized first. Then paths are converted to paths in the prefix. This is needed for
//! noarch python packages: conda's `paths_data` has their paths within the package, and only `files` has their paths in
//! the prefix.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::{
    PrefixRecord, RepoDataRecord,
    package::DistArchiveIdentifier,
    prefix_record::{Link, PathType, PrefixPaths},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

/// Directories of a noarch python package that exist only within the package.
const SITE: &str = "site-packages";
const SCRIPTS: &str = "python-scripts";

/// Reads a record of any tool.
pub(crate) fn read(text: &[u8]) -> io::Result<PrefixRecord> {
    let mut record = match parse(text) {
        Ok(record) => record,
        Err(error) => parse(&serde_json::to_vec(&normalize(text).ok_or(error)?)?)?,
    };
    resolve_paths(&mut record);
    Ok(record)
}

/// The fields of a record that describe its installation.
#[derive(Deserialize)]
struct Installation {
    #[serde(rename = "fn")]
    identifier: DistArchiveIdentifier,
    url: Url,
    channel: Option<String>,
    package_tarball_full_path: Option<PathBuf>,
    extracted_package_dir: Option<PathBuf>,
    requested_spec: Option<String>,
    #[serde(default)]
    requested_specs: Vec<String>,
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    paths_data: PrefixPaths,
    link: Option<Link>,
}

/// Parses a record in the current format, like `PrefixRecord` in rattler, but without `installed_system_menus`: only
/// the tool that has made desktop menus needs these. The fields of the package and those of the installation are parsed
/// one after the other. `PrefixRecord` would read the whole record into memory first, and would need extra machine code
/// for each of its fields.
fn parse(text: &[u8]) -> serde_json::Result<PrefixRecord> {
    let package_record = mlconda_types::lenient::from_slice(text)?;
    let rest: Installation = serde_json::from_slice(text)?;
    let Installation { identifier, url, channel, .. } = rest;
    let package = RepoDataRecord { package_record, identifier, url, channel };
    let mut record = PrefixRecord::from_repodata_record(package, Vec::new());
    record.package_tarball_full_path = rest.package_tarball_full_path;
    record.extracted_package_dir = rest.extracted_package_dir;
    #[allow(deprecated, reason = "older tools write it")]
    {
        record.requested_spec = rest.requested_spec;
    }
    record.requested_specs = rest.requested_specs;
    record.files = rest.files;
    record.paths_data = rest.paths_data;
    record.link = rest.link;
    Ok(record)
}

/// Converts a record to the current format. `None` if the text is not a JSON object.
pub fn normalize(text: &[u8]) -> Option<Value> {
    let mut record: Map<String, Value> = serde_json::from_slice(text).ok()?;
    remove_empty(&mut record);
    if let Some(build) = record.remove("build_string") {
        record.entry("build").or_insert(build);
    }
    for list in ["depends", "constrains", "files", "requested_specs"] {
        match record.get(list) {
            Some(Value::Array(_)) | None => {}
            Some(_) => _ = record.remove(list),
        }
    }
    if let Some(Value::Array(features)) = record.get("features") {
        let features: Vec<&str> = features.iter().filter_map(Value::as_str).collect();
        let features = json!(features.join(" "));
        record.insert("features".to_owned(), features);
    }
    derive_missing(&mut record);
    match record.get_mut("link") {
        Some(Value::Object(link)) => {
            remove_empty(link);
            let kind = match link.remove("type") {
                Some(Value::Number(kind)) => kind.as_u64().filter(|kind| (1..=4).contains(kind)),
                // conda before 4.3 writes names instead of numbers.
                Some(Value::String(kind)) => ["hard-link", "soft-link", "copy"]
                    .iter()
                    .position(|name| *name == kind)
                    .map(|place| place as u64 + 1),
                _ => None,
            };
            link.extend(kind.map(|kind| ("type".to_owned(), json!(kind))));
            link.entry("source").or_insert(json!(""));
        }
        _ => _ = record.remove("link"),
    }
    match record.get_mut("paths_data") {
        Some(Value::Object(data)) => {
            data.insert("paths_version".to_owned(), json!(1));
            let paths = data.get_mut("paths").and_then(Value::as_array_mut);
            paths.into_iter().flatten().filter_map(Value::as_object_mut).for_each(normalize_path);
        }
        _ => _ = record.remove("paths_data"),
    }
    Some(Value::Object(record))
}

/// Removes fields without information: `null`, and empty hashes.
fn remove_empty(object: &mut Map<String, Value>) {
    object.retain(|name, value| {
        let is_hash = name.contains("md5") || name.contains("sha256");
        let is_empty = is_hash && value.as_str().is_some_and(str::is_empty);
        !(value.is_null() || is_empty)
    });
}

fn normalize_path(path: &mut Map<String, Value>) {
    remove_empty(path);
    let is_known = |kind: &Value| serde_json::from_value::<PathType>(kind.clone()).is_ok();
    if !path.get("path_type").is_some_and(is_known) {
        path.insert("path_type".to_owned(), json!("hardlink"));
    }
    if path.get("file_mode").is_some_and(|mode| !["text", "binary"].iter().any(|known| mode == known)) {
        path.remove("file_mode");
    }
}

/// Adds missing fields that follow from other fields.
fn derive_missing(record: &mut Map<String, Value>) {
    let text = |record: &Map<String, Value>, name: &str| {
        record.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let (name, version, build) = (text(record, "name"), text(record, "version"), text(record, "build"));
    let (Some(name), Some(version), Some(build)) = (name, version, build) else { return };
    if !record.get("build_number").is_some_and(Value::is_u64) {
        let number = build.rsplit('_').next().and_then(|end| end.parse::<u64>().ok()).unwrap_or(0);
        record.insert("build_number".to_owned(), json!(number));
    }
    let url = text(record, "url");
    let end = |url: &String, place: usize| url.rsplit('/').nth(place).map(str::to_owned);
    let subdir = text(record, "subdir").or_else(|| url.as_ref().and_then(|url| end(url, 1)));
    let subdir = subdir.filter(|subdir| !subdir.is_empty()).unwrap_or_else(|| "noarch".to_owned());
    let file = text(record, "fn").or_else(|| url.as_ref().and_then(|url| end(url, 0)));
    // Very old tools write the file name without its extension. A path is not a file name.
    let is_name = |file: &String| (file.ends_with(".conda") || file.ends_with(".tar.bz2")) && !file.contains('/');
    let file = file.filter(is_name);
    let file = file.unwrap_or_else(|| format!("{name}-{version}-{build}.tar.bz2"));
    if !url.is_some_and(|url| url.contains("://")) {
        let channel = text(record, "channel").or_else(|| text(record, "schannel")).unwrap_or_default();
        let channel = channel.trim_end_matches('/');
        let channel = channel.strip_suffix(&format!("/{subdir}")).unwrap_or(channel);
        let base = match channel {
            "" | "<unknown>" | "defaults" | "@" => "https://repo.anaconda.com/pkgs/main".to_owned(),
            url if url.contains("://") => url.to_owned(),
            name => format!("https://conda.anaconda.org/{name}"),
        };
        record.insert("url".to_owned(), json!(format!("{base}/{subdir}/{file}")));
    }
    record.insert("subdir".to_owned(), json!(subdir));
    record.insert("fn".to_owned(), json!(file));
}

/// Converts all paths to paths in the prefix, and sets `files`.
fn resolve_paths(record: &mut PrefixRecord) {
    if record.repodata_record.package_record.noarch.is_python() {
        let placed = NoarchPaths::new(&record.files);
        for entry in &mut record.paths_data.paths {
            placed.place(&mut entry.relative_path);
        }
    }
    let paths = &record.paths_data.paths;
    if record.files.is_empty() {
        let files = paths.iter().filter(|entry| entry.path_type != PathType::Directory);
        record.files = files.map(|entry| entry.relative_path.clone()).collect();
    } else if paths.iter().any(|entry| entry.path_type == PathType::Directory) {
        // mamba and pixi list directories as files, too.
        let directories = paths.iter().filter(|entry| entry.path_type == PathType::Directory);
        let directories: HashSet<&Path> = directories.map(|entry| entry.relative_path.as_path()).collect();
        record.files.retain(|path| !directories.contains(path.as_path()));
    }
}

/// Converts paths within a noarch python package to paths in the prefix. Uses the list of the package's installed
/// files.
pub struct NoarchPaths<'a> {
    files: HashSet<&'a Path>,
    /// The parent of `site-packages` in the prefix.
    library: Option<&'a Path>,
}

impl<'a> NoarchPaths<'a> {
    /// Takes the files that a record lists.
    pub fn new(files: &'a [PathBuf]) -> Self {
        // The topmost `site-packages` of a path, because a package can have others below it.
        let library = |path: &'a PathBuf| path.ancestors().filter(|above| above.ends_with(SITE)).last()?.parent();
        let libraries = files.iter().filter_map(library).filter(|library| !library.as_os_str().is_empty());
        let library = libraries.min_by_key(|library| (library.components().count(), library.as_os_str()));
        Self { files: files.iter().map(PathBuf::as_path).collect(), library }
    }

    /// Converts a path within the package to one in the prefix.
    pub fn place(&self, path: &mut PathBuf) {
        if self.files.contains(path.as_path()) {
            return;
        }
        let in_prefix = match path.strip_prefix(SCRIPTS) {
            Ok(rest) => ["bin", "Scripts"].map(|directory| Some(Path::new(directory).join(rest))),
            Err(_) if path.starts_with(SITE) => [self.library.map(|library| library.join(&path)), None],
            Err(_) => return,
        };
        let mut there = in_prefix.into_iter().flatten().filter(|path| self.files.contains(path.as_path()));
        if let Some(there) = there.next() {
            *path = there;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(record: &PrefixRecord) -> String {
        let paths = record.paths_data.paths.iter().map(|entry| entry.relative_path.display().to_string());
        let files: Vec<String> = record.files.iter().map(|path| path.display().to_string()).collect();
        let known = &record.repodata_record;
        let package = &known.package_record;
        format!(
            "{} {} {} {}\npaths: {}\nfiles: {}\n",
            package.name.as_normalized(),
            package.build_number,
            package.subdir,
            known.url,
            paths.collect::<Vec<_>>().join(" "),
            files.join(" ")
        )
    }

    #[test]
    fn paths_of_noarch_python_are_those_of_the_prefix() {
        let text = json!({
            "name": "x", "version": "1", "build": "py_0", "build_number": 0, "subdir": "noarch", "noarch": "python",
            "fn": "x-1-py_0.conda", "url": "https://host/c/noarch/x-1-py_0.conda", "channel": "c",
            "files": ["bin/tool", "lib/python3.13t/site-packages/x/site-packages/y.py", "share/x", "bin/entry"],
            "paths_data": {"paths_version": 1, "paths": [
                {"_path": "python-scripts/tool", "path_type": "hardlink"},
                {"_path": "site-packages/x/site-packages/y.py", "path_type": "hardlink"},
                {"_path": "share/x", "path_type": "hardlink"},
                {"_path": "bin/entry", "path_type": "unix_python_entry_point"},
            ]},
        });
        let record = read(text.to_string().as_bytes()).unwrap();
        insta::assert_snapshot!(shown(&record), @"
        x 0 noarch https://host/c/noarch/x-1-py_0.conda
        paths: bin/tool lib/python3.13t/site-packages/x/site-packages/y.py share/x bin/entry
        files: bin/tool lib/python3.13t/site-packages/x/site-packages/y.py share/x bin/entry
        ");
    }

    #[test]
    fn what_is_missing_or_null_is_filled_in() {
        // conda 4.2: no `paths_data`, link types as names, and features as a list.
        let old = json!({
            "name": "zlib", "version": "1.2.8", "build": "py27_3", "channel": "https://repo.continuum.io/pkgs/free/linux-64/",
            "schannel": "defaults", "subdir": "linux-64", "fn": "zlib-1.2.8-py27_3.tar.bz2", "md5": "", "noarch": null,
            "link": {"source": "/opt/conda/pkgs/zlib-1.2.8-py27_3", "type": "hard-link"}, "files": ["lib/libz.so", "include/z.h"],
            "depends": null, "features": ["mkl"], "license": null, "icon": null,
        });
        // micromamba: empty hashes, and directories among the files.
        let new = json!({
            "name": "y", "version": "1", "build": "0", "build_number": 0, "subdir": "linux-64", "md5": "", "sha256": "",
            "url": "https://host/c/linux-64/y-1-0.conda", "fn": "y-1-0.conda", "channel": "c", "requested_spec": "",
            "link": {"source": "/p/y-1-0", "type": 1}, "files": ["lib/y", "var/y"], "size": 0, "timestamp": 0,
            "paths_data": {"paths_version": 1, "paths": [
                {"_path": "lib/y", "path_type": null, "sha256_in_prefix": "", "no_link": null, "file_mode": ""},
                {"_path": "var/y", "path_type": "directory", "sha256_in_prefix": ""},
            ]},
        });
        let bare = json!({"name": "z", "version": "1", "build": "h1_2", "paths_data": null, "files": null});
        // A path in place of a file name, and a URL without a subdir.
        let odd = json!({"name": "z", "version": "1", "build": "0", "fn": "../a/z-1-0.conda", "url": "https:.//z"});
        let told: String =
            [old, new, bare, odd].iter().map(|text| shown(&read(text.to_string().as_bytes()).unwrap())).collect();
        insta::assert_snapshot!(told, @"
        zlib 3 linux-64 https://repo.continuum.io/pkgs/free/linux-64/zlib-1.2.8-py27_3.tar.bz2
        paths: 
        files: lib/libz.so include/z.h
        y 0 linux-64 https://host/c/linux-64/y-1-0.conda
        paths: lib/y var/y
        files: lib/y
        z 2 noarch https://repo.anaconda.com/pkgs/main/noarch/z-1-h1_2.tar.bz2
        paths: 
        files: 
        z 0 noarch https://repo.anaconda.com/pkgs/main/noarch/z-1-0.tar.bz2
        paths: 
        files: 
        ");
        assert!(read(b"[]").is_err() && read(b"{}").is_err());
    }
}
