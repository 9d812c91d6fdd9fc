//! With any number of helpers, the result is that of one decoder that begins at the beginning.

use std::io::{Read, Write};

use bzip2::{Compression, Decompress, Error, bufread, write::BzEncoder};

use super::{
    super::{Archive, IdleCores},
    Bzip2Reader,
    split::{Piece, Splitter},
};

/// Reads with this number of idle cores. Also returns the content before an error.
fn read(bytes: &[u8], cores: usize) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let idle_cores = IdleCores::default();
    let _lent: Vec<_> = (0..cores).map(|_| idle_cores.lend()).collect();
    let archive = Archive::Memory(bytes.into());
    let mut reader = Bzip2Reader::new(&archive, &idle_cores).unwrap();
    // Otherwise no helper would be started for such a small archive.
    reader.is_large = cores > 0;
    let mut content = Vec::new();
    let error = reader.read_to_end(&mut content).err();
    (content, error.map(|error| error.kind()))
}

/// The result of one decoder, for an archive with one stream.
fn sequential(bytes: &[u8]) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut content = Vec::new();
    let error = bufread::BzDecoder::new(bytes).read_to_end(&mut content).err();
    (content, error.map(|error| error.kind()))
}

/// Pseudorandom numbers, which are the same in each run.
fn chance(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    }
}

/// Something like text.
fn text(length: usize) -> Vec<u8> {
    let mut chance = chance(7);
    let words = ["conda ", "prefix ", "channel ", "solver ", "spec\n", "0.1.2 ", "αβγ ", "build "];
    let mut text = Vec::new();
    while text.len() < length {
        text.extend(words[chance(words.len())].bytes());
        text.push(b'a' + chance(26) as u8);
    }
    text
}

fn compress(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn blocks_come_in_their_order() {
    let mut noise = chance(1);
    let noise: Vec<u8> = (0..350_000).map(|_| noise(256) as u8).collect();
    // The content of a block of zeros is too large to keep.
    let contents = [Vec::new(), b"a".to_vec(), text(1_200_000), noise, [vec![0; 12_000_000], text(300_000)].concat()];
    for content in &contents {
        let archive = compress(content, 1);
        for cores in [0, 1, 4] {
            let (found, error) = read(&archive, cores);
            assert!(found == *content && error.is_none(), "{} bytes with {cores} cores: {error:?}", content.len());
        }
    }
}

#[test]
fn streams_follow_each_other_and_what_follows_them_is_passed_over() {
    let (one, two) = (text(250_000), text(120_000));
    let mut archive = [compress(&one, 1), compress(b"", 9), compress(&two, 2)].concat();
    let content = [one, two].concat();
    for end in [&b""[..], b"\0\0\0\0\0\0\0\0\0\0\0\0", b"BZ", b"garbage"] {
        archive.extend(end);
        for cores in [0, 2] {
            assert!(read(&archive, cores) == (content.clone(), None), "{end:?}");
        }
    }
}

#[test]
fn a_damaged_archive_is_as_damaged_as_it_was() {
    let archive = compress(&text(450_000), 1);
    let mut chance = chance(3);
    for round in 0..120 {
        let mut damaged = archive.clone();
        let place = chance(damaged.len());
        match round % 3 {
            0 => damaged.truncate(place),
            1 => damaged[place] ^= 1 << chance(8),
            _ => drop(damaged.drain(place..(place + chance(90_000)).min(archive.len()))),
        }
        let expected = sequential(&damaged);
        for cores in [0, 2] {
            let found = read(&damaged, cores);
            // Either of the two may notice the damage a little earlier.
            let common = expected.0.len().min(found.0.len());
            assert!(expected.0[..common] == found.0[..common], "round {round}, {cores} cores: other content");
            assert_eq!(found.1.is_some(), expected.1.is_some(), "round {round}, {cores} cores");
        }
    }
}

/// An archive of one block in which each symbol has four bits, so that the symbols can be chosen by their bits. The
/// symbols determine the content.
fn crafted(symbols: &str) -> String {
    let bits = |value: u64, count: usize| format!("{value:0count$b}");
    let code: String = symbols.chars().map(|digit| bits(digit.to_digit(16).unwrap().into(), 4)).collect();
    // The block is not randomised, and begins with the second row. It has the bytes from `a` to `n`, and two tables, of
    // which the first one is used. All codes have four bits.
    let tables = bits(0b00100, 5) + &"0".repeat(16);
    let head = "0".to_owned() + &bits(1, 24) + &bits(1 << 9, 16) + &bits(0x7ffe, 16) + &bits(2, 3);
    let selectors = (symbols.len() + 1).div_ceil(50);
    let rest = head + &bits(selectors as u64, 15) + &"0".repeat(selectors) + &tables + &tables + &code + "1111";
    let block = |checksum: u32| bits(0x3141_5926_5359, 48) + &bits(checksum.into(), 32) + &rest;
    // The decoder returns the content before it notices the wrong checksum.
    let mut content = Vec::with_capacity(1 << 20);
    assert_eq!(Decompress::new(false).decompress_vec(&archive(&[block(0)], 0), &mut content), Err(Error::Data));
    block(checksum(&content))
}

fn archive(blocks: &[String], checksum: u32) -> Vec<u8> {
    let bits = blocks.concat() + &format!("{:048b}{checksum:032b}", 0x1772_4538_5090_u64);
    let bytes = bits
        .as_bytes()
        .chunks(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0')) << (8 - byte.len()));
    b"BZh9".iter().copied().chain(bytes).collect()
}

fn checksum(content: &[u8]) -> u32 {
    content.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    }) ^ u32::MAX
}

#[test]
fn the_marks_may_occur_inside_of_a_block() {
    let (block, end) = ("314159265359", "177245385090");
    let tricky = [format!("234{block}8{end}67{block}{block}9"), end.to_owned(), "234567".to_owned()];
    let blocks: Vec<String> = tricky.iter().map(|symbols| crafted(symbols)).collect();
    let sum =
        blocks.iter().fold(0_u32, |sum, block| sum.rotate_left(1) ^ u32::from_str_radix(&block[48..80], 2).unwrap());
    let archive = archive(&blocks, sum);
    let expected = sequential(&archive);
    assert!(expected.1.is_none(), "{expected:?}");
    // These marks are found, and refused.
    let mut splitter = Splitter::new(Archive::Memory(archive.as_slice().into()));
    assert!(
        matches!(splitter.piece(), Ok(Some(Piece::Block(block))) if block.end - block.start < blocks[0].len() as u64)
    );
    for cores in [0, 3] {
        assert_eq!(read(&archive, cores), expected);
    }
}

#[test]
fn a_randomised_block_is_read() {
    let mut block = crafted("234567");
    // A block as bzip2 0.9.0 marked it. It changes bytes only after the 600th one.
    block.replace_range(80..81, "1");
    let sum = u32::from_str_radix(&block[48..80], 2).unwrap();
    let archive = archive(&[block], sum);
    let expected = sequential(&archive);
    assert!(expected.1.is_none() && !expected.0.is_empty(), "{expected:?}");
    for cores in [0, 2] {
        assert_eq!(read(&archive, cores), expected);
    }
}

#[test]
fn a_reader_that_goes_away_takes_its_helpers_along() {
    let archive = Archive::Memory(compress(&text(2_000_000), 1).into());
    let idle_cores = IdleCores::default();
    let _lent = [idle_cores.lend(), idle_cores.lend()];
    for bytes in [0, 1, 150_000] {
        let mut reader = Bzip2Reader::new(&archive, &idle_cores).unwrap();
        reader.is_large = true;
        reader.read_exact(&mut vec![0; bytes]).unwrap();
        let work = std::sync::Arc::downgrade(&reader.work);
        drop(reader);
        assert_eq!(work.strong_count(), 0);
        // All borrowed cores were returned.
        assert!([idle_cores.borrow(), idle_cores.borrow()].iter().all(Option::is_some));
    }
}
