//! Dependencies as the text of match specs: their name, and whether a record satisfies them.

use rattler_conda_types::{MatchSpec, Matches, PackageRecord, ParseStrictness};

/// The longest spec, in bytes, and the most parentheses. Real ones have a tenth of that. The version parser takes
/// quadratic time, and stack for each level.
const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 32;

/// Whether a match spec, a selector, a marker or a licence expression can be parsed quickly and on a small stack.
/// Those of packages are untrusted.
pub fn is_within_limits(text: &str) -> bool {
    text.len() <= MAX_LENGTH && text.matches('(').count() <= MAX_DEPTH
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
/// packages.
pub fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    if !is_within_limits(spec) {
        return true;
    }
    let Ok(spec) = MatchSpec::from_str(spec, ParseStrictness::Lenient) else { return true };
    // `>=3.8 <3.12` without a comma is parsed as a version and a build string.
    let is_no_build = spec.build.as_ref().is_some_and(|build| build.to_string().starts_with(['<', '>', '=', '!', '~']));
    is_no_build || spec.matches(record)
}
