//! Images as an OCI layout: a directory with `oci-layout`, `index.json`, and blobs by their digests.
//!
//! A new layout is put together beside its place and renamed at the end. To one that is there, blobs are added, each
//! renamed into its place, and `index.json` is replaced last: whoever reads meanwhile sees the old images or the new
//! ones.

use std::{fs::Permissions, io::Write, os::unix::fs::PermissionsExt, path::Path};

use mlconda_system as system;
use serde_json::{Map, Value};

use crate::{
    Blob, Descriptor, Images, OciError, annotation,
    json::{self, LARGEST_DOCUMENT},
    media_type,
};

/// How names of unfinished things begin.
const PREFIX: &str = ".mlconda-";

/// What `oci-layout` says.
pub(crate) const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes images into a layout, under a tag. The directory is made, or is a layout, whose image of the same tag is
/// replaced.
///
/// # Errors
/// If the directory is something else or cannot be written to, another process writes into it, or a blob cannot be
/// read. Then the layout is as it was, but for blobs that nothing names.
pub async fn write(images: &Images, directory: &Path, tag: Option<&str>) -> Result<(), OciError> {
    match fs_err::read_dir(directory) {
        Ok(mut inside) => {
            // An empty directory may be a mount, or not ours to replace: it becomes a layout of nothing.
            if inside.next().is_none() {
                put(&directory.join("index.json"), br#"{"schemaVersion":2,"manifests":[]}"#)?;
                put(&directory.join("oci-layout"), VERSION.as_bytes())?;
            }
            return add(images, directory, tag).await;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let parent = directory.parent().unwrap_or(directory);
    fs_err::create_dir_all(parent)?;
    let all = Permissions::from_mode(0o777);
    let stage = tempfile::Builder::new().prefix(PREFIX).permissions(all).tempdir_in(parent)?;
    fs_err::create_dir_all(stage.path().join("blobs/sha256"))?;
    write_blobs(images, stage.path()).await?;
    let index = index(Map::new(), images, tag);
    put(&stage.path().join("index.json"), index.as_bytes())?;
    put(&stage.path().join("oci-layout"), VERSION.as_bytes())?;
    fs_err::rename(stage.path(), directory)?;
    // It has another name now.
    let _ = stage.keep();
    Ok(())
}

/// Adds images to a layout that is there.
async fn add(images: &Images, directory: &Path, tag: Option<&str>) -> Result<(), OciError> {
    let what = format!("`{}`", directory.display());
    let invalid = |reason: &str| OciError::invalid(&what, reason);
    if !directory.join("oci-layout").is_file() {
        return Err(invalid("it is a directory with something else in it than an OCI layout"));
    }
    let lock = system::lock_directory(directory)?;
    if lock.is_none() {
        return Err(invalid("another process writes into this layout"));
    }
    let path = directory.join("index.json");
    let document =
        json::parse_object(&system::files::read(&path, LARGEST_DOCUMENT)?, &format!("`{}`", path.display()))?;
    fs_err::create_dir_all(directory.join("blobs/sha256"))?;
    write_blobs(images, directory).await?;
    put(&path, index(document, images, tag).as_bytes())
}

/// All blobs of images: layers, configs, manifests, the index, artifacts.
pub(crate) fn blobs(images: &Images) -> Vec<&Blob> {
    let of_images = images.images.iter().flat_map(|image| image.layers.iter().chain([&image.config, &image.manifest]));
    let artifacts = images.artifacts.iter().flat_map(|artifact| artifact.blobs.iter().chain([&artifact.manifest]));
    let mut seen = std::collections::BTreeSet::new();
    of_images.chain(&images.index).chain(artifacts).filter(|blob| seen.insert(blob.descriptor.digest)).collect()
}

async fn write_blobs(images: &Images, directory: &Path) -> Result<(), OciError> {
    let directory = directory.join("blobs/sha256");
    for blob in blobs(images) {
        let path = directory.join(blob.descriptor.digest.hex());
        // One that is there was renamed when it was whole.
        if fs_err::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.descriptor.size) {
            continue;
        }
        let mut file = temporary(&path)?;
        blob.copy(&mut file).await?;
        file.persist(&path).map_err(|error| error.error)?;
    }
    Ok(())
}

/// A file beside a path, to be renamed to it.
pub(crate) fn temporary(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let all = Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(PREFIX).permissions(all).tempfile_in(path.parent().unwrap_or(path))
}

/// Replaces a small file.
fn put(path: &Path, bytes: &[u8]) -> Result<(), OciError> {
    let mut file = temporary(path)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// `index.json` with the images in it. What else an older one has is kept.
pub(crate) fn index(mut document: Map<String, Value>, images: &Images, tag: Option<&str>) -> String {
    let mut root = images.root().clone();
    let mut entries = match document.remove("manifests") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let text = |entry: &Value, path: &[&str]| {
        path.iter().try_fold(entry, |value, key| value.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    entries.retain(|entry| {
        let old = text(entry, &["annotations", annotation::REF_NAME]);
        old.as_deref() != tag || tag.is_none() && text(entry, &["digest"]) != Some(root.digest.to_string())
    });
    root.annotations.extend(tag.map(|tag| (annotation::REF_NAME.to_owned(), tag.to_owned())));
    let artifacts = images.artifacts.iter().map(|artifact| &artifact.manifest.descriptor);
    for descriptor in std::iter::once(&root).chain(artifacts) {
        let entry = Descriptor::to_json(descriptor);
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let mut index = json::object([("schemaVersion", Some(2.into())), ("mediaType", Some(media_type::INDEX.into()))]);
    index.extend(document);
    index.insert("manifests".to_owned(), Value::Array(entries));
    Value::Object(index).to_string()
}
