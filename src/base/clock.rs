//! The time as it is handed down: one reading per turn, never taken below the shell.
//!
//! `worker/clock.rs` makes a [`Now`] once per turn; tests make it from a virtual clock.

use std::time::{Duration, Instant};

use super::seq::RtpTime;

/// One clock reading: a monotonic instant and the wall clock that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; for timers and intervals.
    pub instant: Instant,
    /// Microseconds since 1970-01-01 UTC; for NTP timestamps in RTCP and for dates on the wire.
    pub unix_us: u64,
}

impl Now {
    /// This reading moved forward by `by`; what a virtual clock is made of.
    pub fn after(self, by: Duration) -> Self {
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant + by,
            unix_us: self.unix_us.saturating_add(us),
        }
    }

    /// The reading of an earlier `instant`; of a later one, this one.
    pub fn back_at(self, instant: Instant) -> Self {
        let by = self.instant.saturating_duration_since(instant);
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant.min(instant),
            unix_us: self.unix_us.saturating_sub(us),
        }
    }

    /// The wall clock as a 64-bit NTP timestamp (RFC 3550 §4): seconds since 1900 in the high
    /// 32 bits, fraction of a second in the low 32.
    pub fn ntp(self) -> NtpTime {
        NtpTime::from_unix_us(self.unix_us)
    }
}

/// A 64-bit NTP timestamp (RFC 3550 §4): 32.32 fixed-point seconds since 1900.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Converts from microseconds since 1970; wraps with the NTP era in 2036.
    pub fn from_unix_us(unix_us: u64) -> Self {
        let seconds = unix_us / 1_000_000 + NTP_TO_UNIX_S;
        let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, as carried in LSR (RFC 3550 §6.4.1): 16.16 seconds.
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Microseconds from `earlier` to `self`, negative when `self` is the earlier one; valid for
    /// distances under 68 years.
    pub fn us_since(self, earlier: NtpTime) -> i64 {
        let diff = self.0.wrapping_sub(earlier.0) as i64;
        ((i128::from(diff) * 1_000_000) >> 32) as i64
    }
}

/// Where a sender's RTP timestamps stand on this server's wall clock (RFC 3550 §6.4.1).
///
/// Audio and video of one publisher are mapped with the same offset between its clock and ours,
/// so what was captured together stays together at every subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// An RTP timestamp of the sender's latest report.
    pub rtp: RtpTime,
    /// The server's wall clock, microseconds since 1970, that belongs to it.
    pub unix_us: u64,
}

impl SenderClock {
    /// The RTP timestamp that belongs to `unix_us`, for a clock of `clock_hz`.
    pub fn rtp_at(self, unix_us: u64, clock_hz: u32) -> RtpTime {
        let us = unix_us.wrapping_sub(self.unix_us) as i64;
        let ticks = i128::from(us) * i128::from(clock_hz) / 1_000_000;
        self.rtp.plus(ticks as u32)
    }
}

/// Seconds between the NTP epoch (1900) and the Unix epoch (1970), RFC 5905 §6.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A reading to start a unit test's virtual clock from.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn test_now() -> Now {
        Now {
            instant: Instant::now(),
            unix_us: 1_700_000_000_000_000,
        }
    }

    #[test]
    fn unix_zero_is_ntp_2208988800() {
        assert_eq!(NtpTime::from_unix_us(0).0, 2_208_988_800 << 32);
        assert_eq!(NtpTime::from_unix_us(500_000).0 & 0xffff_ffff, 0x8000_0000);
    }

    #[test]
    fn a_sender_clock_runs_both_ways() {
        let clock = SenderClock {
            rtp: RtpTime(1000),
            unix_us: 5_000_000,
        };
        assert_eq!(clock.rtp_at(5_500_000, 90_000), RtpTime(46_000));
        assert_eq!(clock.rtp_at(4_990_000, 90_000), RtpTime(100));
    }

    #[test]
    fn distances_are_signed_and_in_microseconds() {
        let a = NtpTime::from_unix_us(1_700_000_000_000_000);
        let b = NtpTime::from_unix_us(1_700_000_001_500_000);
        assert!((b.us_since(a) - 1_500_000).abs() <= 1);
        assert!((a.us_since(b) + 1_500_000).abs() <= 1);
    }
}
