//! Reads locks of all formats, and the records of a prefix.
//!
//! The format is detected from the contents, never from the file name, because locks are renamed and `-o` allows any
//! name.

use std::path::Path;

use mlconda_environment::{EnvironmentError, decode};
use mlconda_prefix::{Prefix, slim};
use mlconda_system::files;
use rattler_conda_types::Subdir;

use super::{
    Expansion, Lock, LockError,
    comments::{self, LockComments},
    explicit,
    file::{DEFAULT_ENVIRONMENT, LockFile, LockKind, MAIN_CATEGORY, Part},
    formats, merge,
};

/// The maximum number of lines of a lock. A lock of five platforms with 1,000 packages each has about 100,000.
const MOST_LINES: usize = 2_000_000;

impl LockFile {
    /// Reads a file of locks, or the records of a prefix, or of its `conda-meta`, if the path is a directory. Relative
    /// paths in the file are relative to its directory.
    ///
    /// # Errors
    /// If the file cannot be read or is not a lock.
    pub fn read(path: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        if path.is_dir() {
            return Self::of_prefix(path);
        }
        let bytes = files::read_any(path, files::LARGEST_LOCK)?;
        let text = decode::decode(&bytes, path).map_err(|error| place(error, path))?;
        Self::parse(&text, path, expansion)
    }

    /// Reads the text of a lock file. `file` is its name for messages, and paths are relative to its directory.
    ///
    /// # Errors
    /// If the text is not a lock.
    pub fn parse(text: &str, file: &Path, expansion: &Expansion) -> Result<Self, LockError> {
        if memchr::memchr2_iter(b'\n', b'\r', text.as_bytes()).count() > MOST_LINES {
            let reason = format!("it has more than {MOST_LINES} lines");
            return Err(LockError::NotALock { file: file.to_owned(), reason });
        }
        if merge::sides(text).is_some() {
            return Err(LockError::Conflict { file: file.to_owned() });
        }
        let text = decode::normalize(text);
        let kind = match kind_of(&text) {
            Some(LockKind::Explicit) => {
                return Ok(Self::new(explicit::parse(&text, file, expansion)?, file, LockKind::Explicit));
            }
            Some(kind) => kind,
            None => return Err(LockError::NotALock { file: file.to_owned(), reason: strange(&text) }),
        };
        let mut found = formats::read(kind, &text, file, expansion)?;
        let facts = LockComments::of_comments(&text).map_err(|(line, message)| {
            let text = text.split('\n').nth(line - 1).unwrap_or_default().to_owned();
            LockError::Line { file: file.to_owned(), line, text, message }
        })?;
        for facts in facts {
            if let Some(found) = facts.format.filter(|found| *found > comments::FORMAT) {
                return Err(LockError::Format { file: file.to_owned(), found });
            }
            found.take_comments(facts.lock);
        }
        Ok(found)
    }

    /// Applies the comments of mlconda to the locks.
    fn take_comments(&mut self, said: Lock) {
        let is_meant = |part: &&mut Part| {
            part.lock.platform == said.platform
                && part.environment == DEFAULT_ENVIRONMENT
                && part.category == MAIN_CATEGORY
                && part.platform_name.is_none()
        };
        if let Some(part) = self.parts.iter_mut().find(is_meant) {
            let Lock { platform, expansions, packages, pip, channels, .. } = std::mem::replace(&mut part.lock, said);
            let said = &mut part.lock;
            (said.platform, said.expansions, said.packages, said.pip) = (platform, expansions, packages, pip);
            if said.channels.is_empty() {
                said.channels = channels;
            }
        }
    }

    /// The packages of a prefix as a lock, for the platform of its packages.
    fn of_prefix(path: &Path) -> Result<Self, LockError> {
        let root = if path.file_name().is_some_and(|name| name == "conda-meta") { path.parent() } else { None };
        let prefix = Prefix::open(root.unwrap_or(path))?;
        let records: Vec<_> = prefix.records()?.into_iter().map(|record| record.repodata_record).collect();
        if records.is_empty() && !prefix.is_environment() {
            let reason = "the directory has no `conda-meta` with records of packages".to_owned();
            return Err(LockError::NotALock { file: path.to_owned(), reason });
        }
        let mut subdirs = records.iter().filter_map(|record| record.package_record.subdir.parse().ok());
        let platform = subdirs.find(|subdir| *subdir != Subdir::NoArch).unwrap_or(Subdir::NoArch);
        let lock = Lock::of_records(platform, &records)?.with_distributions(&prefix.distributions()?);
        let slim = slim::of_prefix(&prefix)?.unwrap_or_default();
        Ok(Self::new(Lock { variables: prefix.variables()?, slim, ..lock }, path, LockKind::Prefix))
    }
}

/// Detects the format of a lock from its text, without validation; `None` if it is not a lock.
pub fn kind_of(text: &str) -> Option<LockKind> {
    if text.lines().any(|line| line.trim() == "@EXPLICIT") {
        return Some(LockKind::Explicit);
    }
    let keys = top_keys(text);
    let has = |key: &str| keys.iter().any(|found| found == key);
    if has("environments") && has("version") {
        Some(LockKind::Pixi)
    } else if has("package") && (has("metadata") || has("version")) {
        Some(LockKind::CondaLock)
    } else if explicit::is_bare(text) {
        Some(LockKind::Explicit)
    } else {
        None
    }
}

/// The keys of a mapping in YAML, or in JSON, which is YAML too.
fn top_keys(text: &str) -> Vec<String> {
    if text.trim_start().starts_with('{') {
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
        return object.map(|object| object.keys().cloned().collect()).unwrap_or_default();
    }
    let key = |line: &str| {
        let (key, _) = line.split_once(':')?;
        let key = key.trim_matches(['"', '\'']);
        key.starts_with(|first: char| first.is_ascii_alphabetic()).then(|| key.to_owned())
    };
    text.lines().filter_map(key).collect()
}

/// The reason why a text is not a lock.
fn strange(text: &str) -> String {
    let keys = top_keys(text);
    let has = |key: &str| keys.iter().any(|found| found == key);
    let found = if has("dependencies") || has("channels") {
        "it has `dependencies:` or `channels:`, as an environment.yml does"
    } else if text.starts_with("[[package]]") || text.contains("\n[[package]]") {
        "it is in TOML, as the locks of poetry, pdm and uv are"
    } else if text.trim().is_empty() {
        "there is nothing in it"
    } else {
        "it has no line `@EXPLICIT`, nor the keys of a conda-lock.yml or a pixi.lock"
    };
    found.to_owned()
}

/// An error for a file that is not text keeps its location.
fn place(error: EnvironmentError, file: &Path) -> LockError {
    match error {
        EnvironmentError::Encoding(diagnostic) => LockError::Place(diagnostic),
        other => LockError::NotALock { file: file.to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_a_limit_of_lines() {
        let read = |lines: usize| {
            let text = format!("@EXPLICIT\n{}", "\n".repeat(lines - 1));
            LockFile::parse(&text, Path::new("/project/env.lock"), &Expansion::default())
        };
        assert!(read(MOST_LINES).is_ok());
        let error = read(MOST_LINES + 1).unwrap_err().to_string();
        assert!(error.contains("it has more than 2000000 lines"), "{error}");
    }
}
