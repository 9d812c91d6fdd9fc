//! Sharded repodata (CEP-16): an index of names and hashes, and one immutable file for each package.

use std::{fmt, hash::BuildHasher, io::Read};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table};
use rattler_conda_types::{Channel, Subdir};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use url::Url;

use super::{
    RepodataError,
    cache::{ShardCache, has_sha256},
    records::{decode, resolve_base_url},
};
use crate::network::{self, BodyKind, Cause, Client, NetworkError};

/// The largest decompressed shard, in bytes: several times the largest known.
pub(super) const SHARD_LIMIT: u64 = 128 << 20;

/// How often a shard is requested that does not arrive whole.
const MAX_ATTEMPTS: usize = 3;

/// The index of a subdir's shards. A lock needs few of its tens of thousands of names, so the names are not copied.
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
    hash: ShardHash,
}

impl ShardEntry {
    fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

/// The base URLs; both are relative to the subdir.
#[derive(Debug, Deserialize)]
pub(super) struct ShardIndexInfo {
    /// The base of the package URLs.
    #[serde(default)]
    pub(super) base_url: String,
    /// The base of the shard URLs.
    #[serde(default)]
    shards_base_url: String,
}

/// A sha256: bytes, or hexadecimal text.
#[derive(Debug)]
struct ShardHash([u8; 32]);

impl<'de> Deserialize<'de> for ShardHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = ShardHash;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a sha256")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ShardHash, E> {
                bytes.try_into().map(ShardHash).map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ShardHash, E> {
                self.visit_bytes(&hex::decode(text).map_err(E::custom)?)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<ShardHash, A::Error> {
                let mut bytes = Vec::with_capacity(32);
                while let Some(byte) = sequence.next_element()? {
                    bytes.push(byte);
                }
                self.visit_bytes(&bytes)
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

impl ShardIndex {
    /// Parses a decompressed index.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, rmp_serde::decode::Error> {
        #[derive(Deserialize)]
        struct Parts<'b> {
            info: ShardIndexInfo,
            #[serde(borrow)]
            shards: ShardNames<'b>,
        }
        let Parts { info, shards: ShardNames(names) } = decode(&bytes)?;
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
        Some(&self.shards[*place as usize].hash.0)
    }
}

/// Names and hashes.
pub(crate) struct ShardNames<'b>(Vec<(&'b str, ShardHash)>);

impl<'de: 'b, 'b> Deserialize<'de> for ShardNames<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = ShardNames<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("shards by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ShardNames<'de>, A::Error> {
                // The claimed length is untrusted; reserve no more than a real index needs.
                let mut names = Vec::with_capacity(map.size_hint().unwrap_or_default().min(1 << 16));
                while let Some(pair) = map.next_entry()? {
                    names.push(pair);
                }
                Ok(ShardNames(names))
            }
        }
        deserializer.deserialize_map(Pairs)
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
    let expected = (packed.len() * 8).min(SHARD_LIMIT as usize);
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
