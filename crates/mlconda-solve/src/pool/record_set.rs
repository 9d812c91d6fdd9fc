//! A set of record IDs, stored as ranges. Records are sorted by name and version, so the matches of a spec are mostly
//! adjacent, and a few ranges replace a list of hundreds.

use std::ops::Range;

/// A sorted set of record IDs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RecordSet(Vec<Range<u32>>);

impl RecordSet {
    /// Appends a range that begins after all others.
    pub(super) fn add(&mut self, more: Range<u32>) {
        match self.0.last_mut() {
            Some(last) if last.end == more.start => last.end = more.end,
            _ => self.0.push(more),
        }
    }

    /// The union of several sets.
    pub(crate) fn union<'p>(all: impl IntoIterator<Item = &'p Self>) -> Self {
        let mut ranges: Vec<Range<u32>> = all.into_iter().flat_map(|record_ids| record_ids.0.iter().cloned()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut union = Self::default();
        for range in ranges {
            match union.0.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => union.0.push(range),
            }
        }
        union
    }

    pub(super) fn ranges(&self) -> &[Range<u32>] {
        &self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().cloned().flatten()
    }

    pub(crate) fn contains(&self, record_id: u32) -> bool {
        match self.0.as_slice() {
            [range] => range.contains(&record_id),
            ranges => {
                let index = ranges.partition_point(|range| range.end <= record_id);
                ranges.get(index).is_some_and(|range| range.start <= record_id)
            }
        }
    }
}
