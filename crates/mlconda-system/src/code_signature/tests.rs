//! Tests with a library that a linker has signed, and with signatures that are built here.

use std::io::{Read, Seek, Write};

use super::*;

/// A library for Apple silicon, signed by a linker. The text of the file says which linker.
fn library() -> Vec<u8> {
    let text = include_str!("library.txt");
    let mut bytes = vec![0; 49_696];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (place, line) = line.split_once(' ').unwrap();
        let (place, line) = (usize::from_str_radix(place, 16).unwrap(), line.as_bytes());
        for (number, digits) in line.chunks(2).enumerate() {
            bytes[place + number] = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
    }
    bytes
}

/// The offsets of the library's signature, and of the placeholder.
const SIGNATURE: usize = 0xc120;
const PLACEHOLDER: usize = 0x1474;

/// The same file after its signatures were renewed.
fn renewed(bytes: &[u8]) -> (Signature, Vec<u8>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let signature = renew(&file).unwrap();
    let mut after = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut after).unwrap();
    assert_eq!(bytes.len(), after.len());
    (signature, after)
}

/// Whether a program's signature has the right hashes. The offsets are given as numbers, not read by the tested code.
fn is_valid(program: &[u8], directory: usize, hashes: usize, limit: usize, page: usize) -> bool {
    let mut pages = program[..limit].chunks(page).enumerate();
    pages.all(|(number, page)| {
        let place = directory + hashes + 32 * number;
        program[place..place + 32] == *Sha256::digest(page)
    })
}

fn is_valid_library(library: &[u8]) -> bool {
    is_valid(library, SIGNATURE + 20, 0x6b, SIGNATURE, 1 << 14)
}

#[test]
fn the_signature_of_a_changed_library_is_what_its_linker_would_have_written() {
    let original = library();
    assert!(is_valid_library(&original));
    assert_eq!(renewed(&original), (Signature::Renewed, original.clone()));

    let mut changed = original.clone();
    changed[PLACEHOLDER..][..16].copy_from_slice(b"/opt/env/lib\0\0\0\0");
    assert!(!is_valid_library(&changed));
    let (signature, signed) = renewed(&changed);
    assert_eq!(signature, Signature::Renewed);
    assert!(is_valid_library(&signed));
    // Only the hash of one page differs.
    let differs = (0..signed.len()).filter(|place| signed[*place] != changed[*place]);
    let hash = SIGNATURE + 20 + 0x6b;
    assert!(differs.clone().count() > 20 && differs.clone().all(|place| (hash..hash + 32).contains(&place)));

    // With the old text in its place, the file has the linker's bytes again.
    let mut restored = signed;
    restored[PLACEHOLDER..][..16].copy_from_slice(&original[PLACEHOLDER..][..16]);
    assert_eq!(renewed(&restored), (Signature::Renewed, original));
}

/// A universal file of these programs, with 32-bit or 64-bit offsets.
fn universal(programs: &[&[u8]], is_long: bool) -> Vec<u8> {
    let mut file = if is_long { 0xcafe_babf_u32 } else { 0xcafe_babe }.to_be_bytes().to_vec();
    file.extend((programs.len() as u32).to_be_bytes());
    let mut place = 0x4000_u64;
    for program in programs {
        file.extend([0x0100_000c_u32, 0].map(u32::to_be_bytes).concat());
        for number in [place, program.len() as u64] {
            let bytes = number.to_be_bytes();
            file.extend_from_slice(if is_long { &bytes } else { &bytes[4..] });
        }
        file.extend(vec![0; if is_long { 8 } else { 4 }]);
        place = (place + program.len() as u64).next_multiple_of(0x4000);
    }
    for program in programs {
        file.resize(file.len().next_multiple_of(0x4000), 0);
        file.extend_from_slice(program);
    }
    file
}

#[test]
fn each_program_of_a_universal_file_is_signed() {
    let mut changed = library();
    changed[PLACEHOLDER] = b'x';
    let (_, signed) = renewed(&changed);
    for is_long in [false, true] {
        let file = universal(&[&changed, &unsigned(0x0100_0007), &changed], is_long);
        let expected = universal(&[&signed, &unsigned(0x0100_0007), &signed], is_long);
        assert_eq!(renewed(&file), (Signature::Renewed, expected));
        // A program without a signature does not start on Apple silicon.
        let file = universal(&[&unsigned(0x0100_000c), &changed], is_long);
        let expected = universal(&[&unsigned(0x0100_000c), &signed], is_long);
        assert_eq!(renewed(&file), (Signature::Missing, expected));
    }
}

/// A 64-bit Mach-O file for a processor, without load commands.
fn unsigned(processor: u32) -> Vec<u8> {
    [0xfeed_facf_u32, processor, 0, 6, 0, 0, 0, 0].map(u32::to_le_bytes).concat()
}

#[test]
fn what_is_no_mach_o_stays_as_it_is() {
    let java = [&0xcafe_babe_u32.to_be_bytes()[..], &[0, 0, 0, 52], &[7; 200]].concat();
    for file in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01", &java, &0xfeed_facf_u32.to_le_bytes()] {
        assert_eq!(renewed(file), (Signature::NotMachO, file.to_vec()));
    }
    assert_eq!(renewed(&unsigned(0x0100_0007)).0, Signature::Renewed);
    assert_eq!(renewed(&unsigned(0x0100_000c)).0, Signature::Missing);
}

/// A directory of hashes. `kind` is the type and the size of its hashes, and `limit` the end of the program.
fn directory(kind: (u8, u8), flags: u32, limit: usize, special: u32) -> Vec<u8> {
    let (hash, page) = (usize::from(kind.1), 12_u8);
    let hashes = 88 + 4 + 8 + special as usize * hash;
    let number = limit.div_ceil(1 << page);
    let length = hashes + number * hash;
    let [length, hashes, number, limit] = [length, hashes, number, limit].map(|number| number as u32);
    let mut bytes =
        [CODE_DIRECTORY, length, 0x2_0400, flags, hashes, 88, special, number, limit].map(u32::to_be_bytes).concat();
    bytes.extend([kind.1, kind.0, 0, page]);
    // The fields of this version: scattered pages, the team, and others. Then the identifier and the team.
    bytes.extend([0, 0, 92].map(u32::to_be_bytes).concat());
    bytes.resize(88, 0);
    bytes.extend(b"x.y\0TEAM1234");
    bytes.resize(length as usize, 0xee);
    bytes
}

/// A program with a signature of these blobs.
fn signed_with(blobs: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut signature = Vec::new();
    let mut index = Vec::new();
    let start = 12 + 8 * blobs.len();
    for (slot, blob) in blobs {
        index.extend([*slot, (start + signature.len()) as u32].map(u32::to_be_bytes).concat());
        signature.extend_from_slice(blob);
    }
    let length = start + signature.len();
    let head = [SUPER_BLOB, length as u32, blobs.len() as u32].map(u32::to_be_bytes).concat();
    let mut program = [0xfeed_facf_u32, 0x0100_000c, 0, 2, 1, 16, 0, 0].map(u32::to_le_bytes).concat();
    program.extend([LC_CODE_SIGNATURE, 16, LIMIT as u32, length as u32 + 40].map(u32::to_le_bytes).concat());
    program.resize(LIMIT, b'p');
    program.extend([head, index, signature, vec![0; 40]].concat());
    program
}

/// The offset of the signature in the result of [`signed_with`].
const LIMIT: usize = 10_000;

#[test]
fn a_certificate_goes_and_entitlements_stay() {
    let blob = |magic: u32, content: &[u8]| {
        let mut blob = [magic, content.len() as u32 + 8].map(u32::to_be_bytes).concat();
        blob.extend_from_slice(content);
        blob
    };
    let entitlements = blob(0xfade_7171, b"<plist>com.apple.security.cs.allow-jit</plist>");
    // Older tools sign for old and new systems: with SHA-1 first, and SHA-256 beside it. The hardened runtime is on.
    let program = signed_with(&[
        (SLOT_DIRECTORY, directory((1, 20), 0x1_0000, LIMIT, 5)),
        (SLOT_REQUIREMENTS, blob(0xfade_0c01, b"\0\0\0\x01anchor apple generic")),
        (5, entitlements.clone()),
        (0x1000, directory((2, 32), 0x1_0000, LIMIT, 5)),
        (SLOT_CERTIFICATE, blob(0xfade_0b01, &[7; 900])),
    ]);
    let (kind, signed) = renewed(&program);
    assert_eq!(kind, Signature::Renewed);
    let signature = &signed[LIMIT..];
    let entry = |number: usize| {
        let slot = big(signature, 12 + 8 * number).unwrap();
        let place = big(signature, 16 + 8 * number).unwrap() as usize;
        let size = big(signature, place + 4).unwrap() as usize;
        (slot, place, &signature[place..place + size])
    };
    assert_eq!(big(signature, 8), Some(4));
    assert_eq!((entry(0).0, entry(0).2), (SLOT_REQUIREMENTS, &NO_REQUIREMENTS[..]));
    assert_eq!((entry(1).0, entry(1).2), (5, &entitlements[..]));
    assert_eq!((entry(3).0, entry(3).2), (SLOT_CERTIFICATE, &NO_CERTIFICATE[..]));
    let (slot, place, new) = entry(2);
    assert_eq!((slot, big(new, 12), big(new, 48)), (SLOT_DIRECTORY, Some(ADHOC), Some(0)));
    let hashes = big(new, 16).unwrap() as usize;
    assert!(is_valid(&signed, LIMIT + place, hashes, LIMIT, 1 << 12));
    assert_eq!(new[hashes - 64..hashes - 32], *Sha256::digest(NO_REQUIREMENTS));
    // The hash of the entitlements has not changed.
    assert_eq!(new[hashes - 160..hashes - 128], [0xee; 32]);
    assert_eq!(renewed(&signed), (Signature::Renewed, signed.clone()));
}

#[test]
fn a_signature_of_an_unknown_kind_is_left_alone() {
    let sha1_only = signed_with(&[(SLOT_DIRECTORY, directory((1, 20), ADHOC, LIMIT, 0))]);
    let mut scattered = signed_with(&[(SLOT_DIRECTORY, directory((2, 32), ADHOC, LIMIT, 0))]);
    assert_eq!(renewed(&scattered).0, Signature::Renewed);
    scattered[LIMIT + 20 + 44] = 1;
    let too_far = signed_with(&[(SLOT_DIRECTORY, directory((2, 32), ADHOC, LIMIT + 1, 0))]);
    for program in [sha1_only, scattered, too_far] {
        assert_eq!(renewed(&program), (Signature::Missing, program.clone()));
    }
}

#[test]
fn damaged_signatures_do_no_harm() {
    let program = signed_with(&[
        (SLOT_DIRECTORY, directory((2, 32), 0x1_0000, LIMIT, 5)),
        (SLOT_CERTIFICATE, [&0xfade_0b01_u32.to_be_bytes()[..], &[0, 0, 0, 90], &[7; 82]].concat()),
    ]);
    let all = (0..64).chain(LIMIT..LIMIT + 160);
    for place in all {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = program.clone();
            damaged[place] = byte;
            let (kind, once) = renewed(&damaged);
            assert!(renewed(&once) == (kind, once.clone()), "{byte} at {place}");
        }
    }
    for length in (0..64).chain(LIMIT..program.len()) {
        renewed(&program[..length]);
    }
}

#[test]
fn nothing_is_renewed_if_renewing_would_change_something_else() {
    let certificate = [&0xfade_0b01_u32.to_be_bytes()[..], &[0, 0, 0, 90], &[7; 82]].concat();
    let program = signed_with(&[
        (SLOT_DIRECTORY, directory((2, 32), 0x1_0000, LIMIT, 5)),
        (SLOT_CERTIFICATE, certificate.clone()),
    ]);
    assert_eq!(renewed(&program).0, Signature::Renewed);
    let put = |file: &[u8], place: usize, numbers: &[u32]| {
        let mut file = file.to_vec();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        file[place..place + bytes.len()].copy_from_slice(&bytes);
        file
    };
    let start = 12 + 2 * 8;
    let hashes = big(&program, LIMIT + start + 16).unwrap();

    // A certificate among the hashes of the directory.
    let place = start as u32 + hashes;
    let in_directory = put(&program, LIMIT + 24, &[place]);
    let in_directory = put(&in_directory, LIMIT + place as usize, &[0xfade_0b01, 12]);

    // A directory in the list of parts: its first two fields are the second entry of the list.
    let overlapping = directory((2, 32), ADHOC, LIMIT, 0);
    let length = overlapping.len() as u32;
    let in_list = signed_with(&[(SLOT_DIRECTORY, overlapping)]);
    let in_list = put(&in_list, LIMIT + 8, &[2]);
    assert_eq!(big(&in_list, LIMIT + 16), Some(20));
    let in_list = put(&in_list, LIMIT + length as usize + 4, &[8]);

    // Hashes of pages where the hashes of other parts, and fields of the directory, are.
    let in_hashes = put(&program, LIMIT + start + 16, &[hashes - 64]);

    // A signature of nothing, within the load commands.
    let whole = signed_with(&[(SLOT_DIRECTORY, directory((2, 32), 0x1_0000, 0, 5)), (SLOT_CERTIFICATE, certificate)]);
    let signature = &whole[LIMIT..];
    let size = signature.len() as u32;
    let mut in_commands = [0xfeed_facf_u32, 0x0100_000c, 0, 2, 1, 16 + size, 0, 0].map(u32::to_le_bytes).concat();
    in_commands.extend([LC_CODE_SIGNATURE, 16, 48, size].map(u32::to_le_bytes).concat());
    in_commands.extend_from_slice(signature);

    let cases = [("directory", in_directory), ("list", in_list), ("hashes", in_hashes), ("commands", in_commands)];
    for (what, file) in cases {
        assert!(renewed(&file) == (Signature::Missing, file.clone()), "{what}");
    }
    // A universal file with the same program twice, and with one in the table.
    for is_long in [false, true] {
        let file = universal(&[&program, &program], is_long);
        let (first, second) = if is_long { (16, 48) } else { (16, 36) };
        for (at, place) in [(second, 0x4000_u32), (first, 8)] {
            let file = put(&file, if is_long { at + 4 } else { at }, &[place]);
            assert!(renewed(&file) == (Signature::Missing, file.clone()), "{at}");
        }
    }
}
