//! A publisher whose media goes on under another SSRC, as when its sender begins anew.

use std::time::Duration;

use leafcutter::base::fault::DropReason;
use leafcutter::base::ids::Ssrc;
use leafcutter::base::seq::SeqNo;
use leafcutter::rtp::RtpHeader;

use crate::bare::{Bare, Negotiated, Rtp, VIDEO_SSRC};
use crate::world::World;

/// A VP8 frame in one packet; its last byte tells it from others.
fn frame(is_key: bool, number: u8) -> Vec<u8> {
    let key = [0x10, 0, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1, number];
    let other = [0x10, 1, 0, 0, number];
    if is_key { key.into() } else { other.into() }
}

fn send(world: &mut World, publisher: &Bare, ssrc: u32, seq: u16, is_key: bool) -> Vec<u8> {
    let payload = frame(is_key, seq as u8);
    let packet = publisher.rtp(&Rtp {
        pt: 96,
        ssrc,
        seq,
        timestamp: u32::from(seq) * 3000,
        marker: true,
        transport_seq: seq,
        payload: &payload,
    });
    publisher.send(world, &packet);
    world.run(Duration::from_millis(33));
    payload
}

/// Sequence numbers and payloads that came since the last call.
fn received(world: &mut World, viewer: &Bare) -> (Vec<SeqNo>, Vec<Vec<u8>>) {
    let packets = viewer.packets_received(world);
    let headers = packets.iter().filter_map(|packet| RtpHeader::parse(packet));
    let seqs = headers.map(|header| header.seq).collect();
    let payloads = viewer.opened(packets).into_iter();
    (seqs, payloads.map(|(_, payload)| payload).collect())
}

const NEXT_SSRC: u32 = 3001;

#[test]
fn viewers_go_on_with_the_key_frame_of_the_next_ssrc() {
    let mut world = World::new(1, 2);
    let mut publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    send(&mut world, &publisher, VIDEO_SSRC, 99, true);
    // One viewer with the publisher, and one behind another worker.
    let viewers: Vec<Bare> = (0..2)
        .map(|worker| Negotiated::viewer(&mut world, worker, "s").connect(&mut world))
        .collect();
    for seq in 100..110 {
        send(&mut world, &publisher, VIDEO_SSRC, seq, seq == 100);
    }
    world.run(Duration::from_secs(1));
    let mut last = Vec::new();
    for viewer in &viewers {
        let (seqs, payloads) = received(&mut world, viewer);
        assert_eq!(payloads.len(), 10);
        last.push(*seqs.last().expect("the last"));
    }
    publisher.key_frames_asked(&mut world);

    // Its numbers are those of packets that are stored.
    for seq in 104..107 {
        send(&mut world, &publisher, NEXT_SSRC, seq, false);
    }
    for viewer in &viewers {
        assert_eq!(received(&mut world, viewer).1.len(), 0, "no key frame yet");
    }
    assert_eq!(publisher.key_frames_asked(&mut world), [Ssrc(NEXT_SSRC)]);
    let sent: Vec<_> = (107..112)
        .map(|seq| send(&mut world, &publisher, NEXT_SSRC, seq, seq == 107))
        .collect();
    for (viewer, last) in viewers.iter().zip(&mut last) {
        let (seqs, payloads) = received(&mut world, viewer);
        assert_eq!(payloads, sent);
        let expected: Vec<_> = (1..=5).map(|n| last.plus(n)).collect();
        assert_eq!(seqs, expected, "behind what was sent last");
        *last = last.plus(5);
    }

    // What is left over of the old one, and what is repeated, changes nothing.
    let before = world.dropped(DropReason::UnknownSsrc);
    send(&mut world, &publisher, VIDEO_SSRC, 110, true);
    send(&mut world, &publisher, VIDEO_SSRC, 100, true);
    assert_eq!(world.dropped(DropReason::UnknownSsrc), before + 2);
    let sent = send(&mut world, &publisher, NEXT_SSRC, 112, false);
    for (viewer, last) in viewers.iter().zip(&last) {
        let (seqs, payloads) = received(&mut world, viewer);
        assert_eq!((seqs, payloads), (vec![last.plus(1)], vec![sent.clone()]));
    }
}

#[test]
fn retransmissions_of_the_next_ssrc_may_come_before_its_media() {
    let mut world = World::new(2, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "s").connect(&mut world);
    send(&mut world, &publisher, VIDEO_SSRC, 99, true);
    let viewer = Negotiated::viewer(&mut world, 0, "s").connect(&mut world);
    send(&mut world, &publisher, VIDEO_SSRC, 100, true);
    let rtx = |seq: u16, payload| Rtp {
        pt: 97,
        ssrc: NEXT_RTX_SSRC,
        seq,
        timestamp: 0,
        marker: false,
        transport_seq: seq,
        payload,
    };
    // A probe: padding alone.
    publisher.send(&mut world, &publisher.rtp(&rtx(1, &[])));
    send(&mut world, &publisher, NEXT_SSRC, 200, true);
    send(&mut world, &publisher, NEXT_SSRC, 202, false);
    received(&mut world, &viewer);
    let repaired = [&[0, 201], &frame(false, 201)[..]].concat();
    publisher.send(&mut world, &publisher.rtp(&rtx(2, &repaired)));
    world.run(Duration::from_millis(33));
    assert_eq!(received(&mut world, &viewer).1, [frame(false, 201)]);
}

/// Placed by its MID, it would go on in the numbers of the one before.
#[test]
fn the_next_ssrc_begins_with_a_format_that_was_agreed_on() {
    let mut world = World::new(3, 1);
    let mid = "a=mid:1\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    let changes = [("a=mid:1\r\n", mid)];
    let publisher = Negotiated::publisher_that_offers(&mut world, 0, "s", &changes);
    let publisher = publisher.connect(&mut world);
    send(&mut world, &publisher, VIDEO_SSRC, 99, true);
    let viewer = Negotiated::viewer(&mut world, 0, "s").connect(&mut world);
    send(&mut world, &publisher, VIDEO_SSRC, 100, true);
    let (seqs, _) = received(&mut world, &viewer);
    let mut header = vec![0x90, 101, 0, 49, 0, 0, 0, 0];
    header.extend_from_slice(&NEXT_SSRC.to_be_bytes());
    header.extend_from_slice(&[0xbe, 0xde, 0, 1, 4 << 4, b'1', 0, 0]);
    publisher.send(&mut world, &publisher.sealed(&header, &[1, 2, 3]));
    world.run(Duration::from_millis(33));
    assert_eq!(world.dropped(DropReason::UnknownPt), 1);
    let sent: Vec<_> = (50..53)
        .map(|seq| send(&mut world, &publisher, NEXT_SSRC, seq, seq == 50))
        .collect();
    let last = *seqs.last().expect("the last");
    let expected: Vec<_> = (1..=3).map(|n| last.plus(n)).collect();
    assert_eq!(received(&mut world, &viewer), (expected, sent));
}

const NEXT_RTX_SSRC: u32 = 3002;
