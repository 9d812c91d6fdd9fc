//! The package cache, if there is one: extracted packages, each in a directory named by its archive's sha256.
//!
//! A package gets in only after its archive has been checked, is extracted aside, and appears by one rename: what
//! is there is whole, whoever else is at it. Prefixes share its files by hard link. Nothing here makes the cache's
//! own directory: without one there is no cache.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rattler_conda_types::package::PathType;

use super::{
    package::{Info, invalid},
    stage::is_inside,
    unpack::{Archive, Entry, Kind, Sink, unpack},
};
use crate::{
    lock::{Digest, LockedPackage},
    system,
};

/// The place of a package in the cache; `None` where the lock gives no sha256 to know it by.
pub(super) fn place(cache: &Path, package: &LockedPackage) -> Option<PathBuf> {
    match &package.digest {
        Digest::Sha256(hash) => Some(cache.join("pkgs").join(hex::encode(hash))),
        Digest::Md5(_) | Digest::Unknown => None,
    }
}

/// Where the size of a package's archive is noted, in bytes as text: the archive itself is not kept.
const ARCHIVE_SIZE: &str = "info/archive-size";

/// The size of the archive that a package of the cache came in.
pub(super) fn archive_size(place: &Path) -> Option<u64> {
    fs_err::read_to_string(place.join(ARCHIVE_SIZE)).ok()?.parse().ok()
}

/// Extracts a verified archive to its place in the cache.
pub(super) fn fill(place: &Path, archive: &Archive, file_name: &str) -> io::Result<()> {
    let parent = place.parent().ok_or_else(|| invalid("the cache has no directory"))?;
    fs_err::create_dir_all(parent)?;
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let mut extraction =
        Extraction { root: aside.path(), buffer: vec![0; 1 << 20], listed: None, files: HashSet::new() };
    unpack(archive, file_name, &mut extraction)?;
    fs_err::write(aside.path().join(ARCHIVE_SIZE), archive.size()?.to_string())?;
    system::set_directory_mode(aside.path(), 0o755)?;
    match fs_err::rename(aside.path(), place) {
        // Another process was faster: its package is as good as ours.
        Err(_) if place.is_dir() => Ok(()),
        other => {
            let _ = aside.keep();
            other
        }
    }
}

/// Reads a package of the cache into a sink, as [`unpack`] reads an archive.
pub(super) fn read<S: Sink>(place: &Path, sink: &mut S) -> Result<(), S::Error> {
    let mut info = Info::default();
    for name in Info::NAMES {
        if let Ok(mut file) = fs_err::File::open(place.join(name)) {
            let size = file.metadata().map_err(S::Error::from)?.len();
            info.take(Path::new(name), size, &mut file)?;
        }
    }
    let mut paths: Vec<_> = info.read()?.paths.into_values().collect();
    paths.sort_by(|one, other| one.relative_path.cmp(&other.relative_path));
    sink.begin(&info)?;
    // Only an archive's own hard links make several paths of a package one file. They stay so in the prefix, also
    // where the file is a copy or gets a prefix.
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    for listed in paths.into_iter().filter(|listed| listed.path_type != PathType::Directory) {
        let file = place.join(&listed.relative_path);
        let metadata = fs_err::symlink_metadata(&file)?;
        let modified = system::modified(&metadata);
        let kind = if metadata.is_symlink() {
            Kind::SoftLink(fs_err::read_link(&file)?)
        } else {
            match first.get(&metadata.ino()) {
                Some(first) => Kind::HardLink(first.clone()),
                None => {
                    first.insert(metadata.ino(), listed.relative_path.clone());
                    Kind::OnDisk(file)
                }
            }
        };
        let executable = system::is_executable(&metadata);
        sink.entry(Entry { path: listed.relative_path, kind, size: metadata.len(), executable, modified })?;
    }
    Ok(())
}

/// Writes entries as they are.
struct Extraction<'a> {
    root: &'a Path,
    buffer: Vec<u8>,
    /// The paths that linking will ask for.
    listed: Option<HashSet<PathBuf>>,
    /// The files that are there: what a hard link may be to.
    files: HashSet<PathBuf>,
}

impl Sink for Extraction<'_> {
    type Error = io::Error;

    fn begin(&mut self, info: &Info) -> io::Result<()> {
        fs_err::create_dir_all(self.root.join("info"))?;
        for (name, content) in info.files() {
            fs_err::write(self.root.join(name), content)?;
        }
        self.listed = Some(info.read()?.paths.into_keys().collect());
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        if self.listed.as_ref().is_some_and(|listed| !listed.contains(&entry.path)) {
            return Ok(());
        }
        if !is_inside(&entry.path) {
            return Err(invalid(format!("`{}` is not a path that a package may write", entry.path.display())));
        }
        let place = self.root.join(&entry.path);
        self.make_parent(&entry.path)?;
        system::remove_if_there(&place)?;
        match entry.kind {
            Kind::File(content) => {
                let mode = if entry.executable { 0o755 } else { 0o644 };
                let file = system::create_new(&place, mode)?;
                copy(content, entry.size, &file, &mut self.buffer)?;
                system::set_mode(file.file(), mode)?;
                system::set_time(file.file(), entry.modified)?;
                self.files.insert(entry.path);
                Ok(())
            }
            // Where a link points to is judged when it gets into a prefix; nothing here is written through one.
            Kind::SoftLink(to) => {
                fs_err::os::unix::fs::symlink(to, &place)?;
                system::set_link_time(&place, entry.modified)
            }
            Kind::HardLink(to) if self.files.contains(&to) => {
                fs_err::hard_link(self.root.join(to), place)?;
                self.files.insert(entry.path);
                Ok(())
            }
            Kind::HardLink(to) => Err(invalid(format!("`{}` is not a file of the package", to.display()))),
            Kind::OnDisk(file) => fs_err::copy(file, place).map(|_| ()),
        }
    }
}

impl Extraction<'_> {
    /// Makes the directories of a path, none of which may be a link.
    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let mut place = self.root.to_owned();
        for part in path.parent().into_iter().flat_map(Path::components) {
            place.push(part);
            match fs_err::symlink_metadata(&place) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(invalid(format!("`{}` is a file and a directory", path.display()))),
                Err(_) => fs_err::create_dir(&place)?,
            }
        }
        Ok(())
    }
}

fn copy(content: &mut dyn Read, size: u64, mut file: &fs_err::File, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        content.read_exact(&mut buffer[..piece])?;
        io::Write::write_all(&mut file, &buffer[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}
