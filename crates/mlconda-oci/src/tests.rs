//! Tests of images in registries, layouts and archives, with a registry on loopback.

mod channel;
mod files;
mod hostile;
mod logins;
mod push;
mod referrers;

use std::time::Duration;

use mlconda_channel::network::{Client, Limits, NetworkOptions};
use mlconda_test::registry::{Registry, RegistryOptions as ServerOptions};
use serde_json::{Value, json};

use crate::{
    Artifact, Base, BaseImage, Blob, Config, Image, Images, LayerHistory, LoginOptions, OciError, Platform, Pushed,
    Reference, Registries, RegistryOptions, media_type,
};

/// The media type of a bill of materials.
const BILL: &str = "application/vnd.cyclonedx+json";

/// A registry, and the client side.
struct World {
    server: Registry,
    registries: Registries,
    directory: tempfile::TempDir,
}

impl World {
    fn new(options: ServerOptions) -> Self {
        Self::with_logins(options, &|_| Value::Null)
    }

    /// A world with a file of logins. `logins` makes its content from the host of the registry.
    fn with_logins(options: ServerOptions, logins: &dyn Fn(&str) -> Value) -> Self {
        Self::with(options, logins, Limits::default())
    }

    fn with(options: ServerOptions, logins: &dyn Fn(&str) -> Value, limits: Limits) -> Self {
        let server = Registry::start(options).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        let logins = match logins(&server.host()) {
            Value::Null => LoginOptions::default(),
            value => {
                fs_err::write(&file, value.to_string()).unwrap();
                LoginOptions { files: vec![file], variables: Vec::new() }
            }
        };
        let retry_delay = Duration::from_millis(1);
        let client =
            Client::for_registries(&NetworkOptions { retry_delay, limits, ..NetworkOptions::default() }).unwrap();
        let options = RegistryOptions { logins, retry_delay, ..RegistryOptions::default() };
        Self { server, registries: Registries::new(client, options), directory }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.server.host()).parse().unwrap()
    }

    fn push(&self, images: &Images, name: &str) -> Result<Pushed, OciError> {
        block_on(self.registries.push(images, &self.reference(name), &[], &()))
    }

    fn base(&self, name: &str) -> Result<BaseImage, OciError> {
        self.load(&Base::Registry(self.reference(name)))
    }

    fn load(&self, base: &Base) -> Result<BaseImage, OciError> {
        block_on(base.load(&self.registries, &platform("linux-64"), &()))
    }

    /// The bill of materials that is attached to an image for linux-64.
    fn bill(&self, image: &Base) -> Result<crate::Attached, OciError> {
        self.bill_for(image, "linux-64")
    }

    fn bill_for(&self, image: &Base, subdir: &str) -> Result<crate::Attached, OciError> {
        let wanted = crate::Wanted { artifact_type: BILL, platform: &platform(subdir), limit: 1000 };
        block_on(crate::attached(image, &wanted, &self.registries, &()))
    }

    /// The message of an error and of its causes, without the port of the registry.
    fn words<T>(&self, outcome: Result<T, OciError>) -> String {
        let Err(error) = outcome else { return "it worked".to_owned() };
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            words.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        words.replace(&self.server.host(), "HOST")
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn platform(subdir: &str) -> Platform {
    Platform::of(subdir.parse().unwrap()).unwrap()
}

/// The bytes of a layer, which differ for each seed.
fn layer(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|index| seed.wrapping_add((index / 7) as u8).wrapping_mul(index as u8 | 1)).collect()
}

fn image(subdir: &str, layers: &[Vec<u8>]) -> Image {
    let mut config = Config::new(&platform(subdir));
    let layers: Vec<Blob> = layers.iter().map(|bytes| Blob::new(media_type::LAYER, bytes.clone())).collect();
    layers.iter().for_each(|layer| config.add_layer(&layer.descriptor.digest, &LayerHistory::new("test")));
    Image::new(&config, layers, &[]).unwrap()
}

/// An image with a bill of materials.
fn with_bill() -> Images {
    let image = image("linux-64", &[layer(1, 5000)]);
    let bill = Blob::new(BILL, b"{\"bill\": true}".to_vec());
    let artifact = Artifact::new(&image.manifest.descriptor, BILL, bill, &[("a", "b")]);
    Images { artifacts: vec![artifact], ..Images::one(image) }
}
