//! What was meant by a match spec that is none. Most of them are good ones in another tool's language (`^1.2`, `~1.2`,
//! `@1.2`, `>1 and <2`), or came through a word processor; the remedy is then the spec itself, written right. Only what
//! can be read is proposed.

use mlconda_types::diagnostic::is_invisible;

use super::{channel::Refusal, spec::SPEC_HELP};

/// How many lines are proposed in the place of one.
const PROPOSED: usize = 4;

/// A refusal with the spec that was meant, where it has only a general remedy and one can be found.
pub(super) fn advise(text: &str, refusal: Refusal, is_spec: &dyn Fn(&str) -> bool) -> Refusal {
    let help = match () {
        () if refusal.help != SPEC_HELP => None,
        () => several(text, is_spec).or_else(|| meant(text, is_spec).map(|meant| format!("write `{meant}`"))),
    };
    match (help, text.chars().find(|&c| is_invisible(c))) {
        (help, Some(hidden)) => Refusal {
            message: format!("`{text}` has a character in it that cannot be seen ({})", hidden.escape_unicode()),
            help: help.unwrap_or(refusal.help),
        },
        (Some(help), None) => Refusal { help, ..refusal },
        (None, None) => refusal,
    }
}

/// Packages on one line, with commas between them or without.
pub(crate) fn several(text: &str, is_spec: &dyn Fn(&str) -> bool) -> Option<String> {
    let words: Vec<&str> = text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
    let is_package = |word: &&str| is_named(word) && is_spec(word);
    let joins = |word: &&str| matches!(*word, "and" | "or");
    let has_version = |word: &&str| word.contains(['=', '<', '>']);
    // `numpy=1.26=a b` may be one package with an odd build.
    let is_one = words.len() == 2 && has_version(&words[0]) && !has_version(&words[1]);
    if words.len() < 2 || is_one || !words.iter().all(is_package) || words.iter().any(joins) {
        return None;
    }
    let lines: Vec<String> = words.iter().take(PROPOSED).map(|word| format!("`- {word}`")).collect();
    let more = if words.len() > PROPOSED { ", …" } else { "" };
    Some(format!("write one package on a line: {}{more}", lines.join(", ")))
}

/// The first of the likely readings that is a spec.
fn meant(text: &str, is_spec: &dyn Fn(&str) -> bool) -> Option<String> {
    let plain = typed(text);
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
        unwrapped(&plain),
        build(&plain),
        plain.replace("..", "."),
        plain.to_lowercase(),
    ];
    readings.into_iter().find(|reading| reading != text && is_named(reading) && is_spec(reading))
}

/// Whether a text begins as a package's name does, or as a channel's, and does not end with an operator.
fn is_named(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '/')) && !text.ends_with('=')
}

/// The text without what only looks like what can be typed: quotation marks, dashes and signs of printed text.
fn typed(text: &str) -> String {
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

/// `^1.2.3` as npm and Poetry mean it: up to the next number that is not zero.
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

/// `=1.2+` as those mean it who write it.
fn at_least(text: &str) -> String {
    match text.strip_suffix('+').and_then(|text| text.split_once('=')) {
        Some((name, version)) => format!("{name}>={}", version.trim_start_matches('=')),
        None => text.to_owned(),
    }
}

/// An operator of one character where conda has one of two.
fn operator(text: &str, short: char, long: &str) -> String {
    match text.split_once(short) {
        Some((name, version)) if !version.starts_with('=') => format!("{name}{long}{version}"),
        _ => text.to_owned(),
    }
}

/// `numpy(>=1.2)` without its parentheses.
fn unwrapped(text: &str) -> String {
    text.replacen('(', " ", 1).trim_end().trim_end_matches(')').to_owned()
}

/// `numpy==1.2==py39_0` and its like, with the build behind one `=`.
fn build(text: &str) -> String {
    let parts: Vec<&str> = text.split('=').map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.join("=")
}
