//! Whether a path takes whole frames at once: it has lost nothing for a while.
//!
//! A burst that stays one run of segments costs a fraction of the same packets sent apart, and
//! harms only where a queue on the way is shallow. So bursts are allowed once nothing was lost for
//! a moment; each loss takes the permission back, for twice as long as the time before.

use std::time::{Duration, Instant};

/// The watch over one path.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    /// Bursts are allowed from then on; `None` before the first feedback.
    from: Option<Instant>,
    /// How long the next loss takes the permission back.
    next: Duration,
}

impl Default for Calm {
    fn default() -> Self {
        Self {
            from: None,
            next: FIRST,
        }
    }
}

impl Calm {
    /// Feedback came, that spoke of `lost` packets.
    pub fn handle_feedback(&mut self, now: Instant, lost: u32) {
        let from = *self.from.get_or_insert(now + FIRST);
        if lost == 0 {
            return;
        }
        // Losses while nothing is sent in bursts are not theirs: they prolong, but teach nothing.
        if now >= from {
            self.next = if now - from > FORGOTTEN {
                FIRST
            } else {
                (self.next * 2).min(LONGEST)
            };
        }
        self.from = Some(now + self.next);
    }

    /// True while bursts are allowed.
    pub fn allows_bursts(&self, now: Instant) -> bool {
        self.from.is_some_and(|from| now >= from)
    }
}

/// Without loss for so long, bursts are tried.
const FIRST: Duration = Duration::from_secs(1);

/// And after many losses for so long: a burst that fails every two minutes is not seen.
const LONGEST: Duration = Duration::from_secs(120);

/// A path that took bursts for so long has earned a new beginning.
const FORGOTTEN: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn bursts_begin_after_a_quiet_moment_and_each_loss_by_them_doubles_the_next() {
        let t = test_now().instant;
        let mut calm = Calm::default();
        assert!(!calm.allows_bursts(t), "nothing is known");
        calm.handle_feedback(t, 0);
        assert!(!calm.allows_bursts(t));
        let mut now = t + FIRST;
        for doubling in 1..10 {
            assert!(calm.allows_bursts(now));
            calm.handle_feedback(now, 1);
            let quiet = (FIRST * 2_u32.pow(doubling)).min(LONGEST);
            assert!(!calm.allows_bursts(now + quiet - Duration::from_millis(1)));
            now += quiet;
        }
    }

    #[test]
    fn losses_in_between_prolong_and_a_long_peace_forgets() {
        let t = test_now().instant;
        let mut calm = Calm::default();
        calm.handle_feedback(t, 1);
        calm.handle_feedback(t + FIRST / 2, 1);
        assert!(!calm.allows_bursts(t + FIRST));
        assert!(calm.allows_bursts(t + FIRST / 2 + FIRST));
        let later = t + FORGOTTEN * 2;
        calm.handle_feedback(later, 1);
        assert!(calm.allows_bursts(later + FIRST));
    }
}
