//! Paces what is sent to one subscriber: a token bucket of bytes.
//!
//! Bursts that a bottleneck with a shallow queue would drop are spread; what fits into the bucket
//! goes out at once and stays one run of segments. Holds no packets: who finds the bucket empty
//! keeps his position and comes back at [`Bucket::ready_at`]. Called by `peer/`.

use std::time::{Duration, Instant};

use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_GSO_SEGMENTS};

/// A token bucket. One without a rate lets everything through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Bytes per second; 0 while nothing is known of the path.
    rate: u64,
    /// Bytes that may be sent; below 0 after a packet that was larger than what was left.
    tokens: i64,
    filled: Option<Instant>,
    /// It holds a whole run of segments, whatever the rate.
    deep: bool,
}

impl Bucket {
    /// Paces at `bps`; `None` paces not at all. A `deep` bucket lets a run of segments out at once,
    /// another what takes a few milliseconds.
    pub fn set_rate(&mut self, bps: Option<u64>, deep: bool) {
        self.deep = deep;
        self.rate = bps.map_or(0, |bps| bps / 8);
    }

    /// Adds what came in since the last time. Once per turn is enough.
    pub fn fill(&mut self, now: Instant) {
        let Some(before) = self.filled.replace(now) else {
            self.tokens = self.depth();
            return;
        };
        let passed_us = now.saturating_duration_since(before).as_micros() as u64;
        let more = self.rate.saturating_mul(passed_us.min(1_000_000)) / 1_000_000;
        if more == 0 {
            // Too short a time for one byte is left to add up.
            self.filled = Some(if self.rate == 0 { now } else { before });
            return;
        }
        self.tokens = self.tokens.saturating_add(more as i64).min(self.depth());
    }

    /// Takes `len` bytes; false when the bucket is empty. One packet may take more than there is,
    /// so that no packet is too large for ever.
    pub fn take(&mut self, len: usize) -> bool {
        if self.rate == 0 {
            return true;
        }
        if self.tokens <= 0 {
            return false;
        }
        self.tokens -= len as i64;
        true
    }

    /// Takes `len` bytes whether they are there or not: what is not paced (audio, feedback) still
    /// counts against what is.
    pub fn charge(&mut self, len: usize) {
        if self.rate != 0 {
            self.tokens = (self.tokens - len as i64).max(-self.depth());
        }
    }

    /// Gives back what was taken for `len` bytes that were not sent after all.
    pub fn give_back(&mut self, len: usize) {
        if self.rate != 0 {
            self.tokens = (self.tokens + len as i64).min(self.depth());
        }
    }

    /// When the next burst is worth sending: `BURST` after `now`, or later where even one packet
    /// takes longer.
    pub fn ready_at(&self, now: Instant) -> Instant {
        if self.rate == 0 || self.tokens > 0 {
            return now;
        }
        let missing = (1 - self.tokens) as u64;
        now + Duration::from_micros(missing * 1_000_000 / self.rate).max(BURST)
    }

    /// Bytes that the bucket holds when full.
    pub fn depth(&self) -> i64 {
        if self.deep {
            return MAX_DEPTH;
        }
        let burst = self.rate as i64 * BURST.as_micros() as i64 / 1_000_000;
        burst.clamp(MIN_DEPTH, MAX_DEPTH)
    }
}

/// One burst lasts so long at the rate of pacing.
const BURST: Duration = Duration::from_millis(4);

/// At low rates a burst is one packet; at high ones a run of segments, which a queue ten packets
/// deep still takes.
const MIN_DEPTH: i64 = MAX_DATAGRAM_LEN as i64;
const MAX_DEPTH: i64 = (MAX_GSO_SEGMENTS * MAX_DATAGRAM_LEN) as i64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    /// Sends as much as the bucket lets through within `ms`; returns bytes and the largest burst.
    fn drain(estimate_bps: u64, ms: u64) -> (u64, u64) {
        let start = test_now().instant;
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(estimate_bps * 2), false);
        bucket.fill(start);
        let end = start + Duration::from_millis(ms);
        let (mut now, mut sent, mut largest) = (start, 0, 0);
        while now < end {
            bucket.fill(now);
            let mut burst = 0;
            while bucket.take(1200) {
                burst += 1200;
            }
            sent += burst;
            largest = largest.max(burst);
            let ready = bucket.ready_at(now);
            assert!(ready > now);
            now = ready;
        }
        (sent, largest)
    }

    #[test]
    fn keeps_to_the_rate_in_bursts_of_a_few_milliseconds() {
        for estimate in [300_000, 2_000_000, 10_000_000] {
            let (sent, largest) = drain(estimate, 1000);
            let expected = estimate * 2 / 8;
            assert!(sent > expected * 9 / 10, "{estimate}: {sent}");
            assert!(sent < expected * 11 / 10, "{estimate}: {sent}");
            assert!(
                largest <= (expected * 5 / 1000 + 1200).max(2400),
                "{largest}"
            );
        }
    }

    #[test]
    fn a_deep_one_lets_a_run_out_at_once_and_keeps_to_the_rate() {
        let start = test_now().instant;
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(2_000_000), true);
        bucket.fill(start);
        let burst = (0..100).take_while(|_| bucket.take(1500)).count();
        assert_eq!(burst, MAX_GSO_SEGMENTS);
        bucket.fill(start + Duration::from_millis(33));
        let next = (0..100).take_while(|_| bucket.take(1500)).count();
        assert_eq!(next, 6, "33 ms at the rate");
    }

    #[test]
    fn what_is_unknown_is_not_paced() {
        let mut bucket = Bucket::default();
        let now = test_now().instant;
        bucket.fill(now);
        assert!((0..10_000).all(|_| bucket.take(1500)));
        assert_eq!(bucket.ready_at(now), now);
        bucket.set_rate(Some(2_000_000), false);
        bucket.fill(now + Duration::from_millis(1));
        bucket.charge(100_000);
        assert!(!bucket.take(1));
    }
}
