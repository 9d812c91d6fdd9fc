//! Decodes single blocks of bzip2 archives. Uses no files and no network.
//!
//! A block is a sequence of Huffman codes of move-to-front positions of a Burrows-Wheeler transform of run-length
//! encoded bytes. [`Decoder`] undoes all of it and checks the CRC. It is strict: it returns content only if the
//! reference decoder returns the same. For damaged, unusual (randomised by bzip2 0.9.0) and too large blocks it
//! returns `None`; then the reference decoder tells what is wrong.

mod bits;
mod block;
mod huffman;
mod runs;
#[cfg(test)]
mod tests;
mod transform;

/// Decodes blocks, and keeps its memory from one to the next: 10 bytes for each byte of the transform, at most 9 MB.
#[derive(Debug, Default)]
pub struct Decoder {
    last: Vec<u8>,
    tables: transform::Tables,
}

impl Decoder {
    /// Decodes a block. Returns its content and its CRC-32.
    ///
    /// `bytes` contain the block and perhaps more. `first` is its first bit (0 to 7, where 0 is the highest), and
    /// `length` the number of its bits, with the magic. `level` is the digit of the stream header, which limits the size
    /// of the block. `None` if it is not a valid block, does not end where it should, or has more than `limit` bytes of
    /// content (up to 254 more may be decoded before that is noticed).
    pub fn decode(&mut self, bytes: &[u8], first: u32, length: u64, level: u8, limit: usize) -> Option<(Vec<u8>, u32)> {
        let block = block::read(bytes, first, length, level, &mut self.last)?;
        self.tables.invert(&mut self.last, &block.counts, block.origin)?;
        let content = runs::decode_runs(&self.last, limit)?;
        (runs::checksum(&content) == block.checksum).then_some((content, block.checksum))
    }
}
