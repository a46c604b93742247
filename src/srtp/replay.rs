//! The replay list of one sender: which packet indices were seen (RFC 3711 §3.3.2).
//!
//! A ring of bits that ends at the highest authentic index. Asked before decryption, told after
//! authentication; `stream/` keeps one per received SSRC, `unprotect` one per SRTCP sender.

use crate::base::fault::DropReason;
use crate::base::limits::REPLAY_WINDOW;

/// A sliding window over `limits::REPLAY_WINDOW` packet indices.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One past the highest index recorded; 0 before the first.
    end: u64,
    /// Index `i` is bit `i % REPLAY_WINDOW`. INVARIANT: a set bit is an index in
    /// `end - REPLAY_WINDOW..end`, also where that is below 0.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// One that takes every index below `end` for seen.
    pub const fn from_end(end: u64) -> Self {
        Self {
            end,
            seen: [u64::MAX; WORDS],
        }
    }

    /// One past the highest index recorded; 0 before the first.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Says whether a packet with `index` may be opened. Changes nothing.
    ///
    /// # Errors
    /// [`DropReason::Replayed`] when `index` was recorded, or lies a whole window or more behind
    /// the highest recorded, where nothing is remembered.
    pub fn check(&self, index: u64) -> Result<(), DropReason> {
        if index >= self.end {
            return Ok(());
        }
        let (word, mask) = position(index);
        let seen = self.seen.get(word).is_none_or(|bits| bits & mask != 0);
        if self.is_forgotten(index) || seen {
            Err(DropReason::Replayed)
        } else {
            Ok(())
        }
    }

    /// Notes `index` as seen. Call it only for a packet that authenticated, or a forged one moves
    /// the window past the real ones.
    pub fn record(&mut self, index: u64) {
        if index >= self.end {
            self.advance(index);
        } else if self.is_forgotten(index) {
            return;
        }
        let (word, mask) = position(index);
        if let Some(bits) = self.seen.get_mut(word) {
            *bits |= mask;
        }
    }

    /// Moves the end just behind `index` and clears the bits of the indices passed over.
    fn advance(&mut self, index: u64) {
        if index - self.end >= REPLAY_WINDOW as u64 {
            self.seen = [0; WORDS];
        } else {
            for passed in self.end..=index {
                let (word, mask) = position(passed);
                if let Some(bits) = self.seen.get_mut(word) {
                    *bits &= !mask;
                }
            }
        }
        self.end = index.saturating_add(1);
    }

    const fn is_forgotten(&self, index: u64) -> bool {
        index.saturating_add(REPLAY_WINDOW as u64) < self.end
    }
}

/// The word and the bit of an index.
const fn position(index: u64) -> (usize, u64) {
    let bit = (index % REPLAY_WINDOW as u64) as usize;
    (bit / 64, 1 << (bit % 64))
}

const WORDS: usize = REPLAY_WINDOW / 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::seq::{SeqNo, SeqUnwrapper};

    const WINDOW: u64 = REPLAY_WINDOW as u64;

    #[test]
    fn drops_replayed_packet() {
        let mut window = ReplayWindow::default();
        for index in [0, 1, 5, 3] {
            assert_eq!(window.check(index), Ok(()));
            window.record(index);
            assert_eq!(window.check(index), Err(DropReason::Replayed));
        }
        assert_eq!(window.check(2), Ok(()));
        assert_eq!(window.check(4), Ok(()));
    }

    #[test]
    fn the_window_is_exactly_as_wide_as_its_limit() {
        for highest in [WINDOW - 1, WINDOW, 5000, 1 << 40] {
            let mut window = ReplayWindow::default();
            window.record(highest);
            assert_eq!(
                window.check(highest + 1 - WINDOW),
                Ok(()),
                "the oldest inside"
            );
            if let Some(outside) = highest.checked_sub(WINDOW) {
                assert_eq!(window.check(outside), Err(DropReason::Replayed));
                window.record(outside);
                assert_eq!(
                    window.check(highest - 1),
                    Ok(()),
                    "recording it does no harm"
                );
            }
        }
    }

    #[test]
    fn one_from_an_end_takes_what_is_behind_it_only() {
        for end in [0, 1, 63, 64, WINDOW - 1, WINDOW, 1 << 31] {
            let mut window = ReplayWindow::from_end(end);
            for before in (1..=end.min(2 * WINDOW)).map(|back| end - back) {
                assert_eq!(window.check(before), Err(DropReason::Replayed), "{end}");
            }
            window.record(end + 2);
            assert_eq!(window.end(), end + 3);
            assert_eq!(window.check(end), Ok(()), "{end}: passed over");
            assert_eq!(window.check(end + 1), Ok(()), "{end}: passed over");
            assert_eq!(window.check(end + 2), Err(DropReason::Replayed), "{end}");
        }
    }

    #[test]
    fn a_jump_forgets_only_what_leaves_the_window() {
        for jump in [1, 63, 64, 65, WINDOW - 1, WINDOW, WINDOW + 1, 1 << 33] {
            let mut window = ReplayWindow::default();
            window.record(7);
            window.record(7 + jump);
            assert_eq!(window.check(7), Err(DropReason::Replayed), "jump {jump}");
            assert_eq!(
                window.check(7 + jump),
                Err(DropReason::Replayed),
                "jump {jump}"
            );
            if jump > 1 {
                assert_eq!(window.check(7 + jump - 1), Ok(()), "jump {jump}");
            }
        }
    }

    #[test]
    fn sequence_numbers_that_wrap_are_not_replays() {
        let mut seqs = SeqUnwrapper::default();
        let mut window = ReplayWindow::default();
        for step in 0..70_000_u32 {
            let index = seqs.peek(SeqNo((60_000 + step) as u16));
            assert_eq!(window.check(index), Ok(()), "step {step}");
            seqs.record(index);
            window.record(index);
            assert_eq!(
                window.check(index),
                Err(DropReason::Replayed),
                "step {step}"
            );
        }
    }

    #[test]
    fn the_largest_number_does_not_overflow() {
        let mut window = ReplayWindow::default();
        window.record(u64::MAX);
        window.record(u64::MAX - 1);
        assert_eq!(window.check(u64::MAX - 1), Err(DropReason::Replayed));
        assert_eq!(window.check(u64::MAX - 2), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_indices(
            start in prop_oneof![Just(0_u64), 0..1_u64 << 48],
            steps in proptest::collection::vec(
                prop_oneof![8 => -40_i64..60, 3 => -1100_i64..1100, 1 => -5000_i64..5000],
                1..400,
            ),
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = HashSet::new();
            let mut highest = None;
            for step in steps {
                let index = highest.map_or(start, |h: u64| h.saturating_add_signed(step));
                let too_old = highest.is_some_and(|h| index + WINDOW <= h);
                let expected = !too_old && !seen.contains(&index);
                prop_assert_eq!(window.check(index).is_ok(), expected, "index {}", index);
                if expected {
                    window.record(index);
                    seen.insert(index);
                    highest = highest.max(Some(index));
                }
            }
        }
    }
}
