//! Removes symbols and debug information from programs and libraries (ELF, System V ABI, chapters 4 and 5).
//!
//! The result is like that of `strip --strip-unneeded`: sections are removed that are not loaded and contain symbols,
//! names of symbols, or debug information. Data after them moves up, by whole pages if it is loaded. Sections keep
//! their numbers, so that references to them stay valid; removed sections become empty. A file is not changed if it
//! differs from the usual output of linkers: with data after its end, needed relocations, 32 bits, or big-endian.

use std::{fs::File, io, os::unix::fs::FileExt};

/// The size in bytes of the file header, of an entry in the table of segments, and of one in the table of sections.
const HEAD: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;

/// Files with more segments or sections, or with longer section names in bytes, are not changed.
const MOST: u64 = 1 << 12;
const LONGEST_NAMES: u64 = 1 << 20;

/// How many bytes may be after all sections and tables, if they are zeros.
const MOST_BEHIND: u64 = 64;

/// Files are not changed for fewer saved bytes, because a file shared with the cache is worth more.
const WORTH: u64 = 4096;

/// The number of bytes that are moved at once.
const PIECE: usize = 1 << 18;

/// A range of a file that is moved as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// The old range, as offsets in bytes.
    start: u64,
    end: u64,
    /// The alignment in bytes. The offset stays the same modulo this number.
    align: u64,
    /// The new offset.
    place: u64,
}

/// The plan to remove the symbols of a file.
#[derive(Debug)]
pub(super) struct Stripped {
    blocks: Vec<Block>,
    head: Vec<u8>,
    segments: Vec<u8>,
    sections: Vec<u8>,
    /// The new offsets of the two tables.
    segments_place: u64,
    sections_place: u64,
    /// The number of bytes that are removed.
    pub(super) saved: u64,
}

impl Stripped {
    /// Examines a file. `None` if nothing is removed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut head = vec![0; HEAD];
        match file.read_exact_at(&mut head, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        // Accepts 64-bit, little-endian programs and libraries of the current version.
        if !head.starts_with(b"\x7fELF\x02\x01\x01") || ![2, 3].contains(&number(&head, 16, 2)) {
            return Ok(None);
        }
        let length = file.metadata()?.len();
        let table = |place: u64, count: u64, size: usize| -> io::Result<Option<Vec<u8>>> {
            let bytes = count * size as u64;
            if place < HEAD as u64 || count == 0 || count > MOST || place.saturating_add(bytes) > length {
                return Ok(None);
            }
            read(file, place, bytes).map(Some)
        };
        let sizes = (number(&head, 52, 2), number(&head, 54, 2), number(&head, 58, 2));
        if sizes != (HEAD as u64, SEGMENT as u64, SECTION as u64) {
            return Ok(None);
        }
        let (segments_at, sections_at) = (number(&head, 32, 8), number(&head, 40, 8));
        let segments = table(segments_at, number(&head, 56, 2), SEGMENT)?;
        let sections = table(sections_at, number(&head, 60, 2), SECTION)?;
        let (Some(segments), Some(sections)) = (segments, sections) else { return Ok(None) };
        let index = usize::try_from(number(&head, 62, 2)).unwrap_or(usize::MAX);
        let Some(names) = sections.chunks_exact(SECTION).nth(index).map(range) else { return Ok(None) };
        if names.1 - names.0 > LONGEST_NAMES || names.1 > length {
            return Ok(None);
        }
        let names = read(file, names.0, names.1 - names.0)?;
        let known = sections.chunks_exact(SECTION).map(|section| range(section).1).max().unwrap_or(0);
        let known = known.max(sections_at + sections.len() as u64);
        // Other data after the last section may belong to a program that unpacks itself, for example. patchelf leaves
        // zeros there.
        let behind = length.checked_sub(known).filter(|behind| *behind <= MOST_BEHIND);
        match behind.map(|behind| read(file, known, behind)).transpose()? {
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
            _ => return Ok(None),
        }
        Ok(Self::plan(head, segments, sections, &names, index, length))
    }

    fn plan(
        mut head: Vec<u8>,
        mut segments: Vec<u8>,
        mut sections: Vec<u8>,
        names: &[u8],
        names_index: usize,
        length: u64,
    ) -> Option<Self> {
        let goes = going(&sections, names, names_index)?;
        let segments_at = number(&head, 32, 8);
        let mut blocks = vec![block((0, HEAD as u64), 1), block((segments_at, segments_at + segments.len() as u64), 8)];
        for segment in segments.chunks_exact(SEGMENT) {
            let start = number(segment, 8, 8);
            let range = (start, start.checked_add(number(segment, 32, 8))?);
            // The type `PT_LOAD`.
            blocks.push(block(range, if number(segment, 0, 4) == 1 { number(segment, 48, 8) } else { 1 }));
        }
        for (section, _) in sections.chunks_exact(SECTION).zip(&goes).filter(|(_, goes)| !**goes) {
            blocks.push(block(range(section), number(section, 48, 8)));
        }
        if blocks.iter().any(|block| block.end > length || block.align > 1 << 30) {
            return None;
        }
        let blocks = placed(blocks);
        let moved = |place: u64| {
            let block = blocks.iter().rev().find(|block| block.start <= place)?;
            Some(place - (block.start - block.place))
        };
        let segments_place = moved(segments_at)?;
        put(&mut head, 32, segments_place);
        let mut last = 0;
        for segment in segments.chunks_exact_mut(SEGMENT) {
            let start = number(segment, 8, 8);
            let place = moved(start)?;
            // A segment without bytes in the file has no block, but loaders require a valid offset.
            if number(segment, 0, 4) == 1 {
                last = last.max(place);
                if !(start - place).is_multiple_of(number(segment, 48, 8).max(1)) {
                    return None;
                }
            }
            put(segment, 8, place);
        }
        for (section, goes) in sections.chunks_exact_mut(SECTION).zip(&goes) {
            match goes {
                true => section.fill(0),
                false => {
                    let place = moved(number(section, 24, 8))?;
                    put(section, 24, place);
                }
            }
        }
        let sections_place = blocks.last().map(|block| block.place + (block.end - block.start))?.next_multiple_of(8);
        put(&mut head, 40, sections_place);
        if last > sections_place {
            return None;
        }
        let saved = length.checked_sub(sections_place + sections.len() as u64).filter(|saved| *saved >= WORTH)?;
        Some(Self { blocks, head, segments, sections, segments_place, sections_place, saved })
    }

    /// Changes the file that was examined, or a copy of it.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn apply(&self, file: &File) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut end = 0;
        for Block { start, end: old_end, place, .. } in &self.blocks {
            // The space up to the next page is filled with zeros.
            zero(file, end, *place)?;
            end = place + (old_end - start);
            let mut done = if start == place { old_end - start } else { 0 };
            while done < old_end - start {
                let piece = usize::try_from(old_end - start - done).unwrap_or(PIECE).min(PIECE);
                buffer.resize(piece, 0);
                file.read_exact_at(&mut buffer, start + done)?;
                file.write_all_at(&buffer, place + done)?;
                done += piece as u64;
            }
        }
        zero(file, end, self.sections_place)?;
        file.write_all_at(&self.sections, self.sections_place)?;
        file.write_all_at(&self.segments, self.segments_place)?;
        file.write_all_at(&self.head, 0)?;
        file.set_len(self.sections_place + self.sections.len() as u64)
    }
}

/// Which sections are removed. `None` if a kept section needs one of them, or if none is removed.
fn going(sections: &[u8], names: &[u8], names_index: usize) -> Option<Vec<bool>> {
    let goes = |(index, section): (usize, &[u8])| {
        // The flag `SHF_ALLOC`: the section is loaded.
        if number(section, 8, 8) & 2 != 0 || index == names_index {
            return false;
        }
        let name = usize::try_from(number(section, 0, 4)).ok().and_then(|place| names.get(place..)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let starts: [&[u8]; 4] = [b".debug", b".zdebug", b".gnu.debuglto_", b".stab"];
        match number(section, 4, 4) {
            // SHT_SYMTAB, SHT_SYMTAB_SHNDX
            2 | 18 => true,
            // SHT_STRTAB
            3 => name == b".strtab" || name == b".stabstr",
            // SHT_PROGBITS
            1 => name == b".gdb_index" || starts.iter().any(|start| name.starts_with(start)),
            _ => false,
        }
    };
    let goes: Vec<bool> = sections.chunks_exact(SECTION).enumerate().map(goes).collect();
    let is_gone = |index: u64| usize::try_from(index).is_ok_and(|index| goes.get(index) == Some(&true));
    // A kept section refers to a removed one: relocations that the linker has kept.
    let is_needed =
        sections.chunks_exact(SECTION).zip(&goes).any(|(section, goes)| !goes && is_gone(number(section, 40, 4)));
    (!is_needed && goes.contains(&true)).then_some(goes)
}

fn block((start, end): (u64, u64), align: u64) -> Block {
    Block { start, end, align: align.max(1), place: start }
}

/// Merges overlapping blocks, and moves each as near to the beginning of the file as its alignment allows.
fn placed(mut all: Vec<Block>) -> Vec<Block> {
    all.retain(|block| block.end > block.start);
    mlconda_types::sorting::sort_by_key(&mut all, |block| (block.start, block.end));
    let mut blocks: Vec<Block> = Vec::new();
    for block in all {
        match blocks.last_mut() {
            Some(last) if block.start < last.end => {
                (last.end, last.align) = (last.end.max(block.end), last.align.max(block.align));
            }
            _ => blocks.push(block),
        }
    }
    let mut end = 0;
    for block in &mut blocks {
        block.place = block.start - (block.start - end) / block.align * block.align;
        end = block.place + (block.end - block.start);
    }
    blocks
}

/// The range of a section in the file. Sections of the types SHT_NOBITS and SHT_NULL have no bytes there.
fn range(section: &[u8]) -> (u64, u64) {
    let start = number(section, 24, 8);
    let size = if [0, 8].contains(&number(section, 4, 4)) { 0 } else { number(section, 32, 8) };
    (start, start.saturating_add(size))
}

fn read(file: &File, place: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, place)?;
    Ok(bytes)
}

fn zero(file: &File, mut start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 4096] = [0; 4096];
    while start < end {
        let piece = usize::try_from(end - start).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(&ZEROS[..piece], start)?;
        start += piece as u64;
    }
    Ok(())
}

/// A little-endian number of `length` bytes. `bytes` must be long enough.
fn number(bytes: &[u8], place: usize, length: usize) -> u64 {
    bytes[place..place + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes an eight-byte number.
fn put(bytes: &mut [u8], place: usize, number: u64) {
    bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests;
