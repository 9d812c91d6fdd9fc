//! The format of a bundle: a tar whose first member is a list of all others.
//!
//! The place of each member follows from the list, because a header depends only on the path and the size. So a list
//! cannot describe members that overlap, and each header can be compared with its expected bytes. Numbers in the list
//! have a fixed width. So the size of the list is known before the sizes and hashes in it are.

use std::{
    collections::HashSet,
    fmt::Write,
    io::{self, Read},
};

use rattler_conda_types::Subdir;
use rattler_digest::{Sha256, Sha256Hash, parse_digest_from_hex};
use serde::Deserialize;
use serde_json::Value;

/// The path of the list of members.
pub(crate) const INDEX: &str = "mlconda-bundle.json";

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// The size of a tar block, in bytes. Headers and contents are padded to full blocks.
pub(crate) const BLOCK: u64 = 512;

/// The number of zero bytes at the end of a tar.
pub(crate) const END: u64 = 2 * BLOCK;

/// The modification time of all members, in seconds since 1970. It is 1980-01-01, the earliest time that all archivers
/// support.
const TIME: u64 = 315_532_800;

/// The largest size of the list, in bytes. A list of 100,000 archives has about 20 MB.
const LARGEST: u64 = 32 << 20;

/// A member of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: String,
    /// The size in bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Hash,
}

/// A lock of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockEntry {
    /// The name of the environment. Users choose a lock by it.
    pub(crate) environment: String,
    pub(crate) platform: Subdir,
    /// The path of the member with the lock.
    pub(crate) path: String,
}

/// The list of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) locks: Vec<LockEntry>,
    /// All members except the list itself, in the order of the tar.
    pub(crate) members: Vec<Member>,
}

/// The field that lists of all versions have.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// The fields of this version. Unknown fields are skipped, and take no memory.
#[derive(Deserialize)]
struct Lists {
    locks: Vec<LockText>,
    members: Vec<MemberText>,
}

#[derive(Deserialize)]
struct LockText {
    environment: String,
    platform: String,
    path: String,
}

#[derive(Deserialize)]
struct MemberText {
    path: String,
    size: u64,
    sha256: String,
}

/// Why a list of members cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IndexError {
    /// The list has a newer version.
    Format(u32),
    /// The list is not valid. The text says why.
    Invalid(String),
}

impl Index {
    /// Writes the list as text.
    pub(crate) fn render(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        // Writing to a string cannot fail.
        let mut text = format!("{{\n  \"format\": {FORMAT},\n  \"locks\": [");
        let mut before = "";
        for LockEntry { environment, platform, path } in &self.locks {
            let (environment, path) = (quoted(environment), quoted(path));
            let _ = write!(
                text,
                "{before}\n    {{\"environment\": {environment}, \"platform\": \"{platform}\", \"path\": {path}}}"
            );
            before = ",";
        }
        text.push_str("\n  ],\n  \"members\": [");
        before = "";
        for Member { path, size, sha256 } in &self.members {
            let (path, sha256) = (quoted(path), hex::encode(sha256));
            let _ = write!(text, "{before}\n    {{\"size\": {size:>14}, \"sha256\": \"{sha256}\", \"path\": {path}}}");
            before = ",";
        }
        text.push_str("\n  ]\n}\n");
        text
    }

    /// Parses a list.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, IndexError> {
        let invalid = |message: String| IndexError::Invalid(message);
        let broken = |error: serde_json::Error| IndexError::Invalid(error.to_string());
        // A newer format may have other fields.
        let Head { format } = serde_json::from_slice(text).map_err(broken)?;
        if format > FORMAT {
            return Err(IndexError::Format(format));
        }
        let Lists { locks, members } = serde_json::from_slice(text).map_err(broken)?;
        let lock = |LockText { environment, platform, path }: LockText| {
            let platform = platform.parse().map_err(|_| invalid(format!("`{platform}` is no platform")))?;
            Ok(LockEntry { environment, platform, path })
        };
        let member = |MemberText { path, size, sha256 }: MemberText| {
            let hash = parse_digest_from_hex::<Sha256>(&sha256);
            let sha256 = hash.ok_or_else(|| invalid(format!("`{path}` has no sha256 of 64 hex digits")))?;
            Ok(Member { path, size, sha256 })
        };
        let index = Self {
            locks: locks.into_iter().map(lock).collect::<Result<_, _>>()?,
            members: members.into_iter().map(member).collect::<Result<_, _>>()?,
        };
        match index.twice() {
            Some(path) => Err(invalid(format!("it names `{path}` twice"))),
            None => Ok(index),
        }
    }

    /// A path that belongs to two members or two locks, if there is one.
    fn twice(&self) -> Option<&str> {
        let (mut members, mut locks) = (HashSet::new(), HashSet::new());
        let member = self.members.iter().map(|member| member.path.as_str()).find(|path| !members.insert(*path));
        member.or_else(|| self.locks.iter().map(|lock| lock.path.as_str()).find(|path| !locks.insert(*path)))
    }

    /// Computes the places of all members.
    ///
    /// # Errors
    /// If the sum of the sizes exceeds the largest possible file.
    pub(crate) fn layout(&self) -> io::Result<Layout> {
        let too_large = || invalid("its members are larger than any file");
        let head = header(INDEX, self.render().len() as u64)?;
        let size = self.render().len() as u64;
        let (index, mut end) = (head.len() as u64, head.len() as u64 + size.next_multiple_of(BLOCK));
        let mut places = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let place = end.checked_add(header(&member.path, member.size)?.len() as u64).ok_or_else(too_large)?;
            places.push(place);
            let padded = member.size.checked_next_multiple_of(BLOCK).ok_or_else(too_large)?;
            end = place.checked_add(padded).filter(|end| *end < 1 << 62).ok_or_else(too_large)?;
        }
        Ok(Layout { index, places, end: end + END })
    }
}

/// The places of all members, as offsets in bytes from the beginning of the tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The offset of the list's content.
    pub(crate) index: u64,
    /// The offsets of the members' contents, in the order of the members.
    pub(crate) places: Vec<u64>,
    /// The size of the tar, in bytes.
    pub(crate) end: u64,
}

/// The header of a member: one block, or more if the path is long.
pub(crate) fn header(path: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, path, io::empty())?;
    let mut bytes = builder.into_inner()?;
    bytes.truncate(bytes.len() - usize::try_from(END).unwrap_or(0));
    Ok(bytes)
}

/// Reads the text of the list at the beginning of a tar. `None` if the tar is not a bundle.
pub(crate) fn read_index(mut tar: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut block = [0; BLOCK as usize];
    if let Err(error) = tar.read_exact(&mut block) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let header = tar::Header::from_byte_slice(&block);
    if header.path_bytes().as_ref() != INDEX.as_bytes() {
        return Ok(None);
    }
    let size = header.size().unwrap_or(u64::MAX);
    if size > LARGEST {
        return Err(invalid("its list of members is too large"));
    }
    let mut text = Vec::new();
    tar.take(size).read_to_end(&mut text)?;
    if (text.len() as u64) < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(text))
}

pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use rattler_digest::compute_bytes_digest;

    use super::*;

    fn index(paths: &[(&str, u64)]) -> Index {
        let member = |(path, size): &(&str, u64)| Member {
            path: (*path).to_owned(),
            size: *size,
            sha256: compute_bytes_digest::<Sha256>(path),
        };
        let lock = LockEntry {
            environment: "ml \"x\"".to_owned(),
            platform: Subdir::Linux64,
            path: "locks/ml.linux-64.lock".to_owned(),
        };
        Index { locks: vec![lock], members: paths.iter().map(member).collect() }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let index = index(&[("channel/noarch/a-1-0.conda", 0), ("pypi/ü.whl", 5 << 40)]);
        assert_eq!(Index::parse(index.render().as_bytes()), Ok(index));
    }

    #[test]
    fn the_size_of_a_list_does_not_depend_on_sizes_and_hashes() {
        let (small, large) = (index(&[("a", 1)]), index(&[("a", 9_999_999_999_999)]));
        assert_eq!(small.render().len(), large.render().len());
    }

    #[test]
    fn a_list_of_a_newer_format_is_told_from_one_that_makes_no_sense() {
        assert_eq!(Index::parse(br#"{"format": 2, "locks": {"other": "form"}}"#), Err(IndexError::Format(2)));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"format": 1, "members": [{"path": "a", "size": -1, "sha256": ""}]}"#,
            r#"{"format": 1, "members": [{"path": "a", "size": 1, "sha256": "12"}]}"#,
            r#"{"format": 1, "locks": [{"environment": "a", "platform": "vax", "path": "b"}], "members": []}"#,
        ] {
            assert!(matches!(Index::parse(bad.as_bytes()), Err(IndexError::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn a_path_is_there_once() {
        let twice = index(&[("a", 1), ("b", 1), ("a", 1)]).render();
        assert_eq!(Index::parse(twice.as_bytes()), Err(IndexError::Invalid("it names `a` twice".to_owned())));
        let mut twice = index(&[("a", 1)]);
        twice.locks.push(twice.locks[0].clone());
        assert!(matches!(Index::parse(twice.render().as_bytes()), Err(IndexError::Invalid(_))));
    }

    #[test]
    fn sizes_beyond_any_file_are_an_error() {
        for sizes in [[u64::MAX, 1], [u64::MAX / 2, u64::MAX / 2], [u64::MAX - 600, 0]] {
            assert!(index(&[("a", sizes[0]), ("b", sizes[1])]).layout().is_err());
        }
    }

    #[test]
    fn members_lie_where_every_tar_reader_finds_them() {
        let long = format!("channel/linux-64/{}-1.0-h0_0.conda", "long".repeat(60));
        let contents = [("empty", ""), ("channel/noarch/a-1-0.conda", "content"), (long.as_str(), "x"), ("ü", "y")];
        let index = index(&contents.map(|(path, content)| (path, content.len() as u64)));
        let layout = index.layout().unwrap();
        let mut tar = vec![0; usize::try_from(layout.end).unwrap()];
        let mut put = |place: u64, bytes: &[u8]| {
            let place = usize::try_from(place).unwrap();
            tar[place..place + bytes.len()].copy_from_slice(bytes);
        };
        let text = index.render();
        put(0, &header(INDEX, text.len() as u64).unwrap());
        put(layout.index, text.as_bytes());
        for ((path, content), place) in contents.iter().zip(&layout.places) {
            let header = header(path, content.len() as u64).unwrap();
            put(place - header.len() as u64, &header);
            put(*place, content.as_bytes());
        }
        let mut archive = tar::Archive::new(tar.as_slice());
        let found = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().mtime().unwrap()), (0, TIME));
            (entry.path().unwrap().display().to_string(), content)
        });
        let found: Vec<(String, String)> = found.collect();
        assert_eq!(found[0], (INDEX.to_owned(), text.clone()));
        let expected = contents.map(|(path, content)| (path.to_owned(), content.to_owned()));
        assert_eq!(found[1..], expected);
        assert_eq!(read_index(tar.as_slice()).unwrap().unwrap(), text.as_bytes());
    }

    #[test]
    fn what_is_no_bundle_is_none() {
        for bytes in [&b""[..], b"@EXPLICIT\n", &[0; 2000], &header("other", 0).unwrap()] {
            assert!(read_index(bytes).unwrap().is_none());
        }
        let error = read_index(header(INDEX, 10).unwrap().as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_index(header(INDEX, 1 << 40).unwrap().as_slice()).is_err());
    }
}
