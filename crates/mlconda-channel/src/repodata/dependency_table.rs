//! A compact table of the fields of records that a solve needs. Records are large and scattered in memory, and a solve
//! visits tens of thousands of them again and again. The texts of dependencies are interned, because many records share
//! the same few thousand texts. The tables are made on several threads while records are parsed, one table for each
//! batch, and then merged.

use std::sync::Arc;

use foldhash::HashMap;
use mlconda_types::versions::NumericVersion;
use rattler_conda_types::{PackageRecord, RepoDataRecord};

use super::is_same_run;

/// The ID of an interned text: its index in [`SpecInterner::texts`].
pub(crate) type SpecTextId = u32;

/// Interns the texts of dependencies and constraints: each distinct text is stored once.
#[derive(Debug, Default)]
pub struct SpecInterner {
    ids: HashMap<Arc<str>, SpecTextId>,
    texts: Vec<Arc<str>>,
    /// For each text, whether it is a dependency of some record.
    is_dependency: Vec<bool>,
}

/// The fields of a record that a solve needs.
#[derive(Clone, Copy, Debug)]
pub struct RecordRow {
    /// The index of its first `depends` in the table's list of specs.
    pub depends_start: u32,
    /// The index of its first `constrains`.
    pub constrains_start: u32,
    /// The index after its last `constrains`.
    pub constrains_end: u32,
    /// The index of its version group.
    pub version_group: u32,
    /// Its build number.
    pub build_number: u64,
    /// Whether it has extras. They are not in the table.
    pub has_extras: bool,
    /// Whether it has track features.
    pub has_track_features: bool,
}

/// Consecutive records of one package and channel that have the same version.
#[derive(Clone, Copy, Debug)]
pub struct VersionGroup {
    /// The index of the first record.
    pub first_row: u32,
    /// The version as numbers, if it consists of a few numbers only.
    pub numeric: Option<NumericVersion>,
}

/// The dependencies of consecutive records, as a table.
#[derive(Debug, Default)]
pub struct DependencyTable {
    /// One row for each record.
    pub rows: Vec<RecordRow>,
    /// The specs of all records, one record after the other.
    pub spec_ids: Vec<SpecTextId>,
    /// The groups of records with the same version.
    pub version_groups: Vec<VersionGroup>,
}

impl SpecInterner {
    /// All texts, indexed by their IDs.
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    fn intern(&mut self, text: &str) -> SpecTextId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = self.texts.len() as SpecTextId;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.is_dependency.push(false);
        self.ids.insert(text, id);
        id
    }

    /// Interns a text and marks it as a dependency.
    fn intern_dependency(&mut self, text: &str) -> SpecTextId {
        let id = self.intern(text);
        self.is_dependency[id as usize] = true;
        id
    }

    /// Makes the table of some records.
    pub fn intern_records<'r>(&mut self, records: impl IntoIterator<Item = &'r RepoDataRecord>) -> DependencyTable {
        let mut table = DependencyTable::default();
        let mut last: Option<&RepoDataRecord> = None;
        for record in records {
            if !last.replace(record).is_some_and(|last| is_same_version_group(last, record)) {
                let numeric = NumericVersion::release(record.package_record.version.version());
                table.version_groups.push(VersionGroup { first_row: table.rows.len() as u32, numeric });
            }
            self.add(&record.package_record, &mut table);
        }
        table
    }

    fn add(&mut self, record: &PackageRecord, table: &mut DependencyTable) {
        let depends_start = table.spec_ids.len() as u32;
        table.spec_ids.extend(record.depends.iter().map(|text| self.intern_dependency(text)));
        let constrains_start = table.spec_ids.len() as u32;
        table.spec_ids.extend(record.constrains.iter().map(|text| self.intern(text)));
        for text in record.extra_depends.values().flatten() {
            self.intern_dependency(text);
        }
        table.rows.push(RecordRow {
            depends_start,
            constrains_start,
            constrains_end: table.spec_ids.len() as u32,
            version_group: (table.version_groups.len() - 1) as u32,
            build_number: record.build_number,
            has_extras: !record.extra_depends.is_empty(),
            has_track_features: !record.track_features.is_empty(),
        });
    }

    /// Adds the texts of a batch. Returns their new IDs, and calls `found` for each dependency that is new here.
    pub(super) fn merge(&mut self, batch: Self, mut found: impl FnMut(&str)) -> Vec<SpecTextId> {
        let of_batch = |(text, is_dependency): (Arc<str>, bool)| {
            let id = self.intern(&text);
            if is_dependency && !std::mem::replace(&mut self.is_dependency[id as usize], true) {
                found(&text);
            }
            id
        };
        batch.texts.into_iter().zip(batch.is_dependency).map(of_batch).collect()
    }
}

impl DependencyTable {
    /// Replaces the IDs of the specs.
    pub(super) fn renumbered(mut self, ids: &[SpecTextId]) -> Self {
        self.spec_ids.iter_mut().for_each(|id| *id = ids[*id as usize]);
        self
    }

    /// Appends rows of another table.
    pub fn extend(&mut self, more: DependencyRows<'_>) {
        let (Some(first), Some(version_group)) = (more.rows.first(), more.version_groups.first()) else { return };
        let by_list = (self.spec_ids.len() as u32).wrapping_sub(first.depends_start);
        let by_editions = (self.version_groups.len() as u32).wrapping_sub(first.version_group);
        let by_entries = (self.rows.len() as u32).wrapping_sub(version_group.first_row);
        self.rows.extend(more.rows.iter().map(|row| RecordRow {
            depends_start: row.depends_start.wrapping_add(by_list),
            constrains_start: row.constrains_start.wrapping_add(by_list),
            constrains_end: row.constrains_end.wrapping_add(by_list),
            version_group: row.version_group.wrapping_add(by_editions),
            ..*row
        }));
        self.version_groups.extend(more.version_groups.iter().map(|version_group| VersionGroup {
            first_row: version_group.first_row.wrapping_add(by_entries),
            ..*version_group
        }));
        self.spec_ids.extend(more.spec_ids);
    }

    /// All rows.
    pub fn as_rows(&self) -> DependencyRows<'_> {
        self.slice(0, self.rows.len())
    }

    /// The rows of the records `start..end`. The range must not split a version group.
    pub fn slice(&self, start: usize, end: usize) -> DependencyRows<'_> {
        let rows = &self.rows[start..end];
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return DependencyRows::default() };
        DependencyRows {
            rows,
            spec_ids: &self.spec_ids[first.depends_start as usize..last.constrains_end as usize],
            version_groups: &self.version_groups[first.version_group as usize..=last.version_group as usize],
        }
    }
}

/// Some rows of a table. Their indices refer to the whole table.
#[derive(Clone, Copy, Debug, Default)]
pub struct DependencyRows<'a> {
    pub(crate) rows: &'a [RecordRow],
    pub(crate) spec_ids: &'a [SpecTextId],
    pub(crate) version_groups: &'a [VersionGroup],
}

fn is_same_version_group(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    one.package_record.version.as_str() == other.package_record.version.as_str() && is_same_run(one, other)
}
