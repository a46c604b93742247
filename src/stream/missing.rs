//! Which packets of a received stream are missing, and when to ask for each (RFC 4585 §6.2.1).
//!
//! A gap is asked for after a short reordering allowance, then again about once per round trip,
//! until it is filled or given up. Where nobody can be asked, it is given up soon. Bounded;
//! allocates once.

use std::time::{Duration, Instant};

use crate::base::limits::MAX_MISSING;
use crate::base::seq::SeqNo;

/// The missing packets of one received SSRC.
#[derive(Debug)]
pub struct Missing {
    entries: Vec<Entry>,
    highest: Option<u64>,
    rtt: Duration,
    abandoned: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: u64,
    since: Instant,
    asked: Option<Instant>,
    times: u8,
}

/// What an arrival changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Next in order, or further ahead.
    Newest,
    /// Filled a gap that was known.
    Filled,
    /// Older than the newest and not known to be missing.
    Late,
    /// So far ahead that the gap, or an earlier one, cannot be repaired; a key frame is needed.
    Jump,
}

impl Default for Missing {
    fn default() -> Self {
        Self {
            entries: Vec::with_capacity(MAX_MISSING),
            highest: None,
            rtt: INITIAL_RTT,
            abandoned: 0,
        }
    }
}

impl Missing {
    /// Records that the packet with extended number `seq` is here.
    pub fn arrived(&mut self, now: Instant, seq: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Arrival::Newest;
        };
        if seq <= highest {
            let Ok(at) = self.entries.binary_search_by_key(&seq, |e| e.seq) else {
                return Arrival::Late;
            };
            let entry = self.entries.remove(at);
            // A packet asked for once and then received measures the round trip.
            if let (Some(asked), 1) = (entry.asked, entry.times) {
                let sample = now.saturating_duration_since(asked).clamp(MIN_RTT, MAX_RTT);
                self.rtt = (self.rtt * 7 + sample) / 8;
            }
            return Arrival::Filled;
        }
        self.highest = Some(seq);
        let gap = seq - highest - 1;
        if gap > MAX_MISSING as u64 {
            self.abandoned += self.entries.len() as u64 + gap;
            self.entries.clear();
            return Arrival::Jump;
        }
        let overflow = (self.entries.len() + gap as usize).saturating_sub(MAX_MISSING);
        self.abandoned += overflow as u64;
        self.entries.drain(..overflow.min(self.entries.len()));
        for seq in highest + 1..seq {
            self.entries.push(Entry {
                seq,
                since: now,
                asked: None,
                times: 0,
            });
        }
        match overflow {
            0 => Arrival::Newest,
            _ => Arrival::Jump,
        }
    }

    /// Appends the numbers to ask for now to `ask`, at most `most`; gives up on those that were
    /// asked for too often or for too long. Returns the newest of these, if there are any.
    pub fn poll(&mut self, now: Instant, ask: &mut Vec<SeqNo>, most: usize) -> Option<u64> {
        let lost = self.give_up(|e| {
            e.times >= MAX_TIMES || now.saturating_duration_since(e.since) >= GIVE_UP_AFTER
        });
        let retry = (self.rtt + self.rtt / 4).max(MIN_RETRY);
        let mut taken = 0;
        for entry in &mut self.entries {
            let due = match entry.asked {
                None => entry.since + REORDERING,
                Some(asked) => asked + retry,
            };
            if due <= now && taken < most {
                entry.asked = Some(now);
                entry.times += 1;
                ask.push(SeqNo(entry.seq as u16));
                taken += 1;
            }
        }
        lost
    }

    /// Gives up on what did not come by itself, where the publisher repairs nothing. Returns the
    /// newest number given up, if there is any.
    pub fn poll_unrepaired(&mut self, now: Instant) -> Option<u64> {
        self.give_up(|e| now.saturating_duration_since(e.since) >= UNREPAIRED_AFTER)
    }

    fn give_up(&mut self, is_lost: impl Fn(&Entry) -> bool) -> Option<u64> {
        let mut newest = None;
        self.entries.retain(|entry| {
            let is_lost = is_lost(entry);
            if is_lost {
                newest = Some(entry.seq);
                self.abandoned += 1;
            }
            !is_lost
        });
        newest
    }

    /// True when nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Packets given up since the start.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// The smoothed time from asking to receiving.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }
}

/// Reordering on real paths is mostly below this; asking later would only delay repair.
const REORDERING: Duration = Duration::from_millis(5);

/// What comes later than this although nobody was asked is rare, and a key frame costs more than
/// asking would.
const UNREPAIRED_AFTER: Duration = Duration::from_millis(30);

/// Before the first measurement.
const INITIAL_RTT: Duration = Duration::from_millis(60);
const MIN_RTT: Duration = Duration::from_millis(1);
const MAX_RTT: Duration = Duration::from_millis(1000);

/// Never ask for one packet more often than this.
const MIN_RETRY: Duration = Duration::from_millis(20);

/// Enough for 30 % loss in both directions to leave one packet in 10^6 unrepaired.
const MAX_TIMES: u8 = 20;

/// Viewers' jitter buffers do not wait longer.
const GIVE_UP_AFTER: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;

    fn ask(m: &mut Missing, now: Instant) -> Vec<u16> {
        let mut out = Vec::new();
        m.poll(now, &mut out, 100);
        out.into_iter().map(|s| s.0).collect()
    }

    #[test]
    fn asks_after_the_reordering_allowance_and_again_per_round_trip() {
        let t = test_now().instant;
        let mut m = Missing::default();
        m.arrived(t, 100);
        assert_eq!(m.arrived(t, 103), Arrival::Newest);
        assert_eq!(ask(&mut m, t), [0u16; 0]);
        let t1 = t + REORDERING;
        assert_eq!(ask(&mut m, t1), [101, 102]);
        assert_eq!(ask(&mut m, t1 + Duration::from_millis(10)), [0u16; 0]);
        assert_eq!(
            m.arrived(t1 + Duration::from_millis(20), 101),
            Arrival::Filled
        );
        assert!(m.rtt() < INITIAL_RTT);
        assert_eq!(ask(&mut m, t1 + Duration::from_millis(80)), [102]);
    }

    #[test]
    fn gives_up_and_says_so() {
        let t = test_now().instant;
        let mut m = Missing::default();
        m.arrived(t, 1);
        m.arrived(t, 3);
        let mut out = Vec::new();
        assert_eq!(m.poll(t + GIVE_UP_AFTER, &mut out, 100), Some(2));
        assert!(m.is_empty() && out.is_empty());
        assert_eq!(m.abandoned(), 1);
        assert_eq!(m.arrived(t + GIVE_UP_AFTER, 2), Arrival::Late);
    }

    #[test]
    fn gives_up_soon_where_nobody_can_be_asked() {
        let t = test_now().instant;
        let mut m = Missing::default();
        m.arrived(t, 1);
        m.arrived(t, 4);
        assert_eq!(m.poll_unrepaired(t + REORDERING), None);
        m.arrived(t + REORDERING, 3);
        assert_eq!(m.poll_unrepaired(t + UNREPAIRED_AFTER), Some(2));
        assert!(m.is_empty());
        assert_eq!(m.abandoned(), 1);
    }

    #[test]
    fn a_gap_for_which_there_is_no_room_needs_a_key_frame() {
        let t = test_now().instant;
        let mut m = Missing::default();
        m.arrived(t, 1);
        assert_eq!(m.arrived(t, 2 + MAX_MISSING as u64), Arrival::Newest);
        assert_eq!(m.arrived(t, 3 + MAX_MISSING as u64), Arrival::Newest);
        assert_eq!(m.arrived(t, 5 + MAX_MISSING as u64), Arrival::Jump);
        assert_eq!(m.abandoned(), 1);
    }

    #[test]
    fn a_huge_gap_is_a_jump_and_stays_bounded() {
        let t = test_now().instant;
        let mut m = Missing::default();
        m.arrived(t, 1);
        assert_eq!(m.arrived(t, 10_000), Arrival::Jump);
        for i in 0..2000 {
            m.arrived(t, 10_002 + i * 2);
        }
        assert!(m.entries.len() <= MAX_MISSING);
        assert_eq!(m.entries.capacity(), MAX_MISSING);
    }
}
