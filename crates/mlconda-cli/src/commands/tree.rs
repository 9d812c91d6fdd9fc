//! `mlconda tree`: the dependency tree of a lock or an environment.

use std::{path::PathBuf, process::ExitCode};

use mlconda::{
    graph::{Graph, PackageKind},
    records::Wanted,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    escape,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs, unknown},
    text::{bytes, count},
    tree_drawing::TreeDrawing,
};

/// Show the dependency tree of a lock or an environment
///
/// The roots are the packages that were asked for, each with its line of the environment.yml, if that file is beside the
/// lock. A size is that of the archive, or, in a prefix, of the installed files. `80 MB with 12 of its own` includes the
/// 12 packages that only this package needs. `(*)` marks a package whose dependencies are shown above.
///
/// An @EXPLICIT lock has no dependencies. They are read from the channels of the lock, then from the environment with the
/// lock's name and the package cache; those of pip packages from the metadata of their wheels.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A lock, or the prefix of an environment [default: `env.lock` in this directory, else the active environment, else
    /// the only one under the root prefix]
    #[arg(value_name = "LOCK|PREFIX")]
    place: Option<PathBuf>,
    #[command(flatten)]
    view: LockOrPrefixArgs,
    /// Show the tree of this package (repeatable)
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Show the packages that need this package (repeatable)
    #[arg(short, long, value_name = "NAME", conflicts_with = "packages")]
    invert: Vec<String>,
    /// The number of levels to show below the roots
    #[arg(short, long, value_name = "N")]
    depth: Option<usize>,
    /// The environment.yml whose lines are shown (repeatable)
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print all packages and their dependencies as JSON
    #[arg(long, conflicts_with_all = ["invert", "depth", "packages"])]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda tree                          the lock `env.lock`, or the active environment
  mlconda tree env.lock --depth 1       what was asked for, and what that needs
  mlconda tree -n ml --invert openssl   who needs openssl in the environment `ml`

With --json, stdout is one object: `name`, `platform`, and `packages`, a list of objects:
  name, version, kind (conda or pip), size (in bytes)
  weight   with all that only it needs: `packages` and `size`
  needs    a list of objects: `name`, `spec`
  known    whether that is all it needs
  asked    what asked for it, a list of objects: `spec`, `file`, `line`";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let view = LockOrPrefix::read(args.place.as_deref(), &args.view, Wanted::Dependencies, context)?;
    let graph = view.graph(&args.files, context)?;
    if args.json {
        context.ui.json(&to_json(&view, &graph))?;
        return Ok(ExitCode::SUCCESS);
    }
    let depth = args.depth.unwrap_or(usize::MAX);
    let find = |name: &String| graph.find(name).ok_or_else(|| unknown(name, &graph, &view));
    let (named, is_inverted) = if args.invert.is_empty() { (&args.packages, false) } else { (&args.invert, true) };
    let mut from = named.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    if from.is_empty() {
        text = head(&view, &graph);
        from = graph.roots.iter().map(|root| root.package).collect();
    }
    let drawing = if is_inverted { TreeDrawing::needed_by(&graph, depth) } else { TreeDrawing::needs(&graph, depth) };
    text.push_str(&drawing.draw(&from));
    context.ui.text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The first line: name, platform, number of packages and size.
fn head(view: &LockOrPrefix, graph: &Graph) -> String {
    let size: Option<u64> = graph.packages.iter().map(|package| package.size).sum();
    let what = if view.is_prefix() { "installed" } else { "to download" };
    let size = size.map(|size| format!(", {} {what}", bytes(size))).unwrap_or_default();
    format!(
        "{} for {}: {}{size}\n",
        escape::line(&view.name()),
        view.lock.platform,
        count(graph.packages.len(), "package")
    )
}

fn to_json(view: &LockOrPrefix, graph: &Graph) -> Value {
    let weights = graph.weights();
    let packages = graph.packages.iter().enumerate().map(|(place, package)| {
        let needs =
            package.needs.iter().map(|need| json!({"name": graph.packages[need.package].name, "spec": need.spec}));
        let weight = json!({"packages": weights[place].packages, "size": weights[place].bytes});
        json!({
            "name": package.name,
            "version": package.version,
            "kind": if package.kind == PackageKind::Pip { "pip" } else { "conda" },
            "size": package.size,
            "weight": weight,
            "needs": needs.collect::<Vec<_>>(),
            "known": package.is_known,
            "asked": graph.roots.iter().find(|root| root.package == place).map_or_else(|| json!([]), asked),
        })
    });
    json!({"name": view.name(), "platform": view.lock.platform.as_str(), "packages": packages.collect::<Vec<_>>()})
}

/// The specs that requested a package.
pub(super) fn asked(root: &mlconda::graph::GraphRoot) -> Value {
    let asked = root.asked.iter().map(|asked| {
        let place = asked.place.as_ref();
        let file = place.map(|place| place.file.display().to_string());
        json!({"spec": asked.spec, "file": file, "line": place.map(|place| place.line)})
    });
    asked.collect()
}
