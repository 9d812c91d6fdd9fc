//! Tests with files made by hand, whose sections are where linkers and patchelf put them, and with a real program: this
//! one.

use std::{fs, io::Write};

use super::*;

/// A section: its name, type, flags, content, and the section that it refers to.
struct Made {
    name: &'static str,
    kind: u32,
    flags: u64,
    content: Vec<u8>,
    link: u32,
}

fn made(name: &'static str, kind: u32, flags: u64, size: usize) -> Made {
    let content = name.bytes().cycle().take(size).collect();
    Made { name, kind, flags, content, link: 0 }
}

/// The sections of a library: loaded text, symbols, debug information, and sections that stay although they are not
/// loaded.
fn usual() -> Vec<Made> {
    vec![
        made(".text", 1, 6, 5000),
        made(".comment", 1, 0x30, 40),
        Made { link: 4, ..made(".symtab", 2, 0, 6000) },
        made(".strtab", 3, 0, 3000),
        made(".debug_info", 1, 0, 9000),
    ]
}

/// An ELF file with these sections, in this order. Each offset is a multiple of 8, and those of loaded sections are at
/// a page.
fn elf(sections: &[Made]) -> Vec<u8> {
    let loaded: Vec<&Made> = sections.iter().filter(|section| section.flags & 2 != 0).collect();
    let mut file = vec![0; HEAD + SEGMENT * (1 + loaded.len())];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[16], file[32], file[52], file[54], file[58]) = (3, 64, 64, 56, 64);
    file[56] = 1 + u8::try_from(loaded.len()).unwrap();
    let mut names = vec![0];
    let mut table = vec![0; SECTION];
    let mut segment = HEAD;
    let mut segments = vec![(1_u32, 0_u64, file.len() as u64)];
    let shstrtab = Made { name: ".shstrtab", kind: 3, flags: 0, content: Vec::new(), link: 0 };
    let mut places = Vec::new();
    for section in sections.iter().chain([&shstrtab]) {
        let align = if section.flags & 2 != 0 { 4096 } else { 8 };
        file.resize(file.len().next_multiple_of(align), 0);
        let mut entry = vec![0; SECTION];
        entry[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
        names.extend(section.name.bytes().chain([0]));
        entry[4..8].copy_from_slice(&section.kind.to_le_bytes());
        entry[40..44].copy_from_slice(&section.link.to_le_bytes());
        let content = if section.name == ".shstrtab" { &names } else { &section.content };
        for (place, number) in [(8, section.flags), (24, file.len() as u64), (32, content.len() as u64), (48, 8)] {
            put(&mut entry, place, number);
        }
        if section.flags & 2 != 0 {
            segments.push((1, file.len() as u64, content.len() as u64));
        }
        places.push(file.len());
        file.extend(content);
        table.extend(entry);
    }
    for (kind, place, size) in segments {
        file[segment..segment + 4].copy_from_slice(&kind.to_le_bytes());
        for (field, number) in [(8, place), (32, size), (48, 4096)] {
            put(&mut file[segment..segment + SEGMENT], field, number);
        }
        segment += SEGMENT;
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let place = file.len() as u64;
    put(&mut file, 40, place);
    let count = table.len() / SECTION;
    (file[60], file[62]) = (u8::try_from(count).unwrap(), u8::try_from(count - 1).unwrap());
    file.extend(table);
    file
}

/// The file without its symbols; `None` if it is not changed.
fn stripped(content: &[u8]) -> Option<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let stripped = Stripped::of(&file).unwrap()?;
    stripped.apply(&file).unwrap();
    let after = read(&file, 0, file.metadata().unwrap().len()).unwrap();
    assert_eq!(after.len() as u64 + stripped.saved, content.len() as u64);
    Some(after)
}

/// The name and the content of each section with bytes.
fn sections(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let at = |number: u64| usize::try_from(number).unwrap();
    let table = &file[at(number(file, 40, 8))..];
    let entries: Vec<&[u8]> = table.chunks_exact(SECTION).take(at(number(file, 60, 2))).collect();
    let content = |entry: &[u8]| file[at(range(entry).0)..at(range(entry).1)].to_vec();
    let names = content(entries[at(number(file, 62, 2))]);
    let name = |entry: &[u8]| {
        let name = names[at(number(entry, 0, 4))..].split(|byte| *byte == 0).next().unwrap();
        String::from_utf8(name.to_vec()).unwrap()
    };
    entries.iter().filter(|entry| number(entry, 4, 4) != 0).map(|entry| (name(entry), content(entry))).collect()
}

/// The content of the segments. Checks that the offset of each fits its address in memory.
fn segments(file: &[u8]) -> Vec<Vec<u8>> {
    let count = usize::try_from(number(file, 56, 2)).unwrap();
    let table = &file[usize::try_from(number(file, 32, 8)).unwrap()..];
    let range = |segment: &[u8]| {
        let start = usize::try_from(number(segment, 8, 8)).unwrap();
        assert!(start.is_multiple_of(4096), "{start} is not where it can be loaded");
        start..start + usize::try_from(number(segment, 32, 8)).unwrap()
    };
    // The first segment contains the file header and this table.
    table.chunks_exact(SEGMENT).take(count).skip(1).map(|segment| file[range(segment)].to_vec()).collect()
}

fn without_symbols(before: &[u8]) -> Vec<(String, Vec<u8>)> {
    let goes = |name: &str| [".symtab", ".strtab"].contains(&name) || name.starts_with(".debug");
    sections(before).into_iter().filter(|(name, _)| !goes(name)).collect()
}

#[test]
fn symbols_go_and_the_rest_stays() {
    let before = elf(&usual());
    let after = stripped(&before).unwrap();
    assert_eq!(sections(&after), without_symbols(&before));
    assert_eq!(segments(&after), segments(&before));
    assert_eq!(stripped(&after), None);
    assert_eq!(stripped(&before), Some(after));
}

#[test]
fn what_is_loaded_behind_symbols_moves_by_whole_pages() {
    // A segment that was added at the end, as by patchelf.
    let mut made_later = usual();
    made_later.push(made(".dynstr", 3, 2, 700));
    let before = elf(&made_later);
    // patchelf also leaves a zero after the end.
    assert_eq!(stripped(&[&before[..], b"\0"].concat()), stripped(&before));
    let after = stripped(&before).unwrap();
    assert_eq!(sections(&after), without_symbols(&before));
    assert_eq!(segments(&after), segments(&before));
}

#[test]
fn a_file_that_is_not_as_linkers_write_it_stays() {
    let before = elf(&usual());
    // Not changed: data after the end; relocations that refer to the symbols; an object file; 32 bits; too little to
    // save.
    assert_eq!(stripped(&[&before[..], b"payload"].concat()), None);
    let mut sections = usual();
    sections.push(Made { link: 3, ..made(".rela.text", 4, 0, 48) });
    assert_eq!(stripped(&elf(&sections)), None);
    for (place, byte) in [(16, 1), (4, 1), (5, 2), (60, 0), (58, 40)] {
        let mut other = before.clone();
        other[place] = byte;
        assert_eq!(stripped(&other), None, "byte {place}");
    }
    assert_eq!(stripped(&elf(&[made(".text", 1, 6, 5000), made(".debug_info", 1, 0, 500)])), None);
    assert_eq!(stripped(b"#!/bin/sh\n"), None);
}

#[test]
fn a_segment_without_bytes_moves_by_whole_pages_or_the_file_stays() {
    // `.bss` exists only in memory: after data that moves by less than a page, and after the new end of the file.
    let bss = || made(".bss", 8, 2, 0);
    let mut sections = usual();
    sections.push(bss());
    assert_eq!(stripped(&elf(&sections)), None);
    let comment = sections.remove(1);
    sections[1].link = 3;
    sections.insert(4, comment);
    assert_eq!(stripped(&elf(&sections)), None);
    let mut sections = usual();
    sections[0] = made(".text", 1, 6, 4096);
    sections.insert(1, bss());
    sections[3].link = 5;
    let before = elf(&sections);
    assert_eq!(segments(&stripped(&before).unwrap()), segments(&before));
}

#[test]
fn a_damaged_file_is_no_panic() {
    let before = elf(&usual());
    for cut in (0..before.len()).step_by(97).chain(0..200) {
        let _ = stripped(&before[..cut]);
    }
    for place in (0..HEAD + SEGMENT * 3).chain(before.len() - SECTION * 7..before.len()) {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut other = before.clone();
            other[place] = byte;
            let _ = stripped(&other);
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
#[test]
fn a_true_program_runs_without_its_symbols() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&program).unwrap();
    let stripped = Stripped::of(&file).unwrap().unwrap();
    stripped.apply(&file).unwrap();
    drop(file);
    let output = std::process::Command::new(&program).args(["--list", "a_true_program"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("a_true_program_runs_without_its_symbols"), "{output:?}");
}
