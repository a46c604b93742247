//! What was sent to one subscriber under which transport-wide sequence number, until it is
//! reported.
//!
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 §2 numbers the packets. Eight bytes per
//! packet in a ring: a number's place is its remainder, so it is not stored. Called by
//! [`super::estimator`].

use std::time::Instant;

use crate::base::limits::{MAX_SENT_RECORDS, MIN_SENT_RECORDS};

/// The latest packets sent.
///
/// Begins with [`MIN_SENT_RECORDS`] places and doubles, up to [`MAX_SENT_RECORDS`], when a packet
/// younger than a second would have to go; at that length the oldest go unreported.
#[derive(Debug)]
pub struct SentRing {
    records: Box<[Record]>,
    /// The number that the next packet gets; meaningless before the first.
    next: u16,
    /// Packets recorded since the start, up to the length of the ring.
    count: usize,
    origin: Instant,
    /// The time asked for last and what it came to: a turn's packets have one.
    turn: (Instant, i64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Microseconds since the origin modulo 2^32.
    at_us: u32,
    /// Bytes; 0 where nothing was sent or the packet has been reported received.
    len: u16,
    probe: u8,
    lost: bool,
}

/// A packet that feedback speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// When it was sent, in microseconds since the origin.
    pub sent_us: i64,
    /// Its bytes.
    pub len: usize,
    /// The probe it belonged to; 0 for none.
    pub probe: u8,
    /// Earlier feedback called it lost.
    pub was_lost: bool,
}

impl SentRing {
    /// A ring without packets; times count from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            records: vec![Record::default(); MIN_SENT_RECORDS].into_boxed_slice(),
            next: 0,
            count: 0,
            origin,
            turn: (origin, 0),
        }
    }

    /// Microseconds from the origin to `at`.
    pub fn us(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(i64::MAX)
    }

    /// The same for packet after packet of one turn.
    pub fn turn_us(&mut self, at: Instant) -> i64 {
        if self.turn.0 != at {
            self.turn = (at, self.us(at));
        }
        self.turn.1
    }

    /// Reads the place of packet `seq`; the value means nothing.
    pub fn touch(&self, seq: u16) -> usize {
        let record = self.records.get(self.place_of(seq));
        record.map_or(0, |record| usize::from(record.len))
    }

    /// Records a packet of `len` bytes, sent at `now_us` under number `seq` and, unless 0, as a
    /// part of probe `probe`. Numbers count up by one; a jump begins anew.
    pub fn record(&mut self, now_us: i64, seq: u16, len: usize, probe: u8) {
        if seq != self.next {
            self.records.fill(Record::default());
            self.count = 0;
        }
        self.next = seq.wrapping_add(1);
        if self.count == self.records.len() {
            self.grow_if_young(now_us, seq);
        }
        let record = Record {
            at_us: now_us as u32,
            len: u16::try_from(len).unwrap_or(u16::MAX),
            probe,
            lost: false,
        };
        let place = self.place_of(seq);
        if let Some(place) = self.records.get_mut(place) {
            *place = record;
        }
        self.count = (self.count + 1).min(self.records.len());
    }

    /// Takes out the packet `seq`, which arrived. `None` when it is not known: too old, reported
    /// received before, or never sent.
    pub fn acknowledge(&mut self, now_us: i64, seq: u16) -> Option<Acknowledged> {
        let record = self.known(seq)?;
        let taken = *record;
        record.len = 0;
        let age_us = (now_us as u32).wrapping_sub(taken.at_us);
        Some(Acknowledged {
            sent_us: now_us - i64::from(age_us),
            len: usize::from(taken.len),
            probe: taken.probe,
            was_lost: taken.lost,
        })
    }

    /// Marks the packet `seq` lost; true when it is known and was not called lost before.
    pub fn lose(&mut self, seq: u16) -> bool {
        let Some(record) = self.known(seq) else {
            return false;
        };
        !std::mem::replace(&mut record.lost, true)
    }

    /// Places in the ring.
    pub fn places(&self) -> usize {
        self.records.len()
    }

    fn known(&mut self, seq: u16) -> Option<&mut Record> {
        let back = usize::from(self.next.wrapping_sub(1).wrapping_sub(seq));
        if back >= self.count {
            return None;
        }
        let place = self.place_of(seq);
        self.records.get_mut(place).filter(|record| record.len > 0)
    }

    fn place_of(&self, seq: u16) -> usize {
        usize::from(seq) & (self.records.len() - 1)
    }

    /// Doubles the ring when the packet that `seq` would replace is young.
    fn grow_if_young(&mut self, now_us: i64, seq: u16) {
        let len = self.records.len();
        let oldest = self.records.get(self.place_of(seq));
        let young = oldest
            .is_some_and(|r| r.len > 0 && (now_us as u32).wrapping_sub(r.at_us) < KEEP_FOR_US);
        if !young || len >= MAX_SENT_RECORDS {
            return;
        }
        let mut larger = vec![Record::default(); 2 * len].into_boxed_slice();
        for back in 1..=len as u16 {
            let number = seq.wrapping_sub(back);
            let from = self.records.get(self.place_of(number)).copied();
            let to = larger.get_mut(usize::from(number) & (2 * len - 1));
            if let (Some(from), Some(to)) = (from, to) {
                *to = from;
            }
        }
        self.records = larger;
    }
}

/// A packet not reported for so long is not waited for.
const KEEP_FOR_US: u32 = 1_000_000;

const _: () = assert!(MIN_SENT_RECORDS.is_power_of_two() && MAX_SENT_RECORDS.is_power_of_two());
const _: () = assert!(MAX_SENT_RECORDS <= 1 << 15);
const _: () = assert!(size_of::<Record>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_packet_is_acknowledged_once_and_may_be_lost_before() {
        let mut ring = SentRing::new(test_now().instant);
        ring.record(1000, 65_535, 1200, 0);
        ring.record(2000, 0, 100, 3);
        assert!(ring.lose(65_535));
        assert!(!ring.lose(65_535), "once");
        let late = ring.acknowledge(50_000, 65_535).unwrap();
        assert_eq!((late.sent_us, late.len, late.was_lost), (1000, 1200, true));
        assert_eq!(ring.acknowledge(50_000, 65_535), None);
        assert_eq!(ring.acknowledge(50_000, 0).unwrap().probe, 3);
        assert_eq!(ring.acknowledge(50_000, 1), None, "never sent");
    }

    #[test]
    fn times_survive_the_wrap_of_the_stored_ones() {
        let mut ring = SentRing::new(test_now().instant);
        let late = (1_i64 << 32) - 10;
        ring.record(late, 7, 1, 0);
        assert_eq!(ring.acknowledge(late + 100, 7).unwrap().sent_us, late);
    }

    #[test]
    fn grows_only_for_young_packets() {
        let mut slow = SentRing::new(test_now().instant);
        let mut fast = SentRing::new(test_now().instant);
        for n in 0..3 * MIN_SENT_RECORDS as i64 {
            slow.record(n * 20_000, n as u16, 1000, 0);
            fast.record(n * 1000, n as u16, 1000, 0);
        }
        assert_eq!(slow.places(), MIN_SENT_RECORDS);
        assert!(fast.places() > MIN_SENT_RECORDS);
        for n in 0..100_000_i64 {
            let seq = (3 * MIN_SENT_RECORDS as i64 + n) as u16;
            fast.record(n, seq, 1000, 0);
        }
        assert_eq!(fast.places(), MAX_SENT_RECORDS);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            first: u16,
            steps in prop::collection::vec((0_u16..600, any::<bool>()), 1..400),
        ) {
            let mut ring = SentRing::new(test_now().instant);
            let mut model: HashMap<u16, usize> = HashMap::new();
            let mut next = first;
            for (at, &(back, acknowledge)) in steps.iter().enumerate() {
                let len = 100 + at;
                ring.record(at as i64, next, len, 0);
                model.insert(next, len);
                next = next.wrapping_add(1);
                if acknowledge {
                    let seq = next.wrapping_sub(1).wrapping_sub(back);
                    let got = ring.acknowledge(at as i64, seq).map(|a| a.len);
                    prop_assert_eq!(got, model.remove(&seq));
                }
            }
        }
    }
}
