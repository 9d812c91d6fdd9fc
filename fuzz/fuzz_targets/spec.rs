//! Match specs, selectors and versions, against `rattler_conda_types`.

use std::cmp::Ordering;

use mlconda_environment::{Environment, ReadOptions, Selector};
use mlconda_types::{
    dependency,
    versions::{ComparableVersion, NumericVersion, VersionMatcher},
};
use rattler_conda_types::{MatchSpec, ParseStrictness, Subdir, Version, VersionSpec};

use crate::bits;

/// The text of a selector is read back as a selector for the same platforms.
pub(crate) fn selector(data: &[u8]) {
    let Some(selector) = bits::text(data).and_then(Selector::parse) else { return };
    let text = selector.to_string();
    let again = Selector::parse(&text).unwrap_or_else(|| panic!("`{text}` is not read back"));
    let not = Selector::parse(&format!("not ({text})"));
    for platform in [Subdir::Linux64, Subdir::LinuxAarch64, Subdir::Osx64, Subdir::OsxArm64, Subdir::Win64] {
        assert_eq!(selector.matches(platform), again.matches(platform), "{text}");
        assert!(not.as_ref().is_none_or(|not| not.matches(platform) != selector.matches(platform)), "{text}");
    }
}

/// The versions that are tested with specs.
const VERSIONS: [&str; 14] = [
    "0", "1", "1.0", "1.2", "1.2.3", "1.2.3.4", "1.10", "1.2a0", "1.2rc1", "1.2post1", "2", "2.0.1", "3.11.5", "1!1.2",
];

/// A spec that rattler's strict parser also reads has the same name. It accepts the same versions, if both parsers
/// follow CEP-29.
pub(crate) fn spec(data: &[u8]) {
    let Some(text) = bits::text(data) else { return };
    let _ = (dependency::dependency_name(text), dependency::normalized_name(text), dependency::is_checkable(text));
    let options = ReadOptions { directory: "/project".into(), ..ReadOptions::default() };
    let ours = match Environment::from_specs(&[text], &options) {
        Ok(environment) => environment,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let _ = ours.digest();
    let [ours] = ours.requirements.as_slice() else { return };
    if !dependency::is_within_limits(text) {
        return;
    }
    let Ok(theirs) = MatchSpec::from_str(text, ParseStrictness::Strict) else { return };
    // mlconda reads a condition behind `if`, rattler only behind a semicolon.
    if text.split_whitespace().any(|word| word == "if") {
        return;
    }
    // conda and mlconda read brackets anywhere, rattler only at the end.
    let is_inside = text.rsplit_once(']').is_some_and(|(_, behind)| !behind.trim().is_empty());
    if ours.spec.url.is_some() || is_inside {
        return;
    }
    assert_eq!(ours.spec.name.to_string(), theirs.name.to_string(), "{text}");
    // In a value without quotes, mlconda reads brackets as a part of it; rattler drops the last one.
    if text.matches('[').count() > 1 {
        return;
    }
    let build = |spec: &MatchSpec| spec.build.as_ref().map(ToString::to_string);
    // rattler reads a backslash as an escape. mlconda reads all white space as blanks.
    if !text.contains('\\') {
        let blanks = |build: String| build.replace(char::is_whitespace, " ").trim().to_owned();
        assert_eq!(build(&ours.spec).map(blanks), build(&theirs).map(blanks), "{text}");
    }
    // conda reads `=1.2` before a build as just this version, rattler as `1.2.*`.
    let is_fuzzy = text
        .split_once('=')
        .is_some_and(|(before, behind)| !behind.starts_with('=') && !before.ends_with(['<', '>', '!', '~']));
    if ours.spec.build.is_some() && is_fuzzy {
        return;
    }
    let takes = |spec: &MatchSpec, version: &Version| spec.version.as_ref().is_none_or(|spec| spec.matches(version));
    for version in VERSIONS {
        let version = version.parse().expect("a version");
        assert_eq!(takes(&ours.spec, &version), takes(&theirs, &version), "{text}: {version}");
    }
}

/// Versions compare and match specs as in rattler, and a search finds all those that match.
pub(crate) fn version(data: &[u8]) {
    let Some(text) = bits::text(data).filter(|text| dependency::is_within_limits(text)) else { return };
    let mut parts = text.split('\n');
    let spec = VersionSpec::from_str(parts.next().unwrap_or_default(), ParseStrictness::Lenient);
    let versions: Vec<Version> = parts.chain(VERSIONS).take(24).filter_map(|text| text.parse().ok()).collect();
    let numbered = |version| ComparableVersion { version, numeric: NumericVersion::release(version) };
    let mut sorted: Vec<ComparableVersion<'_>> = versions.iter().map(numbered).collect();
    for one in &sorted {
        for other in &sorted {
            let ordering: Ordering = one.version.cmp(other.version);
            assert_eq!(one.compare(other), ordering, "{} and {}", one.version, other.version);
        }
    }
    let Ok(spec) = spec else { return };
    let matcher = VersionMatcher::new(&spec);
    for version in &sorted {
        assert_eq!(matcher.matches(*version), spec.matches(version.version), "{} and {spec}", version.version);
    }
    sorted.sort_by(ComparableVersion::compare);
    if let Some(range) = matcher.matching_range(&sorted, &|version| *version) {
        let matches = (0..sorted.len()).filter(|index| spec.matches(sorted[*index].version));
        let shown = || sorted.iter().map(|version| version.version.to_string()).collect::<Vec<_>>().join(" ");
        assert!(matches.eq(range), "{spec}: {}", shown());
    }
}
