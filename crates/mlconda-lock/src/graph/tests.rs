//! Graphs written as text: `name size: needs`.

use super::*;

/// A graph from lines such as `a 10: b c`, and the names of the requested packages.
fn graph(lines: &[&str], asked: &[&str]) -> Graph {
    let rows: Vec<(&str, u64, Vec<&str>)> = lines
        .iter()
        .map(|line| {
            let (head, needs) = line.split_once(':').unwrap();
            let (name, size) = head.split_once(' ').unwrap();
            (name, size.parse().unwrap(), needs.split_whitespace().collect())
        })
        .collect();
    let place = |name: &str| rows.iter().position(|row| row.0 == name).unwrap();
    let packages = rows.iter().map(|(name, size, needs)| GraphPackage {
        name: (*name).to_owned(),
        version: Some("1.0".to_owned()),
        kind: PackageKind::Conda,
        size: Some(*size),
        needs: needs.iter().map(|need| Dependency { package: place(need), spec: format!("{need} >=1") }).collect(),
        is_known: true,
    });
    let mut graph = Graph { packages: packages.collect(), roots: Vec::new() };
    let asked = asked.iter().map(|name| (place(name), Request { spec: (*name).to_owned(), place: None })).collect();
    graph.set_roots(asked);
    graph
}

fn names(graph: &Graph, places: &[usize]) -> String {
    places.iter().map(|place| graph.packages[*place].name.as_str()).collect::<Vec<_>>().join(" ")
}

const DIAMOND: &[&str] = &["app 1: left right", "left 2: base own", "right 4: base", "own 8:", "base 16:"];

#[test]
fn what_only_one_package_needs_goes_with_it() {
    let weights = |asked: &[&str]| -> Vec<(usize, u64)> {
        graph(DIAMOND, asked).weights().iter().map(|weight| (weight.packages, weight.bytes.unwrap())).collect()
    };
    // Without `left`, `own` is also removed, but `base` stays because of `right`.
    assert_eq!(weights(&["app"]), [(5, 31), (2, 10), (1, 4), (1, 8), (1, 16)]);
    // Requested packages stay.
    assert_eq!(weights(&["app", "left"]), [(2, 5), (2, 10), (1, 4), (1, 8), (1, 16)]);
}

#[test]
fn what_only_one_root_needs_is_that_roots() {
    let only = |asked: &[&str]| graph(DIAMOND, asked).only_root();
    assert_eq!(only(&["app"]), [Some(0); 5]);
    // `app` and `right` both need `base`. `left` and `own` are there only because of `app`.
    assert_eq!(only(&["app", "right"]), [Some(0), Some(0), Some(1), Some(0), None]);
}

#[test]
fn a_size_that_is_not_known_makes_no_sum() {
    let mut graph = graph(DIAMOND, &["app"]);
    graph.packages[3].size = None;
    let known: Vec<bool> = graph.weights().iter().map(|weight| weight.bytes.is_some()).collect();
    assert_eq!(known, [false, false, true, false, true]);
}

#[test]
fn every_package_is_reached_from_a_root() {
    let roots = |lines: &[&str], asked: &[&str]| {
        let graph = graph(lines, asked);
        names(&graph, &graph.roots.iter().map(|root| root.package).collect::<Vec<_>>())
    };
    assert_eq!(roots(DIAMOND, &["right"]), "right app");
    assert_eq!(roots(DIAMOND, &[]), "app");
    // A cycle that no other package depends on.
    assert_eq!(roots(&["a 1: b", "b 1: a c", "c 1:", "d 1: c"], &["d"]), "d a");
}

#[test]
fn ways_lead_from_what_was_asked_for() {
    let graph = graph(DIAMOND, &["app", "right", "own"]);
    let ways = |name: &str, which| {
        let found = graph.chains(graph.find(name).unwrap(), which);
        let ways: Vec<String> = found.chains.iter().map(|chain| names(&graph, &chain.packages)).collect();
        (ways.join("; "), found.is_cut)
    };
    assert_eq!(ways("base", ChainSelection::Shortest), ("app left base; right base".to_owned(), false));
    let all = "app left base; app right base; right base";
    assert_eq!(ways("base", ChainSelection::All { limit: 3 }), (all.to_owned(), false));
    assert_eq!(ways("base", ChainSelection::All { limit: 2 }), ("app left base; app right base".to_owned(), true));
    assert_eq!(ways("own", ChainSelection::Shortest), ("app left own; own".to_owned(), false));
}

#[test]
fn a_circle_is_passed_once() {
    let graph = graph(&["python 1: pip", "pip 1: python", "tool 1: python"], &["tool"]);
    let found = graph.chains(1, ChainSelection::All { limit: 10 });
    assert_eq!(found.chains.iter().map(|way| names(&graph, &way.packages)).collect::<Vec<_>>(), ["tool python pip"]);
    assert_eq!(graph.weights().iter().map(|weight| weight.packages).collect::<Vec<_>>(), [2, 1, 3]);
}

#[test]
fn near_names_are_offered() {
    let graph = graph(&["numpy 1:", "numpy-base 1:", "scipy 1:", "r 1:"], &[]);
    assert_eq!(graph.similar_names("nunpy"), ["numpy"]);
    assert_eq!(graph.similar_names("NumPy-"), ["numpy", "numpy-base"]);
    assert_eq!(graph.similar_names("torch"), <[&str; 0]>::default());
    assert_eq!(graph.find("NumPy"), Some(0));
}

#[test]
fn a_requirement_of_pip_finds_pips_package_or_the_channels() {
    let mut graph = graph(&["python 1:", "numpy 1:", "numpy 1:"], &[]);
    graph.packages[2] =
        GraphPackage { name: "typing-extensions".to_owned(), kind: PackageKind::Pip, ..graph.packages[2].clone() };
    let names = NameIndex::new(&graph.packages);
    let found = |text: &str| names.requirement(text);
    assert_eq!(found("typing_extensions>=4"), Some(2));
    assert_eq!(found("Typing.Extensions [all] @ https://host/x.whl"), Some(2));
    assert_eq!(found("numpy (>=1.2) ; python_version < '4'"), Some(1));
    assert_eq!(found("-e ./numpy"), None);
    assert_eq!(found("torch"), None);
}
