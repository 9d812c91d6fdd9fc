//! Networks that go wrong by a seed: what stands between a client and a server that is right.
//!
//! A [`Relay`] passes requests on to a [`Server`](crate::server::Server), in the clear or with TLS of an [`Authority`] of
//! its own, and disturbs the answers: all that it does to the n-th request follows from the seed and from n. A
//! [`MultiplexedRelay`] does so in HTTP/2. A [`Proxy`]
//! is one that clients are told of, for HTTP or SOCKS, with a login or without. Nothing waits for longer than some
//! milliseconds; what never comes is for the client to give up.

mod authority;
mod disturbed;
mod multiplexed;
mod proxy;
mod relay;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub use authority::Authority;
pub use multiplexed::MultiplexedRelay;
pub use proxy::{Proxy, ProxyKind};
pub use relay::Relay;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The numbers of a request.
    pub(crate) const fn new(seed: u64, request: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ request.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// The next number below `end`, which is not zero.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Whether and how often answers go wrong.
#[derive(Debug, Default)]
pub struct Disturbance {
    /// The seed and one; 0 where nothing goes wrong.
    seed: AtomicU64,
    requests: AtomicU64,
    count: AtomicU64,
}

impl Disturbance {
    /// From now on, answers go wrong by this seed; or none does.
    pub fn begin(&self, seed: Option<u64>) {
        self.requests.store(0, Ordering::SeqCst);
        self.seed.store(seed.map_or(0, |seed| seed + 1), Ordering::SeqCst);
    }

    /// How many answers and connections were disturbed.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The chance of the next request or connection; `None` if nothing goes wrong with it.
    fn chance(&self) -> Option<Chance> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let seed = self.seed.load(Ordering::SeqCst).checked_sub(1)?;
        let mut chance = Chance::new(seed, number);
        // One seed is as a bad line, another as one on which hardly anything comes through.
        let of_hundred = [4, 12, 30, 60][usize::try_from(seed % 4).unwrap_or(0)];
        (chance.below(100) < of_hundred).then(|| {
            self.count.fetch_add(1, Ordering::SeqCst);
            chance
        })
    }
}

/// Accepts connections, each with a thread of its own, which alone holds the connection: so it can be reset. Threads end
/// with their clients.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Listener {
    fn start<C>(address: &str, converse: C) -> io::Result<Self>
    where
        C: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (stopping, converse) = (Arc::<AtomicBool>::default(), Arc::new(converse));
        let is_stopping = Arc::clone(&stopping);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let converse = Arc::clone(&converse);
                std::thread::spawn(move || {
                    // What a client breaks off is no fault of this side.
                    let _ = converse(connection);
                });
            }
        });
        Ok(Self { address, stopping })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}
