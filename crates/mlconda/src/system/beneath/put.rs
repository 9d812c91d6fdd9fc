//! A small file written below a prefix.

use std::{
    io::{self, Write},
    path::Path,
};

use super::Root;
use crate::system::{set_mode, set_time};

impl Root {
    /// Writes a file that all may read, with the time `seconds` since 1970, in the place of what is there. Not through a link.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn put(&self, path: &Path, content: &[u8], seconds: i64) -> io::Result<()> {
        self.remove_file(path)?;
        let mut file = self.create(path, 0o644)?;
        file.write_all(content)?;
        set_mode(&file, 0o644)?;
        set_time(&file, seconds)
    }
}
