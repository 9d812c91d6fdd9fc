//! Leaves parts out of a package while it is linked. They are selected before the first file is written, and listed in
//! the record.

use std::{
    io::{self, Seek},
    path::PathBuf,
};

use mlconda_prefix::slim::{self, LeftOut, PackageFile};
use mlconda_system::beneath::Root;
use mlconda_types::slim::{Part, Slim};
use rattler_conda_types::prefix_record::PathsEntry;
use rattler_digest::Sha256Hash;

use super::{FileContent, LinkError, Linking, Path, disk_error, invalid, strip::Stripped, write::sha256_of};
use crate::package::ListedPath;

impl Linking<'_> {
    /// Selects the files that are left out of the package. `listed` are all of its paths.
    pub(super) fn select<'a>(&mut self, listed: impl Iterator<Item = &'a ListedPath>) {
        self.selected.clear();
        let Some(package) = &self.package else { return };
        let name = package.index.name.as_normalized();
        if self.slim.keeps(name) {
            return;
        }
        // A path that is not allowed in a package is refused later, when its file is linked.
        let listed = listed.filter(|listed| !listed.is_directory);
        let targets: Vec<(PathBuf, Option<Sha256Hash>)> =
            listed.filter_map(|listed| Some((self.target(&listed.path).ok()?, listed.sha256))).collect();
        let files: Vec<PackageFile<'_>> =
            targets.iter().map(|(path, sha256)| PackageFile { path, sha256: *sha256 }).collect();
        let depends = package.wheel.is_none().then_some(package.index.depends.as_slice());
        self.selected = slim::select(self.slim, name, depends, &files);
        self.own.left_out = slim::wish(self.slim, name).map(|slim| LeftOut { slim, ..LeftOut::default() });
    }

    /// Whether a file is left out. If so, it is added to the record. `bytes` is its size.
    pub(super) fn leaves_out(&mut self, target: &Path, bytes: u64) -> bool {
        let Some(part) = self.selected.get(target) else { return false };
        if let Some(left) = &mut self.own.left_out {
            left.add(*part, target.to_owned(), bytes);
        }
        true
    }

    /// Links a hard link to a file that was left out. Files with equal content are all left out or all kept, so such a
    /// file is normally empty. A file for which the package lists no size and no hash may not be empty; then this is an
    /// error.
    pub(super) fn same_as_left_out(
        &mut self,
        source: &Path,
        listed: &ListedPath,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let (shown, from) = (target.display(), source.display());
        if !self.selected.contains_key(source) {
            return Err(invalid(format!("`{shown}` is the same file as `{from}`, which is missing")).into());
        }
        if listed.size != Some(0) && listed.sha256 != Some(super::sha256(b"")) {
            let message = format!(
                "`{shown}` is the same file as `{from}`, which was left out: `keep:{}` leaves the package whole",
                self.name()
            );
            return Err(invalid(message).into());
        }
        let modified = self.package.as_ref().and_then(|package| package.built()).unwrap_or(0);
        let content = FileContent { content: &mut io::empty(), size: 0, executable: false, modified };
        self.file(content, listed, target, place)
    }

    /// Whether a file of the cache has symbols to remove.
    pub(super) fn has_symbols(&self, root: &Root, path: &Path, target: &Path) -> Result<bool, LinkError> {
        Ok(self.may_have_symbols(target) && Stripped::of(root.read(path)?.file())?.is_some())
    }

    fn may_have_symbols(&self, target: &Path) -> bool {
        let name = self.package.as_ref().map(|package| package.index.name.as_normalized());
        name.is_some_and(|name| slim::may_have_symbols(self.slim, name, target))
    }

    /// Removes the symbols from a written file, if symbols are left out. Returns the new entry for the record.
    pub(super) fn without_symbols(
        &mut self,
        file: &mut fs_err::File,
        record: PathsEntry,
    ) -> Result<PathsEntry, LinkError> {
        if !self.may_have_symbols(&record.relative_path) {
            return Ok(record);
        }
        let Some(stripped) = Stripped::of(file.file()).map_err(disk_error)? else { return Ok(record) };
        stripped.apply(file.file()).map_err(disk_error)?;
        file.rewind().map_err(disk_error)?;
        let hash = sha256_of(file).map_err(disk_error)?;
        if let Some(left) = &mut self.own.left_out {
            left.stripped.insert(record.relative_path.clone(), stripped.saved);
        }
        let size = record.size_in_bytes.map(|size| size.saturating_sub(stripped.saved));
        Ok(PathsEntry { sha256_in_prefix: Some(hash), size_in_bytes: size, ..record })
    }

    /// Completes the list of left out files in the record.
    pub(super) fn tell_left_out(&mut self) {
        let slim: &Slim = self.slim;
        let is_noarch = self.package.as_ref().is_some_and(|package| package.is_noarch_python());
        let Some(left) = &mut self.own.left_out else { return };
        if is_noarch && slim.has(Part::Bytecode) {
            left.parts.entry(Part::Bytecode.name().to_owned()).or_default();
        }
        for part in left.parts.values_mut() {
            mlconda_types::sorting::sort(&mut part.paths);
        }
    }
}
