//! Writes files and links of a package into the stage.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use rattler_conda_types::{
    package::FileMode,
    prefix_record::{PathType, PathsEntry},
};
use rattler_digest::{HashingWriter, Sha256, Sha256Hash, digest::Digest as _};

use super::{
    BUFFER, FileContent, LinkError, Linking, check_stop, disk_error, first_line, path_record, replace::Replacing,
};
use crate::{
    InstallError, OutwardLinks, package::ListedPath, package_paths::link_stays_inside, python_info::PythonInfo,
};

impl Linking<'_> {
    pub(super) fn file(
        &mut self,
        source: FileContent<'_>,
        listed: &ListedPath,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let is_of_a_wheel = self.package.as_ref().is_some_and(|package| package.wheel.is_some());
        if is_of_a_wheel && listed.placeholder.is_some() {
            return self.script(source, listed, target, place);
        }
        let FileContent { content, size, executable, modified } = source;
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = self.stage.create(place, mode).map_err(disk_error)?;
        let deviates = self.deviates(listed, size);
        let record = match &listed.placeholder {
            None => {
                let hash = self.copy(content, size, &mut file, deviates.then(Sha256::new))?.or(listed.sha256);
                let record = path_record(listed, target);
                PathsEntry { size_in_bytes: Some(size), sha256: hash, sha256_in_prefix: hash, ..record }
            }
            Some(placeholder) => {
                self.check_length(placeholder.mode, &placeholder.text, &target)?;
                // Packages from before `paths.json` have no listed hash.
                let hash = (deviates || listed.sha256.is_none()).then(Sha256::new);
                let (stage, stop) = (self.stage, self.stop);
                let replacing = Replacing::new(placeholder, &stage.prefix, stage.platform, &mut file);
                let replaced = replacing.run(content, size, self.buffer, hash, &|| check_stop(stop));
                let replaced = replaced.map_err(|error| in_file(error, &listed.path))?.map_err(disk_error)?;
                if replaced.ends_with_hole {
                    mlconda_system::end_with_hole(&file).map_err(disk_error)?;
                }
                self.own.prefix = Some(stage.prefix.clone().into());
                PathsEntry {
                    sha256: replaced.original.or(listed.sha256),
                    sha256_in_prefix: Some(replaced.written),
                    size_in_bytes: Some(size),
                    file_mode: Some(placeholder.mode),
                    prefix_placeholder: Some(placeholder.text.clone()),
                    ..path_record(listed, target)
                }
            }
        };
        let record = self.without_symbols(&mut file, record)?;
        let signed = self.sign(&file, &record, place)?;
        match signed {
            // The time is set by path, because `codesign` replaces the file by another one.
            Some(_) => self.stage.root.set_time(place, modified),
            None => mlconda_system::set_time(file.file(), modified),
        }
        .map_err(disk_error)?;
        Ok(PathsEntry { sha256_in_prefix: signed.or(record.sha256_in_prefix), ..record })
    }

    /// Renews the signature of a macOS program whose bytes have changed, because it would not start otherwise. Returns
    /// its new sha256.
    fn sign(&self, file: &fs_err::File, record: &PathsEntry, place: &Path) -> Result<Option<Sha256Hash>, LinkError> {
        let is_changed = record.file_mode == Some(FileMode::Binary) && record.sha256 != record.sha256_in_prefix;
        if !is_changed || !self.stage.platform.is_osx() {
            return Ok(None);
        }
        mlconda_system::sign_program(file.file(), &self.stage.root.path().join(place)).map_err(disk_error)
    }

    /// Copies the content of a file. Returns its sha256 if `hash` is given.
    pub(super) fn copy(
        &mut self,
        content: &mut dyn Read,
        size: u64,
        file: &mut fs_err::File,
        mut hash: Option<Sha256>,
    ) -> Result<Option<Sha256Hash>, LinkError> {
        let (mut left, mut ends_with_hole) = (size, false);
        self.buffer.resize(BUFFER, 0);
        while left > 0 {
            self.check_stop()?;
            let piece = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            content.read_exact(&mut self.buffer[..piece])?;
            ends_with_hole = mlconda_system::write_piece(&mut *file, &self.buffer[..piece]).map_err(disk_error)?;
            if let Some(hash) = &mut hash {
                hash.update(&self.buffer[..piece]);
            }
            left -= piece as u64;
        }
        if ends_with_hole {
            mlconda_system::end_with_hole(file).map_err(disk_error)?;
        }
        Ok(hash.map(|hash| hash.finalize()))
    }

    /// The first line (shebang) of a script for the python of the prefix, with these options.
    pub(super) fn first_line(&self, python: &PythonInfo, options: &str) -> String {
        let program = format!("{}/{}", self.stage.prefix.trim_end_matches('/'), python.path().display());
        first_line::run(&program, options, first_line::LINUX)
    }

    /// Checks that the prefix fits into the placeholder of a binary file. A text file can grow.
    fn check_length(&self, kind: FileMode, placeholder: &str, path: &Path) -> Result<(), LinkError> {
        let (prefix, room) = (self.stage.prefix.len(), placeholder.len());
        if kind == FileMode::Binary && prefix > room && !self.stage.platform.is_windows() {
            let (package, path) = (self.name(), path.to_owned());
            return Err(InstallError::PrefixTooLong { package, path, prefix, room }.into());
        }
        Ok(())
    }

    pub(super) fn soft_link(
        &mut self,
        to: &Path,
        modified: i64,
        listed: &ListedPath,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        if self.outward_links == OutwardLinks::Refuse && !link_stays_inside(&target, to) {
            let package = self.name();
            return Err(InstallError::OutwardLink { package, path: target, to: to.to_owned() }.into());
        }
        self.stage.root.soft_link(to, place).map_err(disk_error)?;
        self.stage.root.set_time(place, modified).map_err(disk_error)?;
        self.own.links.insert(target.clone(), to.to_owned());
        // The hash in the package is that of the link's target, and here the target may be a file of another package.
        Ok(PathsEntry { path_type: PathType::SoftLink, sha256_in_prefix: None, ..path_record(listed, target) })
    }

    /// Links a hard link to an earlier path of the package.
    pub(super) fn same_file(
        &mut self,
        to: &Path,
        listed: &ListedPath,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let source = self.target(to)?;
        let Some(known) = self.paths.iter().find(|entry| entry.relative_path == source).cloned() else {
            return self.same_as_left_out(&source, listed, target, place);
        };
        let stage = &self.stage.root;
        stage.hard_link(&self.stage.place(&source, self.number), stage, place).map_err(disk_error)?;
        if self.own.executable.contains(&source) {
            self.own.executable.insert(target.clone());
        }
        Ok(PathsEntry { relative_path: target, no_link: listed.no_link, ..known })
    }
}

/// An error about the content of a file, with its path.
fn in_file(error: io::Error, path: &Path) -> LinkError {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display())).into()
}

/// The sha256 of an open file.
pub(super) fn sha256_of(file: &mut fs_err::File) -> io::Result<Sha256Hash> {
    let mut hash = HashingWriter::<_, Sha256>::new(io::sink());
    io::copy(file, &mut hash)?;
    Ok(hash.finalize().1)
}
