//! The index of a `repodata.json`: the byte ranges of each package's records, stored beside the text.
//!
//! An environment reaches a few per cent of the half a million records of a large channel, and only these are read.
//! The index file has a format version. If it is older or damaged, it is built again from the text.

use std::{fs::File, io, os::unix::fs::FileExt};

/// The version of the file format.
const FORMAT_VERSION: u32 = 2;

/// The section of a `repodata.json` that a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordSpan {
    /// The section.
    pub(super) section: Section,
    /// The offset of the first byte.
    pub(super) start: u64,
    /// The length in bytes.
    pub(super) length: u32,
}

/// The byte ranges of all packages.
#[derive(Clone, Debug, Default)]
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

/// Reads the bytes of [`RepodataIndex::to_bytes`]: little-endian numbers, and lists and texts with their length before
/// them.
struct Stored<'b>(&'b [u8]);

impl<'b> Stored<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()?;
        String::from_utf8(self.take(length as usize)?.to_vec()).ok()
    }

    /// A list of items of at least `size` bytes each.
    fn list<T>(&mut self, size: usize, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count.checked_mul(size)? > self.0.len() {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn span(&mut self) -> Option<RecordSpan> {
        let section = *SECTIONS.get(usize::from(self.take(1)?[0]))?;
        Some(RecordSpan { section, start: self.u64()?, length: self.u32()? })
    }
}

/// The sections, in their order.
const SECTIONS: [Section; 4] = [Section::V3Conda, Section::Conda, Section::V3TarBz2, Section::TarBz2];

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

    /// The bytes of the index of a text of this size.
    pub(super) fn to_bytes(&self, size: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.names.len() + 8 * self.ends.len() + 13 * self.spans.len());
        let length = |bytes: &mut Vec<u8>, length: usize| bytes.extend_from_slice(&(length as u32).to_le_bytes());
        let text = |bytes: &mut Vec<u8>, text: &str| {
            length(bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        };
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        let base_url = self.base_url.as_slice();
        length(&mut bytes, base_url.len());
        base_url.iter().for_each(|url| text(&mut bytes, url));
        length(&mut bytes, self.removed.len());
        self.removed.iter().for_each(|file| text(&mut bytes, file));
        text(&mut bytes, &self.names);
        length(&mut bytes, self.ends.len());
        for (end, span) in &self.ends {
            bytes.extend_from_slice(&end.to_le_bytes());
            bytes.extend_from_slice(&span.to_le_bytes());
        }
        length(&mut bytes, self.spans.len());
        for span in &self.spans {
            bytes.push(span.section as u8);
            bytes.extend_from_slice(&span.start.to_le_bytes());
            bytes.extend_from_slice(&span.length.to_le_bytes());
        }
        bytes
    }

    /// Reads the index; `None` if it is damaged, or belongs to a text of another size.
    pub(super) fn from_bytes(bytes: &[u8], size: u64) -> Option<Self> {
        let mut stored = Stored(bytes);
        if stored.u32()? != FORMAT_VERSION || stored.u64()? != size {
            return None;
        }
        let base_url = stored.list(4, Stored::text)?.pop();
        let (removed, names) = (stored.list(4, Stored::text)?, stored.text()?);
        let ends = stored.list(8, |stored| Some((stored.u32()?, stored.u32()?)))?;
        let spans = stored.list(13, Stored::span)?;
        let index = Self { base_url, removed, names, ends, spans };
        (stored.0.is_empty() && index.is_consistent(size)).then_some(index)
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
