//! The bits of a block to the last column of its transform: header, Huffman codes, move-to-front.

use crate::{
    bits::Bits,
    huffman::{Code, SYMBOLS},
};

/// How a block begins, in two halves: the digits of pi.
const MARK: [u32; 2] = [0x31_4159, 0x26_5359];
/// After how many symbols another code may be used.
const GROUP: usize = 50;
/// How many such groups the largest block has. Some compressors write a few more choices, which nothing uses.
const GROUPS: usize = 18_002;

/// What a block says.
pub(crate) struct Block {
    /// Of the content.
    pub(crate) checksum: u32,
    /// Which row of the transform is the text.
    pub(crate) origin: u32,
    /// How often each byte is in the last column of the transform.
    pub(crate) counts: [u32; 256],
}

/// Reads a block; `last` becomes the last column of its transform.
pub(crate) fn read(bytes: &[u8], first: u32, length: u64, level: u8, last: &mut Vec<u8>) -> Option<Block> {
    if first > 7 || !level.is_ascii_digit() || level == b'0' {
        return None;
    }
    let mut bits = Bits::new(bytes, first);
    if [bits.take(24), bits.take(24)] != MARK {
        return None;
    }
    let checksum = bits.take(32);
    let is_randomised = bits.take(1) == 1;
    let origin = bits.take(24);
    let (bytes, used) = alphabet(&mut bits);
    let tables = bits.take(3) as usize;
    if is_randomised || used == 0 || !(2..=6).contains(&tables) {
        return None;
    }
    let choices = choices(&mut bits, tables)?;
    let mut codes = [const { Code::EMPTY }; 6];
    for code in codes.iter_mut().take(tables) {
        *code = read_code(&mut bits, used + 2)?;
    }
    last.resize(usize::from(level - b'0') * 100_000, 0);
    let (count, counts) = symbols(&mut bits, &codes, &choices, Front::new(bytes), used as u16 + 1, last)?;
    last.truncate(count);
    (bits.position() == length + u64::from(first) && (origin as usize) < count).then_some(Block {
        checksum,
        origin,
        counts,
    })
}

/// The bytes that occur, in their order, and how many there are.
fn alphabet(bits: &mut Bits<'_>) -> ([u8; 256], usize) {
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

/// Which code each group uses.
fn choices(bits: &mut Bits<'_>, tables: usize) -> Option<Vec<u8>> {
    let count = bits.take(15) as usize;
    let mut front = [0, 1, 2, 3, 4, 5];
    let mut choices = Vec::with_capacity(count);
    for _ in 0..count {
        let mut place = 0;
        while bits.take(1) == 1 {
            place += 1;
            if place == tables {
                return None;
            }
        }
        front[..=place].rotate_right(1);
        choices.push(front[0]);
    }
    choices.truncate(GROUPS);
    Some(choices)
}

/// A code: the length for the first symbol, then how the next lengths differ.
fn read_code(bits: &mut Bits<'_>, symbols: usize) -> Option<Code> {
    let mut lengths = [0; SYMBOLS];
    let lengths = lengths.get_mut(..symbols)?;
    let mut length = bits.take(5) as u8;
    for place in lengths.iter_mut() {
        loop {
            if !(1..=20).contains(&length) {
                return None;
            }
            if bits.take(1) == 0 {
                break;
            }
            length = if bits.take(1) == 0 { length + 1 } else { length - 1 };
        }
        *place = length;
    }
    Code::new(lengths)
}

/// Decodes the symbols up to `end` into `last`: how many bytes that are, and how often each.
fn symbols(
    bits: &mut Bits<'_>,
    codes: &[Code; 6],
    choices: &[u8],
    mut front: Front,
    end: u16,
    last: &mut [u8],
) -> Option<(usize, [u32; 256])> {
    let mut counts = [0; 256];
    let mut count = 0;
    // A run's length is written in digits 1 and 2, the lowest first.
    let (mut run, mut weight) = (0, 1);
    for choice in choices {
        let code = codes.get(usize::from(*choice))?;
        for _ in 0..GROUP {
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
            let byte = front.take(usize::from(symbol) - 1)?;
            *last.get_mut(count)? = byte;
            count += 1;
            counts[usize::from(byte)] += 1;
        }
    }
    None
}

/// The bytes by when they were used last. Most that are used are among the first sixteen, which are one number.
struct Front {
    /// The first in the lowest eight bits.
    near: u128,
    far: [u8; 240],
}

impl Front {
    fn new(bytes: [u8; 256]) -> Self {
        let mut far = [0; 240];
        far.copy_from_slice(&bytes[16..]);
        Self { near: u128::from_le_bytes(std::array::from_fn(|place| bytes[place])), far }
    }

    fn first(&self) -> u8 {
        self.near as u8
    }

    /// Moves a byte to the front.
    #[inline(always)]
    fn take(&mut self, place: usize) -> Option<u8> {
        if place > 15 {
            return self.take_far(place - 16);
        }
        let shift = 8 * place as u32;
        let byte = (self.near >> shift) as u8;
        let behind = self.near & (u128::MAX << shift << 8);
        let before = self.near & !(u128::MAX << shift);
        self.near = behind | before << 8 | u128::from(byte);
        Some(byte)
    }

    #[inline(never)]
    fn take_far(&mut self, place: usize) -> Option<u8> {
        let byte = *self.far.get(place)?;
        self.far.copy_within(..place, 1);
        self.far[0] = (self.near >> 120) as u8;
        self.near = self.near << 8 | u128::from(byte);
        Some(byte)
    }
}
