//! Words for a contradiction: a tree that begins at the user's lines and ends where nothing is left. A package's
//! version that is out already is told of only if it would have changed the outcome.

use std::collections::{BTreeSet, HashSet};

use indexmap::IndexMap;
use itertools::Itertools;

use super::reasoning::{Candidate, Conflict, Demand, Id, Kind, Label, Out, Package, Reasoning, What, Why};
use crate::network;

/// How many lines a tree has at most, how deep it is, and how many of a kind are listed.
const LINES: usize = 24;
const DEPTH: usize = 8;
const LISTED: usize = 3;

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
    draw(&node.children, "", &mut drawn);
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

/// The candidates of a package that are out for the same reason.
struct Cause {
    out: Out,
    step: usize,
    places: Vec<usize>,
}

fn causes<'a>(places: impl Iterator<Item = (usize, &'a Candidate<'a>)>) -> Vec<Cause> {
    let mut causes: IndexMap<String, Cause> = IndexMap::new();
    for (place, candidate) in places {
        if let Some((out, step)) = &candidate.out {
            let cause =
                causes.entry(out.key()).or_insert_with(|| Cause { out: out.clone(), step: *step, places: Vec::new() });
            cause.step = cause.step.max(*step);
            cause.places.push(place);
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
        let causes = causes(package.candidates.iter().enumerate());
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
        for cause in asked.into_iter().chain(others) {
            children.extend(self.cause(id, cause));
        }
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
        let spec = &self.reasoning.question().environment.requirements[line].spec;
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
            let builds = of.iter().map(|each| each.what.label(Label::Build)).unique().collect_vec();
            let shown = builds.iter().rev().take(LISTED + 2).map(|build| format!("`{build}`")).join(", ");
            let others = if builds.len() > LISTED + 2 { ", …" } else { "" };
            return format!("{asked}, and no such build exists; there are {shown}{others}");
        }
        let versions = package.candidates.iter().map(|each| each.what.version()).sorted().rev().dedup().collect_vec();
        let newest = versions.iter().take(LISTED + 2).map(ToString::to_string).join(", ");
        match versions.len() {
            1 => format!("{asked}, and the only version is {newest}"),
            few if few <= LISTED + 2 => format!("{asked}, and the versions are {newest}"),
            _ => format!("{asked}, and no such version exists; the newest are {newest}"),
        }
    }

    /// Why a package is needed: from the user's line down to it.
    fn why(&mut self, id: Id) -> Option<Node> {
        match self.reasoning.packages[id].needed? {
            (Why::Line(line), _) => Some(Node { text: self.line(line), children: Vec::new() }),
            (Why::By(by), step) => Some(self.chain(by, step, id, None)),
        }
    }

    fn cause(&mut self, id: Id, cause: &Cause) -> Option<Node> {
        let label = label(&self.reasoning.packages[id], &cause.places);
        let plain = |text: String| Some(Node { text, children: Vec::new() });
        match &cause.out {
            Out::Supposed => None,
            Out::Line(line) => plain(self.line(*line)),
            Out::Elsewhere(line) => {
                let asked = self.line(*line);
                let channels = self.channels_of(id, &cause.places);
                plain(format!("{asked}, and {label} is in {channels}"))
            }
            Out::Hidden(channel) => {
                let channel = self.channel(channel);
                plain(format!("{label} is in {channel}, and a channel before it has packages of the same name"))
            }
            Out::Newer(cutoff) => plain(format!("{label} is newer than {cutoff}")),
            Out::Ruled(by) => Some(self.chain(*by, cause.step, id, Some(&cause.places))),
            Out::Lacks(demand) => Some(self.lacking(&label, demand, cause.step)),
        }
    }

    /// What a candidate demands, and why nothing is left of it.
    fn lacking(&mut self, label: &str, demand: &std::rc::Rc<Demand>, step: usize) -> Node {
        let verb = verb(demand.kind);
        let other = self.reasoning.id(&demand.name);
        let matching = self.reasoning.matching(other, demand);
        let package = self.reasoning.packages[other].clone();
        let platform = self.platform();
        let rest = match package.candidates.as_slice() {
            [] if package.is_virtual() => format!(", and {platform} is assumed to have none"),
            [] => ", which no channel has".to_owned(),
            [only] if package.is_virtual() => {
                format!(", and {platform} is assumed to have `{}={}`", package.name, only.what.version())
            }
            _ if !matching.contains(&true) => ", which no channel has".to_owned(),
            _ => String::new(),
        };
        let text = format!("{label} {verb} `{}`{rest}", demand.text);
        let mut children = Vec::new();
        if rest.is_empty() && self.depth < DEPTH && self.told.insert(format!("{} {step}", demand.text)) {
            self.depth += 1;
            let earlier = |candidate: &Candidate<'_>| candidate.out.as_ref().is_some_and(|(_, since)| *since < step);
            let candidates = package.candidates.iter().enumerate();
            let gone = causes(candidates.filter(|(place, candidate)| matching[*place] && earlier(candidate)));
            children.extend(gone.iter().filter_map(|cause| self.cause(other, cause)));
            self.depth -= 1;
        }
        Node { text, children }
    }

    /// From the user's line down to what a package demands of another one, as of a step. `gone` are the candidates that
    /// this took out; without them, the demand is that there be one.
    fn chain(&mut self, by: Id, step: usize, id: Id, gone: Option<&[usize]>) -> Node {
        let mut node = self.link(by, step, id, gone);
        let mut current = by;
        loop {
            match self.reasoning.packages[current].needed {
                Some((Why::By(above), since)) => {
                    let mut link = self.link(above, since, current, None);
                    link.children.push(node);
                    node = link;
                    current = above;
                }
                Some((Why::Line(line), _)) => {
                    // A bare name says no more than the line below it.
                    return Node { text: self.line(line), children: vec![node] };
                }
                None => return node,
            }
        }
    }

    /// What is left of a package as of a step, and what it demands of another one.
    fn link(&mut self, by: Id, step: usize, id: Id, gone: Option<&[usize]>) -> Node {
        let package = self.reasoning.packages[by].clone();
        let name = self.reasoning.packages[id].name.clone();
        let is_left = |candidate: &Candidate<'_>| candidate.out.as_ref().is_none_or(|(_, since)| *since >= step);
        let left = package.candidates.iter().positions(is_left).collect_vec();
        let mut demands: Vec<std::rc::Rc<Demand>> = Vec::new();
        for place in &left {
            let of_this = package.candidates[*place].demands.iter().filter(|demand| demand.name == name);
            demands.extend(of_this.cloned());
        }
        demands = demands.into_iter().unique_by(|demand| (demand.text.clone(), demand.kind)).collect();
        let counts: Vec<std::rc::Rc<Demand>> = match gone {
            None => demands.into_iter().filter(|demand| demand.kind == Kind::Needs).collect(),
            Some(gone) => demands
                .into_iter()
                .filter(|demand| {
                    let matching = self.reasoning.matching(id, demand);
                    gone.iter().any(|place| !matching[*place])
                })
                .collect(),
        };
        let verb = counts.first().map_or("needs", |demand| verb(demand.kind));
        let texts = counts.iter().map(|demand| format!("`{}`", demand.text)).unique().sorted().collect_vec();
        let more = if texts.len() > LISTED { ", or the like" } else { "" };
        let text = format!("{} {verb} {}{more}", label(&package, &left), texts.iter().take(LISTED).join(" or "));
        let mut node = Node { text, children: Vec::new() };
        if self.depth < DEPTH && self.told.insert(format!("{} {}", node.text, left.len())) {
            self.depth += 1;
            node.children = self.others(&package, step, id, gone);
            self.depth -= 1;
        }
        node
    }

    /// The candidates of a package that were out before a step, and would have demanded something else.
    fn others(&mut self, package: &Package<'_>, step: usize, id: Id, gone: Option<&[usize]>) -> Vec<Node> {
        let by = self.reasoning.id(&package.name);
        let name = self.reasoning.packages[id].name.clone();
        let mut relevant = Vec::new();
        for (place, candidate) in package.candidates.iter().enumerate() {
            let Some((out, since)) = &candidate.out else { continue };
            // The chain itself tells of what its own steps leave.
            let of_chain = match (package.needed, out) {
                (Some((Why::Line(line), _)), Out::Line(other)) => line == *other,
                (Some((Why::By(above), _)), Out::Ruled(other)) => above == *other,
                _ => false,
            };
            if *since >= step || of_chain {
                continue;
            }
            let on_it = candidate.demands.iter().filter(|demand| demand.name == name).cloned().collect_vec();
            let matching = on_it.iter().map(|demand| (demand.kind, self.reasoning.matching(id, demand))).collect_vec();
            let differs = match gone {
                None => !matching.iter().any(|(kind, _)| *kind == Kind::Needs),
                Some(gone) => gone.iter().any(|place| matching.iter().all(|(_, matching)| matching[*place])),
            };
            if differs {
                relevant.push((place, candidate));
            }
        }
        causes(relevant.into_iter()).iter().filter_map(|cause| self.cause(by, cause)).collect()
    }

    fn line(&mut self, line: usize) -> String {
        self.lines.insert(line);
        let requirement = &self.reasoning.question().environment.requirements[line];
        format!("line {} asks for `{}`", requirement.location.line, requirement.text.trim())
    }

    fn platform(&self) -> String {
        format!("`{}`", self.reasoning.host().platform)
    }

    fn channels_of(&self, id: Id, places: &[usize]) -> String {
        let package = &self.reasoning.packages[id];
        let channels = places.iter().filter_map(|place| match package.candidates[*place].what {
            What::Record(record) => record.channel.as_deref(),
            What::Virtual(_) => None,
        });
        channels.unique().map(|channel| self.channel(channel)).join(" and ")
    }

    /// A channel as the environment calls it, without secrets.
    fn channel(&self, url: &str) -> String {
        let known = self.reasoning.question().environment.all_channels();
        let known = known.iter().find(|channel| channel.base_url.as_str() == url);
        let name =
            known.and_then(|channel| channel.name.clone()).filter(|name| !name.contains("://") && !name.contains('@'));
        format!(
            "`{}`",
            name.unwrap_or_else(|| url.parse().map_or_else(|_| url.to_owned(), |url| network::redact(&url)))
        )
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Needs => "needs",
        Kind::Constrains => "goes only with",
    }
}

/// Some candidates of a package: its name and their versions.
fn label(package: &Package<'_>, places: &[usize]) -> String {
    let all = package.candidates.iter().map(|each| each.what.version()).sorted().dedup().collect_vec();
    let mine = places.iter().map(|place| package.candidates[*place].what.version()).sorted().dedup().collect_vec();
    let shared = package
        .candidates
        .iter()
        .enumerate()
        .any(|(place, each)| !places.contains(&place) && mine.contains(&each.what.version()));
    let name = &package.name;
    let versions = match mine.as_slice() {
        [] => return format!("`{name}`"),
        few if few.len() <= LISTED => few.iter().map(ToString::to_string).join(" or "),
        [first, .., last] => {
            let between = all.iter().filter(|version| (*first..=*last).contains(version)).count();
            let count = if between == mine.len() { String::new() } else { format!("{} versions from ", mine.len()) };
            format!("{count}{first} to {last}")
        }
        [only] => only.to_string(),
    };
    let builds = places.iter().map(|place| package.candidates[*place].what.label(Label::Build)).unique().collect_vec();
    match builds.as_slice() {
        [build] if shared && mine.len() == 1 => format!("{name} {versions} {build}"),
        _ if shared => format!("{name} {versions} (in some builds)"),
        _ => format!("{name} {versions}"),
    }
}
