//! One turn's fan-out: the packets of a video frame to N subscribers, without sockets.
//!
//! Measures select, rewrite, copy, stamp and protect into the egress buffer, as `engine/media.rs`
//! does it. Throughput is in delivered packets.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use leafcutter::base::clock::Now;
use leafcutter::base::codec::{Codec, MediaKind};
use leafcutter::base::egress::{Egress, Route};
use leafcutter::base::extension::ExtensionMap;
use leafcutter::base::fault::DropCounters;
use leafcutter::base::ids::{Mid, Pt, Ssrc, TrackId, WorkerId};
use leafcutter::base::seq::{RtpTime, SeqNo};
use leafcutter::model::layers::{Marks, Target};
use leafcutter::model::track::TrackInfo;
use leafcutter::peer::send::{Outlet, Sent};
use leafcutter::peer::subscriber::{Sending, SendingState, Subscriber};
use leafcutter::router::history::Stored;
use leafcutter::router::rewrite::Rewriter;
use leafcutter::router::track::Track;
use leafcutter::rtp::{RtpHeader, canonical};
use leafcutter::sdp::SessionVersion;
use leafcutter::srtp::{MasterKey, Profile, Protect};
use leafcutter::stream::send::SendStream;

/// Packets in the frame: 1.5 Mbit/s at 30 frames a second.
const PACKETS: u64 = 6;

/// Payload bytes per packet.
const PAYLOAD_LEN: usize = 1150;

#[allow(clippy::disallowed_methods)]
fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_us: 1_700_000_000_000_000,
    }
}

fn track(now: Now) -> Track {
    let info = TrackInfo {
        id: TrackId {
            origin: WorkerId(0),
            serial: 0,
        },
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        fmtp: "".into(),
        pt: Pt(96),
        rtx_pt: Some(Pt(97)),
        encodings: 1,
    };
    Track::new(now.instant, info)
}

fn store_frame(track: &mut Track, now: Now, first: u64) {
    let payload = [0x5a; PAYLOAD_LEN];
    for seq in first..first + PACKETS {
        let mut packet = [0; 12];
        packet[0] = 0x80;
        let header = RtpHeader::parse(&packet).expect("a plain header");
        let slot = track.history.slot(now.instant, 1440).expect("room");
        let source = canonical::Source {
            packet: &packet,
            header: &header,
            payload: &payload,
            extensions: &ExtensionMap::default(),
            pt: Pt(96),
            seq: SeqNo(seq as u16),
            marker: false,
        };
        let layout = canonical::write(slot, source).expect("fits");
        let stored = Stored {
            seq,
            timestamp: RtpTime(3000),
            len: layout.len,
            header_len: layout.header_len,
            transport_seq_at: layout.transport_seq_at,
            marks: Marks::base(true),
        };
        track.store(now.instant, stored);
    }
}

fn subscriber(now: Now, track: &Track, n: u32) -> (Subscriber, Protect, Route) {
    let sending = Sending {
        mid: Mid::new("0").expect("a mid"),
        label: "bench".into(),
        info: track.info.clone(),
        track: None,
        stream: SendStream::new(Ssrc(n), None),
        rewriter: Rewriter::new(0x1_0000),
        state: SendingState::Flowing,
        layers: None,
        target: Target::Best,
        max_height: 0,
        enabled: true,
        switched_on: true,
        dropped: 0,
        transport_cc: true,
        last_stored: None,
        cname: String::new(),
    };
    let key: Vec<u8> = (0..16).map(|i| (n as u8).wrapping_add(i)).collect();
    let master = MasterKey::new(Profile::AeadAes128Gcm, &key, &[7; 12]).expect("lengths fit");
    let protect = Protect::new(&master).expect("a key");
    let remote = SocketAddr::from(([127, 0, 0, 1], 1024 + n as u16));
    let mut subscriber = Subscriber::new(now, SessionVersion { id: 1, version: 1 });
    subscriber.add_sending(sending);
    (
        subscriber,
        protect,
        Route {
            remote,
            local: None,
        },
    )
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn");
    for subscribers in [1u32, 10, 100, 1000] {
        let now = now();
        let mut track = track(now);
        let mut all: Vec<_> = (0..subscribers)
            .map(|n| subscriber(now, &track, n))
            .collect();
        let mut egress = Egress::default();
        let mut dropped = DropCounters::default();
        let mut sent = Sent::default();
        let mut first = 0x1_0000;
        group.throughput(Throughput::Elements(u64::from(subscribers) * PACKETS));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter(|| {
                let from = track.history.end();
                store_frame(&mut track, now, first);
                first += PACKETS;
                for (subscriber, protect, route) in &mut all {
                    if !egress.has_room_for(PACKETS as usize) {
                        black_box(egress.runs());
                        egress.clear();
                    }
                    let mut outlet = Outlet {
                        route: *route,
                        protect,
                        egress: &mut egress,
                        dropped: &mut dropped,
                        sent: &mut sent,
                    };
                    subscriber.forward(0, &track, from, &mut outlet);
                }
            });
        });
        assert!(sent.packets > 0, "packets were written");
    }
    group.finish();
}

criterion_group!(benches, turn);
criterion_main!(benches);
