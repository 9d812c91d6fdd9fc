//! A tree of files in memory, and its tar: sorted by path, owned by user 0, with the same time for all files.

use std::collections::{BTreeMap, BTreeSet};

use tar::{EntryType, Header};

use crate::Result;

/// The content of a path.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A file, and whether it is a program.
    File { bytes: Vec<u8>, executable: bool },
    /// A soft link, with its target.
    Link(String),
    /// A directory with its mode. Directories above files need no entry.
    Directory(u32),
}

/// Files by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Entry>);

impl Tree {
    pub(crate) fn file(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), Entry::File { bytes: bytes.into(), executable: false });
    }

    pub(crate) fn program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), Entry::File { bytes: bytes.into(), executable: true });
    }

    /// The tree as a tar. `directories` decides whether directories above files get entries.
    pub(crate) fn tar(&self, time: u64, directories: Directories) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut known = BTreeSet::new();
        for (path, entry) in &self.0 {
            if directories == Directories::Written {
                for (at, _) in path.match_indices('/') {
                    if known.insert(&path[..at]) {
                        append(&mut archive, &path[..at], &Entry::Directory(0o755), time)?;
                    }
                }
            }
            append(&mut archive, path, entry, time)?;
        }
        Ok(archive.into_inner()?)
    }
}

/// Whether a tar has entries for the directories above files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directories {
    Written,
    LeftOut,
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry, time: u64) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match entry {
        Entry::File { bytes, executable } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)?;
        }
        Entry::Directory(mode) => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            archive.append_data(&mut header, format!("{path}/"), &[][..])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_has_each_directory_before_what_is_in_it() {
        let mut tree = Tree::default();
        tree.program("a/bin/program", b"1".as_slice());
        tree.file("a/share/text", b"22".as_slice());
        tree.0.insert("a/bin/link".to_owned(), Entry::Link("program".to_owned()));
        tree.0.insert("tmp".to_owned(), Entry::Directory(0o1777));
        let archive = tree.tar(7, Directories::Written).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let header = entry.unwrap().header().clone();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (7, 0, 0));
            found.push(format!("{} {:o}", header.path().unwrap().display(), header.mode().unwrap()));
        }
        let expected = [
            "a/ 755",
            "a/bin/ 755",
            "a/bin/link 777",
            "a/bin/program 755",
            "a/share/ 755",
            "a/share/text 644",
            "tmp/ 1777",
        ];
        assert_eq!(found, expected);
        assert_eq!(archive, tree.tar(7, Directories::Written).unwrap());
    }
}
