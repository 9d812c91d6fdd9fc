//! Parses licences of packages: an SPDX expression (ISO/IEC 5962, annex D), or other text.
//!
//! The identifiers are those of version 3.28 of the SPDX list, which the schema of CycloneDX allows. They are in two
//! small files, a tenth of the size of a crate with the list.

use mlconda_types::dependency::is_within_limits;

/// The version of the list of licences.
pub(super) const LIST: &str = "3.28";

const LICENCES: &str = include_str!("licences.txt");
const EXCEPTIONS: &str = include_str!("exceptions.txt");

/// The licence of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Licence {
    /// One licence of the SPDX list, in its spelling.
    Id(String),
    /// An expression of such licences, and of references to others.
    Expression {
        /// In canonical spelling.
        text: String,
        /// The licences in it that are not in the list: `LicenseRef-…`.
        references: Vec<String>,
    },
    /// Text that is not a valid expression, as written.
    Name(String),
}

impl Licence {
    /// Parses the licence of a package; `None` if it is empty.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if ["", "none", "unknown", "noassertion", "null"].contains(&text.to_lowercase().as_str()) {
            return None;
        }
        let mut parser = Parser { tokens: tokens(text), written: Vec::new(), references: Vec::new() };
        if !is_within_limits(text) || !parser.expression() || !parser.tokens.is_empty() {
            return Some(Self::Name(text.to_owned()));
        }
        let Parser { written, references, .. } = parser;
        Some(match written.as_slice() {
            [id] if listed(LICENCES, id).is_some() => Self::Id(id.clone()),
            _ => Self::Expression { text: written.join(" ").replace("( ", "(").replace(" )", ")"), references },
        })
    }
}

/// Words and parentheses, in reverse order.
fn tokens(text: &str) -> Vec<String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().rev().map(str::to_owned).collect()
}

/// The spelling of the list. Case is ignored in the identifier of a licence.
fn listed(list: &'static str, id: &str) -> Option<&'static str> {
    list.lines().find(|known| known.eq_ignore_ascii_case(id))
}

/// Parses an expression, word by word.
struct Parser {
    tokens: Vec<String>,
    /// The text so far, in canonical spelling.
    written: Vec<String>,
    references: Vec<String>,
}

impl Parser {
    /// Parses `licence [WITH exception]` or `( expression )`, several of them joined by `AND` and `OR`. The precedence
    /// does not matter, because it does not change the text.
    fn expression(&mut self) -> bool {
        loop {
            if !self.operand() {
                return false;
            }
            if !(self.takes("AND") || self.takes("OR")) {
                return true;
            }
        }
    }

    fn operand(&mut self) -> bool {
        if self.takes("(") {
            return self.expression() && self.takes(")");
        }
        let Some(word) = self.tokens.pop() else { return false };
        if !self.licence(&word) {
            return false;
        }
        if !self.takes("WITH") {
            return true;
        }
        let exception = self.tokens.pop().and_then(|word| listed(EXCEPTIONS, &word));
        self.written.extend(exception.map(str::to_owned));
        exception.is_some()
    }

    /// Consumes the next word if it is this one.
    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.tokens.last().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if is_next {
            self.tokens.pop();
            self.written.push(word.to_owned());
        }
        is_next
    }

    fn licence(&mut self, word: &str) -> bool {
        if let Some(name) = word.strip_prefix("LicenseRef-") {
            let is_reference = !name.is_empty() && name.chars().all(is_of_reference);
            if is_reference && !self.references.iter().any(|known| known == word) {
                self.references.push(word.to_owned());
            }
            self.written.push(word.to_owned());
            return is_reference;
        }
        // A plus means "or any later version".
        let (id, plus) = word.strip_suffix('+').map_or((word, ""), |id| (id, "+"));
        let known = listed(LICENCES, word).map(str::to_owned);
        let known = known.or_else(|| listed(LICENCES, id).map(|id| format!("{id}{plus}")));
        let is_known = known.is_some();
        self.written.extend(known);
        is_known
    }
}

/// Whether a character is allowed in the name of a `LicenseRef-`.
pub(super) fn is_of_reference(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_told_apart() {
        let read = |text: &str| match Licence::read(text) {
            None => "nothing".to_owned(),
            Some(Licence::Id(id)) => format!("id {id}"),
            Some(Licence::Expression { text, references }) => format!("expression {text} {references:?}"),
            Some(Licence::Name(name)) => format!("name {name}"),
        };
        for (text, expected) in [
            ("MIT", "id MIT"),
            ("bsd-3-clause", "id BSD-3-Clause"),
            ("GPL-2.0+", "id GPL-2.0+"),
            ("MIT and (Apache-2.0  or ISC)", "expression MIT AND (Apache-2.0 OR ISC) []"),
            ("GPL-3.0-only WITH GCC-exception-3.1", "expression GPL-3.0-only WITH GCC-exception-3.1 []"),
            ("MPL-1.1+", "expression MPL-1.1+ []"),
            ("LicenseRef-Public-Domain", "expression LicenseRef-Public-Domain [\"LicenseRef-Public-Domain\"]"),
            (
                "MIT OR LicenseRef-a OR LicenseRef-a",
                "expression MIT OR LicenseRef-a OR LicenseRef-a [\"LicenseRef-a\"]",
            ),
            ("BSD 3-Clause", "name BSD 3-Clause"),
            ("MIT/X11", "name MIT/X11"),
            ("MIT AND", "name MIT AND"),
            ("(MIT", "name (MIT"),
            ("MIT)", "name MIT)"),
            ("MIT WITH Apache-2.0", "name MIT WITH Apache-2.0"),
            ("LicenseRef-", "name LicenseRef-"),
            (" UNKNOWN ", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn no_stack_is_deep_enough_for_all_that_packages_say() {
        let deep = "(".repeat(1 << 20);
        assert_eq!(Licence::read(&deep), Some(Licence::Name(deep)));
    }

    #[test]
    fn the_lists_are_sorted_identifiers() {
        for list in [LICENCES, EXCEPTIONS] {
            let lines: Vec<&str> = list.lines().collect();
            assert!(lines.is_sorted() && lines.iter().all(|line| line.chars().all(|c| is_of_reference(c) || c == '+')));
        }
        assert!(LICENCES.lines().count() > 700 && EXCEPTIONS.lines().count() > 80);
    }
}
