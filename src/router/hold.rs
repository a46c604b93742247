//! Whether the first packets of a frame wait for the rest of it.
//!
//! A frame's packets arrive within microseconds of each other, but the first one wakes the worker.
//! Sent to hundreds of subscribers at once it would cost nearly as much as the whole frame sent as
//! one run, and the rest of the frame would wait behind it. So a track with many subscribers waits
//! for the end of the frame, for about as long as sending the first packet alone would take.
//! A publisher that paces its packets evenly gains nothing: after a few frames in vain the track
//! waits no more for a while.

use std::time::{Duration, Instant};

/// One track's waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold {
    /// Waits in vain since the last one that paid.
    vain: u8,
    /// Times that it goes without waiting.
    rests: u16,
    /// The wait under way.
    until: Option<Instant>,
}

impl Hold {
    /// Until when packets wait that were stored from `since` on, for `subscribers` to be sent;
    /// `None` when they are to go now. `ended`: the last of them ends its frame.
    pub fn poll(
        &mut self,
        now: Instant,
        since: Instant,
        ended: bool,
        subscribers: usize,
    ) -> Option<Instant> {
        let waited = self.until.take();
        if ended {
            if waited.is_some() {
                self.vain = 0;
            }
            return None;
        }
        if subscribers < HOLD_FROM {
            return None;
        }
        if self.rests > 0 {
            self.rests -= 1;
            return None;
        }
        let per_packet = SEND_COST * u32::try_from(subscribers).unwrap_or(u32::MAX);
        let until = since + per_packet.min(HOLD_MAX);
        if now < until {
            self.until = Some(until);
            return self.until;
        }
        if waited.is_some() {
            self.vain += 1;
            if self.vain >= VAIN_MAX {
                (self.vain, self.rests) = (0, REST);
            }
        }
        None
    }
}

/// With fewer subscribers there is little to be saved.
const HOLD_FROM: usize = 16;

/// What one datagram sent alone costs (`docs/performance.md`).
const SEND_COST: Duration = Duration::from_nanos(2500);

/// The longest wait: a thousandth of what a viewer's jitter buffer holds is not felt.
const HOLD_MAX: Duration = Duration::from_millis(1);

/// Waits in vain in a row that show a paced publisher.
const VAIN_MAX: u8 = 4;

/// Packets without waiting until it is tried again: seconds.
const REST: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn a_frame_is_waited_for_and_goes_when_it_ends_or_time_is_up() {
        let t = test_now().instant;
        let mut hold = Hold::default();
        let until = hold.poll(t, t, false, 100).unwrap();
        assert_eq!(until - t, SEND_COST * 100);
        assert_eq!(hold.poll(t + SEND_COST, t, true, 100), None, "complete");
        assert!(hold.poll(t, t, false, 100).is_some());
        assert_eq!(hold.poll(until, t, false, 100), None, "time is up");
        assert_eq!(
            hold.poll(t, t, false, HOLD_FROM - 1),
            None,
            "few subscribers"
        );
        assert_eq!(hold.poll(t, t, false, 1 << 40), Some(t + HOLD_MAX));
    }

    #[test]
    fn a_paced_publisher_is_not_waited_for() {
        let mut t = test_now().instant;
        let mut hold = Hold::default();
        let mut waits = 0;
        for _ in 0..500 {
            if let Some(until) = hold.poll(t, t, false, 100) {
                waits += 1;
                assert_eq!(hold.poll(until, t, false, 100), None);
            }
            t += Duration::from_millis(4);
        }
        assert_eq!(waits, VAIN_MAX);
    }
}
