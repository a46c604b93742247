//! When a publisher's packets arrived, and the feedback that tells it.
//!
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 §3. The publisher estimates its bandwidth
//! from this; nothing is estimated here. `peer/` records each authentic packet and writes
//! feedback on its timer, about every 50 to 100 ms.

use std::time::Instant;

use crate::base::bytes::Writer;
use crate::base::ids::Ssrc;
use crate::base::seq::{SeqNo, SeqUnwrapper};
use crate::rtcp::write::{FeedbackHead, transport_feedback};

/// The arrivals of one publisher's transport.
///
/// Allocates once, when made. Remembers the latest 4096 transport-wide sequence numbers: between
/// two feedbacks more are never expected, and where they come the oldest go unreported.
#[derive(Debug)]
pub struct Arrivals {
    /// Arrival in 250 us ticks since `origin`, by extended sequence number modulo the length;
    /// `MISSING` where none was recorded. Valid for the numbers up to the highest one.
    ticks: Box<[i64]>,
    unwrapper: SeqUnwrapper,
    /// The arrival of the first packet; `None` before it.
    origin: Option<Instant>,
    /// First extended sequence number that the next feedback covers.
    next: u64,
    /// The number that, coming next, proves that the publisher numbers from elsewhere.
    restart_at: Option<u16>,
    feedback_count: u8,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            ticks: vec![MISSING; RING_LEN].into_boxed_slice(),
            unwrapper: SeqUnwrapper::default(),
            origin: None,
            next: 0,
            restart_at: None,
            feedback_count: 0,
        }
    }
}

impl Arrivals {
    /// Records that the packet with transport-wide sequence number `seq` arrived at `at`.
    ///
    /// Of duplicates the first counts. A packet up to 512 numbers late is reported, together with
    /// those that follow it; a later one is not. Numbers 4096 or more ahead begin anew; numbers
    /// as far behind do so once two of them come in sequence (as RFC 3550 A.1 probes).
    pub fn record(&mut self, seq: u16, at: Instant) {
        let origin = *self.origin.get_or_insert(at);
        let elapsed_us = at.saturating_duration_since(origin).as_micros();
        let tick = i64::try_from(elapsed_us / TICK_US).unwrap_or(i64::MAX);

        let extended = self.unwrapper.peek(SeqNo(seq));
        let Some(highest) = self.unwrapper.highest() else {
            return self.begin(seq, tick);
        };
        if extended > highest {
            if extended - highest >= RING_LEN as u64 {
                return self.begin(seq, tick);
            }
            for skipped in highest + 1..extended {
                self.set(skipped, MISSING);
            }
            self.set(extended, tick);
            self.unwrapper.record(extended);
            let oldest = (extended + 1).saturating_sub(RING_LEN as u64);
            self.next = self.next.max(oldest);
        } else {
            let late = highest - extended;
            if late >= RING_LEN as u64 {
                if self.restart_at == Some(seq) {
                    return self.begin(seq, tick);
                }
                self.restart_at = Some(seq.wrapping_add(1));
                return;
            }
            if late <= MAX_LATE && self.get(extended) == MISSING {
                self.set(extended, tick);
                self.next = self.next.min(extended);
            }
        }
        self.restart_at = None;
    }

    /// Appends one feedback packet about what arrived since the last; `None`, with nothing
    /// written, when nothing did or `w` has no room.
    ///
    /// One packet may not hold all: the caller repeats until `None`, each time with room for at
    /// least a few hundred bytes. `sender` is the server's own SSRC and `media` any of the
    /// publisher's. The reference time counts from the first packet recorded, so that it begins
    /// at 0.
    pub fn write_feedback(&mut self, w: &mut Writer<'_>, sender: Ssrc, media: Ssrc) -> Option<()> {
        let highest = self.unwrapper.highest()?;
        let count = usize::try_from((highest + 1).checked_sub(self.next)?).ok()?;
        let head = FeedbackHead {
            sender,
            media,
            base_seq: self.next as u16,
            feedback_count: self.feedback_count,
        };
        let (wrapped, first) = self.ticks.split_at_checked(slot_of(self.next))?;
        let arrivals = first.iter().chain(wrapped).take(count);
        let arrivals = arrivals.map(|&tick| (tick != MISSING).then_some(tick));
        let covered = transport_feedback(w, &head, arrivals);
        if covered == 0 {
            return None;
        }
        self.next += covered as u64;
        self.feedback_count = self.feedback_count.wrapping_add(1);
        Some(())
    }

    /// Forgets all numbers and takes `seq` as the first.
    fn begin(&mut self, seq: u16, tick: i64) {
        self.ticks.fill(MISSING);
        self.unwrapper = SeqUnwrapper::default();
        let extended = self.unwrapper.peek(SeqNo(seq));
        self.unwrapper.record(extended);
        self.set(extended, tick);
        self.next = extended;
        self.restart_at = None;
    }

    fn get(&self, extended: u64) -> i64 {
        self.ticks
            .get(slot_of(extended))
            .copied()
            .unwrap_or(MISSING)
    }

    fn set(&mut self, extended: u64, tick: i64) {
        if let Some(slot) = self.ticks.get_mut(slot_of(extended)) {
            *slot = tick;
        }
    }
}

const fn slot_of(extended: u64) -> usize {
    (extended % RING_LEN as u64) as usize
}

/// Numbers remembered: 2 s at 2000 packets per second, 32 KiB.
const RING_LEN: usize = 4096;

/// How late a packet is still reported, in numbers: half a second at 1000 packets per second, the
/// span over which browsers report. It bounds what is reported a second time.
const MAX_LATE: u64 = 512;

/// A slot without arrival; ticks are never negative.
const MISSING: i64 = -1;

/// Microseconds per tick of a delta.
const TICK_US: u128 = 250;

const _: () = assert!(RING_LEN.is_power_of_two());
const _: () = assert!(MAX_LATE < RING_LEN as u64);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{Compound, Packet};

    /// A machine, the time it lives in, and what its feedback has told so far.
    struct Bench {
        arrivals: Arrivals,
        start: Instant,
        told: BTreeMap<u16, Option<i64>>,
        counts: Vec<u8>,
    }

    impl Bench {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant has no other constructor; only distances to it are used"
        )]
        fn new() -> Self {
            Self {
                arrivals: Arrivals::default(),
                start: Instant::now(),
                told: BTreeMap::new(),
                counts: Vec::new(),
            }
        }

        fn record(&mut self, seq: u16, at_ms: u64) {
            let at = self.start + Duration::from_millis(at_ms);
            self.arrivals.record(seq, at);
        }

        /// Writes feedback until there is none; returns the sequence numbers each packet covers.
        fn feedback(&mut self, room: usize) -> Vec<Vec<u16>> {
            let mut packets = Vec::new();
            loop {
                let mut buf = vec![0; room];
                let mut w = Writer::new(&mut buf);
                let written = self.arrivals.write_feedback(&mut w, Ssrc(1), Ssrc(2));
                let len = w.len();
                if written.is_none() {
                    assert_eq!(len, 0);
                    return packets;
                }
                let read: Vec<_> = Compound::new(&buf[..len]).collect();
                let [Ok(Packet::TransportFeedback(feedback))] = &read[..] else {
                    panic!("one feedback packet: {read:?}");
                };
                assert!(feedback.reference_time >= 0);
                self.counts.push(feedback.feedback_count);
                packets.push(feedback.arrivals().map(|(seq, _)| seq).collect());
                self.told.extend(feedback.arrivals());
            }
        }

        fn told(&self, seq: u16) -> Option<Option<i64>> {
            self.told.get(&seq).copied()
        }
    }

    #[test]
    fn reports_what_came_and_what_did_not_across_the_wrap() {
        let mut bench = Bench::new();
        assert!(bench.feedback(1200).is_empty(), "nothing came yet");
        bench.record(65_534, 0);
        bench.record(65_535, 1);
        bench.record(1, 5);
        assert_eq!(bench.feedback(1200), [[65_534, 65_535, 0, 1]]);
        assert_eq!(bench.told(65_534), Some(Some(0)));
        assert_eq!(bench.told(65_535), Some(Some(4)));
        assert_eq!(bench.told(0), Some(None));
        assert_eq!(bench.told(1), Some(Some(20)));
        assert!(bench.feedback(1200).is_empty(), "nothing new");

        bench.record(3, 100);
        assert_eq!(bench.feedback(1200), [[2, 3]]);
        assert_eq!(bench.told(2), Some(None));
        assert_eq!(bench.counts, [0, 1]);
    }

    #[test]
    fn a_late_packet_is_reported_with_its_followers() {
        let mut bench = Bench::new();
        for seq in [10, 11, 13] {
            bench.record(seq, u64::from(seq));
        }
        bench.feedback(1200);
        assert_eq!(bench.told(12), Some(None));
        bench.record(12, 90);
        assert_eq!(bench.feedback(1200), [[12, 13]]);
        assert_eq!(bench.told(12), Some(Some(80 * 4)));
        assert_eq!(bench.told(13), Some(Some(3 * 4)));
    }

    #[test]
    fn duplicates_and_packets_too_late_are_not_news() {
        let mut bench = Bench::new();
        bench.record(1, 0);
        bench.record(1000, 10);
        bench.feedback(1200);
        bench.record(1000, 20);
        bench.record(1, 20);
        bench.record(1000 - 513, 20);
        assert!(bench.feedback(1200).is_empty());
        assert_eq!(bench.told(1000), Some(Some(40)), "the first arrival");
        bench.record(1000 - 512, 20);
        assert_eq!(bench.feedback(1200).len(), 1);
    }

    #[test]
    fn a_pause_longer_than_a_delta_takes_two_packets() {
        let mut bench = Bench::new();
        bench.record(1, 0);
        bench.record(2, 9_000);
        assert_eq!(bench.feedback(1200), [[1], [2]]);
        assert_eq!(bench.told(2), Some(Some(36_000)));
        assert_eq!(bench.counts, [0, 1]);
    }

    #[test]
    fn little_room_takes_several_packets() {
        let mut bench = Bench::new();
        for seq in 0..500 {
            bench.record(seq, u64::from(seq) * 70);
        }
        let packets = bench.feedback(200);
        assert!(packets.len() > 2);
        assert_eq!(packets.concat(), (0..500).collect::<Vec<u16>>());
        bench.record(500, 35_000);
        assert!(bench.feedback(23).is_empty(), "no room");
        assert_eq!(bench.feedback(24), [[500]]);
    }

    #[test]
    fn without_feedback_the_oldest_are_forgotten() {
        let mut bench = Bench::new();
        for seq in 0..5000 {
            bench.record(seq, 1);
        }
        let covered = bench.feedback(1200).concat();
        assert_eq!(covered, (5000 - 4096..5000).collect::<Vec<u16>>());
        assert!(bench.told.values().all(Option::is_some));
    }

    #[test]
    fn a_jump_beyond_memory_begins_anew_without_the_gap() {
        let mut bench = Bench::new();
        bench.record(1, 0);
        bench.record(1 + 4096, 10);
        assert_eq!(bench.feedback(1200), [[4097]]);
        bench.record(4097 + 4095, 20);
        let covered = bench.feedback(1200).concat();
        assert_eq!(covered, (4098..=8192).collect::<Vec<u16>>());
    }

    #[test]
    fn numbers_from_far_behind_begin_anew_when_two_come_in_sequence() {
        let mut bench = Bench::new();
        bench.record(30_000, 0);
        bench.feedback(1200);
        bench.record(5, 10);
        assert!(bench.feedback(1200).is_empty(), "one proves nothing");
        bench.record(30_001, 10);
        bench.record(6, 20);
        assert_eq!(bench.feedback(1200), [[30_001]], "not in sequence");
        bench.record(7, 30);
        assert_eq!(bench.feedback(1200), [[7]]);
        bench.record(8, 40);
        assert_eq!(bench.feedback(1200), [[8]]);
        assert_eq!(bench.told(8), Some(Some(160)), "the clock goes on");
    }

    #[test]
    fn time_before_the_first_packet_counts_as_its_time() {
        let mut bench = Bench::new();
        bench.record(1, 50);
        bench.record(2, 0);
        bench.feedback(1200);
        assert_eq!(bench.told(2), Some(Some(0)));
    }

    #[test]
    fn the_feedback_count_wraps() {
        let mut bench = Bench::new();
        for seq in 0..300 {
            bench.record(seq, 1);
            bench.feedback(1200);
        }
        assert_eq!(bench.counts[254..258], [254, 255, 0, 1]);
    }

    proptest! {
        #[test]
        fn feedback_tells_all_arrivals_and_only_them(
            first: u16,
            packets in prop::collection::vec((0_u64..5, any::<bool>(), 0_u64..40), 1..1500),
            every in 1_usize..200,
            room in 100_usize..1200,
        ) {
            // Each packet: milliseconds after the one before, lost or not, delay by the network.
            let mut sent_ms = 0;
            let mut flight: Vec<(u64, u64)> = Vec::new();
            for (at, (gap_ms, lost, delay_ms)) in packets.iter().enumerate() {
                sent_ms += gap_ms;
                if at == 0 || !lost {
                    flight.push((if at == 0 { 0 } else { sent_ms + delay_ms }, at as u64));
                }
            }
            flight.sort_unstable();
            let mut bench = Bench::new();
            for (at, &(arrival_ms, index)) in flight.iter().enumerate() {
                bench.record(first.wrapping_add(index as u16), arrival_ms);
                if at % every == 0 {
                    bench.feedback(room);
                }
            }
            bench.feedback(room);
            let mut expected: BTreeMap<u16, Option<i64>> = BTreeMap::new();
            let last = flight.iter().map(|&(_, index)| index).max().unwrap();
            for index in 0..=last {
                expected.insert(first.wrapping_add(index as u16), None);
            }
            for &(arrival_ms, index) in &flight {
                expected.insert(first.wrapping_add(index as u16), Some(arrival_ms as i64 * 4));
            }
            prop_assert_eq!(&bench.told, &expected);
        }

        #[test]
        fn any_numbers_at_any_time_never_panic(
            packets in prop::collection::vec((any::<u16>(), 0_u64..1 << 40, any::<bool>()), 0..60),
        ) {
            let mut bench = Bench::new();
            for (seq, at_ms, feedback) in packets {
                bench.arrivals.record(seq, bench.start + Duration::from_millis(at_ms));
                if feedback {
                    let mut buf = [0; 600];
                    let mut w = Writer::new(&mut buf);
                    let _ = bench.arrivals.write_feedback(&mut w, Ssrc(1), Ssrc(2));
                }
            }
        }
    }
}
