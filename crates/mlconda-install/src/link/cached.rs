//! Links a package of the cache: its files are hard-linked into the stage. Only files that contain the prefix are written.

use std::path::PathBuf;

use mlconda_system::{LinkMethod, PathBelow, files};
use rattler_conda_types::prefix_record::PathsEntry;
use rattler_digest::{Sha256, compute_file_digest};

use super::{FileContent, LinkError, Linking, disk_error, path_record};
use crate::{
    cache::Cached,
    contents::{Content, ContentKind},
    package::ListedPath,
};

impl Linking<'_> {
    /// Links the contents of a package of the cache. Call [`Linking::finish`] afterwards.
    pub(crate) fn link_cached(&mut self, cached: Cached) -> Result<(), LinkError> {
        let Cached { place, directory, package, contents } = cached;
        self.take(package, contents.len())?;
        for Content { kind, listed, size, modified } in contents {
            self.check_stop()?;
            let executable = match kind {
                ContentKind::File => false,
                ContentKind::Program => true,
                ContentKind::SoftLink(to) => {
                    let target = self.target(&listed.path)?;
                    let place = self.stage.root().join(self.claim(&target)?);
                    let entry = self.soft_link(&to, modified, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                ContentKind::HardLink(to) => {
                    let target = self.target(&listed.path)?;
                    let place = self.stage.root().join(self.claim(&target)?);
                    let entry = self.same_file(&to, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                ContentKind::Directory => {
                    self.empty_directory(&listed)?;
                    continue;
                }
            };
            let target = self.target(&listed.path)?;
            if executable {
                self.own.executable.insert(target.clone());
            }
            let entry = if listed.placeholder.is_none() {
                self.same_as(
                    PathBelow { root: &place, directory: &directory, path: &listed.path },
                    &listed,
                    target,
                    size,
                )?
            } else {
                let mut content = files::open(&place.join(&listed.path))?;
                let source = FileContent { content: &mut content, size, executable, modified };
                let place = self.stage.root().join(self.claim(&target)?);
                self.file(source, &listed, target, &place)?
            };
            self.paths.push(entry);
        }
        Ok(())
    }

    /// Links a file of the cache.
    fn same_as(
        &mut self,
        from: PathBelow<'_>,
        listed: &ListedPath,
        target: PathBuf,
        size: u64,
    ) -> Result<PathsEntry, LinkError> {
        let stage = self.stage;
        let hash = match self.deviates(listed, size) {
            true => Some(compute_file_digest::<Sha256>(&from.full_path())?),
            false => listed.sha256,
        };
        let inner = self.claim(&target)?;
        let to = PathBelow { root: stage.root(), directory: &stage.directory, path: &inner };
        // A package can demand a copy (`no_link`), because it changes the file.
        let made = match listed.no_link {
            true => self.linker.copy(&from.full_path(), &to.full_path(), self.stop).map(|()| LinkMethod::Copy),
            false => self.linker.link_at(from, to, self.stop),
        };
        if made.map_err(disk_error)? == LinkMethod::HardLink {
            self.hard_linked += size;
        }
        drop(inner);
        Ok(PathsEntry {
            size_in_bytes: Some(size),
            sha256: hash,
            sha256_in_prefix: hash,
            ..path_record(listed, target)
        })
    }
}
