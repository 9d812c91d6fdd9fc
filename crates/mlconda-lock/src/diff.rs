//! Compares two locks (or prefixes, which can be read as locks), package by package.
//!
//! `git diff` shows changed lines of 150 characters; a reviewer wants to see that numpy changed from 1.26 to 2.0.
//! Nothing is solved, and the network is not used.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use mlconda_environment::Environment;
use mlconda_types::{redact, sorting::IntoTree};
use rattler_conda_types::{GenericVirtualPackage, Subdir, Version};

use super::{Digest, Lock, LockedPackage, LockedPip, PipSource};

/// The differences between two locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The packages that differ, by name; conda packages before packages of pip.
    pub changes: Vec<PackageChange>,
    /// Other differences: platform, name, channels, match specs, virtual packages, omitted parts of packages,
    /// variables.
    pub settings: Vec<SettingChange>,
    /// How many packages are the same.
    pub unchanged: usize,
}

/// A package that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// The tool that installs it.
    pub manager: Manager,
    /// The old package; `None` if it was added.
    pub old: Option<PinnedPackage>,
    /// The new package; `None` if it was removed.
    pub new: Option<PinnedPackage>,
}

/// The tool that installs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// A package of a channel.
    Conda,
    /// A package as pip installs it.
    Pip,
}

/// One side of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedPackage {
    /// The version; the commit of a repository; `None` for a directory.
    pub version: Option<String>,
    /// The build string; `None` for packages of pip.
    pub build: Option<String>,
    /// The channel's URL without secrets and subdir; for packages of pip the host, or the path.
    pub channel: String,
    /// The hash in hex, with its kind: `sha256:…`.
    pub hash: Option<String>,
    /// The archive's size in bytes, where known.
    pub size: Option<u64>,
}

/// The kind of a change. If several apply, the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was added.
    Added,
    /// It was removed.
    Removed,
    /// The new version is higher.
    Upgraded,
    /// The new version is lower.
    Downgraded,
    /// The versions differ, and cannot be compared: one is a commit, or a spec.
    Changed,
    /// The version is the same, and the build differs.
    Build,
    /// Version and build are the same, and the channel differs.
    Channel,
    /// Only the archive's hash differs.
    Hash,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The kind of setting: `variable`, `channels`.
    pub kind: &'static str,
    /// Its name, if there are several of this kind.
    pub name: Option<String>,
    /// The old value.
    pub old: Option<String>,
    /// The new value.
    pub new: Option<String>,
}

impl Diff {
    /// Compares two locks.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use mlconda_lock::{Expansion, diff::{ChangeKind, Diff}, explicit};
    /// let lock = |package: &str| {
    ///     let text = format!("@EXPLICIT\nhttps://conda.anaconda.org/lab/noarch/{package}.conda\n");
    ///     explicit::parse(&text, Path::new("/srv/env.lock"), &Expansion::default())
    /// };
    /// let diff = Diff::between(&lock("tool-1.4-0")?, &lock("tool-2.0-0")?);
    /// assert_eq!((diff.changes[0].name.as_str(), diff.changes[0].kind()), ("tool", ChangeKind::Upgraded));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn between(old: &Lock, new: &Lock) -> Self {
        Self { settings: settings(old, new), ..Self::of(&pinned(old), &pinned(new)) }
    }

    /// Compares the requests of two environments. Versions are those of the match specs, as written.
    pub fn between_environments(old: &Environment, new: &Environment) -> Self {
        let (before, after) = (requested(old), requested(new));
        let mut diff = Self::of(&before, &after);
        let channels = |environment: &Environment| {
            let urls = environment.channels.iter().map(|channel| redact::url(channel.base_url.as_ref()));
            urls.collect::<Vec<_>>().join(" ")
        };
        let settings = &mut diff.settings;
        note(settings, "name", None, old.name.clone(), new.name.clone());
        note(settings, "channels", None, Some(channels(old)), Some(channels(new)));
        let slim = |environment: &Environment| environment.slim.as_ref().map(ToString::to_string);
        note(settings, "slim", None, slim(old), slim(new));
        each(settings, "variable", &sorted(&old.variables), &sorted(&new.variables));
        diff
    }

    fn of(before: &Table, after: &Table) -> Self {
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).into_tree();
        let mut diff = Self::default();
        for key @ (manager, name) in keys {
            let (old, new) = (before.get(key).cloned(), after.get(key).cloned());
            let change = PackageChange { name: name.clone(), manager: *manager, old, new };
            if change.is_none() { diff.unchanged += 1 } else { diff.changes.push(change) }
        }
        diff
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.settings.is_empty()
    }

    /// The total size in bytes of the archives that only the old lock has, and of those that only the new lock has;
    /// `None` if the size of one of them is unknown.
    pub fn sizes(&self) -> (Option<u64>, Option<u64>) {
        let sum = |side: fn(&PackageChange) -> &Option<PinnedPackage>| {
            self.changes.iter().filter_map(|change| side(change).as_ref()).map(|pinned| pinned.size).sum()
        };
        (sum(|change| &change.old), sum(|change| &change.new))
    }

    /// How many changes are of these kinds.
    pub fn count(&self, kinds: &[ChangeKind]) -> usize {
        self.changes.iter().filter(|change| kinds.contains(&change.kind())).count()
    }
}

impl PackageChange {
    /// The kind of the change.
    pub fn kind(&self) -> ChangeKind {
        let (old, new) = match (&self.old, &self.new) {
            (None, _) => return ChangeKind::Added,
            (_, None) => return ChangeKind::Removed,
            (Some(old), Some(new)) => (old, new),
        };
        if old.version != new.version {
            let parsed = |pinned: &PinnedPackage| pinned.version.as_ref()?.parse::<Version>().ok();
            return match parsed(new).zip(parsed(old)) {
                Some((new, old)) if new < old => ChangeKind::Downgraded,
                Some(_) => ChangeKind::Upgraded,
                None => ChangeKind::Changed,
            };
        }
        if old.build != new.build {
            ChangeKind::Build
        } else if old.channel != new.channel {
            ChangeKind::Channel
        } else {
            ChangeKind::Hash
        }
    }

    /// Whether both sides are the same package. Hashes of two kinds cannot be compared.
    fn is_none(&self) -> bool {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return false };
        let kind = |pinned: &PinnedPackage| pinned.hash.as_ref()?.split(':').next().map(str::to_owned);
        let hash = kind(old) != kind(new) || old.hash == new.hash;
        (&old.version, &old.build, &old.channel) == (&new.version, &new.build, &new.channel) && hash
    }
}

type Table = BTreeMap<(Manager, String), PinnedPackage>;

/// The packages of a lock.
fn pinned(lock: &Lock) -> Table {
    let conda =
        lock.packages.iter().map(|package| ((Manager::Conda, package.name.clone()), PinnedPackage::from(package)));
    let pip = lock.pip.iter().map(|package| ((Manager::Pip, package.name.clone()), PinnedPackage::from(package)));
    conda.chain(pip).collect()
}

/// The requests of an environment. Several specs of one package are joined.
pub fn requested(environment: &Environment) -> Table {
    let conda = environment.requirements.iter().filter_map(|requirement| {
        let name = requirement.spec.name.as_exact()?.as_normalized();
        let channel = requirement.spec.channel.as_ref().map(|channel| redact::url(channel.base_url.as_ref()));
        let text = requirement.text.rsplit_once("::").map_or(requirement.text.as_str(), |(_, bare)| bare).trim();
        let rest = text.get(name.len()..).unwrap_or_default().trim();
        let selector = requirement.selector.as_ref().map(|selector| format!("[{selector}]"));
        let rest = [Some(rest.to_owned()).filter(|rest| !rest.is_empty()), selector];
        Some(((Manager::Conda, name.to_owned()), rest, channel.unwrap_or_default()))
    });
    let pip = environment.pip.iter().map(|line| {
        let name = super::check::pip_name(&line.text).unwrap_or_else(|| line.text.clone());
        let rest = line.text.trim().get(name.len()..).unwrap_or_default().trim().to_owned();
        ((Manager::Pip, name), [Some(rest).filter(|rest| !rest.is_empty()), None], String::new())
    });
    let mut table = Table::new();
    for (key, rest, channel) in conda.chain(pip) {
        let version = rest.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let empty = PinnedPackage { version: None, build: None, channel: String::new(), hash: None, size: None };
        let pinned = table.entry(key).or_insert(empty);
        let versions = [pinned.version.take(), Some(version).filter(|version| !version.is_empty())];
        let versions: Vec<String> = versions.into_iter().flatten().collect();
        pinned.version = (!versions.is_empty()).then(|| versions.join(" and "));
        pinned.channel = channel;
    }
    table
}

impl From<&LockedPackage> for PinnedPackage {
    fn from(package: &LockedPackage) -> Self {
        let url = redact::url(&package.url);
        // Removes the file name and the subdir.
        let channel = url.rsplitn(3, '/').nth(2).unwrap_or_default();
        Self {
            version: Some(package.version.clone()),
            build: Some(package.build.clone()),
            channel: channel.to_owned(),
            hash: match &package.digest {
                Digest::Sha256(hash) => Some(format!("sha256:{}", hex::encode(hash))),
                Digest::Md5(hash) => Some(format!("md5:{}", hex::encode(hash))),
                Digest::Unknown => None,
            },
            size: package.size,
        }
    }
}

impl From<&LockedPip> for PinnedPackage {
    fn from(package: &LockedPip) -> Self {
        let (version, size) = (package.version.clone(), None);
        let (version, channel, hash, size) = match &package.source {
            PipSource::Archive { url, sha256, size, .. } => {
                let hash = sha256.map(|hash| format!("sha256:{}", hex::encode(hash)));
                (version, url.host_str().unwrap_or_default().to_owned(), hash, *size)
            }
            PipSource::Git { repository, commit, .. } => (Some(commit.clone()), redact::url(repository), None, size),
            PipSource::Directory { path, .. } => (version, path.display().to_string(), None, size),
        };
        Self { version, build: None, channel, hash, size }
    }
}

/// The differences besides packages. A lock of another tool, or a prefix, does not contain all of these settings.
fn settings(old: &Lock, new: &Lock) -> Vec<SettingChange> {
    let mut found = Vec::new();
    // A prefix without platform-specific packages has no platform.
    if ![old.platform, new.platform].contains(&Subdir::NoArch) {
        note(&mut found, "platform", None, Some(old.platform.to_string()), Some(new.platform.to_string()));
    }
    if old.input.is_some() && new.input.is_some() {
        note(&mut found, "name", None, old.name.clone(), new.name.clone());
        note(&mut found, "channels", None, Some(old.channels.join(" ")), Some(new.channels.join(" ")));
        let specs = |lock: &Lock| {
            let mut specs = BTreeMap::<String, String>::new();
            for spec in &lock.specs {
                let known = specs.entry(mlconda_types::dependency::normalized_name(spec)).or_default();
                known.push_str(if known.is_empty() { "" } else { " and " });
                known.push_str(spec);
            }
            specs
        };
        each(&mut found, "spec", &specs(old), &specs(new));
        let machine = |lock: &Lock| -> BTreeMap<String, String> {
            let version = |package: &GenericVirtualPackage| match package.build_string.as_str() {
                "0" => package.version.to_string(),
                build => format!("{}={build}", package.version),
            };
            let packages = lock.virtual_packages.iter();
            packages.map(|package| (package.name.as_normalized().to_owned(), version(package))).into_tree()
        };
        each(&mut found, "virtual package", &machine(old), &machine(new));
    }
    let slim = |lock: &Lock| (!lock.slim.is_empty()).then(|| lock.slim.to_string());
    note(&mut found, "slim", None, slim(old), slim(new));
    each(&mut found, "variable", &sorted(&old.variables), &sorted(&new.variables));
    found
}

fn sorted(variables: &IndexMap<String, String>) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| (name.clone(), value.clone())).into_tree()
}

fn each(
    found: &mut Vec<SettingChange>,
    kind: &'static str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) {
    for name in old.keys().chain(new.keys()).into_tree::<BTreeSet<_>>() {
        note(found, kind, Some(name), old.get(name).cloned(), new.get(name).cloned());
    }
}

fn note(
    found: &mut Vec<SettingChange>,
    kind: &'static str,
    name: Option<&str>,
    old: Option<String>,
    new: Option<String>,
) {
    if old != new {
        found.push(SettingChange { kind, name: name.map(str::to_owned), old, new });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Expansion, explicit};

    fn lock(header: &str, packages: &[&str]) -> Lock {
        let lines: String = packages.iter().map(|package| format!("https://conda.anaconda.org/{package}\n")).collect();
        let text = format!("# mlconda lock: 1\n{header}@EXPLICIT\n{lines}");
        explicit::parse(&text, Path::new("/srv/env.lock"), &Expansion::default()).unwrap()
    }

    #[test]
    fn every_kind_of_change_is_told_from_the_others() {
        let sum = |letter: &str| format!("#sha256:{}", letter.repeat(64));
        let (first, second) =
            (format!("lab/noarch/f-1-0.conda{}", sum("a")), format!("lab/noarch/f-1-0.conda{}", sum("b")));
        let same = format!("lab/noarch/same-1-0.conda#{}", "a".repeat(32));
        let old = [
            "lab/noarch/a-1.9-0.conda",
            "lab/noarch/b-2-0.conda",
            "lab/noarch/c-1-0.conda",
            "lab/noarch/d-1-0.conda",
            "lab/noarch/e-1-0.conda",
        ];
        let new = [
            "lab/noarch/a-1.10-0.conda",
            "lab/noarch/b-1-0.conda",
            "lab/noarch/c-1-1.conda",
            "more/noarch/d-1-0.conda",
            "lab/noarch/g-1-0.conda",
            "lab/noarch/same-1-0.conda",
        ];
        let header = "# pip tool @ https://h/tool-1.0-py3-none-any.whl\n# size: 7 a-1.9-0.conda\n";
        let old = lock(header, &[&old[..], &[&first, &same]].concat());
        let header = "# pip tool @ https://h/tool-1.1-py3-none-any.whl\n# size: 9 g-1-0.conda\n# variable: A=\"b\"\n";
        let new = lock(header, &[&new[..], &[&second]].concat());
        let diff = Diff::between(&old, &new);
        let kinds: Vec<String> =
            diff.changes.iter().map(|change| format!("{} {:?}", change.name, change.kind())).collect();
        assert_eq!(
            kinds,
            ["a Upgraded", "b Downgraded", "c Build", "d Channel", "e Removed", "f Hash", "g Added", "tool Upgraded"]
        );
        assert_eq!((diff.unchanged, diff.sizes()), (1, (None, None)));
        assert_eq!(
            diff.settings,
            [SettingChange { kind: "variable", name: Some("A".into()), old: None, new: Some("b".into()) }]
        );
        assert!(Diff::between(&old, &old).is_empty());
    }
}
