//! `mlconda why`: what a package is there for.

use std::{path::PathBuf, process::ExitCode};

use mlconda::graph::{Chain, Chains, Graph, Which};
use serde_json::{Value, json};

use super::tree::asked;
use crate::{
    drawing::{line, titled, unasked, weighed},
    report::CliError,
    settings::Context,
    view::{View, ViewArgs},
    words::{count, list},
};

/// Show why a package is in a lock or an environment
///
/// From each line that was asked for, the shortest way to the package: who needs whom, and by which spec. The lines are
/// those of the environment.yml beside the lock, if the lock is made of it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The package
    #[arg(value_name = "PACKAGE")]
    package: String,
    /// A lock, or the prefix of an environment; without one, `env.lock` if it is here, else the active environment, else
    /// the only one under the root prefix
    #[arg(value_name = "LOCK|PREFIX")]
    place: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    /// Show all ways, not the shortest only (the first 100)
    #[arg(long)]
    all: bool,
    /// The environment.yml that the lines are looked up in (repeatable)
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

/// How many ways `--all` shows: there may be thousands.
const LIMIT: usize = 100;

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let view = View::read(args.place.as_deref(), &args.view, context)?;
    let graph = view.graph(&args.files, context)?;
    let package = graph.find(&args.package).ok_or_else(|| unknown(&args.package, &graph, &view))?;
    let which = if args.all { Which::All { limit: LIMIT } } else { Which::Shortest };
    let found = graph.chains(package, which);
    if args.json {
        context.ui.json(&to_json(&graph, package, &found))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{}: {}\n", titled(&graph, package), goes(&graph, package));
    for chain in &found.chains {
        text.push('\n');
        text.push_str(&way(&graph, chain));
    }
    context.ui.data(text)?;
    if found.is_cut {
        context.ui.say(&format!("There are more ways than these {LIMIT}."));
    }
    Ok(ExitCode::SUCCESS)
}

/// What would go without it.
fn goes(graph: &Graph, package: usize) -> String {
    let weight = graph.weights()[package];
    let it = match weight.packages {
        0 | 1 => "nothing else would go with it".to_owned(),
        packages => format!("{} would go with it", count(packages - 1, "other package")),
    };
    match weight.bytes {
        Some(_) => format!("{it}, {} in all", weighed(weight)),
        None => it,
    }
}

/// A way, a line a package.
fn way(graph: &Graph, chain: &Chain) -> String {
    let root = &graph.roots[chain.root];
    let mut text = match root.asked.as_slice() {
        [] => unasked(graph, root.package).map(|words| format!("{}: {words}\n", titled(graph, root.package))),
        asked => Some(asked.iter().map(|asked| format!("{}\n", line(asked))).collect()),
    }
    .unwrap_or_else(|| format!("{}: what asked for it is not known\n", titled(graph, root.package)));
    for pair in chain.packages.windows(2) {
        let needs = spec(graph, pair[0], pair[1]).unwrap_or_default();
        text.push_str(&format!("  {} needs {needs}\n", titled(graph, pair[0])));
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

/// The error about a package that is not there.
pub(super) fn unknown(name: &str, graph: &Graph, view: &View) -> CliError {
    let message = format!("there is no package `{name}` in `{}`", view.place.display());
    match graph.near(name).as_slice() {
        [] => CliError::World { message, hint: None },
        near => CliError::world(message, format!("there is {}", list(near))),
    }
}
