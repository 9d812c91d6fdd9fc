//! Writes conda-lock.yml version 1, which conda-lock, mamba and mlconda read. conda-lock rejects unknown keys, so the
//! file contains only the keys of the format; mlconda's own facts are in comments.

use std::fmt::Write;

use indexmap::{IndexMap, IndexSet};
use mlconda_types::dependency::dependency_name;
use rattler_conda_types::Subdir;

use crate::requirements::{Requirement, needed};
use crate::{
    ArchiveOrigin, LockError, LockFile, LockedPackage, LockedPip, Part, PipSource, comments, expansions,
    file::MAIN_CATEGORY,
    rendering::{channels, comment_losses, hashes, is_default, record_losses, scalar},
};

/// The comment at the top of the file.
const HEAD: &str =
    "# A conda-lock.yml. Install it with `mlconda install`, or with `conda-lock install` or `micromamba create -f`.\n";

/// The parts of one environment as text.
pub(crate) fn render(file: &LockFile, parts: &[Part], losses: &mut Vec<String>) -> Result<String, LockError> {
    if parts.iter().any(|part| part.lock.platform == Subdir::NoArch) {
        let message = "has a lock for every platform; a conda-lock.yml needs one".to_owned();
        let help = "say which, with `--platform PLATFORM`".to_owned();
        return Err(LockError::Selection { file: file.file.clone(), message, help });
    }
    comment_losses(parts, "conda-lock.yml", losses);
    record_losses(parts, losses);
    find_losses(parts, losses);
    let mut text = HEAD.to_owned();
    for part in parts.iter().filter(|part| is_default(part)) {
        text.push_str(&comments::render(&part.lock));
    }
    metadata(parts, &mut text);
    text.push_str(if parts.iter().all(is_empty) { "package: []\n" } else { "package:\n" });
    for part in parts {
        part.lock.packages.iter().for_each(|package| conda(package, part, &mut text));
        let needed = needed(&part.lock);
        part.lock.pip.iter().zip(&needed).for_each(|(package, needs)| pip(package, needs, part, &mut text));
    }
    Ok(text)
}

fn is_empty(part: &Part) -> bool {
    part.lock.packages.is_empty() && part.lock.pip.iter().all(|package| place(package, part).is_none())
}

/// Adds the facts that the format cannot contain.
fn find_losses(parts: &[Part], losses: &mut Vec<String>) {
    let packages = || parts.iter().flat_map(|part| &part.lock.packages);
    let describes = |package: &LockedPackage| {
        let record = package.record.as_ref();
        record.is_some_and(|record| !record.constrains.is_empty() || record.license.is_some())
    };
    if packages().any(describes) {
        losses.push("conda-lock.yml cannot contain packages' sizes, times, licences and `constrains`".to_owned());
    }
    let without = packages().filter(|package| hashes(package).1.is_none()).count();
    if without > 0 {
        let all = packages().count();
        losses
            .push(format!("the md5 is not known for {without} of {all} packages: conda-lock itself needs all of them"));
    }
    for package in parts.iter().flat_map(|part| &part.lock.pip) {
        if let PipSource::Directory { path, .. } = &package.source {
            let (name, path) = (&package.name, path.display());
            losses.push(format!(
                "`{name}` comes from the directory `{path}`, which a conda-lock.yml cannot contain: it is left out"
            ));
        }
    }
}

/// Writes the metadata of the file. Writing to a string cannot fail.
fn metadata(parts: &[Part], text: &mut String) {
    let platforms: IndexSet<&str> = parts.iter().map(|part| part.lock.platform.as_str()).collect();
    let channels = channels(&parts.iter().collect::<Vec<_>>());
    text.push_str("version: 1\nmetadata:\n  content_hash:");
    let main = |part: &&Part| part.category == MAIN_CATEGORY;
    let hashes: Vec<_> =
        parts.iter().filter(main).filter_map(|part| Some((part.lock.platform, part.lock.input.as_ref()?))).collect();
    text.push_str(if hashes.is_empty() { " {}\n" } else { "\n" });
    for (platform, hash) in hashes {
        let _ = writeln!(text, "    {platform}: {}", scalar(hash));
    }
    text.push_str(if channels.is_empty() { "  channels: []\n" } else { "  channels:\n" });
    for channel in channels {
        let _ = writeln!(text, "  - url: {}\n    used_env_vars: []", scalar(&channel));
    }
    text.push_str("  platforms:\n");
    for platform in platforms {
        let _ = writeln!(text, "  - {platform}");
    }
    text.push_str("  sources: []\n");
}

fn conda(package: &LockedPackage, part: &Part, text: &mut String) {
    let depends = package.record.as_ref().map(|record| record.depends.as_slice()).unwrap_or_default();
    let version = package.record.as_ref().map_or_else(|| package.version.clone(), |record| record.version.to_string());
    begin(&package.name, &version, "conda", part, text);
    mapping(&by_name(depends), text);
    let _ = writeln!(text, "  url: {}", scalar(&expansions::address(&package.url, &part.lock.expansions)));
    let (sha256, md5) = hashes(package);
    hash(md5.map(hex::encode), sha256.map(hex::encode), text);
    end(part, text);
}

fn pip(package: &LockedPip, needs: &[Requirement<'_>], part: &Part, text: &mut String) {
    let Some((url, sha256)) = place(package, part) else { return };
    begin(&package.name, package.version.as_deref().unwrap_or("0"), "pip", part, text);
    let needs: Vec<String> = needs.iter().map(|each| format!("{} {}", each.name, each.versions)).collect();
    mapping(&by_name(&needs), text);
    let _ = writeln!(text, "  url: {}", scalar(&url));
    hash(None, sha256.clone(), text);
    if !matches!(package.source, PipSource::Archive { origin: ArchiveOrigin::Index, .. }) {
        let whole = sha256.map_or_else(|| url.clone(), |sha256| format!("{url}#sha256={sha256}"));
        let _ = writeln!(text, "  source:\n    type: url\n    url: {}", scalar(&whole));
    }
    end(part, text);
}

/// The URL of a pip package, and its sha256; `None` for a directory, which the format cannot contain.
pub(crate) fn place(package: &LockedPip, part: &Part) -> Option<(String, Option<String>)> {
    let address = |url| expansions::address_without_login(url, &part.lock.expansions);
    match &package.source {
        PipSource::Archive { url, sha256, .. } => Some((address(url), sha256.map(hex::encode))),
        PipSource::Git { repository, commit, subdirectory } => {
            let fragment = subdirectory.as_ref().map(|path| format!("#subdirectory={path}")).unwrap_or_default();
            Some((format!("{}@{commit}{fragment}", address(repository)), None))
        }
        PipSource::Directory { .. } => None,
    }
}

fn begin(name: &str, version: &str, manager: &str, part: &Part, text: &mut String) {
    let (name, version, platform) = (scalar(name), scalar(version), part.lock.platform);
    let _ = writeln!(text, "- name: {name}\n  version: {version}\n  manager: {manager}\n  platform: {platform}");
}

fn end(part: &Part, text: &mut String) {
    let optional = part.category != MAIN_CATEGORY;
    let _ = writeln!(text, "  category: {}\n  optional: {optional}", scalar(&part.category));
}

fn hash(md5: Option<String>, sha256: Option<String>, text: &mut String) {
    let hashes = [("md5", md5), ("sha256", sha256)];
    text.push_str(if hashes.iter().all(|(_, hash)| hash.is_none()) { "  hash: {}\n" } else { "  hash:\n" });
    for (kind, hash) in hashes {
        if let Some(hash) = hash {
            let _ = writeln!(text, "    {kind}: {}", scalar(&hash));
        }
    }
}

fn mapping(entries: &IndexMap<&str, String>, text: &mut String) {
    text.push_str(if entries.is_empty() { "  dependencies: {}\n" } else { "  dependencies:\n" });
    for (name, spec) in entries {
        let spec = if spec.is_empty() { "'*'".to_owned() } else { scalar(spec) };
        let _ = writeln!(text, "    {}: {spec}", scalar(name));
    }
}

/// Dependencies by name. The format has one entry for each name, so several specs of one name are joined.
fn by_name(depends: &[String]) -> IndexMap<&str, String> {
    let mut entries: IndexMap<&str, String> = IndexMap::new();
    for spec in depends {
        let name = dependency_name(spec);
        let asked = spec[name.len()..].trim();
        let entry = entries.entry(name).or_default();
        // Specs with a build string cannot be joined by a comma; then the longest spec is kept.
        let joins = !entry.is_empty() && !asked.is_empty() && !entry.contains(' ') && !asked.contains(' ');
        if joins && entry != asked {
            entry.push(',');
            entry.push_str(asked);
        } else if asked.len() > entry.len() {
            *entry = asked.to_owned();
        }
    }
    entries
}
