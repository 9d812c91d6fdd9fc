//! Puts a package of the cache into the stage: its files become the prefix's by hard link, and only those that hold the
//! prefix are written.

use std::path::{Path, PathBuf};

use rattler_conda_types::prefix_record::PathsEntry;

use super::{File, LinkError, Linking, disk, plain};
use crate::{
    install::{
        cache::Cached,
        contents::{Content, Kind},
        package::Listed,
    },
    system,
};

impl Linking<'_> {
    /// Links all that a package of the cache holds; but for [`Linking::finish`], as reading its archive would.
    pub(in crate::install) fn link_cached(&mut self, cached: Cached) -> Result<(), LinkError> {
        let Cached { place, directory, package, contents } = cached;
        self.take(package, contents.len())?;
        for Content { kind, listed, size, modified } in contents {
            self.listen()?;
            let executable = match kind {
                Kind::File => false,
                Kind::Program => true,
                Kind::SoftLink(to) => {
                    let target = self.target(&listed.path)?;
                    let place = self.stage.root().join(self.claim(&target)?);
                    let entry = self.soft_link(&to, modified, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                Kind::HardLink(to) => {
                    let target = self.target(&listed.path)?;
                    let place = self.stage.root().join(self.claim(&target)?);
                    let entry = self.same_file(&to, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                Kind::Directory => {
                    self.empty_directory(&listed)?;
                    continue;
                }
            };
            let target = self.target(&listed.path)?;
            if executable {
                self.own.executable.insert(target.clone());
            }
            let entry = if listed.placeholder.is_none() {
                self.same_as(&place, &directory, &listed, target, size)?
            } else {
                let mut content = fs_err::File::open(place.join(&listed.path))?;
                let source = File { content: &mut content, size, executable, modified };
                let place = self.stage.root().join(self.claim(&target)?);
                self.file(source, &listed, target, &place)?
            };
            self.paths.push(entry);
        }
        Ok(())
    }

    /// A file that is the cache's.
    fn same_as(
        &mut self,
        place: &Path,
        directory: &std::fs::File,
        listed: &Listed,
        target: PathBuf,
        size: u64,
    ) -> Result<PathsEntry, LinkError> {
        let inner = self.claim(&target)?;
        if !system::link_at(directory, &listed.path, &self.stage.directory, &inner) {
            system::link_or_copy(&place.join(&listed.path), &self.stage.root().join(&inner)).map_err(disk)?;
        }
        drop(inner);
        Ok(PathsEntry { size_in_bytes: Some(size), ..plain(listed, target) })
    }
}
