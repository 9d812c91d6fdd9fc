//! Old prefixes are moved into a directory and removed at the end of the benchmark. ext4 avoids inodes that were just
//! freed, so removing many files makes the next contender slower. Nothing is removed during a measurement.

use std::path::{Path, PathBuf};

use crate::Outcome;

/// The directory.
pub(crate) struct Graveyard {
    directory: PathBuf,
}

impl Graveyard {
    pub(crate) fn new(scratch: &Path) -> Self {
        Self { directory: scratch.join("graveyard") }
    }

    /// Moves a path away, so that nothing exists there.
    pub(crate) fn bury(&self, path: &Path) -> Outcome<()> {
        if path.exists() {
            fs_err::create_dir_all(&self.directory)?;
            let graves = fs_err::read_dir(&self.directory)?.count();
            fs_err::rename(path, self.directory.join(graves.to_string()))?;
        }
        Ok(())
    }
}
