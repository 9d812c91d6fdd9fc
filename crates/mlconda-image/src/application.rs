//! The application: files of the user that are copied into a layer on top (`--copy`).
//!
//! What is copied gets one owner, one time, and a mode that depends on nothing but whether it is executable, so that the
//! layer is the same on each machine. `.dockerignore` counts: that of the current directory for what is in it, else that of
//! the directory that is copied.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mlconda_system::files;

use crate::{
    ImageError,
    ignore::Ignore,
    layer::{above, relative},
    tar::{Attributes, Owner, TarWriter},
};

/// Something to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The file or directory, as an absolute path. Of a directory, the content is copied.
    pub source: PathBuf,
    /// Where it goes in the image, as an absolute path. A file goes below it if it ends with a slash.
    pub destination: PathBuf,
}

/// What is copied, and how.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// In this order; of two files at one place, the later one counts.
    pub copied: Vec<Copied>,
    /// The owner, as numbers: user and group.
    pub owner: (u32, u32),
    /// The directory whose `.dockerignore` counts for what is in it.
    pub context: PathBuf,
    /// Files that are never copied: what this very image is written to.
    pub except: Vec<PathBuf>,
}

/// Directories that are links into `/usr` in Debian, Ubuntu, Fedora and others. A directory of a layer takes the place of a link,
/// and what is behind it, such as the dynamic loader, is gone.
const LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A file or directory of the layer: its path, and where it comes from.
pub(crate) type Entry = (PathBuf, PathBuf);

impl Application {
    /// All files and directories of the layer, sorted by their paths.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, ImageError> {
        let mut entries = Vec::new();
        for copied in &self.copied {
            let fail = |error: io::Error| ImageError::Copy { path: copied.source.clone(), reason: error.to_string() };
            let metadata = fs_err::metadata(&copied.source).map_err(fail)?;
            let destination = relative(&copied.destination);
            if metadata.is_dir() {
                let base = if copied.source.starts_with(&self.context) { &self.context } else { &copied.source };
                let ignore = Ignore::parse(&ignore_text(base).map_err(fail)?);
                let mut walk = Walk { base, ignore, except: &self.except, entries: &mut entries };
                walk.directory(&copied.source, destination)?;
                continue;
            }
            let is_below = copied.destination.as_os_str().as_encoded_bytes().ends_with(b"/");
            let name = copied.source.file_name().unwrap_or_default();
            let path = if is_below { destination.join(name) } else { destination.to_owned() };
            // A link that is named is followed; those in a directory stay links.
            entries.push((path, fs_err::canonicalize(&copied.source).map_err(fail)?));
        }

        // The sort keeps the order of equals, and the last of them counts.
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        entries.reverse();
        entries.dedup_by(|earlier, later| earlier.0 == later.0);
        entries.reverse();
        Ok(entries)
    }

    /// Refuses places that are behind links of most bases.
    pub(crate) fn check_places(entries: &[Entry]) -> Result<(), ImageError> {
        let is_behind_link = |entry: &&Entry| LINKS.iter().any(|link| entry.0.starts_with(link));
        let Some((path, source)) = entries.iter().find(is_behind_link) else { return Ok(()) };
        let path = path.display();
        let reason = format!("`/{path}` is below a link of most bases, which it would replace; name `/usr/{path}`");
        Err(ImageError::Copy { path: source.clone(), reason })
    }

    /// Writes the entries into a layer.
    pub(crate) fn write(&self, entries: &[Entry], time: i64, tar: &mut TarWriter<'_>) -> io::Result<()> {
        for (path, source) in entries {
            tar.parents(path, &|directory| above(directory, time))?;
            let own = |mode| Attributes { mode, time, owner: self.owner as Owner };
            if fs_err::symlink_metadata(source)?.is_dir() {
                tar.directory(path, own(0o755))?;
                continue;
            }
            tar.file(path, source, &|attributes: Attributes| match attributes.mode {
                0o777 if source.is_symlink() => own(0o777),
                mode if mode & 0o111 != 0 => own(0o755),
                _ => own(0o644),
            })?;
        }
        Ok(())
    }
}

fn ignore_text(directory: &Path) -> io::Result<String> {
    match files::read_to_string(&directory.join(".dockerignore"), files::LARGEST_TEXT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// A walk through a directory.
struct Walk<'a> {
    /// What the patterns are relative to.
    base: &'a Path,
    ignore: Ignore,
    except: &'a [PathBuf],
    entries: &'a mut Vec<Entry>,
}

impl Walk<'_> {
    fn directory(&mut self, source: &Path, destination: &Path) -> Result<(), ImageError> {
        let fail =
            |path: &Path, error: &io::Error| ImageError::Copy { path: path.to_owned(), reason: error.to_string() };
        if !destination.as_os_str().is_empty() {
            // With a dot behind it, a link to a directory is the directory.
            self.entries.push((destination.to_owned(), source.join(".")));
        }
        for entry in fs_err::read_dir(source).map_err(|error| fail(source, &error))? {
            let entry = entry.map_err(|error| fail(source, &error))?;
            let (path, place) = (entry.path(), destination.join(entry.file_name()));
            let metadata = fs_err::symlink_metadata(&path).map_err(|error| fail(&path, &error))?;
            let is_ignored = self.ignore.is_ignored(path.strip_prefix(self.base).unwrap_or(&path));
            if self.except.contains(&path) || is_ignored && !(metadata.is_dir() && self.ignore.has_exceptions()) {
                continue;
            }
            if metadata.is_dir() {
                let before = self.entries.len();
                self.directory(&path, &place)?;
                // An ignored directory is there for what was taken back in it.
                if is_ignored && self.entries.len() == before + 1 {
                    self.entries.pop();
                }
            } else if metadata.is_file() || metadata.is_symlink() {
                self.entries.push((place, path));
            } else {
                let kind = metadata.mode() & 0o170_000;
                let reason = format!("it is not a file, directory or link (its type is {kind:o})");
                return Err(ImageError::Copy { path, reason });
            }
        }
        Ok(())
    }
}
