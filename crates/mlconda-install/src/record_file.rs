//! Reads and writes records as files of `conda-meta`, and lists their paths.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use mlconda_prefix::on_disk::OwnFields;
use mlconda_system::{beneath::Root, files};
use mlconda_types::slim::Part;
use rattler_conda_types::{
    NoArchKind, PrefixRecord, RepoDataRecord,
    package::FileMode,
    prefix_record::{Link, PathType, PathsEntry},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Sets the list `files` of a record from its paths. Directories are only in `paths_data`, as in conda.
pub(super) fn list_files(record: &mut PrefixRecord) {
    let files = record.paths_data.paths.iter().filter(|entry| entry.path_type != PathType::Directory);
    record.files = files.map(|entry| entry.relative_path.clone()).collect();
}

/// The text of a record.
pub(super) fn render(record: &PrefixRecord, own: &OwnFields) -> io::Result<Vec<u8>> {
    let is_compact = own.left_out.as_ref().is_some_and(|left| left.has(Part::Records));
    let rendered = Rendered {
        package: &record.repodata_record,
        constrains: record.repodata_record.package_record.constrains.is_empty().then_some([]),
        package_type: match record.repodata_record.package_record.noarch.kind() {
            Some(NoArchKind::Python) => Some("noarch_python"),
            Some(NoArchKind::Generic) => Some("noarch_generic"),
            None => None,
        },
        files: record.files.iter().map(|path| path.to_string_lossy()).collect(),
        paths_data: RenderedPaths {
            paths_version: 1,
            paths: record.paths_data.paths.iter().map(|entry| RenderedPath::new(entry, is_compact)).collect(),
        },
        link: record.link.as_ref(),
        requested_spec: record.requested_specs.first(),
        requested_specs: &record.requested_specs,
        mlconda: own,
    };
    serde_json::to_vec(&rendered).map_err(Into::into)
}

/// Reads a record that mlconda wrote, below an open directory.
pub(super) fn read(root: &Root, path: &Path) -> io::Result<(PrefixRecord, OwnFields)> {
    let text = root.read_all(path, files::LARGEST_RECORD)?;
    Ok((mlconda_prefix::parse_record(&text)?, OwnFields::of_record(&text)?))
}

/// The text of a record of any tool, with another requested match spec. The fields are in the order of [`render`], with
/// or without an earlier spec.
pub(super) fn requested_anew(text: &[u8], spec: Option<&str>) -> io::Result<Vec<u8>> {
    let mut old: Map<String, Value> = serde_json::from_slice(text)?;
    // All records of mlconda have this field.
    old.entry("requested_specs").or_insert(Value::Null);
    let mut new = Map::new();
    for (field, value) in old {
        match field.as_str() {
            "requested_spec" => continue,
            "requested_specs" => {
                new.extend(spec.map(|spec| ("requested_spec".to_owned(), json!(spec))));
                new.insert(field, json!(spec.into_iter().collect::<Vec<_>>()));
            }
            _ => {
                new.insert(field, value);
            }
        }
    }
    serde_json::to_vec(&new).map_err(Into::into)
}

/// The text of a record of mlconda with another [`Slim`](mlconda_types::slim::Slim) value, which leaves the same files
/// out of this package.
pub(super) fn wished_anew(text: &[u8], wish: Option<String>) -> io::Result<Vec<u8>> {
    let mut record: Map<String, Value> = serde_json::from_slice(text)?;
    if let Some(own) = record.get_mut("mlconda").and_then(Value::as_object_mut) {
        let left = own.remove("left_out").unwrap_or_else(|| json!({"slim": "", "parts": {}}));
        if let (Some(wish), Value::Object(mut left)) = (wish, left) {
            left.insert("slim".to_owned(), json!(wish));
            own.insert("left_out".to_owned(), left.into());
        }
    }
    serde_json::to_vec(&record).map_err(Into::into)
}

/// A record to write. rattler's own serialization examines each character of each path, which takes longer than linking
/// the files.
#[derive(Serialize)]
struct Rendered<'a> {
    #[serde(flatten)]
    package: &'a RepoDataRecord,
    /// conda writes this field even if there are no constraints.
    #[serde(skip_serializing_if = "Option::is_none")]
    constrains: Option<[&'a str; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_type: Option<&'a str>,
    /// For conda. Newer tools read the next field.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_spec: Option<&'a String>,
    requested_specs: &'a [String],
    files: Vec<Cow<'a, str>>,
    paths_data: RenderedPaths<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a Link>,
    mlconda: &'a OwnFields,
}

#[derive(Serialize)]
struct RenderedPaths<'a> {
    paths_version: u64,
    paths: Vec<RenderedPath<'a>>,
}

#[derive(Serialize)]
struct RenderedPath<'a> {
    #[serde(rename = "_path")]
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a Path>,
    path_type: PathType,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_link: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_in_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_in_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_mode: Option<FileMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_placeholder: Option<&'a str>,
}

/// Whether a file has the same hash in its package and in the prefix.
pub(super) fn is_twofold(entry: &PathsEntry) -> bool {
    entry.sha256.is_some() && entry.sha256 == entry.sha256_in_prefix
}

impl<'a> RenderedPath<'a> {
    /// The entry of a path. In a compact one, a hash is not repeated.
    fn new(entry: &'a PathsEntry, is_compact: bool) -> Self {
        Self {
            path: entry.relative_path.to_string_lossy(),
            original_path: entry.original_path.as_deref(),
            path_type: entry.path_type,
            no_link: entry.no_link,
            sha256: entry.sha256.filter(|_| !is_compact || !is_twofold(entry)).map(hex::encode),
            sha256_in_prefix: entry.sha256_in_prefix.map(hex::encode),
            size_in_bytes: entry.size_in_bytes,
            file_mode: entry.file_mode,
            prefix_placeholder: entry.prefix_placeholder.as_deref(),
        }
    }
}

/// The name of a package, as NAME-VERSION-BUILD.
pub(super) fn dist_name(record: &PrefixRecord) -> String {
    let package = &record.repodata_record.package_record;
    format!("{}-{}-{}", package.name.as_normalized(), package.version, package.build)
}

/// The files and links in a record.
pub(super) fn files(record: &PrefixRecord) -> impl Iterator<Item = &PathBuf> {
    record.files.iter()
}

/// The directories in a record.
pub(super) fn directories(record: &PrefixRecord) -> impl Iterator<Item = &PathsEntry> {
    record.paths_data.paths.iter().filter(|entry| entry.path_type == PathType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_one_order_whoever_asked_before() {
        let text = br#"{"name":"a","requested_spec":"a 1","requested_specs":["a 1"],"mlconda":{}}"#;
        let again = |spec| String::from_utf8(requested_anew(text, spec).unwrap()).unwrap();
        assert_eq!(again(None), r#"{"name":"a","requested_specs":[],"mlconda":{}}"#);
        assert_eq!(again(Some("a")), r#"{"name":"a","requested_spec":"a","requested_specs":["a"],"mlconda":{}}"#);
    }

    #[test]
    fn another_wish_stands_where_the_first_would() {
        let again = |text: &str, wish: Option<&str>| {
            String::from_utf8(wished_anew(text.as_bytes(), wish.map(str::to_owned)).unwrap()).unwrap()
        };
        let (whole, slim) =
            (r#"{"mlconda":{"links":{}}}"#, r#"{"mlconda":{"links":{},"left_out":{"slim":"docs","parts":{}}}}"#);
        assert_eq!(again(whole, Some("docs")), slim);
        assert_eq!(again(slim, Some("tests")), slim.replace("docs", "tests"));
        assert_eq!([again(slim, None), again(whole, None)], [whole, whole]);
    }
}
