//! Archives of images, until `mlconda-oci` has them.
#![allow(missing_docs, reason = "it goes")]

use std::{
    io::{self, Read, Write},
    path::Path,
};

use mlconda_oci::{Blob, Config, Content, Descriptor, Digest, Images, media_type};
use rattler_digest::{HashingWriter, Sha256};
use serde_json::{Value, json};

use crate::{Base, ImageError};

pub fn write(images: &Images, tag: &str, output: &mut dyn Write) -> io::Result<()> {
    let mut archive = ::tar::Builder::new(output);
    let mut file = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = ::tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content)
    };
    let mut done = std::collections::BTreeSet::new();
    let mut manifests = Vec::new();
    for image in &images.images {
        for blob in [&image.manifest, &image.config].into_iter().chain(&image.layers) {
            if !done.insert(blob.descriptor.digest) {
                continue;
            }
            let name = format!("blobs/sha256/{}", blob.descriptor.digest.hex());
            let size = blob.descriptor.size;
            match &blob.content {
                Content::Bytes(bytes) => file(&name, size, &mut &bytes[..])?,
                Content::File(path) => file(&name, size, &mut fs_err::File::open(path)?)?,
                Content::Part { path, offset } => {
                    let mut part = fs_err::File::open(path)?;
                    io::Seek::seek(&mut part, io::SeekFrom::Start(*offset))?;
                    file(&name, size, &mut part.take(size))?;
                }
                _ => return Err(io::Error::other("a blob that is elsewhere")),
            }
        }
        let path = |blob: &Blob| format!("blobs/sha256/{}", blob.descriptor.digest.hex());
        manifests.push(json!({"Config": path(&image.config), "RepoTags": [tag],
            "Layers": image.layers.iter().map(path).collect::<Vec<_>>()}));
    }
    let text = json!(manifests).to_string();
    file("manifest.json", text.len() as u64, &mut text.as_bytes())?;
    archive.finish()
}

pub fn read(path: &Path) -> Result<Base, ImageError> {
    let mut members = std::collections::HashMap::new();
    let mut archive = ::tar::Archive::new(fs_err::File::open(path)?);
    let mut manifest = Value::Null;
    let mut texts = std::collections::HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        if entry.size() < 1 << 20 {
            let mut text = String::new();
            let _ = entry.read_to_string(&mut text);
            if name == "manifest.json" {
                manifest = serde_json::from_str(&text).map_err(io::Error::other)?;
            }
            texts.insert(name.clone(), text);
        }
        members.insert(name, (entry.raw_file_position(), entry.size()));
    }
    let config = texts.get(manifest[0]["Config"].as_str().unwrap_or_default()).cloned().unwrap_or_default();
    let config = Config::parse(config.as_bytes(), "the base")?;
    let mut layers = Vec::new();
    for layer in manifest[0]["Layers"].as_array().into_iter().flatten() {
        let (offset, size) = members[layer.as_str().unwrap_or_default()];
        let mut file = fs_err::File::open(path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        let mut hash = HashingWriter::<_, Sha256>::new(io::sink());
        io::copy(&mut file.take(size), &mut hash)?;
        let descriptor = Descriptor::new(media_type::LAYER, Digest::from(hash.finalize().1), size);
        layers.push(Blob { descriptor, content: Content::Part { path: path.to_owned(), offset } });
    }
    Ok(Base { name: None, digest: None, config, layers })
}
