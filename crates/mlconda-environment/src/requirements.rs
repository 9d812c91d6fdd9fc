//! Collects the `pip:` list and all files that it names into one list: requirements, constraints and indexes.
//!
//! Pure, except that the caller passes a function to read files to [`collect`]. So an environment reads each file
//! once, includes it in its digest, and is locked with the same contents.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_types::redact;
use pep440_rs::VersionSpecifiers;
use url::Url;

use super::{
    Diagnostic, Location, PipLine,
    grammar::{self, LineError, LineItem, NamedRequirement, UrlRequirement},
};

/// Where pip looks for packages, by its options.
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

/// Collects a list and the files that it names. `read` is called with absolute paths.
///
/// # Errors
/// All errors, in order.
pub fn collect(
    list: &[PipLine],
    variables: &[(String, String)],
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
) -> Result<Requirements, Vec<Diagnostic>> {
    let mut collector = Collector {
        variables,
        read,
        requirements: Requirements::default(),
        errors: Vec::new(),
        open: Vec::new(),
        files: 0,
    };
    for line in list {
        let bare = grammar::without_comment(&line.text);
        let source = LineSource { file: &line.file, directory: &line.directory, role: RequirementRole::Requested };
        collector.line(&source, line.location, bare);
    }
    if collector.errors.is_empty() { Ok(collector.requirements) } else { Err(collector.errors) }
}

/// Where a line comes from.
struct LineSource<'a> {
    file: &'a Arc<Path>,
    /// The directory that paths are relative to.
    directory: &'a Path,
    role: RequirementRole,
}

struct Collector<'a> {
    variables: &'a [(String, String)],
    read: &'a mut dyn FnMut(&Path) -> io::Result<String>,
    requirements: Requirements,
    errors: Vec<Diagnostic>,
    /// The files that are being read, to detect cycles.
    open: Vec<PathBuf>,
    /// How many files were read, counting repetitions.
    files: usize,
}

/// The most files. A few files that name each other twice could otherwise expand to any number of lines.
const MAX_FILES: usize = 1000;

impl Collector<'_> {
    fn line(&mut self, source: &LineSource<'_>, location: Location, text: &str) {
        let expanded = match expand(text, self.variables) {
            Ok(expanded) => expanded,
            Err(name) => {
                let start = text.find(&format!("${{{name}}}")).unwrap_or(0);
                let range = start..start + name.len() + 3;
                let message = format!("the environment variable `{name}` is not set");
                self.errors.push(line_diagnostic(
                    source.file,
                    location,
                    text,
                    range,
                    message,
                    "set it, or write its value",
                ));
                return;
            }
        };
        match grammar::parse(&expanded) {
            Ok(words) => words.into_iter().for_each(|word| self.item(source, location, text, word)),
            Err(LineError { range, message, help }) => {
                let range = if expanded == text { range } else { 0..text.len() };
                self.errors.push(line_diagnostic(source.file, location, text, range, redact::text(&message), help));
            }
        }
    }

    fn item(&mut self, source: &LineSource<'_>, location: Location, text: &str, word: LineItem) {
        let indexes = &mut self.requirements.indexes;
        let place = |place: &str| absolute_place(place, source.directory);
        match word {
            LineItem::Named(named) => self.requirements.entries.push(from_named(source, location, text, named)),
            LineItem::Url(placed) => self.requirements.entries.push(from_url(source, location, text, placed)),
            // As in pip: `-r` in a constraints file adds requirements.
            LineItem::Requirements(path) => self.file(source, location, text, &path, RequirementRole::Requested),
            LineItem::Constraints(path) => self.file(source, location, text, &path, RequirementRole::Constraint),
            LineItem::Index(url) => {
                indexes.index = Some(place(&url));
                indexes.no_index = false;
            }
            LineItem::ExtraIndex(url) => indexes.extra.push(place(&url)),
            LineItem::FindLinks(url) => {
                indexes.find_links.push(place(&url));
                let place = UrlRequirement { location: url, ..UrlRequirement::default() };
                let entry = from_url(source, location, text, place);
                self.requirements.local_sources.extend(Some(entry).filter(|entry| entry.path.is_some()));
            }
            LineItem::NoIndex => indexes.no_index = true,
            LineItem::Prereleases => indexes.prereleases = true,
            LineItem::NoBinary(names) => indexes.no_binary.extend(names_of(&names)),
            LineItem::OnlyBinary(names) => indexes.only_binary.extend(names_of(&names)),
            LineItem::TrustedHost(host) => indexes.trusted_hosts.push(host),
            // A lock always has hashes.
            LineItem::RequireHashes => {}
        }
    }

    /// Reads a file that a line names.
    fn file(&mut self, source: &LineSource<'_>, location: Location, text: &str, path: &str, role: RequirementRole) {
        let range = text.find(path).map_or(0..text.len(), |start| start..start + path.len());
        let mut wrong = |message: String, help: &str| {
            self.errors.push(line_diagnostic(source.file, location, text, range.clone(), message, help));
        };
        if path.contains("://") && !path.starts_with("file://") {
            let help = "download it, and name the file; then the lock depends on what is here";
            return wrong("a requirements file is not read from a server".to_owned(), help);
        }
        let bare = path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path);
        let absolute = normalize_path(&source.directory.join(bare));
        if self.open.contains(&absolute) {
            return wrong(format!("`{path}` names itself"), "remove one of the lines");
        }
        self.files += 1;
        if self.files > MAX_FILES {
            if self.files > MAX_FILES + 1 {
                return;
            }
            let message =
                format!("more than {MAX_FILES} requirements files are named, those that are named again among them");
            return wrong(message, "name each file once");
        }
        let contents = match (self.read)(&absolute) {
            Ok(contents) => contents,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let help = "paths are relative to the file that names them";
                return wrong(format!("there is no file `{}`", absolute.display()), help);
            }
            Err(error) => {
                use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput};
                // The text of the system's error would repeat the path.
                let reason = match error.kind() {
                    FileTooLarge | InvalidData | InvalidInput => error.to_string(),
                    kind => kind.to_string(),
                };
                return wrong(format!("`{path}` cannot be read: {reason}"), "name a file that can be read");
            }
        };
        // Messages show it relative to the file that names it.
        let shown: Arc<Path> = source.file.parent().unwrap_or(Path::new("")).join(bare).into();
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        self.open.push(absolute);
        let inner = LineSource { file: &shown, directory: &directory, role };
        for (line, text) in logical_lines(&contents) {
            self.line(&inner, Location { line, column: 1 }, &text);
        }
        self.open.pop();
    }
}

fn from_named(source: &LineSource<'_>, location: Location, written: &str, named: NamedRequirement) -> PipRequirement {
    let NamedRequirement { name, extras, versions, url, marker, hashes } = named;
    let bracket = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let conditional = marker.is_some();
    let behind = marker.map(|marker| format!(" ; {marker}")).unwrap_or_default();
    let what = match &url {
        Some(url) => format!(" @ {url}"),
        None => versions.to_string(),
    };
    PipRequirement {
        role: source.role,
        file: Arc::clone(source.file),
        location,
        written: written.to_owned(),
        text: format!("{name}{bracket}{what}{behind}"),
        name: Some(name),
        versions,
        conditional,
        hashes,
        direct: url.is_some(),
        path: None,
    }
}

fn from_url(source: &LineSource<'_>, location: Location, written: &str, placed: UrlRequirement) -> PipRequirement {
    let UrlRequirement { location: place, extras, editable, marker, hashes } = placed;
    let is_url = place.contains("://");
    let path = (!is_url || place.starts_with("file://")).then(|| {
        let path = place.strip_prefix("file://").unwrap_or(&place);
        normalize_path(&source.directory.join(path.split('#').next().unwrap_or(path)))
    });
    let url = absolute_place(&place, source.directory);
    let bracket = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let conditional = marker.is_some();
    let behind = marker.map(|marker| format!(" ; {marker}")).unwrap_or_default();
    PipRequirement {
        role: source.role,
        file: Arc::clone(source.file),
        location,
        written: written.to_owned(),
        // A repository is locked by its commit, so it cannot be editable.
        text: format!("{}{url}{bracket}{behind}", if editable && path.is_some() { "-e " } else { "" }),
        name: grammar::name_in_url(&place),
        versions: VersionSpecifiers::empty(),
        conditional,
        hashes,
        direct: true,
        path,
    }
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

fn names_of(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lines that stand in `/project/environment.yml`, with these files.
    fn read(lines: &[&str], files: &[(&str, &str)]) -> Result<Requirements, String> {
        let line = |(index, text): (usize, &&str)| PipLine {
            text: (*text).to_owned(),
            file: Arc::from(Path::new("environment.yml")),
            directory: "/project".into(),
            location: Location { line: 10 + index, column: 9 },
            selector: None,
        };
        let list: Vec<PipLine> = lines.iter().enumerate().map(line).collect();
        let variables = [("TOKEN".to_owned(), "s3cret".to_owned())];
        let mut reader = |path: &Path| match files.iter().find(|(name, _)| Path::new(name) == path) {
            Some((_, text)) => Ok((*text).to_owned()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        collect(&list, &variables, &mut reader)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
    }

    #[test]
    fn files_are_read_relative_to_the_file_that_names_them() {
        let files = [
            (
                "/project/req/base.txt",
                "\u{feff}# a comment\nsix \\\n  >= 1.0  # why\n-c file:limits.txt\n-e ../src/mine[dev]\n--find-links ./wheels\n",
            ),
            ("/project/req/limits.txt", "urllib3<2\n"),
        ];
        let read = read(&["-r req/base.txt", "./a b.whl", "wandb"], &files).unwrap();
        let lines: Vec<String> =
            read.entries.iter().map(|entry| format!("{:?} {} {}", entry.role, entry.text, entry.display())).collect();
        assert_eq!(
            lines,
            [
                "Requested six>=1.0 `six   >= 1.0` (req/base.txt:2)",
                "Constraint urllib3<2 `urllib3<2` (req/limits.txt:1)",
                "Requested -e file:///project/src/mine[dev] `-e ../src/mine[dev]` (req/base.txt:5)",
                "Requested file:///project/a%20b.whl `./a b.whl` (environment.yml:11)",
                "Requested wandb `wandb` (environment.yml:12)",
            ]
        );
        assert_eq!(read.indexes.find_links, ["file:///project/req/wheels"]);
        assert_eq!(read.entries[2].path.as_deref(), Some(Path::new("/project/src/mine")));
    }

    #[test]
    fn variables_are_expanded_and_not_shown() {
        let lines = ["--index-url https://me:${TOKEN}@host/simple", "tool @ https://me:pw@host/tool-1.0.tar.gz"];
        let read = read(&lines, &[]).unwrap();
        assert_eq!(read.indexes.index.as_deref(), Some("https://me:s3cret@host/simple"));
        assert_eq!(read.entries[0].display(), "`tool @ https://********@host/tool-1.0.tar.gz` (environment.yml:11)");
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let files = [("/project/a.txt", "six\nnumpy=1.20\n-r a.txt\n--frob\n"), ("/project/b.txt", "-c ../none.txt\n")];
        let lines = [
            "-r a.txt",
            "-r b.txt",
            "-r none.txt",
            "a==${NOT_SET}",
            "-r https://h/r.txt",
            "--index-urk https://me:pw@h/s",
        ];
        insta::assert_snapshot!(read(&lines, &files).unwrap_err(), @"
        a.txt:2:6: `=1.20` does not say which versions of `numpy`
          |
        2 | numpy=1.20
          |      ^^^^^
          = help: write `numpy==1.20`

        a.txt:3:4: `a.txt` names itself
          |
        3 | -r a.txt
          |    ^^^^^
          = help: remove one of the lines

        a.txt:4:1: pip has no option `--frob` here
          |
        4 | --frob
          | ^^^^^^
          = help: options of requirements files are `-r`, `-c`, `-e`, `-i`, `--extra-index-url`, `-f`, `--no-index`, `--pre`, `--no-binary`, `--only-binary`, `--trusted-host` and `--hash`

        b.txt:1:4: there is no file `/none.txt`
          |
        1 | -c ../none.txt
          |    ^^^^^^^^^^^
          = help: paths are relative to the file that names them

        environment.yml:12:12: there is no file `/project/none.txt`
           |
        12 |       - -r none.txt
           |            ^^^^^^^^
           = help: paths are relative to the file that names them

        environment.yml:13:12: the environment variable `NOT_SET` is not set
           |
        13 |       - a==${NOT_SET}
           |            ^^^^^^^^^^
           = help: set it, or write its value

        environment.yml:14:12: a requirements file is not read from a server
           |
        14 |       - -r https://h/r.txt
           |            ^^^^^^^^^^^^^^^
           = help: download it, and name the file; then the lock depends on what is here

        environment.yml:15:9: pip has no option `--index-urk` here
           |
        15 |       - --index-urk https://********@h/s
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = help: did you mean `--index-url`?
        ");
    }
}
