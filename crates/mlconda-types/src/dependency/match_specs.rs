//! Match specs in rare forms: with brackets, regular expressions or channels.

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, PackageRecord, ParseStrictness};

pub(super) fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    matches(record, spec)
}

pub(super) fn virtually(found: &GenericVirtualPackage, spec: &str) -> bool {
    matches(found, spec)
}

fn matches<T>(found: &T, spec: &str) -> bool
where
    MatchSpec: Matches<T>,
{
    let Ok(spec) = MatchSpec::from_str(spec, ParseStrictness::Lenient) else { return true };
    // rattler parses `>=3.8 <3.12`, without a comma, as a version and a build string. No build string looks like this.
    let is_no_build = spec.build.as_ref().is_some_and(|build| build.to_string().starts_with(['<', '>', '=', '!', '~']));
    is_no_build || spec.matches(found)
}
