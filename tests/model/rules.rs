//! Rules of the model that need no prefix: the order of linking, the target of a path, the files of documentation.

use std::collections::{BTreeMap, BTreeSet};

use super::packages::{Content, Contents, Package};

/// The directories above a path, the topmost first.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// Whether a path is below a directory.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// A package's contents without documentation. A file stays if another file that stays has the same content or links to
/// it.
pub(crate) fn slim(contents: &Contents) -> Contents {
    fn text(contents: &Contents, path: &str) -> Option<String> {
        match contents.get(path)? {
            Content::File { text, .. } => Some(text.clone()),
            Content::Link(to) => text(contents, &follow(&format!("{}/{to}", above(path).last()?), &|_| None)?),
            Content::Directory => None,
        }
    }
    let is_documentation = |path: &str| path.starts_with("share/doc/");
    let stays = contents.keys().filter(|path| !is_documentation(path)).filter_map(|path| text(contents, path));
    let stays: BTreeSet<String> = stays.collect();
    let is_left = |path: &str| !is_documentation(path) || text(contents, path).is_none_or(|text| stays.contains(&text));
    contents.iter().filter(|(path, _)| is_left(path)).map(|(path, content)| (path.clone(), content.clone())).collect()
}

/// The order in which packages are linked. Packages without any relation to others are first. Then, level by level,
/// follow packages whose dependencies are linked, each level by name. In a circle, the one with the fewest open
/// dependencies is first.
pub(crate) fn linking_order(packages: &BTreeMap<String, &Package>) -> Vec<String> {
    let open: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|(name, package)| {
            (name.as_str(), package.depends.iter().copied().filter(|other| packages.contains_key(*other)).collect())
        })
        .collect();
    let is_needed = |name: &str| open.values().any(|depends| depends.contains(name));
    let mut order: Vec<&str> =
        open.iter().filter(|(name, depends)| depends.is_empty() && !is_needed(name)).map(|(name, _)| *name).collect();
    while order.len() < open.len() {
        let missing = |name: &str| open[name].iter().filter(|other| !order.contains(other)).count();
        let left: Vec<&str> = open.keys().copied().filter(|name| !order.contains(name)).collect();
        let mut level: Vec<&str> = left.iter().copied().filter(|name| missing(name) == 0).collect();
        if level.is_empty() {
            level.extend(left.iter().copied().min_by_key(|name| (missing(name), *name)));
        }
        order.extend(level);
    }
    order.into_iter().map(str::to_owned).collect()
}

/// The place of a path if links of packages above it are followed; `None` if it is outside of the prefix, or in a
/// circle.
pub(crate) fn follow(path: &str, link: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let (mut place, mut followed): (Vec<String>, u32) = (Vec::new(), 0);
    while let Some(part) = left.pop() {
        match part.as_str() {
            "." | "" => continue,
            ".." => drop(place.pop()?),
            _ => place.push(part),
        }
        if !left.is_empty()
            && let Some(to) = link(&place.join("/"))
        {
            followed += 1;
            if followed > 10 {
                return None;
            }
            place.pop();
            left.extend(to.split('/').rev().map(str::to_owned));
        }
    }
    Some(place.join("/"))
}

/// The place of a package's path. An empty directory may be a link of another package: then its place is the link's
/// target.
pub(crate) fn place_of(path: &str, content: &Content, link: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match content {
        Content::Directory => Some(follow(&format!("{path}/-"), link)?.strip_suffix("/-")?.to_owned()),
        _ => follow(path, link),
    }
}
