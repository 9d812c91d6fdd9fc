//! Descriptors (image spec, `descriptor.md`), which refer to blobs, and the media types of blobs.

use std::{collections::BTreeMap, fmt};

use rattler_conda_types::Subdir;
use serde_json::{Map, Value};

use crate::{Digest, OciError, json};

/// Media types of the image spec, and the equivalent ones of Docker.
pub mod media_type {
    /// An image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The config of an image.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An uncompressed layer.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer compressed by gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer compressed by zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// The empty object, which is the config of an artifact without a config.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, compressed by gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's uncompressed layer.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, compressed by zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
}

/// Keys of annotations from the image spec.
pub mod annotation {
    /// The name of the base image.
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
    /// The digest of the base image's manifest.
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
    /// The time of the image (RFC 3339).
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// A title for users.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// The tag of an image in a layout.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
}

/// The platform of an image, with the names of the image spec (those of Go).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The architecture, such as `amd64`.
    pub architecture: String,
    /// The variant of the architecture, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of a conda subdir. `None` if there are no containers for it.
    pub fn of(subdir: Subdir) -> Option<Self> {
        let (architecture, variant) = match subdir {
            Subdir::Linux32 => ("386", None),
            Subdir::Linux64 => ("amd64", None),
            Subdir::LinuxAarch64 => ("arm64", None),
            Subdir::LinuxArmV6l => ("arm", Some("v6")),
            Subdir::LinuxArmV7l => ("arm", Some("v7")),
            Subdir::LinuxLoongArch64 => ("loong64", None),
            Subdir::LinuxPpc64le => ("ppc64le", None),
            Subdir::LinuxPpc64 => ("ppc64", None),
            Subdir::LinuxS390X => ("s390x", None),
            Subdir::LinuxRiscv64 => ("riscv64", None),
            _ => return None,
        };
        let variant = variant.map(str::to_owned);
        Some(Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant })
    }

    /// Whether an image for `self` also is an image for `wanted`: `arm64` and `arm64/v8` are equal.
    pub fn fits(&self, wanted: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7".to_owned()),
            (_, variant) => variant.map(str::to_owned),
        };
        self.os == wanted.os && self.architecture == wanted.architecture && variant(self) == variant(wanted)
    }

    pub(crate) fn to_json(&self) -> Map<String, Value> {
        json::object([
            ("architecture", Some(self.architecture.clone().into())),
            ("os", Some(self.os.clone().into())),
            ("variant", self.variant.clone().map(Value::String)),
        ])
    }

    /// Reads a platform from a config, or from the field `platform` of a descriptor.
    pub(crate) fn from_json(object: &Map<String, Value>) -> Option<Self> {
        let variant = json::text(object, "variant").filter(|variant| !variant.is_empty());
        Some(Self { os: json::text(object, "os")?, architecture: json::text(object, "architecture")?, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

/// A reference to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type of the blob.
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The artifact type, if the blob is the manifest of an artifact.
    pub artifact_type: Option<String>,
    /// The platform, if the blob is a manifest in an index.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let (artifact_type, platform) = (None, None);
        Self { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new(), artifact_type, platform }
    }

    /// The descriptor as JSON.
    pub fn to_json(&self) -> Value {
        Value::Object(json::object([
            ("mediaType", Some(self.media_type.clone().into())),
            ("digest", Some(self.digest.to_string().into())),
            ("size", Some(self.size.into())),
            ("artifactType", self.artifact_type.clone().map(Value::String)),
            ("platform", self.platform.as_ref().map(|platform| Value::Object(platform.to_json()))),
            ("annotations", json::from_texts(&self.annotations)),
        ]))
    }

    /// Parses a descriptor. `what` is the name of the document in messages.
    ///
    /// # Errors
    /// If a field is missing or not valid, or if the blob is at other URLs (`urls`), which are never requested.
    pub fn from_json(value: &Value, what: &str) -> Result<Self, OciError> {
        let invalid = |reason: &str| OciError::invalid(what, reason);
        let object = value.as_object().ok_or_else(|| invalid("a descriptor is not an object"))?;
        let media_type = json::text(object, "mediaType").ok_or_else(|| invalid("a descriptor has no `mediaType`"))?;
        let digest = json::text(object, "digest").ok_or_else(|| invalid("a descriptor has no `digest`"))?.parse()?;
        let size = object.get("size").and_then(Value::as_u64).ok_or_else(|| invalid("a descriptor has no `size`"))?;
        if object.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty()) {
            return Err(invalid("a blob of it is at URLs outside of the registry (`urls`), which are not used"));
        }
        Ok(Self {
            media_type,
            digest,
            size,
            annotations: json::texts(object, "annotations"),
            artifact_type: json::text(object, "artifactType"),
            platform: object.get("platform").and_then(Value::as_object).and_then(Platform::from_json),
        })
    }

    /// Whether the blob is an index, of the image spec or of Docker.
    pub fn is_index(&self) -> bool {
        [media_type::INDEX, media_type::DOCKER_INDEX].contains(&self.media_type.as_str())
    }

    /// Whether the blob is an image manifest, of the image spec or of Docker.
    pub fn is_manifest(&self) -> bool {
        [media_type::MANIFEST, media_type::DOCKER_MANIFEST].contains(&self.media_type.as_str())
    }
}
