//! Replaces the placeholder of the build prefix in a file of any size. Only a window of the file is in memory.
//!
//! In a text file, each occurrence of the placeholder is replaced, and the file grows or shrinks. In a binary file, the
//! rest of the string moves up, and zeros fill the space before the string's end, so that nothing else moves.
//!
//! This is done for each encoding that conda supports: UTF-8, and UTF-16 and UTF-32 in both byte orders. The
//! placeholder in one byte order also looks like the other byte order, shifted by some bytes. So an occurrence at a
//! multiple of the unit's size is preferred. In a binary file, a wide string that does not end within [`AHEAD`] bytes
//! is not a string. Long runs of zeros become holes, as in all other files.

use std::io::{self, Read, Seek, Write};

use memchr::{memchr, memmem::Finder};
use rattler_conda_types::{Subdir, package::FileMode};
use rattler_digest::{Sha256, Sha256Hash, digest::Digest as _};

use super::first_line;
use crate::package::{Placeholder, invalid};

/// The number of bytes of a file that are processed at once.
const WINDOW: usize = 1 << 20;

/// The number of bytes that must be known after a position before it is processed. No first line or wide string is
/// longer.
const AHEAD: usize = 64 << 10;

/// The largest size of a text file after the replacement, in bytes. A small file can contain a short placeholder very
/// often.
const LARGEST_TEXT: u64 = 4 << 30;

/// Zeros to fill space.
static ZEROS: [u8; 4096] = [0; 4096];

/// The result of a replacement.
pub(super) struct Replaced {
    /// The sha256 of the content in the package, if requested.
    pub(super) original: Option<Sha256Hash>,
    /// The sha256 of the written content.
    pub(super) written: Sha256Hash,
    /// Whether the file ends with a hole, and so does not have its final size yet.
    pub(super) ends_with_hole: bool,
}

/// The placeholder in one encoding, and its replacement.
struct Encoded {
    finder: Finder<'static>,
    old: usize,
    new: Vec<u8>,
    /// The size of a code unit in bytes.
    unit: usize,
    /// The position of the next occurrence in the window.
    next: Option<usize>,
}

/// A replacement in progress.
pub(super) struct Replacing<'a, W: Seek + Write> {
    placeholder: &'a Placeholder,
    prefix: &'a str,
    platform: Subdir,
    to: W,
    encodings: Vec<Encoded>,
    out: Vec<u8>,
    written: Sha256,
    length: u64,
    /// Whether the last piece became a hole.
    ends_with_hole: bool,
    /// The number of bytes by which the current string has become shorter; `None` outside of such a string.
    open: Option<u64>,
}

impl<'a, W: Seek + Write> Replacing<'a, W> {
    pub(crate) fn new(placeholder: &'a Placeholder, prefix: &'a str, platform: Subdir, to: W) -> Self {
        let (out, written) = (Vec::with_capacity(AHEAD), Sha256::new());
        let encodings = encodings(&placeholder.text, prefix);
        let (length, ends_with_hole, open) = (0, false, None);
        Self { placeholder, prefix, platform, to, encodings, out, written, length, ends_with_hole, open }
    }

    /// Writes `size` bytes of content, with the prefix in the place of the placeholder. `check_stop` is called
    /// regularly. The content is hashed before the replacement if `hash` is given.
    ///
    /// # Errors
    /// The outer error is one of the content, with the kind that reading gives. The inner error is one of the disk.
    pub(super) fn run(
        mut self,
        content: &mut dyn Read,
        size: u64,
        window: &mut Vec<u8>,
        mut hash: Option<Sha256>,
        check_stop: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<io::Result<Replaced>> {
        if self.placeholder.text.is_empty() {
            return Err(invalid("a placeholder is empty"));
        }
        // The buffer is shared with other files. It grows to the size that is needed.
        window.clear();
        let (mut left, mut start) = (size, 0_u64);
        loop {
            check_stop()?;
            let room = WINDOW + AHEAD - window.len();
            let known = window.len();
            let more = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            window.resize(known + more, 0);
            content.read_exact(&mut window[known..])?;
            left -= more as u64;
            if let Some(hash) = &mut hash {
                hash.update(&window[known..]);
            }
            let is_last = left == 0;
            let done = match self.pass(window, start, is_last) {
                Ok(done) => done,
                Err(error) => return Ok(Err(error)),
            };
            if self.placeholder.mode == FileMode::Text && self.length > LARGEST_TEXT {
                return Err(invalid("a text is larger than 4 GiB with the prefix in it"));
            }
            if is_last {
                break;
            }
            window.drain(..done);
            start += done as u64;
        }
        if content.read(&mut [0])? > 0 {
            return Err(invalid("a file is larger than it says"));
        }
        let original = hash.map(|hash| hash.finalize());
        Ok(self.finish().map(|(written, ends_with_hole)| Replaced { original, written, ends_with_hole }))
    }

    /// Writes the part of the window that can be processed, and returns the length of that part.
    fn pass(&mut self, window: &[u8], start: u64, is_last: bool) -> io::Result<usize> {
        let is_text = self.placeholder.mode == FileMode::Text;
        let mut place = 0;
        if start == 0 && is_text {
            place = self.first_line(window)?;
        }
        // Occurrences after this position are processed in the next window.
        let limit = if is_last { window.len() } else { window.len().saturating_sub(AHEAD) };
        for encoded in &mut self.encodings {
            encoded.next = Some(place);
            encoded.search(window, place);
        }
        while let Some((index, found)) = self.first(start).filter(|(_, found)| *found < limit) {
            self.plain(&window[place..found])?;
            place = found;
            let (old, unit) = (self.encodings[index].old, self.encodings[index].unit);
            let end = match (is_text, unit) {
                (true, _) | (_, 1) => {
                    self.put_new(index)?;
                    if !is_text {
                        let shorter = old.saturating_sub(self.encodings[index].new.len()) as u64;
                        self.open = Some(self.open.unwrap_or(0) + shorter);
                    }
                    found + old
                }
                _ => self.wide(index, window, found, is_last)?,
            };
            place = end.max(place);
            // If a wide occurrence is not in a string, it stays, and the search continues inside of it.
            let from = if end == found { found + 1 } else { end };
            for encoded in &mut self.encodings {
                encoded.search(window, from);
            }
        }
        let end = limit.max(place);
        self.plain(&window[place..end])?;
        Ok(end)
    }

    /// The first occurrence. If it is not at a multiple of its unit's size, an overlapping one in the other byte order
    /// that is, is preferred.
    fn first(&self, start: u64) -> Option<(usize, usize)> {
        let aligned =
            |index: usize, place: usize| (start + place as u64).is_multiple_of(self.encodings[index].unit as u64);
        let found = self.encodings.iter().enumerate().filter_map(|(index, each)| Some((index, each.next?)));
        let (index, place) = found.clone().min_by_key(|(index, place)| (*place, !aligned(*index, *place), *index))?;
        let unit = self.encodings[index].unit;
        let is_twin = |(other, at): &(usize, usize)| {
            self.encodings[*other].unit == unit && *at < place + unit && aligned(*other, *at)
        };
        match aligned(index, place) {
            true => Some((index, place)),
            false => found.clone().find(is_twin).or(Some((index, place))),
        }
    }

    /// Replaces the placeholder in a wide string of a binary file. Returns the end of the string, or `found` if there
    /// is no string.
    fn wide(&mut self, index: usize, window: &[u8], found: usize, is_last: bool) -> io::Result<usize> {
        let Encoded { old, unit, .. } = self.encodings[index];
        let most = window.len().min(found + AHEAD);
        let ends = |place: &usize| window[*place..].iter().take(unit).all(|byte| *byte == 0);
        let mut units = (found + old..(most + 1).saturating_sub(unit)).step_by(unit);
        let end = units.find(ends).or((is_last && most == window.len()).then_some(most));
        let narrow = |end: usize| self.encodings[0].finder.find(&window[found..end]).is_some();
        let (Some(end), None) = (end.filter(|end| !narrow(*end)), self.open) else { return Ok(found) };
        let new = self.encodings[index].new.len();
        if new > old {
            return Ok(found);
        }
        let (mut place, mut room) = (found, 0);
        while let Some(at) = self.encodings[index].finder.find(&window[place..end]).map(|at| place + at) {
            self.put(&window[place..at])?;
            self.put_new(index)?;
            room += (old - new) as u64;
            place = at + old;
        }
        self.put(&window[place..end])?;
        self.zeros(room)?;
        Ok(end)
    }

    /// Writes the first line of a script (shebang) with the prefix. Returns the end of the old line, or 0 if it does
    /// not contain the placeholder.
    fn first_line(&mut self, window: &[u8]) -> io::Result<usize> {
        let head = &window[..window.len().min(AHEAD)];
        let end = memchr(b'\n', head).or((head.len() == window.len()).then_some(head.len()));
        let line = end.and_then(|end| std::str::from_utf8(&head[..end]).ok()).filter(|line| line.starts_with("#!"));
        let Some(line) = line.filter(|line| line.contains(&self.placeholder.text)) else { return Ok(0) };
        let new = first_line::rewrite(line, &self.placeholder.text, self.prefix, self.platform);
        self.put(new.as_bytes())?;
        Ok(line.len())
    }

    /// Writes bytes unchanged. If a string that has become shorter ends in them, zeros are inserted before its end.
    fn plain(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let (Some(room), Some(end)) = (self.open, memchr(0, bytes)) {
            self.put(&bytes[..end])?;
            self.zeros(room)?;
            self.open = None;
            bytes = &bytes[end..];
        }
        self.put(bytes)
    }

    fn zeros(&mut self, mut room: u64) -> io::Result<()> {
        while room > 0 {
            let piece = usize::try_from(room).unwrap_or(usize::MAX).min(ZEROS.len());
            self.put(&ZEROS[..piece])?;
            room -= piece as u64;
        }
        Ok(())
    }

    fn put_new(&mut self, index: usize) -> io::Result<()> {
        self.out.extend_from_slice(&self.encodings[index].new);
        self.length += self.encodings[index].new.len() as u64;
        if self.out.len() >= AHEAD { self.flush() } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if bytes.len() < AHEAD {
            self.out.extend_from_slice(bytes);
            return if self.out.len() >= AHEAD { self.flush() } else { Ok(()) };
        }
        self.flush()?;
        self.written.update(bytes);
        self.ends_with_hole = mlconda_system::write_piece(&mut self.to, bytes)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.written.update(&self.out);
        self.ends_with_hole = mlconda_system::write_piece(&mut self.to, &self.out)?;
        self.out.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<(Sha256Hash, bool)> {
        if let Some(room) = self.open {
            self.zeros(room)?;
        }
        self.flush()?;
        Ok((self.written.finalize(), self.ends_with_hole))
    }
}

impl Encoded {
    /// Searches for the next occurrence from a position, unless it is known.
    fn search(&mut self, window: &[u8], from: usize) {
        if self.next.is_some_and(|next| next < from || from == 0 || next == from) {
            self.next = self.finder.find(&window[from.min(window.len())..]).map(|at| from + at);
        }
    }
}

/// The placeholder and the prefix in all encodings, UTF-8 first.
fn encodings(old: &str, new: &str) -> Vec<Encoded> {
    let encode = |text: &str, number: usize| -> Vec<u8> {
        match number {
            0 => text.as_bytes().to_owned(),
            1 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            2 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            3 => text.chars().flat_map(|each| u32::from(each).to_le_bytes()).collect(),
            _ => text.chars().flat_map(|each| u32::from(each).to_be_bytes()).collect(),
        }
    };
    let all = [1, 2, 2, 4, 4].into_iter().enumerate();
    all.map(|(number, unit)| {
        let old = encode(old, number);
        Encoded { finder: Finder::new(&old).into_owned(), old: old.len(), new: encode(new, number), unit, next: None }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use rattler::install::link::copy_and_replace_placeholders;
    use rattler_digest::compute_bytes_digest;

    use super::*;

    const OLD: &str = "/old/placeholder_of_the_builder";

    /// The result of a replacement. It must be the same in one window and in many small ones.
    fn replaced(content: &[u8], prefix: &str, mode: FileMode) -> Vec<u8> {
        let (mut to, mut window) = (Cursor::new(Vec::new()), Vec::new());
        let placeholder = Placeholder { mode, text: OLD.to_owned() };
        let replacing = Replacing::new(&placeholder, prefix, Subdir::Linux64, &mut to);
        let (mut reader, size) = (Cursor::new(content), content.len() as u64);
        let hash = Some(Sha256::new());
        let replaced = replacing.run(&mut reader, size, &mut window, hash, &|| Ok(())).unwrap().unwrap();
        let (end, mut to) = (to.position() as usize, to.into_inner());
        assert_eq!(replaced.ends_with_hole, to.len() < end);
        to.resize(end, 0);
        assert_eq!(replaced.original, Some(compute_bytes_digest::<Sha256>(content)));
        assert_eq!(replaced.written, compute_bytes_digest::<Sha256>(&to));
        assert!(window.capacity() <= 2 * (WINDOW + AHEAD));
        to
    }

    /// The result of rattler, which replaces in memory.
    fn expected(content: &[u8], prefix: &str, mode: FileMode) -> Vec<u8> {
        let mut to = Vec::new();
        copy_and_replace_placeholders(content, &mut to, OLD, prefix, &Subdir::Linux64, mode).unwrap();
        to
    }

    /// Pseudorandom numbers, which are the same in each run.
    fn noise(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed), |state| {
            Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        })
        .skip(1)
        .map(|state| state >> 33)
    }

    #[test]
    fn strings_of_every_encoding_become_what_rattler_makes_of_them() {
        for seed in 0..60 {
            let mut content = Vec::new();
            for number in noise(seed).take(40) {
                match number % 8 {
                    0 => content.extend_from_slice(format!("{OLD}/lib:{OLD}/x\0").as_bytes()),
                    1 => content.extend_from_slice(OLD.as_bytes()),
                    2 | 3 => {
                        let old = encodings(&format!("{OLD}/y\0"), "");
                        let index = 1 + (number / 8 % 4) as usize;
                        while !content.len().is_multiple_of(old[index].unit) || content.last() != Some(&0) {
                            content.push(0);
                        }
                        content.extend_from_slice(old[index].finder.needle());
                    }
                    _ => content.extend(noise(number).take(50).map(|byte| byte as u8)),
                }
            }
            for prefix in ["/opt/env", OLD] {
                assert_eq!(replaced(&content, prefix, FileMode::Binary), expected(&content, prefix, FileMode::Binary));
                assert_eq!(replaced(&content, prefix, FileMode::Text), expected(&content, prefix, FileMode::Text));
            }
        }
    }

    #[test]
    fn a_placeholder_may_lie_anywhere_on_the_border_of_two_windows() {
        for distance in 0..OLD.len() + 2 {
            let mut content = vec![b'x'; WINDOW - distance];
            content.extend_from_slice(OLD.as_bytes());
            content.extend_from_slice(b"/rest\0");
            content.resize(2 * WINDOW + AHEAD + 17, b'y');
            content.extend_from_slice(OLD.as_bytes());
            for mode in [FileMode::Binary, FileMode::Text] {
                assert_eq!(replaced(&content, "/opt", mode), expected(&content, "/opt", mode), "{distance}");
            }
        }
    }

    #[test]
    fn a_string_may_be_longer_than_any_window() {
        let mut content = OLD.repeat(100_000).into_bytes();
        content.extend_from_slice(b"\0behind");
        assert_eq!(replaced(&content, "/opt", FileMode::Binary), expected(&content, "/opt", FileMode::Binary));
    }
    #[test]
    fn zeros_become_holes_and_are_read_as_they_were() {
        let text = format!("{OLD}/lib\0");
        let zeros = |number| vec![0; number];
        for content in [
            [text.as_bytes(), &zeros(3 * WINDOW)].concat(),
            [&zeros(3 * WINDOW), text.as_bytes()].concat(),
            [text.as_bytes(), &zeros(2 * WINDOW + AHEAD), text.as_bytes(), &zeros(AHEAD + 1), b"end"].concat(),
            [OLD.repeat(3 * AHEAD / OLD.len()).as_bytes(), &zeros(5)].concat(),
            zeros(2 * WINDOW),
        ] {
            for mode in [FileMode::Binary, FileMode::Text] {
                let expected = expected(&content, "/opt", mode);
                assert!(replaced(&content, "/opt", mode) == expected);
            }
        }
    }
}
