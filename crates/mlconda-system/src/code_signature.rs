//! Renews code signatures of macOS programs and libraries (Mach-O) after some of their bytes have changed.
//!
//! A signature contains a hash of each page of the file, and Apple silicon starts no program with a wrong hash.
//! Replacing the builder's prefix by the real one changes pages. Here the hashes are computed again, and the signature
//! becomes one without a certificate ("ad hoc"), like the signatures of linkers and of `codesign --sign -`. Identifier
//! and entitlements stay.
//!
//! No part of the file moves or changes its size. Parts of the signature that are no longer true (a second directory of
//! hashes, a certificate's signature, the requirements of its owner) are removed in place.
//!
//! The formats are those of Apple's XNU: `mach-o/loader.h`, `mach-o/fat.h` and `kern/cs_blobs.h`. The program headers
//! that are read here are little-endian; signatures and universal headers are big-endian.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use rattler_digest::{Sha256, digest::Digest as _};

/// The number of bytes of the file that are in memory at a time.
const BUFFER: usize = 1 << 20;
/// The largest load commands and signatures that are read, in bytes. A signature has 32 bytes for each page.
const LARGEST: u32 = 64 << 20;
/// The most parts of a universal program. A Java class file begins with the same magic number, and has its version,
/// which is larger, in the place of this number.
const MOST_PARTS: u32 = 30;

/// The load command that contains the place of the signature.
const LC_CODE_SIGNATURE: u32 = 0x1d;
const SUPER_BLOB: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;

/// The slots of a signature: the kinds of its parts.
const SLOT_DIRECTORY: u32 = 0;
const SLOT_REQUIREMENTS: u32 = 2;
const SLOT_OTHER_DIRECTORIES: Range<u32> = 0x1000..0x1005;
const SLOT_CERTIFICATE: u32 = 0x1_0000;

/// The flag of a signature without a certificate.
const ADHOC: u32 = 2;
/// The number of SHA-256 among the hash types, and the length of a SHA-256 hash in bytes.
const SHA256: (u8, usize) = (2, 32);
/// An empty set of requirements, and an empty signature of a certificate.
const NO_REQUIREMENTS: [u8; 12] = [0xfa, 0xde, 0x0c, 0x01, 0, 0, 0, 12, 0, 0, 0, 0];
const NO_CERTIFICATE: [u8; 8] = [0xfa, 0xde, 0x0b, 0x01, 0, 0, 0, 8];

/// The result of renewing the signatures of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signature {
    /// The file is not a Mach-O file.
    NotMachO,
    /// The file is a Mach-O file, but a part of it for Apple silicon has no signature, or a signature of an unknown
    /// kind. The signatures of other parts are valid.
    Missing,
    /// All signatures of the file are valid. A file that needs none, because no part is for Apple silicon, may have
    /// none.
    Renewed,
}

/// Renews the signatures of an open file, which must be readable and writable.
///
/// # Errors
/// If the file cannot be read or written.
pub fn renew(file: &File) -> io::Result<Signature> {
    let length = file.metadata()?.len();
    let mut result = Signature::NotMachO;
    let (parts, are_apart) = parts(file, length)?;
    for whole in parts {
        let Some(part) = Part::read(file, &whole)? else { continue };
        let renewed = match &part.signature {
            // If programs share bytes, a new signature of one would change another.
            Some(place) if are_apart => renew_at(file, &whole, place)?,
            _ => false,
        };
        let is_missing = !renewed && part.is_arm64;
        result = if is_missing || result == Signature::Missing { Signature::Missing } else { Signature::Renewed };
    }
    Ok(result)
}

/// The ranges of the programs in a file (one program, or those of a universal file), and whether they share no bytes
/// with each other and with the table of a universal file.
fn parts(file: &File, length: u64) -> io::Result<(Vec<Range<u64>>, bool)> {
    let Some(head) = read(file, 0, 8, length)? else { return Ok((Vec::new(), true)) };
    let (place, size) = match big(&head, 0) {
        Some(0xcafe_babe) => (8, 20),
        Some(0xcafe_babf) => (8, 32),
        _ => return Ok((std::iter::once(0..length).collect(), true)),
    };
    let number = big(&head, 4).filter(|number| *number <= MOST_PARTS).unwrap_or(0) as usize;
    let Some(table) = read(file, place, number * size, length)? else { return Ok((Vec::new(), true)) };
    let long = |entry: &[u8], at: usize| Some(u64::from(big(entry, at)?) << 32 | u64::from(big(entry, at + 4)?));
    let part = |entry: &[u8]| {
        let (start, size) = match size {
            20 => (u64::from(big(entry, 8)?), u64::from(big(entry, 12)?)),
            _ => (long(entry, 8)?, long(entry, 16)?),
        };
        Some(start..start.checked_add(size)?.min(length))
    };
    let parts: Vec<Range<u64>> = table.chunks(size).filter_map(part).collect();
    let are_apart = are_apart(place + table.len() as u64, parts.clone());
    Ok((parts, are_apart))
}

/// Whether ranges share nothing, and none begins before `least`.
fn are_apart<N: Copy + Ord>(least: N, mut ranges: Vec<Range<N>>) -> bool {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.iter().try_fold(least, |least, range| (range.start >= least).then_some(range.end.max(least))).is_some()
}

/// A program in a file.
struct Part {
    is_arm64: bool,
    /// The range of the signature, as offsets from the start of the program.
    signature: Option<Range<u64>>,
}

impl Part {
    /// Reads the header and the load commands of a program. `None` if it is not a Mach-O program.
    fn read(file: &File, whole: &Range<u64>) -> io::Result<Option<Self>> {
        let Some(head) = read(file, whole.start, 28, whole.end)? else { return Ok(None) };
        let size = match little(&head, 0) {
            Some(0xfeed_face) => 28,
            Some(0xfeed_facf) => 32,
            _ => return Ok(None),
        };
        let commands = little(&head, 20).filter(|size| *size <= LARGEST).unwrap_or(0) as usize;
        let Some(commands) = read(file, whole.start + size, commands, whole.end)? else { return Ok(None) };
        let end_of_commands = size + commands.len() as u64;
        let mut part = Self { is_arm64: little(&head, 4) == Some(0x0100_000c), signature: None };
        let mut rest = commands.as_slice();
        while let (Some(kind), Some(size)) = (little(rest, 0), little(rest, 4)) {
            if let (LC_CODE_SIGNATURE, Some(place), Some(size)) = (kind, little(rest, 8), little(rest, 12)) {
                let place = u64::from(place)..u64::from(place) + u64::from(size.min(LARGEST));
                part.signature = Some(place).filter(|place| place.start >= end_of_commands);
            }
            rest = rest.get((size as usize).max(8)..).unwrap_or_default();
        }
        Ok(Some(part))
    }
}

/// Renews the signature in a range. `false` if the signature is of an unknown kind.
fn renew_at(file: &File, whole: &Range<u64>, place: &Range<u64>) -> io::Result<bool> {
    let at = whole.start.saturating_add(place.start);
    let size = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
    let Some(mut signature) = read(file, at, size, whole.end)? else { return Ok(false) };
    let Some(directory) = without_certificate(&mut signature) else { return Ok(false) };
    let Some(pages) = Pages::of(&signature[directory.clone()]).filter(|pages| pages.limit <= place.start) else {
        return Ok(false);
    };
    pages.hash(file, whole.start, &mut signature[directory])?;
    file.write_all_at(&signature, at)?;
    Ok(true)
}

/// Reduces a signature to one directory of hashes, without a certificate. Returns the range of that directory, or
/// `None` if no directory is of a known kind.
fn without_certificate(signature: &mut [u8]) -> Option<Range<usize>> {
    let number = big(signature, 8).filter(|_| big(signature, 0) == Some(SUPER_BLOB))? as usize;
    let mut entries: Vec<(u32, Range<usize>)> = Vec::new();
    for entry in signature.get(12..12 + number.checked_mul(8)?)?.chunks(8) {
        let (slot, from) = (big(entry, 0)?, big(entry, 4)? as usize);
        let size = big(signature, from.checked_add(4)?)? as usize;
        signature.get(from..from.checked_add(size.max(8))?)?;
        entries.push((slot, from..from + size.max(8)));
    }
    // Parts are changed one by one: none may have bytes of another, or of the list of parts.
    if !are_apart(12 + number * 8, entries.iter().map(|(_, place)| place.clone()).collect()) {
        return None;
    }
    let is_directory = |slot: u32| slot == SLOT_DIRECTORY || SLOT_OTHER_DIRECTORIES.contains(&slot);
    let known =
        |entry: &&(u32, Range<usize>)| is_directory(entry.0) && Pages::of(&signature[entry.1.clone()]).is_some();
    let directory = entries.iter().find(known)?.1.clone();
    let had_certificate = entries.iter().any(|(slot, place)| *slot == SLOT_CERTIFICATE && place.len() > 8);
    entries.retain(|(slot, place)| !is_directory(*slot) || *place == directory);
    for (slot, place) in &mut entries {
        if is_directory(*slot) {
            *slot = SLOT_DIRECTORY;
        } else if had_certificate && *slot == SLOT_CERTIFICATE {
            empty(signature, place, &NO_CERTIFICATE);
        } else if had_certificate && *slot == SLOT_REQUIREMENTS && place.len() >= NO_REQUIREMENTS.len() {
            empty(signature, place, &NO_REQUIREMENTS);
            // The directory also has the hash of the requirements, in front of the hashes of the pages.
            let hash = Sha256::digest(NO_REQUIREMENTS);
            let directory = signature.get_mut(directory.clone())?;
            if big(directory, 24)? >= SLOT_REQUIREMENTS {
                let to = Pages::of(directory)?.hashes - SLOT_REQUIREMENTS as usize * SHA256.1;
                directory[to..to + SHA256.1].copy_from_slice(&hash);
            }
        }
    }
    let mut index: Vec<u8> = Vec::with_capacity(number * 8);
    for (slot, place) in &entries {
        index.extend(slot.to_be_bytes());
        index.extend(u32::try_from(place.start).ok()?.to_be_bytes());
    }
    index.resize(number * 8, 0);
    signature[8..12].copy_from_slice(&u32::try_from(entries.len()).ok()?.to_be_bytes());
    signature[12..12 + number * 8].copy_from_slice(&index);
    if had_certificate {
        let directory = &mut signature[directory.clone()];
        // The other flags and the team id were claims of the certificate, which is gone.
        directory[12..16].copy_from_slice(&ADHOC.to_be_bytes());
        if big(directory, 8) >= Some(0x2_0200) {
            directory.get_mut(48..52)?.fill(0);
        }
    }
    Some(directory)
}

/// Overwrites a blob with a shorter one, and fills the rest with zeros.
fn empty(signature: &mut [u8], place: &Range<usize>, blob: &[u8]) {
    signature[place.clone()].fill(0);
    signature[place.start..place.start + blob.len()].copy_from_slice(blob);
}

/// The pages whose hashes are in a directory.
struct Pages {
    /// The offset of the first hash in the directory.
    hashes: usize,
    number: usize,
    /// The size of a page in bytes.
    size: u64,
    /// The end of the last page, from the start of the program.
    limit: u64,
}

impl Pages {
    /// Reads the fields of a directory. `None` if it is of an unknown kind.
    fn of(directory: &[u8]) -> Option<Self> {
        let version = big(directory, 8).filter(|_| big(directory, 0) == Some(CODE_DIRECTORY))?;
        let [hash_size, hash_kind, _, page_size] = *directory.get(36..40)? else { return None };
        let is_scattered = version >= 0x2_0100 && big(directory, 44)? != 0;
        if (hash_kind, usize::from(hash_size)) != SHA256 || page_size > 30 || is_scattered {
            return None;
        }
        let long = match version >= 0x2_0300 {
            true => u64::from(big(directory, 56)?) << 32 | u64::from(big(directory, 60)?),
            false => 0,
        };
        let limit = if long == 0 { u64::from(big(directory, 32)?) } else { long };
        let (hashes, number) = (big(directory, 16)? as usize, big(directory, 28)? as usize);
        // A page size of 0 means a single page.
        let size = if page_size == 0 { limit.max(1) } else { 1 << page_size };
        directory.get(hashes..hashes.checked_add(number.checked_mul(SHA256.1)?)?)?;
        let pages = Self { hashes, number, size, limit };
        let fields = match version {
            0x2_0300.. => 64,
            0x2_0200.. => 52,
            0x2_0100.. => 48,
            _ => 44,
        };
        // The hashes of other parts of the signature come before those of the pages.
        let least = (big(directory, 24)? as usize).checked_mul(SHA256.1)?.checked_add(fields)?;
        (number as u64 == limit.div_ceil(size) && hashes >= least).then_some(pages)
    }

    /// Computes the hashes of the pages of a file, and writes them into a directory.
    fn hash(&self, file: &File, start: u64, directory: &mut [u8]) -> io::Result<()> {
        let hashes = &mut directory[self.hashes..self.hashes + self.number * SHA256.1];
        let mut buffer = vec![0; BUFFER];
        let mut place = 0;
        for hash in hashes.chunks_mut(SHA256.1) {
            let end = (place + self.size).min(self.limit);
            let mut hasher = Sha256::new();
            while place < end {
                let piece = usize::try_from(end - place).unwrap_or(BUFFER).min(BUFFER);
                file.read_exact_at(&mut buffer[..piece], start + place)?;
                hasher.update(&buffer[..piece]);
                place += piece as u64;
            }
            hash.copy_from_slice(&hasher.finalize());
        }
        Ok(())
    }
}

/// Reads `size` bytes at `start` from a file of `length` bytes. `None` if the file is too short.
fn read(file: &File, start: u64, size: usize, length: u64) -> io::Result<Option<Vec<u8>>> {
    if start.checked_add(size as u64).is_none_or(|end| end > length) {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, start)?;
    Ok(Some(bytes))
}

fn big(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(place..)?.first_chunk()?))
}

fn little(bytes: &[u8], place: usize) -> Option<u32> {
    big(bytes, place).map(u32::swap_bytes)
}

#[cfg(test)]
mod tests;
