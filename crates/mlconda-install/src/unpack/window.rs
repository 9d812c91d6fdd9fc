//! Buffered random access to an archive, for zip files: a seek within the buffer keeps the buffered bytes.

use std::io::{self, Read, Seek, SeekFrom};

use mlconda_system::files;

use super::Archive;

/// The number of bytes that are read at once.
const SIZE: usize = 64 << 10;

pub(super) struct Window<'a> {
    archive: &'a Archive,
    length: u64,
    /// The current position, in bytes.
    place: u64,
    /// The buffered bytes, and the position of the first one.
    bytes: Vec<u8>,
    begin: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(archive: &'a Archive) -> io::Result<Self> {
        Ok(Self { archive, length: archive.len()?, place: 0, bytes: Vec::new(), begin: 0 })
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let offset = self.place.checked_sub(self.begin).and_then(|offset| usize::try_from(offset).ok());
        let rest = match offset.and_then(|offset| self.bytes.get(offset..)) {
            Some(rest) if !rest.is_empty() => rest,
            _ if buffer.len() >= SIZE => {
                let count = self.archive.read_at(buffer, self.place)?;
                self.place += count as u64;
                return Ok(count);
            }
            _ => {
                self.bytes.resize(SIZE, 0);
                let count = self.archive.read_at(&mut self.bytes, self.place)?;
                self.bytes.truncate(count);
                self.begin = self.place;
                &self.bytes
            }
        };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.place += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        files::seek(&mut self.place, self.length, to)
    }
}
