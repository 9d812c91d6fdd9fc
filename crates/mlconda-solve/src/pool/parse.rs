//! Parses the texts of dependencies and constraints as rattler does. There are thousands, and most have the simple form
//! that `mlconda_types::dependency::parse_plain` reads faster.

use mlconda_types::dependency::is_within_limits;
use rattler_conda_types::{MatchSpec, MatchSpecCondition, ParseMatchSpecOptions, RepodataRevision};

/// The number of alternatives of a condition.
pub(super) fn alternatives(condition: &MatchSpecCondition) -> usize {
    match condition {
        MatchSpecCondition::MatchSpec(_) => 1,
        MatchSpecCondition::And(one, other) => alternatives(one).saturating_mul(alternatives(other)),
        MatchSpecCondition::Or(one, other) => alternatives(one).saturating_add(alternatives(other)),
    }
}

/// Parses a dependency, with conditions and extras.
pub(crate) fn parse(text: &str) -> Result<MatchSpec, String> {
    if !is_within_limits(text) {
        return Err("it is too long or too deeply nested".to_owned());
    }
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    MatchSpec::from_str(text, options).map_err(|error| error.to_string())
}
