//! Decodes single blocks of bzip2 archives. Uses no files and no network.
//!
//! In a block, the content was first run-length encoded. Then came a Burrows-Wheeler transform, move-to-front coding
//! and Huffman coding. [`Decoder`] undoes these steps in reverse order, and checks the CRC. It is strict: it returns
//! content only if the reference decoder returns the same. It returns `None` for damaged blocks, for unusual ones
//! (randomised by bzip2 0.9.0), and for blocks that are too large. The reference decoder can then tell what is wrong.

mod bits;
mod block;
mod huffman;
mod runs;
#[cfg(test)]
mod tests;
mod transform;

/// Decodes blocks, and reuses its memory for the next block: 10 bytes for each byte of a block, at most 9 MB.
#[derive(Debug, Default)]
pub struct Decoder {
    last: Vec<u8>,
    tables: transform::Tables,
}

impl Decoder {
    /// Decodes a block. Returns its content and its CRC-32.
    ///
    /// - `bytes` contain the block, and perhaps more.
    /// - `first` is the index of the block's first bit in the first byte (0 to 7; 0 is the highest bit).
    /// - `length` is the number of bits of the block, with its magic number.
    /// - `level` is the digit of the stream header. It limits the size of the block.
    /// - `limit` is the largest number of bytes of content. Up to 254 more may be decoded before the excess is noticed.
    ///
    /// `None` if the block is not valid, does not end after `length` bits, or has more content than `limit`.
    pub fn decode(&mut self, bytes: &[u8], first: u32, length: u64, level: u8, limit: usize) -> Option<(Vec<u8>, u32)> {
        let block = block::read(bytes, first, length, level, &mut self.last)?;
        self.tables.invert(&mut self.last, &block.counts, block.origin)?;
        let content = runs::decode_runs(&self.last, limit)?;
        (runs::checksum(&content) == block.checksum).then_some((content, block.checksum))
    }
}
