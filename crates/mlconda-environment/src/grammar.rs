//! Parses one line of a requirements file as pip does: a requirement (PEP 508, a URL or a path), or options.
//!
//! Pure: reads no files. What pip rejects is rejected with its range in the line. Markers are not evaluated: the
//! resolver does that.

use std::{ops::Range, str::FromStr};

use mlconda_python::normalize;
use pep440_rs::VersionSpecifiers;

/// What a line says. A line with options may say several things.
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

/// What is wrong with a line, and where.
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

/// Where the options begin: at the first word with a leading dash.
fn options_begin(line: &str) -> usize {
    let mut before = ' ';
    for (index, each) in line.char_indices() {
        if each == '-' && before.is_whitespace() {
            return index;
        }
        before = each;
    }
    line.len()
}

/// An option with its value.
struct ParsedOption<'a> {
    name: &'a str,
    value: &'a str,
    range: Range<usize>,
}

/// Long and short names of options, and whether they take a value.
const OPTIONS: &[(&str, &str, bool)] = &[
    ("--requirement", "-r", true),
    ("--constraint", "-c", true),
    ("--editable", "-e", true),
    ("--index-url", "-i", true),
    ("--pypi-url", "", true),
    ("--extra-index-url", "", true),
    ("--find-links", "-f", true),
    ("--no-index", "", false),
    ("--pre", "", false),
    ("--no-binary", "", true),
    ("--only-binary", "", true),
    ("--prefer-binary", "", false),
    ("--trusted-host", "", true),
    ("--require-hashes", "", false),
    ("--use-feature", "", true),
    ("--hash", "", true),
    ("--config-settings", "-C", true),
    ("--config-setting", "", true),
    ("--global-option", "", true),
    ("--install-option", "", true),
];

/// Parses the options from a byte offset on.
fn options(line: &str, from: usize) -> Result<Vec<ParsedOption<'_>>> {
    let mut words = words(line, from).into_iter().peekable();
    let mut given = Vec::new();
    while let Some(range) = words.next() {
        let text = &line[range.clone()];
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) if text.starts_with("--") => (name, Some(value)),
            // `-rfile`
            _ if !text.starts_with("--") && text.len() > 2 && text.is_char_boundary(2) => {
                (&text[..2], Some(&text[2..]))
            }
            _ => (text, None),
        };
        let known = OPTIONS.iter().find(|(long, short, _)| *long == name || (!short.is_empty() && *short == name));
        let Some((long, _, takes_value)) = known else {
            return unknown_option(range, name);
        };
        let (value, end) = match (takes_value, inline) {
            (true, Some(value)) => (value, range.end),
            (true, None) => match words.next() {
                Some(value) => (unquoted(&line[value.clone()]), value.end),
                None => return line_error(range, format!("`{name}` lacks its value"), format!("write `{name} VALUE`")),
            },
            (false, None) => ("", range.end),
            (false, Some(_)) => {
                return line_error(range, format!("`{name}` takes no value"), format!("write `{name}`"));
            }
        };
        let (mut value, mut end) = (unquoted(value), end);
        // Paths may contain spaces. pip wants quotes then, but exported environments do not have them.
        if ["--editable", "--requirement", "--constraint", "--find-links"].contains(long) {
            let start = end - value.len();
            while let Some(more) = words.next_if(|more| !line[more.clone()].starts_with('-')) {
                end = more.end;
                value = line.get(start..end).unwrap_or(value);
            }
        }
        given.push(ParsedOption { name: long, value, range: range.start..end });
    }
    Ok(given)
}

fn unknown_option<T>(range: Range<usize>, name: &str) -> Result<T> {
    let near = OPTIONS
        .iter()
        .map(|(long, ..)| (strsim::jaro_winkler(name, long), *long))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let help = match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => "options of requirements files are `-r`, `-c`, `-e`, `-i`, `--extra-index-url`, `-f`, `--no-index`, `--pre`, \
                 `--no-binary`, `--only-binary`, `--trusted-host` and `--hash`"
            .to_owned(),
    };
    line_error(range, format!("pip has no option `{name}` here"), help)
}

/// The words from a byte offset on. Quoted words may contain spaces.
fn words(line: &str, from: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let (mut start, mut quote) = (None, None);
    for (index, each) in line.char_indices().filter(|(index, _)| *index >= from) {
        match (each, quote) {
            ('"' | '\'', None) => quote = Some(each),
            (each, Some(open)) if each == open => quote = None,
            (each, None) if each.is_whitespace() => {
                if let Some(start) = start.take() {
                    words.push(start..index);
                }
                continue;
            }
            _ => {}
        }
        start.get_or_insert(index);
    }
    words.extend(start.map(|start| start..line.len()));
    words
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// `--hash=sha256:…`
fn hash(option: &ParsedOption<'_>) -> Result<String> {
    let is_hash = |(kind, hex): (&str, &str)| {
        let digits = match kind {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => 0,
        };
        hex.len() == digits && hex.bytes().all(|each| each.is_ascii_hexdigit())
    };
    match option.value.split_once(':').filter(|parts| is_hash(*parts)) {
        Some((kind, hex)) => Ok(format!("{kind}:{}", hex.to_ascii_lowercase())),
        None => line_error(
            option.range.clone(),
            format!("`{}` is not a sha256, sha384 or sha512", option.value),
            "write `--hash=sha256:` and 64 hex digits; others, such as md5, pip does not take either",
        ),
    }
}

/// The meaning of an option on a line without a requirement.
fn option_item(line: &str, option: ParsedOption<'_>) -> Result<Option<LineItem>> {
    let value = option.value.to_owned();
    Ok(Some(match option.name {
        "--requirement" => LineItem::Requirements(value),
        "--constraint" => LineItem::Constraints(value),
        "--index-url" | "--pypi-url" => LineItem::Index(value),
        "--extra-index-url" => LineItem::ExtraIndex(value),
        "--find-links" => LineItem::FindLinks(value),
        "--no-index" => LineItem::NoIndex,
        "--pre" => LineItem::Prereleases,
        "--no-binary" => LineItem::NoBinary(value),
        "--only-binary" => LineItem::OnlyBinary(value),
        "--trusted-host" => LineItem::TrustedHost(value),
        "--require-hashes" => LineItem::RequireHashes,
        "--editable" => {
            let start = option.range.start + line[option.range.clone()].find(option.value).unwrap_or(0);
            let (location, marker) = split_marker(option.value, "; ");
            let (location, extras) = split_extras(location, start)?;
            let marker = marker.map(str::to_owned);
            LineItem::Url(UrlRequirement {
                location: location.to_owned(),
                extras,
                editable: true,
                marker,
                hashes: Vec::new(),
            })
        }
        // They do not change the result.
        "--prefer-binary" | "--use-feature" => return Ok(None),
        name => {
            let message = format!("`{name}` stands on a line without a requirement");
            return line_error(option.range, message, "write it behind the requirement");
        }
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line says, in short.
    fn read(line: &str) -> String {
        let show = |word: LineItem| match word {
            LineItem::Named(NamedRequirement { name, extras, versions, url, marker, hashes }) => {
                let url = url.map(|url| format!(" @ {url}")).unwrap_or_default();
                format!("{name} {extras:?} {versions}{url} {marker:?} {}", hashes.len())
            }
            other => format!("{other:?}"),
        };
        match parse(line) {
            Ok(words) => words.into_iter().map(show).collect::<Vec<_>>().join(" & "),
            Err(LineError { range, message, help }) => {
                format!("{line}\n{}{}\n{message}; {help}", " ".repeat(range.start), "^".repeat(range.len()))
            }
        }
    }

    #[test]
    fn requirements_are_read_as_pip_reads_them() {
        let sha = "0".repeat(64);
        let lines = [
            ("wandb", "wandb []  None 0"),
            ("Foo.Bar_baz [a, B_c] (>=1.0, <2)", r#"foo-bar-baz ["a", "b-c"] >=1.0, <2 None 0"#),
            (
                "a==1.*;python_version<'3.8' or sys_platform == \"linux\"",
                r#"a [] ==1.* Some("python_version<'3.8' or sys_platform == \"linux\"") 0"#,
            ),
            (
                "a @ https://h/a-1.0.tar.gz#sha256=12 ; os_name=='posix'",
                r#"a []  @ https://h/a-1.0.tar.gz#sha256=12 Some("os_name=='posix'") 0"#,
            ),
            ("torch==2.1.0+cu118,", "torch [] ==2.1.0+cu118 None 0"),
        ];
        for (line, expected) in lines {
            assert_eq!(read(line), expected);
        }
        assert_eq!(read(&format!("a==1 --hash=sha256:{sha} --hash sha256:{sha}")), "a [] ==1 None 2");
        let location = |line: &str| match parse(line).unwrap().remove(0) {
            LineItem::Url(placed) => {
                (placed.location, placed.extras.join(","), placed.editable, placed.marker.is_some())
            }
            other => panic!("{other:?}"),
        };
        let expected =
            |location: &str, extras: &str, editable, marker| (location.to_owned(), extras.to_owned(), editable, marker);
        assert_eq!(location("-e ."), expected(".", "", true, false));
        assert_eq!(location("-e /src/a b"), expected("/src/a b", "", true, false));
        assert_eq!(location("-e.[dev,test]"), expected(".", "dev,test", true, false));
        assert_eq!(
            location("./wheels/a-1-py3-none-any.whl"),
            expected("./wheels/a-1-py3-none-any.whl", "", false, false)
        );
        assert_eq!(location("a-1-py3-none-any.whl"), expected("a-1-py3-none-any.whl", "", false, false));
        assert_eq!(location("../pkg[x] ; os_name=='nt'"), expected("../pkg", "x", false, true));
        let git = "git+https://h/a.git@v1#egg=a&subdirectory=sub";
        assert_eq!(location(git), expected(git, "", false, false));
        assert_eq!(location(&format!("--editable={git}")), expected(git, "", true, false));
    }

    #[test]
    fn options_are_read_as_pip_reads_them() {
        assert_eq!(read("-r a.txt"), r#"Requirements("a.txt")"#);
        assert_eq!(read("-ra.txt"), r#"Requirements("a.txt")"#);
        assert_eq!(read("--requirement=a.txt"), r#"Requirements("a.txt")"#);
        assert_eq!(read("-c 'my file.txt'"), r#"Constraints("my file.txt")"#);
        assert_eq!(read("--no-index --find-links ./w --pre"), r#"NoIndex & FindLinks("./w") & Prereleases"#);
        assert_eq!(
            read("-i https://h/s --extra-index-url=https://u:p@h/t"),
            r#"Index("https://h/s") & ExtraIndex("https://u:p@h/t")"#
        );
        assert_eq!(read("--no-binary :all: --only-binary a,b"), r#"NoBinary(":all:") & OnlyBinary("a,b")"#);
        assert_eq!(read("--trusted-host h --prefer-binary --require-hashes"), r#"TrustedHost("h") & RequireHashes"#);
        assert_eq!(read(""), "");
        assert_eq!(without_comment("a # b"), "a");
        assert_eq!(without_comment("# b"), "");
        assert_eq!(without_comment("git+https://h/a#egg=a\t# b"), "git+https://h/a#egg=a");
    }

    #[test]
    fn what_pip_refuses_is_refused_at_its_place() {
        let lines = [
            "numpy=1.20",
            "numpy 1.20",
            "two words",
            "--extra-index https://h",
            "a --pre",
            "--hash=sha256:12",
            "a --hash=md5:12",
            "a[b",
            "-r",
            "=1",
            "a @",
            "a>=x",
            "--frobnicate",
        ];
        insta::assert_snapshot!(lines.map(read).join("\n\n"), @"
        numpy=1.20
             ^^^^^
        `=1.20` does not say which versions of `numpy`; write `numpy==1.20`

        numpy 1.20
              ^^^^
        `1.20` does not say which versions of `numpy`; write `numpy==1.20`

        two words
            ^^^^^
        `words` does not say which versions of `two`; one line asks for one project: `name`, `name==1.0` or `name>=1,<2`

        --extra-index https://h
        ^^^^^^^^^^^^^
        pip has no option `--extra-index` here; did you mean `--extra-index-url`?

        a --pre
          ^^^^^
        `--pre` is not an option of one requirement; write it as a line of its own

        --hash=sha256:12
        ^^^^^^^^^^^^^^^^
        `--hash` stands on a line without a requirement; write it behind the requirement

        a --hash=md5:12
          ^^^^^^^^^^^^^
        `md5:12` is not a sha256, sha384 or sha512; write `--hash=sha256:` and 64 hex digits; others, such as md5, pip does not take either

        a[b
         ^^
        the bracket is not closed; write `name[extra]`

        -r
        ^^
        `-r` lacks its value; write `-r VALUE`

        =1
        ^^
        `=1` is not a requirement; a requirement begins with a project's name, a URL or a path

        a @
          ^
        the URL is missing; write `name @ https://…`

        a>=x
         ^^^
        `>=x` does not say which versions of `a`; versions are as in `>=1.0`, `==2.*` or `~=1.4` (PEP 440)

        --frobnicate
        ^^^^^^^^^^^^
        pip has no option `--frobnicate` here; options of requirements files are `-r`, `-c`, `-e`, `-i`, `--extra-index-url`, `-f`, `--no-index`, `--pre`, `--no-binary`, `--only-binary`, `--trusted-host` and `--hash`
        ");
    }

    #[test]
    fn urls_tell_names() {
        assert_eq!(name_in_url("git+https://h/x.git@v1#egg=My_Tool[x]&subdirectory=y").as_deref(), Some("my-tool"));
        assert_eq!(name_in_url("https://h/My_Tool-1.0-py3-none-any.whl#sha256=1").as_deref(), Some("my-tool"));
        assert_eq!(name_in_url("https://h/my-tool-1.0.tar.gz").as_deref(), Some("my-tool"));
        assert_eq!(name_in_url("git+https://h/x.git"), None);
    }
}
