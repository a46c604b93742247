//! The selector against a naive one that knows everything beforehand, and against what a decoder
//! needs when packets are lost and come late.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::base::clock::tests::test_now;
use crate::payload::PacketInfo;
use crate::payload::dependency_descriptor::tests::{L1T2_LIBWEBRTC, L1T3_LIBWEBRTC, frame_bytes};
use crate::router::history::{History, Stored};

/// A packet of one of two encodings, as it is received.
#[derive(Clone, Debug)]
struct Packet {
    encoding: u8,
    seq: u64,
    timestamp: RtpTime,
    marks: Marks,
    picture_id: u16,
    tl0_pic_idx: u8,
    /// Frames of its encoding count from 0.
    frame: u32,
    /// When it is received.
    at: Instant,
    bytes: Vec<u8>,
}

/// How frames say where one can switch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// VP8's Y: this frame needs the lowest layer only.
    This,
    /// VP9's U, or Switch: those that follow need none from before this one.
    Following,
}

/// Frames of both encodings by turns, with three temporal layers (0 2 1 2). The last of the four
/// refers to the third.
fn packets(start: Instant, frames: &[(u8, bool)], sign: Sign) -> Vec<Packet> {
    let mut out = Vec::new();
    let mut seqs = [70_000u64, 90_000];
    let mut tl0 = [250u8, 7];
    let mut since_key = [0u32; 2];
    for (number, &(len, key)) in (0..).zip(frames) {
        for encoding in [0u8, 1] {
            let at = usize::from(encoding);
            let key_frame = number == 0 || key;
            since_key[at] = if key_frame { 0 } else { since_key[at] + 1 };
            let phase = since_key[at] % 4;
            let temporal = [0u8, 2, 1, 2][phase as usize];
            tl0[at] = tl0[at].wrapping_add(u8::from(temporal == 0));
            let picture_id = (32_760 + number as u16 + 900 * u16::from(encoding)) & 0x7fff;
            let packets = 1 + len % 3;
            let switches_up = match (sign, phase) {
                (Sign::This, 3) | (Sign::Following, 1 | 3) => 0,
                (Sign::This, _) => temporal,
                (Sign::Following, _) => 2,
            };
            for index in 0..packets {
                let first = index == 0;
                let marks = Marks::new(
                    key_frame && first,
                    index + 1 == packets,
                    switches_up,
                    (0, temporal),
                );
                let timestamp = RtpTime(1_000_000 * u32::from(encoding) + 3000 * number);
                let bytes = bytes(picture_id, tl0[at], temporal, first);
                out.push(Packet {
                    encoding,
                    seq: seqs[at],
                    timestamp,
                    marks,
                    picture_id,
                    tl0_pic_idx: tl0[at],
                    frame: number,
                    at: start + Duration::from_micros(33_333) * number,
                    bytes,
                });
                seqs[at] += 1;
            }
        }
    }
    out
}

/// A canonical packet with a VP8 payload.
fn bytes(picture_id: u16, tl0_pic_idx: u8, temporal: u8, first: bool) -> Vec<u8> {
    let mut bytes = vec![0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x11, 0, 0, 0]);
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let start = if first { 0x90 } else { 0x80 };
    bytes.extend_from_slice(&[start, 0xe0, high, low, tl0_pic_idx, temporal << 6, 1, 2, 3]);
    bytes
}

const HEADER_LEN: usize = 20;

/// What a subscription was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    out: u64,
    timestamp: RtpTime,
    encoding: u8,
    frame: u32,
    temporal: u8,
    /// Picture id and TL0PICIDX; `None` in a packet without payload.
    ids: Option<(u16, u8)>,
}

struct Subscription {
    selector: Selector,
    rewriter: Rewriter,
    clock: [Option<SenderClock>; 2],
    last: Option<Instant>,
    sent: Vec<(Sent, u64)>,
}

impl Subscription {
    fn new(clocks: bool) -> Self {
        let wanted = layer(0, 2);
        let clock = |rtp| {
            clocks.then_some(SenderClock {
                rtp: RtpTime(rtp),
                unix_us: 5_000_000,
            })
        };
        Self {
            selector: Selector::new(Codec::Vp8, wanted),
            rewriter: Rewriter::new(70_000),
            clock: [clock(0), clock(1_000_000)],
            last: None,
            sent: Vec::new(),
        }
    }

    fn take(&mut self, packet: &Packet) {
        let entry = entry(packet);
        let since = packet.at - self.last.unwrap_or(packet.at);
        let incoming = Incoming {
            encoding: packet.encoding,
            source: u32::from(packet.encoding),
            clock: self.clock[usize::from(packet.encoding)],
            entry: &entry,
            packet: &packet.bytes,
            elapsed_ticks: (since.as_micros() * 90 / 1000) as u32,
        };
        let Ok(placed) = self.selector.select(&mut self.rewriter, &incoming) else {
            return;
        };
        self.last = Some(packet.at);
        let mut bytes = packet.bytes.clone();
        apply(
            placed.patch,
            Codec::Vp8,
            &mut bytes,
            HEADER_LEN,
            packet.marks,
        );
        let descriptor = vp8::parse(&bytes[HEADER_LEN..]).unwrap();
        let ids = placed.patch.takes(packet.marks).then(|| {
            (
                descriptor.picture_id.unwrap().value,
                descriptor.tl0_pic_idx.unwrap(),
            )
        });
        let sent = Sent {
            out: placed.out,
            timestamp: placed.timestamp,
            encoding: packet.encoding,
            frame: packet.frame,
            temporal: packet.marks.temporal(),
            ids,
        };
        self.sent.push((sent, packet.seq));
        let origin = self.rewriter.lead_back(placed.out).unwrap();
        assert_eq!(
            (origin.source, origin.seq),
            (u32::from(packet.encoding), packet.seq)
        );
        assert_eq!(packet.timestamp.plus(origin.time_shift), placed.timestamp);
        assert_eq!(
            origin.patch(packet.timestamp),
            placed.patch,
            "sent again it is the same"
        );
    }
}

fn layer(encoding: u8, temporal: u8) -> Layer {
    Layer {
        encoding,
        spatial: 0,
        temporal,
    }
}

fn entry(packet: &Packet) -> Entry {
    let mut history = History::new(2, 4000);
    history.slot(packet.at, 100).unwrap();
    history.push(
        packet.at,
        Stored {
            seq: packet.seq,
            timestamp: packet.timestamp,
            len: packet.bytes.len(),
            header_len: HEADER_LEN,
            transport_seq_at: 17,
            marks: packet.marks,
        },
    );
    *history.at(0).unwrap().0
}

/// What should be sent when nothing is lost, made by counting from scratch.
fn naive(packets: &[Packet], wishes: &BTreeMap<u32, Layer>, sign: Sign) -> Vec<Sent> {
    let mut sent: Vec<Sent> = Vec::new();
    let mut wanted = layer(0, 2);
    let mut flowing: Option<(u8, u8)> = None;
    let mut takes = false;
    let (mut pictures, mut bases) = (0u16, 0u8);
    let mut first: Option<(u16, u8)> = None;
    let mut before: Option<(u8, u32)> = None;
    for packet in packets {
        if let Some(wish) = wishes.get(&packet.frame) {
            wanted = *wish;
        }
        let (encoding, temporal) = (packet.encoding, packet.marks.temporal());
        let begins = before != Some((encoding, packet.frame));
        before = Some((encoding, packet.frame));
        if begins {
            let switches = packet.marks.key_frame() && encoding == wanted.encoding;
            let highest = match flowing {
                _ if switches => wanted.temporal,
                Some((now, highest)) if now == encoding && wanted.encoding == encoding => {
                    let lowered = highest.min(wanted.temporal);
                    let up = packet.marks.switches_up();
                    match sign {
                        Sign::This if up > lowered && up <= wanted.temporal => up,
                        // It is sent, and all above may follow.
                        Sign::Following if up > 0 && temporal <= lowered => wanted.temporal,
                        Sign::This | Sign::Following => lowered,
                    }
                }
                Some((now, highest)) if now == encoding => highest,
                _ => {
                    takes = false;
                    continue;
                }
            };
            flowing = Some((encoding, highest));
            takes = temporal <= highest;
            pictures += u16::from(takes);
            bases = bases.wrapping_add(u8::from(temporal == 0));
        }
        if !takes || flowing.is_none_or(|(now, _)| now != encoding) {
            continue;
        }
        let (picture_id, tl0) = *first.get_or_insert((packet.picture_id, packet.tl0_pic_idx));
        let ids = (
            picture_id.wrapping_add(pictures - 1) & 0x7fff,
            tl0.wrapping_add(bases - 1),
        );
        let mut timestamp = RtpTime(3000 * packet.frame);
        // A picture that was shown in another encoding is not shown at the same time again.
        if let Some(last) = sent.last()
            && (last.encoding, last.frame) != (encoding, packet.frame)
            && timestamp.distance(last.timestamp) <= 0
        {
            timestamp = last.timestamp.plus(1);
        } else if let Some(last) = sent.last()
            && (last.encoding, last.frame) == (encoding, packet.frame)
        {
            timestamp = last.timestamp;
        }
        sent.push(Sent {
            out: 70_000 + sent.len() as u64,
            timestamp,
            encoding,
            frame: packet.frame,
            temporal,
            ids: Some(ids),
        });
    }
    sent
}

fn wishes() -> impl Strategy<Value = BTreeMap<u32, Layer>> {
    let wish = (0u8..2, 0u8..3).prop_map(|(encoding, temporal)| layer(encoding, temporal));
    prop::collection::btree_map(1u32..120, wish, 0..12)
}

fn signs() -> impl Strategy<Value = Sign> {
    prop_oneof![Just(Sign::This), Just(Sign::Following)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In order and complete, with clocks: exactly what the naive one sends, but for the ticks by
    /// which a change may move the clock of an encoding.
    #[test]
    fn agrees_with_a_naive_selector(
        frames in prop::collection::vec((0u8..9, prop::bool::weighted(0.1)), 1..120),
        wishes in wishes(),
        sign in signs(),
    ) {
        let start = test_now().instant;
        let packets = packets(start, &frames, sign);
        let mut s = Subscription::new(true);
        for packet in &packets {
            if let Some(wish) = wishes.get(&packet.frame) {
                s.selector.wanted = *wish;
            }
            s.take(packet);
        }
        let want = naive(&packets, &wishes, sign);
        prop_assert_eq!(s.sent.len(), want.len());
        for ((sent, _), want) in s.sent.iter().zip(&want) {
            let moved = sent.timestamp.distance(want.timestamp).abs();
            prop_assert!(moved <= 1, "{:?} {:?}", sent, want);
            let timestamp = want.timestamp;
            prop_assert_eq!(&Sent { timestamp, ..sent.clone() }, want);
        }
    }

    /// With loss and late repair: numbers are used once and lead back, those that stay open belong
    /// to packets that never came, and later numbers never have earlier timestamps.
    #[test]
    fn what_is_late_or_lost_breaks_nothing(
        frames in prop::collection::vec((0u8..9, prop::bool::weighted(0.1)), 20..120),
        wishes in wishes(),
        fates in prop::collection::vec(0u8..40, 64),
        clocks: bool,
        sign in signs(),
    ) {
        let start = test_now().instant;
        let all = packets(start, &frames, sign);
        let mut arrivals: Vec<(usize, &Packet)> = Vec::new();
        for (at, packet) in all.iter().enumerate() {
            match fates[(at * 7 + at / 64) % 64] {
                0 => {}
                // Sent again and a while late.
                late @ 1..=5 => arrivals.push((at + usize::from(late) * 6, packet)),
                _ => arrivals.push((at, packet)),
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        let mut s = Subscription::new(clocks);
        let (mut newest, mut came) = (0, HashSet::new());
        for (_, packet) in &arrivals {
            for frame in newest + 1..=packet.frame {
                if let Some(wish) = wishes.get(&frame) {
                    s.selector.wanted = *wish;
                }
            }
            newest = newest.max(packet.frame);
            let at = start + Duration::from_micros(33_333) * newest;
            s.take(&Packet { at, ..(*packet).clone() });
            if packet.encoding == 0 && !s.sent.is_empty() {
                came.insert(packet.seq);
            }
        }
        let mut by_out: BTreeMap<u64, &Sent> = BTreeMap::new();
        for (sent, _) in &s.sent {
            prop_assert!(by_out.insert(sent.out, sent).is_none(), "{:?} twice", sent);
        }
        let real: Vec<&&Sent> = by_out.values().filter(|s| s.ids.is_some()).collect();
        for pair in real.windows(2) {
            let step = pair[1].timestamp.distance(pair[0].timestamp);
            let same = (pair[0].encoding, pair[0].frame) == (pair[1].encoding, pair[1].frame);
            prop_assert!(if same { step == 0 } else { step > 0 }, "{:?} {:?}", pair[0], pair[1]);
            let pictures = pair[1].ids.unwrap().0.wrapping_sub(pair[0].ids.unwrap().0) & 0x7fff;
            let follows = if same { pictures == 0 } else { (1..1000).contains(&pictures) };
            prop_assert!(follows, "{:?} {:?}", pair[0], pair[1]);
        }
        if wishes.values().any(|wish| wish.encoding != 0) {
            return Ok(());
        }
        let passed: HashSet<u64> = by_out.keys().copied().collect();
        let ends = by_out.keys().next().zip(by_out.keys().last());
        for out in ends.map_or(0..0, |(first, last)| *first..*last) {
            let origin = s.rewriter.lead_back(out).filter(|_| !passed.contains(&out));
            let open = origin.map(|origin| origin.seq);
            prop_assert!(open.is_none_or(|seq| !came.contains(&seq)), "{} {:?}", out, open);
        }
    }
}

/// libwebrtc marks no frame of the top temporal layer as one to switch at: that it can be joined
/// again is said by the frames below it.
#[test]
fn the_top_temporal_layer_is_joined_again_behind_a_frame_that_says_so() {
    let start = test_now().instant;
    for (rows, templates, top) in [
        (&L1T2_LIBWEBRTC[..], &[1, 2][..], 1u8),
        (&L1T3_LIBWEBRTC[..], &[1, 3, 2, 4][..], 2),
    ] {
        let first = frame_bytes(0, 0, Some(rows));
        let structure = dependency_descriptor::parse(&first, None).unwrap();
        let structure = structure.structure().unwrap();
        let mut selector = Selector::new(Codec::Av1, layer(0, top));
        let mut rewriter = Rewriter::new(70_000);
        let mut sent = HashSet::new();
        let mut temporals = BTreeMap::from([(12, 0u8), (24, 0), (36, 0)]);
        for frame in 0..36u16 {
            selector.wanted = layer(0, if (12..24).contains(&frame) { 0 } else { top });
            let template = match frame {
                0 => 0,
                _ => templates[usize::from(frame) % templates.len()],
            };
            let descriptor = frame_bytes(template, frame, (frame == 0).then_some(rows));
            let descriptor = dependency_descriptor::parse(&descriptor, Some(&structure)).unwrap();
            let info = PacketInfo::default().refine(&descriptor);
            let packet = Packet {
                encoding: 0,
                seq: 500 + u64::from(frame),
                timestamp: RtpTime(3000 * u32::from(frame)),
                marks: Marks::new(info.key_frame, true, info.switches_up, (0, info.temporal)),
                picture_id: 0,
                tl0_pic_idx: 0,
                frame: frame.into(),
                at: start,
                bytes: bytes(0, 0, 0, true),
            };
            let incoming = Incoming {
                encoding: 0,
                source: 0,
                clock: None,
                entry: &entry(&packet),
                packet: &packet.bytes,
                elapsed_ticks: 3000,
            };
            if selector.select(&mut rewriter, &incoming).is_err() {
                continue;
            }
            sent.insert(frame);
            for diff in descriptor.frame.unwrap().frame_diffs.as_slice() {
                assert!(
                    sent.contains(&(frame - diff)),
                    "{frame} refers to {diff} before"
                );
            }
            let (_, highest) = temporals.range_mut(frame + 1..).next().unwrap();
            *highest = info.temporal.max(*highest);
        }
        assert_eq!(temporals.into_values().collect::<Vec<_>>(), [top, 0, top]);
        assert_eq!(sent.len(), 24 + 12 / templates.len(), "at once");
        assert_eq!(selector.current().temporal, top);
    }
}

#[test]
fn a_picture_ends_where_the_highest_layer_that_is_sent_does() {
    let patch = Patch {
        spatial: 1,
        ..Patch::NONE
    };
    let mut packet = bytes(1, 1, 0, true);
    for (marks, want) in [
        (Marks::new(false, true, 0, (0, 0)), false),
        (Marks::new(false, false, 0, (1, 0)), false),
        (Marks::new(false, true, 0, (1, 0)), true),
    ] {
        packet[1] = 96;
        apply(patch, Codec::Vp9, &mut packet, HEADER_LEN, marks);
        assert_eq!(packet[1] & 0x80 != 0, want, "{marks:?}");
    }
    packet[0] |= 0x20;
    apply(
        patch,
        Codec::Vp9,
        &mut packet,
        HEADER_LEN,
        Marks::new(false, true, 0, (2, 0)),
    );
    assert_eq!(
        (packet[0] & 0x20, packet[1]),
        (0, 96),
        "without payload there is no padding"
    );
}

/// A picture of which the lower layers went out without a selector is finished with one: cut in
/// the middle it would have no end, and decoders would wait for it.
#[test]
fn a_picture_under_way_is_finished() {
    let start = test_now().instant;
    let packet = |seq, number: u32, spatial| Packet {
        encoding: 0,
        seq,
        timestamp: RtpTime(3000 * number),
        marks: Marks::new(false, true, 0, (spatial, 0)),
        picture_id: 1,
        tl0_pic_idx: 1,
        frame: number,
        at: start,
        bytes: bytes(1, 1, 0, true),
    };
    let mut s = Subscription::new(false);
    s.rewriter.start(0, 500, RtpTime(3000), 0);
    s.rewriter.map(0, 500, RtpTime(3000));
    s.selector.wanted = layer(0, 2);
    s.selector.take_over(&s.rewriter);
    for (seq, number, spatial) in [
        (501, 1, 1),
        (502, 1, 2),
        (503, 2, 0),
        (504, 2, 1),
        (505, 3, 0),
    ] {
        s.take(&packet(seq, number, spatial));
    }
    let sent: Vec<_> = s.sent.iter().map(|(sent, seq)| (*seq, sent.out)).collect();
    assert_eq!(
        sent,
        [(501, 70_001), (502, 70_002), (503, 70_003), (505, 70_004)]
    );
}

/// Two hours at 50 parts in a million: what the clocks have drifted since the first look is no step
/// between two encodings.
#[test]
fn a_drifted_clock_is_no_step_in_time() {
    let start = test_now().instant;
    let frames: Vec<(u8, bool)> = (0..10).map(|number| (0, number == 6)).collect();
    let mut s = Subscription::new(true);
    for packet in &packets(start, &frames, Sign::This) {
        if packet.encoding == 0 && packet.frame == 2 {
            s.selector.learn_clock(&s.rewriter, s.clock[0]);
            let drift = |clock: Option<SenderClock>| {
                clock.map(|clock| SenderClock {
                    rtp: RtpTime(clock.rtp.0.wrapping_sub(32_400)),
                    ..clock
                })
            };
            s.clock = s.clock.map(drift);
            s.selector.learn_clock(&s.rewriter, s.clock[0]);
        }
        if packet.frame == 5 {
            s.selector.wanted = layer(1, 2);
        }
        s.take(packet);
    }
    assert_eq!(s.sent.last().unwrap().0.encoding, 1);
    for pair in s.sent.windows(2) {
        let step = pair[1].0.timestamp.distance(pair[0].0.timestamp);
        assert!((1..=3001).contains(&step), "{step}");
    }
}
