//! The inverse Burrows-Wheeler transform.
//!
//! It follows a chain of loads from random addresses, each of which depends on the one before, so the processor waits
//! for memory. The chain is made half as long: each row gets the row after the next, and two bytes. The loads for this
//! do not depend on each other and, for each byte, have ascending addresses.

/// The text whose transform has this last column, with `counts` of each byte, starting at row `origin`.
pub(crate) fn inverse(mut last: Vec<u8>, counts: &[u32; 256], origin: u32) -> Option<Vec<u8>> {
    let rows = next_rows(&last, counts)?;
    let (pairs, seconds) = pair_rows(&rows)?;
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

/// For each row, the next row, and its first byte in the lowest eight bits.
fn next_rows(last: &[u8], counts: &[u32; 256]) -> Option<Vec<u32>> {
    let mut starts = [0; 256];
    let mut sum = 0;
    for (index, count) in starts.iter_mut().zip(counts) {
        *index = sum;
        sum += *count as usize;
    }
    let mut rows = vec![0; last.len()];
    for (row, byte) in last.iter().enumerate() {
        let index = &mut starts[usize::from(*byte)];
        *rows.get_mut(*index)? = (row as u32) << 8 | u32::from(*byte);
        *index += 1;
    }
    Some(rows)
}

/// For each row, the row after the next with the first byte of this row; and the first byte of the next row.
fn pair_rows(rows: &[u32]) -> Option<(Vec<u32>, Vec<u8>)> {
    let (mut pairs, mut seconds) = (vec![0; rows.len()], vec![0; rows.len()]);
    for ((row, pair), second) in rows.iter().zip(&mut pairs).zip(&mut seconds) {
        let next = *rows.get((row >> 8) as usize)?;
        *pair = next & !0xff | row & 0xff;
        *second = next as u8;
    }
    Some((pairs, seconds))
}
