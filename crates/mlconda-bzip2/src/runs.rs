//! The last step: four equal bytes are followed by how many more there are. And the checksum of the result.

/// The content; `None` if it is larger than the limit, or ends where a count should be.
pub(crate) fn undo(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(text.len() + text.len() / 8);
    // From where it is to be copied; the byte before, and how many of it there are.
    let (mut from, mut before, mut same) = (0, 0, 0);
    let mut places = text.iter().enumerate();
    while let Some((place, byte)) = places.next() {
        same = if *byte == before { same + 1 } else { 1 };
        before = *byte;
        if same == 4 {
            let (_, more) = places.next()?;
            content.extend_from_slice(text.get(from..=place)?);
            content.resize(content.len() + usize::from(*more), before);
            if content.len() > limit {
                return None;
            }
            (from, same) = (place + 2, 0);
        }
    }
    content.extend_from_slice(text.get(from..)?);
    (content.len() <= limit).then_some(content)
}

/// What a byte does to a checksum that is followed by as many bytes.
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

/// The CRC-32 of bzip2: the polynomial of zip, the highest bit first. Eight bytes at once.
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
