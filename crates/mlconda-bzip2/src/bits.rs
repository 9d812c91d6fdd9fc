//! Reads bits, the highest of each byte first.

/// Bytes as bits. After their end come zeros; [`Bits::position`] tells that it was passed.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to be loaded.
    at: usize,
    /// The next bits, from the highest down.
    next: u64,
    /// How many of `next` count.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8], skip: u32) -> Self {
        let mut bits = Self { bytes, at: 0, next: 0, count: 0 };
        bits.refill();
        bits.skip(skip);
        bits
    }

    /// Loads bits, so that at least 56 are there.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        let word = self.bytes.get(self.at..).and_then(|bytes| bytes.first_chunk()).copied();
        self.next |= u64::from_be_bytes(word.unwrap_or_else(|| self.last())) >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// Less than eight bytes, and zeros behind.
    #[cold]
    #[inline(never)]
    fn last(&self) -> [u8; 8] {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(self.bytes.get(self.at..).unwrap_or(&[])) {
            *to = *from;
        }
        word
    }

    /// The next bits, without taking them; 1 to 32. There must be as many since the last [`Bits::refill`].
    #[inline(always)]
    pub(crate) fn peek(&self, count: u32) -> u32 {
        (self.next >> (64 - count)) as u32
    }

    /// Passes bits that are there.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        self.next <<= count;
        self.count -= count;
    }

    /// Takes 1 to 32 bits.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u32 {
        self.refill();
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// How many bits have been taken or skipped.
    pub(crate) fn position(&self) -> u64 {
        self.at as u64 * 8 - u64::from(self.count)
    }
}
