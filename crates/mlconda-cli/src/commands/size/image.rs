//! The part of `mlconda size` about images: the layers, the environments in them, and the layers that a pull downloads.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mlconda::{
    Subdir,
    export::requested_specs_in,
    graph::Graph,
    image::{ContentLayer, Contents, ImageEnvironment, Limits, Origin},
    lock::Lock,
    oci,
    prefix::distributions::is_distribution,
    size::Total,
};
use serde_json::{Value, json};

use super::{
    Args,
    picture::{Picture, Subject},
};
use crate::{
    context::Context,
    error::CliError,
    image_name,
    progress::Display,
    text::{bytes, count, path_text},
};

/// The layers of an image, and its environments.
pub(super) struct Layered {
    /// The digest of the manifest, if there is one.
    digest: Option<oci::Digest>,
    /// The layers, the lowest first.
    pub(super) layers: Vec<ContentLayer>,
    /// For each file, the index of its layer.
    pub(super) layer_of: Vec<usize>,
    /// The prefixes, and the index of the first package of each.
    prefixes: Vec<(PathBuf, usize)>,
    /// If there is another image: its name, and for each layer whether a pull downloads it when the other image is
    /// present.
    fetched: Option<(String, Vec<bool>)>,
}

/// The places of bytes that belong to no package.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outside {
    Base,
    Copied,
    Program,
    Untracked,
}

impl Outside {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Base => "base image",
            Self::Copied => "copied files",
            Self::Program => "mlconda",
            Self::Untracked => "files of no package",
        }
    }
}

/// Reads an image.
pub(super) fn read(place: &Path, image: &oci::Base, args: &Args, context: &Context) -> Result<Picture, CliError> {
    let registries = context.settings.registries(&args.plain_http)?;
    let platform = image_name::platform(&args.view)?;
    let cache = context.settings.package_cache();
    let display = Display::new(&context.ui);
    let reading = async {
        let found = image.load(&registries, &platform, &display).await?;
        let limits = Limits::default();
        let contents = Contents::read(&found, cache.as_deref(), &limits, &display);
        let contents = registries.report_waits(&display, contents).await?;
        Ok::<_, mlconda::image::ImageError>((found.digest, contents))
    };
    let read = context.block_on_or_end(reading)?;
    drop(display);
    if read.is_err() {
        image_name::tell_if_unclear(place, context);
    }
    let (digest, contents) = read?;
    let Contents { layers, environments, sizes, layer_of } = contents;
    let prefixes: Vec<(PathBuf, usize)> = environments.iter().map(|each| (each.prefix.clone(), each.first)).collect();
    let mut picture = Picture {
        name: path_text(place),
        subject: Subject::Installed,
        only_asked: vec![None; sizes.packages.len()],
        sizes,
        asked: Vec::new(),
        image: Some(Layered { digest, layers, layer_of, prefixes, fetched: None }),
    };
    let subdir = args.view.platform().or_else(Subdir::current).unwrap_or(Subdir::Linux64);
    for environment in &environments {
        let graph = graph(environment, subdir)?;
        let is_only = environments.len() == 1;
        let named = |spec: String| if is_only { spec } else { format!("{spec} in {}", environment.prefix.display()) };
        picture.ask(&graph, environment.first..environment.first + environment.records.len(), &named);
    }
    Ok(picture)
}

/// The dependency graph of an environment.
fn graph(environment: &ImageEnvironment, subdir: Subdir) -> Result<Graph, CliError> {
    let records = &environment.records;
    let (pip, conda): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| is_distribution(&record.repodata_record.package_record));
    // Most of a record is its list of files, which is not copied.
    let conda: Vec<_> = conda.into_iter().map(|record| record.repodata_record.clone()).collect();
    let pip: Vec<_> = pip.into_iter().cloned().collect();
    let mut lock = Lock::of_records(subdir, &conda)?.with_distributions(&pip);
    lock.specs = requested_specs_in(&environment.history, records);
    Ok(Graph::new(&lock).with_sizes(records))
}

/// Records which layers of the second image a pull downloads when the first one is present.
pub(super) fn compare(one: &Picture, other: &mut Picture) {
    let (Some(have), Some(image)) = (&one.image, &mut other.image) else { return };
    let is_new = |layer: &ContentLayer| !have.layers.iter().any(|each| each.digest == layer.digest);
    image.fetched = Some((one.name.clone(), image.layers.iter().map(is_new).collect()));
}

impl Layered {
    /// The bytes that a pull downloads when no other image is present.
    pub(super) fn size(&self) -> u64 {
        (0..self.layers.len()).map(|layer| self.pulled(layer)).sum()
    }

    /// The bytes that a pull downloads for a layer: 0 if the same layer is also further below.
    pub(super) fn pulled(&self, layer: usize) -> u64 {
        if self.is_again(layer) { 0 } else { self.layers[layer].size }
    }

    /// The number of layers that a pull downloads when no other image is present.
    pub(super) fn count(&self) -> usize {
        (0..self.layers.len()).filter(|layer| !self.is_again(*layer)).count()
    }

    /// Whether the same layer is also further below. An image may contain a layer twice, which is downloaded once.
    fn is_again(&self, layer: usize) -> bool {
        self.layers[..layer].iter().any(|below| below.digest == self.layers[layer].digest)
    }

    /// Whether a pull downloads a layer when the other image is present; `None` if there is no other image.
    pub(super) fn is_fetched(&self, layer: usize) -> Option<bool> {
        self.fetched.as_ref().map(|(_, fetched)| fetched[layer])
    }

    /// The name of the other image, and the layers that a pull downloads when it is present.
    fn pull(&self) -> Option<(&str, Vec<&ContentLayer>)> {
        let (other, fetched) = self.fetched.as_ref()?;
        let layers = (0..fetched.len()).filter(|layer| fetched[*layer] && !self.is_again(*layer));
        Some((other, layers.map(|layer| &self.layers[layer]).collect()))
    }

    /// The text about a pull when the other image is present.
    pub(super) fn pull_in_words(&self, name: &str) -> Option<String> {
        let (other, layers) = self.pull()?;
        let size: u64 = layers.iter().map(|layer| layer.size).sum();
        if layers.is_empty() {
            return Some(format!("A pull of `{name}` where `{other}` is already present fetches no layer."));
        }
        let packages: Vec<String> = layers.iter().flat_map(|layer| &layer.packages).map(|line| short(line)).collect();
        let with = match packages.as_slice() {
            [] => String::new(),
            packages => format!(", with {}", some(packages, 8)),
        };
        Some(format!(
            "A pull of `{name}` where `{other}` is already present fetches {} of {}, {} of {}{with}.",
            layers.len(),
            count(self.count(), "layer"),
            bytes(size),
            bytes(self.size())
        ))
    }

    /// The prefix of a package, if there are several prefixes.
    pub(super) fn prefix_in_words(&self, package: usize) -> Option<String> {
        (self.prefixes.len() > 1).then(|| path_text(self.prefix(package)))
    }

    fn prefix(&self, package: usize) -> &Path {
        let prefix = self.prefixes.iter().rev().find(|(_, first)| *first <= package);
        prefix.map_or(Path::new("/"), |(prefix, _)| prefix)
    }

    /// The path of a package's file, relative to its prefix.
    pub(super) fn within<'a>(&self, package: usize, path: &'a Path) -> &'a Path {
        let prefix = self.prefix(package);
        path.strip_prefix(prefix.strip_prefix("/").unwrap_or(prefix)).unwrap_or(path)
    }

    pub(super) fn add_to_json(&self, value: &mut Value, picture: &Picture) {
        let layer = |(number, layer): (usize, &ContentLayer)| {
            let mut value = json!({
                "digest": layer.digest.to_string(), "bytes": layer.size, "unpacked": layer.unpacked,
                "origin": origin(layer.origin), "name": layer.name, "packages": layer.packages,
            });
            if let Some(fetched) = self.is_fetched(number) {
                value["fetched"] = fetched.into();
            }
            value
        };
        value["digest"] = json!(self.digest.map(|digest| digest.to_string()));
        value["prefixes"] = self.prefixes.iter().map(|(prefix, _)| path_text(prefix)).collect();
        let outside = picture.outside().into_iter();
        value["outside"] = outside
            .map(|(name, total)| json!({"name": name.words(), "bytes": total.bytes, "files": total.files}))
            .collect();
        value["layers"] = self.layers.iter().enumerate().map(layer).collect();
        if let Some((_, layers)) = self.pull() {
            let packages: Vec<&String> = layers.iter().flat_map(|layer| &layer.packages).collect();
            let size: u64 = layers.iter().map(|layer| layer.size).sum();
            value["fetched"] = json!({"layers": layers.len(), "bytes": size, "packages": packages});
        }
        for number in 0..picture.sizes.packages.len() {
            value["packages"][number]["prefix"] = path_text(self.prefix(number)).into();
        }
    }
}

impl Picture {
    /// The sizes of files that belong to no package, by their place.
    pub(super) fn outside(&self) -> Vec<(Outside, Total)> {
        let mut totals: BTreeMap<Outside, Total> = BTreeMap::new();
        for (number, file) in self.sizes.files.iter().enumerate().filter(|(_, file)| file.package.is_none()) {
            let origin = self.image.as_ref().map(|image| image.layers[image.layer_of[number]].origin);
            let place = origin.map_or(Outside::Untracked, outside);
            totals.entry(place).or_default().add(file);
        }
        totals.into_iter().collect()
    }
}

/// The contents of a layer besides packages.
pub(super) fn outside(origin: Origin) -> Outside {
    match origin {
        Origin::Base => Outside::Base,
        Origin::Application => Outside::Copied,
        Origin::Program => Outside::Program,
        Origin::Packages | Origin::Environment | Origin::Other => Outside::Untracked,
    }
}

/// A short title of a layer.
pub(super) fn title(layer: &ContentLayer) -> String {
    let packages: Vec<String> = layer.packages.iter().map(|line| short(line)).collect();
    let words: String = layer.name.chars().take(60).collect();
    let dots = if words.len() < layer.name.len() { "…" } else { "" };
    match (layer.origin, packages.as_slice()) {
        (Origin::Base, []) if words.is_empty() => "base".to_owned(),
        (Origin::Base, []) => format!("base: {words}{dots}"),
        (Origin::Application, _) => "copied files".to_owned(),
        (Origin::Environment | Origin::Program, _) => layer.name.clone(),
        (_, []) if words.is_empty() => layer.digest.to_string().chars().take(19).collect(),
        (_, []) => format!("{words}{dots}"),
        (_, packages) => some(packages, 3),
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Base => "base",
        Origin::Packages => "packages",
        Origin::Environment => "environment",
        Origin::Program => "mlconda",
        Origin::Application => "application",
        Origin::Other => "other",
    }
}

/// The first names, and the number of the others.
fn some(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

/// A package without its build.
fn short(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
