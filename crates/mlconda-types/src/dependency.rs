//! Dependencies of packages: texts in the form of match specs. Reads their names, and checks whether a record satisfies
//! one.

#[cfg_attr(not(feature = "match-specs"), path = "dependency/no_match_specs.rs")]
mod match_specs;
mod plain;

use rattler_conda_types::{GenericVirtualPackage, PackageRecord};

pub use plain::{PlainSpec, parse_plain};

/// The limits of a match spec: its length in bytes, and the number of its opening parentheses. Real specs stay below a
/// tenth of both. The version parser takes quadratic time, and uses stack for each level of parentheses.
const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 32;

/// Whether a text is short and flat enough to be parsed quickly and on a small stack. The text is a match spec, a
/// selector, a marker or a licence expression; packages are untrusted, and so are their texts.
pub fn is_within_limits(text: &str) -> bool {
    // A text of at most `MAX_DEPTH` bytes cannot have more parentheses than that.
    text.len() <= MAX_DEPTH || text.len() <= MAX_LENGTH && text.matches('(').count() <= MAX_DEPTH
}

/// The name at the beginning of a dependency.
pub fn dependency_name(spec: &str) -> &str {
    let end = spec.find(|each: char| each.is_whitespace() || "=<>!~[;,".contains(each)).unwrap_or(spec.len());
    &spec[..end]
}

/// The name of a match spec, without its channel and in lower case.
pub fn normalized_name(spec: &str) -> String {
    dependency_name(spec.rsplit_once("::").map_or(spec, |(_, bare)| bare)).to_lowercase()
}

/// Whether a dependency can be checked without the solver: it does not name a virtual package, and it has no condition.
pub fn is_checkable(spec: &str) -> bool {
    !spec.starts_with("__") && !spec.contains("; if ")
}

/// Whether a record satisfies a match spec.
///
/// If the spec is invalid, only its name is compared, as in solvers that install such packages. A spec that is too long
/// or too deeply nested ([`is_within_limits`]) is always satisfied. Without the feature `match-specs`, only the name is
/// compared if the spec has a rare form.
pub fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    let package = (record.name.as_normalized(), record.version.version(), record.build.as_str());
    !is_within_limits(spec) || plain::satisfies(package, spec).unwrap_or_else(|| match_specs::satisfies(record, spec))
}

/// Whether a virtual package satisfies a match spec that names it. The rules are those of [`satisfies`].
pub fn is_satisfied_by(spec: &str, found: &GenericVirtualPackage) -> bool {
    let package = (found.name.as_normalized(), &found.version, found.build_string.as_str());
    !is_within_limits(spec) || plain::satisfies(package, spec).unwrap_or_else(|| match_specs::virtually(found, spec))
}
