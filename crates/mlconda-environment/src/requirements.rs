//! Collects the `pip:` list and all files that it names into one list: requirements, constraints and indexes.
//!
//! It reads no files itself: the caller passes a function that reads them to [`collect()`]. So an environment reads
//! each file once, includes it in its digest, and is locked with the same contents.

mod collect;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_types::redact;
use pep440_rs::VersionSpecifiers;
use url::Url;

use super::{
    Diagnostic, Location,
    grammar::{self, LineError},
};
pub use collect::collect;

/// The places where pip looks for packages, from its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The URL of the index (PEP 503, `--index-url`); `None` for PyPI.
    pub index: Option<String>,
    /// Further indexes (`--extra-index-url`).
    pub extra: Vec<String>,
    /// URLs of pages and directories with links to archives (`--find-links`).
    pub find_links: Vec<String>,
    /// Whether no index is used (`--no-index`).
    pub no_index: bool,
    /// Whether pre-releases are allowed (`--pre`).
    pub prereleases: bool,
    /// Packages to build from source: names, `:all:` or `:none:` (`--no-binary`).
    pub no_binary: Vec<String>,
    /// Packages to install from wheels only (`--only-binary`).
    pub only_binary: Vec<String>,
    /// Hosts whose certificates are not verified, with an optional port (`--trusted-host`).
    pub trusted_hosts: Vec<String>,
}

impl Indexes {
    /// Combines these with the options of a list, which take precedence.
    pub fn with(&self, list: &Self) -> Self {
        let joined = |ours: &[String], theirs: &[String]| {
            let mut all: Vec<String> = Vec::new();
            theirs.iter().chain(ours).for_each(|each| {
                if !all.contains(each) {
                    all.push(each.clone())
                }
            });
            all
        };
        Self {
            index: list.index.clone().or_else(|| self.index.clone()),
            extra: joined(&self.extra, &list.extra),
            find_links: joined(&self.find_links, &list.find_links),
            no_index: list.no_index || self.no_index && list.index.is_none(),
            prereleases: list.prereleases || self.prereleases,
            no_binary: joined(&self.no_binary, &list.no_binary),
            only_binary: joined(&self.only_binary, &list.only_binary),
            trusted_hosts: joined(&self.trusted_hosts, &list.trusted_hosts),
        }
    }

    /// All URLs.
    pub fn urls(&self) -> impl Iterator<Item = Url> {
        self.index.iter().chain(&self.extra).chain(&self.find_links).filter_map(|url| Url::parse(url).ok())
    }
}

/// A requirements file that a `pip:` list names, directly or indirectly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its contents.
    pub text: String,
}

impl PipFile {
    /// Its contents without layout and comments.
    pub(crate) fn canonical_text(&self) -> String {
        logical_lines(&self.text).into_iter().map(|(_, line)| line + "\n").collect()
    }
}

/// The role of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequirementRole {
    /// The package is to be installed.
    Requested,
    /// The line only limits the versions of a package (`-c`).
    Constraint,
}

/// A requirement of pip and its location.
#[derive(Clone, Debug)]
pub struct PipRequirement {
    /// Its role.
    pub role: RequirementRole,
    /// Its file, for messages.
    pub(crate) file: Arc<Path>,
    /// Its location.
    pub(crate) location: Location,
    /// The text as written, with variables.
    pub written: String,
    /// The text for the resolver, with expanded variables and absolute paths.
    pub text: String,
    /// The normalized name; `None` if only the metadata contains it.
    pub name: Option<String>,
    /// The allowed versions.
    pub versions: VersionSpecifiers,
    /// Whether it has a marker.
    pub conditional: bool,
    /// `sha256:…`
    pub hashes: Vec<String>,
    /// Whether it names the URL or path of the package.
    pub direct: bool,
    /// The file or directory that it names.
    pub path: Option<PathBuf>,
}

impl PipRequirement {
    /// The line and its location for messages: `numpy<1.20 (environment.yml:8)`.
    pub fn display(&self) -> String {
        format!("`{}` ({}:{})", redact::text(&self.written), self.file.display(), self.location.line)
    }

    /// A diagnostic about the whole line.
    pub fn diagnostic(&self, message: impl Into<String>, help: impl Into<String>) -> Box<Diagnostic> {
        Box::new(line_diagnostic(&self.file, self.location, &self.written, 0..self.written.len(), message, help))
    }
}

/// The contents of a `pip:` list and its files.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// The requirements, in order.
    pub entries: Vec<PipRequirement>,
    /// The indexes that the list names.
    pub indexes: Indexes,
    /// The lines that name local directories and pages, with their paths.
    pub local_sources: Vec<PipRequirement>,
}

impl Requirements {
    /// The first few requested lines, indented, for errors that concern all of them.
    pub fn first_lines(&self) -> String {
        const MAX_SHOWN: usize = 3;
        let asked: Vec<&PipRequirement> =
            self.entries.iter().filter(|entry| entry.role == RequirementRole::Requested).collect();
        let shown = asked.iter().take(MAX_SHOWN).map(|entry| format!("asked for: {}", entry.display()));
        let more = asked.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0).map(|more| format!("and {more} more"));
        indented(shown.chain(more))
    }
}

/// Checks a line of a `pip:` list before any file is read. Lines with unset variables are skipped.
pub(crate) fn check(line: &str, variables: &[(String, String)]) -> Option<LineError> {
    let bare = grammar::without_comment(line);
    let expanded = expand(bare, variables).ok()?;
    let mistake = grammar::parse(&expanded).err()?;
    // Ranges in the expanded line do not fit the original line.
    let range = if expanded == bare { mistake.range } else { 0..bare.len() };
    Some(LineError { range, ..mistake })
}

/// The variables that a text refers to in pip's syntax: `${NAME}` in capitals.
pub(crate) fn variable_names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split("${").skip(1).filter_map(|tail| tail.split_once('}').map(|(name, _)| name)).filter(is_name)
}

/// Expands variables. The error is the name of an unset one.
fn expand(text: &str, variables: &[(String, String)]) -> Result<String, String> {
    let mut expanded = text.to_owned();
    for name in variable_names(text) {
        let value = variables.iter().rfind(|(known, _)| known == name).ok_or_else(|| name.to_owned())?;
        expanded = expanded.replace(&format!("${{{name}}}"), &value.1);
    }
    Ok(expanded)
}

/// Converts a path to a URL; a URL stays as it is.
pub(crate) fn absolute_place(place: &str, directory: &Path) -> String {
    if place.contains("://") {
        return place.to_owned();
    }
    let path = normalize_path(&directory.join(place));
    Url::from_file_path(&path).map_or_else(|()| path.display().to_string(), |url| url.to_string())
}

/// Removes `.` and `..` from a path by its text, without following links.
pub fn normalize_path(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The lines of a file without comments, with their numbers from 1. A backslash continues a line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let (number, begun) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\').filter(|_| !is_comment) {
            Some(part) => open = Some((number, begun + part)),
            // A comment ends a continued line.
            None if is_comment => lines.push((number, begun)),
            None => lines.push((number, begun + line)),
        }
    }
    lines.extend(open);
    lines
        .into_iter()
        .map(|(number, line)| (number, grammar::without_comment(&line).trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// A diagnostic about a part of a line. For an item of a YAML list, the dash is shown, too.
fn line_diagnostic(
    file: &Path,
    location: Location,
    text: &str,
    range: std::ops::Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Diagnostic {
    let characters = |end: usize| text.get(..end).unwrap_or(text).chars().count();
    let shown = redact::text(text);
    // Ranges do not fit the line without its secrets.
    let range = if shown == text { range } else { 0..text.len() };
    let indent = location.column.saturating_sub(1);
    let begin = if indent >= 2 { format!("{}- ", " ".repeat(indent - 2)) } else { " ".repeat(indent) };
    Diagnostic {
        file: file.to_owned(),
        location: Location { line: location.line, column: location.column + characters(range.start) },
        length: characters(range.end).saturating_sub(characters(range.start)),
        line: begin + &shown,
        message: message.into(),
        help: help.into(),
    }
}

/// Lines of a message, each indented.
pub fn indented(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("\n  {line}")).collect()
}
