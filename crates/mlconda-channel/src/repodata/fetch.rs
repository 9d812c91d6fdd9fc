//! Loads a subdir: from the cache if it may be used, else from the channel.
//!
//! The channel is asked for the index of its shards first (CEP-16), then for `repodata.json.zst`, `repodata.json.bz2`
//! and `repodata.json`. The variant that the channel had last time comes first, with its ETag. If all are missing, the
//! channel does not have the subdir. A 401 or 403 counts only for the plain file, because storage services answer 403
//! for missing files.
//!
//! The cache is used without a request while the channel's `max-age` lasts, and always with [`Access::Offline`]. If
//! the channel cannot be reached, that is an error: old data is never used in its place.

mod readers;

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use mlconda_system::files;
use reqwest::{StatusCode, header};
use tokio::sync::mpsc;
use url::Url;

use self::readers::{BodyReader, CancellableReader, decompressed, forward_chunks, limited};
use super::{
    Access, RepodataError,
    cache::{CacheState, RepodataCache, RepodataFormat, nanoseconds},
    index::RepodataIndex,
    scan::{ScanError, scan},
    shards::{ShardIndex, read_whole},
};
use crate::network::{self, Cause, Client, NetworkError, Transfer};

/// How often a body is requested if it arrives incomplete.
const MAX_BODY_ATTEMPTS: usize = 3;

/// The largest index of shards, in bytes.
const SHARD_INDEX_LIMIT: u64 = 64 << 20;

/// The data of a subdir.
#[derive(Debug)]
pub(super) enum SubdirData {
    /// The channel does not have the subdir.
    Missing,
    /// The text of a `repodata.json`, and the index of its records.
    Json { text: File, index: RepodataIndex },
    /// The index of its shards.
    Shards(ShardIndex),
}

/// The files that may hold the repodata of a subdir, in order of preference.
const VARIANTS: [(&str, RepodataFormat); 4] = [
    ("repodata_shards.msgpack.zst", RepodataFormat::Shards),
    ("repodata.json.zst", RepodataFormat::Json),
    ("repodata.json.bz2", RepodataFormat::Json),
    (PLAIN, RepodataFormat::Json),
];

/// The file that every channel has.
const PLAIN: &str = "repodata.json";

/// Loads one subdir.
pub(super) struct Fetcher<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: RepodataCache,
    /// The URL of the subdir with its login and a slash at the end.
    pub(super) url: &'a Url,
    pub(super) access: Access,
    pub(super) now: SystemTime,
}

/// The result of a request for one variant.
enum FetchOutcome {
    /// The channel does not have this variant.
    Missing(StatusCode),
    /// The cached data is still current.
    NotModified(CacheState),
    Found(CacheState, SubdirData),
}

/// Why a request failed.
enum FetchError {
    /// The body is incomplete; another attempt may succeed.
    Transient(RepodataError),
    Permanent(RepodataError),
}

impl Fetcher<'_> {
    /// Loads the data of the subdir and its state.
    pub(super) async fn load(&self) -> Result<(CacheState, SubdirData), RepodataError> {
        let state = self.cache.state();
        let may_be_used = match self.access {
            Access::Offline => true,
            Access::Online => state.as_ref().is_some_and(|state| state.is_fresh(self.now)),
            Access::Refresh => false,
        };
        if may_be_used {
            let mut opened = match &state {
                Some(state) => self.open(state.clone()).await,
                None => None,
            };
            // Another process may have just replaced the file.
            if let (None, Some(before), Some(now)) = (&opened, state, self.cache.state())
                && before.file != now.file
            {
                opened = self.open(now).await;
            }
            if opened.is_some() || self.access == Access::Offline {
                return opened.ok_or_else(|| RepodataError::NotCached { subdir: self.shown() });
            }
        }
        self.fetch_variants(self.cache.state()).await
    }

    fn shown(&self) -> String {
        network::redact(self.url)
    }

    async fn fetch_variants(&self, known: Option<CacheState>) -> Result<(CacheState, SubdirData), RepodataError> {
        let mut variants = VARIANTS.to_vec();
        let mut no_shards = known.as_ref().and_then(|state| state.no_shards_ns);
        if known.as_ref().is_some_and(|state| state.has_no_shards(self.now)) {
            variants.retain(|(_, format)| *format == RepodataFormat::Json);
        }
        // The channel usually still has the variant that it had last time.
        if let Some(state) = known.as_ref().filter(|state| state.format == RepodataFormat::Json) {
            mlconda_types::sorting::sort_by_key(&mut variants, |(name, format)| {
                *format == RepodataFormat::Json && *name != state.variant
            });
        }
        let mut refusal = None;
        for (variant, format) in variants {
            let state = CacheState {
                no_shards_ns: no_shards.filter(|_| format == RepodataFormat::Json),
                ..self.state(variant, format)
            };
            match self.request_with_retries(&state, known.as_ref()).await? {
                FetchOutcome::Missing(status) => {
                    if format == RepodataFormat::Shards {
                        no_shards = Some(nanoseconds(self.now));
                    }
                    // Storage services answer 403 for missing files. The plain file must exist in every channel.
                    if variant == PLAIN && [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
                        refusal = Some(status);
                    }
                }
                FetchOutcome::NotModified(state) => {
                    self.cache.refresh(&state).map_err(|error| self.cache_error(error))?;
                    if let Some(found) = self.open(state.clone()).await {
                        return Ok(found);
                    }
                    // The file is damaged, or another process replaced it: request everything again.
                    self.cache.invalidate(&state);
                    return Box::pin(self.fetch_variants(None)).await;
                }
                FetchOutcome::Found(state, data) => return Ok((state, data)),
            }
        }
        match refusal {
            Some(status) => Err(RepodataError::Denied { subdir: self.shown(), status: status.as_u16() }),
            None => {
                let state = self.state("", RepodataFormat::Missing);
                self.cache.store_missing(&state).map_err(|error| self.cache_error(error))?;
                Ok((state, SubdirData::Missing))
            }
        }
    }

    /// A state with the current time.
    fn state(&self, variant: &str, format: RepodataFormat) -> CacheState {
        CacheState {
            url: self.shown(),
            variant: variant.to_owned(),
            format,
            file: String::new(),
            size: 0,
            etag: None,
            last_modified: None,
            cache_control: None,
            refresh_ns: nanoseconds(self.now),
            no_shards_ns: None,
        }
    }

    /// Opens the cached data; `None` if it is damaged.
    async fn open(&self, state: CacheState) -> Option<(CacheState, SubdirData)> {
        let cache = self.cache.clone();
        let open = move || {
            let data = match state.format {
                RepodataFormat::Missing => SubdirData::Missing,
                RepodataFormat::Shards => SubdirData::Shards(
                    ShardIndex::read(files::read(&cache.path(&state.file), files::LARGEST_REPODATA).ok()?).ok()?,
                ),
                RepodataFormat::Json => {
                    let text = files::open(&cache.path(&state.file)).ok()?.into_parts().0;
                    let index = cache.index(&state).or_else(|| {
                        let index = scan(&text, io::sink()).ok()?;
                        cache.store_index(&state, &index);
                        Some(index)
                    })?;
                    SubdirData::Json { text, index }
                }
            };
            Some((state, data))
        };
        tokio::task::spawn_blocking(open).await.ok().flatten()
    }

    /// Requests the variant of `wanted`, with further attempts if the body is incomplete.
    async fn request_with_retries(
        &self,
        wanted: &CacheState,
        known: Option<&CacheState>,
    ) -> Result<FetchOutcome, RepodataError> {
        for _ in 1..MAX_BODY_ATTEMPTS {
            match self.request(wanted, known).await {
                Err(FetchError::Transient(_)) => {}
                Err(FetchError::Permanent(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.request(wanted, known).await.map_err(|failure| match failure {
            FetchError::Transient(error) | FetchError::Permanent(error) => error,
        })
    }

    async fn request(&self, wanted: &CacheState, known: Option<&CacheState>) -> Result<FetchOutcome, FetchError> {
        let variant = wanted.variant.as_str();
        let url = self
            .url
            .join(variant)
            .map_err(|error| FetchError::Permanent(self.unreachable(error.to_string(), Cause::Other)))?;
        let known = known.filter(|state| state.variant == variant);
        let mut headers = vec![(header::ACCEPT_ENCODING, "gzip")];
        if let Some(state) = known {
            let conditions = [(header::IF_NONE_MATCH, &state.etag), (header::IF_MODIFIED_SINCE, &state.last_modified)];
            headers.extend(conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        }
        let body = if wanted.format == RepodataFormat::Shards {
            network::BodyKind::Shard
        } else {
            network::BodyKind::Repodata
        };
        let response = self.client.request(&url, body, &headers).await.map_err(|error| match error {
            NetworkError::Unreachable { reason, cause, .. } => FetchError::Permanent(self.unreachable(reason, cause)),
            error => FetchError::Permanent(self.unreachable(error.to_string(), error.cause())),
        })?;
        let value = |name| response.header(name).map(str::to_owned);
        let state = CacheState {
            etag: value(header::ETAG),
            last_modified: value(header::LAST_MODIFIED),
            cache_control: value(header::CACHE_CONTROL),
            ..wanted.clone()
        };
        match (response.status(), known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => Ok(FetchOutcome::NotModified(CacheState {
                file: known.file.clone(),
                size: known.size,
                etag: state.etag.or_else(|| known.etag.clone()),
                last_modified: state.last_modified.or_else(|| known.last_modified.clone()),
                ..state
            })),
            (status, _) if status.is_success() => self.receive(response, state).await,
            (status, _) if is_missing(status, variant) => Ok(FetchOutcome::Missing(status)),
            _ => {
                let refusal = self.client.status_error(&url, &response);
                let reason = match &refusal {
                    NetworkError::Status { status, wait: None, said, .. } if said.is_empty() => status.to_string(),
                    _ => refusal.to_string(),
                };
                Err(FetchError::Permanent(self.unreachable(reason, refusal.cause())))
            }
        }
    }

    /// Reads the body of a response and stores it.
    async fn receive(&self, response: Transfer, mut state: CacheState) -> Result<FetchOutcome, FetchError> {
        // RFC 9110: the names of content codings ignore case, and `x-gzip` is an alias.
        let coding = response.header(header::CONTENT_ENCODING).unwrap_or_default();
        let is_gzip = ["gzip", "x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name));
        let limit = self.client.limits().unpacked;
        let (sender, body) = mpsc::channel(16);
        let (cache, variant, format) = (self.cache.clone(), state.variant.clone(), state.format);
        // The blocking thread continues after this future is dropped. The drop of `wanted` tells it to stop.
        let wanted = Arc::new(());
        let alive = Arc::downgrade(&wanted);
        let reading = tokio::task::spawn_blocking(move || {
            let body = BodyReader { pieces: body, piece: Default::default(), at: 0 };
            let mut body: Box<dyn Read> =
                if is_gzip { limited(flate2::read::MultiGzDecoder::new(body), limit) } else { Box::new(body) };
            let mut first = Vec::new();
            (&mut body).take(1).read_to_end(&mut first)?;
            if variant != PLAIN && first == b"<" {
                return Err(StoreError::Page);
            }
            let unpacked = limited(decompressed(&variant, first.chain(body))?, limit);
            write_to_cache(&cache, CancellableReader { reader: unpacked, alive }, format)
        });
        let forwarded = forward_chunks(response, sender).await;
        let read =
            reading.await.unwrap_or_else(|panic| Err(StoreError::Data(ScanError::Read(io::Error::other(panic)))));
        drop(wanted);
        // After a failed transfer, the parser fails too. The transfer's error is the cause.
        forwarded.map_err(|error| {
            let failure = self.unreachable(error.to_string(), error.cause());
            let is_final = matches!(error, NetworkError::Registry(_)) // the registry code has already retried
                || matches!(error.cause(), Cause::Slow | Cause::TooLong);
            if is_final { FetchError::Permanent(failure) } else { FetchError::Transient(failure) }
        })?;
        if let Err(StoreError::Page) = read {
            return Ok(FetchOutcome::Missing(StatusCode::NOT_FOUND));
        }
        let (file, data) = read.map_err(|error| match error {
            StoreError::Page => {
                FetchError::Permanent(self.broken(&state.variant, &io::Error::other("it is an HTML page")))
            }
            StoreError::Cache(error) => FetchError::Permanent(self.cache_error(error)),
            StoreError::Data(ScanError::Write(error)) => FetchError::Permanent(self.cache_error(error)),
            StoreError::Data(ScanError::Read(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                FetchError::Permanent(self.broken(&state.variant, &error))
            }
            StoreError::Data(ScanError::Read(error)) => FetchError::Transient(self.broken(&state.variant, &error)),
            StoreError::Data(error) => FetchError::Permanent(self.broken(&state.variant, &error)),
        })?;
        let size = file.as_file().metadata().map_err(|error| FetchError::Permanent(self.cache_error(error)))?.len();
        state.size = size;
        self.cache.store(file, &mut state).map_err(|error| FetchError::Permanent(self.cache_error(error)))?;
        if let SubdirData::Json { index, .. } = &data {
            self.cache.store_index(&state, index);
        }
        Ok(FetchOutcome::Found(state, data))
    }

    fn unreachable(&self, reason: String, cause: Cause) -> RepodataError {
        RepodataError::Unreachable { subdir: self.shown(), reason, cause }
    }

    fn broken(&self, file: &str, error: &dyn std::error::Error) -> RepodataError {
        RepodataError::Broken { subdir: self.shown(), reason: format!("`{file}`: {error}") }
    }

    fn cache_error(&self, source: io::Error) -> RepodataError {
        RepodataError::Cache { directory: self.cache.path(""), source }
    }
}

/// Whether a status means that the file is missing, or that the client may not see it.
fn is_missing(status: StatusCode, variant: &str) -> bool {
    let says_so = [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
    let refuses = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
    let is_new_to_it = status == StatusCode::NOT_IMPLEMENTED && variant != PLAIN;
    says_so || refuses || is_new_to_it
}

/// Why data could not be stored.
enum StoreError {
    /// The server answered with an HTML page and a good status, as some do for missing files.
    Page,
    Data(ScanError),
    Cache(io::Error),
}

impl From<ScanError> for StoreError {
    fn from(error: ScanError) -> Self {
        Self::Data(error)
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Data(ScanError::Read(error))
    }
}

/// Decompresses data into a new file of the cache.
fn write_to_cache(
    cache: &RepodataCache,
    body: impl Read,
    format: RepodataFormat,
) -> Result<(tempfile::NamedTempFile, SubdirData), StoreError> {
    let file = cache.new_file().map_err(StoreError::Cache)?;
    let data = match format {
        RepodataFormat::Missing => SubdirData::Missing,
        RepodataFormat::Json => {
            let index = scan(body, BufWriter::with_capacity(1 << 20, file.as_file()))?;
            SubdirData::Json { text: file.reopen().map_err(StoreError::Cache)?, index }
        }
        RepodataFormat::Shards => {
            let bytes = read_whole(body, SHARD_INDEX_LIMIT, 0)?;
            fs_err::write(file.path(), &bytes).map_err(StoreError::Cache)?;
            SubdirData::Shards(ShardIndex::read(bytes).map_err(io::Error::other)?)
        }
    };
    Ok((file, data))
}

/// Reads a subdir from a local directory. Compressed files are decompressed into `directory`.
pub(super) fn open_local(
    subdir: &Path,
    directory: &Path,
    shown: &str,
    limit: u64,
) -> Result<SubdirData, RepodataError> {
    for (variant, _) in VARIANTS.iter().rev().filter(|(_, format)| *format == RepodataFormat::Json) {
        let broken = |error: &dyn std::error::Error| RepodataError::Broken {
            subdir: shown.to_owned(),
            reason: format!("`{variant}`: {error}"),
        };
        let file = match files::open(&subdir.join(variant)) {
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => continue,
            file => file.map_err(|error| broken(&error))?.into_parts().0,
        };
        if *variant == PLAIN {
            let index = scan(limited(&file, limit), io::sink()).map_err(|error| broken(&error))?;
            return Ok(SubdirData::Json { text: file, index });
        }
        let cache_error = |source| RepodataError::Cache { directory: directory.to_owned(), source };
        fs_err::create_dir_all(directory).map_err(cache_error)?;
        let text = tempfile::tempfile_in(directory).map_err(cache_error)?;
        let unpacked = decompressed(variant, file).map_err(|error| broken(&error))?;
        let index =
            scan(limited(unpacked, limit), BufWriter::with_capacity(1 << 20, &text)).map_err(|error| match error {
                ScanError::Write(error) => cache_error(error),
                error => broken(&error),
            })?;
        return Ok(SubdirData::Json { text, index });
    }
    Ok(SubdirData::Missing)
}
