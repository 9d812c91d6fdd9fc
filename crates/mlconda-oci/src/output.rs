//! Writes a temporary file. Errors contain the final name of the file.

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

/// Adds the final path to an error.
pub(crate) fn cannot_write(place: &Path, error: &io::Error) -> io::Error {
    // The path of the temporary file in the message is of no use, so it is removed.
    let words = error.to_string();
    let words = words.split(" at path ").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("cannot write `{}`: {words}", place.display()))
}
