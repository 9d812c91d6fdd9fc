//! One Huffman code: a table for codes of up to ten bits, and a search for the longer ones, which are rare.

use crate::bits::Bits;

/// How many bits are looked up at once.
const LOOKUP: usize = 10;
/// How many bits the longest code may have.
const LONGEST: usize = 20;
/// How many symbols there may be: two for runs, 255 positions, the end.
pub(crate) const SYMBOLS: usize = 258;

#[derive(Clone)]
pub(crate) struct Code {
    /// By the next bits: symbol and length of the code (the low five bits); 0 if it is longer, or none.
    short: [u16; 1 << LOOKUP],
    /// By length: the first bits that no code up to this length begins, as a number of 20 bits.
    limits: [u32; LONGEST + 1],
    /// By length: what makes a code a place in `symbols`.
    bases: [u32; LONGEST + 1],
    /// By length of their codes, then by number.
    symbols: [u16; SYMBOLS],
}

impl Code {
    pub(crate) const EMPTY: Self =
        Self { short: [0; 1 << LOOKUP], limits: [0; LONGEST + 1], bases: [0; LONGEST + 1], symbols: [0; SYMBOLS] };

    /// Of the lengths (1 to 20) of the symbols' codes; `None` if there are not as many codes.
    pub(crate) fn new(lengths: &[u8]) -> Option<Self> {
        let mut this = Self::EMPTY;
        let mut counts = [0_u32; LONGEST + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let mut places = [0; LONGEST + 1];
        let (mut code, mut place) = (0_u32, 0_u32);
        for length in 1..=LONGEST {
            places[length] = place as usize;
            this.bases[length] = place.wrapping_sub(code);
            code += counts[length];
            place += counts[length];
            if code > 1 << length {
                return None;
            }
            this.limits[length] = code << (LONGEST - length);
            code <<= 1;
        }
        for (symbol, length) in lengths.iter().enumerate() {
            let place = &mut places[usize::from(*length)];
            *this.symbols.get_mut(*place)? = symbol as u16;
            *place += 1;
        }
        let (mut filled, mut symbols) = (0, this.symbols.iter());
        for (length, count) in counts.iter().enumerate().take(LOOKUP + 1).skip(1) {
            for symbol in symbols.by_ref().take(*count as usize) {
                let end = filled + (1 << (LOOKUP - length));
                this.short.get_mut(filled..end)?.fill(symbol << 5 | length as u16);
                filled = end;
            }
        }
        Some(this)
    }

    /// The next symbol; 20 bits must be there.
    #[inline(always)]
    pub(crate) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let found = match self.short[bits.peek(LOOKUP as u32) as usize] {
            0 => self.long(bits.peek(LONGEST as u32))?,
            found => found,
        };
        bits.skip(u32::from(found & 31));
        Some(found >> 5)
    }

    #[cold]
    #[inline(never)]
    fn long(&self, bits: u32) -> Option<u16> {
        let length = (LOOKUP + 1..=LONGEST).find(|length| bits < self.limits[*length])?;
        let place = (bits >> (LONGEST - length)).wrapping_add(self.bases[length]);
        Some(self.symbols.get(place as usize)? << 5 | length as u16)
    }
}
