//! Draws a graph as a tree, as `cargo tree` does. A package is drawn with its dependencies once, and then with `(*)`,
//! so that the drawing is not longer than the graph.

use mlconda::graph::{Graph, GraphRoot, PackageKind, Request, Weight};

use crate::{escape, text::bytes};

/// A tree that is being drawn.
pub(crate) struct TreeDrawing<'a> {
    graph: &'a Graph,
    weights: Vec<Weight>,
    /// The number of levels below the roots.
    depth: usize,
    /// The edges of each package: its dependencies, or the packages that need it with their specs.
    ways: Vec<Vec<(usize, Option<&'a str>)>>,
    /// The packages that were drawn with their edges.
    drawn: Vec<bool>,
    text: String,
}

impl<'a> TreeDrawing<'a> {
    /// A tree of dependencies.
    pub(crate) fn needs(graph: &'a Graph, depth: usize) -> Self {
        let ways = graph.packages.iter().map(|package| package.needs.iter().map(|need| (need.package, None)).collect());
        Self::new(graph, depth, ways.collect())
    }

    /// A tree of the packages that need others, with their specs.
    pub(crate) fn needed_by(graph: &'a Graph, depth: usize) -> Self {
        let needed = graph.needed_by().into_iter();
        let ways = needed.map(|all| all.into_iter().map(|(package, spec)| (package, Some(spec))).collect());
        Self::new(graph, depth, ways.collect())
    }

    fn new(graph: &'a Graph, depth: usize, ways: Vec<Vec<(usize, Option<&'a str>)>>) -> Self {
        let drawn = vec![false; graph.packages.len()];
        Self { graph, weights: graph.weights(), depth, ways, drawn, text: String::new() }
    }

    /// Draws with these packages as roots.
    pub(crate) fn draw(mut self, from: &[usize]) -> String {
        let ways: Vec<(usize, Option<&str>)> = from.iter().map(|package| (*package, None)).collect();
        self.branches(&ways, "", 0);
        self.text
    }

    fn branches(&mut self, ways: &[(usize, Option<&str>)], indent: &str, level: usize) {
        for (place, (package, spec)) in ways.iter().enumerate() {
            let (branch, below) =
                if place + 1 == ways.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
            let is_repeated = self.drawn[*package];
            let label = self.label(*package, *spec, level, is_repeated);
            self.text.push_str(&format!("{indent}{branch}{label}\n"));
            if is_repeated || level >= self.depth || self.ways[*package].is_empty() {
                continue;
            }
            self.drawn[*package] = true;
            let next = self.ways[*package].clone();
            self.branches(&next, &format!("{indent}{below}"), level + 1);
        }
    }

    fn label(&self, package: usize, spec: Option<&str>, level: usize, is_repeated: bool) -> String {
        let node = &self.graph.packages[package];
        let mut label = titled(self.graph, package);
        if is_repeated {
            label.push_str(" (*)");
        } else if let Some(spec) = spec {
            label.push_str(&format!(" needs {}", escape::line(spec)));
        } else {
            label.push_str(&sized(node.size, self.weights[package]));
        }
        if !is_repeated && !node.is_known {
            label.push_str(" has unknown dependencies");
        }
        let root = self.graph.roots.iter().find(|root| root.package == package);
        // In a tree of dependencies, only roots show their requests.
        if let Some(root) = root.filter(|_| level == 0 || spec.is_some()) {
            label.push_str(&reasons(self.graph, root));
        }
        label
    }
}

/// A package with its version, and `[pip]` if pip installs it.
pub(crate) fn titled(graph: &Graph, package: usize) -> String {
    let node = &graph.packages[package];
    let version = node.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let kind = if node.kind == PackageKind::Pip { " [pip]" } else { "" };
    escape::line(&format!("{}{version}{kind}", node.name)).into_owned()
}

/// The size of a package, and its size with the packages that only it needs.
pub(crate) fn sized(size: Option<u64>, weight: Weight) -> String {
    match (size, weight.packages, weight.bytes) {
        (None, _, _) => String::new(),
        (Some(size), 0 | 1, _) | (Some(size), _, None) => format!(" ({})", bytes(size)),
        (Some(size), packages, Some(all)) => {
            format!(" ({}, {} with {} of its own)", bytes(size), bytes(all), packages - 1)
        }
    }
}

/// Why a package is a root.
fn reasons(graph: &Graph, root: &GraphRoot) -> String {
    if root.asked.is_empty() {
        return unasked(graph, root.package).map(|words| format!(" ← {words}")).unwrap_or_default();
    }
    format!(" ← {}", root.asked.iter().map(line).collect::<Vec<_>>().join("; "))
}

/// The spec that asks for a package, with its line.
pub(crate) fn line(asked: &Request) -> String {
    let line = match &asked.place {
        Some(place) => format!("{} ({}:{})", asked.spec, place.file.display(), place.line),
        None => asked.spec.clone(),
    };
    escape::line(&line).into_owned()
}

/// The reason for a root that no spec asks for; `None` if the graph has no specs at all.
pub(crate) fn unasked(graph: &Graph, package: usize) -> Option<&'static str> {
    let node = &graph.packages[package];
    match node.name.as_str() {
        _ if graph.roots.iter().all(|root| root.asked.is_empty()) => None,
        "pip" if node.kind == PackageKind::Conda && graph.find("python").is_some() => Some("comes with python"),
        _ => Some("nothing needs it"),
    }
}
