//! How much may come, and how long it may take. Every body has a limit of size and one of time, whatever the server says
//! of it; `docs/channels.md` has the table.

use std::time::Duration;

/// The limits of transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take to find a server's address, to connect to it and to agree on TLS.
    pub connect: Duration,
    /// How long the head of an answer may take, and how long a body may pause.
    pub read_timeout: Duration,
    /// No request is made again after this time.
    pub retry_budget: Duration,
    /// The longest wait that a server may ask for (`Retry-After`).
    pub max_retry_after: Duration,
    /// Who waits longer than this is told for whom.
    pub notice_interval: Duration,
    /// A body that comes with fewer bytes a second is given up,
    pub min_rate: u64,
    /// if that goes on for this time.
    pub slow_window: Duration,
    /// The limit for `repodata.json`, as it comes.
    pub repodata: Limit,
    /// The limit for `repodata.json`, unpacked, in bytes.
    pub unpacked: u64,
    /// The limit for a shard, and for an index of shards, as it comes.
    pub shard: Limit,
    /// The limit for the metadata of a wheel.
    pub metadata: Limit,
    /// The limit for an archive. One whose size is known has no more bytes than that.
    pub package: Limit,
}

/// The limit for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many bytes it may have.
    pub size: u64,
    /// How long it may take.
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

/// What a body is, on which its limits depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The `repodata.json` of a subdir.
    Repodata,
    /// A shard of repodata, or an index of shards.
    Shard,
    /// The metadata of a wheel, of so many bytes at most.
    Metadata(u64),
    /// An archive, with its size in bytes where that is known.
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

/// A number of bytes in the largest unit in which it is whole.
pub(crate) fn display_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(bits, _)| bytes >> bits > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, unit)) => format!("{} {unit}", bytes >> bits),
        None => format!("{bytes} bytes"),
    }
}
