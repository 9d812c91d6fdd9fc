//! Finds the environments in an image, which are directories with a `conda-meta/history`, and the package of each file.

use std::{collections::HashMap, ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use mlconda_inspect::size::{FileKind, Owners, Sizes};
use mlconda_prefix::{distributions, is_foreign, parse_record};
use rattler_conda_types::PrefixRecord;

use super::{
    ContentLayer, Contents, ImageEnvironment, Origin, invalid,
    tree::{Node, Tree, shown},
};
use crate::ImageError;

/// The directory of the records, and the path of the history, both relative to a prefix. In paths of the tree, NUL is
/// the separator.
const META: &[u8] = b"conda-meta";
const HISTORY: &[u8] = b"conda-meta\0history";

/// The contents of an image, after all layers were read into the tree.
pub(super) fn contents(tree: &Tree<'_>, layers: Vec<ContentLayer>) -> Result<Contents, ImageError> {
    let prefixes = prefixes(tree)?;
    let mut sizes = Sizes::default();
    let mut environments = Vec::new();
    for prefix in &prefixes {
        let history = tree.nodes.get(&beneath(prefix, HISTORY)).map(|(_, node)| node);
        let history = history.and_then(|node| content(tree, node)).unwrap_or_default();
        let (records, first) = (records(tree, prefix)?, sizes.packages.len());
        sizes.add_packages(&records);
        environments.push(ImageEnvironment {
            prefix: PathBuf::from(format!("/{}", shown(prefix))),
            records,
            history: String::from_utf8_lossy(history).into_owned(),
            first,
        });
    }
    let owners: Vec<Owners<'_>> = environments.iter().map(|each| Owners::new(&each.records)).collect();
    let mut layer_of = Vec::new();
    let mut seen = vec![false; tree.files.len()];
    for (path, (_, node)) in &tree.nodes {
        let Node::File(number) = node else { continue };
        let file = &tree.files[*number];
        let is_first = !std::mem::replace(&mut seen[*number], true);
        let (bytes, symbols) = if is_first { (file.bytes, file.symbols) } else { (0, 0) };
        // The innermost environment, because an environment in `envs` is also below its root prefix.
        let inside = (0..prefixes.len()).rev().find(|number| is_below(path, &prefixes[*number]));
        let relative = match inside.map(|number| prefixes[number].len()) {
            Some(length) if length > 0 => &path[length + 1..],
            Some(_) => path,
            None => {
                ["usr\0local\0", "usr\0"].iter().find_map(|above| path.strip_prefix(above.as_bytes())).unwrap_or(path)
            }
        };
        let relative = as_path(relative);
        let owner = inside.and_then(|number| Some(environments[number].first + owners[number].find(&relative)?));
        sizes.add_file(as_path(path), bytes, symbols, FileKind::of(&relative), owner);
        layer_of.resize(sizes.files.len(), file.layer);
    }
    drop(owners);
    Ok(Contents { layers, environments, sizes, layer_of })
}

/// The prefixes, sorted. An inner prefix comes after the one that contains it.
fn prefixes(tree: &Tree<'_>) -> Result<Vec<Vec<u8>>, ImageError> {
    let mut prefixes = Vec::new();
    for (path, (_, node)) in &tree.nodes {
        let prefix = path.strip_suffix(HISTORY).filter(|_| matches!(node, Node::File(_)));
        // A directory `x-conda-meta` is something else.
        let prefix = prefix.filter(|prefix| prefix.is_empty() || prefix.ends_with(b"\0"));
        prefixes.extend(prefix.map(|prefix| prefix.strip_suffix(b"\0").unwrap_or(prefix).to_vec()));
    }
    let limit = tree.limits.environments;
    if prefixes.len() > limit {
        return Err(invalid("the image", format!("it has more than {limit} environments, which is the limit")));
    }
    mlconda_types::sorting::sort(&mut prefixes);
    Ok(prefixes)
}

/// The records of a prefix, sorted by file name. Those of distributions come last.
fn records(tree: &Tree<'_>, prefix: &[u8]) -> Result<Vec<PrefixRecord>, ImageError> {
    let begin = beneath(&beneath(prefix, META), b"");
    let below = || tree.nodes.range(begin.clone()..).take_while(|(path, _)| path.starts_with(&begin));
    let mut records = Vec::new();
    for kind in ["json", distributions::EXTENSION] {
        for (path, (_, node)) in below() {
            let name = &path[begin.len()..];
            let end = name.rsplit(|byte| *byte == b'.').next();
            let is_it = !name.starts_with(b".") && !name.contains(&0) && end == Some(kind.as_bytes());
            let Some(text) = Some(node).filter(|_| is_it).and_then(|node| content(tree, node)) else { continue };
            match parse_record(text) {
                Ok(record) => records.push(record),
                Err(_) if kind == "json" && is_foreign(text) => {}
                Err(error) => {
                    return Err(invalid(&format!("the record `/{}` in the image", shown(path)), error.to_string()));
                }
            }
        }
    }
    Ok(records)
}

impl Contents {
    /// Names the packages of layers that mlconda has not made: those whose records are in the layer.
    pub(super) fn name_layers_by_records(&mut self, tree: &Tree<'_>) {
        let mut found: HashMap<usize, Vec<String>> = HashMap::new();
        for environment in &self.environments {
            let prefix = environment.prefix.strip_prefix("/").unwrap_or(&environment.prefix);
            for record in &environment.records {
                let path = prefix.join("conda-meta").join(distributions::record_name(record));
                let place = path.to_string_lossy().replace('/', "\0").into_bytes();
                let Some((_, Node::File(number))) = tree.nodes.get(&place) else { continue };
                let package = &record.repodata_record.package_record;
                let line = format!("{} {} {}", package.name.as_normalized(), package.version, package.build);
                found.entry(tree.files[*number].layer).or_default().push(line);
            }
        }
        for (number, layer) in self.layers.iter_mut().enumerate() {
            if layer.packages.is_empty() && matches!(layer.origin, Origin::Base | Origin::Other) {
                layer.packages = found.remove(&number).unwrap_or_default();
            }
        }
    }
}

fn content<'a>(tree: &'a Tree<'_>, node: &Node) -> Option<&'a [u8]> {
    let Node::File(number) = node else { return None };
    tree.files[*number].content.as_deref()
}

fn beneath(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"\0", name].concat() }
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(b"\0"))
}

/// Converts a path of the tree to a path that is relative to the root.
fn as_path(path: &[u8]) -> PathBuf {
    let bytes = path.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
    PathBuf::from(OsString::from_vec(bytes))
}
