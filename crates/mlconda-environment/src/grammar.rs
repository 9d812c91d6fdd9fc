//! Parses one line of a requirements file as pip does: a requirement (PEP 508, a URL or a path), or options.
//!
//! It reads no files. An error has the range of the invalid text in the line. Markers are not evaluated: the resolver
//! does that.

mod options;
#[cfg(test)]
mod tests;

use std::{ops::Range, str::FromStr};

use mlconda_python::normalize;
use pep440_rs::VersionSpecifiers;

use options::{hash, option_item, options, options_begin};

/// An item of a line. A line with options may have several items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineItem {
    /// A package by name.
    Named(NamedRequirement),
    /// A package by URL or path. Its name is only known from its metadata.
    Url(UrlRequirement),
    /// `-r`: a file with more requirements.
    Requirements(String),
    /// `-c`: a file with constraints.
    Constraints(String),
    /// `-i`
    Index(String),
    /// `--extra-index-url`
    ExtraIndex(String),
    /// `-f`
    FindLinks(String),
    /// `--no-index`
    NoIndex,
    /// `--pre`
    Prereleases,
    /// `--no-binary`: names separated by commas, `:all:` or `:none:`.
    NoBinary(String),
    /// `--only-binary`: as for `--no-binary`.
    OnlyBinary(String),
    /// `--trusted-host`
    TrustedHost(String),
    /// `--require-hashes`
    RequireHashes,
}

/// A package by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedRequirement {
    /// Normalized.
    pub(crate) name: String,
    /// Normalized.
    pub(crate) extras: Vec<String>,
    /// The allowed versions.
    pub(crate) versions: VersionSpecifiers,
    /// `name @ url`
    pub(crate) url: Option<String>,
    /// The marker after the semicolon.
    pub(crate) marker: Option<String>,
    /// `--hash`, as `sha256:…`.
    pub(crate) hashes: Vec<String>,
}

/// A package by URL or path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UrlRequirement {
    /// A URL or a path.
    pub(crate) location: String,
    /// Normalized.
    pub(crate) extras: Vec<String>,
    /// `-e`
    pub(crate) editable: bool,
    /// The marker after the semicolon.
    pub(crate) marker: Option<String>,
    /// `--hash`, as `sha256:…`.
    pub(crate) hashes: Vec<String>,
}

/// The error of a line, with its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineError {
    /// The range in bytes.
    pub(crate) range: Range<usize>,
    /// The message: a fragment without a full stop.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

type Result<T> = std::result::Result<T, LineError>;

fn line_error<T>(range: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Result<T> {
    Err(LineError { range, message: message.into(), help: help.into() })
}

/// A line without its comment: `#` at its beginning or after white space.
pub(crate) fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (index, each) in line.char_indices() {
        if each == '#' && before.is_whitespace() {
            return line[..index].trim_end();
        }
        before = each;
    }
    line.trim_end()
}

/// Parses a line without comment and variables. An empty line has no items.
pub(crate) fn parse(line: &str) -> Result<Vec<LineItem>> {
    let end = options_begin(line);
    let (subject, options) = (line[..end].trim(), options(line, end)?);
    if subject.is_empty() {
        return options
            .into_iter()
            .map(|option| option_item(line, option))
            .collect::<Result<Vec<_>>>()
            .map(|words| words.into_iter().flatten().collect());
    }
    let mut hashes = Vec::new();
    for option in options {
        match option.name {
            "--hash" => hashes.push(hash(&option)?),
            // Options for the build back end matter only when the package is built.
            "--config-settings" | "--config-setting" | "-C" | "--global-option" | "--install-option" => {
                return line_error(
                    option.range,
                    "options of builds cannot be locked",
                    "remove the option, or build a wheel with it and list that",
                );
            }
            name => {
                let message = format!("`{name}` is not an option of one requirement");
                return line_error(option.range, message, "write it as a line of its own");
            }
        }
    }
    let start = line.find(subject).unwrap_or(0);
    let word = match parse_subject(subject, start)? {
        LineItem::Named(named) => LineItem::Named(NamedRequirement { hashes, ..named }),
        LineItem::Url(placed) => LineItem::Url(UrlRequirement { hashes, ..placed }),
        other => other,
    };
    Ok(vec![word])
}

/// Parses a requirement without its options; `start` is its offset in the line.
fn parse_subject(text: &str, start: usize) -> Result<LineItem> {
    let is_url = |text: &str| {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let scheme = scheme.rsplit_once('+').map_or(scheme, |(kind, _)| kind);
        ["http", "https", "file", "ftp", "git", "hg", "svn", "bzr"].contains(&scheme.to_ascii_lowercase().as_str())
    };
    let is_path = |text: &str| {
        let archives = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"];
        let bare = text.split_once('[').map_or(text, |(path, _)| path);
        bare.starts_with('.')
            || bare.contains('/') && !bare.contains('@')
            || archives.iter().any(|end| bare.ends_with(end))
    };
    if is_url(text) || is_path(text.split(';').next().unwrap_or(text)) {
        let (location, marker) = split_marker(text, if is_url(text) { "; " } else { ";" });
        let (location, extras) = split_extras(location, start)?;
        let marker = marker.map(str::to_owned);
        let placed =
            UrlRequirement { location: location.to_owned(), extras, editable: false, marker, hashes: Vec::new() };
        return Ok(LineItem::Url(placed));
    }
    named(text, start).map(LineItem::Named)
}

fn split_marker<'a>(text: &'a str, separator: &str) -> (&'a str, Option<&'a str>) {
    match text.split_once(separator) {
        Some((text, marker)) => (text.trim(), Some(marker.trim()).filter(|marker| !marker.is_empty())),
        None => (text.trim(), None),
    }
}

/// `path[extra,extra]`
fn split_extras(text: &str, start: usize) -> Result<(&str, Vec<String>)> {
    match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        // The host of a URL may be an IPv6 address.
        Some((location, inner)) if !location.is_empty() && !location.ends_with('/') => {
            Ok((location, extras(inner, start + location.len() + 1)?))
        }
        _ => Ok((text, Vec::new())),
    }
}

fn extras(inner: &str, start: usize) -> Result<Vec<String>> {
    let mut extras = Vec::new();
    for extra in inner.split(',').map(str::trim).filter(|extra| !extra.is_empty()) {
        if !is_name(extra) {
            return line_error(
                start..start + inner.len(),
                format!("`{extra}` is not the name of an extra"),
                "write `name[extra]`",
            );
        }
        extras.push(normalize(extra));
    }
    Ok(extras)
}

/// Whether this is a valid project name (PEP 508).
fn is_name(text: &str) -> bool {
    let is_inner = |each: u8| each.is_ascii_alphanumeric() || b"-_.".contains(&each);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.bytes().all(is_inner) && ends.iter().all(|end| end.is_some_and(|each| each.is_ascii_alphanumeric()))
}

/// `name[extras] (versions) ; marker`, or `name[extras] @ url ; marker`
fn named(text: &str, start: usize) -> Result<NamedRequirement> {
    let end = text.find(|each: char| !(each.is_ascii_alphanumeric() || "-_.".contains(each))).unwrap_or(text.len());
    let (name, mut rest) = (&text[..end], text[end..].trim_start());
    if !is_name(name) {
        let help = "a requirement begins with a project's name, a URL or a path";
        return line_error(start..start + text.len(), format!("`{text}` is not a requirement"), help);
    }
    let location = |rest: &str| start + text.len() - rest.len();
    let mut named = NamedRequirement {
        name: normalize(name),
        extras: Vec::new(),
        versions: VersionSpecifiers::empty(),
        url: None,
        marker: None,
        hashes: Vec::new(),
    };
    if let Some(inner) = rest.strip_prefix('[') {
        let Some((inside, after)) = inner.split_once(']') else {
            return line_error(location(rest)..start + text.len(), "the bracket is not closed", "write `name[extra]`");
        };
        named.extras = extras(inside, location(inner))?;
        rest = after.trim_start();
    }
    if let Some(url) = rest.strip_prefix('@') {
        let (url, marker) = split_marker(url, " ;");
        let (url, marker) = if marker.is_none() { split_marker(url, "; ") } else { (url, marker) };
        named.url = Some(url.to_owned());
        named.marker = marker.map(str::to_owned);
        return match url.is_empty() {
            true => line_error(location(rest)..start + text.len(), "the URL is missing", "write `name @ https://…`"),
            false => Ok(named),
        };
    }
    let (versions, marker) = split_marker(rest, ";");
    named.marker = marker.map(str::to_owned);
    let bare = versions.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(versions);
    let from = location(rest);
    named.versions = specifiers(bare, from..from + versions.len().max(1), name)?;
    Ok(named)
}

/// Parses version specifiers (PEP 440).
fn specifiers(text: &str, range: Range<usize>, name: &str) -> Result<VersionSpecifiers> {
    // pip allows a trailing comma.
    let bare = text.trim().trim_end_matches(',').trim_end();
    VersionSpecifiers::from_str(bare).or_else(|_| {
        let plain = bare.trim_start_matches(['=', '~', '>', '<', '!']).trim();
        let help = match bare {
            _ if bare.starts_with('=') && !bare.starts_with("==") => format!("write `{name}=={plain}`"),
            _ if bare.starts_with(|each: char| each.is_ascii_digit()) => format!("write `{name}=={bare}`"),
            _ if !bare.starts_with(['=', '~', '>', '<', '!']) => {
                "one line asks for one project: `name`, `name==1.0` or `name>=1,<2`".to_owned()
            }
            _ => "versions are as in `>=1.0`, `==2.*` or `~=1.4` (PEP 440)".to_owned(),
        };
        line_error(range, format!("`{bare}` does not say which versions of `{name}`"), help)
    })
}

/// The project name in a URL: from the archive name or `#egg=`.
pub(crate) fn name_in_url(url: &str) -> Option<String> {
    let (path, fragment) = url.split_once('#').unwrap_or((url, ""));
    let egg = fragment.split('&').find_map(|part| part.strip_prefix("egg="));
    let egg = egg.map(|egg| egg.split('[').next().unwrap_or(egg).to_owned()).filter(|name| is_name(name));
    let file = path.rsplit('/').next().unwrap_or(path);
    let archive = || match mlconda_python::tags::WheelName::parse(file) {
        Some(wheel) => Some(wheel.name.to_owned()),
        None => file.strip_suffix(".tar.gz").and_then(|stem| stem.rsplit_once('-')).map(|(name, _)| name.to_owned()),
    };
    egg.or_else(archive).map(|name| normalize(&name))
}
