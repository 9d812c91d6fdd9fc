//! The cache of repodata. Several processes can use it at once without locks.
//!
//! The state of a subdir is one small file (`KEY.info.json`, with the field names that conda uses beside its
//! `repodata.json`). It names the data file. A data file has a unique name and is never changed once a state names it:
//! a writer creates a new data file, then renames a new state over the old one. So a reader sees either version, never
//! a mixture, and an ETag always belongs to its data. Shards (CEP-16) are stored under their hash, and the hash is
//! checked when they are read.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mlconda_system::{files, usage};
use rattler_digest::{Sha256, digest::Digest as _};
use serde::{Deserialize, Serialize};
use url::Url;

use super::index::RepodataIndex;

/// Data files without a state are removed at this age. Younger ones may belong to a running process.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time for which repodata counts as fresh, whatever the channel says.
const MAX_FRESHNESS: Duration = Duration::from_secs(60 * 60);

/// The format in which a subdir was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RepodataFormat {
    /// The index of its shards (CEP-16).
    Shards,
    /// A `repodata.json`, compressed or not.
    Json,
    /// The channel does not have this subdir.
    Missing,
}

/// The cached state of a subdir.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CacheState {
    /// The requested URL, without secrets.
    pub(super) url: String,
    /// The file name of the URL, such as `repodata.json.zst`.
    pub(super) variant: String,
    #[serde(rename = "form")]
    pub(super) format: RepodataFormat,
    /// The data file, in the cache directory.
    pub(super) file: String,
    /// The size of the data file, in bytes.
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// The `Last-Modified` header.
    #[serde(rename = "mod", default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    /// When the channel last confirmed the data, in nanoseconds since 1970-01-01 UTC.
    pub(super) refresh_ns: u64,
    /// When the channel was found to have no shards, in nanoseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) no_shards_ns: Option<u64>,
}

impl CacheState {
    /// The time since the channel last confirmed the data; `None` if that is in the future.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_nanos(self.refresh_ns)).ok()
    }

    /// Whether the channel's `max-age` has not passed yet.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let limit = self.cache_control.as_deref().map_or(Duration::ZERO, max_age).min(MAX_FRESHNESS);
        self.age(now).is_some_and(|age| age < limit)
    }

    /// Whether the channel was recently found to have no shards.
    pub(super) fn has_no_shards(&self, now: SystemTime) -> bool {
        let Some(since) = self.no_shards_ns else { return false };
        let since = SystemTime::UNIX_EPOCH + Duration::from_nanos(since);
        now.duration_since(since).is_ok_and(|age| age < ORPHAN_AGE)
    }
}

/// A time in nanoseconds since 1970-01-01 UTC.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The `max-age` of a `Cache-Control` header (RFC 9111, section 5.2.2.1); zero for `no-cache` and `no-store`.
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

/// The cache of one subdir.
#[derive(Clone, Debug)]
pub(super) struct RepodataCache {
    directory: PathBuf,
    /// The prefix of all of its file names.
    key: String,
}

impl RepodataCache {
    /// The cache of a subdir; creates no files. A channel may show different packages to different logins, so each
    /// login has a cache of its own.
    pub(crate) fn new(directory: &Path, subdir: &Url, login: Option<&str>) -> Self {
        let mut digest = Sha256::new_with_prefix(subdir.as_str());
        if let Some(login) = login {
            // This byte cannot occur in a URL.
            digest.update([0]);
            digest.update(login);
        }
        let key = hex::encode(&digest.finalize()[..8]);
        Self { directory: directory.to_owned(), key }
    }

    fn state_path(&self) -> PathBuf {
        self.directory.join(format!("{}.info.json", self.key))
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn index_path(&self, file: &str) -> PathBuf {
        self.path(&format!("{file}.index"))
    }

    /// The state, if the data file exists and has the right size.
    pub(super) fn state(&self) -> Option<CacheState> {
        let state = self.read_state()?;
        let is_there = || fs_err::metadata(self.path(&state.file)).is_ok_and(|data| data.len() == state.size);
        (state.format == RepodataFormat::Missing || is_there()).then_some(state)
    }

    /// The state as stored; the data file is not checked.
    fn read_state(&self) -> Option<CacheState> {
        let state: CacheState =
            serde_json::from_slice(&files::read(&self.state_path(), files::LARGEST_TEXT).ok()?).ok()?;
        let is_ours = state.file.starts_with(&self.key) && !state.file.contains('/');
        (state.format == RepodataFormat::Missing || is_ours).then_some(state)
    }

    /// Creates a temporary data file. It is removed unless it is stored.
    pub(super) fn new_file(&self) -> io::Result<tempfile::NamedTempFile> {
        fs_err::create_dir_all(&self.directory)?;
        tempfile::Builder::new().prefix(&format!("{}-", self.key)).suffix(".data").tempfile_in(&self.directory)
    }

    /// Stores a data file and the state that names it. Sets `state.file` to the name of the data file.
    pub(super) fn store(&self, data: tempfile::NamedTempFile, state: &mut CacheState) -> io::Result<()> {
        let before = self.read_state();
        let (_, path) = data.keep().map_err(|error| error.error)?;
        state.file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.write_state(state)?;
        if let Some(before) = before {
            self.remove(&before);
        }
        self.remove_orphans(state);
        Ok(())
    }

    /// Stores that the channel does not have this subdir.
    pub(super) fn store_missing(&self, state: &CacheState) -> io::Result<()> {
        let before = self.read_state();
        self.write_state(state)?;
        if let Some(before) = before {
            self.remove(&before);
        }
        Ok(())
    }

    /// Writes the state.
    pub(super) fn write_state(&self, state: &CacheState) -> io::Result<()> {
        fs_err::create_dir_all(&self.directory)?;
        let mut file = tempfile::Builder::new().prefix(&format!("{}-", self.key)).tempfile_in(&self.directory)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.persist(self.state_path()).map_err(|error| error.error)?;
        Ok(())
    }

    /// Writes the state, unless another process has stored other data in the meantime.
    pub(super) fn refresh(&self, state: &CacheState) -> io::Result<()> {
        if self.read_state().is_some_and(|recorded| recorded.file == state.file) {
            self.write_state(state)
        } else {
            Ok(())
        }
    }

    /// Removes this state and its data. If they cannot be removed, they are replaced when they are stale.
    pub(super) fn invalidate(&self, state: &CacheState) {
        if self.read_state().is_some_and(|recorded| recorded.file == state.file) {
            let _ = fs_err::remove_file(self.state_path());
        }
        self.remove(state);
    }

    fn remove(&self, state: &CacheState) {
        if state.format != RepodataFormat::Missing {
            let _ = fs_err::remove_file(self.path(&state.file));
            let _ = fs_err::remove_file(self.index_path(&state.file));
        }
    }

    /// Removes data files that killed processes left behind.
    fn remove_orphans(&self, state: &CacheState) {
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

    /// The index of a data file, if it exists and is valid.
    pub(super) fn index(&self, state: &CacheState) -> Option<RepodataIndex> {
        RepodataIndex::from_bytes(
            &files::read(&self.index_path(&state.file), files::LARGEST_REPODATA).ok()?,
            state.size,
        )
    }

    /// Stores the index of a data file. Errors are ignored, since the index can be built again.
    pub(super) fn store_index(&self, state: &CacheState, index: &RepodataIndex) {
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(&format!("{}-", self.key)).tempfile_in(&self.directory)?;
            file.write_all(&index.to_bytes(state.size))?;
            file.persist(self.index_path(&state.file)).map_err(|error| error.error)?;
            Ok(())
        };
        let _ = write();
    }
}

/// The precision with which the last use of a shard is recorded. Shards are removed after days without use, and a lock
/// reads hundreds of them.
const USE_PRECISION: Duration = Duration::from_secs(3600);

/// The cache of shards, by their hash. All channels share it.
#[derive(Clone, Debug)]
pub(super) struct ShardCache {
    directory: PathBuf,
}

impl ShardCache {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.join("shards") }
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        self.directory.join(format!("{}.msgpack.zst", hex::encode(hash)))
    }

    /// A compressed shard, if it is cached and its hash is right.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        let path = self.path(hash);
        let bytes = files::read(&path, files::LARGEST_RECORD).ok()?;
        has_sha256(&bytes, hash).then(|| {
            usage::note_within(&path, USE_PRECISION);
            bytes
        })
    }

    /// Stores a shard. Errors, such as a full disk, are ignored: the shard can be downloaded again.
    pub(super) fn insert(&self, hash: &[u8; 32], bytes: &[u8]) {
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
pub(super) fn has_sha256(bytes: &[u8], hash: &[u8; 32]) -> bool {
    Sha256::digest(bytes)[..] == hash[..]
}
