//! Where the records of each package stand in a `repodata.json`: a table of names and byte ranges, kept beside it.
//!
//! Of the half a million records of a large channel an environment reaches a few per cent, and only these are read. The
//! table is a file of its own, with a number for its form: an older or damaged one is made anew from the text.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

/// The number of the form below.
const FORM: u32 = 1;

/// The part of a `repodata.json` that a record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Section {
    /// `v3.conda` (CEP-48), keyed without the extension.
    V3Conda,
    /// `packages.conda`.
    Conda,
    /// `v3.tar.bz2`, keyed without the extension.
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

    /// What identifies the build: the file name without its extension.
    pub(super) fn stem(self, key: &[u8]) -> &[u8] {
        match self {
            Self::V3Conda | Self::V3TarBz2 => key,
            Self::Conda | Self::TarBz2 => key.strip_suffix(self.extension().as_bytes()).unwrap_or(key),
        }
    }
}

/// Records that stand side by side: `"file": {…}, "file": {…}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// The part.
    pub(super) section: Section,
    /// Its first byte.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) length: u32,
}

/// The table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// The base of the packages' URLs, where it is another than the subdir's (CEP-15).
    pub(super) base_url: Option<String>,
    /// Archives that are not to be installed any more, sorted.
    pub(super) removed: Vec<String>,
    /// The names, sorted, one after the other.
    names: String,
    /// Where each name ends, and its first run.
    ends: Vec<(u32, u32)>,
    /// The runs, name by name.
    runs: Vec<Run>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    form: u32,
    /// The size of the text that it is for.
    size: u64,
    index: T,
}

impl Index {
    /// Adds a run; names have to come in order.
    pub(super) fn push(&mut self, name: &str, section: Section, start: u64, length: u32) {
        if self.ends.is_empty() || self.name(self.ends.len() - 1) != name {
            self.names.push_str(name);
            self.ends.push((self.names.len() as u32, self.runs.len() as u32));
        }
        self.runs.push(Run { section, start, length });
    }

    fn name(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before].0);
        &self.names[start as usize..self.ends[place].0 as usize]
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|place| self.name(place)).filter(|name| !name.is_empty())
    }

    /// Where the records of a package stand.
    pub(crate) fn runs(&self, name: &str) -> &[Run] {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let first = self.ends[middle].1 as usize;
                    let last = self.ends.get(middle + 1).map_or(self.runs.len(), |next| next.1 as usize);
                    return &self.runs[first..last];
                }
            }
        }
        &[]
    }

    /// As bytes, for a text of this size.
    pub(super) fn to_bytes(&self, size: u64) -> Vec<u8> {
        // Nothing in it can fail to be written; what is empty will be made anew.
        rmp_serde::to_vec(&Kept { form: FORM, size, index: self }).unwrap_or_default()
    }

    /// From bytes, if they are for a text of this size and hold together.
    pub(super) fn from_bytes(bytes: &[u8], size: u64) -> Option<Self> {
        let kept: Kept<Self> = rmp_serde::from_slice(bytes).ok()?;
        (kept.form == FORM && kept.size == size && kept.index.holds_together(size)).then_some(kept.index)
    }

    fn holds_together(&self, size: u64) -> bool {
        let ordered = self.ends.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
        let last = self.ends.last().copied().unwrap_or_default();
        let on_characters = self.ends.iter().all(|end| self.names.is_char_boundary(end.0 as usize));
        let inside = |run: &Run| run.start.checked_add(u64::from(run.length)).is_some_and(|end| end <= size);
        ordered
            && on_characters
            && last.0 as usize == self.names.len()
            && last.1 as usize <= self.runs.len()
            && self.runs.iter().all(inside)
    }
}

/// Reads a run as an object of its own.
pub(super) fn read_run(file: &File, run: Run) -> io::Result<Vec<u8>> {
    let length = run.length as usize;
    let mut text = vec![b'{'; length + 2];
    file.read_exact_at(&mut text[1..=length], run.start)?;
    text[length + 1] = b'}';
    Ok(text)
}
