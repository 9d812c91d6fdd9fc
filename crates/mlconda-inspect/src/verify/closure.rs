//! Whether the recorded packages have what they need, and go together.

use std::collections::HashMap;

use mlconda_types::dependency::{is_checkable, normalized_name, satisfies};

use super::{Finding, records::RecordedPackage};

/// Looks at `depends` and `constrains` of every record. Virtual packages are left aside: an environment need not be
/// verified on the machine that it is for.
pub(super) fn check(packages: &[RecordedPackage], findings: &mut Vec<Finding>) {
    // What is from no channel says nothing here, and meets no need of a conda package.
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
