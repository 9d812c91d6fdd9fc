//! Counts, sizes, ages, lists and paths in messages.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serializer;

use crate::escape;

/// A count with its noun: `1 package`, `30,400 files`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// A number with separators of thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A help text for the features of this program: a line that begins with `{FEATURE}` is left out if the feature is
/// missing.
pub(crate) fn help(text: &str) -> String {
    let is_there = |feature: &str| match feature {
        "bundle" => cfg!(feature = "bundle"),
        "conda" => cfg!(feature = "conda"),
        "formats" => cfg!(feature = "formats"),
        _ => cfg!(feature = "lock"),
    };
    let line = |line: &'_ str| match line.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((feature, rest)) => is_there(feature).then(|| rest.to_owned()),
        None => Some(line.to_owned()),
    };
    text.lines().filter_map(line).collect::<Vec<String>>().join("\n")
}

/// Text in lines of at most `width` characters, broken between words. Further lines are indented by `indent`; the
/// caller prints as many characters before the first line.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let (mut lines, mut used) = (String::new(), indent);
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > indent && used + 1 + length > width {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if used > indent {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

/// A size in the largest fitting unit.
pub(crate) fn bytes(size: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| size >= *unit) {
        Some((name, unit)) => {
            let tenths = size.saturating_mul(10) / unit;
            if tenths >= 1000 {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            }
        }
        None => count(usize::try_from(size).unwrap_or(usize::MAX), "byte"),
    }
}

/// An age in the largest fitting unit; `None` is a time in the future.
pub(crate) fn ago(age: Option<Duration>) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let Some(age) = age else { return "a time in the future, by this machine's clock".to_owned() };
    let seconds = age.as_secs();
    match UNITS.into_iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => format!("{} ago", count(usize::try_from(seconds / unit).unwrap_or(usize::MAX), name)),
        None => "just now".to_owned(),
    }
}

/// A path as text for JSON; bytes that are not UTF-8 are replaced.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The same, for a field.
pub(crate) fn path_field<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The same, for an optional field.
pub(crate) fn optional_path_field<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => path_field(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// A word of a command that is shown: with quotes if a shell needs them.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"/._-+,:=@%".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The same, for a path.
pub(crate) fn path_word(path: &Path) -> String {
    word(&path.to_string_lossy())
}

/// Names in backticks: `a`, `b` and `c`.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    enumerate(&names.iter().map(|name| format!("`{}`", escape::line(name.as_ref()))).collect::<Vec<_>>())
}

/// The file of an option `-o`; none if it is not given, or if it is `-`, which is stdout.
pub(crate) fn file_of(output: Option<&PathBuf>) -> Option<&Path> {
    output.map(PathBuf::as_path).filter(|output| output.as_os_str() != "-")
}

/// Phrases in a list: `a`, `a and b`, `a, b and c`.
pub(crate) fn enumerate(phrases: &[String]) -> String {
    match phrases {
        [] => String::new(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_prose() {
        assert_eq!([count(1, "file"), count(30_400, "file")], ["1 file", "30,400 files"]);
        assert_eq!(
            [bytes(1), bytes(999), bytes(1_500), bytes(805_000_000)],
            ["1 byte", "999 bytes", "1.5 kB", "805 MB"]
        );
        let aged = |seconds| ago(Some(Duration::from_secs(seconds)));
        assert_eq!(
            [aged(0), aged(1), aged(3_599), aged(7_300), aged(3 * 86_400 + 5), ago(None)],
            [
                "just now",
                "1 second ago",
                "59 minutes ago",
                "2 hours ago",
                "3 days ago",
                "a time in the future, by this machine's clock"
            ]
        );
        assert_eq!([list(&["a"]), list(&["a", "b", "c"])], ["`a`", "`a`, `b` and `c`"]);
    }
}
