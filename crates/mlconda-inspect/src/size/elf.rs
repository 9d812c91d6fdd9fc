//! How many bytes of a program or library are debug symbols (ELF, System V ABI, chapter 4).

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use mlconda_system::files;

/// No program has more sections than fit into these bytes of names; what has, is not looked at.
const LARGEST_NAMES: u64 = 1 << 20;

/// The section has no bytes in the file.
const NOBITS: u64 = 8;

/// A section.
struct Section {
    name: usize,
    kind: u64,
    offset: u64,
    size: u64,
}

/// Reads so many bytes of a file at a position; fewer where it ends.
type ReadAt<'a> = &'a mut dyn FnMut(u64, u64) -> io::Result<Vec<u8>>;

/// The debug symbols of a file.
pub(super) fn of_file(path: &Path) -> io::Result<u64> {
    let mut file = files::open(path)?;
    debug_symbols(&mut |offset, size| {
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut file).take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// The size in bytes of the sections that `strip --strip-unneeded` removes, about: `.debug_*`, `.symtab`, `.strtab`.
/// What is no ELF file of this machine's byte order has none. `read` is given a position in the file and a number of bytes,
/// and gives these bytes, or fewer where the file ends.
///
/// # Errors
/// Those of `read`.
pub fn debug_symbols(read: ReadAt<'_>) -> io::Result<u64> {
    let Ok(head) = <[u8; 64]>::try_from(read(0, 64)?) else { return Ok(0) };
    let Some((sections, names)) = read_sections(read, &head)? else { return Ok(0) };
    let is_debug = |section: &&Section| {
        let name = names.get(section.name..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        section.kind != NOBITS
            && (name.starts_with(b".debug") || name.starts_with(b".zdebug") || name == b".symtab" || name == b".strtab")
    };
    Ok(sections.iter().filter(is_debug).fold(0, |sum: u64, section| sum.saturating_add(section.size)))
}

/// The sections, and the text in which their names are. `None` if it is no ELF file, or has no sections.
fn read_sections(read: ReadAt<'_>, head: &[u8; 64]) -> io::Result<Option<(Vec<Section>, Vec<u8>)>> {
    let is_little_endian = head[5] == 1;
    if !head.starts_with(b"\x7fELF") || !is_little_endian {
        return Ok(None);
    }
    // Class 2 has addresses of 64 bits, class 1 of 32.
    let is_wide = head[4] == 2;
    let (table, size, count, names) = match is_wide {
        true => (number(head, 40, 8), number(head, 58, 2), number(head, 60, 2), number(head, 62, 2)),
        false => (number(head, 32, 4), number(head, 46, 2), number(head, 48, 2), number(head, 50, 2)),
    };
    let usual = if is_wide { 64 } else { 40 };
    // A table of larger entries would be read whole.
    if table == 0 || size != usual {
        return Ok(None);
    }
    let bytes = read(table, size * count)?;
    let section = |entry: &[u8]| Section {
        name: usize::try_from(number(entry, 0, 4)).unwrap_or(usize::MAX),
        kind: number(entry, 4, 4),
        offset: if is_wide { number(entry, 24, 8) } else { number(entry, 16, 4) },
        size: if is_wide { number(entry, 32, 8) } else { number(entry, 20, 4) },
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let sections: Vec<Section> = bytes.chunks_exact(size).map(section).collect();
    let place = usize::try_from(names).ok().and_then(|names| sections.get(names));
    let names = match place {
        Some(place) if place.size <= LARGEST_NAMES => read(place.offset, place.size)?,
        _ => Vec::new(),
    };
    Ok(Some((sections, names)))
}

/// A little-endian number of so many bytes; the place is within the text.
fn number(bytes: &[u8], place: usize, length: usize) -> u64 {
    bytes[place..place + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
