//! Packet history, missing packets and number rewriting against naive models.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{pass, start};
use crate::base::bytes::Reader;
use crate::base::limits::{MAX_EVENING_LEN, MAX_MISSING};
use crate::base::seq::{RtpTime, SeqNo};
use crate::model::layers::Marks;
use crate::router::history::{History, Stored};
use crate::router::rewrite::{Patch, Rewriter};
use crate::rtp::RtpHeader;
use crate::stream::missing::{Arrival, Missing};

/// Packets of arbitrary numbers and lengths into a small ring: what is found is what was put in,
/// and what was put in last is found.
pub fn history(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut now = start();
    let mut ring = History::new(RING_PACKETS, RING_LEN);
    let mut stored: Vec<Kept> = Vec::new();
    let mut seq = 1000u64;
    while let Some(what) = input.u8() {
        match what % 8 {
            0 => {
                let Some(then) = pass(&mut input, now) else {
                    return;
                };
                now = then;
            }
            1 => {
                let (Some(back), Some(by)) = (input.u8(), input.u8()) else {
                    return;
                };
                pad(
                    &mut ring,
                    &mut stored,
                    usize::from(back),
                    usize::from(by % 24),
                );
            }
            2 => seq = seq.saturating_sub(u64::from(what >> 3)),
            3 => seq += u64::from(what >> 3),
            _ => {
                seq += 1;
                let len = 12 + usize::from(input.u8().unwrap_or(0)) * 5;
                let packet = packet(seq, len, stored.len());
                let slot = ring.slot(now.instant, len + usize::from(what >> 3));
                slot.expect("less than the ring")[..len].copy_from_slice(&packet);
                let entry = Stored {
                    seq,
                    timestamp: RtpTime(seq as u32),
                    len,
                    header_len: 12,
                    transport_seq_at: 0,
                    marks: Marks::default(),
                };
                ring.push(now.instant, entry);
                stored.push(Kept { seq, packet });
            }
        }
        compare(&ring, &stored);
    }
}

struct Kept {
    seq: u64,
    packet: Vec<u8>,
}

fn packet(seq: u64, len: usize, number: usize) -> Vec<u8> {
    let mut packet = vec![number as u8; len];
    packet[..2].copy_from_slice(&[0x80, 96]);
    packet[4..12].copy_from_slice(&seq.to_be_bytes());
    packet
}

fn pad(ring: &mut History, stored: &mut [Kept], back: usize, by: usize) {
    let Some(position) = stored.len().checked_sub(back + 1) else {
        return;
    };
    let kept = &mut stored[position];
    let len = kept.packet.len() + by;
    let was_padded = kept.packet[0] & 0x20 != 0;
    if ring.pad(position as u64, len) {
        assert!(!was_padded && (1..=MAX_EVENING_LEN).contains(&by));
        let (_, bytes) = ring.at(position as u64).expect("just padded");
        let header = RtpHeader::parse(bytes).expect("a packet");
        assert_eq!(header.payload(bytes), kept.packet.get(12..));
        kept.packet = bytes.to_vec();
        assert_eq!(kept.packet.len(), len);
    }
}

fn compare(ring: &History, stored: &[Kept]) {
    assert_eq!(ring.end(), stored.len() as u64);
    assert!(ring.at(ring.end()).is_none());
    let mut is_gone = false;
    for (position, kept) in stored.iter().enumerate().rev().take(2 * RING_PACKETS) {
        let found = ring.at(position as u64);
        if let Some((entry, bytes)) = found {
            assert!(!is_gone, "older ones go first");
            assert_eq!((entry.seq, bytes), (kept.seq, kept.packet.as_slice()));
        } else {
            assert!(position + 1 < stored.len(), "the newest is there");
            is_gone = true;
        }
    }
    for kept in stored.iter().rev().take(4) {
        if let Some((entry, bytes)) = ring.find(kept.seq) {
            assert_eq!(entry.seq, kept.seq);
            let same = |other: &Kept| other.seq == kept.seq && other.packet == bytes;
            assert!(stored.iter().any(same));
        }
    }
}

const RING_PACKETS: usize = 32;

/// Room for the largest packet of [`history`] with what may be asked for beyond it.
const RING_LEN: usize = 8 * 1024;

/// Arrivals and time into the list of missing packets: it asks for nothing that came, for nothing
/// twice at once, and stays within its limits (RFC 4585 §6.2.1).
pub fn missing(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let (mut now, mut list) = (start(), Missing::default());
    let mut seq = 70_000u64;
    let (mut arrived, mut asked) = (BTreeSet::new(), BTreeMap::<u64, u32>::new());
    let mut newest: Option<u64> = None;
    let mut ask = Vec::new();
    while let Some(what) = input.u8() {
        seq = match what {
            0..0x80 => seq + u64::from(what % 8),
            0x80..0xc0 => seq.saturating_sub(u64::from(what % 64)),
            0xc0..0xd0 => seq + u64::from(input.u16().unwrap_or(0) % 700),
            0xd0..=0xff => {
                let Some(then) = pass(&mut input, now) else {
                    return;
                };
                now = then;
                ask.clear();
                let most = usize::from(what % 64);
                list.poll(now.instant, &mut ask, most);
                assert!(ask.len() <= most);
                for (at, seq) in ask.iter().enumerate() {
                    assert!(!ask[..at].contains(seq), "once per packet");
                    let highest = newest.expect("something came before a gap");
                    let back = SeqNo(highest as u16).distance(*seq);
                    assert!(back > 0, "from before the newest");
                    let extended = highest - back as u64;
                    assert!(!arrived.contains(&extended), "asked for what came");
                    let times = asked.entry(extended).or_default();
                    *times += 1;
                    assert!(*times <= 20, "without end");
                }
                continue;
            }
        };
        let verdict = list.arrived(now.instant, seq);
        let is_newest = newest.is_none_or(|newest| seq > newest);
        assert_eq!(
            is_newest,
            matches!(verdict, Arrival::Newest | Arrival::Jump)
        );
        assert!(
            verdict != Arrival::Filled || !arrived.contains(&seq),
            "filled twice"
        );
        arrived.insert(seq);
        newest = newest.max(Some(seq));
        assert!(list.rtt() >= Duration::from_millis(1) && list.rtt() <= Duration::from_secs(1));
    }
    ask.clear();
    list.poll(now.instant, &mut ask, usize::MAX);
    assert!(ask.len() <= MAX_MISSING);
}

/// Sources, gaps, late packets and packets left out: each number is used for one packet, leads
/// back to it, and what was sent has the gaps that the input had and no others.
pub fn rewriter(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let mut model = Mapping {
        rewriter: Rewriter::new(FIRST_OUT),
        by_out: BTreeMap::new(),
        by_input: BTreeMap::new(),
        cursors: [1000, 5000, 70_000],
    };
    while let Some(what) = input.u8() {
        let source = u32::from(what & 3).min(2);
        let by = u64::from(what >> 5);
        match what >> 2 & 7 {
            0 => model.rewriter.close(),
            1 | 2 => model.start(source, by),
            3 => model.skip(by),
            4 => model.late(source, u64::from(input.u8().unwrap_or(0))),
            _ => model.take(source, by),
        }
        model.check();
    }
}

struct Mapping {
    rewriter: Rewriter,
    /// Output numbers in use, with source and number there.
    by_out: BTreeMap<u64, (u32, u64)>,
    by_input: BTreeMap<(u32, u64), u64>,
    /// The next number of each source.
    cursors: [u64; 3],
}

impl Mapping {
    fn start(&mut self, source: u32, by: u64) {
        let cursor = &mut self.cursors[source as usize];
        *cursor += by;
        let seq = *cursor;
        if self.rewriter.source() != Some(source) && self.rewriter.may_start(source, seq) {
            self.rewriter.start(source, seq, time(seq), 3000);
            self.take(source, 0);
        }
    }

    /// A packet in order, behind `gap` that are missing.
    fn take(&mut self, source: u32, gap: u64) {
        let cursor = &mut self.cursors[source as usize];
        let seq = *cursor + gap;
        let expected = self.rewriter.expected();
        let before = self.rewriter.highest_out();
        if self.rewriter.source() != Some(source) {
            assert_eq!(self.rewriter.map(source, seq, time(seq)), None);
            return;
        }
        *cursor = seq + 1;
        let Some(expected) = expected.filter(|expected| *expected <= seq) else {
            return;
        };
        let (out, _) = self
            .rewriter
            .map(source, seq, time(seq))
            .expect("an open segment");
        let next = before.map_or(FIRST_OUT, |before| before + 1);
        assert_eq!(out, next + (seq - expected), "gaps as they came");
        self.used(out, source, seq);
    }

    fn skip(&mut self, gap: u64) {
        let (Some(source), Some(expected)) = (self.rewriter.source(), self.rewriter.expected())
        else {
            return;
        };
        let seq = expected + gap;
        self.rewriter.skip(seq, time(seq), Patch::NONE);
        self.cursors[source as usize] = seq + 1;
        assert_eq!(self.rewriter.expected(), Some(seq + 1), "left out");
    }

    fn late(&mut self, source: u32, back: u64) {
        let seq = self.cursors[source as usize].saturating_sub(back + 1);
        let is_open = self.rewriter.source() == Some(source);
        let is_late = self
            .rewriter
            .expected()
            .is_some_and(|expected| seq < expected);
        if !is_open || !is_late {
            return;
        }
        let highest = self.rewriter.highest_out();
        if let Some((out, ..)) = self.rewriter.late(source, seq, time(seq)) {
            assert!(Some(out) <= highest, "late, and the newest");
            self.used(out, source, seq);
        }
    }

    fn used(&mut self, out: u64, source: u32, seq: u64) {
        let before = self.by_out.insert(out, (source, seq));
        assert!(
            before.is_none_or(|before| before == (source, seq)),
            "{out} twice"
        );
        let again = self.by_input.insert((source, seq), out);
        assert!(
            again.is_none_or(|again| again == out),
            "{seq} of {source} twice"
        );
    }

    /// What was sent leads back to what it was, or is forgotten for good.
    fn check(&self) {
        let mut is_forgotten = false;
        for (out, sent) in self.by_out.iter().rev().take(80) {
            match self.rewriter.lead_back(*out) {
                Some(origin) => {
                    assert!(!is_forgotten);
                    assert_eq!((origin.source, origin.seq), *sent);
                }
                None => is_forgotten = true,
            }
        }
        let highest = self.rewriter.highest_out();
        if let Some(highest) = highest {
            assert!(self.rewriter.lead_back(highest + 1).is_none());
        }
    }
}

fn time(seq: u64) -> RtpTime {
    RtpTime(seq as u32 * 100)
}

/// As `peer/` begins: one cycle of the numbers above zero.
const FIRST_OUT: u64 = 65_536;
