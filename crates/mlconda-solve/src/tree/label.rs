//! Texts for candidates and dependencies: names with sorted versions.

use std::{fmt, rc::Rc};

use itertools::Itertools;
use mlconda_types::sorting::InOrder;
use rattler_conda_types::Version;

use super::MAX_LISTED;
use crate::propagation::{Dependency, DependencyKind, PackageState};

/// Alternative dependencies, joined by `or`.
pub(super) fn alternatives(dependencies: &[Rc<Dependency>]) -> String {
    let texts = dependencies.iter().map(|dependency| format!("`{}`", dependency.text)).unique();
    let texts = texts.in_order_by(|left, right| natural(left).cmp(&natural(right))).collect_vec();
    match texts.as_slice() {
        [first, second, .., last] if texts.len() > MAX_LISTED => format!("{first} or {second} or … or {last}"),
        few => few.join(" or "),
    }
}

/// A sort key that puts 3.9 before 3.10: the words, with the numbers before them.
fn natural(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (word, after) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        parts.push((number.parse().unwrap_or(0), word));
        rest = after;
    }
    parts
}

/// Some candidates of a package: its name and their versions.
pub(super) struct Label {
    text: String,
    is_one: bool,
}

impl Label {
    pub(super) fn of(package: &PackageState<'_>, indices: &[usize]) -> Self {
        // Candidates are sorted by version.
        let all = package.candidates.iter().map(|each| each.record.version()).dedup().collect_vec();
        let mine =
            indices.iter().map(|index| package.candidates[*index].record.version()).in_order().dedup().collect_vec();
        let name = &package.name;
        let versions = match mine.as_slice() {
            [] => return Self { text: format!("`{name}`"), is_one: true },
            few if few.len() <= MAX_LISTED => and(few),
            [first, .., last] => {
                let between = all.iter().filter(|version| (*first..=*last).contains(version)).count();
                let count = if between == mine.len() { String::new() } else { format!(" ({} versions)", mine.len()) };
                format!("{first} to {last}{count}")
            }
            [only] => only.to_string(),
        };
        let is_shared = package
            .candidates
            .iter()
            .enumerate()
            .any(|(index, each)| !indices.contains(&index) && mine.contains(&each.record.version()));
        let builds = indices.iter().map(|index| package.candidates[*index].record.build()).unique().collect_vec();
        let text = match builds.as_slice() {
            [build] if is_shared && mine.len() == 1 => format!("{name} {versions} {build}"),
            _ if is_shared && versions.ends_with(" versions)") => {
                format!("{name} {}", versions.replace("(", "(some builds of "))
            }
            _ if is_shared => format!("{name} {versions} (some builds)"),
            _ => format!("{name} {versions}"),
        };
        Self { text, is_one: mine.len() == 1 }
    }

    pub(super) fn verb(&self, one: &'static str, many: &'static str) -> &'static str {
        if self.is_one { one } else { many }
    }

    pub(super) fn dependencies(&self, kind: DependencyKind) -> &'static str {
        match kind {
            DependencyKind::Depends => self.verb("needs", "need"),
            DependencyKind::Constrains => self.verb("goes only with", "go only with"),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// `1`, `1 and 2`, `1, 2 and 3`.
pub(super) fn and(versions: &[&Version]) -> String {
    match versions {
        [] => String::new(),
        [only] => only.to_string(),
        [before @ .., last] => format!("{} and {last}", before.iter().join(", ")),
    }
}
