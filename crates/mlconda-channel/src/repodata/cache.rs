//! What is kept of channels between runs, so that several processes can use it at once without waiting for each other.
//!
//! A subdir's state is one small file (`KEY.info.json`, with the field names that conda uses beside its `repodata.json`).
//! It names the file that holds the data. Data files have names of their own and are never written to once they are
//! named: whoever replaces one makes the new file, then renames a new state over the old. So a reader has one version or
//! the other, never a mixture, and an ETag always belongs to the data that it stands beside. Shards (CEP-16) are kept by
//! their hash, and hashed again when they are read.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mlconda_system::files;
use rattler_digest::{Sha256, digest::Digest as _};
use serde::{Deserialize, Serialize};
use url::Url;

use super::index::Index;

/// Data files that no state names are removed when they are so old: before that, somebody may be writing them.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whatever a channel says, it is asked again after this time.
const LONGEST_FRESHNESS: Duration = Duration::from_secs(60 * 60);

/// In what form a subdir was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// As the index of its shards (CEP-16).
    Shards,
    /// As one `repodata.json`, however it was packed.
    Json,
    /// Not at all: there is no such subdir.
    Missing,
}

/// What is known of a subdir.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// What was asked for, without secrets.
    pub(super) url: String,
    /// The last part of it: `repodata.json.zst`, say.
    pub(super) variant: String,
    pub(super) form: Form,
    /// The file that holds the data, in the same directory.
    pub(super) file: String,
    /// Its size in bytes.
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// `Last-Modified`.
    #[serde(rename = "mod", default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    /// When the channel said last that this is what it has, in nanoseconds since 1970.
    pub(super) refresh_ns: u64,
    /// When the channel was found to have no shards, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) no_shards_ns: Option<u64>,
}

impl State {
    /// How long ago the channel said that this is what it has; `None` if that lies in the future.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_nanos(self.refresh_ns)).ok()
    }

    /// Whether the channel has said that it need not be asked again yet.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let limit = self.cache_control.as_deref().map_or(Duration::ZERO, max_age).min(LONGEST_FRESHNESS);
        self.age(now).is_some_and(|age| age < limit)
    }

    /// Whether it is of no use to look for shards.
    pub(super) fn has_no_shards(&self, now: SystemTime) -> bool {
        let Some(since) = self.no_shards_ns else { return false };
        let since = SystemTime::UNIX_EPOCH + Duration::from_nanos(since);
        now.duration_since(since).is_ok_and(|age| age < ORPHAN_AGE)
    }
}

/// A time as the state has it.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// `max-age` (RFC 9111, 5.2.2.1); nothing where the answer is to be asked for every time.
fn max_age(cache_control: &str) -> Duration {
    let mut age = Duration::ZERO;
    for directive in cache_control.split(',') {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-cache" || directive == "no-store" {
            return Duration::ZERO;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds.trim_matches('"').parse().map_or(Duration::ZERO, Duration::from_secs);
        }
    }
    age
}

/// What is kept of one subdir.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
    /// The beginning of all its files' names.
    key: String,
}

impl Store {
    /// The store of a subdir. Nothing is made. Another login, in the URL or beside it, may be shown other packages, so
    /// it has a store of its own.
    pub(crate) fn new(directory: &Path, subdir: &Url, login: Option<&str>) -> Self {
        let mut digest = Sha256::new_with_prefix(subdir.as_str());
        if let Some(login) = login {
            // No URL holds this byte.
            digest.update([0]);
            digest.update(login);
        }
        let key = hex::encode(&digest.finalize()[..8]);
        Self { directory: directory.to_owned(), key }
    }

    fn info(&self) -> PathBuf {
        self.directory.join(format!("{}.info.json", self.key))
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn index_path(&self, file: &str) -> PathBuf {
        self.path(&format!("{file}.index"))
    }

    /// What is known of the subdir, if its data is there.
    pub(super) fn state(&self) -> Option<State> {
        let state = self.recorded()?;
        let is_there = || fs_err::metadata(self.path(&state.file)).is_ok_and(|data| data.len() == state.size);
        (state.form == Form::Missing || is_there()).then_some(state)
    }

    /// What the state says, whether or not it is true.
    fn recorded(&self) -> Option<State> {
        let state: State = serde_json::from_slice(&files::read(&self.info(), files::LARGEST_TEXT).ok()?).ok()?;
        let is_ours = state.file.starts_with(&self.key) && !state.file.contains('/');
        (state.form == Form::Missing || is_ours).then_some(state)
    }

    /// A new file for data. It goes if it is not kept.
    pub(super) fn new_file(&self) -> io::Result<tempfile::NamedTempFile> {
        fs_err::create_dir_all(&self.directory)?;
        tempfile::Builder::new().prefix(&format!("{}-", self.key)).suffix(".data").tempfile_in(&self.directory)
    }

    /// Keeps a data file, and from now on has this state. `state.file` is set to its name.
    pub(super) fn keep(&self, data: tempfile::NamedTempFile, state: &mut State) -> io::Result<()> {
        let before = self.recorded();
        let (_, path) = data.keep().map_err(|error| error.error)?;
        state.file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.set(state)?;
        if let Some(before) = before {
            self.remove(&before);
        }
        self.remove_orphans(state);
        Ok(())
    }

    /// Keeps that there is no such subdir.
    pub(super) fn keep_missing(&self, state: &State) -> io::Result<()> {
        let before = self.recorded();
        self.set(state)?;
        if let Some(before) = before {
            self.remove(&before);
        }
        Ok(())
    }

    /// From now on has this state.
    pub(super) fn set(&self, state: &State) -> io::Result<()> {
        fs_err::create_dir_all(&self.directory)?;
        let mut file = tempfile::Builder::new().prefix(&format!("{}-", self.key)).tempfile_in(&self.directory)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.persist(self.info()).map_err(|error| error.error)?;
        Ok(())
    }

    /// From now on has this state, unless another process has other data by now.
    pub(super) fn renew(&self, state: &State) -> io::Result<()> {
        if self.recorded().is_some_and(|recorded| recorded.file == state.file) { self.set(state) } else { Ok(()) }
    }

    /// Forgets this state of the subdir. What cannot be removed is asked for anew when it is stale.
    pub(super) fn forget(&self, state: &State) {
        if self.recorded().is_some_and(|recorded| recorded.file == state.file) {
            let _ = fs_err::remove_file(self.info());
        }
        self.remove(state);
    }

    fn remove(&self, state: &State) {
        if state.form != Form::Missing {
            let _ = fs_err::remove_file(self.path(&state.file));
            let _ = fs_err::remove_file(self.index_path(&state.file));
        }
    }

    /// Removes what killed processes had left long before this state.
    fn remove_orphans(&self, state: &State) {
        let prefix = format!("{}-", self.key);
        let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(state.refresh_ns);
        for entry in fs_err::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_orphan =
                name.to_str().is_some_and(|name| name.starts_with(&prefix) && !name.starts_with(&state.file));
            let modified = || entry.metadata().and_then(|data| data.modified());
            let is_old = || modified().is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > ORPHAN_AGE));
            if is_orphan && is_old() {
                let _ = fs_err::remove_file(entry.path());
            }
        }
    }

    /// The index of a data file, if there is a sound one.
    pub(super) fn index(&self, state: &State) -> Option<Index> {
        Index::from_bytes(&files::read(&self.index_path(&state.file), files::LARGEST_REPODATA).ok()?, state.size)
    }

    /// Keeps the index of a data file. It can be made again, so nothing depends on it.
    pub(super) fn keep_index(&self, state: &State, index: &Index) {
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(&format!("{}-", self.key)).tempfile_in(&self.directory)?;
            file.write_all(&index.to_bytes(state.size))?;
            file.persist(self.index_path(&state.file)).map_err(|error| error.error)?;
            Ok(())
        };
        let _ = write();
    }
}

/// Shards by their hash; all channels share them.
#[derive(Clone, Debug)]
pub(super) struct ShardStore {
    directory: PathBuf,
}

impl ShardStore {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.join("shards") }
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        self.directory.join(format!("{}.msgpack.zst", hex::encode(hash)))
    }

    /// A shard, packed, if it is here and sound.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        let bytes = files::read(&self.path(hash), files::LARGEST_RECORD).ok()?;
        is_sound(&bytes, hash).then_some(bytes)
    }

    /// Keeps a shard. It can be had again, so a full disk is no reason to stop.
    pub(super) fn keep(&self, hash: &[u8; 32], bytes: &[u8]) {
        let write = || -> io::Result<()> {
            fs_err::create_dir_all(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(bytes)?;
            file.persist(self.path(hash)).map_err(|error| error.error)?;
            Ok(())
        };
        let _ = write();
    }
}

/// Whether bytes have this sha256.
pub(super) fn is_sound(bytes: &[u8], hash: &[u8; 32]) -> bool {
    Sha256::digest(bytes)[..] == hash[..]
}
