//! Suggests corrections for invalid match specs. Most of them use the syntax of another tool (`^1.2`, `~1.2`, `@1.2`,
//! `>1 and <2`) or typographic characters. Only valid specs are suggested.

use mlconda_types::diagnostic::is_invisible;

use super::channel::SpecError;

pub(super) const SPEC_HELP: &str =
    "write a package's name, then a version if need be: `numpy`, `numpy=1.26`, `numpy >=1.24,<2`";

/// The most lines that are suggested in place of one.
const MAX_PROPOSED: usize = 4;

/// Adds a suggestion to an error that has only general help.
pub(super) fn suggest(text: &str, error_found: SpecError, is_spec: &dyn Fn(&str) -> bool) -> SpecError {
    let help = match () {
        () if error_found.help != SPEC_HELP => None,
        () => {
            split_packages(text, is_spec).or_else(|| corrected(text, is_spec).map(|meant| format!("write `{meant}`")))
        }
    };
    match (help, text.chars().find(|&c| is_invisible(c))) {
        (help, Some(hidden)) => SpecError {
            message: format!("`{text}` has a character in it that cannot be seen ({})", hidden.escape_unicode()),
            help: help.unwrap_or(error_found.help),
        },
        (Some(help), None) => SpecError { help, ..error_found },
        (None, None) => error_found,
    }
}

/// Splits several packages on one line, with or without commas.
pub(crate) fn split_packages(text: &str, is_spec: &dyn Fn(&str) -> bool) -> Option<String> {
    let words: Vec<&str> = text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
    let is_package = |word: &&str| is_named(word) && is_spec(word);
    let joins = |word: &&str| matches!(*word, "and" | "or");
    let has_version = |word: &&str| word.contains(['=', '<', '>']);
    // `numpy=1.26=a b` may be one package with an odd build.
    let is_one = words.len() == 2 && has_version(&words[0]) && !has_version(&words[1]);
    if words.len() < 2 || is_one || !words.iter().all(is_package) || words.iter().any(joins) {
        return None;
    }
    let lines: Vec<String> = words.iter().take(MAX_PROPOSED).map(|word| format!("`- {word}`")).collect();
    let more = if words.len() > MAX_PROPOSED { ", …" } else { "" };
    Some(format!("write one package on a line: {}{more}", lines.join(", ")))
}

/// The first of the likely corrections that is a valid spec.
fn corrected(text: &str, is_spec: &dyn Fn(&str) -> bool) -> Option<String> {
    let plain = ascii_form(text);
    let worded = plain.replace("&&", ",").replace(['&', ';'], ",").replace("||", "|");
    let worded = worded.replace(" and ", ",").replace(" or ", "|").replace("<>", "!=").replace("=!", "!=");
    let readings = [
        plain.clone(),
        plain.trim_end_matches([',', ';', '.', '=', ' ']).to_owned(),
        worded,
        caret(&plain),
        plain.replace("=~", "~="),
        at_least(&plain),
        operator(&plain, '~', "~="),
        operator(&plain, '!', "!="),
        plain.replacen('@', "=", 1),
        plain.replacen('/', "=", 1),
        plain.replacen('/', "::", 1),
        without_parentheses(&plain),
        build(&plain),
        plain.replace("..", "."),
        plain.to_lowercase(),
    ];
    readings.into_iter().find(|reading| reading != text && is_named(reading) && is_spec(reading))
}

/// Whether a text begins like a package name or a channel, and does not end with an operator.
fn is_named(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '/')) && !text.ends_with('=')
}

/// Replaces typographic characters: quotation marks, dashes and signs.
fn ascii_form(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().filter(|&c| !is_invisible(c)) {
        match c {
            '≥' => plain.push_str(">="),
            '≤' => plain.push_str("<="),
            '≠' => plain.push_str("!="),
            '＝' => plain.push('='),
            '–' | '—' | '−' => plain.push('-'),
            '“' | '”' | '„' | '‘' | '’' | '"' | '\'' => {}
            c if c.is_whitespace() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// `^1.2.3` of npm and Poetry: up to the next change of the first number that is not zero.
fn caret(text: &str) -> String {
    let Some((name, version)) = text.split_once('^') else { return text.to_owned() };
    let parts: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    let Some(parts) = parts else { return text.to_owned() };
    let place = parts.iter().position(|part| *part > 0).unwrap_or(parts.len() - 1);
    let end: Vec<String> = parts[..=place]
        .iter()
        .enumerate()
        .map(|(index, part)| if index == place { part.saturating_add(1) } else { *part }.to_string())
        .collect();
    format!("{} >={version},<{}", name.trim_end_matches(['=', ' ']), end.join("."))
}

/// `=1.2+`, which is meant as `>=1.2`.
fn at_least(text: &str) -> String {
    match text.strip_suffix('+').and_then(|text| text.split_once('=')) {
        Some((name, version)) => format!("{name}>={}", version.trim_start_matches('=')),
        None => text.to_owned(),
    }
}

/// An operator with one character, where conda has one with two.
fn operator(text: &str, short: char, long: &str) -> String {
    match text.split_once(short) {
        Some((name, version)) if !version.starts_with('=') => format!("{name}{long}{version}"),
        _ => text.to_owned(),
    }
}

/// `numpy(>=1.2)` without its parentheses.
fn without_parentheses(text: &str) -> String {
    text.replacen('(', " ", 1).trim_end().trim_end_matches(')').to_owned()
}

/// `numpy==1.2==py39_0`, with the build after a single `=`.
fn build(text: &str) -> String {
    let parts: Vec<&str> = text.split('=').map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.join("=")
}
