//! Files with holes: long runs of zeros that take no disk space.
//!
//! An archive of some kilobytes can contain a file of many gigabytes of zeros. As a hole, these zeros take no space,
//! and they are read as the same bytes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// The shortest piece of zeros that becomes a hole, in bytes.
const SHORTEST: usize = 64 << 10;

/// Writes the next piece of a new file. A long piece that is all zeros becomes a hole. Returns whether it did: after a
/// last piece that is a hole, the file needs [`end_with_hole`].
///
/// # Errors
/// If the file cannot be written.
pub fn write_piece(mut file: impl Seek + Write, piece: &[u8]) -> io::Result<bool> {
    let is_hole = piece.len() >= SHORTEST && is_zeros(piece);
    match is_hole {
        true => file.seek(SeekFrom::Current(i64::try_from(piece.len()).unwrap_or(i64::MAX))).map(drop)?,
        false => file.write_all(piece)?,
    }
    Ok(is_hole)
}

/// Sets the size of a file that ends with a hole.
///
/// # Errors
/// If the file cannot be written.
pub fn end_with_hole(mut file: &fs_err::File) -> io::Result<()> {
    let size = file.stream_position()?;
    file.set_len(size)
}

fn is_zeros(piece: &[u8]) -> bool {
    let mut words = piece.chunks_exact(8);
    words.by_ref().all(|word| word == [0; 8]) && words.remainder().iter().all(|byte| *byte == 0)
}

/// Copies a file in pieces of `size` bytes, and turns zeros into holes. Setting `stop` ends the copy early.
///
/// The whole file is read, because some file systems report a hole (`SEEK_HOLE`) where data was written just before.
pub(super) fn copy_with_holes(from: &mut File, to: &mut File, size: usize, stop: &AtomicBool) -> io::Result<()> {
    let (mut piece, mut ends_with_hole) = (Vec::with_capacity(size), false);
    while !stop.load(Ordering::Relaxed) {
        piece.clear();
        if Read::take(&mut *from, size as u64).read_to_end(&mut piece)? == 0 {
            let end = to.stream_position()?;
            return if ends_with_hole { to.set_len(end) } else { Ok(()) };
        }
        ends_with_hole = write_piece(&mut *to, &piece)?;
    }
    Err(io::Error::other("the installation was stopped"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_with_holes_is_read_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (zeros, ones) = (vec![0; SHORTEST], vec![1; SHORTEST]);
        let mut nearly = zeros.clone();
        nearly[SHORTEST - 1] = 1;
        let short = &zeros[1..];
        let pieces: [&[&[u8]]; 6] = [
            &[&zeros],
            &[&ones, &zeros],
            &[&zeros, &ones],
            &[&zeros, &nearly, short],
            &[&zeros, &zeros, &ones[..1]],
            &[],
        ];
        for (number, pieces) in pieces.into_iter().enumerate() {
            let [written, copied] = ["written", "copied"].map(|name| directory.path().join(format!("{name}-{number}")));
            let file = fs_err::File::create(&written).unwrap();
            let mut ends_with_hole = false;
            for piece in pieces {
                ends_with_hole = write_piece(&file, piece).unwrap();
            }
            if ends_with_hole {
                end_with_hole(&file).unwrap();
            }
            let content = fs_err::read(&written).unwrap();
            assert!(content == pieces.concat(), "{number}");
            let (from, to) = (fs_err::File::open(&written).unwrap(), fs_err::File::create(&copied).unwrap());
            let (mut from, mut to) = (from.into_file(), to.into_file());
            copy_with_holes(&mut from, &mut to, SHORTEST, &AtomicBool::new(false)).unwrap();
            assert!(fs_err::read(&copied).unwrap() == content, "{number}, copied");
            let room = |path| fs_err::metadata(path).unwrap().blocks();
            assert!(room(&copied) <= room(&written), "{number}");
        }
    }
}
