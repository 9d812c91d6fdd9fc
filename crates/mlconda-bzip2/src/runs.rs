//! The last step of decoding: a run of four equal bytes is followed by the number of further ones. Also the CRC-32.

/// Decodes the runs; `None` if the content exceeds the limit, or a count is missing.
pub(crate) fn decode_runs(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(text.len() + text.len() / 8);
    // The offset to copy from, the last byte, and how often it was repeated.
    let (mut from, mut before, mut same) = (0, 0, 0);
    let mut bytes = text.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        same = if *byte == before { same + 1 } else { 1 };
        before = *byte;
        if same == 4 {
            let (_, more) = bytes.next()?;
            content.extend_from_slice(text.get(from..=index)?);
            content.resize(content.len() + usize::from(*more), before);
            if content.len() > limit {
                return None;
            }
            (from, same) = (index + 2, 0);
        }
    }
    content.extend_from_slice(text.get(from..)?);
    (content.len() <= limit).then_some(content)
}

/// `TABLES[n][byte]` is the contribution to the CRC of a byte that is followed by `n` bytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut number = 0;
    while number < 8 * 256 {
        let (table, byte) = (number / 256, number % 256);
        let mut sum = if table == 0 { (byte as u32) << 24 } else { tables[table - 1][byte] };
        let mut bit = 0;
        while bit < 8 {
            sum = sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            bit += 1;
        }
        tables[table][byte] = sum;
        number += 1;
    }
    tables
}

/// The CRC-32 of bzip2: the polynomial of zip, with the most significant bit first. It processes eight bytes at once.
pub(crate) fn checksum(content: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let (chunks, rest) = content.as_chunks::<8>();
    for chunk in chunks {
        let word = u64::from_be_bytes(*chunk) ^ u64::from(sum) << 32;
        sum = 0;
        for (table, byte) in TABLES.iter().zip(word.to_le_bytes()) {
            sum ^= table[usize::from(byte)];
        }
    }
    for byte in rest {
        sum = sum << 8 ^ TABLES[0][usize::from((sum >> 24) as u8 ^ byte)];
    }
    !sum
}
