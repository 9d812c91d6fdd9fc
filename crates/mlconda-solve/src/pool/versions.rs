//! Versions as ranks: the records of a name that match a version, and which of them is the newest.

use std::ops::Range;

use mlconda_channel::repodata::VersionGroup;
use mlconda_types::versions::{ComparableVersion, VersionMatcher};
use rattler_conda_types::{RepoDataRecord, VersionSpec};

use super::{NameId, Pool, PoolName, RecordId, RecordSet, UNRANKED};

impl<'a> Pool<'a> {
    /// The records of a name that match a version spec and a predicate.
    pub(super) fn matching(
        &self,
        name: NameId,
        version: Option<&VersionSpec>,
        rest: Option<impl Fn(&RepoDataRecord) -> bool>,
    ) -> RecordSet {
        let name = &self.names[name as usize];
        let mut record_ids = RecordSet::default();
        let mut add = |version_group| match &rest {
            None => record_ids.add(self.rows_of_group(version_group)),
            Some(rest) => {
                let matching = self.rows_of_group(version_group).filter(|record_id| rest(self.record(*record_id)));
                matching.for_each(|record_id| record_ids.add(record_id..record_id + 1));
            }
        };
        let Some(test) = version.map(VersionMatcher::new) else {
            if rest.is_none() {
                return name.record_ids.clone();
            }
            name.version_groups.iter().for_each(add);
            return record_ids;
        };
        let sorted = self.sorted(name);
        match test.matching_range(sorted, &|version_group| self.version(*version_group)) {
            Some(between) => {
                let (Some(first), Some(last)) = (sorted.get(between.start), between.end.checked_sub(1)) else {
                    return record_ids;
                };
                let ranks = self.rank(*first)..=self.rank(sorted[last]);
                name.version_groups
                    .iter()
                    .filter(|version_group| ranks.contains(&self.rank(*version_group)))
                    .for_each(add);
            }
            None => {
                name.version_groups
                    .iter()
                    .filter(|version_group| test.matches(self.version(*version_group)))
                    .for_each(&mut add);
            }
        }
        record_ids
    }

    fn version(&self, version_group: u32) -> ComparableVersion<'a> {
        let VersionGroup { first_row, numeric } = self.table.version_groups[version_group as usize];
        ComparableVersion { version: self.record(first_row).package_record.version.version(), numeric }
    }

    /// The records of a version group.
    fn rows_of_group(&self, version_group: u32) -> Range<RecordId> {
        let end = self
            .table
            .version_groups
            .get(version_group as usize + 1)
            .map_or(self.records.len() as u32, |next| next.first_row);
        self.table.version_groups[version_group as usize].first_row..end
    }

    /// The rank of a record's version among those of its package: a lower rank is older. Equal versions have the same
    /// rank.
    pub(crate) fn version_rank(&self, record_id: RecordId) -> u32 {
        self.rank(self.row(record_id).version_group)
    }

    fn rank(&self, version_group: u32) -> u32 {
        let rank = &self.ranks[version_group as usize];
        if rank.get() == UNRANKED {
            let start = self.table.version_groups[version_group as usize].first_row;
            self.sorted(&self.names[self.name_id_of(start) as usize]);
        }
        rank.get()
    }

    /// The version groups of a name, from the oldest to the newest.
    fn sorted<'n>(&self, name: &'n PoolName) -> &'n [u32] {
        name.sorted.get_or_init(|| {
            let mut sorted: Vec<u32> = name.version_groups.iter().collect();
            let compare = |one: u32, other: u32| self.version(one).compare(&self.version(other));
            sorted.sort_unstable_by(|one, other| compare(*one, *other));
            let mut rank = 0;
            for (record_id, version_group) in sorted.iter().enumerate() {
                rank += u32::from(record_id > 0 && compare(sorted[record_id - 1], *version_group).is_lt());
                self.ranks[*version_group as usize].set(rank);
            }
            sorted
        })
    }

    /// The highest version rank among these records, and the first existing record that has it.
    pub(crate) fn newest(&self, record_ids: &RecordSet, exists: &[bool]) -> Option<(u32, RecordId)> {
        let mut newest: Option<(u32, RecordId)> = None;
        for range in record_ids.ranges() {
            let mut next = range.start;
            while next < range.end {
                let version_group = self.row(next).version_group;
                let rows_of_group = next..self.rows_of_group(version_group).end.min(range.end);
                next = rows_of_group.end;
                let rank = self.rank(version_group);
                if newest.is_none_or(|(known, _)| rank > known) {
                    let first = rows_of_group.into_iter().find(|record_id| exists[*record_id as usize]);
                    newest = first.map(|first| (rank, first)).or(newest);
                }
            }
        }
        newest
    }
}
