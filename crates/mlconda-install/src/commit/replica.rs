//! The twin of a prefix that is swapped: a copy of hard links without what goes, and what came into the old prefix meanwhile.

use std::{io, path::Path};

use mlconda_prefix::on_disk::BACKUP;
use mlconda_system::{
    Attributes,
    beneath::{PathInfo, PathKind, Root},
};

use super::{HISTORY, PrefixChange, ScriptTiming};

impl PrefixChange<'_> {
    /// Makes a twin of the prefix, of hard links, without what goes. On an error nothing of it is left. Where scripts are
    /// to run, files of nobody are copied: a script may write into what another one has made, and the old prefix is
    /// not to see that.
    pub(crate) fn make_replica(&self, replica: &Path, scripts: ScriptTiming) -> io::Result<()> {
        fs_err::create_dir(replica)?;
        let made = Root::open_no_follow(replica)
            .and_then(|into| self.replicate(Path::new(""), &Root::open_no_follow(&self.prefix)?, &into, scripts));
        made.map(|_| ()).inspect_err(|_| {
            let _ = fs_err::remove_dir_all(replica);
        })
    }

    /// The same of what is in a directory, which is open in the prefix and in the twin.
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
                // The new one comes with the stage: at once, or when all is done.
            } else if self.removes(&path) {
                left_out += 1;
            } else if self.new.contains(&path) {
                // Another one comes to its place.
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
        if kept == 0 && !relative.as_os_str().is_empty() && (left_out > 0 || self.is_in_the_way(relative)) {
            return Ok(ReplicaDirectory::Emptied);
        }
        // A twin's directories are new ones anyway: those of packages get the time that a first installation gives.
        let mut attributes = Attributes::from(&was);
        if left_out > 0 || self.kept_directories.contains(relative) {
            attributes.set_time(self.time);
        } else {
            attributes.set_time(was.time.0);
        }
        replica.set_attributes(here, &attributes)?;
        Ok(ReplicaDirectory::Kept)
    }

    /// After a swap, links what somebody put into the old prefix meanwhile into the new one, too: files that the twin has
    /// not, and those that were replaced by others. The old prefix stays whole.
    pub(crate) fn carry_over(&self, old: &Path) -> io::Result<()> {
        self.carry_over_from(Path::new(""), &Root::open_no_follow(old)?, &Root::open_no_follow(&self.prefix)?)
    }

    /// The same for what is in a directory, which is open in the old prefix.
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
            // What installations write has its names to itself.
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

/// What became of a directory in the twin.
enum ReplicaDirectory {
    Kept,
    /// All that was in it goes, and so it goes too.
    Emptied,
}
