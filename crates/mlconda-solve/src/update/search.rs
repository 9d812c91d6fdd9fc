//! The search for the solution with the fewest changes.

use std::collections::{HashMap, HashSet};

use mlconda_lock::Lock;
use mlconda_types::{
    dependency::{dependency_name, is_checkable, normalized_name, satisfies},
    host::Host,
};
use rattler_conda_types::{MatchSpec, RepoDataRecord};

use super::{candidates::LockedCandidates, name};
use crate::{
    eliminate,
    request::KeptRecords,
    session::{CandidateRecords, SolverSession, SubdirRecords},
};

/// The budget for putting packages back, once it is known that not all of them can stay.
const BUDGET: Budget = Budget { solves: 64, failures: 16 };

/// The most solves, and the most failures in a row. The solver already keeps most of the preferred records, so after
/// this many failures, more attempts are of little use.
#[derive(Clone, Copy, Debug)]
struct Budget {
    solves: usize,
    failures: usize,
}

/// Searches for the solution with the fewest changes.
pub(super) struct UpdateSearch<'a, 'q> {
    pub(super) session: &'a SolverSession<'q>,
    pub(super) all: &'a CandidateRecords<'a>,
    pub(super) candidates: &'a LockedCandidates<'a>,
    pub(super) specs: &'a [MatchSpec],
    pub(super) keepable: &'a [&'a RepoDataRecord],
    pub(super) fixed: KeptRecords<'a>,
}

impl<'a> UpdateSearch<'a, '_> {
    /// The solution nearest to the lock, among the locked, the fresh and some newer records.
    pub(super) fn nearest_solution(
        &self,
        subdirs: &[SubdirRecords<'a>],
        fresh: Vec<RepoDataRecord>,
        host: &Host,
    ) -> Vec<RepoDataRecord> {
        let mut both: HashSet<&url::Url> =
            self.keepable.iter().map(|record| &record.url).chain(fresh.iter().map(|record| &record.url)).collect();
        both.extend(self.keepable.iter().flat_map(|record| self.candidates.newest(name(record), Some(record))));
        let locked: HashSet<&str> = self.keepable.iter().map(|record| name(record)).collect();
        let new = fresh.iter().map(name).filter(|name| !locked.contains(name));
        both.extend(new.flat_map(|name| self.candidates.newest(name, None)));
        let of_both = |SubdirRecords { records, tier }: &SubdirRecords<'a>| SubdirRecords {
            records: records.iter().copied().filter(|record| both.contains(&record.url)).collect(),
            tier: *tier,
        };
        let subdirs: Vec<SubdirRecords<'_>> = subdirs.iter().map(of_both).collect();
        let counts = |record: &RepoDataRecord| self.fixed.only.get(name(record)).is_none_or(|url| *url == record.url);
        let possible = eliminate::remaining_urls(&subdirs, self.specs, counts);
        let keepable: Vec<_> =
            self.keepable.iter().filter(|record| possible.contains(record.url.as_str())).copied().collect();
        let preferring = KeptRecords { favored: keepable.clone(), ..self.fixed.clone() };
        let mut best = self.solve_among(&subdirs, host, &preferring).unwrap_or(fresh);
        let chosen: HashMap<&str, &url::Url> = best.iter().map(|record| (name(record), &record.url)).collect();
        let (mut kept, mut changed) = (Vec::new(), Vec::new());
        for record in &keepable {
            match chosen.get(name(record)) {
                Some(url) if **url == record.url => kept.push(*record),
                Some(_) => changed.push(*record),
                None => {}
            }
        }
        let mut budget = BUDGET;
        self.put_back(&subdirs, &changed, &mut kept, &mut best, host, &mut budget);
        best
    }

    /// Puts back as many of these packages as possible, half by half.
    fn put_back(
        &self,
        subdirs: &[SubdirRecords<'_>],
        changed: &[&'a RepoDataRecord],
        kept: &mut Vec<&'a RepoDataRecord>,
        best: &mut Vec<RepoDataRecord>,
        host: &Host,
        budget: &mut Budget,
    ) {
        if changed.is_empty() || budget.solves == 0 || budget.failures == 0 {
            return;
        }
        budget.solves -= 1;
        let tried: Vec<_> = kept.iter().chain(changed).copied().collect();
        if let Some(records) = self.solve_keeping(Some(subdirs), &tried, host) {
            (*kept, *best) = (tried, records);
            budget.failures = BUDGET.failures;
            return;
        }
        budget.failures -= 1;
        if changed.len() > 1 {
            let (first, second) = changed.split_at(changed.len() / 2);
            self.put_back(subdirs, first, kept, best, host, budget);
            self.put_back(subdirs, second, kept, best, host, budget);
        }
    }

    /// Solves among these records, with the kept ones.
    fn solve_among(
        &self,
        subdirs: &[SubdirRecords<'_>],
        host: &Host,
        kept: &KeptRecords<'_>,
    ) -> Option<Vec<RepoDataRecord>> {
        let answer = self.session.solve_among(subdirs, self.specs, host, kept);
        answer.ok().map(|records| self.all.as_in_channel(records))
    }

    /// Solves with these records fixed, if their packages are in the solution at all.
    pub(super) fn solve_keeping(
        &self,
        among: Option<&[SubdirRecords<'_>]>,
        records: &[&'a RepoDataRecord],
        host: &Host,
    ) -> Option<Vec<RepoDataRecord>> {
        let mut kept = self.fixed.clone();
        kept.only.extend(records.iter().map(|record| (name(record).to_owned(), record.url.clone())));
        let fixed: HashSet<&str> = records.iter().map(|record| name(record)).collect();
        kept.favored = self.keepable.iter().filter(|record| !fixed.contains(name(record))).copied().collect();
        match among {
            Some(subdirs) => self.solve_among(subdirs, host, &kept),
            None => self.session.solve_keeping(self.specs, host, &kept).ok(),
        }
    }

    /// Restores versions whose build could not stay, for instance because python changed: one by one, if another build
    /// of the version fits all other packages as they are.
    pub(super) fn keep_versions(&self, best: Vec<RepoDataRecord>, lock: &Lock, host: &Host) -> Vec<RepoDataRecord> {
        let mut chosen: HashMap<&str, &RepoDataRecord> = best.iter().map(|record| (name(record), record)).collect();
        let mut swapped = false;
        for package in &lock.packages {
            let Some(now) = chosen.get(package.name.as_str()) else { continue };
            let is_renewed = self.fixed.only.contains_key(&package.name);
            if is_renewed || now.package_record.version.as_str() == package.version {
                continue;
            }
            if let Some(build) = self.candidates.builds(package).into_iter().find(|build| fits(build, &chosen)) {
                chosen.insert(name(build), build);
                swapped = true;
            }
        }
        if !swapped {
            return best;
        }
        let only = chosen.values().map(|record| (name(record).to_owned(), record.url.clone())).collect();
        let kept = KeptRecords { only, favored: Vec::new() };
        self.session.solve_keeping(self.specs, host, &kept).unwrap_or(best)
    }
}

/// Whether a record can replace the one of its name without any other change.
fn fits(record: &RepoDataRecord, chosen: &HashMap<&str, &RepoDataRecord>) -> bool {
    let met =
        |need: &str| chosen.get(normalized_name(need).as_str()).map(|other| satisfies(&other.package_record, need));
    let package = &record.package_record;
    let own = package.depends.iter().filter(|need| is_checkable(need)).all(|need| met(need) == Some(true))
        && package.constrains.iter().filter(|need| is_checkable(need)).all(|need| met(need) != Some(false));
    let own_name = name(record);
    own && chosen.iter().filter(|(name, _)| **name != own_name).all(|(_, other)| {
        let needs = other.package_record.depends.iter().chain(&other.package_record.constrains);
        let mut needs = needs.filter(|need| dependency_name(need) == own_name && is_checkable(need));
        needs.all(|need| satisfies(package, need))
    })
}
