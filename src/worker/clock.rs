//! The only reader of clocks in the package, beside `main.rs`.
//!
//! The wall clock is derived from the monotonic one, so that it neither jumps nor runs backwards
//! within a call when the host's clock is corrected; it is brought back to the host's slowly.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::clock::Now;

/// Pairs the monotonic clock with the wall clock. One per worker.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The monotonic instant of the pairing.
    start: Instant,
    /// The wall clock that belongs to `start`, microseconds since 1970; corrected as time passes.
    start_unix_us: u64,
    /// When the host's wall clock is looked at next.
    next_look: Instant,
    /// The last wall clock handed out.
    last_unix_us: u64,
}

impl Clock {
    /// Pairs the host's two clocks.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self::paired(Instant::now(), host_unix_us())
    }

    /// One reading.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&mut self) -> Now {
        self.reading(Instant::now(), host_unix_us)
    }

    /// The reading of a moment not long ago, `host_us` by the host's own wall clock: when the
    /// kernel says that a datagram came. A moment that has not come yet is this one.
    #[allow(clippy::disallowed_methods)]
    pub fn at_host_us(&mut self, host_us: u64) -> Now {
        let now = self.now();
        before(now, host_unix_us().saturating_sub(host_us))
    }

    fn paired(start: Instant, unix_us: u64) -> Self {
        Self {
            start,
            start_unix_us: unix_us,
            next_look: start + LOOK_EVERY,
            last_unix_us: unix_us,
        }
    }

    /// The reading at `instant`; asks the host's wall clock when it is time to.
    fn reading(&mut self, instant: Instant, host_unix_us: impl FnOnce() -> u64) -> Now {
        if instant >= self.next_look {
            self.next_look = instant + LOOK_EVERY;
            self.correct(self.derived(instant), host_unix_us());
        }
        self.last_unix_us = self.last_unix_us.max(self.derived(instant));
        Now {
            instant,
            unix_us: self.last_unix_us,
        }
    }

    fn derived(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.start).as_micros();
        self.start_unix_us
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Moves the pairing towards the host's clock: a little, or all the way when it was set.
    fn correct(&mut self, derived_us: u64, host_us: u64) {
        let error_us = host_us.wrapping_sub(derived_us) as i64;
        let set = error_us.unsigned_abs() > STEP_US;
        let by = if set {
            error_us
        } else {
            error_us.clamp(-SLEW_US, SLEW_US)
        };
        self.start_unix_us = self.start_unix_us.saturating_add_signed(by);
        if set {
            self.last_unix_us = 0;
        }
    }
}

/// The monotonic clock, for who times its own work.
#[allow(clippy::disallowed_methods)]
pub fn instant() -> Instant {
    Instant::now()
}

/// `now`, `age_us` ago.
fn before(now: Now, age_us: u64) -> Now {
    let instant = now.instant.checked_sub(Duration::from_micros(age_us));
    Now {
        instant: instant.unwrap_or(now.instant),
        unix_us: now.unix_us.saturating_sub(age_us),
    }
}

#[allow(clippy::disallowed_methods)]
fn host_unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// How often the host's wall clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Most that one look corrects: 100 ppm, below what a receiver's lip sync can notice and above
/// the drift of any quartz.
const SLEW_US: i64 = 1000;

/// An error beyond this means that the host's clock was set; it is followed at once.
const STEP_US: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(clock: &mut Clock, start: Instant, after_s: u64, host_us: u64) -> u64 {
        let now = clock.reading(start + Duration::from_secs(after_s), || host_us);
        now.unix_us
    }

    #[test]
    fn small_errors_are_followed_slowly_and_never_backwards() {
        let start = Clock::start().start;
        let mut clock = Clock::paired(start, 1_000_000_000);
        assert_eq!(at(&mut clock, start, 1, 0), 1_001_000_000, "no look yet");
        assert_eq!(at(&mut clock, start, 10, 1_010_300_000), 1_010_001_000);
        assert_eq!(at(&mut clock, start, 20, 1_020_000_800), 1_020_000_800);
        let before = at(&mut clock, start, 29, 0);
        let after = at(&mut clock, start, 30, 1_029_900_000);
        assert_eq!(after - before, 9_999_000 - 8_000_000 - 1_000_000);
        assert!(at(&mut clock, start, 30, 0) >= after);
    }

    #[test]
    fn a_moment_by_the_hosts_clock_lies_as_far_back_in_both() {
        let mut clock = Clock::start();
        let begin = clock.now();
        let then = clock.at_host_us(host_unix_us() - 5_000_000);
        let end = clock.now();
        // The host's clock was read twice between the two; microseconds are rounded.
        let slack = end.instant - begin.instant + Duration::from_micros(2);
        let back = then.instant + Duration::from_secs(5);
        assert!(back + slack >= begin.instant && back <= end.instant + slack);
        let off_us = begin.unix_us.abs_diff(then.unix_us + 5_000_000);
        assert!(u128::from(off_us) <= slack.as_micros(), "{off_us} us");
        let ahead = clock.at_host_us(u64::MAX);
        assert!(
            ahead.instant >= end.instant,
            "no moment that has yet to come"
        );
    }

    #[test]
    fn a_clock_that_was_set_is_followed_at_once() {
        let start = Clock::start().start;
        let mut clock = Clock::paired(start, 1_000_000_000);
        assert_eq!(at(&mut clock, start, 10, 500_000_000), 500_000_000);
        assert_eq!(at(&mut clock, start, 20, 9_000_000_000), 9_000_000_000);
    }
}
