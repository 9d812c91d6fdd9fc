//! What a solve looks at of records, in tables: a record is large and lies anywhere in memory, and a solve looks at tens
//! of thousands of them again and again. Texts of dependencies become numbers, for the records ask for the same few thousand
//! things, and each text is kept and read once. All of this is made while records are read, on several threads: by batch
//! first, and then for all of the repodata.

use std::sync::Arc;

use foldhash::HashMap;
use mlconda_types::versions::Numbers;
use rattler_conda_types::{PackageRecord, RepoDataRecord};

use super::is_of_a_run;

/// A text, by its place among all.
pub(crate) type TextId = u32;

/// The texts of dependencies and constraints.
#[derive(Debug, Default)]
pub struct Texts {
    ids: HashMap<Arc<str>, TextId>,
    all: Vec<Arc<str>>,
    /// By text, whether it is a dependency of some record.
    is_needed: Vec<bool>,
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where in a list of texts that begins which it asks for: its `depends`.
    pub start: u32,
    /// And there its `constrains`.
    pub middle: u32,
    /// And there what comes after them.
    pub end: u32,
    /// Its version, by its place in a list of editions.
    pub edition: u32,
    /// Its build number.
    pub build_number: u64,
    /// Whether it has extras, which are not in the list.
    pub has_extras: bool,
    /// Whether it has track features.
    pub has_features: bool,
}

/// Records of one package and one channel, one after the other, that have the same version.
#[derive(Clone, Copy, Debug)]
pub struct Edition {
    /// The place of the first record.
    pub start: u32,
    /// What the version is of, if it is nothing but a few numbers.
    pub numbers: Option<Numbers>,
}

/// Records, one after the other.
#[derive(Debug, Default)]
pub struct Asked {
    /// One for each record.
    pub entries: Vec<Entry>,
    /// What they ask for, one record's behind the other's.
    pub list: Vec<TextId>,
    /// Their versions.
    pub editions: Vec<Edition>,
}

impl Texts {
    /// All texts, by their numbers.
    pub fn all(&self) -> &[Arc<str>] {
        &self.all
    }

    fn id(&mut self, text: &str) -> TextId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = self.all.len() as TextId;
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        self.is_needed.push(false);
        self.ids.insert(text, id);
        id
    }

    /// Notes that a text is a dependency.
    fn needed(&mut self, text: &str) -> TextId {
        let id = self.id(text);
        self.is_needed[id as usize] = true;
        id
    }

    /// What records ask for.
    pub fn asked<'r>(&mut self, records: impl IntoIterator<Item = &'r RepoDataRecord>) -> Asked {
        let mut asked = Asked::default();
        let mut last: Option<&RepoDataRecord> = None;
        for record in records {
            if !last.replace(record).is_some_and(|last| is_of_an_edition(last, record)) {
                let numbers = Numbers::plain(record.package_record.version.version());
                asked.editions.push(Edition { start: asked.entries.len() as u32, numbers });
            }
            self.add(&record.package_record, &mut asked);
        }
        asked
    }

    fn add(&mut self, record: &PackageRecord, asked: &mut Asked) {
        let start = asked.list.len() as u32;
        asked.list.extend(record.depends.iter().map(|text| self.needed(text)));
        let middle = asked.list.len() as u32;
        asked.list.extend(record.constrains.iter().map(|text| self.id(text)));
        for text in record.extra_depends.values().flatten() {
            self.needed(text);
        }
        asked.entries.push(Entry {
            start,
            middle,
            end: asked.list.len() as u32,
            edition: (asked.editions.len() - 1) as u32,
            build_number: record.build_number,
            has_extras: !record.extra_depends.is_empty(),
            has_features: !record.track_features.is_empty(),
        });
    }

    /// Takes in the texts of a batch. Gives the numbers that they have here; `found` is told of each dependency that is
    /// new here.
    pub(super) fn merge(&mut self, batch: Self, mut found: impl FnMut(&str)) -> Vec<TextId> {
        let of_batch = |(text, is_needed): (Arc<str>, bool)| {
            let id = self.id(&text);
            if is_needed && !std::mem::replace(&mut self.is_needed[id as usize], true) {
                found(&text);
            }
            id
        };
        batch.all.into_iter().zip(batch.is_needed).map(of_batch).collect()
    }
}

impl Asked {
    /// The same with other numbers for the texts.
    pub(super) fn renumbered(mut self, ids: &[TextId]) -> Self {
        self.list.iter_mut().for_each(|id| *id = ids[*id as usize]);
        self
    }

    /// Adds more records.
    pub fn extend(&mut self, more: Rows<'_>) {
        let (Some(first), Some(edition)) = (more.entries.first(), more.editions.first()) else { return };
        let by_list = (self.list.len() as u32).wrapping_sub(first.start);
        let by_editions = (self.editions.len() as u32).wrapping_sub(first.edition);
        let by_entries = (self.entries.len() as u32).wrapping_sub(edition.start);
        self.entries.extend(more.entries.iter().map(|entry| Entry {
            start: entry.start.wrapping_add(by_list),
            middle: entry.middle.wrapping_add(by_list),
            end: entry.end.wrapping_add(by_list),
            edition: entry.edition.wrapping_add(by_editions),
            ..*entry
        }));
        self.editions.extend(
            more.editions.iter().map(|edition| Edition { start: edition.start.wrapping_add(by_entries), ..*edition }),
        );
        self.list.extend(more.list);
    }

    /// All records.
    pub fn all(&self) -> Rows<'_> {
        self.rows(0, self.entries.len())
    }

    /// Some of the records, from the first to before the last; no edition is parted.
    pub fn rows(&self, start: usize, end: usize) -> Rows<'_> {
        let entries = &self.entries[start..end];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Rows::default() };
        Rows {
            entries,
            list: &self.list[first.start as usize..last.end as usize],
            editions: &self.editions[first.edition as usize..=last.edition as usize],
        }
    }
}

/// Some of a table's rows; what they say of places is as it was in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) list: &'a [TextId],
    pub(crate) editions: &'a [Edition],
}

fn is_of_an_edition(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    one.package_record.version.as_str() == other.package_record.version.as_str() && is_of_a_run(one, other)
}
