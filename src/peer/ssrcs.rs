//! The SSRCs under which one peer is sent media: random, and none of them twice.
//!
//! All of them are protected by one key, and with AES-GCM an SSRC that comes back with its packet
//! numbers gives the authentication key away (RFC 7714 §8.4), also when the stream that had it has
//! ended. Called by `engine/renegotiation.rs`.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::FEEDBACK_SSRC;
use crate::base::ids::Ssrc;

/// What is left to draw: a walk through all numbers that begins anywhere (RFC 3550 §8.1).
#[derive(Clone, Copy, Debug)]
pub struct Ssrcs {
    next: u32,
    /// INVARIANT: odd, so that the walk is through all 2^32 numbers before one comes again.
    step: u32,
}

impl Ssrcs {
    /// Of one peer.
    pub fn random(rng: &mut StdRng) -> Self {
        Self {
            next: rng.random(),
            step: rng.random::<u32>() | 1,
        }
    }

    /// One that this peer has not had; neither 0 nor [`FEEDBACK_SSRC`].
    pub fn draw(&mut self) -> Ssrc {
        loop {
            let drawn = Ssrc(self.next);
            self.next = self.next.wrapping_add(self.step);
            if drawn != Ssrc(0) && drawn != FEEDBACK_SSRC {
                return drawn;
            }
        }
    }

    /// A part of `whole` that is this peer's own, for what peers are not to do all at once.
    pub fn part_of(&self, whole: Duration) -> Duration {
        whole.mul_f64(f64::from(self.step) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn none_comes_twice() {
        for seed in 0..20 {
            let mut ssrcs = Ssrcs::random(&mut StdRng::seed_from_u64(seed));
            assert_eq!(ssrcs.step % 2, 1);
            let drawn: HashSet<Ssrc> = (0..10_000).map(|_| ssrcs.draw()).collect();
            assert_eq!(drawn.len(), 10_000);
        }
    }

    #[test]
    fn what_stands_for_no_media_is_passed_over() {
        let mut ssrcs = Ssrcs {
            next: u32::MAX,
            step: 1,
        };
        let drawn = [(); 3].map(|()| ssrcs.draw().0);
        assert_eq!(drawn, [u32::MAX, 2, 3]);
    }
}
