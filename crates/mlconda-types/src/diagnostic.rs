//! Diagnostics: a message about a location in a file, with the marked line and a help text. All errors of an
//! `environment.yml` are reported in this form.

use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A location in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1. It is 0 if there is no file, but only a name in its place, as for match specs of a command line.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// The longest line that is shown whole, in characters.
const MAX_WIDTH: usize = 120;

/// A message about a location in a file, and what to do about it. `Display` writes several lines:
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
    /// Where the problem begins.
    pub location: Location,
    /// The length of the marked text, in characters. At least one character is marked.
    pub length: usize,
    /// The line, without its line break.
    pub line: String,
    /// The message: a fragment in lower case without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Location { line: number, column } = self.location;
        let number = if number == 0 { String::new() } else { number.to_string() };
        let margin = " ".repeat(number.len());
        let (line, indent) = excerpt(&self.line, column);
        // The mark ends with the line: a value may span several lines, or be cut off.
        let room = line.chars().count().saturating_sub(indent.chars().count());
        let mark = "^".repeat(self.length.min(room).max(1));
        let place = if number.is_empty() { String::new() } else { format!(":{number}:{column}") };
        writeln!(f, "{}{place}: {}", self.file.display(), visible(&self.message))?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {line}")?;
        writeln!(f, "{margin} | {indent}{mark}")?;
        write!(f, "{margin} = help: {}", visible(&self.help))
    }
}

/// Whether a character is invisible or controls the terminal.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Escapes invisible characters, so that the contents of a file cannot control the terminal.
fn visible(text: &str) -> String {
    let escaped = |c: char| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// The part of a line to show, and the indentation of the mark. If the line is shown whole, tabs stay tabs in both.
fn excerpt(line: &str, column: usize) -> (String, String) {
    let characters: Vec<char> = line.chars().map(|c| if is_invisible(c) && c != '\t' { ' ' } else { c }).collect();
    let before = column.saturating_sub(1).min(characters.len());
    if characters.len() <= MAX_WIDTH {
        let indent = characters[..before].iter().map(|&c| if c == '\t' { '\t' } else { ' ' }).collect();
        return (characters.into_iter().collect(), indent);
    }
    let start = before.saturating_sub(MAX_WIDTH / 3);
    let end = (start + MAX_WIDTH).min(characters.len());
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

/// A location in a file together with its line, for errors that are found after the text of the file was dropped.
/// Excerpts of one line share its text, because a file may consist of one long line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, as messages name it.
    pub file: Arc<Path>,
    /// Where the excerpt begins.
    pub location: Location,
    /// The length of the excerpt, in characters.
    pub length: usize,
    /// The line, without its line break.
    pub line: Arc<str>,
}

impl Excerpt {
    /// A diagnostic about the excerpt.
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

/// The text of a file, and the file's name.
#[derive(Clone, Copy, Debug)]
pub struct SourceText<'a> {
    /// The file, for messages.
    pub file: &'a Path,
    /// The whole text, with `\n` as its only line break.
    pub text: &'a str,
    /// Its lines.
    pub lines: &'a [&'a str],
}

impl<'a> SourceText<'a> {
    /// The line with this number from 1; empty beyond the end.
    pub fn line(&self, number: usize) -> &'a str {
        self.lines.get(number.saturating_sub(1)).copied().unwrap_or("")
    }

    /// A diagnostic about `length` characters at a location.
    pub fn diagnostic(
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
