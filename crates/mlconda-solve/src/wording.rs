//! Texts for unsolvable environments: similar names, names of channels, and versions that there are.

use std::collections::BTreeSet;

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use mlconda_environment::{self as environment, Requirement, near_names};
use mlconda_types::{redact, sorting::InOrder};
use rattler_conda_types::{Channel, Subdir};

use super::UnknownPackage;

/// The most versions that are shown.
const VERSIONS: usize = 5;

/// The message for packages that no channel has.
pub(super) fn unknown(packages: &[UnknownPackage], more: usize) -> String {
    let rest = if more == 0 { String::new() } else { format!("\n\nand {more} more") };
    packages.iter().map(|package| package.diagnostic.to_string()).join("\n\n") + &rest
}

/// The suggestion for a package that no channel has.
pub(super) fn unknown_help(requirement: &Requirement, name: &str, platform: Subdir, names: &BTreeSet<&str>) -> String {
    let has_file = requirement.location.line > 0;
    if let Some(home) = environment::native_platform(requirement).filter(|home| !platform.as_str().starts_with(home)) {
        if !has_file {
            return format!("it is a package of {home}");
        }
        let system = home.split('-').next().unwrap_or(home);
        return format!("it is a package of {home}: `- sel({system}): {name}` asks for it there only");
    }
    if let Some((package, version)) = glued(name, names) {
        return format!("did you mean `{package}={version}`?");
    }
    match near_names(name, names).as_slice() {
        [] if !has_file => "check the spelling, and name the channel that has it with `--channel CHANNEL`".to_owned(),
        [] => "check the spelling, and whether the channel that has it is under `channels:`".to_owned(),
        near => format!("did you mean {}?", near.iter().map(|name| format!("`{name}`")).join(" or ")),
    }
}

/// Splits a version off a name: `python3.11`, `numpy-1.26`.
fn glued<'a>(name: &'a str, names: &BTreeSet<&str>) -> Option<(&'a str, &'a str)> {
    let package = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let version = &name[package.len()..];
    let package = package.trim_end_matches(['-', '_']);
    (version.starts_with(|c: char| c.is_ascii_digit()) && names.contains(package)).then_some((package, version))
}

/// The name of a channel as users write it, without secrets.
pub(super) fn channel(channel: &Channel) -> String {
    let url = redact::url(channel.base_url.as_ref());
    let short =
        ["https://conda.anaconda.org/", "https://repo.anaconda.com/"].iter().find_map(|start| url.strip_prefix(start));
    short.unwrap_or(&url).trim_end_matches('/').to_owned()
}

/// The line for a spec that nothing matches, with the existing versions, if all of them were loaded.
pub(super) fn no_candidate(name: &str, spec: &str, repodata: &Repodata) -> String {
    if repodata.partial.contains(name) {
        return format!("nothing matches `{spec}`");
    }
    let versions: Vec<_> = repodata
        .subdirs
        .iter()
        .flatten()
        .map(|record| &record.package_record)
        .filter(|package| package.name.as_normalized() == name)
        .map(|package| &package.version)
        .in_order_by(|left, right| right.cmp(left))
        .dedup()
        .collect();
    let newest = versions.iter().take(VERSIONS).map(|version| version.as_str()).join(", ");
    match versions.len() {
        0 => format!("nothing matches `{spec}`"),
        1 => format!("nothing matches `{spec}`: the channels have version {newest} only"),
        2..=VERSIONS => format!("nothing matches `{spec}`: the channels have versions {newest}"),
        _ => format!("nothing matches `{spec}`: the newest versions that the channels have are {newest}"),
    }
}
