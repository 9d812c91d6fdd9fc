//! What a package depends on, as the text of a match spec: its name, and whether a record is what it asks for.

use rattler_conda_types::{MatchSpec, Matches, PackageRecord, ParseStrictness};

/// The longest spec, in bytes, and how many parentheses it may open. People's have a tenth of that; the parser of versions
/// takes time by the square of the length, and stack by the depth.
const LONGEST: usize = 4096;
const DEEPEST: usize = 32;

/// Whether a match spec, a selector, a marker of pip or the expression of a licence can be parsed in little time and on a small
/// stack. Those of packages are not always people's.
pub(crate) fn is_within_reason(text: &str) -> bool {
    text.len() <= LONGEST && text.matches('(').count() <= DEEPEST
}

/// The name that a dependency starts with.
pub(crate) fn dependency_name(spec: &str) -> &str {
    let end = spec.find(|each: char| each.is_whitespace() || "=<>!~[;,".contains(each)).unwrap_or(spec.len());
    &spec[..end]
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
