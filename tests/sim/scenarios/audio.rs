//! Audio with redundancy, with silence that is not sent, and sent again.

use std::time::Duration;

use leafcutter::base::bytes::Writer;
use leafcutter::base::ids::Ssrc;
use leafcutter::base::seq::SeqNo;
use leafcutter::rtcp::write;
use leafcutter::rtp::RtpHeader;

use crate::bare::{AUDIO_SSRC, Bare, Negotiated, Rtp};
use crate::world::World;

/// Prefers Opus with redundancy, in numbers of its own.
const PREFERS_RED: [(&str, &str); 2] = [
    ("RTP/SAVPF 111", "RTP/SAVPF 121 100"),
    (
        "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc",
        "a=rtpmap:121 red/48000/2\r\na=fmtp:121 100/100\r\na=rtpmap:100 opus/48000/2",
    ),
];

/// Two blocks of payload type `pt`: what the packet 960 ticks before held, and what this one does.
fn red(pt: u8, before: &[u8], own: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x80 | pt, 0x0f, 0x00, before.len() as u8, pt];
    payload.extend_from_slice(before);
    payload.extend_from_slice(own);
    payload
}

fn send(world: &mut World, publisher: &Bare, pt: u8, seq: u16, payload: &[u8]) {
    let packet = Rtp {
        pt,
        ssrc: AUDIO_SSRC,
        seq,
        timestamp: u32::from(seq) * 960,
        marker: false,
        transport_seq: seq,
        payload,
    };
    let datagram = publisher.rtp(&packet);
    publisher.send(world, &datagram);
    world.run(Duration::from_millis(20));
}

#[test]
fn redundancy_reaches_who_takes_it_and_others_get_opus_alone() {
    let mut world = World::new(1, 2);
    let publisher = Negotiated::publisher_that_offers(&mut world, 0, "red", &PREFERS_RED);
    assert!(publisher.remote_sdp.contains("RTP/SAVPF 121 100\r\n"));
    assert!(publisher.remote_sdp.contains("a=fmtp:121 100/100\r\n"));
    let publisher = publisher.connect(&mut world);
    send(&mut world, &publisher, 100, 0, b"first");
    // One viewer of each kind with the publisher, and behind another worker.
    let mut viewers = Vec::new();
    for worker in 0..2 {
        let both = Negotiated::viewer(&mut world, worker, "red");
        assert!(both.remote_sdp.contains("RTP/SAVPF 111 63\r\n"));
        viewers.push((true, both.connect(&mut world)));
        let plain = |_: &str, line: &str| !line.contains("red/") && !line.contains("111/111");
        let alone = Negotiated::viewer_that_takes(&mut world, worker, "red", plain);
        viewers.push((false, alone.connect(&mut world)));
    }
    send(
        &mut world,
        &publisher,
        121,
        1,
        &red(100, b"first", b"second"),
    );
    send(&mut world, &publisher, 100, 2, b"third");
    send(
        &mut world,
        &publisher,
        121,
        3,
        &red(101, b"third", b"of another encoding"),
    );
    send(&mut world, &publisher, 121, 4, &[0x80 | 100, 0, 0]);
    send(&mut world, &publisher, 121, 5, &red(100, b"", b"sixth"));
    for (takes_red, viewer) in &viewers {
        let received = viewer.payloads_received(&mut world);
        let wrapped = |before: &[u8], own: &[u8]| match takes_red {
            true => (63, red(111, before, own)),
            false => (111, own.to_vec()),
        };
        let wanted = [
            wrapped(b"first", b"second"),
            (111, b"third".to_vec()),
            wrapped(b"", b"sixth"),
        ];
        assert_eq!(received, wanted, "takes redundancy: {takes_red}");
    }
}

/// An encoder in DTX (RFC 6716 §2.1.9) sends one packet in 400 ms, then nothing at all.
#[test]
fn silence_that_is_not_sent_ends_nothing() {
    let mut world = World::new(3, 1);
    let publisher = Negotiated::publisher(&mut world, 0, "dtx").connect(&mut world);
    send(&mut world, &publisher, 111, 0, b"speech");
    let viewer = Negotiated::viewer(&mut world, 0, "dtx").connect(&mut world);
    let mut sent = Vec::new();
    let mut say = |world: &mut World, seq: u16, payload: &[u8]| {
        send(world, &publisher, 111, seq, payload);
        sent.push((111, payload.to_vec()));
    };
    let consent = |world: &mut World| {
        for peer in [&publisher, &viewer] {
            peer.send(world, &peer.binding_request(None));
        }
    };
    for seq in 1..50 {
        say(&mut world, seq, b"speech");
    }
    for seq in 50..100 {
        say(&mut world, seq, &[0x78]);
        world.run(Duration::from_millis(380));
        consent(&mut world);
    }
    for _ in 0..20 {
        world.run(Duration::from_secs(3));
        consent(&mut world);
    }
    for seq in 100..150 {
        say(&mut world, seq, b"speech");
    }
    let packets = viewer.packets_received(&mut world);
    let headers: Vec<_> = packets.iter().filter_map(|p| RtpHeader::parse(p)).collect();
    assert_eq!(headers.len(), 149);
    assert!(headers.windows(2).all(|w| w[1].seq.0 == w[0].seq.0 + 1));
    assert_eq!(viewer.opened(packets), sent);
    assert_eq!(world.counters(0).paused, 0);
    assert!(
        !world
            .unheard
            .iter()
            .any(|(_, text)| text.contains("finished"))
    );
}

/// A plain copy is the same bytes as the first time, whatever the viewer takes.
#[test]
fn redundancy_that_was_lost_is_sent_again_as_it_was() {
    let mut world = World::new(2, 1);
    let publisher = Negotiated::publisher_that_offers(&mut world, 0, "again", &PREFERS_RED);
    let publisher = publisher.connect(&mut world);
    send(&mut world, &publisher, 100, 0, b"first");
    let both = Negotiated::viewer(&mut world, 0, "again").connect(&mut world);
    let plain = |_: &str, line: &str| !line.contains("red/") && !line.contains("111/111");
    let alone = Negotiated::viewer_that_takes(&mut world, 0, "again", plain).connect(&mut world);
    send(
        &mut world,
        &publisher,
        121,
        1,
        &red(100, b"first", b"second"),
    );
    for mut viewer in [both, alone] {
        let sent = viewer.packets_received(&mut world);
        let [packet] = &sent[..] else {
            panic!("{} packets", sent.len());
        };
        let header = RtpHeader::parse(packet).expect("RTP");
        let mut nack = [0; 64];
        let mut w = Writer::new(&mut nack);
        write::receiver_report(&mut w, Ssrc(7), &[]);
        write::nack(&mut w, Ssrc(7), header.ssrc, &[SeqNo(header.seq.0)]);
        let len = w.len();
        let nack = viewer.rtcp(&nack[..len]);
        viewer.send(&mut world, &nack);
        world.run(Duration::from_millis(20));
        assert_eq!(viewer.packets_received(&mut world), sent);
    }
}
