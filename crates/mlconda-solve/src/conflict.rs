//! Why the solver has no solution, as data: resolvo's conflict graph, converted to a tree of reasons, and the virtual
//! packages that its records need.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use mlconda_types::host::Host;
use resolvo::{
    Interner, Requirement, SolvableId, StringId, VersionSetId,
    conflict::{ConflictCause, ConflictEdge, ConflictGraph, ConflictNode},
};

use super::{
    VirtualDemand,
    tree_text::{TreeNode, draw},
    wording,
};

/// The most reasons of a tree, and its greatest depth.
const MAX_REASONS: usize = 4000;
const MAX_DEPTH: usize = 100;

/// Why there is no solution.
pub(super) struct Reasons {
    /// For each requested spec that has matches: why it is impossible, or that it is possible and conflicts with
    /// others.
    trees: Vec<TreeNode>,
    /// The requested specs that no record matches: name and spec.
    unmatched: Vec<(String, String)>,
    /// The specs of virtual packages that records depend on and the host does not satisfy: name and version.
    demands: BTreeSet<(String, String)>,
}

impl Reasons {
    /// Reasons that consist of one sentence.
    pub(super) fn sentence(text: String) -> Self {
        Self { trees: vec![TreeNode { text, children: Vec::new() }], unmatched: Vec::new(), demands: BTreeSet::new() }
    }

    /// The reason that no record matches a requested spec.
    pub(super) fn unmatched(name: String, spec: String) -> Self {
        Self { trees: Vec::new(), unmatched: vec![(name, spec)], demands: BTreeSet::new() }
    }

    /// Adds a virtual package that a record needs.
    pub(super) fn add_demand(&mut self, name: &str, wanted: &str) {
        self.demands.insert((name.to_owned(), wanted.trim_matches('*').to_owned()));
    }

    /// The reasons of a conflict graph. Each record is explained once.
    pub(super) fn of_graph<I: Interner<SolvableId = SolvableId>>(graph: &ConflictGraph, interner: &I) -> Self {
        let nodes = nodes(graph);
        let is_possible = possible(&nodes);
        let alike = graph.simplify(interner);
        let mut walk = Walk {
            merged: &|id| alike.get(&id).map_or_else(|| vec![id], |node| node.ids.clone()),
            nodes: &nodes,
            is_possible: &is_possible,
            interner,
            told: HashSet::new(),
            left: MAX_REASONS,
            reasons: Self { trees: Vec::new(), unmatched: Vec::new(), demands: BTreeSet::new() },
        };
        let root = &nodes[graph.root_node.index()];
        for (set, targets) in walk.in_order(&root.requires) {
            if is_missing(&nodes, targets) {
                let unmatched = (walk.name(set), walk.spec(set));
                walk.reasons.unmatched.push(unmatched);
            } else {
                let tree = walk.requirement(set, targets, 0);
                walk.reasons.trees.extend(tree);
            }
        }
        walk.reasons
    }

    /// The names of the specs that no record matches.
    pub(super) fn unmatched_names(&self) -> impl Iterator<Item = &str> {
        self.unmatched.iter().map(|(name, _)| name.as_str())
    }

    /// The reasons as text. Specs without matches come first, with the versions that exist.
    pub(super) fn text(&self, repodata: &Repodata) -> String {
        let mut lines: Vec<_> =
            self.unmatched.iter().map(|(name, spec)| wording::no_candidate(name, spec, repodata)).collect();
        match self.trees.as_slice() {
            [TreeNode { text, children }] if children.is_empty() => lines.push(text.clone()),
            trees => draw(trees, "", &mut lines),
        }
        lines.join("\n")
    }

    /// The virtual packages that records need and the host does not have.
    pub(super) fn virtual_demands(&self, host: &Host) -> Vec<VirtualDemand> {
        let demand = |(name, wanted): &(String, String)| {
            let assumed = host.virtual_packages.iter().find(|package| package.name.as_normalized() == name);
            VirtualDemand {
                name: name.clone(),
                wanted: wanted.clone(),
                assumed: assumed.map(|package| package.version.clone()),
            }
        };
        self.demands.iter().map(demand).collect()
    }
}

/// A node of a conflict graph, with its edges sorted by their meaning.
struct Node {
    kind: ConflictNode,
    /// For each requirement, the nodes that would satisfy it.
    requires: Vec<(VersionSetId, Vec<usize>)>,
    constrains: Vec<VersionSetId>,
    /// Why it must not be chosen.
    excluded: Option<StringId>,
    /// Whether another record of the same package is also needed.
    is_second: bool,
}

/// The nodes of a conflict graph, by their index in it.
fn nodes(graph: &ConflictGraph) -> Vec<Node> {
    let node = |kind: &ConflictNode| Node {
        kind: *kind,
        requires: Vec::new(),
        constrains: Vec::new(),
        excluded: None,
        is_second: false,
    };
    let mut nodes: Vec<Node> = graph.graph.node_weights().map(node).collect();
    for edge in graph.graph.raw_edges() {
        let (target, kind) = (edge.target().index(), nodes[edge.target().index()].kind);
        let source = &mut nodes[edge.source().index()];
        match (edge.weight, kind) {
            (ConflictEdge::Requires(Requirement::Single(set)), _) => {
                match source.requires.iter_mut().find(|(other, _)| *other == set) {
                    Some((_, targets)) => targets.push(target),
                    None => source.requires.push((set, vec![target])),
                }
            }
            (ConflictEdge::Conflict(ConflictCause::Constrains(set)), _) => {
                if !source.constrains.contains(&set) {
                    source.constrains.push(set);
                }
            }
            (ConflictEdge::Conflict(ConflictCause::Excluded), ConflictNode::Excluded(reason)) => {
                source.excluded = Some(reason);
            }
            (ConflictEdge::Conflict(ConflictCause::ForbidMultipleInstances), _) => source.is_second = true,
            // Conda has no unions, and the solver gets no locked records.
            (ConflictEdge::Requires(Requirement::Union(_)) | ConflictEdge::Conflict(_), _) => {}
        }
    }
    nodes
}

/// For each node, whether it is possible: it has no conflict of its own, and each of its requirements has a possible
/// node. Packages that only need each other are possible.
fn possible(nodes: &[Node]) -> Vec<bool> {
    let is_free = |node: &Node| {
        let is_record = matches!(node.kind, ConflictNode::Root | ConflictNode::Solvable(_));
        is_record && node.constrains.is_empty() && node.excluded.is_none() && !node.is_second
    };
    let mut is_possible: Vec<bool> = nodes.iter().map(is_free).collect();
    loop {
        let hindered = |index: &usize| {
            is_possible[*index]
                && nodes[*index].requires.iter().any(|(_, targets)| targets.iter().all(|target| !is_possible[*target]))
        };
        let hindered: Vec<usize> = (0..nodes.len()).filter(hindered).collect();
        if hindered.is_empty() {
            return is_possible;
        }
        hindered.into_iter().for_each(|index| is_possible[index] = false);
    }
}

/// Whether no record matches a requirement.
fn is_missing(nodes: &[Node], targets: &[usize]) -> bool {
    matches!(targets, [target] if matches!(nodes[*target].kind, ConflictNode::UnresolvedDependency))
}

/// A walk through the graph, from the requested specs to the conflicts.
struct Walk<'g, I> {
    nodes: &'g [Node],
    is_possible: &'g [bool],
    /// The records that have the same reasons as a record.
    merged: &'g dyn Fn(SolvableId) -> Vec<SolvableId>,
    interner: &'g I,
    told: HashSet<SolvableId>,
    /// How many more reasons may be shown.
    left: usize,
    reasons: Reasons,
}

impl<'g, I: Interner<SolvableId = SolvableId>> Walk<'g, I> {
    fn name(&self, set: VersionSetId) -> String {
        self.interner.display_name(self.interner.version_set_name(set)).to_string()
    }

    /// A spec with its name, as users write it.
    fn spec(&self, set: VersionSetId) -> String {
        let (name, bare) = (self.name(set), self.interner.display_version_set(set).to_string());
        if matches!(bare.as_str(), "" | "*") { name } else { format!("{name} {bare}") }
    }

    fn demand(&mut self, set: VersionSetId) {
        let name = self.name(set);
        if name.starts_with("__") {
            let wanted = self.interner.display_version_set(set).to_string();
            self.reasons.add_demand(&name, &wanted);
        }
    }

    /// Requirements, the possible ones first, because the others conflict with them.
    fn in_order(&self, requires: &'g [(VersionSetId, Vec<usize>)]) -> Vec<(VersionSetId, &'g [usize])> {
        let is_possible = |targets: &[usize]| targets.iter().any(|target| self.is_possible[*target]);
        let (possible, others): (Vec<_>, Vec<_>) = requires
            .iter()
            .map(|(set, targets)| (*set, targets.as_slice()))
            .partition(|(_, targets)| is_possible(targets));
        possible.into_iter().chain(others).collect()
    }

    /// A requirement, with the records that would satisfy it. `None` if the limit of reasons is reached; the virtual
    /// packages that it needs are collected nevertheless.
    fn requirement(&mut self, set: VersionSetId, targets: &[usize], depth: usize) -> Option<TreeNode> {
        let is_shown = self.take_room();
        let spec = self.spec(set);
        if is_missing(self.nodes, targets) {
            self.demand(set);
            let lacks = if spec.starts_with("__") { "which the system does not have" } else { "which nothing matches" };
            return is_shown.then(|| TreeNode { text: format!("`{spec}`, {lacks}"), children: Vec::new() });
        }
        let possible: Vec<usize> = targets.iter().copied().filter(|target| self.is_possible[*target]).collect();
        let (targets, says) = match (possible.as_slice(), depth) {
            ([], 0) => (targets, " cannot be installed"),
            ([], _) => (targets, ", which cannot be installed"),
            (possible, 0) => (possible, " is possible"),
            (possible, _) => (possible, ", which is possible"),
        };
        let children: Vec<TreeNode> = targets.iter().filter_map(|target| self.candidate(*target, depth + 1)).collect();
        let has_room = self.left > 0;
        let is_told = |target: &usize| match self.nodes[*target].kind {
            ConflictNode::Solvable(id) => self.told.contains(&id),
            _ => false,
        };
        let end = match children.is_empty() {
            false => ":",
            true if has_room && targets.iter().all(is_told) => " (see above)",
            // The reasons are cut off here.
            true => " (and more)",
        };
        is_shown.then(|| TreeNode { text: format!("`{spec}`{says}{end}"), children })
    }

    /// Counts one reason. Returns whether the limit still allows it.
    fn take_room(&mut self) -> bool {
        let has_room = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_room
    }

    /// A record, and why it cannot be installed. `None` if it was already explained, or the limit of reasons is
    /// reached.
    fn candidate(&mut self, index: usize, depth: usize) -> Option<TreeNode> {
        let node = &self.nodes[index];
        let ConflictNode::Solvable(id) = node.kind else { return None };
        if depth > MAX_DEPTH || !self.told.insert(id) {
            return None;
        }
        let is_shown = self.take_room();
        let alike = (self.merged)(id);
        self.told.extend(&alike);
        let name = self.interner.display_merged_solvables(&alike).to_string();
        let leaf = |text: String| is_shown.then(|| TreeNode { text, children: Vec::new() });
        if let Some(reason) = node.excluded {
            return leaf(format!("{name} {}", self.interner.display_string(reason)));
        }
        if node.is_second {
            return leaf(format!("{name}, which conflicts with the versions above"));
        }
        if !node.constrains.is_empty() {
            node.constrains.iter().for_each(|set| self.demand(*set));
            let specs = node.constrains.iter().map(|set| format!("`{}`", self.spec(*set))).join(" and ");
            return leaf(format!("{name} allows only {specs}"));
        }
        let requirements = self.in_order(&node.requires);
        if requirements.is_empty() {
            return leaf(name);
        }
        let children = requirements.into_iter().filter_map(|(set, targets)| self.requirement(set, targets, depth + 1));
        let children: Vec<TreeNode> = children.collect();
        is_shown.then(|| TreeNode { text: format!("{name} needs"), children })
    }
}
