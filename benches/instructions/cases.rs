//! The cases: each sets up what it needs and runs its work within [`counted_by_callgrind`].

use std::hint::black_box;

use leafcutter::base::bytes::Writer;
use leafcutter::base::extension::{ExtensionKind, ExtensionMap};
use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::{Pt, Ssrc};
use leafcutter::base::seq::{RtpTime, SeqNo};
use leafcutter::engine::Counters;
use leafcutter::model::layers::Marks;
use leafcutter::router::history::{History, Stored};
use leafcutter::rtcp::write::{self, FeedbackHead};
use leafcutter::rtcp::{Compound, Packet};
use leafcutter::rtp::extension::Known;
use leafcutter::rtp::{RtpHeader, canonical};
use leafcutter::srtp::{MasterKey, Profile, Protect, Unprotect};

use crate::counted_by_callgrind;
use crate::stage::{FRAME, PACKETS, Script, Seat, instant, stage};

/// Something to count.
pub struct Case {
    /// What it is called in the baseline.
    pub name: &'static str,
    /// How many units of work `run` does: the count is given per unit.
    pub units: u32,
    /// Runs it.
    pub run: fn(),
}

/// All of them, the longest last.
pub const CASES: [Case; 22] = [
    small("wire/rtp_header", rtp_header),
    small("wire/rtp_extensions", rtp_extensions),
    small("wire/canonical_1150", canonical_form),
    small("wire/rtcp_compound", rtcp_compound),
    small("wire/transport_feedback", transport_feedback),
    small("srtp/protect_gcm128_160", || {
        protect(Profile::AeadAes128Gcm, 160)
    }),
    small("srtp/protect_gcm128_1200", || {
        protect(Profile::AeadAes128Gcm, 1200)
    }),
    small("srtp/protect_gcm256_160", || {
        protect(Profile::AeadAes256Gcm, 160)
    }),
    small("srtp/protect_gcm256_1200", || {
        protect(Profile::AeadAes256Gcm, 1200)
    }),
    small("srtp/protect_cm_160", || {
        protect(Profile::AesCm128HmacSha1_80, 160)
    }),
    small("srtp/protect_cm_1200", || {
        protect(Profile::AesCm128HmacSha1_80, 1200)
    }),
    small("srtp/unprotect_gcm128_160", || {
        unprotect(Profile::AeadAes128Gcm, 160)
    }),
    small("srtp/unprotect_gcm128_1200", || {
        unprotect(Profile::AeadAes128Gcm, 1200)
    }),
    small("srtp/unprotect_gcm256_160", || {
        unprotect(Profile::AeadAes256Gcm, 160)
    }),
    small("srtp/unprotect_gcm256_1200", || {
        unprotect(Profile::AeadAes256Gcm, 1200)
    }),
    small("srtp/unprotect_cm_160", || {
        unprotect(Profile::AesCm128HmacSha1_80, 160)
    }),
    small("srtp/unprotect_cm_1200", || {
        unprotect(Profile::AesCm128HmacSha1_80, 1200)
    }),
    small("history/push_find_1150", history),
    engine("engine/feedback", FRAMES * VIEWERS, feedback),
    engine("engine/nack_5", FRAMES * VIEWERS, nack),
    engine("engine/turn_10", FRAMES, || turn(10)),
    engine("engine/turn_100", FRAMES, || turn(100)),
];

const fn small(name: &'static str, run: fn()) -> Case {
    let units = SMALL;
    Case { name, units, run }
}

const fn engine(name: &'static str, units: u32, run: fn()) -> Case {
    Case { name, units, run }
}

/// Units of a case that takes less than a few thousand instructions.
const SMALL: u32 = 1000;

/// Frames that a case with an engine counts.
const FRAMES: u32 = 20;

/// Viewers of the cases where each sends something: how far a hash table's probe goes is chance,
/// which evens out over several.
const VIEWERS: u32 = 10;

/// A video packet as a browser sends it: MID, transport-wide number and absolute send time.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0xbe, 0xde, 0, 3];
    packet.extend_from_slice(&[0x10, b'1', 0x31, 0, 7, 0x22, 1, 2, 3, 0, 0, 0]);
    packet.extend_from_slice(&[0x5a; 1150]);
    packet
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.insert(ExtensionKind::Mid, 1);
    map.insert(ExtensionKind::AbsSendTime, 2);
    map.insert(ExtensionKind::TransportCc, 3);
    map
}

fn rtp_header() {
    let packet = packet();
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            assert!(black_box(RtpHeader::parse(black_box(&packet))).is_some());
        }
    });
}

fn rtp_extensions() {
    let (packet, map) = (packet(), extensions());
    let header = RtpHeader::parse(&packet).expect("a valid packet");
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            let known = Known::read(black_box(&packet), &header, &map);
            assert_eq!(black_box(known).transport_seq, Some(7));
        }
    });
}

fn canonical_form() {
    let (packet, map) = (packet(), extensions());
    let header = RtpHeader::parse(&packet).expect("a valid packet");
    let mut out = [0; 1440];
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            let source = canonical::Source {
                packet: black_box(&packet),
                header: &header,
                payload: header.payload(&packet).expect("a payload"),
                extensions: &map,
                pt: Pt(96),
                seq: SeqNo(1),
                marker: true,
            };
            assert!(canonical::write(black_box(&mut out), source).is_some());
        }
    });
}

fn rtcp_compound() {
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    write::receiver_report(&mut w, Ssrc(1), &[]).expect("fits");
    write::nack(&mut w, Ssrc(1), Ssrc(2), &[SeqNo(7), SeqNo(9), SeqNo(400)]);
    write::pli(&mut w, Ssrc(1), Ssrc(2)).expect("fits");
    let len = w.len();
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            let packets = Compound::new(black_box(&buf[..len]));
            assert_eq!(
                packets.filter(|packet| black_box(packet).is_ok()).count(),
                3
            );
        }
    });
}

/// 50 packets, one of them lost.
fn transport_feedback() {
    let mut buf = [0; 1200];
    let mut w = Writer::new(&mut buf);
    let head = FeedbackHead {
        sender: Ssrc(1),
        media: Ssrc(2),
        base_seq: 65_520,
        feedback_count: 3,
    };
    let arrivals = (0..50).map(|n| (n != 20).then_some(1000 + n * 3));
    assert_eq!(write::transport_feedback(&mut w, &head, arrivals), 50);
    let len = w.len();
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            let mut arrived = 0;
            for packet in Compound::new(black_box(&buf[..len])) {
                if let Ok(Packet::TransportFeedback(feedback)) = packet {
                    arrived += feedback.arrivals().filter(|(_, at)| at.is_some()).count();
                }
            }
            assert_eq!(black_box(arrived), 49);
        }
    });
}

fn protect(profile: Profile, len: usize) {
    let protect = Protect::new(&master(profile)).expect("keys");
    let mut buf = plain(len);
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            let sealed = protect.protect_rtp(black_box(&mut buf), 20, len, INDEX);
            assert!(sealed.is_some());
        }
    });
}

/// Includes a copy of the protected packet, because opening it destroys it.
fn unprotect(profile: Profile, len: usize) {
    let unprotect = Unprotect::new(&master(profile)).expect("keys");
    let mut sealed = plain(len);
    let protect = Protect::new(&master(profile)).expect("keys");
    let sealed_len = protect.protect_rtp(&mut sealed, 20, len, INDEX);
    sealed.truncate(sealed_len.expect("room"));
    let mut buf = sealed.clone();
    counted_by_callgrind(|| {
        for _ in 0..SMALL {
            buf.copy_from_slice(black_box(&sealed));
            assert_eq!(unprotect.unprotect_rtp(&mut buf, 20, INDEX), Ok(len));
        }
    });
}

fn master(profile: Profile) -> MasterKey {
    let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
    MasterKey::new(profile, &key, &salt).expect("lengths fit")
}

/// A packet of `len` bytes, 20 of them header, and room for any profile's tag.
fn plain(len: usize) -> Vec<u8> {
    let mut buf: Vec<u8> = (0..len).map(|i| i as u8).collect();
    buf[..4].copy_from_slice(&[0x90, 96, 0, INDEX as u8]);
    buf.resize(len + 20, 0);
    buf
}

const INDEX: u64 = 42;

/// A packet goes into a full ring, and the one 100 before it is looked for.
fn history() {
    let now = instant();
    let payload = [0x5a; 1150];
    let mut history = History::new(512, 512 * 1200);
    let mut push = |seq: u64| {
        let slot = history.slot(now, payload.len()).expect("room");
        slot.copy_from_slice(black_box(&payload));
        let stored = Stored {
            seq,
            timestamp: RtpTime(seq as u32),
            len: payload.len(),
            header_len: 20,
            transport_seq_at: 17,
            marks: Marks::base(false),
        };
        history.push(now, stored);
        seq < 100 || black_box(history.find(black_box(seq - 100))).is_some()
    };
    for seq in 0..1000 {
        assert!(push(seq));
    }
    counted_by_callgrind(|| {
        for seq in 1000..1000 + u64::from(SMALL) {
            assert!(push(seq));
        }
    });
}

/// One worker with `viewers` viewers after some frames.
fn running(viewers: usize) -> (Seat, Script) {
    let (mut seats, mut script) = stage(1, &vec![0; viewers]);
    let mut seat = seats.remove(0);
    for _ in 0..10 {
        let mut frame = script.frame();
        seat.turn(script.now, &mut frame);
    }
    (seat, script)
}

/// How far a counter came.
fn gained(seat: &Seat, before: &Counters, of: fn(&Counters) -> u64) -> u64 {
    of(&seat.engine.counters()) - of(before)
}

/// A frame from the publisher to every viewer.
fn turn(viewers: usize) {
    let (mut seat, mut script) = running(viewers);
    let before = seat.engine.counters();
    for _ in 0..FRAMES {
        let mut frame = script.frame();
        counted_by_callgrind(|| seat.turn(script.now, &mut frame));
    }
    let expected = u64::from(FRAMES) * (PACKETS * viewers) as u64;
    assert_eq!(gained(&seat, &before, |c| c.rtp_sent), expected);
}

/// A viewer asks for five packets and gets them.
fn nack() {
    let (mut seat, mut script) = running(VIEWERS as usize);
    let before = seat.engine.counters();
    for _ in 0..FRAMES {
        // Retransmission has a budget, which is to last.
        for _ in 0..3 {
            let mut frame = script.frame();
            seat.turn(script.now, &mut frame);
        }
        let now = script.now.after(FRAME / 2);
        for viewer in 0..VIEWERS as usize {
            let mut asked = [script.nack(viewer, 5)];
            counted_by_callgrind(|| seat.turn(now, &mut asked));
        }
    }
    let expected = u64::from(FRAMES * VIEWERS) * 5;
    assert_eq!(gained(&seat, &before, |c| c.retransmitted), expected);
}

/// A viewer tells what arrived.
fn feedback() {
    let (mut seat, mut script) = running(VIEWERS as usize);
    let before = seat.engine.counters();
    for _ in 0..FRAMES {
        let mut frame = script.frame();
        seat.turn(script.now, &mut frame);
        let now = script.now.after(FRAME / 2);
        for viewer in 0..VIEWERS as usize {
            let mut told = [script.feedback(viewer)];
            counted_by_callgrind(|| seat.turn(now, &mut told));
        }
    }
    let dropped = |c: &Counters| DropReason::ALL.map(|reason| c.dropped.get(reason));
    assert_eq!(dropped(&seat.engine.counters()), dropped(&before));
}
