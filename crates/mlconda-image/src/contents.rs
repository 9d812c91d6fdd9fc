//! What is in an image: the files that a container sees, the layer of each, the environments among them and their packages.
//!
//! The layers are read one after the other as streams, from wherever they are, and nothing is unpacked to a disk. Of files
//! only the records of packages are kept. Digests, sizes and the diff ids of the config are checked, and what an image of
//! others may ask for is limited ([`Limits`]).

mod archive;
mod environments;
mod tree;

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::write::MultiGzDecoder;
use mlconda_inspect::size::Sizes;
use mlconda_oci::{BaseImage, Blob, Content, Digest, OciError, media_type};
use mlconda_system::usage;
use mlconda_types::progress::{Event, Progress};
use rattler_conda_types::PrefixRecord;

use self::{archive::LayerReader, tree::Tree};
use crate::{
    ImageError,
    image::{LAYER, PACKAGES},
    workspace,
};

/// What is in an image.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The layers, the lowest first.
    pub layers: Vec<ContentLayer>,
    /// The environments, by their paths.
    pub environments: Vec<ImageEnvironment>,
    /// The files that a container sees, with paths relative to the root, and the packages of all environments.
    pub sizes: Sizes,
    /// For each of the files of `sizes` the index of its layer.
    pub layer_of: Vec<usize>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentLayer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes: what is pulled.
    pub size: u64,
    /// The size of the tar in bytes.
    pub unpacked: u64,
    /// What it holds.
    pub origin: Origin,
    /// Its key among the layers of `mlconda image`, or the command that made it, as far as the image tells it.
    pub name: String,
    /// Its packages, by its annotation, else by the records in it: name, version and build.
    pub packages: Vec<String>,
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The base image of an image that mlconda made.
    Base,
    /// Packages.
    Packages,
    /// What belongs to an environment and to none of its packages.
    Environment,
    /// The program `mlconda`.
    Program,
    /// Files of the user (`--copy`).
    Application,
    /// Others have made it.
    Other,
}

/// An environment in an image.
#[derive(Clone, Debug)]
pub struct ImageEnvironment {
    /// Its prefix.
    pub prefix: PathBuf,
    /// The records of its packages; those of python distributions that mlconda has installed come last.
    pub records: Vec<PrefixRecord>,
    /// The text of its `conda-meta/history`.
    pub history: String,
    /// The index of its first package in [`Sizes::packages`]; the others follow.
    pub first: usize,
}

/// What an image may ask for at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The number of layers.
    pub layers: usize,
    /// The number of entries in all layers.
    pub entries: usize,
    /// The length of a path, in bytes.
    pub path: usize,
    /// The length of all paths together, in bytes.
    pub paths: usize,
    /// The size of all records, in bytes.
    pub records: u64,
    /// The size of all layers without compression, in bytes.
    pub unpacked: u64,
    /// How many times as large as its blob a layer is, besides 64 MiB. gzip makes nothing smaller than a 1,032th.
    pub ratio: u64,
    /// The number of environments.
    pub environments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 1000,
            entries: 2_000_000,
            path: 4096,
            paths: 256 << 20,
            // Those of an environment of 500 packages have some 20 MB; in memory they are several times as large.
            records: 128 << 20,
            unpacked: 256 << 30,
            ratio: 1100,
            environments: 100,
        }
    }
}

impl Contents {
    /// Reads an image. Layers that mlconda has made are taken from its cache, where they are there.
    ///
    /// The future may be dropped: nothing is written.
    ///
    /// # Errors
    /// If a layer cannot be read, is not what the image says of it, is no tar, or goes beyond the limits.
    pub async fn read(
        image: &BaseImage,
        cache: Option<&Path>,
        limits: &Limits,
        progress: &dyn Progress,
    ) -> Result<Self, ImageError> {
        if image.layers.len() > limits.layers {
            let reason = format!("it has {} layers, and {} is the limit", image.layers.len(), limits.layers);
            return Err(invalid("the image", reason));
        }
        let is_remote = image.layers.iter().any(|layer| matches!(layer.content, Content::Remote(_)));
        let cache = cache.filter(|_| is_remote);
        // Nobody removes layers meanwhile.
        let _hold = cache.and_then(usage::hold);
        let mut finished = cache.map(workspace::finished_layers).unwrap_or_default();
        let bytes = image.layers.iter().map(|layer| layer.descriptor.size).sum();
        progress.event(Event::ImageStarted { layers: image.layers.len(), bytes });
        loop {
            match Self::read_with(image, &finished, limits, progress).await {
                // A layer in the cache is broken, or another process has replaced it.
                Err((Source::Cache, _)) => finished.clear(),
                Err((Source::Image, error)) => return Err(error),
                Ok(contents) => return Ok(contents),
            }
        }
    }

    async fn read_with(
        image: &BaseImage,
        finished: &HashMap<Digest, PathBuf>,
        limits: &Limits,
        progress: &dyn Progress,
    ) -> Result<Self, (Source, ImageError)> {
        let of_image = |error: ImageError| (Source::Image, error);
        let diff_ids = image.config.diff_ids().map_err(|error| of_image(error.into()))?;
        let (mut tree, mut layers) = (Tree::new(limits), layers_of(image));
        for (number, (blob, diff_id)) in image.layers.iter().zip(&diff_ids).enumerate() {
            let cached = nearest(blob, finished);
            let from = if cached.is_some() { Source::Cache } else { Source::Image };
            let read = read_layer(cached.as_ref().unwrap_or(blob), number, diff_id, &mut tree, progress).await;
            layers[number].unpacked = read.map_err(|error| (from, error))?;
        }
        let mut contents = environments::contents(&tree, layers).map_err(of_image)?;
        contents.name_layers_by_records(&tree);
        Ok(contents)
    }
}

/// Where the layer was read that is wrong.
enum Source {
    Cache,
    Image,
}

/// The blob in the cache, if it is there. Whether it is whole turns out as it is read.
fn nearest(blob: &Blob, finished: &HashMap<Digest, PathBuf>) -> Option<Blob> {
    let path = finished.get(&blob.descriptor.digest)?;
    let is_whole = fs_err::metadata(path).is_ok_and(|file| file.len() == blob.descriptor.size);
    usage::note(&path.with_extension("json"));
    is_whole.then(|| Blob { descriptor: blob.descriptor.clone(), content: Content::File(path.clone()) })
}

/// Counts what goes through it.
struct Counting<'a> {
    output: &'a mut dyn Write,
    progress: &'a dyn Progress,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.progress.event(Event::Downloaded { bytes: bytes.len() as u64 });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Reads a layer into the tree, and gives the size of its tar.
async fn read_layer(
    blob: &Blob,
    number: usize,
    diff_id: &Digest,
    tree: &mut Tree<'_>,
    progress: &dyn Progress,
) -> Result<u64, ImageError> {
    let what = format!("the layer `{}`", blob.descriptor.digest);
    let mut reader = LayerReader::new(tree, number, blob.descriptor.size);
    let copied = {
        let mut decoder: Box<dyn Write + '_> = match blob.descriptor.media_type.as_str() {
            media_type::LAYER_GZIP => Box::new(MultiGzDecoder::new(&mut reader)),
            media_type::LAYER_ZSTD => Box::new(zstd::stream::write::Decoder::new(&mut reader)?),
            _ => Box::new(&mut reader),
        };
        let mut counting = Counting { output: &mut decoder, progress };
        let copied = blob.copy(&mut counting).await;
        copied.and_then(|()| Ok(decoder.flush()?))
    };
    if let Some(reason) = reader.failure() {
        return Err(invalid(&what, reason));
    }
    // What a decoder says of its input is not an error of this machine.
    let is_data = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other)
    };
    match copied {
        Err(OciError::Io(error)) if is_data(&error) => {
            return Err(invalid(&what, format!("it cannot be decompressed ({error})")));
        }
        copied => copied?,
    }
    let (digest, unpacked) = reader.finish().map_err(|reason| invalid(&what, reason))?;
    if digest != *diff_id {
        let reason = format!("its tar has the digest `{digest}`, and the config of the image says `{diff_id}`");
        return Err(invalid(&what, reason));
    }
    Ok(unpacked)
}

/// What an image says of its layers.
fn layers_of(image: &BaseImage) -> Vec<ContentLayer> {
    // A base may lack a history; those of the layers above it are at the end.
    let (history, count) = (image.config.commands(), image.layers.len());
    let words_of = |number: usize| match (history.len() + number).checked_sub(count) {
        Some(place) if history.len() <= count => history[place].as_str(),
        _ => "",
    };
    let layer = |(number, blob): (usize, &Blob)| {
        let annotations = &blob.descriptor.annotations;
        let words = words_of(number);
        // Archives have no annotations; the history tells the same.
        let (name, packages) = match (annotations.get(LAYER), words.strip_prefix("mlconda image: ")) {
            (Some(key), _) => {
                (Some(key.as_str()), annotations.get(PACKAGES).map_or("", String::as_str).replace('\n', ", "))
            }
            (None, Some(packages)) if packages.contains(' ') => (Some("packages"), packages.to_owned()),
            (None, name) => (name, String::new()),
        };
        let packages: Vec<String> = packages.split(", ").filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let origin = match name {
            None => Origin::Other,
            Some(_) if !packages.is_empty() => Origin::Packages,
            Some("mlconda") => Origin::Program,
            Some("application") => Origin::Application,
            Some(_) => Origin::Environment,
        };
        let name = name.unwrap_or(words).split_whitespace().collect::<Vec<_>>().join(" ");
        let name = name.chars().filter(|each| !each.is_control()).take(200).collect();
        let (digest, size) = (blob.descriptor.digest, blob.descriptor.size);
        ContentLayer { digest, size, unpacked: 0, origin, name, packages }
    };
    let mut layers: Vec<ContentLayer> = image.layers.iter().enumerate().map(layer).collect();
    if let Some(first) = layers.iter().position(|layer| layer.origin != Origin::Other) {
        layers[..first].iter_mut().for_each(|layer| layer.origin = Origin::Base);
    }
    layers
}

fn invalid(what: &str, reason: impl Into<String>) -> ImageError {
    OciError::Invalid { what: what.to_owned(), reason: reason.into() }.into()
}

#[cfg(test)]
mod tests;
