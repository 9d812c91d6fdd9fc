//! The candidates for locked packages: their records in the channels, the records that may stay, and those that may
//! replace them.

use std::collections::HashMap;

use mlconda_lock::{Digest, Lock, LockedPackage};
use mlconda_types::{
    dependency::{is_checkable, is_within_limits, normalized_name},
    host::Host,
};
use rattler_conda_types::{MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord};

use super::name;
use crate::{
    ChannelPriority,
    session::{CandidateRecords, SubdirRecords},
};

/// How many of the newest versions of a package are candidates, and how many builds of each.
const MAX_NEWEST: usize = 3;

/// The candidates for the locked packages.
pub(super) struct LockedCandidates<'a> {
    /// The records of the channels that count, by name.
    records: HashMap<&'a str, Vec<&'a RepoDataRecord>>,
    /// The specs of the environment, by name.
    asked: HashMap<&'a str, Vec<&'a MatchSpec>>,
    host: &'a Host,
}

impl<'a> LockedCandidates<'a> {
    pub(super) fn new(subdirs: &'a [SubdirRecords<'a>], all: &CandidateRecords<'a>, host: &'a Host) -> Self {
        let mut asked: HashMap<&str, Vec<&MatchSpec>> = HashMap::new();
        for requirement in &all.environment.requirements {
            if let Some(name) = requirement.spec.name.as_exact().map(PackageName::as_normalized) {
                asked.entry(name).or_default().push(&requirement.spec);
            }
        }
        let mut records: HashMap<&str, Vec<&RepoDataRecord>> = HashMap::new();
        // With strict priority, only the first channel that has the package counts.
        let mut first: HashMap<&str, (Option<&str>, Option<&str>)> = HashMap::new();
        for SubdirRecords { records: subdir, tier } in subdirs {
            for record in subdir {
                let specs = asked.get(name(record)).map_or(&[][..], Vec::as_slice);
                let channels = specs.iter().filter_map(|spec| spec.channel.as_ref());
                let is_of = |channel: &std::sync::Arc<rattler_conda_types::Channel>| {
                    record.channel.as_ref() == Some(&channel.canonical_name()) || tier.is_some()
                };
                if !channels.clone().all(is_of) {
                    continue;
                }
                let place = (*tier, record.channel.as_deref().filter(|_| tier.is_none()));
                let counts = *first.entry(name(record)).or_insert(place) == place;
                if counts || all.options.channel_priority != ChannelPriority::Strict {
                    records.entry(name(record)).or_default().push(record);
                }
            }
        }
        Self { records, asked, host }
    }

    /// The records of the locked packages that can still be in a solution, one for each name.
    pub(super) fn of(&self, locks: &[Lock]) -> Vec<&'a RepoDataRecord> {
        let mut found: HashMap<&str, &'a RepoDataRecord> = HashMap::new();
        for package in locks.iter().flat_map(|lock| &lock.packages) {
            if !found.contains_key(package.name.as_str())
                && let Some(record) = self.locked_record(package).filter(|record| self.can_be_kept(record))
            {
                found.insert(name(record), record);
            }
        }
        let mut kept: Vec<_> = found.into_values().collect();
        // Requested packages are put back first, because users notice them.
        mlconda_types::sorting::sort_by_key(&mut kept, |record| (!self.asked.contains_key(name(record)), name(record)));
        kept
    }

    /// The channel's record of a locked package.
    fn locked_record(&self, package: &LockedPackage) -> Option<&'a RepoDataRecord> {
        find_locked(package, self.records.get(package.name.as_str())?)
    }

    /// The builds of a locked version that can be in a solution, the most similar first.
    pub(super) fn builds(&self, package: &LockedPackage) -> Vec<&'a RepoDataRecord> {
        let build_variant = build_variant(&package.build);
        let records = self.records.get(package.name.as_str()).map_or(&[][..], Vec::as_slice);
        let same = records.iter().filter(|record| record.package_record.version.as_str() == package.version);
        let mut builds: Vec<_> = same.filter(|record| self.can_be_kept(record)).copied().collect();
        mlconda_types::sorting::sort_by_key(&mut builds, |record| {
            let package = &record.package_record;
            (self::build_variant(package.build.as_str()) == build_variant, package.build_number, package.timestamp)
        });
        builds.reverse();
        builds
    }

    /// The URLs of some of the newest records of a package, none of them older than the locked record.
    pub(super) fn newest(&self, name: &str, old: Option<&RepoDataRecord>) -> Vec<&'a url::Url> {
        let key = |record: &RepoDataRecord| (record.package_record.version.clone(), record.package_record.build_number);
        let records = self.records.get(name).map_or(&[][..], Vec::as_slice);
        let newer =
            records.iter().filter(|record| old.is_none_or(|old| key(record) > key(old)) && self.can_be_kept(record));
        let mut newer: Vec<_> = newer.copied().collect();
        mlconda_types::sorting::sort_by_key(&mut newer, |record| std::cmp::Reverse(key(record)));
        let (mut versions, mut builds) = (0, 0);
        let mut last = None;
        newer.retain(|record| {
            let version = Some(&record.package_record.version);
            builds = if version == last { builds + 1 } else { 1 };
            versions += usize::from(version != last);
            last = version;
            versions <= MAX_NEWEST && builds <= MAX_NEWEST
        });
        newer.into_iter().map(|record| &record.url).collect()
    }

    /// Whether the specs of the environment and the host allow a record.
    fn can_be_kept(&self, record: &RepoDataRecord) -> bool {
        let specs = self.asked.get(name(record)).map_or(&[][..], Vec::as_slice);
        if !specs.iter().all(|spec| spec.matches(record)) {
            return false;
        }
        let package = &record.package_record;
        let needs = package.depends.iter().chain(&package.constrains).filter(|need| is_checkable(need));
        needs.clone().all(|need| self.is_possible(need)) && package.depends.iter().all(|need| self.host_provides(need))
    }

    /// Whether the specs of the environment leave a record that satisfies a dependency. `true` for other packages.
    fn is_possible(&self, need: &str) -> bool {
        let name = normalized_name(need);
        let Some(specs) = self.asked.get(name.as_str()).filter(|_| is_within_limits(need)) else { return true };
        let records = self.records.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let Ok(spec) = MatchSpec::from_str(need, ParseStrictness::Lenient) else { return true };
        let allowed = |record: &&&RepoDataRecord| specs.iter().all(|spec| spec.matches(**record));
        if spec.build.as_ref().is_some_and(|build| build.to_string().starts_with(['<', '>', '=', '!', '~'])) {
            return true;
        }
        records.iter().filter(allowed).any(|record| spec.matches(&record.package_record))
    }

    fn host_provides(&self, need: &str) -> bool {
        if !need.starts_with("__") || !is_within_limits(need) {
            return true;
        }
        let Ok(spec) = MatchSpec::from_str(need, ParseStrictness::Lenient) else { return true };
        self.host.virtual_packages.iter().any(|package| spec.matches(package))
    }
}

/// The parts of a build string that name a variant (`cpu`, `nompi`): no python version, hash or number.
fn build_variant(build: &str) -> Vec<&str> {
    let is_hash = |part: &str| part.len() >= 8 && part.rsplit('h').next().is_some_and(|hash| hash.len() == 7);
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_python = |part: &str| ["py", "cp"].iter().any(|tag| part.strip_prefix(tag).is_some_and(is_number));
    build.split('_').filter(|part| !is_hash(part) && !is_number(part) && !is_python(part)).collect()
}

/// The record of a locked package among the records of its name.
pub(crate) fn find_locked<'a>(package: &LockedPackage, records: &[&'a RepoDataRecord]) -> Option<&'a RepoDataRecord> {
    let by_hash = |record: &&&RepoDataRecord| match package.digest {
        Digest::Sha256(hash) => record.package_record.sha256 == Some(hash),
        Digest::Md5(hash) => record.package_record.md5 == Some(hash),
        Digest::Unknown => false,
    };
    let by_url = |record: &&&RepoDataRecord| record.url == package.url;
    let by_version = |record: &&&RepoDataRecord| {
        record.package_record.version.as_str() == package.version
            && record.package_record.build.as_str() == package.build
    };
    // Both may match: on a mirror, or if the same channel is listed under two names.
    let found = records.iter().find(|record| by_hash(record) && by_url(record));
    found
        .or_else(|| records.iter().find(by_hash))
        .or_else(|| records.iter().find(by_url))
        .or_else(|| records.iter().find(by_version))
        .copied()
}
