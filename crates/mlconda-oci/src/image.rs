//! Images, indexes and artifacts: descriptors, and where the bytes are.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use crate::{Config, Descriptor, Digest, OciError, Platform, json, media_type, registry::Repository};

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file, all of it.
    File(PathBuf),
    /// In a file, a part of it: in a tar.
    Part {
        /// The file.
        path: PathBuf,
        /// Where it begins, in bytes. Its length is the descriptor's size.
        offset: u64,
    },
    /// In a repository of a registry.
    Remote(Repository),
}

/// A blob: its descriptor, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Blob {
    /// How others name it.
    pub descriptor: Descriptor,
    /// Where the bytes are.
    pub content: Content,
}

impl Blob {
    /// A blob in memory.
    pub fn new(media_type: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Self { descriptor, content: Content::Bytes(bytes) }
    }

    /// A document in memory.
    pub(crate) fn document(media_type: &str, object: Map<String, Value>) -> Self {
        Self::new(media_type, Value::Object(object).to_string().into_bytes())
    }
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// The platform.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

impl Image {
    /// Puts an image together. `annotations` are the manifest's.
    ///
    /// # Errors
    /// If the config names another number of layers, or no platform.
    pub fn new(config: &Config, layers: Vec<Blob>, annotations: &[(&str, &str)]) -> Result<Self, OciError> {
        let count = config.diff_ids()?.len();
        if count != layers.len() {
            let reason = format!("it has {count} diff ids for {} layers", layers.len());
            return Err(OciError::invalid("the config", reason));
        }
        let platform = config.platform()?;
        let config = Blob::new(media_type::CONFIG, config.to_bytes());
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let manifest = Blob::document(
            media_type::MANIFEST,
            json::object([
                ("schemaVersion", Some(2.into())),
                ("mediaType", Some(media_type::MANIFEST.into())),
                ("config", Some(config.descriptor.to_json())),
                ("layers", Some(layers.iter().map(|layer| layer.descriptor.to_json()).collect())),
                ("annotations", json::from_texts(&annotations)),
            ]),
        );
        Ok(Self { platform, manifest, config, layers })
    }
}

/// A manifest that refers to another one, its `subject`: a bill of materials, say.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The manifest.
    pub manifest: Blob,
    /// What it holds, the empty config included.
    pub blobs: Vec<Blob>,
}

impl Artifact {
    /// Attaches a blob to the manifest `subject`. `artifact_type` is what it is: for one file, its media type.
    pub fn new(subject: &Descriptor, artifact_type: &str, blob: Blob, annotations: &[(&str, &str)]) -> Self {
        let empty = Blob::new(media_type::EMPTY, *b"{}");
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let subject = Descriptor::new(&subject.media_type, subject.digest, subject.size);
        let mut manifest = Blob::document(
            media_type::MANIFEST,
            json::object([
                ("schemaVersion", Some(2.into())),
                ("mediaType", Some(media_type::MANIFEST.into())),
                ("artifactType", Some(artifact_type.into())),
                ("config", Some(empty.descriptor.to_json())),
                ("layers", Some(Value::Array(vec![blob.descriptor.to_json()]))),
                ("subject", Some(subject.to_json())),
                ("annotations", json::from_texts(&annotations)),
            ]),
        );
        // What an index of referrers says of it.
        manifest.descriptor.artifact_type = Some(artifact_type.to_owned());
        manifest.descriptor.annotations = annotations;
        Self { manifest, blobs: vec![empty, blob] }
    }

    /// What it refers to.
    pub(crate) fn subject(&self) -> Result<Digest, OciError> {
        let invalid = || OciError::invalid("the manifest of an artifact", "it has no `subject`");
        let Content::Bytes(bytes) = &self.manifest.content else { return Err(invalid()) };
        let manifest = json::parse_object(bytes, "the manifest of an artifact")?;
        let subject = manifest.get("subject").ok_or_else(invalid)?;
        Ok(Descriptor::from_json(subject, "the manifest of an artifact")?.digest)
    }
}

/// What one reference names: an image, or an index of several; and what refers to them.
#[derive(Clone, Debug)]
pub struct Images {
    /// The images, in the order of the index.
    pub images: Vec<Image>,
    /// The index, where there are several.
    pub index: Option<Blob>,
    /// What refers to the images.
    pub artifacts: Vec<Artifact>,
}

impl Images {
    /// One image, without an index.
    pub fn one(image: Image) -> Self {
        Self { images: vec![image], index: None, artifacts: Vec::new() }
    }

    /// Images for several platforms, with an index. `annotations` are the index's.
    pub fn several(images: Vec<Image>, annotations: &[(&str, &str)]) -> Self {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let entry = |image: &Image| {
            let platform = Some(image.platform.clone());
            Descriptor { platform, ..image.manifest.descriptor.clone() }.to_json()
        };
        let index = Blob::document(
            media_type::INDEX,
            json::object([
                ("schemaVersion", Some(2.into())),
                ("mediaType", Some(media_type::INDEX.into())),
                ("manifests", Some(images.iter().map(entry).collect())),
                ("annotations", json::from_texts(&annotations)),
            ]),
        );
        Self { images, index: Some(index), artifacts: Vec::new() }
    }

    /// What the reference names: the index, else the manifest of the only image.
    ///
    /// # Panics
    /// Never for values of [`Images::one`] and [`Images::several`].
    pub fn root(&self) -> &Descriptor {
        let first = || &self.images[0].manifest;
        &self.index.as_ref().unwrap_or_else(first).descriptor
    }
}
