//! Reads the two parts of a `.conda` archive. It is a zip of `metadata.json`, `info-….tar.zst` and `pkg-….tar.zst`,
//! stored without further compression.

use std::io::{self, Read, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// A readable archive. All archives are boxed, so that the zip reader is compiled only once.
pub trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// A part of a `.conda` archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The metadata of the package: `info/`.
    Info,
    /// The files that are installed.
    Content,
}

/// Opens a part: the bytes of a tar.
///
/// # Errors
/// If the archive cannot be read, is not a zip, or lacks the part; or if the part is also compressed in the zip.
pub fn part<'a>(archive: Box<dyn Source + 'a>, part: Part) -> io::Result<impl Read + use<'a>> {
    let mut zip = ZipArchive::new(archive).map_err(bad_zip)?;
    let beginning = match part {
        Part::Info => "info-",
        Part::Content => "pkg-",
    };
    let is_it = |name: &str| name.starts_with(beginning) && name.ends_with(".tar.zst");
    let names = zip.file_names().filter_map(Result::ok);
    let name = names.into_iter().find(|name| is_it(name)).map(|name| name.into_owned());
    let missing = || invalid("the archive lacks its `info` or `pkg` part");
    let index = zip.index_for_name(&name.ok_or_else(missing)?).ok_or_else(missing)?;
    let (start, size) = {
        let member = zip.by_index(index).map_err(bad_zip)?;
        if member.compression() != CompressionMethod::Stored {
            return Err(invalid("a part of the archive is compressed twice"));
        }
        (member.data_start().ok_or_else(missing)?, member.size())
    };
    let mut archive = zip.into_inner();
    archive.seek(SeekFrom::Start(start))?;
    zstd::stream::read::Decoder::new(archive.take(size))
}

/// Converts a zip error to an I/O error.
fn bad_zip(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => invalid(format!("invalid zip archive: {error}")),
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
