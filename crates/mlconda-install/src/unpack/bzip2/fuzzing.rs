//! Access for the fuzz targets (`fuzz/`), which compare the reader with a plain decoder. It is compiled only with
//! `--cfg mlconda_fuzzing`.

use std::io::{self, Read};

use super::{Archive, Bzip2Reader, IdleCores};

/// Decompresses with helpers on `cores` cores, even if the archive is small. With 0 cores, only this thread is used.
/// Also returns the content before an error.
pub(crate) fn bunzip2(bytes: &[u8], cores: usize) -> (Vec<u8>, Option<io::Error>) {
    let idle_cores = IdleCores::default();
    let _lent: Vec<_> = (0..cores).map(|_| idle_cores.lend()).collect();
    let (archive, mut content) = (Archive::Memory(bytes.into()), Vec::new());
    let read = Bzip2Reader::new(&archive, &idle_cores).and_then(|mut reader| {
        reader.is_large = cores > 0;
        reader.read_to_end(&mut content)
    });
    (content, read.err())
}
