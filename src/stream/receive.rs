//! One received SSRC: index estimation and replay (RFC 3711 §3.3), loss and jitter for receiver
//! reports (RFC 3550 §6.4.1, A.3, A.8), and the sender's clock.

use std::time::Instant;

use super::missing::Missing;
use crate::base::clock::{Now, NtpTime};
use crate::base::fault::DropReason;
use crate::base::ids::Ssrc;
use crate::base::seq::{RtpTime, SeqNo, SeqUnwrapper};
use crate::srtp::replay::ReplayWindow;

/// Sequence and statistics state of one authenticated SSRC.
#[derive(Debug)]
pub struct RecvStream {
    /// The SSRC.
    pub ssrc: Ssrc,
    /// Missing packets; unused for RTX streams.
    pub missing: Missing,
    unwrapper: SeqUnwrapper,
    replay: ReplayWindow,
    /// Numbers whose media was taken, from this SSRC or from the one that repairs it.
    taken: ReplayWindow,
    clock_hz: u32,
    first: Option<u64>,
    received: u64,
    reported: (u64, u64),
    transit: Option<(u64, RtpTime)>,
    jitter_x16: u32,
    last_report: Option<(NtpTime, Instant)>,
}

/// The figures of one report block about a received SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// Lost since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the start; negative with duplicates.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with cycles in the high half.
    pub highest_seq: u32,
    /// Interarrival jitter in RTP ticks.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 before the first.
    pub last_sr: u32,
    /// Since that report, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl RecvStream {
    /// State for an SSRC whose first packet has just authenticated.
    pub fn new(ssrc: Ssrc, clock_hz: u32) -> Self {
        Self {
            ssrc,
            missing: Missing::default(),
            unwrapper: SeqUnwrapper::default(),
            replay: ReplayWindow::default(),
            taken: ReplayWindow::default(),
            clock_hz,
            first: None,
            received: 0,
            reported: (0, 0),
            transit: None,
            jitter_x16: 0,
            last_report: None,
        }
    }

    /// The extended number of `seq` and, when it was not seen yet, permission to decrypt.
    ///
    /// # Errors
    /// `Replayed` when the number was seen or is older than the window.
    pub fn check(&self, seq: SeqNo) -> Result<u64, DropReason> {
        let extended = self.unwrapper.peek(seq);
        self.replay.check(extended)?;
        Ok(extended)
    }

    /// Records an authenticated packet.
    pub fn record(&mut self, now: Now, extended: u64, timestamp: RtpTime) {
        self.replay.record(extended);
        self.unwrapper.record(extended);
        self.first.get_or_insert(extended);
        self.received += 1;
        // RFC 3550 A.8, in the arithmetic it recommends: jitter is kept times 16.
        if let Some((then_us, then_rtp)) = self.transit {
            let elapsed_us = now.unix_us.saturating_sub(then_us);
            let arrived = u128::from(elapsed_us) * u128::from(self.clock_hz) / 1_000_000;
            let sent = i64::from(timestamp.distance(then_rtp));
            let d = (i64::try_from(arrived).unwrap_or(i64::MAX) - sent).unsigned_abs();
            let d = u32::try_from(d).unwrap_or(u32::MAX / 32).min(u32::MAX / 32);
            self.jitter_x16 = (self.jitter_x16 + d).saturating_sub((self.jitter_x16 + 8) >> 4);
        }
        self.transit = Some((now.unix_us, timestamp));
    }

    /// True when the media of number `extended` was taken, or is too old to know. A second packet
    /// with that number, as it came or repaired, may say something else and would leave under the
    /// number of the first: one index for two plaintexts (RFC 7714 §8.4).
    pub fn has_taken(&self, extended: u64) -> bool {
        self.taken.check(extended).is_err()
    }

    /// The media of number `extended` is taken.
    pub fn take(&mut self, extended: u64) {
        self.taken.record(extended);
    }

    /// Records that a sender report with this NTP time came.
    pub fn record_report(&mut self, now: Now, ntp: NtpTime) {
        self.last_report = Some((ntp, now.instant));
    }

    /// When the latest packet came, microseconds since 1970; 0 before the first.
    pub fn heard_us(&self) -> u64 {
        self.transit.map_or(0, |(at_us, _)| at_us)
    }

    /// Extended number of the newest packet.
    pub fn highest(&self) -> Option<u64> {
        self.unwrapper.highest()
    }

    /// The figures for a receiver report; starts a new interval. `None` before the first packet.
    pub fn reception(&mut self, now: Now) -> Option<Reception> {
        let (first, highest) = (self.first?, self.unwrapper.highest()?);
        let expected = highest.saturating_sub(first) + 1;
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let expected_now = expected - expected_before.min(expected);
        let received_now = self.received - received_before;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let cumulative = i64::try_from(expected).unwrap_or(i64::MAX)
            - i64::try_from(self.received).unwrap_or(i64::MAX);
        let (last_sr, delay) = match self.last_report {
            None => (0, 0),
            Some((ntp, at)) => {
                let waited = now.instant.saturating_duration_since(at);
                (
                    ntp.compact(),
                    (waited.as_micros() * 65_536 / 1_000_000) as u32,
                )
            }
        };
        Some(Reception {
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: highest.wrapping_sub(0x1_0000) as u32,
            jitter: self.jitter_x16 >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use std::time::Duration;

    fn start() -> Now {
        test_now()
    }

    #[test]
    fn counts_loss_per_interval_and_in_total() {
        let now = start();
        let mut s = RecvStream::new(Ssrc(1), 90_000);
        for seq in [65_534u16, 65_535, 1, 2] {
            let ext = s.check(SeqNo(seq)).unwrap();
            s.record(now, ext, RtpTime(0));
        }
        let r = s.reception(now).unwrap();
        assert_eq!(
            (r.fraction_lost, r.cumulative_lost),
            (256u32.div_euclid(5) as u8, 1)
        );
        assert_eq!(r.highest_seq, 0x1_0002, "one cycle, sequence number 2");
        assert_eq!(s.reception(now).unwrap().fraction_lost, 0);
    }

    #[test]
    fn refuses_what_it_has_seen() {
        let now = start();
        let mut s = RecvStream::new(Ssrc(1), 90_000);
        let ext = s.check(SeqNo(7)).unwrap();
        assert_eq!(crate::srtp::packet_index(ext), Some(7));
        s.record(now, ext, RtpTime(0));
        assert_eq!(s.check(SeqNo(7)), Err(DropReason::Replayed));
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_has() {
        let mut now = start();
        let mut even = RecvStream::new(Ssrc(1), 90_000);
        let mut uneven = RecvStream::new(Ssrc(2), 90_000);
        for i in 0..100u16 {
            let ts = RtpTime(u32::from(i) * 900);
            let ext = even.check(SeqNo(i)).unwrap();
            even.record(now, ext, ts);
            let late = if i % 2 == 0 {
                Duration::from_millis(8)
            } else {
                Duration::ZERO
            };
            let ext = uneven.check(SeqNo(i)).unwrap();
            uneven.record(now.after(late), ext, ts);
            now = now.after(Duration::from_millis(10));
        }
        assert_eq!(even.reception(now).unwrap().jitter, 0);
        assert!(uneven.reception(now).unwrap().jitter > 300);
    }
}
