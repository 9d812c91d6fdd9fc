//! Images of containers: their layers, and the documents that name them.

use std::{collections::BTreeMap, future::Future, path::Path};

use mlconda_image::{Contents, Limits};
use mlconda_oci::{
    Base, BaseImage, Blob, Config, Descriptor, Digest, LayerHistory, Platform, Reference, Registries, RegistryOptions,
    media_type,
};
use serde_json::{Value, json};

use crate::{archive, bits};

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// An image made from an input, with up to three layers.
fn image(data: &[u8]) -> BaseImage {
    let (flags, mut rest) = bits::flags(data);
    let platform = Platform::of("linux-64".parse().expect("a platform")).expect("it is Linux");
    let mut config = Config::new(&platform);
    let mut layers = Vec::new();
    for number in 0..=(flags & 3).min(2) {
        let (tar, others) = if number == (flags & 3).min(2) { (rest, &[][..]) } else { bits::part(rest) };
        rest = others;
        let mut tar = tar.to_vec();
        if flags & 4 == 0 {
            archive::mend(&mut tar);
        }
        config.add_layer(&Digest::of(&tar), &LayerHistory::new("RUN made by chance"));
        layers.push(match flags >> 3 & 1 {
            0 => Blob::new(media_type::LAYER, tar),
            _ => Blob::new(media_type::LAYER_ZSTD, zstd::encode_all(tar.as_slice(), 1).expect("memory does not fail")),
        });
    }
    BaseImage { name: None, digest: None, config, layers, platform, annotations: BTreeMap::new() }
}

/// The content of an image is read or refused.
pub(crate) fn layer(data: &[u8]) {
    let image = image(data);
    match wait(Contents::read(&image, None, &Limits::default(), &())) {
        Ok(contents) => assert_eq!(contents.layers.len(), image.layers.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A layout: an index, a manifest and a config. In their texts, `@1` and `@2` are replaced by the digest and the size
/// of the manifest and of the config. References are written as they are read.
pub(crate) fn oci(data: &[u8]) {
    let (index, rest) = bits::part(data);
    let (manifest, config) = bits::part(rest);
    for text in [index, manifest, config] {
        let _ = Config::parse(text, "the config").map(|config| {
            let _ = (config.platform(), config.diff_ids(), config.commands(), config.variables(), config.entrypoint());
            let again = Config::parse(&config.to_bytes(), "the config").expect("what is written is read");
            assert_eq!(again.to_bytes(), config.to_bytes());
        });
        if let Ok(value) = serde_json::from_slice::<Value>(text)
            && let Ok(descriptor) = Descriptor::from_json(&value, "it")
        {
            let again = Descriptor::from_json(&descriptor.to_json(), "it").expect("what is written is read");
            assert_eq!(format!("{again:?}"), format!("{descriptor:?}"));
        }
        if let Some(text) = bits::text(text) {
            let _ = Base::parse(text, Path::new("/project"));
            if let Ok(reference) = text.parse::<Reference>() {
                let shown = reference.to_string();
                let again: Reference = shown.parse().unwrap_or_else(|error| panic!("`{shown}`: {error}"));
                assert_eq!(again.to_string(), shown);
            }
        }
    }
    let (Some(index), Some(manifest)) = (bits::text(index), bits::text(manifest)) else { return };
    let directory = bits::directory("oci");
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("directories can be made");
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).expect("a file can be made");
        json!({"digest": digest.to_string(), "size": bytes.len()}).to_string().trim_matches(['{', '}']).to_owned()
    };
    let manifest = manifest.replace("@2", &put(config));
    let index = index.replace("@1", &put(manifest.as_bytes()));
    std::fs::write(directory.join("index.json"), index).expect("a file can be made");
    let registries = Registries::new(
        mlconda_channel::network::Client::new(&mlconda_channel::network::NetworkOptions::default()).expect("a client"),
        RegistryOptions::default(),
    );
    let platform = Platform::of("linux-64".parse().expect("a platform")).expect("it is Linux");
    let base = Base::Layout { directory: directory.clone(), tag: None };
    if let Err(error) = wait(base.load(&registries, &platform, &())) {
        assert!(!error.to_string().is_empty());
    }
    std::fs::remove_dir_all(&directory).expect("what was made can be removed");
}
