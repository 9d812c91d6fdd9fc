//! Finds packages that pip has installed: distributions in `site-packages` (PEP 376, PEP 610) without a conda record.
//! If the metadata of a conda package is missing, pip has replaced the package, so it counts as a package of pip. conda
//! does the same.

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

/// The lines of the `pip:` list, sorted by name: for all distributions, or only for the requested ones
/// (`Detail::History`). The records of packages that pip has replaced are removed from `records`.
pub(super) fn lines(
    prefix: &Prefix,
    records: &mut Vec<PrefixRecord>,
    detail: Detail,
) -> Result<Vec<String>, PrefixError> {
    let found = distributions::untracked(prefix.path(), records)?;
    let mut lines = BTreeMap::new();
    // The file `REQUESTED` marks packages that were named on pip's command line (PEP 376).
    let counts = |path: &&PathBuf| detail != Detail::History || path.join("REQUESTED").is_file();
    for path in found.iter().filter(counts) {
        if let Some((name, line)) = requirement(path) {
            lines.insert(name, line);
        }
    }
    Ok(lines.into_values().collect())
}

/// The name of a distribution, and its requirement for pip.
fn requirement(path: &Path) -> Option<(String, String)> {
    let Metadata { name, version, .. } = distributions::metadata(path)?;
    let origin = files::read(&path.join("direct_url.json"), files::LARGEST_TEXT).ok();
    let origin = origin.and_then(|text| serde_json::from_slice::<DirectUrl>(&text).ok());
    let line = origin.and_then(|origin| origin.line(&name)).unwrap_or_else(|| format!("{name}=={version}"));
    Some((name, line))
}

/// `direct_url.json` (PEP 610): the origin of a distribution that was installed by its URL.
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
    /// `sha256=…`: the older of two fields. pip still writes it.
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    editable: bool,
}

impl DirectUrl {
    /// The requirement in the form of `pip freeze`.
    fn line(self, name: &str) -> Option<String> {
        let subdirectory = self.subdirectory.map(|path| format!("subdirectory={path}"));
        let fragment = |parts: [Option<String>; 2]| {
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if parts.is_empty() { String::new() } else { format!("#{}", parts.join("&")) }
        };
        // pip writes no secrets into this file. The `git` in `ssh://git@host/…` is not a secret.
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
