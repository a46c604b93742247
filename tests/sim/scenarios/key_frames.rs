//! Viewers that come late begin with a key frame, and the publisher is asked for few.

use std::time::Duration;

use crate::bare::{Bare, Negotiated, RTX_SSRC, Rtp, VIDEO_SSRC};
use crate::check::assert_all_arrived;
use crate::world::World;

#[test]
fn twenty_viewers_at_once_cost_two_requests_at_most() {
    let mut world = World::new(1, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    world.run(Duration::from_secs(2));
    let before = world.counters(0).key_frame_requests;

    let viewers: Vec<_> = (0..20).map(|_| world.play(0, "call")).collect();
    world.connect();
    world.run(Duration::from_secs(2));
    let requests = world.counters(0).key_frame_requests - before;
    assert!((1..=2).contains(&requests), "{requests} requests");
    let until = world.now.instant - Duration::from_millis(100);
    for viewer in viewers {
        assert_all_arrived(&world.clients[publisher], &world.clients[viewer], until);
    }
}

#[test]
fn viewers_that_ask_all_the_time_cost_two_requests_a_second() {
    let mut world = World::new(2, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewers: Vec<_> = (0..5).map(|_| world.play(0, "call")).collect();
    world.connect();
    world.run(Duration::from_secs(1));
    let before = world.clients[publisher].key_frame_requests.len();
    for _ in 0..100 {
        let now = world.now.instant;
        for viewer in &viewers {
            world.clients[*viewer].request_key_frame(now);
        }
        world.run(Duration::from_millis(50));
    }
    let asked = world.clients[publisher].key_frame_requests.len() - before;
    assert!((9..=11).contains(&asked), "{asked} in five seconds");
}

#[test]
fn a_lost_request_is_repeated() {
    use crate::network::{Direction, Link};
    let mut world = World::new(3, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    world.run(Duration::from_secs(1));
    world
        .network
        .set(publisher, Direction::Down, Link::lossy(1.0));
    let viewer = world.play(0, "call");
    world.connect();
    world.run(Duration::from_millis(700));
    assert!(!has_video(&world, viewer), "no key frame, no video");
    world.network.set(publisher, Direction::Down, Link::CLEAN);
    world.run(Duration::from_millis(1000));
    assert!(has_video(&world, viewer));
}

fn has_video(world: &World, viewer: usize) -> bool {
    use leafcutter::base::codec::MediaKind;
    world.clients[viewer]
        .received
        .iter()
        .any(|r| r.kind == MediaKind::Video)
}

/// NAL units of x264, baseline, 640x480.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x16, 0xd9, 0, 0xa0, 0x3d, 0xb0, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x14, 0x0f,
    0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const SEI: &[u8] = &[6, 5, 0xff];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x0d];
const DELTA: &[u8] = &[0x41, 0x9a, 0x38, 0x1b];

/// A publisher of H.264 that has sent a key frame as packets 100 to 102, each NAL unit in one of
/// its own, and a viewer that came too late for it.
fn h264(world: &mut World) -> (Bare, Bare) {
    let h264 = "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n";
    let changes = [("VP8/90000\r\n", h264)];
    let publisher = Negotiated::publisher_that_offers(world, 0, "s", &changes).connect(world);
    send(world, &publisher, 100, 1, &[SPS, PPS, IDR]);
    let viewer = Negotiated::viewer(world, 0, "s").connect(world);
    send(world, &publisher, 103, 2, &[DELTA]);
    assert_eq!(received(world, &viewer), [[0; 0]; 0]);
    (publisher, viewer)
}

/// Sends one frame, a packet for each of `nals` that is not empty: those are lost.
fn send(world: &mut World, publisher: &Bare, first: u16, frame: u32, nals: &[&[u8]]) {
    for (seq, payload) in (first..).zip(nals).filter(|(_, nal)| !nal.is_empty()) {
        let packet = Rtp {
            pt: 96,
            ssrc: VIDEO_SSRC,
            seq,
            timestamp: frame * 3000,
            marker: seq + 1 == first + nals.len() as u16,
            transport_seq: seq,
            payload,
        };
        publisher.send(world, &publisher.rtp(&packet));
    }
    world.run(Duration::from_millis(5));
}

fn received(world: &mut World, viewer: &Bare) -> Vec<Vec<u8>> {
    let payloads = viewer.payloads_received(world).into_iter();
    payloads.map(|(_, payload)| payload).collect()
}

#[test]
fn who_begins_begins_with_the_parameter_sets() {
    let mut world = World::new(4, 1);
    let (publisher, viewer) = h264(&mut world);
    send(&mut world, &publisher, 104, 3, &[&[], PPS, IDR]);
    assert_eq!(received(&mut world, &viewer), [[0; 0]; 0], "no SPS");
    let repaired = [&[0, 104], SPS].concat();
    let rtx = Rtp {
        pt: 97,
        ssrc: RTX_SSRC,
        seq: 1,
        timestamp: 9000,
        marker: false,
        transport_seq: 200,
        payload: &repaired,
    };
    publisher.send(&mut world, &publisher.rtp(&rtx));
    world.run(Duration::from_millis(5));
    send(&mut world, &publisher, 107, 4, &[DELTA]);
    assert_eq!(received(&mut world, &viewer), [SPS, DELTA]);
}

#[test]
fn a_key_frame_without_parameter_sets_is_one_where_nothing_is_missing() {
    // Whether a viewer begins with it, and the frame.
    let cases: [(bool, &[&[u8]]); 5] = [
        (true, &[IDR]),
        (true, &[SEI, IDR]),
        (true, &[SPS, PPS, IDR]),
        (false, &[&[], IDR]),
        (false, &[SEI, &[], IDR]),
    ];
    for (begins, frame) in cases {
        let mut world = World::new(5, 1);
        let (publisher, viewer) = h264(&mut world);
        send(&mut world, &publisher, 104, 3, frame);
        let came = received(&mut world, &viewer);
        // Decoders do without SEI.
        let expected = frame.iter().filter(|nal| begins && **nal != SEI);
        assert_eq!(came, expected.copied().collect::<Vec<_>>(), "{frame:02x?}");
    }
}
