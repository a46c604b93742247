//! Datagrams that vanish, overtake each other or come twice.

use std::time::Duration;

use crate::bare::{Bare, Negotiated, Rtp, VIDEO_SSRC};
use crate::check::{assert_repaired, compare};
use crate::network::{Direction, Link};
use crate::seeds;
use crate::world::World;
use leafcutter::base::codec::MediaKind;
use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::Ssrc;
use leafcutter::rtp::RtpHeader;

/// One publisher, one viewer, connected over a clean network; then `up` holds between publisher
/// and server, `down` between server and viewer, both ways each.
fn call(seed: u64, up: Link, down: Link) -> (World, usize, usize) {
    let mut world = World::new(seed, 1);
    let publisher = world.publish(0, "call");
    world.connect();
    let viewer = world.play(0, "call");
    world.connect();
    world.set_links(publisher, up, up);
    world.set_links(viewer, down, down);
    world.run(Duration::from_secs(5));
    (world, publisher, viewer)
}

fn assert_call_repaired(world: &World, publisher: usize, viewer: usize) {
    let until = world.now.instant - Duration::from_millis(1500);
    let (publisher, viewer) = (&world.clients[publisher], &world.clients[viewer]);
    assert_repaired(publisher, viewer, until);
    assert_eq!(
        world.dropped(DropReason::Disabled),
        0,
        "repair is not throttled"
    );
}

#[test]
fn five_percent_loss_towards_the_viewer_is_repaired() {
    seeds::for_each(20, |seed| {
        let (world, publisher, viewer) = call(seed, Link::CLEAN, Link::lossy(0.05));
        assert_call_repaired(&world, publisher, viewer);
        assert!(world.counters(0).retransmitted > 0);
    });
}

#[test]
fn five_percent_loss_from_the_publisher_is_repaired() {
    seeds::for_each(20, |seed| {
        let (world, publisher, viewer) = call(seed, Link::lossy(0.05), Link::CLEAN);
        assert_call_repaired(&world, publisher, viewer);
        assert!(world.counters(0).nacks_sent > 0);
    });
}

#[test]
fn five_percent_loss_everywhere_is_repaired() {
    seeds::for_each(20, |seed| {
        let (world, publisher, viewer) = call(seed, Link::lossy(0.05), Link::lossy(0.05));
        assert_call_repaired(&world, publisher, viewer);
    });
}

#[test]
fn disorder_and_duplicates_do_no_harm() {
    let link = Link {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(30),
        loss: 0.0,
        duplicate: 0.05,
    };
    seeds::for_each(10, |seed| {
        let (world, publisher, viewer) = call(seed, link, link);
        let until = world.now.instant - Duration::from_millis(500);
        let (publisher, viewer) = (&world.clients[publisher], &world.clients[viewer]);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let findings = compare(publisher, viewer, kind, until);
            assert!(findings.frames > 0, "{kind:?}: nothing came");
            assert_eq!(findings.missing, [], "{kind:?}");
        }
        assert!(
            world.dropped(DropReason::Replayed) > 0,
            "duplicates are recognised"
        );
    });
}

#[test]
fn a_lossy_network_still_connects() {
    seeds::for_each(10, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, "call");
        world.set_links(publisher, Link::lossy(0.05), Link::lossy(0.05));
        world.connect();
        let viewer = world.play(0, "call");
        world.set_links(viewer, Link::lossy(0.1), Link::lossy(0.1));
        world.connect();
        // The server is connected first: its last flight may have to be sent again, and again.
        let shown = world.run_until(Duration::from_secs(20), |world| {
            let mut received = world.clients[viewer].received.iter();
            received.any(|packet| packet.kind == MediaKind::Video)
        });
        assert!(shown, "no video");
    });
}

#[test]
fn an_outage_of_the_viewer_is_made_up_for() {
    seeds::for_each(5, |seed| {
        let (mut world, publisher, viewer) = call(seed, Link::CLEAN, Link::CLEAN);
        world.network.set(viewer, Direction::Down, Link::lossy(1.0));
        world.run(Duration::from_millis(300));
        world.network.set(viewer, Direction::Down, Link::CLEAN);
        world.run(Duration::from_secs(3));
        assert_call_repaired(&world, publisher, viewer);
    });
}

/// Some senders pad on the media's own SSRC when they probe (RFC 3550 §5.1).
#[test]
fn padding_in_the_place_of_media_is_not_asked_for_again() {
    let mut world = World::new(4, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    let packet = |seq, payload| Rtp {
        pt: 96,
        ssrc: VIDEO_SSRC,
        seq,
        timestamp: u32::from(seq) * 3000,
        marker: true,
        transport_seq: seq,
        payload,
    };
    let media: &[u8] = &[0x90, 0x80, 0x80, 1, 0x11, 2, 0, 9];
    for seq in 100..120 {
        let payload = if seq % 2 == 0 { media } else { &[] };
        publisher.send(&mut world, &publisher.rtp(&packet(seq, payload)));
        world.run(Duration::from_millis(20));
    }
    assert_eq!(world.dropped(DropReason::Padding), 10);
    assert_eq!(world.counters(0).nacks_sent, 0);
    publisher.send(&mut world, &publisher.rtp(&packet(122, media)));
    world.run(Duration::from_millis(100));
    assert!(world.counters(0).nacks_sent > 0, "what is missing is");
}

/// What is padding, and what is of a format that was not agreed on, leaves no hole in what viewers
/// get: H.264 is not decoded behind one.
#[test]
fn viewers_miss_nothing_where_there_is_no_media() {
    let mut world = World::new(5, 2);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    publisher.send(&mut world, &publisher.rtp(&frame(99)));
    let viewers = [0, 1].map(|worker| Negotiated::viewer(&mut world, worker, "s"));
    let viewers = viewers.map(|viewer| viewer.connect(&mut world));
    for seq in 100..120 {
        let packet = match seq % 10 {
            3 | 4 => Rtp {
                payload: &[],
                ..frame(seq)
            },
            7 => Rtp {
                pt: 102,
                ..frame(seq)
            },
            _ => frame(seq),
        };
        publisher.send(&mut world, &publisher.rtp(&packet));
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_millis(100));
    for viewer in viewers {
        let packets = viewer.packets_received(&mut world);
        let headers = packets.iter().filter_map(|packet| RtpHeader::parse(packet));
        let seqs: Vec<_> = headers.map(|header| header.seq).collect();
        assert_eq!(seqs.len(), 20);
        assert!(seqs.windows(2).all(|w| w[1] == w[0].plus(1)), "{seqs:?}");
        let empty = viewer.opened(packets).into_iter();
        assert_eq!(empty.filter(|(_, payload)| payload.is_empty()).count(), 6);
    }
    assert_eq!(world.dropped(DropReason::Padding), 4);
    assert_eq!(world.dropped(DropReason::UnknownPt), 2);
}

/// A VP8 key frame in one packet.
fn frame(seq: u16) -> Rtp<'static> {
    Rtp {
        pt: 96,
        ssrc: VIDEO_SSRC,
        seq,
        timestamp: u32::from(seq) * 3000,
        marker: true,
        transport_seq: seq,
        payload: &[0x10, 0, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1, 7],
    }
}

/// The same, but of a frame that refers to others.
fn delta(seq: u16) -> Rtp<'static> {
    Rtp {
        payload: &[0x10, 1, 0, 0, 7],
        ..frame(seq)
    }
}

/// Sends a key frame and others, of which one is lost; returns what a viewer and the publisher are
/// known by.
fn lose_one(world: &mut World, changes: &[(&str, &str)]) -> (Bare, Bare) {
    let publisher = Negotiated::publisher_that_offers(world, 0, "s", changes);
    let mut publisher = publisher.connect(world);
    publisher.send(world, &publisher.rtp(&frame(99)));
    let viewer = Negotiated::viewer(world, 0, "s").connect(world);
    publisher.send(world, &publisher.rtp(&frame(100)));
    world.run(Duration::from_secs(1));
    publisher.key_frames_asked(world);
    for seq in [101, 103, 104] {
        publisher.send(world, &publisher.rtp(&delta(seq)));
    }
    (publisher, viewer)
}

const NO_NACK: [(&str, &str); 1] = [("a=rtcp-fb:96 nack\r\n", "")];

#[test]
fn what_nobody_repairs_is_answered_with_a_key_frame_at_once() {
    let mut world = World::new(6, 1);
    let (mut publisher, _viewer) = lose_one(&mut world, &NO_NACK);
    world.run(Duration::from_millis(60));
    assert_eq!(world.counters(0).nacks_sent, 0);
    assert_eq!(publisher.key_frames_asked(&mut world), [Ssrc(VIDEO_SSRC)]);
}

#[test]
fn what_is_not_repaired_is_answered_with_a_key_frame_in_the_end() {
    let mut world = World::new(7, 1);
    let (mut publisher, _viewer) = lose_one(&mut world, &[]);
    world.run(Duration::from_secs(1));
    assert_eq!(publisher.key_frames_asked(&mut world), [], "it may come");
    world.run(Duration::from_millis(700));
    assert_eq!(publisher.key_frames_asked(&mut world), [Ssrc(VIDEO_SSRC)]);
}

#[test]
fn what_is_lost_ahead_of_a_key_frame_is_not_missed() {
    let mut world = World::new(8, 1);
    let (mut publisher, _viewer) = lose_one(&mut world, &NO_NACK);
    publisher.send(&mut world, &publisher.rtp(&frame(105)));
    world.run(Duration::from_millis(60));
    assert_eq!(publisher.key_frames_asked(&mut world), []);
}
