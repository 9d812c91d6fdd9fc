//! Where images are put together: a temporary directory, which is gone at the end, and the layers in the cache.
//!
//! Where mlconda's cache directory exists, finished layers stay in it, each under the hash of what it is made of, and
//! packages are put together beside them, so that files can be hard links. Else all is in a directory for temporary files.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use mlconda_oci::Digest;
use mlconda_system::{self as system, files};
use serde_json::{Value, json};

/// The directory of finished layers in the cache. Its name contains the version of their format.
const LAYERS: &str = "layers-1";

/// How the names of temporary directories begin.
const TEMPORARY: &str = ".mlconda-image-";

/// A layer as it is kept: a compressed tar, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    /// The size of the file in bytes.
    pub(crate) size: u64,
    /// The digest of the tar without compression.
    pub(crate) diff_id: Digest,
    /// The size of the tar without compression, in bytes.
    pub(crate) unpacked: u64,
    /// The directories in it, relative to the prefix.
    pub(crate) directories: Vec<PathBuf>,
}

/// The directories. Dropping this removes the temporary one.
#[derive(Debug)]
pub struct Workspace {
    directory: PathBuf,
    /// Where finished layers are kept.
    layers: Option<PathBuf>,
    /// Tells others that somebody works there.
    _hold: Option<File>,
}

impl Workspace {
    /// Makes a temporary directory: in the cache if there is one, else in `temporary`.
    ///
    /// # Errors
    /// If none can be made.
    pub fn new(cache: Option<&Path>, temporary: &Path) -> io::Result<Self> {
        let layers = cache.map(|cache| cache.join(LAYERS));
        let made = layers.as_deref().and_then(|layers| {
            if !layers.is_dir() {
                fs_err::create_dir(layers).and_then(|()| system::set_directory_mode(layers, 0o755)).ok()?;
            }
            remove_leftovers(layers);
            temporary_in(layers).ok()
        });
        // A cache that cannot be written to is not used.
        let layers = layers.filter(|_| made.is_some());
        let directory = made.map_or_else(|| temporary_in(temporary), Ok)?;
        let hold = system::lock_directory(&directory)?;
        Ok(Self { directory, layers, _hold: hold })
    }

    /// Makes an empty directory in the temporary one.
    pub(crate) fn subdirectory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs_err::create_dir(&path)?;
        Ok(path)
    }

    /// A path for a file that is to be made.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A finished layer, by its key.
    pub(crate) fn find(&self, key: &str) -> Option<Stored> {
        let layers = self.layers.as_ref()?;
        let text = files::read(&layers.join(format!("{key}.json")), files::LARGEST_TEXT).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let digest = |name: &str| value[name].as_str()?.parse().ok();
        let stored = Stored {
            path: layers.join(key),
            digest: digest("digest")?,
            size: value["size"].as_u64()?,
            diff_id: digest("diff_id")?,
            unpacked: value["unpacked"].as_u64()?,
            directories: value["directories"]
                .as_array()?
                .iter()
                .filter_map(|path| Some(path.as_str()?.into()))
                .collect(),
        };
        // What a crash has cut off has another size.
        let is_whole = fs_err::symlink_metadata(&stored.path).is_ok_and(|file| file.len() == stored.size);
        is_whole.then_some(stored)
    }

    /// Gives the file of a layer a name that no other one has: images of several platforms are put together one by one.
    pub(crate) fn set_aside(&self, stored: Stored) -> io::Result<Stored> {
        let path = self.directory.join(stored.digest.hex());
        fs_err::rename(&stored.path, &path)?;
        Ok(Stored { path, ..stored })
    }

    /// Keeps a finished layer under a key, where there is a cache, and returns its new place. A cache that cannot be written
    /// to is not an error.
    pub(crate) fn keep(&self, key: &str, stored: Stored) -> io::Result<Stored> {
        let Some(layers) = &self.layers else { return self.set_aside(stored) };
        let path = layers.join(key);
        let Stored { digest, size, diff_id, unpacked, directories, .. } = &stored;
        let about = json!({
            "digest": digest.to_string(), "size": size, "diff_id": diff_id.to_string(), "unpacked": unpacked,
            "directories": directories.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        });
        let kept = system::set_directory_mode(&stored.path, 0o644)
            .and_then(|()| fs_err::rename(&stored.path, &path))
            .and_then(|()| {
                let text = self.directory.join("about");
                fs_err::write(&text, about.to_string())?;
                fs_err::rename(&text, layers.join(format!("{key}.json")))
            });
        match kept {
            Err(_) if stored.path.exists() => self.set_aside(stored),
            _ => Ok(Stored { path, ..stored }),
        }
    }
}

/// The finished layers in a cache, by their digests. Whether they are whole is not known.
pub(crate) fn finished_layers(cache: &Path) -> HashMap<Digest, PathBuf> {
    let mut finished = HashMap::new();
    for entry in fs_err::read_dir(cache.join(LAYERS)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let text = files::read(&path, files::LARGEST_TEXT).unwrap_or_default();
        let about: Value = serde_json::from_slice(&text).unwrap_or_default();
        let digest = about["digest"].as_str().and_then(|digest| digest.parse().ok());
        finished.extend(digest.map(|digest| (digest, path.with_extension(""))));
    }
    finished
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed, the next run removes, if it is in the cache.
        let _ = system::remove_tree(&self.directory);
    }
}

fn temporary_in(directory: &Path) -> io::Result<PathBuf> {
    let made = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(directory)?;
    Ok(made.keep())
}

/// Removes what killed processes have left. What a running process holds stays.
fn remove_leftovers(directory: &Path) {
    for entry in fs_err::read_dir(directory).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if is_temporary && let Ok(Some(_hold)) = system::lock_directory_strictly(&entry.path()) {
            let _ = system::remove_tree(&entry.path());
        }
    }
}
