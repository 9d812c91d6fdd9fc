//! Access for the fuzz targets (`fuzz/`) to parts without a public function. It is compiled only with `--cfg
//! mlconda_fuzzing`, and is not a part of the library.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use crate::{
    cache, fetch,
    package::InfoFiles,
    unpack::{self, Archive, Entry, EntryKind, IdleCores, Sink},
};

/// The names of the files that [`metadata`] reads.
pub const INFO: [&str; 7] = InfoFiles::NAMES;

/// The type of an entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with this content.
    File(Vec<u8>),
    /// A soft link with this target.
    SoftLink(PathBuf),
    /// A hard link to this path.
    HardLink(PathBuf),
}

/// An entry of an archive, as the installation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The path in the archive.
    pub path: PathBuf,
    /// The type of the entry.
    pub kind: Kind,
    /// Whether the file is executable.
    pub executable: bool,
    /// The modification time, in seconds since 1970.
    pub modified: i64,
}

/// Records all entries.
#[derive(Default)]
struct Notes {
    entries: Vec<Unpacked>,
    metadata: Option<io::Result<Vec<PathBuf>>>,
}

impl Sink for Notes {
    type Error = io::Error;

    fn begin(&mut self, info: &InfoFiles) -> io::Result<()> {
        self.entries.clear();
        self.metadata = Some(read(info));
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let kind = match entry.kind {
            EntryKind::File(content) => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                Kind::File(bytes)
            }
            EntryKind::SoftLink(target) => Kind::SoftLink(target),
            EntryKind::HardLink(target) => Kind::HardLink(target),
        };
        let Entry { path, executable, modified, .. } = entry;
        self.entries.push(Unpacked { path, kind, executable, modified });
        Ok(())
    }
}

/// The paths that a package's metadata list, sorted.
fn read(info: &InfoFiles) -> io::Result<Vec<PathBuf>> {
    let metadata = info.read()?;
    let _ = metadata.record(None, None, None);
    let _ = metadata.built();
    let mut paths: Vec<PathBuf> = metadata.paths.keys().cloned().collect();
    paths.sort();
    Ok(paths)
}

/// Reads an archive in memory. Returns its entries, and the paths that its metadata list.
///
/// # Errors
/// If it is not a valid archive.
pub fn unpack(bytes: &[u8], file_name: &str) -> io::Result<(Vec<Unpacked>, io::Result<Vec<PathBuf>>)> {
    let (archive, mut notes) = (Archive::Memory(bytes.into()), Notes::default());
    unpack::unpack(&archive, file_name, &IdleCores::default(), &AtomicBool::new(false), &mut notes)?;
    let metadata = notes.metadata.unwrap_or_else(|| Err(io::Error::other("nothing began")));
    Ok((notes.entries, metadata))
}

/// Unpacks an archive into a new directory, as the package cache does.
///
/// # Errors
/// If it is not a valid archive, or contains something that is not allowed.
pub fn fill(bytes: &[u8], file_name: &str, directory: &Path) -> io::Result<()> {
    let (archive, stop) = (Archive::Memory(bytes.into()), AtomicBool::new(false));
    let filled =
        cache::fill(directory, &archive, fetch::Hashes::default(), file_name, &IdleCores::default(), None, &stop);
    filled.map(drop).map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Decompresses a bzip2 archive block by block, with helpers on this many cores.
pub fn bunzip2(bytes: &[u8], cores: usize) -> (Vec<u8>, Option<io::Error>) {
    unpack::bunzip2(bytes, cores)
}

/// The paths that these files of `info/` list, sorted. Files with other names are ignored.
///
/// # Errors
/// If a file is not valid.
pub fn metadata(files: &[(&str, &[u8])]) -> io::Result<Vec<PathBuf>> {
    let mut info = InfoFiles::default();
    for (name, content) in files {
        info.take(Path::new(name), content.len() as u64, *content)?;
    }
    read(&info)
}
