//! `mlconda why`: the reason why a package is in a lock or an environment.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    graph::{Chain, ChainSelection, Chains, Graph},
    records::Wanted,
};
use serde_json::{Value, json};

use super::tree::asked;
use crate::{
    context::Context,
    error::CliError,
    escape,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs, unknown},
    text::list,
    tree_drawing::{line, sized, titled, unasked},
};

/// Show why a package is in a lock or an environment
///
/// For each spec that was asked for, it prints the shortest path to the package, with the spec of each dependency. A path
/// through another package that was asked for is only named. Lines of the environment.yml are shown if that file is beside
/// the lock.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The package
    #[arg(value_name = "PACKAGE")]
    package: String,
    /// A lock, or the prefix of an environment [default: `env.lock` in this directory, else the active environment, else
    /// the only one under the root prefix]
    #[arg(value_name = "LOCK|PREFIX")]
    place: Option<PathBuf>,
    #[command(flatten)]
    view: LockOrPrefixArgs,
    /// Show all paths, not only the shortest (at most 100)
    #[arg(long)]
    all: bool,
    /// The environment.yml whose lines are shown (repeatable)
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda why openssl              in the lock `env.lock`, or in the active environment
  mlconda why openssl -n ml --all

With --json, stdout is one object:
  name, version, size
  weight   with all that only it needs: `packages` and `size`
  ways     a list of objects: `asked`, as in `mlconda tree --json`; `packages`, a list of `name`, `version` and
           `needs`, the spec for the next one
  more     whether there are more ways than these";

/// The largest number of paths that `--all` shows: there can be thousands.
const LIMIT: usize = 100;

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let (package, place) = in_order(&args, context);
    let view = LockOrPrefix::read(place.as_deref(), &args.view, Wanted::Dependencies, context)?;
    let graph = view.graph(&args.files, context)?;
    let package = graph.find(&package).ok_or_else(|| unknown(&package, &graph, &view))?;
    let which = if args.all { ChainSelection::All { limit: LIMIT } } else { ChainSelection::Shortest };
    let found = graph.chains(package, which);
    if args.json {
        context.ui.json(&to_json(&graph, package, &found))?;
        return Ok(ExitCode::SUCCESS);
    }
    let size = sized(graph.packages[package].size, graph.weights()[package]);
    let mut text = format!("{}{size}\n", titled(&graph, package));
    match which {
        ChainSelection::Shortest => text.push_str(&in_words(&graph, &found.chains)),
        ChainSelection::All { .. } => {
            found.chains.iter().for_each(|chain| text.push_str(&format!("\n{}", way(&graph, chain))))
        }
    }
    context.ui.text(&text)?;
    if found.is_cut {
        context.ui.say(&format!("There are more paths than these {LIMIT}."));
    }
    Ok(ExitCode::SUCCESS)
}

/// The package and the place. They may be in the order of `tree LOCK`, if only the first one is there as a file.
fn in_order(args: &Args, context: &Context) -> (String, Option<PathBuf>) {
    let is_there = |path: &Path| context.settings.input(path).exists();
    match &args.place {
        Some(place) if is_there(Path::new(&args.package)) && !is_there(place) => {
            (place.to_string_lossy().into_owned(), Some(PathBuf::from(&args.package)))
        }
        place => (args.package.clone(), place.clone()),
    }
}

/// The paths as text. A path through another package that was asked for repeats the path of that package, so it is only
/// named.
fn in_words(graph: &Graph, chains: &[Chain]) -> String {
    let is_asked = |package: &usize| graph.roots.iter().any(|root| root.package == *package && !root.asked.is_empty());
    let leads_through = |chain: &&Chain| match chain.packages.as_slice() {
        [_, between @ .., _] => between.iter().any(is_asked),
        _ => false,
    };
    let (indirect, direct): (Vec<&Chain>, Vec<&Chain>) = chains.iter().partition(leads_through);
    let mut text: String = direct.into_iter().map(|chain| format!("\n{}", way(graph, chain))).collect();
    let mut others: Vec<String> = indirect.iter().map(|chain| titled(graph, graph.roots[chain.root].package)).collect();
    others.dedup();
    if !others.is_empty() {
        text.push_str(&format!("\nThrough these, also needed by {}.\n", list(&others)));
    }
    text
}

/// A path, one line per package.
fn way(graph: &Graph, chain: &Chain) -> String {
    let root = &graph.roots[chain.root];
    let mut text = match root.asked.as_slice() {
        [] => unasked(graph, root.package).map(|words| format!("{}: {words}\n", titled(graph, root.package))),
        asked => Some(asked.iter().map(|asked| format!("{}\n", line(asked))).collect()),
    }
    .unwrap_or_else(|| format!("{}: the reason is unknown\n", titled(graph, root.package)));
    for pair in chain.packages.windows(2) {
        let needs = spec(graph, pair[0], pair[1]).unwrap_or_default();
        text.push_str(&format!("  {} needs {}\n", titled(graph, pair[0]), escape::line(needs)));
    }
    text
}

/// The spec by which one package needs another.
fn spec(graph: &Graph, package: usize, other: usize) -> Option<&str> {
    let need = graph.packages[package].needs.iter().find(|need| need.package == other)?;
    Some(need.spec.as_str())
}

fn to_json(graph: &Graph, package: usize, found: &Chains) -> Value {
    let ways = found.chains.iter().map(|chain| {
        let step = |(place, package): (usize, &usize)| {
            let node = &graph.packages[*package];
            let needs = chain.packages.get(place + 1).and_then(|next| spec(graph, *package, *next));
            json!({"name": node.name, "version": node.version, "needs": needs})
        };
        let packages: Vec<Value> = chain.packages.iter().enumerate().map(step).collect();
        json!({"asked": asked(&graph.roots[chain.root]), "packages": packages})
    });
    let (node, weight) = (&graph.packages[package], graph.weights()[package]);
    json!({
        "name": node.name,
        "version": node.version,
        "size": node.size,
        "weight": {"packages": weight.packages, "size": weight.bytes},
        "ways": ways.collect::<Vec<_>>(),
        "more": found.is_cut,
    })
}
