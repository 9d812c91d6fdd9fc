//! Parses `.dockerignore` files, which name files of a directory that are not copied into an image. The rules are
//! Docker's: patterns of Go's `filepath.Match`, and also `**`. The last pattern that matches decides, and a pattern
//! with `!` is an exception.

use std::path::Path;

/// The patterns of a `.dockerignore`, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: Vec<char>,
    /// Whether the pattern is an exception (`!`).
    is_exception: bool,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self(lines.filter_map(Pattern::parse).collect())
    }

    /// Whether a path or a directory above it is left out. The path is relative to the directory of the file.
    pub(crate) fn is_ignored(&self, path: &Path) -> bool {
        let paths: Vec<Vec<char>> = path
            .ancestors()
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| path.to_string_lossy().chars().collect())
            .collect();
        let mut is_ignored = false;
        for pattern in &self.0 {
            if is_ignored == pattern.is_exception && paths.iter().any(|path| matches(&pattern.text, path)) {
                is_ignored = !pattern.is_exception;
            }
        }
        is_ignored
    }

    /// Whether an exception may match something below an ignored directory.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.is_exception)
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let (is_exception, line) = match line.strip_prefix('!') {
            Some(line) => (true, line.trim()),
            None => (false, line),
        };
        // Normalizes the path like Go's `filepath.Clean`.
        let mut parts: Vec<&str> = Vec::new();
        for part in line.split('/') {
            match part {
                "" | "." => {}
                ".." => _ = parts.pop(),
                part => parts.push(part),
            }
        }
        let text: Vec<char> = parts.join("/").chars().collect();
        (!text.is_empty()).then_some(Self { text, is_exception })
    }
}

/// Whether a pattern matches a whole path.
fn matches(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', rest @ ..] => {
            // `**/` matches any number of directories, also none.
            let below = rest.strip_prefix(&['/'][..]).unwrap_or(rest);
            let is_directory = below.len() < rest.len();
            (0..=path.len()).any(|at| {
                let is_border = at == 0 || !is_directory || path[at - 1] == '/';
                is_border && matches(below, &path[at..])
            })
        }
        ['*', rest @ ..] => {
            let end = path.iter().position(|one| *one == '/').unwrap_or(path.len());
            (0..=end).any(|at| matches(rest, &path[at..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|one| *one != '/') && matches(rest, &path[1..]),
        ['[', rest @ ..] => match (class(rest), path) {
            (Some((is_in, rest)), [one, path @ ..]) => *one != '/' && is_in(*one) && matches(rest, path),
            _ => false,
        },
        ['\\', one, rest @ ..] | [one, rest @ ..] => path.first() == Some(one) && matches(rest, &path[1..]),
    }
}

/// Parses a class of characters after its `[` (`a-z]`, `^a]`). Returns a function that tests a character, and the rest
/// of the pattern. `None` if the class has no end.
#[allow(clippy::type_complexity, reason = "it is used once")]
fn class(pattern: &[char]) -> Option<(impl Fn(char) -> bool + '_, &[char])> {
    let (is_negated, pattern) = match pattern {
        ['^', rest @ ..] => (true, rest),
        pattern => (false, pattern),
    };
    // A bracket at the beginning is a character of the class.
    let end = (1..pattern.len()).find(|at| pattern[*at] == ']' && pattern[at - 1] != '\\')?;
    let inside = &pattern[..end];
    let is_in = move |one: char| {
        let (mut at, mut found) = (0, false);
        while at < inside.len() {
            match &inside[at..] {
                [low, '-', high, ..] => {
                    found |= (*low..=*high).contains(&one);
                    at += 3;
                }
                ['\\', exactly, ..] => {
                    found |= *exactly == one;
                    at += 2;
                }
                [exactly, ..] => {
                    found |= *exactly == one;
                    at += 1;
                }
                [] => break,
            }
        }
        found != is_negated
    };
    Some((is_in, &pattern[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that are ignored.
    fn ignored<'a>(text: &str, paths: &[&'a str]) -> Vec<&'a str> {
        let ignore = Ignore::parse(text);
        paths.iter().copied().filter(|path| ignore.is_ignored(Path::new(path))).collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        let paths =
            ["a.txt", "b.md", "src/a.txt", "src/deep/a.txt", "src/x.py", ".git/config", "temp", "tempa", "te/p"];
        let cases: [(&str, &[&str]); 14] = [
            ("*.txt", &["a.txt"]),
            ("**/*.txt", &["a.txt", "src/a.txt", "src/deep/a.txt"]),
            ("*/*.txt", &["src/a.txt"]),
            ("/src", &["src/a.txt", "src/deep/a.txt", "src/x.py"]),
            ("src/", &["src/a.txt", "src/deep/a.txt", "src/x.py"]),
            ("src/**\n!src/x.py", &["src/a.txt", "src/deep/a.txt"]),
            ("src\n!src/deep\n", &["src/a.txt", "src/x.py"]),
            ("!a.txt\n*.txt", &["a.txt"]),
            ("temp?", &["tempa"]),
            ("te?p", &["temp"]),
            ("[a-b].*", &["a.txt", "b.md"]),
            ("[^a].*", &["b.md"]),
            ("# a.txt\n\n  .git  \n", &[".git/config"]),
            ("**", &paths),
        ];
        for (text, expected) in cases {
            assert_eq!(ignored(text, &paths), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_matches_nothing_and_does_not_panic() {
        for text in ["[", "[]", "[a", "\\", "!", "/", "..", "***", "[a-", "[z-a]", "a[b"] {
            let _ = ignored(text, &["a", "", "a/b", "["]);
        }
        assert_eq!(ignored("\\*", &["*", "a"]), ["*"]);
    }
}
