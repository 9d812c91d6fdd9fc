//! Reads a `repodata.json` once, as a stream, and says where the records of each package stand in it.
//!
//! Nothing inside a record is looked at: the scanner counts braces and skips strings. So it is as fast as the text can
//! be unpacked, needs a fixed buffer whatever the file's size, and a record that makes no sense stops nobody who does
//! not want it. What is no JSON on the level of the file (it ends in the middle, it is a login page) is told with its
//! place.

use std::io::{self, Read, Write};

use super::index::{Index, Section};

/// How much is read at a time.
const PIECE: usize = 256 << 10;

/// The most that `info` may hold.
const INFO_LIMIT: usize = 1 << 20;

/// The most that a key may hold.
const KEY_LIMIT: usize = 64 << 10;

/// The most that the text may hold: several times what the largest channels have.
const TEXT_LIMIT: u64 = 4 << 30;

/// The most runs, and the most names of what is removed: several times what the largest channels have.
const COUNT_LIMIT: usize = 8 << 20;

/// What is wrong with the text, or with reading it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// It is not what a `repodata.json` is made of.
    #[error("{what} at byte {place}")]
    Syntax { what: &'static str, place: u64 },
    /// It cannot be read or unpacked.
    #[error(transparent)]
    Read(io::Error),
    /// The copy cannot be written.
    #[error(transparent)]
    Write(io::Error),
}

/// Reads to the end; what was read is also written to `copy`.
pub(super) fn scan(reader: impl Read, copy: impl Write) -> Result<Index, ScanError> {
    scan_within(TEXT_LIMIT, reader, copy)
}

/// Reads to the end, which must come within so many bytes.
pub(super) fn scan_within(limit: u64, reader: impl Read, copy: impl Write) -> Result<Index, ScanError> {
    let mut text = Text { reader, copy, buffer: vec![0; PIECE], at: 0, filled: 0, passed: 0, limit };
    let mut index = Builder::default();
    text.object("no JSON object begins", |text, key, _| match key {
        b"packages" => text.records(Section::TarBz2, &mut index),
        b"packages.conda" => text.records(Section::Conda, &mut index),
        b"v3" => text.object("`v3` is no object", |text, key, _| match key {
            b"conda" => text.records(Section::V3Conda, &mut index),
            b"tar.bz2" => text.records(Section::V3TarBz2, &mut index),
            _ => text.skip_value(),
        }),
        b"removed" => text.names(&mut index.index.removed),
        b"info" => {
            index.index.base_url = text.info()?;
            Ok(())
        }
        _ => text.skip_value(),
    })?;
    text.drain()?;
    Ok(index.finish())
}

/// Gathers runs: records of one package that stand side by side.
#[derive(Default)]
struct Builder {
    /// Whether the last run may go on.
    open: bool,
    runs: Vec<(String, Section, u64, u32)>,
    index: Index,
}

impl Builder {
    fn add(&mut self, section: Section, key: &[u8], start: u64, end: u64) {
        let name = package_name(section, key);
        if let Some((last, in_section, first, length)) = self.runs.last_mut()
            && last.as_bytes() == name
            && *in_section == section
            && self.open
            && let Ok(longer) = u32::try_from(end - *first)
        {
            *length = longer;
            return;
        }
        // A record of more than 4 GB is none.
        let Ok(length) = u32::try_from(end - start) else { return };
        self.runs.push((String::from_utf8_lossy(name).into_owned(), section, start, length));
        self.open = true;
    }

    fn finish(mut self) -> Index {
        self.runs.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, section, start, length) in self.runs {
            self.index.push(&name, section, start, length);
        }
        self.index
    }
}

/// The name in `name-version-build.ext`; empty if it has none, which nobody asks for.
pub(super) fn package_name(section: Section, key: &[u8]) -> &[u8] {
    let stem = section.stem(key);
    let Some(build) = memchr::memrchr(b'-', stem) else { return b"" };
    let Some(version) = memchr::memrchr(b'-', &stem[..build]) else { return b"" };
    &stem[..version]
}

/// The text, piece by piece.
struct Text<R, W> {
    reader: R,
    copy: W,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// How many bytes came before the buffer.
    passed: u64,
    /// How many bytes there may be in all.
    limit: u64,
}

impl<R: Read, W: Write> Text<R, W> {
    /// Gets the next piece; whether there is one.
    fn refill(&mut self) -> Result<bool, ScanError> {
        self.passed += self.filled as u64;
        (self.at, self.filled) = (0, 0);
        self.filled = loop {
            match self.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(ScanError::Read)?,
            }
        };
        if self.passed + self.filled as u64 > self.limit {
            return self.wrong("the text is too long");
        }
        self.copy.write_all(&self.buffer[..self.filled]).map_err(ScanError::Write)?;
        Ok(self.filled > 0)
    }

    fn place(&self) -> u64 {
        self.passed + self.at as u64
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, ScanError> {
        Err(ScanError::Syntax { what, place: self.place() })
    }

    /// The next byte, whatever it is.
    fn byte(&mut self) -> Result<u8, ScanError> {
        if self.at == self.filled && !self.refill()? {
            return self.wrong("the text ends in the middle");
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    /// The next byte that is no white space; it is not passed yet.
    fn peek(&mut self) -> Result<u8, ScanError> {
        loop {
            match self.byte()? {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                byte => {
                    self.at -= 1;
                    return Ok(byte);
                }
            }
        }
    }

    /// Passes one byte that has to come next.
    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), ScanError> {
        if self.peek()? != wanted {
            return self.wrong(what);
        }
        self.at += 1;
        Ok(())
    }

    /// An object: calls for every key, with where the key began, when the value is next.
    fn object(
        &mut self,
        what: &'static str,
        mut entry: impl FnMut(&mut Self, &[u8], u64) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.expect(b'{', what)?;
        let mut key = Vec::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.peek()?;
            let start = self.place();
            self.key(&mut key)?;
            self.expect(b':', "a `:` is missing")?;
            entry(self, &key, start)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.wrong("a `,` or `}` is missing"),
            }
        }
    }

    fn records(&mut self, section: Section, index: &mut Builder) -> Result<(), ScanError> {
        index.open = false;
        self.object("a list of records is no object", |text, key, start| {
            text.skip_value()?;
            index.add(section, key, start, text.place());
            if index.runs.len() > COUNT_LIMIT { text.wrong("there are too many records") } else { Ok(()) }
        })
    }

    /// A list of names.
    fn names(&mut self, names: &mut Vec<String>) -> Result<(), ScanError> {
        self.expect(b'[', "`removed` is no list")?;
        let mut name = Vec::new();
        loop {
            match self.peek()? {
                b']' => {
                    self.at += 1;
                    names.sort_unstable();
                    return Ok(());
                }
                b',' => self.at += 1,
                _ => {
                    self.key(&mut name)?;
                    names.push(String::from_utf8_lossy(&name).into_owned());
                    if names.len() > COUNT_LIMIT {
                        return self.wrong("`removed` is too long");
                    }
                }
            }
        }
    }

    /// `info`, of which only the base of the packages' URLs counts (CEP-15).
    fn info(&mut self) -> Result<Option<String>, ScanError> {
        #[derive(serde::Deserialize)]
        struct Info {
            #[serde(default)]
            base_url: Option<String>,
        }
        self.peek()?;
        let mut raw = Vec::new();
        self.value(Some(&mut raw))?;
        match serde_json::from_slice::<Option<Info>>(&raw) {
            Ok(info) => Ok(info.and_then(|info| info.base_url)),
            Err(_) => self.wrong("`info` makes no sense before this place"),
        }
    }

    /// A string, without its quotes.
    fn key(&mut self, key: &mut Vec<u8>) -> Result<(), ScanError> {
        self.expect(b'"', "a string is missing")?;
        key.clear();
        self.string(Some(key), KEY_LIMIT)?;
        if key.contains(&b'\\') {
            let quoted = [b"\"", key.as_slice(), b"\""].concat();
            let Ok(plain) = serde_json::from_slice::<String>(&quoted) else {
                return self.wrong("a string makes no sense before this place");
            };
            *key = plain.into_bytes();
        }
        Ok(())
    }

    /// The rest of a string, and the quote that ends it. The copy may hold so many bytes at most.
    fn string(&mut self, mut copy: Option<&mut Vec<u8>>, limit: usize) -> Result<(), ScanError> {
        loop {
            let rest = &self.buffer[self.at..self.filled];
            let end = memchr::memchr2(b'"', b'\\', rest);
            let length = end.unwrap_or(rest.len());
            if let Some(copy) = copy.as_deref_mut() {
                if copy.len() + length > limit {
                    return self.wrong("a string is too long");
                }
                copy.extend_from_slice(&rest[..length]);
            }
            self.at += length;
            match end {
                None => {
                    if !self.refill()? {
                        return self.wrong("the text ends in the middle");
                    }
                }
                Some(_) if self.byte()? == b'"' => return Ok(()),
                Some(_) => {
                    let escaped = self.byte()?;
                    if let Some(copy) = copy.as_deref_mut() {
                        copy.extend_from_slice(&[b'\\', escaped]);
                    }
                }
            }
        }
    }

    fn skip_value(&mut self) -> Result<(), ScanError> {
        self.peek()?;
        self.value(None)
    }

    /// A value of any kind; its text, if that is wanted.
    fn value(&mut self, mut copy: Option<&mut Vec<u8>>) -> Result<(), ScanError> {
        let mut depth = 0_usize;
        loop {
            let byte = self.byte()?;
            if depth == 0 && matches!(byte, b',' | b'}' | b']') {
                // A number or a word has ended.
                self.at -= 1;
                return Ok(());
            }
            if let Some(copy) = copy.as_deref_mut() {
                copy.push(byte);
                if copy.len() > INFO_LIMIT {
                    return self.wrong("`info` is too long");
                }
            }
            match byte {
                b'"' => {
                    self.string(copy.as_deref_mut(), INFO_LIMIT)?;
                    if let Some(copy) = copy.as_deref_mut() {
                        copy.push(b'"');
                    }
                    if depth == 0 {
                        return Ok(());
                    }
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads what follows the object, so that the copy is whole and a checksum at the end is looked at.
    fn drain(&mut self) -> Result<(), ScanError> {
        loop {
            if self.buffer[self.at..self.filled].iter().any(|byte| !byte.is_ascii_whitespace()) {
                return self.wrong("something follows the JSON object");
            }
            if !self.refill()? {
                self.copy.flush().map_err(ScanError::Write)?;
                return Ok(());
            }
        }
    }
}
