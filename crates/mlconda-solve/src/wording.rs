//! Texts for unsolvable environments: similar names, names of channels, and versions that there are.

use std::collections::BTreeSet;

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use mlconda_environment::{self as environment, Requirement};
use mlconda_types::{redact, sorting::InOrder};
use rattler_conda_types::{Channel, Subdir};

use super::UnknownPackage;

/// The most similar names that are shown.
const NEAR: usize = 3;
/// One typing mistake is allowed for this many letters of a name.
const LETTERS_A_SLIP: usize = 4;
/// The most versions that are shown.
const VERSIONS: usize = 5;

/// Names on PyPI or in `import` statements that differ from the conda name. No spelling correction finds these, and
/// people write them often.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("bs4", "beautifulsoup4"),
    ("cv2", "opencv"),
    ("dateutil", "python-dateutil"),
    ("faiss-gpu", "faiss"),
    ("graphviz", "python-graphviz"),
    ("msgpack", "msgpack-python"),
    ("opencv-python", "opencv"),
    ("opencv-python-headless", "opencv"),
    ("pil", "pillow"),
    ("psycopg2-binary", "psycopg2"),
    ("pyqt5", "pyqt"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("tables", "pytables"),
    ("tensorflow-gpu", "tensorflow"),
    ("torch", "pytorch"),
    ("xgboost", "py-xgboost"),
    ("yaml", "pyyaml"),
];

/// Affixes that conda channels add to a name: R's `ggplot2` is `r-ggplot2`.
const AFFIXES: [(&str, &str); 10] = [
    ("r-", ""),
    ("bioconductor-", ""),
    ("python-", ""),
    ("py", ""),
    ("lib", ""),
    ("perl-", ""),
    ("", "-python"),
    ("", "-base"),
    ("", "-core"),
    ("", "-cpu"),
];

/// Affixes that Linux distributions add to a name.
const FOREIGN_AFFIXES: [(&str, &str); 5] =
    [("python3-", ""), ("python-", ""), ("py-", ""), ("", "-dev"), ("", "-devel")];

/// Similar names, the most likely first: the conda name of a package with another name elsewhere, then corrected
/// spellings.
pub fn near_names(name: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let other = OTHER_NAMES.iter().filter(|(alias, _)| *alias == name).map(|(_, known)| (*known).to_owned());
    let affixed = AFFIXES.iter().map(|(prefix, suffix)| format!("{prefix}{name}{suffix}"));
    let bare = FOREIGN_AFFIXES
        .iter()
        .filter_map(|(prefix, suffix)| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned()));
    let is_known = |known: &String| names.contains(known.as_str());
    let called_otherwise: Vec<String> = other.chain(affixed).chain(bare).filter(is_known).collect();
    let alike: Vec<(usize, &&str)> = names.iter().filter_map(|known| Some((slips(name, known)?, known))).collect();
    // Only the nearest ones are likely.
    let fewest = alike.iter().map(|(slips, _)| *slips).min().unwrap_or_default();
    let most = if called_otherwise.is_empty() { fewest } else { 1 };
    let alike = alike.into_iter().filter(|(slips, _)| *slips <= most).in_order_by(|left, right| left.cmp(right));
    called_otherwise.into_iter().chain(alike.map(|(_, known)| (*known).to_owned())).unique().take(NEAR).collect()
}

/// The number of typing mistakes between two names; `None` if there are too many for their length. A common prefix up
/// to a `-` does not count, because all of `pytest-…` are similar.
fn slips(name: &str, known: &str) -> Option<usize> {
    let common = name.bytes().zip(known.bytes()).take_while(|(left, right)| left == right).count();
    let start = name.as_bytes()[..common].iter().rposition(|byte| *byte == b'-').map_or(0, |dash| dash + 1);
    let (rest, other) = (name.get(start..)?, known.get(start..)?);
    let few = rest.len().max(other.len()) / LETTERS_A_SLIP;
    if rest.len().abs_diff(other.len()) > few {
        return None;
    }
    Some(strsim::damerau_levenshtein(rest, other)).filter(|slips| *slips <= few)
}

/// The message for packages that no channel has.
pub(super) fn unknown(packages: &[UnknownPackage], more: usize) -> String {
    let rest = if more == 0 { String::new() } else { format!("\n\nand {more} more") };
    packages.iter().map(|package| package.diagnostic.to_string()).join("\n\n") + &rest
}

/// The suggestion for a package that no channel has.
pub(super) fn unknown_help(requirement: &Requirement, name: &str, platform: Subdir, names: &BTreeSet<&str>) -> String {
    if let Some(home) = environment::native_platform(requirement).filter(|home| !platform.as_str().starts_with(home)) {
        let system = home.split('-').next().unwrap_or(home);
        return format!("it is a package of {home}: `- sel({system}): {name}` asks for it there only");
    }
    if let Some((package, version)) = glued(name, names) {
        return format!("did you mean `{package}={version}`?");
    }
    match near_names(name, names).as_slice() {
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
