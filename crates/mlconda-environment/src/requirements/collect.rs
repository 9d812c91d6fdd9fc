//! Follows the `pip:` list, line by line, into the files that it names.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_types::redact;
use pep440_rs::VersionSpecifiers;

use super::{
    PipRequirement, RequirementRole, Requirements, absolute_place, expand, line_diagnostic, logical_lines,
    normalize_path,
};
use crate::{
    Diagnostic, Location, PipLine,
    grammar::{self, LineError, LineItem, NamedRequirement, UrlRequirement},
};

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

/// The origin of a line.
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
            let message = format!("more than {MAX_FILES} requirements files are named, repeated ones included");
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

fn names_of(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}
