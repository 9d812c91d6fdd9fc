//! Parses the version of a match spec and the build string after it. Warns about versions that do not mean what they
//! seem to mean.

use std::str::FromStr;

use rattler_conda_types::{ParseStrictness, StringMatcher, VersionSpec};

use super::lacks_comma;
use crate::{channel::SpecError, suggestion::SPEC_HELP};

#[derive(Default)]
pub(super) struct Constraint {
    pub(super) version: Option<VersionSpec>,
    pub(super) build: Option<StringMatcher>,
    pub(super) remark: Option<String>,
}

/// Parses the text after the name: a version, and perhaps a build string.
pub(super) fn constraint(text: &str, tail: &str) -> Result<Constraint, SpecError> {
    let invalid = |reason: String| SpecError::new(format!("`{text}` is not a match spec: {reason}"), SPEC_HELP);
    // conda reads `numpy=` as `numpy`.
    if tail.is_empty() || tail == "=" {
        return Ok(Constraint::default());
    }
    let (written, build) = split_build(tail);
    if let Some(version) = repaired(written) {
        return Err(lacks_comma(text, &text.replacen(written.trim(), &version, 1)));
    }
    let compact: String = written.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.ends_with(['=', '<', '>', '!', '~', ',', '|']) {
        return Err(invalid(format!("no version follows `{compact}`")));
    }
    let (compact, swapped) = swapped(text, compact);
    let version =
        VersionSpec::from_str(&without_stars(&legacy(&compact, build)), ParseStrictness::Lenient).map_err(|error| {
            match error.to_string().as_str() {
                // The parser has no message for this case.
                "Eof" | "" => invalid(format!("`{}` is not a version", written.trim())),
                reason => invalid(format!("`{}` is not a version: {reason}", written.trim())),
            }
        })?;
    let build = match build {
        Some(build) if build.contains(char::is_whitespace) => {
            return Err(invalid(format!("`{build}` is not a build string: it has a space in it")));
        }
        Some(build) => Some(StringMatcher::from_str(build).map_err(|error| invalid(error.to_string()))?),
        None => None,
    };
    let remark = swapped
        .or_else(|| alternatives(text, tail, &compact))
        .or_else(|| comma_for_point(text, &compact))
        .or_else(|| letter_for_star(text, &compact));
    Ok(Constraint { version: Some(version), build, remark })
}

/// Splits a version from a build string as conda does: at the first space or `=` that is not part of an operator,
/// unless what follows is part of the version.
fn split_build(tail: &str) -> (&str, Option<&str>) {
    let mut before = None;
    for (offset, c) in tail.char_indices() {
        let splits = matches!(c, ' ' | '=') && before.is_some_and(|b| !"=!|,<>~".contains(b));
        let build = &tail[offset + c.len_utf8()..];
        if splits && !build.trim().is_empty() && !build.contains(['-', '=', ',', '|', '<', '>', '~']) {
            return (&tail[..offset], Some(build.trim()));
        }
        // `numpy =  1.26`: spaces may follow an operator.
        if !c.is_whitespace() || before.is_some_and(|b| !"=!|,<>~".contains(b)) {
            before = Some(c);
        }
    }
    (tail, None)
}

/// Adds missing commas to a version, if that makes it valid. The text after a second `=` is a build string, and words
/// side by side are not versions.
pub(super) fn repaired(version: &str) -> Option<String> {
    let words: Vec<&str> = version.split_whitespace().collect();
    let ends = |word: &str| word.ends_with(|c: char| c.is_alphanumeric() || c == '*');
    if words.windows(2).any(|pair| ends(pair[0]) && pair[1].starts_with(char::is_alphanumeric)) {
        return None;
    }
    let mut whole = String::new();
    let mut added = 0;
    let mut characters = version.chars().filter(|c| !c.is_whitespace()).peekable();
    while let Some(c) = characters.next() {
        let is_operator = "<>=~".contains(c) || c == '!' && characters.peek() == Some(&'=');
        let begins = is_operator && whole.chars().next_back().is_some_and(|b| !"<>=!~,|(".contains(b));
        if begins && c == '=' && !whole.starts_with(['<', '>', '!', '~']) {
            return None;
        }
        if begins {
            whole.push(',');
            added += 1;
        }
        whole.push(c);
    }
    (added > 0 && VersionSpec::from_str(&whole, ParseStrictness::Lenient).is_ok()).then_some(whole)
}

/// conda's meaning of a leading `=`: `=1.2` is `1.2.*`, `=1.2=build` is exactly 1.2, `==1.2` is `1.2`.
fn legacy(version: &str, build: Option<&str>) -> String {
    let Some(fuzzy) = version.strip_prefix('=') else { return version.to_owned() };
    if let (Some(exact), None) = (fuzzy.strip_prefix('='), build) {
        return exact.to_owned();
    }
    if fuzzy.contains(['=', ',', '|']) {
        return version.to_owned();
    }
    if build.is_some() || fuzzy.ends_with('*') { fuzzy.to_owned() } else { format!("{fuzzy}*") }
}

/// Rewrites `==1.2.*` to `1.2.*` (CEP-29), which the parser would read as `==1.2`; and `>1.2.*` to `>1.2`, because
/// conda ignores a star after a comparison, and the parser would read `>=1.2`.
fn without_stars(version: &str) -> String {
    let plain = |clause: &str| match (clause.strip_prefix("=="), clause.strip_suffix(".*")) {
        (Some(fuzzy), _) if fuzzy.ends_with('*') => fuzzy.to_owned(),
        (_, Some(plain)) if plain.starts_with('>') && !plain.starts_with(">=") => plain.to_owned(),
        _ => clause.to_owned(),
    };
    let alternatives = version.split('|').map(|all| all.split(',').map(plain).collect::<Vec<_>>().join(","));
    alternatives.collect::<Vec<_>>().join("|")
}

/// Swaps the operators `=>` and `=<`; conda reads them in this way, too.
fn swapped(text: &str, version: String) -> (String, Option<String>) {
    let operator = ["=>", "=<"].into_iter().find(|operator| version.starts_with(operator));
    let Some((operator, rest)) = operator.and_then(|operator| Some((operator, version.strip_prefix(operator)?))) else {
        return (version, None);
    };
    let right = if operator == "=>" { ">=" } else { "<=" };
    (format!("{right}{rest}"), Some(format!("`{operator}` in `{text}` is read as `{right}`")))
}

/// A warning about `=3.8|3.9`, which means "3.8.* or exactly 3.9".
fn alternatives(text: &str, tail: &str, version: &str) -> Option<String> {
    if !version.contains('|') || version.contains('(') {
        return None;
    }
    let is_short =
        |v: &str| v.starts_with(|c: char| c.is_ascii_digit()) && !v.contains('*') && v.matches('.').count() < 2;
    let parts: Vec<&str> = version.split('|').collect();
    let exact = parts.iter().find(|part| is_short(part))?;
    let fuzzy = |part: &&str| {
        let bare = part.trim_start_matches('=');
        if is_short(bare) { format!("{bare}.*") } else { (*part).to_owned() }
    };
    let meant = parts.iter().map(fuzzy).collect::<Vec<_>>().join("|");
    let head = text.strip_suffix(tail).unwrap_or(text).trim_end();
    Some(format!("`{exact}` in `{text}` means exactly {exact}; if any {exact} will do, write `{head} {meant}`"))
}

/// A warning about `=1,26`, which means "1.* and exactly 26", so it has no matches.
fn comma_for_point(text: &str, version: &str) -> Option<String> {
    let (first, second) = version.trim_start_matches('=').split_once(',')?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(first) && is_number(second)).then(|| {
        let meant = text.replacen(&format!("{first},{second}"), &format!("{first}.{second}"), 1);
        format!("`{first},{second}` in `{text}` means {first} and {second} at once; is `{meant}` meant?")
    })
}

/// A warning about `=3.x`, which is meant as `=3.*`.
fn letter_for_star(text: &str, version: &str) -> Option<String> {
    let version = version.trim_start_matches('=');
    let letter = version.chars().next_back().filter(|letter| matches!(letter, 'x' | 'X'))?;
    let numbers = version.strip_suffix(letter)?.strip_suffix('.')?;
    numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then(|| {
        let meant = text.replacen(&format!("{numbers}.{letter}"), &format!("{numbers}.*"), 1);
        format!("the `{letter}` in `{text}` is a letter like any other; if any number will do there, write `{meant}`")
    })
}
