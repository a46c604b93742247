//! Bursts of whole frames through a queue ten packets deep at 20 Mbit/s, with and without the
//! bucket in front of it.

use std::time::{Duration, Instant};

use leafcutter::bwe::bucket::Bucket;

use super::bottleneck::{Bottleneck, Depth, Shape};
use super::course::epoch;

/// What was sent and what of it was lost.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Packets sent.
    pub sent: u64,
    /// Packets dropped by the queue.
    pub dropped: u64,
    /// Longest wait for the bucket, microseconds.
    pub waited_us: i64,
}

/// A minute of 4 Mbit/s at 30 frames per second, a key frame of eight times that size every three
/// seconds. With `estimate_bps` the bucket is filled by that, without it frames go out whole.
pub fn run(estimate_bps: Option<u64>) -> Loss {
    let shape = Shape {
        queue: Depth::Packets(10),
        ..Shape::of(20e6)
    };
    let mut link = Bottleneck::new(shape, 1);
    let start = epoch();
    let mut bucket = Bucket::default();
    bucket.set_rate(estimate_bps.map(|bps| bps * 2), false);
    let at = |us: i64| -> Instant { start + Duration::from_micros(us as u64) };
    let mut waiting = std::collections::VecDeque::new();
    let mut loss = Loss {
        sent: 0,
        dropped: 0,
        waited_us: 0,
    };
    for ms in 0..60_000_i64 {
        let now_us = ms * 1000;
        if ms % 33 == 0 {
            let packets = if ms % (33 * 90) == 0 { 112 } else { 14 };
            waiting.extend(std::iter::repeat_n(now_us, packets));
        }
        while link.poll(now_us).is_some() {}
        bucket.fill(at(now_us));
        while let Some(&since_us) = waiting.front() {
            if !bucket.take(PACKET_LEN) {
                break;
            }
            waiting.pop_front();
            loss.sent += 1;
            loss.waited_us = loss.waited_us.max(now_us - since_us);
            link.push(now_us, 0, PACKET_LEN, ());
        }
    }
    loss.dropped = link.dropped;
    loss
}

const PACKET_LEN: usize = 1200;
