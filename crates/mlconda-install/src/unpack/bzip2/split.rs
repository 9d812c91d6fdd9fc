//! Finds the beginnings and ends of blocks in a bzip2 archive.
//!
//! A stream is `BZh`, a digit, blocks, and an end. Each block begins with the same 48 bits, and the end begins with
//! others. But the length of a block is not stored, and blocks do not begin at a byte. So these marks are searched for
//! at each bit. A mark may also occur by chance inside of a block, about once in some thousand gigabytes. So the
//! results are guesses, which [`super::block::decode`] confirms or refuses.

use std::io;

use super::{Archive, cut_short, damaged};

/// A part of an archive that looks like a block.
pub(super) struct Block {
    /// The first bit, counted from the beginning of the archive.
    pub(super) start: u64,
    /// The bit after the last one.
    pub(super) end: u64,
    /// The digit of its stream.
    pub(super) level: u8,
    /// The bytes that contain the bits of the block.
    pub(super) bytes: Vec<u8>,
}

/// The mark of a block: digits of pi.
const BLOCK: u64 = 0x3141_5926_5359;
/// The mark of the end of a stream: digits of the square root of pi.
const END: u64 = 0x1772_4538_5090;

/// The longest block, in bytes: 900,001 symbols of at most 20 bits, and the tables in front of them.
const LONGEST: u64 = 2_300_000;

/// The number of bytes that are read at once.
const PIECE: usize = 256 << 10;

/// For each pair of bytes, one bit: whether it can be in the middle of one of the two marks. A mark always fills the
/// five bytes after the one with its first bit. So in each mark, one of every four pairs of bytes is in this table.
static MARKS: [u64; 1024] = marks();

const fn marks() -> [u64; 1024] {
    let mut table = [0; 1024];
    let mut number = 0;
    while number < 64 {
        let mark = if number & 1 == 0 { BLOCK } else { END };
        let (shift, byte) = (number >> 1 & 7, number >> 4);
        let pair = (mark >> (48 - 16 - (8 - shift) - 8 * byte)) as usize & 0xffff;
        table[pair >> 6] |= 1 << (pair & 63);
        number += 1;
    }
    table
}

/// A part of an archive.
pub(super) enum Piece {
    /// A block, or bits that look like one.
    Block(Block),
    /// The end of a stream, with the checksum of its blocks.
    End(u32),
}

/// What is expected next.
#[derive(Clone, Copy)]
enum Next {
    /// The first stream.
    First,
    /// Another stream, or the end of the archive. bzip2 ignores other data here.
    Stream,
    /// A block, or the end of the stream.
    Mark,
    /// Nothing: the end was reached, or an error was returned.
    Nothing,
    /// The archive ended within a stream.
    Cut,
}

/// Cuts an archive into pieces.
pub(super) struct Splitter {
    archive: Archive,
    /// A part of the archive. After the end of the archive, some zeros follow.
    window: Vec<u8>,
    /// The offset of that part, in bytes.
    base: u64,
    /// The length of the archive in bytes, once it is known.
    length: Option<u64>,
    /// The position of the next piece, in bits.
    at: u64,
    /// The digit of the current stream.
    level: u8,
    next: Next,
}

impl Splitter {
    /// Begins at the beginning of an archive.
    pub(crate) fn new(archive: Archive) -> Self {
        Self { archive, window: Vec::new(), base: 0, length: None, at: 0, level: b'9', next: Next::First }
    }

    /// Begins at the mark of a block or of a stream's end. `at` is its position in bits.
    pub(super) fn at_mark(archive: Archive, at: u64, level: u8) -> Self {
        Self { base: at / 8, at, level, next: Next::Mark, ..Self::new(archive) }
    }

    /// The next piece; `None` at the end, and after an error.
    pub(super) fn piece(&mut self) -> io::Result<Option<Piece>> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => return Ok(None),
            Next::Cut => return Err(cut_short()),
            Next::Mark => {}
            next @ (Next::First | Next::Stream) => match (self.bits(32)?, next) {
                (Some(bits), _) if bits >> 8 == 0x42_5a68 && (0x31..=0x39).contains(&(bits & 0xff)) => {
                    self.level = bits.to_be_bytes()[7];
                    self.at += 32;
                }
                (_, Next::Stream) => return Ok(None),
                (Some(_), _) => return Err(io::Error::new(io::ErrorKind::InvalidInput, bzip2::Error::DataMagic)),
                (None, _) => return Err(cut_short()),
            },
        }
        match self.bits(48)? {
            Some(BLOCK) => self.block().map(|block| Some(Piece::Block(block))),
            Some(END) => {
                self.at += 48;
                let checksum = self.bits(32)?.and_then(|bits| u32::try_from(bits).ok()).ok_or_else(cut_short)?;
                self.at = (self.at + 32).next_multiple_of(8);
                self.next = Next::Stream;
                Ok(Some(Piece::End(checksum)))
            }
            Some(_) => Err(damaged()),
            None => Err(cut_short()),
        }
    }

    /// The block that begins at the current position.
    fn block(&mut self) -> io::Result<Block> {
        let (start, level) = (self.at, self.level);
        let end = self.mark(start + 48)?;
        self.next = if end.is_some() { Next::Mark } else { Next::Cut };
        self.at = end.or(self.length.map(|length| length * 8)).ok_or_else(cut_short)?;
        let bytes = self.bytes(start, self.at).to_vec();
        Ok(Block { start, end: self.at, level, bytes })
    }

    /// The length of the archive in bits, or the maximum while it is unknown.
    pub(super) fn length(&self) -> u64 {
        self.length.map_or(u64::MAX, |length| length * 8)
    }

    /// The bytes that contain the bits from `start` to `end`. They must be in the window.
    pub(super) fn bytes(&self, start: u64, end: u64) -> &[u8] {
        let place = |byte: u64| usize::try_from(byte - self.base).unwrap_or(usize::MAX);
        self.window.get(place(start / 8)..place(end.div_ceil(8))).unwrap_or(&[])
    }

    /// The position of the first mark that begins at `from` or later; `None` if there is none. Fails if the block up to
    /// the mark is too long.
    pub(super) fn mark(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = usize::try_from(from / 8 - self.base).unwrap_or(usize::MAX) + 1;
        loop {
            let searched = self.window.len().saturating_sub(8);
            for bytes in self.window.get(at..searched).unwrap_or(&[]).chunks_exact(4) {
                let pair = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                if MARKS[pair >> 6] >> (pair & 63) & 1 == 1
                    && let Some(mark) = self.mark_around(at, from)
                {
                    return Ok(Some(mark));
                }
                at += 4;
            }
            if self.length.is_some() {
                return Ok(None);
            }
            if self.base + at as u64 > self.at / 8 + LONGEST {
                return Err(damaged());
            }
            self.read()?;
        }
    }

    /// The mark whose middle is the pair of bytes at this index of the window.
    fn mark_around(&self, pair: usize, from: u64) -> Option<u64> {
        let first = (self.base + pair as u64).saturating_sub(4) * 8;
        let end = self.length();
        (first.max(from)..first + 32).find(|bit| bit + 48 <= end && matches!(self.window_bits(*bit, 48), BLOCK | END))
    }

    /// The next `count` bits, at most 48. `None` if there are fewer.
    fn bits(&mut self, count: u32) -> io::Result<Option<u64>> {
        let used = usize::try_from(self.at / 8 - self.base).unwrap_or(usize::MAX).min(self.window.len());
        self.window.drain(..used);
        self.base += used as u64;
        while self.length.is_none() && self.window.len() < 8 {
            self.read()?;
        }
        let is_there = self.length.is_none_or(|length| self.at + u64::from(count) <= length * 8);
        Ok(is_there.then(|| self.window_bits(self.at, count)))
    }

    /// `count` bits of the window, at most 48.
    fn window_bits(&self, bit: u64, count: u32) -> u64 {
        let byte = usize::try_from(bit / 8 - self.base).unwrap_or(usize::MAX);
        let bytes = self.window.get(byte..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default();
        u64::from_be_bytes(bytes) << (bit % 8) >> (64 - count)
    }

    /// Reads one more piece into the window. After the end of the archive, the piece is zeros.
    fn read(&mut self) -> io::Result<()> {
        let old = self.window.len();
        self.window.resize(old + PIECE, 0);
        let count = self.archive.read_at(&mut self.window[old..], self.base + old as u64)?;
        if count == 0 {
            self.length = Some(self.base + old as u64);
            self.window.truncate(old + 16);
        } else {
            self.window.truncate(old + count);
        }
        Ok(())
    }
}
