//! Words that the readers share: the keys of an environment.yml, and the known word that is nearest to a misspelt one.

/// The known keys.
pub(super) const KEYS: &[&str] = &["name", "channels", "dependencies", "variables", "prefix", "platforms", "x-mlconda"];

pub(super) const TEMPLATE_HELP: &str = "the file looks like a template: render it first";

/// The most similar candidate, if it is similar enough.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let length = text.chars().count();
    candidates
        .filter(|candidate| candidate.len().abs_diff(length) <= candidate.len() / 4)
        .map(|candidate| (strsim::damerau_levenshtein(&text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
