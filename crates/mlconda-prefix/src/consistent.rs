//! Reads what belongs together while other processes may change it.
//!
//! A prefix is locked by who changes it, and only then. Who reads it to find out what is to change has no lock: it could not
//! tell the user anything while another process installs. So what is read may be of two states, which no installation may
//! start from.

use std::{io, os::unix::fs::MetadataExt, path::PathBuf};

use mlconda_system::files;

use super::{Prefix, PrefixError, STATE};

/// How often it is read at most: another process may change something small, as it does at its end.
const TRIES: usize = 3;

/// What shows that `conda-meta` was changed: which directory it is, when an entry came or went, which records are there.
/// The time alone is too coarse, and the names alone do not show what came back.
type State = (Option<(u64, u64, i64, i64)>, Option<Vec<String>>);

/// What a prefix was at one moment: its records, its history and its variables. Each change of conda packages by any tool
/// makes another one; those by pip do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    record_names: Vec<String>,
    // What cannot be read is no reason to refuse a change: it may be what the change mends.
    history: Result<Vec<u8>, io::ErrorKind>,
    variables: Result<Vec<u8>, io::ErrorKind>,
}

impl Prefix {
    /// The stamp of now. What is read after it and before the prefix is locked is true if it is the same then.
    ///
    /// # Errors
    /// If the prefix cannot be read.
    pub fn stamp(&self) -> Result<Stamp, PrefixError> {
        let read = |path: &str| files::read(&self.path.join(path), files::LARGEST_TEXT).map_err(|error| error.kind());
        let record_names = self.record_names()?;
        Ok(Stamp { record_names, history: read("conda-meta/history"), variables: read(STATE) })
    }

    /// Reads something out of `conda-meta` as a whole: again, if another process changes it meanwhile.
    ///
    /// # Errors
    /// What reading gives; [`PrefixError::Changed`] if each try was disturbed.
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
    /// A record that could not be read, or that is no longer there.
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
        // A directory in the place of the state: a change mends it.
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
            // Another process takes it away after the first listing.
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
            format!("`{}` was changed by somebody else in the meantime", directory.path().display())
        );
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(PrefixError::of_record(link, missing()), PrefixError::Record { .. }));
    }
}
