//! Functions of several targets: inputs in parts, and directories in memory.

use std::path::{Path, PathBuf};

/// Takes the first byte, which decides how the others are used; 0 if the input is empty.
pub(crate) fn flags(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Takes a part whose length is in the first two bytes.
pub(crate) fn part(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return (data, &[]) };
    rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))))
}

/// Puts a part before others, as [`part`] takes it.
pub(crate) fn with_part(part: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len()).expect("a seed is small");
    [&length.to_le_bytes(), part, rest].concat()
}

/// The text in an input; `None` if it is not text.
pub(crate) fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// An empty directory of this process, in memory if possible.
pub(crate) fn directory(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = parent.join(format!("mlconda-fuzz-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("a directory can be made");
    directory
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory can be read").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
