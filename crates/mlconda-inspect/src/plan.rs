//! The plan: the difference between a lock and a prefix. `--dry-run` prints it, `install` executes it.

mod shared;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use mlconda_lock::{ArchiveOrigin, Digest, Lock, LockedPackage, LockedPip, PipSource};
use mlconda_prefix::{Installed, Prefix, PrefixError, Stamp, distributions, slim};
use mlconda_python::tags::{Tags, virtual_version};
use mlconda_system::files;
use mlconda_types::{redact, slim::Slim};
use rattler_conda_types::{GenericVirtualPackage, PackageName, PrefixRecord, Subdir};

/// The changes that make a prefix equal to a lock.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The platform of the lock.
    pub platform: Subdir,
    /// Packages to link, dependencies first.
    pub link: Vec<LockedPackage>,
    /// Records of packages to unlink. If a package changes, its old record is here, and the new package is in
    /// [`Plan::link`].
    pub unlink: Vec<PrefixRecord>,
    /// The file names of records to remove whose names do not fit their content.
    pub misnamed: BTreeSet<PathBuf>,
    /// Records of kept packages. Empty if nothing changes.
    pub keep: Vec<PrefixRecord>,
    /// The number of kept packages.
    pub unchanged: usize,
    /// The environment variables of the prefix. `None` if the lock is another tool's and cannot contain variables; then
    /// the variables do not change.
    pub variables: Option<IndexMap<String, String>>,
    /// Whether `conda-meta` changes even if no package does: the variables differ, or there is no environment yet.
    pub meta_changes: bool,
    /// The requested match specs, for the records and the history.
    pub specs: Vec<String>,
    /// The file names of the records when this plan was made. `install` refuses the plan if they have changed since.
    pub record_names: Vec<String>,
    /// The state of the prefix from which the lock was made. `None` if the lock does not depend on the prefix.
    /// `install` refuses the plan if the state has changed since.
    pub made_of: Option<Stamp>,
    /// The names of all packages of the lock, in its order.
    pub names: Vec<String>,
    /// How that order was made.
    pub order: LinkOrder,
    /// The plan for packages that do not come from a channel.
    pub pip: PipPlan,
    /// The packages to reinstall even if they are equal.
    pub reinstall: Reinstall,
    /// Whether `conda-meta/state` is unreadable and must be replaced.
    pub damaged_state: bool,
    /// The parts that are left out of the linked packages.
    pub slim: Slim,
    /// The file names of records to update: their packages have the right files for [`Plan::slim`], but the records
    /// contain another [`Slim`] value.
    pub wished_anew: BTreeSet<PathBuf>,
    /// The names of installed conda packages whose post-link script did not run, because they were installed without
    /// scripts, or for another machine. If the lock has these packages, they do not change. To link them again, use
    /// [`Reinstall::with`].
    pub scripts_not_run: BTreeSet<String>,
}

/// The packages to reinstall even if they equal the locked ones. This applies to conda packages and to packages of pip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reinstall {
    /// No package.
    #[default]
    Nothing,
    /// All packages.
    All,
    /// The packages with these normalized names.
    Named(BTreeSet<String>),
}

impl Reinstall {
    /// A copy to which these names are added.
    #[must_use]
    pub fn with(&self, names: &BTreeSet<String>) -> Self {
        match self {
            _ if names.is_empty() => self.clone(),
            Self::Nothing => Self::Named(names.clone()),
            Self::All => Self::All,
            Self::Named(others) => Self::Named(others | names),
        }
    }

    /// Whether a package is reinstalled.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

/// The plan for packages that do not come from a channel, but that pip would install.
#[derive(Clone, Debug, Default)]
pub struct PipPlan {
    /// Wheels to link, by name.
    pub link: Vec<LockedPip>,
    /// Packages that the environment's pip builds and installs: source archives, git commits, directories.
    pub build: Vec<LockedPip>,
    /// Records of distributions to unlink, including those that pip has installed in the place of a locked one.
    pub unlink: Vec<PrefixRecord>,
    /// Records of kept distributions. Empty if nothing changes.
    pub keep: Vec<PrefixRecord>,
    /// The names of all pip packages of the lock, in its order.
    pub names: Vec<String>,
    /// The names of the requested packages.
    pub requested: BTreeSet<String>,
    /// The wheel tags that the lock's python accepts, and a description of that python. `None` if the lock has no
    /// platform or no such python.
    pub tags: Option<(Tags, String)>,
}

/// How the order of the packages in a lock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOrder {
    /// mlconda has sorted the packages by the dependencies in the repodata.
    Lock,
    /// Unknown. The linking order is computed from the dependencies in the packages.
    Packages,
}

impl Plan {
    /// Compares a lock with a prefix. A package is linked again if other parts were left out of it than [`Lock::slim`]
    /// says.
    ///
    /// A lock of mlconda lists all packages. A lock of another tool does not list packages of pip, so these are kept.
    /// Distributions that pip has installed are also kept if the lock does not have them.
    ///
    /// # Errors
    /// If the prefix cannot be read.
    pub fn new(lock: &Lock, prefix: &Prefix) -> Result<Self, PrefixError> {
        Self::reinstalling(lock, prefix, &Reinstall::Nothing)
    }

    /// Compares a lock with a prefix, and plans to reinstall the packages of `reinstall` even if they are equal.
    ///
    /// If there are any such packages, unreadable records and variables are not errors. The plan replaces them by those
    /// of the lock.
    ///
    /// # Errors
    /// If the prefix cannot be read, or if other processes change it during each try.
    pub fn reinstalling(lock: &Lock, prefix: &Prefix, reinstall: &Reinstall) -> Result<Self, PrefixError> {
        prefix.consistently(|| Self::compare(lock, prefix, reinstall))
    }

    fn compare(lock: &Lock, prefix: &Prefix, reinstall: &Reinstall) -> Result<Self, PrefixError> {
        let (sound, damaged) = match reinstall {
            Reinstall::Nothing => (prefix.clone(), Vec::new()),
            _ => prefix.without_damaged()?,
        };
        let prefix = &sound;
        let installed = prefix.installed()?;
        let by_name = by_name(&installed);
        // An earlier installation into this prefix was interrupted, so its content cannot be trusted.
        let broken = !installed.is_empty() && !prefix.is_environment();
        let OtherRecords { parts: other, wished_anew, scripts_not_run } = other_records(&lock.slim, prefix)?;
        let same = |package: &LockedPackage| {
            let is_there = || matches!(by_name.get(package.name.as_str()), Some(Some(old)) if is_same(old, package));
            !broken && !reinstall.has(&package.name) && !other.contains(&(false, package.name.clone())) && is_there()
        };
        let wanted: HashSet<&str> = lock.packages.iter().map(|package| package.name.as_str()).collect();
        let distributions = Distributions::new(lock, prefix, broken, (reinstall, &other))?;
        let changed = installed.iter().any(|old| !wanted.contains(old.name.as_str()))
            || !lock.packages.iter().all(same)
            || distributions.change()
            || !damaged.is_empty()
            || !wished_anew.is_empty();
        let there = prefix.variables()?;
        let damaged_state = prefix.is_without_state();
        let is_stated = lock.input.is_some() || !lock.variables.is_empty() || damaged_state;
        let variables = is_stated.then(|| lock.variables.clone());
        let mut plan = Self {
            platform: lock.platform,
            link: Vec::new(),
            unlink: Vec::new(),
            misnamed: BTreeSet::new(),
            keep: Vec::new(),
            unchanged: lock.packages.len() + distributions.wanted.len(),
            meta_changes: !prefix.is_environment()
                || damaged_state
                || !wished_anew.is_empty()
                || variables.as_ref().is_some_and(|wanted| *wanted != there),
            variables,
            specs: lock.specs.clone(),
            names: lock.packages.iter().map(|package| package.name.clone()).collect(),
            record_names: prefix.record_names()?,
            made_of: None,
            order: if lock.input.is_some() { LinkOrder::Lock } else { LinkOrder::Packages },
            pip: PipPlan {
                names: lock.pip.iter().map(|package| package.name.clone()).collect(),
                requested: distributions.requested.clone(),
                tags: tags(lock),
                ..PipPlan::default()
            },
            reinstall: reinstall.clone(),
            damaged_state,
            slim: lock.slim.clone(),
            wished_anew,
            scripts_not_run,
        };
        if changed {
            plan.fill(lock, (prefix, &installed), same, distributions)?;
            let (pip, conda): (Vec<_>, Vec<_>) = damaged.into_iter().partition(|record| key(record).0);
            plan.unlink.extend(conda);
            plan.pip.unlink.extend(pip);
        }
        Ok(plan)
    }

    /// Sorts packages and records into linked, unlinked and kept ones.
    fn fill(
        &mut self,
        lock: &Lock,
        (prefix, installed): (&Prefix, &[Installed]),
        same: impl Fn(&LockedPackage) -> bool,
        distributions: Distributions<'_>,
    ) -> Result<(), PrefixError> {
        let same = lock.packages.iter().filter(|package| same(package));
        let mut stays: HashSet<Key> = same.map(|package| (false, package.name.clone())).collect();
        stays.extend(distributions.staying().map(|name| (true, name)));
        let mut records = prefix.records()?;
        let moves = python_moves(lock, &records, stays.contains(&(false, "python".to_owned())));
        records.extend(distributions.records());
        if moves {
            let noarch = |record: &&PrefixRecord| record.repodata_record.package_record.noarch.is_python();
            for record in records.iter().filter(noarch) {
                stays.remove(&key(record));
            }
        }
        if !distributions.is_stated {
            // The lock does not list packages of pip, so nothing could replace them.
            stays.extend(distributions.there.iter().map(key));
        }
        shared::remove_sharing(prefix.path(), &records, &mut stays, &|key| distributions.is_stated || !key.0);
        let comes = |package: &&LockedPackage| !stays.contains(&(false, package.name.clone()));
        self.link = lock.packages.iter().filter(comes).cloned().collect();
        let comes = |package: &&LockedPip| !stays.contains(&(true, package.name.clone()));
        let come: Vec<LockedPip> = distributions.wanted.iter().filter(comes).cloned().collect();
        self.unchanged -= self.link.len() + come.len();
        let names: HashSet<&str> = come.iter().map(|package| package.name.as_str()).collect();
        let others = distributions::untracked_by_name(
            prefix.path(),
            &names,
            &records.iter().flat_map(|old| &old.files).collect(),
        )?;
        let (pip, conda): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| key(record).0);
        (self.keep, self.unlink) = conda.into_iter().partition(|record| stays.contains(&key(record)));
        (self.pip.keep, self.pip.unlink) = pip.into_iter().partition(|record| stays.contains(&key(record)));
        self.pip.unlink.extend(others);
        (self.pip.link, self.pip.build) = come.into_iter().partition(LockedPip::is_wheel);
        self.misnamed = self.misnamed_records(installed, prefix)?;
        Ok(())
    }

    /// The file names of records to remove that differ from [`distributions::record_name`].
    fn misnamed_records(&self, installed: &[Installed], prefix: &Prefix) -> Result<BTreeSet<PathBuf>, PrefixError> {
        let mut found = BTreeSet::new();
        let stays = |name: &str, keep: &[PrefixRecord]| keep.iter().any(|record| key(record).1 == name);
        for Installed { name, version, build, file, .. } in installed {
            if *file != Path::new(&format!("{name}-{version}-{build}.json")) && !stays(name, &self.keep) {
                found.insert(file.clone());
            }
        }
        for (path, record) in prefix.meta_files(distributions::EXTENSION)?.iter().zip(prefix.distributions()?) {
            let file = path.file_name().map(Path::new).unwrap_or(path);
            if file != distributions::record_name(&record) && !stays(&key(&record).1, &self.pip.keep) {
                found.insert(file.to_owned());
            }
        }
        Ok(found)
    }

    /// All packages that are downloaded and linked: conda packages, then wheels.
    pub fn archives(&self) -> Vec<LockedPackage> {
        self.link.iter().cloned().chain(self.pip.link.iter().filter_map(LockedPip::as_package)).collect()
    }

    /// Whether the prefix equals the lock already.
    pub fn is_empty(&self) -> bool {
        let is_empty = |pip: &PipPlan| pip.link.is_empty() && pip.unlink.is_empty() && pip.build.is_empty();
        self.link.is_empty() && self.unlink.is_empty() && is_empty(&self.pip) && !self.meta_changes
    }

    /// The total download size in bytes, if the lock has the size of every package.
    pub fn download_size(&self) -> Option<u64> {
        let sources = self.pip.build.iter().filter_map(LockedPip::as_package);
        self.archives().into_iter().chain(sources).map(|package| package.size).sum()
    }
}

/// The key of a record: whether it describes a distribution, and its name. A conda package and a distribution with the
/// same name may be unrelated.
type Key = (bool, String);

fn key(record: &PrefixRecord) -> Key {
    let package = &record.repodata_record.package_record;
    (distributions::is_distribution(package), package.name.as_normalized().to_owned())
}

/// The packages of the lock and of the prefix that do not come from a channel.
struct Distributions<'a> {
    /// Whether the lock lists packages of pip at all.
    is_stated: bool,
    /// The packages of the lock.
    wanted: &'a [LockedPip],
    requested: BTreeSet<String>,
    /// `there` are all records. `stale` are the names of those that are no longer true: pip has removed or replaced the
    /// distribution.
    there: Vec<PrefixRecord>,
    stale: HashSet<String>,
    broken: bool,
    reinstall: &'a Reinstall,
    /// The packages of which other parts were left out than the lock says.
    other: &'a HashSet<Key>,
}

impl<'a> Distributions<'a> {
    fn new(
        lock: &'a Lock,
        prefix: &Prefix,
        broken: bool,
        (reinstall, other): (&'a Reinstall, &'a HashSet<Key>),
    ) -> Result<Self, PrefixError> {
        let there = prefix.distributions()?;
        let stale = there.iter().filter(|record| !distributions::is_installed(prefix.path(), record));
        Ok(Self {
            is_stated: lock.input.is_some() || !lock.pip.is_empty(),
            wanted: &lock.pip,
            requested: lock.requested(),
            stale: stale.map(|record| key(record).1).collect(),
            there,
            broken,
            reinstall,
            other,
        })
    }

    /// Whether a package is added, replaced or removed.
    fn change(&self) -> bool {
        let unwanted = |record: &PrefixRecord| !self.wanted.iter().any(|wheel| wheel.name == key(record).1);
        !self.wanted.iter().all(|package| self.is_same(package)) || self.is_stated && self.there.iter().any(unwanted)
    }

    /// Whether the installed package is the locked one, and its metadata is what the lock would give.
    fn is_same(&self, package: &LockedPip) -> bool {
        let (sha256, is_from_index) = match &package.source {
            PipSource::Archive { sha256, origin, .. } => (*sha256, *origin == ArchiveOrigin::Index),
            PipSource::Git { .. } | PipSource::Directory { .. } => (None, false),
        };
        let mut records = self.there.iter().filter(|record| key(record).1 == package.name);
        let (Some(record), None) = (records.next(), records.next()) else { return false };
        let known = &record.repodata_record;
        let archive = match (sha256, known.package_record.sha256) {
            (Some(expected), Some(found)) => expected == found,
            _ => package.identity().is_some_and(|url| redact::url(&url) == known.url.as_str()),
        };
        let is_direct = record.files.iter().any(|path| path.ends_with("direct_url.json"));
        let says = (self.requested.contains(&package.name), !is_from_index);
        archive
            && !self.broken
            && !self.reinstall.has(&package.name)
            && !self.stale.contains(&package.name)
            && !self.other.contains(&(true, package.name.clone()))
            && says == (!record.requested_specs.is_empty(), is_direct)
    }

    fn staying(&self) -> impl Iterator<Item = String> {
        self.wanted.iter().filter(|package| self.is_same(package)).map(|package| package.name.clone())
    }

    /// All records. If pip has removed or replaced a distribution that the lock does not have, that was the user's
    /// decision: only our record is removed, and no file.
    fn records(&self) -> Vec<PrefixRecord> {
        let mut records = self.there.clone();
        for record in &mut records {
            let name = key(record).1;
            if self.stale.contains(&name) && !self.wanted.iter().any(|wheel| wheel.name == name) {
                record.files.clear();
                record.paths_data.paths.clear();
            }
        }
        records
    }
}

/// The wheels that the lock's python accepts on the lock's machine. If the lock does not give a version of glibc or
/// macOS, none is required.
fn tags(lock: &Lock) -> Option<(Tags, String)> {
    let python = lock.packages.iter().find(|package| package.name == "python")?;
    let mut machine = lock.virtual_packages.clone();
    for (name, newest) in [("__glibc", "2.99"), ("__osx", "99")] {
        let (name, version) = (PackageName::new_unchecked(name), newest.parse().ok()?);
        if !machine.iter().any(|package| package.name == name) {
            machine.push(GenericVirtualPackage { name, version, build_string: "0".parse().ok()? });
        }
    }
    let glibc = virtual_version(&lock.virtual_packages, "__glibc");
    let glibc = glibc.map(|(major, minor)| format!(" with glibc {major}.{minor}")).unwrap_or_default();
    let words = format!("python {} on {}{glibc}", python.version, lock.platform);
    let tags = Tags::new(lock.platform, &machine, &python.version, &python.build);
    tags.filter(|_| lock.platform != Subdir::NoArch).map(|tags| (tags, words))
}

/// Installed packages that differ from what a new installation would make of them.
#[derive(Default)]
struct OtherRecords {
    /// Packages of which other parts were left out than the lock says.
    parts: HashSet<Key>,
    /// The file names of other packages' records that contain another [`Slim`] value.
    wished_anew: BTreeSet<PathBuf>,
    /// See [`Plan::scripts_not_run`].
    scripts_not_run: BTreeSet<String>,
}

fn other_records(slim: &Slim, prefix: &Prefix) -> Result<OtherRecords, PrefixError> {
    let mut found = OtherRecords::default();
    for path in prefix.all_record_files()? {
        let compare = |text: Vec<u8>| {
            let own = slim::own_fields(&text)?;
            if slim.is_empty() && own.left_out.is_none() && !own.scripts_not_run {
                return Ok(());
            }
            let record = match mlconda_prefix::parse_record(&text) {
                Err(_) if mlconda_prefix::is_foreign(&text) => return Ok(()),
                read => read?,
            };
            let key = key(&record);
            if own.scripts_not_run {
                found.scripts_not_run.insert(key.1.clone());
            }
            // Nothing is left out of a package that pip builds.
            let is_built = key.0 && !record.repodata_record.url.path().ends_with(".whl");
            if is_built {
                return Ok(());
            }
            if slim::differs(slim, &record, &own) {
                found.parts.insert(key);
            } else if slim::is_ours(&text) && own.left_out.map(|left| left.slim) != slim::wish(slim, &key.1) {
                found.wished_anew.extend(path.file_name().map(PathBuf::from));
            }
            Ok(())
        };
        files::read(&path, files::LARGEST_RECORD)
            .and_then(compare)
            .map_err(|source| PrefixError::Record { path: path.clone(), source })?;
    }
    Ok(found)
}

/// The installed packages by name. `None` if a package has several records.
fn by_name(installed: &[Installed]) -> HashMap<&str, Option<&Installed>> {
    let mut found = HashMap::new();
    for each in installed {
        found.entry(each.name.as_str()).and_modify(|other| *other = None).or_insert(Some(each));
    }
    found
}

/// Whether an installed package is the locked one.
fn is_same(old: &Installed, package: &LockedPackage) -> bool {
    let hash = match (&package.digest, &old.sha256, &old.md5) {
        (Digest::Sha256(hash), Some(old), _) => hex::encode(hash) == *old,
        (Digest::Md5(hash), _, Some(old)) => hex::encode(hash) == *old,
        // Older records and lists have no hash. Then version and build have to suffice.
        _ => true,
    };
    hash && old.version == package.version && old.build == package.build
}

/// Whether noarch packages move to another directory because the interpreter changes. That is the case for another
/// minor version, or another ABI of the same version (`cp313` and `cp313t` use different directories, CEP-17).
fn python_moves(lock: &Lock, records: &[PrefixRecord], stays: bool) -> bool {
    if stays {
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
