//! The inverse Burrows-Wheeler transform.
//!
//! It is a chain of loads from random addresses. Each address depends on the load before, so the processor waits for
//! memory. Here the chain has half the length: a table gives, for each row, the row after the next one, and two bytes.
//! To build this table, the loads do not depend on each other, and their addresses ascend for each byte.

/// The tables of a transform. Their memory is reused for the next one.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    rows: Vec<u32>,
    pairs: Vec<u32>,
    seconds: Vec<u8>,
}

impl Tables {
    /// Replaces the last column of a transform by its text. `counts` says how often each byte occurs in it, and
    /// `origin` is the row where the text starts.
    pub(crate) fn invert(&mut self, last: &mut [u8], counts: &[u32; 256], origin: u32) -> Option<()> {
        let Self { rows, pairs, seconds } = self;
        next_rows(last, counts, rows)?;
        pair_rows(rows, pairs, seconds)?;
        follow(last, pairs, seconds, origin)
    }
}

/// Follows the rows from `origin`, two bytes at a time.
fn follow(last: &mut [u8], pairs: &[u32], seconds: &[u8], origin: u32) -> Option<()> {
    let mut row = origin as usize;
    let (chunks, rest) = last.as_chunks_mut::<2>();
    for chunk in chunks {
        let pair = *pairs.get(row)?;
        *chunk = [pair as u8, *seconds.get(row)?];
        row = (pair >> 8) as usize;
    }
    if let [byte] = rest {
        *byte = *pairs.get(row)? as u8;
    }
    Some(())
}

/// For each row: the next row, with the first byte of the row in the lowest eight bits.
fn next_rows(last: &[u8], counts: &[u32; 256], rows: &mut Vec<u32>) -> Option<()> {
    let mut starts = [0; 256];
    let mut sum = 0;
    for (index, count) in starts.iter_mut().zip(counts) {
        *index = sum;
        sum += *count as usize;
    }
    // Each element is written below, because `counts` are the counts of this column.
    rows.resize(last.len(), 0);
    for (row, byte) in last.iter().enumerate() {
        let index = &mut starts[usize::from(*byte)];
        *rows.get_mut(*index)? = (row as u32) << 8 | u32::from(*byte);
        *index += 1;
    }
    Some(())
}

/// For each row: the row after the next one, with the first byte of this row (`pairs`), and the first byte of the next
/// row (`seconds`).
fn pair_rows(rows: &[u32], pairs: &mut Vec<u32>, seconds: &mut Vec<u8>) -> Option<()> {
    pairs.resize(rows.len(), 0);
    seconds.resize(rows.len(), 0);
    for ((row, pair), second) in rows.iter().zip(pairs).zip(seconds) {
        let next = *rows.get((row >> 8) as usize)?;
        *pair = next & !0xff | row & 0xff;
        *second = next as u8;
    }
    Some(())
}
