//! A finding of `verify` as a line of text and as JSON, in the same form for every kind of finding.

use std::path::PathBuf;

use mlconda::verify::{FileKind, Finding};
use serde::Serialize;

use crate::{
    escape,
    text::{list, optional_path_field},
};

/// A finding, in the same form for every kind.
#[derive(Default, Serialize)]
pub(crate) struct FindingRow {
    kind: &'static str,
    #[serde(skip)]
    words: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_path_field")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
}

impl FindingRow {
    pub(crate) fn new(finding: &Finding) -> Self {
        let row = |kind, words| Self { kind, words, ..Self::default() };
        let of = |kind, words, package: &String| Self { packages: vec![package.clone()], ..row(kind, words) };
        match finding.clone() {
            Finding::Interrupted { path } => {
                Self { path: Some(path), ..row("interrupted", "an installation was interrupted, or is running") }
            }
            Finding::NoHistory => {
                Self { path: Some("conda-meta/history".into()), ..row("no-history", "the history is missing") }
            }
            Finding::Moved { expected, found } => {
                let show = |path: PathBuf| Some(path.display().to_string());
                let row = row("moved", "its files contain the path of another prefix");
                Self { path: Some(found.clone()), expected: show(expected), found: show(found), ..row }
            }
            Finding::Record { path, reason } => {
                Self { path: Some(path), found: Some(reason), ..row("record", "the record cannot be read") }
            }
            Finding::DuplicateRecord { package, other } => {
                Self { found: Some(other), ..of("twice", "another record has the same package name", &package) }
            }
            Finding::NotInstalled { package } => {
                of("not-installed", "it is in the lock, but not in the environment", &package)
            }
            Finding::NotLocked { package } => {
                of("not-locked", "it is in the environment, but not in the lock", &package)
            }
            Finding::OtherPackage { expected, found } => Self {
                expected: Some(expected.clone()),
                found: Some(found),
                ..of("other-package", "the environment has another version or build", &expected)
            },
            Finding::OtherArchive { package, expected, found } => Self {
                expected: Some(expected),
                found: Some(found),
                ..of("other-archive", "it comes from another archive than the one in the lock", &package)
            },
            Finding::Variable { name, expected, found } => {
                Self { variable: Some(name), expected, found, ..row("variable", "the variable has another value") }
            }
            Finding::Dependency { package, expected, found } => {
                Self { expected: Some(expected), found, ..of("dependency", "a dependency is not met", &package) }
            }
            Finding::Constraint { package, expected, found } => Self {
                expected: Some(expected),
                found: Some(found),
                ..of("constraint", "it conflicts with a package of the environment", &package)
            },
            of_path => Self::of_path(of_path),
        }
    }

    fn of_path(finding: Finding) -> Self {
        let row = |kind, words, path, packages| Self { kind, words, path: Some(path), packages, ..Self::default() };
        let (row, expected, found) = match finding {
            Finding::Missing { path, packages } => (row("missing", "it is missing", path, packages), None, None),
            Finding::WrongKind { path, packages, expected, found } => {
                let row = row("other-kind", "it has another file type", path, packages);
                (row, Some(kind(expected).to_owned()), Some(kind(found).to_owned()))
            }
            Finding::Unreadable { path, packages, reason } => {
                (row("unreadable", "it cannot be read", path, packages), None, Some(reason))
            }
            Finding::Mode { path, packages, expected, found } => {
                let expected: Vec<String> = expected.iter().map(|mode| format!("{mode:04o}")).collect();
                let row = row("mode", "it has other permissions", path, packages);
                (row, Some(expected.join(" or ")), Some(format!("{found:04o}")))
            }
            Finding::Target { path, packages, expected, found } => {
                let row = row("target", "it points to another target", path, packages);
                (row, Some(expected.display().to_string()), Some(found.display().to_string()))
            }
            Finding::Size { path, packages, expected, found } => {
                let row = row("size", "it has another size", path, packages);
                (row, Some(expected.to_string()), Some(found.to_string()))
            }
            Finding::Content { path, packages, expected, found } => {
                let row = row("content", "its content differs", path, packages);
                (row, Some(expected), Some(found))
            }
            Finding::SameProject { path, packages, other } => {
                let row = row("same-project", "python sees two distributions of this project", path, packages);
                (row, None, Some(other.display().to_string()))
            }
            Finding::WrongOwner { path, expected, found } => {
                let row = row(
                    "other-holder",
                    "several packages contain it, and the file of the wrong one is installed",
                    path,
                    vec![],
                );
                (row, Some(expected), Some(found))
            }
            _ => (Self { kind: "other", words: "something is wrong", ..Self::default() }, None, None),
        };
        Self { expected, found, ..row }
    }

    /// As a line of text.
    pub(crate) fn line(&self) -> String {
        let mut line = match (&self.path, &self.variable, self.packages.as_slice()) {
            (Some(path), _, []) => format!("`{}`", path.display()),
            (Some(path), _, packages) => format!("`{}` of {}", path.display(), list(packages)),
            (None, Some(variable), _) => format!("`{variable}`"),
            (None, None, packages) => list(packages),
        };
        line.push_str(": ");
        line.push_str(self.words);
        let told = [("expected", &self.expected), ("found", &self.found)];
        let told = told.iter().filter_map(|(word, value)| Some(format!("{word} {}", self.shown(value.as_deref())?)));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            line.push_str(&format!("; {}", told.join(", ")));
        }
        format!("{}\n", escape::line(&line))
    }

    /// A value as it is printed.
    fn shown(&self, value: Option<&str>) -> Option<String> {
        match (self.kind, value) {
            ("dependency" | "variable", None) => Some("none".to_owned()),
            (_, None) => None,
            ("content", Some(hash)) => Some(format!("sha256 {hash}")),
            ("size", Some(size)) => Some(format!("{size} bytes")),
            ("mode" | "other-kind" | "other-archive" | "record" | "unreadable", Some(text)) => Some(text.to_owned()),
            (_, Some(name)) => Some(format!("`{name}`")),
        }
    }
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Link => "a symbolic link",
        FileKind::Directory => "a directory",
        FileKind::Other => "a special file",
    }
}
