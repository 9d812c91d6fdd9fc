//! Reads a tar with bounded memory.
//!
//! Long names, PAX attributes and maps of sparse files come before their entry, and the tar crate reads them into
//! memory, whatever their size is. So the number of bytes between the contents of two entries is limited. Contents are
//! streamed.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
};

use super::invalid;

/// The largest number of bytes between the contents of two entries. Linux supports no path of more than 4096 bytes.
const HEADERS: u64 = 1 << 20;

/// A tar that is read with limits.
pub(super) struct Tar<R: Read> {
    archive: tar::Archive<Metered<R>>,
    left: Rc<Cell<u64>>,
}

/// Reads up to a limit, which is raised with each entry.
pub(super) struct Metered<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Tar<R> {
    pub(crate) fn new(reader: R) -> Self {
        let left = Rc::new(Cell::new(HEADERS));
        Self { archive: tar::Archive::new(Metered { reader, left: Rc::clone(&left) }), left }
    }

    /// The entries, in their order.
    pub(super) fn entries(
        &mut self,
    ) -> io::Result<impl Iterator<Item = io::Result<tar::Entry<'_, Metered<R>>>> + use<'_, R>> {
        let left = &self.left;
        let entries = self.archive.entries()?;
        Ok(entries.map(|entry| {
            let entry = entry?;
            // A sparse file has less content in the archive than on disk.
            let is_sparse = entry.header().entry_type().is_gnu_sparse();
            let content = if is_sparse { entry.header().entry_size()? } else { entry.size() };
            left.set(content.saturating_add(HEADERS));
            Ok(entry)
        }))
    }

    /// Reads the bytes after the last entry, of which only a few are allowed.
    pub(super) fn finish(self) -> io::Result<()> {
        self.left.set(HEADERS);
        io::copy(&mut self.archive.into_inner(), &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(invalid("a header in it is too long"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(&mut buffer[..most])?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

/// Reads until the installation is asked to stop. This also stops the reading of members that are skipped.
pub(super) struct Stoppable<'a, R> {
    pub(super) reader: R,
    pub(super) stop: &'a AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(invalid("the installation was stopped")),
            false => self.reader.read(buffer),
        }
    }
}

/// Content that must not end early.
pub(super) struct ExactSize<R> {
    pub(super) content: R,
    /// The number of bytes that must follow.
    pub(super) left: u64,
}

impl<R: Read> Read for ExactSize<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside of a file"));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
