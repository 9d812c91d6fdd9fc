//! Selects the requirements of packages of pip that apply in a lock: their markers match the platform and the python,
//! and their extras are requested by another package.

use std::collections::{BTreeMap, BTreeSet};

use mlconda_python::{marker::MarkerEnvironment, normalize};

use super::Lock;

/// A parsed requirement (PEP 508).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement<'a> {
    /// The project, normalized.
    pub(crate) name: String,
    extras: BTreeSet<String>,
    /// The versions or the URL, as written.
    pub(crate) versions: &'a str,
    marker: &'a str,
    /// The requirement without its marker.
    pub(crate) text: &'a str,
}

impl<'a> Requirement<'a> {
    /// Parses a line; `None` if it does not begin with the name of a project.
    pub(crate) fn read(line: &'a str) -> Option<Self> {
        let (text, marker) = line.split_once(';').unwrap_or((line, ""));
        let text = text.trim();
        let end = text.find(|each: char| !(each.is_ascii_alphanumeric() || "-_.".contains(each)));
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        let rest = rest.trim_start();
        let (extras, versions) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or(("", rest));
        let extras = extras.split(',').map(|extra| normalize(extra.trim())).filter(|extra| !extra.is_empty()).collect();
        // `numpy (>=1)` is the form of older metadata (PEP 345).
        let versions = versions.trim();
        let versions = versions.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(versions);
        let is_name = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        is_name.then(|| Self { name: normalize(name), extras, versions, marker: marker.trim(), text })
    }
}

fn read(lines: &[String]) -> Vec<Requirement<'_>> {
    lines.iter().filter_map(|line| Requirement::read(line)).collect()
}

/// The maximum length of a chain of extras that request other extras.
const ROUNDS: usize = 50;

/// The requirements of each package of pip, in the order of the lock. Empty if its metadata is not known.
pub(crate) fn needed(lock: &Lock) -> Vec<Vec<Requirement<'_>>> {
    let python = lock.packages.iter().find(|package| package.name == "python");
    let target = MarkerEnvironment::new(lock.platform, python.map(|package| package.version.clone()));
    let all: Vec<Vec<Requirement<'_>>> =
        lock.pip.iter().map(|package| read(package.requires.as_deref().unwrap_or_default())).collect();
    let mut extras: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for requirement in read(&lock.pip_requirements) {
        extras.entry(requirement.name).or_default().extend(requirement.extras);
    }
    let none = BTreeSet::new();
    // An extra may request other extras, so this is repeated until nothing changes.
    let mut rounds = 0;
    loop {
        rounds += 1;
        let holding: Vec<Vec<Requirement<'_>>> = lock
            .pip
            .iter()
            .zip(&all)
            .map(|(package, requirements)| {
                let asked = extras.get(&package.name).unwrap_or(&none);
                requirements.iter().filter(|each| target.evaluate(each.marker, asked)).cloned().collect()
            })
            .collect();
        let before: usize = extras.values().map(BTreeSet::len).sum();
        for requirement in holding.iter().flatten() {
            extras.entry(requirement.name.clone()).or_default().extend(requirement.extras.iter().cloned());
        }
        if rounds == ROUNDS || extras.values().map(BTreeSet::len).sum::<usize>() == before {
            return holding;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Expansion, explicit};

    #[test]
    fn a_requirement_is_taken_apart() {
        let parts = |line: &'static str| {
            let read = Requirement::read(line)?;
            Some((read.name, read.extras.into_iter().collect::<Vec<_>>().join(" "), read.versions, read.marker))
        };
        let marked = "My.App [one, Two_2] (>=1,<2) ; os_name == 'nt'";
        assert_eq!(parts(marked), Some(("my-app".into(), "one two-2".into(), ">=1,<2", "os_name == 'nt'")));
        assert_eq!(parts("x@ https://h/x.whl"), Some(("x".into(), String::new(), "@ https://h/x.whl", "")));
        assert_eq!(parts("-e ./x"), None);
    }

    /// An extra counts if the `pip:` list, another package or another extra requests it.
    #[test]
    fn extras_count_where_something_asks_for_them() {
        let text = "# mlconda lock: 1\n# platform: linux-64\n# pip requirement: app[fast]\n\
                    # pip app @ https://h/app-1-py3-none-any.whl\n# pip lib @ https://h/lib-1-py3-none-any.whl\n@EXPLICIT\n";
        let mut lock = explicit::parse(text, Path::new("/env.lock"), &Expansion::default()).unwrap();
        let lines = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect());
        let app = ["lib[x]; extra == 'fast'", "never; extra == 'slow'", "never; sys_platform == 'win32'"];
        lock.pip[0].requires = lines(&app);
        lock.pip[1].requires = lines(&["lib[y] ; extra == 'x'", "deep>=1; extra == 'y'", "never; extra == 'z'"]);
        let needed = needed(&lock);
        let names = |place: usize| needed[place].iter().map(|each| each.text).collect::<Vec<_>>();
        assert_eq!(names(0), ["lib[x]"]);
        assert_eq!(names(1), ["lib[y]", "deep>=1"]);
    }

    /// Malicious metadata could request one more extra in each round.
    #[test]
    fn extras_are_not_followed_for_ever() {
        let text = "# mlconda lock: 1\n# platform: linux-64\n# pip requirement: a[e0]\n\
                    # pip a @ https://h/a-1-py3-none-any.whl\n@EXPLICIT\n";
        let mut lock = explicit::parse(text, Path::new("/env.lock"), &Expansion::default()).unwrap();
        lock.pip[0].requires = Some((0..300).map(|each| format!("a[e{}]; extra == 'e{each}'", each + 1)).collect());
        assert_eq!(needed(&lock)[0].len(), ROUNDS);
    }
}
