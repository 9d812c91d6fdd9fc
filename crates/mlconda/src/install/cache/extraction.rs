//! Writes a package into the cache: its files as they are, and last a seal that says what was written.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rattler_digest::{Sha256, compute_bytes_digest};
use serde::{Deserialize, Serialize};

use crate::{
    install::{
        package::{Info, invalid},
        stage::is_inside,
        unpack::{Entry, Kind, Sink},
    },
    system::{self, Linker},
};

/// What `paths.json` cannot tell of a package in the cache: what proves `paths.json` itself, and the texts of soft
/// links, for which it has the hash of the file that they pointed to when the package was built.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Seal {
    /// The sha256 of each file of `info/`, in hex.
    pub(super) info: BTreeMap<String, String>,
    /// What each soft link points to.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// The size of all files in bytes.
    pub(super) bytes: u64,
}

impl Seal {
    /// Where it is. No package can bring a file of this name: of its `info/`, only what linking reads is written.
    const NAME: &str = "info/mlconda.json";

    pub(super) fn read(place: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs_err::read(place.join(Self::NAME))?)?)
    }
}

/// Writes entries as they are.
pub(super) struct Extraction<'a> {
    root: &'a Path,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
    /// The paths that linking will ask for.
    listed: Option<HashSet<PathBuf>>,
    /// The files that are there: what a hard link may be to.
    files: HashSet<PathBuf>,
    copies: Linker,
    seal: Seal,
}

impl Sink for Extraction<'_> {
    type Error = io::Error;

    fn begin(&mut self, info: &Info) -> io::Result<()> {
        self.seal = Seal::default();
        fs_err::create_dir_all(self.root.join("info"))?;
        for (name, content) in info.files() {
            fs_err::write(self.root.join(name), content)?;
            self.seal.info.insert(name.to_owned(), hex::encode(compute_bytes_digest::<Sha256>(content)));
        }
        self.listed = Some(info.read()?.paths.into_keys().collect());
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(invalid("the installation was stopped"));
        }
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
                write(content, entry.size, &file, &mut self.buffer)?;
                system::set_mode(file.file(), mode)?;
                system::set_time(file.file(), entry.modified)?;
            }
            Kind::OnDisk(file) => {
                self.copies.make(&file, &place)?;
            }
            // Where a link points to is judged when it gets into a prefix; nothing here is written through one.
            Kind::SoftLink(to) => {
                fs_err::os::unix::fs::symlink(&to, &place)?;
                self.seal.links.insert(entry.path, to);
                return system::set_link_time(&place, entry.modified);
            }
            Kind::HardLink(to) if self.files.contains(&to) => {
                fs_err::hard_link(self.root.join(to), place)?;
                self.files.insert(entry.path);
                return Ok(());
            }
            Kind::HardLink(to) => return Err(invalid(format!("`{}` is not a file of the package", to.display()))),
        }
        self.seal.bytes += entry.size;
        self.files.insert(entry.path);
        Ok(())
    }
}

impl<'a> Extraction<'a> {
    pub(super) fn new(root: &'a Path, stop: &'a AtomicBool) -> Self {
        let (buffer, files) = (vec![0; 1 << 20], HashSet::new());
        Self { root, stop, buffer, listed: None, files, copies: Linker::of_copies(), seal: Seal::default() }
    }

    /// Writes down what has been written.
    pub(super) fn seal(&self) -> io::Result<()> {
        fs_err::write(self.root.join(Seal::NAME), serde_json::to_vec(&self.seal)?)
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

fn write(content: &mut dyn Read, size: u64, mut file: &fs_err::File, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        content.read_exact(&mut buffer[..piece])?;
        Write::write_all(&mut file, &buffer[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}
