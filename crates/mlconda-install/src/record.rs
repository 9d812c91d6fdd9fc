//! Renders the files of `conda-meta`: records, `history` and `state`.
//!
//! conda, mamba, syft and trivy read these files, so they have conda's format. They contain nothing that depends on the
//! build machine: no cache path, no clock time, no secret.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use mlconda_inspect::plan::Plan;
use mlconda_lock::{Digest, LockedPackage};
use mlconda_prefix::{distributions, on_disk::OwnFields};
use mlconda_system::{beneath::Root, files};
use mlconda_types::redact;
use rattler_conda_types::{
    NoArchKind, NoArchType, PrefixRecord, RepoDataRecord,
    package::FileMode,
    prefix_record::{Link, LinkType, PathType, PathsEntry},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Options, Revision, fetch::Hashes, link::Linked};

/// The record of a linked package. The third argument is the size of its archive in bytes, if known, and its hashes.
pub(super) fn record(
    locked: &LockedPackage,
    linked: Linked,
    (size, hashes): (Option<u64>, Hashes),
    spec: Option<&str>,
) -> io::Result<PrefixRecord> {
    let (sha256, md5) = match locked.digest {
        Digest::Sha256(hash) => (Some(hash), hashes.md5),
        Digest::Md5(hash) => (hashes.sha256, Some(hash)),
        Digest::Unknown => (hashes.sha256, hashes.md5),
    };
    let url = Url::parse(&redact::url(&locked.url)).unwrap_or_else(|_| locked.url.clone());
    let record = RepoDataRecord {
        package_record: linked.package.record(locked.size.or(size), sha256, md5)?,
        identifier: locked.file_name.parse().map_err(super::package::invalid)?,
        channel: Some(if locked.is_distribution() { distributions::CHANNEL.to_owned() } else { channel(&url) }),
        url,
    };
    let mut record = PrefixRecord::from_repodata_record(record, Vec::new());
    // Very old packages have `true`; strict tools expect `generic`.
    if record.repodata_record.package_record.noarch.is_generic() {
        record.repodata_record.package_record.noarch = NoArchType::generic();
    }
    record.paths_data = linked.paths.into();
    list_files(&mut record);
    record.link = Some(Link { source: PathBuf::new(), link_type: Some(LinkType::Copy) });
    record.requested_specs = spec.map(str::to_owned).into_iter().collect();
    Ok(record)
}

/// Sets the list `files` of a record from its paths. Directories are only in `paths_data`, as in conda.
pub(super) fn list_files(record: &mut PrefixRecord) {
    let files = record.paths_data.paths.iter().filter(|entry| entry.path_type != PathType::Directory);
    record.files = files.map(|entry| entry.relative_path.clone()).collect();
}

/// A package's URL up to its subdir.
fn channel(url: &Url) -> String {
    let text = url.as_str();
    text.rsplit_once('/').map_or(text, |(channel, _)| channel).to_owned()
}

/// A record's text.
pub(super) fn render(record: &PrefixRecord, own: &OwnFields) -> io::Result<Vec<u8>> {
    let rendered = Rendered {
        package: &record.repodata_record,
        constrains: record.repodata_record.package_record.constrains.is_empty().then_some([]),
        package_type: match record.repodata_record.package_record.noarch.kind() {
            Some(NoArchKind::Python) => Some("noarch_python"),
            Some(NoArchKind::Generic) => Some("noarch_generic"),
            None => None,
        },
        files: record.files.iter().map(|path| path.to_string_lossy()).collect(),
        paths_data: RenderedPaths { paths_version: 1, paths: record.paths_data.paths.iter().map(Into::into).collect() },
        link: record.link.as_ref(),
        requested_spec: record.requested_specs.first(),
        requested_specs: &record.requested_specs,
        mlconda: own,
    };
    serde_json::to_vec(&rendered).map_err(Into::into)
}

/// Reads a record that mlconda wrote, below an open directory.
pub(super) fn read(root: &Root, path: &Path) -> io::Result<(PrefixRecord, OwnFields)> {
    #[derive(Default, Deserialize)]
    struct OwnPart {
        #[serde(default)]
        mlconda: OwnFields,
    }
    let text = root.read_all(path, files::LARGEST_RECORD)?;
    let whole: OwnPart = serde_json::from_slice(&text)?;
    Ok((mlconda_prefix::parse_record(&text)?, whole.mlconda))
}

/// The text of a record of any tool, with another requested match spec. The fields have the order that
/// [`render`] gives them, whether there was one before or not.
pub(super) fn requested_anew(text: &[u8], spec: Option<&str>) -> io::Result<Vec<u8>> {
    let mut old: Map<String, Value> = serde_json::from_slice(text)?;
    // The second stands in every record of ours.
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

/// A record as it is written. rattler's serialization examines each character of each path, which takes longer than linking
/// the files.
#[derive(Serialize)]
struct Rendered<'a> {
    #[serde(flatten)]
    package: &'a RepoDataRecord,
    /// conda writes these where there are none, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    constrains: Option<[&'a str; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_type: Option<&'a str>,
    /// What conda reads; newer tools read the next.
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

impl<'a> From<&'a PathsEntry> for RenderedPath<'a> {
    fn from(entry: &'a PathsEntry) -> Self {
        Self {
            path: entry.relative_path.to_string_lossy(),
            original_path: entry.original_path.as_deref(),
            path_type: entry.path_type,
            no_link: entry.no_link,
            sha256: entry.sha256.map(hex::encode),
            sha256_in_prefix: entry.sha256_in_prefix.map(hex::encode),
            size_in_bytes: entry.size_in_bytes,
            file_mode: entry.file_mode,
            prefix_placeholder: entry.prefix_placeholder.as_deref(),
        }
    }
}

/// The time of the last revision of a `conda-meta/history`, in seconds since 1970, if there is one. conda writes the
/// builder's local time, and that is taken for UTC: what counts is what stands in the file.
pub(super) fn last_revision(history: &str) -> Option<i64> {
    let times = history.lines().filter_map(|line| line.strip_prefix("==> ")?.strip_suffix(" <=="));
    let times = times.filter_map(|time| jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok());
    times.filter_map(|time| Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())).max()
}

/// One revision of `conda-meta/history`: requested specs, removed and added packages.
pub(super) fn revision(seconds: i64, options: &Options, plan: &Plan) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let mut text = format!("==> {} <==\n# cmd: {}\n", time.strftime("%Y-%m-%d %H:%M:%S"), options.command);
    let mut lines: Vec<String> = plan.unlink.iter().map(|old| line('-', &old.repodata_record.url)).collect();
    lines.extend(plan.link.iter().map(|new| line('+', &new.url)));
    mlconda_types::sorting::sort(&mut lines);
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    // As Python writes text.
    let quoted = |spec: &String| match (spec.contains('\''), spec.contains('"')) {
        (true, false) => format!("\"{spec}\""),
        _ => format!("'{}'", spec.replace('\'', "\\'")),
    };
    let mut asked = |action: &str, specs: &[String]| {
        if !specs.is_empty() {
            let specs: Vec<String> = specs.iter().map(quoted).collect();
            let _ = writeln!(text, "# {action} specs: [{}]", specs.join(", "));
        }
    };
    match &options.revision {
        Revision::Whole => asked("update", &plan.specs),
        Revision::Change { updated, removed, neutered } => {
            asked("remove", removed);
            asked("update", updated);
            asked("neutered", neutered);
        }
    }
    text
}

fn line(sign: char, url: &Url) -> String {
    let url = redact::url(url);
    let (channel, file) = url.rsplit_once('/').unwrap_or(("", &url));
    let dist = file.strip_suffix(".conda").or_else(|| file.strip_suffix(".tar.bz2")).unwrap_or(file);
    format!("{sign}{channel}::{dist}")
}

/// `conda-meta/state` with these variables; `None` if it would be empty. Keys of other tools are kept.
pub(super) fn state(old: Option<&[u8]>, variables: &IndexMap<String, String>) -> Option<Vec<u8>> {
    let mut state: Map<String, Value> = old.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    if variables.is_empty() && state.is_empty() {
        return None;
    }
    if variables.is_empty() {
        state.remove("env_vars");
    } else {
        state.insert("env_vars".to_owned(), json!(variables));
    }
    serde_json::to_vec_pretty(&state).ok()
}

/// The match spec that requested a package.
pub(crate) fn requested<'a>(specs: &'a [String], name: &str) -> Option<&'a str> {
    let bare = |spec: &'a str| spec.rsplit_once("::").map_or(spec, |(_, bare)| bare);
    specs.iter().map(String::as_str).find(|spec| mlconda_types::dependency::dependency_name(bare(spec)) == name)
}

/// NAME-VERSION-BUILD.
pub(super) fn dist_name(record: &PrefixRecord) -> String {
    let package = &record.repodata_record.package_record;
    format!("{}-{}-{}", package.name.as_normalized(), package.version, package.build)
}

/// The paths of a record that may be links: soft links by their path type, or all files if the record has no path types.
pub(super) fn links(record: &PrefixRecord) -> impl Iterator<Item = &PathBuf> {
    let entries = &record.paths_data.paths;
    let links = entries.iter().filter(|entry| entry.path_type == PathType::SoftLink).map(|entry| &entry.relative_path);
    links.chain(record.files.iter().filter(|_| entries.is_empty()))
}

/// The paths of a record that are files or links.
pub(super) fn files(record: &PrefixRecord) -> impl Iterator<Item = &PathBuf> {
    record.files.iter()
}

/// The directories that a record names.
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
}
