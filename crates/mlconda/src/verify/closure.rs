//! Whether the recorded packages have what they need, and go together.

use std::collections::HashMap;

use rattler_conda_types::{MatchSpec, Matches, PackageRecord, ParseStrictness};

use super::{Finding, records::Package};
use crate::{environment::is_within_reason, lock::dependency_name};

/// Looks at `depends` and `constrains` of every record. Virtual packages are left aside: an environment need not be
/// verified on the machine that it is for.
pub(super) fn check(packages: &[Package], findings: &mut Vec<Finding>) {
    // What is from no channel says nothing here, and meets no need of a conda package.
    let of_channels = packages.iter().filter(|package| !package.is_distribution());
    let by_name: HashMap<&str, &Package> = of_channels.map(|package| (package.name(), package)).collect();
    let named = |spec: &str| by_name.get(name(spec).as_str()).copied();
    for package in packages {
        let needs = package.record.depends.iter().filter(|spec| is_judged(spec));
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
        for spec in package.record.constrains.iter().filter(|spec| is_judged(spec)) {
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

/// The name that a match spec is about.
pub(crate) fn name(spec: &str) -> String {
    dependency_name(spec.rsplit_once("::").map_or(spec, |(_, bare)| bare)).to_lowercase()
}

/// A virtual package is the machine's, and what depends on a condition is the solver's business.
pub(crate) fn is_judged(spec: &str) -> bool {
    !spec.starts_with("__") && !spec.contains("; if ")
}

/// Whether a package is what a spec asks for. Of a spec that makes no sense, only the name counts, as solvers have it
/// that install such packages.
pub(crate) fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    if !is_within_reason(spec) {
        return true;
    }
    let Ok(spec) = MatchSpec::from_str(spec, ParseStrictness::Lenient) else { return true };
    // `>=3.8 <3.12`, with the comma missing, is read as a version and a build string.
    let is_no_build = spec.build.as_ref().is_some_and(|build| build.to_string().starts_with(['<', '>', '=', '!', '~']));
    is_no_build || spec.matches(record)
}
