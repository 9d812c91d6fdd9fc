//! Base images: an image that is there, as layers to put others on.
//!
//! Of an image in a registry only manifest and config are read. Its layers are blobs that lie there ([`Content::Remote`]),
//! to be left, mounted or copied. An image of others is not trusted: documents have a limit of size, every digest and
//! size is checked, and what is not an image for the platform is refused with the reason.
//!
//! [`Content::Remote`]: crate::Content::Remote

mod docker_archive;
mod place;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mlconda_types::progress::Progress;
use serde_json::{Map, Value};

pub(crate) use self::place::{Place, Resolved};
use crate::{
    Blob, Config, Descriptor, Digest, OciError, Platform, Reference, Registries,
    json::{self, LARGEST_DOCUMENT},
    media_type,
};

/// Where a base image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// In a registry.
    Registry(Reference),
    /// In an OCI layout.
    Layout {
        /// The directory of the layout.
        directory: PathBuf,
        /// The tag; without one, the layout holds one image only.
        tag: Option<String>,
    },
    /// In a file of `docker save`.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// The name of the image; without one, the file holds one image only.
        tag: Option<String>,
    },
    /// An image without layers.
    Scratch,
}

/// An image to put layers on.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Its name: registry, repository and tag. Images in files have none that means something elsewhere.
    pub name: Option<String>,
    /// The digest of its manifest, where it has one.
    pub digest: Option<Digest>,
    /// Its config.
    pub config: Config,
    /// Its layers, the lowest first, with media types of the image spec.
    pub layers: Vec<Blob>,
    /// Its platform.
    pub platform: Platform,
    /// The annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Base {
    /// Reads what skopeo and buildah write: `scratch`, `oci:DIR[:TAG]`, `docker-archive:FILE[:TAG]`, `docker://REF`, or
    /// a reference alone. Paths are relative to `directory`.
    ///
    /// # Errors
    /// If it is no reference.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, OciError> {
        let split = |text: &str| match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (directory.join(path), Some(tag.to_owned())),
            _ => (directory.join(text), None),
        };
        if text == "scratch" {
            return Ok(Self::Scratch);
        }
        if let Some(place) = text.strip_prefix("oci:") {
            let (directory, tag) = split(place);
            return Ok(Self::Layout { directory, tag });
        }
        if let Some(place) = text.strip_prefix("docker-archive:") {
            // The name of an image has a colon itself.
            let (file, tag) = match place.split_once(':') {
                Some((file, tag)) => (directory.join(file), Some(tag.to_owned())),
                None => (directory.join(place), None),
            };
            return Ok(Self::DockerArchive { file, tag });
        }
        Ok(Self::Registry(text.strip_prefix("docker://").unwrap_or(text).parse()?))
    }

    /// Reads the image for a platform.
    ///
    /// The future may be dropped: nothing is written.
    ///
    /// # Errors
    /// If it cannot be read, is none, or is not for the platform.
    pub async fn load(
        &self,
        registries: &Registries,
        platform: &Platform,
        progress: &dyn Progress,
    ) -> Result<BaseImage, OciError> {
        match self {
            Self::Registry(reference) => {
                let place = Place::Registry(registries.repository(reference)?);
                let selector = reference.selector();
                let resolved = place.resolve(Some(&selector), platform);
                let resolved = registries.report_waits(progress, resolved).await?;
                let name = Reference { digest: None, ..reference.clone() };
                // A digest alone names no tag.
                let name = if reference.tag.is_none() && reference.digest.is_some() {
                    name.name()
                } else {
                    format!("{}:{}", name.name(), name.tag_or_latest())
                };
                let image = registries.report_waits(progress, image(&place, resolved, platform)).await?;
                Ok(BaseImage { name: Some(name), ..image })
            }
            Self::Layout { directory, tag } => {
                let place = Place::Layout(directory.clone());
                let resolved = place.resolve(tag.as_deref(), platform).await?;
                image(&place, resolved, platform).await
            }
            Self::DockerArchive { file, tag } => docker_archive::read(file, tag.as_deref(), platform),
            Self::Scratch => Ok(BaseImage {
                name: None,
                digest: None,
                config: Config::new(platform),
                layers: Vec::new(),
                platform: platform.clone(),
                annotations: BTreeMap::new(),
            }),
        }
    }
}

/// An image of its manifest.
async fn image(place: &Place, resolved: Resolved, wanted: &Platform) -> Result<BaseImage, OciError> {
    let Resolved { manifest, bytes, what, .. } = resolved;
    let document = json::parse_object(&bytes, &what)?;
    let descriptor = document.get("config").ok_or_else(|| OciError::invalid(&what, "it has no config"))?;
    let descriptor = Descriptor::from_json(descriptor, &what)?;
    if ![media_type::CONFIG, media_type::DOCKER_CONFIG].contains(&descriptor.media_type.as_str()) {
        let reason = format!("it is no image, but an artifact with a config of `{}`", descriptor.media_type);
        return Err(OciError::invalid(what, reason));
    }
    let layers = layers(&document, &what)?;
    let config = place.blob(descriptor).bytes(LARGEST_DOCUMENT).await?;
    let config = Config::parse(&config, &format!("the config of {what}"))?;
    check(&config, layers.len(), wanted, &what)?;
    Ok(BaseImage {
        name: None,
        digest: Some(manifest.digest),
        platform: config.platform()?,
        config,
        layers: layers.into_iter().map(|layer| place.blob(layer)).collect(),
        annotations: json::texts(&document, "annotations"),
    })
}

/// Checks what a config says against the manifest and what is wanted.
fn check(config: &Config, layers: usize, wanted: &Platform, what: &str) -> Result<(), OciError> {
    let (platform, count) = (config.platform()?, config.diff_ids()?.len());
    if !platform.fits(wanted) {
        return Err(OciError::Platform {
            what: what.to_owned(),
            wanted: Box::new(wanted.clone()),
            there: vec![platform],
        });
    }
    if count != layers {
        return Err(OciError::invalid(what, format!("its config is of {count} layers, and its manifest has {layers}")));
    }
    Ok(())
}

/// The layers of a manifest, with the media types of the image spec.
fn layers(document: &Map<String, Value>, what: &str) -> Result<Vec<Descriptor>, OciError> {
    let Some(Value::Array(layers)) = document.get("layers") else {
        return Err(OciError::invalid(what, "it has no list of layers"));
    };
    let layer = |value: &Value| {
        let mut layer = Descriptor::from_json(value, what)?;
        layer.media_type = match layer.media_type.as_str() {
            media_type::DOCKER_LAYER => media_type::LAYER,
            media_type::DOCKER_LAYER_GZIP => media_type::LAYER_GZIP,
            media_type::DOCKER_LAYER_ZSTD => media_type::LAYER_ZSTD,
            known @ (media_type::LAYER | media_type::LAYER_GZIP | media_type::LAYER_ZSTD) => known,
            other if other.contains("nondistributable") || other.contains("foreign") => {
                return Err(OciError::invalid(what, "a layer of it is one that no registry may give (`foreign`)"));
            }
            other => return Err(OciError::invalid(what, format!("a layer of it is `{other}`, which no engine knows"))),
        }
        .to_owned();
        Ok(layer)
    };
    layers.iter().map(layer).collect()
}
