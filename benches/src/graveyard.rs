//! Where old prefixes go until the end. ext4 looks for inodes that were not freed a moment ago, so that whoever comes
//! after the removal of many files pays for it; nothing is removed while something is measured.

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

    /// Sees to it that nothing is there.
    pub(crate) fn bury(&self, path: &Path) -> Outcome<()> {
        if path.exists() {
            fs_err::create_dir_all(&self.directory)?;
            let graves = fs_err::read_dir(&self.directory)?.count();
            fs_err::rename(path, self.directory.join(graves.to_string()))?;
        }
        Ok(())
    }
}
