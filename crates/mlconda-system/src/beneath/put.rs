//! Writes and reads whole files below a directory.

use std::{
    io::{self, Write},
    path::Path,
};

use super::Root;
use crate::{files, set_mode, set_time};

impl Root {
    /// Replaces a file. The new file is readable by all, and its modification time is `seconds` since 1970. Does not
    /// follow links.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&self, path: &Path, content: &[u8], seconds: i64) -> io::Result<()> {
        self.remove_file(path)?;
        let mut file = self.create(path, 0o644)?;
        file.write_all(content)?;
        set_mode(file.file(), 0o644)?;
        set_time(file.file(), seconds)
    }

    /// Reads a regular file of at most `limit` bytes. Does not follow links.
    ///
    /// # Errors
    /// If the file cannot be read, or is larger than `limit` ([`io::ErrorKind::FileTooLarge`]).
    pub fn read_all(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        files::bounded(self.read(path)?, &self.path().join(path), limit)
    }
}
