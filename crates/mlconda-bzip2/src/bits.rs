//! Reads bits, the most significant one first.

/// Reads bytes as bits. After the last byte it returns zeros; [`BitReader::position`] shows that the end was passed.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The index of the next byte to load.
    at: usize,
    /// The next bits, left-aligned.
    next: u64,
    /// The number of valid bits in `next`.
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], skip: u32) -> Self {
        let mut bits = Self { bytes, at: 0, next: 0, count: 0 };
        bits.refill();
        bits.skip(skip);
        bits
    }

    /// Loads bytes until at least 56 bits are available.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        let word = self.bytes.get(self.at..).and_then(|bytes| bytes.first_chunk()).copied();
        self.next |= u64::from_be_bytes(word.unwrap_or_else(|| self.last())) >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// The last bytes, fewer than eight, padded with zeros.
    #[cold]
    #[inline(never)]
    fn last(&self) -> [u8; 8] {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(self.bytes.get(self.at..).unwrap_or(&[])) {
            *to = *from;
        }
        word
    }

    /// The next `count` bits (1 to 32), which stay unread. The last [`BitReader::refill`] must have made them
    /// available.
    #[inline(always)]
    pub(crate) fn peek(&self, count: u32) -> u32 {
        (self.next >> (64 - count)) as u32
    }

    /// Skips `count` bits, which must be available.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        self.next <<= count;
        self.count -= count;
    }

    /// Reads 1 to 32 bits.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u32 {
        self.refill();
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// The number of bits that were read.
    pub(crate) fn position(&self) -> u64 {
        self.at as u64 * 8 - u64::from(self.count)
    }
}
