//! Links a package from the cache: its files are hard-linked into the stage. Only files that contain the prefix are
//! written.

use std::path::PathBuf;

use mlconda_system::{LinkMethod, beneath::Root};
use rattler_conda_types::prefix_record::PathsEntry;

use super::{FileContent, LinkError, Linking, disk_error, path_record, write::sha256_of};
use crate::{
    cache::Cached,
    contents::{Content, ContentKind},
    package::ListedPath,
};

impl Linking<'_> {
    /// Links the contents of a package from the cache. Call [`Linking::finish`] afterwards.
    pub(crate) fn link_cached(&mut self, cached: Cached) -> Result<(), LinkError> {
        let Cached { root, package, contents } = cached;
        self.take(package, contents.len())?;
        self.select(contents.iter().map(|content| &content.listed));
        for Content { kind, listed, size, modified } in contents {
            self.check_stop()?;
            let is_file = matches!(kind, ContentKind::File | ContentKind::Program);
            let target = self.target(&listed.path)?;
            if !listed.is_directory && self.leaves_out(&target, if is_file { size } else { 0 }) {
                continue;
            }
            let executable = match kind {
                ContentKind::File => false,
                ContentKind::Program => true,
                ContentKind::SoftLink(to) => {
                    let place = self.claim(&target)?.into_owned();
                    let entry = self.soft_link(&to, modified, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                ContentKind::HardLink(to) => {
                    let place = self.claim(&target)?.into_owned();
                    let entry = self.same_file(&to, &listed, target, &place)?;
                    self.paths.push(entry);
                    continue;
                }
                ContentKind::Directory => {
                    self.empty_directory(&listed)?;
                    continue;
                }
            };
            if executable {
                self.own.executable.insert(target.clone());
            }
            let entry = if listed.placeholder.is_none() && !self.has_symbols(&root, &listed.path, &target)? {
                self.same_as(&root, &listed, target, size)?
            } else {
                let mut content = root.read(&listed.path)?;
                let source = FileContent { content: &mut content, size, executable, modified };
                let place = self.claim(&target)?.into_owned();
                self.file(source, &listed, target, &place)?
            };
            self.paths.push(entry);
        }
        Ok(())
    }

    /// Links a file of the cache that needs no change.
    fn same_as(
        &mut self,
        from: &Root,
        listed: &ListedPath,
        target: PathBuf,
        size: u64,
    ) -> Result<PathsEntry, LinkError> {
        let stage = self.stage;
        let hash = match self.deviates(listed, size) {
            true => Some(sha256_of(&mut from.read(&listed.path)?)?),
            false => listed.sha256,
        };
        let inner = self.claim(&target)?;
        // A package can require a copy (`no_link`) of a file that it changes later.
        let made = match listed.no_link {
            true => self.linker.copy(from, &listed.path, &stage.root, &inner, self.stop).map(|()| LinkMethod::Copy),
            false => self.linker.link(from, &listed.path, &stage.root, &inner, self.stop),
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
