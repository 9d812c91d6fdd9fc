//! Images, indexes and artifacts: their descriptors, and the places of their bytes.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use crate::{Config, Descriptor, Digest, OciError, Platform, json, media_type, registry::Repository};

/// The place of a blob's bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A whole file.
    File(PathBuf),
    /// A part of a file, such as a tar.
    Part {
        /// The file.
        path: PathBuf,
        /// The offset of the first byte. The number of bytes is the descriptor's size.
        offset: u64,
    },
    /// In a repository of a registry.
    Remote(Repository),
}

/// A blob: its descriptor, and the place of its bytes.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The descriptor.
    pub descriptor: Descriptor,
    /// The place of the bytes.
    pub content: Content,
}

impl Blob {
    /// A blob in memory.
    pub fn new(media_type: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Self { descriptor, content: Content::Bytes(bytes) }
    }

    /// A JSON document in memory.
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
    /// Makes an image, with a manifest for the config and the layers. `annotations` are those of the manifest.
    ///
    /// # Errors
    /// If the config has another number of diff ids than there are layers, or no platform.
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

/// An artifact: a manifest that refers to another manifest, its `subject`. An example is a bill of materials.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The manifest.
    pub manifest: Blob,
    /// The blobs of the artifact, with the empty config.
    pub blobs: Vec<Blob>,
}

impl Artifact {
    /// Makes an artifact that attaches a blob to the manifest `subject`. If the artifact is one file, `artifact_type`
    /// is the media type of the file.
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
        // An index of referrers repeats these in its descriptor.
        manifest.descriptor.artifact_type = Some(artifact_type.to_owned());
        manifest.descriptor.annotations = annotations;
        Self { manifest, blobs: vec![empty, blob] }
    }

    /// The digest of the manifest that the artifact refers to.
    pub(crate) fn subject(&self) -> Result<Digest, OciError> {
        let invalid = || OciError::invalid("the manifest of an artifact", "it has no `subject`");
        let Content::Bytes(bytes) = &self.manifest.content else { return Err(invalid()) };
        let manifest = json::parse_object(bytes, "the manifest of an artifact")?;
        let subject = manifest.get("subject").ok_or_else(invalid)?;
        Ok(Descriptor::from_json(subject, "the manifest of an artifact")?.digest)
    }
}

/// The images that one reference names: one image, or an index of several. Also contains artifacts that refer to them.
#[derive(Clone, Debug)]
pub struct Images {
    /// The images, in the order of the index.
    pub images: Vec<Image>,
    /// The index, if there are several images.
    pub index: Option<Blob>,
    /// The artifacts that refer to the images.
    pub artifacts: Vec<Artifact>,
}

impl Images {
    /// One image, without an index.
    pub fn one(image: Image) -> Self {
        Self { images: vec![image], index: None, artifacts: Vec::new() }
    }

    /// Images for several platforms, with an index. `annotations` are those of the index.
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

    /// The descriptor of the index, or else of the manifest of the only image.
    ///
    /// # Panics
    /// If there is neither an index nor an image. Values of [`Images::one`] and [`Images::several`] have one.
    pub fn root(&self) -> &Descriptor {
        let first = || &self.images[0].manifest;
        &self.index.as_ref().unwrap_or_else(first).descriptor
    }
}
