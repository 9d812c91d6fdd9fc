//! OCI images as values (image spec 1.1), and the places where they lie: registries, layouts and archives.
//!
//! An [`Image`] is a manifest, a config and layers, each a [`Blob`]: a descriptor, and where the bytes are. [`Images`]
//! are what one reference names: one image, or an index of several, with the artifacts that refer to them.
//!
//! JSON is written and read by hand through `serde_json::Value`: derived code for a dozen types costs more bytes of
//! program than it saves lines. What is read may be hostile: every document has a limit of size, and every digest and
//! size is checked where bytes are used.
//!
//! This crate knows nothing of conda. It reads no environment variable and prints nothing.
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
