//! Writes the documents of a bundle, which are its members besides archives: the locks, and the files that make it a
//! channel for other tools.
//!
//! The records in the repodata come from the packages themselves, so that they depend on the archives alone. But
//! channels also correct records after a package was built. If the lock does not satisfy a dependency, the channel must
//! have corrected it. Then only the name of the dependency is written, so that the lock can always be installed from
//! this channel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use mlconda_environment::yaml::scalar;
use mlconda_lock::{Digest, Lock, LockedPip, PipSource};
use mlconda_types::{
    dependency::{is_checkable, normalized_name, satisfies},
    redact,
};
use rattler_conda_types::{PackageRecord, Subdir};
use rattler_digest::Sha256Hash;
use serde_json::{Map, json};
use url::Url;

use crate::{
    BundleError, Environment,
    fill::Filled,
    items::{self, CHANNEL, Item, PYPI},
};

/// A document: its path in the bundle, and its text.
pub(crate) type Document = (String, String);

/// The size and the sha256 of archives, by their paths in the bundle.
pub(crate) type Known<'a> = BTreeMap<&'a str, (u64, Sha256Hash)>;

/// The paths of the locks, in the order of the environments.
pub(crate) fn lock_paths(environments: &[Environment]) -> Vec<String> {
    environments.iter().map(|each| format!("locks/{}.{}.lock", each.name, each.lock.platform)).collect()
}

/// The documents in front of the archives. Their sizes do not depend on the hashes.
pub(crate) fn before(environments: &[Environment], known: &Known<'_>) -> Result<Vec<Document>, BundleError> {
    let mut documents = Vec::new();
    if let [only] = environments
        && only.lock.platform != Subdir::NoArch
        && only.lock.pip.iter().all(LockedPip::is_wheel)
    {
        // pixi-unpack installs all packages that it finds, so the bundle must contain one environment only.
        let text = json!({"version": "1", "platform": only.lock.platform.as_str()});
        documents.push(("pixi-pack.json".to_owned(), format!("{text}\n")));
    }
    for Environment { name, lock } in environments {
        let path = match environments {
            [_] => "environment.yml".to_owned(),
            _ => format!("environment.{name}.{}.yml", lock.platform),
        };
        documents.push((path, environment(name, lock)));
    }
    for (Environment { lock, .. }, path) in environments.iter().zip(lock_paths(environments)) {
        documents.push((path, locked(lock, known)?.to_text()));
    }
    Ok(documents)
}

/// The lock as it is written into the bundle: each archive has a size and a sha256. URLs have no secrets, because
/// nothing is downloaded.
fn locked(lock: &Lock, known: &Known<'_>) -> Result<Lock, BundleError> {
    let (mut lock, archives) = (lock.clone(), items::archives(lock)?);
    lock.expansions.clear();
    let facts = |path: &str| known.get(path).copied().unwrap_or_default();
    let (conda, pip) = archives.split_at(lock.packages.len());
    for (package, (path, ..)) in lock.packages.iter_mut().zip(conda) {
        let (size, hash) = facts(path);
        (package.size, package.digest) = (Some(size), Digest::Sha256(hash));
        package.url = without_secrets(&package.url);
    }
    for (package, (path, ..)) in lock.pip.iter_mut().zip(pip) {
        if let PipSource::Archive { url, sha256, size, .. } = &mut package.source {
            let facts = facts(path);
            (*size, *sha256) = (Some(facts.0), Some(facts.1));
            *url = without_secrets(url);
        }
    }
    Ok(lock)
}

fn without_secrets(url: &Url) -> Url {
    redact::url(url).parse().unwrap_or_else(|_| url.clone())
}

/// An `environment.yml` for conda, mamba and mlconda, to install the lock from the unpacked bundle.
fn environment(name: &str, lock: &Lock) -> String {
    let mut text = format!("name: {}\nchannels:\n  - ./{CHANNEL}\n  - nodefaults\ndependencies:", scalar(name));
    if lock.packages.is_empty() && lock.pip.is_empty() {
        text.push_str(" []");
    }
    text.push('\n');
    // Writing to a string cannot fail.
    for package in &lock.packages {
        let spec = format!("{}={}={}", package.name, package.version, package.build);
        let _ = writeln!(text, "  - {}", scalar(&spec));
    }
    if !lock.pip.is_empty() {
        let _ = writeln!(text, "  - pip:\n      - '--no-index'\n      - '--find-links ./{PYPI}'");
    }
    for package in &lock.pip {
        let file = || package.file_name().map(|file| format!("./{PYPI}/{file}")).unwrap_or_default();
        let line = package.version.as_ref().map_or_else(file, |version| format!("{}=={version}", package.name));
        let _ = writeln!(text, "      - {}", scalar(&line));
    }
    if !lock.variables.is_empty() {
        text.push_str("variables:\n");
    }
    for (name, value) in &lock.variables {
        let _ = writeln!(text, "  {}: {}", scalar(name), scalar(value));
    }
    text
}

/// The subdirs and the paths of their repodata, sorted.
pub(crate) fn repodata_paths(environments: &[Environment], items: &[Item]) -> Vec<(Subdir, String)> {
    let of_locks = environments.iter().map(|each| each.lock.platform);
    let subdirs = of_locks.chain(items.iter().filter_map(|item| item.subdir)).chain([Subdir::NoArch]);
    let subdirs: BTreeSet<&str> = subdirs.map(|subdir| subdir.as_str()).collect();
    let path = |subdir: &str| Some((subdir.parse().ok()?, format!("{CHANNEL}/{subdir}/repodata.json")));
    subdirs.into_iter().filter_map(path).collect()
}

/// The text of a subdir's repodata.
pub(crate) fn repodata(subdir: Subdir, environments: &[Environment], items: &[Item], filled: &[Filled]) -> String {
    let all = Records::new(environments.len(), items, filled);
    let (mut bz2, mut conda) = (Map::new(), Map::new());
    for (item, filled) in items.iter().zip(filled).filter(|(item, _)| item.subdir == Some(subdir)) {
        let Some(record) = &filled.record else { continue };
        let mut record = record.clone();
        subdir.as_str().clone_into(&mut record.subdir);
        all.reconcile(&mut record, &item.locks);
        let list = if item.package.file_name.ends_with(".conda") { &mut conda } else { &mut bz2 };
        list.insert(item.package.file_name.clone(), serde_json::to_value(&record).unwrap_or_default());
    }
    let info = json!({"subdir": subdir.as_str()});
    let all = json!({"info": info, "packages": bz2, "packages.conda": conda, "repodata_version": 1});
    format!("{all}\n")
}

/// For each lock: the records of its packages, by name.
struct Records<'a>(Vec<BTreeMap<&'a str, &'a PackageRecord>>);

impl<'a> Records<'a> {
    fn new(locks: usize, items: &'a [Item], filled: &'a [Filled]) -> Self {
        let mut records = vec![BTreeMap::new(); locks];
        for (item, filled) in items.iter().zip(filled) {
            let Some(record) = &filled.record else { continue };
            for lock in &item.locks {
                records[*lock].insert(record.name.as_normalized(), record);
            }
        }
        Self(records)
    }

    /// Corrects the dependencies and constraints of a record that contradict the locks with this package.
    fn reconcile(&self, record: &mut PackageRecord, locks: &[usize]) {
        let others = |spec: &str| {
            let name = normalized_name(spec);
            locks.iter().map(move |lock| self.0[*lock].get(name.as_str()).copied()).collect::<Vec<_>>()
        };
        record.depends.retain_mut(|spec| {
            let others = if is_checkable(spec) { others(spec) } else { return true };
            if !others.iter().all(|other| other.is_some_and(|other| satisfies(other, spec))) {
                *spec = normalized_name(spec);
            }
            others.iter().all(Option::is_some)
        });
        record.constrains.retain(|spec| {
            let others = if is_checkable(spec) { others(spec) } else { return true };
            others.iter().flatten().all(|other| satisfies(other, spec))
        });
    }
}
