//! Renders a contradiction as a tree of text that begins at the user's lines and ends where no candidate is left. A
//! version that was already excluded is mentioned only if it would have changed the result.

mod label;

use std::{
    collections::{BTreeSet, HashSet},
    rc::Rc,
};

use indexmap::IndexMap;
use itertools::Itertools;

use self::label::{Label, alternatives, and};
use super::{
    propagation::{
        Candidate, CandidateRecord, Contradiction, Dependency, DependencyKind, Exclusion, NeedReason, PackageId,
        PackageState, Propagation,
    },
    requirement_line::RequirementLine,
    tree_text::{TreeNode, draw},
    wording,
};

/// The most lines of a tree, its greatest depth, and the most items of a list.
const MAX_LINES: usize = 24;
const MAX_DEPTH: usize = 8;
const MAX_LISTED: usize = 3;
/// The most links of a chain that are shown: the first and the last ones.
const MAX_LINKS: usize = 12;
/// The most reasons that are shown for one package.
const MAX_GROUPS: usize = 4;

/// A contradiction as text, and the requirements that it follows from.
pub(super) struct ReasonTree {
    pub(super) text: String,
    pub(super) lines: BTreeSet<usize>,
}

struct TreeBuilder<'r, 'a> {
    propagation: &'r mut Propagation<'a>,
    told: HashSet<String>,
    lines: BTreeSet<usize>,
    depth: usize,
}

/// Renders a contradiction.
pub(super) fn render(conflict: &mut Contradiction<'_>) -> ReasonTree {
    let (node, lines) = node(conflict);
    let mut drawn = vec![node.text];
    draw(&merged(node.children), "", &mut drawn);
    let more = drawn.len().saturating_sub(MAX_LINES);
    if more > 1 {
        drawn.truncate(MAX_LINES);
        drawn.push(format!("… and {more} more lines of reasons"));
    }
    ReasonTree { text: drawn.join("\n"), lines }
}

/// Merges nodes with the same text.
fn merged(nodes: Vec<TreeNode>) -> Vec<TreeNode> {
    let mut alike: IndexMap<String, Vec<TreeNode>> = IndexMap::new();
    for node in nodes {
        alike.entry(node.text).or_default().extend(node.children);
    }
    alike.into_iter().map(|(text, children)| TreeNode { text, children: merged(children) }).collect()
}

fn node(conflict: &mut Contradiction<'_>) -> (TreeNode, BTreeSet<usize>) {
    match conflict {
        Contradiction::NoCandidates(package, propagation) => {
            let mut builder = TreeBuilder::new(propagation);
            let node = builder.empty(*package);
            (node, builder.lines)
        }
        Contradiction::EveryVersion(package, propagation, branches) => {
            let mut lines = BTreeSet::new();
            let mut alike: IndexMap<String, (Vec<String>, TreeNode)> = IndexMap::new();
            for (version, branch) in branches {
                let (node, used) = node(branch);
                lines.extend(used);
                let mut text = vec![node.text.clone()];
                draw(&node.children, "", &mut text);
                alike.entry(text.join("\n")).or_insert_with(|| (Vec::new(), node)).0.push(version.clone());
            }
            let mut builder = TreeBuilder::new(propagation);
            let mut children: Vec<TreeNode> = builder.why(*package).into_iter().collect();
            lines.extend(builder.lines);
            let name = &propagation.packages[*package].name;
            children.extend(alike.into_values().map(|(versions, node)| TreeNode {
                text: format!("with {name} {}, {}", versions.join(" or "), node.text),
                children: node.children,
            }));
            (TreeNode { text: format!("no version of `{name}` will do:"), children }, lines)
        }
    }
}

/// After the last step.
const END: usize = usize::MAX;

/// The candidates of a package that are excluded for the same reason.
struct ExclusionGroup<'a> {
    exclusion: Exclusion<'a>,
    step: usize,
    indices: Vec<usize>,
    /// Their dependencies, if these are the reason.
    dependencies: Vec<Rc<Dependency>>,
}

fn causes<'c, 'a: 'c>(
    indices: impl Iterator<Item = (usize, &'c Candidate<'a>)>,
    before: usize,
) -> Vec<ExclusionGroup<'a>> {
    let mut causes: IndexMap<_, ExclusionGroup<'a>> = IndexMap::new();
    for (index, candidate) in indices {
        let Some((exclusion, step)) = candidate.reason(before) else { continue };
        let new = || ExclusionGroup {
            exclusion: exclusion.clone(),
            step: *step,
            indices: Vec::new(),
            dependencies: Vec::new(),
        };
        let cause = causes.entry(exclusion.key()).or_insert_with(new);
        cause.step = cause.step.max(*step);
        cause.indices.push(index);
        match exclusion {
            Exclusion::MissingDependency(dependency)
                if !cause.dependencies.iter().any(|known| known.text == dependency.text) =>
            {
                cause.dependencies.push(Rc::clone(dependency));
            }
            _ => {}
        }
    }
    causes.into_values().filter(|cause| !matches!(cause.exclusion, Exclusion::Assumed)).collect()
}

impl<'r, 'a> TreeBuilder<'r, 'a> {
    fn new(propagation: &'r mut Propagation<'a>) -> Self {
        Self { propagation, told: HashSet::new(), lines: BTreeSet::new(), depth: 0 }
    }

    /// A needed package without candidates.
    fn empty(&mut self, id: PackageId) -> TreeNode {
        let package = self.propagation.packages[id].clone();
        let causes = causes(package.candidates.iter().enumerate(), END);
        let told_why = causes.iter().any(|cause| match (package.needed, &cause.exclusion) {
            (
                Some((NeedReason::Requirement(line), _)),
                Exclusion::Requirement(other) | Exclusion::OtherChannel(other),
            ) => line == *other,
            (Some((NeedReason::Package(by), _)), Exclusion::ByPackage(other)) => by == *other,
            _ => false,
        });
        if let ([ExclusionGroup { exclusion: Exclusion::Requirement(line), .. }], true) = (causes.as_slice(), told_why)
        {
            return TreeNode { text: self.no_such(*line, &package), children: Vec::new() };
        }
        let mut children: Vec<TreeNode> = Vec::new();
        if !told_why {
            children.extend(self.why(id));
        }
        // The user's lines come first.
        let (asked, others): (Vec<_>, Vec<_>) =
            causes.iter().partition(|cause| matches!(cause.exclusion, Exclusion::Requirement(_)));
        children.extend(self.causes(id, asked.into_iter().chain(others)));
        let name = &package.name;
        let all_ask = causes.len() > 1
            && causes
                .iter()
                .all(|cause| matches!(cause.exclusion, Exclusion::Requirement(_) | Exclusion::ByPackage(_)));
        let text = match package.candidates.as_slice() {
            [] if package.is_virtual() => {
                format!("{} is assumed to have no `{name}`, and it is needed:", self.platform())
            }
            [] => format!("no channel has `{name}` for {}, and it is needed:", self.platform()),
            [only] if package.is_virtual() => {
                let version = only.record.version();
                format!("{} is assumed to have `{name}={version}`, and that is not what is needed:", self.platform())
            }
            _ if all_ask => format!("no version of `{name}` satisfies all of this:"),
            _ => format!("no version of `{name}` will do:"),
        };
        TreeNode { text, children }
    }

    /// The requirement, and the versions or builds that exist instead.
    fn no_such(&mut self, line: usize, package: &PackageState<'_>) -> String {
        let asked = self.line(line);
        let spec = &self.propagation.environment().requirements[line].spec;
        let of_version: Vec<&Candidate<'_>> = package
            .candidates
            .iter()
            .filter(|candidate| {
                spec.version.as_ref().is_some_and(|version| version.matches(candidate.record.version()))
            })
            .collect();
        if package.is_virtual() {
            let has = package
                .candidates
                .iter()
                .map(|each| format!("`{}={}`", package.name, each.record.version()))
                .join(" and ");
            return format!("{asked}, and {} is assumed to have {has}", self.platform());
        }
        if !of_version.is_empty() || spec.version.is_none() {
            let of = if of_version.is_empty() { package.candidates.iter().collect() } else { of_version };
            let builds = of.iter().map(|each| each.record.build()).unique().collect_vec();
            let shown = builds.iter().rev().take(MAX_LISTED + 2).map(|build| format!("`{build}`")).join(", ");
            let others = if builds.len() > MAX_LISTED + 2 { ", …" } else { "" };
            return format!("{asked}, and no such build exists; there are {shown}{others}");
        }
        let versions = package.candidates.iter().map(|each| each.record.version()).dedup().collect_vec();
        match versions.as_slice() {
            [only] => format!("{asked}, and the only version is {only}"),
            few if few.len() <= MAX_LISTED => format!("{asked}, and the versions are {}", and(few)),
            [first, .., last] => {
                format!(
                    "{asked}, and there is no such one among the {} versions from {first} to {last}",
                    versions.len()
                )
            }
            [] => asked,
        }
    }

    /// Why a package is needed: from the user's line down to it.
    fn why(&mut self, id: PackageId) -> Option<TreeNode> {
        match self.propagation.packages[id].needed? {
            (NeedReason::Requirement(line), _) => Some(TreeNode { text: self.line(line), children: Vec::new() }),
            (NeedReason::Package(by), step) => Some(self.chain(by, step, id, None)),
        }
    }

    /// The first few reasons why candidates of a package are excluded.
    fn causes<'c>(&mut self, id: PackageId, causes: impl Iterator<Item = &'c ExclusionGroup<'a>>) -> Vec<TreeNode>
    where
        'a: 'c,
    {
        let causes = causes.collect_vec();
        let mut nodes = causes.iter().take(MAX_GROUPS).filter_map(|cause| self.cause(id, cause)).collect_vec();
        let others: Vec<usize> = causes.iter().skip(MAX_GROUPS).flat_map(|cause| cause.indices.clone()).collect();
        if !others.is_empty() {
            let label = Label::of(&self.propagation.packages[id], &others);
            let text = format!("{label} {} out for other reasons", label.verb("is", "are"));
            nodes.push(TreeNode { text, children: Vec::new() });
        }
        nodes
    }

    fn cause(&mut self, id: PackageId, cause: &ExclusionGroup<'_>) -> Option<TreeNode> {
        let label = Label::of(&self.propagation.packages[id], &cause.indices);
        let is = label.verb("is", "are");
        let text = match &cause.exclusion {
            Exclusion::Assumed => return None,
            Exclusion::ByPackage(by) => return Some(self.chain(*by, cause.step, id, Some(&cause.indices))),
            Exclusion::MissingDependency(_) => return Some(self.lacking(&label, cause)),
            Exclusion::Requirement(line) => self.line(*line),
            Exclusion::OtherChannel(line) => {
                let text =
                    format!("{label} {is} in {}, and that is another channel", self.channels_of(id, &cause.indices));
                return Some(TreeNode {
                    text: self.line(*line),
                    children: vec![TreeNode { text, children: Vec::new() }],
                });
            }
            Exclusion::LowerPriority(channel) => {
                let name = &self.propagation.packages[id].name;
                format!("{label} {is} in {}, behind a channel that has `{name}`, too", self.channel(channel))
            }
            Exclusion::TooNew(cutoff) => format!("{label} {is} newer than {cutoff}"),
        };
        Some(TreeNode { text, children: Vec::new() })
    }

    /// The dependencies of candidates, and why no candidate is left for them.
    fn lacking(&mut self, label: &Label, cause: &ExclusionGroup<'_>) -> TreeNode {
        let Some(first) = cause.dependencies.first() else {
            return TreeNode { text: label.to_string(), children: Vec::new() };
        };
        let other = self.propagation.id(&first.name);
        let mut matching = vec![false; self.propagation.packages[other].candidates.len()];
        for dependency in &cause.dependencies {
            let (_, of_this) = self.propagation.target(dependency);
            matching.iter_mut().zip(&*of_this).for_each(|(matching, of_this)| *matching |= *of_this);
        }
        let package = self.propagation.packages[other].clone();
        let platform = self.platform();
        let rest = match package.candidates.as_slice() {
            [] if package.is_virtual() => format!(", and {platform} is assumed to have none"),
            [only] if package.is_virtual() => {
                format!(", and {platform} is assumed to have `{}={}`", package.name, only.record.version())
            }
            _ if !matching.contains(&true) => ", which no channel has".to_owned(),
            _ => String::new(),
        };
        let dependencies = alternatives(&cause.dependencies);
        let text = format!("{label} {} {dependencies}{rest}", label.dependencies(first.kind));
        let mut children = Vec::new();
        if rest.is_empty() && self.depth < MAX_DEPTH && self.told.insert(format!("{dependencies} {}", cause.step)) {
            self.depth += 1;
            let candidates = package.candidates.iter().enumerate();
            let gone = causes(candidates.filter(|(index, _)| matching[*index]), cause.step);
            children.extend(self.causes(other, gone.iter()));
            self.depth -= 1;
        }
        TreeNode { text, children }
    }

    /// The chain from the user's line down to the dependency of package `by` on package `id`, as of a step. `gone` are
    /// the candidates of `id` that this dependency excluded; without them, `by` only needs `id`.
    fn chain(&mut self, by: PackageId, step: usize, id: PackageId, gone: Option<&[usize]>) -> TreeNode {
        let mut node = self.link(by, step, id, gone);
        // Upwards from dependency to dependent. A chain may be as long as the channel has packages.
        let (mut above, mut current) = (Vec::new(), by);
        while let Some((NeedReason::Package(next), since)) = self.propagation.packages[current].needed {
            above.push((next, since, current));
            current = next;
        }
        let left_out = above.len().saturating_sub(MAX_LINKS);
        let is_told = |index: usize| left_out < 2 || !(MAX_LINKS / 2..MAX_LINKS / 2 + left_out).contains(&index);
        for (index, (by, since, id)) in above.into_iter().enumerate() {
            if is_told(index) {
                let mut link = self.link(by, since, id, None);
                link.children.push(node);
                node = link;
            } else if index == MAX_LINKS / 2 {
                let text = format!("… and so on, through {left_out} more packages");
                node = TreeNode { text, children: vec![node] };
            }
        }
        match self.propagation.packages[current].needed {
            // A bare name would repeat the line below it.
            Some((NeedReason::Requirement(line), _)) => TreeNode { text: self.line(line), children: vec![node] },
            _ => node,
        }
    }

    /// The remaining candidates of a package as of a step, and their dependency on another package.
    fn link(&mut self, by: PackageId, step: usize, id: PackageId, gone: Option<&[usize]>) -> TreeNode {
        let package = self.propagation.packages[by].clone();
        let name = self.propagation.packages[id].name.clone();
        let is_left = |candidate: &Candidate<'_>| candidate.exclusion.as_ref().is_none_or(|(_, since)| *since >= step);
        let left = package.candidates.iter().positions(is_left).collect_vec();
        let mut dependencies: Vec<Rc<Dependency>> = Vec::new();
        for index in &left {
            let of_this = self.propagation.dependencies(&package.candidates[*index]);
            dependencies.extend(of_this.iter().filter(|dependency| dependency.name == name).cloned());
        }
        dependencies =
            dependencies.into_iter().unique_by(|dependency| (dependency.text.clone(), dependency.kind)).collect();
        let counts: Vec<Rc<Dependency>> = match gone {
            None => dependencies.into_iter().filter(|dependency| dependency.kind == DependencyKind::Depends).collect(),
            Some(gone) => dependencies
                .into_iter()
                .filter(|dependency| {
                    let (_, matching) = self.propagation.target(dependency);
                    gone.iter().any(|index| !matching[*index])
                })
                .collect(),
        };
        let label = Label::of(&package, &left);
        // If the package is only needed, the exact spec does not matter.
        let texts = match (gone, counts.as_slice()) {
            (None, [_, _, ..]) => format!("`{name}`"),
            _ => alternatives(&counts),
        };
        let verb = label.dependencies(counts.first().map_or(DependencyKind::Depends, |dependency| dependency.kind));
        let text = format!("{label} {verb} {texts}");
        let mut node = TreeNode { text, children: Vec::new() };
        if self.depth < MAX_DEPTH && self.told.insert(format!("{} {}", node.text, left.len())) {
            self.depth += 1;
            node.children = self.others(&package, step, id, gone);
            self.depth -= 1;
        }
        node
    }

    /// The candidates of a package that were excluded before a step, and would have asked for something else.
    fn others(
        &mut self,
        package: &PackageState<'a>,
        step: usize,
        id: PackageId,
        gone: Option<&[usize]>,
    ) -> Vec<TreeNode> {
        let by = self.propagation.id(&package.name);
        let name = self.propagation.packages[id].name.clone();
        let mut relevant = Vec::new();
        for (index, candidate) in package.candidates.iter().enumerate() {
            let Some((exclusion, _)) = candidate.reason(step) else { continue };
            // The chain itself reports what its own steps exclude.
            let of_chain = match (package.needed, exclusion) {
                (Some((NeedReason::Requirement(line), _)), Exclusion::Requirement(other)) => line == *other,
                (Some((NeedReason::Package(above), _)), Exclusion::ByPackage(other)) => above == *other,
                _ => false,
            };
            if of_chain {
                continue;
            }
            let dependencies = self.propagation.dependencies(candidate);
            let on_it = dependencies.iter().filter(|dependency| dependency.name == name);
            let matching =
                on_it.map(|dependency| (dependency.kind, self.propagation.target(dependency).1)).collect_vec();
            let differs = match gone {
                None => !matching.iter().any(|(kind, _)| *kind == DependencyKind::Depends),
                Some(gone) => gone.iter().any(|index| matching.iter().all(|(_, matching)| matching[*index])),
            };
            if differs {
                relevant.push((index, candidate));
            }
        }
        let relevant = causes(relevant.into_iter(), step);
        self.causes(by, relevant.iter())
    }

    fn line(&mut self, line: usize) -> String {
        self.lines.insert(line);
        let line = RequirementLine::of(self.propagation.environment(), line);
        format!("{line} asks for `{}`", line.text)
    }

    fn platform(&self) -> String {
        format!("`{}`", self.propagation.host().platform)
    }

    fn channels_of(&self, id: PackageId, indices: &[usize]) -> String {
        let package = &self.propagation.packages[id];
        let channels = indices.iter().filter_map(|index| match &package.candidates[*index].record {
            CandidateRecord::Record(record) => record.channel.as_deref(),
            CandidateRecord::Virtual(_) => None,
        });
        channels.unique().map(|channel| self.channel(channel)).join(" and ")
    }

    /// The name that the environment uses for a channel, without secrets.
    fn channel(&self, url: &str) -> String {
        let known = self.propagation.environment().all_channels();
        let known = known.iter().find(|channel| channel.base_url.as_str() == url);
        format!("`{}`", known.map_or_else(|| url.to_owned(), wording::channel))
    }
}
