//! Decodes single blocks of bzip2 archives; touches nothing.
//!
//! A block is Huffman codes of move-to-front positions of a Burrows-Wheeler transform of runs of bytes. [`Decoder`] undoes
//! all of it and compares the checksum. It is strict: it gives a content only where the reference decoder gives the same.
//! What is damaged, unusual (blocks that bzip2 0.9.0 has randomised) or too large is `None`; whoever wants to know what is
//! wrong asks the reference decoder.

mod bits;
mod block;
mod huffman;
mod runs;
#[cfg(test)]
mod tests;
mod transform;

/// The memory in which blocks are decoded, kept from one block to the next: at most 9 MB.
#[derive(Debug, Default)]
pub struct Decoder {
    last: Vec<u8>,
    rows: Vec<u32>,
    pairs: Vec<u32>,
    seconds: Vec<u8>,
}

impl Decoder {
    /// The content of a block, and the checksum that it says and has.
    ///
    /// `bytes` are those in which the block is, and maybe more; `first` is the first bit of it (0 to 7, the highest is 0),
    /// and `length` how many bits it has, with its mark. `level` is the digit of its stream, which says how large it may
    /// be. `None` if it is not a block, does not end where it is said to, or has more than `limit` bytes of content (254
    /// more may be made before that is seen).
    pub fn decode(&mut self, bytes: &[u8], first: u32, length: u64, level: u8, limit: usize) -> Option<(Vec<u8>, u32)> {
        let block = block::read(bytes, first, length, level, &mut self.last)?;
        transform::undo(
            &mut self.last,
            &block.counts,
            block.origin,
            &mut self.rows,
            &mut self.pairs,
            &mut self.seconds,
        )?;
        let content = runs::undo(&self.last, limit)?;
        (runs::checksum(&content) == block.checksum).then_some((content, block.checksum))
    }
}
