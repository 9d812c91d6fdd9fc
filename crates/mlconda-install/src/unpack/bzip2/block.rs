//! Decodes one block of a bzip2 archive separately.
//!
//! A block does not depend on others. `mlconda-bzip2` decodes a block directly, and refuses unusual ones. In that case,
//! a header is put before the block and an end of stream after it. The result is an archive for the usual decoder. Both
//! decoders succeed only if the block ends exactly at the given end and its content has the expected checksum. So the
//! result is the same as for a reader that begins at the beginning of the archive.

use std::io;

use bzip2::{Decompress, Status};
use mlconda_bzip2::Decoder;

use super::{
    Archive, cut_short,
    split::{Block, Splitter},
};

/// The end of a stream: the mark, and then the checksum of all blocks, which is that of the only block.
const END: u128 = 0x1772_4538_5090;

/// The largest content that is kept, in bytes. Most blocks have 0.9 MB to 2 MB of content, and a block of zeros has 46
/// MB.
const LARGEST: usize = 4 << 20;

/// The content of a block.
pub(super) enum Content {
    /// Its content.
    Whole(Vec<u8>),
    /// An archive that contains only the block, whose content is too large to keep.
    Large(Vec<u8>),
}

impl Block {
    /// An archive that contains only the block, and the checksum of the content.
    fn alone(&self) -> Option<(Vec<u8>, u32)> {
        let bits = usize::try_from(self.end - self.start).ok()?;
        let mut archive = Vec::with_capacity(self.bytes.len() + 16);
        archive.extend([b'B', b'Z', b'h', self.level]);
        align(&self.bytes, self.start, &mut archive);
        archive.truncate(4 + bits.div_ceil(8));
        let checksum = u32::from_be_bytes(*archive.get(10..)?.first_chunk()?);
        let mut end = END << 32 | u128::from(checksum);
        // The end of stream begins in the last byte of the block, after the block's last bit.
        let over = bits % 8;
        if over != 0 {
            end |= u128::from(archive.pop()? >> (8 - over)) << 80;
            end <<= 8 - over;
        }
        archive.extend(&end.to_be_bytes()[if over == 0 { 6 } else { 5 }..]);
        Some((archive, checksum))
    }
}

/// Shifts bits so that the first one is at the beginning of a byte.
fn align(bytes: &[u8], start: u64, aligned: &mut Vec<u8>) {
    let shift = start % 8;
    if shift == 0 {
        aligned.extend(bytes);
        return;
    }
    aligned.extend(bytes.windows(2).map(|pair| (u16::from_be_bytes([pair[0], pair[1]]) << shift >> 8) as u8));
    aligned.extend(bytes.last().map(|last| last << shift));
}

/// Decodes a block. `None` if it is not a valid block.
pub(super) fn decode(block: Block, decoder: &mut Decoder) -> Option<(Content, u32)> {
    let (first, length) = ((block.start % 8) as u32, block.end.saturating_sub(block.start));
    if let Some((content, checksum)) = decoder.decode(&block.bytes, first, length, block.level, LARGEST) {
        return Some((Content::Whole(content), checksum));
    }
    by_usual_decoder(block)
}

/// Decodes a block with the usual decoder, which reads all valid blocks, and contents of any size.
fn by_usual_decoder(block: Block) -> Option<(Content, u32)> {
    let (archive, checksum) = block.alone()?;
    drop(block);
    let mut decoder = Decompress::new(false);
    let mut content = Vec::with_capacity(1 << 20);
    let mut is_large = false;
    let mut left = archive.as_slice();
    loop {
        if content.len() == content.capacity() {
            if content.len() >= LARGEST {
                is_large = true;
                content.clear();
            } else {
                content.reserve(content.len());
            }
        }
        let before = decoder.total_in();
        let status = decoder.decompress_vec(left, &mut content).ok()?;
        left = left.get(usize::try_from(decoder.total_in() - before).ok()?..)?;
        match status {
            Status::StreamEnd if !left.is_empty() => return None,
            Status::StreamEnd if is_large => return Some((Content::Large(archive), checksum)),
            Status::StreamEnd => return Some((Content::Whole(content), checksum)),
            _ if left.is_empty() && content.len() < content.capacity() => return None,
            _ => {}
        }
    }
}

/// Finds the true end of a block that does not end at the first mark. The error is the one that a reader from the
/// beginning would get.
pub(super) fn repair(archive: &Archive, start: u64, level: u8) -> io::Result<Block> {
    let mut splitter = Splitter::at_mark(archive.clone(), start, level);
    let mut decoder = Decompress::new(false);
    let fault = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    decoder.decompress(&[b'B', b'Z', b'h', level], &mut [0]).map_err(fault)?;
    let (mut fed, mut from) = (start, start + 48);
    loop {
        let end = splitter.mark(from)?.ok_or_else(cut_short);
        let stop = *end.as_ref().unwrap_or(&splitter.length());
        // Only whole bytes can be decoded. The last one may contain bits of the next block, which do no harm.
        let count = usize::try_from(stop.saturating_sub(fed).div_ceil(8)).map_err(io::Error::other)?;
        let mut piece = Vec::with_capacity(count + 1);
        align(splitter.bytes(fed, stop.max(fed) + 8), fed, &mut piece);
        piece.truncate(count);
        decoder.decompress(&piece, &mut [0]).map_err(fault)?;
        if decoder.total_out() > 0 {
            let end = end?;
            return Ok(Block { start, end, level, bytes: splitter.bytes(start, end).to_vec() });
        }
        let end = end?;
        fed += count as u64 * 8;
        from = end + 1;
    }
}
