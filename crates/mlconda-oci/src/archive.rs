//! Writes images as one tar for `docker load`, `podman load` and skopeo: an OCI layout, and the `manifest.json` of
//! `docker save`, which older engines read. The same images give the same bytes.
//!
//! A tar for several platforms has a `manifest.json` for the first one only, because engines that read it know no
//! platforms.

use std::{io::Write, path::Path};

use mlconda_types::progress::Progress;
use serde_json::{Map, Value};

use crate::{Blob, Image, Images, OciError, Reference, json, layout, output::Output};

/// The annotation that contains the name of an image for containerd.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Writes the tar of images, which get a name with a tag.
///
/// If the future is dropped, `output` contains an incomplete archive.
///
/// # Errors
/// If a blob cannot be read, or the tar cannot be written.
pub async fn write(
    images: &Images,
    name: &Reference,
    output: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<(), OciError> {
    layout::tell_start(images, progress);
    let full = format!("{}:{}", name.name(), name.tag_or_latest());
    let mut named = images.clone();
    let root = match &mut named.index {
        Some(index) => Some(index),
        None => named.images.first_mut().map(|image| &mut image.manifest),
    };
    if let Some(root) = root {
        root.descriptor.annotations.insert(CONTAINERD_NAME.to_owned(), full.clone());
    }
    let index = layout::index(Map::new(), &named, Some(name.tag_or_latest()));
    let entries = images.images.first().map(|image| docker_entry(image, &full)).into_iter().collect();
    small(output, "oci-layout", layout::VERSION)?;
    small(output, "index.json", &index)?;
    small(output, "manifest.json", &Value::Array(entries).to_string())?;
    head(output, "blobs/", None)?;
    head(output, "blobs/sha256/", None)?;
    for blob in layout::blobs(images) {
        head(output, &path(blob), Some(blob.descriptor.size))?;
        blob.copy_with(output, progress).await?;
        pad(output, blob.descriptor.size)?;
    }
    // The two empty blocks at the end of a tar.
    output.write_all(&[0; 1024])?;
    output.flush()?;
    Ok(())
}

/// Writes the tar to a temporary file, which is renamed to `path` when it is complete.
///
/// If the future is dropped, the file at `path` stays as it was.
///
/// # Errors
/// As for [`write()`].
pub async fn write_file(
    images: &Images,
    name: &Reference,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), OciError> {
    // A pipe or a device is written to directly, not replaced.
    if fs_err::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return write(images, name, &mut fs_err::OpenOptions::new().write(true).open(path)?, progress).await;
    }
    let (mut file, _hold) = layout::temporary(path)?;
    write(images, name, &mut Output { inner: file.as_file_mut(), place: path }, progress).await?;
    layout::persist(file, path)
}

/// The entry of an image in `manifest.json`.
fn docker_entry(image: &Image, name: &str) -> Value {
    let layers: Vec<String> = image.layers.iter().map(path).collect();
    Value::Object(json::object([
        ("Config", Some(path(&image.config).into())),
        ("RepoTags", Some(json::from_list(&[name.to_owned()]))),
        ("Layers", Some(json::from_list(&layers))),
    ]))
}

fn path(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.descriptor.digest.hex())
}

fn small(output: &mut dyn Write, path: &str, text: &str) -> Result<(), OciError> {
    head(output, path, Some(text.len() as u64))?;
    output.write_all(text.as_bytes())?;
    pad(output, text.len() as u64)
}

/// Writes the header of a file of this size. `None` makes it the header of a directory.
fn head(output: &mut dyn Write, path: &str, size: Option<u64>) -> Result<(), OciError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(if size.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
    header.set_mode(if size.is_some() { 0o644 } else { 0o755 });
    header.set_size(size.unwrap_or(0));
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    output.write_all(header.as_bytes())?;
    Ok(())
}

/// Writes zeros up to the end of the last block of a file.
fn pad(output: &mut dyn Write, size: u64) -> Result<(), OciError> {
    let rest = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
    output.write_all(&[0; 512][..rest])?;
    Ok(())
}
