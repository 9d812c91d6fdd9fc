//! The replica of a prefix: a copy of hard links, without removed files. After the exchange, files that were added to
//! the old prefix meanwhile are linked into the new one.

use std::{io, path::Path};

use mlconda_prefix::on_disk::BACKUP;
use mlconda_system::{
    Attributes,
    beneath::{PathInfo, PathKind, Root},
};

use super::{HISTORY, PrefixChange, ScriptTiming};

impl PrefixChange<'_> {
    /// Fills an empty directory with a replica of the prefix, which consists of hard links and has no removed files. If
    /// scripts will run, untracked files are copied, so that a script that changes them does not change the old prefix.
    pub(crate) fn fill_replica(&self, replica: &Root, scripts: ScriptTiming) -> io::Result<()> {
        self.replicate(Path::new(""), self.root()?, replica, scripts).map(|_| ())
    }

    /// Replicates the contents of a directory, which is open in the prefix and in the replica.
    fn replicate(
        &self,
        relative: &Path,
        source: &Root,
        replica: &Root,
        scripts: ScriptTiming,
    ) -> io::Result<ReplicaDirectory> {
        let here = Path::new("");
        let Some(was) = source.lookup(here)? else { return Err(io::ErrorKind::NotFound.into()) };
        let (mut kept, mut left_out) = (0_usize, usize::from(self.emptied.contains(relative)));
        for (name, kind) in source.entries(here)? {
            self.stop.check()?;
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(BACKUP) {
                continue;
            }
            if kind == PathKind::Directory {
                if source.is_mount_point(name) {
                    return Err(io::ErrorKind::CrossesDevices.into());
                }
                replica.make_directory(name, 0o777)?;
                match self.replicate(&path, &source.open_directory(name)?, &replica.open_directory(name)?, scripts)? {
                    ReplicaDirectory::Kept => kept += 1,
                    ReplicaDirectory::Emptied => {
                        replica.remove_directory(name)?;
                        left_out += 1;
                    }
                }
            } else if path == Path::new("conda-meta").join(HISTORY) {
                // The new history comes from the stage.
            } else if self.removes(&path) {
                left_out += 1;
            } else if self.new.contains(&path) {
                // A new file takes this path.
                kept += 1;
            } else {
                if scripts != ScriptTiming::Never && kind == PathKind::File && self.is_untracked(&path) {
                    source.copy(name, replica, name, self.stop.flag())?;
                } else {
                    source.hard_link(name, replica, name)?;
                }
                kept += 1;
            }
        }
        let goes = left_out > 0 && !self.is_needed(relative) || self.is_in_the_way(relative);
        if kept == 0 && goes && !relative.as_os_str().is_empty() {
            return Ok(ReplicaDirectory::Emptied);
        }
        // Directories of packages get the same time as after a first installation.
        let mut attributes = Attributes::from(&was);
        if left_out > 0 || self.needed.contains(relative) {
            attributes.set_time(self.time);
        } else {
            attributes.set_time(was.time.0);
        }
        replica.set_attributes(here, &attributes)?;
        Ok(ReplicaDirectory::Kept)
    }

    /// After the exchange, links files into the new prefix that another program has added to or replaced in the old one
    /// meanwhile. The old prefix stays complete.
    pub(crate) fn carry_over(&self, prefix: &Root) -> io::Result<()> {
        self.carry_over_from(Path::new(""), self.root()?, prefix)
    }

    /// Like [`PrefixChange::carry_over`], for one directory, which is open in the old prefix.
    fn carry_over_from(&self, relative: &Path, old: &Root, prefix: &Root) -> io::Result<()> {
        for (name, kind) in old.entries(Path::new(""))? {
            self.stop.check()?;
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(BACKUP) {
                continue;
            }
            let there = prefix.lookup(&path)?;
            if kind == PathKind::Directory {
                if there.is_none_or(|there| there.is_directory()) {
                    self.carry_over_from(&path, &old.open_directory(name)?, prefix)?;
                }
                continue;
            }
            // Paths of the installation itself are skipped.
            let is_ours =
                self.removes(&path) || self.new.contains(&path) || path == Path::new("conda-meta").join(HISTORY);
            match there {
                _ if is_ours => continue,
                None => path.parent().map_or(Ok(()), |above| prefix.make_directories(above, 0o777))?,
                Some(there) if there.is_directory() || relative == Path::new("conda-meta") => continue,
                Some(there) => {
                    let is_same = |old: PathInfo| there.number == old.number || there.has_same_size_and_time(&old);
                    if old.lookup(name)?.is_none_or(is_same) {
                        continue;
                    }
                    prefix.remove_file(&path)?;
                }
            }
            old.hard_link(name, prefix, &path)?;
        }
        Ok(())
    }
}

/// The result of replicating a directory.
enum ReplicaDirectory {
    Kept,
    /// All of its contents are removed, so the directory is removed, too.
    Emptied,
}
