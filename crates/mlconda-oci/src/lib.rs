//! OCI images as values (image spec 1.1), and the places that can contain them: registries, layouts and archives.
//!
//! An [`Image`] consists of a manifest, a config and layers. Each of these is a [`Blob`]: a descriptor, and the place of
//! the bytes. [`Images`] is everything that one reference names: one image, or an index of several, with the artifacts
//! that refer to them.
//!
//! JSON is written and read by hand with `serde_json::Value`, because derived code for a dozen types would make the
//! program larger than it would save lines. Documents and blobs may be hostile: each document has a size limit, and each
//! digest and size is checked where the bytes are used.
//!
//! Of conda, this crate knows only subdirs ([`Platform::of`]) and the names of channel files in registries
//! ([`ChannelRegistries`]). It reads no environment variable, and prints nothing.
//!
//! ```
//! use mlconda_oci::{Blob, Config, Image, Images, LayerHistory, Platform, media_type};
//!
//! let platform = Platform::of("linux-64".parse()?).ok_or("not Linux")?;
//! let mut config = Config::new(&platform);
//! config.set_variable("PATH", "/opt/conda/envs/hello/bin:/usr/bin:/bin");
//! config.set_entrypoint(&["python".to_owned()]);
//!
//! // An uncompressed layer is its own diff id.
//! let layer = Blob::new(media_type::LAYER, b"a tar".to_vec());
//! config.add_layer(&layer.descriptor.digest, &LayerHistory::new("mlconda image"));
//! let image = Image::new(&config, vec![layer], &[("org.opencontainers.image.title", "hello")])?;
//! assert_eq!(image.layers.len(), 1);
//!
//! let images = Images::one(image);
//! assert!(images.root().digest.to_string().starts_with("sha256:"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod archive;
mod attached;
mod base;
mod challenge;
mod channel;
mod config;
mod descriptor;
mod digest;
mod error;
mod image;
mod json;
pub mod layout;
mod logins;
mod output;
mod read;
mod reference;
mod registry;
#[cfg(test)]
mod tests;

pub use attached::{Attached, Wanted, attached};
pub use base::{Base, BaseImage};
pub use channel::ChannelRegistries;
pub use config::{Config, LayerHistory};
pub use descriptor::{Descriptor, Platform, annotation, media_type};
pub use digest::Digest;
pub use error::OciError;
pub use image::{Artifact, Blob, Content, Image, Images};
pub use logins::{LoginOptions, login_files};
pub use reference::Reference;
pub use registry::{Pushed, Registries, RegistryOptions, Repository};
