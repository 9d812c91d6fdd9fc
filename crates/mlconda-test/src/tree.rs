//! Lists the contents of a directory as text, to compare them before and after a change.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use crate::sha256_hex;

/// The entry at each path below a directory, sorted by path: its kind, its mode, and its size and hash, or its target.
///
/// The directory itself is not listed. A missing directory has no entries.
///
/// # Errors
///
/// If an entry cannot be read.
pub fn tree(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    if directory.is_dir() {
        visit(directory, directory, &mut found)?;
    }
    Ok(found)
}

/// All facts that an archive of a directory would contain: as [`tree`], also for the directory itself (as an empty
/// path), with the times in nanoseconds, and with hard links.
///
/// # Errors
///
/// If an entry cannot be read.
pub fn archived(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut first: HashMap<u64, String> = HashMap::new();
    let mut found = tree(directory)?;
    let metadata = fs_err::metadata(directory)?;
    found.insert(String::new(), format!("directory {:o}", metadata.permissions().mode() & 0o7777));
    for (path, what) in &mut found {
        let metadata = fs_err::symlink_metadata(directory.join(path))?;
        let one = first.entry(metadata.ino()).or_insert_with(|| path.clone());
        what.push_str(&format!(" at {}.{:09}, the file of `{one}`", metadata.mtime(), metadata.mtime_nsec()));
    }
    Ok(found)
}

/// The paths below a directory, sorted, one per line.
///
/// # Errors
///
/// If an entry cannot be read.
pub fn paths(directory: &Path) -> io::Result<String> {
    Ok(tree(directory)?.keys().map(|path| format!("{path}\n")).collect())
}

/// The differences between two trees: `+` is new, `-` is gone, `~` has changed.
pub fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut lines = BTreeMap::new();
    for (path, what) in before {
        match after.get(path) {
            None => lines.insert(path, '-'),
            Some(now) if now != what => lines.insert(path, '~'),
            Some(_) => None,
        };
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        lines.insert(path, '+');
    }
    lines.iter().map(|(path, mark)| format!("{mark} {path}\n")).collect()
}

/// The total size of the files below a directory, in bytes. A file with several hard links is counted once.
///
/// # Errors
///
/// If an entry cannot be read.
pub fn bytes(directory: &Path) -> io::Result<u64> {
    let mut sizes = BTreeMap::new();
    for path in tree(directory)?.keys() {
        let metadata = fs_err::symlink_metadata(directory.join(path))?;
        if metadata.is_file() {
            sizes.insert((metadata.dev(), metadata.ino()), metadata.len());
        }
    }
    Ok(sizes.values().sum())
}

fn visit(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let metadata = fs_err::symlink_metadata(&path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let what = if metadata.is_symlink() {
            format!("link -> {}", fs_err::read_link(&path)?.display())
        } else if metadata.is_dir() {
            visit(root, &path, found)?;
            format!("directory {mode:o}")
        } else if metadata.is_file() {
            format!("file {mode:o} {} {}", metadata.len(), sha256_hex(fs_err::read(&path)?))
        } else {
            format!("special {mode:o}")
        };
        found.insert(name, what);
    }
    Ok(())
}
