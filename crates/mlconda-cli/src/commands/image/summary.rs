//! The messages and the JSON of `mlconda image`, about the plan and the result.

use std::{collections::HashMap, path::Path, time::Instant};

use mlconda::{
    host::Host,
    image::{Key, LayerReport, Made, PlannedLayer},
    install::Compiled,
    lock::Lock,
    oci::Images,
};
use serde_json::{Value, json};

use super::args::Args;
use crate::{
    context::Context,
    error::CliError,
    text::{bytes, count, list, path_text},
};

/// Prints which package would be in which layer. `before` has the layers of the image of `--like`.
pub(super) fn tell_plan(
    lock: &Lock,
    layers: &[PlannedLayer],
    before: &HashMap<Key, Vec<String>>,
    args: &Args,
    context: &Context,
) -> Result<(), CliError> {
    let status = |layer: &PlannedLayer| match before.get(&layer.key) {
        _ if args.content.like.is_none() => None,
        Some(packages) if *packages == layer.packages => Some("kept"),
        Some(_) => Some("changed"),
        None => Some("new"),
    };
    if args.json {
        let layer = |layer: &PlannedLayer| {
            json!({
                "layer": layer.key.to_string(), "packages": layer.packages, "download_size": layer.size,
                "status": status(layer),
            })
        };
        let layers: Vec<Value> = layers.iter().map(layer).collect();
        return context.ui.json(&json!({"platform": lock.platform.as_str(), "layers": layers}));
    }
    let mut text = String::new();
    let width = layers.iter().map(|layer| layer.key.to_string().len()).max().unwrap_or(0);
    for layer in layers {
        let key = layer.key.to_string();
        let packages: Vec<String> = layer.packages.iter().map(|line| short(line)).collect();
        let status = status(layer).map_or_else(String::new, |status| format!("{status:7}  "));
        text.push_str(&format!("{key:width$}  {:>9}  {status}{}\n", bytes(layer.size), packages.join(", ")));
    }
    context.ui.text(&text)?;
    let unknown: usize = layers.iter().map(|layer| layer.unknown).sum();
    if unknown > 0 {
        let packages = count(unknown, "package");
        context.ui.warn(&format!(
            "the lock does not tell the size of {packages}: large ones of them get layers of their own"
        ));
    }
    let packages = layers.iter().map(|layer| layer.packages.len()).sum();
    let (packages, layers) = (count(packages, "package"), count(layers.len(), "layer"));
    context.ui.say(&format!("{}: {packages} would be in {layers}; sizes are those of the archives.", lock.platform));
    Ok(())
}

/// A package without its build.
fn short(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Reports what is missing in the image, or may differ from what users expect.
pub(super) fn tell_notes(made: &Made, lock: &Lock, host: &Host, args: &Args, context: &Context) {
    let ui = &context.ui;
    for clash in &made.clashes {
        let (path, winner) = (clash.path.display(), clash.packages.last().map_or("", String::as_str));
        ui.warn(&format!("{} hold `{path}`; the file of `{winner}` is there", list(&clash.packages)));
    }
    if let Some(reason) = &made.compiled.unable {
        ui.warn(&format!("byte code is left out, because the environment's python does not run here: {reason}"));
    } else if !made.compiled.broken.is_empty() {
        ui.warn(&broken(&made.compiled));
    } else if lock.platform != host.platform
        && args.wants_bytecode()
        && lock.packages.iter().any(|it| it.name == "python")
    {
        ui.warn(&format!(
            "byte code of noarch packages is left out: the python of {} does not run on {}",
            lock.platform, host.platform
        ));
    }
    for script in &made.scripts {
        ui.warn(&format!("the post-link script of `{}` is left out", script.package));
    }
    if !made.unbuilt.is_empty() {
        ui.warn(&format!("left out, because they have no wheel: {}", list(&made.unbuilt)));
    }
    for path in &made.activation {
        ui.warn(&format!("the activation script `{}` is left out", path.display()));
    }
}

/// The modules at which python ended.
fn broken(compiled: &Compiled) -> String {
    let modules = compiled.failed.iter().filter(|(path, _)| compiled.broken.contains(path));
    let named: Vec<String> = modules.map(|(path, reason)| format!("`{}` ({reason})", path.display())).collect();
    let (modules, layers) = match named.as_slice() {
        [_] => ("a module".to_owned(), "Its layer is"),
        _ => (count(named.len(), "module"), "Their layers are"),
    };
    format!(
        "python ended while it compiled {modules}, whose byte code is left out: {}. {layers} not kept in the cache",
        named.join(", ")
    )
}

/// Reports the finished image.
pub(super) fn tell_made(
    images: &Images,
    made: &[Made],
    tag: &str,
    prefix: &Path,
    start: Instant,
    args: &Args,
    context: &Context,
) -> Result<(), CliError> {
    let layers = || made.iter().flat_map(|made| &made.layers);
    let cached = layers().filter(|layer| layer.is_cached).count();
    let size: u64 = layers().map(|layer| layer.size).sum();
    let from = if cached > 0 { format!(", {cached} of them from the cache") } else { String::new() };
    context.ui.say(&format!(
        "Made `{tag}`: {} above the base ({}){from}, in {:.1} s.",
        count(layers().count(), "layer"),
        bytes(size),
        start.elapsed().as_secs_f64()
    ));
    context.ui.say(&format!("{}", images.root().digest));
    if !args.json {
        return Ok(());
    }
    let platforms: Vec<Value> = made.iter().map(image_as_json).collect();
    context.ui.json(&json!({
        "tag": tag, "prefix": path_text(prefix), "digest": images.root().digest.to_string(), "images": platforms,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

fn image_as_json(made: &Made) -> Value {
    let layer = |layer: &LayerReport| {
        json!({
            "layer": layer.name, "packages": layer.packages, "digest": layer.digest.to_string(), "size": layer.size,
            "unpacked_size": layer.unpacked, "cached": layer.is_cached,
        })
    };
    json!({
        "platform": made.image.platform.to_string(),
        "digest": made.image.manifest.descriptor.digest.to_string(),
        "layers": made.layers.iter().map(layer).collect::<Vec<_>>(),
        "compiled": made.compiled.modules,
        "skipped_scripts": made.scripts.iter().map(|script| &script.package).collect::<Vec<_>>(),
        "skipped_packages": made.unbuilt,
    })
}
