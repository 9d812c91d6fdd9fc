//! Writes tar archives that depend only on their contents, not on the owner, the clock or the file order of this
//! machine.
//!
//! The format is ustar, with pax headers if a name, a size or a time does not fit (POSIX.1-2001). The owner is 0:0
//! unless the caller sets another one. Each file is a separate entry. If a package has a hard link, the layer has two
//! equal files, because it depends on the machine whether a hard link was possible.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use mlconda_install::Stop;
use mlconda_types::progress::{Event, Progress};

/// The version of the bytes that are written. Change it together with them: it is a part of the keys of cached layers.
pub(crate) const FORMAT: &str = "tar 1";

/// The block size, in bytes. Headers and contents are padded to full blocks.
const BLOCK: usize = 512;

/// The number of bytes of a file that are read at once.
const BUFFER: usize = 256 << 10;

/// The owner of an entry, as numbers: user and group.
pub(crate) type Owner = (u32, u32);

/// The type of an entry.
enum Kind<'a> {
    File(u64),
    Link(&'a Path),
    Directory,
}

/// Attributes of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// The modification time, in seconds since 1970.
    pub(crate) time: i64,
    pub(crate) owner: Owner,
}

impl Attributes {
    /// A directory that all users may read.
    pub(crate) fn directory(time: i64) -> Self {
        Self { mode: 0o755, time, owner: (0, 0) }
    }
}

/// Writes an archive.
pub(crate) struct TarWriter<'a> {
    output: &'a mut dyn Write,
    /// The directories that have an entry.
    directories: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
    stop: &'a Stop,
    progress: &'a dyn Progress,
}

impl<'a> TarWriter<'a> {
    pub(crate) fn new(output: &'a mut dyn Write, stop: &'a Stop, progress: &'a dyn Progress) -> Self {
        Self { output, directories: BTreeSet::new(), buffer: Vec::new(), stop, progress }
    }

    /// Adds a directory, unless it was added already. The path is relative to `/`.
    pub(crate) fn directory(&mut self, path: &Path, attributes: Attributes) -> io::Result<()> {
        if !path.as_os_str().is_empty() && self.directories.insert(path.to_owned()) {
            self.header(path, &Kind::Directory, attributes)?;
        }
        Ok(())
    }

    /// Adds the directories above a path, the topmost first. `attributes` returns the attributes of each; `None` skips
    /// a directory.
    pub(crate) fn parents(&mut self, path: &Path, attributes: &dyn Fn(&Path) -> Option<Attributes>) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.directories.contains(parent) {
            return Ok(());
        }
        let above: Vec<&Path> = parent.ancestors().collect();
        for directory in above.into_iter().rev() {
            if let Some(attributes) = attributes(directory) {
                self.directory(directory, attributes)?;
            }
        }
        Ok(())
    }

    /// Adds a file of this machine. `attributes` converts the file's attributes to those of the entry.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        source: &Path,
        attributes: &dyn Fn(Attributes) -> Attributes,
    ) -> io::Result<()> {
        self.beginning(path, source, u64::MAX, attributes)
    }

    /// Adds the first `most` bytes of a file of this machine.
    pub(crate) fn beginning(
        &mut self,
        path: &Path,
        source: &Path,
        most: u64,
        attributes: &dyn Fn(Attributes) -> Attributes,
    ) -> io::Result<()> {
        let metadata = fs_err::symlink_metadata(source)?;
        let own = Attributes { mode: metadata.mode() & 0o7777, time: metadata.mtime(), owner: (0, 0) };
        if metadata.is_symlink() {
            let target = fs_err::read_link(source)?;
            return self.header(path, &Kind::Link(&target), attributes(Attributes { mode: 0o777, ..own }));
        }
        let mut file = mlconda_system::files::open(source)?;
        let size = file.metadata()?.len().min(most);
        self.header(path, &Kind::File(size), attributes(own))?;
        self.buffer.resize(BUFFER, 0);
        let mut left = size;
        while left > 0 {
            self.check_stop()?;
            let piece = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            file.read_exact(&mut self.buffer[..piece])?;
            self.output.write_all(&self.buffer[..piece])?;
            self.progress.event(Event::Packed { bytes: piece as u64 });
            left -= piece as u64;
        }
        self.pad(size)
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.output.write_all(&[0; 2 * BLOCK])
    }

    fn check_stop(&self) -> io::Result<()> {
        if self.stop.is_requested() { Err(io::Error::other("it was stopped")) } else { Ok(()) }
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.output.write_all(&[0; BLOCK][over..]) }
    }

    fn header(&mut self, path: &Path, kind: &Kind<'_>, attributes: Attributes) -> io::Result<()> {
        self.check_stop()?;
        let mut name = path.as_os_str().as_bytes().to_vec();
        let (flag, size, link) = match kind {
            Kind::File(size) => (b'0', *size, &[][..]),
            Kind::Link(target) => (b'2', 0, target.as_os_str().as_bytes()),
            Kind::Directory => {
                name.push(b'/');
                (b'5', 0, &[][..])
            }
        };
        let mut block = Header([0; BLOCK]);
        let mut extended = Vec::new();
        match split(&name).filter(|_| name.is_ascii()) {
            Some((prefix, rest)) => {
                block.put(0, rest);
                block.put(345, prefix);
            }
            None => {
                block.put(0, &name[..name.len().min(100)]);
                record(&mut extended, "path", &name);
            }
        }
        block.put(157, &link[..link.len().min(100)]);
        if link.len() > 100 || !link.is_ascii() {
            record(&mut extended, "linkpath", link);
        }
        if !block.number(124, 12, size) {
            record(&mut extended, "size", size.to_string().as_bytes());
        }
        if !u64::try_from(attributes.time).is_ok_and(|time| block.number(136, 12, time)) {
            record(&mut extended, "mtime", attributes.time.to_string().as_bytes());
        }
        let (user, group) = attributes.owner;
        for (place, key, id) in [(108, "uid", user), (116, "gid", group)] {
            if !block.number(place, 8, u64::from(id)) {
                record(&mut extended, key, id.to_string().as_bytes());
            }
        }
        block.number(100, 8, u64::from(attributes.mode));
        if !extended.is_empty() {
            self.extended(&extended)?;
        }
        self.output.write_all(&block.sealed(flag))
    }

    /// Writes a pax header, which applies to the next entry.
    fn extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut block = Header([0; BLOCK]);
        block.put(0, b"././@PaxHeader");
        block.number(100, 8, 0o644);
        block.number(108, 8, 0);
        block.number(116, 8, 0);
        block.number(124, 12, records.len() as u64);
        block.number(136, 12, 0);
        self.output.write_all(&block.sealed(b'x'))?;
        self.output.write_all(records)?;
        self.pad(records.len() as u64)
    }
}

/// The header block of an entry.
struct Header([u8; BLOCK]);

impl Header {
    fn put(&mut self, place: usize, bytes: &[u8]) {
        self.0[place..place + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes an octal number and its terminator. If the number does not fit, it writes 0 and returns `false`.
    fn number(&mut self, place: usize, room: usize, value: u64) -> bool {
        let digits = room - 1;
        let fits = value < 1 << (3 * digits);
        let text = format!("{:0digits$o}", if fits { value } else { 0 });
        self.put(place, text.as_bytes());
        fits
    }

    /// The finished block, with its type and its checksum.
    fn sealed(mut self, flag: u8) -> [u8; BLOCK] {
        self.0[156] = flag;
        self.put(257, b"ustar\x0000");
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Splits a name into ustar's two fields. `None` if the name does not fit.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    // The first slash after which the rest is short enough. The final slash of a directory does not separate the
    // fields.
    let at = (name.len() - 101..name.len() - 1).find(|at| name[*at] == b'/')?;
    (at <= 155).then(|| (&name[..at], &name[at + 1..]))
}

/// Adds a pax record: its length, the key and the value. The length includes its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    // The blank, `=` and the line break.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as another reader finds it: path, type, mode, time, owner, link, content.
    type Found = (String, char, u32, u64, (u64, u64), String, String);

    fn read(archive: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            found.push((
                entry.path().unwrap().display().to_string(),
                char::from(header.entry_type().as_byte()),
                header.mode().unwrap(),
                header.mtime().unwrap(),
                owner,
                link,
                content,
            ));
        }
        found
    }

    #[test]
    fn names_of_any_length_and_language_are_read_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("file");
        fs_err::write(&source, "content").unwrap();
        let long = format!("{}/{}/name", "a".repeat(120), "b".repeat(90));
        let longest = format!("{}/{}", "c".repeat(200), "d".repeat(200));
        let names = ["short", &long, &longest, "opt/gr\u{fc}n.txt", &"e".repeat(100), &"f".repeat(101)];
        let (mut archive, stop) = (Vec::new(), Stop::default());
        let mut writer = TarWriter::new(&mut archive, &stop, &());
        for name in names {
            let attributes = |_| Attributes { mode: 0o644, time: 1_700_000_000, owner: (0, 0) };
            writer.file(Path::new(name), &source, &attributes).unwrap();
        }
        let target = "x/".repeat(80);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let attributes = |own| Attributes { time: 5, owner: (3_000_000, 7), ..own };
        writer.file(Path::new("link"), &link, &attributes).unwrap();
        writer.finish().unwrap();
        let found = read(&archive);
        for (name, found) in names.iter().zip(&found) {
            let expected = ((*name).to_owned(), '0', 0o644, 1_700_000_000, (0, 0), String::new(), "content".to_owned());
            assert_eq!(*found, expected);
        }
        let (path, kind, mode, time, _, to, _) = found.last().unwrap();
        assert_eq!((path.as_str(), *kind, *mode, *time, to.as_str()), ("link", '2', 0o777, 5, target.as_str()));
        assert!(archive.len().is_multiple_of(BLOCK) && archive.windows(12).any(|window| window == b"uid=3000000\n"));
    }

    #[test]
    fn directories_above_come_once_and_before_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("file");
        fs_err::write(&source, "").unwrap();
        let (mut archive, stop) = (Vec::new(), Stop::default());
        let mut writer = TarWriter::new(&mut archive, &stop, &());
        for path in ["opt/a/b/one", "opt/a/two", "opt/a/b/three"] {
            writer.parents(Path::new(path), &|_| Some(Attributes::directory(0))).unwrap();
            writer.file(Path::new(path), &source, &|own| own).unwrap();
        }
        writer.finish().unwrap();
        let paths: Vec<String> = read(&archive).into_iter().map(|entry| entry.0).collect();
        assert_eq!(paths, ["opt/", "opt/a/", "opt/a/b/", "opt/a/b/one", "opt/a/two", "opt/a/b/three"]);
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for size in 0..400 {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; size]);
            let text = String::from_utf8(records).unwrap();
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, text.len());
        }
    }
}
