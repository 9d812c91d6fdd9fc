//! The twin of a prefix that is swapped: a copy of hard links without what goes, and what came into the old prefix meanwhile.

use std::{io, path::Path};

use mlconda_prefix::on_disk::ASIDE;
use mlconda_system::{
    Attributes,
    beneath::{Kind, Look, Root},
};

use super::{Change, HISTORY, Scripts};

impl Change<'_> {
    /// Makes a twin of the prefix, of hard links, without what goes. On an error nothing of it is left. Where scripts are
    /// to run, files of nobody are copied: a script may write into what another one has made, and the old prefix is
    /// not to see that.
    pub(crate) fn make_twin(&self, twin: &Path, scripts: Scripts) -> io::Result<()> {
        fs_err::create_dir(twin)?;
        let made = Root::open_itself(twin)
            .and_then(|into| self.twin_of(Path::new(""), &Root::open_itself(&self.prefix)?, &into, scripts));
        made.map(|_| ()).inspect_err(|_| {
            let _ = fs_err::remove_dir_all(twin);
        })
    }

    /// The same of what is in a directory, which is open in the prefix and in the twin.
    fn twin_of(&self, relative: &Path, source: &Root, twin: &Root, scripts: Scripts) -> io::Result<Twin> {
        let here = Path::new("");
        let Some(was) = source.look(here)? else { return Err(io::ErrorKind::NotFound.into()) };
        let (mut kept, mut left_out) = (0_usize, usize::from(self.hollow.contains(relative)));
        for (name, kind) in source.entries(here)? {
            self.stop.check()?;
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(ASIDE) {
                continue;
            }
            if kind == Kind::Directory {
                if source.is_mount_point(name) {
                    return Err(io::ErrorKind::CrossesDevices.into());
                }
                twin.make_directory(name, 0o777)?;
                match self.twin_of(&path, &source.enter(name)?, &twin.enter(name)?, scripts)? {
                    Twin::Kept => kept += 1,
                    Twin::Emptied => {
                        twin.remove_directory(name)?;
                        left_out += 1;
                    }
                }
            } else if path == Path::new("conda-meta").join(HISTORY) {
                // The new one comes with the stage: at once, or when all is done.
            } else if self.takes(&path) {
                left_out += 1;
            } else if self.new.contains(&path) {
                // Another one comes to its place.
                kept += 1;
            } else {
                if scripts != Scripts::Never && kind == Kind::File && self.is_of_nobody(&path) {
                    source.copy(name, twin, name, self.stop.flag())?;
                } else {
                    source.hard_link(name, twin, name)?;
                }
                kept += 1;
            }
        }
        if kept == 0 && !relative.as_os_str().is_empty() && (left_out > 0 || self.is_in_the_way(relative)) {
            return Ok(Twin::Emptied);
        }
        // A twin's directories are new ones anyway: those of packages get the time that a first installation gives.
        let mut attributes = Attributes::from(&was);
        if left_out > 0 || self.settled.contains(relative) {
            attributes.set_time(self.time);
        } else {
            attributes.set_time(was.time.0);
        }
        twin.give(here, &attributes)?;
        Ok(Twin::Kept)
    }

    /// After a swap, links what somebody put into the old prefix meanwhile into the new one, too: files that the twin has
    /// not, and those that were replaced by others. The old prefix stays whole.
    pub(crate) fn carry_over(&self, old: &Path) -> io::Result<()> {
        self.carry_over_from(Path::new(""), &Root::open_itself(old)?, &Root::open_itself(&self.prefix)?)
    }

    /// The same for what is in a directory, which is open in the old prefix.
    fn carry_over_from(&self, relative: &Path, old: &Root, prefix: &Root) -> io::Result<()> {
        for (name, kind) in old.entries(Path::new(""))? {
            self.stop.check()?;
            let (path, name) = (relative.join(&name), Path::new(&name));
            if path == Path::new(ASIDE) {
                continue;
            }
            let there = prefix.look(&path)?;
            if kind == Kind::Directory {
                if there.is_none_or(|there| there.is_directory()) {
                    self.carry_over_from(&path, &old.enter(name)?, prefix)?;
                }
                continue;
            }
            // What installations write has its names to itself.
            let is_ours =
                self.takes(&path) || self.new.contains(&path) || path == Path::new("conda-meta").join(HISTORY);
            match there {
                _ if is_ours => continue,
                None => path.parent().map_or(Ok(()), |above| prefix.make_directories(above, 0o777))?,
                Some(there) if there.is_directory() || relative == Path::new("conda-meta") => continue,
                Some(there) => {
                    let is_same = |old: Look| there.number == old.number || there.looks_the_same(&old);
                    if old.look(name)?.is_none_or(is_same) {
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
enum Twin {
    Kept,
    /// All that was in it goes, and so it goes too.
    Emptied,
}
