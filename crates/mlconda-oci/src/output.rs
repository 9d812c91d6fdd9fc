//! A file that is written under another name than it gets: errors tell the name that it gets.

use std::{
    io::{self, Write},
    path::Path,
};

pub(crate) struct Output<'a> {
    pub(crate) inner: &'a mut dyn Write,
    pub(crate) place: &'a Path,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(|error| cannot_write(self.place, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| cannot_write(self.place, &error))
    }
}

/// Names the place of an error.
pub(crate) fn cannot_write(place: &Path, error: &io::Error) -> io::Error {
    // Of a temporary file, the name that it has now is of no use.
    let words = error.to_string();
    let words = words.split(" at path ").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("cannot write `{}`: {words}", place.display()))
}
