//! Reads the contents of an image: the files that a container sees, with their layers, and the environments among them
//! with their packages.
//!
//! The layers are read one after the other as streams, from any place, and nothing is unpacked to disk. The contents of
//! files are not kept, except records of packages. Digests, sizes and the diff ids of the config are checked, and
//! [`Limits`] restrict the resources for untrusted images.

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

/// The contents of an image.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The layers, the lowest first.
    pub layers: Vec<ContentLayer>,
    /// The environments, sorted by path.
    pub environments: Vec<ImageEnvironment>,
    /// The files that a container sees, with paths relative to the root, and the packages of all environments.
    pub sizes: Sizes,
    /// For each file of `sizes`, the index of its layer.
    pub layer_of: Vec<usize>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentLayer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes, as it is pulled.
    pub size: u64,
    /// The size of the uncompressed tar in bytes.
    pub unpacked: u64,
    /// The origin of its files.
    pub origin: Origin,
    /// Its key in a [`Grouping`](crate::Grouping), or the command that made it, if the image contains one of them.
    pub name: String,
    /// Its packages as name, version and build: from its annotation, or else from the records in it.
    pub packages: Vec<String>,
}

/// The origin of a layer's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The base image of an image that mlconda made.
    Base,
    /// Packages.
    Packages,
    /// Files of an environment that belong to none of its packages.
    Environment,
    /// The program `mlconda`.
    Program,
    /// Files of the user (`--copy`).
    Application,
    /// A layer that was not made by mlconda.
    Other,
}

/// An environment in an image.
#[derive(Clone, Debug)]
pub struct ImageEnvironment {
    /// The path of its prefix.
    pub prefix: PathBuf,
    /// The records of its packages. Records of python distributions that mlconda has installed come last.
    pub records: Vec<PrefixRecord>,
    /// The text of its `conda-meta/history`.
    pub history: String,
    /// The index of its first package in [`Sizes::packages`]. Its other packages follow.
    pub first: usize,
}

/// The resources that reading an image may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest number of layers.
    pub layers: usize,
    /// The largest number of entries in all layers.
    pub entries: usize,
    /// The largest length of a path, in bytes.
    pub path: usize,
    /// The largest length of all paths together, in bytes.
    pub paths: usize,
    /// The largest size of all records, in bytes.
    pub records: u64,
    /// The largest size of all uncompressed layers, in bytes.
    pub unpacked: u64,
    /// The largest ratio of a layer's uncompressed size, after its first 64 MiB, to the size of its blob. gzip
    /// compresses nothing to less than a 1,032th.
    pub ratio: u64,
    /// The largest number of environments.
    pub environments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 1000,
            entries: 2_000_000,
            path: 4096,
            paths: 256 << 20,
            // The records of an environment of 500 packages have about 20 MB. In memory they are several times as
            // large.
            records: 128 << 20,
            unpacked: 256 << 30,
            ratio: 1100,
            environments: 100,
        }
    }
}

impl Contents {
    /// Reads an image. Layers that are in mlconda's cache are read from there.
    ///
    /// The future may be dropped: nothing is written.
    ///
    /// # Errors
    /// If a layer cannot be read, is not a tar, differs from its digest, size or diff id, or exceeds the limits.
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
        // While this lock is held, nobody removes layers from the cache.
        let _hold = cache.and_then(usage::hold);
        let mut finished = cache.map(workspace::finished_layers).unwrap_or_default();
        let bytes = image.layers.iter().map(|layer| layer.descriptor.size).sum();
        progress.event(Event::ImageStarted { layers: image.layers.len(), bytes });
        loop {
            match Self::read_with(image, &finished, limits, progress).await {
                // A layer in the cache is damaged, or was replaced by another process. Now all layers are read from the
                // image.
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

/// The place of the layer that could not be read.
enum Source {
    Cache,
    Image,
}

/// The blob in the cache, if it is there with the right size. Its digest is checked while it is read.
fn nearest(blob: &Blob, finished: &HashMap<Digest, PathBuf>) -> Option<Blob> {
    let path = finished.get(&blob.descriptor.digest)?;
    let is_whole = fs_err::metadata(path).is_ok_and(|file| file.len() == blob.descriptor.size);
    usage::note(&path.with_extension("json"));
    is_whole.then(|| Blob { descriptor: blob.descriptor.clone(), content: Content::File(path.clone()) })
}

/// Reports the number of bytes that are written through it.
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

/// Reads a layer into the tree, and returns the size of its tar in bytes.
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
    // Decoders use these kinds for invalid input. Other kinds are errors of this machine.
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

/// Describes the layers of an image by its annotations and its history.
fn layers_of(image: &BaseImage) -> Vec<ContentLayer> {
    // A base image may lack its history. So the entries of the history belong to the topmost layers.
    let (history, count) = (image.config.commands(), image.layers.len());
    let words_of = |number: usize| match (history.len() + number).checked_sub(count) {
        Some(place) if history.len() <= count => history[place].as_str(),
        _ => "",
    };
    let layer = |(number, blob): (usize, &Blob)| {
        let annotations = &blob.descriptor.annotations;
        let words = words_of(number);
        // Images in archives have no annotations, but the history contains the same facts.
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
