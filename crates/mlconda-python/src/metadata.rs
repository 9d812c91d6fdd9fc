//! The core metadata of a distribution: `METADATA` of a wheel or of a `.dist-info`, or `PKG-INFO`.
//!
//! It is the only source for the dependencies of a pip package, its required python and its licence. Formats of locks
//! that lack these get them from here. The text is untrusted: invalid fields are ignored.

use super::normalize;

/// The fields that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The name, normalized.
    pub name: String,
    /// The version as written.
    pub version: String,
    /// The dependencies (PEP 508).
    pub requires: Vec<String>,
    /// The required versions of python.
    pub requires_python: Option<String>,
    /// The licence as written.
    pub licence: Option<String>,
}

/// The longest name of a licence, in characters. Longer values are whole licence texts.
const MAX_LICENCE_LENGTH: usize = 120;

impl Metadata {
    /// Parses the headers; `None` without a name or a version.
    pub fn read(text: &str) -> Option<Self> {
        let head = headers(text);
        let all = |key: &'static str| {
            let lines = head.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(key));
            lines.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let one = |key| all(key).next();
        let is_name = |licence: &String| {
            !licence.contains('\n')
                && licence.chars().count() <= MAX_LICENCE_LENGTH
                && !licence.eq_ignore_ascii_case("unknown")
        };
        // PEP 639: the expression replaces the two older fields.
        let classified = || {
            let names = all("Classifier").filter_map(|line| Some(line.strip_prefix("License ::")?.to_owned()));
            let last = |line: String| line.rsplit("::").next().unwrap_or_default().trim().to_owned();
            let names: Vec<String> = names.map(last).filter(|name| name != "OSI Approved").collect();
            Some(names.join(", ")).filter(|names| !names.is_empty())
        };
        let licence = one("License-Expression").or_else(|| one("License").filter(is_name)).or_else(classified);
        Some(Self {
            name: normalize(&single_line(&one("Name")?)),
            version: single_line(&one("Version")?),
            requires: all("Requires-Dist").map(|line| single_line(&line)).collect(),
            requires_python: one("Requires-Python").map(|versions| single_line(&versions)),
            licence: licence.map(|licence| single_line(&licence)),
        })
    }
}

/// A value on one line, without control characters.
fn single_line(value: &str) -> String {
    value.replace(char::is_control, " ")
}

/// The fields before the first empty line. A line that begins with a space continues the one before.
fn headers(text: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        match (line.starts_with([' ', '\t']), line.split_once(':'), fields.last_mut()) {
            (true, _, Some((_, value))) => {
                value.push('\n');
                value.push_str(line.trim());
            }
            (false, Some((name, value)), _) => fields.push((name.trim(), value.trim().to_owned())),
            _ => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(lines: &str) -> Option<String> {
        Metadata::read(&format!("Name: x\nVersion: 1\n{lines}\n")).unwrap().licence
    }

    #[test]
    fn the_head_tells_what_is_needed() {
        let text = "Metadata-Version: 2.1\nName: My.App\nVersion: 1.0+cu118\nRequires-Python: >=3.8\n\
                    Requires-Dist: a>=1\nrequires-dist: b\n  [x] ; extra == \"y\"\nLicense: MIT\n\nRequires-Dist: not-this\n";
        let expected = Metadata {
            name: "my-app".into(),
            version: "1.0+cu118".into(),
            requires: vec!["a>=1".into(), "b [x] ; extra == \"y\"".into()],
            requires_python: Some(">=3.8".into()),
            licence: Some("MIT".into()),
        };
        assert_eq!(Metadata::read(text), Some(expected));
        assert_eq!(Metadata::read("<html>\nName: x\n"), None);
    }

    #[test]
    fn what_is_shown_is_no_command_to_a_terminal() {
        let text = "Name: a\x1b[2J\nVersion: 1\n 2\nRequires-Dist: b\x1b]0;x\x07>=1\nRequires-Python: >=3\n\t,<4\nLicense: MIT\x1b[0m\n";
        let metadata = Metadata::read(text).unwrap();
        let shown =
            [&metadata.name, &metadata.version, &metadata.requires[0], metadata.requires_python.as_ref().unwrap()];
        assert_eq!(shown.map(String::as_str), ["a [2j", "1 2", "b ]0;x >=1", ">=3 ,<4"]);
        assert_eq!(metadata.licence.as_deref(), Some("MIT [0m"));
    }

    #[test]
    fn a_licence_is_a_name_and_never_a_text() {
        let classifiers = "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License\n";
        assert_eq!(licence("License: UNKNOWN\n"), None);
        assert_eq!(licence("License: Permission is hereby granted,\n  free of charge\n"), None);
        assert_eq!(licence(&format!("License: UNKNOWN\n{classifiers}")).as_deref(), Some("MIT License"));
        assert_eq!(licence(&format!("License: BSD\n{classifiers}")).as_deref(), Some("BSD"));
        let expression = format!("License: BSD\nLicense-Expression: BSD-3-Clause AND MIT\n{classifiers}");
        assert_eq!(licence(&expression).as_deref(), Some("BSD-3-Clause AND MIT"));
    }
}
