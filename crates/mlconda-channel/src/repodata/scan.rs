//! Scans a `repodata.json` once, as a stream, and finds the byte ranges of each package's records.
//!
//! Records are not parsed: the scanner counts braces and skips strings. So it is as fast as the decompression, needs a
//! fixed buffer for any file size, and an invalid record does no harm unless it is needed. Invalid JSON at the top
//! level (a truncated file, a login page) is reported with its offset.

use std::io::{self, Read, Write};

use super::index::{RepodataIndex, Section};

/// How many bytes are read at a time.
const PIECE: usize = 256 << 10;

/// The largest `info` object, in bytes.
const INFO_LIMIT: usize = 1 << 20;

/// The longest key, in bytes.
const KEY_LIMIT: usize = 64 << 10;

/// The largest text, in bytes: several times the largest channels.
const TEXT_LIMIT: u64 = 4 << 30;

/// The most spans, and the most removed names: several times the largest channels.
const COUNT_LIMIT: usize = 8 << 20;

/// Why a text could not be scanned.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// It is not valid repodata.
    #[error("{what} at byte {offset}")]
    Syntax { what: &'static str, offset: u64 },
    /// It cannot be read or decompressed.
    #[error(transparent)]
    Read(io::Error),
    /// The copy cannot be written.
    #[error(transparent)]
    Write(io::Error),
}

/// Scans a text to its end, and writes all bytes to `copy`.
pub(super) fn scan(reader: impl Read, copy: impl Write) -> Result<RepodataIndex, ScanError> {
    scan_within(TEXT_LIMIT, reader, copy)
}

/// Like [`scan`], with a limit on the number of bytes.
pub(super) fn scan_within(limit: u64, reader: impl Read, copy: impl Write) -> Result<RepodataIndex, ScanError> {
    let mut scanner = Scanner { reader, copy, buffer: vec![0; PIECE], at: 0, filled: 0, passed: 0, limit };
    let mut index = IndexBuilder::default();
    scanner.object("no JSON object begins", |scanner, key, _| match key {
        b"packages" => scanner.records(Section::TarBz2, &mut index),
        b"packages.conda" => scanner.records(Section::Conda, &mut index),
        b"v3" => scanner.object("`v3` is not an object", |scanner, key, _| match key {
            b"conda" => scanner.records(Section::V3Conda, &mut index),
            b"tar.bz2" => scanner.records(Section::V3TarBz2, &mut index),
            _ => scanner.skip_value(),
        }),
        b"removed" => scanner.names(&mut index.index.removed),
        b"info" => {
            index.index.base_url = scanner.info()?;
            Ok(())
        }
        _ => scanner.skip_value(),
    })?;
    scanner.drain()?;
    Ok(index.finish())
}

/// Collects spans: adjacent records of one package.
#[derive(Default)]
struct IndexBuilder {
    /// Whether the last span may still grow.
    open: bool,
    spans: Vec<(String, Section, u64, u32)>,
    index: RepodataIndex,
}

impl IndexBuilder {
    fn add(&mut self, section: Section, key: &[u8], start: u64, end: u64) {
        let name = package_name(section, key);
        if let Some((last, in_section, first, length)) = self.spans.last_mut()
            && last.as_bytes() == name
            && *in_section == section
            && self.open
            && let Ok(longer) = u32::try_from(end - *first)
        {
            *length = longer;
            return;
        }
        // A record of more than 4 GB is ignored.
        let Ok(length) = u32::try_from(end - start) else { return };
        self.spans.push((String::from_utf8_lossy(name).into_owned(), section, start, length));
        self.open = true;
    }

    fn finish(mut self) -> RepodataIndex {
        self.spans.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, section, start, length) in self.spans {
            self.index.push(&name, section, start, length);
        }
        self.index
    }
}

/// The name in `name-version-build.ext`; empty if there is none. No package has an empty name, so such records are
/// never loaded.
pub(super) fn package_name(section: Section, key: &[u8]) -> &[u8] {
    let stem = section.stem(key);
    let Some(build) = memchr::memrchr(b'-', stem) else { return b"" };
    let Some(version) = memchr::memrchr(b'-', &stem[..build]) else { return b"" };
    &stem[..version]
}

/// Reads the text in chunks.
struct Scanner<R, W> {
    reader: R,
    copy: W,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// The offset of the buffer in the text.
    passed: u64,
    /// The most bytes that the text may have.
    limit: u64,
}

impl<R: Read, W: Write> Scanner<R, W> {
    /// Reads the next chunk; `false` at the end.
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
            return self.syntax_error("the text is too long");
        }
        self.copy.write_all(&self.buffer[..self.filled]).map_err(ScanError::Write)?;
        Ok(self.filled > 0)
    }

    fn offset(&self) -> u64 {
        self.passed + self.at as u64
    }

    fn syntax_error<T>(&self, what: &'static str) -> Result<T, ScanError> {
        Err(ScanError::Syntax { what, offset: self.offset() })
    }

    /// The next byte.
    fn byte(&mut self) -> Result<u8, ScanError> {
        if self.at == self.filled && !self.refill()? {
            return self.syntax_error("the text ends in the middle");
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    /// The next byte that is not white space, without consuming it.
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

    /// Consumes one expected byte.
    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), ScanError> {
        if self.peek()? != wanted {
            return self.syntax_error(what);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads an object. Calls back for every key, with the offset of the key, before its value.
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
            let start = self.offset();
            self.key(&mut key)?;
            self.expect(b':', "a `:` is missing")?;
            entry(self, &key, start)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.syntax_error("a `,` or `}` is missing"),
            }
        }
    }

    fn records(&mut self, section: Section, index: &mut IndexBuilder) -> Result<(), ScanError> {
        index.open = false;
        self.object("a list of records is not an object", |scanner, key, start| {
            scanner.skip_value()?;
            index.add(section, key, start, scanner.offset());
            if index.spans.len() > COUNT_LIMIT { scanner.syntax_error("there are too many records") } else { Ok(()) }
        })
    }

    /// Reads a list of names.
    fn names(&mut self, names: &mut Vec<String>) -> Result<(), ScanError> {
        self.expect(b'[', "`removed` is not a list")?;
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
                        return self.syntax_error("`removed` is too long");
                    }
                }
            }
        }
    }

    /// Reads the base of the package URLs (CEP-15) from `info`.
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
            Err(_) => self.syntax_error("`info` makes no sense before this place"),
        }
    }

    /// Reads a string, without its quotes.
    fn key(&mut self, key: &mut Vec<u8>) -> Result<(), ScanError> {
        self.expect(b'"', "a string is missing")?;
        key.clear();
        self.string(Some(key), KEY_LIMIT)?;
        if key.contains(&b'\\') {
            let quoted = [b"\"", key.as_slice(), b"\""].concat();
            let Ok(plain) = serde_json::from_slice::<String>(&quoted) else {
                return self.syntax_error("a string makes no sense before this place");
            };
            *key = plain.into_bytes();
        }
        Ok(())
    }

    /// Reads the rest of a string up to its closing quote. At most `limit` bytes are copied; a longer string is an
    /// error.
    fn string(&mut self, mut copy: Option<&mut Vec<u8>>, limit: usize) -> Result<(), ScanError> {
        loop {
            let rest = &self.buffer[self.at..self.filled];
            let end = memchr::memchr2(b'"', b'\\', rest);
            let length = end.unwrap_or(rest.len());
            if let Some(copy) = copy.as_deref_mut() {
                if copy.len() + length > limit {
                    return self.syntax_error("a string is too long");
                }
                copy.extend_from_slice(&rest[..length]);
            }
            self.at += length;
            match end {
                None => {
                    if !self.refill()? {
                        return self.syntax_error("the text ends in the middle");
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

    /// Reads a value of any kind, and copies its text if asked.
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
                    return self.syntax_error("`info` is too long");
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

    /// Reads the bytes after the object, so that the copy is complete and a checksum at the end is verified.
    fn drain(&mut self) -> Result<(), ScanError> {
        loop {
            if self.buffer[self.at..self.filled].iter().any(|byte| !byte.is_ascii_whitespace()) {
                return self.syntax_error("something follows the JSON object");
            }
            if !self.refill()? {
                self.copy.flush().map_err(ScanError::Write)?;
                return Ok(());
            }
        }
    }
}
