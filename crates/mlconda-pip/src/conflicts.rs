//! Finds conflicts between requirements of pip and conda packages, and reports both lines.
//!
//! Direct requirements are compared before the resolver runs, because uv knows nothing about conda. Conflicts of
//! indirect requirements are found in the messages of the resolver.

use std::collections::{BTreeMap, BTreeSet};

use mlconda_environment::Environment;
use mlconda_lock::{Lock, provided::Provided};
use mlconda_types::{dependency::dependency_name, redact};
use rattler_conda_types::PackageNameMatcher;

use super::PipError;
pub(crate) use mlconda_environment::requirements::{PipRequirement, RequirementRole, Requirements};

/// The conda packages of an environment, and the projects that they provide.
pub(super) struct CondaSide<'a> {
    pub(super) environment: &'a Environment,
    pub(super) lock: &'a Lock,
    pub(super) provided: &'a BTreeMap<String, Provided>,
}

impl CondaSide<'_> {
    /// An error if a requirement contradicts a conda package.
    pub(super) fn check(&self, requirements: &Requirements) -> Result<(), PipError> {
        let clashes: Vec<String> = requirements.entries.iter().filter_map(|entry| self.clash(entry)).collect();
        if clashes.is_empty() { Ok(()) } else { Err(PipError::Conflict(clashes.join("\n"))) }
    }

    /// The conflict of a line; `None` for conditional lines, which the resolver checks.
    fn clash(&self, entry: &PipRequirement) -> Option<String> {
        let name = entry.name.as_ref().filter(|_| !entry.conditional && entry.role == RequirementRole::Requested)?;
        let provided = self.provided.get(name)?;
        let brought = self.brought(provided);
        let version = &provided.version;
        if entry.direct {
            return Some(format!("{} would replace `{name}` {version}, which {brought}", entry.display()));
        }
        let allowed = entry.versions.contains(version);
        (!allowed).then(|| format!("{} does not allow `{name}` {version}, which {brought}", entry.display()))
    }

    /// Describes why conda installs a package: a line, or a package that a line requests.
    fn brought(&self, provided: &Provided) -> String {
        let package = &provided.package;
        if let Some(line) = self.line(package) {
            return format!("conda installs for {line}");
        }
        // Follow the dependents, until a package is reached that a line requests.
        let mut seen = BTreeSet::from([package.as_str()]);
        let mut level = vec![package.as_str()];
        while !level.is_empty() {
            let needs = |other: &str, name: &str| other != name && self.depends(other).any(|depend| depend == name);
            let next: Vec<&str> = self
                .lock
                .packages
                .iter()
                .map(|other| other.name.as_str())
                .filter(|other| level.iter().any(|name| needs(other, name)) && seen.insert(other))
                .collect();
            if let Some((_, line)) = next.iter().find_map(|name| Some((name, self.line(name)?))) {
                return format!("conda installs as `{package}` since {line} needs it");
            }
            level = next;
        }
        format!("conda installs as `{package}`")
    }

    fn depends(&self, package: &str) -> impl Iterator<Item = &str> {
        let found = self.lock.packages.iter().find(|other| other.name == package);
        let record = found.and_then(|package| package.record.as_deref());
        record.into_iter().flat_map(|record| record.depends.iter().map(|spec| dependency_name(spec)))
    }

    /// The line that requests a package.
    fn line(&self, package: &str) -> Option<String> {
        let is_it = |name: &PackageNameMatcher| matches!(name, PackageNameMatcher::Exact(name) if name.as_normalized() == package);
        let requirement = self.environment.requirements.iter().find(|each| is_it(&each.spec.name))?;
        let text = redact::text(&requirement.text);
        Some(format!("`{text}` ({}:{})", requirement.file.display(), requirement.location.line))
    }

    /// One line for each conda package that a message of the resolver mentions.
    pub(super) fn named_in(&self, message: &str) -> Vec<String> {
        let named = self.provided.iter().filter(|(name, _)| mentions(message, name));
        named
            .map(|(name, provided)| format!("`{name}` {} is what {}", provided.version, self.brought(provided)))
            .collect()
    }
}

/// Whether a message names a project.
pub(super) fn mentions(message: &str, name: &str) -> bool {
    let is_part = |each: Option<char>| each.is_some_and(|each| each.is_ascii_alphanumeric() || "-_".contains(each));
    message.match_indices(name).any(|(start, _)| {
        !is_part(message[..start].chars().next_back()) && !is_part(message[start + name.len()..].chars().next())
    })
}
