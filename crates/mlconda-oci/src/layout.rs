//! Writes images into an OCI layout (image spec, `image-layout.md`): a directory with `oci-layout`, `index.json`, and
//! blobs by their digests.
//!
//! A new layout is made beside its path and renamed at the end. In an existing layout, new blobs are moved to their
//! places when all are complete, and `index.json` is replaced last. So a reader sees either the old images or the new
//! ones. If writing fails or is stopped, nothing is left behind.

use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use mlconda_system::{
    self as system,
    usage::{self, Use},
};
use mlconda_types::progress::{Event, Progress};
use serde_json::{Map, Value};

use crate::{
    Blob, Descriptor, Images, OciError, annotation,
    json::{self, LARGEST_DOCUMENT},
    media_type,
    output::{Output, cannot_write},
};

/// The first characters of temporary names: in a layout, and beside the path that is written.
const PREFIX: &str = ".mlconda-layout-";
const BESIDE: &str = ".mlconda-image-";

/// The content of `oci-layout`.
pub(crate) const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes images into a layout, under a tag. The directory is created, or it is a layout already. An image with the
/// same tag is replaced.
///
/// If the future is dropped, the image with the tag stays as it was.
///
/// # Errors
/// If the directory is something other than a layout, or not writable, if another process writes into it, or if a blob
/// cannot be read. Then the layout stays as it was.
pub async fn write(
    images: &Images,
    directory: &Path,
    tag: Option<&str>,
    progress: &dyn Progress,
) -> Result<(), OciError> {
    tell_start(images, progress);
    match fs_err::read_dir(directory) {
        Ok(_) => add(images, directory, tag, progress).await,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(images, directory, tag, progress).await,
        Err(error) => Err(error.into()),
    }
}

/// Reports that writing images begins.
pub(crate) fn tell_start(images: &Images, progress: &dyn Progress) {
    let blobs = blobs(images);
    let bytes = blobs.iter().map(|blob| blob.descriptor.size).sum();
    progress.event(Event::ImageWriteStarted { blobs: blobs.len(), bytes });
}

/// Makes a new layout.
async fn create(images: &Images, directory: &Path, tag: Option<&str>, progress: &dyn Progress) -> Result<(), OciError> {
    let parent = directory.parent().unwrap_or(directory);
    let mut made = Undo::default();
    made.directories(parent)?;
    let all = Permissions::from_mode(0o777);
    let make = || tempfile::Builder::new().prefix(BESIDE).permissions(all.clone()).tempdir_in(parent);
    let (stage, _hold) =
        beside(parent, make, tempfile::TempDir::path).map_err(|error| cannot_write(directory, &error))?;
    let blobs = stage.path().join("blobs/sha256");
    fs_err::create_dir_all(&blobs)?;
    stage_blobs(images, (&blobs, &blobs), directory, progress).await?;
    let index = index(Map::new(), images, tag);
    put(&stage.path().join("index.json"), index.as_bytes())?;
    put(&stage.path().join("oci-layout"), VERSION.as_bytes())?;
    fs_err::rename(stage.path(), directory)?;
    // The stage was renamed, so it must not be removed.
    let _ = stage.keep();
    made.keep();
    Ok(())
}

/// Adds images to an existing layout. An empty directory, which may be a mount, counts as an empty layout.
async fn add(images: &Images, directory: &Path, tag: Option<&str>, progress: &dyn Progress) -> Result<(), OciError> {
    let what = format!("`{}`", directory.display());
    let invalid = |reason: &str| OciError::invalid(&what, reason);
    let lock = system::lock_directory(directory)?;
    if lock.is_none() {
        return Err(invalid("another process writes into this layout"));
    }
    let (path, version) = (directory.join("index.json"), directory.join("oci-layout"));
    let mut names = fs_err::read_dir(directory)?.flatten().map(|entry| entry.file_name());
    if !version.is_file() && !names.all(|name| is_leftover(&name)) {
        return Err(invalid("it has files, but is not an OCI layout"));
    }
    remove_leftovers(directory);
    let document = match path.try_exists()? {
        // An earlier process was killed before it wrote the index.
        false => Map::new(),
        true => json::parse_object(&system::files::read(&path, LARGEST_DOCUMENT)?, &format!("`{}`", path.display()))?,
    };
    let stage = tempfile::Builder::new().prefix(PREFIX).tempdir_in(directory);
    let stage = stage.map_err(|error| cannot_write(directory, &error))?;
    let place = directory.join("blobs/sha256");
    let staged = stage_blobs(images, (stage.path(), &place), directory, progress).await?;
    // The rest has no await, so a signal cannot interrupt it.
    let mut made = Undo::default();
    // This file is written first, so that the next run recognizes the layout if this process is killed.
    if !version.is_file() {
        made.0.push(version.clone());
        put(&version, VERSION.as_bytes())?;
    }
    made.directories(&place)?;
    for name in staged {
        let path = place.join(&name);
        let is_new = !path.exists();
        fs_err::rename(stage.path().join(&name), &path)?;
        made.0.extend(is_new.then_some(path));
    }
    put(&path, index(document, images, tag).as_bytes())?;
    made.keep();
    Ok(())
}

/// Removes leftovers of killed processes from a layout that this process has locked.
fn remove_leftovers(directory: &Path) {
    for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
        if is_leftover(&entry.file_name()) {
            let path = entry.path();
            let _ = fs_err::remove_file(&path).or_else(|_| system::remove_tree(&path));
        }
    }
}

fn is_leftover(name: &OsStr) -> bool {
    [PREFIX, BESIDE].iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
}

/// Makes a temporary file or directory, and locks it, so that other processes know that it is in use. Leftovers of
/// killed processes in the directory are removed first, except on a file system without locks.
fn beside<T>(
    directory: &Path,
    make: impl Fn() -> std::io::Result<T>,
    path: impl Fn(&T) -> &Path,
) -> std::io::Result<(T, Option<File>)> {
    for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
        // Links are not removed.
        let is_own = entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir());
        if is_own
            && entry.file_name().as_encoded_bytes().starts_with(BESIDE.as_bytes())
            && let Ok(Use::Free(_held)) = usage::find(&entry.path())
        {
            let _ = fs_err::remove_file(entry.path()).or_else(|_| system::remove_tree(&entry.path()));
        }
    }
    loop {
        let made = make()?;
        let hold = usage::hold(path(&made));
        // Another process may have removed it as a leftover before it was locked.
        if path(&made).try_exists()? {
            return Ok((made, hold));
        }
    }
}

/// Files and directories that were created, in this order. Dropping this value removes them.
#[derive(Default)]
struct Undo(Vec<PathBuf>);

impl Undo {
    /// Creates a directory, and missing ones above it.
    fn directories(&mut self, path: &Path) -> std::io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        for directory in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
            match fs_err::create_dir(directory) {
                Ok(()) => self.0.push(directory.to_owned()),
                // Another process has created it just now.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // A directory that contains files of others stays.
            let _ = fs_err::remove_file(path).or_else(|_| fs_err::remove_dir(path));
        }
    }
}

/// All blobs of images: layers, configs, manifests, the index, artifacts.
pub(crate) fn blobs(images: &Images) -> Vec<&Blob> {
    let of_images = images.images.iter().flat_map(|image| image.layers.iter().chain([&image.config, &image.manifest]));
    let artifacts = images.artifacts.iter().flat_map(|artifact| artifact.blobs.iter().chain([&artifact.manifest]));
    let mut seen = std::collections::BTreeSet::new();
    of_images.chain(&images.index).chain(artifacts).filter(|blob| seen.insert(blob.descriptor.digest)).collect()
}

/// Writes the blobs that are not in `place` yet into `stage`. Returns their file names.
async fn stage_blobs(
    images: &Images,
    (stage, place): (&Path, &Path),
    layout: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>, OciError> {
    let mut staged = Vec::new();
    for blob in blobs(images) {
        let (name, size) = (blob.descriptor.digest.hex(), blob.descriptor.size);
        // An existing blob is complete, because it was renamed to its name only then.
        if fs_err::metadata(place.join(&name)).is_ok_and(|metadata| metadata.len() == size) {
            progress.event(Event::ImageWritten { bytes: size });
            continue;
        }
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(stage.join(&name))?.into_parts().0;
        blob.copy_with(&mut Output { inner: &mut file, place: layout }, progress).await?;
        staged.push(name);
    }
    Ok(staged)
}

/// A temporary file beside a path, which will be renamed to it. It stays locked until the second value is dropped.
pub(crate) fn temporary(path: &Path) -> std::io::Result<(tempfile::NamedTempFile, Option<File>)> {
    let (all, parent) = (Permissions::from_mode(0o666), path.parent().unwrap_or(path));
    let make = || tempfile::Builder::new().prefix(BESIDE).permissions(all.clone()).tempfile_in(parent);
    beside(parent, make, tempfile::NamedTempFile::path).map_err(|error| cannot_write(path, &error))
}

/// Replaces a small file.
fn put(path: &Path, bytes: &[u8]) -> Result<(), OciError> {
    let (mut file, _hold) = temporary(path)?;
    Output { inner: file.as_file_mut(), place: path }.write_all(bytes)?;
    persist(file, path)
}

/// Renames a temporary file to its final name.
pub(crate) fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<(), OciError> {
    file.persist(path).map_err(|error| cannot_write(path, &error.error))?;
    Ok(())
}

/// The text of `index.json` with these images. Other entries and fields of the old index are kept.
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
