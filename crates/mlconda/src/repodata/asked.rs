//! What records ask for, by number: tens of thousands of records ask for the same few thousand things, and each text is
//! kept and looked at once. The numbers are given while records are read, on several threads: by batch first, and then by
//! all of the repodata.

use std::sync::Arc;

use foldhash::HashMap;
use rattler_conda_types::{PackageRecord, RepoDataRecord};

/// A text, by its place among all.
pub(crate) type TextId = u32;

/// The texts of dependencies and constraints.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    ids: HashMap<Arc<str>, TextId>,
    all: Vec<Arc<str>>,
    /// By text, whether it is a dependency of some record.
    is_needed: Vec<bool>,
}

/// Where in a list of texts that stands which a record asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The first of its `depends`.
    pub(crate) start: u32,
    /// The first of its `constrains`.
    pub(crate) middle: u32,
    /// What comes after them.
    pub(crate) end: u32,
    /// Whether it has extras, which are not in the list.
    pub(crate) has_extras: bool,
}

impl Span {
    /// The same in a list in which it all stands so much later.
    pub(crate) fn moved(self, by: u32) -> Self {
        let moved = |place: u32| place.wrapping_add(by);
        Self { start: moved(self.start), middle: moved(self.middle), end: moved(self.end), has_extras: self.has_extras }
    }
}

/// What records ask for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// One for each record.
    pub(crate) spans: Vec<Span>,
    pub(crate) list: Vec<TextId>,
}

impl Texts {
    pub(crate) fn all(&self) -> &[Arc<str>] {
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
    pub(crate) fn asked<'r>(&mut self, records: impl IntoIterator<Item = &'r RepoDataRecord>) -> Asked {
        let mut asked = Asked::default();
        for record in records {
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
        let has_extras = !record.extra_depends.is_empty();
        asked.spans.push(Span { start, middle, end: asked.list.len() as u32, has_extras });
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

    /// Adds what more records ask for.
    pub(super) fn extend(&mut self, more: &Self) {
        let by = self.list.len() as u32;
        self.spans.extend(more.spans.iter().map(|span| span.moved(by)));
        self.list.extend(&more.list);
    }
}
