//! Merges several files into one environment, as conda-lock does, for instance one for training and one for serving.
//! conda-lock wants each list of channels to be the end of the longest one; here the longest one must contain them in
//! the same order. Either way, a channel that only one file names counts for the packages of the others, too.

use mlconda_types::redact;
use rattler_conda_types::{Channel, PackageNameMatcher};

use super::{
    Diagnostic, Environment, EnvironmentError, Location, Requirement, Warning,
    reader::{ADDED_PIP, NO_DEPENDENCIES},
};

/// Merges environments.
pub(super) fn merge(environments: Vec<Environment>) -> Result<Environment, EnvironmentError> {
    let channels = channels(&environments)?;
    let warnings =
        channels.as_ref().map_or_else(Vec::new, |channels| missing_channels_warnings(&environments, channels));
    let is_pip_listed = environments.iter().any(lists_pip);
    let mut environments = environments.into_iter();
    let mut merged = environments.next().ok_or(EnvironmentError::Nothing)?;
    for environment in environments {
        absorb(&mut merged, environment);
    }
    if let Some((channels, key)) = channels {
        merged.channels = channels;
        merged.channels_key = Some(key);
    }
    merged.warnings.extend(warnings);
    if is_pip_listed {
        merged.warnings.retain(|warning| warning.message != ADDED_PIP);
    }
    if !merged.is_empty() {
        merged.warnings.retain(|warning| warning.message != NO_DEPENDENCIES);
    }
    Ok(merged)
}

/// Whether a file lists pip itself, not only because of its `pip:` list.
fn lists_pip(environment: &Environment) -> bool {
    let is_pip = |requirement: &Requirement| matches!(&requirement.spec.name, PackageNameMatcher::Exact(name) if name.as_normalized() == "pip");
    let is_added = environment.warnings.iter().any(|warning| warning.message == ADDED_PIP);
    environment.requirements.iter().any(is_pip) && !is_added
}

/// Warnings for files without channels whose packages now come from the channels of other files.
fn missing_channels_warnings(environments: &[Environment], (channels, key): &ChannelList) -> Vec<Warning> {
    let urls = |channels: &[Channel]| channels.iter().map(|channel| channel.base_url.clone()).collect::<Vec<_>>();
    let nameless = environments.iter().filter(|each| each.channels_key.is_none());
    let asking = nameless.filter(|each| {
        let is_open = each.requirements.iter().any(|requirement| requirement.spec.channel.is_none());
        is_open && urls(&each.channels) != urls(channels)
    });
    let warning = |each: &Environment| Warning {
        message: format!("this file has no `channels:`; those of `{}` are used", key.file.display()),
        file: each.file.as_path().into(),
        location: Location { line: 1, column: 1 },
    };
    asking.map(warning).collect()
}

/// Channels, and the location of their key.
type ChannelList = (Vec<Channel>, Box<Diagnostic>);

/// The longest list of channels, if it contains all others in order.
fn channels(environments: &[Environment]) -> Result<Option<ChannelList>, EnvironmentError> {
    let lists = || environments.iter().filter_map(|each| Some((&each.channels, each.channels_key.as_ref()?)));
    // If several lists are equally long, the first one is used.
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
pub(crate) fn shown(channel: &Channel) -> String {
    let url = redact::url(channel.base_url.as_ref());
    let url = url.trim_end_matches('/');
    url.strip_prefix("https://conda.anaconda.org/").unwrap_or(url).to_owned()
}

fn absorb(merged: &mut Environment, other: Environment) {
    for requirement in other.requirements {
        let same = |known: &Requirement| known.canonical_text() == requirement.canonical_text();
        if !merged.requirements.iter().any(same) {
            merged.requirements.push(requirement);
        }
    }
    for line in other.pip {
        if !merged.pip.iter().any(|known| {
            known.text == line.text && known.directory == line.directory && known.selector == line.selector
        }) {
            merged.pip.push(line);
        }
    }
    for file in other.pip_files {
        if !merged.pip_files.contains(&file) {
            merged.pip_files.push(file);
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
    for (key, place) in other.key_locations {
        // The last file counts for variables, the first one for other keys.
        if key.starts_with("variables.") || !merged.key_locations.contains_key(&key) {
            merged.key_locations.insert(key, place);
        }
    }
    for (channel, line) in other.channel_lines {
        merged.channel_lines.entry(channel).or_insert(line);
    }
    merged.expansions.extend(other.expansions);
    mlconda_types::sorting::sort(&mut merged.expansions);
    merged.expansions.dedup();
    merged.slim = merged.slim.take().or(other.slim);
    merged.name = merged.name.take().or(other.name);
    merged.prefix = merged.prefix.take().or(other.prefix);
    merged.warnings.extend(other.warnings);
}
