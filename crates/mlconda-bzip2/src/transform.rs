//! The Burrows-Wheeler transform, backwards.
//!
//! It is a chain of loads, each of which needs the one before and finds its place nowhere near: the processor waits for
//! the memory. So the chain is made half as long. Each row is told where the row after the next is, and two bytes: the
//! loads for that depend on nothing and, for each byte, go upwards in memory.

/// Makes of the last column of a transform, with `counts` of each byte, the text, which begins at the row `origin`. The other
/// lists are memory to be used again.
pub(crate) fn undo(
    last: &mut [u8],
    counts: &[u32; 256],
    origin: u32,
    rows: &mut Vec<u32>,
    pairs: &mut Vec<u32>,
    seconds: &mut Vec<u8>,
) -> Option<()> {
    next(last, counts, rows)?;
    double(rows, pairs, seconds)?;
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

/// For each row the next one, and its first byte in the lowest eight bits.
fn next(last: &[u8], counts: &[u32; 256], rows: &mut Vec<u32>) -> Option<()> {
    let mut places = [0; 256];
    let mut sum = 0;
    for (place, count) in places.iter_mut().zip(counts) {
        *place = sum;
        sum += *count as usize;
    }
    // Each row is written below: the counts are those of the column.
    rows.resize(last.len(), 0);
    for (row, byte) in last.iter().enumerate() {
        let place = &mut places[usize::from(*byte)];
        *rows.get_mut(*place)? = (row as u32) << 8 | u32::from(*byte);
        *place += 1;
    }
    Some(())
}

/// For each row the one after the next, with the first byte of this row; and the first byte of the next.
fn double(rows: &[u32], pairs: &mut Vec<u32>, seconds: &mut Vec<u8>) -> Option<()> {
    pairs.resize(rows.len(), 0);
    seconds.resize(rows.len(), 0);
    for ((row, pair), second) in rows.iter().zip(pairs).zip(seconds) {
        let next = *rows.get((row >> 8) as usize)?;
        *pair = next & !0xff | row & 0xff;
        *second = next as u8;
    }
    Some(())
}
