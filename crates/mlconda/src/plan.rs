//! The difference between a lock and a prefix, as a value: `--dry-run` prints it, `install` carries it out.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use rattler_conda_types::{PrefixRecord, Subdir};

use crate::{
    lock::{Digest, Lock, LockedPackage},
    prefix::{Installed, Prefix, PrefixError},
};

/// What is to be done so that a prefix equals a lock.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The platform of the lock.
    pub platform: Subdir,
    /// Packages to link, dependencies first.
    pub link: Vec<LockedPackage>,
    /// Records of packages to unlink; where a package changes, its old record is here and the new package in
    /// [`Plan::link`].
    pub unlink: Vec<PrefixRecord>,
    /// Records of packages that stay. Empty where nothing is to be done: then nobody needs them.
    pub keep: Vec<PrefixRecord>,
    /// How many packages stay.
    pub unchanged: usize,
    /// The variables that the prefix is to set. `None` where the lock is another tool's and has no word for them: then
    /// they stay as they are.
    pub variables: Option<IndexMap<String, String>>,
    /// Whether `conda-meta` changes though no package does: other variables, or no environment there yet.
    pub meta_changes: bool,
    /// The match specs that were asked for, for the records and the history.
    pub specs: Vec<String>,
    /// What was installed when this plan was made, by name, version and build.
    pub seen: Vec<String>,
    /// The names of all packages of the lock, in its order.
    pub names: Vec<String>,
    /// Who gave that order.
    pub order: Order,
}

/// Who ordered the packages of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// mlconda did when it wrote the lock, by the channel's dependencies.
    Lock,
    /// Nobody is known to have: the packages' own dependencies tell.
    Packages,
}

impl Plan {
    /// Compares.
    ///
    /// # Errors
    /// If the prefix cannot be read.
    pub fn between(lock: &Lock, prefix: &Prefix) -> Result<Self, PrefixError> {
        let installed = prefix.installed()?;
        let by_name: HashMap<&str, &Installed> = installed.iter().map(|each| (each.name.as_str(), each)).collect();
        // An installation into this prefix was cut off: nothing in it can be trusted.
        let broken = !installed.is_empty() && !prefix.is_environment();
        let same = |package: &LockedPackage| {
            !broken && by_name.get(package.name.as_str()).is_some_and(|old| is_same(old, package))
        };
        let wanted: HashSet<&str> = lock.packages.iter().map(|package| package.name.as_str()).collect();
        let changed =
            installed.iter().any(|old| !wanted.contains(old.name.as_str())) || !lock.packages.iter().all(same);
        let there = prefix.variables()?;
        let variables = (lock.input.is_some() || !lock.variables.is_empty()).then(|| lock.variables.clone());
        let mut plan = Self {
            platform: lock.platform,
            link: Vec::new(),
            unlink: Vec::new(),
            keep: Vec::new(),
            unchanged: lock.packages.len(),
            meta_changes: !prefix.is_environment() || variables.as_ref().is_some_and(|wanted| *wanted != there),
            variables,
            specs: lock.specs.clone(),
            names: lock.packages.iter().map(|package| package.name.clone()).collect(),
            seen: installed.iter().map(Installed::dist_name).collect(),
            order: if lock.input.is_some() { Order::Lock } else { Order::Packages },
        };
        if changed {
            plan.fill(lock, prefix, same)?;
        }
        Ok(plan)
    }

    /// Sorts packages and records into what is linked, unlinked and kept.
    fn fill(&mut self, lock: &Lock, prefix: &Prefix, same: impl Fn(&LockedPackage) -> bool) -> Result<(), PrefixError> {
        let mut stays: HashSet<&str> =
            lock.packages.iter().filter(|package| same(package)).map(|package| package.name.as_str()).collect();
        let records = prefix.records()?;
        let name = |record: &PrefixRecord| record.repodata_record.package_record.name.as_normalized().to_owned();
        if python_moves(lock, &records, &stays) {
            let noarch = records.iter().filter(|record| record.repodata_record.package_record.noarch.is_python());
            for record in noarch {
                stays.remove(name(record).as_str());
            }
        }
        // A path that a package shares with one that goes holds the other's file, perhaps: link it anew. And so on.
        let mut gone: HashSet<&std::path::PathBuf> = HashSet::new();
        let mut goes: Vec<&PrefixRecord> = records.iter().filter(|old| !stays.contains(name(old).as_str())).collect();
        while !goes.is_empty() {
            gone.extend(goes.drain(..).flat_map(|old| &old.files));
            let shares = |record: &&PrefixRecord| record.files.iter().any(|path| gone.contains(path));
            let staying = records.iter().filter(|record| stays.contains(name(record).as_str()));
            goes = staying.filter(shares).collect();
            for record in &goes {
                stays.remove(name(record).as_str());
            }
        }
        self.link = lock.packages.iter().filter(|package| !stays.contains(package.name.as_str())).cloned().collect();
        self.unchanged = stays.len();
        drop(gone);
        (self.keep, self.unlink) = records.into_iter().partition(|record| stays.contains(name(record).as_str()));
        Ok(())
    }

    /// Whether the prefix equals the lock already.
    pub fn is_empty(&self) -> bool {
        self.link.is_empty() && self.unlink.is_empty() && !self.meta_changes
    }

    /// How many bytes are to be downloaded, if the lock knows it of every package.
    pub fn download_size(&self) -> Option<u64> {
        self.link.iter().map(|package| package.size).sum()
    }
}

/// Whether an installed package is the locked one.
fn is_same(old: &Installed, package: &LockedPackage) -> bool {
    let hash = match (&package.digest, &old.sha256, &old.md5) {
        (Digest::Sha256(hash), Some(old), _) => hex::encode(hash) == *old,
        (Digest::Md5(hash), _, Some(old)) => hex::encode(hash) == *old,
        // Older records and lists without hashes: the file name has to do.
        _ => true,
    };
    hash && old.version == package.version && old.build == package.build
}

/// Whether the interpreter changes in a way that moves noarch packages: another minor version, or another ABI of the same
/// one (`cp313` and `cp313t` keep them in different places, CEP-17).
fn python_moves(lock: &Lock, records: &[PrefixRecord], stays: &HashSet<&str>) -> bool {
    if stays.contains("python") {
        return false;
    }
    let old = records.iter().map(|record| &record.repodata_record.package_record);
    let old = old.filter(|record| record.name.as_normalized() == "python");
    let old = old.map(|record| (record.version.to_string(), record.build.to_string())).next();
    let new = lock.packages.iter().find(|package| package.name == "python");
    let new = new.map(|package| (package.version.clone(), package.build.clone()));
    let kind = |(version, build): (String, String)| {
        let minor: Vec<String> = version.split('.').take(2).map(str::to_owned).collect();
        let abi = build.rsplit('_').next().filter(|tag| tag.starts_with("cp") && tag.len() > 2).map(str::to_owned);
        (minor, abi)
    };
    old.map(kind) != new.map(kind)
}
