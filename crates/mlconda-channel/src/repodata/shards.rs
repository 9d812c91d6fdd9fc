//! Sharded repodata (CEP-16): an index of names and hashes, and one immutable file for each package.

use std::{cell::RefCell, hash::BuildHasher, io::Read};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table};
use rattler_conda_types::{Channel, Subdir};
use url::Url;
use zstd::bulk::Decompressor;

use super::{
    RepodataError,
    cache::{ShardCache, has_sha256},
    msgpack::{MsgpackError, Reader, Token},
    records::resolve_base_url,
};
use crate::network::{self, BodyKind, Cause, Client, NetworkError};

/// The largest decompressed shard, in bytes: several times the largest known.
pub(super) const SHARD_LIMIT: u64 = 128 << 20;

/// How often a shard is requested if it arrives incomplete.
const MAX_ATTEMPTS: usize = 3;

/// The index of a subdir's shards. It has tens of thousands of names, and a lock needs few of them, so the names are
/// not copied.
#[derive(Debug)]
pub(super) struct ShardIndex {
    pub(super) info: ShardIndexInfo,
    bytes: Vec<u8>,
    shards: Vec<ShardEntry>,
    /// The indices of the shards, by name.
    indices: HashTable<u32>,
    hasher: RandomState,
}

/// A shard in the index.
#[derive(Debug)]
struct ShardEntry {
    /// The offset of its name in the bytes.
    start: u32,
    length: u32,
    hash: [u8; 32],
}

impl ShardEntry {
    fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

/// The base URLs; both are relative to the subdir.
#[derive(Debug, Default)]
pub(super) struct ShardIndexInfo {
    /// The base of the package URLs.
    pub(super) base_url: String,
    /// The base of the shard URLs.
    shards_base_url: String,
}

impl ShardIndexInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MsgpackError> {
        let mut info = Self::default();
        for _ in 0..reader.map()? {
            match reader.text()? {
                "base_url" => info.base_url = reader.text()?.to_owned(),
                "shards_base_url" => info.shards_base_url = reader.text()?.to_owned(),
                _ => reader.skip()?,
            }
        }
        Ok(info)
    }
}

/// Reads a sha256: as bytes, as a list of numbers, or as hexadecimal text.
fn read_hash(reader: &mut Reader<'_>) -> Result<[u8; 32], MsgpackError> {
    let no_hash = MsgpackError::Expected("sha256");
    let byte = |reader: &mut Reader<'_>| match reader.token()? {
        Token::Unsigned(number) => u8::try_from(number).map_err(|_| no_hash),
        _ => Err(no_hash),
    };
    let bytes = match reader.token()? {
        Token::Bytes(bytes) => bytes.to_vec(),
        Token::Text(text) => hex::decode(text).unwrap_or_default(),
        Token::Array(32) => (0..32).map(|_| byte(reader)).collect::<Result<_, _>>()?,
        _ => return Err(no_hash),
    };
    bytes.try_into().map_err(|_| no_hash)
}

impl ShardIndex {
    /// Parses a decompressed index.
    ///
    /// # Errors
    /// If the bytes are not such an index.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, MsgpackError> {
        let mut reader = Reader::new(&bytes);
        let (mut info, mut names) = (None, None);
        for _ in 0..reader.map()? {
            match reader.text()? {
                "info" => info = Some(ShardIndexInfo::read(&mut reader)?),
                "shards" => {
                    let count = reader.map()?;
                    // The claimed length is untrusted; no more is reserved than a real index needs.
                    let mut found = Vec::with_capacity(count.min(1 << 16));
                    for _ in 0..count {
                        found.push((reader.text()?, read_hash(&mut reader)?));
                    }
                    names = Some(found);
                }
                _ => reader.skip()?,
            }
        }
        let info = info.ok_or(MsgpackError::Expected("`info`"))?;
        let names = names.ok_or(MsgpackError::Expected("`shards`"))?;
        let first = bytes.as_ptr().addr();
        let hasher = RandomState::default();
        let mut shards: Vec<ShardEntry> = Vec::with_capacity(names.len());
        let mut indices: HashTable<u32> = HashTable::with_capacity(names.len());
        for (name, hash) in names {
            let shard = ShardEntry { start: (name.as_ptr().addr() - first) as u32, length: name.len() as u32, hash };
            let is_it = |place: &u32| shards[*place as usize].name(&bytes) == name.as_bytes();
            let rehash = |place: &u32| hasher.hash_one(shards[*place as usize].name(&bytes));
            match indices.entry(hasher.hash_one(name.as_bytes()), is_it, rehash) {
                // If a name occurs twice, the last shard counts.
                hash_table::Entry::Occupied(known) => shards[*known.get() as usize] = shard,
                hash_table::Entry::Vacant(free) => {
                    free.insert(shards.len() as u32);
                    shards.push(shard);
                }
            }
        }
        Ok(Self { info, bytes, shards, indices, hasher })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        // They were checked to be UTF-8 when they were parsed.
        self.shards.iter().filter_map(|shard| str::from_utf8(shard.name(&self.bytes)).ok())
    }

    pub(super) fn hash(&self, name: &str) -> Option<&[u8; 32]> {
        let is_it = |place: &u32| self.shards[*place as usize].name(&self.bytes) == name.as_bytes();
        let place = self.indices.find(self.hasher.hash_one(name.as_bytes()), is_it)?;
        Some(&self.shards[*place as usize].hash)
    }
}

/// Downloads shards.
#[derive(Debug)]
pub(super) struct ShardFetcher {
    cache: ShardCache,
    base: Url,
    /// The subdir URL, without secrets.
    shown: String,
}

impl ShardFetcher {
    /// The shards of a subdir.
    ///
    /// # Errors
    /// If `shards_base_url` cannot be joined with a file name.
    pub(crate) fn new(
        index: &ShardIndex,
        channel: &Channel,
        subdir: Subdir,
        cache: ShardCache,
    ) -> Result<Self, RepodataError> {
        let url = channel.platform_url(subdir);
        let shown = network::redact(&url);
        match resolve_base_url(&url, &index.info.shards_base_url) {
            Ok(base) => Ok(Self { cache, base, shown }),
            Err(reason) => {
                Err(RepodataError::Broken { subdir: shown, reason: format!("its `shards_base_url` {reason}") })
            }
        }
    }

    /// A compressed shard from the cache.
    pub(super) fn cached(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.cache.get(hash)
    }

    /// Downloads a compressed shard and caches it.
    pub(super) async fn download(&self, client: &Client, hash: &[u8; 32]) -> Result<Vec<u8>, RepodataError> {
        let unreachable = |reason, cause| RepodataError::Unreachable { subdir: self.shown.clone(), reason, cause };
        let url = self
            .base
            .join(&format!("{}.msgpack.zst", hex::encode(hash)))
            .map_err(|error| unreachable(error.to_string(), Cause::Other))?;
        let shown = || network::redact(&url);
        let mut last = (String::new(), Cause::Other);
        for _ in 0..MAX_ATTEMPTS {
            let transfer = client.get(&url, BodyKind::Shard).await.map_err(|error| match error {
                NetworkError::Status { status, .. } if [401, 403].contains(&status.as_u16()) => {
                    RepodataError::Denied { subdir: self.shown.clone(), status: status.as_u16() }
                }
                NetworkError::Unreachable { reason, cause, .. } => unreachable(reason, cause),
                error => unreachable(error.to_string(), error.cause()),
            })?;
            match transfer.bytes().await {
                Ok(bytes) if has_sha256(&bytes, hash) => {
                    self.cache.insert(hash, &bytes);
                    return Ok(bytes);
                }
                Ok(_) => last = (format!("`{}` has another hash than the index says", shown()), Cause::Other),
                Err(error) => {
                    last = (format!("`{}`: {error}", shown()), error.cause());
                    if matches!(error.cause(), Cause::TooLong | Cause::Slow) {
                        break;
                    }
                }
            }
        }
        Err(unreachable(last.0, last.1))
    }
}

/// Decompresses a shard.
pub(super) fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local! {
        // The buffer is larger than most shards.
        static DECOMPRESSOR: RefCell<Decompressor<'static>> = RefCell::default();
    }
    let expected = (packed.len() * 12).min(SHARD_LIMIT as usize);
    // Decompress in one step, which needs no buffers. A few shards are longer than expected and take the slower way.
    if let Ok(bytes) = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(packed, expected)) {
        return Ok(bytes);
    }
    read_whole(zstd::stream::read::Decoder::with_buffer(packed)?, SHARD_LIMIT, expected)
}

/// The error for data that exceeds a limit of decompressed bytes.
pub(super) fn too_large_error(limit: u64) -> std::io::Error {
    let message = format!("more than {} when unpacked", network::shown_size(limit));
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, message)
}

/// Reads to the end, up to a limit of bytes.
pub(super) fn read_whole(reader: impl Read, limit: u64, expected: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large_error(limit));
    }
    Ok(bytes)
}
