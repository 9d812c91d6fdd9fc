//! Words for a contradiction: a tree that begins at the user's lines and ends where nothing is left. A package's
//! version that is out already is told of only if it would have changed the outcome.

mod label;

use std::{
    collections::{BTreeSet, HashSet},
    rc::Rc,
};

use indexmap::IndexMap;
use itertools::Itertools;

use self::label::{Label, alternatives, and};
use super::{
    explain::Line,
    reasoning::{Candidate, Conflict, Demand, Id, Kind, Out, Package, Reasoning, What, Why},
    wording,
};

/// How many lines a tree has at most, how deep it is, and how many of a kind are listed.
const LINES: usize = 24;
const DEPTH: usize = 8;
const LISTED: usize = 3;
/// How many links of a chain are told: the first ones and the last ones.
const LINKS: usize = 12;
/// How many reasons are given for one package.
const CAUSES: usize = 4;

/// A contradiction in words, and the requirements that it follows from.
pub(super) struct Told {
    pub(super) text: String,
    pub(super) lines: BTreeSet<usize>,
}

struct Node {
    text: String,
    children: Vec<Node>,
}

struct Teller<'r, 'a> {
    reasoning: &'r mut Reasoning<'a>,
    told: HashSet<String>,
    lines: BTreeSet<usize>,
    depth: usize,
}

/// Puts a contradiction into words.
pub(super) fn tell(conflict: &mut Conflict<'_>) -> Told {
    let (node, lines) = node(conflict);
    let mut drawn = vec![node.text];
    draw(&merged(node.children), "", &mut drawn);
    let more = drawn.len().saturating_sub(LINES);
    if more > 1 {
        drawn.truncate(LINES);
        drawn.push(format!("… and {more} more lines of reasons"));
    }
    Told { text: drawn.join("\n"), lines }
}

fn draw(children: &[Node], indent: &str, drawn: &mut Vec<String>) {
    for (place, child) in children.iter().enumerate() {
        let (branch, below) = if place + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        drawn.push(format!("{indent}{branch}{}", child.text));
        draw(&child.children, &format!("{indent}{below}"), drawn);
    }
}

/// What begins alike is told once.
fn merged(nodes: Vec<Node>) -> Vec<Node> {
    let mut alike: IndexMap<String, Vec<Node>> = IndexMap::new();
    for node in nodes {
        alike.entry(node.text).or_default().extend(node.children);
    }
    alike.into_iter().map(|(text, children)| Node { text, children: merged(children) }).collect()
}

fn node(conflict: &mut Conflict<'_>) -> (Node, BTreeSet<usize>) {
    match conflict {
        Conflict::Empty(package, reasoning) => {
            let mut teller = Teller::new(reasoning);
            let node = teller.empty(*package);
            (node, teller.lines)
        }
        Conflict::Each(package, reasoning, branches) => {
            let mut lines = BTreeSet::new();
            let mut alike: IndexMap<String, (Vec<String>, Node)> = IndexMap::new();
            for (version, branch) in branches {
                let (node, used) = node(branch);
                lines.extend(used);
                let mut text = vec![node.text.clone()];
                draw(&node.children, "", &mut text);
                alike.entry(text.join("\n")).or_insert_with(|| (Vec::new(), node)).0.push(version.clone());
            }
            let mut teller = Teller::new(reasoning);
            let mut children: Vec<Node> = teller.why(*package).into_iter().collect();
            lines.extend(teller.lines);
            let name = &reasoning.packages[*package].name;
            children.extend(alike.into_values().map(|(versions, node)| Node {
                text: format!("with {name} {}, {}", versions.join(" or "), node.text),
                children: node.children,
            }));
            (Node { text: format!("no version of `{name}` will do:"), children }, lines)
        }
    }
}

/// After every step.
const END: usize = usize::MAX;

/// The candidates of a package that are out for the same reason.
struct Cause<'a> {
    out: Out<'a>,
    step: usize,
    places: Vec<usize>,
    /// What they demand, if that is the reason.
    demands: Vec<Rc<Demand>>,
}

fn causes<'c, 'a: 'c>(places: impl Iterator<Item = (usize, &'c Candidate<'a>)>, before: usize) -> Vec<Cause<'a>> {
    let mut causes: IndexMap<_, Cause<'a>> = IndexMap::new();
    for (place, candidate) in places {
        let Some((out, step)) = candidate.reason(before) else { continue };
        let new = || Cause { out: out.clone(), step: *step, places: Vec::new(), demands: Vec::new() };
        let cause = causes.entry(out.key()).or_insert_with(new);
        cause.step = cause.step.max(*step);
        cause.places.push(place);
        match out {
            Out::Lacks(demand) if !cause.demands.iter().any(|known| known.text == demand.text) => {
                cause.demands.push(Rc::clone(demand));
            }
            _ => {}
        }
    }
    causes.into_values().filter(|cause| !matches!(cause.out, Out::Supposed)).collect()
}

impl<'r, 'a> Teller<'r, 'a> {
    fn new(reasoning: &'r mut Reasoning<'a>) -> Self {
        Self { reasoning, told: HashSet::new(), lines: BTreeSet::new(), depth: 0 }
    }

    /// A package that is needed, and of which nothing is left.
    fn empty(&mut self, id: Id) -> Node {
        let package = self.reasoning.packages[id].clone();
        let causes = causes(package.candidates.iter().enumerate(), END);
        let told_why = causes.iter().any(|cause| match (package.needed, &cause.out) {
            (Some((Why::Line(line), _)), Out::Line(other) | Out::Elsewhere(other)) => line == *other,
            (Some((Why::By(by), _)), Out::Ruled(other)) => by == *other,
            _ => false,
        });
        if let ([Cause { out: Out::Line(line), .. }], true) = (causes.as_slice(), told_why) {
            return Node { text: self.no_such(*line, &package), children: Vec::new() };
        }
        let mut children: Vec<Node> = Vec::new();
        if !told_why {
            children.extend(self.why(id));
        }
        // What the user wrote comes first.
        let (asked, others): (Vec<_>, Vec<_>) = causes.iter().partition(|cause| matches!(cause.out, Out::Line(_)));
        children.extend(self.causes(id, asked.into_iter().chain(others)));
        let name = &package.name;
        let all_ask = causes.len() > 1 && causes.iter().all(|cause| matches!(cause.out, Out::Line(_) | Out::Ruled(_)));
        let text = match package.candidates.as_slice() {
            [] if package.is_virtual() => {
                format!("{} is assumed to have no `{name}`, and it is needed:", self.platform())
            }
            [] => format!("no channel has `{name}` for {}, and it is needed:", self.platform()),
            [only] if package.is_virtual() => {
                let version = only.what.version();
                format!("{} is assumed to have `{name}={version}`, and that is not what is needed:", self.platform())
            }
            _ if all_ask => format!("no version of `{name}` satisfies all of this:"),
            _ => format!("no version of `{name}` will do:"),
        };
        Node { text, children }
    }

    /// What a requirement asks for, and what there is instead.
    fn no_such(&mut self, line: usize, package: &Package<'_>) -> String {
        let asked = self.line(line);
        let spec = &self.reasoning.environment().requirements[line].spec;
        let of_version: Vec<&Candidate<'_>> = package
            .candidates
            .iter()
            .filter(|candidate| spec.version.as_ref().is_some_and(|version| version.matches(candidate.what.version())))
            .collect();
        if package.is_virtual() {
            let has = package
                .candidates
                .iter()
                .map(|each| format!("`{}={}`", package.name, each.what.version()))
                .join(" and ");
            return format!("{asked}, and {} is assumed to have {has}", self.platform());
        }
        if !of_version.is_empty() || spec.version.is_none() {
            let of = if of_version.is_empty() { package.candidates.iter().collect() } else { of_version };
            let builds = of.iter().map(|each| each.what.build()).unique().collect_vec();
            let shown = builds.iter().rev().take(LISTED + 2).map(|build| format!("`{build}`")).join(", ");
            let others = if builds.len() > LISTED + 2 { ", …" } else { "" };
            return format!("{asked}, and no such build exists; there are {shown}{others}");
        }
        let versions = package.candidates.iter().map(|each| each.what.version()).dedup().collect_vec();
        match versions.as_slice() {
            [only] => format!("{asked}, and the only version is {only}"),
            few if few.len() <= LISTED => format!("{asked}, and the versions are {}", and(few)),
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
    fn why(&mut self, id: Id) -> Option<Node> {
        match self.reasoning.packages[id].needed? {
            (Why::Line(line), _) => Some(Node { text: self.line(line), children: Vec::new() }),
            (Why::By(by), step) => Some(self.chain(by, step, id, None)),
        }
    }

    /// Why candidates of a package are out, the first few reasons.
    fn causes<'c>(&mut self, id: Id, causes: impl Iterator<Item = &'c Cause<'a>>) -> Vec<Node>
    where
        'a: 'c,
    {
        let causes = causes.collect_vec();
        let mut nodes = causes.iter().take(CAUSES).filter_map(|cause| self.cause(id, cause)).collect_vec();
        let others: Vec<usize> = causes.iter().skip(CAUSES).flat_map(|cause| cause.places.clone()).collect();
        if !others.is_empty() {
            let label = Label::of(&self.reasoning.packages[id], &others);
            let text = format!("{label} {} out for other reasons", label.verb("is", "are"));
            nodes.push(Node { text, children: Vec::new() });
        }
        nodes
    }

    fn cause(&mut self, id: Id, cause: &Cause<'_>) -> Option<Node> {
        let label = Label::of(&self.reasoning.packages[id], &cause.places);
        let is = label.verb("is", "are");
        let text = match &cause.out {
            Out::Supposed => return None,
            Out::Ruled(by) => return Some(self.chain(*by, cause.step, id, Some(&cause.places))),
            Out::Lacks(_) => return Some(self.lacking(&label, cause)),
            Out::Line(line) => self.line(*line),
            Out::Elsewhere(line) => {
                let text =
                    format!("{label} {is} in {}, and that is another channel", self.channels_of(id, &cause.places));
                return Some(Node { text: self.line(*line), children: vec![Node { text, children: Vec::new() }] });
            }
            Out::Hidden(channel) => {
                let name = &self.reasoning.packages[id].name;
                format!("{label} {is} in {}, behind a channel that has `{name}`, too", self.channel(channel))
            }
            Out::Newer(cutoff) => format!("{label} {is} newer than {cutoff}"),
        };
        Some(Node { text, children: Vec::new() })
    }

    /// What candidates demand, and why nothing is left of it.
    fn lacking(&mut self, label: &Label, cause: &Cause<'_>) -> Node {
        let Some(first) = cause.demands.first() else { return Node { text: label.to_string(), children: Vec::new() } };
        let other = self.reasoning.id(&first.name);
        let mut matching = vec![false; self.reasoning.packages[other].candidates.len()];
        for demand in &cause.demands {
            let (_, of_this) = self.reasoning.aim(demand);
            matching.iter_mut().zip(&*of_this).for_each(|(matching, of_this)| *matching |= *of_this);
        }
        let package = self.reasoning.packages[other].clone();
        let platform = self.platform();
        let rest = match package.candidates.as_slice() {
            [] if package.is_virtual() => format!(", and {platform} is assumed to have none"),
            [only] if package.is_virtual() => {
                format!(", and {platform} is assumed to have `{}={}`", package.name, only.what.version())
            }
            _ if !matching.contains(&true) => ", which no channel has".to_owned(),
            _ => String::new(),
        };
        let demands = alternatives(&cause.demands);
        let text = format!("{label} {} {demands}{rest}", label.demands(first.kind));
        let mut children = Vec::new();
        if rest.is_empty() && self.depth < DEPTH && self.told.insert(format!("{demands} {}", cause.step)) {
            self.depth += 1;
            let candidates = package.candidates.iter().enumerate();
            let gone = causes(candidates.filter(|(place, _)| matching[*place]), cause.step);
            children.extend(self.causes(other, gone.iter()));
            self.depth -= 1;
        }
        Node { text, children }
    }

    /// From the user's line down to what a package demands of another one, as of a step. `gone` are the candidates that
    /// this took out; without them, the demand is that there be one.
    fn chain(&mut self, by: Id, step: usize, id: Id, gone: Option<&[usize]>) -> Node {
        let mut node = self.link(by, step, id, gone);
        // Who needs whom, upwards; a chain may be as long as the channel has packages.
        let (mut above, mut current) = (Vec::new(), by);
        while let Some((Why::By(next), since)) = self.reasoning.packages[current].needed {
            above.push((next, since, current));
            current = next;
        }
        let left_out = above.len().saturating_sub(LINKS);
        let is_told = |place: usize| left_out < 2 || !(LINKS / 2..LINKS / 2 + left_out).contains(&place);
        for (place, (by, since, id)) in above.into_iter().enumerate() {
            if is_told(place) {
                let mut link = self.link(by, since, id, None);
                link.children.push(node);
                node = link;
            } else if place == LINKS / 2 {
                let text = format!("… and so on, through {left_out} more packages");
                node = Node { text, children: vec![node] };
            }
        }
        match self.reasoning.packages[current].needed {
            // A bare name says no more than the line below it.
            Some((Why::Line(line), _)) => Node { text: self.line(line), children: vec![node] },
            _ => node,
        }
    }

    /// What is left of a package as of a step, and what it demands of another one.
    fn link(&mut self, by: Id, step: usize, id: Id, gone: Option<&[usize]>) -> Node {
        let package = self.reasoning.packages[by].clone();
        let name = self.reasoning.packages[id].name.clone();
        let is_left = |candidate: &Candidate<'_>| candidate.out.as_ref().is_none_or(|(_, since)| *since >= step);
        let left = package.candidates.iter().positions(is_left).collect_vec();
        let mut demands: Vec<Rc<Demand>> = Vec::new();
        for place in &left {
            let of_this = self.reasoning.demands(&package.candidates[*place]);
            demands.extend(of_this.iter().filter(|demand| demand.name == name).cloned());
        }
        demands = demands.into_iter().unique_by(|demand| (demand.text.clone(), demand.kind)).collect();
        let counts: Vec<Rc<Demand>> = match gone {
            None => demands.into_iter().filter(|demand| demand.kind == Kind::Needs).collect(),
            Some(gone) => demands
                .into_iter()
                .filter(|demand| {
                    let (_, matching) = self.reasoning.aim(demand);
                    gone.iter().any(|place| !matching[*place])
                })
                .collect(),
        };
        let label = Label::of(&package, &left);
        // Which of them it is does not matter where only one is needed.
        let texts = match (gone, counts.as_slice()) {
            (None, [_, _, ..]) => format!("`{name}`"),
            _ => alternatives(&counts),
        };
        let verb = label.demands(counts.first().map_or(Kind::Needs, |demand| demand.kind));
        let text = format!("{label} {verb} {texts}");
        let mut node = Node { text, children: Vec::new() };
        if self.depth < DEPTH && self.told.insert(format!("{} {}", node.text, left.len())) {
            self.depth += 1;
            node.children = self.others(&package, step, id, gone);
            self.depth -= 1;
        }
        node
    }

    /// The candidates of a package that were out before a step, and would have demanded something else.
    fn others(&mut self, package: &Package<'a>, step: usize, id: Id, gone: Option<&[usize]>) -> Vec<Node> {
        let by = self.reasoning.id(&package.name);
        let name = self.reasoning.packages[id].name.clone();
        let mut relevant = Vec::new();
        for (place, candidate) in package.candidates.iter().enumerate() {
            let Some((out, _)) = candidate.reason(step) else { continue };
            // The chain itself tells of what its own steps leave.
            let of_chain = match (package.needed, out) {
                (Some((Why::Line(line), _)), Out::Line(other)) => line == *other,
                (Some((Why::By(above), _)), Out::Ruled(other)) => above == *other,
                _ => false,
            };
            if of_chain {
                continue;
            }
            let demands = self.reasoning.demands(candidate);
            let on_it = demands.iter().filter(|demand| demand.name == name);
            let matching = on_it.map(|demand| (demand.kind, self.reasoning.aim(demand).1)).collect_vec();
            let differs = match gone {
                None => !matching.iter().any(|(kind, _)| *kind == Kind::Needs),
                Some(gone) => gone.iter().any(|place| matching.iter().all(|(_, matching)| matching[*place])),
            };
            if differs {
                relevant.push((place, candidate));
            }
        }
        let relevant = causes(relevant.into_iter(), step);
        self.causes(by, relevant.iter())
    }

    fn line(&mut self, line: usize) -> String {
        self.lines.insert(line);
        let line = Line::of(self.reasoning.environment(), line);
        format!("{line} asks for `{}`", line.text)
    }

    fn platform(&self) -> String {
        format!("`{}`", self.reasoning.host().platform)
    }

    fn channels_of(&self, id: Id, places: &[usize]) -> String {
        let package = &self.reasoning.packages[id];
        let channels = places.iter().filter_map(|place| match &package.candidates[*place].what {
            What::Record(record) => record.channel.as_deref(),
            What::Virtual(_) => None,
        });
        channels.unique().map(|channel| self.channel(channel)).join(" and ")
    }

    /// A channel as the environment calls it, without secrets.
    fn channel(&self, url: &str) -> String {
        let known = self.reasoning.environment().all_channels();
        let known = known.iter().find(|channel| channel.base_url.as_str() == url);
        format!("`{}`", known.map_or_else(|| url.to_owned(), wording::channel))
    }
}
