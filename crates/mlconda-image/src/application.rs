//! The application: files of the user that are copied into a layer at the top of the image (`--copy`).
//!
//! All copied files get one owner and one time, and a mode that depends only on whether the file is executable. So the
//! layer is the same on each machine. `.dockerignore` is obeyed: for files in the current directory, the one of the
//! current directory; else the one of the directory that is copied.

use std::{
    collections::HashSet,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mlconda_install::staged::PackageFiles;
use mlconda_system::files;

use crate::{
    ImageError,
    ignore::Ignore,
    layer::{above, relative},
    tar::{Attributes, Owner, TarWriter},
};

/// A file or directory to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The file or directory, as an absolute path. If it is a directory, its contents are copied.
    pub source: PathBuf,
    /// The absolute path in the image. If it ends with a slash, a file is copied into that directory.
    pub destination: PathBuf,
}

/// The files to copy, and how.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// The files to copy, in this order. If two have the same path in the image, the later one wins.
    pub copied: Vec<Copied>,
    /// The owner, as numbers: user and group.
    pub owner: (u32, u32),
    /// The directory whose `.dockerignore` is used for the files in it.
    pub context: PathBuf,
    /// Files that are never copied: the files that this image is written to.
    pub except: Vec<PathBuf>,
}

/// Paths that are links into `/usr` in Debian, Ubuntu, Fedora and others. If a layer has a directory at such a path,
/// the directory replaces the link. Then all that was behind the link is missing, such as the dynamic loader.
const LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A file or directory of the layer: its path in the image, and its source.
pub(crate) type Entry = (PathBuf, PathBuf);

impl Application {
    /// All files and directories of the layer, sorted by path.
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
            // A link that is named by the user is followed. Links in a directory stay links.
            entries.push((path, fs_err::canonicalize(&copied.source).map_err(fail)?));
        }

        // The sort is stable, and the last of several equal paths wins.
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        entries.reverse();
        entries.dedup_by(|earlier, later| earlier.0 == later.0);
        entries.reverse();
        Ok(entries)
    }

    /// Refuses paths that are behind links of most base images.
    pub(crate) fn check_places(entries: &[Entry]) -> Result<(), ImageError> {
        let is_behind_link = |entry: &&Entry| LINKS.iter().any(|link| entry.0.starts_with(link));
        let Some((path, source)) = entries.iter().find(is_behind_link) else { return Ok(()) };
        let path = path.display();
        let reason = format!("`/{path}` is below a link of most bases, which it would replace; name `/usr/{path}`");
        Err(ImageError::Copy { path: source.clone(), reason })
    }

    /// Refuses paths of the environment's files, byte code, records and history: in the container, `verify` would find them
    /// changed. The prefix is an absolute path.
    pub(crate) fn check_environment(
        entries: &[Entry],
        prefix: &Path,
        packages: &[PackageFiles],
    ) -> Result<(), ImageError> {
        let prefix = relative(prefix);
        if !entries.iter().any(|(path, _)| path.starts_with(prefix) || prefix.starts_with(path)) {
            return Ok(());
        }
        let owned: HashSet<&Path> = packages.iter().flat_map(|package| &package.files).map(PathBuf::as_path).collect();
        let is_owned = |path: &Path| path.ancestors().any(|path| owned.contains(path) || is_bytecode(path, &owned));
        let directories: HashSet<&Path> = owned.iter().flat_map(|path| path.ancestors().skip(1)).collect();
        for (path, source) in entries {
            let fail = |error: io::Error| ImageError::Copy { path: source.clone(), reason: error.to_string() };
            let makes_directory = fs_err::symlink_metadata(source).map_err(fail)?.is_dir();
            let replaces = match path.strip_prefix(prefix) {
                Ok(inner) if is_owned(inner) => true,
                Ok(inner) if makes_directory => inner.starts_with("conda-meta") && inner != Path::new("conda-meta"),
                Ok(inner) => {
                    let has_modules = |directory: &Path| directories.contains(directory);
                    let is_cache = inner.ends_with("__pycache__") && inner.parent().is_some_and(has_modules);
                    is_cache
                        || directories.contains(inner)
                        || inner.starts_with("conda-meta")
                        || inner.as_os_str().is_empty()
                }
                Err(_) => prefix.starts_with(path) && !makes_directory,
            };
            if replaces {
                let reason = format!("`/{}` belongs to the environment; name another place", path.display());
                return Err(ImageError::Copy { path: source.clone(), reason });
            }
        }
        Ok(())
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

/// Whether a path is byte code of one of these modules. It is compiled later, or not at all.
fn is_bytecode(path: &Path, owned: &HashSet<&Path>) -> bool {
    let is_module = |directory: &Path, name: &str| owned.contains(directory.join(name).with_extension("py").as_path());
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return false };
    match parent.parent() {
        Some(directory) if parent.ends_with("__pycache__") && path.extension() == Some("pyc".as_ref()) => {
            let name = name.to_string_lossy();
            is_module(directory, name.split('.').next().unwrap_or_default())
        }
        _ => false,
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
    /// The directory that the patterns are relative to.
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
            // With a final dot, a link to a directory becomes the directory.
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
                // An ignored directory is kept only if an exception keeps something in it.
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
