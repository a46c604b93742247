//! A competing TCP: slow start, congestion avoidance, one halving per loss event (RFC 5681), with
//! selective acknowledgement and a timeout. No handshake, no delayed acknowledgements.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::course::Out;

/// Sender and receiver of one connection.
#[derive(Debug)]
pub struct Tcp {
    window: f64,
    threshold: f64,
    next: u64,
    in_flight: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    /// No second halving for what was sent before the first.
    recover: u64,
    heard_us: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Endless,
    /// Transfers of 100 kB to 1 MB with pauses between them (RFC 8867 §5.7).
    Bouts {
        rng: Box<StdRng>,
        left: u64,
        next_us: i64,
    },
}

impl Tcp {
    /// One that always has something to send.
    pub fn endless() -> Self {
        Self::new(Source::Endless)
    }

    /// One that sends now and then.
    pub fn in_bouts(seed: u64) -> Self {
        let mut rng = Box::new(StdRng::seed_from_u64(seed));
        let next_us = pause_us(&mut rng);
        Self::new(Source::Bouts {
            rng,
            left: 0,
            next_us,
        })
    }

    fn new(source: Source) -> Self {
        Self {
            window: 10.0,
            threshold: 1e9,
            next: 0,
            in_flight: BTreeSet::new(),
            lost: BTreeSet::new(),
            recover: 0,
            heard_us: 0,
            source,
        }
    }

    /// True while there is something to send.
    pub fn is_active(&self) -> bool {
        match &self.source {
            Source::Endless => true,
            Source::Bouts { left, .. } => *left > 0 || !self.in_flight.is_empty(),
        }
    }

    /// One millisecond.
    pub fn step(&mut self, now_us: i64, out: &mut Out) {
        if !self.in_flight.is_empty() && now_us - self.heard_us > TIMEOUT_US {
            self.threshold = (self.window / 2.0).max(2.0);
            self.window = 1.0;
            self.lost.append(&mut self.in_flight);
            self.recover = self.next;
            self.heard_us = now_us;
        }
        self.begin_bout(now_us);
        while (self.in_flight.len() as f64) < self.window {
            let seq = match self.lost.pop_first() {
                Some(seq) => seq,
                None if self.take_fresh() => {
                    self.next += 1;
                    self.next - 1
                }
                None => return,
            };
            if self.in_flight.is_empty() {
                self.heard_us = now_us;
            }
            self.in_flight.insert(seq);
            let mut packet = vec![0; SEGMENT_LEN];
            packet[..8].copy_from_slice(&seq.to_be_bytes());
            out.forth(packet);
        }
    }

    /// A segment reached the receiver, which acknowledges it.
    pub fn arrived(&mut self, segment: &[u8], out: &mut Out) {
        out.back(segment[..12].to_vec());
    }

    /// An acknowledgement reached the sender.
    pub fn told(&mut self, at_us: i64, acknowledgement: &[u8]) {
        let mut seq = [0; 8];
        seq.copy_from_slice(&acknowledgement[..8]);
        let seq = u64::from_be_bytes(seq);
        self.heard_us = at_us;
        if !self.in_flight.remove(&seq) {
            return;
        }
        self.window += if self.window < self.threshold {
            1.0
        } else {
            1.0 / self.window
        };
        // What three later ones have overtaken is lost.
        let overtaken: Vec<u64> = self
            .in_flight
            .iter()
            .copied()
            .take_while(|earlier| earlier + 3 <= seq)
            .collect();
        for earlier in overtaken {
            self.in_flight.remove(&earlier);
            self.lost.insert(earlier);
            if earlier >= self.recover {
                self.recover = self.next;
                self.window = (self.window / 2.0).max(2.0);
                self.threshold = self.window;
            }
        }
    }

    fn begin_bout(&mut self, now_us: i64) {
        let idle = self.in_flight.is_empty() && self.lost.is_empty();
        if let Source::Bouts { rng, left, next_us } = &mut self.source
            && *left == 0
            && idle
        {
            if *next_us == i64::MAX {
                *next_us = now_us + pause_us(rng);
            }
            if now_us >= *next_us {
                *left = rng.random_range(100_000..1_000_000) / SEGMENT_LEN as u64;
                *next_us = i64::MAX;
                self.window = 10.0;
                self.threshold = 1e9;
            }
        }
    }

    fn take_fresh(&mut self) -> bool {
        match &mut self.source {
            Source::Endless => true,
            Source::Bouts { left, .. } => {
                let some = *left > 0;
                *left -= u64::from(some);
                some
            }
        }
    }
}

/// Exponential with a mean of ten seconds.
fn pause_us(rng: &mut StdRng) -> i64 {
    let u: f64 = rng.random_range(1e-9..1.0);
    (-u.ln() * 10e6) as i64
}

/// With the link's own overhead 1500 bytes.
const SEGMENT_LEN: usize = 1472;

const TIMEOUT_US: i64 = 1_000_000;
