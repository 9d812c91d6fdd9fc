//! Escapes text from outside before it is printed. Names, paths, lines of files and output of scripts can contain
//! control characters, which a terminal obeys, and marks that change the direction of writing. They are printed as
//! numbers, so that no package can hide or forge a line. [`crate::ui::Ui`] escapes everything once.

use std::borrow::Cow;

/// Whether a character controls a terminal or the direction of writing, or is invisible.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, is_kept: fn(char) -> bool) -> Cow<'_, str> {
    let is_bad = |c: char| is_hidden(c) && !is_kept(c);
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// A text with lines: line breaks and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// A text that must be one line: a name, a path, a row of a table.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// JSON with the same values, and characters escaped as JSON does.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_hidden(c) && c != '\n';
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// A message: further lines are indented, so that quoted text cannot look like another message.
pub(crate) fn words(text: &str) -> String {
    moved_in(text, |line| !line.starts_with([' ', '\t']))
}

/// An error, a warning or a hint, which can quote lines of a file: no further line looks like another message.
pub(crate) fn message(text: &str) -> String {
    moved_in(text, |line| ["error:", "warning:", "hint:"].iter().any(|title| line.starts_with(title)))
}

fn moved_in(text: &str, is_moved: fn(&str) -> bool) -> String {
    let mut moved = String::with_capacity(text.len());
    for (number, line) in lines(text).split('\n').enumerate() {
        let start = match number {
            0 => "",
            _ if !line.is_empty() && is_moved(line) => "\n  ",
            _ => "\n",
        };
        moved.push_str(start);
        moved.push_str(line);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_by_its_number() {
        let hostile = "a\u{1b}[2Jb\u{9b}c\rd\u{202e}e\u{7}";
        assert_eq!(lines(hostile), r"a\u{1b}[2Jb\u{9b}c\rd\u{202e}e\u{7}");
        assert_eq!(lines("two\nlines\tof ← them"), "two\nlines\tof ← them");
        assert_eq!(line("two\nlines"), r"two\nlines");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({"name": "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}b"});
        let text = serde_json::to_string(&value).unwrap();
        let plain = json(&text);
        assert!(plain.is_ascii(), "{plain}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
    }

    #[test]
    fn what_is_quoted_in_a_message_forges_no_other() {
        assert_eq!(words("`x` says: a\nLinked b\n  c"), "`x` says: a\n  Linked b\n  c");
        assert_eq!(message("`x\nerror: y` is bad\n  because: z"), "`x\n  error: y` is bad\n  because: z");
    }
}
