//! The last second or two of one track, in canonical form: one plaintext copy per packet.
//!
//! Serves both the turn's fan-out (by position, in order of arrival) and retransmission (by
//! extended sequence number). A ring of bytes and a ring of entries, allocated with the first
//! packet, so that who only negotiates costs nothing; untouched pages of the byte ring are never
//! made resident by the kernel.

use std::time::{Duration, Instant};

use crate::base::limits::MAX_EVENING_LEN;
use crate::base::seq::RtpTime;
use crate::model::layers::Marks;
use crate::rtp::padding;

/// A ring of packets.
#[derive(Debug)]
pub struct History {
    /// INVARIANT: a power of two.
    packets: usize,
    len: usize,
    bytes: Box<[u8]>,
    entries: Box<[Entry]>,
    by_seq: Box<[u64]>,
    head: usize,
    touched: usize,
    tail: u64,
    next: u64,
}

/// What is known of one stored packet.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Extended sequence number at the publisher.
    pub seq: u64,
    /// When it was stored.
    pub stored: Instant,
    /// RTP timestamp at the publisher.
    pub timestamp: RtpTime,
    start: u32,
    /// Bytes of the canonical packet, padding included.
    pub len: u16,
    /// Bytes of its header.
    pub header_len: u16,
    /// Offset of the transport-wide sequence number.
    pub transport_seq_at: u16,
    /// Bytes of padding at its end: 0..=`limits::MAX_EVENING_LEN`.
    pub padding_len: u8,
    /// Key frame, layers.
    pub marks: Marks,
}

/// A packet to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Extended sequence number at the publisher.
    pub seq: u64,
    /// RTP timestamp at the publisher.
    pub timestamp: RtpTime,
    /// Bytes of the canonical packet.
    pub len: usize,
    /// Bytes of its header.
    pub header_len: usize,
    /// Offset of the transport-wide sequence number.
    pub transport_seq_at: usize,
    /// Key frame, layers.
    pub marks: Marks,
}

impl History {
    /// A ring of `packets` entries (a power of two) and `len` bytes.
    pub fn new(packets: usize, len: usize) -> Self {
        Self {
            packets: packets.next_power_of_two(),
            len,
            bytes: Box::default(),
            entries: Box::default(),
            by_seq: Box::default(),
            head: 0,
            touched: 0,
            tail: 0,
            next: 0,
        }
    }

    fn allocate(&mut self, now: Instant) {
        let blank = Entry {
            seq: 0,
            stored: now,
            timestamp: RtpTime(0),
            start: 0,
            len: 0,
            header_len: 0,
            transport_seq_at: 0,
            padding_len: 0,
            marks: Marks::default(),
        };
        self.bytes = vec![0; self.len].into_boxed_slice();
        self.entries = vec![blank; self.packets].into_boxed_slice();
        self.by_seq = vec![u64::MAX; self.packets].into_boxed_slice();
    }

    /// Forgets all packets and gives the memory back, until the next one comes. Positions go on.
    pub fn release(&mut self) {
        *self = Self {
            tail: self.next,
            next: self.next,
            ..Self::new(self.packets, self.len)
        };
    }

    fn mask(&self) -> u64 {
        self.packets as u64 - 1
    }

    /// The place to write a packet of up to `room` bytes; follow with [`push`](Self::push).
    ///
    /// `None` only when `room` is more than the whole ring.
    pub fn slot(&mut self, now: Instant, room: usize) -> Option<&mut [u8]> {
        if self.entries.is_empty() {
            self.allocate(now);
        }
        // Behind each packet there is room to pad it later.
        let padded = room + MAX_EVENING_LEN;
        let end_of_ring = self.head + padded > self.bytes.len();
        // Untouched memory ahead stays untouched while the oldest packet is past its use.
        let into_fresh = self.head + padded > self.touched;
        let stale = self.entry(self.tail).is_some_and(|oldest| {
            self.tail < self.next && now.saturating_duration_since(oldest.stored) > RETENTION
        });
        if end_of_ring || (into_fresh && stale && self.head > 0) {
            // What is left between here and the end goes with the wrap.
            self.evict(self.head, self.bytes.len());
            self.head = 0;
        }
        self.evict(self.head, self.head + padded);
        self.touched = self.touched.max(self.head + padded);
        self.bytes.get_mut(self.head..self.head + room)
    }

    /// Takes what was written to the latest [`slot`](Self::slot).
    pub fn push(&mut self, now: Instant, stored: Stored) {
        let mask = self.mask();
        if self.next - self.tail > mask {
            self.tail += 1;
        }
        let entry = Entry {
            seq: stored.seq,
            stored: now,
            timestamp: stored.timestamp,
            start: self.head as u32,
            len: stored.len as u16,
            header_len: stored.header_len as u16,
            transport_seq_at: stored.transport_seq_at as u16,
            padding_len: 0,
            marks: stored.marks,
        };
        if let Some(place) = self.entries.get_mut((self.next & mask) as usize) {
            *place = entry;
        }
        if let Some(place) = self.by_seq.get_mut((stored.seq & mask) as usize) {
            *place = self.next;
        }
        self.head += stored.len + MAX_EVENING_LEN;
        self.next += 1;
    }

    /// Brings the packet at `position` to `len` bytes with padding (RFC 3550 §5.1). False, with
    /// nothing done, for one that is gone, padded already, not shorter, or shorter by more than
    /// `limits::MAX_EVENING_LEN`.
    ///
    /// INVARIANT: only before the packet is sent to anybody: what goes out twice under one number
    /// must be the same bytes (RFC 7714 §8.4).
    pub fn pad(&mut self, position: u64, len: usize) -> bool {
        let mask = self.mask();
        if position < self.tail || position >= self.next {
            return false;
        }
        let Some(entry) = self.entries.get_mut((position & mask) as usize) else {
            return false;
        };
        let pad_len = len.saturating_sub(usize::from(entry.len));
        if !(1..=MAX_EVENING_LEN).contains(&pad_len) || entry.padding_len > 0 {
            return false;
        }
        let start = entry.start as usize;
        let Some(place) = self.bytes.get_mut(start..start + len) else {
            return false;
        };
        if padding::append(place, usize::from(entry.len), pad_len as u8).is_some() {
            entry.len += pad_len as u16;
            entry.padding_len = pad_len as u8;
            return true;
        }
        false
    }

    /// Forgets all packets. Positions go on.
    pub fn clear(&mut self) {
        self.tail = self.next;
    }

    /// Position behind the newest packet; positions count stored packets from 0.
    pub fn end(&self) -> u64 {
        self.next
    }

    /// When the newest packet was stored; `None` before the first.
    pub fn newest(&self) -> Option<Instant> {
        let last = self.next.checked_sub(1)?;
        self.at(last).map(|(entry, _)| entry.stored)
    }

    /// The packet at `position` and its bytes; `None` when it is gone or not there yet.
    pub fn at(&self, position: u64) -> Option<(&Entry, &[u8])> {
        if position < self.tail || position >= self.next {
            return None;
        }
        let entry = self.entry(position)?;
        let start = entry.start as usize;
        let bytes = self.bytes.get(start..start + usize::from(entry.len))?;
        Some((entry, bytes))
    }

    /// The packet with extended sequence number `seq`.
    pub fn find(&self, seq: u64) -> Option<(&Entry, &[u8])> {
        self.at(self.position(seq)?)
    }

    /// The position of the packet with extended sequence number `seq`.
    pub fn position(&self, seq: u64) -> Option<u64> {
        let mask = self.mask();
        let position = *self.by_seq.get((seq & mask) as usize)?;
        let (entry, _) = self.at(position)?;
        (entry.seq == seq).then_some(position)
    }

    /// True when its key frame begins with packet `seq` at `timestamp`: nothing of it was stored as
    /// its start, and nothing is missing between `seq` and the frame before.
    pub fn begins_key_frame(&self, seq: u64, timestamp: RtpTime) -> bool {
        for back in 1..=MAX_PRELUDE {
            let before = seq.checked_sub(back).and_then(|seq| self.find(seq));
            match before {
                None => return false,
                Some((entry, _)) if entry.timestamp != timestamp => return true,
                Some((entry, _)) if entry.marks.key_frame() => return false,
                Some(_) => {}
            }
        }
        true
    }

    fn entry(&self, position: u64) -> Option<&Entry> {
        let mask = self.mask();
        self.entries.get((position & mask) as usize)
    }

    /// Forgets the oldest packets that lie in `from..to`.
    fn evict(&mut self, from: usize, to: usize) {
        while self.tail < self.next {
            let Some(oldest) = self.entry(self.tail) else {
                return;
            };
            let start = oldest.start as usize;
            let end = start + usize::from(oldest.len);
            if start >= to || end <= from {
                return;
            }
            self.tail += 1;
        }
    }
}

/// Delimiter, parameter sets and a few SEI in packets of their own are all that comes ahead of a
/// picture.
const MAX_PRELUDE: u64 = 8;

/// A retransmission asked for later than this would arrive too late to be shown.
const RETENTION: Duration = Duration::from_millis(2000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::tests::test_now;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn store(h: &mut History, now: Instant, seq: u64, len: usize) {
        let slot = h.slot(now, len).unwrap();
        slot.fill(seq as u8);
        let timestamp = RtpTime(seq as u32);
        let (header_len, transport_seq_at) = (12, 0);
        h.push(
            now,
            Stored {
                seq,
                timestamp,
                len,
                header_len,
                transport_seq_at,
                marks: Marks::default(),
            },
        );
    }

    #[test]
    fn what_was_cleared_is_not_found_and_positions_go_on() {
        let now = test_now().instant;
        let mut h = History::new(8, 4096);
        (10..15).for_each(|seq| store(&mut h, now, seq, 100));
        h.clear();
        assert!((0..5).all(|position| h.at(position).is_none()));
        assert!((10..15).all(|seq| h.find(seq).is_none()));
        store(&mut h, now, 12, 100);
        assert_eq!(h.end(), 6);
        assert_eq!(h.find(12).map(|(entry, _)| entry.seq), Some(12));
        assert_eq!(h.at(5).map(|(entry, _)| entry.seq), Some(12));
    }

    #[test]
    fn takes_memory_with_the_first_packet_and_gives_it_back() {
        let now = test_now().instant;
        let mut h = History::new(8, 4096);
        assert!(h.bytes.is_empty() && h.find(0).is_none() && h.newest().is_none());
        (10..15).for_each(|seq| store(&mut h, now, seq, 100));
        h.release();
        assert!(h.bytes.is_empty() && h.entries.is_empty() && h.by_seq.is_empty());
        assert!(h.find(14).is_none() && h.newest().is_none() && !h.pad(4, 110));
        store(&mut h, now, 15, 100);
        assert_eq!((h.end(), h.position(15)), (6, Some(5)));
    }

    #[test]
    fn finds_by_position_and_by_number_until_overwritten() {
        let now = test_now().instant;
        let mut h = History::new(4, 1000);
        for seq in 0..6 {
            store(&mut h, now, 100 + seq, 50);
        }
        assert_eq!(h.end(), 6);
        assert!(h.find(101).is_none(), "four entries are kept");
        let (entry, bytes) = h.find(103).unwrap();
        assert_eq!((entry.seq, bytes.len(), bytes[0]), (103, 50, 103));
        assert!(h.at(1).is_none() && h.at(2).is_some() && h.at(6).is_none());
    }

    #[test]
    fn a_quiet_track_touches_little_memory() {
        let mut now = test_now().instant;
        let mut h = History::new(2048, 1 << 20);
        for seq in 0..10_000 {
            store(&mut h, now, seq, 100);
            now += Duration::from_millis(20);
        }
        assert!(h.touched < 32 * 1024, "{} bytes", h.touched);
        assert!(h.find(9_950).is_some());
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(sizes in prop::collection::vec(1usize..120, 1..400)) {
            let now = test_now().instant;
            let mut h = History::new(64, 1000);
            let mut model: VecDeque<(u64, usize)> = VecDeque::new();
            for (seq, len) in sizes.into_iter().enumerate() {
                store(&mut h, now, seq as u64, len);
                model.push_back((seq as u64, len));
                if model.len() > 64 {
                    model.pop_front();
                }
                let mut kept = 0;
                for &(seq, len) in &model {
                    if let Some((entry, bytes)) = h.find(seq) {
                        prop_assert_eq!(bytes.len(), len);
                        prop_assert!(bytes.iter().all(|&b| b == seq as u8));
                        prop_assert_eq!(entry.seq, seq);
                        kept += 1;
                    } else {
                        prop_assert_eq!(kept, 0, "only the oldest are gone");
                    }
                }
                prop_assert!(kept > 0);
            }
        }
    }
}
