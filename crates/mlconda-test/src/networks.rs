//! Networks with random faults that depend on a seed. They stand between a client and a server without faults.
//!
//! A [`Relay`] forwards requests to a [`Server`](crate::server::Server), unencrypted or with TLS from its own
//! [`Authority`], and disturbs the responses: the fault of the n-th request depends only on the seed and n. A
//! [`MultiplexedRelay`] does this for HTTP/2. A [`Proxy`] is an HTTP or SOCKS proxy, with or without a login. Nothing
//! waits for longer than some milliseconds; if a response never comes, the client must give up.

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

/// A pseudo-random sequence from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The sequence for one request.
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

/// Whether and how often responses are disturbed.
#[derive(Debug, Default)]
pub struct Disturbance {
    /// The seed plus one; 0 without disturbance.
    seed: AtomicU64,
    requests: AtomicU64,
    count: AtomicU64,
}

impl Disturbance {
    /// From now on, disturbs responses by this seed; `None` stops the disturbance.
    pub fn begin(&self, seed: Option<u64>) {
        self.requests.store(0, Ordering::SeqCst);
        self.seed.store(seed.map_or(0, |seed| seed + 1), Ordering::SeqCst);
    }

    /// How many responses and connections were disturbed.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The random sequence for the next request or connection; `None` if it is not disturbed.
    fn chance(&self) -> Option<Chance> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let seed = self.seed.load(Ordering::SeqCst).checked_sub(1)?;
        let mut chance = Chance::new(seed, number);
        // Some seeds disturb few requests, others most of them.
        let of_hundred = [4, 12, 30, 60][usize::try_from(seed % 4).unwrap_or(0)];
        (chance.below(100) < of_hundred).then(|| {
            self.count.fetch_add(1, Ordering::SeqCst);
            chance
        })
    }
}

/// Accepts connections, each in its own thread. Only this thread owns the connection, so that it can be reset. Threads
/// end when their clients do.
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
                    // An error because the client disconnected is not a fault here.
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
