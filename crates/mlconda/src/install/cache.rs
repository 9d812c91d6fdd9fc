//! The package cache, if there is one: extracted packages, each in a directory named by its archive's sha256.
//!
//! A package gets in only after its archive has been checked, is extracted aside, and appears by one rename: what
//! is there is whole, whoever else is at it. Prefixes share its files by hard link. Nothing here makes the cache's
//! own directory: without one there is no cache.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    contents::{self, Content},
    package::{Info, Listed, Package, invalid},
    stage::{Paths, is_inside},
    unpack::{Archive, Entry, Kind, Sink, Spare, unpack},
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
const ARCHIVE_SIZE: &str = "info/mlconda-archive-size";

/// The size of the archive that a package of the cache came in.
pub(super) fn archive_size(place: &Path) -> Option<u64> {
    fs_err::read_to_string(place.join(ARCHIVE_SIZE)).ok()?.parse().ok()
}

/// Whether a package is in the cache.
pub(super) fn is_there(place: &Path) -> bool {
    place.join(contents::NAME).is_file()
}

/// Extracts a verified archive to its place in the cache.
pub(super) fn fill(place: &Path, archive: &Archive, file_name: &str, spare: &Spare) -> io::Result<()> {
    let parent = place.parent().ok_or_else(|| invalid("the cache has no directory"))?;
    fs_err::create_dir_all(parent)?;
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let mut extraction =
        Extraction { root: aside.path(), buffer: vec![0; 1 << 20], listed: None, contents: BTreeMap::new() };
    unpack(archive, file_name, spare, &mut extraction)?;
    extraction.finish()?;
    fs_err::write(aside.path().join(ARCHIVE_SIZE), archive.len()?.to_string())?;
    system::set_directory_mode(aside.path(), 0o755)?;
    match fs_err::rename(aside.path(), place) {
        // Another process was faster: its package is as good as ours.
        Err(_) if is_there(place) => Ok(()),
        other => {
            let _ = aside.keep();
            other
        }
    }
}

/// A package of the cache.
pub(super) struct Cached {
    /// Its place.
    pub(super) place: PathBuf,
    /// Its directory, open: looking a path up from here is shorter.
    pub(super) directory: File,
    /// What it says of itself; its paths are in `contents`.
    pub(super) package: Package,
    /// Its paths, sorted.
    pub(super) contents: Vec<Content>,
}

/// Reads what a package of the cache holds.
pub(super) fn read(place: &Path) -> io::Result<Cached> {
    let mut info = Info::default();
    for name in Info::NAMES {
        if name != "info/paths.json"
            && let Ok(mut file) = fs_err::File::open(place.join(name))
        {
            let size = file.metadata()?.len();
            info.take(Path::new(name), size, &mut file)?;
        }
    }
    let contents = contents::parse(&fs_err::read(place.join(contents::NAME))?)?;
    let directory = fs_err::File::open(place)?.into_parts().0;
    Ok(Cached { place: place.to_owned(), directory, package: info.read_all_but_paths()?, contents })
}

/// Writes entries as they are.
struct Extraction<'a> {
    root: &'a Path,
    buffer: Vec<u8>,
    /// The paths that linking will ask for and that have not come yet; `None` before it is known which.
    listed: Option<Paths<Listed>>,
    /// Those that have come, by path.
    contents: BTreeMap<PathBuf, Content>,
}

impl Sink for Extraction<'_> {
    type Error = io::Error;

    fn begin(&mut self, info: &Info) -> io::Result<()> {
        fs_err::create_dir_all(self.root.join("info"))?;
        for (name, content) in info.files() {
            fs_err::write(self.root.join(name), content)?;
        }
        self.listed = Some(info.read()?.paths);
        self.contents.clear();
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let listed = self.listed.as_mut().and_then(|listed| listed.remove(&entry.path));
        let Some(listed) = listed.filter(|listed| !listed.is_directory) else { return Ok(()) };
        if !is_inside(&entry.path) {
            return Err(invalid(format!("`{}` is not a path that a package may write", entry.path.display())));
        }
        let place = self.root.join(&entry.path);
        self.make_parent(&entry.path)?;
        system::remove_if_there(&place)?;
        let (mut size, mut modified) = (entry.size, entry.modified);
        let kind = match entry.kind {
            Kind::File(content) => {
                let mode = if entry.executable { 0o755 } else { 0o644 };
                let file = system::create_new(&place, mode)?;
                copy(content, entry.size, &file, &mut self.buffer)?;
                system::set_mode(file.file(), mode)?;
                system::set_time(file.file(), entry.modified)?;
                if entry.executable { contents::Kind::Program } else { contents::Kind::File }
            }
            // Where a link points to is judged when it gets into a prefix; nothing here is written through one.
            Kind::SoftLink(to) => {
                fs_err::os::unix::fs::symlink(&to, &place)?;
                contents::Kind::SoftLink(to)
            }
            Kind::HardLink(to) => {
                let other = self.contents.get(&to).filter(|other| !matches!(other.kind, contents::Kind::SoftLink(_)));
                let other = other.ok_or_else(|| invalid(format!("`{}` is not a file of the package", to.display())))?;
                fs_err::hard_link(self.root.join(&to), place)?;
                (size, modified) = (other.size, other.modified);
                match &other.kind {
                    contents::Kind::HardLink(first) => contents::Kind::HardLink(first.clone()),
                    _ => contents::Kind::HardLink(to),
                }
            }
        };
        self.contents.insert(entry.path, Content { kind, listed, size, modified });
        Ok(())
    }
}

impl Extraction<'_> {
    /// Writes down what has come. What has been listed and has not come can only be directories.
    fn finish(mut self) -> io::Result<()> {
        for (path, listed) in self.listed.take().into_iter().flatten() {
            if !listed.is_directory {
                return Err(invalid(format!("`{}` is listed but missing", path.display())));
            }
            self.contents.insert(path, Content { kind: contents::Kind::Directory, listed, size: 0, modified: 0 });
        }
        self.sort_hard_links();
        let contents: Vec<Content> = self.contents.into_values().collect();
        fs_err::write(self.root.join(contents::NAME), contents::render(&contents)?)
    }

    /// Of the paths of one file, lets the first be the file, and the others be links to it: they are linked in this order.
    fn sort_hard_links(&mut self) {
        let mut groups: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for (path, content) in &self.contents {
            if let contents::Kind::HardLink(to) = &content.kind {
                groups.entry(to.clone()).or_insert_with(|| vec![to.clone()]).push(path.clone());
            }
        }
        for (file, mut paths) in groups {
            let Some(kind) = self.contents.get(&file).map(|content| content.kind.clone()) else { continue };
            paths.sort();
            let first = paths.remove(0);
            let linked = paths.into_iter().map(|path| (path, contents::Kind::HardLink(first.clone())));
            for (path, kind) in linked.chain([(first.clone(), kind)]).collect::<Vec<_>>() {
                if let Some(content) = self.contents.get_mut(&path) {
                    content.kind = kind;
                }
            }
        }
    }

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
