//! The contents of files in `conda-meta`: records of new packages, `history` and `state`.
//!
//! conda, mamba, syft and trivy read these files, so they have conda's format. They do not depend on the build machine:
//! they contain no cache path, no current time, and no secret.

use std::{fmt::Write as _, io, path::PathBuf};

use indexmap::IndexMap;
use mlconda_inspect::plan::Plan;
use mlconda_lock::{Digest, LockedPackage};
use mlconda_prefix::distributions;
use mlconda_types::{redact, time};
use rattler_conda_types::{
    NoArchType, PrefixRecord, RepoDataRecord,
    prefix_record::{Link, LinkType},
};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Options, Revision, fetch::Hashes, link::Linked, record_file};

/// The record of a linked package. `size` is the size of its archive in bytes, if known, and `hashes` are the
/// archive's.
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
    // Very old packages have `true` here. Strict tools expect `generic`.
    if record.repodata_record.package_record.noarch.is_generic() {
        record.repodata_record.package_record.noarch = NoArchType::generic();
    }
    record.paths_data = linked.paths.into();
    record_file::list_files(&mut record);
    record.link = Some(Link { source: PathBuf::new(), link_type: Some(LinkType::Copy) });
    record.requested_specs = spec.map(str::to_owned).into_iter().collect();
    Ok(record)
}

/// The URL of a package's directory: its channel and subdir.
fn channel(url: &Url) -> String {
    let text = url.as_str();
    text.rsplit_once('/').map_or(text, |(channel, _)| channel).to_owned()
}

/// The time of the last revision in a `conda-meta/history`, in seconds since 1970; `None` if there is none. conda
/// writes the local time of its machine. Here it is read as UTC, so that the result depends only on the file.
pub(super) fn last_revision(history: &str) -> Option<i64> {
    let times = history.lines().filter_map(|line| line.strip_prefix("==> ")?.strip_suffix(" <=="));
    times.filter_map(time::parse).max()
}

/// One revision of `conda-meta/history`: requested specs, removed and added packages. `history` has those before.
pub(super) fn revision(seconds: i64, options: &Options, plan: &Plan, history: &str) -> String {
    let mut text = format!("==> {} <==\n# cmd: {}\n", time::text(seconds), options.command);
    let mut lines: Vec<String> = plan.unlink.iter().map(|old| line('-', &old.repodata_record.url)).collect();
    for new in &plan.link {
        let (old, new) = (line('-', &new.url), line('+', &new.url));
        // conda reads the lines of a revision in any order, so a package that is linked again must not be in both.
        match lines.iter().position(|line| *line == old) {
            Some(place) => drop(lines.swap_remove(place)),
            None => lines.push(new),
        }
    }
    if lines.is_empty() {
        // For conda, an environment is empty after a revision without lines.
        let again = plan.link.first().map(|new| line('+', &new.url));
        lines.extend(again.or_else(|| present(history)));
    }
    mlconda_types::sorting::sort(&mut lines);
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    // Quotes as Python does.
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
        Revision::Unrecorded => {}
    }
    text
}

/// The line that adds a package which is there already. It changes nothing.
fn present(history: &str) -> Option<String> {
    let (mut added, mut lines) = (None, history.lines().rev());
    let mut removed = Vec::new();
    while added.is_none() {
        let line = lines.next()?;
        if let Some(package) = line.strip_prefix('-') {
            removed.push(package);
        }
        added = line.strip_prefix('+').filter(|package| !removed.contains(package));
    }
    added.map(|package| format!("+{package}"))
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
