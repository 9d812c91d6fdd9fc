//! The part of the model with the packages that a repair must link again.

use std::collections::BTreeSet;

use super::{Content, Node, Prefix, is_below};

impl Prefix {
    /// The packages that must be linked again, because a part of them is missing or differs. If a shared directory has
    /// another mode, one package is enough, because it sets the mode: the one with the first path in the directory.
    pub(crate) fn damaged(&self) -> BTreeSet<String> {
        if self.is_marked {
            return self.installed.keys().cloned().collect();
        }
        let now = self.places_made();
        let is_one = |node: Option<&Node>| matches!(node, Some(Node::Directory { .. }));
        // If several packages have the same place, the file there may belong to any of them, because their order may
        // have changed since.
        let is_of = |place: &String, node: &Node| {
            now.iter().any(|(name, places)| {
                let contents = &self.installed[name].contents;
                let is_same = |path: &String| match &contents[path] {
                    Content::Directory => is_one(Some(node)),
                    content => *node == self.node(content),
                };
                places.iter().any(|(path, other)| other == place && is_same(path))
            })
        };
        let is_sound =
            |place: &String| self.is_reached(place) && self.tree.get(place).is_some_and(|node| is_of(place, node));
        let mut damaged: BTreeSet<String> =
            now.iter().filter(|(_, places)| !places.values().all(is_sound)).map(|(name, _)| name.clone()).collect();
        for (directory, node) in &self.tree {
            if !is_one(Some(node)) || *node == (Node::Directory { mode: 0o755 }) {
                continue;
            }
            let all = || now.iter().flat_map(|(name, places)| places.values().map(move |place| (place, name)));
            let first = all()
                .filter(|(place, _)| is_below(place, directory))
                .min_by_key(|(place, name)| (place.split('/').collect::<Vec<_>>(), *name));
            let last = || all().filter(|(place, _)| *place == directory).max_by_key(|(_, name)| *name);
            damaged.extend(first.or_else(last).map(|(_, name)| name.clone()));
        }
        damaged
    }
}
