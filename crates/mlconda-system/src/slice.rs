//! A part of an open file that is read like a separate file: an archive in a bundle.
//!
//! Reading does not move the position of the file, so several threads can read parts of one file at once.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::Arc,
};

use super::files;

/// A part of an open file. A clone reads the same file.
#[derive(Clone, Debug)]
pub struct Slice {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Slice {
    /// The part of a file that begins at `offset` and has `size` bytes.
    pub fn new(file: Arc<File>, offset: u64, size: u64) -> Self {
        Self { file, offset, size }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads bytes at an offset in the part, and returns their number: 0 at the end of the part, or if the file is
    /// shorter.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], place: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(place)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        loop {
            match self.file.read_at(&mut buffer[..most], self.offset.saturating_add(place)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Reads the part from its beginning.
    pub fn reader(&self) -> SliceReader<'_> {
        SliceReader { slice: self, place: 0 }
    }
}

/// Reads a [`Slice`] from its beginning to its end.
#[derive(Debug)]
pub struct SliceReader<'a> {
    slice: &'a Slice,
    place: u64,
}

impl Read for SliceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.slice.read_at(buffer, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}

impl Seek for SliceReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        files::seek(&mut self.place, self.slice.size, to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_part_ends_where_it_ends() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before|the part|behind").unwrap();
        let slice = Slice::new(Arc::new(file), 7, 8);
        let mut text = String::new();
        slice.reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "the part");
        let mut reader = slice.reader();
        assert_eq!(reader.seek(SeekFrom::End(-4)).unwrap(), 4);
        text.clear();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "part");
        assert_eq!(slice.read_at(&mut [0; 4], 8).unwrap(), 0);
        let beyond = Slice { offset: 20, ..slice };
        assert_eq!(beyond.read_at(&mut [0; 8], 0).unwrap(), 2);
    }
}
