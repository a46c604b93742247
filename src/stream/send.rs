//! One sent SSRC with its RTX: counters for sender reports, and the cap on retransmission.

use std::time::{Duration, Instant};

use crate::base::ids::{Pt, Ssrc};

/// State of one SSRC towards one subscriber.
#[derive(Debug)]
pub struct SendStream {
    /// The SSRC of the media.
    pub ssrc: Ssrc,
    /// Retransmission stream; `None` sends plain copies instead.
    pub rtx: Option<RtxStream>,
    /// Packets sent (RFC 3550 §6.4.1), retransmissions not counted.
    pub packets: u64,
    /// Payload octets sent.
    pub octets: u64,
    budget: Budget,
}

/// The RTX side of a sent SSRC (RFC 4588).
#[derive(Clone, Copy, Debug)]
pub struct RtxStream {
    /// Its own SSRC.
    pub ssrc: Ssrc,
    /// Its payload type.
    pub pt: Pt,
    /// The next extended sequence number.
    pub next_seq: u64,
}

/// A token bucket in bytes.
#[derive(Clone, Copy, Debug)]
struct Budget {
    tokens: u64,
    filled: Option<Instant>,
}

impl SendStream {
    /// A stream that has sent nothing.
    pub fn new(ssrc: Ssrc, rtx: Option<RtxStream>) -> Self {
        let budget = Budget {
            tokens: 0,
            filled: None,
        };
        Self {
            ssrc,
            rtx,
            packets: 0,
            octets: 0,
            budget,
        }
    }

    /// Takes `len` bytes of the retransmission budget, which refills at `rate_bps` (what the
    /// track itself carries): a subscriber that asks for everything again at most doubles what
    /// is sent to it. False when the budget is used up.
    pub fn may_retransmit(&mut self, now: Instant, len: usize, rate_bps: u64) -> bool {
        let rate = rate_bps.max(MIN_RETRANSMIT_BPS) / 8;
        let full = (rate * BURST.as_millis() as u64 / 1000).max(MIN_BURST_LEN);
        let since = match self.budget.filled {
            None => BURST,
            Some(at) => now.saturating_duration_since(at).min(BURST),
        };
        let refill = if since == BURST {
            full
        } else {
            rate * since.as_micros() as u64 / 1_000_000
        };
        // Too short a time for one byte is left to add up.
        if refill > 0 {
            self.budget.filled = Some(now);
            self.budget.tokens = (self.budget.tokens + refill).min(full);
        }
        let len = len as u64;
        if self.budget.tokens < len {
            return false;
        }
        self.budget.tokens -= len;
        true
    }
}

/// Retransmission may catch up with this much of a lossy stretch at once.
const BURST: Duration = Duration::from_millis(500);

/// A quiet track may still be repaired.
const MIN_RETRANSMIT_BPS: u64 = 300_000;

/// One key frame's worth.
const MIN_BURST_LEN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn retransmission_is_capped_at_the_rate_of_the_track() {
        let t = test_now().instant;
        let mut s = SendStream::new(Ssrc(1), None);
        let mut sent = 0u64;
        for ms in 0..10_000u64 {
            let now = t + Duration::from_millis(ms);
            for _ in 0..20 {
                if s.may_retransmit(now, 1200, 2_000_000) {
                    sent += 1200;
                }
            }
        }
        let allowed = 10 * 2_000_000 / 8 + 125_000;
        assert!(sent <= allowed, "{sent} of {allowed}");
        assert!(sent > allowed * 9 / 10);
    }
}
