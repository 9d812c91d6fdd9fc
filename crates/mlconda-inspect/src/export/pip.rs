//! What pip has installed: distributions in `site-packages` (PEP 376, PEP 610) that no conda record knows. A conda package
//! whose own metadata is gone was replaced by pip, and is no conda package any more; conda sees it the same way.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mlconda_prefix::{Prefix, PrefixError, distributions};
use mlconda_python::metadata::Metadata;
use mlconda_system::files;
use mlconda_types::redact;
use rattler_conda_types::PrefixRecord;
use serde::Deserialize;

use super::Detail;

/// Lines for the `pip:` list, sorted by name: of all distributions, or of those that pip was asked for. Records that pip
/// has replaced are taken out.
pub(super) fn lines(
    prefix: &Prefix,
    records: &mut Vec<PrefixRecord>,
    detail: Detail,
) -> Result<Vec<String>, PrefixError> {
    let found = distributions::untracked(prefix.path(), records)?;
    let mut lines = BTreeMap::new();
    // The file marks what was named on pip's command line (PEP 376).
    let counts = |path: &&PathBuf| detail != Detail::History || path.join("REQUESTED").is_file();
    for path in found.iter().filter(counts) {
        if let Some((name, line)) = requirement(path) {
            lines.insert(name, line);
        }
    }
    Ok(lines.into_values().collect())
}

/// The name of a distribution, and what to give pip for it.
fn requirement(path: &Path) -> Option<(String, String)> {
    let Metadata { name, version, .. } = distributions::metadata(path)?;
    let origin = files::read(&path.join("direct_url.json"), files::LARGEST_TEXT).ok();
    let origin = origin.and_then(|text| serde_json::from_slice::<DirectUrl>(&text).ok());
    let line = origin.and_then(|origin| origin.line(&name)).unwrap_or_else(|| format!("{name}=={version}"));
    Some((name, line))
}

/// `direct_url.json` (PEP 610): where a distribution came from that was installed by its URL.
#[derive(Deserialize)]
struct DirectUrl {
    url: String,
    vcs_info: Option<Vcs>,
    archive_info: Option<Archive>,
    dir_info: Option<Directory>,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct Vcs {
    vcs: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct Archive {
    /// `sha256=…`, the older of the two fields, which pip writes still.
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    editable: bool,
}

impl DirectUrl {
    /// The requirement as `pip freeze` writes it.
    fn line(self, name: &str) -> Option<String> {
        let subdirectory = self.subdirectory.map(|path| format!("subdirectory={path}"));
        let fragment = |parts: [Option<String>; 2]| {
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if parts.is_empty() { String::new() } else { format!("#{}", parts.join("&")) }
        };
        // pip leaves secrets out of the file; `git` in `ssh://git@host/…` is none.
        let url = match url::Url::parse(&self.url).ok()? {
            url if url.username() == "git" && url.password().is_none() => url.to_string(),
            url => redact::url(&url),
        };
        if let Some(Vcs { vcs, commit_id }) = self.vcs_info {
            return Some(format!("{name} @ {vcs}+{url}@{commit_id}{}", fragment([subdirectory, None])));
        }
        if let Some(Archive { hash }) = self.archive_info {
            return Some(format!("{name} @ {url}{}", fragment([hash, subdirectory])));
        }
        let path = files::of_url(&url::Url::parse(&self.url).ok()?)?;
        Some(match self.dir_info {
            Some(Directory { editable: true }) => format!("-e {}", path.display()),
            _ => format!("{name} @ {url}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_distribution_is_told_as_pip_freeze_does() {
        let line = |json: &str| serde_json::from_str::<DirectUrl>(json).unwrap().line("x").unwrap_or_default();
        for (json, expected) in [
            (
                r#"{"url": "https://u:secret@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "main"}, "subdirectory": "python"}"#,
                "x @ git+https://********@host/x.git@abc#subdirectory=python",
            ),
            (
                r#"{"url": "https://host/x-1.whl", "archive_info": {"hash": "sha256=12", "hashes": {"sha256": "12"}}}"#,
                "x @ https://host/x-1.whl#sha256=12",
            ),
            (r#"{"url": "file:///src/x", "dir_info": {"editable": true}}"#, "-e /src/x"),
            (r#"{"url": "file:///src/x", "dir_info": {}}"#, "x @ file:///src/x"),
            (
                r#"{"url": "ssh://git@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}"#,
                "x @ git+ssh://git@host/x.git@abc",
            ),
            (r#"{"url": "nonsense"}"#, ""),
        ] {
            assert_eq!(line(json), expected);
        }
    }
}
