//! Explains for each package of a new solution why it differs from the lock: which line, or which other package,
//! changed it. Reviewers of a lock need this. The reasons are found by looking at the solution, not by solving again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

use mlconda_channel::repodata::Repodata;
use mlconda_environment::{Environment, Location};
use mlconda_lock::{Lock, LockedPackage};
use mlconda_types::{
    dependency::{is_checkable, normalized_name, satisfies},
    host::Host,
    sorting::IntoTree,
};
use rattler_conda_types::{PackageName, RepoDataRecord};

use super::{
    Previous, Solution,
    update::{depends_on_any, find_locked, host_changes},
};

/// Why a package changed: the first reason that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeReason {
    /// The environment asks for it, or for another version of it.
    AskedFor {
        /// The match spec, as written.
        spec: String,
        /// The environment's file.
        file: PathBuf,
        /// The place of the spec.
        location: Location,
    },
    /// It was to be upgraded.
    Renewed,
    /// A virtual package of the host was added or removed, and the package has different builds for both cases.
    Machine {
        /// The virtual package's name.
        name: String,
    },
    /// The channels no longer have the old package.
    Gone,
    /// Another package of the solution depends on it, or on another version of it.
    NeededBy {
        /// The name and version of the other package.
        package: String,
        /// The dependency, as in its record.
        need: String,
    },
    /// The old package depends on something that the solution does not have.
    OldNeeds {
        /// The dependency, as in the record of the old package.
        need: String,
    },
    /// The old package exists but does not count: because of channel priority, or because of its age.
    NotOffered,
    /// Nothing depends on it any more.
    NotNeeded,
    /// It conflicts with the other packages in a way that no single package explains.
    Others,
}

impl Display for ChangeReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskedFor { spec, file, location } => {
                write!(f, "`{spec}` is asked for by {}", file.display())?;
                if location.line > 0 { write!(f, ":{}", location.line) } else { Ok(()) }
            }
            Self::Renewed => f.write_str("renewed with `--update`"),
            Self::Machine { name } => write!(f, "`{name}` is declared otherwise than before"),
            Self::Gone => f.write_str("the old one is no longer in the channel"),
            Self::NeededBy { package, need } => write!(f, "{package} needs `{need}`"),
            Self::OldNeeds { need } => write!(f, "the old one needs `{need}`"),
            Self::NotOffered => f.write_str("the old one is ruled out by the order of the channels, or by its age"),
            Self::NotNeeded => f.write_str("nothing needs it any more"),
            Self::Others => f.write_str("the old one conflicts with the others"),
        }
    }
}

/// The reasons for all packages that differ from the first of the previous locks, by package name. `host` is the host
/// of the solution.
pub fn change_reasons(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    solution: &Solution,
    previous: Previous<'_>,
) -> BTreeMap<String, ChangeReason> {
    let Some(lock) = previous.locks.first() else { return BTreeMap::new() };
    let mut search = ReasonSearch {
        environment,
        repodata,
        solution,
        chosen: solution.records.iter().map(|record| (name(record), record)).collect(),
        needs: needs(solution),
        changes: host_changes(host, lock),
        records: HashMap::new(),
    };
    search.records = search.records_of(lock);
    let old: HashMap<&str, &LockedPackage> =
        lock.packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let (mut reasons, mut open) = (BTreeMap::new(), Vec::new());
    for record in &solution.records {
        let old = old.get(name(record)).copied();
        if old.is_some_and(|old| find_locked(old, &[record]).is_some_and(|same| same.url == old.url)) {
            continue;
        }
        let old_package = old.map(|old| OldPackage { old, record: search.record_of(old) });
        match search.first_reason(name(record), old_package.as_ref(), previous) {
            Some(why) => _ = reasons.insert(name(record).to_owned(), why),
            None => open.push((name(record), old_package)),
        }
    }
    for gone in old.keys().filter(|name| !search.chosen.contains_key(*name)) {
        reasons.insert((*gone).to_owned(), ChangeReason::NotNeeded);
    }
    search.follow_changes(open, &mut reasons);
    reasons
}

/// A package of the lock.
struct OldPackage<'a> {
    old: &'a LockedPackage,
    /// Its record, if a channel still has it.
    record: Option<&'a RepoDataRecord>,
}

/// A dependency or constraint between packages of the solution.
struct Dependent<'a> {
    of: &'a RepoDataRecord,
    need: &'a str,
    /// Whether it is a dependency; else it is a constraint.
    is_dependency: bool,
}

/// By the name of the needed package; dependencies first, then by the name of the dependent.
fn needs(solution: &Solution) -> HashMap<String, Vec<Dependent<'_>>> {
    let mut records: Vec<&RepoDataRecord> = solution.records.iter().collect();
    mlconda_types::sorting::sort_by_key(&mut records, |record| name(record));
    let mut needs: HashMap<String, Vec<Dependent<'_>>> = HashMap::new();
    for is_dependency in [true, false] {
        for of in &records {
            let package = &of.package_record;
            let list = if is_dependency { &package.depends } else { &package.constrains };
            for need in list.iter().filter(|need| is_checkable(need)) {
                needs.entry(normalized_name(need)).or_default().push(Dependent { of, need, is_dependency });
            }
        }
    }
    needs
}

struct ReasonSearch<'a> {
    environment: &'a Environment,
    repodata: &'a Repodata,
    solution: &'a Solution,
    chosen: HashMap<&'a str, &'a RepoDataRecord>,
    needs: HashMap<String, Vec<Dependent<'a>>>,
    changes: Vec<String>,
    /// The records of the changed packages, by name.
    records: HashMap<&'a str, Vec<&'a RepoDataRecord>>,
}

impl<'a> ReasonSearch<'a> {
    fn records_of(&self, lock: &Lock) -> HashMap<&'a str, Vec<&'a RepoDataRecord>> {
        let changed = |package: &&LockedPackage| {
            self.chosen.get(package.name.as_str()).is_some_and(|record| record.url != package.url)
        };
        let names: BTreeSet<&str> =
            lock.packages.iter().filter(changed).map(|package| package.name.as_str()).into_tree();
        let mut records: HashMap<&str, Vec<&RepoDataRecord>> = HashMap::new();
        if !names.is_empty() {
            for record in self.repodata.records().filter(|record| names.contains(name(record))) {
                records.entry(name(record)).or_default().push(record);
            }
        }
        records
    }

    fn record_of(&self, old: &LockedPackage) -> Option<&'a RepoDataRecord> {
        find_locked(old, self.records.get(old.name.as_str())?)
    }

    /// A reason that does not involve another package.
    fn first_reason(
        &self,
        name: &str,
        old_package: Option<&OldPackage<'a>>,
        previous: Previous<'_>,
    ) -> Option<ChangeReason> {
        let Some(OldPackage { old, record }) = old_package else { return self.asked_for(name, |_| true) };
        if previous.renew.includes(name) {
            return Some(ChangeReason::Renewed);
        }
        self.asked_for(name, |spec| !old.matches(spec)).or_else(|| {
            let records = self.records.get(name).map_or(&[][..], Vec::as_slice);
            match records.iter().find_map(|record| depends_on_any(record, &self.changes)) {
                Some(name) => Some(ChangeReason::Machine { name: name.to_owned() }),
                None => record.is_none().then_some(ChangeReason::Gone),
            }
        })
    }

    /// Follows the changes with a known reason to the changes that they cause, so that no two packages are each
    /// other's reason.
    fn follow_changes(
        &self,
        mut open: Vec<(&'a str, Option<OldPackage<'a>>)>,
        reasons: &mut BTreeMap<String, ChangeReason>,
    ) {
        mlconda_types::sorting::sort_by_key(&mut open, |(name, _)| *name);
        loop {
            let unexplained: BTreeSet<&str> = open.iter().map(|(name, _)| *name).into_tree();
            let is_explained = |name: &str| !unexplained.contains(name);
            let (mut found, mut rest) = (Vec::new(), Vec::new());
            for (name, old_package) in open {
                match self.caused_by(name, old_package.as_ref(), is_explained) {
                    Some(why) => found.push((name, why)),
                    None => rest.push((name, old_package)),
                }
            }
            let is_end = found.is_empty();
            reasons.extend(found.into_iter().map(|(name, why)| (name.to_owned(), why)));
            if is_end {
                for (name, old_package) in rest {
                    let why = self.caused_by(name, old_package.as_ref(), |_| true);
                    let why = why.unwrap_or_else(|| self.not_offered(name, old_package.as_ref()));
                    reasons.insert(name.to_owned(), why);
                }
                return;
            }
            open = rest;
        }
    }

    /// The reason if another package caused the change, and that package counts.
    fn caused_by(
        &self,
        name: &str,
        old_package: Option<&OldPackage<'a>>,
        counts: impl Fn(&str) -> bool,
    ) -> Option<ChangeReason> {
        let Some(OldPackage { record: Some(record), .. }) = old_package else {
            return self.needed_by(name, |need| need.is_dependency && counts(self::name(need.of)));
        };
        let refuses =
            |need: &Dependent<'_>| !satisfies(&record.package_record, need.need) && counts(self::name(need.of));
        self.needed_by(name, refuses).or_else(|| self.old_needs(record, counts))
    }

    fn asked_for(&self, name: &str, counts: impl Fn(&rattler_conda_types::MatchSpec) -> bool) -> Option<ChangeReason> {
        let of_name = self.environment.requirements.iter().find(|requirement| {
            requirement.spec.name.as_exact().map(PackageName::as_normalized) == Some(name) && counts(&requirement.spec)
        });
        of_name.map(|requirement| ChangeReason::AskedFor {
            spec: requirement.text.clone(),
            file: requirement.file.to_path_buf(),
            location: requirement.location,
        })
    }

    /// The first package of the solution that depends on a package in a way that counts.
    fn needed_by(&self, needed: &str, counts: impl Fn(&Dependent<'_>) -> bool) -> Option<ChangeReason> {
        let need = self.needs.get(needed)?.iter().find(|need| counts(need))?;
        let package = &need.of.package_record;
        let package = format!("{} {}", package.name.as_normalized(), package.version);
        Some(ChangeReason::NeededBy { package, need: need.need.to_owned() })
    }

    /// A dependency of the old package, on a package that counts, that the solution does not satisfy.
    fn old_needs(&self, old: &RepoDataRecord, counts: impl Fn(&str) -> bool) -> Option<ChangeReason> {
        let package = &old.package_record;
        let met = |need: &str| {
            let found = self.chosen.get(normalized_name(need).as_str());
            found.map(|record| satisfies(&record.package_record, need))
        };
        let judged = |need: &&String| is_checkable(need) && counts(&normalized_name(need));
        let mut depends = package.depends.iter().filter(judged).filter(|need| met(need) != Some(true));
        let mut constrains = package.constrains.iter().filter(judged).filter(|need| met(need) == Some(false));
        depends.next().or_else(|| constrains.next()).map(|need| ChangeReason::OldNeeds { need: need.clone() })
    }

    fn not_offered(&self, name: &str, old_package: Option<&OldPackage<'a>>) -> ChangeReason {
        let Some(old) = old_package.and_then(|old_package| old_package.record) else { return ChangeReason::Others };
        let is_too_new = self.solution.options.exclude_newer.is_some_and(|cutoff| !cutoff.admits(&old.package_record));
        let is_elsewhere = self.chosen.get(name).is_some_and(|new| new.channel != old.channel);
        if is_too_new || is_elsewhere { ChangeReason::NotOffered } else { ChangeReason::Others }
    }
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
