//! What an installation writes down: `conda-meta/*.json`, `history` and `state`.
//!
//! conda, mamba, syft and trivy read these, so they keep conda's form. Nothing in them depends on the builder:
//! no cache path, no clock, no secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use rattler_conda_types::{
    PrefixRecord, RepoDataRecord,
    prefix_record::{Link, LinkType, PathType, PathsEntry},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::{InstallError, link::Linked};
use crate::{
    lock::{Digest, LockedPackage},
    network,
};

/// The field of a record that is mlconda's own.
const OWN: &str = "mlconda";

/// What a record holds besides conda's fields, which have no word for it; other tools pass over the field. It is in
/// the record and nowhere else, so that it goes with the package whoever removes that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Own {
    /// Files that anybody may run.
    #[serde(default)]
    pub(crate) executable: BTreeSet<PathBuf>,
    /// Where soft links point to.
    #[serde(default)]
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
    /// The prefix, if it was written into files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<PathBuf>,
}

/// The record of a package that has been linked. `size` is the archive's in bytes, if it is known.
pub(super) fn record(
    locked: &LockedPackage,
    linked: &Linked,
    size: Option<u64>,
    spec: Option<&str>,
) -> io::Result<PrefixRecord> {
    let (sha256, md5) = match locked.digest {
        Digest::Sha256(hash) => (Some(hash), None),
        Digest::Md5(hash) => (None, Some(hash)),
        Digest::Unknown => (None, None),
    };
    let url = Url::parse(&network::redact(&locked.url)).unwrap_or_else(|_| locked.url.clone());
    let record = RepoDataRecord {
        package_record: linked.package.record(locked.size.or(size), sha256, md5)?,
        identifier: locked.file_name.parse().map_err(super::package::invalid)?,
        channel: Some(channel(&url)),
        url,
    };
    let mut record = PrefixRecord::from_repodata_record(record, linked.paths.clone());
    list_files(&mut record);
    record.link = Some(Link { source: PathBuf::new(), link_type: Some(LinkType::Copy) });
    record.requested_specs = spec.map(str::to_owned).into_iter().collect();
    Ok(record)
}

/// Lists the files of a record by its paths. conda lists directories in `paths_data` only.
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
pub(super) fn render(record: &PrefixRecord, own: &Own) -> io::Result<Vec<u8>> {
    let mut fields = fields_of(serde_json::to_value(record)?)?;
    // Very old packages say `true`; tools that are strict about types want the word for it.
    if fields.get("noarch") == Some(&json!(true)) {
        fields.insert("noarch".to_owned(), json!("generic"));
    }
    fields.insert(OWN.to_owned(), serde_json::to_value(own)?);
    request(&mut fields, record.requested_specs.first().map(String::as_str));
    serde_json::to_vec(&fields).map_err(Into::into)
}

/// Reads a record that mlconda wrote.
pub(super) fn read(path: &Path) -> io::Result<(PrefixRecord, Own)> {
    #[derive(Default, Deserialize)]
    struct Whole {
        #[serde(default)]
        mlconda: Own,
    }
    let whole: Whole = serde_json::from_slice(&fs_err::read(path)?)?;
    Ok((PrefixRecord::from_path(path)?, whole.mlconda))
}

/// The text of any tool's record, with another match spec that asked for its package.
pub(super) fn requested_anew(text: &[u8], spec: Option<&str>) -> io::Result<Vec<u8>> {
    let mut fields = fields_of(serde_json::from_slice(text)?)?;
    request(&mut fields, spec);
    serde_json::to_vec(&fields).map_err(Into::into)
}

fn fields_of(value: Value) -> io::Result<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(super::package::invalid("a record is no object")),
    }
}

/// Notes the match spec that asked for a package. conda reads `requested_spec`, newer tools `requested_specs`. The
/// fields have the same order whether a spec comes now or was there before.
fn request(fields: &mut Map<String, Value>, spec: Option<&str>) {
    let specs: Vec<&str> = spec.into_iter().collect();
    fields.insert("requested_specs".to_owned(), json!(specs));
    fields.shift_remove("requested_spec");
    if let Some(spec) = spec {
        fields.insert("requested_spec".to_owned(), json!(spec));
    }
}

/// Writes a file with a time.
pub(super) fn write(path: &Path, content: &[u8], seconds: i64) -> Result<(), InstallError> {
    crate::system::remove_if_there(path)?;
    let mut file = crate::system::create_new(path, 0o644)?;
    file.write_all(content)?;
    crate::system::set_mode(file.file(), 0o644)?;
    Ok(crate::system::set_time(file.file(), seconds)?)
}

/// One revision of `conda-meta/history`: what was asked for, what went and what came.
pub(super) fn revision(
    seconds: i64,
    command: &str,
    specs: &[String],
    removed: &[PrefixRecord],
    linked: &[LockedPackage],
) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let mut text = format!("==> {} <==\n# cmd: {command}\n", time.strftime("%Y-%m-%d %H:%M:%S"));
    let mut lines: Vec<String> = removed.iter().map(|old| line('-', &old.repodata_record.url)).collect();
    lines.extend(linked.iter().map(|new| line('+', &new.url)));
    lines.sort();
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    if !specs.is_empty() {
        let specs: Vec<String> = specs.iter().map(|spec| format!("'{}'", spec.replace('\'', "\""))).collect();
        let _ = writeln!(text, "# update specs: [{}]", specs.join(", "));
    }
    text
}

fn line(sign: char, url: &Url) -> String {
    let url = network::redact(url);
    let (channel, file) = url.rsplit_once('/').unwrap_or(("", &url));
    let dist = file.strip_suffix(".conda").or_else(|| file.strip_suffix(".tar.bz2")).unwrap_or(file);
    format!("{sign}{channel}::{dist}")
}

/// `conda-meta/state` with these variables, or `None` where there is nothing to say. What other tools keep there
/// stays.
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

/// The match spec that asked for a package, if one did.
pub(super) fn requested<'a>(specs: &'a [String], name: &str) -> Option<&'a str> {
    let bare = |spec: &'a str| spec.rsplit_once("::").map_or(spec, |(_, bare)| bare);
    specs.iter().map(String::as_str).find(|spec| crate::lock::dependency_name(bare(spec)) == name)
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
    fn very_old_packages_are_noarch_in_todays_words() {
        let text = json!({
            "name": "old", "version": "1", "build": "0", "build_number": 0, "subdir": "noarch", "noarch": true,
            "depends": [], "fn": "old-1-0.tar.bz2", "url": "https://host/noarch/old-1-0.tar.bz2", "channel": "c",
        });
        let record: PrefixRecord = serde_json::from_value(text).unwrap();
        let text: Value = serde_json::from_slice(&render(&record, &Own::default()).unwrap()).unwrap();
        assert_eq!(text["noarch"], "generic");
    }

    #[test]
    fn fields_have_one_order_whoever_asked_before() {
        let text = br#"{"name":"a","requested_specs":["a 1"],"mlconda":{},"requested_spec":"a 1"}"#;
        let again = |spec| String::from_utf8(requested_anew(text, spec).unwrap()).unwrap();
        assert_eq!(again(None), r#"{"name":"a","requested_specs":[],"mlconda":{}}"#);
        assert_eq!(again(Some("a")), r#"{"name":"a","requested_specs":["a"],"mlconda":{},"requested_spec":"a"}"#);
    }
}
