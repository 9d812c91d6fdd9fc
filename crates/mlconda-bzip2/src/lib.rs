//! Decodes single blocks of bzip2 archives; touches nothing.
//!
//! A block is Huffman codes of move-to-front positions of a Burrows-Wheeler transform of runs of bytes. [`decode`] undoes
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

/// The content of a block, and the checksum that it says and has.
///
/// `bytes` are those in which the block is, and maybe more; `first` is the first bit of it (0 to 7, the highest is 0), and
/// `length` how many bits it has, with its mark. `level` is the digit of its stream, which says how large it may be.
/// `None` if it is not a block, does not end where it is said to, or has more than `limit` bytes of content (254 more
/// may be made before that is seen). Memory: 10 bytes for each byte of the transform, at most 9 MB, and the content.
pub fn decode(bytes: &[u8], first: u32, length: u64, level: u8, limit: usize) -> Option<(Vec<u8>, u32)> {
    let block = block::read(bytes, first, length, level)?;
    let text = transform::undo(block.last, &block.counts, block.origin)?;
    let content = runs::undo(&text, limit)?;
    (runs::checksum(&content) == block.checksum).then_some((content, block.checksum))
}
