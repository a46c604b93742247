//! Which better pictures a path did not carry a moment ago: they are not tried again at once.
//!
//! An estimate swings between the path's rate and what is left of it after a cut. A picture whose
//! cost lies in between would be taken up and given up several times in ten seconds, with a key
//! frame each time. Called by `engine/allocate.rs`.

use std::time::{Duration, Instant};

/// What became of the latest changes to a better picture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Climb {
    /// When the latest was, and what there was to divide then, bits per second.
    risen: Option<(Instant, u64)>,
    /// Until when another is not to be tried, and what there was at the one that failed.
    failed: Option<(Instant, u64)>,
    wait: Duration,
}

impl Climb {
    /// True when a better picture may be taken up with `budget_bps` to divide. Much more than
    /// there was last time is worth a try whenever it comes.
    pub fn is_allowed(&self, now: Instant, budget_bps: u64) -> bool {
        self.failed
            .is_none_or(|(until, bps)| now >= until || budget_bps > bps * WIDER_PERCENT / 100)
    }

    /// A better picture is taken up.
    pub fn rise(&mut self, now: Instant, budget_bps: u64) {
        self.risen = Some((now, budget_bps));
    }

    /// A worse one is. That the last climb has failed is concluded when it was not long ago and
    /// there was more to divide: otherwise somebody else has got the room.
    pub fn fall(&mut self, now: Instant, budget_bps: u64) {
        let Some((at, before_bps)) = self.risen.take() else {
            return;
        };
        let has_shrunk = budget_bps < before_bps * SHRUNK_PERCENT / 100;
        if now.saturating_duration_since(at) > SOON || !has_shrunk {
            self.wait = Duration::ZERO;
            return;
        }
        self.wait = (self.wait * 2).clamp(MIN_WAIT, MAX_WAIT);
        self.failed = Some((now + self.wait, before_bps));
    }
}

/// A climb that lasted longer has not failed.
const SOON: Duration = Duration::from_secs(20);

/// Between a climb that failed and the next one; it doubles each time.
const MIN_WAIT: Duration = Duration::from_secs(4);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Less than this share of what there was is less, more than this is more: estimates waver.
const SHRUNK_PERCENT: u64 = 95;
const WIDER_PERCENT: u64 = 125;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn waits_longer_each_time_and_not_at_all_for_much_more_room() {
        let start = test_now().instant;
        let mut climb = Climb::default();
        let mut now = start;
        for wait in [4, 8, 16, 32, 60, 60] {
            assert!(climb.is_allowed(now, 1000));
            climb.rise(now, 1000);
            now += Duration::from_secs(2);
            climb.fall(now, 900);
            now += Duration::from_secs(wait);
            assert!(!climb.is_allowed(now - Duration::from_millis(1), 1250));
            assert!(climb.is_allowed(now - Duration::from_millis(1), 1251));
        }
        // One that has lasted begins anew.
        climb.rise(now, 1000);
        now += Duration::from_secs(21);
        climb.fall(now, 500);
        assert!(climb.is_allowed(now, 1000));
        climb.rise(now, 1000);
        climb.fall(now, 500);
        assert!(climb.is_allowed(now + MIN_WAIT, 1000));
    }

    #[test]
    fn room_that_another_track_got_is_no_failure() {
        let now = test_now().instant;
        let mut climb = Climb::default();
        climb.rise(now, 1000);
        climb.fall(now, 960);
        assert!(climb.is_allowed(now, 0));
    }
}
