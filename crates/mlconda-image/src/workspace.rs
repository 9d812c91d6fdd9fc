//! The directory in which an image is made: a temporary directory, and the finished layers in the cache.
//!
//! If mlconda has a cache directory, finished layers are kept in it, under a hash of their inputs. The temporary
//! directory is beside them, so that files can be hard links. Without a cache, everything is in a directory for
//! temporary files.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mlconda_install::{TemporaryDirectory, remove_abandoned};
use mlconda_oci::Digest;
use mlconda_system::{self as system, files, usage};
use serde_json::{Value, json};

/// The directory of finished layers in the cache. Its name contains the version of their format.
const LAYERS: &str = "layers-1";

/// A layer in a file: a compressed tar, and facts about it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    /// The size of the file in bytes.
    pub(crate) size: u64,
    /// The digest of the uncompressed tar.
    pub(crate) diff_id: Digest,
    /// The size of the uncompressed tar, in bytes.
    pub(crate) unpacked: u64,
    /// The directories in it, relative to the prefix.
    pub(crate) directories: Vec<PathBuf>,
}

/// The directories for making an image. Dropping this value removes the temporary one.
#[derive(Debug)]
pub struct Workspace {
    /// The temporary directory. Its lock shows other processes that it is in use.
    directory: TemporaryDirectory,
    /// The directory of finished layers, if there is a cache.
    layers: Option<PathBuf>,
    /// A lock that shows other processes that the cache is in use.
    _hold: Option<File>,
    /// Locks on layers that belong to other users. This user cannot record the use of these, so the locks are held
    /// until the image is written.
    held: Mutex<Vec<File>>,
}

impl Workspace {
    /// Makes a temporary directory: in the cache if there is one, else in `temporary`.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn new(cache: Option<&Path>, temporary: &Path) -> io::Result<Self> {
        let layers = cache.map(|cache| cache.join(LAYERS));
        // If the cache is not writable, it is not used.
        let made = layers.as_deref().and_then(|layers| in_cache(layers).ok());
        let layers = layers.filter(|_| made.is_some());
        let hold = cache.filter(|_| made.is_some()).and_then(usage::hold);
        let directory = made.map_or_else(|| TemporaryDirectory::make_in(temporary), Ok)?;
        Ok(Self { directory, layers, _hold: hold, held: Mutex::default() })
    }

    /// The temporary directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an empty directory in the temporary one.
    pub(crate) fn subdirectory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        fs_err::create_dir(&path)?;
        Ok(path)
    }

    /// The path for a new file with this name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Finds a finished layer by its key.
    pub(crate) fn find(&self, key: &str) -> Option<Stored> {
        let layers = self.layers.as_ref()?;
        let about = layers.join(format!("{key}.json"));
        let held = usage::note(&about);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
        let text = files::read(&about, files::LARGEST_TEXT).ok()?;
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
        // A layer that was cut off by a crash has another size.
        let is_whole = fs_err::symlink_metadata(&stored.path).is_ok_and(|file| file.len() == stored.size);
        is_whole.then_some(stored)
    }

    /// Renames the file of a layer to its digest, so that images for several platforms, which are made one after the
    /// other, do not overwrite it.
    pub(crate) fn set_aside(&self, stored: Stored) -> io::Result<Stored> {
        let path = self.path().join(stored.digest.hex());
        fs_err::rename(&stored.path, &path)?;
        Ok(Stored { path, ..stored })
    }

    /// Moves a finished layer into the cache, if there is one, and returns its new path. It is not an error if the
    /// cache is not writable.
    pub(crate) fn keep(&self, key: &str, stored: Stored) -> io::Result<Stored> {
        let Some(layers) = &self.layers else { return self.set_aside(stored) };
        let path = layers.join(key);
        let Stored { digest, size, diff_id, unpacked, directories, .. } = &stored;
        let about = json!({
            "digest": digest.to_string(), "size": size, "diff_id": diff_id.to_string(), "unpacked": unpacked,
            "directories": directories.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        });
        let (text, named) = (self.path().join("about"), layers.join(format!("{key}.json")));
        // The description is written first. A layer without it would never be found or removed.
        let kept = fs_err::write(&text, about.to_string())
            .and_then(|()| system::set_directory_mode(&stored.path, 0o644))
            .and_then(|()| fs_err::rename(&text, &named))
            .and_then(|()| fs_err::rename(&stored.path, &path));
        match kept {
            Err(_) => {
                // This may remove the description of another process's layer. Then that layer is not found, which does
                // no harm.
                let _ = system::remove_if_exists(&text);
                let _ = system::remove_if_exists(&named);
                self.set_aside(stored)
            }
            Ok(()) => Ok(Stored { path, ..stored }),
        }
    }
}

/// The finished layers in a cache, by their digests. They may be damaged.
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
        // Removes the directory with several threads. If something remains in the cache, the next run removes it.
        let _ = system::remove_tree(self.path());
    }
}

/// Makes a temporary directory beside the layers of a cache.
fn in_cache(layers: &Path) -> io::Result<TemporaryDirectory> {
    match fs_err::create_dir(layers) {
        Ok(()) => system::set_directory_mode(layers, 0o755)?,
        // Another process may have created it just now.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    remove_abandoned(layers);
    TemporaryDirectory::make_in(layers)
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    fn stored(workspace: &Workspace, name: &str) -> Stored {
        let path = workspace.file(name);
        fs_err::write(&path, name).unwrap();
        let digest = Digest::of(name.as_bytes());
        let size = name.len() as u64;
        Stored { path, digest, size, diff_id: digest, unpacked: size, directories: Vec::new() }
    }

    #[test]
    fn several_that_begin_at_once_in_a_new_cache_all_use_it() {
        const MANY: usize = 8;
        for _ in 0..20 {
            let cache = tempfile::tempdir().unwrap();
            let (begin, end) = (Barrier::new(MANY), Barrier::new(MANY));
            thread::scope(|scope| {
                for number in 0..MANY {
                    let (cache, begin, end) = (cache.path(), &begin, &end);
                    scope.spawn(move || {
                        begin.wait();
                        let workspace = Workspace::new(Some(cache), Path::new("/nowhere")).unwrap();
                        let kept = workspace.keep(&format!("key-{number}"), stored(&workspace, "layer")).unwrap();
                        assert_eq!(kept.path, cache.join(LAYERS).join(format!("key-{number}")));
                        // All with one key.
                        workspace.keep("key", stored(&workspace, "same")).unwrap();
                        assert!(workspace.find("key").is_some());
                        end.wait();
                    });
                }
            });
            let left = fs_err::read_dir(cache.path().join(LAYERS)).unwrap().count();
            assert_eq!(left, 2 * (MANY + 1), "a layer and what is known of it, and nothing else");
        }
    }

    #[test]
    fn a_layer_that_is_used_is_no_longer_old() {
        let cache = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(Some(cache.path()), Path::new("/nowhere")).unwrap();
        workspace.keep("key", stored(&workspace, "layer")).unwrap();
        let about = cache.path().join(LAYERS).join("key.json");
        system::set_directory_time(&about, 1_000_000_000).unwrap();
        assert!(workspace.find("key").is_some());
        assert!(system::modified(&fs_err::metadata(&about).unwrap()) > 1_700_000_000);
        assert!(matches!(usage::find(cache.path()).unwrap(), usage::Use::Busy), "whoever prunes knows of it");
    }

    #[test]
    fn what_a_killed_process_has_left_goes() {
        let cache = tempfile::tempdir().unwrap();
        let layers = cache.path().join(LAYERS);
        fs_err::create_dir_all(layers.join(".new-killed/stage/lib")).unwrap();
        let workspace = Workspace::new(Some(cache.path()), Path::new("/nowhere")).unwrap();
        let other = Workspace::new(Some(cache.path()), Path::new("/nowhere")).unwrap();
        assert!(workspace.path().is_dir() && other.path().is_dir());
        assert_eq!(fs_err::read_dir(&layers).unwrap().count(), 2);
    }

    #[test]
    fn a_layer_that_cannot_be_kept_is_used_all_the_same() {
        let cache = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(Some(cache.path()), Path::new("/nowhere")).unwrap();
        let layers = cache.path().join(LAYERS);
        for in_the_way in ["one", "two.json"] {
            fs_err::create_dir_all(layers.join(in_the_way).join("x")).unwrap();
        }
        for key in ["one", "two"] {
            let kept = workspace.keep(key, stored(&workspace, key)).unwrap();
            assert_eq!(fs_err::read_to_string(&kept.path).unwrap(), key);
            assert!(kept.path.starts_with(workspace.path()) && workspace.find(key).is_none());
        }
    }
}
