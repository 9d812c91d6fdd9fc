//! An export as YAML: text that every reader of environment.yml files takes for the strings that were meant, those of
//! YAML 1.1 (in which `no` is a boolean) too.

use std::fmt::Write;

use super::Export;

/// The file's text.
pub(super) fn render(export: &Export) -> String {
    let Export { name, channels, dependencies, pip, variables } = export;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |indent: &str, content: &str| _ = writeln!(text, "{indent}{content}");
    if let Some(name) = name {
        line("", &format!("name: {}", scalar(name)));
    }
    let empty = |list: &[String]| if list.is_empty() { " []" } else { "" };
    line("", &format!("channels:{}", empty(channels)));
    channels.iter().for_each(|channel| line("  - ", &scalar(channel)));
    line("", &format!("dependencies:{}", if pip.is_empty() { empty(dependencies) } else { "" }));
    dependencies.iter().for_each(|spec| line("  - ", &scalar(spec)));
    if !pip.is_empty() {
        line("  - ", "pip:");
        pip.iter().for_each(|requirement| line("      - ", &scalar(requirement)));
    }
    if !variables.is_empty() {
        line("", "variables:");
        variables.iter().for_each(|(name, value)| line("  ", &format!("{}: {}", scalar(name), scalar(value))));
    }
    text
}

/// A string as it is where no reader can misunderstand it, else in quotes.
pub(crate) fn scalar(text: &str) -> String {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else if text.chars().any(is_unseen) {
        // A string of JSON is one of YAML, and so is one with more of its characters by number.
        let quoted = serde_json::Value::from(text).to_string();
        let shown = |c: char| if is_unseen(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        quoted.chars().map(shown).collect()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Whether a character steers a terminal, or turns the direction of writing: a file should show what is in it.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
