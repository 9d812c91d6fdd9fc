//! Checks whether the dependencies and constraints of the recorded packages are met.

use std::collections::HashMap;

use mlconda_types::dependency::{is_checkable, normalized_name, satisfies};

use super::{Finding, records::RecordedPackage};

/// Checks `depends` and `constrains` of all records. Dependencies on virtual packages are skipped, because an
/// environment may be verified on another machine than the one that it is for.
pub(super) fn check(packages: &[RecordedPackage], findings: &mut Vec<Finding>) {
    // Distributions have no dependencies here, and do not satisfy those of conda packages.
    let of_channels = packages.iter().filter(|package| !package.is_distribution());
    let by_name: HashMap<&str, &RecordedPackage> = of_channels.map(|package| (package.name(), package)).collect();
    let named = |spec: &str| by_name.get(normalized_name(spec).as_str()).copied();
    for package in packages {
        let needs = package.record.depends.iter().filter(|spec| is_checkable(spec));
        for need in needs {
            let found = named(need);
            if !found.is_some_and(|found| satisfies(&found.record, need)) {
                findings.push(Finding::Dependency {
                    package: package.dist_name.clone(),
                    expected: need.clone(),
                    found: found.map(|found| found.dist_name.clone()),
                });
            }
        }
        for spec in package.record.constrains.iter().filter(|spec| is_checkable(spec)) {
            if let Some(found) = named(spec).filter(|found| !satisfies(&found.record, spec)) {
                findings.push(Finding::Constraint {
                    package: package.dist_name.clone(),
                    expected: spec.clone(),
                    found: found.dist_name.clone(),
                });
            }
        }
    }
}
