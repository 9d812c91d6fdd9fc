//! Parses the tar of a layer piece by piece (POSIX.1-2001, with GNU extensions). Entries are put into the tree, and the
//! sizes of contents are measured. Contents are not kept, except the records of packages, and the end of each program,
//! where the table of its sections is.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use mlconda_inspect::size::{debug_symbols, may_have_symbols};
use mlconda_oci::Digest;
use mlconda_system::files;
use rattler_digest::{Sha256, digest::Digest as _};

use super::tree::{Entry, Tree};

/// The block size of a tar, in bytes. Headers and contents are padded to full blocks.
const BLOCK: usize = 512;

/// The largest size of a header that extends the next one, in bytes.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// How much of the end of a program is kept, in bytes. The table of its sections is there.
const TAIL: usize = 64 << 10;

/// The part of the tar that comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// A header that extends the next one: its type, and its size with padding in bytes.
    Extension(u8, u64),
    /// Another block of the map of a sparse file.
    Map,
    Content,
    Padding,
    /// The end of the tar. Bytes after it have no meaning.
    Over,
}

/// Values that replace those of the next header.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// The file whose content is being read.
struct Current {
    file: usize,
    /// The content so far, if the content is kept.
    kept: Option<Vec<u8>>,
    /// The first and the last bytes of a possible program.
    program: Option<(Vec<u8>, Vec<u8>)>,
}

/// Parses a tar that is written to it.
pub(super) struct LayerReader<'a, 'b> {
    tree: &'a mut Tree<'b>,
    layer: usize,
    state: State,
    /// The number of bytes until the state ends.
    left: u64,
    buffer: Vec<u8>,
    extended: Extended,
    current: Option<Current>,
    /// The size of the content, and the size of the padding after it, in bytes.
    size: u64,
    padding: u64,
    hash: Sha256,
    unpacked: u64,
    most: u64,
    failure: Option<String>,
}

impl Write for LayerReader<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            self.failure = self.take(bytes).err();
        }
        if self.failure.is_some() { Err(io::Error::other("the layer is invalid")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, 'b> LayerReader<'a, 'b> {
    /// `size` is the size of the blob, in bytes.
    pub(super) fn new(tree: &'a mut Tree<'b>, layer: usize, size: u64) -> Self {
        let before: u64 = tree.unpacked;
        let by_ratio = size.saturating_mul(tree.limits.ratio).saturating_add(64 << 20);
        let most = by_ratio.min(tree.limits.unpacked.saturating_sub(before));
        Self {
            tree,
            layer,
            state: State::Header,
            left: BLOCK as u64,
            buffer: Vec::new(),
            extended: Extended::default(),
            current: None,
            size: 0,
            padding: 0,
            hash: Sha256::default(),
            unpacked: 0,
            most,
            failure: None,
        }
    }

    /// Why the tar is not valid, if it is not.
    pub(super) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// The digest and the size of the tar in bytes, after its end.
    pub(super) fn finish(self) -> Result<(Digest, u64), String> {
        let is_whole = self.state == State::Over || self.state == State::Header && self.buffer.is_empty();
        if !is_whole {
            return Err("its tar is cut off".to_owned());
        }
        self.tree.unpacked += self.unpacked;
        Ok((Digest::from(self.hash.finalize()), self.unpacked))
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.unpacked = self.unpacked.saturating_add(bytes.len() as u64);
        if self.unpacked > self.most {
            return Err(format!("it unpacks to more than {} bytes, which is the limit for it", self.most));
        }
        self.hash.update(bytes);
        while !bytes.is_empty() && self.state != State::Over {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(length);
            bytes = rest;
            self.left -= length as u64;
            match self.state {
                State::Content => self.content(piece),
                State::Padding | State::Over => {}
                State::Header | State::Extension(..) | State::Map => self.buffer.extend_from_slice(piece),
            }
            // A state of 0 bytes ends at once.
            while self.left == 0 && self.state != State::Over {
                self.next()?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, state: State, left: u64) {
        (self.state, self.left) = (state, left);
    }

    /// Handles the end of a state, and begins the next one.
    fn next(&mut self) -> Result<(), String> {
        let buffer = std::mem::take(&mut self.buffer);
        match self.state {
            State::Header => return self.header(&buffer),
            State::Extension(kind, length) => {
                let text = buffer.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
                self.extend(kind, text)?;
                self.enter(State::Header, BLOCK as u64);
            }
            State::Map if buffer.get(504) == Some(&1) => self.enter(State::Map, BLOCK as u64),
            State::Map => self.enter(State::Content, self.size),
            State::Content => {
                self.finish_file();
                self.enter(State::Padding, self.padding);
            }
            State::Padding => self.enter(State::Header, BLOCK as u64),
            State::Over => {}
        }
        Ok(())
    }

    fn header(&mut self, block: &[u8]) -> Result<(), String> {
        if block.iter().all(|byte| *byte == 0) {
            self.enter(State::Over, 0);
            return Ok(());
        }
        let is_header = block.len() == BLOCK && number(&block[148..156]) == Some(checksum(block));
        let size = number(&block[124..136]).filter(|_| is_header).ok_or("it is no tar: a header is invalid")?;
        let kind = block[156];
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            if size > LARGEST_EXTENSION {
                return Err(format!("a header in it has {size} bytes, and {LARGEST_EXTENSION} is the limit"));
            }
            self.enter(State::Extension(kind, size), size.next_multiple_of(BLOCK as u64));
            return Ok(());
        }
        let Extended { path, link, size: real } = std::mem::take(&mut self.extended);
        let path = path.unwrap_or_else(|| name(block));
        let link = link.unwrap_or_else(|| field(&block[157..257]).to_vec());
        // In old tars, a directory is a file whose name ends with a slash.
        let entry = match kind {
            b'1' => Entry::HardLink(&link),
            b'2' => Entry::Link(&link),
            b'3' | b'4' | b'6' => Entry::Other,
            b'5' => Entry::Directory,
            _ if path.ends_with(b"/") => Entry::Directory,
            _ => Entry::File,
        };
        // Some writers give a size to other types of entries, too, although there is no content.
        let size = if matches!(entry, Entry::File) { real.unwrap_or(size) } else { 0 };
        if size > self.most {
            return Err(format!("a file in it has {size} bytes, and the layer may have {}", self.most));
        }
        let file = self.tree.put(self.layer, &path, &entry)?;
        self.begin(file, &path, size, number(&block[100..108]).unwrap_or(0))?;
        (self.size, self.padding) = (size, size.next_multiple_of(BLOCK as u64) - size);
        if kind == b'S' && block[482] == 1 {
            self.enter(State::Map, BLOCK as u64);
        } else {
            self.enter(State::Content, size);
        }
        Ok(())
    }

    /// Applies a header that extends the next one.
    fn extend(&mut self, kind: u8, text: &[u8]) -> Result<(), String> {
        let invalid = || "it is no tar: a header that extends another one is invalid".to_owned();
        match kind {
            b'L' => self.extended.path = Some(field(text).to_vec()),
            b'K' => self.extended.link = Some(field(text).to_vec()),
            b'x' => {
                let mut rest = text;
                while !rest.is_empty() {
                    let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(invalid)?;
                    let length = std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse::<usize>().ok());
                    let line = length.and_then(|length| rest.get(space + 1..length)).ok_or_else(invalid)?;
                    rest = &rest[space + 1 + line.len()..];
                    let line = line.strip_suffix(b"\n").ok_or_else(invalid)?;
                    let equals = line.iter().position(|byte| *byte == b'=').ok_or_else(invalid)?;
                    let value = &line[equals + 1..];
                    match &line[..equals] {
                        b"path" | b"GNU.sparse.name" => self.extended.path = Some(value.to_vec()),
                        b"linkpath" => self.extended.link = Some(value.to_vec()),
                        b"size" => {
                            let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                            self.extended.size = Some(size.ok_or_else(invalid)?);
                        }
                        _ => {}
                    }
                }
            }
            // Global headers contain only times or comments.
            _ => {}
        }
        Ok(())
    }

    /// Begins with the content of a file.
    fn begin(&mut self, file: Option<usize>, path: &[u8], size: u64, mode: u64) -> Result<(), String> {
        self.current = None;
        let Some(file) = file else { return Ok(()) };
        self.tree.files[file].bytes = size;
        let path = Path::new(OsStr::from_bytes(path));
        let is_kept = is_record(path);
        if is_kept {
            let limit = self.tree.limits.records;
            self.tree.records = self.tree.records.saturating_add(size);
            if size > files::LARGEST_RECORD {
                let (path, limit) = (path.display(), files::LARGEST_RECORD);
                return Err(format!(
                    "`{path}` in it has {size} bytes, and {limit} is the limit for the record of a package"
                ));
            }
            if self.tree.records > limit {
                return Err(format!("the records of packages have more than {limit} bytes, which is the limit"));
            }
        }
        let is_program = size > 64 && may_have_symbols(path, u32::try_from(mode).unwrap_or(0));
        let program = is_program.then(Default::default);
        self.current = Some(Current { file, kept: is_kept.then(Vec::new), program });
        Ok(())
    }

    fn content(&mut self, piece: &[u8]) {
        let Some(current) = &mut self.current else { return };
        if let Some(kept) = &mut current.kept {
            kept.extend_from_slice(piece);
        }
        let Some((head, tail)) = &mut current.program else { return };
        head.extend(piece.iter().take(64 - head.len()));
        if head.len() >= 4 && !head.starts_with(b"\x7fELF") {
            current.program = None;
            return;
        }
        tail.extend_from_slice(piece);
        if tail.len() > 2 * TAIL {
            tail.drain(..tail.len() - TAIL);
        }
    }

    fn finish_file(&mut self) {
        let Some(Current { file, kept, program }) = self.current.take() else { return };
        let file = &mut self.tree.files[file];
        file.content = kept;
        let Some((head, tail)) = program else { return };
        let (size, begin) = (file.bytes, file.bytes - tail.len() as u64);
        let mut read = |offset: u64, length: u64| {
            if offset == 0 && length <= head.len() as u64 {
                return Ok(head.clone());
            }
            let place = offset.checked_sub(begin).filter(|_| offset <= size);
            let place = place.ok_or_else(|| io::Error::other("it is not at the end"))?;
            let place = usize::try_from(place).unwrap_or(usize::MAX).min(tail.len());
            let end = place.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(tail.len());
            Ok(tail[place..end].to_vec())
        };
        // A file that cannot be read as a program counts as one without symbols.
        file.symbols = debug_symbols(&mut read).unwrap_or(0).min(size);
    }
}

/// Whether a file belongs to the records of an environment.
fn is_record(path: &Path) -> bool {
    let is_meta = path.parent().is_some_and(|parent| parent.ends_with("conda-meta"));
    let is_it = path.extension().is_some_and(|kind| kind == "json" || kind == "pip");
    is_meta && (is_it || path.ends_with("history"))
}

/// The text in a field, which ends at the first NUL.
fn field(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The name in a header. In the POSIX format, a long name has two parts.
fn name(block: &[u8]) -> Vec<u8> {
    let (name, prefix) = (field(&block[..100]), field(&block[345..500]));
    let is_posix = &block[257..263] == b"ustar\0";
    if is_posix && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

/// A number in a header: octal digits, or GNU's binary format, which begins with 0x80.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field[1..].split_at(field.len().saturating_sub(9));
        let is_small = field[0] == 0x80 && high.iter().all(|byte| *byte == 0);
        return is_small.then(|| low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// The checksum of a header: the sum of its bytes, with spaces in the place of the checksum field.
fn checksum(block: &[u8]) -> u64 {
    let is_sum = |place: usize| (148..156).contains(&place);
    block.iter().enumerate().map(|(place, byte)| if is_sum(place) { 32 } else { u64::from(*byte) }).sum()
}
