//! Reads a consistent state of a prefix while other processes may change it.
//!
//! Only a process that changes a prefix holds its lock. A process that plans a change reads without the lock; otherwise
//! it could not tell the user anything while another process installs. So it may read a mixture of two states. No
//! installation may start from such a mixture.

use std::{io, os::unix::fs::MetadataExt, path::PathBuf};

use mlconda_system::files;

use super::{Prefix, PrefixError, STATE};

/// How often reading is tried. Another process may make a small change meanwhile, as at the end of an installation.
const TRIES: usize = 3;

/// Detects changes of `conda-meta`: its device and inode, its change time, and the names of the records. The time alone
/// is too coarse, and the names alone do not show a record that was removed and written again.
type State = (Option<(u64, u64, i64, i64)>, Option<Vec<String>>);

/// The state of a prefix at one moment: its records, its history and its variables. Each change of conda packages, by
/// any tool, gives another stamp. Changes by pip do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    record_names: Vec<String>,
    // An unreadable file does not forbid a change, because the change may repair it. So the error is part of the stamp.
    history: Result<Vec<u8>, io::ErrorKind>,
    variables: Result<Vec<u8>, io::ErrorKind>,
}

impl Prefix {
    /// The current stamp. If the stamp is the same after the prefix was locked, all data that was read in between is
    /// still true.
    ///
    /// # Errors
    /// If the records of the prefix cannot be listed.
    pub fn stamp(&self) -> Result<Stamp, PrefixError> {
        let read = |path: &str| files::read(&self.path.join(path), files::LARGEST_TEXT).map_err(|error| error.kind());
        let record_names = self.record_names()?;
        Ok(Stamp { record_names, history: read("conda-meta/history"), variables: read(STATE) })
    }

    /// Reads from `conda-meta` without interference. If another process changes `conda-meta` meanwhile, `read` is
    /// called again.
    ///
    /// # Errors
    /// The error of `read`, or [`PrefixError::Changed`] if there was a change during each try.
    pub fn consistently<T>(&self, read: impl Fn() -> Result<T, PrefixError>) -> Result<T, PrefixError> {
        for _ in 0..TRIES {
            let before = self.state();
            let read = read();
            if self.state() == before {
                return read;
            }
        }
        Err(PrefixError::Changed { prefix: self.path.clone() })
    }

    fn state(&self) -> State {
        let about = fs_err::metadata(self.path.join("conda-meta")).ok();
        let about = about.map(|it| (it.dev(), it.ino(), it.ctime(), it.ctime_nsec()));
        (about, self.record_names().ok())
    }
}

impl PrefixError {
    /// The error for a record that cannot be read, or that does not exist any more.
    pub(super) fn of_record(path: PathBuf, source: io::Error) -> Self {
        let is_gone = || fs_err::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        match path.ancestors().nth(2) {
            Some(prefix) if source.kind() == io::ErrorKind::NotFound && is_gone() => {
                Self::Changed { prefix: prefix.to_owned() }
            }
            _ => Self::Record { path, source },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn prefix(directory: &tempfile::TempDir) -> Prefix {
        fs_err::create_dir(directory.path().join("conda-meta")).unwrap();
        Prefix::open(directory.path()).unwrap()
    }

    #[test]
    fn a_stamp_shows_each_change_and_is_there_whatever_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = prefix(&directory);
        let place = |file: &str| directory.path().join("conda-meta").join(file);
        let mut stamps = vec![prefix.stamp().unwrap()];
        for (file, text) in [("history", "a"), ("history", "b"), ("state", "{}"), ("x-1-0.json", "{}")] {
            fs_err::write(place(file), text).unwrap();
            stamps.push(prefix.stamp().unwrap());
            assert_eq!(prefix.stamp().unwrap(), stamps[stamps.len() - 1], "nothing has changed since");
        }
        // A directory in the place of `conda-meta/state`, which a change would repair.
        fs_err::remove_file(place("state")).unwrap();
        fs_err::create_dir(place("state")).unwrap();
        stamps.push(prefix.stamp().unwrap());
        for (number, stamp) in stamps.iter().enumerate() {
            assert!(!stamps[..number].contains(stamp), "{number}");
        }
    }

    #[test]
    fn records_that_change_while_they_are_read_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = prefix(&directory);
        let record = directory.path().join("conda-meta/a-1-0.json");
        fs_err::write(&record, "").unwrap();
        let tries = Cell::new(0);
        let read = prefix.consistently(|| {
            let there = prefix.record_names()?;
            // Another process removes the record after the first listing.
            if tries.replace(tries.get() + 1) == 0 {
                fs_err::remove_file(&record).unwrap();
            }
            Ok(there)
        });
        assert_eq!((read.unwrap(), tries.get()), (Vec::new(), 2));
    }

    #[test]
    fn what_changes_all_the_time_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = prefix(&directory);
        let tries = Cell::new(0);
        let read = prefix.consistently(|| {
            tries.set(tries.get() + 1);
            fs_err::write(directory.path().join(format!("conda-meta/a-{}-0.json", tries.get())), "").unwrap();
            Err::<(), _>(PrefixError::Read(io::ErrorKind::NotFound.into()))
        });
        assert!(matches!(read, Err(PrefixError::Changed { .. })));
        assert_eq!(tries.get(), TRIES);
    }

    #[test]
    fn another_directory_in_its_place_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = prefix(&directory);
        let before = prefix.state();
        let place = directory.path().join("conda-meta");
        fs_err::rename(&place, directory.path().join("old")).unwrap();
        fs_err::create_dir(&place).unwrap();
        assert_ne!(prefix.state(), before);
    }

    #[test]
    fn a_record_that_is_gone_is_no_damaged_one() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("conda-meta/a-1-0.json");
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let error = PrefixError::of_record(gone, missing());
        assert_eq!(
            error.to_string(),
            format!("`{}` was changed by another process in the meantime", directory.path().display())
        );
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(PrefixError::of_record(link, missing()), PrefixError::Record { .. }));
    }
}
