//! The network between clients and engines: delay, jitter, loss and duplication, all from a seed.
//!
//! Each direction of each client draws from generators of its own, one per kind of datagram: one
//! handshake record more or less does not shift the fate of every later media packet. Knows no
//! clock; `world.rs` delivers what survives. Also the clients' NAT: an engine sees a client's
//! public address, which a scenario may change.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use leafcutter::transport::demux::{Protocol, classify};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How one direction treats a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// From sending to arrival, at least.
    pub delay: Duration,
    /// Added to `delay`, evenly from 0: datagrams overtake each other.
    pub jitter: Duration,
    /// Probability that a datagram vanishes.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
}

impl Link {
    /// 10 ms, in order, complete.
    pub const CLEAN: Link = Link {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
    };

    /// As [`CLEAN`](Self::CLEAN) but with this loss.
    pub const fn lossy(loss: f64) -> Link {
        Link {
            loss,
            ..Link::CLEAN
        }
    }
}

/// Whereto a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to engine.
    Up,
    /// From engine to client.
    Down,
}

/// Every client's access.
#[derive(Debug, Default)]
pub struct Network {
    seed: u64,
    accesses: Vec<Access>,
    by_address: HashMap<SocketAddr, usize>,
    addresses_given: u16,
}

#[derive(Debug)]
struct Access {
    public: SocketAddr,
    up: Way,
    down: Way,
}

/// A rate with a drop-tail queue in front of it (`bottleneck.rs` has more; here one flow is all).
#[derive(Clone, Copy, Debug)]
struct Narrow {
    rate_bps: u64,
    queue: Duration,
    free: Option<Instant>,
}

impl Narrow {
    /// How long `len` bytes that come at `now` take to be through; `None` when the queue is full.
    fn pass(&mut self, now: Instant, len: usize) -> Option<Duration> {
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins - now > self.queue {
            return None;
        }
        let takes = Duration::from_nanos(len as u64 * 8_000_000_000 / self.rate_bps);
        self.free = Some(begins + takes);
        Some(begins + takes - now)
    }
}

#[derive(Debug)]
struct Way {
    link: Link,
    narrow: Option<Narrow>,
    rngs: [StdRng; 4],
}

impl Network {
    /// A network without clients.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Gives the next client its access, clean both ways; returns its number.
    pub fn connect(&mut self) -> usize {
        let client = self.accesses.len();
        let way = |direction: u64| Way {
            link: Link::CLEAN,
            narrow: None,
            rngs: std::array::from_fn(|class| {
                let stream = (client as u64) << 8 | direction << 4 | class as u64;
                StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream)
            }),
        };
        let (up, down) = (way(0), way(1));
        let public = self.fresh_address();
        self.by_address.insert(public, client);
        self.accesses.push(Access { public, up, down });
        client
    }

    /// Changes how a client's datagrams fare from here on.
    pub fn set(&mut self, client: usize, direction: Direction, link: Link) {
        self.way(client, direction).link = link;
    }

    /// From here on a client's datagrams pass a link of `rate_bps` with a queue of 300 ms.
    pub fn narrow(&mut self, client: usize, direction: Direction, rate_bps: u64) {
        self.narrow_behind(client, direction, rate_bps, Duration::from_millis(300));
    }

    /// The same with a queue of another length.
    pub fn narrow_behind(
        &mut self,
        client: usize,
        direction: Direction,
        rate_bps: u64,
        queue: Duration,
    ) {
        self.way(client, direction).narrow = Some(Narrow {
            rate_bps,
            queue,
            free: None,
        });
    }

    /// The address that engines see.
    pub fn public(&self, client: usize) -> SocketAddr {
        self.accesses[client].public
    }

    /// The client's NAT forgets its mapping: a new public address, the old one leads nowhere.
    pub fn rebind(&mut self, client: usize) -> SocketAddr {
        let fresh = self.fresh_address();
        let old = std::mem::replace(&mut self.accesses[client].public, fresh);
        self.by_address.remove(&old);
        self.by_address.insert(fresh, client);
        fresh
    }

    /// Whose public address this is; `None` for old mappings and strangers.
    pub fn client_at(&self, address: SocketAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// An address that belongs to nobody.
    pub fn fresh_address(&mut self) -> SocketAddr {
        self.addresses_given += 1;
        let [high, low] = self.addresses_given.to_be_bytes();
        SocketAddr::from((
            Ipv4Addr::new(198, 51, high, low),
            20_000 + self.addresses_given,
        ))
    }

    /// When a datagram sent `now` arrives, counted from then: never, once or twice.
    pub fn carry(
        &mut self,
        now: Instant,
        client: usize,
        direction: Direction,
        datagram: &[u8],
    ) -> impl Iterator<Item = Duration> + use<> {
        let class = match classify(datagram) {
            Some(Protocol::Rtp) => 0,
            Some(Protocol::Rtcp) => 1,
            Some(Protocol::Dtls) => 2,
            Some(Protocol::Stun) | None => 3,
        };
        let way = self.way(client, direction);
        let (link, rng) = (way.link, &mut way.rngs[class]);
        // Every datagram draws the same number of times, whatever becomes of it.
        let mut lost = rng.random_bool(link.loss);
        let twice = rng.random_bool(link.duplicate);
        let passed = way.narrow.as_mut().map_or(Some(Duration::ZERO), |narrow| {
            narrow.pass(now, datagram.len() + HEADERS_LEN)
        });
        lost |= passed.is_none();
        let queued = passed.unwrap_or_default();
        let mut arrival = || {
            let jitter = rng.random_range(0..=link.jitter.as_micros() as u64);
            link.delay + queued + Duration::from_micros(jitter)
        };
        let arrivals = [arrival(), arrival()];
        let copies = if lost { 0 } else { 1 + usize::from(twice) };
        arrivals.into_iter().take(copies)
    }

    fn way(&mut self, client: usize, direction: Direction) -> &mut Way {
        let access = &mut self.accesses[client];
        match direction {
            Direction::Up => &mut access.up,
            Direction::Down => &mut access.down,
        }
    }
}

/// IPv4 and UDP.
const HEADERS_LEN: usize = 28;
