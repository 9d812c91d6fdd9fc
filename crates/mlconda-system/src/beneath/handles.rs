//! Keeps some directories below a root open, because the next path is most often in one of them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fd::OwnedFd;

/// Open directories by their path below the root, the last used first. There are at most `most` of them.
#[derive(Debug)]
pub(super) struct Handles {
    most: usize,
    held: Mutex<Vec<(PathBuf, Arc<OwnedFd>)>>,
}

impl Handles {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(PathBuf, Arc<OwnedFd>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, path: &Path) -> Option<Arc<OwnedFd>> {
        let mut held = self.held();
        let place = held.iter().position(|(known, _)| known.as_os_str() == path.as_os_str())?;
        held[..=place].rotate_right(1);
        Some(Arc::clone(&held[0].1))
    }

    pub(super) fn put(&self, path: &Path, open: &Arc<OwnedFd>) {
        // The path is normalized, so that it is found when its directory is renamed.
        let path = path.components().collect();
        let mut held = self.held();
        let last = if held.len() < self.most { None } else { held.pop() };
        held.insert(0, (path, Arc::clone(open)));
        drop(held);
        drop(last);
    }

    /// Closes a directory and all directories below it.
    pub(super) fn forget(&self, path: &Path) {
        let bytes = path.as_os_str().as_encoded_bytes();
        // The comparison of bytes is cheap. The slower one, by components, only confirms it.
        self.held()
            .retain(|(known, _)| !known.as_os_str().as_encoded_bytes().starts_with(bytes) || !known.starts_with(path));
    }

    pub(super) fn clear(&self) {
        self.held().clear();
    }
}
