//! The Burrows-Wheeler transform, backwards.
//!
//! It is a chain of loads, each of which needs the one before and finds its place nowhere near: the processor waits for
//! the memory. So the chain is made half as long. Each row is told where the row after the next is, and two bytes: the
//! loads for that depend on nothing and, for each byte, go upwards in memory.

/// The text whose transform has this last column, with `counts` of each byte, from the row `origin`.
pub(crate) fn undo(mut last: Vec<u8>, counts: &[u32; 256], origin: u32) -> Option<Vec<u8>> {
    let rows = next(&last, counts)?;
    let (pairs, seconds) = double(&rows)?;
    drop(rows);
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
    Some(last)
}

/// For each row the next one, and its first byte in the lowest eight bits.
fn next(last: &[u8], counts: &[u32; 256]) -> Option<Vec<u32>> {
    let mut places = [0; 256];
    let mut sum = 0;
    for (place, count) in places.iter_mut().zip(counts) {
        *place = sum;
        sum += *count as usize;
    }
    let mut rows = vec![0; last.len()];
    for (row, byte) in last.iter().enumerate() {
        let place = &mut places[usize::from(*byte)];
        *rows.get_mut(*place)? = (row as u32) << 8 | u32::from(*byte);
        *place += 1;
    }
    Some(rows)
}

/// For each row the one after the next, with the first byte of this row; and the first byte of the next.
fn double(rows: &[u32]) -> Option<(Vec<u32>, Vec<u8>)> {
    let (mut pairs, mut seconds) = (vec![0; rows.len()], vec![0; rows.len()]);
    for ((row, pair), second) in rows.iter().zip(&mut pairs).zip(&mut seconds) {
        let next = *rows.get((row >> 8) as usize)?;
        *pair = next & !0xff | row & 0xff;
        *second = next as u8;
    }
    Some((pairs, seconds))
}
