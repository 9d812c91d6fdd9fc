//! A bundle that is appended to the program that installs it: one executable for a machine without any tools.
//!
//! The program is an ELF file, and its headers tell where it ends. After it comes a block of metadata, then the tar.
//! The block shows if the end of the file is missing, and allows another program in front of the same tar.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_system::{Slice, elf, files};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest, digest::Digest as _, parse_digest_from_hex};

use crate::{BundleError, format::BLOCK};

/// The first bytes of the block.
const MARK: &str = "mlconda-executable 1\n";

/// The contents of the block after a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The size of the program in bytes.
    program: u64,
    program_sha256: Sha256Hash,
    /// The size of the tar, in bytes.
    bundle: u64,
    /// The sha256 of the tar's list of members, which contains the hashes of all other members.
    index_sha256: Sha256Hash,
}

impl Executable {
    pub(crate) fn new(program: u64, program_sha256: Sha256Hash, bundle: u64, index: &str) -> Self {
        Self { program, program_sha256, bundle, index_sha256: compute_bytes_digest::<Sha256>(index) }
    }

    /// Finds the block in a file that begins with a program. `None` if the file does not begin with one, or has no
    /// block.
    pub(crate) fn find(file: &Arc<File>, path: &Path) -> Result<Option<Self>, BundleError> {
        let Some(program) = program_size(file)? else { return Ok(None) };
        let mut block = Vec::new();
        Slice::new(Arc::clone(file), program.next_multiple_of(BLOCK), BLOCK).reader().read_to_end(&mut block)?;
        if !block.starts_with(MARK.as_bytes()) {
            return Ok(None);
        }
        match Self::parse(&block) {
            Some(found) if found.program == program => Ok(Some(found)),
            _ => Err(BundleError::damaged(path, "the data after the program is invalid")),
        }
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(block).ok()?.trim_end_matches('\0');
        let [program, bundle] = <[&str; 2]>::try_from(text.strip_prefix(MARK)?.lines().collect::<Vec<_>>()).ok()?;
        let pair = |line: &str, word: &str| {
            let (size, hash) = line.strip_prefix(word)?.split_once(' ')?;
            Some((size.parse().ok()?, parse_digest_from_hex::<Sha256>(hash)?))
        };
        let ((program, program_sha256), (bundle, index_sha256)) =
            (pair(program, "program ")?, pair(bundle, "bundle ")?);
        Some(Self { program, program_sha256, bundle, index_sha256 }).filter(|found| found.bundle < 1 << 62)
    }

    /// The bytes of the block.
    pub(crate) fn render(&self) -> Vec<u8> {
        let Self { program, program_sha256, bundle, index_sha256 } = self;
        let (of_program, of_index) = (hex::encode(program_sha256), hex::encode(index_sha256));
        let mut block = format!("{MARK}program {program} {of_program}\nbundle {bundle} {of_index}\n").into_bytes();
        block.resize(usize::try_from(BLOCK).unwrap_or_default(), 0);
        block
    }

    /// The offset of the tar, for a program of this size, in bytes.
    pub(crate) fn base_of(program: u64) -> u64 {
        program.next_multiple_of(BLOCK) + BLOCK
    }

    /// The size of the program in bytes.
    pub fn program_size(&self) -> u64 {
        self.program
    }

    /// The offset of the tar in the file, in bytes. `tail -c +N`, where N is one more, writes the tar.
    pub fn base(&self) -> u64 {
        Self::base_of(self.program)
    }

    /// The size of the whole file, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.base() + self.bundle
    }

    /// Whether the tar's list of members has the hash that is in the block.
    pub(crate) fn has_index(&self, text: &[u8]) -> bool {
        compute_bytes_digest::<Sha256>(text) == self.index_sha256
    }

    /// Compares the program with its hash, and the bytes of the block with what they must be.
    pub(crate) fn verify(&self, file: &Arc<File>, path: &Path) -> Result<(), BundleError> {
        let program = Program { path: path.to_owned(), file: Arc::clone(file), size: self.program };
        if program.copy(&mut |_, _| Ok(()))? != self.program_sha256 {
            return Err(BundleError::damaged(path, "the program in it is not the one that was put into it"));
        }
        let (mut behind, begin) = (Vec::new(), self.program);
        Slice::new(Arc::clone(file), begin, self.base() - begin).reader().read_to_end(&mut behind)?;
        let (zeros, block) = behind.split_at(behind.len().saturating_sub(usize::try_from(BLOCK).unwrap_or_default()));
        match zeros.iter().all(|byte| *byte == 0) && block == self.render() {
            true => Ok(()),
            false => Err(BundleError::damaged(path, "the data after the program was changed")),
        }
    }
}

/// A program that a bundle can be appended to.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    file: Arc<File>,
    /// The size in bytes, without a bundle that was appended already.
    size: u64,
}

impl Program {
    /// Opens a program.
    ///
    /// # Errors
    /// If the file is not a 64-bit ELF program, or if something other than a bundle is appended to it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let refuse = |reason| BundleError::Program { program: path.to_owned(), reason };
        let file = Arc::new(files::open(path)?.into_parts().0);
        let size = program_size(&file)?.ok_or_else(|| refuse("it is no program of 64 bits for Linux"))?;
        if file.metadata()?.len() != size && Executable::find(&file, path)?.is_none() {
            return Err(refuse("it already has data after its end"));
        }
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the dynamic loader that the program needs; `None` if the program is static.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn interpreter(&self) -> io::Result<Option<String>> {
        Ok(elf::program(&self.path)?.and_then(|program| program.interpreter))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Calls `piece` with the pieces of the program and their offsets. Returns the sha256 of the program.
    pub(crate) fn copy(&self, piece: &mut dyn FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<Sha256Hash> {
        let slice = Slice::new(Arc::clone(&self.file), 0, self.size);
        let (mut buffer, mut place, mut hasher) = (vec![0; 256 << 10], 0, Sha256::default());
        loop {
            match slice.read_at(&mut buffer, place)? {
                0 => return Ok(hasher.finalize()),
                count => {
                    hasher.update(&buffer[..count]);
                    piece(&buffer[..count], place)?;
                    place += count as u64;
                }
            }
        }
    }
}

/// The size of the program at the beginning of a file; `None` if there is no program.
fn program_size(file: &Arc<File>) -> io::Result<Option<u64>> {
    elf::end(&mut |place, size| {
        let mut bytes = Vec::new();
        Slice::new(Arc::clone(file), place, size).reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_read_as_it_was_written() {
        let executable = Executable::new(8_754_280, compute_bytes_digest::<Sha256>("program"), 312_000_000, "index");
        assert_eq!(Executable::parse(&executable.render()), Some(executable.clone()));
        assert_eq!(executable.base() % BLOCK, 0);
        for cut in 0..170 {
            assert_eq!(Executable::parse(&executable.render()[..cut]), None, "{cut}");
        }
    }
}
