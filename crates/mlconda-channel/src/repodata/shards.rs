//! Sharded repodata (CEP-16): an index of names and hashes, and for each package a file of its own that never changes.

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
    cache::{ShardStore, is_sound},
    records::joined_base,
};
use crate::network::{self, Body, Cause, Client, NetworkError};

/// The records of one package take no more room than this, unpacked: several times what the largest have.
pub(super) const SHARD_LIMIT: u64 = 128 << 20;

/// How often a shard is asked for that does not come whole.
const ATTEMPTS: usize = 3;

/// The index of a subdir's shards. A lock looks at few of its tens of thousands of names: these stay where they came.
#[derive(Debug)]
pub(super) struct ShardIndex {
    pub(super) info: Info,
    bytes: Vec<u8>,
    shards: Vec<Listed>,
    /// The places of the shards, by name.
    places: HashTable<u32>,
    hasher: RandomState,
}

/// A shard in an index.
#[derive(Debug)]
struct Listed {
    /// Where in the bytes the name stands.
    start: u32,
    length: u32,
    hash: Hash,
}

impl Listed {
    fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

/// Where things are; both are relative to the subdir.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    /// The base of the packages' URLs.
    #[serde(default)]
    pub(super) base_url: String,
    /// The base of the shards' URLs.
    #[serde(default)]
    shards_base_url: String,
}

/// A sha256: bytes, or text as JSON would have it.
#[derive(Debug)]
struct Hash([u8; 32]);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Hash;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a sha256")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Hash, E> {
                bytes.try_into().map(Hash).map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
                self.visit_bytes(&hex::decode(text).map_err(E::custom)?)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Hash, A::Error> {
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
    /// Reads an index, unpacked.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, rmp_serde::decode::Error> {
        #[derive(Deserialize)]
        struct Parts<'b> {
            info: Info,
            #[serde(borrow)]
            shards: Names<'b>,
        }
        let Parts { info, shards: Names(names) } = decode(&bytes)?;
        let first = bytes.as_ptr().addr();
        let hasher = RandomState::default();
        let mut shards: Vec<Listed> = Vec::with_capacity(names.len());
        let mut places: HashTable<u32> = HashTable::with_capacity(names.len());
        for (name, hash) in names {
            let shard = Listed { start: (name.as_ptr().addr() - first) as u32, length: name.len() as u32, hash };
            let is_it = |place: &u32| shards[*place as usize].name(&bytes) == name.as_bytes();
            let rehash = |place: &u32| hasher.hash_one(shards[*place as usize].name(&bytes));
            match places.entry(hasher.hash_one(name.as_bytes()), is_it, rehash) {
                // Of two shards of a name, the last one counts.
                hash_table::Entry::Occupied(known) => shards[*known.get() as usize] = shard,
                hash_table::Entry::Vacant(free) => {
                    free.insert(shards.len() as u32);
                    shards.push(shard);
                }
            }
        }
        Ok(Self { info, bytes, shards, places, hasher })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        // They were text when they were read.
        self.shards.iter().filter_map(|shard| str::from_utf8(shard.name(&self.bytes)).ok())
    }

    pub(super) fn hash(&self, name: &str) -> Option<&[u8; 32]> {
        let is_it = |place: &u32| self.shards[*place as usize].name(&self.bytes) == name.as_bytes();
        let place = self.places.find(self.hasher.hash_one(name.as_bytes()), is_it)?;
        Some(&self.shards[*place as usize].hash.0)
    }
}

/// Names with hashes.
pub(crate) struct Names<'b>(Vec<(&'b str, Hash)>);

impl<'de: 'b, 'b> Deserialize<'de> for Names<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Names<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("shards by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<'de>, A::Error> {
                // A length that is only said takes no more room than an index has.
                let mut names = Vec::with_capacity(map.size_hint().unwrap_or_default().min(1 << 16));
                while let Some(pair) = map.next_entry()? {
                    names.push(pair);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// How deeply values may be nested. Those of records are so six times; the limit keeps the stack safe.
const DEEPEST: usize = 64;

/// Reads a value in MessagePack.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEEPEST);
    T::deserialize(&mut deserializer)
}

/// Brings shards.
#[derive(Debug)]
pub(super) struct Shards {
    store: ShardStore,
    base: Url,
    /// The subdir, without secrets.
    shown: String,
}

impl Shards {
    /// The shards of a subdir.
    ///
    /// # Errors
    /// If `shards_base_url` is no URL that a file name can follow.
    pub(crate) fn new(
        index: &ShardIndex,
        channel: &Channel,
        subdir: Subdir,
        store: ShardStore,
    ) -> Result<Self, RepodataError> {
        let url = channel.platform_url(subdir);
        let shown = network::redact(&url);
        match joined_base(&url, &index.info.shards_base_url) {
            Ok(base) => Ok(Self { store, base, shown }),
            Err(reason) => {
                Err(RepodataError::Broken { subdir: shown, reason: format!("its `shards_base_url` {reason}") })
            }
        }
    }

    /// A shard that is here, packed.
    pub(super) fn cached(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        self.store.get(hash)
    }

    /// Downloads a shard, packed, and keeps it.
    pub(super) async fn download(&self, client: &Client, hash: &[u8; 32]) -> Result<Vec<u8>, RepodataError> {
        let unreachable = |reason, cause| RepodataError::Unreachable { subdir: self.shown.clone(), reason, cause };
        let url = self
            .base
            .join(&format!("{}.msgpack.zst", hex::encode(hash)))
            .map_err(|error| unreachable(error.to_string(), Cause::Other))?;
        let shown = || network::redact(&url);
        let mut last = (String::new(), Cause::Other);
        for _ in 0..ATTEMPTS {
            let transfer = client.get(&url, Body::Shard).await.map_err(|error| match error {
                NetworkError::Status { status, .. } if [401, 403].contains(&status.as_u16()) => {
                    RepodataError::Denied { subdir: self.shown.clone(), status: status.as_u16() }
                }
                NetworkError::Unreachable { reason, cause, .. } => unreachable(reason, cause),
                error => unreachable(error.to_string(), error.cause()),
            })?;
            match transfer.bytes().await {
                Ok(bytes) if is_sound(&bytes, hash) => {
                    self.store.keep(hash, &bytes);
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

/// Unpacks a shard.
pub(super) fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let expected = (packed.len() * 8).min(SHARD_LIMIT as usize);
    read_whole(zstd::stream::read::Decoder::with_buffer(packed)?, SHARD_LIMIT, expected)
}

/// The error for what is larger than so many bytes when it is unpacked.
pub(super) fn too_large(limit: u64) -> std::io::Error {
    let message = format!("more than {} when unpacked", network::shown_size(limit));
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, message)
}

/// Reads to the end, which must come within so many bytes.
pub(super) fn read_whole(reader: impl Read, limit: u64, expected: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}
