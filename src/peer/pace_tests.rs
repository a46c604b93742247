//! A path that takes less than is to be sent: what waits, what is left out, what comes twice.

use std::net::SocketAddr;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::base::clock::tests::test_now;
use crate::base::codec::Codec;
use crate::base::egress::{Egress, Route};
use crate::base::extension::{ExtensionKind, ExtensionMap};
use crate::base::fault::DropCounters;
use crate::base::ids::{Mid, Pt, Ssrc, TrackId, WorkerId};
use crate::base::limits::{MAX_DATAGRAM_LEN, MAX_SENT_RECORDS};
use crate::model::layers::{Layer, Marks};
use crate::model::track::TrackInfo;
use crate::payload::dependency_descriptor::tests::frame_bytes;
use crate::peer::layers::Layered;
use crate::peer::send::Sent;
use crate::peer::ssrcs::Ssrcs;
use crate::peer::subscriber::SendingState;
use crate::router::history::Stored;
use crate::router::rewrite::Rewriter;
use crate::router::select::Selector;
use crate::rtp::{RtpHeader, canonical};
use crate::sdp::SessionVersion;
use crate::srtp::{MasterKey, Profile, Protect};
use crate::stream::send::SendStream;

/// A track, a subscriber of it whose path takes 1 Mbit/s, and where its packets go.
struct Bench {
    now: Now,
    tracks: Tracks,
    key: TrackKey,
    subscriber: Subscriber,
    protect: Protect,
    egress: Egress,
    dropped: DropCounters,
    drops: DropCounters,
    sent: Sent,
    next_seq: u64,
    payload_len: usize,
    /// Timestamp of what is stored; `None`: each packet is a frame.
    timestamp: Option<RtpTime>,
    /// In the dependency descriptor of the next packet; `None`: without one.
    frame_number: Option<u16>,
}

impl Bench {
    fn new() -> Self {
        let now = test_now();
        let info = TrackInfo {
            id: TrackId {
                origin: WorkerId(0),
                serial: 0,
            },
            kind: MediaKind::Video,
            codec: Codec::Vp8,
            fmtp: "".into(),
            pt: Pt(96),
            rtx_pt: None,
            red: false,
            encodings: 1,
        };
        let mut tracks = Tracks::default();
        let mut track = Track::new(info.clone());
        track.relays.push(WorkerId(1));
        let key = tracks.insert(track);
        let session = SessionVersion { id: 1, version: 1 };
        let ssrcs = Ssrcs::random(&mut StdRng::seed_from_u64(1));
        let mut subscriber = Subscriber::new(now, session, ssrcs);
        subscriber.add_sending(Sending {
            mid: Mid::new("0").unwrap(),
            label: "s".into(),
            info,
            track: Some(key),
            layers: None,
            target: Target::Best,
            short_since: None,
            max_height: 0,
            stream: SendStream::new(Ssrc(1), None),
            rewriter: Rewriter::new(0x1_0000),
            state: SendingState::Flowing,
            enabled: true,
            switched_on: true,
            dropped: 0,
            transport_cc: true,
            takes_red: false,
            pt: None,
            ids: None,
            last_stored: None,
            cname: String::new(),
        });
        subscriber.path.handle_remb(now.instant, 1_000_000);
        let sums = Sums {
            sent_bps: 1_000_000,
            wanted_bps: 1_000_000,
            is_unknown: false,
            can_probe: true,
        };
        subscriber.path.settle(now.instant, sums);
        let master = MasterKey::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).unwrap();
        Self {
            now,
            tracks,
            key,
            subscriber,
            protect: Protect::new(&master).unwrap(),
            egress: Egress::default(),
            dropped: DropCounters::default(),
            drops: DropCounters::default(),
            sent: Sent::default(),
            next_seq: 0x1_0000,
            payload_len: 1000,
            timestamp: None,
            frame_number: None,
        }
    }

    fn store(&mut self, packets: u64, key_frame: bool) {
        let track = self.tracks.get_mut(self.key).unwrap();
        for n in 0..packets {
            let seq = self.next_seq;
            self.next_seq += 1;
            let mut packet = vec![0; 12];
            packet[0] = 0x80;
            let mut extensions = ExtensionMap::default();
            if let Some(number) = &mut self.frame_number {
                packet[0] = 0x90;
                extensions.insert(ExtensionKind::DependencyDescriptor, 4);
                packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x42]);
                packet.extend_from_slice(&frame_bytes(0, *number, None));
                *number = number.wrapping_add(1);
            }
            let slot = track.history.slot(self.now.instant, 1440).unwrap();
            let source = canonical::Source {
                packet: &packet,
                header: &RtpHeader::parse(&packet).unwrap(),
                payload: &[0x5a; 1000][..self.payload_len],
                extensions: &extensions,
                pt: Pt(96),
                seq: SeqNo(seq as u16),
                marker: false,
            };
            let layout = canonical::write(slot, source).unwrap();
            let stored = Stored {
                seq,
                timestamp: self.timestamp.unwrap_or(RtpTime(seq as u32)),
                len: layout.len,
                header_len: layout.header_len,
                transport_seq_at: layout.transport_seq_at,
                marks: Marks::base(key_frame && n == 0),
            };
            track.store(self.now.instant, stored);
        }
    }

    /// Forwards from position `from`, or resumes; returns the packets written.
    fn serve(&mut self, from: Option<u64>) -> u64 {
        let before = self.sent.packets;
        let route = Route::udp(SocketAddr::from(([127, 0, 0, 1], 5000)), None);
        let mut outlet = Outlet {
            now: self.now.instant,
            route,
            protect: &self.protect,
            egress: &mut self.egress,
            dropped: &mut self.dropped,
            drops: &mut self.drops,
            sent: &mut self.sent,
        };
        match from {
            Some(from) => {
                let track = self.tracks.get(self.key).unwrap();
                let end = track.history.end();
                let reached = self
                    .subscriber
                    .forward(0, self.key, track, from..end, &mut outlet);
                assert_eq!(reached, end);
                self.tracks.get_mut(self.key).unwrap().fresh = end;
            }
            None => {
                let tracks = &mut self.tracks;
                assert!(self.subscriber.resume(self.now, tracks, &mut outlet));
            }
        }
        self.egress.clear();
        self.sent.packets - before
    }

    /// The player asks for packet `seq`; returns the packets written.
    fn ask(&mut self, seq: u64) -> u64 {
        let before = self.sent.packets;
        self.subscriber.asked.push((0, SeqNo(seq as u16)));
        let mut outlet = Outlet {
            now: self.now.instant,
            route: Route::udp(SocketAddr::from(([127, 0, 0, 1], 5000)), None),
            protect: &self.protect,
            egress: &mut self.egress,
            dropped: &mut self.dropped,
            drops: &mut self.drops,
            sent: &mut self.sent,
        };
        self.subscriber
            .retransmit(self.now, &self.tracks, &mut outlet);
        self.egress.clear();
        self.sent.packets - before
    }

    /// What is added to the frame number of the packet that was sent last.
    fn added(&self) -> u16 {
        let rewriter = &self.subscriber.sendings[0].rewriter;
        let last = rewriter.lead_back(rewriter.highest_out().unwrap()).unwrap();
        let track = self.tracks.get(self.key).unwrap();
        let (entry, _) = track.history.find(last.seq).unwrap();
        last.patch(entry.timestamp).frame_number
    }

    /// What bringing along the payload before it adds to the newest packet, which was sent
    /// last.
    fn repeated_len(&self) -> usize {
        let track = self.tracks.get(self.key).unwrap();
        let sending = &self.subscriber.sendings[0];
        let (entry, packet) = track.history.at(track.history.end() - 1).unwrap();
        let mut slot = [0; MAX_DATAGRAM_LEN];
        slot[..packet.len()].copy_from_slice(packet);
        let out = sending.rewriter.highest_out().unwrap();
        let from = (usize::from(entry.header_len), packet.len());
        let end = sending.repeat(&mut slot, track, (entry, out), from);
        end - packet.len()
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }
}

#[test]
fn a_large_frame_waits_in_the_history_and_is_sent_in_order_a_burst_at_a_time() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.store(40, true);
    let at_once = bench.serve(Some(0));
    assert!((1..=4).contains(&at_once), "{at_once}");
    assert!(bench.subscriber.path.lists_anew());
    assert!(!bench.subscriber.path.lists_anew(), "once");
    // There was no way to it for a while.
    bench.subscriber.path.unlist();
    assert!(bench.subscriber.path.lists_anew());
    // What comes meanwhile goes behind it.
    bench.store(2, false);
    assert_eq!(bench.serve(Some(40)), 0);
    let (mut sent, mut ticks) = (at_once, 0);
    while bench.subscriber.path.stays_listed() {
        bench.pass(4);
        let burst = bench.serve(None);
        assert!(burst <= 2, "{burst}");
        sent += burst;
        ticks += 1;
    }
    assert_eq!(sent, 42);
    // 42 kB at 2 Mbit/s.
    assert!((35..60).contains(&ticks), "{ticks}");
    assert_eq!(bench.dropped.get(DropReason::TooOld), 0);
}

/// The pass that brings fresh packets to everybody would send them a second time, under the
/// same numbers.
#[test]
fn fresh_packets_are_left_to_the_pass_that_sends_them_to_everybody() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.store(40, true);
    let mut sent = bench.serve(Some(0));
    bench.store(3, false);
    for _ in 0..50 {
        bench.pass(4);
        sent += bench.serve(None);
    }
    assert_eq!(sent, 40);
    assert!(!bench.subscriber.path.stays_listed());
    bench.pass(4);
    sent += bench.serve(Some(40));
    while bench.subscriber.path.lists_anew() || bench.subscriber.path.stays_listed() {
        bench.pass(4);
        sent += bench.serve(None);
    }
    assert_eq!(sent, 43);
}

#[test]
fn what_waits_when_the_publisher_switches_its_track_off_is_not_sent() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.store(40, true);
    let at_once = bench.serve(Some(0));
    bench.store(2, false);
    let key = bench.key;
    let track = bench.tracks.get_mut(key).unwrap();
    track.switch(false, 0);
    track.fresh = track.history.end();
    for _ in 0..50 {
        bench.pass(4);
        assert_eq!(bench.serve(None), 0);
    }
    assert!(!bench.subscriber.path.stays_listed());
    assert_eq!(bench.dropped.get(DropReason::Disabled), 42 - at_once);
}

#[test]
fn what_is_too_late_is_left_out_up_to_the_latest_key_frame() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.store(40, true);
    let at_once = bench.serve(Some(0));
    bench.store(20, false);
    bench.pass(500);
    bench.store(10, true);
    bench.serve(Some(60));
    bench.serve(None);
    let skipped = bench.dropped.get(DropReason::TooOld);
    assert_eq!(skipped, 60 - at_once);
    while bench.subscriber.path.stays_listed() {
        bench.pass(4);
        bench.serve(None);
    }
    assert_eq!(bench.sent.packets, at_once + 10);
    // No hole: the numbers go on where they were.
    let highest = bench.subscriber.sendings[0].rewriter.highest_out();
    assert_eq!(highest, Some(0x1_0000 + at_once + 10 - 1));
}

/// Packets that were left out after a key frame of `packets`, all of one timestamp, and others.
fn left_out_behind_a_key_frame(packets: u64) -> (Bench, u64) {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.timestamp = Some(RtpTime(7));
    bench.store(packets, true);
    bench.serve(Some(0));
    while bench.subscriber.path.lists_anew() || bench.subscriber.path.stays_listed() {
        bench.pass(4);
        bench.serve(None);
    }
    let left_out = bench.dropped.get(DropReason::TooOld);
    (bench, left_out)
}

#[test]
fn a_key_frame_that_was_begun_is_finished() {
    // 200 kB at 2 Mbit/s.
    let (bench, left_out) = left_out_behind_a_key_frame(200);
    assert_eq!((bench.sent.packets, left_out), (200, 0));
    let (mut bench, left_out) = left_out_behind_a_key_frame(700);
    assert!((450..550).contains(&bench.sent.packets), "two seconds");
    assert_eq!(bench.sent.packets + left_out, 700);
    let mut wanted = Vec::new();
    bench.tracks.poll_key_frames(bench.now.instant, &mut wanted);
    assert_eq!(wanted, [bench.key]);
}

/// Five frames a second of a few bytes, while a key frame takes 800 ms.
#[test]
fn what_waits_behind_a_key_frame_follows_it() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.timestamp = Some(RtpTime(7));
    bench.store(200, true);
    bench.serve(Some(0));
    bench.timestamp = None;
    assert!(bench.subscriber.path.lists_anew());
    for at in 200..210 {
        for _ in 0..50 {
            bench.pass(4);
            bench.serve(None);
        }
        bench.store(1, false);
        bench.serve(Some(at));
    }
    assert_eq!(bench.sent.packets, 210);
    assert_eq!(bench.dropped.get(DropReason::TooOld), 0);
}

#[test]
fn what_waits_of_an_encoding_that_was_left_does_not_stop_the_next() {
    let mut bench = Bench::new();
    let info = bench.subscriber.sendings[0].info.clone();
    let mut next = Track::new(info.of_encoding(1));
    next.source = 1;
    next.relays.push(WorkerId(1));
    let (old, next) = (bench.key, bench.tracks.insert(next));
    let wanted = |encoding| Layer {
        encoding,
        ..Layer::default()
    };
    let mut layers = Layered::new(Selector::new(Codec::Vp8, wanted(0)));
    layers.subscribe(0, old);
    layers.subscribe(1, next);
    bench.subscriber.sendings[0].layers = Some(Box::new(layers));
    bench.pass(100);
    bench.store(1, true);
    assert_eq!(bench.serve(Some(0)), 1);
    // The next encoding fills the path, and what still comes of the old one waits behind it for too
    // long.
    let layers = bench.subscriber.sendings[0].layers.as_mut().unwrap();
    layers.selector.wanted = wanted(1);
    bench.pass(100);
    bench.key = next;
    bench.store(50, true);
    bench.serve(Some(0));
    bench.key = old;
    bench.store(3, false);
    assert_eq!(bench.serve(Some(1)), 0);
    assert!(bench.subscriber.path.lists_anew());
    for _ in 0..45 {
        bench.pass(4);
        bench.serve(None);
    }
    bench.key = next;
    bench.store(80, false);
    assert_eq!(bench.serve(Some(50)), 0);
    while bench.subscriber.path.lists_anew() || bench.subscriber.path.stays_listed() {
        bench.pass(4);
        bench.serve(None);
    }
    assert_eq!(bench.sent.packets, 1 + 130);
    assert_eq!(bench.dropped.get(DropReason::TooOld), 3);
    let mut wanted = Vec::new();
    bench.pass(2000);
    bench.tracks.poll_key_frames(bench.now.instant, &mut wanted);
    assert_eq!(wanted, []);
}

/// What a viewer is sent of a track whose publisher has stopped, or has switched it off.
#[test]
fn what_does_not_come_any_more_counts_for_nothing() {
    for is_stopped in [true, false] {
        let mut bench = Bench::new();
        for _ in 0..300 {
            bench.pass(10);
            bench.store(5, false);
        }
        bench.subscriber.settle_path(bench.now, &bench.tracks);
        assert!(bench.subscriber.path.is_short(), "4 Mbit/s of 1");
        if is_stopped {
            bench.pass(2000);
        } else {
            bench.tracks.get_mut(bench.key).unwrap().switch(false, 1);
        }
        bench.subscriber.settle_path(bench.now, &bench.tracks);
        assert!(!bench.subscriber.path.is_short(), "{is_stopped}");
    }
}

#[test]
fn what_is_sent_twice_was_sent_once() {
    let mut bench = Bench::new();
    bench.payload_len = 200;
    bench.store(1, true);
    bench.serve(Some(0));
    assert_eq!(bench.repeated_len(), 0, "nothing was before it");
    bench.store(1, false);
    bench.serve(Some(1));
    assert_eq!(bench.repeated_len(), 5 + 200);
    // Switched off for one packet, which nobody is to get later either.
    bench.subscriber.sendings[0].rewriter.close();
    bench.store(1, false);
    bench.store(1, true);
    bench.serve(Some(3));
    assert_eq!(bench.repeated_len(), 0);
    bench.payload_len = 400;
    bench.store(2, false);
    bench.serve(Some(4));
    assert_eq!(bench.repeated_len(), 0, "too long to be sent twice");
}

/// The publisher's repair of a gap comes in the turn in which a viewer asks for the same packet:
/// sent again at once and evened out afterwards, it would be two contents under one SRTP index.
#[test]
fn what_is_about_to_be_sent_is_not_sent_again_before() {
    let mut bench = Bench::new();
    bench.subscriber.sendings[0].transport_cc = false;
    bench.payload_len = 200;
    bench.pass(100);
    bench.store(1, true);
    let missing = bench.next_seq;
    bench.next_seq += 1;
    bench.store(1, false);
    assert_eq!(bench.serve(Some(0)), 2);
    bench.next_seq = missing;
    bench.pass(100);
    bench.store(1, false);
    assert_eq!(bench.ask(missing), 0);
    assert_eq!(bench.dropped.get(DropReason::Duplicate), 1);
    let track = bench.tracks.get_mut(bench.key).unwrap();
    let (entry, _) = track.history.at(2).unwrap();
    let longer = usize::from(entry.len) + 3;
    assert!(track.history.pad(2, longer));
    assert_eq!(bench.serve(Some(2)), 1);
    assert_eq!(bench.ask(missing), 1, "once it was sent it is sent again");
}

/// Chrome drops a key frame with a structure whose frame number is below that of the last one.
#[test]
fn frame_numbers_go_on_from_one_source_to_the_next() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.frame_number = Some(40_000);
    bench.store(1, true);
    bench.store(1, false);
    assert_eq!((bench.serve(Some(0)), bench.added()), (2, 0));
    // The publisher comes back.
    bench.tracks.get_mut(bench.key).unwrap().source = 1;
    bench.frame_number = Some(7);
    bench.pass(100);
    bench.store(1, true);
    bench.store(1, false);
    assert_eq!((bench.serve(Some(2)), bench.added()), (2, 40_002 - 7));
    // Another track takes its place.
    let other = TrackInfo {
        id: TrackId {
            origin: WorkerId(0),
            serial: 64,
        },
        ..bench.subscriber.sendings[0].info.clone()
    };
    let mut other = Track::new(other);
    other.source = 2;
    bench.key = bench.tracks.insert(other);
    bench.subscriber.sendings[0].begin_track(Some(bench.key));
    bench.frame_number = Some(65_000);
    bench.pass(100);
    bench.store(1, true);
    bench.store(1, false);
    let added = 40_004u16.wrapping_sub(65_000);
    assert_eq!((bench.serve(Some(0)), bench.added()), (2, added));
    assert!(!bench.subscriber.sendings[0].is_layered(), "all is sent");
}

#[test]
fn without_frame_numbers_nothing_is_kept_for_them() {
    let mut bench = Bench::new();
    bench.store(1, true);
    bench.serve(Some(0));
    let sending = &mut bench.subscriber.sendings[0];
    assert!(sending.layers.is_none());
    sending.begin_track(Some(bench.key));
    assert!(sending.layers.is_none());
}

#[test]
fn without_a_key_frame_behind_one_is_asked_for() {
    let mut bench = Bench::new();
    bench.pass(100);
    bench.store(40, true);
    bench.serve(Some(0));
    bench.pass(500);
    assert_eq!(bench.serve(None), 0);
    assert!(!bench.subscriber.path.stays_listed());
    let mut wanted = Vec::new();
    bench.pass(2000);
    bench.tracks.poll_key_frames(bench.now.instant, &mut wanted);
    assert_eq!(wanted, [bench.key]);
}

/// A compound that reports, in one packet for each of `counts`, so many packets lost.
fn lost(counts: &[u16]) -> Vec<u8> {
    let mut compound = Vec::new();
    for count in counts {
        compound.extend_from_slice(&[0x8f, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
        compound.extend_from_slice(&count.to_be_bytes());
        compound.extend_from_slice(&[0; 4]);
        compound.extend_from_slice(&[0x1f, 0xff].repeat(9));
        compound.extend_from_slice(&[0; 2]);
    }
    compound
}

#[test]
fn a_compound_reports_on_no_more_packets_than_are_remembered() {
    let most = MAX_SENT_RECORDS as u16;
    // Packets per report, and whether the first report and all of them are taken.
    let cases: [(&[u16], bool, bool); 6] = [
        (&[most], true, true),
        (&[most + 1], false, false),
        (&[u16::MAX; 36], false, false),
        (&[most / 2, most / 2], true, true),
        (&[most / 2, most / 2 + 1], true, false),
        (&[1, u16::MAX], true, false),
    ];
    for (counts, first, all) in cases {
        let mut bench = Bench::new();
        let (subscriber, tracks) = (&mut bench.subscriber, &mut bench.tracks);
        subscriber.path.open(bench.now.instant);
        let compound = lost(counts);
        assert!(compound.len() <= MAX_DATAGRAM_LEN);
        let asked = subscriber.handle_rtcp(bench.now, &compound, tracks);
        let refused = asked.err();
        assert_eq!(
            refused,
            (!all).then_some(DropReason::MalformedRtcp),
            "{counts:?}"
        );
        // The receiver's own estimate counts until it has told of packets.
        subscriber.path.handle_remb(bench.now.instant, 500_000);
        let is_taken = subscriber.path.estimate_bps() != Some(500_000);
        assert_eq!(is_taken, first, "{counts:?}");
    }
}

#[test]
fn what_was_sent_is_reported_on_a_few_times_and_no_more() {
    let mut bench = Bench::new();
    let (subscriber, tracks) = (&mut bench.subscriber, &mut bench.tracks);
    subscriber.path.open(bench.now.instant);
    let mut report = |sent: u16, count: u16| {
        subscriber.path.next_seq = subscriber.path.next_seq.wrapping_add(sent);
        let compound = lost(&[count]);
        let asked = subscriber.handle_rtcp(bench.now, &compound, tracks);
        asked.is_ok()
    };
    assert!(report(0, MAX_SENT_RECORDS as u16));
    assert!(!report(0, 1));
    assert!(report(100, 100) && report(0, 300) && !report(0, 1));
    // However long nothing is said, a report speaks of what is remembered.
    assert!(!report(u16::MAX, MAX_SENT_RECORDS as u16 + 1));
    assert!(report(0, MAX_SENT_RECORDS as u16));
}
