//! Layer selection over two encodings whose publisher writes what it likes.

use std::collections::HashSet;

use super::{pass, start};
use crate::base::bytes::Reader;
use crate::base::clock::{Now, SenderClock};
use crate::base::codec::Codec;
use crate::base::seq::RtpTime;
use crate::model::layers::{Layer, Marks};
use crate::router::history::{History, Stored};
use crate::router::rewrite::{Patch, Rewriter};
use crate::router::select::{self, Incoming, Selector};
use crate::rtp::RtpHeader;

/// Packets of arbitrary layers, times and ids through a selector: a number is used for one packet,
/// and what is sent again is what was sent, byte for byte. Two different packets under one number
/// would give the key away (RFC 7714 §8.4).
pub fn selector(bytes: &[u8]) {
    let mut input = Reader::new(bytes);
    let Some(kind) = input.u8() else {
        return;
    };
    let codec = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264][usize::from(kind & 3)];
    let now = start();
    let mut path = Path {
        now,
        codec,
        selector: Selector::new(codec, layer(kind)),
        rewriter: Rewriter::new(65_536),
        clocks: [None; 2],
        highest: [70_000, 90_000],
        seen: HashSet::new(),
        sent: Vec::new(),
    };
    while path.step(&mut input).is_some() {
        path.check();
    }
}

struct Path {
    now: Now,
    codec: Codec,
    selector: Selector,
    rewriter: Rewriter,
    clocks: [Option<SenderClock>; 2],
    highest: [u64; 2],
    /// A packet comes once: replay windows see to that.
    seen: HashSet<(u8, u64)>,
    sent: Vec<Sent>,
}

struct Sent {
    out: u64,
    encoding: u8,
    seq: u64,
    marks: Marks,
    /// As its publisher wrote it.
    original: Vec<u8>,
    timestamp: RtpTime,
    shown: RtpTime,
    /// As it went out.
    bytes: Vec<u8>,
}

impl Path {
    fn step(&mut self, input: &mut Reader<'_>) -> Option<()> {
        let what = input.u8()?;
        match what % 16 {
            0 => self.selector.wanted = layer(input.u8()?),
            1 => self.rewriter.close(),
            2 => self.now = pass(input, self.now)?,
            3 => {
                let rtp = RtpTime(input.u32()?);
                let unix_us = self.now.unix_us;
                self.clocks[usize::from(what >> 7)] = Some(SenderClock { rtp, unix_us });
            }
            4 => self.selector.take_over(&self.rewriter),
            _ => self.packet(what, input)?,
        }
        Some(())
    }

    fn packet(&mut self, what: u8, input: &mut Reader<'_>) -> Option<()> {
        let encoding = what >> 7;
        let [place, frame, flags, index, picture] = input.array()?;
        let highest = &mut self.highest[usize::from(encoding)];
        let seq = match place {
            0..0xc0 => *highest + 1 + u64::from(place / 0x40) * u64::from(place % 4),
            0xc0..=0xff => *highest - u64::from(place - 0xc0),
        };
        *highest = seq.max(*highest);
        if !self.seen.insert((encoding, seq)) {
            return Some(());
        }
        let timestamp = RtpTime(u32::from(frame) * 3000);
        let layers = (flags & 3, flags >> 2 & 3);
        let marks = Marks::new(flags & 0x10 != 0, flags & 0x20 != 0, flags >> 6, layers);
        let original = self.bytes([index, picture, flags], timestamp);
        let mut history = History::new(2, 4000);
        history.slot(self.now.instant, original.len())?;
        let stored = Stored {
            seq,
            timestamp,
            len: original.len(),
            header_len: HEADER_LEN,
            transport_seq_at: 17,
            marks,
        };
        history.push(self.now.instant, stored);
        let (entry, _) = history.at(0)?;
        let incoming = Incoming {
            encoding,
            source: u32::from(encoding),
            clock: self.clocks[usize::from(encoding)],
            entry,
            packet: &original,
            elapsed_ticks: 3000,
        };
        if let Ok(placed) = self.selector.select(&mut self.rewriter, &incoming) {
            let bytes = patched(placed.patch, self.codec, &original, marks);
            self.sent.push(Sent {
                out: placed.out,
                encoding,
                seq,
                marks,
                original,
                timestamp,
                shown: placed.timestamp,
                bytes,
            });
        }
        Some(())
    }

    /// A canonical packet whose payload and descriptor say what the input says.
    fn bytes(&self, [index, picture, flags]: [u8; 3], timestamp: RtpTime) -> Vec<u8> {
        let mut bytes = vec![0x90, 96, 0, 0];
        bytes.extend_from_slice(&timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 1]);
        match self.codec {
            // A dependency descriptor without a structure (AV1 RTP A.8.1).
            Codec::Av1 => {
                let element = [0xc0 | 0x02, flags & 0x3f, picture, index];
                bytes.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x11, 0, 0]);
                bytes.extend_from_slice(&element);
                bytes.push(0);
            }
            _ => bytes.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x11, 0, 0, 0, 0, 0, 0, 0]),
        }
        match self.codec {
            Codec::Vp9 => bytes.extend_from_slice(&[0xa8, 0x80 | picture, index, flags, index]),
            _ => bytes.extend_from_slice(&[0x90, 0xe0, 0x80 | picture, index, picture, flags]),
        }
        bytes.extend_from_slice(&[1, 2, 3]);
        bytes
    }

    /// Of what was sent lately, each number is one packet's, leads back to it, and makes the same
    /// bytes again.
    fn check(&self) {
        let Some((last, before)) = self.sent.split_last() else {
            return;
        };
        for sent in before.iter().rev().take(100) {
            assert_ne!(sent.out, last.out, "one number for two packets");
        }
        for sent in self.sent.iter().rev().take(100) {
            let Some(origin) = self.rewriter.lead_back(sent.out) else {
                continue;
            };
            assert_eq!(
                (origin.source, origin.seq),
                (u32::from(sent.encoding), sent.seq)
            );
            assert_eq!(sent.timestamp.plus(origin.time_shift), sent.shown);
            let patch = origin.patch(sent.timestamp);
            let again = patched(patch, self.codec, &sent.original, sent.marks);
            assert_eq!(again, sent.bytes, "other bytes under {}", sent.out);
        }
    }
}

fn patched(patch: Patch, codec: Codec, original: &[u8], marks: Marks) -> Vec<u8> {
    let mut bytes = original.to_vec();
    select::apply(patch, codec, &mut bytes, HEADER_LEN, marks);
    assert_eq!(bytes.len(), original.len());
    let header = RtpHeader::parse(&bytes).expect("a packet still");
    assert_eq!(header.header_len, HEADER_LEN);
    // One that only fills a place has no payload.
    if !patch.takes(marks) {
        bytes.truncate(HEADER_LEN);
    }
    bytes
}

fn layer(bits: u8) -> Layer {
    Layer {
        encoding: bits >> 7,
        spatial: bits >> 2 & 3,
        temporal: bits >> 4 & 3,
    }
}

/// Fixed header, block header and two words of elements.
const HEADER_LEN: usize = 24;
