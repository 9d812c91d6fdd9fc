//! Why a package of a new solution is not what was locked, found by looking at the solution: a reviewer of a lock wants
//! to know which line, or which other package, moved it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

use rattler_conda_types::{PackageName, RepoDataRecord};

use super::{
    Previous, Solution,
    previous::{find, host_changes, is_particular},
};
use crate::{
    environment::{Environment, Location},
    host::Host,
    lock::LockedPackage,
    repodata::Repodata,
    verify::closure::{is_judged, name as name_of, satisfies},
};

/// Why a package changed; the first that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The environment asks for it, or for another version of it.
    AskedFor {
        /// The match spec, as written.
        spec: String,
        /// The environment's file.
        file: PathBuf,
        /// Where the spec stands.
        location: Location,
    },
    /// It was to be renewed.
    Renewed,
    /// The machine has something that it had not, or the other way round, and there are builds for either.
    Machine {
        /// The virtual package's name.
        name: String,
    },
    /// The channels do not have the old one any more.
    Gone,
    /// Another package of the solution needs it, or needs another version of it.
    NeededBy {
        /// The other package: name and version.
        package: String,
        /// What it needs, as its record has it.
        need: String,
    },
    /// The old one needs something that the solution has not.
    OldNeeds {
        /// What the old one needs, as its record has it.
        need: String,
    },
    /// The old one is in the channels and does not count: by their order, or its age.
    NotOffered,
    /// Nothing asks for it any more.
    NotNeeded,
    /// It did not go with the others, for a reason that no single package tells.
    Others,
}

impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskedFor { spec, file, location } => {
                write!(f, "`{spec}` is asked for by {}:{}", file.display(), location.line)
            }
            Self::Renewed => f.write_str("renewed with `--update`"),
            Self::Machine { name } => write!(f, "`{name}` is declared otherwise than before"),
            Self::Gone => f.write_str("the old one is no longer in the channel"),
            Self::NeededBy { package, need } => write!(f, "{package} needs `{need}`"),
            Self::OldNeeds { need } => write!(f, "the old one needs `{need}`"),
            Self::NotOffered => f.write_str("the old one is ruled out by the order of the channels, or by its age"),
            Self::NotNeeded => f.write_str("nothing needs it any more"),
            Self::Others => f.write_str("the old one does not go with the others"),
        }
    }
}

/// Why each package changed that is not as the first of the previous locks has it, by name. The host is that of the
/// solution.
pub fn why(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    solution: &Solution,
    previous: Previous<'_>,
) -> BTreeMap<String, Why> {
    let Some(lock) = previous.locks.first() else { return BTreeMap::new() };
    let chosen: HashMap<&str, &RepoDataRecord> = solution.records.iter().map(|record| (name(record), record)).collect();
    let changes = host_changes(host, lock);
    let inquiry = Inquiry { environment, repodata, solution, chosen, changes };
    let old: HashMap<&str, &LockedPackage> =
        lock.packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let mut reasons = BTreeMap::new();
    for record in &solution.records {
        let reason = match old.get(name(record)) {
            None => inquiry.of_new(name(record)),
            Some(old) if find(old, &[record]).is_some_and(|same| same.url == old.url) => continue,
            Some(_) if previous.renew.includes(name(record)) => Why::Renewed,
            Some(old) => inquiry.of_changed(old),
        };
        reasons.insert(name(record).to_owned(), reason);
    }
    for gone in old.keys().filter(|name| !inquiry.chosen.contains_key(*name)) {
        reasons.insert((*gone).to_owned(), Why::NotNeeded);
    }
    reasons
}

struct Inquiry<'a> {
    environment: &'a Environment,
    repodata: &'a Repodata,
    solution: &'a Solution,
    chosen: HashMap<&'a str, &'a RepoDataRecord>,
    changes: Vec<String>,
}

impl Inquiry<'_> {
    fn of_new(&self, new: &str) -> Why {
        self.asked_for(new, |_| true).or_else(|| self.needed(new, |_| true)).unwrap_or(Why::Others)
    }

    fn of_changed(&self, old: &LockedPackage) -> Why {
        if let Some(why) = self.asked_for(&old.name, |spec| !old.matches(spec)) {
            return why;
        }
        let records: Vec<&RepoDataRecord> = self.repodata.records().filter(|record| name(record) == old.name).collect();
        let Some(record) = find(old, &records) else { return Why::Gone };
        let particular = records.iter().find_map(|record| is_particular(record, &self.changes));
        if let Some(name) = particular {
            return Why::Machine { name: name.to_owned() };
        }
        let refuses = |need: &str| !satisfies(&record.package_record, need);
        let by_another = || self.needed(&old.name, refuses);
        by_another().or_else(|| self.old_needs(record)).unwrap_or_else(|| self.not_offered(record))
    }

    fn asked_for(&self, name: &str, counts: impl Fn(&rattler_conda_types::MatchSpec) -> bool) -> Option<Why> {
        let of_name = self.environment.requirements.iter().find(|requirement| {
            requirement.spec.name.as_exact().map(PackageName::as_normalized) == Some(name) && counts(&requirement.spec)
        });
        of_name.map(|requirement| Why::AskedFor {
            spec: requirement.text.clone(),
            file: requirement.file.to_path_buf(),
            location: requirement.location,
        })
    }

    /// The package of the solution that needs a package in a way that counts; the first by name.
    fn needed(&self, needed: &str, counts: impl Fn(&str) -> bool) -> Option<Why> {
        let mut packages: Vec<_> = self.solution.records.iter().map(|record| &record.package_record).collect();
        packages.sort_by_key(|package| package.name.as_normalized());
        packages.into_iter().find_map(|package| {
            let needs = package.depends.iter().chain(&package.constrains);
            let mut needs = needs.filter(|need| is_judged(need) && name_of(need) == needed && counts(need));
            let package = format!("{} {}", package.name.as_normalized(), package.version);
            needs.next().map(|need| Why::NeededBy { package, need: need.clone() })
        })
    }

    /// What the old package needs and the solution has not.
    fn old_needs(&self, old: &RepoDataRecord) -> Option<Why> {
        let package = &old.package_record;
        let met =
            |need: &str| self.chosen.get(name_of(need).as_str()).map(|record| satisfies(&record.package_record, need));
        let mut depends = package.depends.iter().filter(|need| is_judged(need) && met(need) != Some(true));
        let mut constrains = package.constrains.iter().filter(|need| is_judged(need) && met(need) == Some(false));
        depends.next().or_else(|| constrains.next()).map(|need| Why::OldNeeds { need: need.clone() })
    }

    fn not_offered(&self, old: &RepoDataRecord) -> Why {
        let new = self.chosen.get(name(old));
        let is_too_new = self.solution.options.exclude_newer.is_some_and(|cutoff| !cutoff.admits(&old.package_record));
        if is_too_new || new.is_some_and(|new| new.channel != old.channel) { Why::NotOffered } else { Why::Others }
    }
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
