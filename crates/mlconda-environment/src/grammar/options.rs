//! Options in a line: their names, their values, and what they mean on a line of their own.

use std::ops::Range;

use super::{LineItem, Result, UrlRequirement, line_error, split_extras, split_marker};

/// The offset of the options, which begin with the first word with a leading dash.
pub(super) fn options_begin(line: &str) -> usize {
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
pub(super) struct ParsedOption<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    pub(super) range: Range<usize>,
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
pub(super) fn options(line: &str, from: usize) -> Result<Vec<ParsedOption<'_>>> {
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
pub(super) fn hash(option: &ParsedOption<'_>) -> Result<String> {
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
pub(super) fn option_item(line: &str, option: ParsedOption<'_>) -> Result<Option<LineItem>> {
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
            return line_error(option.range, message, "write it after the requirement");
        }
    }))
}
