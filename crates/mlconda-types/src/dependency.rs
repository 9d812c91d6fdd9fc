//! Dependencies as the text of match specs: their name, and whether a record satisfies them.

#[cfg_attr(not(feature = "match-specs"), path = "dependency/no_match_specs.rs")]
mod match_specs;
mod plain;

use rattler_conda_types::{GenericVirtualPackage, PackageRecord};

pub use plain::{PlainSpec, parse_plain};

/// The longest spec, in bytes, and the most parentheses. Real ones have a tenth of that. The version parser takes
/// quadratic time, and stack for each level.
const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 32;

/// Whether a match spec, a selector, a marker or a licence expression can be parsed quickly and on a small stack.
/// Those of packages are untrusted.
pub fn is_within_limits(text: &str) -> bool {
    // A short text has no more parentheses than bytes.
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

/// Whether a dependency can be checked without the solver: it is not on a virtual package, and has no condition.
pub fn is_checkable(spec: &str) -> bool {
    !spec.starts_with("__") && !spec.contains("; if ")
}

/// Whether a record satisfies a spec. Of an invalid spec, only the name counts, as in solvers that install such
/// packages; and of one that is too long or deep, nothing. Without the feature `match-specs`, only the name counts of a
/// spec of a rare form, too.
pub fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    let package = (record.name.as_normalized(), record.version.version(), record.build.as_str());
    !is_within_limits(spec) || plain::satisfies(package, spec).unwrap_or_else(|| match_specs::satisfies(record, spec))
}

/// Whether a virtual package satisfies a spec on it, by the rules of [`satisfies`].
pub fn is_satisfied_by(spec: &str, found: &GenericVirtualPackage) -> bool {
    let package = (found.name.as_normalized(), &found.version, found.build_string.as_str());
    !is_within_limits(spec) || plain::satisfies(package, spec).unwrap_or_else(|| match_specs::virtually(found, spec))
}
