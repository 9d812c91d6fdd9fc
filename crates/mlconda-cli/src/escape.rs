//! Text of strangers, as it may be shown: names, paths, lines of files and the output of scripts can hold control characters,
//! which a terminal would obey, and marks that turn the direction of writing. All of them are shown as their numbers, so
//! that nobody's package can hide or forge a line. What is shown passes here once, in [`super::Ui`].

use std::borrow::Cow;

/// Whether a character steers a terminal or the direction of writing, or is not to be seen at all.
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

/// A text of lines: its ends of lines and its tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// A text that is promised to be one line: a name, a path, a row of a table.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// JSON with the same values: characters stand as JSON writes them by their numbers.
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

/// Words of ours: only their first line begins at the margin, so that nothing that is quoted in them looks like a line of its own.
pub(crate) fn words(text: &str) -> String {
    moved_in(text, |line| !line.starts_with([' ', '\t']))
}

/// An error, a warning or a hint, which may draw lines of a file: of its further lines, none looks like a message of its own.
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
