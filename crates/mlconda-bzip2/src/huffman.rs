//! A Huffman code. Codes of up to ten bits are looked up in a table; the longer ones, which are rare, are searched for.

use crate::bits::BitReader;

/// The number of bits that are looked up in the table.
const LOOKUP_BITS: usize = 10;
/// The longest code, in bits.
const MAX_CODE_LENGTH: usize = 20;
/// The largest number of symbols: two for runs, 255 positions, and the end.
pub(crate) const MAX_SYMBOLS: usize = 258;

#[derive(Clone)]
pub(crate) struct HuffmanCode {
    /// Indexed by the next bits: the symbol, with the length of its code in the lowest five bits. 0 if the code is
    /// longer or invalid.
    short: [u16; 1 << LOOKUP_BITS],
    /// Indexed by length: the first 20-bit prefix that is above all codes of at most this length.
    limits: [u32; MAX_CODE_LENGTH + 1],
    /// Indexed by length: the offset from a code to its index in `symbols`.
    bases: [u32; MAX_CODE_LENGTH + 1],
    /// The symbols, sorted by the length of their code, then by their number.
    symbols: [u16; MAX_SYMBOLS],
}

impl HuffmanCode {
    pub(crate) const EMPTY: Self = Self {
        short: [0; 1 << LOOKUP_BITS],
        limits: [0; MAX_CODE_LENGTH + 1],
        bases: [0; MAX_CODE_LENGTH + 1],
        symbols: [0; MAX_SYMBOLS],
    };

    /// Makes a code from the lengths (1 to 20 bits) of the symbols' codes. `None` if no code has so many codes of these
    /// lengths.
    pub(crate) fn new(lengths: &[u8]) -> Option<Self> {
        let mut this = Self::EMPTY;
        let mut counts = [0_u32; MAX_CODE_LENGTH + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let mut starts = [0; MAX_CODE_LENGTH + 1];
        let (mut code, mut index) = (0_u32, 0_u32);
        for length in 1..=MAX_CODE_LENGTH {
            starts[length] = index as usize;
            this.bases[length] = index.wrapping_sub(code);
            code += counts[length];
            index += counts[length];
            if code > 1 << length {
                return None;
            }
            this.limits[length] = code << (MAX_CODE_LENGTH - length);
            code <<= 1;
        }
        for (symbol, length) in lengths.iter().enumerate() {
            let index = &mut starts[usize::from(*length)];
            *this.symbols.get_mut(*index)? = symbol as u16;
            *index += 1;
        }
        let (mut filled, mut symbols) = (0, this.symbols.iter());
        for (length, count) in counts.iter().enumerate().take(LOOKUP_BITS + 1).skip(1) {
            for symbol in symbols.by_ref().take(*count as usize) {
                let end = filled + (1 << (LOOKUP_BITS - length));
                this.short.get_mut(filled..end)?.fill(symbol << 5 | length as u16);
                filled = end;
            }
        }
        Some(this)
    }

    /// Decodes the next symbol. At least 20 bits must be available.
    #[inline(always)]
    pub(crate) fn symbol(&self, bits: &mut BitReader<'_>) -> Option<u16> {
        let found = match self.short[bits.peek(LOOKUP_BITS as u32) as usize] {
            0 => self.long(bits.peek(MAX_CODE_LENGTH as u32))?,
            found => found,
        };
        bits.skip(u32::from(found & 31));
        Some(found >> 5)
    }

    #[cold]
    #[inline(never)]
    fn long(&self, bits: u32) -> Option<u16> {
        let length = (LOOKUP_BITS + 1..=MAX_CODE_LENGTH).find(|length| bits < self.limits[*length])?;
        let index = (bits >> (MAX_CODE_LENGTH - length)).wrapping_add(self.bases[length]);
        Some(self.symbols.get(index as usize)? << 5 | length as u16)
    }
}
