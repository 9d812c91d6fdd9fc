//! A Huffman code: a table for codes of up to ten bits, and a search for the longer ones, which are rare.

use crate::bits::BitReader;

/// The number of bits that are looked up in the table.
const LOOKUP_BITS: usize = 10;
/// The longest code, in bits.
const MAX_CODE_LENGTH: usize = 20;
/// The most symbols: two for runs, 255 positions, and the end.
pub(crate) const MAX_SYMBOLS: usize = 258;

#[derive(Clone)]
pub(crate) struct HuffmanCode {
    /// By the next bits: the symbol, and the length of its code in the low five bits; 0 for a longer code, or none.
    short: [u16; 1 << LOOKUP_BITS],
    /// By length: the first 20-bit prefix beyond all codes of up to this length.
    limits: [u32; MAX_CODE_LENGTH + 1],
    /// By length: the offset from a code to its index in `symbols`.
    bases: [u32; MAX_CODE_LENGTH + 1],
    /// The symbols, sorted by the length of their code, then by number.
    symbols: [u16; MAX_SYMBOLS],
}

impl HuffmanCode {
    pub(crate) const EMPTY: Self = Self {
        short: [0; 1 << LOOKUP_BITS],
        limits: [0; MAX_CODE_LENGTH + 1],
        bases: [0; MAX_CODE_LENGTH + 1],
        symbols: [0; MAX_SYMBOLS],
    };

    /// Makes a code from the lengths (1 to 20) of the symbols' codes; `None` if they are too many for a code.
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

    /// Decodes the next symbol; 20 bits must be available.
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
