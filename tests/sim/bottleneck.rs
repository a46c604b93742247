//! A link that is narrower than what is sent into it: a rate, a queue in front of it, and what a
//! path adds behind it (jitter, random and burst loss). All from a seed, under virtual time.
//!
//! Packets go in with [`Bottleneck::push`] and come out of [`Bottleneck::poll`] with the time of
//! their arrival; the rate may change while some wait. Several flows share one queue.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What a bottleneck is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bits per second.
    pub rate_bps: f64,
    /// What waits at most.
    pub queue: Depth,
    /// Standard deviation of the jitter; a draw beyond three of them is cut off, and no packet
    /// overtakes another (RFC 8868 §5.2, random bounded variation).
    pub jitter: Duration,
    /// Probability that a packet vanishes behind the queue.
    pub loss: f64,
    /// Burst loss on top; `None` for none.
    pub bursts: Option<Bursts>,
}

/// How much a queue holds; what comes when it is full is dropped.
#[derive(Clone, Copy, Debug)]
pub enum Depth {
    /// As much as the link carries in this time.
    Time(Duration),
    /// So many packets, the one on the wire included.
    Packets(usize),
}

/// Gilbert's model: two states, and in the bad one everything is lost.
#[derive(Clone, Copy, Debug)]
pub struct Bursts {
    /// Probability per packet that a burst begins.
    pub begins: f64,
    /// Probability per packet that it ends.
    pub ends: f64,
}

impl Shape {
    /// A link of this rate with a queue of 300 ms, nothing else (RFC 8867 §4.1).
    pub const fn of(rate_bps: f64) -> Self {
        Self {
            rate_bps,
            queue: Depth::Time(Duration::from_millis(300)),
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: None,
        }
    }
}

/// A packet that has passed.
#[derive(Clone, Debug)]
pub struct Passed<T> {
    /// Which flow it is of.
    pub flow: usize,
    /// What was sent.
    pub what: T,
    /// Bytes on the wire.
    pub len: usize,
    /// When it leaves the link, microseconds.
    pub at_us: i64,
    /// How long it waited for others.
    pub queued_us: i64,
    /// The part of that wait which packets of its own flow caused.
    pub own_queued_us: i64,
}

/// A link with its queue.
#[derive(Debug)]
pub struct Bottleneck<T> {
    shape: Shape,
    rng: StdRng,
    queue: VecDeque<Waiting<T>>,
    queued_len: usize,
    free_us: f64,
    latest_us: i64,
    in_burst: bool,
    /// Packets refused by a full queue, and lost behind it.
    pub dropped: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    flow: usize,
    what: T,
    len: usize,
    since_us: i64,
    own_ahead_len: usize,
}

impl<T> Bottleneck<T> {
    /// An empty one.
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            rng: StdRng::seed_from_u64(seed),
            queue: VecDeque::new(),
            queued_len: 0,
            free_us: 0.0,
            latest_us: 0,
            in_burst: false,
            dropped: 0,
        }
    }

    /// Bits per second.
    pub fn rate_bps(&self) -> f64 {
        self.shape.rate_bps
    }

    /// Another rate for what has not begun to leave; the queue's bytes stay what they are.
    pub fn set_rate(&mut self, rate_bps: f64) {
        self.shape.rate_bps = rate_bps;
    }

    /// What waits would take so long, microseconds.
    pub fn delay_us(&self) -> i64 {
        (self.queued_len as f64 * 8e6 / self.shape.rate_bps) as i64
    }

    /// A packet of `len` bytes comes at `now_us`; false when the queue is full.
    pub fn push(&mut self, now_us: i64, flow: usize, len: usize, what: T) -> bool {
        let full = match self.shape.queue {
            Depth::Time(time) => self.delay_us() > time.as_micros() as i64,
            Depth::Packets(packets) => self.queue.len() >= packets,
        };
        if full {
            self.dropped += 1;
            return false;
        }
        let own = self.queue.iter().filter(|w| w.flow == flow);
        let own_ahead_len = own.map(|w| w.len).sum();
        self.queue.push_back(Waiting {
            flow,
            what,
            len,
            since_us: now_us,
            own_ahead_len,
        });
        self.queued_len += len;
        true
    }

    /// The next packet that is through by `now_us`; lost ones are left out.
    pub fn poll(&mut self, now_us: i64) -> Option<Passed<T>> {
        loop {
            let head = self.queue.front()?;
            let begins_us = self.free_us.max(head.since_us as f64);
            let ends_us = begins_us + head.len as f64 * 8e6 / self.shape.rate_bps;
            if ends_us > now_us as f64 {
                return None;
            }
            let waiting = self.queue.pop_front()?;
            self.queued_len -= waiting.len;
            self.free_us = ends_us;
            if self.is_lost() {
                self.dropped += 1;
                continue;
            }
            let at_us = (ends_us as i64 + self.jitter_us()).max(self.latest_us);
            self.latest_us = at_us;
            let queued_us = begins_us as i64 - waiting.since_us;
            let own_us = waiting.own_ahead_len as f64 * 8e6 / self.shape.rate_bps;
            return Some(Passed {
                flow: waiting.flow,
                what: waiting.what,
                len: waiting.len,
                at_us,
                queued_us,
                own_queued_us: queued_us.min(own_us as i64),
            });
        }
    }

    fn is_lost(&mut self) -> bool {
        if let Some(bursts) = self.shape.bursts {
            let turns = if self.in_burst {
                bursts.ends
            } else {
                bursts.begins
            };
            self.in_burst ^= self.rng.random_bool(turns);
        }
        let lost = self.rng.random_bool(self.shape.loss);
        lost || self.in_burst
    }

    /// A draw from a normal distribution (Box and Muller), shifted so that it is never negative.
    fn jitter_us(&mut self) -> i64 {
        let sigma_us = self.shape.jitter.as_micros() as f64;
        if sigma_us == 0.0 {
            return 0;
        }
        let (u, v): (f64, f64) = (self.rng.random_range(1e-9..1.0), self.rng.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        ((normal.clamp(-3.0, 3.0) + 3.0) * sigma_us) as i64
    }
}
