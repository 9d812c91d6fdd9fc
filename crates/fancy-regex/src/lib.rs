//! Regular expressions of match specs, in little code.
//!
//! `rattler_conda_types` matches build strings and names by the crate `fancy-regex`, whose engines are a twentieth of the
//! program. This crate takes its place by a patch in the workspace's `Cargo.toml`: it has the same names, as far as they are
//! used, on top of `regex-lite`. Names and build strings are ASCII, so its lack of Unicode classes is not seen. Of
//! lookaround, which `regex-lite` does not have, it knows lookaheads at the beginning of an anchored expression, as
//! `^(?!.*cpu)` and `^(?=.*cuda)`. Any other lookaround is an error, as is a reference to a group.

use std::fmt::{self, Display, Formatter};

use regex_lite::Regex as Plain;

/// An expression.
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: String,
    /// What the beginning is to match, or is not to match.
    ahead: Vec<(bool, Plain)>,
    rest: Plain,
}

/// An expression that is none, or uses what is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Regex {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it is none, or has lookaround elsewhere than at its anchored beginning, or references to groups.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let read = |text: &str| Plain::new(text).map_err(|error| Error(error.to_string()));
        let (flags, mut rest) = flags(pattern);
        let mut ahead = Vec::new();
        if let Some(mut behind) = rest.strip_prefix('^').filter(|_| !flags.contains('m')) {
            while let Some((is_wanted, inner, after)) = lookahead(behind) {
                ahead.push((is_wanted, read(&format!("{flags}^(?:{inner})"))?));
                behind = after;
            }
            // `^a|b` is not anchored as a whole.
            if ahead.is_empty() || has_choice(behind) {
                ahead.clear();
            } else {
                rest = behind;
            }
        }
        let rest = match ahead.is_empty() {
            true => read(pattern)?,
            false => read(&format!("{flags}^(?:{rest})"))?,
        };
        Ok(Self { pattern: pattern.to_owned(), ahead, rest })
    }

    /// Whether a text matches somewhere.
    ///
    /// # Errors
    /// None; the crate that this one stands in for may give up.
    pub fn is_match(&self, text: &str) -> Result<bool, Error> {
        let is_as_wanted = |(is_wanted, regex): &(bool, Plain)| regex.is_match(text) == *is_wanted;
        Ok(self.ahead.iter().all(is_as_wanted) && self.rest.is_match(text))
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// The flags at the beginning, as `(?i)`, and what is behind them.
fn flags(pattern: &str) -> (&str, &str) {
    let end = pattern.strip_prefix("(?").and_then(|inner| {
        let end = inner.find(|each: char| !each.is_ascii_alphabetic())?;
        inner[end..].starts_with(')').then_some(end + 3)
    });
    pattern.split_at(end.unwrap_or(0))
}

/// A lookahead at the beginning: whether it is wanted, what is in it, and what is behind it.
fn lookahead(pattern: &str) -> Option<(bool, &str, &str)> {
    let inner = pattern.strip_prefix("(?=").map(|inner| (true, inner));
    let (is_wanted, inner) = inner.or_else(|| pattern.strip_prefix("(?!").map(|inner| (false, inner)))?;
    let end = outside(inner).find(|(_, each, depth)| *each == ')' && *depth == 0)?.0;
    Some((is_wanted, &inner[..end], &inner[end + 1..]))
}

/// Whether there is a choice outside of all groups.
fn has_choice(pattern: &str) -> bool {
    outside(pattern).any(|(_, each, depth)| each == '|' && depth == 0)
}

/// The characters with their places and the depth of groups that they are in, but for escaped ones and those of classes.
fn outside(pattern: &str) -> impl Iterator<Item = (usize, char, usize)> {
    let (mut depth, mut is_escaped, mut is_class) = (0_usize, false, false);
    pattern.char_indices().filter_map(move |(place, each)| {
        if std::mem::take(&mut is_escaped) {
            return None;
        }
        match each {
            '\\' => is_escaped = true,
            '[' => is_class = true,
            ']' => is_class = false,
            _ if is_class => {}
            '(' => depth += 1,
            ')' => {
                let found = (place, each, depth);
                depth = depth.saturating_sub(1);
                return Some(found);
            }
            _ => return Some((place, each, depth)),
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_and_names_are_matched() {
        let cases = [
            ("(?i)^py.*$", "PY311_0", true),
            ("(?i)^.*(cuda|gpu).*$", "py311_cuda118", true),
            ("(?i)^.*(cuda|gpu).*$", "py311_cpu", false),
            ("^a|b", "xb", true),
            ("(?i)^(?!.*cpu).*$", "py311_CUDA118", true),
            ("(?i)^(?!.*cpu).*$", "py311_CPU_0", false),
            ("^(?=.*cuda)(?!.*(11|\\)))py.*$", "py311", false),
            ("^(?=.*cuda)(?!.*(11|[)]))py.*$", "py_cuda12", true),
            ("^(?!x)(a|b)", "b", true),
            ("^(?!x)(a|b)", "xb", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Regex::new(pattern).unwrap().is_match(text), Ok(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_expression_or_not_known_is_refused() {
        // Of a choice behind a lookahead, the anchor belongs to its first half only.
        for pattern in ["^(?!x)a|b", "(", "[a", "*a", "(?<=x)y", "^x(?!y)$", r"(a)\1"] {
            assert!(Regex::new(pattern).is_err(), "{pattern}");
        }
        assert_eq!(Regex::new("^a$").unwrap().as_str(), "^a$");
    }
}
