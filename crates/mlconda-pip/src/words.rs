//! Messages of uv on stderr. [`WORDS`] lists all texts that are recognized; other messages are shown unchanged.

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
    Hint,
}

/// The meaning of a message, if it is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An error: no python of this version was found.
    NoInterpreter,
    /// An error: an option of ours, or a format, is unknown. This uv is too old.
    UnknownOption,
    /// An error: the platform is unknown.
    UnknownPlatform,
    /// An error: a requirement cannot be parsed. The first line ends with `position` and a byte offset.
    Unparsed,
    /// An error: the beginning of the explanation why there is no solution.
    NoSolution,
    /// An error: no index has the project, whose name comes before this text.
    UnknownProject,
    /// A warning: a package lacks an extra. The package is in the first backticks.
    LacksExtra,
    /// A warning: uv builds with another python than the target's.
    OtherPython,
    /// A hint to use an option of uv that cannot be used here.
    OptionHint,
}

/// The texts by which messages are recognized, in uv 0.7 to 0.13. A test compares them with those of the installed uv
/// (`the_uv_that_is_there_has_these_words`).
const WORDS: [(Meaning, &[&str]); 9] = [
    (Meaning::NoInterpreter, &["No interpreter found"]),
    (Meaning::UnknownOption, &["unexpected argument", "invalid value 'pylock.toml'"]),
    (Meaning::UnknownPlatform, &["for '--python-platform"]),
    (Meaning::Unparsed, &["Couldn't parse"]),
    (Meaning::NoSolution, &["No solution found when resolving dependencies"]),
    (Meaning::UnknownProject, &[" was not found in the"]),
    (Meaning::LacksExtra, &["does not have an extra named"]),
    (Meaning::OtherPython, &["The requested Python version"]),
    (Meaning::OptionHint, &["`--"]),
];

/// The beginnings of messages, at the start of a line. The last one is that of errors before uv 0.10.
const BEGINNINGS: [(Severity, &str); 4] = [
    (Severity::Error, "error: "),
    (Severity::Warning, "warning: "),
    (Severity::Hint, "hint: "),
    (Severity::Error, "  × "),
];

/// The beginnings of the cause of an error, on a line of its own.
const CAUSES: [&str; 3] = ["cause: ", "Caused by: ", "╰─▶ "];

/// The texts for a meaning.
fn words(meaning: Meaning) -> impl Iterator<Item = &'static str> {
    let words = WORDS.iter().find(|(of, _)| *of == meaning);
    words.into_iter().flat_map(|(_, words)| words.iter().copied())
}

/// Whether a message has this meaning.
pub(super) fn says(message: &str, meaning: Meaning) -> bool {
    words(meaning).any(|words| message.contains(words))
}

/// Whether a message says that no index has a project.
pub(super) fn is_unknown(message: &str, project: &str) -> bool {
    // uv may break lines anywhere.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_of_name = |each: char| each.is_alphanumeric() || "-_.".contains(each);
    words(Meaning::UnknownProject).any(|words| {
        let said = format!("{project}{words}");
        message.match_indices(&said).any(|(at, _)| !message[..at].ends_with(is_of_name))
    })
}

/// An error without its heading, if that only says that there is no solution.
pub(super) fn without_heading(error: &str) -> &str {
    let behind = words(Meaning::NoSolution).find_map(|words| error.strip_prefix(words));
    behind.map_or(error, |behind| behind.strip_prefix(':').unwrap_or(behind))
}

/// The byte offset of the requirement that could not be parsed, from uv's error.
pub(super) fn unparsed_position(error: &str) -> Option<usize> {
    let first = error.lines().next().filter(|line| words(Meaning::Unparsed).any(|words| line.starts_with(words)))?;
    first.rsplit_once("position ")?.1.trim().parse().ok()
}

/// The messages on stderr, each with the lines that belong to it.
pub(super) fn messages(stderr: &str) -> Vec<(Severity, String)> {
    let mut messages: Vec<(Severity, String)> = Vec::new();
    for line in stderr.lines() {
        let begun = BEGINNINGS.iter().find_map(|(severity, words)| Some((*severity, line.strip_prefix(words)?)));
        match (begun, messages.last_mut()) {
            (Some((severity, text)), _) => messages.push((severity, text.trim().to_owned())),
            (None, Some((_, text))) if line.starts_with(' ') || line.starts_with('-') => {
                let line = line.trim();
                let cause = CAUSES.iter().find_map(|words| line.strip_prefix(words));
                text.push_str("\n  ");
                text.push_str(cause.unwrap_or(line));
            }
            _ => {}
        }
    }
    messages
}

/// The errors on stderr; if none is recognized, the whole text.
pub(super) fn error(stderr: &str) -> String {
    let errors = messages(stderr).into_iter().filter(|(severity, _)| *severity == Severity::Error);
    errors.map(|(_, text)| text).next().unwrap_or_else(|| stderr.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let stderr = "warning: one\n  cause: two\nResolved 1 package in 5ms\nerror: No solution\n  cause: Because x\n         And y\n\nhint: do z\n";
        let expected = [
            (Severity::Warning, "one\n  two"),
            (Severity::Error, "No solution\n  Because x\n  And y"),
            (Severity::Hint, "do z"),
        ];
        assert_eq!(messages(stderr), expected.map(|(severity, text)| (severity, text.to_owned())));
    }

    #[test]
    fn an_error_that_older_versions_draw_is_read_as_well() {
        let stderr = "  × No solution found when resolving dependencies:\n  ╰─▶ Because thing was not found in the\n      provided package locations, we can conclude.\n";
        let error = error(stderr);
        assert_eq!(
            without_heading(&error),
            "\n  Because thing was not found in the\n  provided package locations, we can conclude."
        );
        assert!(is_unknown(&error, "thing"));
        let other = error.replace("thing", "any-thing");
        assert!(is_unknown(&other, "any-thing") && !is_unknown(&other, "thing"), "{other}");
        let stderr = "error: Couldn't parse requirement in `a` at position 12\n  Caused by: Expected one\na b\n  ^\n";
        assert_eq!(unparsed_position(&super::error(stderr)), Some(12));
        assert_eq!(super::error(stderr).lines().nth(1).map(str::trim), Some("Expected one"));
    }

    #[test]
    fn words_that_are_unknown_are_shown_as_they_are() {
        for stderr in ["panicked at `a.rs`\nnote: this is new\n", "ERROR no luck\n\n  at all", "", "  plain"] {
            assert_eq!(error(stderr), stderr.trim());
        }
        let new = error("error: the planets do not agree\n  cause: Mars\n");
        assert_eq!(new, "the planets do not agree\n  Mars");
        assert_eq!((without_heading(&new), unparsed_position(&new)), (new.as_str(), None));
        assert!(WORDS.iter().all(|(meaning, _)| !says(&new, *meaning)));
        assert_eq!(unparsed_position("Couldn't parse it"), None);
        assert_eq!(unparsed_position("Couldn't parse it at position one"), None);
    }

    /// The program uv, from `MLCONDA_UV` or `PATH`.
    fn uv() -> PathBuf {
        #[allow(clippy::disallowed_methods, reason = "a test finds its resolver")]
        let (named, path) = (std::env::var_os("MLCONDA_UV"), std::env::var_os("PATH").unwrap_or_default());
        let mut on_path = std::env::split_paths(&path).map(|directory| directory.join("uv"));
        let found = named.map(PathBuf::from).or_else(|| on_path.find(|path| path.is_file()));
        found.expect("this test needs uv: `pip install uv`, or name it with MLCONDA_UV")
    }

    #[test]
    fn the_uv_that_is_there_has_these_words() {
        let directory = tempfile::tempdir().unwrap();
        let uv = uv();
        let run = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&uv);
            command.args(arguments).args(["--color", "never", "--no-progress", "--no-python-downloads"]);
            command.env("UV_CACHE_DIR", directory.path().join("cache")).env("UV_NO_CONFIG", "1");
            let output = command.current_dir(directory.path()).output().unwrap();
            String::from_utf8(output.stderr).unwrap()
        };
        let compile = |requirements: &str, more: &[&str]| {
            fs_err::write(directory.path().join("in"), requirements).unwrap();
            let arguments = ["pip", "compile", "--format", "pylock.toml", "--no-index", "-o", "pylock.toml", "in"];
            run(&[&arguments, more].concat())
        };
        assert!(says(&error(&run(&["python", "find", "cpython@3.99"])), Meaning::NoInterpreter));
        assert!(says(&error(&compile("", &["--sideways"])), Meaning::UnknownOption));
        assert!(says(&error(&compile("", &["--python-platform", "moon"])), Meaning::UnknownPlatform));
        assert_eq!(unparsed_position(&error(&compile("six\na b c\n", &[]))), Some(4));
        let stderr = compile("nowhere\n", &[]);
        let unsolvable = error(&stderr);
        assert!(says(&unsolvable, Meaning::NoSolution) && is_unknown(&unsolvable, "nowhere"), "{unsolvable}");
        assert!(without_heading(&unsolvable).trim_start().starts_with("Because"), "{unsolvable}");
        // In older versions, hints are part of the error.
        let hints = messages(&stderr).into_iter().map(|(_, text)| text).collect::<String>();
        assert!(says(&hints, Meaning::OptionHint), "{stderr}");
    }

    #[test]
    fn every_meaning_has_one_row() {
        for (index, (meaning, words)) in WORDS.iter().enumerate() {
            assert!(!words.is_empty() && WORDS[..index].iter().all(|(other, _)| other != meaning), "{meaning:?}");
        }
    }
}
