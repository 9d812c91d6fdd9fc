//! Some of a table's places. What is asked for means records that stand beside each other, mostly, for records are in the order
//! of their names and versions: a few ranges say as much as a list of hundreds.

use std::ops::Range;

/// Places, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RecordSet(Vec<Range<u32>>);

impl RecordSet {
    /// Adds some behind the others.
    pub(super) fn add(&mut self, more: Range<u32>) {
        match self.0.last_mut() {
            Some(last) if last.end == more.start => last.end = more.end,
            _ => self.0.push(more),
        }
    }

    /// Those of all of these together.
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
