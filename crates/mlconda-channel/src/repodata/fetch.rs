//! From a subdir of a channel to data that records can be read from: the cache, if it may be used; else the channel.
//!
//! A channel is asked for the index of its shards first (CEP-16), then for `repodata.json.zst`, `.bz2` and the plain
//! file; what it had the last time is asked for by its ETag. Who has neither has no such subdir. The answer for the
//! plain file decides on refusals, for storage services say 403 of what is not there.
//!
//! What is cached is used without asking while the channel's `max-age` runs, and always with [`Access::Offline`]. If the
//! channel cannot be reached, that is an error: what is old is not passed off as new.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    path::Path,
    sync::{Arc, Weak},
    time::SystemTime,
};

use mlconda_system::files;
use reqwest::{StatusCode, header};
use tokio::sync::mpsc;
use url::Url;

use super::{
    Access, RepodataError,
    cache::{Form, State, Store, nanoseconds},
    index::Index,
    scan::{ScanError, scan},
    shards::{ShardIndex, read_whole, too_large},
};
use crate::network::{self, Cause, Client, NetworkError, Transfer};

/// How often an answer may break off.
const BODY_ATTEMPTS: usize = 3;

/// The index of a channel's shards is not larger.
const SHARD_INDEX_LIMIT: u64 = 64 << 20;

/// Where the records of a subdir are.
#[derive(Debug)]
pub(super) enum Data {
    /// Nowhere: there is no such subdir.
    Missing,
    /// In the text of a `repodata.json`.
    Json { text: File, index: Index },
    /// In shards.
    Shards(ShardIndex),
}

/// The forms in which a subdir may be offered, in the order of preference.
const VARIANTS: [(&str, Form); 4] = [
    ("repodata_shards.msgpack.zst", Form::Shards),
    ("repodata.json.zst", Form::Json),
    ("repodata.json.bz2", Form::Json),
    (PLAIN, Form::Json),
];

/// The variant that every channel has.
const PLAIN: &str = "repodata.json";

/// What is asked, and how.
pub(super) struct Fetcher<'a> {
    pub(super) client: &'a Client,
    pub(super) store: Store,
    /// The subdir, with its login, and with a slash at its end.
    pub(super) url: &'a Url,
    pub(super) access: Access,
    pub(super) now: SystemTime,
}

/// What came of asking for one variant.
enum Answer {
    /// It is not there.
    Missing(StatusCode),
    /// It is as it was.
    NotModified(State),
    Found(State, Data),
}

/// Why asking failed.
enum Failure {
    /// The answer broke off: the next may not.
    Passing(RepodataError),
    Final(RepodataError),
}

impl Fetcher<'_> {
    /// The subdir's data and what is known of it.
    pub(super) async fn load(&self) -> Result<(State, Data), RepodataError> {
        let state = self.store.state();
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
            // Another process may have replaced it just now.
            if let (None, Some(before), Some(now)) = (&opened, state, self.store.state())
                && before.file != now.file
            {
                opened = self.open(now).await;
            }
            if opened.is_some() || self.access == Access::Offline {
                return opened.ok_or_else(|| RepodataError::NotCached { subdir: self.shown() });
            }
        }
        self.ask_for_variants(self.store.state()).await
    }

    fn shown(&self) -> String {
        network::redact(self.url)
    }

    async fn ask_for_variants(&self, known: Option<State>) -> Result<(State, Data), RepodataError> {
        let mut variants = VARIANTS.to_vec();
        let mut no_shards = known.as_ref().and_then(|state| state.no_shards_ns);
        if known.as_ref().is_some_and(|state| state.has_no_shards(self.now)) {
            variants.retain(|(_, form)| *form == Form::Json);
        }
        // What was there the last time is there still, mostly.
        if let Some(state) = known.as_ref().filter(|state| state.form == Form::Json) {
            mlconda_types::sorting::sort_by_key(&mut variants, |(name, form)| {
                *form == Form::Json && *name != state.variant
            });
        }
        let mut refusal = None;
        for (variant, form) in variants {
            let state = State { no_shards_ns: no_shards.filter(|_| form == Form::Json), ..self.state(variant, form) };
            match self.persistently(&state, known.as_ref()).await? {
                Answer::Missing(status) => {
                    if form == Form::Shards {
                        no_shards = Some(nanoseconds(self.now));
                    }
                    // Storage services say 403 of what is not there; the plain file is what every channel has.
                    if variant == PLAIN && [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
                        refusal = Some(status);
                    }
                }
                Answer::NotModified(state) => {
                    self.store.renew(&state).map_err(|error| self.cache_error(error))?;
                    if let Some(found) = self.open(state.clone()).await {
                        return Ok(found);
                    }
                    // Damaged after all, or replaced by another process: ask for all of it.
                    self.store.forget(&state);
                    return Box::pin(self.ask_for_variants(None)).await;
                }
                Answer::Found(state, data) => return Ok((state, data)),
            }
        }
        match refusal {
            Some(status) => Err(RepodataError::Denied { subdir: self.shown(), status: status.as_u16() }),
            None => {
                let state = self.state("", Form::Missing);
                self.store.keep_missing(&state).map_err(|error| self.cache_error(error))?;
                Ok((state, Data::Missing))
            }
        }
    }

    /// A state of now.
    fn state(&self, variant: &str, form: Form) -> State {
        State {
            url: self.shown(),
            variant: variant.to_owned(),
            form,
            file: String::new(),
            size: 0,
            etag: None,
            last_modified: None,
            cache_control: None,
            refresh_ns: nanoseconds(self.now),
            no_shards_ns: None,
        }
    }

    /// Opens what is cached, unless it is damaged.
    async fn open(&self, state: State) -> Option<(State, Data)> {
        let store = self.store.clone();
        let open = move || {
            let data = match state.form {
                Form::Missing => Data::Missing,
                Form::Shards => Data::Shards(
                    ShardIndex::read(files::read(&store.path(&state.file), files::LARGEST_REPODATA).ok()?).ok()?,
                ),
                Form::Json => {
                    let text = files::open(&store.path(&state.file)).ok()?.into_parts().0;
                    let index = store.index(&state).or_else(|| {
                        let index = scan(&text, io::sink()).ok()?;
                        store.keep_index(&state, &index);
                        Some(index)
                    })?;
                    Data::Json { text, index }
                }
            };
            Some((state, data))
        };
        tokio::task::spawn_blocking(open).await.ok().flatten()
    }

    /// Asks for what `wanted` names, again if the answer breaks off.
    async fn persistently(&self, wanted: &State, known: Option<&State>) -> Result<Answer, RepodataError> {
        for _ in 1..BODY_ATTEMPTS {
            match self.ask(wanted, known).await {
                Err(Failure::Passing(_)) => {}
                Err(Failure::Final(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.ask(wanted, known).await.map_err(|failure| match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        })
    }

    async fn ask(&self, wanted: &State, known: Option<&State>) -> Result<Answer, Failure> {
        let variant = wanted.variant.as_str();
        let url = self
            .url
            .join(variant)
            .map_err(|error| Failure::Final(self.unreachable(error.to_string(), Cause::Other)))?;
        let known = known.filter(|state| state.variant == variant);
        let mut headers = vec![(header::ACCEPT_ENCODING, "gzip")];
        if let Some(state) = known {
            let conditions = [(header::IF_NONE_MATCH, &state.etag), (header::IF_MODIFIED_SINCE, &state.last_modified)];
            headers.extend(conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        }
        let body = if wanted.form == Form::Shards { network::Body::Shard } else { network::Body::Repodata };
        let response = self.client.ask(&url, body, &headers).await.map_err(|error| match error {
            NetworkError::Unreachable { reason, cause, .. } => Failure::Final(self.unreachable(reason, cause)),
            error => Failure::Final(self.unreachable(error.to_string(), error.cause())),
        })?;
        let value = |name| response.header(name).map(str::to_owned);
        let state = State {
            etag: value(header::ETAG),
            last_modified: value(header::LAST_MODIFIED),
            cache_control: value(header::CACHE_CONTROL),
            ..wanted.clone()
        };
        match (response.status(), known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => Ok(Answer::NotModified(State {
                file: known.file.clone(),
                size: known.size,
                etag: state.etag.or_else(|| known.etag.clone()),
                last_modified: state.last_modified.or_else(|| known.last_modified.clone()),
                ..state
            })),
            (status, _) if status.is_success() => self.receive(response, state).await,
            (status, _) if is_missing(status, variant) => Ok(Answer::Missing(status)),
            _ => {
                let refusal = self.client.refusal(&url, &response);
                let reason = match &refusal {
                    NetworkError::Status { status, wait: None, .. } => status.to_string(),
                    _ => refusal.to_string(),
                };
                Err(Failure::Final(self.unreachable(reason, refusal.cause())))
            }
        }
    }

    /// Takes an answer's body, and keeps it.
    async fn receive(&self, response: Transfer, mut state: State) -> Result<Answer, Failure> {
        let is_gzip = response.header(header::CONTENT_ENCODING) == Some("gzip");
        let limit = self.client.limits().unpacked;
        let (sender, body) = mpsc::channel(16);
        let (store, variant, form) = (self.store.clone(), state.variant.clone(), state.form);
        // Its thread goes on where this is given up, unless it is told.
        let wanted = Arc::new(());
        let wanting = Arc::downgrade(&wanted);
        let reading = tokio::task::spawn_blocking(move || {
            let body = Body { pieces: body, piece: Default::default(), at: 0 };
            let mut body: Box<dyn Read> =
                if is_gzip { bounded(flate2::read::MultiGzDecoder::new(body), limit) } else { Box::new(body) };
            let mut first = Vec::new();
            (&mut body).take(1).read_to_end(&mut first)?;
            if variant != PLAIN && first == b"<" {
                return Err(KeepError::Page);
            }
            let unpacked = bounded(unpacked(&variant, first.chain(body))?, limit);
            keep(&store, Wanted { reader: unpacked, by: wanting }, form)
        });
        let pumped = pump(response, sender).await;
        let read = reading.await.unwrap_or_else(|panic| Err(KeepError::Data(ScanError::Read(io::Error::other(panic)))));
        drop(wanted);
        // What the server left unsaid makes no sense either: the first cause counts.
        pumped.map_err(|error| {
            let failure = self.unreachable(error.to_string(), error.cause());
            if matches!(error.cause(), Cause::Slow | Cause::TooLong) {
                Failure::Final(failure)
            } else {
                Failure::Passing(failure)
            }
        })?;
        if let Err(KeepError::Page) = read {
            return Ok(Answer::Missing(StatusCode::NOT_FOUND));
        }
        let (file, data) = read.map_err(|error| match error {
            KeepError::Page => {
                Failure::Final(self.broken(&state.variant, &io::Error::other("it is a page of the web")))
            }
            KeepError::Cache(error) => Failure::Final(self.cache_error(error)),
            KeepError::Data(ScanError::Write(error)) => Failure::Final(self.cache_error(error)),
            KeepError::Data(ScanError::Read(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                Failure::Final(self.broken(&state.variant, &error))
            }
            KeepError::Data(ScanError::Read(error)) => Failure::Passing(self.broken(&state.variant, &error)),
            KeepError::Data(error) => Failure::Final(self.broken(&state.variant, &error)),
        })?;
        let size = file.as_file().metadata().map_err(|error| Failure::Final(self.cache_error(error)))?.len();
        state.size = size;
        self.store.keep(file, &mut state).map_err(|error| Failure::Final(self.cache_error(error)))?;
        if let Data::Json { index, .. } = &data {
            self.store.keep_index(&state, index);
        }
        Ok(Answer::Found(state, data))
    }

    fn unreachable(&self, reason: String, cause: Cause) -> RepodataError {
        RepodataError::Unreachable { subdir: self.shown(), reason, cause }
    }

    fn broken(&self, file: &str, error: &dyn std::error::Error) -> RepodataError {
        RepodataError::Broken { subdir: self.shown(), reason: format!("`{file}`: {error}") }
    }

    fn cache_error(&self, source: io::Error) -> RepodataError {
        RepodataError::Cache { directory: self.store.path(""), source }
    }
}

/// Whether an answer means that there is no such file, or none for us.
fn is_missing(status: StatusCode, variant: &str) -> bool {
    let says_so = [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
    let refuses = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
    let is_new_to_it = status == StatusCode::NOT_IMPLEMENTED && variant != PLAIN;
    says_so || refuses || is_new_to_it
}

/// Why data could not be kept.
enum KeepError {
    /// It is a page of the web, which servers send of what they do not have, with a good status.
    Page,
    Data(ScanError),
    Cache(io::Error),
}

impl From<ScanError> for KeepError {
    fn from(error: ScanError) -> Self {
        Self::Data(error)
    }
}

impl From<io::Error> for KeepError {
    fn from(error: io::Error) -> Self {
        Self::Data(ScanError::Read(error))
    }
}

/// Unpacks data into a new file of the store.
fn keep(store: &Store, body: impl Read, form: Form) -> Result<(tempfile::NamedTempFile, Data), KeepError> {
    let file = store.new_file().map_err(KeepError::Cache)?;
    let data = match form {
        Form::Missing => Data::Missing,
        Form::Json => {
            let index = scan(body, BufWriter::with_capacity(1 << 20, file.as_file()))?;
            Data::Json { text: file.reopen().map_err(KeepError::Cache)?, index }
        }
        Form::Shards => {
            let bytes = read_whole(body, SHARD_INDEX_LIMIT, 0)?;
            fs_err::write(file.path(), &bytes).map_err(KeepError::Cache)?;
            Data::Shards(ShardIndex::read(bytes).map_err(io::Error::other)?)
        }
    };
    Ok((file, data))
}

/// What a packed file holds.
fn unpacked<'a>(variant: &str, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match variant.rsplit('.').next() {
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(packed)?),
        Some("bz2") => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        _ => Box::new(packed),
    })
}

/// Reads up to so many bytes; more are an error.
fn bounded<'a>(reader: impl Read + 'a, limit: u64) -> Box<dyn Read + 'a> {
    Box::new(Bounded { reader, limit, left: limit })
}

struct Bounded<R> {
    reader: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| too_large(self.limit))?;
        Ok(count)
    }
}

/// What is read only as long as somebody wants it.
struct Wanted<R> {
    reader: R,
    by: Weak<()>,
}

impl<R: Read> Read for Wanted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.by.strong_count() {
            0 => Err(io::Error::other("nobody wants it any more")),
            _ => self.reader.read(buffer),
        }
    }
}

/// Passes a body on, until nobody wants it any more.
async fn pump(mut response: Transfer, sender: mpsc::Sender<Vec<u8>>) -> Result<(), NetworkError> {
    while let Some(piece) = response.chunk().await? {
        if sender.send(piece.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A body, for a thread that reads.
struct Body {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// Reads a subdir of this machine, where it is. What is packed is unpacked in `directory`.
pub(super) fn local(subdir: &Path, directory: &Path, shown: &str, limit: u64) -> Result<Data, RepodataError> {
    for (variant, _) in VARIANTS.iter().rev().filter(|(_, form)| *form == Form::Json) {
        let broken = |error: &dyn std::error::Error| RepodataError::Broken {
            subdir: shown.to_owned(),
            reason: format!("`{variant}`: {error}"),
        };
        let file = match files::open(&subdir.join(variant)) {
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => continue,
            file => file.map_err(|error| broken(&error))?.into_parts().0,
        };
        if *variant == PLAIN {
            let index = scan(bounded(&file, limit), io::sink()).map_err(|error| broken(&error))?;
            return Ok(Data::Json { text: file, index });
        }
        let cache_error = |source| RepodataError::Cache { directory: directory.to_owned(), source };
        fs_err::create_dir_all(directory).map_err(cache_error)?;
        let text = tempfile::tempfile_in(directory).map_err(cache_error)?;
        let unpacked = unpacked(variant, file).map_err(|error| broken(&error))?;
        let index =
            scan(bounded(unpacked, limit), BufWriter::with_capacity(1 << 20, &text)).map_err(|error| match error {
                ScanError::Write(error) => cache_error(error),
                error => broken(&error),
            })?;
        return Ok(Data::Json { text, index });
    }
    Ok(Data::Missing)
}
