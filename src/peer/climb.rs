//! What a path did not carry a moment ago is not tried again at once.
//!
//! An estimate swings between the path's rate and what is left of it after a cut. Pictures whose
//! cost lies in between would be taken up and given up several times in ten seconds, with a key
//! frame each time. Called by `engine/allocate.rs`.

use std::time::{Duration, Instant};

/// What became of the latest changes to better pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Climb {
    /// The latest, while it may still fail.
    risen: Option<Rise>,
    failed: Option<Failure>,
    wait: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Rise {
    at: Instant,
    budget_bps: u64,
    /// What all came to before.
    carried_bps: u64,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    /// There is not to be another climb until then.
    until: Instant,
    /// What all came to before the one that failed, and came to at the least since.
    carried_bps: u64,
    left_bps: u64,
}

impl Climb {
    /// What all may come to by a better picture: whatever fits, or no more than is carried.
    pub fn limit_bps(&self, now: Instant) -> u64 {
        let failed = self.failed.filter(|failed| now < failed.until);
        failed.map_or(u64::MAX, |failed| failed.carried_bps * ROOM_PERCENT / 100)
    }

    /// True while what was taken up has not shown yet what it makes of the estimate: its key frame
    /// makes a queue, and a cut for that is to the little that came before.
    pub fn is_settling(&self, now: Instant) -> bool {
        let since = |rise: Rise| now.saturating_duration_since(rise.at);
        self.risen.is_some_and(|rise| since(rise) < SETTLING)
    }

    /// Better pictures are taken up where all came to `carried_bps`.
    pub fn rise(&mut self, now: Instant, budget_bps: u64, carried_bps: u64) {
        self.risen = Some(Rise {
            at: now,
            budget_bps,
            carried_bps,
        });
    }

    /// Nothing changes, and all comes to `spent_bps`. When that is much less than before, somebody
    /// has stopped: what failed says nothing any more.
    pub fn stay(&mut self, spent_bps: u64) {
        self.failed = self
            .failed
            .filter(|failed| spent_bps > failed.left_bps * LESS_PERCENT / 100);
    }

    /// Less is sent, and all comes to `spent_bps`.
    pub fn shrink(&mut self, spent_bps: u64) {
        if let Some(failed) = &mut self.failed {
            failed.left_bps = failed.left_bps.min(spent_bps);
        }
    }

    /// Worse pictures are taken up, by which all comes to `spent_bps`. That the climb has failed is
    /// concluded when it was not long ago and there was more to divide.
    pub fn fall(&mut self, now: Instant, budget_bps: u64, spent_bps: u64) {
        self.shrink(spent_bps);
        let Some(rise) = self.risen.take() else {
            return;
        };
        let has_shrunk = budget_bps < rise.budget_bps * SHRUNK_PERCENT / 100;
        if now.saturating_duration_since(rise.at) > SOON || !has_shrunk {
            self.wait = Duration::ZERO;
            return;
        }
        self.wait = (self.wait * 2).clamp(MIN_WAIT, MAX_WAIT);
        self.failed = Some(Failure {
            until: now + self.wait,
            carried_bps: rise.carried_bps,
            left_bps: spent_bps,
        });
    }
}

/// A climb that lasted longer has not failed.
const SOON: Duration = Duration::from_secs(8);

/// A key frame's way, the media behind it, and the feedback on that.
const SETTLING: Duration = Duration::from_millis(1500);

/// Between a climb that failed and the next one; it doubles each time.
const MIN_WAIT: Duration = Duration::from_secs(4);
const MAX_WAIT: Duration = Duration::from_secs(32);

/// Less than this share of what there was is less: estimates waver.
const SHRUNK_PERCENT: u64 = 98;

/// Less than this share of what is left is not for costs that waver.
const LESS_PERCENT: u64 = 75;

/// Beyond what is carried, for costs waver too.
const ROOM_PERCENT: u64 = 105;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn waits_longer_each_time_that_it_fails_soon() {
        let mut now = test_now().instant;
        let mut climb = Climb::default();
        for wait in [4, 8, 16, 32, 32] {
            assert_eq!(climb.limit_bps(now), u64::MAX);
            climb.rise(now, 1000, 600);
            now += Duration::from_secs(2);
            climb.fall(now, 900, 500);
            climb.fall(now, 500, 300);
            climb.shrink(200);
            climb.stay(160);
            now += Duration::from_secs(wait);
            assert_eq!(climb.limit_bps(now - Duration::from_millis(1)), 630);
        }
        // One that has lasted begins anew.
        climb.rise(now, 1000, 600);
        now += SOON + Duration::from_millis(1);
        climb.fall(now, 500, 400);
        assert_eq!(climb.limit_bps(now), u64::MAX);
        climb.rise(now, 1000, 600);
        climb.fall(now, 500, 400);
        assert_eq!(climb.limit_bps(now + MIN_WAIT), u64::MAX);
    }

    #[test]
    fn giving_up_one_picture_for_another_is_no_failure() {
        let now = test_now().instant;
        let mut climb = Climb::default();
        climb.rise(now, 1000, 600);
        assert!(climb.is_settling(now + SETTLING - Duration::from_millis(1)));
        assert!(!climb.is_settling(now + SETTLING));
        climb.fall(now, 980, 600);
        assert_eq!(climb.limit_bps(now), u64::MAX);
    }

    #[test]
    fn what_somebody_stops_is_room_for_others() {
        let now = test_now().instant;
        let mut climb = Climb::default();
        climb.rise(now, 1000, 600);
        climb.fall(now, 500, 400);
        climb.stay(301);
        assert_eq!(climb.limit_bps(now), 630);
        climb.stay(300);
        assert_eq!(climb.limit_bps(now), u64::MAX);
    }
}
