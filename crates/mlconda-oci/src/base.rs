//! Base images: existing images under new layers.
//!
//! Only the manifest and the config of an image in a registry are read. Its layers are blobs in the registry
//! ([`Content::Remote`]), which can be left there, mounted or copied. Images are not trusted: documents have a size
//! limit, and each digest and size is checked. An image that is not valid or not for the platform is refused with a
//! reason.
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

/// The place of a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// In a registry.
    Registry(Reference),
    /// In an OCI layout.
    Layout {
        /// The directory of the layout.
        directory: PathBuf,
        /// The tag. `None` if the layout contains only one image.
        tag: Option<String>,
    },
    /// In a file that was written by `docker save`.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// The name of the image. `None` if the file contains only one image.
        tag: Option<String>,
    },
    /// The empty image, without layers.
    Scratch,
}

/// An image for new layers.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Its name: registry, repository and tag. `None` for images in files, whose names mean nothing at another place.
    pub name: Option<String>,
    /// The digest of its manifest, if it has one.
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
    /// Parses the notation of skopeo and buildah: `scratch`, `oci:DIR[:TAG]`, `docker-archive:FILE[:TAG]`,
    /// `docker://REF`, or only a reference. Paths are relative to `directory`.
    ///
    /// # Errors
    /// If the text is not a valid reference.
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
            // The name of an image may contain a colon, too.
            let (file, tag) = match place.split_once(':') {
                Some((file, tag)) => (directory.join(file), Some(tag.to_owned())),
                None => (directory.join(place), None),
            };
            return Ok(Self::DockerArchive { file, tag });
        }
        Ok(Self::Registry(text.strip_prefix("docker://").unwrap_or(text).parse()?))
    }

    /// Reads the manifest and the config of the image for a platform.
    ///
    /// The future may be dropped: nothing is written.
    ///
    /// # Errors
    /// If the image cannot be read, is not valid, or is not for the platform.
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
                // A reference with only a digest has no tag.
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

/// Reads the image of a manifest.
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

/// Compares a config with the manifest and with the wanted platform.
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
        return Err(OciError::invalid(what, format!("its config has {count} layers, but its manifest {layers}")));
    }
    Ok(())
}

/// The layers of a manifest. Media types of Docker are replaced by those of the image spec.
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
