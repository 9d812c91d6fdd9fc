//! Reads the archive of a package as a stream of entries.
//!
//! A `.conda` file is a zip of two `.tar.zst` files. The one with `info/` is read first, in any order of the two. A
//! `.tar.bz2` is one stream, which is read twice if `info/` does not come first. The members of a wheel are read like
//! those of an equivalent noarch python package ([`wheel`]).

mod bzip2;
mod idle_cores;
mod tar;
#[cfg(test)]
mod tests;
pub(super) mod wheel;
mod window;

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use ::tar::Entry as TarEntry;
use mlconda_channel::conda_archive::{self, Part, Source};

#[cfg(mlconda_fuzzing)]
pub(super) use self::bzip2::bunzip2;
pub(super) use self::idle_cores::IdleCores;
use self::{
    bzip2::Bzip2Reader,
    idle_cores::BorrowedCore,
    tar::{ExactSize, Metered, Stoppable, Tar},
};
use super::package::{InfoFiles, invalid};
use mlconda_system::Slice;

/// A verified archive: in memory if it is small, else in an unnamed file or in a part of a bundle.
#[derive(Clone, Debug)]
pub(super) enum Archive {
    /// Its bytes.
    Memory(Arc<[u8]>),
    /// An open file.
    File(Arc<File>),
    /// A part of an open file.
    Part(Slice),
}

impl Archive {
    /// Opens the archive at its beginning.
    fn open(&self) -> io::Result<Box<dyn Source + '_>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Self::File(file) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(io::BufReader::with_capacity(128 << 10, file)))
            }
            Self::Part(slice) => Ok(Box::new(io::BufReader::with_capacity(128 << 10, slice.reader()))),
        }
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Part(slice) => Ok(slice.size()),
        }
    }

    /// Copies the archive to a writer.
    pub(super) fn copy_to(&self, to: &mut impl io::Write) -> io::Result<u64> {
        io::copy(&mut self.open()?, to)
    }

    /// Reads bytes at an offset. Returns their number: 0 at the end.
    fn read_at(&self, buffer: &mut [u8], place: u64) -> io::Result<usize> {
        let file = match self {
            Self::Memory(bytes) => {
                let bytes = usize::try_from(place).ok().and_then(|place| bytes.get(place..)).unwrap_or(&[]);
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                return Ok(count);
            }
            Self::Part(slice) => return slice.read_at(buffer, place),
            Self::File(file) => file,
        };
        loop {
            match file.read_at(buffer, place) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// The type of an entry.
pub(super) enum EntryKind<'a> {
    /// A file with this content.
    File(&'a mut dyn Read),
    /// A soft link with this target.
    SoftLink(PathBuf),
    /// A hard link to an earlier path.
    HardLink(PathBuf),
}

/// An entry of an archive. Directories are left out, because `paths.json` lists those that matter.
pub(super) struct Entry<'a> {
    /// The path in the archive.
    pub path: PathBuf,
    pub(super) kind: EntryKind<'a>,
    /// The size of the content, in bytes.
    pub(super) size: u64,
    /// Whether the file is executable.
    pub(super) executable: bool,
    /// The modification time, in seconds since 1970.
    pub(super) modified: i64,
}

/// Receives entries. An error ends reading.
pub(super) trait Sink {
    /// The error.
    type Error: From<io::Error>;
    /// Receives the files of `info/`, before the first entry, and again if the archive is read a second time.
    fn begin(&mut self, info: &InfoFiles) -> Result<(), Self::Error>;
    /// Receives one entry.
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), Self::Error>;
}

/// Reads an archive into a sink, on this thread and on idle cores.
pub(super) fn unpack<S: Sink>(
    archive: &Archive,
    file_name: &str,
    idle_cores: &IdleCores,
    stop: &AtomicBool,
    sink: &mut S,
) -> Result<(), S::Error> {
    if file_name.ends_with(".whl") {
        return wheel::unpack(archive, file_name, sink);
    }
    if file_name.ends_with(".conda") {
        let mut info = InfoFiles::default();
        read_info(Stoppable { reader: conda_archive::part(archive.open()?, Part::Info)?, stop }, &mut info)?;
        sink.begin(&info)?;
        let content = conda_archive::part(archive.open()?, Part::Content)?;
        return pass_all(Stoppable { reader: content, stop }, sink);
    }
    let bzip2 = || io::Result::Ok(Stoppable { reader: Bzip2Reader::new(archive, idle_cores)?, stop });
    match unpack_at_once(bzip2()?, sink)? {
        InfoPosition::InfoFirst => Ok(()),
        InfoPosition::Other => {
            let mut info = InfoFiles::default();
            read_info(bzip2()?, &mut info)?;
            sink.begin(&info)?;
            pass_all(bzip2()?, sink)
        }
    }
}

/// Reads a tar up to its very end, so that a truncated one is noticed.
fn pass_all<S: Sink>(content: impl Read, sink: &mut S) -> Result<(), S::Error> {
    let mut tar = Tar::new(content);
    for entry in tar.entries()? {
        pass_on(entry?, sink)?;
    }
    Ok(tar.finish()?)
}

/// The position of `info/` in a `.tar.bz2`.
enum InfoPosition {
    InfoFirst,
    Other,
}

/// Reads a `.tar.bz2` once, if its `info/` comes first.
fn unpack_at_once<S: Sink>(archive: impl Read, sink: &mut S) -> Result<InfoPosition, S::Error> {
    let mut info = Some(InfoFiles::default());
    let mut tar = Tar::new(archive);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = path_of(&entry)?;
        match &mut info {
            Some(info) if path.starts_with("info") => {
                let size = entry.size();
                info.take(&path, size, &mut entry)?;
                continue;
            }
            Some(files) if !files.has_index_and_paths() => return Ok(InfoPosition::Other),
            Some(files) => {
                sink.begin(files)?;
                info = None;
            }
            None if InfoFiles::is_needed(&path) => return Ok(InfoPosition::Other),
            None => {}
        }
        pass_on(entry, sink)?;
    }
    tar.finish()?;
    match info {
        // A package without files.
        Some(files) => sink.begin(&files).map(|()| InfoPosition::InfoFirst),
        None => Ok(InfoPosition::InfoFirst),
    }
}

fn read_info(archive: impl Read, info: &mut InfoFiles) -> io::Result<()> {
    let mut tar = Tar::new(archive);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let (path, size) = (path_of(&entry)?, entry.size());
        info.take(&path, size, &mut entry)?;
    }
    tar.finish()
}

/// The path of an entry. Some archives put `./` in front of it.
fn path_of(entry: &TarEntry<'_, impl Read>) -> io::Result<PathBuf> {
    let path = entry.path()?;
    Ok(path.strip_prefix(".").map_or_else(|_| path.to_path_buf(), Path::to_path_buf))
}

fn pass_on<S: Sink>(entry: TarEntry<'_, Metered<impl Read>>, sink: &mut S) -> Result<(), S::Error> {
    let path = path_of(&entry)?;
    if path.starts_with("info") {
        return Ok(());
    }
    let header = entry.header();
    let (executable, modified) = (header.mode()? & 0o111 != 0, i64::try_from(header.mtime()?).unwrap_or(0));
    let (entry_type, size) = (header.entry_type(), entry.size());
    let target = entry.link_name()?.map(Cow::into_owned);
    let mut content = ExactSize { content: entry, left: size };
    let kind = if entry_type.is_file() || entry_type.is_contiguous() || entry_type.is_gnu_sparse() {
        EntryKind::File(&mut content)
    } else if let (true, Some(target)) = (entry_type.is_symlink(), target.clone()) {
        EntryKind::SoftLink(target)
    } else if let (true, Some(target)) = (entry_type.is_hard_link(), target) {
        EntryKind::HardLink(target.strip_prefix(".").map(Path::to_owned).unwrap_or(target))
    } else if entry_type.is_dir() || entry_type.is_pax_global_extensions() {
        return Ok(());
    } else {
        return Err(invalid(format!("`{}` is neither a file, a link nor a directory", path.display())).into());
    };
    sink.entry(Entry { path, kind, size, executable, modified })
}
