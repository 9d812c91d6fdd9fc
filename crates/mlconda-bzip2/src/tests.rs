//! Compares with the reference decoder, on valid and on damaged archives.

use std::io::{Read, Write};

use bzip2::{Compression, read::BzDecoder, write::BzEncoder};

use super::Decoder;

/// Pseudorandom numbers, which are the same in each run.
fn chance(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    }
}

/// Headers, text, runs and noise, as a tar has them.
fn mixed(length: usize, seed: u64) -> Vec<u8> {
    let mut chance = chance(seed);
    let mut content = Vec::new();
    while content.len() < length {
        match chance(5) {
            0 => content.extend((0..chance(3000)).map(|_| chance(256) as u8)),
            1 => content.extend(vec![chance(4) as u8; chance(700)]),
            2 => content.extend((0..chance(400)).flat_map(|line| format!("lib/python3.11/{line}.py\n").into_bytes())),
            3 => content.extend((0..chance(900)).map(|_| b'a' + chance(20) as u8)),
            _ => content.extend((0..chance(200)).flat_map(|number| [0, 0, chance(3) as u8, number as u8])),
        }
    }
    content.truncate(length);
    content
}

fn compress(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The number of bits of the only block of an archive. The end of the stream has 80 bits, and up to seven more fill a
/// byte.
fn length(archive: &[u8]) -> u64 {
    let bits = archive.len() as u64 * 8;
    let is_end = |start: &u64| {
        let index = (start / 8) as usize;
        let word = u64::from_be_bytes(*archive[index..].first_chunk().unwrap());
        word << (start % 8) >> 16 == 0x1772_4538_5090
    };
    (bits - 87..=bits - 80).find(is_end).unwrap() - 32
}

#[test]
fn what_one_block_holds_is_read() {
    let noise = mixed(90_000, 1);
    let mut contents = vec![b"a".to_vec(), b"aaaa".to_vec(), b"aaaaa".to_vec(), vec![7; 259], vec![0; 90_000]];
    contents.extend([b"ab".repeat(40_000), (0..=255).collect(), (0..=255_u8).cycle().take(70_000).collect(), noise]);
    contents.extend((0..60).map(|seed| mixed(1 + seed * 997 % 5000, seed as u64)));
    for content in &contents {
        for level in 1..=9 {
            let archive = compress(content, level);
            let (found, _) =
                Decoder::default().decode(&archive[4..], 0, length(&archive), archive[3], 1 << 20).unwrap();
            assert!(found == *content, "{} bytes at level {level}", content.len());
        }
    }
    let large = mixed(890_000, 5);
    let archive = compress(&large, 9);
    assert!(
        Decoder::default()
            .decode(&archive[4..], 0, length(&archive), b'9', 1 << 20)
            .is_some_and(|(found, _)| found == large)
    );
}

#[test]
fn a_block_may_begin_at_any_bit() {
    let content = mixed(20_000, 3);
    let archive = compress(&content, 1);
    for shift in 1..8 {
        let bytes: Vec<u8> = std::iter::once(&0)
            .chain(&archive[4..])
            .zip(archive[4..].iter().chain(&[0]))
            .map(|(high, low)| (u16::from_be_bytes([*high, *low]) >> shift) as u8)
            .collect();
        let found = Decoder::default().decode(&bytes, shift, length(&archive), b'1', 1 << 20);
        assert!(found.is_some_and(|(found, _)| found == content), "{shift}");
    }
}

#[test]
fn what_is_damaged_is_refused_or_what_the_reference_decoder_reads() {
    let mut chance = chance(9);
    for round in 0..6000 {
        let archive = compress(&mixed(1 + chance(4000), round), 1);
        let bits = length(&archive);
        let mut damaged = archive.clone();
        // In every second round, only the tables are damaged, which are at the beginning.
        let block = archive.len() - 11;
        let end = if round % 2 == 0 { block } else { block.min(60) };
        for _ in 0..=chance(3) {
            damaged[4 + chance(end - 4)] ^= 1 << chance(8);
        }
        if let Some((found, sum)) = Decoder::default().decode(&damaged[4..], 0, bits, b'1', 1 << 20) {
            assert_eq!(sum.to_be_bytes(), damaged[10..14]);
            let mut expected = Vec::new();
            BzDecoder::new(&damaged[..]).read_to_end(&mut expected).unwrap();
            assert!(found == expected, "round {round}");
        }
    }
}

#[test]
fn what_is_cut_too_long_too_large_or_empty_is_refused() {
    let content = mixed(30_000, 4);
    let archive = compress(&content, 1);
    let (block, bits) = (&archive[4..], length(&archive));
    assert!(Decoder::default().decode(block, 0, bits, b'1', content.len()).is_some());
    assert!(Decoder::default().decode(block, 0, bits, b'1', content.len() - 1).is_none());
    for wrong in [bits - 1, bits + 1, 0, u64::MAX / 2] {
        assert!(Decoder::default().decode(block, 0, wrong, b'1', 1 << 20).is_none());
    }
    for cut in [0, 1, 5, 20, 100, block.len() - 12] {
        assert!(Decoder::default().decode(&block[..cut], 0, bits, b'1', 1 << 20).is_none());
    }
    for (first, level) in [(8, b'1'), (64, b'1'), (0, b'0'), (0, b':'), (0, 0), (0, 255)] {
        assert!(Decoder::default().decode(block, first, bits, level, 1 << 20).is_none());
    }
}
