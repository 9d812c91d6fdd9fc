//! Several files as one environment, as conda-lock merges them, for those who keep what training needs apart from what
//! serving needs. conda-lock wants each list of channels to be the end of the longest; here it is enough that the longest
//! has them in the same order, since then every package is still looked for in the same order as before.

use rattler_conda_types::Channel;

use super::{Diagnostic, Environment, EnvironmentError, Requirement, reader::NO_DEPENDENCIES};

/// One environment that asks for all that these ask for.
pub(super) fn merge(environments: Vec<Environment>) -> Result<Environment, EnvironmentError> {
    let channels = channels(&environments)?;
    let mut environments = environments.into_iter();
    let mut merged = environments.next().ok_or(EnvironmentError::Nothing)?;
    for environment in environments {
        absorb(&mut merged, environment);
    }
    if let Some((channels, key)) = channels {
        merged.channels = channels;
        merged.channels_key = Some(key);
    }
    if !merged.is_empty() {
        merged.warnings.retain(|warning| warning.message != NO_DEPENDENCIES);
    }
    Ok(merged)
}

/// Channels, and the key that they stand under.
type Told = (Vec<Channel>, Box<Diagnostic>);

/// The longest list of channels that a file names, if all others are part of it.
fn channels(environments: &[Environment]) -> Result<Option<Told>, EnvironmentError> {
    let lists = || environments.iter().filter_map(|each| Some((&each.channels, each.channels_key.as_ref()?)));
    // Of lists of one length, the first.
    let Some((longest, key)) = lists().rev().max_by_key(|(channels, _)| channels.len()) else { return Ok(None) };
    for (channels, other) in lists() {
        let mut rest = longest.iter();
        if !channels.iter().all(|channel| rest.any(|known| known.base_url == channel.base_url)) {
            let names = |channels: &[Channel]| channels.iter().map(shown).collect::<Vec<_>>().join(", ");
            let mut diagnostic = other.clone();
            diagnostic.message = format!(
                "these channels ({}) and those of `{}` ({}) have no common order: neither list is a part of the other",
                names(channels),
                key.file.display(),
                names(longest),
            );
            diagnostic.help = "write the same `channels:` in both files, or leave them out of one".to_owned();
            return Err(EnvironmentError::Merge(diagnostic));
        }
    }
    Ok(Some((longest.clone(), key.clone())))
}

/// A channel's name, or its URL without secrets.
fn shown(channel: &Channel) -> String {
    let url = crate::network::redact(channel.base_url.as_ref());
    let url = url.trim_end_matches('/');
    url.strip_prefix("https://conda.anaconda.org/").unwrap_or(url).to_owned()
}

fn absorb(merged: &mut Environment, other: Environment) {
    for requirement in other.requirements {
        let same = |known: &Requirement| known.meaning() == requirement.meaning();
        if !merged.requirements.iter().any(same) {
            merged.requirements.push(requirement);
        }
    }
    for line in other.pip {
        if !merged.pip.iter().any(|known| known.text == line.text && known.selector == line.selector) {
            merged.pip.push(line);
        }
    }
    for (name, value) in other.variables {
        merged.variables.insert(name, value);
    }
    for platform in other.platforms {
        if !merged.platforms.contains(&platform) {
            merged.platforms.push(platform);
        }
    }
    merged.expansions.extend(other.expansions);
    merged.expansions.sort_unstable();
    merged.expansions.dedup();
    merged.name = merged.name.take().or(other.name);
    merged.prefix = merged.prefix.take().or(other.prefix);
    merged.warnings.extend(other.warnings);
}
