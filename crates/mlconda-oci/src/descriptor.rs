//! Descriptors: how one document of an image names another blob, and the media types that it may have.

use std::{collections::BTreeMap, fmt};

use rattler_conda_types::Subdir;
use serde_json::{Map, Value};

use crate::{Digest, OciError, json};

/// Media types of the image spec, and those of Docker that mean the same.
pub mod media_type {
    /// An image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The config of an image.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer that is a plain tar.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer compressed by gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer compressed by zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// The empty object, which stands where an artifact has no config.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, compressed by gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, a plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, compressed by zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
}

/// Keys of annotations of the image spec.
pub mod annotation {
    /// The name of the base image.
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
    /// The digest of the base image's manifest.
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
    /// When the image was made (RFC 3339).
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// A title for people.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// The tag of an image in a layout.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
}

/// What an image runs on, in the words of the image spec (those of Go).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// The system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64`.
    pub architecture: String,
    /// The variant of the processor, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of a conda subdir; `None` where there are no containers for it.
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

    /// Whether an image for `self` is one for `wanted`: `arm64` and `arm64/v8` are the same.
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

    /// The platform that a config or a descriptor's `platform` names.
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

/// A blob as others name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
    /// What an artifact is, where this names a manifest of one.
    pub artifact_type: Option<String>,
    /// The platform, where this names a manifest in an index.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Describes bytes.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let (artifact_type, platform) = (None, None);
        Self { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new(), artifact_type, platform }
    }

    /// It as JSON.
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

    /// Reads it from JSON. `what` names the document in messages.
    ///
    /// # Errors
    /// If a field is missing or wrong, or the blob lies at other URLs (`urls`), which are not asked.
    pub fn from_json(value: &Value, what: &str) -> Result<Self, OciError> {
        let invalid = |reason: &str| OciError::invalid(what, reason);
        let object = value.as_object().ok_or_else(|| invalid("a descriptor is not an object"))?;
        let media_type = json::text(object, "mediaType").ok_or_else(|| invalid("a descriptor has no `mediaType`"))?;
        let digest = json::text(object, "digest").ok_or_else(|| invalid("a descriptor has no `digest`"))?.parse()?;
        let size = object.get("size").and_then(Value::as_u64).ok_or_else(|| invalid("a descriptor has no `size`"))?;
        if object.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty()) {
            return Err(invalid("a blob of it is at URLs outside of the registry (`urls`), and those are not asked"));
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

    /// Whether it names an index, of the image spec or of Docker.
    pub fn is_index(&self) -> bool {
        [media_type::INDEX, media_type::DOCKER_INDEX].contains(&self.media_type.as_str())
    }

    /// Whether it names an image manifest, of the image spec or of Docker.
    pub fn is_manifest(&self) -> bool {
        [media_type::MANIFEST, media_type::DOCKER_MANIFEST].contains(&self.media_type.as_str())
    }
}
