//! Limits of size and time for transfers. Every body has both, whatever the server claims; `docs/channels.md` has the
//! table.

use std::time::Duration;

/// The limits of transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time to resolve a name, connect and negotiate TLS.
    pub connect: Duration,
    /// The time to wait for the headers of a response, and for the next bytes of a body.
    pub read_timeout: Duration,
    /// The time to wait for the response after all of a body in pieces was sent: a registry may hash the blob, and move
    /// it to its storage.
    pub stored: Duration,
    /// No request is retried after this time.
    pub retry_budget: Duration,
    /// The longest `Retry-After` that is followed.
    pub max_retry_after: Duration,
    /// A wait is reported after this time, and again after each further interval.
    pub notice_interval: Duration,
    /// The lowest transfer rate, in bytes per second.
    pub min_rate: u64,
    /// How long a transfer may be slower than `min_rate`.
    pub slow_window: Duration,
    /// The limit for `repodata.json` as transferred.
    pub repodata: Limit,
    /// The limit for decompressed `repodata.json`, in bytes.
    pub unpacked: u64,
    /// The limit for a shard, and for an index of shards, as transferred.
    pub shard: Limit,
    /// The limit for the metadata of a wheel.
    pub metadata: Limit,
    /// The limit for an archive of unknown size. A known size must not exceed it either.
    pub package: Limit,
}

/// The limit for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most bytes.
    pub size: u64,
    /// The longest time.
    pub time: Duration,
}

impl Limit {
    const fn new(size: u64, minutes: u64) -> Self {
        Self { size, time: Duration::from_secs(minutes * 60) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            connect: 10 * second,
            read_timeout: 30 * second,
            stored: 600 * second,
            retry_budget: 60 * second,
            max_retry_after: 30 * second,
            notice_interval: 10 * second,
            min_rate: 1 << 10,
            slow_window: 30 * second,
            repodata: Limit::new(1 << 30, 30),
            unpacked: 2 << 30,
            shard: Limit::new(64 << 20, 10),
            metadata: Limit::new(8 << 20, 5),
            package: Limit::new(8 << 30, 12 * 60),
        }
    }
}

/// The kind of a body. Its limits depend on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The `repodata.json` of a subdir.
    Repodata,
    /// A shard of repodata, or an index of shards.
    Shard,
    /// The metadata of a wheel, with the limit in bytes.
    Metadata(u64),
    /// An archive, with its size in bytes if that is known.
    Package(Option<u64>),
}

impl Limits {
    pub(super) fn for_body(&self, kind: BodyKind) -> Limit {
        match kind {
            BodyKind::Repodata => self.repodata,
            BodyKind::Shard => self.shard,
            BodyKind::Metadata(size) => Limit { size: size.min(self.metadata.size), ..self.metadata },
            BodyKind::Package(size) => Limit { size: size.unwrap_or(self.package.size), ..self.package },
        }
    }
}

/// A number of bytes with the largest unit that divides it.
pub(crate) fn display_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(bits, _)| bytes >> bits > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{} {unit}", bytes >> bits),
        None => format!("{bytes} bytes"),
    }
}
