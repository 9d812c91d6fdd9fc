//! A complaint about a place in a file: what is wrong, the line itself with the place marked, and what to do about it.
//! Whatever refuses an `environment.yml` refuses it with one of these, so that no message lacks its place or its remedy.

use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A place in a file: line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// The widest line that is shown whole, in characters.
const WIDEST: usize = 120;

/// What is wrong, where, and what to do about it. Printed as it stands, on several lines:
///
/// ```text
/// environment.yml:5:5: a comma is missing between the two version constraints
///   |
/// 5 |   - python >=3.8 <3.12
///   |     ^^^^^^^^^^^^^^^^^^
///   = help: write `python >=3.8,<3.12`
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named by the caller.
    pub file: PathBuf,
    /// Where the mistake begins.
    pub location: Location,
    /// How many characters it takes up; at least one is marked.
    pub length: usize,
    /// The line, without its line break.
    pub line: String,
    /// What is wrong: a fragment that begins in lower case and has no full stop.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Location { line: number, column } = self.location;
        let margin = " ".repeat(number.to_string().len());
        let (line, indent) = excerpt(&self.line, column);
        // The mark ends with the line: a value may go on for several lines, or be longer than what is shown of it.
        let room = line.chars().count().saturating_sub(indent.chars().count());
        let mark = "^".repeat(self.length.min(room).max(1));
        writeln!(f, "{}:{number}:{column}: {}", self.file.display(), visible(&self.message))?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {line}")?;
        writeln!(f, "{margin} | {indent}{mark}")?;
        write!(f, "{margin} = help: {}", visible(&self.help))
    }
}

/// Whether a character does something to a terminal, or cannot be seen.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text with what is not seen in it written out: what a file says must not reach the terminal as a command.
fn visible(text: &str) -> String {
    let escaped = |c: char| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// The part of a line to show, and what to put in front of the mark. Tabs are kept in front of it, so that the mark
/// stands where the terminal puts the text.
fn excerpt(line: &str, column: usize) -> (String, String) {
    let characters: Vec<char> = line.chars().map(|c| if is_invisible(c) && c != '\t' { ' ' } else { c }).collect();
    let before = column.saturating_sub(1).min(characters.len());
    if characters.len() <= WIDEST {
        let indent = characters[..before].iter().map(|&c| if c == '\t' { '\t' } else { ' ' }).collect();
        return (characters.into_iter().collect(), indent);
    }
    let start = before.saturating_sub(WIDEST / 3);
    let end = (start + WIDEST).min(characters.len());
    let mut shown = String::new();
    let mut indent = " ".repeat(before - start);
    if start > 0 {
        shown.push('…');
        indent.push(' ');
    }
    shown.extend(&characters[start..end]);
    if end < characters.len() {
        shown.push('…');
    }
    (shown, indent)
}

/// A place in a file with its line, for what is found wrong when the file is no longer at hand. Places on one line share
/// its text: a file may be one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub(crate) file: Arc<Path>,
    pub(crate) location: Location,
    pub(crate) length: usize,
    pub(crate) line: Arc<str>,
}

impl Excerpt {
    /// A complaint about the place, and its remedy.
    pub fn diagnostic(&self, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        Diagnostic {
            file: self.file.to_path_buf(),
            location: self.location,
            length: self.length,
            line: self.line.to_string(),
            message: message.into(),
            help: help.into(),
        }
    }
}

/// The text of a file with its name: what makes diagnostics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The file, for messages.
    pub(crate) file: &'a Path,
    /// The whole text, with `\n` as its only line break.
    pub(crate) text: &'a str,
    /// Its lines.
    pub(crate) lines: &'a [&'a str],
}

impl<'a> Source<'a> {
    /// A line by its number from 1; empty beyond the end.
    pub(crate) fn line(&self, number: usize) -> &'a str {
        self.lines.get(number.saturating_sub(1)).copied().unwrap_or("")
    }

    /// A complaint about `length` characters at a place.
    pub(crate) fn diagnostic(
        &self,
        location: Location,
        length: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            file: self.file.to_owned(),
            location,
            length,
            line: self.line(location.line).to_owned(),
            message: message.into(),
            help: help.into(),
        })
    }
}
