//! When to ask a publisher for a key frame (RFC 4585 §6.3.1): many want one, few requests go.

use std::time::{Duration, Instant};

/// Coalesces and spaces the requests for one encoding.
#[derive(Debug, Default)]
pub struct KeyFrameRequests {
    wanted: Option<Instant>,
    sent: Option<Instant>,
}

impl KeyFrameRequests {
    /// Somebody needs a key frame.
    pub fn want(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
    }

    /// A key frame came: everybody is served.
    pub fn served(&mut self) {
        self.wanted = None;
    }

    /// Nobody needs one any more.
    pub fn withdraw(&mut self) {
        self.wanted = None;
    }

    /// True when a request is to be sent now; repeats while none comes.
    pub fn poll(&mut self, now: Instant) -> bool {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return false;
        }
        self.sent = Some(now);
        true
    }

    /// When [`poll`](Self::poll) will say yes; `None` while nobody wants one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wanted = self.wanted?;
        Some(self.sent.map_or(wanted, |sent| sent + SPACING))
    }
}

/// A key frame costs a publisher several times a normal frame: at most two a second, however many
/// viewers come or lose packets. Also the pause before asking again when a request was lost.
const SPACING: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    #[test]
    fn the_first_goes_at_once_and_a_storm_makes_two_a_second() {
        let t = test_now().instant;
        let mut k = KeyFrameRequests::default();
        let mut sent = 0;
        for ms in 0..5000 {
            let now = t + Duration::from_millis(ms);
            k.want(now);
            if k.poll(now) {
                assert!(ms > 0 || sent == 0);
                sent += 1;
                k.served();
            }
        }
        assert_eq!(sent, 10);
    }

    #[test]
    fn asks_again_until_served() {
        let t = test_now().instant;
        let mut k = KeyFrameRequests::default();
        k.want(t);
        assert!(k.poll(t));
        assert!(!k.poll(t + Duration::from_millis(100)));
        assert!(k.poll(t + SPACING));
        k.served();
        assert!(!k.poll(t + 3 * SPACING));
    }
}
