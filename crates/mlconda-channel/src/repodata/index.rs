//! The index of a `repodata.json`: the byte ranges of each package's records, stored beside the text.
//!
//! An environment reaches a few per cent of the half a million records of a large channel, and only these are read.
//! The index file has a format version. If it is older or damaged, it is built again from the text.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

/// The version of the file format.
const FORMAT_VERSION: u32 = 1;

/// The section of a `repodata.json` that a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Section {
    /// `v3.conda` (CEP-48), with keys without the extension.
    V3Conda,
    /// `packages.conda`.
    Conda,
    /// `v3.tar.bz2` (CEP-48), with keys without the extension.
    V3TarBz2,
    /// `packages`.
    TarBz2,
}

impl Section {
    /// The extension of the archives.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::V3Conda | Self::Conda => ".conda",
            Self::V3TarBz2 | Self::TarBz2 => ".tar.bz2",
        }
    }

    /// The file name without its extension, which identifies the build.
    pub(super) fn stem(self, key: &[u8]) -> &[u8] {
        match self {
            Self::V3Conda | Self::V3TarBz2 => key,
            Self::Conda | Self::TarBz2 => key.strip_suffix(self.extension().as_bytes()).unwrap_or(key),
        }
    }
}

/// The byte range of adjacent records of one package: `"file": {…}, "file": {…}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct RecordSpan {
    /// The section.
    pub(super) section: Section,
    /// The offset of the first byte.
    pub(super) start: u64,
    /// The length in bytes.
    pub(super) length: u32,
}

/// The byte ranges of all packages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RepodataIndex {
    /// The base of the package URLs, if it differs from the subdir (CEP-15).
    pub(super) base_url: Option<String>,
    /// The file names of removed archives, sorted.
    pub(super) removed: Vec<String>,
    /// The names of all packages, sorted and concatenated.
    names: String,
    /// For each name, its end in `names` and its first span.
    ends: Vec<(u32, u32)>,
    /// The spans, name by name.
    spans: Vec<RecordSpan>,
}

/// The contents of the index file.
#[derive(Serialize, Deserialize)]
struct StoredIndex<T> {
    format_version: u32,
    /// The size of the text that the index belongs to, in bytes.
    size: u64,
    index: T,
}

impl RepodataIndex {
    /// Adds a span. Names must be added in order.
    pub(super) fn push(&mut self, name: &str, section: Section, start: u64, length: u32) {
        if self.ends.is_empty() || self.name(self.ends.len() - 1) != name {
            self.names.push_str(name);
            self.ends.push((self.names.len() as u32, self.spans.len() as u32));
        }
        self.spans.push(RecordSpan { section, start, length });
    }

    fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        &self.names[start as usize..self.ends[index].0 as usize]
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.name(index)).filter(|name| !name.is_empty())
    }

    /// The spans of a package.
    pub(crate) fn spans(&self, name: &str) -> &[RecordSpan] {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let first = self.ends[middle].1 as usize;
                    let last = self.ends.get(middle + 1).map_or(self.spans.len(), |next| next.1 as usize);
                    return &self.spans[first..last];
                }
            }
        }
        &[]
    }

    /// Serializes the index of a text of this size.
    pub(super) fn to_bytes(&self, size: u64) -> Vec<u8> {
        // Serializing it cannot fail; an empty file would be built again.
        rmp_serde::to_vec(&StoredIndex { format_version: FORMAT_VERSION, size, index: self }).unwrap_or_default()
    }

    /// Deserializes the index; `None` if it is damaged, or belongs to a text of another size.
    pub(super) fn from_bytes(bytes: &[u8], size: u64) -> Option<Self> {
        let stored: StoredIndex<Self> = rmp_serde::from_slice(bytes).ok()?;
        (stored.format_version == FORMAT_VERSION && stored.size == size && stored.index.is_consistent(size))
            .then_some(stored.index)
    }

    fn is_consistent(&self, size: u64) -> bool {
        let ordered = self.ends.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
        let last = self.ends.last().copied().unwrap_or_default();
        let on_characters = self.ends.iter().all(|end| self.names.is_char_boundary(end.0 as usize));
        let inside = |span: &RecordSpan| span.start.checked_add(u64::from(span.length)).is_some_and(|end| end <= size);
        ordered
            && on_characters
            && last.0 as usize == self.names.len()
            && last.1 as usize <= self.spans.len()
            && self.spans.iter().all(inside)
    }
}

/// Reads a span as a JSON object.
pub(super) fn read_span(file: &File, span: RecordSpan) -> io::Result<Vec<u8>> {
    let length = span.length as usize;
    let mut text = vec![b'{'; length + 2];
    file.read_exact_at(&mut text[1..=length], span.start)?;
    text[length + 1] = b'}';
    Ok(text)
}
