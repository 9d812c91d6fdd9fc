//! Decodes a block up to the Burrows-Wheeler transform: header, Huffman codes, move-to-front.

use crate::{
    bits::BitReader,
    huffman::{HuffmanCode, MAX_SYMBOLS},
};

/// The two halves of the magic number of a block, which are digits of pi.
const BLOCK_MAGIC: [u32; 2] = [0x31_4159, 0x26_5359];
/// The number of symbols in a group. All symbols of a group use the same Huffman code.
const GROUP_SIZE: usize = 50;
/// The number of groups in the largest block. Some compressors write a few more selectors, which are not used.
const MAX_SELECTORS: usize = 18_002;

/// A decoded block. The last column of its transform is returned apart from this.
pub(crate) struct Block {
    /// The CRC-32 of the decompressed content.
    pub(crate) checksum: u32,
    /// The index of the row of the transform that is the original text.
    pub(crate) origin: u32,
    /// How often each byte occurs in the last column of the transform.
    pub(crate) counts: [u32; 256],
}

pub(crate) fn read(bytes: &[u8], first: u32, length: u64, level: u8, last: &mut Vec<u8>) -> Option<Block> {
    if first > 7 || !level.is_ascii_digit() || level == b'0' {
        return None;
    }
    let mut bits = BitReader::new(bytes, first);
    if [bits.take(24), bits.take(24)] != BLOCK_MAGIC {
        return None;
    }
    let checksum = bits.take(32);
    let is_randomised = bits.take(1) == 1;
    let origin = bits.take(24);
    let (bytes, used) = read_alphabet(&mut bits);
    let tables = bits.take(3) as usize;
    if is_randomised || used == 0 || !(2..=6).contains(&tables) {
        return None;
    }
    let selectors = read_selectors(&mut bits, tables)?;
    let mut codes = [const { HuffmanCode::EMPTY }; 6];
    for code in codes.iter_mut().take(tables) {
        *code = read_code(&mut bits, used + 2)?;
    }
    last.resize(usize::from(level - b'0') * 100_000, 0);
    let (count, counts) =
        decode_symbols(&mut bits, &codes, &selectors, MoveToFront::new(bytes), used as u16 + 1, last)?;
    last.truncate(count);
    (bits.position() == length + u64::from(first) && (origin as usize) < count).then_some(Block {
        checksum,
        origin,
        counts,
    })
}

/// Reads the bytes that occur in the block, in ascending order, and their number.
fn read_alphabet(bits: &mut BitReader<'_>) -> ([u8; 256], usize) {
    let (mut bytes, mut used) = ([0; 256], 0);
    let rows = bits.take(16);
    for row in (0..16).filter(|row| rows >> (15 - row) & 1 == 1) {
        let columns = bits.take(16);
        for column in (0..16).filter(|column| columns >> (15 - column) & 1 == 1) {
            bytes[used] = row << 4 | column;
            used += 1;
        }
    }
    (bytes, used)
}

/// Reads the index of the Huffman code of each group.
fn read_selectors(bits: &mut BitReader<'_>, tables: usize) -> Option<Vec<u8>> {
    let count = bits.take(15) as usize;
    let mut front = [0, 1, 2, 3, 4, 5];
    let mut selectors = Vec::with_capacity(count);
    for _ in 0..count {
        let mut index = 0;
        while bits.take(1) == 1 {
            index += 1;
            if index == tables {
                return None;
            }
        }
        front[..=index].rotate_right(1);
        selectors.push(front[0]);
    }
    selectors.truncate(MAX_SELECTORS);
    Some(selectors)
}

/// Reads a Huffman code: the length of the first symbol's code, then the difference to the next length, and so on.
fn read_code(bits: &mut BitReader<'_>, symbols: usize) -> Option<HuffmanCode> {
    let mut lengths = [0; MAX_SYMBOLS];
    let lengths = lengths.get_mut(..symbols)?;
    let mut length = bits.take(5) as u8;
    for index in lengths.iter_mut() {
        loop {
            if !(1..=20).contains(&length) {
                return None;
            }
            if bits.take(1) == 0 {
                break;
            }
            length = if bits.take(1) == 0 { length + 1 } else { length - 1 };
        }
        *index = length;
    }
    HuffmanCode::new(lengths)
}

/// Decodes the symbols up to the symbol `end` into `last`. Returns the number of bytes, and how often each byte occurs.
fn decode_symbols(
    bits: &mut BitReader<'_>,
    codes: &[HuffmanCode; 6],
    selectors: &[u8],
    mut front: MoveToFront,
    end: u16,
    last: &mut [u8],
) -> Option<(usize, [u32; 256])> {
    let mut counts = [0; 256];
    let mut count = 0;
    // The length of a run is written as a number with the digits 1 and 2 (bijective base 2), the lowest digit first.
    let (mut run, mut weight) = (0, 1);
    for selector in selectors {
        let code = codes.get(usize::from(*selector))?;
        for _ in 0..GROUP_SIZE {
            bits.refill();
            let symbol = code.symbol(bits)?;
            if symbol < 2 {
                run += weight << symbol;
                weight <<= 1;
                if run > last.len() {
                    return None;
                }
                continue;
            }
            if run > 0 {
                let byte = front.first();
                last.get_mut(count..count + run)?.fill(byte);
                counts[usize::from(byte)] += run as u32;
                count += run;
                (run, weight) = (0, 1);
            }
            if symbol == end {
                return Some((count, counts));
            }
            let byte = front.move_to_front(usize::from(symbol) - 1)?;
            *last.get_mut(count)? = byte;
            count += 1;
            counts[usize::from(byte)] += 1;
        }
    }
    None
}

/// The move-to-front list. Most symbols refer to the first sixteen bytes, so these are kept in one number.
struct MoveToFront {
    /// The first sixteen bytes; the first one is in the lowest eight bits.
    near: u128,
    far: [u8; 240],
}

impl MoveToFront {
    fn new(bytes: [u8; 256]) -> Self {
        let mut far = [0; 240];
        far.copy_from_slice(&bytes[16..]);
        Self { near: u128::from_le_bytes(std::array::from_fn(|index| bytes[index])), far }
    }

    fn first(&self) -> u8 {
        self.near as u8
    }

    /// Moves the byte at an index to the front, and returns it.
    #[inline(always)]
    fn move_to_front(&mut self, index: usize) -> Option<u8> {
        if index > 15 {
            return self.move_far(index - 16);
        }
        let shift = 8 * index as u32;
        let byte = (self.near >> shift) as u8;
        let behind = self.near & (u128::MAX << shift << 8);
        let before = self.near & !(u128::MAX << shift);
        self.near = behind | before << 8 | u128::from(byte);
        Some(byte)
    }

    #[inline(never)]
    fn move_far(&mut self, index: usize) -> Option<u8> {
        let byte = *self.far.get(index)?;
        self.far.copy_within(..index, 1);
        self.far[0] = (self.near >> 120) as u8;
        self.near = self.near << 8 | u128::from(byte);
        Some(byte)
    }
}
