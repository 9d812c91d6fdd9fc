//! Reads conda-lock.yml (CEP-37): all platforms and categories in one file, with dependencies.
//!
//! Version 1 is read, as conda-lock, mamba and conda-lockfiles write it, and the variants in old pixi.lock files
//! (versions 1 to 3), in which dependencies are a list instead of a mapping. `docs/lockfile.md` lists what is read and
//! written.

mod write;

pub(super) use write::render;

use std::collections::HashSet;

use indexmap::IndexMap;
use mlconda_types::redact;
use rattler_conda_types::Subdir;

use super::{
    ArchiveOrigin, Lock, LockError, LockKind, LockedPackage, LockedPip,
    document::{Document, Mapping, sort_for_linking},
    file::{DEFAULT_ENVIRONMENT, LockFile, MAIN_CATEGORY, Part},
    pip,
};
pub(crate) use mlconda_environment::yaml::{Value, YamlNode};

/// The versions of the format.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;

/// The parts read so far, by platform and category.
type Parts = IndexMap<(Subdir, String), (Lock, HashSet<String>)>;

/// Reads the locks of a tree.
pub(super) fn read(document: &Document<'_>, root: &YamlNode) -> Result<LockFile, LockError> {
    let root = document.fields(root)?;
    if let Some(node) = root.get("version") {
        let text = document.text(node)?;
        if !text.parse().is_ok_and(|version| VERSIONS.contains(&version)) {
            let message = format!("`{text}` is not a known version of this format");
            return Err(document.fail(node, message, "use a newer mlconda, or lock again with this one"));
        }
    }
    let mut parts = declared(document, root)?;
    for item in document.items(root.get("package"))? {
        take(document, item, &mut parts)?;
    }
    let channels = channels(document, root)?;
    // The main category, which is in every selection, comes first.
    parts.sort_by(|(_, one), _, (_, other), _| (other == MAIN_CATEGORY).cmp(&(one == MAIN_CATEGORY)));
    let parts = parts.into_iter().map(|((_, category), (mut lock, _))| {
        sort_for_linking(&mut lock.packages);
        lock.channels = channels.iter().map(|channel| address(channel, &lock.packages)).collect();
        Part { environment: DEFAULT_ENVIRONMENT.to_owned(), platform_name: None, category, lock, sources: Vec::new() }
    });
    let (file, kind) = (document.source.file.to_owned(), LockKind::CondaLock);
    Ok(LockFile { file, kind, parts: parts.collect() })
}

/// The platforms that the file declares, with empty locks, because a platform may have no packages.
fn declared(document: &Document<'_>, root: Mapping<'_>) -> Result<Parts, LockError> {
    let Some(metadata) = root.get("metadata") else { return Ok(Parts::new()) };
    let mut parts = Parts::new();
    for node in document.items(document.fields(metadata)?.get("platforms"))? {
        let platform = document.subdir(node, document.text(node)?)?;
        parts.insert((platform, MAIN_CATEGORY.to_owned()), (empty(document, platform), HashSet::new()));
    }
    Ok(parts)
}

fn empty(document: &Document<'_>, platform: Subdir) -> Lock {
    Lock { expansions: document.expansion.variables.clone(), ..Lock::empty(platform) }
}

/// The channels in order, as written: names or URLs.
fn channels(document: &Document<'_>, root: Mapping<'_>) -> Result<Vec<String>, LockError> {
    let Some(metadata) = root.get("metadata") else { return Ok(Vec::new()) };
    let items = document.items(document.fields(metadata)?.get("channels"))?;
    items.iter().map(|item| document.channel(item).map(str::to_owned)).collect()
}

/// The URL of a channel, without secrets. A channel that is given by name gets its URL from the packages, if possible.
fn address(channel: &str, packages: &[LockedPackage]) -> String {
    if let Ok(url) = url::Url::parse(channel) {
        return redact::url(&url);
    }
    let ending = format!("/{}", channel.trim_matches('/'));
    let bases = packages.iter().filter_map(super::rendering::channel_of);
    let found = bases.into_iter().find(|base| base.trim_end_matches('/').ends_with(&ending));
    found.unwrap_or_else(|| channel.to_owned())
}

/// Reads a package, and adds it to the parts of its platform and categories.
fn take(document: &Document<'_>, item: &YamlNode, parts: &mut Parts) -> Result<(), LockError> {
    let fields = document.fields(item)?;
    let platform = document.subdir(fields.get("platform").unwrap_or(item), document.required(fields, "platform")?)?;
    let mut categories = document.texts(fields, "categories")?;
    if categories.is_empty() {
        categories.push(document.optional(fields, "category")?.unwrap_or(MAIN_CATEGORY).to_owned());
    }
    let manager = document.required(fields, "manager")?;
    let found = match manager {
        "conda" => CondaLockPackage::Conda(conda(document, fields, platform)?),
        "pip" | "pypi" => CondaLockPackage::Pip(pip(document, fields)?),
        other => {
            let node = fields.get("manager").unwrap_or(item);
            return Err(document.fail(node, format!("`{other}` is neither `conda` nor `pip`"), "lock again"));
        }
    };
    for category in categories {
        let new = || (empty(document, platform), HashSet::new());
        let (lock, names) = parts.entry((platform, category)).or_insert_with(new);
        let (name, clash) = match &found {
            CondaLockPackage::Conda(package) => {
                (&package.name, (!names.insert(package.name.clone())).then_some("is locked twice"))
            }
            CondaLockPackage::Pip(package) => (&package.name, package.clash(names)),
        };
        if let Some(clash) = clash {
            let message = format!("`{name}` {clash} for {platform}");
            return Err(document.fail(item, message, "remove one of them, or lock again"));
        }
        match &found {
            CondaLockPackage::Conda(package) => lock.packages.push(package.clone()),
            CondaLockPackage::Pip(package) => lock.pip.push(package.clone()),
        }
    }
    Ok(())
}

enum CondaLockPackage {
    Conda(LockedPackage),
    Pip(LockedPip),
}

fn conda(document: &Document<'_>, fields: Mapping<'_>, platform: Subdir) -> Result<LockedPackage, LockError> {
    let place = document.required(fields, "url")?;
    let node = fields.get("url").unwrap_or(fields.node);
    // Some tools also append the hash to the URL.
    let package = document.package(node, place.split('#').next().unwrap_or(place), fields)?;
    if package.subdir != platform && package.subdir != Subdir::NoArch {
        let message = format!("the package is for {}, but listed for {platform}", package.subdir);
        return Err(document.fail(node, message, "lock again: the file is damaged"));
    }
    Ok(package)
}

fn pip(document: &Document<'_>, fields: Mapping<'_>) -> Result<LockedPip, LockError> {
    let hashes = match fields.get("hash").map(|hash| &hash.value) {
        Some(Value::Mapping(_)) => fields.get("hash").map(|hash| document.fields(hash)).transpose()?.unwrap_or(fields),
        _ => fields,
    };
    let given = pip::PipHints {
        sha256: document.hashes(hashes)?.0,
        // Every package needs a version in this format: `0` is written for a repository or directory without one.
        version: document.optional(fields, "version")?.filter(|version| *version != "0").map(str::to_owned),
        origin: fields.get("source").map(|_| ArchiveOrigin::Direct),
        ..pip::PipHints::default()
    };
    let (name, place) = (document.required(fields, "name")?, document.required(fields, "url")?);
    let mut package = pip::locate(name, place, given, document.directory(), document.expansion).map_err(|message| {
        let node = fields.get("url").unwrap_or(fields.node);
        document.fail(node, message, "name a wheel or an archive of sources, or lock again")
    })?;
    package.requires = Some(match fields.get("dependencies") {
        Some(node) => document.dependencies(node)?.iter().map(|spec| requirement(spec)).collect(),
        None => document.texts(fields, "requires_dist")?,
    });
    package.requires_python = document.optional(fields, "requires_python")?.map(str::to_owned);
    Ok(package)
}

/// A requirement in pip's syntax (PEP 508). In conda-lock, a bare version after the name means exactly this version.
fn requirement(spec: &str) -> String {
    let Some((name, rest)) = spec.split_once(' ') else { return spec.to_owned() };
    let is_url = rest.split(' ').next().is_some_and(|word| word.contains("://"));
    match rest.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("{name}=={rest}"),
        Some(first) if "<>=!~[(".contains(first) => format!("{name}{rest}"),
        Some(first) if is_url && first != '@' => format!("{name} @ {rest}"),
        // Anything else would become a part of the name.
        _ => spec.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Expansion, LockFormat, Selection};

    #[test]
    fn requirements_are_read_as_pip_writes_them() {
        let read = [
            ("six 1.16.0", "six==1.16.0"),
            ("six >=1.2,<2", "six>=1.2,<2"),
            ("six [all]>=1", "six[all]>=1"),
            ("six https://h/six-1.zip", "six @ https://h/six-1.zip"),
            ("six @ https://h/six-1.zip", "six @ https://h/six-1.zip"),
            ("six url1'", "six url1'"),
            ("six ; python_version < '3'", "six ; python_version < '3'"),
            ("six ==1 ; platform_version == 'a://b'", "six==1 ; platform_version == 'a://b'"),
            ("six", "six"),
        ];
        for (spec, expected) in read {
            assert_eq!(requirement(spec), expected);
        }
    }

    /// A lock with one package of pip.
    fn lock(version: &str, place: &str, dependency: &str) -> String {
        format!(
            "version: 1\nmetadata:\n  content_hash: {{}}\n  channels: []\n  platforms: [linux-64]\n  sources: []\npackage:\n\
             - name: tool\n  version: '{version}'\n  manager: pip\n  platform: linux-64\n  dependencies:\n    {dependency}\n  \
             url: {place}\n  hash: {{}}\n  category: main\n  optional: false\n"
        )
    }

    /// Reads a text and writes it in another format.
    fn rendered(text: &str, format: LockFormat) -> String {
        let file = LockFile::parse(text, Path::new("/project/some.lock"), &Expansion::default()).unwrap();
        file.render(format, &Selection::default(), None).unwrap().text
    }

    #[test]
    fn a_requirement_that_is_written_and_read_again_does_not_grow() {
        for dependency in ["six: '@ ==1 @ https://h/x'", "six: https://h/six-1.zip", "num-: url1", "six: 1.16.0"] {
            let text = lock("1", "https://h/tool-1-py3-none-any.whl", dependency);
            let written = rendered(&text, LockFormat::CondaLock);
            assert!(written.contains("  dependencies:\n"), "{written}");
            assert_eq!(rendered(&written, LockFormat::CondaLock), written);
        }
    }

    #[test]
    fn a_version_is_kept_if_the_place_does_not_tell_it() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for place in ["https://h/archive/main.zip", &format!("git+https://h/tool.git@{commit}")] {
            let text = lock("1.5", place, "six: ''");
            for between in [LockFormat::Explicit, LockFormat::Pixi] {
                let again = rendered(&rendered(&text, between), LockFormat::CondaLock);
                assert!(again.contains("\n  version: '1.5'\n"), "{again}");
            }
            // A version that is only there because the format needs one is not a version.
            let unknown = rendered(&lock("0", place, "six: ''"), LockFormat::Explicit);
            assert!(!unknown.contains("--version"), "{unknown}");
        }
    }
}
