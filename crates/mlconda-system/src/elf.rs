//! Reads headers of programs and libraries (ELF, System V ABI, chapters 4 and 5): the processor, the dynamic loader,
//! and the size of debug symbols. Only the tables of a file are read, at any place of the file, and each up to a limit.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::files;

/// The largest table of section names that is read, in bytes. No real program has a larger one.
const LARGEST_NAMES: u64 = 1 << 20;

/// The largest size of a program, in bytes. No real program is larger.
const LARGEST_PROGRAM: u64 = 1 << 40;

/// The longest path of a dynamic loader, in bytes.
const LONGEST_PATH: u64 = 4096;

/// The type of the program header that names the dynamic loader (`PT_INTERP`).
const INTERPRETER: u64 = 3;

/// The type of a section without bytes in the file (`SHT_NOBITS`).
const NOBITS: u64 = 8;

/// A function that reads `size` bytes of a file at an offset: the arguments are `(offset, size)`. It returns fewer
/// bytes at the end of the file.
pub type ReadAt<'a> = &'a mut dyn FnMut(u64, u64) -> io::Result<Vec<u8>>;

/// The facts in the headers of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The path of its dynamic loader. `None` for a static program or a library.
    pub interpreter: Option<String>,
    /// The number of its processor type (`e_machine`).
    pub machine: u16,
}

/// Reads the headers of a program or library. `None` if the file is not an ELF file.
///
/// # Errors
/// If the file cannot be read.
pub fn program(path: &Path) -> io::Result<Option<Program>> {
    in_file(path, &mut |read| {
        let Some(mut elf) = Elf::new(read)? else { return Ok(None) };
        let machine = u16::try_from(elf.number(&elf.head, 18, 2)).unwrap_or(0);
        Ok(Some(Program { interpreter: elf.interpreter()?, machine }))
    })
}

/// The approximate number of bytes that `strip --strip-unneeded` would remove from a file: the sizes of `.debug_*`,
/// `.symtab` and `.strtab`. It is 0 if the file is not an ELF file.
///
/// # Errors
/// If `read` fails.
pub fn debug_symbols(read: ReadAt<'_>) -> io::Result<u64> {
    Elf::new(read)?.map_or(Ok(0), |mut elf| elf.debug_symbols())
}

/// Like [`debug_symbols`], for a file on this machine.
///
/// # Errors
/// If the file cannot be read.
pub fn debug_symbols_of(path: &Path) -> io::Result<u64> {
    in_file(path, &mut |read| debug_symbols(read))
}

/// The offset where a program ends, in bytes: after its last segment, and after its table of sections, which linkers
/// put last. `None` if the file is not a 64-bit program.
///
/// # Errors
/// If `read` fails.
pub fn end(read: ReadAt<'_>) -> io::Result<Option<u64>> {
    let Some(mut elf) = Elf::new(read)?.filter(Elf::is_wide) else { return Ok(None) };
    let segments = elf.table((32, 8, 54, 56), 56)?;
    let of_header = |place, length| elf.number(&elf.head, place, length);
    let mut end = of_header(40, 8).checked_add(of_header(58, 2) * of_header(60, 2));
    end = end.max(of_header(32, 8).checked_add(segments.len() as u64));
    for segment in segments.chunks_exact(56) {
        end = end.max(elf.number(segment, 8, 8).checked_add(elf.number(segment, 32, 8)));
    }
    Ok(end.filter(|end| !segments.is_empty() && *end < LARGEST_PROGRAM))
}

fn in_file<T>(path: &Path, work: &mut dyn FnMut(ReadAt<'_>) -> io::Result<T>) -> io::Result<T> {
    let mut file = files::open(path)?;
    let length = file.metadata()?.len();
    work(&mut |offset, size| {
        let mut bytes = Vec::new();
        // Some file systems refuse to seek beyond the end of a file.
        if offset < length {
            file.seek(SeekFrom::Start(offset))?;
            (&mut file).take(size).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

/// An ELF file.
struct Elf<'a> {
    head: [u8; 64],
    read: ReadAt<'a>,
}

/// A section.
struct Section {
    name: usize,
    kind: u64,
    offset: u64,
    size: u64,
}

impl<'a> Elf<'a> {
    fn new(read: ReadAt<'a>) -> io::Result<Option<Self>> {
        let Ok(head) = <[u8; 64]>::try_from(read(0, 64)?) else { return Ok(None) };
        let is_known = head.starts_with(b"\x7fELF") && matches!(head[4], 1 | 2) && matches!(head[5], 1 | 2);
        Ok(is_known.then_some(Self { head, read }))
    }

    fn interpreter(&mut self) -> io::Result<Option<String>> {
        let is_wide = self.is_wide();
        let places = if is_wide { (32, 8, 54, 56) } else { (28, 4, 42, 44) };
        let table = self.table(places, if is_wide { 56 } else { 32 })?;
        let (offset, size) = if is_wide { ((8, 8), (32, 8)) } else { ((4, 4), (16, 4)) };
        let mut entries = table.chunks_exact(if is_wide { 56 } else { 32 });
        let Some(entry) = entries.find(|entry| self.number(entry, 0, 4) == INTERPRETER) else { return Ok(None) };
        let (offset, size) = (self.number(entry, offset.0, offset.1), self.number(entry, size.0, size.1));
        let text = (self.read)(offset, size.min(LONGEST_PATH))?;
        Ok(Some(String::from_utf8_lossy(first_word(&text)).into_owned()))
    }

    fn debug_symbols(&mut self) -> io::Result<u64> {
        let is_wide = self.is_wide();
        let (places, entry) = if is_wide { ((40, 8, 58, 60), 64) } else { ((32, 4, 46, 48), 40) };
        let table = self.table(places, entry)?;
        let section = |bytes: &[u8]| Section {
            name: usize::try_from(self.number(bytes, 0, 4)).unwrap_or(usize::MAX),
            kind: self.number(bytes, 4, 4),
            offset: if is_wide { self.number(bytes, 24, 8) } else { self.number(bytes, 16, 4) },
            size: if is_wide { self.number(bytes, 32, 8) } else { self.number(bytes, 20, 4) },
        };
        let sections: Vec<Section> = table.chunks_exact(entry).map(section).collect();
        let place = usize::try_from(self.number(&self.head, if is_wide { 62 } else { 50 }, 2));
        let names = match place.ok().and_then(|place| sections.get(place)) {
            Some(place) if place.size <= LARGEST_NAMES => (self.read)(place.offset, place.size)?,
            _ => Vec::new(),
        };
        let is_debug = |section: &&Section| {
            let name = first_word(names.get(section.name..).unwrap_or_default());
            let is_named = name.starts_with(b".debug") || name.starts_with(b".zdebug");
            section.kind != NOBITS && (is_named || name == b".symtab" || name == b".strtab")
        };
        Ok(sections.iter().filter(is_debug).fold(0, |sum: u64, section| sum.saturating_add(section.size)))
    }

    /// Whether the file has 64-bit addresses.
    fn is_wide(&self) -> bool {
        self.head[4] == 2
    }

    /// Reads a table. The tuple has offsets in the file header: of the offset of the table (a number of `length`
    /// bytes), of the size of an entry, and of the number of entries. Returns nothing if entries do not have the size
    /// `usual`.
    fn table(
        &mut self,
        (offset, length, size, count): (usize, usize, usize, usize),
        usual: usize,
    ) -> io::Result<Vec<u8>> {
        let offset = self.number(&self.head, offset, length);
        let (size, count) = (self.number(&self.head, size, 2), self.number(&self.head, count, 2));
        if offset == 0 || size != usual as u64 { Ok(Vec::new()) } else { (self.read)(offset, size * count) }
    }

    /// A number of `length` bytes in the byte order of the file. `bytes` must be long enough.
    fn number(&self, bytes: &[u8], place: usize, length: usize) -> u64 {
        let (bytes, digit) = (&bytes[place..place + length], |number: u64, byte: &u8| number << 8 | u64::from(*byte));
        if self.head[5] == 1 { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) }
    }
}

/// The bytes before the first zero byte.
fn first_word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Option<Program> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        debug_symbols_of(file.path()).unwrap();
        program(file.path()).unwrap()
    }

    /// A 64-bit program with its program headers at the offset `table`, and the path of its loader at `name`.
    fn written(table: usize, name: usize) -> Vec<u8> {
        let mut file = vec![0; table.max(name) + 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        file[32..40].copy_from_slice(&(table as u64).to_le_bytes());
        (file[54], file[56]) = (56, 1);
        file[table] = 3;
        file[table + 8..table + 16].copy_from_slice(&(name as u64).to_le_bytes());
        file[table + 32] = 6;
        file[name..name + 6].copy_from_slice(b"/lib/x");
        file
    }

    #[test]
    fn a_table_beyond_the_end_is_none_on_any_file_system() {
        let largest = i64::MAX as u64;
        for offset in [200, 1 << 45, 1 << 60, largest - 1, largest, largest + 1, u64::MAX] {
            let mut file = written(64, 130);
            (file[58], file[60], file[62]) = (64, 200, 0);
            for (place, size) in [(32, 8), (40, 8)] {
                file[place..place + size].copy_from_slice(&u64::to_le_bytes(offset));
            }
            assert_eq!(open(&file).unwrap().interpreter, None, "{offset}");
        }
    }

    #[test]
    fn the_loader_of_a_program_is_found_wherever_it_is_named() {
        for (table, name) in [(64, 130), (64, 3 << 20), (5 << 20, 70), (2 << 20, 4 << 20)] {
            let found = open(&written(table, name)).unwrap();
            assert_eq!((found.machine, found.interpreter.as_deref()), (62, Some("/lib/x")), "{table} {name}");
        }
        // A 32-bit, big-endian file.
        let mut file = vec![0; 300];
        file[..6].copy_from_slice(b"\x7fELF\x01\x02");
        (file[19], file[31], file[43], file[45]) = (8, 64, 32, 1);
        (file[67], file[71], file[83]) = (3, 200, 7);
        file[200..207].copy_from_slice(b"/lib/ld");
        let found = open(&file).unwrap();
        assert_eq!((found.machine, found.interpreter.as_deref()), (8, Some("/lib/ld")));
    }

    #[test]
    fn a_program_ends_behind_its_segments_and_sections() {
        let mut program = written(64, 180);
        program.resize(300, 0);
        let end_of = |bytes: &[u8]| {
            end(&mut |offset, size| {
                let range = usize::try_from(offset).unwrap_or(usize::MAX)..;
                let rest = bytes.get(range).unwrap_or_default();
                Ok(rest[..rest.len().min(usize::try_from(size).unwrap())].to_vec())
            })
            .unwrap()
        };
        assert_eq!(end_of(&program), Some(186));
        program[40..42].copy_from_slice(&270_u16.to_le_bytes());
        (program[58], program[60]) = (10, 3);
        assert_eq!(end_of(&program), Some(300));
        for cut in 0..300 {
            end_of(&program[..cut]);
        }
        program[40..48].copy_from_slice(&[255; 8]);
        assert_eq!(end_of(&program), Some(186), "a table that no file can have is none");
        assert_eq!(end_of(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn what_names_none_and_what_is_cut_off_is_no_error() {
        let whole = written(64, 130);
        for cut in 0..whole.len() {
            open(&whole[..cut]);
        }
        let with = |place: usize, bytes: &[u8]| {
            let mut file = whole.clone();
            file[place..place + bytes.len()].copy_from_slice(bytes);
            open(&file).unwrap().interpreter
        };
        assert_eq!(with(64, &[1]), None, "no such entry");
        assert_eq!(with(32, &[255; 8]), None, "a table beyond all files");
        assert_eq!(with(54, &[57]), None, "entries of another size");
        assert_eq!(with(72, &[255; 8]).as_deref(), Some(""), "a name beyond all files");
        assert_eq!(with(96, &[255; 8]).as_deref(), Some("/lib/x"), "a name without end");
        assert!(open(b"#!/bin/sh\n").is_none() && open(&[0; 100]).is_none());
    }
}
